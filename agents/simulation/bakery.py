"""The small laboratory in a simulated world: conductor, adapter, two workers, a machine.

The machine outlives every adapter and remembers each effect: what tests count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.campaign.conductor_core import ConductorCore
from twinloop.agents.campaign.pool import SendTask
from twinloop.agents.campaign.reading import fold
from twinloop.agents.campaign.testing import THEORY, Oven, Ruler, brief
from twinloop.agents.runtime.compute_core import ComputeCore
from twinloop.agents.runtime.payload import bundle, unbundle
from twinloop.agents.simulation.world import Agent, Crashed, Faults, HubNode, World
from twinloop.ids import seed_of
from twinloop.instruments.interface import Command, Done, NotDone
from twinloop.instruments.rules import rules_of
from twinloop.instruments.simulated import AdapterSim, SimMachine
from twinloop.log.interface import Entry, EventLog
from twinloop.log.memory import MemoryLog
from twinloop.messages import Message, OutcomeAck, Task, TaskResult
from twinloop.planners.known import Known, Proposal, SimulationRequest
from twinloop.planners.random import RandomPlanner
from twinloop.wire.arrays import describe
from twinloop.wire.effects import Exit, Send
from twinloop.wire.loop import EffectRunner

__all__ = ["Bakery", "Scenario"]

EPOCH = "2026-01-01T00:00:00+00:00"


class SimOven(Oven):
    """The oven's class, for its rules; the simulated machine does the work."""

    def connect(self) -> None:
        """Do nothing."""

    def safe_state(self) -> None:
        """Do nothing."""

    @Oven.load.implement
    async def load(self) -> None:
        """Put the sample in."""

    @load.reconcile
    async def was_loaded(self, command: Command) -> Done[None] | NotDone:  # noqa: ARG002
        """Never called: the simulated machine answers."""
        return NotDone()

    @Oven.bake.implement
    async def bake(self, *, bake_K: float, bake_s: float) -> Any:
        """Bake."""

    @bake.reconcile
    async def was_baked(self, command: Command) -> NotDone:  # noqa: ARG002
        """Never called: the simulated machine answers."""
        return NotDone()


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    Args:
        experiments, parallel: of the campaign.
        faults: of the world.
        until_s: by then it has to be over [s].
        loses_ledger: the adapter's disk is gone at its second life.
        has_theory: simulations are asked for, some experiments wait for them, some are withdrawn.
    """

    experiments: int = 4
    parallel: int = 1
    faults: Faults = Faults()  # noqa: RUF009 (frozen)
    until_s: float = 400.0
    loses_ledger: bool = False
    has_theory: bool = False


class _Fuse:
    """Counts effects down to a crash."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise Crashed


class _FusedLog:
    """A log whose calls may be the last thing that an agent does."""

    def __init__(self, log: MemoryLog, fuse: _Fuse) -> None:
        self._log, self._fuse = log, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, entry: Entry) -> int:
        self._fuse.burn()
        return self._log.append(entry)

    def commit(self) -> None:
        self._fuse.burn()
        self._log.commit()


class ConductorNode(Agent):
    """The conductor on its journal."""

    def __init__(self, bakery: "Bakery", world: World) -> None:
        super().__init__(world, "conductor", "conductor")
        self.bakery, self.fuse = bakery, _Fuse()
        self.log = MemoryLog("journal", stamp=lambda: EPOCH)
        self.core: ConductorCore | None = None
        self.exit: Exit | None = None
        self._runner: EffectRunner | None = None

    @property
    def core_next_s(self) -> float | None:
        """Return when the core wants to wake, or a lazy commit is due."""
        return self.core.wake_at_s if self.core else None

    def arm(self, n_effects: int) -> None:
        """Die before so many more effects were run."""
        self.fuse.left = n_effects

    def begin(self) -> None:
        """Fold the journal and take the campaign up."""
        self.log.verify()
        fused: EventLog = _FusedLog(self.log, self.fuse)
        runner_type = self.bakery.runner
        self._runner = runner_type(fused, self._perform)
        self.core = ConductorCore(
            self.bakery.brief, fold(self.log.read()), f"conductor-{self.lives}", "depot-1"
        )
        self._run(self.core.start(self.world.now_s))

    def lose(self) -> None:
        """Lose what was not committed."""
        self.core, self._runner, self.fuse.left = None, None, None
        self.log.crash()

    def receive(self, sender: str, message: Message, arrays: Sequence[NDArray[Any]]) -> None:
        """Take a message."""
        if self.core is not None:
            self._run(self.core.receive(sender, message, self.world.now_s, arrays))

    def wake(self) -> None:
        """Tick."""
        wake_s = self.core.wake_at_s if self.core else None
        if self.core is not None and wake_s is not None and wake_s <= self.world.now_s:
            self._run(self.core.tick(self.world.now_s))
        # lazily, as in production: what no gate forced onto the disk
        if self.log.has_pending and self.world.random.random() < 0.5:
            self.fuse.burn()
            self.log.commit()

    def _run(self, effects: Sequence[object]) -> None:
        if self._runner is not None:
            self._runner.add(effects)
            self._runner.flush()

    def _perform(self, effect: object) -> None:
        self.fuse.burn()
        match effect:
            case SendTask():
                task, arrays = effect.task, effect.arrays
                if arrays:
                    task, arrays = bundle(task, arrays)
                self.send(effect.to, task, arrays)
            case Send():
                self._witness(effect.message)
                self.send(effect.to, effect.message, effect.arrays)
            case Exit():
                self.exit = effect
            case _:
                pass

    def _witness(self, message: Message) -> None:
        """Note what may only be said once the disk has it, and whether it has."""
        match message:
            case OutcomeAck():
                self.bakery.acked.append(str(message.key))
                needed = f"settled/{message.key}"
            case Command():
                needed = f"commanded/{message.key}"
            case _:
                return
        stored = self.log.find(needed)
        if stored is None or stored.seq > self.log.durable_seq:
            self.bakery.hasty.append(f"{message.kind} {message.key} was sent before {needed}")


class AdapterNode(Agent):
    """The adapter on its ledger, in front of the machine."""

    # its monotonic clock has another origin than everybody's
    OFFSET_S = 5000.0

    def __init__(self, bakery: "Bakery", world: World) -> None:
        super().__init__(world, "bakery", "adapter")
        self.bakery = bakery
        self.sim = self._make("ledger-1")

    def _make(self, ledger: str) -> AdapterSim:
        return AdapterSim(
            {"oven": rules_of(SimOven)},
            self.bakery.machine,
            MemoryLog(ledger, stamp=lambda: EPOCH),
            self.send,
        )

    @property
    def core_next_s(self) -> float | None:
        """Return when something of the adapter is due."""
        return None if self.sim.next_s is None else self.sim.next_s - self.OFFSET_S

    @property
    def now_s(self) -> float:
        """Return the adapter's own clock [s]."""
        return self.world.now_s + self.OFFSET_S

    def arm(self, n_effects: int) -> None:
        """Die before so many more effects were run."""
        self.sim.crash_after = n_effects

    def begin(self) -> None:
        """Read the ledger and go on."""
        if self.lives == 2 and self.bakery.scenario.loses_ledger:
            self.world.note("the ledger is lost")
            self.bakery.lost_ledgers.append(self.sim.log)
            self.sim = self._make("ledger-2")
        self.sim.log.verify()
        self._do(lambda: self.sim.start(self.now_s))

    def lose(self) -> None:
        """Lose what was not committed; the machine goes on."""
        self.sim.crash()

    def receive(self, sender: str, message: Message, arrays: Sequence[NDArray[Any]]) -> None:  # noqa: ARG002
        """Take a message."""
        self._do(lambda: self.sim.receive(sender, message, self.now_s))

    def wake(self) -> None:
        """Do what is due."""
        self.sim.depot_is_up = self.world.nodes["conductor"].is_up
        self._do(lambda: self.sim.step(self.now_s))

    def _do(self, call: Callable[[], None]) -> None:
        call()
        if self.sim.core is None:
            raise Crashed


class WorkerNode(Agent):
    """A compute agent that plans and measures, at once."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name, "worker", {"targets": ["planner", "ruler", "simulator"]})
        self.core: ComputeCore | None = None

    def begin(self) -> None:
        """Begin with nothing."""
        answers = {"planner": _plan, "ruler": _measure, "simulator": _simulate}
        self.core = ComputeCore(set(), answers)

    def lose(self) -> None:
        """Forget all tasks."""
        self.core = None

    def receive(self, sender: str, message: Message, arrays: Sequence[NDArray[Any]]) -> None:
        """Answer."""
        if self.core is None:
            return
        for effect in self.core.receive_arrays(sender, message, tuple(arrays), self.world.now_s):
            if isinstance(effect, Send):
                self.send(effect.to, effect.message, effect.arrays)

    def wake(self) -> None:
        """Do nothing: nothing of a worker depends on time."""


def _plan(
    task: Task, arrays: Sequence[NDArray[Any]]
) -> tuple[TaskResult, tuple[NDArray[Any], ...]]:
    here, _ = unbundle(task.arrays, arrays)
    known = Known.from_wire(task.arguments, here)
    # as a model would, it answers another prefix of the journal with another point
    proposal = RandomPlanner().ask(replace(known, seed=seed_of(known.seed, known.basis)))
    if known.theory is not None:
        proposal = _with_theory(known, proposal, is_alone=task.method == "simulate")
    header, content = proposal.to_wire()
    refs = tuple(describe(name, array, inline=True) for name, array in content.items())
    return TaskResult(task=task.task, state="done", result=header, arrays=refs), tuple(
        content.values()
    )


def _with_theory(known: Known, proposal: Proposal, *, is_alone: bool) -> Proposal:
    """Return the answer with simulations, withdrawals, and an experiment that may have to wait."""
    rng = np.random.default_rng([known.seed % 2**63, known.basis])
    wanted = tuple(
        SimulationRequest(rng.random(known.d), {"best_K": float(rng.normal(450.0, 20.0))}, 1.0)
        for _ in range(int(rng.integers(0, 4)))
    )
    n_held = int(known.memo.get("held", 0))
    holds = bool(wanted) and not is_alone and n_held < 3 and rng.random() < 0.5
    n_pending = len(known.simulations.pending_x)
    return replace(
        proposal,
        source="loaf" if holds else proposal.source,
        simulations=wanted,
        withdrawn=tuple(row for row in range(n_pending) if rng.random() < 0.2),
        memo={"held": n_held + 1 if holds else 0},
    )


def _simulate(
    task: Task,
    arrays: Sequence[NDArray[Any]],  # noqa: ARG001 (of every instant target)
) -> tuple[TaskResult, tuple[NDArray[Any], ...]]:
    x, theta = task.arguments["x"], task.arguments["theta"]
    scalars = {"height": 1.0 - ((x["bake_K"] - theta["best_K"]) / 150.0) ** 2, "crust": 0.5}
    result = {"scalars": scalars, "budget_exceeded": False, "code": "loaf v1"}
    return TaskResult(task=task.task, state="done", result=result), ()


def _measure(
    task: Task,
    arrays: Sequence[NDArray[Any]],  # noqa: ARG001 (of every instant target)
) -> tuple[TaskResult, tuple[NDArray[Any], ...]]:
    value = Ruler.quantities()[task.method](**task.arguments)
    return TaskResult(task=task.task, state="done", result=value), ()


def _result(command: Command) -> tuple[Any, dict[str, NDArray[Any]]]:
    if command.action != "bake":
        return None, {}
    frame = np.array([command.arguments["bake_K"]], dtype=np.float64)
    peak = {"peak_K": command.arguments["bake_K"], "lasted_s": command.arguments["bake_s"]}
    return {**peak, "frame": {"$array": "frame"}}, {"frame": frame}


class Bakery:
    """One campaign of the small laboratory in a world of faults.

    Args:
        seed: of the world.
        scenario: what is simulated.

    Attributes:
        acked: keys that the conductor acknowledged, in any of its lives.
        hasty: what was said before the disk had it.
    """

    runner: type[EffectRunner] = EffectRunner

    def __init__(self, seed: int, scenario: Scenario) -> None:
        self.scenario = scenario
        theory = THEORY if scenario.has_theory else None
        made = brief(scenario.experiments, parallel=scenario.parallel, seed=seed, theory=theory)
        self.brief = replace(made, opening=lambda _: None) if seed % 2 else made
        self.world = World(seed, scenario.faults)
        self.machine = SimMachine(
            duration_s=lambda c: 3.0 if c.action == "bake" else 0.5, result=_result
        )
        self.acked: list[str] = []
        self.hasty: list[str] = []
        self.lost_ledgers: list[MemoryLog] = []
        self.hub = HubNode(self.world)
        self.conductor = ConductorNode(self, self.world)
        self.adapter = AdapterNode(self, self.world)
        self.workers = [WorkerNode(self.world, f"w{n}") for n in range(2)]

    def run(self) -> None:
        """Let it happen."""
        self.world.run(self.scenario.until_s, self._is_over)

    def _is_over(self) -> bool:
        if self.conductor.exit is not None:
            return True
        core = self.conductor.core
        if core is None or not self.world.is_calm or not self.scenario.loses_ledger:
            return False
        # only what a person has to settle is left
        state = core.state
        return (
            bool(state.trials)
            and all(t.is_held for t in state.trials.values())
            and (len(state.proposed) >= self.scenario.experiments and not state.ready)
        )
