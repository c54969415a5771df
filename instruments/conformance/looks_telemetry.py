"""Looks at readouts (T1 to T3, T5, T6) and at `is_busy` (B1)."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, get_type_hints

from twinloop.errors import LabError
from twinloop.instruments.conformance.interface import Finding
from twinloop.instruments.conformance.shapes import is_number_type, names_its_unit, shape_complaint
from twinloop.instruments.conformance.stand import Inspector, Look, Stand
from twinloop.instruments.outgoing import limit_complaint

__all__ = ["LAST_LOOKS", "LOOKS"]

_ANSWER_S = 2.0
_ROUNDS = 5
_RUNS = 2
_MID_S = 0.5


def _readouts(stand: Stand) -> Iterator[Finding]:
    stand.ready()
    for name, method in stand.cls.readouts().items():
        hint = get_type_hints(method.function, include_extras=True).get("return")
        begun_s = stand.bench.clock.now_s()
        reply = stand.bench.read(stand.name, name, _ANSWER_S + 3.0)
        took_s = stand.bench.clock.now_s() - begun_s
        happened = "no answer" if reply is None else reply.reason or f"{reply.result!r}"
        is_answered = reply is not None and reply.state == "done"
        yield stand.judge(
            "T1", is_answered and took_s <= _ANSWER_S, name, did="it was asked through the hub",
            expected=f"an answer within {_ANSWER_S:g} s", happened=f"{happened:.200}, {took_s:.2f} s",
            to_do="read what the device has measured last; wait for no measurement",
        )  # fmt: skip
        value = None if reply is None else reply.result
        yield _type_finding(stand, name, hint, value, is_answered=is_answered)
        if is_answered:
            complaint = limit_complaint(value, hint, name)
            yield stand.judge(
                "T3", complaint is None, name, did="it was asked at rest",
                expected="a finite value inside the limit of its type",
                happened=complaint or f"{value!r}", to_do="correct the scale, or the limit",
            )  # fmt: skip
        else:
            yield stand.judge(
                "T3", "finite" not in happened, name, did="it was asked at rest",
                expected="a finite value", happened=f"{happened:.200}", to_do="raise where nothing is read",
            )  # fmt: skip
    if not stand.cls.readouts():
        for clause in ("T1", "T2", "T3"):
            yield stand.not_applicable(clause, "no readout")


def _type_finding(
    stand: Stand, name: str, hint: object, value: Any, *, is_answered: bool
) -> Finding:
    if hint is None:
        happened = "no return type"
    elif is_number_type(hint) and not names_its_unit(name, hint):
        happened = "a float without a unit"
    else:
        happened = (shape_complaint(value, hint) or "") if is_answered else ""
    return stand.judge(
        "T2", not happened, name, did="its type and its value were compared",
        expected="a unit, or bool, int, str; and a value of that type",
        happened=happened or "they agree", to_do=f"write -> Kelvin, -> bool, ... over {name}",
    )  # fmt: skip


def _unchanged(stand: Stand) -> Iterator[Finding]:
    stand.ready()
    before = stand.effects()
    if before is None:
        yield stand.not_judged("T6", "the rehearsal has no record of the device (effects)")
        return
    for _ in range(_ROUNDS):
        for name in stand.cls.readouts():
            stand.bench.read(stand.name, name)
    after = stand.effects() or []
    new = after[len(before) :]
    yield stand.judge(
        "T6", not new, did=f"all readouts were asked {_ROUNDS} times",
        expected="the device's record stays as it is",
        happened=f"{[f'{e.action} {e.what}' for e in new[:5]]}" if new else "nothing new",
        to_do="a readout reads; what moves something is an action",
    )  # fmt: skip


def _busy(stand: Stand) -> Iterator[Finding]:
    stand.ready()
    with Inspector(stand) as other:
        told = other.do("connect")
        at_rest = other.do("busy")
        yield stand.judge(
            "B1", at_rest["error"] is None and at_rest["told"] in {False, None}, "at rest",
            did="is_busy was asked over a connection of its own", expected="False, or None",
            happened=told["error"] or at_rest["error"] or str(at_rest["told"]),
            to_do="ask the device; None where it cannot tell",
        )  # fmt: skip
        if at_rest["told"] is None:
            return
        for name in stand.methods:
            # what ends with its process has nothing that goes on by itself
            if name not in stand.rehearsal.goes_on or not stand.can_last(name):
                continue
            try:
                command = stand.begin(stand.make(name, lasting=True))
            except LabError as err:
                yield stand.not_judged("B1", str(err), name)
                continue
            if not stand.is_under_way(command):
                stand.end(command)
                continue
            stand.bench.pause(_MID_S)
            midway = other.do("busy")
            is_over = command.key in stand.bench.heard.outcomes
            stand.bench.abort(command)
            stand.end(command)
            if is_over:
                continue
            yield stand.judge(
                "B1", midway["told"] is not False, name,
                did="is_busy was asked in the middle, over a connection of its own",
                expected="True, or None", happened=midway["error"] or str(midway["told"]),
                to_do="ask the device; its watchdog would cut this action short",
            )  # fmt: skip


def _steps(stand: Stand) -> Iterator[Finding]:
    """Judge at the end what the record holds of long steps; what did not run twice is run."""
    for name in stand.methods:
        while stand.own_record.count("began", action=name) < _RUNS:
            try:
                _, outcome = stand.do(name)
            except LabError as err:
                yield stand.not_judged("T5", str(err), name)
                break
            if outcome is None or outcome.state != "done":
                yield stand.not_judged("T5", "it was not done", name)
                break
    lines = stand.own_record.lines(what="blocked")
    counts = Counter(str(line.get("action") or line.get("readout")) for line in lines)
    longest: dict[str, float] = {}
    for line in lines:
        name = str(line.get("action") or line.get("readout"))
        longest[name] = max(longest.get(name, 0.0), float(line["for_s"]))
    for name, n_times in counts.items():
        if n_times < 2:
            continue
        yield stand.judge(
            "T5", False, name,
            did="every step between two awaits was timed in the adapter process",
            expected="at most 0.5 s", happened=f"{n_times} steps were longer, up to {longest[name]:.2f} s",
            to_do="await asyncio.to_thread(...) around a call that waits, or poll with clock.sleep",
        )  # fmt: skip
    ran = {line["action"] for line in stand.own_record.lines(what="began")}
    for name in sorted(ran - {n for n, c in counts.items() if c > 1}):
        yield stand.judge("T5", True, name, did="every step was timed")


LOOKS = (
    Look(("T1", "T2", "T3"), _readouts),
    Look(("T6",), _unchanged),
    Look(("B1",), _busy),
)
LAST_LOOKS = (Look(("T5",), _steps),)
