"""The discrepancy finds what theory lacks, and where, and leaves a theory alone that lacks nothing."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from twinloop.planners.theory.discrepancy import learn

NOISE_SD = 0.01
WORST = 0.1


def theory(x):
    return 0.4 + 0.3 * np.sin(2.0 * x[:, 0]) * x[:, 1] + 0.2 * x[:, 2]


def with_loss(x):
    """What a loss makes of it that only knob 0 decides, 55 % at its end."""
    return WORST + (theory(x) - WORST) * np.exp(-0.8 * x[:, 0] ** 2)


def learned(n, truth, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, 3))
    y = truth(x) + NOISE_SD * rng.standard_normal(n)
    return learn(x, y, np.full(n, NOISE_SD**2), np.tile(theory(x), (4, 1)), 0.2, WORST)


def at_fresh_points(discrepancy, n=400):
    x = np.random.default_rng(99).random((n, 3))
    mean, variance = discrepancy.at(torch.as_tensor(x), torch.as_tensor(theory(x)))
    return x, theory(x) + mean.numpy().mean(axis=0), variance.sqrt().numpy()


@pytest.mark.parametrize("seed", range(3))
def test_a_loss_that_one_knob_decides_is_known_from_ten_experiments(seed):
    x, said, _ = at_fresh_points(learned(10, with_loss, seed))
    bare = np.sqrt(np.mean((theory(x) - with_loss(x)) ** 2))
    rest = np.sqrt(np.mean((said - with_loss(x)) ** 2))
    assert rest < 0.25 * bare


def test_the_knob_that_decides_has_the_shortest_length():
    found = learned(24, with_loss)
    assert found.lengths[0] < 0.7 * min(found.lengths[1:])
    assert found.relative > 0.2


def test_a_theory_that_is_right_is_left_alone():
    found = learned(12, theory)
    x, said, sd = at_fresh_points(found)
    assert np.max(np.abs(said - theory(x))) < 3 * NOISE_SD
    assert found.relative < 0.08
    assert np.median(sd) < 2 * NOISE_SD


def test_what_is_left_open_covers_what_is_wrong():
    inside = []
    for seed in range(6):
        x, said, sd = at_fresh_points(learned(8, with_loss, seed), n=150)
        inside.append(np.abs(with_loss(x) - said) < norm.ppf(0.95) * sd)
    assert 0.75 < np.mean(inside) <= 1.0


def test_before_the_first_experiment_it_is_the_prior():
    found = learned(0, theory)
    mean, variance = found.at(torch.full((1, 3), 0.5), torch.tensor([0.5]))
    assert float(mean.abs().max()) == 0.0
    expected = (0.08 * (0.5 - WORST)) ** 2 + (0.02 * 0.2) ** 2
    assert float(variance[0]) == pytest.approx(expected, rel=1e-5)


def test_an_experiment_holds_the_belief_where_it_was_made():
    x = np.array([[0.2, 0.5, 0.8]])
    found = learn(x, theory(x) - 0.1, np.array([1e-6]), theory(x)[None, :], 0.2, WORST)
    mean, variance = found.at(torch.as_tensor(x), torch.as_tensor(theory(x)))
    assert float(mean[0, 0]) == pytest.approx(-0.1, abs=1e-3)
    assert float(variance[0].sqrt()) < 2e-3
