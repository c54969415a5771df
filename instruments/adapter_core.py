"""The decisions of an adapter: what never repeats and never loses a physical action.

No socket, file, clock, thread or device in here. Each input returns effects, which the shell runs in
their order; `Sync` is the gate that makes INTENT durable before the device is touched, and an outcome
durable before anybody is told.

How a command is answered:

- known key: from the ledger, never executed; another command under the same key is told `unknown`;
- not from the present holder, or under an epoch that is over, or while its holder was silent:
  `LeaseRefused`. Nothing is decided about the key: the holder asks for the lease and sends it again;
- under another ledger: `unknown`, and the key is closed;
- a check fails: `failed`, and the key is closed, so that the answer stands whatever arrives later;
- else INTENT, durable, then the device.

A query of an unknown key closes it as `not_done` before it says so: the command may still be on its
way, and must not run after its sender was told that it never will.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from twinloop.ids import CommandKey
from twinloop.instruments import ledger
from twinloop.instruments.adapter_desk import Desk, Work
from twinloop.instruments.adapter_effects import (
    AdapterEffect,
    CancelAction,
    Cancelled,
    DeviceEvent,
    DropSpool,
    LimitBroken,
    Raised,
    ReadOut,
    ReadOutDone,
    Reconciled,
    ReconcileFailed,
    Returned,
    SafeStateDone,
    SafeStateFailed,
    StartAction,
)
from twinloop.instruments.admission import Refusal, admit
from twinloop.instruments.lease import Lease, Leases
from twinloop.instruments.ledger import Final, LedgerState, Record
from twinloop.instruments.recovery import Settling
from twinloop.instruments.rules import AdapterSettings, InstrumentRules
from twinloop.instruments.safety import Safety
from twinloop.instruments.watchdog_notes import WatchdogNote
from twinloop.log.interface import Entry, Stored
from twinloop.messages import (
    Abort,
    Accepted,
    Clear,
    Command,
    EmergencyStop,
    InstrumentStatus,
    LeaseGranted,
    LeaseRefused,
    LeaseRelease,
    LeaseRenew,
    LeaseRenewed,
    LeaseRequest,
    Message,
    Outcome,
    OutcomeAck,
    Query,
    ReadoutReply,
    ReadoutRequest,
    StatusRequest,
)
from twinloop.wire.effects import Send, Sync

__all__ = ["AdapterCore"]

_LONGEST_WORDS = 2000
_State = Literal["idle", "busy", "held", "tripped", "reconciling"]


class AdapterCore:
    """One core for all instruments of an adapter process.

    Args:
        entries: what the ledger holds.
        ledger_id: its identity.
        instruments: rules by name.
        settings: numbers of the process.
        notes: what the watchdog of an earlier life did.
    """

    def __init__(
        self,
        entries: Iterable[Entry | Stored],
        ledger_id: str,
        instruments: Mapping[str, InstrumentRules],
        settings: AdapterSettings | None = None,
        notes: Sequence[WatchdogNote] = (),
    ) -> None:
        self._desk = Desk(entries, ledger_id, instruments, settings or AdapterSettings())
        self._safety = Safety(self._desk)
        self._settling = Settling(self._desk, self._safety)
        self._notes = tuple(notes)

    @property
    def ledger(self) -> LedgerState:
        """Return what the ledger says, for reading."""
        return self._desk.ledger

    # --- inputs ------------------------------------------------------------------------------

    def observe(self, lab_now_s: float, spool_bytes: int, utc: str = "") -> None:
        """Take what the shell knows: laboratory time [s], bytes in the spool, its wall clock.

        The wall clock (ISO 8601) is for people alone: nothing is decided by it.
        """
        desk = self._desk
        desk.lab_now_s, desk.spool_bytes, desk.utc = lab_now_s, spool_bytes, utc

    def start(self, now_s: float) -> list[AdapterEffect]:
        """Begin: tell what is not acknowledged, ask about every INTENT without an end."""
        desk = self._desk
        desk.now_s, desk.leases = now_s, Leases(desk.instruments, now_s)
        if desk.is_new:
            digests = {name: rules.schema_digest for name, rules in desk.instruments.items()}
            desk.write(ledger.ledger_opened(digests))
        for note in self._notes:
            self._safety.fold_note(note.instrument, note.reason, note.error)
        desk.do(Sync())
        for key in desk.ledger.unacked:
            desk.do(*desk.outbox.add(desk.ledger.records[key], now_s))
        for key in list(desk.ledger.open):
            self._settling.take_over(desk.ledger.records[key])
        return desk.flush()

    def receive(self, sender: str, message: Message, now_s: float) -> list[AdapterEffect]:
        """Take a message; `sender` is the hub's word, not the message's."""
        self._desk.now_s = now_s
        match message:
            case LeaseRequest():
                self._lease_request(sender, message)
            case LeaseRenew():
                self._lease_renew(sender, message)
            case LeaseRelease():
                self._lease_release(sender, message)
            case Command():
                self._command(sender, message)
            case Query():
                self._query(sender, message.key, message.instrument, message.ledger)
            case Abort():
                self._abort(sender, message)
            case OutcomeAck():
                self._acknowledge(sender, message.key)
            case EmergencyStop():
                self._emergency_stop(sender, message)
            case Clear():
                self._safety.clear(sender, message)
                self._tell_status(sender, message.instrument)
            case StatusRequest():
                self._tell_status(sender, message.instrument)
            case ReadoutRequest():
                self._read_out(sender, message)
            case _:
                pass
        return self._desk.flush()

    def device(self, event: DeviceEvent, now_s: float) -> list[AdapterEffect]:
        """Take a report of the device side."""
        self._desk.now_s = now_s
        match event:
            case Returned() | Raised() | Cancelled():
                self._settling.action_ended(event)
            case Reconciled() | ReconcileFailed():
                self._settling.reconciled(event)
            case SafeStateDone():
                self._safety.is_secured(event.instrument, event.reason)
                self._settling.resume(event.instrument)
            case SafeStateFailed():
                self._safety.is_not_secured(event.instrument, event.reason)
            case LimitBroken():
                self._safety.trip(event.instrument, event.reason)
            case ReadOutDone():
                self._tell_readout(event)
        self._safety.end_when_safe()
        return self._desk.flush()

    def uploaded(self, key: CommandKey, depot: str, now_s: float) -> list[AdapterEffect]:
        """Take note that the arrays of a key are durable in a depot."""
        self._desk.do(*self._desk.outbox.uploaded(key, depot, now_s))
        return self._desk.flush()

    def upload_failed(self, key: CommandKey, depot: str, now_s: float) -> list[AdapterEffect]:
        """Take note that they are not; it is tried again later."""
        self._desk.outbox.upload_failed(key, depot, now_s)
        return self._desk.flush()

    def watchdog_acted(self, notes: Sequence[WatchdogNote], now_s: float) -> list[AdapterEffect]:
        """Take note that the watchdog, believing this process dead, ran safe states."""
        self._desk.now_s = now_s
        for note in notes:
            self._safety.fold_note(note.instrument, note.reason, note.error)
            # nobody was in charge meanwhile: a holder must speak again before anything starts
            self._desk.leases.note_silence(note.instrument)
        self._desk.do(Sync())
        return self._desk.flush()

    def tick(self, now_s: float) -> list[AdapterEffect]:
        """Take note of the time."""
        desk = self._desk
        desk.now_s = now_s
        desk.do(*desk.outbox.tick(now_s))
        for key, work in desk.work.items():
            if work.ask_at_s is not None and work.ask_at_s <= now_s:
                self._settling.ask(desk.ledger.records[key], work)
        for name in desk.instruments:
            at_s = self._safety.silent_at_s(name)
            if at_s is not None and at_s <= now_s:
                self._safety.fall_silent(name)
        self._safety.end_when_safe()
        return desk.flush()

    def shutdown(self, reason: str, now_s: float) -> list[AdapterEffect]:
        """Begin the end of the process: finish or cancel, safe state, ask what was cancelled, `Exit`.

        What declares `finish` for a silence has `finish_s` for that.
        """
        self._desk.now_s = now_s
        if self._desk.finish_by_s is None:
            self._safety.begin_end(reason)
            self._safety.end_when_safe()
        return self._desk.flush()

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called."""
        desk = self._desk
        times = [
            t for name in desk.instruments if (t := self._safety.silent_at_s(name)) is not None
        ]
        times += [w.ask_at_s for w in desk.work.values() if w.ask_at_s is not None]
        times += desk.outbox.times_s()
        ends_s = desk.finish_by_s if desk.end_by_s is None else desk.end_by_s
        times += [] if ends_s is None else [ends_s]
        return min(times, default=None)

    @property
    def is_ending(self) -> bool:
        """Return True once `shutdown` was called."""
        return bool(self._desk.ending)

    def spool_keys(self) -> set[CommandKey]:
        """Return the keys whose arrays must stay on this machine."""
        return set(self.ledger.unacked) | set(self.ledger.open)

    # --- leases ------------------------------------------------------------------------------

    def _lease_request(self, sender: str, request: LeaseRequest) -> None:
        desk, name = self._desk, request.instrument
        refusal, holder = self._why_no_lease(sender, request)
        if refusal:
            refused = LeaseRefused(
                instrument=name, campaign=request.campaign, reason=refusal, holder=holder
            )
            desk.do(Send(sender, refused))
            return
        lease = desk.leases.live(name, desk.now_s)
        if lease is None or not lease.is_same(sender, request):
            lease = Lease.of(sender, request, desk.ledger.epoch + 1)
            desk.write(
                ledger.leased(
                    name, lease.campaign, sender, lease.depot, lease.epoch, lease.incarnation
                )
            )
            desk.do(Sync())
        desk.leases.grant(name, lease, desk.now_s)
        self._tell_lease(name, lease)
        self._settling.resume(name)
        desk.do(*desk.outbox.hasten(request.campaign, desk.now_s))

    def _why_no_lease(self, sender: str, request: LeaseRequest) -> tuple[str, str]:
        desk, name = self._desk, request.instrument
        if name not in desk.instruments:
            return f"{name} is not served here", ""
        if desk.ending:
            return f"the adapter ends: {desk.ending}", ""
        work = desk.work_on(name)
        if work is not None and not work.is_settled:
            return f"{name} is being asked what it did: ask again", ""
        live = desk.leases.live(name, desk.now_s)
        if live is not None and (live.agent, live.campaign) != (sender, request.campaign):
            return f"{name} is held by another", f"{live.agent} ({live.campaign})"
        return "", ""

    def _tell_lease(self, name: str, lease: Lease) -> None:
        desk, rules = self._desk, self._desk.instruments[name]
        granted = LeaseGranted(
            instrument=name, campaign=lease.campaign, epoch=lease.epoch, ledger=desk.ledger_id,
            adapter_now_s=desk.now_s, ttl_s=lease.ttl_s, is_twin=rules.is_twin,
            clock_factor=desk.settings.clock_factor, sample=desk.ledger.sample,
            schema_digest=rules.schema_digest, trip=desk.ledger.trips.get(name),
        )  # fmt: skip
        desk.do(Send(lease.agent, granted))

    def _lease_renew(self, sender: str, renew: LeaseRenew) -> None:
        desk, name = self._desk, renew.instrument
        if desk.leases.holder_of(name, sender, renew.epoch) is None:
            self._not_holder(sender, name, "", renew.epoch)
            return
        desk.leases.hear(name, desk.now_s)
        trip = desk.ledger.trips.get(name)
        renewed = LeaseRenewed(
            instrument=name, epoch=renew.epoch, adapter_now_s=desk.now_s, trip=trip
        )
        desk.do(Send(sender, renewed))
        self._settling.resume(name)

    def _lease_release(self, sender: str, release: LeaseRelease) -> None:
        desk = self._desk
        if desk.leases.holder_of(release.instrument, sender, release.epoch):
            desk.leases.release(release.instrument)
            desk.write(ledger.released(release.instrument, release.epoch))

    def _not_holder(
        self, sender: str, instrument: str, campaign: str, epoch: int | None, why: str = ""
    ) -> None:
        lease = self._desk.leases.get(instrument)
        refused = LeaseRefused(
            instrument=instrument,
            campaign=campaign or (lease.campaign if lease else "none"),
            reason=why or "not under a present lease: ask for the lease, then send it again",
            holder=f"{lease.agent} ({lease.campaign})" if lease else "",
            epoch=epoch,
        )
        self._desk.do(Send(sender, refused))

    # --- commands ----------------------------------------------------------------------------

    def _command(self, sender: str, command: Command) -> None:
        desk, key, name = self._desk, command.key, command.instrument
        if key in desk.ledger.records:
            self._answer_command(sender, desk.ledger.records[key], command)
            return
        lease = desk.leases.get(name)
        if lease is None or lease.agent != sender or lease.campaign != key.campaign:
            self._not_holder(sender, name, key.campaign, command.epoch)
        elif command.ledger != desk.ledger_id:
            self._close_foreign(key, name, command.ledger)
        elif lease.epoch != command.epoch:
            self._not_holder(sender, name, key.campaign, command.epoch)
        elif desk.leases.is_silent(name):
            why = "held after a silence of the lease holder: renew, then send it again"
            self._not_holder(sender, name, key.campaign, command.epoch, why)
        elif desk.ending:
            why = f"the adapter ends: {desk.ending}"
            self._not_holder(sender, name, key.campaign, command.epoch, why)
        else:
            self._start(sender, command)

    def _start(self, sender: str, command: Command) -> None:
        desk = self._desk
        try:
            rules = admit(desk, command)
        except Refusal as refusal:
            final = Final("failed", reason=refusal.reason, may_retry=refusal.may_retry)
            self._settling.close(command.key, command.instrument, final)
            return
        desk.write(
            ledger.intent(
                command,
                sender,
                loads_sample=rules.spec.moves_sample,
                sample_before=desk.ledger.sample,
            )
        )
        desk.work[command.key] = Work("running")
        desk.write(ledger.accepted(command.key))
        desk.do(Sync(), StartAction(command), Send(sender, Accepted(key=command.key)))

    def _answer_command(self, sender: str, record: Record, command: Command) -> None:
        desk, own = self._desk, record.command
        answer: Message = Accepted(key=record.key)
        if own is not None and ledger.command_digest(own) != ledger.command_digest(command):
            answer = Outcome(
                key=record.key, instrument=record.instrument, ledger=desk.ledger_id,
                state="unknown", reason="this key stands in the ledger for another command",
            )  # fmt: skip
        elif record.final is not None and desk.outbox.is_tellable(record):
            answer = record.outcome(desk.ledger_id)
        desk.do(Send(sender, answer))

    def _query(self, sender: str, key: CommandKey, instrument: str, ledger_id: str) -> None:
        desk, record = self._desk, self._desk.ledger.records.get(key)
        lease = desk.leases.get(instrument)
        if record is not None:
            told = record.outcome(desk.ledger_id)
            if not desk.outbox.is_tellable(record):
                told = Outcome(
                    key=key, instrument=record.instrument, ledger=desk.ledger_id, state="running",
                    reason="it has ended; its arrays are on their way to the depot",
                )  # fmt: skip
            desk.do(Send(sender, told))
        elif lease is None or lease.agent != sender or lease.campaign != key.campaign:
            self._not_holder(sender, instrument, key.campaign, None)
        elif ledger_id != desk.ledger_id:
            self._close_foreign(key, instrument, ledger_id)
        else:
            reason = "the ledger has never seen this key, and will refuse it from now on"
            final = Final("not_done", reason=reason, may_retry=True)
            self._settling.close(key, instrument, final)

    def _close_foreign(self, key: CommandKey, instrument: str, other: str) -> None:
        own = self._desk.ledger_id
        reason = f"sent under ledger {other}, this is {own}: nobody knows what it did"
        self._settling.close(key, instrument, Final("unknown", reason=reason))

    def _abort(self, sender: str, abort: Abort) -> None:
        desk, key = self._desk, abort.key
        if not desk.leases.holder_of(abort.instrument, sender, abort.epoch):
            self._not_holder(sender, abort.instrument, key.campaign, abort.epoch)
            return
        work = desk.work.get(key)
        if work is None:
            # ended already, or never begun: then it is closed, so that it never will
            self._query(sender, key, abort.instrument, desk.ledger_id)
            return
        work.is_aborted = True
        record = desk.ledger.records[key]
        if work.phase == "running":
            desk.do(CancelAction(record.instrument, key))
        elif work.phase == "adopted":
            # no coroutine of ours to cancel: the safe state is the only way to end it
            self._safety.secure(record.instrument, f"abort of {key}", is_abort=True)
        elif work.phase == "waiting":
            self._settling.recover(record, work, "aborted before it was repeated")

    def _acknowledge(self, sender: str, key: CommandKey) -> None:
        desk, home = self._desk, self._desk.ledger.homes.get(key.campaign)
        if home is not None and home.agent == sender and key in desk.ledger.unacked:
            desk.write(ledger.acked(key))
            desk.outbox.remove(key)
            desk.do(Sync(), DropSpool(key))

    # --- words -------------------------------------------------------------------------------

    def _emergency_stop(self, sender: str, stop: EmergencyStop) -> None:
        names = list(self._desk.instruments) if stop.instrument is None else [stop.instrument]
        for name in names:
            self._safety.trip(name, f"emergency stop by {sender}: {stop.reason}")
        self._tell_status(sender, stop.instrument)

    def _read_out(self, sender: str, request: ReadoutRequest) -> None:
        instrument = self._desk.instruments.get(request.instrument)
        if instrument is None or request.readout not in instrument.readouts:
            reason = f"no readout {request.readout!r} on {request.instrument!r}"
            reply = ReadoutReply(request=request.request, state="failed", reason=reason)
            self._desk.do(Send(sender, reply))
        else:
            self._desk.do(ReadOut(sender, request.request, request.instrument, request.readout))

    def _tell_readout(self, event: ReadOutDone) -> None:
        reply = ReadoutReply(
            request=event.request,
            state="done" if event.error is None else "failed",
            result=event.result,
            reason=event.error or "",
        )
        self._desk.do(Send(event.asker, reply))

    def _tell_status(self, sender: str, instrument: str | None) -> None:
        for name in self._desk.instruments:
            if instrument in {None, name}:
                self._desk.do(Send(sender, self.status(name)))

    def status(self, name: str) -> InstrumentStatus:
        """Return the state of one instrument, for people."""
        desk, rules = self._desk, self._desk.instruments[name]
        record, lease = desk.ledger.open_on(name), desk.leases.get(name)
        past = desk.ledger.past_trips.get(name)
        return InstrumentStatus(
            instrument=name, kind_name=rules.kind, state=self._state_of(name),
            is_twin=rules.is_twin, clock_factor=desk.settings.clock_factor,
            action=record.command.action if record and record.command else "",
            key=record.key if record else None,
            holder=f"{lease.agent} ({lease.campaign})" if lease else "",
            epoch=lease.epoch if lease else 0, ledger=desk.ledger_id, sample=desk.ledger.sample,
            trip=desk.ledger.trips.get(name), schema_digest=rules.schema_digest,
            lab_now_s=desk.lab_now_s, spool_bytes=desk.spool_bytes, utc=desk.utc,
            last_trip=past.words()[:_LONGEST_WORDS] if past else "",
            n_commands=sum(r.instrument == name for r in desk.ledger.records.values()),
            n_unacked=sum(desk.ledger.records[k].instrument == name for k in desk.ledger.unacked),
        )  # fmt: skip

    def _state_of(self, name: str) -> _State:
        desk, work = self._desk, self._desk.work_on(name)
        if name in desk.ledger.trips:
            return "tripped"
        if work is not None:
            return "busy" if work.is_settled else "reconciling"
        if name in desk.securing:
            return "busy"
        return "held" if desk.leases.is_silent(name) else "idle"
