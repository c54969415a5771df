import numpy as np
import pytest

from twinloop.analysts.poisson_fit import deviance, fit_poisson

X = np.linspace(0.0, 1.0, 40)
WIDE = np.array([1e3, 1e3])


def line(values):
    return np.maximum(values[0] + values[1] * X, 1e-6)


def test_the_mean_of_counts_has_the_deviation_that_poisson_says():
    counts = np.random.default_rng(1).poisson(50.0, 400).astype(float)
    fit = fit_poisson(
        lambda v: np.full(400, np.exp(v[0])), counts, np.zeros(1), np.zeros(1), WIDE[:1] / 100
    )
    assert np.exp(fit.values[0]) == pytest.approx(counts.mean(), rel=1e-3)
    assert np.sqrt(fit.covariance[0, 0]) == pytest.approx(1 / np.sqrt(counts.sum()), rel=1e-3)
    assert fit.misfit == pytest.approx(1.0, abs=0.2)


def test_deviations_cover_the_truth_as_often_as_they_say():
    rng, truth = np.random.default_rng(2), np.array([5.0, 20.0])
    off = []
    for _ in range(200):
        fit = fit_poisson(line, rng.poisson(line(truth)).astype(float), truth, 0 * truth, WIDE)
        off.append((fit.values - truth) / np.sqrt(np.diag(fit.covariance)))
    assert np.mean(np.abs(off) < 1.645) == pytest.approx(0.9, abs=0.05)


def test_at_the_best_fit_the_likelihood_has_no_slope():
    counts = np.random.default_rng(4).poisson(line(np.array([2.0, 60.0]))).astype(float)
    fit = fit_poisson(line, counts, np.array([30.0, 1.0]), np.zeros(2), WIDE / 10)
    rest = counts / line(fit.values) - 1.0
    slope = np.array([rest.sum(), rest @ X])
    sure = np.sqrt(np.diag(np.linalg.inv(fit.covariance)))
    assert np.abs(slope / sure).max() < 0.05


def test_a_prior_pulls_as_hard_as_it_is_sure():
    counts = np.full(40, 10.0)
    sure = fit_poisson(
        line, counts, np.array([8.0, 1.0]), np.array([8.0, 0.0]), np.array([1e-3, 1e3])
    )
    assert sure.values[0] == pytest.approx(8.0, abs=0.01)
    assert sure.values[1] > 2.0


def test_a_perfect_fit_has_no_deviance():
    assert deviance(np.array([0.0, 3.0]), np.array([1e-12, 3.0])) == pytest.approx(0.0, abs=1e-9)
