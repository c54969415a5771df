"""Looks at what happens when the lease holder dies (D1 to D5): a client process is killed."""

from collections.abc import Iterator
from typing import get_type_hints

from twinloop.errors import LabError
from twinloop.instruments.conformance.holders import Holder, Holders
from twinloop.instruments.conformance.interface import Finding
from twinloop.instruments.conformance.stand import Look, Stand
from twinloop.instruments.interface import OnSilence
from twinloop.instruments.outgoing import limit_complaint
from twinloop.limits import limit_of
from twinloop.messages import Command

__all__ = ["LOOKS"]

_MID_S = 0.3
_ALLOWED_S = 1.0
_LATE_S = 4.0


def _deaths(stand: Stand) -> Iterator[Finding]:
    holders = Holders(stand.bench)
    try:
        for name, method in stand.methods.items():
            policy = method.spec.on_silence
            clause = {OnSilence.FINISH: "D1", OnSilence.HOLD: "D2", OnSilence.SAFE_STATE: "D3"}[
                policy
            ]
            if stand.can_last(name) and stand.wants(clause, "D5"):
                yield from _guarded(
                    stand, clause, name, _during(stand, holders.take(), name, clause)
                )
            elif clause == "D2" and stand.wants("D2", "D5"):
                yield from _guarded(stand, clause, name, _left(stand, holders.take(), name, clause))
            elif stand.wants(clause):
                reason = "the rehearsal says not how to make it last (lasting)"
                yield stand.not_judged(clause, reason, name)
            if clause == "D3" and stand.wants("D4", "D5"):
                yield from _guarded(stand, "D4", name, _left(stand, holders.take(), name, "D4"))
    finally:
        holders.close()
    if not stand.methods:
        yield stand.not_applicable("D1", "no action")


def _guarded(stand: Stand, clause: str, name: str, look: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from look
    except LabError as err:
        yield stand.not_judged(clause, str(err)[:400], name)


def _begin(stand: Stand, holder: Holder, name: str, *, lasting: bool) -> Command | None:
    """Let a client of its own begin an action; None when it does not reach the device."""
    try:
        made = stand.make(name, lasting=lasting)
        stand.bench.release(stand.name)
        lease = holder.lease(stand.name)
    except LabError:
        holder.kill()
        raise
    command = made.model_copy(update={"epoch": lease.epoch, "ledger": lease.ledger})
    if not holder.begin(command, lambda: stand.starts(command) > 0):
        holder.kill()
        return None
    step = stand.rehearsal.meanwhile.get(name)
    if step is not None:
        other = stand.bench.command(step.instrument, step.action, step.arguments, command.sample)
        stand.beside(stand.bench.begin(other))
    return command


def _during(stand: Stand, holder: Holder, name: str, clause: str) -> Iterator[Finding]:
    """Kill the holder in the middle of an action."""
    command = _begin(stand, holder, name, lasting=True)
    if command is None:
        yield stand.not_judged(clause, "it did not reach the device", name)
        return
    stand.bench.pause(_MID_S)
    is_over = _has_ended(stand, command)
    killed_s = holder.kill()
    if is_over:
        yield stand.not_judged(clause, "it had ended before the client was killed", name)
        yield from _next_holder(stand, name, command)
        return
    did = f"the client was killed in the middle of {name}({dict(command.arguments)})"
    if clause == "D3":
        yield _made_safe(stand, "D3", name, killed_s, did)
    else:
        yield _left_alone(stand, clause, name, killed_s, did, command)
    yield from _next_holder(stand, name, command)


def _left(stand: Stand, holder: Holder, name: str, clause: str) -> Iterator[Finding]:
    """Kill the holder after an action: what it left behind is governed too."""
    command = _begin(stand, holder, name, lasting=False)
    if command is None:
        yield stand.not_judged(clause, "it did not reach the device", name)
        return
    stand.bench.wait(lambda: _has_ended(stand, command), stand.rehearsal.longest_s)
    killed_s = holder.kill()
    did = f"{name}({dict(command.arguments)}) was done, then its client was killed"
    if clause == "D4":
        yield _made_safe(stand, "D4", name, killed_s, did)
    else:
        yield _left_alone(stand, clause, name, killed_s, did, command)
    yield from _next_holder(stand, name, command)


def _has_ended(stand: Stand, command: Command) -> bool:
    ends = {"returned", "raised", "refused", "cancelled"}
    key = str(command.key)
    return bool(stand.own_record.lines(lambda line: line["what"] in ends, key=key))


def _made_safe(stand: Stand, clause: str, name: str, killed_s: float, did: str) -> Finding:
    silence_s = stand.rehearsal.silence_s
    limit_s = silence_s + _ALLOWED_S

    def safe_after_s() -> float | None:
        lines = stand.own_record.lines(
            lambda line: line["at_s"] >= killed_s and line["error"] is None, what="safe_state"
        )
        return lines[0]["at_s"] - killed_s if lines else None

    stand.bench.wait(lambda: safe_after_s() is not None, limit_s + _LATE_S)
    took_s = safe_after_s()
    return stand.judge(
        clause, took_s is not None and took_s <= limit_s, name, did=did,
        expected=f"safe_state within {limit_s:g} s (silence {silence_s:g} s in the rehearsal)",
        happened="no safe state" if took_s is None else f"safe_state after {took_s:.2f} s",
        to_do="let the action end at once when it is cancelled, and safe_state return at once",
    )  # fmt: skip


def _left_alone(
    stand: Stand, clause: str, name: str, killed_s: float, did: str, command: Command
) -> Finding:
    stand.bench.pause(stand.rehearsal.silence_s + _ALLOWED_S)
    key = str(command.key)
    cuts = stand.own_record.lines(
        lambda line: (
            line["at_s"] >= killed_s
            and (
                line["what"] == "safe_state" or (line["what"] == "cancelled" and line["key"] == key)
            )
        )
    )
    return stand.judge(
        clause, not cuts, name, did=did, expected="no cancellation and no safe state",
        happened=f"{cuts[0]['what']} after {cuts[0]['at_s'] - killed_s:.2f} s" if cuts else "neither",
        to_do="let nothing in the class act by itself when nobody speaks",
    )  # fmt: skip


def _next_holder(stand: Stand, name: str, command: Command) -> Iterator[Finding]:
    """Take the lease again: no trip, the outcome is told, work goes on."""
    lease = stand.bench.lease(stand.name)
    outcome = stand.end(command)
    policy = stand.cls.actions()[name].spec.on_silence
    told = "no outcome" if outcome is None else f"{outcome.state}: {outcome.reason:.200}"
    if policy is not OnSilence.SAFE_STATE:
        yield stand.judge(
            "D1" if policy is OnSilence.FINISH else "D2",
            outcome is not None and outcome.state == "done", name,
            did="the next holder took the lease", expected="DONE is told", happened=told,
            to_do="let the action run to its end, whoever listens",
        )  # fmt: skip
    status = stand.bench.status(stand.name)
    # by themselves: telemetry may take a while to come round, and would trip then
    complaint = _limit_complaint(stand)
    is_kept = not (lease.trip or status.trip or complaint) and outcome is not None
    yield stand.judge(
        "D5", is_kept, name, did="the next holder took the lease", expected="no trip, and an outcome",
        happened=f"trip: {lease.trip or status.trip or complaint or None}; {told}",
        to_do="let safe_state succeed, and readouts stay inside their limits in the safe state",
    )  # fmt: skip


def _limit_complaint(stand: Stand) -> str:
    """Return which readout is outside of its limit, in the state that a silence has left."""
    for name, method in stand.cls.readouts().items():
        hint = get_type_hints(method.function, include_extras=True).get("return")
        if limit_of(hint) is None:
            continue
        reply = stand.bench.read(stand.name, name)
        complaint = None if reply is None else limit_complaint(reply.result, hint, name)
        if complaint:
            return complaint
    return ""


LOOKS = (Look(("D1", "D2", "D3", "D4", "D5"), _deaths),)
