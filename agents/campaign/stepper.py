"""The stepper: drives protocol coroutines by recorded results, without asyncio, clock or I/O.

A step's path is its place in the protocol ("2", or "3.1.0": step 0 in branch 1 of the `together` that
is step 3). Results are fed in journal order, so a protocol takes the same way after a crash. A step
that is asked for at a path where the journal holds another one (other name, other arguments) raises
NotDeterministic: that trial is parked, not the campaign.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from twinloop.errors import (
    ArgumentError,
    LabError,
    NotDeterministic,
    StepFailed,
    StepPartial,
    StepUnknown,
)
from twinloop.messages import ArrayRef
from twinloop.protocols.interface import ForeignAwait, Outcome, Protocol, Step, Together, Trial
from twinloop.results import decode_result

__all__ = ["Progress", "StepRecord", "StepRequest", "Stepper"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What the journal holds of a step.

    Args:
        path: its place in the protocol.
        digest: identity of what was asked there.
        name: target.method, for people.
        state: `done`; `failed` (no effect, certain) raises StepFailed in the protocol, `partial`
            StepPartial, `unknown` (a person gave it up) StepUnknown.
        at_s: seconds since the campaign began [s]; what `trial.now` reads next.
    """

    path: str
    digest: str
    name: str
    state: Literal["done", "failed", "partial", "unknown"]
    result: Any = None
    arrays: tuple[ArrayRef, ...] = ()
    reason: str = ""
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StepRequest:
    """A step that waits for its result."""

    path: str
    step: Step
    digest: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a trial is.

    Args:
        waiting: steps asked for and not yet answered.
        outcome: what the protocol returned, when it has ended well.
        error: what it raised, when it has not.
        is_parked: True when the error is one of re-entry: the record stays, the trial waits.
    """

    waiting: tuple[StepRequest, ...] = ()
    outcome: Outcome | None = None
    error: LabError | None = None
    is_parked: bool = False


@dataclass
class _Branch:
    coroutine: Any
    prefix: str
    done: Callable[[Any, BaseException | None], None]
    n: int = 0


@dataclass
class _Gather:
    parent: _Branch
    results: list[Any]
    errors: list[BaseException | None]
    missing: int = field(default=0)


class Stepper:
    """One trial's coroutine, suspended at its open steps.

    Args:
        protocol: what the trial does.
        trial: what the coroutine sees.

    Example:
        >>> from twinloop.protocols.interface import Point, protocol
        >>> class P(Point):
        ...     x: float
        >>> class O(Outcome):
        ...     y: float
        >>> @protocol(version=1)
        ... async def square(trial: Trial[P]) -> O:
        ...     return O(y=trial.point.x ** 2)
        >>> Stepper(square, Trial(id="t1", point=P(x=3.0), sample="s", seed=0)).progress().outcome
        O(y=9.0)
    """

    def __init__(self, protocol: Protocol[Any], trial: Trial[Any]) -> None:
        self._trial = trial
        self._open: dict[str, tuple[StepRequest, _Branch]] = {}
        self._early: dict[str, StepRecord] = {}
        self._progress = Progress()
        self._is_over = False
        self._fed = 0
        self._run(_Branch(protocol.begin(trial), "", self._ended), None, None)

    @property
    def fed(self) -> int:
        """Return how many records it has taken."""
        return self._fed

    def progress(self) -> Progress:
        """Return the open steps, or how the protocol ended."""
        if self._is_over:
            return self._progress
        return Progress(waiting=tuple(request for request, _ in self._open.values()))

    def feed(self, record: StepRecord) -> None:
        """Answer a step; the coroutine goes on to its next open steps."""
        self._fed += 1
        if self._is_over:
            return
        waiting = self._open.get(record.path)
        if waiting is None:
            self._park(record, "nothing, or other steps first")
            return
        request, branch = waiting
        if request.digest != record.digest:
            self._park(record, f"{request.step.name} with digest {request.digest}")
            return
        del self._open[record.path]
        self._trial.now = record.at_s
        value, error = _answer(request, record)
        self._run(branch, value, error)

    def close(self) -> None:
        """Forget the coroutine."""
        waiting = [branch for _, branch in self._open.values()]
        self._open.clear()
        for branch in waiting:
            try:
                branch.coroutine.close()
            except Exception as err:  # noqa: BLE001  boundary: an author's `finally` that awaits
                _LOG.warning("trial %s: its protocol does not let go: %s", self._trial.id, err)

    def _park(self, record: StepRecord, asked: str) -> None:
        error = NotDeterministic(
            self._trial.id, record.path, f"{record.name} with digest {record.digest}", asked
        )
        self._over(Progress(error=error, is_parked=True))

    def _over(self, progress: Progress) -> None:
        if not self._is_over:
            self._is_over, self._progress = True, progress
            self.close()

    def _ended(self, value: Any, error: BaseException | None) -> None:
        if error is None and isinstance(value, Outcome):
            self._over(Progress(outcome=value))
        elif isinstance(error, LabError):
            self._over(Progress(error=error))
        else:
            what = f"returned {value!r}" if error is None else f"{type(error).__name__}: {error}"
            self._over(Progress(error=ProtocolRaised(self._trial.id, what)))

    def _run(self, branch: _Branch, value: Any, error: BaseException | None) -> None:
        """Resume a branch until it waits for an open step or ends."""
        while not self._is_over:
            try:
                if error is not None:
                    asked = branch.coroutine.throw(error)
                else:
                    asked = branch.coroutine.send(value)
            except StopIteration as stop:
                branch.done(stop.value, None)
                return
            except Exception as err:  # noqa: BLE001  boundary: an author's code; journalled
                branch.done(None, err)
                return
            value, error = None, None
            path = f"{branch.prefix}{branch.n}"
            branch.n += 1
            if isinstance(asked, Step):
                try:
                    request = StepRequest(path, asked, asked.digest())
                except (TypeError, ValueError) as err:
                    # raised in the protocol, or each life of the conductor would die here anew
                    allowed = f"finite numbers, text, and arrays of earlier steps ({err})"
                    error = ArgumentError(asked.name, dict(asked.arguments), allowed)
                    continue
                self._open[path] = (request, branch)
                return
            if isinstance(asked, Together):
                self._gather(branch, path, asked)
                return
            error = ForeignAwait(asked)

    def _gather(self, parent: _Branch, path: str, asked: Together) -> None:
        n = len(asked.branches)
        gather = _Gather(parent, [None] * n, [None] * n, n)
        if n == 0:
            self._run(parent, (), None)
            return
        children = [
            _Branch(_as_coroutine(b), f"{path}.{i}.", self._collector(gather, i))
            for i, b in enumerate(asked.branches)
        ]
        for child in children:
            self._run(child, None, None)

    def _collector(self, gather: _Gather, i: int) -> Callable[[Any, BaseException | None], None]:
        def collect(value: Any, error: BaseException | None) -> None:
            gather.results[i], gather.errors[i] = value, error
            gather.missing -= 1
            if gather.missing == 0:
                first = next((e for e in gather.errors if e is not None), None)
                self._run(gather.parent, tuple(gather.results), first)

        return collect


class ProtocolRaised(LabError):
    """A protocol ended with an error of its own, or without an Outcome."""

    def __init__(self, trial: str, what: str) -> None:
        self.trial, self.what = trial, what
        super().__init__(f"trial {trial}: the protocol {what}; it must return its Outcome")


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return awaitable if hasattr(awaitable, "send") else _awaiting(awaitable)


def _answer(request: StepRequest, record: StepRecord) -> tuple[Any, BaseException | None]:
    if record.state == "failed":
        return None, StepFailed(request.step.name, record.reason)
    if record.state == "partial":
        return None, StepPartial(request.step.name, record.result, record.reason)
    if record.state != "done":
        return None, StepUnknown(request.step.name, record.reason)
    refs = {ref.name: ref for ref in record.arrays}
    try:
        return decode_result(record.result, refs.__getitem__, request.step.returns), None
    except KeyError as err:
        reason = f"its result names array {err}, and came with {sorted(refs) or 'none'}"
        return None, StepPartial(request.step.name, record.result, reason)
