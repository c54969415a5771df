"""How a command ends: what the device reported, what the instrument says, what nobody knows."""

from twinloop.errors import SampleMismatch
from twinloop.ids import CommandKey
from twinloop.instruments import ledger
from twinloop.instruments.adapter_desk import Desk, Work
from twinloop.instruments.adapter_effects import (
    Cancelled,
    Raised,
    Reconcile,
    Reconciled,
    ReconcileFailed,
    Returned,
    StartAction,
)
from twinloop.instruments.interface import Recovery
from twinloop.instruments.ledger import EndState, Final, Record
from twinloop.instruments.safety import Safety
from twinloop.wire.effects import Sync

__all__ = ["Settling"]


class Settling:
    """Part of the adapter's core."""

    def __init__(self, desk: Desk, safety: Safety) -> None:
        self._desk, self._safety = desk, safety

    def take_over(self, record: Record) -> None:
        """Begin with a key that an earlier life left open: ask, change nothing."""
        work = Work("asking", is_settled=False)
        self._desk.work[record.key] = work
        self.recover(record, work, "the adapter died while it ran, and nobody can be asked")

    def close(self, key: CommandKey, instrument: str, final: Final) -> None:
        """Close a key that has not started: nothing can start it after this."""
        desk = self._desk
        desk.write(ledger.closed(key, instrument, final))
        desk.do(Sync(), *desk.outbox.add(desk.ledger.records[key], desk.now_s))

    def action_ended(self, event: Returned | Raised | Cancelled) -> None:
        """Take what the device side reports of a running action."""
        record, work = self._desk.ledger.records.get(event.key), self._desk.work.get(event.key)
        if record is None or work is None or work.phase != "running":
            return
        match event:
            case Returned():
                self._done(record, event)
            case Raised(is_touched=False):
                self._finish(record, Final("failed", reason=event.reason))
            case Raised():
                self.recover(record, work, event.reason)
            case Cancelled():
                self.recover(record, work, "cancelled")

    def recover(self, record: Record, work: Work, reason: str) -> None:
        """Settle a key whose effect is not known, by its recovery class."""
        rules = self._desk.rules(record)
        if rules is not None and rules.has_reconcile:
            self.ask(record, work)
        else:
            self._give_up(record, work, Final("unknown", reason=reason))

    def ask(self, record: Record, work: Work) -> None:
        """Ask the instrument what became of a command."""
        work.phase, work.ask_at_s = "asking", None
        if record.command is not None:
            self._desk.do(Reconcile(record.command))

    def reconciled(self, event: Reconciled | ReconcileFailed) -> None:
        """Take the instrument's answer."""
        record, work = self._desk.ledger.records.get(event.key), self._desk.work.get(event.key)
        if record is None or work is None or work.phase != "asking":
            return
        if isinstance(event, ReconcileFailed):
            self._not_asked(record, work, event.reason)
            return
        work.is_settled, work.n_errors = True, 0
        match event.verdict:
            case "running":
                work.phase, work.ask_at_s = "adopted", self._desk.now_s + self._desk.settings.poll_s
            case "done":
                self._done(record, event)
            case "partial":
                self._give_up(
                    record, work, Final("partial", event.result, event.arrays, event.reason)
                )
            case "not_done":
                reason = event.reason or "the instrument says that it never began"
                self._finish(record, Final("failed", reason=reason, may_retry=True))
            case "unknown":
                reason = event.reason or "the instrument cannot tell"
                self._give_up(record, work, Final("unknown", reason=reason))

    def resume(self, instrument: str) -> None:
        """Repeat an idempotent action when its campaign is in charge and nothing forbids it."""
        desk = self._desk
        record, lease = desk.ledger.open_on(instrument), desk.leases.live(instrument, desk.now_s)
        if record is None or record.command is None or lease is None or desk.ending:
            return
        work = desk.work[record.key]
        if work.phase != "waiting" or desk.leases.is_silent(instrument):
            return
        complaint = self._why_not_again(record, lease.campaign)
        if complaint:
            self._finish(record, Final("unknown", reason=complaint))
        elif instrument not in desk.securing:
            work.phase = "running"
            desk.write(ledger.repeated(record.key, record.n_starts + 1))
            desk.do(Sync(), StartAction(record.command))

    def _why_not_again(self, record: Record, campaign: str) -> str:
        desk, name, key = self._desk, record.instrument, record.key
        asked = record.command.sample if record.command else None
        if campaign != key.campaign:
            return f"campaign {campaign} took over before it could be repeated"
        if name in desk.ledger.trips:
            return f"{name} is tripped: {desk.ledger.trips[name]}"
        if desk.tracks_samples and asked != desk.ledger.sample:
            return str(SampleMismatch(str(key), asked or "none", desk.ledger.sample))
        return ""

    def _not_asked(self, record: Record, work: Work, reason: str) -> None:
        settings = self._desk.settings
        work.n_errors += 1
        if work.n_errors >= settings.max_ask_errors:
            reason = f"the instrument cannot be asked: {reason}"
            self._give_up(record, work, Final("unknown", reason=reason))
        else:
            work.ask_at_s = self._desk.now_s + settings.poll_s

    def _give_up(self, record: Record, work: Work, final: Final) -> None:
        """End a key that did not come to its proper end; an idempotent one is repeated instead."""
        rules = self._desk.rules(record)
        is_idempotent = rules is not None and rules.spec.recovery is Recovery.IDEMPOTENT
        if not is_idempotent:
            self._finish(record, final)
        elif work.is_aborted:
            reason = f"{final.reason}; aborted, it may be repeated".lstrip("; ")
            self._finish(record, Final("partial", final.result or {}, final.arrays, reason))
        elif record.n_starts < self._desk.settings.max_starts:
            work.phase, work.ask_at_s, work.is_settled = "waiting", None, True
            self.resume(record.instrument)
        else:
            self._finish(record, final)

    def _done(self, record: Record, event: Returned | Reconciled) -> None:
        state: EndState = "done" if event.complaint is None else "unknown"
        started_s, ended_s = None, None
        if isinstance(event, Returned):
            started_s, ended_s = event.started_lab_s, event.ended_lab_s
        reason = event.complaint or ""
        final = Final(
            state, event.result, event.arrays, reason, started_lab_s=started_s, ended_lab_s=ended_s
        )
        self._finish(record, final)
        if event.complaint is not None:
            self._safety.trip(record.instrument, event.complaint)

    def _finish(self, record: Record, final: Final) -> None:
        """Write how a started command ended, then tell."""
        desk, rules = self._desk, self._desk.rules(record)
        sets_sample, sample = False, None
        if rules is not None and rules.spec.moves_sample and record.command is not None:
            sets_sample = True
            if final.state == "done":
                sample = record.command.sample if rules.spec.loads_sample else None
            elif final.state == "failed":
                sample = record.sample_before
        desk.work.pop(record.key, None)
        desk.write(ledger.ended(record, final, sample=sample, sets_sample=sets_sample))
        desk.do(Sync(), *desk.outbox.add(record, desk.now_s))
