"""What each point is worth, and what is hidden from whoever does not look: one belief about both.

A cheap look is wrong in a way that films of a kind share: a thermocouple that reads 9 K too little, an
attempt rate that nobody knows to better than a half. Repeating it makes it no truer. So what trial i
is said to be worth, looked at by the set S of instruments, is taken to be

    y_i = f(x_i) + sum over looks l not in S of D_l(x_i) + e_i,

with f what all instruments together would say, D_l the *discrepancy* that remains without look l, and e_i
independent. This is the autoregressive model of Kennedy & O'Hagan, Biometrika 87, 1 (2000),
doi:10.1093/biomet/87.1.1, with a scale of 1 and one discrepancy for each sight, not for each level. f and
D_l are Gaussian processes; D_l has the deviation that the trials themselves state to lose by look l, times
a factor t_l. Of its variance the part rho is shared by points alike (correlation length lambda), the
rest is each film's own.

A film that was looked at says more: what would have been said of the same film without any look (`blind`).
Their difference is the sum of D_l over the looks taken, free of f; from a few such films all others
are corrected. All of t_l, rho, lambda and the scales of f are found by maximum a posteriori.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import PlanningFailed
from twinloop.planners.space import Floats

__all__ = ["Asked", "LookBelief", "Rows", "Scales", "ScalesPosterior", "Told"]

_MAX_ITERATIONS = 150
_JITTER = 1e-8
_IMPOSSIBLE = 1e12
_LEAST_SD = 1e-3
"""Smallest deviation of a result, as a share of the spread of all: less makes matrices singular."""

_NAMES = ("mean", "log_sd", "log_white", "logit_shared", "log_reach")
_START = {"mean": 0.0, "log_sd": 0.0, "log_white": -4.0, "logit_shared": 1.0, "log_reach": 0.2}
_WIDTH = {"mean": 1.0, "log_sd": 0.6, "log_white": 1.0, "logit_shared": 1.0, "log_reach": 0.5}
"""Normal beliefs about the scales before any trial, for results of mean 0 and deviation 1. Three
quarters of a discrepancy are shared, over 1.2 edges of the cube: a wrong constant is wrong everywhere."""

_FACTOR_WIDTH = 0.5
_LENGTH_WIDTH = 3.0**0.5
"""Of ln of the length scales of f, about sqrt(2) + ln(d) / 2: Hvarfner, Hellsten & Nardi, ICML 2024,
arXiv 2402.02229."""


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Linear quantities: `on` times f plus the sum of `hidden` times the discrepancies, at points.

    Args:
        x: unit cube, shape (r, d).
        on: weight of f, shape (r,).
        hidden: stated deviation of each discrepancy that is in it, 0 where it is not, shape (r, m).
        noise: variance of what is independent of all else, shape (r,).
    """

    x: Floats
    on: Floats
    hidden: Floats
    noise: Floats

    @classmethod
    def of_value(cls, x: Floats, m: int) -> "Rows":
        """Return f itself at points of shape (r, d), among m looks."""
        r = len(x)
        return cls(x, np.ones(r), np.zeros((r, m)), np.zeros(r))

    def with_rows(self, more: "Rows") -> "Rows":
        """Return these rows, and more below them."""
        return Rows(
            np.vstack([self.x, more.x]),
            np.concatenate([self.on, more.on]),
            np.vstack([self.hidden, more.hidden]),
            np.concatenate([self.noise, more.noise]),
        )


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """What trials at some points would measure.

    Args:
        result: what they would be said to be worth.
        beside: by how much a judgement without any look would differ from that; None without a look.
    """

    result: Rows
    beside: Rows | None = None

    @property
    def numbers(self) -> tuple[Rows, ...]:
        """Return one or two numbers of each trial."""
        return (self.result,) if self.beside is None else (self.result, self.beside)


@dataclass(frozen=True, eq=False, slots=True)
class Told:
    """What the numbers of trials at c points tell.

    Args:
        covariances: of each number with f at p places, each of shape (c, p).
        own: of each number with f at its own point, each of shape (c,).
        within: covariance of the numbers of one trial, their noise included, shape (c, q, q).
    """

    covariances: Sequence[Floats]
    own: Sequence[Floats]
    within: Floats


@dataclass(frozen=True, eq=False, slots=True)
class Scales:
    """What the processes vary by.

    Args:
        mean: of f.
        sd: of f.
        lengths: of f along each axis, shape (d,) [edges of the cube].
        white: variance by which equal points differ.
        shared: rho, 0 to 1.
        reach: lambda [edges of the cube].
        factors: t of each look, shape (m,).
    """

    mean: float
    sd: float
    lengths: Floats
    white: float
    shared: float
    reach: float
    factors: Floats

    @classmethod
    def of(cls, raw: Any, d: int) -> "Scales":
        """Return what the vector of the fit stands for; tensors give tensors."""
        base = len(_NAMES)
        exp = raw.exp() if hasattr(raw, "exp") else np.exp(raw)
        shared = 1.0 / (1.0 + 1.0 / exp[3])
        return cls(
            raw[0], exp[1], exp[base : base + d], exp[2] ** 2, shared, exp[4], exp[base + d :]
        )


class LookBelief:
    """The belief about f and the discrepancies, given measured rows.

    Args:
        rows: what was measured.
        values: what came of it, shape (r,).
        scales: of the processes.
        pending: what is being measured: its outcome is not known, what it will tell is.
    """

    def __init__(
        self, rows: Rows, values: Floats, scales: Scales, pending: Rows | None = None
    ) -> None:
        self.rows, self.values, self.scales = rows, values, scales
        inner = _inner(scales, rows)
        self._mean_of = np.linalg.solve(inner, values - scales.mean * rows.on)
        self._seen = rows if pending is None else rows.with_rows(pending)
        whole = inner if pending is None else _inner(scales, self._seen)
        self._root: Floats = np.linalg.cholesky(whole).astype(np.float64, copy=False)

    @classmethod
    def fitted(cls, rows: Rows, values: Floats, start: Mapping[str, Any]) -> "LookBelief":
        """Return the belief with the likeliest scales.

        Args:
            rows: what was measured.
            values: what came of it, shape (r,), of a spread about 1.
            start: what `memo` of the last fit gave, or nothing.

        Raises:
            PlanningFailed: no finite answer.
        """
        from scipy.optimize import minimize

        d, m = rows.x.shape[1], rows.hidden.shape[1]
        middle, width = _prior(d, m)
        told = np.array(start.get("looks", ()), dtype=np.float64)
        raw = told if told.shape == middle.shape and np.all(np.isfinite(told)) else middle
        cost = _Cost(rows, values, middle, width)
        low, high = middle - 4.0 * width, middle + 4.0 * width
        found = minimize(
            cost, np.clip(raw, low, high), jac=True, method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)), options={"maxiter": _MAX_ITERATIONS},
        )  # fmt: skip
        if not np.isfinite(found.fun):
            raise PlanningFailed("looking_bo", f"no likelihood at {found.x.tolist()}")
        belief = cls(rows, values, Scales.of(found.x, d))
        belief.raw = found.x
        return belief

    raw: Floats = np.zeros(0)
    """The vector of the fit, for the memo."""

    def waiting_for(self, pending: Rows) -> "LookBelief":
        """Return the belief when these are under way."""
        return LookBelief(self.rows, self.values, self.scales, pending)

    def mean(self, asked: Rows) -> Floats:
        """Return the mean of quantities, shape (r,)."""
        found: Floats = self.scales.mean * asked.on + _prior_of(self.scales, asked, self.rows) @ (
            self._mean_of
        )
        return found

    def covariance(self, one: Rows, other: Rows) -> Floats:
        """Return the covariance of quantities after what was measured, shape (r, s), noise left out."""
        left: Floats = _prior_of(self.scales, one, other) - self._told(one).T @ self._told(other)
        return left

    def variance(self, asked: Rows) -> Floats:
        """Return the variance of quantities, shape (r,), noise left out."""
        return self._left(asked, self._told(asked))

    def through(self, sets: Sequence["Asked"], places: Rows) -> Iterator["Told"]:
        """Return what each of several measurements at the same points tells of places.

        Args:
            sets: what is measured; rows differ in what is hidden alone.
            places: values of f, with nothing hidden.
        """
        there, x = self._told(places), sets[0].result.x
        here = self._told(Rows.of_value(x, sets[0].result.hidden.shape[1]))
        s, seen = self.scales, self._seen
        before = _prior_of(s, Rows.of_value(x, sets[0].result.hidden.shape[1]), places)
        value = np.outer(seen.on, np.ones(len(x))) * s.sd**2
        value *= np.exp(-0.5 * _far2(seen.x / s.lengths, x / s.lengths))
        reach = s.shared * np.exp(-0.5 * _far2(seen.x, x) / s.reach**2)
        for asked in sets:
            told, parts = [], []
            for rows in asked.numbers:
                across = rows.on * value + reach * ((seen.hidden * s.factors**2) @ rows.hidden.T)
                told.append(_solved(self._root, across))
                own = s.sd**2 * rows.on - (told[-1] * here).sum(axis=0)
                parts.append((rows.on[:, None] * before - told[-1].T @ there, own))
            within = np.empty((len(x), len(told), len(told)))
            for i, j in product(range(len(told)), repeat=2):
                one, other = asked.numbers[i], asked.numbers[j]
                prior = s.sd**2 * one.on * other.on
                prior = prior + s.shared * ((one.hidden * other.hidden) @ s.factors**2)
                within[:, i, j] = prior - (told[i] * told[j]).sum(axis=0)
                if i == j:
                    within[:, i, i] = np.maximum(within[:, i, i], 0.0) + self.noise(one)
            yield Told([c for c, _ in parts], [own for _, own in parts], within)

    def _told(self, asked: Rows) -> Floats:
        across = _prior_of(self.scales, self._seen, asked)
        return _solved(self._root, across)

    def _left(self, asked: Rows, told: Floats) -> Floats:
        s = self.scales
        before = s.sd**2 * asked.on**2 + s.shared * (asked.hidden**2 @ s.factors**2)
        left: Floats = np.maximum(before - (told**2).sum(axis=0), 0.0)
        return left

    def noise(self, asked: Rows) -> Floats:
        """Return the variance by which a measurement of quantities strays from them, shape (r,)."""
        strays: Floats = _noise(self.scales, asked)
        return strays


def _inner(scales: Scales, rows: Rows) -> Floats:
    inner: Floats = _prior_of(scales, rows, rows) + np.diag(_noise(scales, rows) + _JITTER)
    return inner


def _solved(root: Floats, across: Floats) -> Floats:
    from scipy.linalg import (
        solve_triangular,
    )  # here: a conductor reads this module on a light install

    told: Floats = solve_triangular(root, across, lower=True, check_finite=False)
    return told


def _noise(s: Scales, rows: Rows) -> Any:
    own = (1.0 - s.shared) * (rows.hidden**2 @ s.factors**2)
    return rows.noise + _LEAST_SD**2 + s.white * rows.on**2 + own


def _prior_of(s: Scales, a: Rows, b: Rows) -> Floats:
    """Return the covariance of quantities before any trial, shape (r, s)."""
    value = np.outer(a.on, b.on) * s.sd**2 * np.exp(-0.5 * _far2(a.x / s.lengths, b.x / s.lengths))
    hidden = (a.hidden * s.factors**2) @ b.hidden.T
    found: Floats = value + s.shared * hidden * np.exp(-0.5 * _far2(a.x, b.x) / s.reach**2)
    return found


def _far2(a: Any, b: Any) -> Any:
    """Return squared distances, shape (r, s), of arrays or of tensors."""
    far2 = (a**2).sum(-1)[:, None] + (b**2).sum(-1)[None, :] - 2.0 * (a @ b.T)
    return far2.clip(0.0)


def _prior(d: int, m: int) -> tuple[Floats, Floats]:
    """Return mean and deviation of the vector of the fit."""
    middle = [*_START.values(), *[2.0**0.5 + 0.5 * np.log(d)] * d, *[0.0] * m]
    width = [*_WIDTH.values(), *[_LENGTH_WIDTH] * d, *[_FACTOR_WIDTH] * m]
    return np.array(middle), np.array(width)


class ScalesPosterior:
    """How likely vectors of scales are: a normal prior, and how well they explain what was measured.

    Args:
        rows: what was measured.
        values: what came of it, shape (r,).
    """

    def __init__(self, rows: Rows, values: Floats) -> None:
        self._rows, self._values = rows, values
        self.middle, self.width = _prior(rows.x.shape[1], rows.hidden.shape[1])

    def log_likelihood(self, raw: Floats) -> float:
        """Return ln of the probability of what was measured, up to a constant."""
        rows, scales = self._rows, Scales.of(raw, self._rows.x.shape[1])
        try:
            root: Floats = np.linalg.cholesky(_inner(scales, rows)).astype(np.float64, copy=False)
        except np.linalg.LinAlgError:
            return -np.inf
        white = _solved(root, self._values - scales.mean * rows.on)
        return float(-0.5 * white @ white - np.log(np.diag(root)).sum())

    def belief(self, raw: Floats) -> LookBelief:
        """Return the belief with these scales."""
        return LookBelief(self._rows, self._values, Scales.of(raw, self._rows.x.shape[1]))


class _Cost:
    """Minus ln of the posterior of the scales, with its slope."""

    def __init__(self, rows: Rows, values: Floats, middle: Floats, width: Floats) -> None:
        import torch

        self._rows = Rows(
            *(torch.from_numpy(p) for p in (rows.x, rows.on, rows.hidden, rows.noise))  # type: ignore[arg-type]
        )
        self._values = torch.from_numpy(values)
        self._middle, self._width = torch.from_numpy(middle), torch.from_numpy(width)

    def __call__(self, raw: NDArray[np.float64]) -> tuple[float, Floats]:
        import torch

        at = torch.from_numpy(raw.copy()).requires_grad_()
        r: Any = self._rows
        s = Scales.of(at, r.x.shape[1])
        scaled = r.x / s.lengths
        value = torch.outer(r.on, r.on) * s.sd**2 * torch.exp(-0.5 * _far2(scaled, scaled))
        hidden = (r.hidden * s.factors**2) @ r.hidden.T
        inner = value + s.shared * hidden * torch.exp(-0.5 * _far2(r.x, r.x) / s.reach**2)
        inner = inner + torch.diag(_noise(s, r) + _JITTER)
        root, failed = torch.linalg.cholesky_ex(inner)
        if int(failed):
            return _IMPOSSIBLE, np.zeros_like(raw)
        off = self._values - s.mean * r.on
        white = torch.linalg.solve_triangular(root, off[:, None], upper=False)[:, 0]
        likelihood = -0.5 * (white @ white) - root.diagonal().log().sum()
        prior = -0.5 * (((at - self._middle) / self._width) ** 2).sum()
        cost = -(likelihood + prior)
        cost.backward()
        return float(cost.detach()), at.grad.numpy().copy()  # type: ignore[union-attr]
