"""Decide what to make and what is worth looking at, each look at its cost in hours.

The search space has, beside the knobs of an experiment, one axis for each look that a trial may do or
leave: from 0 to 1, done at one half or above (`look_stm`). A trial always measures something; a look
makes its result more precise and costs hours. This planner asks for the point and the set of looks
with the largest expected gain per hour (`knowledge_gradient`): coarse and cheap where much is unknown,
a careful look where two good films are to be told apart, none where nothing is to be gained by it.

A gain that is wide of the truth misleads a planner of this sort more than one that adds a bonus for
the unknown: a fit to a handful of trials may be sure of a landscape that is smoother than the true one.
So the gain is averaged over shorter length scales too, each weighed by how well it explains what was
seen (Snoek, Larochelle & Adams, NeurIPS 25, 2951 (2012), integrated acquisition).
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinloop.errors import PlanningFailed
from twinloop.planners.interface import Known, Proposal, sobol
from twinloop.planners.knowledge_gradient import LookNoise, condition, knowledge_gradient
from twinloop.planners.plain_bo import (
    PlainBO,
    _above_zero,
    _columns,
    _expected,
    _fitted,
    _in_unit,
    _recall,
    expected_warnings,
)
from twinloop.planners.space import Floats, Space

__all__ = ["LookingBO"]

_COARSE = 256
_AROUND = 24
_ROUNDS = 4
_KEPT = 8
_PLACES = 96
_MOST_LOOKS = 5
_MEMO = "hyperparameters"
_SHORTER = (1.0, 0.7, 0.5, 0.35)
"""Length scales that are considered, in units of the fitted ones [1]."""


class LookingBO(PlainBO, name="looking_bo"):
    """Ask for the point and the looks whose expected gain per hour is largest.

    The first trials look at everything, at nothing, and at one thing each, so that it becomes known
    what each look is worth; others of the opening look at nothing. Their points are Sobol points.

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

    version: ClassVar[int] = 1

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
        unit, scaled = _in_unit(known)
        knobs = axes.without_looks(scaled)
        with expected_warnings(), torch.device(self.device):
            models = {n: _fitted(n, knobs, *c) for n, c in _columns(knobs).items()}
            noise = _noise(axes, scaled, models["y"])
            beliefs = _shorter(models["y"])
            waiting = axes.done(scaled.pending)
            search = _Search(knobs, axes, models, beliefs, noise, self._costs_h(axes), waiting)
            choice = search.best()
        x = np.empty(known.d)
        x[axes.knobs], x[axes.looks] = choice.x, choice.looks
        mean, sd = _expected(models["y"], choice.x)
        why = {
            "log_gain_per_h": choice.value + float(np.log(unit)),
            "mean": unit * mean,
            "sd": unit * sd,
            "pending": float(len(known.pending)),
            "cost_h": choice.cost_h,
            "noise_sd": unit * choice.noise_sd,
        }
        why |= noise.to_why(tuple(self.look_h))
        if not np.all(np.isfinite(list(why.values()))):
            raise PlanningFailed(self.name, f"not finite at the point found: {why}")
        memo = {_MEMO: {name: _recall(model) for name, model in models.items()}}
        return Proposal(x=x, why=why, memo=memo)

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


def _noise(axes: _Axes, known: Known, model: Any) -> LookNoise:
    """Return what each look is worth; where trials state no deviation, what the model infers."""
    if known.n and np.all(known.y_sd > 0):
        return LookNoise.learned(axes.done(known.x), known.y[:, 0], known.y_sd[:, 0])
    variance = float(model.likelihood.noise.mean()) * float(known.y.var() or 1.0)
    return LookNoise.same(max(variance, 1e-12) ** 0.5, len(axes.names))


def _moments(model: Any, x: Floats) -> tuple[Floats, Floats]:
    """Return mean (n,) and covariance (n, n) of the objective at points (n, d), without noise."""
    import torch

    with torch.no_grad():
        there = model.posterior(torch.as_tensor(x))
        matrix = there.distribution.covariance_matrix
    return there.mean[:, 0].cpu().numpy(), matrix.cpu().numpy()


def _shorter(model: Any) -> list[tuple[float, Any]]:
    """Return models of shorter length scales with their weights, which add up to 1."""
    import torch
    from gpytorch.mlls import ExactMarginalLogLikelihood

    models, logs = [], []
    for factor in _SHORTER:
        other = deepcopy(model)
        with torch.no_grad():
            scales = other.covar_module.lengthscale * factor
            other.covar_module.lengthscale = scales.clamp_min(1e-3)
        other.train()
        likelihood = ExactMarginalLogLikelihood(other.likelihood, other)
        with torch.no_grad():
            told = likelihood(other(*other.train_inputs), other.train_targets)
        logs.append(float(told) * len(other.train_targets))
        models.append(other.eval())
    weights = np.exp(np.array(logs) - max(logs))
    return [(float(w), m) for w, m in zip(weights / weights.sum(), models, strict=True)]


class _Choice:
    """A point of the knobs with its looks, and what speaks for it."""

    def __init__(
        self, x: Floats, looks: NDArray[np.bool_], value: float, cost_h: float, noise_sd: float
    ) -> None:
        self.x, self.looks, self.value = x, looks, value
        self.cost_h, self.noise_sd = cost_h, noise_sd


class _Search:
    """The largest log gain per hour over points and sets of looks."""

    def __init__(
        self,
        known: Known,
        axes: _Axes,
        models: Mapping[str, Any],
        beliefs: Sequence[tuple[float, Any]],
        noise: LookNoise,
        costs_h: Floats,
        pending_looks: NDArray[np.bool_],
    ) -> None:
        self._pending_looks = pending_looks
        self._known, self._axes, self._models, self._costs_h = known, axes, models, costs_h
        self._beliefs = beliefs
        self._noise = noise
        self._rng = np.random.default_rng(known.seed)

    def best(self) -> _Choice:
        """Return the best of a coarse net, refined around its best by ever smaller steps."""
        x = self._rng.random((_COARSE, self._known.d))
        width = 0.2
        for _ in range(_ROUNDS):
            scores = self._scores(x)
            leaders = x[np.argsort(-scores.max(axis=1), kind="stable")[:_KEPT]]
            steps = self._rng.normal(0.0, width, (_KEPT, _AROUND, self._known.d))
            around = np.clip(leaders[:, None] + steps, 0.0, 1.0).reshape(-1, self._known.d)
            x, width = np.vstack([leaders, around]), width / 2.5
        scores = self._scores(x)
        row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
        mean, _ = _moments(self._models["y"], x[[row]])
        looks = self._axes.sets[column]
        return _Choice(
            x[row],
            looks,
            float(scores[row, column]),
            float(self._costs_h[column]),
            float(self._noise.noise_sd(looks[None], mean)[0, 0]),
        )

    def _scores(self, x: Floats) -> Floats:
        """Return log gain per hour of candidates (c, d) with each set of looks, shape (c, s)."""
        # One may choose a candidate in the end, or where an experiment was.
        places = self._known.x[-_PLACES:]
        pending = self._known.pending
        everything = np.vstack([x, places, pending])
        c, m = len(x), len(places)
        waiting = np.arange(c + m, len(everything), dtype=np.int64)
        gains = np.zeros((c, len(self._axes.sets)))
        for weight, model in self._beliefs:
            mean, covariance = _moments(model, everything)
            covariance = condition(covariance, waiting, self._sd_of_pending(mean[waiting]))
            gains += weight * knowledge_gradient(
                mean[: c + m],
                covariance[:c, : c + m],
                np.maximum(np.diag(covariance)[:c], 0.0),
                self._noise.noise_sd(self._axes.sets, mean[:c]),
            )
        feasible = self._feasible(x)
        scores: Floats = (
            np.log(np.maximum(gains * feasible[:, None], 1e-300)) - np.log(self._costs_h)[None, :]
        )
        return scores

    def _sd_of_pending(self, mean: Floats) -> Floats:
        """Return how well each trial under way will measure, shape (p,)."""
        table = self._noise.noise_sd(self._pending_looks, mean)
        return np.diag(table).copy()

    def _feasible(self, x: Floats) -> Floats:
        """Return the chance of keeping every condition, shape (c,)."""
        import torch

        chance = np.ones(len(x))
        for name, model in self._models.items():
            if name == "y":
                continue
            with torch.no_grad():
                there = model.posterior(torch.as_tensor(x))
            means, sds = there.mean[:, 0].cpu().numpy(), there.variance[:, 0].sqrt().cpu().numpy()
            chance *= [_above_zero(m, s) for m, s in zip(means, sds, strict=True)]
        return chance
