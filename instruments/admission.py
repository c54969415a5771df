"""The checks a command passes before its INTENT: each refusal is a definite failure."""

from twinloop.errors import ArgumentError, LabError, LimitViolation, SampleMismatch, SpoolFull
from twinloop.instruments.adapter_desk import Desk
from twinloop.instruments.rules import ActionRules
from twinloop.messages import Command

__all__ = ["Refusal", "admit"]


class Refusal(LabError):
    """A check that a command did not pass; `may_retry` when another attempt may pass it."""

    def __init__(self, reason: str, *, may_retry: bool = False) -> None:
        self.reason, self.may_retry = reason, may_retry
        super().__init__(reason)


def admit(desk: Desk, command: Command) -> ActionRules:
    """Return the rules of the action when the command may start now.

    Raises:
        Refusal: it may not.
    """
    name = command.instrument
    instrument = desk.instruments[name]
    rules = instrument.actions.get(command.action)
    if rules is None:
        raise Refusal(f"{name} has no action {command.action!r}: {sorted(instrument.actions)}")
    try:
        rules.spec.check(command.arguments, f"{name}.{command.action}")
    except (ArgumentError, LimitViolation) as err:
        raise Refusal(str(err)) from err
    if name in desk.ledger.trips:
        trip = desk.ledger.trips[name]
        # definite, but of the moment: the film that waits is not to blame
        raise Refusal(f"{name} is tripped: {trip}; a person must clear it", may_retry=True)
    if desk.now_s > command.not_after_s:
        late_s = desk.now_s - command.not_after_s
        raise Refusal(f"{late_s:.3g} s after its latest start", may_retry=True)
    _check_free(desk, command, rules)
    _check_sample(desk, command, rules)
    limit_bytes = desk.settings.spool_limit_bytes
    if desk.spool_bytes + desk.settings.spool_reserve_bytes > limit_bytes:
        raise Refusal(str(SpoolFull(desk.spool_bytes, limit_bytes)), may_retry=True)
    return rules


def _check_free(desk: Desk, command: Command, rules: ActionRules) -> None:
    name = command.instrument
    busy = desk.ledger.open_on(name)
    if busy is not None:
        raise Refusal(f"{name} is busy with {busy.key}", may_retry=True)
    if name in desk.securing:
        raise Refusal(f"{name} is going to its safe state", may_retry=True)
    if rules.spec.moves_sample and desk.ledger.open:
        other = next(iter(desk.ledger.open))
        raise Refusal(f"no {command.action} while {other} is under way", may_retry=True)


def _check_sample(desk: Desk, command: Command, rules: ActionRules) -> None:
    if not desk.tracks_samples:
        return
    if rules.spec.loads_sample:
        if command.sample is None:
            raise Refusal(f"{command.action} brings in a sample, and the command names none")
    elif command.sample != desk.ledger.sample:
        asked, found = command.sample or "none", desk.ledger.sample
        raise Refusal(str(SampleMismatch(str(command.key), asked, found)))
