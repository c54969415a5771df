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

__all__ = ["LookNoise", "knowledge_gradient"]

_NODES = 48
_Z, _WEIGHTS = np.polynomial.hermite_e.hermegauss(_NODES)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_PULL = 0.15
_FAR = 2.5
"""Units of the spread within which the noise follows the height of a result [1]."""

_BLOCK = 2**21
"""Numbers held at once while the quadrature runs."""


def knowledge_gradient(
    mean: Floats,
    covariance: Floats,
    variance: Floats,
    noise_sd: Floats,
    own: tuple[Floats, Floats] | None = None,
) -> Floats:
    """Return the expected rise of the best mean through one measurement, shape (c, s).

    Args:
        mean: of the places that one may choose in the end, shape (m,).
        covariance: of each candidate with each of these places, shape (c, m).
        variance: of each candidate, shape (c,).
        noise_sd: of the measurement of each candidate by each set of looks, shape (c, s).
        own: mean of each candidate and its covariance with its own measurement, both of shape (c,), where
            a candidate may be chosen as well.

    Example:
        >>> one = np.array([1.0])
        >>> sure = np.array([0.0, 0.0])
        >>> gain = knowledge_gradient(sure, np.array([[1.0, 0.0]]), one, np.array([[0.0, 1.0]]))
        >>> np.round(gain, 2)  # E[max(Z, 0)] = 0.399, less through a noisy look
        array([[0.4 , 0.28]])
    """
    spread = np.sqrt(variance[:, None] + noise_sd**2)
    best = np.full(len(covariance), float(mean.max()))
    if own is not None:
        best = np.maximum(best, own[0])
    gains = np.empty(spread.shape)
    rows = max(1, _BLOCK // (mean.size * _NODES))
    for s in range(spread.shape[1]):
        moves = covariance / np.maximum(spread[:, s : s + 1], 1e-300)
        for first in range(0, len(moves), rows):
            part = moves[first : first + rows]
            after = (mean[None, :, None] + part[:, :, None] * _Z).max(axis=1)
            here = slice(first, first + rows)
            if own is not None:
                move = own[1][here] / np.maximum(spread[here, s], 1e-300)
                after = np.maximum(after, own[0][here, None] + move[:, None] * _Z)
            gains[here, s] = after @ _WEIGHTS - best[here]
    return np.maximum(gains, 0.0)


@dataclass(frozen=True, eq=False, slots=True)
class LookNoise:
    """How well a trial measures: by what was looked at, and by how high its result is.

    ln sd = a + b u + c u^2 - sum of the gains of the looks, u the result in units of the spread of all.
    A result near a bound (a film of no merit at all) is often known better than one in the middle, with
    or without a look, so what a look adds is judged among results of one height.

    Args:
        level: a, b and c.
        gains: of each look, >= 0, shape (m,).
        middle, spread: of the results, which give u.
        lowest: smallest deviation that any trial has stated; less is not believed.
    """

    level: Floats
    gains: Floats
    middle: float
    spread: float
    lowest: float

    @classmethod
    def learned(cls, looks: NDArray[np.bool_], y: Floats, y_sd: Floats) -> "LookNoise":
        """Return what fits the standard deviations that trials have stated.

        Least squares in ln sd with a faint pull of everything but `a` towards 0, so that a look nobody
        has tried is worth nothing until somebody does.

        Args:
            looks: what was looked at, shape (n, m).
            y: what came of it, shape (n,).
            y_sd: its standard deviations, shape (n,), > 0.

        Example:
            >>> looks = np.array([[False], [True], [False], [True]])
            >>> noise = LookNoise.learned(looks, np.zeros(4), np.array([0.5, 0.1, 0.5, 0.1]))
            >>> np.round(noise.noise_sd(np.array([[False], [True]]), np.zeros(1)), 2)
            array([[0.49, 0.1 ]])
        """
        from scipy.optimize import lsq_linear

        middle, spread = float(y.mean()), float(y.std()) or 1.0
        m = looks.shape[1]
        u = (y - middle) / spread
        columns = np.column_stack([np.ones(len(y)), u, u**2, -looks.astype(np.float64)])
        pull = _PULL * np.eye(3 + m)[1:]
        rows = np.vstack([columns, pull])
        wanted = np.concatenate([np.log(y_sd), np.zeros(2 + m)])
        low = np.concatenate([np.full(3, -np.inf), np.zeros(m)])
        found = lsq_linear(rows, wanted, (low, np.full(3 + m, np.inf))).x
        return cls(found[:3], found[3:], middle, spread, float(y_sd.min()))

    @classmethod
    def same(cls, sd: float, m: int) -> "LookNoise":
        """Return a deviation that no look changes."""
        return cls(np.array([np.log(sd), 0.0, 0.0]), np.zeros(m), 0.0, 1.0, sd)

    def noise_sd(self, looks: NDArray[np.bool_], mean: Floats) -> Floats:
        """Return the standard deviation of trials, shape (c, s).

        Args:
            looks: sets of looks, shape (s, m).
            mean: expected results, shape (c,).
        """
        # Further out than results were seen, the parabola is no knowledge.
        u = np.clip((mean - self.middle) / self.spread, -_FAR, _FAR)
        level = self.level[0] + self.level[1] * u + self.level[2] * u**2
        sd: Floats = np.exp(level[:, None] - (looks @ self.gains)[None, :])
        return np.maximum(sd, 0.5 * self.lowest)

    def parts(self, looks: NDArray[np.bool_], mean: Floats) -> tuple[Floats, Floats]:
        """Return what the deviation of trials is made of.

        Args:
            looks: what was looked at, shape (c, m), or (m,) for all of them.
            mean: expected results, shape (c,).

        Returns:
            The variance that is left when everything is looked at, shape (c,), and the deviation that
            each look which was not taken leaves in, shape (c, m), 0 for the others. Their variances
            add up to that of the trial.

        Example:
            >>> noise = LookNoise(np.log([0.5, 1.0, 1.0]), np.log([5.0, 1.0]), 0.0, 1.0, 0.1)
            >>> left, hidden = noise.parts(np.array([False, False]), np.zeros(1))
            >>> np.round(left, 3), np.round(hidden, 2)
            (array([0.01]), array([[0.49, 0.  ]]))
        """
        looks = np.broadcast_to(looks, (len(mean), self.gains.size))
        full = self.noise_sd(np.ones((1, self.gains.size), dtype=bool), mean)[:, 0] ** 2
        told = np.exp(-(looks @ self.gains))
        bare = self.noise_sd(np.zeros((1, self.gains.size), dtype=bool), mean)[:, 0]
        all_ = np.maximum((bare * told) ** 2, full)
        shares = (1.0 - np.exp(-2.0 * self.gains)) * ~looks
        shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
        return full, np.sqrt((all_ - full)[:, None] * shares)

    def to_why(self, names: tuple[str, ...]) -> Mapping[str, float]:
        """Return by which factor each look narrows a result, for people."""
        return {f"narrows_{n}": float(np.exp(g)) for n, g in zip(names, self.gains, strict=True)}
