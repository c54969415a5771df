"""Figures against hand and scipy."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from twinloop.agents.bench.statistics import holm, median_interval, paired_p, ratio_intervals


def test_holm_by_hand():
    # sorted 0.005 0.01 0.03 0.04: times 4 3 2 1, never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_median_interval_holds_most_of_the_data_of_few():
    interval = median_interval([1, 2, 3, 4, 100])
    assert interval.value == 3
    assert (interval.low, interval.high) == (1, 100)
    assert str(interval) == "3 [1, 100]"


def test_both_ratios():
    of_medians, of_pairs = ratio_intervals([1, 4, 9], [10, 8, 9])
    assert of_medians.value == pytest.approx(4 / 9)
    assert of_pairs.value == pytest.approx(0.5)
    assert of_pairs.low == pytest.approx(0.1)
    assert of_pairs.high == pytest.approx(1.0)


def test_the_test_is_scipys_on_logarithms():
    rng = np.random.default_rng(3)
    arm, base = rng.integers(1, 40, 20), rng.integers(1, 40, 20)
    expected = wilcoxon(np.log(arm) - np.log(base)).pvalue
    assert paired_p(arm, base) == pytest.approx(expected)
    assert paired_p([3, 4], [3, 4]) == 1.0


def test_equal_ratios_are_ties_whatever_their_last_bit():
    """20 to 10 and 40 to 20 are one ratio; the differences of their logarithms are not one number."""
    arm, base = [20, 40, 10, 3, 30], [10, 20, 20, 12, 15]
    assert len({float(np.log(a) - np.log(b)) for a, b in zip(arm[:2], base[:2], strict=True)}) == 2
    ranks = wilcoxon([1.0, 1.0, -1.0, -2.0, 1.0]).pvalue
    assert paired_p(arm, base) == pytest.approx(ranks)


def test_the_interval_covers_what_it_says():
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(60):
        interval = median_interval(list(rng.standard_normal(20)))
        inside += interval.low <= 0 <= interval.high
    assert inside >= 50
