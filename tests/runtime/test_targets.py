"""Planners, simulators and analysts as targets of tasks."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from twinloop.agents.runtime.targets import Call, TaskCancelled, build_target
from twinloop.analysts.interface import Analyst, quantity
from twinloop.errors import ArgumentError
from twinloop.planners.known import Known, Proposal
from twinloop.planners.registry import resolve
from twinloop.results import Array, Result
from twinloop.simulators.interface import Cancelled, Prediction, Simulator


class Spring(Simulator, name="test_spring", knobs=("force_N",), beliefs=("stiffness_N_per_m",)):
    """Hooke's law, with a seed to see."""

    def simulate(
        self,
        x: Mapping[str, float],
        theta: Mapping[str, float],
        seed: int,
        cancel: Callable[[], bool] | None = None,
        partial: Callable[[Mapping[str, float]], None] | None = None,
    ) -> Prediction:
        """Stretch."""
        if partial is not None:
            partial({"done": 0.5})
        if cancel is not None and cancel():
            raise Cancelled("test_spring", 0.5)
        length_m = x["force_N"] / theta["stiffness_N_per_m"]
        return Prediction({"length_m": length_m}, {"seeds": np.array([seed])})


class Peak(Result):
    """The largest element."""

    height: float
    near: Array


class Photometer(Analyst, name="test_photometer"):
    """Finds a peak."""

    dark: float = 1.0

    @quantity
    def peak(self, *, frame: Array, width: int) -> Peak:
        """Return the peak above the dark."""
        top = int(frame.argmax())
        return Peak(height=float(frame[top] - self.dark), near=frame[top - width : top + width])


def test_a_planner_answers_with_the_very_bits_it_gives_directly() -> None:
    known = Known.of({"a_K": (0, 1), "b_K": (0, 1)}, proposal=3, campaign_seed=7)
    header, arrays = known.to_wire()
    planner = build_target({"kind": "planner", "class": "sobol"})
    result, given = planner.answer(Call("t", "ask", header, arrays, seed=1))
    assert Proposal.from_wire(result, given) == resolve("sobol").ask(known)


def test_a_simulator_gets_x_theta_and_the_seed_of_the_task() -> None:
    target = build_target({"kind": "simulator", "class": "test_spring"})
    arguments = {"x": {"force_N": 6.0}, "theta": {"stiffness_N_per_m": 2.0}}
    result, arrays = target.answer(Call("t", "simulate", arguments, seed=11))
    assert result.pop("code").startswith("test_spring v1 ")
    assert result == {"scalars": {"length_m": 3.0}, "budget_exceeded": False}
    assert arrays["seeds"].tolist() == [11]


def test_a_simulation_that_is_cancelled_is_told_from_one_that_fails() -> None:
    target = build_target({"kind": "simulator", "class": "test_spring"})
    arguments = {"x": {"force_N": 6.0}, "theta": {"stiffness_N_per_m": 2.0}}
    with pytest.raises(TaskCancelled):
        target.answer(Call("t", "simulate", arguments, is_cancelled=lambda: True))


def test_an_analyst_gets_numbers_and_arrays_by_name_and_its_options() -> None:
    target = build_target({"kind": "analyst", "class": "test_photometer", "options": {"dark": 2.0}})
    frame = np.array([0.0, 1.0, 9.0, 3.0])
    result, arrays = target.answer(Call("t", "peak", {"width": 1}, {"frame": frame}))
    assert result == {"height": 7.0, "near": {"$array": "near"}}
    assert arrays["near"].tolist() == [1.0, 9.0]


def test_a_sleep_stops_when_nobody_wants_it_any_more() -> None:
    looks = iter([False, False, True])
    call = Call("t", "sleep", {"duration_s": 1000.0}, is_cancelled=lambda: next(looks))
    with pytest.raises(TaskCancelled):
        build_target({"kind": "sleep"}).answer(call)


def test_intermediate_results_come_before_the_last() -> None:
    heard: list[object] = []
    call = Call("t", "sleep", {"partials": 2}, partial=lambda result, _arrays: heard.append(result))
    assert build_target({"kind": "sleep"}).answer(call) == (0.0, {})
    assert heard == [1, 2]


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"kind": "oracle"}, "noop, echo, sleep, planner, simulator or analyst"),
        ({"kind": "planner", "class": "no_such"}, "no_such"),
        ({"kind": "simulator", "class": "no_such"}, "no_such"),
        ({"kind": "analyst", "class": "no_such"}, "no_such"),
    ],
)
def test_what_cannot_be_built_says_what_there_is(spec: dict[str, str], named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        build_target(spec)


def test_a_method_that_a_target_does_not_have_is_refused() -> None:
    with pytest.raises(ArgumentError, match="method"):
        build_target({"kind": "planner", "class": "sobol"}).answer(Call("t", "guess"))
