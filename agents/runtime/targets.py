"""What a compute agent can be asked: planners, analysts, simulators, and three for measurements and tests.

A target is built from plain JSON in the agent's own process, so nothing but text ever crosses to
it: `{"kind": "planner", "class": "plain_bo", "options": {"n_initial": 6}}`.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from twinloop.errors import ArgumentError, LabError
from twinloop.results import encode_result

__all__ = ["Call", "Target", "TaskCancelled", "build_target"]

Array = NDArray[Any]
Answer = tuple[Any, dict[str, Array]]

_LOOK_S = 0.05


class TaskCancelled(LabError):
    """The computation was stopped because nobody wants its result any more."""

    def __init__(self, task: str) -> None:
        self.task = task
        super().__init__(f"task {task} was cancelled; submit it again for a result")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a target.

    Args:
        task: identity of the task.
        method: what to call.
        arguments: JSON arguments by name.
        arrays: array arguments by name, read-only.
        seed: seeds every generator of the call.
        is_cancelled: to be looked at every 0.5 s at least.
        partial: sends an intermediate result: JSON, and arrays by name.
    """

    task: str
    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    seed: int = 0
    is_cancelled: Callable[[], bool] = lambda: False
    partial: Callable[[Any, Mapping[str, Array]], None] = lambda _result, _arrays: None


class Target(Protocol):
    """One object that tasks name.

    `is_instant`: the call takes microseconds and runs in the mailbox's thread.
    `keeps_arrays`: the result's arrays are for the journal, and go to the depot whatever their size.
    """

    is_instant: ClassVar[bool]
    keeps_arrays: ClassVar[bool]

    def answer(self, call: Call) -> Answer:
        """Return the JSON result and its arrays.

        Raises:
            ArgumentError: no such method, or arguments that do not fit.
            TaskCancelled: `call.is_cancelled` said True.
        """
        ...


class NoopTarget:
    """Gives its arguments back at once: the cost of the path alone."""

    is_instant: ClassVar[bool] = True
    keeps_arrays: ClassVar[bool] = False

    def answer(self, call: Call) -> Answer:
        """Return the arguments."""
        return dict(call.arguments), dict(call.arrays)


class EchoTarget:
    """Gives its arguments and arrays back, as a computation would: through the computing thread.

    An argument `repeat` gives the others so many times over.
    """

    is_instant: ClassVar[bool] = False
    keeps_arrays: ClassVar[bool] = False

    def answer(self, call: Call) -> Answer:
        """Return the arguments."""
        return [dict(call.arguments)] * int(call.arguments.get("repeat", 1)), dict(call.arrays)


class SleepTarget:
    """Waits: a computation of known length, for measurements.

    Arguments of a call: `duration_s` >= 0; `partials`, how many intermediate results to send.
    """

    is_instant: ClassVar[bool] = False
    keeps_arrays: ClassVar[bool] = False

    def answer(self, call: Call) -> Answer:
        """Wait `duration_s`, in as many parts as there are partial results and one more."""
        duration_s = float(call.arguments.get("duration_s", 0.0))
        n_parts = int(call.arguments.get("partials", 0)) + 1
        for part in range(n_parts):
            if part:
                call.partial(part, {})
            self._wait(duration_s / n_parts, call)
        return duration_s, {}

    @staticmethod
    def _wait(left_s: float, call: Call) -> None:
        while True:
            if call.is_cancelled():
                raise TaskCancelled(call.task)
            if left_s <= 0:
                return
            threading.Event().wait(min(left_s, _LOOK_S))
            left_s -= _LOOK_S


class PlannerTarget:
    """A planner: `ask` takes a `Known` on the wire and gives a `Proposal` on the wire."""

    is_instant: ClassVar[bool] = False
    keeps_arrays: ClassVar[bool] = False

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        from twinloop.planners.registry import resolve

        self._planner = resolve({"name": name, **options})
        # now, not at the first question: a worker that is present is ready
        self._planner.prepare()
        _one_thread()

    def answer(self, call: Call) -> Answer:
        """Propose."""
        from twinloop.planners.known import Known

        if call.method not in {"ask", "simulate"}:
            raise ArgumentError("method", call.method, "ask or simulate")
        known = Known.from_wire(call.arguments, call.arrays)
        if call.method == "simulate":
            return self._planner.ask_simulations(known).to_wire()
        return self._planner.ask(known).to_wire()


class SimulatorTarget:
    """A simulator: `simulate` takes x and theta, and gives scalars and arrays."""

    is_instant: ClassVar[bool] = False
    keeps_arrays: ClassVar[bool] = True

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        from twinloop.simulators.interface import code_of, find_simulator

        simulator = find_simulator(name)
        self._simulator = simulator.model_validate(dict(options))
        self._code = code_of(simulator)

    def answer(self, call: Call) -> Answer:
        """Simulate; a simulation that was stopped counts as cancelled."""
        from twinloop.simulators.interface import Cancelled

        _only("simulate", call)
        if set(call.arguments) != {"x", "theta"}:
            raise ArgumentError("arguments", sorted(call.arguments), "x and theta")
        try:
            said = self._simulator.simulate(
                call.arguments["x"],
                call.arguments["theta"],
                call.seed,
                call.is_cancelled,
                lambda scalars: call.partial(dict(scalars), {}),
            )
        except Cancelled as err:
            raise TaskCancelled(call.task) from err
        result = {
            "scalars": dict(said.scalars),
            "budget_exceeded": said.budget_exceeded,
            "code": self._code,
        }
        return result, dict(said.arrays)


class AnalystTarget:
    """An analyst: each quantity is a method."""

    is_instant: ClassVar[bool] = False
    keeps_arrays: ClassVar[bool] = True

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        from twinloop.analysts.interface import find_analyst

        self._analyst = find_analyst(name).model_validate(dict(options))

    def answer(self, call: Call) -> Answer:
        """Work a quantity out."""
        return encode_result(self._analyst.compute(call.method, **call.arguments, **call.arrays))


def build_target(spec: Mapping[str, Any]) -> Target:
    """Return the target that a specification stands for.

    Args:
        spec: `kind`, and for what has one a `class` (name, or "module:Name") and `options`.

    Raises:
        ArgumentError: an unknown kind, class or option.
    """
    kind, name = spec.get("kind"), str(spec.get("class", ""))
    options = spec.get("options", {})
    match kind:
        case "noop":
            return NoopTarget()
        case "echo":
            return EchoTarget()
        case "sleep":
            return SleepTarget()
        case "planner":
            return PlannerTarget(name, options)
        case "simulator":
            return SimulatorTarget(name, options)
        case "analyst":
            return AnalystTarget(name, options)
        case _:
            allowed = "noop, echo, sleep, planner, simulator or analyst"
            raise ArgumentError("kind", kind, allowed)


def _only(method: str, call: Call) -> None:
    if call.method != method:
        raise ArgumentError("method", call.method, method)


def _one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        # several workers share the machine, and one thread gives the same bits everywhere
        torch.set_num_threads(1)
