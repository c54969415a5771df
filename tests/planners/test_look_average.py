"""Beliefs averaged over their scales, against what one belief and the law of total variance say."""

import numpy as np
import pytest

from twinloop.planners.look_average import AveragedBelief
from twinloop.planners.look_belief import LookBelief, Rows

RNG = np.random.default_rng(6)
X = RNG.random((12, 2))
ROWS = Rows(X, np.ones(12), np.zeros((12, 1)), np.full(12, 0.05**2))
TOLD = np.sin(9.0 * X[:, 0])
FAR = Rows.of_value(RNG.random((200, 2)), 1)


def averaged(seed=1):
    return AveragedBelief.drawn(ROWS, TOLD, {}, np.random.default_rng(seed))


def test_the_average_holds_the_spread_between_its_members():
    belief = averaged()
    means = np.array([b.mean(FAR) for b in belief.members])
    np.testing.assert_allclose(belief.mean(FAR), means.mean(axis=0))
    squares = np.mean([b.variance(FAR) + b.mean(FAR) ** 2 for b in belief.members], axis=0)
    np.testing.assert_allclose(belief.variance(FAR), squares - belief.mean(FAR) ** 2, atol=1e-12)


def test_few_trials_leave_open_over_which_length_each_axis_varies():
    lengths = np.log([b.scales.lengths for b in averaged().members])
    # the axis that matters is known better than the one that does not
    assert np.ptp(lengths[:, 0]) < np.ptp(lengths[:, 1])
    assert np.ptp(lengths[:, 1]) > np.log(2.0)


def test_it_errs_no_more_often_than_it_says_where_the_likeliest_scales_do():
    rng, off = np.random.default_rng(9), []
    for _ in range(12):
        x = rng.random((10, 2))
        rows = Rows(x, np.ones(10), np.zeros((10, 1)), np.full(10, 0.05**2))
        truth = _landscape(rng)
        told = truth(x) + 0.05 * rng.normal(size=10)
        for belief in (
            LookBelief.fitted(rows, told, {}),
            AveragedBelief.drawn(rows, told, {}, np.random.default_rng(1)),
        ):
            z = (truth(FAR.x) - belief.mean(FAR)) / np.sqrt(belief.variance(FAR))
            off.append(float(np.mean(z**2)))
    likeliest, average = np.reshape(off, (12, 2)).T
    assert np.median(average) < np.median(likeliest)
    assert np.mean(average < 2.0**2) >= 0.75


def _landscape(rng):
    """Return a function drawn from a process of unlike length scales along its axes."""
    lengths = np.exp(rng.normal(-0.7, 0.7, 2))
    waves = rng.normal(size=(64, 2)) / lengths
    phases = rng.uniform(0.0, 2.0 * np.pi, 64)
    return lambda x: np.sqrt(2.0 / 64) * np.cos(x @ waves.T + phases).sum(axis=1)


def test_a_measurement_under_way_narrows_and_moves_nothing():
    belief = averaged()
    waiting = belief.waiting_for(Rows(FAR.x[:1], np.ones(1), np.zeros((1, 1)), np.full(1, 0.01)))
    np.testing.assert_allclose(waiting.mean(FAR), belief.mean(FAR))
    assert waiting.variance(FAR)[0] < 0.9 * belief.variance(FAR)[0]


def test_the_draws_follow_the_seed():
    assert averaged().mean(FAR)[0] == pytest.approx(averaged().mean(FAR)[0], rel=1e-12)
    assert averaged().mean(FAR)[0] != averaged(2).mean(FAR)[0]
