"""Looks at what ends an action early: abort (A1 to A3), emergency stop (E1, E2), safe state (F2 to F4)."""

from collections.abc import Iterator

from twinloop.errors import LabError
from twinloop.instruments.conformance.interface import Finding
from twinloop.instruments.conformance.looks_connection import SAFE_LIMIT_S
from twinloop.instruments.conformance.stand import Inspector, Look, Stand
from twinloop.instruments.interface import Recovery
from twinloop.messages import Clear, Command, EmergencyStop, Outcome

__all__ = ["LOOKS", "outcome_complaint"]

_MID_S = 0.5
_REST_S = 3.0


def outcome_complaint(
    stand: Stand, command: Command, outcome: Outcome, *, is_after_death: bool = False
) -> str:
    """Return what is wrong with an outcome of something that was cut short; "" for nothing.

    It must be what the recovery class says, tell numbers, and agree with the device's own record.
    What was measured in the memory of a process that died may be untold.
    """
    recovery = stand.cls.actions()[command.action].spec.recovery
    state, result = outcome.state, outcome.result
    if state == "unknown" and recovery is not Recovery.UNSAFE:
        return f"UNKNOWN, and it is {recovery}: {outcome.reason}"
    if state == "partial":
        if not isinstance(result, dict):
            return f"PARTIAL with {result!r}"
        if not result and not is_after_death and recovery is Recovery.RECONCILABLE:
            return "PARTIAL, and nothing says how much: Partial(dose_ML=1.5)"
    truth = stand.truth(command.key)
    if truth is None or not stand.is_recorded_by_device(command.action):
        return ""
    if state == "failed" and (truth.ends or truth.cuts):
        return f"FAILED (nothing happened), and the device did it: {truth}"
    if state == "done" and truth.cuts and not truth.ends:
        return f"DONE, and the device was cut short: {truth}"
    if state == "done" and not truth.begins:
        return "DONE, and the device never began"
    goes_on = command.action in stand.rehearsal.goes_on
    if state == "partial" and goes_on and not (truth.ends or truth.cuts):
        return "PARTIAL, and the device is still at it: Running"
    if state == "partial" and truth.ends and not truth.cuts:
        return f"PARTIAL, and the device came to its end: {truth}"
    return _number_complaint(outcome, truth.numbers)


def _number_complaint(outcome: Outcome, numbers: dict[str, float]) -> str:
    told = outcome.result if isinstance(outcome.result, dict) else {}
    for name, value in numbers.items():
        found = told.get(name)
        if isinstance(found, int | float) and abs(found - value) > 1e-3 + 0.02 * abs(value):
            return f"{outcome.state.upper()} with {name}={found:g}, the device says {value:g}"
    return ""


def _aborts(stand: Stand) -> Iterator[Finding]:
    if stand.record is None or not stand.wants("A3"):
        yield from _each_aborted(stand, None)
        return
    with Inspector(stand) as other:
        other.do("connect")
        yield from _each_aborted(stand, other)


def _each_aborted(stand: Stand, other: Inspector | None) -> Iterator[Finding]:
    for name in stand.methods:
        if not stand.can_last(name):
            yield stand.not_judged(
                "A1", "the rehearsal says not how to make it last (lasting)", name
            )
            continue
        try:
            command = stand.begin(stand.make(name, lasting=True))
        except LabError as err:
            yield stand.not_judged("A1", str(err), name)
            continue
        if not _is_midway(stand, command):
            outcome = stand.end(command)
            told = "no outcome" if outcome is None else f"{outcome.state}: {outcome.reason}"
            yield stand.not_judged("A1", f"it had ended before the abort ({told:.200})", name)
            continue
        yield from _abort(stand, command, other)


def _is_midway(stand: Stand, command: Command) -> bool:
    """Return True when an action is some way into its work."""
    if stand.record is not None and not stand.is_under_way(command):
        return False
    stand.bench.pause(_MID_S)
    return command.key not in stand.bench.heard.outcomes


def _abort(stand: Stand, command: Command, other: Inspector | None) -> Iterator[Finding]:
    limit_s, bench, name = stand.rehearsal.abort_s, stand.bench, command.action
    begun_s = bench.clock.now_s()
    bench.abort(command)
    outcome = bench.outcome(command, limit_s + 1.0)
    took_s = bench.clock.now_s() - begun_s
    said = "no outcome" if outcome is None else f"{outcome.state.upper()} {outcome.result}"
    yield stand.judge(
        "A1", outcome is not None and took_s <= limit_s, name,
        did=f"{name}({dict(command.arguments)}) was aborted after {_MID_S:g} s",
        expected=f"an outcome within {limit_s:g} s",
        happened=f"{said:.200} after {took_s:.2f} s",
        to_do="wait with await self.clock.sleep(...) in short steps, and let CancelledError pass",
    )  # fmt: skip
    if outcome is None:
        outcome = stand.end(command)
    stand.finish_beside()
    if outcome is None:
        return
    complaint = outcome_complaint(stand, command, outcome)
    yield stand.judge(
        "A2", not complaint, name, did="the outcome of the abort was compared with what happened",
        expected="PARTIAL with what happened until then, or what the device's record says",
        happened=complaint or f"{outcome.state.upper()} {outcome.result}"[:300],
        to_do="let reconcile return Partial(...) with numbers from the device",
    )  # fmt: skip
    if other is not None:
        yield _rest(stand, name, other)


def _rest(stand: Stand, name: str, other: Inspector) -> Finding:
    is_rest = stand.bench.wait(lambda: other.do("busy")["told"] is not True, _REST_S)
    try:
        stand.ready(name)
        happened = "it is at rest" if is_rest else "is_busy is still True"
    except LabError as err:
        is_rest, happened = False, str(err)
    return stand.judge(
        "A3", is_rest, name, did="is_busy was asked after the abort, and the next command prepared",
        expected="the device is at rest, and can be commanded", happened=happened,
        to_do="stop the device in the finally of the action",
    )  # fmt: skip


def _stops(stand: Stand) -> Iterator[Finding]:
    names = [n for n in stand.methods if stand.can_last(n)] or list(stand.methods)[:1]
    if not names:
        yield from _stop(stand, None)
        return
    for name in names:
        try:
            command = stand.begin(stand.make(name, lasting=stand.can_last(name)))
        except LabError as err:
            yield stand.not_judged("E1", str(err), name)
            continue
        if stand.can_last(name):
            _is_midway(stand, command)
        yield from _stop(stand, command)


def _stop(stand: Stand, command: Command | None) -> Iterator[Finding]:
    bench, name = stand.bench, "" if command is None else command.action
    bench.status(stand.name)
    n_before = _n_safe(stand)
    begun_s = bench.clock.now_s()
    is_running = command is not None and command.key not in bench.heard.outcomes
    bench.send(EmergencyStop(instrument=stand.name, reason="rehearsal of an emergency stop"))
    is_safe = bench.wait(lambda: _is_stopped(stand, n_before), SAFE_LIMIT_S + 1.0)
    took_s = bench.clock.now_s() - begun_s
    status = bench.status(stand.name)
    yield stand.judge(
        "E1", is_safe and took_s <= SAFE_LIMIT_S and status.trip, name,
        did=f"an emergency stop was sent {'in the middle of ' + name if is_running else 'at rest'}",
        expected=f"the safe state within {SAFE_LIMIT_S:g} s, and a trip",
        happened=f"{'safe' if is_safe else 'no safe state'} after {took_s:.2f} s, trip: {status.trip}",
        to_do="let safe_state return at once, and raise where it cannot be reached",
    )  # fmt: skip
    if command is not None:
        stand.end(command, 10.0)
    if stand.wants("E2"):
        yield from _cleared(stand)
    else:
        bench.clear(stand.name, "rehearsal goes on")


def _n_safe(stand: Stand) -> int:
    if stand.record is None:
        return 0
    return len(stand.own_record.lines(what="safe_state", error=None))


def _is_stopped(stand: Stand, n_before: int) -> bool:
    status = stand.bench.status(stand.name)
    if stand.record is None:
        return status.trip is not None and status.key is None
    return _n_safe(stand) > n_before


def _cleared(stand: Stand) -> Iterator[Finding]:
    bench, name = stand.bench, stand.name
    action = next(iter(stand.methods), "")
    if action:
        arguments = {}
        try:
            arguments = stand.arguments(action)
        except LabError:
            yield stand.not_judged("E2", f"no example of {action}")
        command = bench.command(name, action, arguments, bench.status(name).sample or "s")
        outcome = bench.outcome(bench.begin(command), 10.0)
        yield stand.judge(
            "E2", outcome is not None and outcome.state == "failed", action,
            did="a command was sent during the trip", expected="FAILED",
            happened="no outcome" if outcome is None else f"{outcome.state}: {outcome.reason:.200}",
        )  # fmt: skip
    if name in bench.leases:
        bench.send(Clear(instrument=name, person="nobody", reason="none"))
        bench.pause(0.2)
        yield stand.judge(
            "E2", bench.status(name).trip, did="the lease holder sent a clear",
            expected="the trip stays", happened=str(bench.status(name).trip),
        )  # fmt: skip
    status = bench.clear(name, "rehearsal of a clear")
    yield stand.judge(
        "E2", status.trip is None, did="a person cleared it, with a reason",
        expected="no trip", happened=str(status.trip),
    )  # fmt: skip


def _safe(stand: Stand) -> Iterator[Finding]:
    """Do an action, run the safe state from two processes, look at readouts and sample."""
    names = [n for n, m in stand.methods.items() if not m.spec.moves_sample]
    with Inspector(stand) as other:
        other.do("connect")
        for name in names[:1] or list(stand.methods)[:1] or [""]:
            if name:
                try:
                    stand.do(name)
                except LabError as err:
                    yield stand.not_judged("F2", str(err), name)
                    return
            yield from _both(stand, other)
        if stand.wants("F3"):
            yield from _safe_readouts(stand, names)


def _both(stand: Stand, other: Inspector) -> Iterator[Finding]:
    bench = stand.bench
    bench.wait(lambda: bench.status(stand.name).state != "busy", 10.0)
    before, n_before = bench.status(stand.name).sample, _n_safe(stand)
    bench.send(EmergencyStop(instrument=stand.name, reason="rehearsal of two safe states"))
    told = other.ask("safe")(SAFE_LIMIT_S + 1.0)
    is_here = bench.wait(lambda: _n_safe(stand) >= n_before + 2, SAFE_LIMIT_S)
    failed = stand.own_record.lines(lambda line: line["error"] is not None, what="safe_state")
    happened = told["error"] or (f"{failed[-1]['error']}" if failed else "")
    is_kept = is_here and not happened and told["took_s"] <= SAFE_LIMIT_S
    yield stand.judge(
        "F2", is_kept, did="safe_state was run by the adapter and by another process at once",
        expected=f"both return within {SAFE_LIMIT_S:g} s",
        happened=happened or f"both returned, the other after {told['took_s']:.2f} s",
        to_do="lock no file and no port for longer than one order to the device",
    )  # fmt: skip
    bench.clear(stand.name, "rehearsal goes on")
    after = bench.status(stand.name).sample
    yield stand.judge(
        "F4", before == after, did="safe_state was run", expected=f"sample {before}",
        happened=f"sample {after}", to_do="leave the sample where it is",
    )  # fmt: skip
    if stand.wants("F4") and before is not None:
        yield from _goes_on(stand)


def _goes_on(stand: Stand) -> Iterator[Finding]:
    names = [n for n, m in stand.methods.items() if not m.spec.moves_sample]
    for name in names[:1]:
        try:
            _, outcome = stand.do(name)
        except LabError as err:
            yield stand.not_judged("F4", str(err), name)
            continue
        yield stand.judge(
            "F4", outcome is not None and outcome.state == "done", name,
            did="an action was sent after the safe state, for the same sample", expected="DONE",
            happened="no outcome" if outcome is None else f"{outcome.state}: {outcome.reason:.200}",
            to_do="let an action bring back what the safe state took away",
        )  # fmt: skip


def _safe_readouts(stand: Stand, names: list[str]) -> Iterator[Finding]:
    wanted = stand.rehearsal.safe
    if not wanted:
        yield stand.not_judged("F3", "the rehearsal says not what is safe (safe)")
        return
    for name in names:
        try:
            stand.do(name)
        except LabError as err:
            yield stand.not_judged("F3", str(err), name)
            continue
        stand.bench.send(EmergencyStop(instrument=stand.name, reason="rehearsal of a safe state"))
        complaint = ["nothing was read"]

        def is_safe(complaint: list[str] = complaint) -> bool:
            complaint[0] = _unsafe(stand)
            return not complaint[0]

        is_kept = stand.bench.wait(is_safe, SAFE_LIMIT_S)
        stand.bench.clear(stand.name, "rehearsal goes on")
        yield stand.judge(
            "F3", is_kept, name, did=f"{name} was done, then the safe state was run",
            expected=f"{dict(wanted)} within {SAFE_LIMIT_S:g} s",
            happened=complaint[0] or "all are safe", to_do="let safe_state switch off what this leaves on",
        )  # fmt: skip


def _unsafe(stand: Stand) -> str:
    for readout, wanted in stand.rehearsal.safe.items():
        reply = stand.bench.read(stand.name, readout)
        value = None if reply is None else reply.result
        if isinstance(wanted, tuple):
            is_safe = isinstance(value, int | float) and wanted[0] <= value <= wanted[1]
        else:
            is_safe = value == wanted
        if not is_safe:
            return f"{readout} is {value!r}"
    return ""


LOOKS = (
    Look(("A1", "A2", "A3"), _aborts),
    Look(("E1", "E2"), _stops),
    Look(("F2", "F3", "F4"), _safe),
)
