"""Decide what to make and what is worth looking at, each look at its cost in hours.

The search space has, beside the knobs of an experiment, one axis for each look that a trial may do or
leave: from 0 to 1, done at one half or above (`look_stm`). A trial always measures something; a look
makes its result truer and costs hours. This planner asks for the point and the set of looks with the
largest expected gain per hour (`knowledge_gradient`): coarse and cheap where much is unknown, a
careful look where good films are to be told apart, none where nothing is to be gained by it.

What a look would have told is not noise: films alike share it, and ten cheap looks are wrong together.
So the belief (`look_belief`) holds a discrepancy for each look beside the landscape, learned from films
of which it is known what was said of them with and without a look. A film that is looked at tells both
numbers, and both count as its gain: the second corrects all films that nobody looked at. How much a look
can tell follows from the place (`look_noise`).

A gain that is wide of the truth misleads a planner of this sort more than one that adds a bonus for
the unknown. So it is averaged over beliefs that explain the trials alike (`look_average`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinloop.errors import PlanningFailed
from twinloop.planners.interface import Known, Proposal, sobol
from twinloop.planners.knowledge_gradient import knowledge_gradient, pair_gradient
from twinloop.planners.look_average import AveragedBelief
from twinloop.planners.look_belief import Asked, LookBelief, Rows, Told
from twinloop.planners.look_noise import LookNoise
from twinloop.planners.plain_bo import (
    PlainBO,
    _above_zero,
    _columns,
    _fitted,
    _recall,
    expected_warnings,
)
from twinloop.planners.space import Floats, Space

__all__ = ["LookingBO"]

_COARSE = 256
_AROUND = 24
_ROUNDS = 4
_KEPT = 8
_PLACES = 64
_MOST_LOOKS = 5
_MEMO = "hyperparameters"
_NO_MORE = np.zeros((1, 1))
"""Noise beside what is in the variance of a number already."""

_DRAWS = 1
"""Beside the seed of a proposal: of the draws of its belief."""

BLIND = "blind"
"""The feature that says what each trial would have been said to be worth without any look."""


class LookingBO(PlainBO, name="looking_bo"):
    """Ask for the point and the looks whose expected gain per hour is largest.

    The first trials look at everything, at nothing, and at one thing each, so that it becomes known
    what each look is worth; others of the opening look at nothing. Their points are Sobol points.

    In a campaign the hours come from the laboratory file (`cost_h` of each instrument) and from the
    protocol, which says which axis takes which instrument; set them here only without a campaign.

    Args:
        base_h: laboratory time of a trial without any look [h].
        look_h: laboratory time of each look [h], by the name of its axis.

    Example:
        >>> planner = LookingBO(
        ...     space={"flux_ML_per_s": (0.1, 1.0), "look_stm": (0, 1)},
        ...     look_h={"look_stm": 1.5},
        ...     base_h=0.5,
        ... )
        >>> planner.ask()["look_stm"]
        1.0
    """

    version: ClassVar[int] = 4
    weighs_looks: ClassVar[bool] = True
    """A campaign gives it the hours of its protocol's looks."""

    base_h: Annotated[float, Field(gt=0)] = 1.0
    look_h: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})

    def complaint(self, space: Space, n_constraints: int) -> str:
        """Return why it cannot plan in a space; "" where it can."""
        del n_constraints
        axes = {d.name: d for d in space.dimensions}
        for name in self.look_h:
            if name not in axes:
                return f"look_h names {name}, which is not searched: {', '.join(axes)}"
            if (axes[name].low, axes[name].high) != (0.0, 1.0):
                return f"{name} is a look: search it from 0 to 1"
        if len(self.look_h) > _MOST_LOOKS:
            return f"{len(self.look_h)} looks; {_MOST_LOOKS} at most"
        if len(self.look_h) == len(axes):
            return "nothing but looks is searched"
        return ""

    def initial(self, known: Known) -> Proposal | None:
        """Return a Sobol point, with everything, nothing, or one thing looked at."""
        if known.n >= self.n_initial:
            return None
        axes = _Axes.of(known.space, tuple(self.look_h))
        x = sobol(known)
        x[axes.looks] = axes.opening(known.proposal)
        return Proposal(x=x, why={"initial": 1.0})

    def propose(self, known: Known) -> Proposal:
        """Fit, weigh every candidate with every set of looks, and say what is expected."""
        import torch

        axes = _Axes.of(known.space, tuple(self.look_h))
        knobs = axes.without_looks(known)
        with expected_warnings(), torch.device(self.device):
            seen = _Seen.of(axes, known, dict(known.memo.get(_MEMO, {}).get("y", {})))
            slacks = {n: _fitted(n, knobs, *c) for n, c in _columns(knobs).items() if n != "y"}
            search = _Search(knobs, axes, seen, slacks, self._costs_h(axes))
            choice = search.best()
        x = np.empty(known.d)
        x[axes.knobs], x[axes.looks] = choice.x, choice.looks
        why = {
            "log_gain_per_h": choice.value + float(np.log(seen.unit)),
            "log_gain_per_h_unlooked": choice.unlooked + float(np.log(seen.unit)),
            "pending": float(len(known.pending)),
            "cost_h": choice.cost_h,
        }
        why |= seen.expected(choice.x, choice.looks)
        why |= seen.noise.to_why(
            tuple(self.look_h), choice.x, (why["mean"] - seen.middle) / seen.unit
        )
        if not np.all(np.isfinite(list(why.values()))):
            raise PlanningFailed(self.name, f"not finite at the point found: {why}")
        memo = {name: _recall(model) for name, model in slacks.items()}
        return Proposal(
            x=x, why=why, memo={_MEMO: memo | {"y": {"looks": seen.belief.likeliest.tolist()}}}
        )

    def moments(self, known: Known, x: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the objective at points, everything looked at.

        Args:
            known: with two experiments or more.
            x: where, shape (c, d), unit cube; its looks do not matter.
        """
        axes = _Axes.of(known.space, tuple(self.look_h))
        seen = _Seen.of(axes, known, dict(known.memo.get(_MEMO, {}).get("y", {})))
        there = Rows.of_value(x[:, axes.knobs], len(axes.names))
        sd = seen.unit * np.sqrt(seen.belief.variance(there))
        return seen.middle + seen.unit * seen.belief.mean(there), sd

    def belief(self, known: Known, x: Floats) -> Mapping[str, Floats]:
        """Return mean and sd of the objective at x, shape (n, d): what all looks together would say."""
        self.prepare()
        mean, sd = self.moments(known, x)
        return {"mean": mean, "sd": sd}

    def _costs_h(self, axes: "_Axes") -> Floats:
        hours = np.array([self.look_h[name] for name in axes.names])
        total: Floats = self.base_h + axes.sets @ hours
        return total


class _Axes:
    """Which axes are knobs, which are looks, and every set of looks."""

    def __init__(
        self, knobs: NDArray[np.int64], looks: NDArray[np.int64], names: tuple[str, ...]
    ) -> None:
        self.knobs, self.looks, self.names = knobs, looks, names
        self.sets = np.array(list(product((False, True), repeat=len(names))), dtype=bool)

    @classmethod
    def of(cls, space: Space, names: tuple[str, ...]) -> "_Axes":
        """Return the axes of a space.

        Raises:
            PlanningFailed: a look that is no axis.
        """
        missing = [name for name in names if name not in space.names]
        if missing:
            raise PlanningFailed("looking_bo", f"{missing} are looks, and not in {space.names}")
        looks = np.array([space.names.index(name) for name in names], dtype=np.int64)
        knobs = np.setdiff1d(np.arange(space.d), looks)
        return cls(knobs, looks, names)

    def opening(self, number: int) -> Floats:
        """Return the looks of an opening trial: all, none, one each; then none, to save hours."""
        patterns = np.vstack([np.ones(len(self.names)), self.sets[:1], np.eye(len(self.names))])
        chosen: Floats = patterns[number if number < len(patterns) else 1].astype(np.float64)
        return chosen

    def done(self, x: Floats) -> NDArray[np.bool_]:
        """Return what was looked at, shape (n, m), at points of shape (n, d)."""
        looked: NDArray[np.bool_] = x[:, self.looks] >= 0.5
        return looked

    def without_looks(self, known: Known) -> Known:
        """Return what is known of the knobs alone."""
        space = Space(tuple(known.space.dimensions[i] for i in self.knobs))
        return Known.of(
            space,
            known.x[:, self.knobs],
            known.y,
            y_sd=known.y_sd,
            slack=known.slack,
            slack_sd=known.slack_sd,
            pending=known.pending[:, self.knobs],
            proposal=known.proposal,
            campaign_seed=known.campaign_seed,
            memo=known.memo,
        )


@dataclass(frozen=True, eq=False)
class _Seen:
    """What trials have told: the belief, in units of the spread of their results.

    Args:
        belief: about the landscape and the discrepancies.
        noise: what each look is worth.
        middle, unit: of the results; the belief is about (result - middle) / unit.
        is_told_twice: a film that was looked at is judged without its looks as well.
        pending: trials under way, as rows of their own.
    """

    belief: AveragedBelief
    noise: LookNoise
    middle: float
    unit: float
    is_told_twice: bool
    pending: Rows | None = None

    @classmethod
    def of(cls, axes: _Axes, known: Known, memo: Mapping[str, Any]) -> "_Seen":
        """Return the belief after all that is known."""
        middle, unit = _scale(known.y[:, 0], known.y_sd[:, 0])
        y, sd = (known.y[:, 0] - middle) / unit, known.y_sd[:, 0] / unit
        x, looks = known.x[:, axes.knobs], axes.done(known.x)
        blind, blind_sd = (column / unit for column in _blind(known))
        blind = blind - middle / unit
        pairs = np.isfinite(blind) & looks.any(axis=1)
        if np.all(sd > 0):
            noise = _noise(x, looks, y, sd, np.where(pairs, blind_sd, np.nan))
        else:
            noise = LookNoise.same(_UNSTATED, looks.shape[1], x.shape[1])
            sd = np.full(len(y), _UNSTATED)
        left, hidden = noise.parts(x, looks, y)
        # as much as the trial itself has stated, in the proportions that all trials have
        ratio = sd**2 / (left + (hidden**2).sum(axis=1))
        left = left * ratio
        rows, values = Rows(x, np.ones(len(y)), hidden * np.sqrt(ratio)[:, None], left), y
        if pairs.any():
            away = noise.away(x, looks, y)
            # what was stated with and without the looks, where both are
            lost = np.where(blind_sd > sd, blind_sd**2 - sd**2, (away**2).sum(axis=1) * ratio)
            away *= np.sqrt(lost / np.maximum((away**2).sum(axis=1), _TINY))[:, None]
            told = Rows(x[pairs], np.zeros(pairs.sum()), away[pairs], left[pairs])
            rows, values = rows.with_rows(told), np.concatenate([y, (blind - y)[pairs]])
        rng = np.random.default_rng([known.seed, _DRAWS])
        belief = AveragedBelief.drawn(rows, values, memo, rng)
        seen = cls(belief, noise, middle, unit, bool(pairs.any()))
        if not len(known.pending):
            return seen
        x = known.pending[:, axes.knobs]
        mean = seen.belief.mean(Rows.of_value(x, len(axes.names)))
        asked = seen.asked(x, axes.done(known.pending), mean)
        pending = asked.result if asked.beside is None else asked.result.with_rows(asked.beside)
        return replace(seen, pending=pending)

    def asked(self, x: Floats, looks: NDArray[np.bool_], mean: Floats) -> Asked:
        """Return what trials would measure.

        Args:
            x: knobs, shape (c, d).
            looks: what is looked at, shape (c, m), or (m,) for all of them.
            mean: what is expected of them, shape (c,).
        """
        left, hidden = self.noise.parts(x, looks, mean)
        result = Rows(x, np.ones(len(x)), hidden, left)
        if not (self.is_told_twice and looks.any()):
            return Asked(result)
        away = self.noise.away(x, looks, mean)
        return Asked(result, Rows(x, np.zeros(len(x)), away, left))

    def expected(self, x: Floats, looks: NDArray[np.bool_]) -> dict[str, float]:
        """Return what is believed of a point, in the units of the objective.

        `bias` is by how much a trial without any look would overstate it, `bias_sd` how well that is
        known, `noise_sd` how far the trial as asked may stray beside what it leaves hidden.
        """
        at = x[None]
        value = Rows.of_value(at, looks.size)
        mean = self.belief.mean(value)
        asked = self.asked(at, looks, mean).result
        _, hidden = self.noise.parts(at, np.zeros(looks.size, dtype=bool), mean)
        bias = Rows(at, np.zeros(1), hidden, np.zeros(1))
        told = {
            "mean": self.middle + self.unit * mean[0],
            "sd": self.unit * self.belief.variance(value)[0] ** 0.5,
            "bias": self.unit * self.belief.mean(bias)[0],
            "bias_sd": self.unit * self.belief.variance(bias)[0] ** 0.5,
            "noise_sd": self.unit * float(self.belief.noise(asked)[0]) ** 0.5,
        }
        return {name: float(value) for name, value in told.items()}


_TINY = 1e-30
_UNSTATED = 0.05
"""Deviation of trials that state none, in units of the spread: the fit adds what it finds."""


def _scale(y: Floats, y_sd: Floats) -> tuple[float, float]:
    """Return middle and spread of results; those that stray more than a quarter count for less."""
    weights = np.ones(len(y))
    if np.all(y_sd > 0):
        weights = 1.0 / (y_sd**2 + np.quantile(y_sd, 0.25) ** 2)
    middle = float(np.average(y, weights=weights))
    return middle, float(np.sqrt(np.average((y - middle) ** 2, weights=weights))) or 1.0


def _blind(known: Known) -> tuple[Floats, Floats]:
    """Return what each trial would have said without a look, and its deviation, both of shape (n,).

    NaN where it is not known, a deviation of 0 where none is stated.
    """
    found = known.features.get(BLIND)
    if found is None:
        return np.full(known.n, np.nan), np.zeros(known.n)
    return found[:, 0], np.nan_to_num(found[:, 1])


def _noise(
    x: Floats, looks: NDArray[np.bool_], y: Floats, sd: Floats, blind_sd: Floats
) -> LookNoise:
    """Return how well trials measure, learned from what is stated with looks and without them."""
    more = blind_sd > 0
    return LookNoise.learned(
        np.vstack([x, x[more]]),
        np.vstack([looks, np.zeros_like(looks[more])]),
        np.concatenate([y, y[more]]),
        np.concatenate([sd, blind_sd[more]]),
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Choice:
    """A point of the knobs with its looks, and what speaks for it."""

    x: Floats
    looks: NDArray[np.bool_]
    value: float
    unlooked: float
    cost_h: float


class _Search:
    """The largest log gain per hour over points and sets of looks."""

    def __init__(
        self,
        known: Known,
        axes: _Axes,
        seen: _Seen,
        slacks: Mapping[str, Any],
        costs_h: Floats,
    ) -> None:
        self._known, self._axes, self._seen = known, axes, seen
        self._slacks, self._costs_h = slacks, costs_h
        belief = seen.belief if seen.pending is None else seen.belief.waiting_for(seen.pending)
        self._beliefs = belief.members
        self._rng = np.random.default_rng(known.seed)
        self._net = self._rng.random((_COARSE, known.d))
        self._places = [self._promising(belief) for belief in self._beliefs]

    def best(self) -> _Choice:
        """Return the best of a coarse net, refined around its best by ever smaller steps."""
        x = self._net
        width, unlooked = 0.2, -np.inf
        for _ in range(_ROUNDS):
            scores = self._scores(x)
            unlooked = max(unlooked, float(scores[:, 0].max()))
            leaders = x[np.argsort(-scores.max(axis=1), kind="stable")[:_KEPT]]
            steps = self._rng.normal(0.0, width, (_KEPT, _AROUND, self._known.d))
            around = np.clip(leaders[:, None] + steps, 0.0, 1.0).reshape(-1, self._known.d)
            x, width = np.vstack([leaders, around]), width / 2.5
        scores = self._scores(x)
        row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
        return _Choice(
            x=x[row],
            looks=self._axes.sets[column],
            value=float(scores[row, column]),
            unlooked=max(unlooked, float(scores[:, 0].max())),
            cost_h=float(self._costs_h[column]),
        )

    def _promising(self, belief: LookBelief) -> Rows:
        """Return where one might choose in the end: of a net and of all trials, what has most hope."""
        everywhere = Rows.of_value(np.vstack([self._net, self._known.x]), len(self._axes.names))
        hope = belief.mean(everywhere) + 2.0 * np.sqrt(belief.variance(everywhere))
        kept = np.argsort(-hope, kind="stable")[:_PLACES]
        return Rows.of_value(everywhere.x[kept], len(self._axes.names))

    def _scores(self, x: Floats) -> Floats:
        """Return log gain per hour of candidates (c, d) with each set of looks, shape (c, s)."""
        m = len(self._axes.names)
        gains = np.zeros((len(x), len(self._axes.sets)))
        value = Rows.of_value(x, m)
        for belief, places in zip(self._beliefs, self._places, strict=True):
            mean, elsewhere = belief.mean(value), belief.mean(places)
            asked = [self._seen.asked(x, looks, mean) for looks in self._axes.sets]
            for s, told in enumerate(belief.through(asked, places)):
                gain = _gain(elsewhere, told, mean)
                gains[:, s] += gain / len(self._beliefs)
        feasible = self._feasible(x)
        scores: Floats = (
            np.log(np.maximum(gains * feasible[:, None], 1e-300)) - np.log(self._costs_h)[None, :]
        )
        return scores

    def _feasible(self, x: Floats) -> Floats:
        """Return the chance of keeping every condition, shape (c,)."""
        import torch

        chance = np.ones(len(x))
        for model in self._slacks.values():
            with torch.no_grad():
                there = model.posterior(torch.as_tensor(x))
            means, sds = there.mean[:, 0].cpu().numpy(), there.variance[:, 0].sqrt().cpu().numpy()
            chance *= [_above_zero(m, s) for m, s in zip(means, sds, strict=True)]
        return chance


def _gain(elsewhere: Floats, told: Told, mean: Floats) -> Floats:
    """Return what one or two numbers of each candidate are worth, shape (c,)."""
    if len(told.own) == 1:
        alone, variance = told.covariances[0], told.within[:, 0, 0]
        return knowledge_gradient(elsewhere, alone, variance, _NO_MORE, (mean, told.own[0]))[:, 0]
    first, second = told.covariances
    own = (mean, (told.own[0], told.own[1]))
    return pair_gradient(elsewhere, (first, second), told.within, own)
