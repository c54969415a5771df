"""One campaign under a virtual clock: the production core, without sockets, disks or waiting.

The conductor's clock runs so that one of its seconds is one laboratory hour, as a twin's
`clock_factor` allows: leases and retries of the core stay what they are. The adapter answers a
command once the experiment is over, a simulator once the simulation is over, the planner at once;
what each of them answers is computed for real.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from twinloop.agents.bench.growths import Grown
from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.conductor_core import ConductorCore
from twinloop.agents.campaign.events import TrialEnded
from twinloop.agents.campaign.pool import SendTask
from twinloop.agents.campaign.state import CampaignState
from twinloop.agents.runtime.targets import Call, Target
from twinloop.ids import digest_of
from twinloop.log.memory import MemoryLog
from twinloop.messages import (
    CancelTask,
    Command,
    LeaseGranted,
    LeaseRenew,
    LeaseRenewed,
    LeaseRequest,
    Message,
    Outcome,
    Presence,
    Task,
    TaskResult,
)
from twinloop.wire.arrays import describe
from twinloop.wire.effects import Exit, Send
from twinloop.wire.loop import EffectRunner

__all__ = ["ADAPTER", "INSTRUMENT", "LAB_S", "Ask", "VirtualLab"]

ADAPTER, INSTRUMENT = "film_lab_adapter", "film_lab"
LAB_S = 3600.0
"""Laboratory seconds in one second of the conductor's clock: that one is an hour."""

_EPOCH = "2026-01-01T00:00:00+00:00"
_LEDGER = "ledger-bench"

Measure = Callable[[Mapping[str, float], int], Mapping[str, float]]
Predict = Callable[[Mapping[str, float], Mapping[str, float], int], Grown]
Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the planner.

    Args:
        method: "ask" or "simulate".
        cpu_s: what the answer cost, all threads of the process [s].
    """

    method: str
    cpu_s: float


@dataclass
class _Worker:
    """A compute agent that does one task after the other."""

    answer: Callable[[Task, Arrays], tuple[TaskResult, Arrays]]
    lasts_h: float
    waiting: deque[tuple[Task, Arrays]] = field(default_factory=deque)
    at: str | None = None


class VirtualLab:
    """Conductor, adapter, one planner and some simulators.

    Args:
        brief: what is led.
        planner: answers the questions of the conductor.
        measure: outcome of an experiment, from its knobs and its number.
        predict: what theory says, from knobs, theta and a seed.
        code: identity of the theory.
        workers: simulators side by side.
        experiment_h, simulation_h: what each takes [h].
    """

    def __init__(
        self,
        brief: Brief,
        planner: Target,
        measure: Measure,
        predict: Predict,
        code: str,
        workers: int,
        experiment_h: float,
        simulation_h: float,
    ) -> None:
        self.asks: list[Ask] = []
        self.simulation_cpu_s = 0.0
        self.now_h = 0.0
        self._planner, self._measure, self._predict, self._code = planner, measure, predict, code
        self._experiment_h = experiment_h
        self._core = ConductorCore(brief, CampaignState(), "bench-1")
        self._runner = EffectRunner(MemoryLog("bench", stamp=lambda: _EPOCH), self._perform)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._n = 0
        self._over = False
        self._begun: set[str] = set()
        self._workers = {"planner": _Worker(self._plan, 0.0)}
        if brief.theory is not None:
            for k in range(workers):
                self._workers[f"simulator-{k}"] = _Worker(self._simulate, simulation_h)

    @property
    def state(self) -> CampaignState:
        """The fold of the journal."""
        return self._core.state

    def run(self, is_enough: Callable[[TrialEnded], bool]) -> None:
        """Let the campaign go on to its end, or until an ended trial is enough."""
        self._do(self._core.start(0.0))
        for name in self._workers:
            target = "planner" if name == "planner" else "simulator"
            self._receive("hub", Presence(
                name=name, role="worker", incarnation=f"{name}-1", is_here=True,
                about={"targets": [target]},
            ))  # fmt: skip
        judged = 0
        while not self._over:
            self._step()
            ended = self.state.ended
            # all of them, or trials that end in one turn would go unjudged
            enough = [is_enough(trial) for trial in ended[judged:]]
            judged = len(ended)
            if any(enough):
                return

    def _step(self) -> None:
        """Do what is next: an answer, or the core's own waking."""
        wake_h = self._core.wake_at_s
        next_h = self._heap[0][0] if self._heap else float("inf")
        if wake_h is not None and wake_h < next_h:
            self.now_h = max(self.now_h, wake_h)
            self._do(self._core.tick(self.now_h))
            return
        at_h, _, call = heapq.heappop(self._heap)
        self.now_h = max(self.now_h, at_h)
        call()

    def _after(self, lasts_h: float, call: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._heap, (self.now_h + lasts_h, self._n, call))

    def _receive(self, sender: str, message: Message, arrays: Sequence[NDArray[Any]] = ()) -> None:
        self._do(self._core.receive(sender, message, self.now_h, arrays))

    def _do(self, effects: Sequence[object]) -> None:
        self._runner.add(effects)
        self._runner.flush()

    def _perform(self, effect: object) -> None:
        match effect:
            case SendTask():
                self._take(effect.to, effect.task, effect.arrays)
            case Send() if effect.to == ADAPTER:
                self._serve(effect.message)
            case Send() if isinstance(effect.message, CancelTask):
                self._cancel(effect.to, effect.message.task)
            case Exit():
                self._over = True
            case _:
                pass

    # --- the adapter ---------------------------------------------------------------------------

    def _serve(self, message: Message) -> None:
        match message:
            case LeaseRequest():
                granted = LeaseGranted(
                    instrument=INSTRUMENT, campaign=message.campaign, epoch=1, ledger=_LEDGER,
                    adapter_now_s=self.now_h, ttl_s=message.ttl_s, clock_factor=LAB_S,
                    is_twin=True, schema_digest=digest_of(b"film_lab"),
                )  # fmt: skip
                self._after(0.0, lambda: self._receive(ADAPTER, granted))
            case LeaseRenew():
                renewed = LeaseRenewed(
                    instrument=INSTRUMENT, epoch=message.epoch, adapter_now_s=self.now_h
                )
                self._after(0.0, lambda: self._receive(ADAPTER, renewed))
            case Command() if str(message.key) not in self._begun:
                self._begun.add(str(message.key))
                began_s = self.now_h * LAB_S
                self._after(self._experiment_h, lambda: self._settle(message, began_s))
            case _:
                pass

    def _settle(self, command: Command, began_s: float) -> None:
        number = int(command.key.trial.removeprefix("t"))
        knobs = {name: float(value) for name, value in command.arguments.items()}
        outcome = Outcome(
            key=command.key, instrument=INSTRUMENT, ledger=_LEDGER, state="done",
            result=dict(self._measure(knobs, number)),
            started_lab_s=began_s, ended_lab_s=self.now_h * LAB_S,
        )  # fmt: skip
        self._receive(ADAPTER, outcome)

    # --- compute agents ------------------------------------------------------------------------

    def _take(self, name: str, task: Task, arrays: Arrays) -> None:
        worker = self._workers[name]
        if task.task == worker.at or any(task.task == known.task for known, _ in worker.waiting):
            return  # told again
        worker.waiting.append((task, arrays))
        self._next(name)

    def _next(self, name: str) -> None:
        worker = self._workers[name]
        if worker.at is None and worker.waiting:
            task, arrays = worker.waiting.popleft()
            worker.at = task.task
            self._after(worker.lasts_h, lambda: self._finish(name, task, arrays))

    def _finish(self, name: str, task: Task, arrays: Arrays) -> None:
        worker = self._workers[name]
        if worker.at != task.task:
            return  # cancelled on the way
        result, content = worker.answer(task, arrays)
        worker.at = None
        self._receive(name, result, content)
        self._next(name)

    def _cancel(self, name: str, task: str) -> None:
        worker = self._workers[name]
        worker.waiting = deque(item for item in worker.waiting if item[0].task != task)
        if worker.at == task:
            worker.at = None
            self._after(0.0, lambda: self._next(name))

    def _plan(self, task: Task, arrays: Arrays) -> tuple[TaskResult, Arrays]:
        """Answer as a planner's process does; what it raises ends the run, not the campaign."""
        here = dict(zip((ref.name for ref in task.arrays), arrays, strict=True))
        began_s = time.process_time()
        header, content = self._planner.answer(
            Call(task.task, task.method, task.arguments, here, task.seed)
        )
        cpu_s = time.process_time() - began_s
        self.asks.append(Ask(task.method, cpu_s))
        refs = tuple(describe(name, array, inline=True) for name, array in content.items())
        result = TaskResult(
            task=task.task, state="done", result=header, arrays=refs, cpu_s=cpu_s, wall_s=cpu_s
        )
        return result, tuple(content.values())

    def _simulate(self, task: Task, _arrays: Arrays) -> tuple[TaskResult, Arrays]:
        arguments: Mapping[str, Any] = task.arguments
        grown = self._predict(arguments["x"], arguments["theta"], task.seed)
        self.simulation_cpu_s += grown.cpu_s
        said = {
            "scalars": dict(grown.values),
            "budget_exceeded": grown.is_exceeded,
            "code": self._code,
        }
        result = TaskResult(task=task.task, state="done", result=said, cpu_s=grown.cpu_s)
        return result, ()
