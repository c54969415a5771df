"""Draws of the scales of a belief, against posteriors in closed form."""

import numpy as np
import pytest

from twinloop.planners.slice_sampler import elliptical_slices

MIDDLE, WIDTH = np.array([1.0, -2.0]), np.array([0.5, 2.0])


def drawn(log_likelihood, n=4000, start=MIDDLE):
    rng = np.random.default_rng(3)
    return elliptical_slices(
        log_likelihood, middle=MIDDLE, width=WIDTH, start=start, rng=rng, n=n, skipped=3, first=50
    )


def test_without_a_word_of_the_data_it_draws_the_prior():
    draws = drawn(lambda _: 0.0)
    np.testing.assert_allclose(draws.mean(axis=0), MIDDLE, atol=0.1)
    np.testing.assert_allclose(draws.std(axis=0), WIDTH, rtol=0.05)


def test_a_linear_measurement_gives_the_normal_posterior():
    weights, told, sd = np.array([1.0, 0.5]), 2.0, 0.3
    draws = drawn(lambda v: -0.5 * float(((weights @ v - told) / sd) ** 2))
    precision = np.diag(WIDTH**-2.0) + np.outer(weights, weights) / sd**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ (MIDDLE / WIDTH**2 + weights * told / sd**2)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.1)
    np.testing.assert_allclose(np.cov(draws.T), covariance, rtol=0.15)


def test_what_is_impossible_is_never_drawn():
    draws = drawn(lambda v: 0.0 if v[0] > 1.0 else -np.inf, start=np.array([1.2, -2.0]), n=500)
    assert draws[:, 0].min() > 1.0
    # the upper half of a normal distribution lies sqrt(2 / pi) deviations above its middle
    assert draws[:, 0].mean() == pytest.approx(1.0 + 0.5 * np.sqrt(2.0 / np.pi), abs=0.05)


def test_a_seed_draws_the_same_again():
    np.testing.assert_array_equal(drawn(lambda _: 0.0, n=5), drawn(lambda _: 0.0, n=5))
