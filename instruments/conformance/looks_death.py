"""Looks at what an instrument says after its adapter was killed (R1 to R6, F5), and restarts (W)."""

import os
from collections.abc import Iterator
from typing import Any

from twinloop.errors import LabError
from twinloop.instruments.conformance.interface import Finding
from twinloop.instruments.conformance.looks_stop import outcome_complaint
from twinloop.instruments.conformance.stand import Look, Stand
from twinloop.instruments.interface import OnSilence, Recovery
from twinloop.messages import Command, Outcome

__all__ = ["LOOKS"]

_MID_S = 0.6
_DEATH_S = 20.0
_WATCHDOG_S = 5.0
_CLOSE = 1e-6


def _kills(stand: Stand) -> Iterator[Finding]:
    for name, method in stand.methods.items():
        recovery = method.spec.recovery
        is_idempotent = recovery is Recovery.IDEMPOTENT
        for point, clauses in (("before", ("R1", "R4", "R5")), ("after", ("R2", "R4", "R5")),
                               ("middle", ("R3", "R4", "R5"))):  # fmt: skip
            own = clauses[1:2] if is_idempotent else (clauses[0], "R5")
            if not stand.wants(*own):
                continue
            if point == "middle" and not stand.can_last(name):
                reason = "the rehearsal says not how to make it last (lasting)"
                yield stand.not_judged(own[0], reason, f"{name}, killed in the middle")
                continue
            yield from _guarded(stand, own[0], name, point)


def _guarded(stand: Stand, clause: str, name: str, point: str) -> Iterator[Finding]:
    try:
        yield from _kill(stand, name, point)
    except LabError as err:
        yield stand.not_judged(clause, str(err)[:400], f"{name}, killed {point}")
    finally:
        stand.bench.may_die = False
        stand.own_record.withdraw("kill")
        if stand.bench.is_dead:
            stand.restart()


def _kill(stand: Stand, name: str, point: str) -> Iterator[Finding]:
    command = stand.make(name, lasting=point == "middle")
    if point == "middle":
        command = stand.begin(command)
        if not stand.is_under_way(command):
            yield stand.not_judged("R3", "it ended before it could be killed", name)
            return
        stand.bench.pause(_MID_S)
        if command.key in stand.bench.heard.outcomes:
            yield stand.not_judged("R3", "it ended before it could be killed", name)
            return
        stand.bench.kill()
    else:
        stand.bench.may_die = True
        stand.own_record.give_order("kill", action=name, at=point)
        # an answer is not waited for: it dies before it can say a word, or just after
        end_s = stand.bench.clock.now_s() + _DEATH_S
        stand.bench.send(command)
        step = stand.rehearsal.meanwhile.get(name)
        if step is not None and point == "after":
            stand.bench.wait(lambda: stand.starts(command) > 0, _DEATH_S)
            other = stand.bench.command(
                step.instrument, step.action, step.arguments, command.sample
            )
            stand.bench.send(other)
            end_s += stand.rehearsal.longest_s
        if not stand.bench.await_death(end_s - stand.bench.clock.now_s()):
            outcome = stand.bench.heard.outcomes.get(command.key)
            told = "" if outcome is None else f": {outcome.state}, {outcome.reason}"
            yield stand.not_judged("R1", f"the order to die was not reached{told}", name)
            return
    stand.restart()
    for partner in stand.partners():
        stand.bench.lease(partner)
    outcome = stand.end(command)
    yield from _verdicts(stand, command, point, outcome)


def _verdicts(
    stand: Stand, command: Command, point: str, outcome: Outcome | None
) -> Iterator[Finding]:
    name = command.action
    recovery = stand.cls.actions()[name].spec.recovery
    did = f"{name}({dict(command.arguments)}) was sent; the adapter was killed " + {
        "before": "before the device was touched", "after": "after the action returned",
        "middle": "in the middle",
    }[point]  # fmt: skip
    happened = (
        "no outcome"
        if outcome is None
        else f"{outcome.state.upper()} {outcome.result} {outcome.reason}"
    )
    starts, truth = stand.starts(command), stand.truth(command.key)
    begins = truth.begins if truth and stand.is_recorded_by_device(name) else starts
    told = f"{happened:.300}; started {starts} times, by the device's record {begins}"
    if recovery is Recovery.IDEMPOTENT:
        wanted = 1 if point == "before" else 2
        yield stand.judge(
            "R4", outcome is not None and outcome.state == "done" and starts == wanted,
            f"{name}, killed {point}", did=did, expected=f"DONE, after {wanted} starts", happened=told,
            to_do="let the action be done again from wherever it was left",
        )  # fmt: skip
        return
    limit = 0 if point == "before" else 1
    yield stand.judge(
        "R5", starts <= limit and begins <= limit, f"{name}, killed {point}", did=did,
        expected=f"started {limit} times", happened=told, to_do="let reconcile ask, and start nothing",
    )  # fmt: skip
    if recovery is Recovery.UNSAFE:
        is_kept = outcome is not None and (outcome.state != "failed" or point == "before")
        yield stand.judge(
            {"before": "R1", "after": "R2", "middle": "R3"}[point], is_kept, name, did=did,
            expected="UNKNOWN, or what the device can prove", happened=told,
            to_do="let a person look: say Unknown where the device cannot tell",
        )  # fmt: skip
        return
    yield _told_truth(stand, command, point, outcome, did, told)


def _told_truth(
    stand: Stand, command: Command, point: str, outcome: Outcome | None, did: str, told: str
) -> Finding:
    name = command.action
    to_do = "let reconcile find the run by command.key, in the device's own memory"
    if point == "before":
        is_kept = outcome is not None and outcome.state == "failed" and outcome.may_retry
        return stand.judge(
            "R1", is_kept, name, did=did, expected="FAILED, and may be tried again (NotDone)",
            happened=told, to_do=to_do,
        )  # fmt: skip
    if point == "after":
        returned = stand.own_record.lines(what="returned", key=str(command.key))
        wanted = returned[-1]["result"].get("$value") if returned else None
        is_kept = outcome is not None and outcome.state == "done" and _agree(wanted, outcome.result)
        return stand.judge(
            "R2", is_kept, name, did=did, expected=f"DONE with {wanted}"[:300], happened=told,
            to_do=f"{to_do}, with the result it had",
        )  # fmt: skip
    complaint = (
        "no outcome"
        if outcome is None
        else outcome_complaint(stand, command, outcome, is_after_death=stand.effects() is None)
    )
    return stand.judge(
        "R3", not complaint, name, did=did, expected="what the device's record says",
        happened=f"{complaint}; {told}".lstrip("; "), to_do=to_do,
    )  # fmt: skip


def _agree(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        if set(one) == {"$array"} or set(other) == {"$array"}:
            return set(one) == set(other)
        return set(one) == set(other) and all(_agree(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_agree, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= _CLOSE * max(1.0, abs(one))
    return bool(one == other)


def _breaks(stand: Stand) -> Iterator[Finding]:
    if not stand.rehearsal.breaks:
        yield stand.not_judged("R6", "the rehearsal names no fault that breaks an action (breaks)")
    for name, fault in stand.rehearsal.breaks.items():
        try:
            command = stand.make(name, lasting=stand.can_last(name))
            stand.rehearsal.inject(fault)
            command = stand.begin(command)
            outcome = stand.end(command)
        except LabError as err:
            yield stand.not_judged("R6", str(err), name)
            continue
        finally:
            stand.rehearsal.mend(fault)
        touched = stand.truth(command.key)
        is_wrong = outcome is None or (
            outcome.state == "failed" and touched is not None and touched.begins > 0
        )
        happened = "no outcome" if outcome is None else f"{outcome.state.upper()}: {outcome.reason}"
        yield stand.judge(
            "R6", not is_wrong, name, did=f"{name} was done while the fault {fault} stood",
            expected="UNKNOWN, PARTIAL or DONE, because the device had begun",
            happened=f"{happened}; the device began {touched.begins if touched else '?'} times"[:400],
            to_do="raise NotTouched only before the first order to the device",
        )  # fmt: skip


def _watchdog(stand: Stand) -> Iterator[Finding]:
    names = [n for n, m in stand.methods.items() if m.spec.on_silence is OnSilence.SAFE_STATE]
    if not names:
        yield stand.not_applicable("F5", "no action's silence is safe_state")
    for name in names:
        try:
            command, outcome = stand.do(name)
        except LabError as err:
            yield stand.not_judged("F5", str(err), name)
            continue
        if outcome is None or outcome.state != "done":
            yield stand.not_judged("F5", "it was not done", name)
            continue
        began = stand.own_record.lines(what="began", key=str(command.key))
        adapter = began[-1]["pid"] if began else os.getpid()
        killed_s = stand.bench.clock.now_s()
        stand.bench.kill()
        took_s = _await_watchdog(stand, killed_s, adapter)
        yield stand.judge(
            "F5", took_s is not None and took_s <= _WATCHDOG_S, name,
            did=f"{name} was done, then the adapter was killed",
            expected=f"safe_state by the watchdog within {_WATCHDOG_S:g} s",
            happened="no safe state without an error" if took_s is None else f"after {took_s:.2f} s",
            to_do="let safe_state need nothing that only the adapter's process has",
        )  # fmt: skip
        stand.restart()


def _await_watchdog(stand: Stand, killed_s: float, adapter: int) -> float | None:
    def lines() -> list[dict[str, Any]]:
        return stand.own_record.lines(
            lambda n: n["pid"] != adapter and n["at_s"] > killed_s and n["error"] is None,
            what="safe_state",
        )

    stand.bench.wait(lines, _WATCHDOG_S + 3.0)
    found = lines()
    return found[0]["at_s"] - killed_s if found else None


def _restarts(stand: Stand) -> Iterator[Finding]:
    names = [n for n, m in stand.methods.items() if not m.spec.moves_sample] or list(stand.methods)
    bench, outcome, command = stand.bench, None, None
    if names and stand.wants("W2"):
        bench.acknowledges = False
        try:
            command, outcome = stand.do(names[0])
        except LabError as err:
            yield stand.not_judged("W2", str(err), names[0])
        finally:
            bench.acknowledges = True
    else:
        stand.ready()
    before, lease = bench.status(stand.name), bench.lease(stand.name)
    bench.kill()
    is_full = stand.wants("W3")
    bench.heard.outcomes.pop(command.key if command else None, None)  # type: ignore[arg-type]
    stand.restart(**({"spool_limit_bytes": 1, "spool_reserve_bytes": 2} if is_full else {}))
    again = bench.lease(stand.name)
    yield stand.judge(
        "W1", again.ledger == lease.ledger and again.epoch > lease.epoch
        and again.schema_digest == before.schema_digest,
        did="the adapter was killed, and started on the same folder",
        expected=f"ledger {lease.ledger}, an epoch above {lease.epoch}, the same schema",
        happened=f"ledger {again.ledger}, epoch {again.epoch}, "
        f"schema {'same' if again.schema_digest == before.schema_digest else 'changed'}",
        to_do="keep the adapter's folder; let nothing in the class depend on the start",
    )  # fmt: skip
    if command is not None and outcome is not None:
        yield _told_again(stand, command, outcome)
    if is_full:
        for name in stand.methods:
            yield from _no_room(stand, name)
        bench.end()
        stand.restart()


def _told_again(stand: Stand, command: Command, outcome: Outcome) -> Finding:
    bench = stand.bench
    bench.wait(lambda: command.key in bench.heard.outcomes, 10.0)
    found = bench.heard.outcomes.get(command.key)
    is_same = found is not None and (found.state, found.result) == (outcome.state, outcome.result)
    return stand.judge(
        "W2", is_same, command.action,
        did=f"{command.action} was done, its outcome not acknowledged, the adapter killed",
        expected=f"{outcome.state} {outcome.result}"[:200],
        happened="nothing was told" if found is None else f"{found.state} {found.result}"[:200],
    )  # fmt: skip


def _no_room(stand: Stand, name: str) -> Iterator[Finding]:
    bench = stand.bench
    try:
        arguments = stand.arguments(name)
    except LabError as err:
        yield stand.not_judged("W3", str(err), name)
        return
    sample = bench.status(stand.name).sample
    if sample is None or stand.cls.actions()[name].spec.loads_sample:
        sample = stand.new_sample()
    command = bench.begin(bench.command(stand.name, name, arguments, sample))
    outcome = bench.outcome(command, 10.0)
    is_kept = outcome is not None and outcome.state == "failed" and not stand.was_touched(command)
    yield stand.judge(
        "W3", is_kept, name, did="it was sent while the spool had no room",
        expected="FAILED, and the device untouched",
        happened="no outcome" if outcome is None else f"{outcome.state}: {outcome.reason:.200}",
    )  # fmt: skip


LOOKS = (
    Look(("R1", "R2", "R3", "R4", "R5"), _kills),
    Look(("R6",), _breaks),
    Look(("F5",), _watchdog),
    Look(("W1", "W2", "W3"), _restarts),
)
