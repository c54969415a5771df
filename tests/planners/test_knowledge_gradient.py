import numpy as np
import pytest
from scipy.stats import norm

from twinloop.planners.knowledge_gradient import knowledge_gradient, pair_gradient


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


def test_a_candidate_may_be_chosen_itself():
    # the same two places, once among the places and once as the candidate's own
    mean, noise = np.array([0.3, 0.0]), np.array([[0.5]])
    listed = knowledge_gradient(mean, np.array([[0.1, 0.8]]), np.array([0.8]), noise)
    own = knowledge_gradient(
        mean[:1], np.array([[0.1]]), np.array([0.8]), noise, (mean[1:], np.array([0.8]))
    )
    np.testing.assert_allclose(own, listed)


def pair(rng, c=3, m=6):
    """Return means, and what two numbers of each of c candidates tell of m places."""
    covariances = rng.normal(size=(2, c, m + 1))
    root = rng.normal(size=(c, 2, 2))
    within = root @ root.transpose(0, 2, 1) + 2.0 * np.eye(2)
    return rng.normal(size=m), covariances, within, rng.normal(size=c)


def test_two_numbers_at_once_tell_what_drawing_them_tells():
    rng = np.random.default_rng(7)
    mean, covariances, within, own = pair(rng)
    first, second = covariances
    gain = pair_gradient(
        mean, (first[:, :-1], second[:, :-1]), within, (own, (first[:, -1], second[:, -1]))
    )
    z = rng.normal(size=(2, 200_000))
    for c in range(3):
        # the textbook update of correlated normals, without any root that the code has
        seen = np.linalg.cholesky(within[c]) @ z
        moved = covariances[:, c].T @ np.linalg.solve(within[c], seen)
        before = np.append(mean, own[c])
        drawn = (before[:, None] + moved).max(axis=0).mean() - before.max()
        assert gain[c] == pytest.approx(drawn, rel=0.02, abs=0.003)


def test_a_second_number_that_tells_nothing_adds_nothing():
    rng = np.random.default_rng(9)
    mean, covariances, within, own = pair(rng)
    within[:, 0, 1] = within[:, 1, 0] = 0.0
    first, nothing = covariances[0], np.zeros((3, 6))
    both = pair_gradient(mean, (first[:, :-1], nothing), within, (own, (first[:, -1], np.zeros(3))))
    one = knowledge_gradient(
        mean, first[:, :-1], within[:, 0, 0], np.zeros((1, 1)), (own, first[:, -1])
    )
    np.testing.assert_allclose(both, one[:, 0], rtol=0.02, atol=0.003)
