"""The pool: gives repeatable tasks to compute agents, without I/O.

Each worker gets its next task ahead (credit), a lost worker's tasks go to another, the first answer
wins and a second is compared with it. A task is told again to a worker that has not answered for a
while: messages may be lost, and a worker knows a task it already has.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from numpy.typing import NDArray

from twinloop.messages import CancelTask, Task, TaskResult
from twinloop.wire.effects import Send

__all__ = ["Pool", "SendTask"]

_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class SendTask:
    """Effect: send a task; the shell puts arrays too large for one message into the depot."""

    to: str
    task: Task
    arrays: tuple[NDArray[Any], ...] = ()


@dataclass
class _Worker:
    targets: frozenset[str]
    tasks: set[str] = field(default_factory=set)


@dataclass
class _Entry:
    task: Task
    arrays: tuple[NDArray[Any], ...]
    order: tuple[int, int]
    worker: str | None = None
    told_s: float = 0.0
    given: int = 0
    n_lost: int = 0


Effects = list[SendTask | Send]


class Pool:
    """Workers, what they can do, and what they are at.

    Args:
        credit: tasks given to a worker before it has answered.
        retell_s: after how long a silent task is told again [s].
    """

    def __init__(self, credit: int = 2, retell_s: float = 5.0) -> None:
        self.credit, self.retell_s = credit, retell_s
        self.counts: Counter[str] = Counter()
        self._workers: dict[str, _Worker] = {}
        self._entries: dict[str, _Entry] = {}
        self._queues: dict[str, list[tuple[tuple[int, int], str]]] = {}
        self._answers: OrderedDict[str, TaskResult] = OrderedDict()
        self._n = 0
        self._n_given = 0
        self._check_s: float | None = None

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called."""
        return self._check_s

    @property
    def workers(self) -> dict[str, int]:
        """Return how many tasks each present worker has."""
        return {name: len(worker.tasks) for name, worker in self._workers.items()}

    def has(self, task: str) -> bool:
        """Return True while a task awaits its answer."""
        return task in self._entries

    def place_of(self, task: str) -> str | None:
        """Return the worker that has a task."""
        entry = self._entries.get(task)
        return entry.worker if entry else None

    def lost(self, times: int) -> list[str]:
        """Return the tasks at which a worker was lost so often, or oftener."""
        return [name for name, entry in self._entries.items() if entry.n_lost >= times]

    def targets(self) -> frozenset[str]:
        """Return what the present workers can do."""
        return frozenset[str]().union(*(w.targets for w in self._workers.values()))

    def lacking(self) -> frozenset[str]:
        """Return the targets of queued tasks that no present worker has."""
        queued = {e.task.target for e in self._entries.values() if e.worker is None}
        return frozenset(queued - self.targets())

    def submit(self, task: Task, arrays: tuple[NDArray[Any], ...], now_s: float) -> Effects:
        """Take a task; the same task twice is one."""
        if task.task in self._entries:
            return []
        self._n += 1
        entry = _Entry(task, arrays, (-task.priority, self._n))
        self._entries[task.task] = entry
        self._enqueue(entry)
        return self._dispatch(self._able(task.target), now_s)

    def cancel(self, task: str, now_s: float) -> Effects:
        """Forget a task, tell its worker, and give it the next one."""
        entry = self._entries.pop(task, None)
        if entry is None or entry.worker is None:
            return []
        self._workers[entry.worker].tasks.discard(task)
        freed = self._dispatch([entry.worker], now_s)
        return [Send(entry.worker, CancelTask(task=task)), *freed]

    def here(self, name: str, targets: Iterable[str], now_s: float) -> Effects:
        """Note a worker; a new incarnation of a known one has lost what it had."""
        effects = self.gone(name, now_s) if name in self._workers else []
        self._workers[name] = _Worker(frozenset(targets))
        return [*effects, *self._dispatch([name], now_s)]

    def gone(self, name: str, now_s: float) -> Effects:
        """Give a lost worker's tasks to others."""
        worker = self._workers.pop(name, None)
        if worker is None:
            return []
        self.counts["reassigned"] += len(worker.tasks)
        if worker.tasks:
            # what it had been given first it was at; the others it had not begun
            at = min(worker.tasks, key=lambda task: self._entries[task].given)
            self._entries[at].n_lost += 1
        for task in sorted(worker.tasks, key=lambda t: self._entries[t].order):
            self._entries[task].worker = None
            self._enqueue(self._entries[task])
        return self._dispatch(sorted(self._workers), now_s)

    def result(self, sender: str, result: TaskResult, now_s: float) -> tuple[Task | None, Effects]:
        """Take an answer; return its task if it is the first, and what to send.

        A second answer that differs from the first is counted under "disagreed".
        """
        entry = self._entries.pop(result.task, None)
        if entry is None:
            first = self._answers.get(result.task)
            agrees = first is None or _content(first) == _content(result)
            self.counts["repeated" if agrees else "disagreed"] += 1
            return None, []
        self._answers[result.task] = result
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)
        self.counts["answered"] += 1
        freed = [sender]
        if entry.worker is not None and entry.worker in self._workers:
            self._workers[entry.worker].tasks.discard(result.task)
            freed = [entry.worker]
        return entry.task, self._dispatch([w for w in freed if w in self._workers], now_s)

    def tick(self, now_s: float) -> Effects:
        """Tell tasks again that have not been answered for long."""
        if self._check_s is None or now_s < self._check_s:
            return []
        effects: Effects = []
        for name in sorted(self._workers):
            for task in sorted(self._workers[name].tasks):
                entry = self._entries[task]
                if now_s >= entry.told_s + self.retell_s:
                    entry.told_s = now_s
                    self.counts["retold"] += 1
                    effects.append(SendTask(name, entry.task, entry.arrays))
        self._check_s = now_s + self.retell_s if any(self.workers.values()) else None
        return effects

    def _enqueue(self, entry: _Entry) -> None:
        queue = self._queues.setdefault(entry.task.target, [])
        heappush(queue, (entry.order, entry.task.task))

    def _able(self, target: str) -> list[str]:
        able = [n for n, w in self._workers.items() if target in w.targets]
        return sorted(able, key=lambda name: (len(self._workers[name].tasks), name))

    def _dispatch(self, names: Iterable[str], now_s: float) -> Effects:
        effects: Effects = []
        for name in names:
            worker = self._workers[name]
            while len(worker.tasks) < self.credit:
                entry = self._next_for(worker)
                if entry is None:
                    break
                self._n_given += 1
                entry.worker, entry.told_s, entry.given = name, now_s, self._n_given
                worker.tasks.add(entry.task.task)
                effects.append(SendTask(name, entry.task, entry.arrays))
        if effects and self._check_s is None:
            self._check_s = now_s + self.retell_s
        return effects

    def _next_for(self, worker: _Worker) -> _Entry | None:
        """Return the most urgent queued task that the worker can do; drop those no longer wanted."""
        best: list[tuple[tuple[int, int], str]] | None = None
        for target in worker.targets:
            queue = self._queues.get(target)
            while queue and (
                queue[0][1] not in self._entries or self._entries[queue[0][1]].worker is not None
            ):
                heappop(queue)
            if queue and (best is None or queue[0] < best[0]):
                best = queue
        return self._entries[heappop(best)[1]] if best else None


def _content(result: TaskResult) -> tuple[str, Any, list[str]]:
    return result.state, result.result, [ref.digest for ref in result.arrays]
