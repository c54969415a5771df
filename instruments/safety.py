"""Silence, trips and safe states of an adapter.

Silence is held: the next word of a holder ends it. A trip is latched: only a person clears it. Both
stand in the adapter, beside the machine, and need neither hub nor conductor.
"""

from twinloop.instruments import ledger
from twinloop.instruments.adapter_desk import Desk
from twinloop.instruments.adapter_effects import CancelAction, RunSafeState
from twinloop.instruments.interface import OnSilence
from twinloop.instruments.rules import ActionRules
from twinloop.messages import Clear
from twinloop.wire.effects import Exit, Sync

__all__ = ["Safety"]


class Safety:
    """Part of the adapter's core."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def silent_at_s(self, instrument: str) -> float | None:
        """Return when the silence of the holder takes effect, None when it cannot or has."""
        rules = self._policy(instrument)
        if rules is None or self._desk.ending:
            return None
        return self._desk.leases.silent_at_s(instrument, rules.spec.silence_s)

    def fall_silent(self, instrument: str) -> None:
        """Do what the action, or the state it left behind, declares for a silence."""
        self._desk.leases.note_silence(instrument)
        rules = self._policy(instrument)
        if rules is not None and rules.spec.on_silence is OnSilence.SAFE_STATE:
            self.secure(instrument, f"no word of the lease holder for {rules.spec.silence_s:g} s")

    def secure(self, instrument: str, reason: str, *, is_abort: bool = False) -> None:
        """Cancel what runs, and run the safe state.

        Args:
            instrument: which.
            reason: for people.
            is_abort: the cancelled action is not wanted again: it is not repeated.
        """
        record = self._desk.ledger.open_on(instrument)
        if record is not None and record.key in self._desk.work:
            work = self._desk.work[record.key]
            work.is_aborted = work.is_aborted or is_abort
            if work.phase == "running":
                self._desk.do(CancelAction(instrument, record.key))
        self._desk.securing.add(instrument)
        self._desk.do(RunSafeState(instrument, reason))

    def is_secured(self, instrument: str, reason: str) -> None:
        """Take note that the safe state was reached."""
        self._desk.securing.discard(instrument)
        self._desk.write(ledger.safe_state(instrument, "adapter", reason))

    def is_not_secured(self, instrument: str, reason: str) -> None:
        """Take note that it was not."""
        self._desk.securing.discard(instrument)
        self._latch(instrument, f"safe_state failed: {reason}")

    def trip(self, instrument: str, reason: str) -> None:
        """Latch a trip, and make the instrument safe."""
        if instrument in self._desk.instruments:
            self._latch(instrument, reason)
            self.secure(instrument, reason, is_abort=True)

    def clear(self, sender: str, clear: Clear) -> None:
        """Clear a trip, on a person's word; an agent that holds a lease here is no person."""
        desk, name = self._desk, clear.instrument
        holders = {lease.agent for n in desk.instruments if (lease := desk.leases.get(n))}
        is_said = bool(clear.person.strip() and clear.reason.strip())
        if name in desk.ledger.trips and is_said and sender not in holders:
            desk.write(ledger.cleared(name, clear.person, clear.reason))
            desk.do(Sync())

    def fold_note(self, instrument: str, reason: str, error: str | None) -> None:
        """Take note of what the watchdog did: held when it was safe, latched when it failed."""
        if instrument not in self._desk.instruments:
            return
        if error is None:
            self._desk.write(ledger.safe_state(instrument, "watchdog", reason))
        else:
            self._latch(instrument, f"safe_state of the watchdog failed: {error}")

    def begin_end(self, reason: str) -> None:
        """The process is about to end: make safe what is not to be finished first."""
        desk = self._desk
        desk.finish_by_s, desk.ending = desk.now_s + desk.settings.finish_s, reason
        # instruments of one chamber share a sample: an idle one is not made safe under the others
        for name in [n for n in desk.instruments if desk.ledger.open_on(n) is not None]:
            if not self._may_finish(name):
                self.secure(name, reason)

    def end_when_safe(self) -> None:
        """End the process when all is safe and every cancelled action has been asked about."""
        desk = self._desk
        if desk.finish_by_s is None:
            return
        if desk.end_by_s is None:
            if desk.now_s < desk.finish_by_s and any(map(self._may_finish, desk.instruments)):
                return
            desk.end_by_s = desk.now_s + desk.settings.shutdown_s
            for name in [n for n in desk.instruments if n not in desk.securing]:
                self.secure(name, desk.ending)
        is_moving = any(w.phase in {"running", "asking"} for w in desk.work.values())
        if not desk.securing and not is_moving:
            desk.do(Sync(), Exit(0, desk.ending))
        elif desk.now_s >= desk.end_by_s:
            left = sorted(desk.securing) or sorted(str(key) for key in desk.work)
            desk.do(Sync(), Exit(1, f"{desk.ending}; not finished in time: {left}"))

    def _may_finish(self, instrument: str) -> bool:
        """Return True while an action is under way that declares `finish`, and is not cancelled."""
        record = self._desk.ledger.open_on(instrument)
        work = self._desk.work_on(instrument)
        if record is None or work is None or work.is_aborted or instrument in self._desk.securing:
            return False
        rules = self._desk.rules(record)
        return rules is not None and rules.spec.on_silence is OnSilence.FINISH

    def _latch(self, instrument: str, reason: str) -> None:
        if instrument not in self._desk.ledger.trips:
            self._desk.write(ledger.tripped(instrument, reason))
            self._desk.do(Sync())

    def _policy(self, instrument: str) -> ActionRules | None:
        record = self._desk.ledger.policy_of(instrument)
        return None if record is None else self._desk.rules(record)
