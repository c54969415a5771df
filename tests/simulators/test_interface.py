"""Simulators register, refuse wrong keys, and are found."""

import sys
import types
from collections.abc import Callable, Mapping

import pydantic
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.interface import Partial, Prediction, Simulator, code_of, find_simulator


class Spring(
    Simulator,
    name="spring",
    knobs=("force_N",),
    beliefs=("stiffness_N_per_m", "slack_m"),
    optional=("slack_m",),
    predicts=("length_m",),
    version=3,
):
    drag: float = 0.0

    def simulate(
        self,
        x: Mapping[str, float],
        theta: Mapping[str, float],
        seed: int,  # noqa: ARG002
        cancel: Callable[[], bool] | None = None,  # noqa: ARG002
        partial: Partial | None = None,
    ) -> Prediction:
        self.check(x, theta)
        if partial is not None:
            partial({"done": 0.5})
        return Prediction({"length_m": x["force_N"] / theta["stiffness_N_per_m"]})


def test_the_tutorial_s_simulator_works():
    assert find_simulator("spring") is Spring
    found = Spring(drag=0.1).simulate({"force_N": 6.0}, {"stiffness_N_per_m": 3.0}, seed=0)
    assert found.scalars == {"length_m": 2.0}
    assert not found.budget_exceeded
    assert (Spring.predicts, Spring.version) == (("length_m",), 3)


def test_a_listener_is_told_how_far_it_is():
    told = []
    Spring().simulate({"force_N": 6.0}, {"stiffness_N_per_m": 3.0}, seed=0, partial=told.append)
    assert told == [{"done": 0.5}]


def test_only_an_optional_belief_may_be_left_out():
    with pytest.raises(ArgumentError, match="stiffness_N_per_m"):
        Spring().check({"force_N": 6.0}, {"slack_m": 0.0})


def test_the_code_is_name_version_and_digest_of_the_source(monkeypatch):
    name, version, digest = code_of(Spring).split(" ")
    assert (name, version, len(digest)) == ("spring", "v3", 16)
    assert code_of(Spring) == code_of(Spring)
    monkeypatch.setattr(Spring, "version", 4)
    assert code_of(Spring) == f"spring v4 {digest}"


def test_code_without_a_source_file_has_a_digest_all_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, Spring.__module__, types.ModuleType("session"))
    assert len(code_of(Spring).rpartition(" ")[2]) == 16


def test_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(pydantic.ValidationError, match="drga"):
        Spring(drga=0.1)


def test_settings_cannot_be_changed_later():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Spring().drag = 1.0


def test_a_simulator_without_simulate_cannot_be_made():
    class Empty(Simulator, name="empty"):
        pass

    with pytest.raises(TypeError, match="simulate"):
        Empty()


def test_a_simulator_is_found_as_module_and_name():
    found = find_simulator("twinloop.simulators.kmc_growth:KMCGrowth")
    assert found is find_simulator("kmc_growth")


@pytest.mark.parametrize("name", ["nothing", "json:JSONDecoder", "json:Nothing"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ArgumentError, match="simulator"):
        find_simulator(name)


def test_a_module_that_does_not_exist_is_refused():
    with pytest.raises(ArgumentError, match="no_such_module"):
        find_simulator("no_such_module:Name")
