"""The belief about the objective: against what the closed form says, and where experiments were."""

from dataclasses import replace

import numpy as np
import pytest

from twinloop.planners.testing import example_theory

TRUTH = {"place_1": 0.6, "place_2": 0.4}


def bump(x):
    return np.exp(-8.0 * ((x - list(TRUTH.values())) ** 2).sum(axis=1))


def test_a_right_theory_is_known_everywhere_from_a_few_experiments(believed):
    belief = believed(example_theory(8, m=128, truth=TRUTH))
    x = np.random.default_rng(9).random((200, 2))
    mean, sd = belief.moments(x)
    assert np.sqrt(np.mean((mean - bump(x)) ** 2)) < 0.05
    assert np.mean(np.abs(mean - bump(x)) < 2.0 * sd) > 0.9


def test_where_an_experiment_was_the_belief_is_what_it_gave(believed):
    """Even where theory says something else: the machine is right."""
    known = example_theory(6, m=128, truth=TRUTH)
    y = known.y.copy()
    y[2] = 0.9 - y[2]
    belief = believed(replace(known, y=y))
    mean, sd = belief.moments(known.x)
    assert abs(mean[2] - y[2, 0]) < 3.0 * max(sd[2], 0.02)
    assert belief.best_measured.mean() == pytest.approx(mean.max(), abs=0.05)


def test_before_the_first_experiment_anything_is_an_improvement(believed):
    known = example_theory(0, m=64)
    belief = believed(known)
    worst = known.simulations.values[:, 0].min()
    assert belief.best_measured.numpy() == pytest.approx(worst)
    mean, sd = belief.moments(np.array([[0.5, 0.5]]))
    # the prior of the place, two deviations of 0.15: E exp(-8 |x - c|^2) = 1 / (1 + 16 * 0.15^2)
    assert mean[0] == pytest.approx(1.0 / 1.36, abs=0.12)
    assert sd[0] > 0.1


def test_an_objective_that_is_to_be_small_is_turned_round(believed):
    known = example_theory(6, m=128, truth=TRUTH)
    simulations = known.simulations
    values = simulations.values * np.array([-1.0, 1.0])
    small = replace(
        known,
        simulations=replace(simulations, values=values),
        theory=replace(known.theory, is_maximised=False),
    )
    one, other = believed(known), believed(small)
    x = np.random.default_rng(3).random((50, 2))
    assert one.moments(x)[0] == pytest.approx(other.moments(x)[0], abs=0.03)
