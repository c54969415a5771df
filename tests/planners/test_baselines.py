import numpy as np
import pytest

from twinloop.planners.interface import Known
from twinloop.planners.random import RandomPlanner
from twinloop.planners.sobol import SobolPlanner
from twinloop.planners.testing import CHECKS

SPACE = {"a": (0, 1), "b": (0, 1)}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("planner", [SobolPlanner, RandomPlanner])
def test_it_keeps_the_contract(planner, check):
    check(planner)


def answers(planner, n):
    return np.array([planner.ask(Known.of(SPACE, proposal=i, campaign_seed=3)).x for i in range(n)])


def test_sobol_fills_each_quarter_evenly():
    quarters = np.floor(answers(SobolPlanner(), 64) * 2).astype(int)
    counts = np.bincount(quarters[:, 0] * 2 + quarters[:, 1])
    assert counts.tolist() == [16, 16, 16, 16]


def test_random_has_the_mean_and_spread_of_an_even_draw():
    x = answers(RandomPlanner(), 400)
    # Standard errors: 0.289 / 20 of the mean, 0.0745 / 20 of the variance; four of each.
    assert x.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.058)
    assert x.var(axis=0) == pytest.approx([1 / 12, 1 / 12], abs=0.015)


@pytest.mark.parametrize("planner", [SobolPlanner, RandomPlanner])
def test_no_result_changes_the_answer(planner):
    without = planner().ask(Known.of(SPACE, proposal=4))
    with_one = planner().ask(Known.of(SPACE, [[0.1, 0.2]], [[5.0]], proposal=4))
    assert without == with_one


@pytest.mark.parametrize("planner", [SobolPlanner, RandomPlanner])
def test_it_needs_no_worker(planner):
    assert planner().opening(Known.of(SPACE, [[0.1, 0.2]], [[5.0]], proposal=40)) is not None
