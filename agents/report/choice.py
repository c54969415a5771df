"""Why a point was chosen: the planner's own words, told apart by who answered."""

import math
from enum import StrEnum

from twinloop.agents.campaign.events import Proposed, TrialEnded

__all__ = ["Choice", "choice_of", "predicted", "reasons", "surprise"]

_SPREAD = {"opening", "initial"}
_NOT_FIGURES = {"mean", "sd", "rung", "fell", "fallback", "pending", "initial"}
# what the section on theory tells; the table of trials has no room for it
_OF_THEORY = {
    "theory_mean", "theory_sd", "bare_theory_mean", "plain_mean", "plain_sd", "simulations",
    "gain_per_h", "simulation_gain_per_h", "emulator_sd", "emulator_loo_rmse", "discrepancy_sd",
    "discrepancy_relative", "discrepancy_absolute", "loss",
}  # fmt: skip


class Choice(StrEnum):
    """Who chose a point."""

    OPENING = "opening"
    MODEL = "model"
    FALLBACK = "fallback"
    OTHER = "planner"


def choice_of(proposed: Proposed | None) -> Choice:
    """Return who chose: an opening without model, a model, a fallback, or a planner without model."""
    if proposed is None:
        return Choice.OTHER
    why = proposed.why
    rung = str(why.get("rung", proposed.memo.get("rung", "")))
    if "fallback" in why or "fell" in why or rung in {"cold", "sobol"}:
        return Choice.FALLBACK
    if rung == "opening" or _SPREAD & set(why):
        return Choice.OPENING
    return Choice.OTHER if predicted(proposed) is None else Choice.MODEL


def predicted(proposed: Proposed | None) -> tuple[float, float] | None:
    """Return mean and standard deviation of y that the planner expected, or None."""
    if proposed is None:
        return None
    mean, sd = proposed.why.get("mean"), proposed.why.get("sd")
    if not isinstance(mean, int | float) or not isinstance(sd, int | float):
        return None
    return float(mean), float(sd)


def surprise(proposed: Proposed | None, ended: TrialEnded | None) -> float | None:
    """Return measured minus expected, in standard deviations of both together; None without both."""
    expected = predicted(proposed)
    if expected is None or ended is None or ended.y is None:
        return None
    sd = math.hypot(expected[1], ended.y_sd)
    return (ended.y - expected[0]) / sd if sd > 0 else None


def reasons(proposed: Proposed | None) -> list[tuple[str, float | str]]:
    """Return the figures of the choice that are not shown elsewhere: acquisition, fallback reason."""
    if proposed is None:
        return []
    figures = [(k, v) for k, v in proposed.why.items() if k not in _NOT_FIGURES | _OF_THEORY]
    told = [(k, v) for k, v in proposed.why.items() if k in {"fallback", "fell"}]
    return [*figures, *told]
