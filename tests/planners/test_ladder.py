import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from twinloop.errors import BadProposal, PlanningFailed
from twinloop.planners.digital_net import sobol
from twinloop.planners.interface import Known, Planner, Proposal, SimulationRequest
from twinloop.planners.testing import example_known

KNOWN = example_known(5)
WARM = replace(KNOWN, memo={"hyperparameters": [1.0], "rung": "planner"})


class Stumbling(Planner, name="stumbling"):
    """Fail as told while a memo is there, and answer the middle without one."""

    failure: str = ""

    def propose(self, known):
        if known.memo or self.failure.endswith("always"):
            if self.failure.startswith("nan"):
                return Proposal(x=np.array([np.nan, 0.5]))
            if self.failure.startswith("division"):
                _ = 1.0 / (known.n - known.n)
            if self.failure.startswith("singular"):
                np.linalg.inv(np.zeros((2, 2)))
            if self.failure.startswith("said"):
                raise PlanningFailed(self.name, "no fit")
            if self.failure.startswith("bug"):
                raise TypeError("a mistake of the author")
        return Proposal(x=np.array([0.5, 0.5]), memo={"hyperparameters": [2.0]})


def test_a_planner_that_answers_is_not_second_guessed():
    answer = Stumbling().ask(WARM)
    assert answer.why == {"rung": "planner"}
    assert answer.memo == {"hyperparameters": [2.0], "rung": "planner"}


@pytest.mark.parametrize("failure", ["nan", "division", "singular", "said"])
def test_numerics_that_fail_warm_are_tried_cold(failure):
    answer = Stumbling(failure=failure).ask(WARM)
    assert answer.x.tolist() == [0.5, 0.5]
    assert answer.memo["rung"] == "cold"
    assert answer.why["fell"].startswith("planner: ")


def test_numerics_that_fail_cold_too_leave_the_sobol_point_and_no_memo():
    answer = Stumbling(failure="said always").ask(WARM)
    assert np.array_equal(answer.x, sobol(WARM))
    assert answer.memo == {"rung": "sobol"}
    assert answer.why["fell"] == "planner: PlanningFailed: no fit; cold: PlanningFailed: no fit"


def test_without_a_memo_the_cold_rung_would_be_the_same_again_and_is_left_out():
    answer = Stumbling(failure="said always").ask(replace(KNOWN, memo={"rung": "opening"}))
    assert answer.why["fell"] == "planner: PlanningFailed: no fit"


def test_a_mistake_of_the_author_is_no_reason_to_fall():
    with pytest.raises(TypeError, match="a mistake of the author"):
        Stumbling(failure="bug").ask(WARM)


def test_failures_of_libraries_count_once_these_are_loaded(monkeypatch):
    library = ModuleType("botorch.exceptions.errors")
    library.ModelFittingError = type("ModelFittingError", (Exception,), {})
    monkeypatch.setitem(sys.modules, library.__name__, library)

    class Unfit(Planner, name="unfit"):
        def propose(self, _known):
            raise library.ModelFittingError("All attempts to fit the model have failed.\nSee ...")

    answer = Unfit().ask(KNOWN)
    assert answer.why["fell"] == (
        "planner: ModelFittingError: All attempts to fit the model have failed."
    )


class Fixed(Planner, name="fixed"):
    place: tuple[float, ...] = (0.5, 0.5)
    source: str = "experiment"
    simulated: tuple[tuple[float, ...], ...] = ()

    def propose(self, _known):
        wanted = tuple(SimulationRequest(np.array(x), {"barrier_eV": 1.3}) for x in self.simulated)
        return Proposal(x=np.array(self.place), source=self.source, simulations=wanted)


def test_a_pending_point_is_not_proposed_again():
    known = replace(KNOWN, pending=np.array([[0.1, 0.1], [0.5, 0.5 + 9e-7]]))
    answer = Fixed().ask(known)
    assert answer.why["rung"] == "sobol"
    assert "pending" in answer.why["fell"]
    near = replace(KNOWN, pending=np.array([[0.5, 0.5 + 2e-6]]))
    assert Fixed().ask(near).why["rung"] == "planner"


def test_when_its_sobol_point_is_pending_too_another_free_one_is_found():
    crowd = [[0.5, 0.5], sobol(KNOWN).tolist()]
    for _ in range(6):
        known = replace(KNOWN, pending=np.array(crowd))
        answer = Fixed().ask(known)
        gaps = np.linalg.norm(known.pending - answer.x, axis=1)
        assert gaps.min() > 1e-6
        crowd.append(answer.x.tolist())


def test_a_simulation_may_be_asked_for_where_an_experiment_is_pending():
    known = replace(KNOWN, pending=np.array([[0.5, 0.5]]))
    answer = Fixed(source="kmc_growth", simulated=((0.5, 0.5),)).ask(known)
    assert (answer.why["rung"], answer.source) == ("planner", "kmc_growth")
    assert answer.simulations[0].theta == {"barrier_eV": 1.3}


@pytest.mark.parametrize(
    "broken",
    [
        {"place": (0.5,)},
        {"place": (0.5, 1.001)},
        {"place": (-0.001, 0.5)},
        {"source": ""},
        {"source": "kmc_growth"},
        {"simulated": ((0.5,),)},
        {"simulated": ((0.5, 1.5),)},
    ],
)
def test_a_broken_contract_is_an_error_that_names_the_planner(broken):
    with pytest.raises(BadProposal, match="planner fixed proposed"):
        Fixed(**broken).ask(KNOWN)


def test_rounding_at_the_faces_of_the_cube_is_taken_off():
    answer = Fixed(place=(-1e-12, 1.0 + 1e-12)).ask(KNOWN)
    assert answer.x.tolist() == [0.0, 1.0]
    assert not np.signbit(Fixed(place=(-0.0, 0.5)).ask(KNOWN).x[0])


def test_the_sobol_rung_serves_where_nothing_is_known():
    answer = Stumbling(failure="said always").ask(Known.of({"a": (0, 1)}, proposal=3))
    assert answer.x.shape == (1,)
