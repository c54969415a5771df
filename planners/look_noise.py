"""How well trials measure, at which place, and what each look that was left out leaves hidden there.

The variance that a trial states is taken to be

    var(x, S) = a(x)^2 + sum over looks l not in S of h_l(x)^2 times the product over k in S of r_kl,

a what is left when everything is looked at, h_l what look l tells, r_kl the part of it that look k does
not tell. Looks mostly see different sides of a film (its surface, its interface), so what they hide adds
up, and r is about 1; two that see the same have r about 0. Where h is large follows from the place: atoms
cross an interface in a hot film and stay in a cold one, and so an electron beam tells much of the first
and nothing of the second. ln h_l is a parabola in each knob and in the height of the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twinloop.planners.space import Floats

__all__ = ["LookNoise"]

_FAR = 2.5
"""Units of the spread within which the deviation follows the height of a result [1]."""

_STRAYS = 0.2
"""Deviation of ln of a stated deviation from the model."""

_SLOPE, _BY_HEIGHT, _LEVEL, _TRIED, _UNTRIED = 1.0, 0.5, 2.0, -1.0, -4.0
"""Beliefs before any trial: deviations of the slopes of ln h with the knobs and with the height (a result
that strays says little of its height), of its level, and where the level lies above ln of what trials
state: a look that nobody has tried tells nothing until somebody does."""

_APART, _APART_WIDTH = 4.0, 4.0
"""Mean and deviation of logit r before any trial: looks see different sides."""

_AT_MOST = 1.5
"""Deviations larger than all that was stated, by this factor, are not believed [1]."""


@dataclass(frozen=True, eq=False, slots=True)
class LookNoise:
    """What trials state, as a function of the place, the height of the result, and the looks.

    Args:
        left: level of ln a and its slope with the height, shape (2,).
        levels: of ln h_l, shape (m,).
        slopes: of ln h_l with what `_features` gives, shape (m, 2 + 2 d).
        apart: ln r of look k in row k and of look l in column l, shape (m, m), 0 on the diagonal.
        middle, spread: of the results.
        lowest, highest: deviations that were stated.
    """

    left: Floats
    levels: Floats
    slopes: Floats
    apart: Floats
    middle: float
    spread: float
    lowest: float
    highest: float

    @classmethod
    def learned(cls, x: Floats, looks: NDArray[np.bool_], y: Floats, y_sd: Floats) -> Self:
        """Return the likeliest one, given the deviations that trials have stated.

        Args:
            x: where, unit cube, shape (n, d).
            looks: what was looked at, shape (n, m).
            y: what came of it, shape (n,).
            y_sd: its standard deviations, shape (n,), > 0.

        Example:
            >>> looks = np.array([[False], [True], [False], [True]])
            >>> sd = np.array([0.5, 0.1, 0.5, 0.1])
            >>> noise = LookNoise.learned(np.full((4, 1), 0.5), looks, np.zeros(4), sd)
            >>> left, hidden = noise.parts(np.full((1, 1), 0.5), np.array([False]), np.zeros(1))
            >>> np.round(np.sqrt(left), 1), np.round(hidden, 1)
            (array([0.1]), array([[0.5]]))
        """
        from scipy.optimize import least_squares

        m = looks.shape[1]
        middle, spread = float(y.mean()), float(y.std()) or 1.0
        u, columns = _features(x, (y - middle) / spread)
        k = columns.shape[1]
        typical, told = float(np.median(np.log(y_sd))), np.log(y_sd)
        cuts = np.cumsum([2, m, m * k])
        levels = typical + np.where(looks.any(axis=0), _TRIED, _UNTRIED)
        apart = np.full(m * m, _APART)
        start = np.concatenate([[told.min(), 0.0], levels, np.zeros(m * k), apart])
        slopes = np.tile(np.repeat([_BY_HEIGHT, _SLOPE], [2, k - 2]), m)
        width = np.concatenate(
            [[1.0, _BY_HEIGHT], np.full(m, _LEVEL), slopes, np.full(m * m, _APART_WIDTH)]
        )
        taken = looks.astype(np.float64)
        others = 1.0 - np.eye(m)

        def parts(raw: Floats) -> tuple[Floats, Floats, Floats, Floats]:
            left, levels, slopes, apart = np.split(raw, cuts)
            log_h = levels + columns @ slopes.reshape(m, k).T
            logit = apart.reshape(m, m)
            log_r = -np.logaddexp(0.0, -logit) * others
            log_hidden = 2.0 * np.clip(log_h, -40.0, 20.0) + taken @ log_r
            hidden = (1.0 - taken) * np.exp(log_hidden)
            rest = np.exp(2.0 * (left[0] + left[1] * u))
            return rest, hidden, rest + hidden.sum(axis=1), others / (1.0 + np.exp(logit))

        def off(raw: Floats) -> Floats:
            fit = (0.5 * np.log(parts(raw)[2]) - told) / _STRAYS
            return np.concatenate([fit, (raw - start) / width])

        def slope(raw: Floats) -> Floats:
            left, hidden, total, of_logit = parts(raw)
            of_left, of_h = left / total / _STRAYS, hidden / total[:, None] / _STRAYS
            each = (of_h[:, :, None] * columns[:, None, :]).reshape(len(u), m * k)
            apart = 0.5 * of_h[:, None, :] * taken[:, :, None] * of_logit
            fit = np.column_stack([of_left, of_left * u, of_h, each, apart.reshape(len(u), m * m)])
            return np.vstack([fit, np.diag(1.0 / width)])

        # looks that see the same may be taken for two that tell little, and so the fit starts from both
        fits = []
        for logit in (_APART, -_APART):
            first = start.copy()
            first[2 : 2 + m][looks.any(axis=0)] = told.max() - 0.5
            first[cuts[-1] :] = logit
            fits.append(least_squares(off, first, jac=slope, method="lm", max_nfev=200))
        found = min(fits, key=lambda fit: float(fit.cost)).x
        left, levels, slopes, apart = np.split(found, cuts)
        return cls(
            left, levels, slopes.reshape(m, k), -np.logaddexp(0.0, -apart.reshape(m, m)) * others,
            middle, spread, float(y_sd.min()), float(y_sd.max()),
        )  # fmt: skip

    @classmethod
    def same(cls, sd: float, m: int, d: int) -> Self:
        """Return a deviation that no look and no place changes."""
        left = np.array([np.log(sd), 0.0])
        nothing = np.full(m, -40.0)
        slopes, apart = np.zeros((m, 2 + 2 * d)), np.zeros((m, m))
        return cls(left, nothing, slopes, apart, 0.0, 1.0, sd, sd)

    def parts(self, x: Floats, looks: NDArray[np.bool_], mean: Floats) -> tuple[Floats, Floats]:
        """Return what the deviation of trials is made of.

        Args:
            x: where, shape (c, d).
            looks: what was looked at, shape (c, m), or (m,) for all of them.
            mean: expected results, shape (c,).

        Returns:
            The variance that is left when everything is looked at, shape (c,), and the deviation that
            each look which was not taken leaves in, shape (c, m), 0 for the others. Their variances
            add up to that of the trial.
        """
        u, columns = _features(x, (mean - self.middle) / self.spread)
        most = np.log(_AT_MOST * self.highest)
        low, high = np.log(0.5 * self.lowest), np.log(self.highest)
        left = np.exp(2.0 * np.clip(self.left[0] + self.left[1] * u, low, high))
        hidden = np.exp(np.minimum(self.levels + columns @ self.slopes.T, most))
        taken = np.broadcast_to(looks, hidden.shape)
        return left, hidden * ~taken * np.exp(0.5 * taken @ self.apart)

    def away(self, x: Floats, looks: NDArray[np.bool_], mean: Floats) -> Floats:
        """Return the deviation that looks take away of each discrepancy, shape (c, m)."""
        _, without = self.parts(x, np.zeros_like(looks), mean)
        taken: Floats = without - self.parts(x, looks, mean)[1]
        return taken

    def sd(self, x: Floats, looks: NDArray[np.bool_], mean: Floats) -> Floats:
        """Return the standard deviation of trials, shape (c,); arguments as in `parts`."""
        left, hidden = self.parts(x, looks, mean)
        total: Floats = np.sqrt(left + (hidden**2).sum(axis=1))
        return total

    def to_why(self, names: tuple[str, ...], x: Floats, mean: float) -> Mapping[str, float]:
        """Return by which factor each look alone narrows a result at a point (d,), for people."""
        at, result = x[None], np.array([mean])
        m = len(names)
        bare = self.sd(at, np.zeros(m, dtype=bool), result)[0]
        one = [self.sd(at, looked, result)[0] for looked in np.eye(m, dtype=bool)]
        return {f"narrows_{name}": float(bare / sd) for name, sd in zip(names, one, strict=True)}


def _features(x: Floats, height: Floats) -> tuple[Floats, Floats]:
    """Return the height within bounds, and what ln h depends on, shape (c, 2 + 2 d)."""
    # Further out than results were seen, the parabola is no knowledge.
    u = np.clip(height, -_FAR, _FAR)
    z = 2.0 * x - 1.0
    return u, np.column_stack([u, u**2 - 1.0, z, z**2 - 1.0 / 3.0])
