"""Looks at what must not reach the device (L1 to L5, I1, I2), judged at the moment of execution."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from twinloop.errors import LabError
from twinloop.ids import seed_of
from twinloop.instruments.conformance.examples import outside, wrong_values
from twinloop.instruments.conformance.interface import Finding
from twinloop.instruments.conformance.stand import Look, Stand
from twinloop.instruments.interface import ActionMethod, ParameterSpec
from twinloop.messages import Command, Outcome

__all__ = ["LOOKS"]

_ANSWER_S = 10.0
_RATE_ALLOWANCE = 1.2
_RATE_SPAN_S = 0.2
_HUGE = 10**400
_NOT_FINITE = (math.nan, math.inf, -math.inf)


def _values(stand: Stand) -> Iterator[Finding]:
    for name, method in stand.methods.items():
        try:
            good = stand.arguments(name)
            made = stand.make(name)
        except LabError as err:
            for clause in ("L1", "L2", "L3", "L4"):
                if stand.wants(clause):
                    yield stand.not_judged(clause, str(err), name)
            continue
        for clause, subject, cases in _cases(stand, name, method, good):
            yield _judged(stand, made, clause, subject, cases)
    if not stand.methods:
        yield stand.not_applicable("L1", "no action")


def _cases(
    stand: Stand, name: str, method: ActionMethod[..., Any], good: dict[str, Any]
) -> Iterator[tuple[str, str, list[tuple[str, dict[str, Any]]]]]:
    for p in method.spec.parameters:
        subject = f"{name}.{p.name}"
        if stand.wants("L1") and p.limit is not None:
            values = _outside(p, subject)
            yield "L1", subject, [(f"{p.name}={v!r}", {**good, p.name: v}) for v in values]
        if stand.wants("L2") and p.type_name == "float":
            values = [*_NOT_FINITE, _HUGE, -_HUGE]
            yield "L2", subject, [(f"{p.name}={v!r:.12}", {**good, p.name: v}) for v in values]
        if stand.wants("L3"):
            values = wrong_values(p)
            yield "L3", subject, [(f"{p.name}={v!r}", {**good, p.name: v}) for v in values]
    if stand.wants("L4"):
        cases = [("an argument no_such_thing", {**good, "no_such_thing": 1.0})]
        needed = [p.name for p in method.spec.parameters if not _has_default(p)]
        cases += [(f"no {n}", {k: v for k, v in good.items() if k != n}) for n in needed]
        yield "L4", name, cases


def _has_default(parameter: ParameterSpec) -> bool:
    import inspect

    return parameter.default is not inspect.Parameter.empty


def _outside(parameter: ParameterSpec, subject: str) -> list[float | int]:
    limit = parameter.limit
    if limit is None:
        return []
    values = outside(limit, seed_of(subject))
    if parameter.type_name == "float":
        return list(values)
    return [int(v) for v in values if abs(v) < 1e15 and not limit.low <= int(v) <= limit.high]


def _judged(
    stand: Stand,
    made: Command,
    clause: str,
    subject: str,
    cases: list[tuple[str, dict[str, Any]]],
) -> Finding:
    if not cases:
        return stand.not_judged(clause, "the type refuses nothing that the suite knows", subject)
    sent = [(said, _fresh(stand, made, arguments)) for said, arguments in cases]
    for _, command in sent:
        stand.bench.send(command)
    wrong = []
    for said, command in sent:
        outcome = _closed(stand, command)
        if outcome is None or outcome.state not in {"failed", "not_done"}:
            wrong.append(f"{said}: {'no answer' if outcome is None else outcome.state.upper()}")
        elif stand.was_touched(command):
            wrong.append(f"{said}: {outcome.state.upper()}, and the author's code was reached")
    return stand.judge(
        clause, not wrong, subject,
        did=f"{made.action} was sent {len(sent)} times, with {', '.join(s for s, _ in sent):.300}",
        expected="FAILED each time, and the device untouched",
        happened="; ".join(wrong)[:500] or "FAILED each time, untouched",
        to_do="write unit and Limit, or the plain type, into the argument's annotation",
    )  # fmt: skip


def _fresh(stand: Stand, made: Command, arguments: Mapping[str, Any]) -> Command:
    fresh = stand.bench.command(made.instrument, made.action, {}, made.sample)
    # what the model refuses to hold is sent all the same
    return Command.model_construct(
        **{name: getattr(fresh, name) for name in Command.model_fields} | {"arguments": arguments}
    )


def _closed(stand: Stand, command: Command) -> Outcome | None:
    """Return how a key ended; one that never arrived is closed by the question."""
    return stand.bench.outcome(command, _ANSWER_S)


def _unknown_action(stand: Stand) -> Iterator[Finding]:
    sample = stand.ready()
    command = stand.bench.command(stand.name, "no_such_action", {}, sample)
    stand.bench.send(command)
    outcome = stand.bench.outcome(command, _ANSWER_S)
    yield stand.judge(
        "L4", outcome is not None and outcome.state == "failed", "no_such_action",
        did="an action that does not exist was sent", expected="FAILED",
        happened="no answer" if outcome is None else outcome.state.upper(),
    )  # fmt: skip


def _rates(stand: Stand) -> Iterator[Finding]:
    rated = [
        (f"{name}.{p.name}", name, p)
        for name, method in stand.methods.items()
        for p in method.spec.parameters
        if p.limit is not None and p.limit.rate_per_s is not None
    ]
    if not rated:
        yield stand.not_applicable("L5", "no argument has a rate limit")
    for subject, name, parameter in rated:
        readout = stand.rehearsal.follows.get(subject)
        if readout is None:
            reason = "the rehearsal names no readout that follows it (follows)"
            yield stand.not_judged("L5", reason, subject)
            continue
        yield from _rate(stand, subject, name, parameter, readout)


def _rate(
    stand: Stand, subject: str, name: str, parameter: ParameterSpec, readout: str
) -> Iterator[Finding]:
    limit = parameter.limit
    rate = 0.0 if limit is None or limit.rate_per_s is None else limit.rate_per_s
    try:
        command = stand.begin(stand.make(name, lasting=stand.can_last(name)))
    except LabError as err:
        yield stand.not_judged("L5", str(err), subject)
        return
    seen: list[tuple[float, float, float]] = []
    end_s = stand.bench.clock.now_s() + stand.rehearsal.longest_s
    while command.key not in stand.bench.heard.outcomes and stand.bench.clock.now_s() < end_s:
        asked_s = stand.bench.clock.now_s()
        reply = stand.bench.read(stand.name, readout)
        if reply is not None and isinstance(reply.result, int | float):
            seen.append((asked_s, stand.bench.clock.now_s(), float(reply.result)))
    stand.end(command)
    factor = stand.rehearsal.clock_factor
    fastest = 0.0
    # a value was read at some time between question and answer: over the longest time that is
    # possible between two of them, a slow answer of a busy machine is never taken for a fast ramp
    for n_first, (asked_s, _, first) in enumerate(seen):
        later = next(((t, v) for _, t, v in seen[n_first:] if t - asked_s >= _RATE_SPAN_S), None)
        if later is not None:
            fastest = max(fastest, abs(later[1] - first) / ((later[0] - asked_s) * factor))
    if len(seen) < 3:
        yield stand.not_judged("L5", f"{readout} was read {len(seen)} times only", subject)
        return
    yield stand.judge(
        "L5", fastest <= _RATE_ALLOWANCE * rate, subject,
        did=f"{readout} was read {len(seen)} times during {name}({dict(command.arguments)})",
        expected=f"at most {rate:g} {parameter.unit}/s", happened=f"{fastest:.3g} {parameter.unit}/s",
        to_do="ramp: set the controller's rate, or walk in steps",
    )  # fmt: skip


def _interlocks(stand: Stand) -> Iterator[Finding]:
    guarded = [(n, i) for n, m in stand.methods.items() for i in m.spec.interlocks]
    if not guarded:
        yield stand.not_applicable("I1", "no action has an interlock")
    for name, interlock in guarded:
        try:
            command = stand.make(name)
        except LabError as err:
            yield stand.not_judged("I1", str(err), f"{name}, {interlock}")
            continue
        stand.own_record.give_order("force", **{interlock: False})
        try:
            outcome = stand.bench.outcome(stand.bench.begin(command), stand.rehearsal.longest_s)
        finally:
            stand.own_record.withdraw("force")
        yield _interlock_finding(stand, "I1", command, interlock, outcome, "was made to say false")


def _interlock_finding(
    stand: Stand, clause: str, command: Command, interlock: str, outcome: Outcome | None, how: str
) -> Finding:
    is_touched = stand.was_touched(command)
    is_kept = outcome is not None and outcome.state == "failed" and not is_touched
    happened = "no outcome" if outcome is None else f"{outcome.state.upper()}: {outcome.reason}"
    return stand.judge(
        clause, is_kept, f"{command.action}, {interlock}",
        did=f"{interlock} {how}, then {command.action} was sent",
        expected="FAILED, and the device untouched",
        happened=f"{happened}{'; the device was touched' if is_touched else ''}",
        to_do="let the readout ask the contact itself, and name it under interlocks",
    )  # fmt: skip


def _contacts(stand: Stand) -> Iterator[Finding]:
    guarded = {i: n for n, m in stand.methods.items() for i in m.spec.interlocks}
    if not guarded:
        yield stand.not_applicable("I2", "no action has an interlock")
    for interlock, name in guarded.items():
        fault = stand.rehearsal.interlocks.get(interlock)
        if fault is None:
            reason = "the rehearsal names no fault that opens it (interlocks)"
            yield stand.not_judged("I2", reason, interlock)
            continue
        command = stand.make(name)
        stand.rehearsal.inject(fault)
        try:
            reply = stand.bench.read(stand.name, interlock)
            outcome = stand.bench.outcome(stand.bench.begin(command), stand.rehearsal.longest_s)
        finally:
            stand.rehearsal.mend(fault)
        if reply is None or reply.result is not False:
            told = "no answer" if reply is None else f"it says {reply.result}"
            yield stand.judge(
                "I2", False, f"{name}, {interlock}", did=f"the fault {fault} was injected",
                expected="it says false", happened=told, to_do="ask the contact, not a variable",
            )  # fmt: skip
        else:
            how = f"was opened by the fault {fault}"
            yield _interlock_finding(stand, "I2", command, interlock, outcome, how)


LOOKS = (
    Look(("L1", "L2", "L3", "L4"), _values),
    Look(("L4",), _unknown_action),
    Look(("L5",), _rates),
    Look(("I1",), _interlocks),
    Look(("I2",), _contacts),
)
