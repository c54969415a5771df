"""The belief about a landscape and what hides it, against closed forms and drawn discrepancies."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from twinloop.planners.look_belief import Asked, LookBelief, Rows, Scales, ScalesPosterior

SURE = Scales(
    mean=0.0, sd=1.0, lengths=np.array([0.5]), white=0.0, shared=1.0, reach=5.0, factors=np.ones(1)
)  # fmt: skip


def cheap(x, sd, noise=1e-4):
    """Return trials without the one look there is, which state a deviation `sd`."""
    x = np.reshape(x, (-1, 1)).astype(float)
    n = len(x)
    return Rows(x, np.ones(n), np.full((n, 1), sd), np.full(n, noise**2))


def careful(x, noise=1e-4):
    return cheap(x, 0.0, noise)


def value(x):
    return Rows.of_value(np.reshape(x, (-1, 1)).astype(float), 1)


def test_ten_cheap_looks_are_no_truer_than_one():
    one = LookBelief(cheap([0.5], 0.3), np.zeros(1), SURE)
    ten = LookBelief(cheap([0.5] * 10, 0.3), np.zeros(10), SURE)
    as_noise = LookBelief(careful([0.5] * 10, 0.3), np.zeros(10), SURE)
    # two normals of deviation 1 and 0.3: what is left of the first is 1 * 0.09 / 1.09
    left = 0.09 / 1.09
    assert one.variance(value([0.5]))[0] == pytest.approx(left, rel=0.01)
    assert ten.variance(value([0.5]))[0] == pytest.approx(left, rel=0.01)
    assert as_noise.variance(value([0.5]))[0] < 0.15 * left


def test_what_is_each_films_own_averages_away():
    scales = Scales(**{**{n: getattr(SURE, n) for n in SURE.__slots__}, "shared": 0.0})
    ten = LookBelief(cheap([0.5] * 10, 0.3), np.zeros(10), scales)
    assert ten.variance(value([0.5]))[0] == pytest.approx(0.009 / 1.009, rel=0.01)


def test_one_film_looked_at_corrects_all_that_were_not():
    # f = 0 everywhere, and whoever does not look says 0.5 too much
    x = [0.0, 0.3, 0.6, 1.0]
    rows = cheap(x, 0.5)
    told = np.full(4, 0.5)
    before = LookBelief(rows, told, SURE)
    pair = Rows(np.array([[0.3]]), np.zeros(1), np.array([[0.5]]), np.array([1e-6]))
    after = LookBelief(rows.with_rows(pair), np.append(told, 0.5), SURE)
    assert before.mean(value([0.9]))[0] > 0.25
    assert after.mean(value([0.9]))[0] == pytest.approx(0.0, abs=0.05)
    assert after.variance(value([0.9]))[0] < 0.2 * before.variance(value([0.9]))[0]


def test_a_measurement_under_way_leaves_the_mean_and_narrows_the_rest():
    belief = LookBelief(careful([0.0]), np.ones(1), SURE)
    waiting = belief.waiting_for(careful([0.5], 0.1))
    np.testing.assert_allclose(waiting.mean(value([0.5])), belief.mean(value([0.5])))
    there = belief.variance(value([0.5]))[0]
    # textbook: s^2 noise^2 / (s^2 + noise^2)
    wanted = there * 0.01 / (there + 0.01)
    assert waiting.variance(value([0.5]))[0] == pytest.approx(wanted, rel=1e-3)


def test_what_sets_of_looks_tell_is_the_covariance_of_their_rows():
    rng = np.random.default_rng(3)
    x = rng.random((6, 1))
    rows = Rows(x, np.ones(6), 0.3 * rng.random((6, 2)), np.full(6, 1e-3))
    scales = Scales(0.1, 1.2, np.array([0.4]), 1e-4, 0.6, 0.8, np.array([1.0, 2.0]))
    belief = LookBelief(rows, rng.normal(size=6), scales).waiting_for(
        Rows(np.array([[0.9]]), np.ones(1), np.zeros((1, 2)), np.array([1e-2]))
    )
    at, places = rng.random((4, 1)), Rows.of_value(rng.random((5, 1)), 2)

    def rows(on, hidden):
        return Rows(at, np.full(4, on), np.array(hidden) * np.ones((4, 1)), np.full(4, 1e-2))

    sets = [
        Asked(rows(1.0, [0.2, 0.4])),
        Asked(rows(1.0, [0.2, 0.0]), rows(0.0, [0.0, 0.4])),
        Asked(rows(1.0, [0.0, 0.0]), rows(0.0, [0.2, 0.4])),
    ]
    here = Rows.of_value(at, 2)
    for asked, told in zip(sets, belief.through(sets, places), strict=True):
        numbers = asked.numbers
        for i, one in enumerate(numbers):
            np.testing.assert_allclose(
                told.covariances[i], belief.covariance(one, places), atol=1e-10
            )
            np.testing.assert_allclose(
                told.own[i], np.diag(belief.covariance(one, here)), atol=1e-10
            )
            for j, other in enumerate(numbers):
                wanted = np.diag(belief.covariance(one, other)) + (i == j) * belief.noise(one)
                np.testing.assert_allclose(told.within[:, i, j], wanted, atol=1e-10)


def test_a_fit_finds_that_a_discrepancy_is_shared_and_how_large_it_is():
    rng = np.random.default_rng(11)
    x = rng.random((24, 2))
    truth = np.sin(4.0 * x[:, 0]) + x[:, 1]
    # twice what the trials state, and the same everywhere: no scatter, so all of it is shared
    rows = Rows(x, np.ones(24), np.full((24, 1), 0.3), np.full(24, 1e-4))
    pairs = Rows(x[:5], np.zeros(5), np.full((5, 1), 0.3), np.full(5, 1e-4))
    said = truth + 0.6
    fitted = LookBelief.fitted(rows.with_rows(pairs), np.concatenate([said, np.full(5, 0.6)]), {})
    assert fitted.scales.shared > 0.8
    net = rng.random((50, 2))
    mean = fitted.mean(Rows.of_value(net, 1))
    np.testing.assert_allclose(mean, np.sin(4.0 * net[:, 0]) + net[:, 1], atol=0.2)


def test_a_fit_of_the_same_trials_is_the_same_from_where_it_ended():
    rng = np.random.default_rng(2)
    rows = cheap(rng.random(9), 0.2, 0.05)
    told = rng.normal(size=9)
    first = LookBelief.fitted(rows, told, {})
    again = LookBelief.fitted(rows, told, {"looks": first.raw.tolist()})
    likely = ScalesPosterior(rows, told).log_likelihood
    assert likely(again.raw) == pytest.approx(likely(first.raw), abs=0.05)


def test_the_probability_of_what_was_measured_is_that_of_a_normal_vector():
    rng = np.random.default_rng(4)
    rows, told = cheap(rng.random(6), 0.2, 0.05), rng.normal(size=6)
    raw = np.array([0.3, 0.1, -2.0, 0.4, -0.2, -0.5, 0.2])
    mean, sd, length = 0.3, np.exp(0.1), np.exp(-0.5)
    shared, reach, factor = 1 / (1 + np.exp(-0.4)), np.exp(-0.2), np.exp(0.2)
    far2 = (rows.x - rows.x.T) ** 2
    covariance = sd**2 * np.exp(-far2 / (2 * length**2))
    covariance += shared * (0.2 * factor) ** 2 * np.exp(-far2 / (2 * reach**2))
    own = 0.05**2 + np.exp(-2.0) ** 2 + (1 - shared) * (0.2 * factor) ** 2
    covariance += np.eye(6) * own
    expected = multivariate_normal(np.full(6, mean), covariance).logpdf(told)
    found = ScalesPosterior(rows, told).log_likelihood(raw)
    # what does not depend on the scales is left out
    assert found - 3.0 * np.log(2.0 * np.pi) == pytest.approx(expected, abs=1e-3)
