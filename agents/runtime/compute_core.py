"""Which task a compute agent runs next: decisions without thread, socket or clock.

A task is told again until it is answered, so the same task twice is one; the last answers are
remembered, because the one that was sent may have been lost.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, TypeAlias

from numpy.typing import NDArray

from twinloop.messages import CancelTask, Message, Task, TaskPartial, TaskResult
from twinloop.wire.effects import Send

__all__ = ["CancelJob", "ComputeCore", "Instant", "Job", "StartJob"]

_QUEUED = 256
_REMEMBERED = 32

Array = NDArray[Any]
Key: TypeAlias = tuple[str, str]
Instant: TypeAlias = Callable[[Task, Sequence[Array]], tuple[TaskResult, tuple[Array, ...]]]


@dataclass(frozen=True, slots=True)
class Job:
    """A task, who wants it, and its inline arrays."""

    sender: str
    task: Task
    arrays: tuple[Array, ...]

    @property
    def key(self) -> Key:
        """What tells jobs apart."""
        return self.sender, self.task.task


@dataclass(frozen=True, slots=True)
class StartJob:
    """Effect: compute this; `ComputeCore.finished` is told when it is over."""

    job: Job


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Effect: raise the cancel flag of the job that runs."""

    job: Job


class ComputeCore:
    """One slot, and a queue in order of priority (larger first), then of arrival.

    Args:
        targets: names of what may be asked.
        instant: targets that are answered on the spot, and how.

    Example:
        >>> core = ComputeCore({"kmc"})
        >>> task = Task(task="t1", target="kmc", method="simulate")
        >>> [type(effect).__name__ for effect in core.receive("conductor", task, 0.0)]
        ['StartJob']
        >>> core.receive("conductor", task, 1.0)
        []
        >>> core.finished(TaskResult(task="t1", state="done"))[0].to
        'conductor'
    """

    wake_at_s: float | None = None

    def __init__(self, targets: set[str], instant: Mapping[str, Instant] | None = None) -> None:
        self._targets, self._instant = targets, dict(instant or {})
        self._n_arrived = 0
        self._queue: list[tuple[int, int, Key]] = []
        self._jobs: dict[Key, Job] = {}
        self._running: Job | None = None
        self._answers: OrderedDict[Key, Send] = OrderedDict()

    @property
    def n_waiting(self) -> int:
        """Return how many tasks wait."""
        return len(self._queue)

    def start(self, now_s: float) -> list[object]:  # noqa: ARG002 (of every core)
        """Begin: nothing to do."""
        return []

    def tick(self, now_s: float) -> list[object]:  # noqa: ARG002 (of every core)
        """Take note of the time: nothing depends on it."""
        return []

    def receive(self, sender: str, message: Message, now_s: float) -> list[object]:
        """Take a message without arrays."""
        return self.receive_arrays(sender, message, (), now_s)

    def receive_arrays(
        self,
        sender: str,
        message: Message,
        arrays: tuple[Array, ...],
        now_s: float,  # noqa: ARG002 (of every core)
    ) -> list[object]:
        """Take a message."""
        match message:
            case Task():
                return self._take(Job(sender, message, arrays))
            case CancelTask():
                return self._cancel((sender, message.task))
            case _:
                return []

    def partial(self, message: TaskPartial, arrays: tuple[Array, ...] = ()) -> list[object]:
        """Pass on an intermediate result of the job that runs."""
        return [] if self._running is None else [Send(self._running.sender, message, arrays)]

    def finished(self, result: TaskResult, arrays: tuple[Array, ...] = ()) -> list[object]:
        """Answer the job that ran, and start the next."""
        job, self._running = self._running, None
        if job is None:
            return self._next()
        del self._jobs[job.key]
        answer = Send(job.sender, result, arrays)
        if result.state == "done":
            # what failed may not fail again: a depot that was away, a disk that was full
            self._answers[job.key] = answer
            if len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        return [answer, *self._next()]

    def _take(self, job: Job) -> list[object]:
        task = job.task
        instant = self._instant.get(task.target)
        if instant is not None:
            result, arrays = instant(task, job.arrays)
            return [Send(job.sender, result, arrays)]
        if job.key in self._jobs:
            return []
        if job.key in self._answers:
            return [self._answers[job.key]]
        if task.target not in self._targets:
            allowed = ", ".join(sorted(self._targets | set(self._instant)))
            return [_failure(job, f"target {task.target!r} is not here; here are: {allowed}")]
        if len(self._queue) >= _QUEUED:
            reason = f"{_QUEUED} tasks wait already; send it when one is answered"
            return [_failure(job, reason, may_retry=True)]
        self._n_arrived += 1
        self._jobs[job.key] = job
        heappush(self._queue, (-task.priority, self._n_arrived, job.key))
        return self._next()

    def _next(self) -> list[object]:
        if self._running is not None or not self._queue:
            return []
        self._running = self._jobs[heappop(self._queue)[2]]
        return [StartJob(self._running)]

    def _cancel(self, key: Key) -> list[object]:
        if self._running is not None and self._running.key == key:
            return [CancelJob(self._running)]
        job = self._jobs.pop(key, None)
        if job is None:
            return []
        self._queue = [item for item in self._queue if item[2] != key]
        heapify(self._queue)
        return [Send(job.sender, TaskResult(task=key[1], state="cancelled"))]


def _failure(job: Job, reason: str, *, may_retry: bool = False) -> Send:
    result = TaskResult(task=job.task.task, state="failed", reason=reason, may_retry=may_retry)
    return Send(job.sender, result)
