"""What to do next: gains against closed forms, and what is asked of theory."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from twinloop.planners.testing import example_theory
from twinloop.planners.theory.agenda import (
    best_experiment,
    gains_with_theory,
    gains_without_theory,
    unwanted,
    wanted_simulations,
)
from twinloop.planners.theory.design import to_z

TRUTH = {"place_1": 0.7, "place_2": 0.35}


def rng():
    return np.random.default_rng(5)


def flat(x):
    """A belief that expects the first knob, with the second knob as deviation."""
    return x[:, 0], np.maximum(x[:, 1], 1e-9)


def test_the_gain_of_a_plain_belief_is_the_expected_improvement():
    known = example_theory(2, m=0, x=np.array([[0.2, 0.0], [0.4, 0.0]]))
    x = np.array([[0.3, 0.25], [0.6, 0.1], [0.1, 0.05]])
    expected = [
        quad(lambda y, m=m, s=s: max(y - 0.4, 0.0) * norm.pdf(y, m, s), 0.4, m + 9 * s)[0]
        for m, s in x
    ]
    assert gains_without_theory(known, flat, x) == pytest.approx(expected, abs=1e-8)


def test_what_is_pending_counts_as_done(believed):
    known = example_theory(2, m=0, x=np.array([[0.2, 0.0], [0.4, 0.0]]))
    waiting = replace(known, pending=np.array([[0.9, 0.1]]))
    x = np.array([[0.6, 0.1]])
    assert gains_without_theory(waiting, flat, x)[0] < 0.01
    assert gains_without_theory(known, flat, x)[0] > 0.19

    known = example_theory(5, m=128, truth=TRUTH)
    belief = believed(known)
    best = best_experiment(known, belief, rng())
    waiting = replace(known, pending=best.x[None, :])
    assert gains_with_theory(waiting, belief, best.x[None, :])[0] < 0.3 * best.gain


def test_the_best_experiment_is_where_calibrated_theory_has_its_maximum(believed):
    known = example_theory(5, m=128, truth=TRUTH)
    choice = best_experiment(known, believed(known), rng())
    assert np.linalg.norm(choice.x - list(TRUTH.values())) < 0.08
    gains = gains_with_theory(known, believed(known), np.random.default_rng(1).random((500, 2)))
    assert choice.gain >= gains.max()
    assert np.array_equal(choice.places[0], choice.x)


def test_simulations_are_asked_for_where_they_can_change_the_choice(believed):
    known = example_theory(5, m=40, truth=TRUTH)
    belief = believed(known)
    choice = best_experiment(known, belief, rng())
    asked = wanted_simulations(known, known.theory, belief, choice, 12, rng())
    x = np.array([w.x for w in asked])
    theta = np.array([list(w.theta.values()) for w in asked])
    assert len(np.unique(np.hstack([x, theta]), axis=0)) == 12
    gains = [w.gain_per_h for w in asked]
    assert gains == sorted(gains, reverse=True)
    # near the place of the maximum, or at an experiment; with parameters that are believed in
    near = np.linalg.norm(x - choice.x, axis=1) < 0.2
    made = np.array([np.any(np.all(known.x == row, axis=1)) for row in x])
    assert np.all(near | made)
    z = to_z(theta, known.theory)
    believed_in = belief.calibration.z
    off = np.abs(z - believed_in.mean(axis=0)) / believed_in.std(axis=0)
    assert off.max() < 5.0


def test_a_simulation_under_way_is_not_asked_for_again(believed):
    known = example_theory(5, m=40, truth=TRUTH)
    belief = believed(known)
    choice = best_experiment(known, belief, rng())
    first = wanted_simulations(known, known.theory, belief, choice, 1, rng())[0]
    theta = np.array([list(first.theta.values())])
    simulations = replace(known.simulations, pending_x=first.x[None, :], pending_theta=theta)
    again = replace(known, simulations=simulations)
    then = wanted_simulations(again, known.theory, belief, choice, 1, rng())[0]
    assert then.gain_per_h < first.gain_per_h
    assert not np.array_equal(then.x, first.x)


def test_simulations_of_parameters_that_are_out_of_the_question_are_unwanted(believed):
    known = example_theory(8, m=128, truth=TRUTH)
    belief = believed(known)
    there = list(TRUTH.values())
    theta = np.array([there, [0.2, 0.9], [there[0] + 0.01, there[1]]])
    simulations = replace(known.simulations, pending_x=np.full((3, 2), 0.5), pending_theta=theta)
    waiting = replace(known, simulations=simulations)
    assert unwanted(waiting, known.theory, belief) == (1,)
    # before the first experiment nothing is
    nothing = replace(example_theory(0, m=128), simulations=simulations)
    assert unwanted(nothing, known.theory, belief) == ()
