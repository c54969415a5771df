import pytest

from twinloop.errors import ArgumentError
from twinloop.planners.plain_bo import PlainBO
from twinloop.planners.random import RandomPlanner
from twinloop.planners.registry import find_planner, options_of, planner_problems, resolve
from twinloop.planners.sobol import SobolPlanner


@pytest.mark.parametrize(
    ("name", "planner"), [("plain_bo", PlainBO), ("sobol", SobolPlanner), ("random", RandomPlanner)]
)
def test_the_shipped_planners_are_found_by_the_name_they_carry(name, planner):
    assert find_planner(name) is planner
    assert planner.name == name


def test_a_planner_of_ones_own_is_found_by_its_place():
    assert find_planner("twinloop.planners.random:RandomPlanner") is RandomPlanner


@pytest.mark.parametrize(
    "name", ["sobel", "nowhere:Planner", "twinloop.planners.random:Nobody", ":"]
)
def test_an_unknown_name_lists_what_there_is(name):
    with pytest.raises(ArgumentError) as caught:
        find_planner(name)
    assert "plain_bo, random, sobol" in str(caught.value)
    assert caught.value.found == name


def test_something_else_than_a_planner_is_refused():
    with pytest.raises(ArgumentError, match="derived from Planner"):
        find_planner("twinloop.planners.known:Known")


def test_options_are_set_and_the_rest_keeps_its_default():
    assert resolve({"name": "plain_bo", "n_initial": 8}) == PlainBO(n_initial=8)
    assert resolve({"name": "plain_bo"}).n_initial == 6
    assert resolve("sobol") == SobolPlanner()


@pytest.mark.parametrize(
    ("config", "name", "found", "allowed"),
    [
        ({"name": "plain_bo", "n_inital": 8}, "planner.n_inital", 8, "n_initial (default 6)"),
        (
            {"name": "plain_bo", "n_initial": 1},
            "planner.n_initial",
            1,
            "greater than or equal to 2",
        ),
        ({"name": "plain_bo", "n_initial": "many"}, "planner.n_initial", "many", "valid integer"),
        ({"name": "sobol", "seed": 3}, "planner.seed", 3, "n_initial"),
        ({"name": "sobol", "space": {"a": [0, 1]}}, "planner.space", {"a": [0, 1]}, "n_initial"),
        ({"n_initial": 8}, "planner", {"n_initial": 8}, "name: ..."),
    ],
)
def test_a_wrong_option_is_named_with_what_was_found_and_what_is_allowed(
    config, name, found, allowed
):
    with pytest.raises(ArgumentError) as caught:
        resolve(config)
    assert (caught.value.name, caught.value.found) == (name, found)
    assert allowed in caught.value.allowed


def test_a_configuration_check_reports_every_mistake_at_its_key():
    problems = planner_problems(
        {"name": "plain_bo", "n_initial": 1, "wild": 2}, file="c.yaml", key="stages.0.planner"
    )
    assert [(p.file, p.key) for p in problems] == [
        ("c.yaml", "stages.0.planner.wild"),
        ("c.yaml", "stages.0.planner.n_initial"),
    ]
    assert planner_problems({"name": "nobody"}, file="c.yaml")[0].key == "planner.name"
    assert planner_problems({"name": "plain_bo"}, file="c.yaml") == ()


def test_the_knobs_of_the_search_are_no_options():
    assert set(options_of(PlainBO)) == {"n_initial", "device"}
