"""Calibration: what all experiments together say of the parameters of the theory.

Everything an observation carries counts: the objective and every other observable that theory
predicts. With f the emulator, less a loss that it may not know in the objective (`loss.py`), and i
an experiment,

    y_iq = f_q(x_i, theta) + delta_iq,   delta_iq ~ Student-t(4, scale s_iq),
    s_iq^2 = noise_iq^2 + emulator_iq^2 + (tau_g r_q)^2,

r_q being the spread of the predictions of each observable, in its own unit, and tau_g the learned
scale of the discrepancy as a share of it, one of the objective and one of all others, with
ln tau ~ N(ln 0.03, 1). The modes are found by L-BFGS from several
starts; samples are drawn from a Student-t around each and weighted, so that the posterior may have
several modes and deviate from the Gaussian form; where the weights degenerate, the proposal is
adapted.

Source: Kennedy & O'Hagan, J. R. Stat. Soc. B 63, 425 (2001), doi:10.1111/1467-9868.00294 (the
model); Cappe et al., Stat. Comput. 18, 447 (2008), doi:10.1007/s11222-008-9059-x (adaptive
importance sampling).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twinloop.planners.known import Known
from twinloop.planners.simulations import Theory
from twinloop.planners.space import Floats
from twinloop.planners.theory.emulator import Emulator
from twinloop.planners.theory.loss import kept, n_loss

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Calibration", "Measured", "calibrate", "measured"]

_FREEDOM = 4.0
_TAU = 0.03
_TAU_SD = 1.0
_LOG_TAU = np.full(2, np.log(_TAU))
_ITERATIONS = 40
_STEP = 1e-3
_BLOCK = 8_000_000
"""Numbers of one array while the density is computed, 64 MB: draws x experiments x predictions x q."""

_DRAWS = 192
_PROPOSAL_FREEDOM = 6.0
_LEAST_SHARE = 0.15
_ADAPTATIONS = 3
_WIDEN = 1.15
_PRIOR_STARTS = 96
_DRAWN_STARTS = 3
_MOST_MODES = 4
_FAR, _NEAR = 1.5, 0.3  # prior deviations
_WORSE = 7.0
"""A mode so much lower, in ln posterior, carries no weight."""


@dataclass(frozen=True)
class Measured:
    """What experiments measured of the observables of theory.

    Args:
        x: where, shape (n, d).
        values, sd: shape (n, q); the objective first, as measured (not turned round).
        is_there: False where a trial did not measure it, shape (n, q).
    """

    x: Floats
    values: Floats
    sd: Floats
    is_there: np.ndarray[Any, np.dtype[np.bool_]]


def measured(known: Known, theory: Theory, scatter: Floats) -> Measured:
    """Return the observations; a standard deviation is at least the simulator's own scatter.

    Args:
        known: what is known.
        theory: its theory.
        scatter: of the simulator from film to film, shape (q,): experiments have it too.
    """
    sign = 1.0 if theory.is_maximised else -1.0
    parts = [np.hstack([sign * known.y, known.y_sd])]
    parts += [known.features[name] for name in theory.observables[1:]]
    values = np.stack([part[:, 0] for part in parts], axis=1)
    sd = np.stack([part[:, 1] for part in parts], axis=1)
    is_there = np.isfinite(values) & np.isfinite(sd)
    return Measured(
        known.x,
        np.where(is_there, values, 0.0),
        np.maximum(np.where(is_there, sd, 1.0), scatter),
        is_there,
    )


@dataclass(frozen=True)
class Calibration:
    """Samples of the posterior.

    Args:
        z: parameters in units of their prior, shape (s, t), equally weighted.
        loss: parameters of the unknown loss in units of their prior, shape (s, 1 + d).
        tau: scale of the discrepancy of the objective and of the others, geometric mean, as a
            share of the spread of the predictions [1].
        mode: of ln posterior, shape (t + 2 + 1 + d,): z, ln tau and the loss.
        effective: share of the draws that carries weight.
    """

    z: Floats
    loss: Floats
    tau: tuple[float, float]
    mode: Floats
    effective: float

    def summary(self, theory: Theory) -> dict[str, Any]:
        """Return mean and standard deviation of each parameter, in its own unit, as JSON."""
        priors = list(theory.priors.values())
        mean, sd = self.z.mean(axis=0), self.z.std(axis=0)
        return {
            "names": list(theory.names),
            "mean": [_short(p.mean + p.sd * m) for p, m in zip(priors, mean, strict=True)],
            "sd": [_short(p.sd * s) for p, s in zip(priors, sd, strict=True)],
            "prior_mean": [p.mean for p in priors],
            "prior_sd": [p.sd for p in priors],
            "tau": [_short(t) for t in self.tau],
            "effective": _short(self.effective),
        }


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def calibrate(
    found: Measured, emulator: Emulator, theory: Theory, seed: int, start: Sequence[float] = ()
) -> Calibration:
    """Return the posterior; without an observation, the prior.

    Args:
        found: the observations.
        emulator: of the theory.
        theory: its priors.
        seed: of the draws.
        start: mode of an earlier calibration, to begin the search at.
    """
    rng = np.random.default_rng(seed)
    t, lost = len(theory.names), n_loss(found.x.shape[1])
    if len(found.x) == 0:
        z = _inside(rng.standard_normal((_DRAWS, t)), theory)
        mode = np.r_[np.zeros(t), _LOG_TAU, np.zeros(lost)]
        return Calibration(z, rng.standard_normal((_DRAWS, lost)), (_TAU, _TAU), mode, 1.0)
    posterior = _Posterior(found, emulator, theory)
    # the emulator's error is another one at the modes than at the prior's mean
    first = posterior.find_modes(posterior.starts(rng, start))
    posterior.take_error_at(first[0])
    modes = posterior.find_modes(first)
    parts = [_Part(mode, posterior.covariance_at(mode)) for mode in modes]
    draws, weights, effective = np.zeros((0, t + 2 + lost)), np.zeros(0), 0.0
    for _ in range(_ADAPTATIONS):
        draws = np.vstack([part.draw(rng, -(-_DRAWS // len(parts))) for part in parts])
        proposal = np.logaddexp.reduce([part.log_density(draws) for part in parts], axis=0)
        logs = posterior.log_density(draws) - proposal
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        effective = float(1.0 / (weights**2).sum() / len(draws))
        if effective >= _LEAST_SHARE:
            break
        # where few draws carry all weight, more are drawn there; the wide parts stay beside
        center = weights @ draws
        off = draws - center
        around = (off * weights[:, None]).T @ off
        parts = [*parts, _Part(center, 0.5 * around + 0.5 * parts[0].covariance)]
    chosen = draws[_systematic(weights, _DRAWS, rng)]
    tau = np.exp(chosen[:, t : t + 2].mean(axis=0))
    return Calibration(
        _inside(chosen[:, :t], theory),
        chosen[:, t + 2 :],
        (float(tau[0]), float(tau[1])),
        modes[0],
        effective,
    )


class _Part:
    """One Student-t of the distribution that is drawn from.

    Args:
        center: shape (p,).
        covariance: of the Gaussian that it widens, shape (p, p).
    """

    def __init__(self, center: Floats, covariance: Floats) -> None:
        self.center, self.covariance = center, covariance
        self._root = np.linalg.cholesky(covariance * _WIDEN**2 + 1e-10 * np.eye(len(center)))

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Return n draws, shape (n, p)."""
        normal = rng.standard_normal((n, len(self.center)))
        scale = np.sqrt(_PROPOSAL_FREEDOM / rng.chisquare(_PROPOSAL_FREEDOM, (n, 1)))
        drawn: Floats = self.center + scale * normal @ self._root.T
        return drawn

    def log_density(self, places: Floats) -> Floats:
        """Return ln of the density up to a constant that all parts share, shape (n,)."""
        standard = ((np.linalg.solve(self._root, (places - self.center).T)) ** 2).sum(axis=0)
        power = 0.5 * (_PROPOSAL_FREEDOM + len(self.center))
        width = float(np.log(np.diag(self._root)).sum())
        log: Floats = -power * np.log1p(standard / _PROPOSAL_FREEDOM) - width
        return log


def _apart(places: Sequence[Floats], distance: float, most: int) -> list[Floats]:
    """Return the first places that are not within a distance of an earlier one, in any direction."""
    kept: list[Floats] = []
    for place in places:
        if len(kept) < most and all(np.abs(place - k).max() > distance for k in kept):
            kept.append(place)
    return kept


def _systematic(
    weights: Floats, n: int, rng: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return n rows drawn by weight, with as little chance as can be."""
    places = (rng.random() + np.arange(n)) / n
    rows = np.searchsorted(np.cumsum(weights), places)
    return np.minimum(rows, len(weights) - 1)


def _bounds(theory: Theory) -> tuple[Floats, Floats]:
    priors = list(theory.priors.values())
    low = np.array([(p.at_least - p.mean) / p.sd for p in priors])
    high = np.array([(p.at_most - p.mean) / p.sd for p in priors])
    return low, high


def _inside(z: Floats, theory: Theory) -> Floats:
    low, high = _bounds(theory)
    clipped: Floats = np.clip(z, low, high)
    return clipped


class _Posterior:
    """ln posterior of (z, ln tau_objective, ln tau_others, loss) and its gradient."""

    def __init__(self, found: Measured, emulator: Emulator, theory: Theory) -> None:
        import torch

        self._emulator, self._t = emulator, len(theory.names)
        self._lost = n_loss(found.x.shape[1])
        self._worst = emulator.worst(is_maximised=theory.is_maximised)
        self._x = torch.as_tensor(found.x)
        self._values = torch.as_tensor(found.values)
        self._is_there = torch.as_tensor(found.is_there)
        self._found = found
        self.take_error_at(np.zeros(self._t))
        self._log_tau = torch.as_tensor(_LOG_TAU)
        self._spread = torch.as_tensor(emulator.spread)
        low, high = _bounds(theory)
        self._low, self._high = torch.as_tensor(low), torch.as_tensor(high)

    def take_error_at(self, place: Floats) -> None:
        """Take the emulator's error at one set of parameters for all."""
        import torch

        n, q = self._found.values.shape
        own = self._emulator.coordinates.of(self._found.x, np.tile(place[: self._t], (n, 1)))
        error = torch.stack([self._emulator.sd(own, column) for column in range(q)], dim=1)
        self._variance = torch.as_tensor(self._found.sd) ** 2 + error**2

    def log_density(self, draws: Floats) -> Floats:
        """Return ln posterior up to a constant, shape (s,); draws of shape (s, t + 2 + 1 + d)."""
        import torch

        with torch.no_grad():
            parts = [
                self._log(torch.as_tensor(block)).cpu().numpy() for block in self._blocks(draws)
            ]
        return np.concatenate(parts)

    def _blocks(self, draws: Floats) -> list[Floats]:
        """Return the draws in as many parts as keep the memory bounded."""
        each = max(1, self._is_there.numel() * self._emulator.m)
        n = -(-len(draws) * each // _BLOCK)
        return np.array_split(draws, min(max(n, 1), len(draws)))

    def starts(self, rng: np.random.Generator, start: Sequence[float]) -> list[Floats]:
        """Return where a search for modes begins.

        At the prior's mean, at `start`, and at the best draws of the prior that are not near each
        other: one film may be what it is for opposite reasons.
        """
        tail = np.r_[_LOG_TAU, np.zeros(self._lost)]
        found = [np.r_[np.zeros(self._t), tail]]
        if len(start) == len(found[0]):
            found.append(np.asarray(start, dtype=np.float64))
        z = rng.standard_normal((_PRIOR_STARTS, self._t))
        drawn = np.hstack([z, np.tile(tail, (_PRIOR_STARTS, 1))])
        order = np.argsort(-self.log_density(drawn), kind="stable")
        return found + _apart([drawn[row] for row in order], _FAR, _DRAWN_STARTS)

    def find_modes(self, starts: Sequence[Floats]) -> list[Floats]:
        """Return the modes found, the best first, none of them far below it or near another."""
        from botorch.optim.batched_lbfgs_b import fmin_l_bfgs_b_batched

        # all starts side by side: a batch costs hardly more than one of them
        found = fmin_l_bfgs_b_batched(  # type: ignore[no-untyped-call]
            self._cost, np.stack(starts), maxiter=_ITERATIONS
        )
        places, costs = np.asarray(found[0]), np.asarray(found[1])
        order = np.argsort(costs, kind="stable")
        near_best = [places[row] for row in order if costs[row] <= costs[order[0]] + _WORSE]
        return _apart(near_best, _NEAR, _MOST_MODES)

    def covariance_at(self, mode: Floats) -> Floats:
        """Return the inverse of the Hessian of the cost, by differences of the gradient."""
        steps = _STEP * np.eye(len(mode))
        _, gradients = self._cost(np.vstack([mode + steps, mode - steps]))
        hessian = (gradients[: len(mode)] - gradients[len(mode) :]) / (2 * _STEP)
        values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
        # no direction is believed to be looser than three priors, or tighter than a hundredth
        variances = 1.0 / np.clip(values, 1.0 / 9.0, 1e4)
        covariance: Floats = (vectors * variances) @ vectors.T
        return covariance

    def _cost(self, places: Floats) -> tuple[Floats, Floats]:
        """Return -ln posterior, shape (b,), and its gradient, shape (b, p), at places (b, p)."""
        import torch

        costs, gradients = [], []
        for block in self._blocks(places):
            points = torch.tensor(block, requires_grad=True)
            cost = -self._log(points)
            cost.sum().backward()  # type: ignore[no-untyped-call]
            gradient = torch.zeros_like(points) if points.grad is None else points.grad
            costs.append(cost.detach().cpu().numpy())
            gradients.append(gradient.cpu().numpy())
        return np.concatenate(costs), np.concatenate(gradients)

    def _log(self, draws: "Tensor") -> "Tensor":
        import torch

        s, n = len(draws), len(self._x)
        z, log_tau = draws[:, : self._t], draws[:, self._t : self._t + 2]
        loss = draws[:, self._t + 2 :]
        inside = torch.minimum(torch.maximum(z, self._low), self._high)
        prior = -0.5 * (z**2).sum(1) - 0.5 * (loss**2).sum(1)
        off = log_tau - self._log_tau
        prior = prior - 0.5 * ((off / _TAU_SD) ** 2).sum(1)
        inputs = self._emulator.coordinates.of_tensors(
            self._x.repeat(s, 1), inside.repeat_interleave(n, dim=0)
        )
        expected = self._emulator.mean(inputs).reshape(s, n, -1)
        left = self._worst + (expected[:, :, 0] - self._worst) * kept(self._found.x, loss)
        expected = torch.cat([left[:, :, None], expected[:, :, 1:]], dim=2)
        tau = log_tau.exp()
        q = expected.shape[2]
        shares = torch.cat([tau[:, :1], tau[:, 1:2].expand(-1, q - 1)], dim=1)
        variance = self._variance + (shares * self._spread)[:, None, :] ** 2
        standard = (self._values - expected) ** 2 / variance
        log = -0.5 * (_FREEDOM + 1.0) * torch.log1p(standard / _FREEDOM) - 0.5 * variance.log()
        return prior + torch.where(self._is_there, log, torch.zeros_like(log)).sum((1, 2))


def remembered_mode(memo: Mapping[str, Any]) -> Sequence[float]:
    """Return the mode that an earlier calibration left in the memo; () for none."""
    found = memo.get("mode", ())
    return [float(v) for v in found]
