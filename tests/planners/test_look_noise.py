"""How well trials measure by place, against deviations that were drawn from known laws."""

import numpy as np
import pytest

from twinloop.planners.look_noise import LookNoise

NONE, BOTH = np.array([False, False]), np.array([True, True])
STM, STEM = np.array([True, False]), np.array([False, True])


def stated(x, looks, rng):
    """Return what trials state whose surface is hidden everywhere, whose interface where it is hot."""
    surface, interface = 0.1, 0.3 * np.exp(3.0 * (x[:, 0] - 1.0))
    variance = 0.02**2 + (surface * ~looks[:, 0]) ** 2 + (interface * ~looks[:, 1]) ** 2
    return np.sqrt(variance) * np.exp(0.03 * rng.normal(size=len(x)))


def test_what_each_look_hides_is_found_again_where_it_hides_it():
    rng = np.random.default_rng(2)
    x, looks = rng.random((30, 2)), rng.random((30, 2)) > 0.5
    found = LookNoise.learned(x, looks, rng.random(30), stated(x, looks, rng))
    cold, hot = np.array([[0.1, 0.5]]), np.array([[0.9, 0.5]])
    for at, interface in ((cold, 0.3 * np.exp(-2.7)), (hot, 0.3 * np.exp(-0.3))):
        _, hidden = found.parts(at, NONE, np.full(1, 0.5))
        assert hidden[0, 0] == pytest.approx(0.1, rel=0.25)
        assert hidden[0, 1] == pytest.approx(interface, rel=0.35)
    narrowed = found.sd(cold, STEM, np.full(1, 0.5)) / found.sd(cold, NONE, np.full(1, 0.5))
    assert narrowed[0] > 0.95  # the beam tells nothing of a cold film


def test_few_trials_tell_already_where_a_result_is_in_doubt():
    rng = np.random.default_rng(6)
    x = np.linspace(0.05, 0.95, 9)[:, None] * np.ones((1, 2))
    looks = np.zeros((9, 2), dtype=bool)
    looks[0], looks[3, 0], looks[6, 1] = True, True, True
    found = LookNoise.learned(x, looks, rng.random(9), stated(x, looks, rng))
    there = np.array([[0.1, 0.1], [0.9, 0.9]])
    sd = found.sd(there, NONE, np.full(2, 0.5))
    np.testing.assert_allclose(sd, stated(there, np.zeros((2, 2), dtype=bool), rng), rtol=0.5)


def test_a_look_that_nobody_has_tried_is_worth_nothing_yet():
    x = np.full((3, 1), 0.5)
    found = LookNoise.learned(
        x, np.zeros((3, 2), dtype=bool), np.arange(3.0), np.array([0.2, 0.2, 0.2])
    )
    sd = [found.sd(x[:1], looks, np.ones(1))[0] for looks in (NONE, STM, BOTH)]
    np.testing.assert_allclose(sd, 0.2, rtol=3e-3)


def test_a_result_near_a_bound_is_known_better_than_one_in_the_middle():
    rng = np.random.default_rng(3)
    x, y = rng.random((24, 1)), rng.random(24)
    sd = 0.02 + 0.8 * y * (1.0 - y)
    found = LookNoise.learned(x, np.arange(24)[:, None] % 4 == 0, y, sd)
    at = np.full((2, 1), 0.5)
    low, middle = found.sd(at, np.array([False]), np.array([0.05, 0.5]))
    assert low < 0.6 * middle


def test_what_the_looks_hide_adds_up_to_the_deviation_of_the_trial():
    rng = np.random.default_rng(4)
    x, looks = rng.random((20, 2)), rng.random((20, 2)) > 0.5
    found = LookNoise.learned(x, looks, rng.random(20), stated(x, looks, rng))
    at, mean = rng.random((3, 2)), rng.random(3)
    for taken in (NONE, STM, STEM, BOTH):
        left, hidden = found.parts(at, taken, mean)
        assert np.all(hidden[:, taken] == 0.0)
        np.testing.assert_allclose(left + (hidden**2).sum(axis=1), found.sd(at, taken, mean) ** 2)


def test_far_from_all_trials_no_deviation_is_believed_that_none_has_stated():
    x = np.linspace(0.4, 0.6, 6)[:, None]
    found = LookNoise.learned(
        x, np.arange(6)[:, None] % 3 == 0, np.zeros(6), np.exp(np.linspace(-3.0, 0.0, 6))
    )
    assert found.sd(np.ones((1, 1)), np.array([False]), np.zeros(1))[0] < 2.0
