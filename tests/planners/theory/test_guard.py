import math

import numpy as np
import pytest

from twinloop.planners.theory.guard import Foresight, Guard, foresee_without_theory


def foresight(x, theory, plain):
    return Foresight((x,), tuple(theory), tuple(plain))


def test_one_observation_moves_the_odds_by_the_difference_of_the_log_scores():
    guard = Guard(log_odds=0.0).expecting(
        foresight(0.5, [(1.0, 0.1), (0.0, 1.0)], [(0.0, 1.0), (0.0, 1.0)])
    )
    after = guard.judge(np.array([[0.5]]), np.array([[0.9, 3.0]]), np.array([[True, True]]))
    expected = (-0.5 * 1.0**2 - math.log(0.1)) - (-0.5 * 0.9**2)
    assert after.log_odds == pytest.approx(expected)
    assert after.weight == pytest.approx(1 / (1 + math.exp(-expected)))
    assert after.scored == 1
    assert not after.waiting


def test_other_observables_count_as_one_number_together():
    said = foresight(0.5, [(0.0, 1.0)] + [(0.0, 1.0)] * 6, [(0.0, 1.0)] + [(1.0, 1.0)] * 6)
    after = (
        Guard(log_odds=0.0)
        .expecting(said)
        .judge(np.array([[0.5]]), np.zeros((1, 7)), np.ones((1, 7), dtype=bool))
    )
    assert after.log_odds == pytest.approx(0.5)


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
    there, noise, broad = np.ones((2, 1), dtype=bool), np.array([0.05]), np.array([[0.4, 0.3]])
    near, far = (
        foresee_without_theory(x, values, there, noise, broad, np.array(at))[0]
        for at in ([0.88, 0.9], [0.9, 0.1])
    )
    assert near[0] == pytest.approx(1.0, abs=0.05)
    assert near[1] < 0.12
    assert far[0] == pytest.approx(np.mean([0.0, 1.0, 0.4]), abs=0.1)
    assert far[1] > 0.25
    nothing = foresee_without_theory(x[:0], values[:0], there[:0], noise, broad, x[0])[0]
    assert nothing == pytest.approx((0.4, math.hypot(0.3, 0.05)))
