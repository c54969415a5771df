import json
import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from twinloop.planners.theory.guard import Forecast, Foresight, Guard, foresee_without_theory


def alone(parts):
    """A forecast of observables that have nothing to do with each other."""
    means, sds = zip(*parts, strict=True)
    return Forecast.of(np.array(means), np.diag(np.square(sds)))


def foresight(x, theory, plain):
    return Foresight((x,), alone(theory), alone(plain))


def judged(guard, said, values):
    there = np.ones((1, len(values)), dtype=bool)
    return guard.expecting(said).judge(np.array([said.x]), np.array([values]), there)


def test_one_observation_moves_the_odds_by_the_difference_of_the_log_scores():
    said = foresight(0.5, [(1.0, 0.1), (0.0, 1.0)], [(0.0, 1.0), (0.0, 1.0)])
    after = judged(Guard(log_odds=-1.0), said, [0.9, 3.0])
    expected = -1.0 + (-0.5 * 1.0**2 - math.log(0.1)) - (-0.5 * 0.9**2)
    assert after.log_odds == pytest.approx(expected)
    assert after.weight == pytest.approx(1 / (1 + math.exp(-expected)))
    assert after.scored == 1
    assert not after.waiting


def test_what_varies_together_is_one_surprise():
    """Values along a trace that are all wrong for one reason do not count as many."""
    rest = alone([(0.0, 1.0)] * 6)
    one = np.full((6, 6), 0.99) + 0.01 * np.eye(6)
    wrong = np.full(6, 2.0)
    steps = []
    for covariance in (np.eye(6), one):
        said = Foresight((0.5,), Forecast.of(np.zeros(6), covariance), rest)
        steps.append(said.theory.score(wrong, range(6)))
        expected = multivariate_normal(np.zeros(6), covariance).logpdf(wrong)
        assert steps[-1] == pytest.approx(expected, rel=1e-6)
    own = [-0.5 * 2.0**2 - 0.5 * math.log(2 * math.pi)]
    assert steps[0] == pytest.approx(6 * own[0])
    # together: as one surprise of two deviations, and how sharply the six were said to agree
    agreement = -0.5 * math.log(np.linalg.det(one))
    assert steps[1] - agreement + 3 * math.log(2 * math.pi) == pytest.approx(-2.0, abs=0.05)


def test_a_noise_that_drowns_in_the_digits_is_no_error():
    same = np.full((6, 6), 0.04) + 1e-14 * np.eye(6)
    assert np.isfinite(Forecast.of(np.full(6, 0.3), same).score(np.full(6, 0.31), range(6)))


def test_a_step_is_bounded_and_so_is_the_evidence():
    wrong = foresight(0.5, [(1.0, 0.001)], [(0.0, 1.0)])
    assert judged(Guard(log_odds=0.0), wrong, [0.0]).log_odds == pytest.approx(-4.0)
    right = foresight(0.5, [(0.0, 1e-4)], [(0.0, 1.0)])
    assert judged(Guard(log_odds=-2.0), right, [0.0]).log_odds == pytest.approx(1.0)
    assert judged(Guard(log_odds=2.0), right, [0.0]).weight == pytest.approx(0.9, abs=0.001)


def test_what_was_not_measured_and_what_nobody_foresaw_counts_for_nothing():
    guard = Guard(log_odds=0.3).expecting(foresight(0.5, [(0.0, 1.0)] * 2, [(5.0, 1.0)] * 2))
    after = guard.judge(
        np.array([[0.7], [0.5]]), np.zeros((2, 2)), np.array([[True, True], [False, False]])
    )
    assert after.log_odds == pytest.approx(0.3)
    assert after.scored == 2
    assert after.theory == (None, None)


def test_a_theory_that_is_wrong_again_and_again_is_off_for_good():
    guard, weights = Guard(), []
    for n in range(4):
        guard = guard.expecting(foresight(float(n), [(1.0, 0.05)], [(0.2, 0.2)]))
        x = np.arange(n + 1.0)[:, None]
        guard = guard.judge(x, np.full((n + 1, 1), 0.2), np.ones((n + 1, 1), dtype=bool))
        weights.append(guard.weight)
    assert weights[0] < 0.5
    assert guard.is_off
    assert guard.weight == 0.0
    # from then on nothing that theory gets right brings it back
    guard = guard.expecting(foresight(9.0, [(0.2, 0.01)], [(5.0, 0.2)]))
    x = np.array([0.0, 1.0, 2.0, 3.0, 9.0])[:, None]
    again = guard.judge(x, np.full((5, 1), 0.2), np.ones((5, 1), dtype=bool))
    assert again.weight == 0.0


def test_many_good_years_leave_room_for_doubt():
    guard = Guard()
    for n in range(20):
        guard = guard.expecting(foresight(float(n), [(0.2, 0.02)], [(1.0, 0.5)]))
        x = np.arange(n + 1.0)[:, None]
        guard = guard.judge(x, np.full((n + 1, 1), 0.2), np.ones((n + 1, 1), dtype=bool))
    for n in range(20, 23):
        guard = guard.expecting(foresight(float(n), [(1.0, 0.05)], [(0.2, 0.2)]))
        x = np.arange(n + 1.0)[:, None]
        guard = guard.judge(x, np.full((n + 1, 1), 0.2), np.ones((n + 1, 1), dtype=bool))
    assert guard.weight < 0.5


def test_it_survives_json():
    guard = Guard().expecting(foresight(0.1 + 0.2, [(1.0, 0.1)], [(0.0, 1.0)]))
    assert Guard.from_json(guard.to_json()) == guard
    assert Guard.from_json({}) == Guard()


def test_without_theory_the_nearest_experiments_tell_what_to_expect():
    x, values = np.array([[0.1, 0.1], [0.9, 0.9]]), np.array([[0.0], [1.0]])
    there, noise = np.ones((2, 1), dtype=bool), np.array([0.05])
    usual = 0.4 + 0.3 * np.array([[-1.0], [1.0]])
    near, far = (
        foresee_without_theory(x, values, there, noise, usual, np.array(at))
        for at in ([0.88, 0.9], [0.9, 0.1])
    )
    assert near.mean[0] == pytest.approx(1.0, abs=0.05)
    assert near.sd(0) < 0.12
    assert far.mean[0] == pytest.approx(np.mean([0.0, 1.0, 0.4]), abs=0.1)
    assert far.sd(0) > 0.25
    nothing = foresee_without_theory(x[:0], values[:0], there[:0], noise, usual, x[0])
    assert (nothing.mean[0], nothing.sd(0)) == pytest.approx((0.4, math.hypot(0.3, 0.05)))


def test_without_theory_quantities_vary_together_as_they_do_anywhere():
    rng = np.random.default_rng(0)
    first = rng.standard_normal(4000)
    second = 0.8 * first + 0.6 * rng.standard_normal(4000)
    usual = np.stack([first, second, np.full(4000, 0.3)], axis=1)
    none = np.zeros((0, 2))
    said = foresee_without_theory(
        none, np.zeros((0, 3)), np.zeros((0, 3), dtype=bool), np.full(3, 0.1), usual, np.zeros(2)
    )
    assert said.covariance[0][1] == pytest.approx(0.8, abs=0.03)
    assert said.covariance[2] == pytest.approx((0.0, 0.0, 0.01), abs=1e-9)


def test_a_run_of_before_is_gone_on_with_without_what_it_foresaw():
    guard = Guard(log_odds=0.4, scored=3, theory=(1.0,) * 3, plain=(0.5,) * 3)
    kept = guard.expecting(foresight(0.5, [(1.0, 0.1)] * 2, [(0.0, 1.0)] * 2))
    before = [[0.2], [[1.0, 0.1], [0.2, 0.1]], [[0.0, 1.0], [0.2, 0.3]]]
    body = kept.to_json()
    assert Guard.from_json({**body, "waiting": [before, *body["waiting"]]}) == kept


def test_what_waits_for_no_result_any_more_is_forgotten():
    """A trial that failed is neither observed nor pending; five of them must not fill the memo."""
    guard = Guard()
    for n in range(5):
        guard = guard.expecting(foresight(n / 10, [(1.0, 0.1)], [(0.0, 1.0)]))
    kept = guard.awaiting(np.array([[0.2], [0.4 + 1e-9]]))  # moved to a face by a rounding
    assert [f.x for f in kept.waiting] == [(0.2,), (0.4,)]
    assert judged(kept, kept.waiting[1], [0.0]).waiting == kept.waiting[:1]


def test_what_waits_is_bounded_however_many_observables_there_are():
    """A memo is written with each proposal; 20 observables have 210 covariances, twice."""
    covariance = np.random.default_rng(0).standard_normal((20, 20)) + 20.0 * np.eye(20)
    said = Forecast.of(np.arange(20.0) / 3, covariance @ covariance.T)
    guard = Guard()
    for n in range(8):
        guard = guard.expecting(Foresight((n / 8,), said, said))
    assert [f.x for f in guard.waiting] == [(0.75,), (0.875,)]
    assert len(json.dumps(guard.to_json())) < 16_000
    assert Guard.from_json(guard.to_json()) == guard


def test_of_the_scores_the_latest_are_remembered():
    guard = Guard()
    x = np.arange(100.0)[:, None]
    for n in range(100):
        guard = guard.expecting(foresight(float(n), [(0.0, 1.0)], [(0.0, 2.0)]))
        guard = guard.judge(x[: n + 1], np.zeros((n + 1, 1)), np.ones((n + 1, 1), dtype=bool))
    assert guard.scored == 100
    assert len(guard.theory) == len(guard.plain) == 48


def test_a_memo_with_whole_covariances_is_read():
    guard = Guard().expecting(foresight(0.5, [(1.0, 0.1)] * 3, [(0.0, 1.0)] * 3))
    said = guard.waiting[0]
    whole = [[list(f.mean), [list(row) for row in f.covariance]] for f in (said.theory, said.plain)]
    assert Guard.from_json({**guard.to_json(), "waiting": [[[0.5], *whole]]}) == guard
