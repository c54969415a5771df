"""The first simulations: an even spread over the knobs and over what is believed of the parameters.

Needs no model and no library beyond numpy, so a conductor can ask for them while no worker is up.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from twinloop.ids import seed_of
from twinloop.planners.digital_net import sobol_point
from twinloop.planners.known import Known, SimulationRequest
from twinloop.planners.simulations import Theory
from twinloop.planners.space import Floats

__all__ = ["prior_design", "to_theta", "to_z"]

_WIDER = 1.2
"""Spread of the design over that of the prior: the posterior may lie in a tail."""

_INSIDE = 1e-4


def to_z(theta: Floats, theory: Theory) -> Floats:
    """Return parameters in units of their prior, (theta - mean) / sd, shape (..., t)."""
    mean = np.array([p.mean for p in theory.priors.values()])
    sd = np.array([p.sd for p in theory.priors.values()])
    z: Floats = (theta - mean) / sd
    return z


def to_theta(z: Floats, theory: Theory) -> dict[str, float]:
    """Return the parameters of one z, shape (t,), within the bounds of the prior."""
    return {
        name: float(min(max(p.mean + p.sd * value, p.at_least), p.at_most))
        for (name, p), value in zip(theory.priors.items(), z, strict=True)
    }


def prior_design(known: Known, rows: Sequence[int]) -> tuple[SimulationRequest, ...]:
    """Return these rows of the campaign's one even design.

    Args:
        known: with a theory.
        rows: numbers of the rows, from 0.
    """
    theory = known.theory
    if theory is None:
        return ()
    seed = seed_of(known.campaign_seed, "design of theory")
    normal = NormalDist()
    found = []
    for row in rows:
        point = sobol_point(known.d + len(theory.names), row, seed=seed)
        share = np.clip(point[known.d :], _INSIDE, 1.0 - _INSIDE)
        z = np.array([_WIDER * normal.inv_cdf(float(s)) for s in share])
        found.append(SimulationRequest(x=point[: known.d], theta=to_theta(z, theory), why="design"))
    return tuple(found)
