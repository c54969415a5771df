"""Draw from a posterior whose prior is normal: no step to tune, no slope needed.

Elliptical slice sampling. From where the chain stands and a draw of the prior an ellipse is laid through
both; a point on it is taken at random, nearer and nearer until it explains what was seen well enough.
Each move leaves the posterior as it is.

Source: Murray, Adams & MacKay, AISTATS 2010, PMLR 9, 541, figure 2 (arXiv 1001.0175).
"""

from collections.abc import Callable

import numpy as np

from twinloop.planners.space import Floats

__all__ = ["elliptical_slices"]

_FULL_TURN = 2.0 * np.pi
_MOST_TRIES = 60


def elliptical_slices(
    log_likelihood: Callable[[Floats], float],
    *,
    middle: Floats,
    width: Floats,
    start: Floats,
    rng: np.random.Generator,
    n: int,
    skipped: int,
    first: int,
) -> Floats:
    """Return draws of a posterior, shape (n, p).

    Args:
        log_likelihood: of a vector of shape (p,); minus infinity where it is impossible.
        middle: mean of the normal prior, shape (p,).
        width: its deviations, shape (p,); its components are independent.
        start: where the chain begins, shape (p,); possible.
        rng: of the draws.
        n: how many.
        skipped: moves between two draws.
        first: moves before the first.

    Example:
        >>> draws = elliptical_slices(  # prior N(0, 1), one measurement 1 +- 1: posterior N(0.5, 0.5)
        ...     lambda v: -0.5 * float(((1.0 - v) ** 2).sum()),
        ...     middle=np.zeros(1), width=np.ones(1), start=np.zeros(1),
        ...     rng=np.random.default_rng(1), n=2000, skipped=2, first=10,
        ... )
        >>> bool(abs(draws.mean() - 0.5) < 0.05), bool(abs(draws.var() - 0.5) < 0.05)
        (True, True)
    """
    at, now = start - middle, log_likelihood(start)
    draws = np.empty((n, len(middle)))
    for move in range(first + n * (skipped + 1)):
        other = width * rng.standard_normal(len(middle))
        least = now + np.log(rng.random())
        angle = rng.uniform(0.0, _FULL_TURN)
        low, high = angle - _FULL_TURN, angle
        for _ in range(_MOST_TRIES):
            tried = at * np.cos(angle) + other * np.sin(angle)
            found = log_likelihood(middle + tried)
            if found > least:
                at, now = tried, found
                break
            if angle < 0.0:
                low = angle
            else:
                high = angle
            angle = rng.uniform(low, high)
        kept, left = divmod(move - first, skipped + 1)
        if move >= first and left == skipped:
            draws[kept] = middle + at
    return draws
