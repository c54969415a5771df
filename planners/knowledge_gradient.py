"""What one measurement is worth: the knowledge gradient, and how well each set of looks measures.

Before a measurement at x the best one would choose is max_i mu_i. Afterwards the means have moved to
mu_i + s_i Z with s_i = cov(x, i) / sqrt(var(x) + sd^2), Z standard normal and sd the measurement's own
uncertainty: a better look moves them further. The gain is the expected rise of the maximum,

    KG(x, sd) = E[max_i (mu_i + s_i Z)] - max_i mu_i >= 0.

Source: Frazier, Powell & Dayanik, INFORMS J. Comput. 21, 599 (2009), doi:10.1287/ijoc.1080.0314
(correlated normal beliefs). The expectation is taken by Gauss-Hermite quadrature.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.planners.space import Floats

__all__ = ["LookPrecision", "condition", "knowledge_gradient"]

_NODES = 48
_Z, _WEIGHTS = np.polynomial.hermite_e.hermegauss(_NODES)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_BLOCK = 2**21
"""Numbers held at once while the quadrature runs."""


def knowledge_gradient(
    mean: Floats, covariance: Floats, variance: Floats, noise_sd: Floats
) -> Floats:
    """Return the expected rise of the best mean through one measurement, shape (c, s).

    Args:
        mean: of the places that one may choose in the end, shape (m,).
        covariance: of each candidate with each of these places, shape (c, m).
        variance: of each candidate, shape (c,).
        noise_sd: of the measurement by each set of looks, shape (s,).

    Example:
        >>> one = np.array([1.0])
        >>> sure = np.array([0.0, 0.0])
        >>> gain = knowledge_gradient(sure, np.array([[1.0, 0.0]]), one, np.array([0.0, 1.0]))
        >>> np.round(gain, 2)  # E[max(Z, 0)] = 0.399, less through a noisy look
        array([[0.4 , 0.28]])
    """
    spread = np.sqrt(variance[:, None] + noise_sd[None, :] ** 2)
    best = float(mean.max())
    gains = np.empty(spread.shape)
    rows = max(1, _BLOCK // (mean.size * _NODES))
    for s in range(spread.shape[1]):
        moves = covariance / np.maximum(spread[:, s : s + 1], 1e-300)
        for first in range(0, len(moves), rows):
            part = moves[first : first + rows]
            after = (mean[None, :, None] + part[:, :, None] * _Z).max(axis=1)
            gains[first : first + rows, s] = after @ _WEIGHTS - best
    return np.maximum(gains, 0.0)


def condition(covariance: Floats, at: NDArray[np.int64], noise_sd: Floats) -> Floats:
    """Return the covariance after measurements that are still under way, shape (n, n).

    Their outcomes are not known, so the means stay; what they will tell is no longer to be gained.

    Args:
        covariance: of all places, shape (n, n).
        at: rows of the measured places, shape (p,).
        noise_sd: of each measurement, shape (p,).
    """
    if not at.size:
        return covariance
    inner = covariance[np.ix_(at, at)] + np.diag(np.maximum(noise_sd, 1e-9) ** 2)
    across = covariance[:, at]
    left: Floats = covariance - across @ np.linalg.solve(inner, across.T)
    return left


@dataclass(frozen=True, eq=False, slots=True)
class LookPrecision:
    """How well a trial measures, by what was looked at.

    Precisions 1 / sd^2 add: what every trial measures anyhow, and what each look adds to it.

    Args:
        base: precision without a look.
        each: precision that each look adds, shape (m,).
    """

    base: float
    each: Floats

    @classmethod
    def learned(cls, looks: NDArray[np.bool_], y_sd: Floats) -> "LookPrecision":
        """Return the precisions that fit the standard deviations that trials have stated.

        Non-negative least squares on sd itself would be ruled by the worst trials, so precisions
        are compared with weights sd^2: relative deviations count.

        Args:
            looks: what was looked at, shape (n, m).
            y_sd: what came of it, shape (n,), > 0.

        Example:
            >>> looks = np.array([[False], [True], [True]])
            >>> told = LookPrecision.learned(looks, np.array([0.5, 0.1, 0.1]))
            >>> np.round(told.noise_sd(np.array([[False], [True]])), 2)
            array([0.5, 0.1])
        """
        from scipy.optimize import nnls

        columns = np.column_stack([np.ones(len(looks)), looks.astype(np.float64)])
        weights = y_sd**2
        # A look that nobody has tried is worth nothing until somebody does: a faint pull to zero
        # keeps the problem well posed.
        pull = 1e-6 * np.eye(columns.shape[1])
        rows = np.vstack([columns * weights[:, None] * (1.0 / y_sd**2).max(), pull])
        wanted = np.concatenate([np.ones(len(looks)), np.zeros(columns.shape[1])])
        found, _ = nnls(rows, wanted)
        found = found * (1.0 / y_sd**2).max()
        return cls(float(max(found[0], 1e-3 / float(y_sd.max()) ** 2)), found[1:])

    def noise_sd(self, looks: NDArray[np.bool_]) -> Floats:
        """Return the standard deviation of a trial with these looks, shape (s,); looks (s, m)."""
        sd: Floats = 1.0 / np.sqrt(self.base + looks @ self.each)
        return sd

    def to_why(self, names: tuple[str, ...]) -> Mapping[str, float]:
        """Return what each look alone would measure, for people."""
        alone = self.noise_sd(np.eye(len(names), dtype=bool))
        return {f"sd_with_{name}": float(sd) for name, sd in zip(names, alone, strict=True)}
