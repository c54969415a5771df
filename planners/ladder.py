"""The fallback ladder: what proposes when a planner cannot, so that no worker waits for a fit.

1. ``planner``: the planner's own answer (``opening`` where no model was needed);
2. ``cold``: the planner again, without what it remembered (a warm start may lead a fit astray);
3. ``sobol``: the next point of an even spread.

A rung is left when the numerics fail (a fit without result, a matrix that is not positive definite,
NaN) or when the answer repeats a pending point. The rung that answered stands in
`Proposal.why["rung"]` and `Proposal.memo["rung"]`; why the higher ones did not, in `why["fell"]`.
A mistake of the planner, such as a point outside the cube, is an error and no reason to fall.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np

from twinloop.errors import BadProposal, PlanningFailed
from twinloop.planners.digital_net import sobol, sobol_point
from twinloop.planners.known import EXPERIMENT, Known, Proposal
from twinloop.planners.seeding import seeded
from twinloop.planners.space import Floats

__all__ = ["REPEAT_DISTANCE", "Rung", "descend", "recalls", "repeats_pending"]

REPEAT_DISTANCE = 1e-6  # Euclidean, in the unit cube
_SNAP = 1e-9  # an optimiser's rounding at a face of the cube

# Known by name, so that nothing is imported that the planner does not use.
_FAILURES = (
    ("botorch.exceptions.errors", "ModelFittingError"),
    ("botorch.exceptions.errors", "OptimizationGradientError"),
    ("botorch.exceptions.errors", "CandidateGenerationError"),
    ("linear_operator.utils.errors", "NanError"),
    ("linear_operator.utils.errors", "NotPSDError"),
    ("torch.linalg", "LinAlgError"),
)


class Rung(StrEnum):
    """Who answered."""

    OPENING = "opening"
    PLANNER = "planner"
    COLD = "cold"
    SOBOL = "sobol"


Attempt = tuple[Rung, Callable[[Known], Proposal], Known]


def descend(planner: str, known: Known, attempts: Sequence[Attempt]) -> Proposal:
    """Return the first answer that can be used, from the top rung down.

    Args:
        planner: its name, for errors.
        known: what the proposal is for.
        attempts: rung, who proposes there, and what it is told.

    Raises:
        BadProposal: an answer with another shape, outside the cube, or for no source.
    """
    fell: list[str] = []
    for rung, propose, told in attempts:
        try:
            with seeded(known.seed):
                proposal = _checked(planner, propose(told), known)
        except _failures() as err:
            reason = err.reason if isinstance(err, PlanningFailed) else str(err)
            fell.append(
                f"{rung}: {type(err).__name__}: {reason.strip().partition(chr(10))[0][:160]}"
            )
            continue
        return _signed(proposal, rung, fell)
    return _signed(Proposal(x=_free_sobol(known)), Rung.SOBOL, fell)


def recalls(known: Known) -> bool:
    """Return whether the memo holds more than the name of the last rung."""
    return bool(set(known.memo) - {"rung"})


def repeats_pending(x: Floats, known: Known) -> bool:
    """Return whether `x`, shape (d,), is a point that is under way already."""
    distances = np.linalg.norm(known.pending - x, axis=1)
    return bool(np.any(distances < REPEAT_DISTANCE))


def _checked(planner: str, proposal: Proposal, known: Known) -> Proposal:
    """Return the proposal with rounding at the faces of the cube taken off."""
    if not isinstance(proposal, Proposal):
        raise BadProposal(planner, "an object", type(proposal).__name__, "a Proposal")
    x = proposal.x
    if x.shape != (known.d,):
        raise BadProposal(planner, "x of shape", x.shape, f"({known.d},)")
    if not np.all(np.isfinite(x)):
        raise PlanningFailed(planner, "the proposed x is not finite")
    if np.any((x < -_SNAP) | (x > 1.0 + _SNAP)):
        raise BadProposal(planner, "x", x.tolist(), "0 to 1 in each dimension")
    if proposal.source != EXPERIMENT and not proposal.simulations:
        raise BadProposal(
            planner, "source", proposal.source, "experiment, or a simulator's name and simulations"
        )
    for request in proposal.simulations:
        if request.x.shape != (known.d,) or np.any((request.x < 0.0) | (request.x > 1.0)):
            raise BadProposal(planner, "a simulation at", request.x.tolist(), "a point of the cube")
    # Adding zero turns -0.0 into 0.0, which has other bits.
    snapped = np.where(x < _SNAP, 0.0, np.where(x > 1.0 - _SNAP, 1.0, x)) + 0.0
    if proposal.source == EXPERIMENT and repeats_pending(snapped, known):
        raise PlanningFailed(planner, "the proposed x is pending already")
    return replace(proposal, x=snapped)


def _signed(proposal: Proposal, rung: Rung, fell: Sequence[str]) -> Proposal:
    why: dict[str, float | str] = {**proposal.why, "rung": rung.value}
    if fell:
        why["fell"] = "; ".join(fell)
    return replace(proposal, why=why, memo={**proposal.memo, "rung": rung.value})


def _free_sobol(known: Known) -> Floats:
    """Return this proposal's Sobol point, or, where it is pending, the first free one of its own."""
    x = sobol(known)
    index = 0
    while repeats_pending(x, known):
        x = sobol_point(known.d, index, seed=known.seed)
        index += 1
    return x


def _failures() -> tuple[type[Exception], ...]:
    """Return the exceptions that mean the numerics failed, of the libraries that are loaded."""
    found = [
        getattr(sys.modules[module], name)
        for module, name in _FAILURES
        if module in sys.modules and hasattr(sys.modules[module], name)
    ]
    return (PlanningFailed, ArithmeticError, np.linalg.LinAlgError, *found)
