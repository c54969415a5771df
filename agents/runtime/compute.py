"""The compute agent: hosts targets and answers tasks, wherever a placement puts it.

Two threads: one keeps the mailbox, so heartbeats go on; the other computes. A target that answers
in microseconds is called in the mailbox's thread instead, which saves two hand-overs.
"""

import logging
import os
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeFloat

from twinloop.agents.runtime.compute_core import CancelJob, ComputeCore, Instant, Job, StartJob
from twinloop.agents.runtime.desk import Desk
from twinloop.agents.runtime.payload import unbundle
from twinloop.agents.runtime.targets import Call, Target, TaskCancelled, build_target
from twinloop.errors import ArgumentError, Disconnected, LabError
from twinloop.ids import Name
from twinloop.messages import Task, TaskPartial, TaskResult
from twinloop.wire.arrays import describe
from twinloop.wire.depot import DepotRefused
from twinloop.wire.effects import Exit
from twinloop.wire.envelope import pack
from twinloop.wire.loop import AgentLoop
from twinloop.wire.mailbox import Mailbox

__all__ = ["EXIT_BROKEN", "ComputeAgent", "ComputeSpec"]

EXIT_BROKEN = 1
_LOG = logging.getLogger(__name__)
_REASON_CHARACTERS = 2000

Array = NDArray[Any]
Answer = tuple[TaskResult, tuple[Array, ...]]


class ComputeSpec(BaseModel):
    """A compute agent, as plain JSON.

    Args:
        name: of the agent.
        targets: what it hosts: name -> specification (`targets.build_target`).
        num_cpus, num_gpus: its share, for whoever places it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    targets: dict[str, dict[str, Any]]
    num_cpus: NonNegativeFloat = 1.0
    num_gpus: NonNegativeFloat = 0.0


class ComputeAgent:
    """Builds its targets, registers with the hub, and answers until it is told to end.

    Args:
        spec: what it is.
        hub: endpoint of the hub.
        incarnation: identity of this life; a fresh one when None.
    """

    def __init__(self, spec: ComputeSpec, hub: str, incarnation: str | None = None) -> None:
        self.spec = spec
        self._hub, self._incarnation = hub, incarnation
        self._targets: dict[str, Target] = {}
        self._jobs: SimpleQueue[_Work | None] = SimpleQueue()
        self._work: _Work | None = None
        self._desk = Desk()
        self._loop: AgentLoop | None = None
        self._is_stopping = threading.Event()

    def run(self) -> Exit:
        """Serve; return why it ended: status 0 after `stop`, else what the hub said.

        Raises:
            ArgumentError: a target that cannot be built.
        """
        # heavy imports hold the interpreter lock for seconds: before the first heartbeat
        _one_thread_each()
        self._targets = {n: build_target(spec) for n, spec in self.spec.targets.items()}
        about = {"targets": sorted(self._targets), "slots": 1, "pid": os.getpid()}
        core = self._make_core()
        with Mailbox(
            self._hub, self.spec.name, "worker", self._incarnation, about=about
        ) as mailbox:
            self._loop = AgentLoop(
                core, mailbox, perform=self._perform, receive_arrays=core.receive_arrays
            )
            threading.Thread(
                target=self._compute_all,
                args=(self._loop, core),
                name=f"{self.spec.name}-computes",
                daemon=True,
            ).start()
            ended = Exit(0, "stopped") if self._is_stopping.is_set() else self._loop.run()
        self._is_stopping.set()
        self._desk.cancel()
        self._jobs.put(None)
        return ended

    def stop(self) -> None:
        """End `run`, and cancel what is computed; any thread may call it."""
        self._is_stopping.set()
        if self._loop is not None:
            self._loop.inject(lambda: [Exit(0, "stopped")])

    def _make_core(self) -> ComputeCore:
        instant = {n: _instantly(t) for n, t in self._targets.items() if t.is_instant}
        return ComputeCore(set(self._targets) - set(instant), instant)

    def _perform(self, effect: object) -> None:
        match effect:
            case StartJob(job):
                self._work = _Work(job, self._is_stopping)
                self._jobs.put(self._work)
            case CancelJob(job):
                if self._work is not None and self._work.job is job:
                    self._work.is_unwanted = True
            case _:
                raise ArgumentError("effect", effect, "StartJob or CancelJob")

    def _compute_all(self, loop: AgentLoop, core: ComputeCore) -> None:
        """Do one job after the other; the computing thread."""
        while (work := self._jobs.get()) is not None:
            answer = self._compute(work, loop, core)
            loop.inject(lambda a=answer: core.finished(*a))  # type: ignore[misc]
        self._desk.close()

    def _compute(self, work: "_Work", loop: AgentLoop, core: ComputeCore) -> Answer:
        task = work.job.task
        begun_s, begun_cpu_s = time.perf_counter(), time.thread_time()

        def partial(result: Any, arrays: Mapping[str, Array]) -> None:
            refs, inline = self._desk.ship(task, arrays, is_kept=False)
            message = TaskPartial(task=task.task, n=work.count(), result=result, arrays=refs)
            loop.inject(lambda: core.partial(message, inline))

        try:
            target = self._targets[task.target]
            arrays = self._desk.fetch(work.job)
            result, given = target.answer(
                Call(
                    task.task,
                    task.method,
                    task.arguments,
                    arrays,
                    task.seed,
                    work.is_cancelled,
                    partial,
                )
            )
            refs, inline = self._desk.ship(task, given, is_kept=target.keeps_arrays)
            done = TaskResult(
                task=task.task,
                state="done",
                result=result,
                arrays=refs,
                wall_s=time.perf_counter() - begun_s,
                cpu_s=max(0.0, time.thread_time() - begun_cpu_s),
            )
            # what the wire would refuse must come back as a failure, not as silence
            pack(done, inline)
        except TaskCancelled:
            return TaskResult(task=task.task, state="cancelled"), ()
        except Exception as err:  # noqa: BLE001 (the boundary of the agent)
            return _failed(task, err, time.perf_counter() - begun_s), ()
        return done, inline


class _Work:
    """A job under way."""

    def __init__(self, job: Job, is_stopping: threading.Event) -> None:
        self.job, self.is_unwanted = job, False
        self._is_stopping = is_stopping
        self._n_partials = 0

    def is_cancelled(self) -> bool:
        """Return True when nobody wants the result any more."""
        return self.is_unwanted or self._is_stopping.is_set()

    def count(self) -> int:
        """Return the number of the next intermediate result."""
        self._n_partials += 1
        return self._n_partials - 1


def _instantly(target: Target) -> Instant:
    def answer(task: Task, arrays: Sequence[Array]) -> Answer:
        try:
            here, _ = unbundle(task.arrays, arrays)
            call = Call(task.task, task.method, task.arguments, here, task.seed)
            result, given = target.answer(call)
            refs = tuple(describe(n, a, inline=True) for n, a in given.items())
            done = TaskResult(task=task.task, state="done", result=result, arrays=refs)
            return done, tuple(given.values())
        except Exception as err:  # noqa: BLE001 (the boundary of the agent)
            return _failed(task, err), ()

    return answer


def _failed(task: Task, err: Exception, wall_s: float = 0.0) -> TaskResult:
    reason = str(err)
    if not isinstance(err, LabError):
        last = traceback.extract_tb(err.__traceback__)[-1]
        reason = f"{type(err).__name__}: {err} ({last.name}, line {last.lineno})"
        _LOG.error("task %s: %s", task.task, "".join(traceback.format_exception(err)))
    return TaskResult(
        task=task.task,
        state="failed",
        reason=reason[:_REASON_CHARACTERS],
        may_retry=_is_passing(err),
        wall_s=wall_s,
    )


def _is_passing(err: Exception) -> bool:
    """Return True for a failure that has nothing to do with the question."""
    if isinstance(err, DepotRefused):
        return err.code in {"full", "disk"}
    return isinstance(err, Disconnected)


def _one_thread_each() -> None:
    # several agents share the machine; set before the pools of numpy and torch exist
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
