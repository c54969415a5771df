"""Looks at actions that simply work: results, streams, keys (P1 to P3, K1 to K4, T4)."""

from collections.abc import Iterator

import numpy as np

from twinloop.errors import LabError
from twinloop.instruments.conformance.examples import NoExample
from twinloop.instruments.conformance.interface import Finding
from twinloop.instruments.conformance.stand import CannotPrepare, Look, Stand
from twinloop.log.arrays import ArrayStore
from twinloop.messages import Command, LeaseRefused, Message, Outcome, ReadoutReply

__all__ = ["LOOKS"]

_REPEATS = 3
_ANSWER_S = 5.0


def _examples(stand: Stand) -> Iterator[Finding]:
    """Do each action once, with harmless arguments, and everything that can be seen by that."""
    for name in stand.methods:
        try:
            command = stand.make(name)
        except (NoExample, CannotPrepare) as err:
            yield stand.not_judged("P2", str(err), name)
            continue
        before = len(stand.own_record.lines()) if stand.record else 0
        command = stand.begin(command)
        replies: list[ReadoutReply | None] = []
        if stand.wants("T4") and stand.cls.readouts():
            replies = _read_meanwhile(stand, command)
        outcome = stand.end(command)
        if replies and (outcome is None or outcome.state != "done"):
            again, alone = stand.do(name)
            yield _disturbed(stand, command, outcome, alone)
            command, outcome, replies = again, alone, []
        yield _is_done(stand, command, outcome)
        if outcome is None or outcome.state != "done":
            continue
        yield from _result_findings(stand, command, outcome, before)
        yield from _repeated(stand, command, outcome)
        if replies:
            unanswered = [r for r in replies if r is None or r.state != "done"]
            reasons = {"no answer" if r is None else r.reason for r in unanswered}
            yield stand.judge(
                "T4", not unanswered, name, did=f"{len(replies)} readouts were asked meanwhile",
                expected="all answer, and the action is done", to_do="guard the line with a lock",
                happened=f"{len(unanswered)} did not: {sorted(reasons)}"[:400] if unanswered else "all answered",
            )  # fmt: skip


def _disturbed(
    stand: Stand, command: Command, outcome: Outcome | None, alone: Outcome | None
) -> Finding:
    """Judge an action that was not done while readouts were asked, by what it does without them."""
    happened = "no outcome" if outcome is None else _said(outcome)
    return stand.judge(
        "T4", alone is None or alone.state != "done", command.action,
        did="readouts were asked meanwhile, then it was done again without them",
        expected="DONE in both cases", happened=f"{happened}; DONE without them",
        to_do="guard the line with a lock: one question, one answer",
    )  # fmt: skip


def _is_done(stand: Stand, command: Command, outcome: Outcome | None) -> Finding:
    limit_s = stand.rehearsal.longest_s
    happened = f"no outcome within {limit_s:g} s" if outcome is None else _said(outcome)
    is_kept = outcome is not None and outcome.state == "done"
    return stand.judge(
        "P2", is_kept, command.action, did=_called(command), expected=f"DONE within {limit_s:g} s",
        happened=happened, to_do="give harmless arguments in the rehearsal, or mend the action",
    )  # fmt: skip


def _called(command: Command) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in command.arguments.items())
    return f"{command.action}({arguments:.200}) was sent as {command.key}"


def _said(outcome: Outcome) -> str:
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"{outcome.state.upper()}{reason}"[:600]


def _read_meanwhile(stand: Stand, command: Command) -> list[ReadoutReply | None]:
    bench, replies = stand.bench, []
    names = list(stand.cls.readouts())
    for n_asked in range(3 * len(names)):
        replies.append(bench.read(stand.name, names[n_asked % len(names)]))
        if command.key in bench.heard.outcomes and n_asked >= len(names):
            break
    return replies


def _result_findings(
    stand: Stand, command: Command, outcome: Outcome, before: int
) -> Iterator[Finding]:
    name = command.action
    if stand.record is not None:
        lines = stand.own_record.lines()[before:]
        shapes = [n["shape"] for n in lines if n["what"] == "returned" and n["action"] == name]
        complaint = next((s for s in shapes if s), "")
        yield stand.judge(
            "P1", not complaint, name, did=_called(command), expected="what the annotation says",
            happened=complaint or "it is", to_do="return what is annotated",
        )  # fmt: skip
        bad = [n for n in lines if n["what"] == "emitted_badly"]
        streams = [n["stream"] for n in lines if n["what"] == "emitted"]
        if bad:
            yield stand.judge(
                "P3", False, f"{name}, stream {bad[0]['stream']}",
                did=_called(command), expected="finite numbers, numeric arrays",
                happened=bad[0]["error"], to_do="emit nothing where nothing was measured",
            )  # fmt: skip
        elif streams:
            yield stand.judge("P3", True, name, did=_called(command))
    complaint = _array_complaint(stand, outcome)
    yield stand.judge(
        "P2", not complaint, name, did="the arrays of the result were read from the depot",
        expected="all are there, finite numbers or NaN where nothing was measured",
        happened=complaint or f"{len(outcome.arrays)} arrays", to_do="return numeric arrays",
    )  # fmt: skip


def _array_complaint(stand: Stand, outcome: Outcome) -> str:
    store = ArrayStore(stand.bench.folder / "arrays")
    for ref in outcome.arrays:
        try:
            array = store.load(ref)
        except LabError as err:
            return f"{ref.name}: {err}"
        if array.size == 0:
            return f"{ref.name} is empty, shape {array.shape}"
        if array.dtype.kind in "fc" and np.isinf(array).any():
            return f"{ref.name} holds infinities"
    return ""


def _repeated(stand: Stand, command: Command, outcome: Outcome) -> Iterator[Finding]:
    if not stand.wants("K1"):
        return
    told = [_answer(stand, command) for _ in range(_REPEATS)]
    is_same = all(t is not None and _same(t, outcome) for t in told)
    counts = []
    if stand.record is not None:
        counts.append(("the author's code", stand.starts(command)))
    truth = stand.truth(command.key)
    if truth is not None and stand.is_recorded_by_device(command.action):
        counts.append(("the device", truth.begins))
    wrong = [f"{who} was asked {n} times" for who, n in counts if n != 1]
    if not is_same:
        wrong.append("the answers differ")
    yield stand.judge(
        "K1", not wrong, command.action, did=f"{_called(command)}, and {_REPEATS} times again",
        expected="one physical effect, and the same outcome each time",
        happened="; ".join(wrong) or "one effect",
        to_do="an action does its work once; let nothing behind it try again by itself",
    )  # fmt: skip


def _answer(stand: Stand, command: Command) -> Outcome | None:
    return stand.bench.ask(
        command,
        lambda m: m if isinstance(m, Outcome) and m.key == command.key else None,
        _ANSWER_S,
    )


def _same(one: Outcome, other: Outcome) -> bool:
    return (one.state, one.result, one.arrays) == (other.state, other.result, other.arrays)


def _harmless(stand: Stand) -> str:
    """Return the action that the looks at keys send: the first that can be prepared."""
    for name, method in stand.methods.items():
        try:
            stand.arguments(name)
        except NoExample:
            continue
        if not method.spec.moves_sample and name not in stand.rehearsal.meanwhile:
            return name
    return next(iter(stand.methods), "")


def _leases(stand: Stand) -> Iterator[Finding]:
    action = _harmless(stand)
    if not action:
        for clause in ("K2", "K3"):
            yield stand.not_applicable(clause, "no action")
        return
    if stand.wants("K2"):
        command = stand.make(action)
        stale = command.model_copy(update={"epoch": max(0, command.epoch - 1)})
        answer = stand.bench.ask(
            stale, lambda m: m if _is_refusal(m, stale.epoch) else None, _ANSWER_S
        )
        yield stand.judge(
            "K2", answer is not None and not stand.was_touched(stale), action,
            did=f"{_called(stale)} under epoch {stale.epoch}, the lease is {command.epoch}",
            expected="refused, and the device untouched",
            happened="no refusal" if answer is None else str(getattr(answer, "reason", answer)),
        )  # fmt: skip
    if stand.wants("K3"):
        foreign = stand.make(action).model_copy(update={"ledger": "another-ledger"})
        told = _answer(stand, foreign)
        yield stand.judge(
            "K3", told is not None and told.state == "unknown" and not stand.was_touched(foreign),
            action, did=f"{_called(foreign)} under another ledger",
            expected="UNKNOWN, and the device untouched",
            happened="no answer" if told is None else _said(told),
        )  # fmt: skip


def _is_refusal(message: Message, epoch: int) -> bool:
    return isinstance(message, LeaseRefused) and message.epoch == epoch


def _samples(stand: Stand) -> Iterator[Finding]:
    loads = [n for n, m in stand.cls.actions().items() if m.spec.loads_sample]
    if not loads and not stand.rehearsal.companions():
        yield stand.not_applicable("K4", "no action brings samples in: they are not tracked")
        return
    for name, method in stand.methods.items():
        if method.spec.loads_sample:
            yield from _nameless(stand, name)
            continue
        try:
            command = stand.make(name).model_copy(update={"sample": "not-there"})
        except LabError as err:
            yield stand.not_judged("K4", str(err), name)
            continue
        told = _answer(stand, command)
        yield _refused(stand, "K4", command, told, "for sample not-there")


def _nameless(stand: Stand, name: str) -> Iterator[Finding]:
    try:
        command = stand.make(name).model_copy(update={"sample": None})
    except LabError as err:
        yield stand.not_judged("K4", str(err), name)
        return
    yield _refused(stand, "K4", command, _answer(stand, command), "for no sample")


def _refused(
    stand: Stand, clause: str, command: Command, told: Outcome | None, how: str
) -> Finding:
    is_kept = told is not None and told.state == "failed" and not stand.was_touched(command)
    happened = "no answer" if told is None else _said(told)
    if stand.was_touched(command):
        happened += "; the device was touched"
    return stand.judge(
        clause, is_kept, command.action, did=f"{_called(command)} {how}",
        expected="FAILED, and the device untouched", happened=happened,
    )  # fmt: skip


LOOKS = (
    Look(("P1", "P2", "P3", "K1", "T4"), _examples),
    Look(("K2", "K3"), _leases),
    Look(("K4",), _samples),
)
