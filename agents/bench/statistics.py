"""Paired statistics of a study: medians and ratios with intervals, tests, and Holm's correction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

__all__ = ["Interval", "holm", "median_interval", "paired_p", "ratio_intervals"]

Floats = NDArray[np.float64]

_RESAMPLES = 10_000
_SEED = 20_260_101


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval (bootstrap, percentiles)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median of values of independent seeds.

    Example:
        >>> median_interval([2.0, 2.0, 2.0])
        Interval(value=2.0, low=2.0, high=2.0)
    """
    return _bootstrap(lambda v: np.median(v[..., 0], axis=-1), np.array(values)[:, None])


def ratio_intervals(arm: Sequence[float], baseline: Sequence[float]) -> tuple[Interval, Interval]:
    """Return the ratio of the medians and the median of the paired ratios; seeds are resampled.

    Args:
        arm: values by seed, > 0.
        baseline: values of the same seeds in the same order, > 0.
    """
    pairs = np.column_stack([arm, baseline]).astype(np.float64)
    of_medians = _bootstrap(
        lambda v: np.median(v[..., 0], axis=-1) / np.median(v[..., 1], axis=-1), pairs
    )
    of_pairs = _bootstrap(lambda v: np.median(v[..., 0] / v[..., 1], axis=-1), pairs)
    return of_medians, of_pairs


def paired_p(arm: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the p value of Wilcoxon's signed-rank test, two-sided; 1 where no pair differs.

    Source: Wilcoxon, Biometrics Bulletin 1, 80 (1945), doi:10.2307/3001968, on the differences of
    logarithms; pairs without a difference are left out.
    """
    differences = np.log(np.asarray(arm, dtype=np.float64)) - np.log(
        np.asarray(baseline, dtype=np.float64)
    )
    # equal ratios are ties, whatever the last bit of their logarithms
    differences = np.round(differences, 12)
    if not np.any(differences):
        return 1.0
    return float(wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for how many there are, by Holm's step-down.

    Source: Holm, Scand. J. Statist. 6, 65 (1979).

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    m, largest = len(p_values), 0.0
    corrected = [1.0] * m
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (m - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def _bootstrap(statistic: Callable[[Floats], Floats], rows: Floats) -> Interval:
    """Return a statistic of rows, shape (n, c), and its interval over resampled rows."""
    rng = np.random.default_rng(_SEED)
    drawn = rows[rng.integers(len(rows), size=(_RESAMPLES, len(rows)))]
    low, high = np.percentile(statistic(drawn), [2.5, 97.5])
    return Interval(float(statistic(rows)), float(low), float(high))
