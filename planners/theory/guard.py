"""The guard: theory against no theory, weighed by how well each foresaw what came.

Before an experiment both say what they expect of it, of the objective and of every other observable
together: theory as calibrated so far, and a Gaussian process that knows the experiments alone. When
the result is there, the difference of the logarithmic scores of all that was measured is added to the
evidence for theory. What theory expects of the values along one trace varies together, and so does
what one expects without it; the scores are therefore those of joint distributions. Each step is
bounded, so that one surprise decides nothing and many decide; below a floor theory stays off.

Source: Gneiting & Raftery, J. Am. Stat. Assoc. 102, 359 (2007), doi:10.1198/016214506000001437
(logarithmic score); Dawid, J. R. Stat. Soc. A 147, 278 (1984), doi:10.2307/2981683 (judging a
forecaster by what it said before).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.planners.space import Floats

Flags = NDArray[np.bool_]
__all__ = ["Forecast", "Foresight", "Guard", "foresee_without_theory"]

_START = 1.4
"""ln of the prior odds for theory: it is there because somebody believes in it (4 to 1)."""

_MOST, _LEAST = 3.0, -4.0
"""Bounds of one step."""

_CEILING = 2.2
"""ln of the odds that no good years exceed (9 to 1): nobody knows theory where nobody looked."""

_OFF = -3.0
"""ln of the odds below which theory is off for good (5 %)."""

_LENGTH = 0.35
_DIGITS = 1e-7
"""Relative error that `_sharp` may leave in a covariance, ten times over."""

_MOST_NUMBERS = 1200
"""Of all forecasts that wait for a result: some 13 kB. The oldest go; they are not judged then."""

_SAME = 1e-7
"""Distance, in the unit cube, of what is one point."""

_SCORES = 48
"""Scores that are remembered; a journal has them all, proposal by proposal."""


@dataclass(frozen=True)
class Forecast:
    """A joint normal distribution of all observables of one experiment, noise included.

    Args:
        mean: shape (q,).
        covariance: shape (q, q).
    """

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, mean: Floats, covariance: Floats) -> "Forecast":
        """Return it with as many digits as a journal needs."""
        rows = [tuple(_sharp(v) for v in row) for row in covariance]
        return cls(tuple(_sharp(v) for v in mean), tuple(rows))

    def sd(self, q: int) -> float:
        """Return the standard deviation of one observable."""
        return math.sqrt(self.covariance[q][q])

    def score(self, values: Floats, columns: Sequence[int]) -> float:
        """Return ln of the density of some of the observables."""
        if not columns:
            return 0.0
        rows = list(columns)
        covariance = np.array(self.covariance)[np.ix_(rows, rows)]
        try:
            root = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            # noise far below the spread drowned in the digits that were kept
            floor = _DIGITS * len(rows) * np.diag(np.diag(covariance))
            root = np.linalg.cholesky(covariance + floor)
        standard = np.linalg.solve(root, values[rows] - np.array(self.mean)[rows])
        log = -0.5 * standard @ standard - np.log(np.diag(root)).sum()
        return float(log) - 0.5 * len(rows) * math.log(2.0 * math.pi)

    def to_json(self) -> list[Any]:
        """Return it as JSON; of the covariance the lower triangle."""
        return [list(self.mean), [list(row[: n + 1]) for n, row in enumerate(self.covariance)]]

    @classmethod
    def from_json(cls, body: Sequence[Any]) -> "Forecast":
        """Return what `to_json` wrote, now or when it wrote all of the covariance."""
        mean, lower = body
        q = range(len(lower))
        covariance = tuple(tuple(lower[max(a, b)][min(a, b)] for b in q) for a in q)
        return cls(tuple(mean), covariance)


@dataclass(frozen=True)
class Foresight:
    """What was expected of one experiment.

    Args:
        x: where, shape (d,).
        theory: by theory.
        plain: by the process without theory.
    """

    x: tuple[float, ...]
    theory: Forecast
    plain: Forecast

    def is_of(self, x: Floats) -> bool:
        """Return whether it is of an experiment at `x`, shape (d,)."""
        # no two that are under way are that near, and an answer may be moved to a face of the cube
        return bool(np.abs(np.array(self.x) - x).max() < _SAME)

    @property
    def n_numbers(self) -> int:
        """How many numbers it takes to remember it."""
        q = len(self.theory.mean)
        return len(self.x) + q * (q + 3)

    def to_json(self) -> list[Any]:
        """Return it as JSON."""
        return [list(self.x), self.theory.to_json(), self.plain.to_json()]

    @classmethod
    def from_json(cls, body: Sequence[Any]) -> "Foresight":
        """Return what `to_json` wrote."""
        x, theory, plain = body
        return cls(tuple(x), Forecast.from_json(theory), Forecast.from_json(plain))


@dataclass(frozen=True)
class Guard:
    """The evidence so far.

    Args:
        log_odds: of theory against no theory.
        scored: how many observations have been judged.
        theory, plain: log scores of the objective, of the latest observations; None where nobody
            had spoken.
        waiting: what was expected of experiments without a result.
        is_off: theory has been switched off.
    """

    log_odds: float = _START
    scored: int = 0
    theory: tuple[float | None, ...] = ()
    plain: tuple[float | None, ...] = ()
    waiting: tuple[Foresight, ...] = field(default=())
    is_off: bool = False

    @property
    def weight(self) -> float:
        """Weight of theory, 0 to 1; 0 once it is off."""
        return 0.0 if self.is_off else 1.0 / (1.0 + math.exp(-self.log_odds))

    def judge(self, x: Floats, values: Floats, is_there: Flags) -> "Guard":
        """Return the guard after the observations that are new to it.

        Args:
            x: of all observations, shape (n, d).
            values: observables, shape (n, q).
            is_there: False where one was not measured, shape (n, q).
        """
        guard = self
        for row in range(self.scored, len(x)):
            guard = guard._judge_one(x[row], values[row], is_there[row])
        return guard

    def _judge_one(self, x: Floats, values: Floats, is_there: Flags) -> "Guard":
        said = next((f for f in self.waiting if f.is_of(x)), None)
        if said is None:
            return self._scored(None, None)
        columns = [q for q in range(len(values)) if is_there[q]]
        step = said.theory.score(values, columns) - said.plain.score(values, columns)
        own = [0] if is_there[0] else []
        odds = float(min(self.log_odds + min(max(step, _LEAST), _MOST), _CEILING))
        sides = (
            _short(side.score(values, own)) if own else None for side in (said.theory, said.plain)
        )
        return replace(
            self._scored(*sides),
            log_odds=odds,
            waiting=tuple(f for f in self.waiting if f is not said),
            is_off=self.is_off or odds < _OFF,
        )

    def _scored(self, theory: float | None, plain: float | None) -> "Guard":
        return replace(
            self,
            scored=self.scored + 1,
            theory=(*self.theory, theory)[-_SCORES:],
            plain=(*self.plain, plain)[-_SCORES:],
        )

    def awaiting(self, pending: Floats) -> "Guard":
        """Return the guard without what was expected of experiments that will have no result.

        Args:
            pending: where experiments are under way, shape (p, d).
        """
        kept = tuple(f for f in self.waiting if any(f.is_of(x) for x in pending))
        return replace(self, waiting=kept)

    def expecting(self, foresight: Foresight) -> "Guard":
        """Return the guard with what is expected of one more experiment."""
        waiting = (*self.waiting, foresight)
        while len(waiting) > 1 and sum(f.n_numbers for f in waiting) > _MOST_NUMBERS:
            waiting = waiting[1:]
        return replace(self, waiting=waiting)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "log_odds": self.log_odds,
            "scored": self.scored,
            "theory": list(self.theory),
            "plain": list(self.plain),
            "waiting": [f.to_json() for f in self.waiting],
            "is_off": self.is_off,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Guard":
        """Return what `to_json` wrote; a fresh one for {}."""
        if not body:
            return cls()
        return cls(
            log_odds=float(body["log_odds"]),
            scored=int(body["scored"]),
            theory=tuple(body["theory"]),
            plain=tuple(body["plain"]),
            waiting=tuple(Foresight.from_json(f) for f in body["waiting"] if _is_joint(f)),
            is_off=bool(body["is_off"]),
        )


def foresee_without_theory(
    x: Floats, values: Floats, is_there: Flags, noise: Floats, usual: Floats, at: Floats
) -> Forecast:
    """Return what the experiments alone let one expect at a point.

    A Gaussian process of fixed length around the mean of the data; where there are few, around what
    simulations say of the size of the quantity anywhere (which a person would know). Observables vary
    together as they do there.

    Args:
        x: where experiments were, shape (n, d).
        values: what they gave, shape (n, q).
        is_there: False where one was not measured, shape (n, q).
        noise: standard deviation of a measurement, shape (q,).
        usual: values of all quantities anywhere, shape (m, q).
        at: the point, shape (d,).
    """
    means, sds = np.zeros(len(noise)), np.zeros(len(noise))
    for q in range(len(noise)):
        rows = np.flatnonzero(is_there[:, q]) if len(x) else np.zeros(0, dtype=int)
        mean, sd = float(usual[:, q].mean()), float(usual[:, q].std())
        if not len(rows):
            means[q], sds[q] = mean, sd
            continue
        own, y = x[rows], values[rows, q]
        # the mean of the data, with what is known beforehand counting as one of them
        level = (float(y.sum()) + mean) / (len(rows) + 1)
        reach = _LENGTH * math.sqrt(x.shape[1] / 2.0)
        k = sd**2 * _near(own, own, reach) + noise[q] ** 2 * np.eye(len(rows))
        here = sd**2 * _near(at[None, :], own, reach)[0]
        solved = np.linalg.solve(k, np.stack([y - level, here], axis=1))
        means[q] = level + float(here @ solved[:, 0])
        sds[q] = math.sqrt(max(sd**2 - float(here @ solved[:, 1]), 0.0))
    return Forecast.of(means, _together(usual) * np.outer(sds, sds) + np.diag(noise**2))


def _together(usual: Floats) -> Floats:
    """Return the correlation of quantities, shape (q, q); one that never varies has none."""
    off = usual - usual.mean(axis=0)
    size = np.sqrt((off**2).mean(axis=0))
    standard = off / np.where(size > 0, size, 1.0)
    found: Floats = standard.T @ standard / len(usual)
    np.fill_diagonal(found, 1.0)
    return found


def _is_joint(body: Sequence[Any]) -> bool:
    """Return False for what a run of before wrote, which foresaw each observable for itself."""
    theory = body[1]
    return len(theory) == 2 and isinstance(theory[1][0], Sequence)


def _near(a: Floats, b: Floats, length: float) -> Floats:
    squares = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    near: Floats = np.exp(-0.5 * squares / length**2)
    return near


def _short(value: float) -> float:
    return round(value, 3)


def _sharp(value: float) -> float:
    return float(f"{value:.8g}")
