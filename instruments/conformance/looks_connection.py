"""Looks at connections (C1 to C3), over one of their own, and at a safe state run twice (F1)."""

from collections.abc import Iterator
from typing import Any

from twinloop.instruments.conformance.bench import BenchFailed
from twinloop.instruments.conformance.interface import Finding
from twinloop.instruments.conformance.stand import Inspector, Look, Stand

__all__ = ["LOOKS", "SAFE_LIMIT_S"]

SAFE_LIMIT_S = 5.0
"""Longest time that a safe state may take [s, real]."""


def _alone(stand: Stand) -> Iterator[Finding]:
    """Look at one object in a process of its own, before anything is served."""
    with Inspector(stand) as other:
        yield stand.judge(
            "C1", not other.touched, did="an object was made",
            expected="no socket, no child process, no file written",
            happened="; ".join(other.touched) or "nothing was touched",
            to_do="open the device in connect()",
        )  # fmt: skip
        first = _sequence(other, ("connect", "connect", "readouts"))
        second = _sequence(other, ("disconnect", "disconnect", "connect", "readouts"))
        for happened, did in ((first, "connect, connect, read"),
                              (second, "disconnect, disconnect, connect, read")):  # fmt: skip
            yield stand.judge(
                "C2", not happened, did=did, expected="no error, and readouts that answer",
                happened=happened or "all answered",
                to_do="let connect do nothing where it is connected, and disconnect where it is not",
            )  # fmt: skip
        if stand.wants("F1") and not (first or second):
            for n_time in ("once", "twice", "a third time"):
                told = other.do("safe")
                is_kept = told["error"] is None and told["took_s"] <= SAFE_LIMIT_S
                yield stand.judge(
                    "F1", is_kept, did=f"safe_state was run {n_time}, over a connection of its own",
                    expected=f"no error, within {SAFE_LIMIT_S:g} s",
                    happened=told["error"] or f"it returned after {told['took_s']:.2f} s",
                    to_do="switch off what is off already without a complaint, and wait for nothing",
                )  # fmt: skip


def _sequence(other: Inspector, operations: tuple[str, ...]) -> str:
    """Return what went wrong; "" for nothing."""
    for operation in operations:
        told: dict[str, Any] = other.do(operation)
        if told["error"] is not None:
            return f"{operation}: {told['error']}"
        if operation == "readouts":
            wrong = [f"{n}: {v['error']}" for n, v in told["told"].items() if _is_error(v)]
            if wrong:
                return "; ".join(wrong)
    return ""


def _is_error(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"error"}


def _served(stand: Stand) -> Iterator[Finding]:
    """Start the adapter: it is ready when it and its watchdog have their connections."""
    if stand.bench.is_dead:
        try:
            stand.restart()
            happened = "adapter and watchdog are connected"
            is_kept = stand.bench.watchdog_is_there()
        except BenchFailed as err:
            happened, is_kept = str(err), False
        yield stand.judge(
            "C3", is_kept, did="the adapter process was started", expected="adapter and watchdog connect",
            happened=happened, to_do="let connect() open a connection beside the one that is there",
        )  # fmt: skip
        if not is_kept:
            raise BenchFailed("the adapter", happened)
    else:
        yield stand.judge(
            "C3", stand.bench.watchdog_is_there(), did="the adapter process was started",
            expected="adapter and watchdog connect", happened="they are connected",
        )  # fmt: skip


LOOKS = (Look(("C1", "C2", "F1"), _alone), Look(("C3",), _served))
