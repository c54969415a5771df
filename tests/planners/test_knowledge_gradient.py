import numpy as np
import pytest
from scipy.stats import norm

from twinloop.planners.knowledge_gradient import LookNoise, knowledge_gradient


def test_two_places_have_the_closed_form_of_the_expected_improvement():
    # Frazier 2009, eq. 14 for two alternatives: s f(-|d| / s), f(z) = z Phi(z) + phi(z)
    for gap in (0.0, 0.5, 2.0):
        for sd in (0.0, 0.7):
            gain = knowledge_gradient(
                np.array([gap, 0.0]), np.array([[0.0, 1.0]]), np.ones(1), np.array([[sd]])
            )
            s = 1.0 / np.sqrt(1.0 + sd**2)
            z = -gap / s
            wanted = s * (z * norm.cdf(z) + norm.pdf(z))
            assert gain[0, 0] == pytest.approx(wanted, abs=0.01 * s)


def test_a_better_look_never_tells_less():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(12, 12))
    covariance = root @ root.T
    gains = knowledge_gradient(
        rng.normal(size=12),
        covariance,
        np.diag(covariance),
        np.tile([0.01, 0.1, 1.0, 10.0], (12, 1)),
    )
    assert np.all(np.diff(gains, axis=1) <= 1e-9)
    assert np.all(gains >= 0)


def test_what_looks_are_worth_is_found_again_among_results_of_all_heights():
    rng = np.random.default_rng(2)
    looks, y = rng.random((30, 3)) > 0.5, rng.random(30)
    # known better where there is little to know: a film of no merit at all
    bare = 0.02 + 0.2 * y * (1 - y)
    told = bare / (4.0 ** looks[:, 0]) / (1.5 ** looks[:, 2]) * np.exp(0.05 * rng.normal(size=30))
    found = LookNoise.learned(looks, y, told)
    sets = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)
    sd = found.noise_sd(sets, np.array([0.5]))[0]
    assert sd[0] == pytest.approx(0.07, rel=0.15)
    np.testing.assert_allclose(sd[0] / sd[1:], [4.0, 1.0, 1.5], rtol=0.15)


def test_a_look_that_nobody_has_tried_is_worth_nothing_yet():
    found = LookNoise.learned(np.zeros((3, 2), dtype=bool), np.arange(3.0), np.full(3, 0.2))
    np.testing.assert_allclose(found.noise_sd(np.array([[True, True]]), np.ones(1)), 0.2, rtol=1e-3)


def test_what_the_looks_take_away_adds_up_to_the_deviation_without_any():
    rng = np.random.default_rng(4)
    looks, y = rng.random((40, 3)) > 0.5, rng.random(40)
    told = (0.05 + 0.1 * y) / (5.0 ** looks[:, 0]) / (2.0 ** looks[:, 2])
    found = LookNoise.learned(looks, y, told)
    none, some = np.zeros(3, dtype=bool), np.array([True, False, False])
    left, hidden = found.parts(none, np.array([0.2, 0.8]))
    bare = found.noise_sd(np.zeros((1, 3), dtype=bool), np.array([0.2, 0.8]))[:, 0]
    np.testing.assert_allclose(left + (hidden**2).sum(axis=1), bare**2)
    rest, missing = found.parts(some, np.array([0.2, 0.8]))
    np.testing.assert_allclose(
        rest + (missing**2).sum(axis=1),
        found.noise_sd(some[None], np.array([0.2, 0.8]))[:, 0] ** 2,
    )
    assert np.all(missing[:, 0] == 0)
    # the sharper look takes more away, one that tells nothing next to nothing
    assert np.all(hidden[:, 0] > hidden[:, 2])
    assert np.all(hidden[:, 1] < 0.25 * hidden[:, 2])


def test_a_candidate_may_be_chosen_itself():
    # the same two places, once among the places and once as the candidate's own
    mean, noise = np.array([0.3, 0.0]), np.array([[0.5]])
    listed = knowledge_gradient(mean, np.array([[0.1, 0.8]]), np.array([0.8]), noise)
    own = knowledge_gradient(
        mean[:1], np.array([[0.1]]), np.array([0.8]), noise, (mean[1:], np.array([0.8]))
    )
    np.testing.assert_allclose(own, listed)
