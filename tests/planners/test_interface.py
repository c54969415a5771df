import random
import textwrap

import numpy as np
import pytest

from twinloop.errors import ArgumentError, BadProposal
from twinloop.planners import interface
from twinloop.planners.interface import Known, Planner, Proposal, sobol
from twinloop.planners.sobol import SobolPlanner
from twinloop.planners.testing import check_planner, example_known


class Chance(Planner, name="chance"):
    """Draw from every global generator that a library might use."""

    n_initial: int = 2

    def propose(self, _known):
        return Proposal(x=np.array([random.random(), np.random.random()]))  # noqa: NPY002


def test_global_generators_are_seeded_by_the_proposal_alone():
    random.seed(1)
    first = Chance().ask(example_known(4))
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert Chance().ask(example_known(4)) == first
    assert Chance().ask(example_known(4, proposal=9)) != first


def test_the_opening_needs_no_model_until_enough_is_observed():
    for n in (0, 1):
        known = example_known(n, pending=3)
        opening = Chance().opening(known)
        assert opening is not None
        assert np.array_equal(opening.x, sobol(known))
        assert opening == Chance().ask(known)
    assert Chance().opening(example_known(2)) is None
    assert Chance().ask(example_known(2)).why["rung"] == "planner"


def test_points_of_the_opening_differ_while_results_are_awaited():
    points = [Chance().ask(example_known(0, proposal=number)).x for number in range(4)]
    assert len({tuple(x) for x in points}) == 4


def test_a_heavy_import_is_left_to_the_worker():
    class Heavy(Chance, name="heavy"):
        def prepare(self):
            raise AssertionError("prepared in the conductor")

    assert Heavy().opening(example_known(0)) is not None
    with pytest.raises(AssertionError, match="prepared"):
        Heavy().ask(example_known(2))


def test_ask_cannot_be_replaced():
    with pytest.raises(BadProposal, match="ask"):
        type("Own", (Chance,), {"ask": lambda _: None}, name="own")


def test_options_cannot_change_after_the_fact():
    with pytest.raises(ValueError, match="frozen"):
        Chance().n_initial = 3


def test_an_option_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="n_inital"):
        Chance(n_inital=3)


# Without a campaign -------------------------------------------------------------------------------

SPACE = {"substrate_K": (500, 800), "flux_ML_per_s": (0.05, 0.5, "log")}


def test_three_calls_are_a_search():
    planner = Chance(space=SPACE, seed=7)
    point = planner.ask()
    assert set(point) == {"substrate_K", "flux_ML_per_s"}
    assert 500 <= point["substrate_K"] <= 800
    planner.tell(point, y=-0.31, y_sd=0.02)
    known = planner.told()
    assert known.y.tolist() == [[-0.31]]
    assert known.y_sd.tolist() == [[0.02]]
    assert known.pending.shape == (0, 2)
    assert (known.proposal, known.campaign_seed) == (1, 7)


def test_it_asks_what_a_campaign_would():
    planner = Chance(space=SPACE, seed=7)
    asked = [planner.ask() for _ in range(3)]
    for point in asked[:2]:
        planner.tell(point, y=1.0)
    known = planner.told()
    assert known.pending.shape == (1, 2)
    expected = Chance().ask(known)
    assert planner.ask() == known.space.to_point(expected.x)


def test_a_result_is_told_exactly_where_it_was_asked_for():
    # Each to the last bit: physical values alone would give some places back with other rounding.
    planner = SobolPlanner(space=SPACE, seed=7)
    for _ in range(20):
        x = sobol(planner.told())
        planner.tell(planner.ask(), y=0.0)
        assert np.array_equal(planner.told().x[-1], x)


def test_a_point_of_ones_own_may_be_told():
    planner = SobolPlanner(space=SPACE)
    planner.tell({"substrate_K": 650.0, "flux_ML_per_s": 0.05}, y=1.0, slack=[0.2, -0.1])
    assert planner.told().x.tolist() == [[0.5, 0.0]]
    assert planner.told().slack.tolist() == [[0.2, -0.1]]


@pytest.mark.parametrize(
    "result",
    [{"y": float("nan")}, {"y": 1.0, "y_sd": -1.0}, {"y": 1.0, "slack": [1.0], "slack_sd": [1, 2]}],
)
def test_a_result_that_is_no_number_is_refused_and_not_remembered(result):
    planner = SobolPlanner(space=SPACE)
    point = planner.ask()
    with pytest.raises(ArgumentError):
        planner.tell(point, **result)
    assert planner.told().n == 0
    assert len(planner.told().pending) == 1


def test_constraints_do_not_come_and_go():
    planner = SobolPlanner(space=SPACE)
    planner.tell(planner.ask(), y=1.0, slack=[0.1])
    with pytest.raises(ArgumentError, match="1 values"):
        planner.tell(planner.ask(), y=1.0)


def test_without_a_space_ask_says_what_to_give():
    with pytest.raises(ArgumentError, match=r"SobolPlanner\(space="):
        SobolPlanner().ask()


def test_two_planners_share_no_notebook():
    one, two = SobolPlanner(space=SPACE), SobolPlanner(space=SPACE)
    one.tell(one.ask(), y=1.0)
    assert two.told().n == 0


def test_a_known_of_other_dimensions_is_not_confused_with_the_space_given():
    planner = SobolPlanner(space=SPACE)
    assert planner.ask(Known.of({"a": (0, 1)})).x.shape == (1,)


def test_the_example_of_the_tutorial_keeps_the_contract():
    tutorial = interface.__doc__.partition("::\n")[2].partition("\nThe rules")[0]
    namespace = {}
    exec(textwrap.dedent(tutorial), namespace)  # noqa: S102
    check_planner(namespace["Walk"])
