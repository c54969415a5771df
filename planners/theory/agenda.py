"""What to do next, for its cost: the best experiment, and the simulations that could change it.

The gain of an experiment is its expected improvement, averaged over the samples of the belief, with
the discrepancy's uncertainty and without the emulator's error, which no experiment is needed for. The
gain of a simulation is what its knowledge can change: with the emulator's error s at (x, theta) and
the gap u = |f(x, theta) - best| / s to the best place under the same theta, s (phi(u) - u Phi(-u)) is
what one gains by choosing between the two with f known instead of without. Each is divided by its
present cost.

Source: Jones, Schonlau & Welch, J. Global Optim. 13, 455 (1998), doi:10.1023/A:1008306431147
(expected improvement); Raiffa & Schlaifer, Applied Statistical Decision Theory (1961), ch. 5 (value
of information between two normal alternatives); Kennedy & O'Hagan, Biometrika 87, 1 (2000), doi:10.1093/biomet/87.1.1 (codes
of several costs).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twinloop.planners.known import Known, SimulationRequest
from twinloop.planners.simulations import Theory
from twinloop.planners.space import Floats
from twinloop.planners.theory.belief import TheoryBelief
from twinloop.planners.theory.design import to_theta, to_z

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Choice",
    "best_experiment",
    "gains_with_theory",
    "gains_without_theory",
    "unwanted",
    "wanted_simulations",
]

Moments = Callable[[Floats], tuple[Floats, Floats]]

_CANDIDATES = 640
_NEAR = 192
_ROUNDS = ((192, 0.06), (128, 0.02))
_HEADS = 4
_PLACES = 64
_RIVALS = 16
_FAR_SD = 5.0
_LEAST_SD = 1e-6
"""Part of the objective's spread that a standard deviation is at least."""


@dataclass(frozen=True)
class Choice:
    """The best experiment.

    Args:
        x: where, shape (d,).
        gain: expected improvement there.
        places: points worth a closer look, the best first, shape (p, d).
    """

    x: Floats
    gain: float
    places: Floats


def _improvement(mean: "Tensor", best: "Tensor", sd: "Tensor") -> "Tensor":
    """Return sd (phi(u) + u Phi(u)) with u = (mean - best) / sd, of the shape of `mean`."""
    import torch

    u = (mean - best) / sd
    density = torch.exp(-0.5 * u**2) / float(np.sqrt(2.0 * np.pi))
    return sd * (density + u * 0.5 * torch.erfc(-u / float(np.sqrt(2.0))))


def _information(gap: "Tensor", sd: "Tensor") -> "Tensor":
    """Return sd (phi(u) - u Phi(-u)) with u = |gap| / sd, of the shape of `gap`."""
    import torch

    return _improvement(-gap.abs(), torch.zeros_like(gap), sd)


def gains_with_theory(known: Known, belief: TheoryBelief, x: Floats) -> Floats:
    """Return the expected improvement at points, shape (c,); what is pending counts as done."""
    best = belief.best_measured
    if len(known.pending):
        # a pending point will give what is expected there: only more than that is an improvement
        best = best.maximum(belief.samples(known.pending)[0].max(dim=1).values)
    means, within = belief.samples(x)
    least = _LEAST_SD * float(belief.emulator.spread[0])
    found = _improvement(means, best[:, None], within.clamp_min(least)).mean(0)
    values: Floats = found.cpu().numpy()
    return values


def gains_without_theory(known: Known, plain: Moments, x: Floats) -> Floats:
    """Return the expected improvement at points of a belief without theory, shape (c,).

    Args:
        known: with two experiments or more.
        plain: gives its mean and standard deviation at points.
        x: where, shape (c, d).
    """
    import torch

    taken = np.vstack([known.x, known.pending]) if len(known.pending) else known.x
    mean, sd = (torch.as_tensor(part) for part in plain(np.vstack([taken, x])))
    n = len(taken)
    least = _LEAST_SD * float(known.y.std()) or _LEAST_SD
    found = _improvement(mean[n:], mean[:n].max(), sd[n:].clamp_min(least))
    values: Floats = found.cpu().numpy()
    return values


def best_experiment(known: Known, belief: TheoryBelief, rng: np.random.Generator) -> Choice:
    """Return where an experiment is expected to gain most by theory."""

    def gains(x: Floats) -> Floats:
        return gains_with_theory(known, belief, x)

    x = rng.random((_CANDIDATES, known.d))
    if known.n:
        top = known.x[np.argsort(-known.y[:, 0])[:3]]
        near = top[rng.integers(len(top), size=_NEAR)]
        x = np.vstack([x, np.clip(near + 0.1 * rng.standard_normal(near.shape), 0.0, 1.0)])
    values = gains(x)
    for n, width in _ROUNDS:
        heads = x[np.argsort(-values)[:_HEADS]]
        around = heads[np.arange(n) % len(heads)] + width * rng.standard_normal((n, known.d))
        more = np.clip(around, 0.0, 1.0)
        x, values = np.vstack([x, more]), np.r_[values, gains(more)]
    order = np.argsort(-values, kind="stable")
    return Choice(x[order[0]], float(values[order[0]]), x[order[:_PLACES]])


def wanted_simulations(
    known: Known,
    theory: Theory,
    belief: TheoryBelief,
    choice: Choice,
    n: int,
    rng: np.random.Generator,
) -> tuple[SimulationRequest, ...]:
    """Return the `n` most valuable simulations, the best first, none of them near another.

    Args:
        known: what is known.
        theory: its theory.
        belief: the belief.
        choice: the best experiment, around which theory is worth knowing.
        n: how many at most.
        rng: draws the candidates.
    """
    import torch

    # where the next experiments may go, and where experiments were: there theory is held to them
    places = choice.places[rng.integers(len(choice.places), size=6 * _PLACES)]
    places = np.clip(places + 0.03 * rng.standard_normal(places.shape), 0.0, 1.0)
    if known.n:
        own = known.x[rng.integers(known.n, size=2 * _PLACES)]
        places = np.vstack([places, own])
    rows = rng.integers(len(belief.z), size=len(places))
    # the best that is believed in, sample by sample
    best = belief.samples(choice.places[:_RIVALS])[0].max(dim=1).values[rows]
    z = belief.z[rows]
    z = z + 0.3 * belief.z.std(axis=0) * rng.standard_normal(z.shape)
    emulator = belief.emulator
    inputs = emulator.coordinates.of(places, z)
    sd = emulator.sd(inputs, 0)
    if known.simulations.pending_x.size:
        pending = emulator.coordinates.of_theta(
            known.simulations.pending_x, known.simulations.pending_theta
        )
        sd = sd * _left(emulator.correlation(inputs, pending, 0)).min(dim=1).values
    mean = belief.sign * emulator.mean(inputs, 0)
    shift = belief.samples(places)[0].mean(0) - belief.theory(places).mean(0)
    gap = mean + shift - best
    chosen: list[SimulationRequest] = []
    is_free = torch.ones(len(places), dtype=torch.bool)
    for _ in range(n):
        gain = _information(gap, sd.clamp_min(_LEAST_SD * float(emulator.spread[0])))
        gain = torch.where(is_free, gain, torch.full_like(gain, -1.0))
        row = int(gain.argmax())
        chosen.append(
            SimulationRequest(
                x=places[row],
                theta=to_theta(z[row], theory),
                gain_per_h=float(gain[row]) / max(theory.simulation_h, 1e-6),
                why="refine",
            )
        )
        is_free &= (inputs != inputs[row]).any(dim=1)
        sd = sd * _left(emulator.correlation(inputs, inputs[row : row + 1], 0))[:, 0]
    return tuple(chosen)


def _left(correlation: "Tensor") -> "Tensor":
    """Return the part of a standard deviation that one more prediction leaves."""
    return (1.0 - 0.9 * correlation**2).clamp_min(0.0).sqrt()


def unwanted(known: Known, theory: Theory, belief: TheoryBelief) -> tuple[int, ...]:
    """Return the rows of pending simulations whose parameters are by now out of the question."""
    simulations = known.simulations
    if not len(simulations.pending_x) or not known.n:
        return ()
    z = to_z(simulations.pending_theta, theory)
    mean, sd = belief.calibration.z.mean(axis=0), belief.calibration.z.std(axis=0)
    off = np.abs(z - mean) / np.maximum(sd, 0.05)
    return tuple(int(row) for row in np.flatnonzero((off > _FAR_SD).any(axis=1)))
