"""The goal: from a trial's outcome to what a planner maximises."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from twinloop.errors import ArgumentError

__all__ = ["Constraint", "Goal", "Score"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """A field of the outcome that has to stay inside bounds, in its own unit."""

    field: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What a planner sees of an outcome: y to maximise, slack >= 0 where feasible."""

    y: float
    y_sd: float
    slack: tuple[float, ...] = ()
    slack_sd: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Goal:
    """Which field of the outcome counts, and which way.

    Args:
        field: name of the field.
        is_maximised: False to minimise it.
        noise_sd: standard deviation used when the outcome has no `<field>_sd`.
        constraints: bounds on other fields.

    Example:
        >>> Goal("roughness_ML", is_maximised=False).score({"roughness_ML": 0.4}).y
        -0.4
    """

    field: str
    is_maximised: bool = True
    noise_sd: float = 0.0
    constraints: tuple[Constraint, ...] = ()

    def score(self, outcome: Mapping[str, Any]) -> Score:
        """Return y, its standard deviation, and the slack of each bound.

        Raises:
            ArgumentError: a field that is no finite number, or a standard deviation below 0.
        """
        value = _number(outcome, self.field)
        slack, slack_sd = [], []
        for constraint in self.constraints:
            found = _number(outcome, constraint.field)
            sd = _sd(outcome, constraint.field, 0.0)
            if constraint.at_least is not None:
                slack.append(found - constraint.at_least)
                slack_sd.append(sd)
            if constraint.at_most is not None:
                slack.append(constraint.at_most - found)
                slack_sd.append(sd)
        return Score(
            y=value if self.is_maximised else -value,
            y_sd=_sd(outcome, self.field, self.noise_sd),
            slack=tuple(slack),
            slack_sd=tuple(slack_sd),
        )


def _number(outcome: Mapping[str, Any], field: str) -> float:
    found = outcome.get(field)
    if not isinstance(found, int | float) or not isfinite(found):
        raise ArgumentError(f"outcome {field}", found, "a finite number")
    return float(found)


def _sd(outcome: Mapping[str, Any], field: str, otherwise: float) -> float:
    if outcome.get(f"{field}_sd") is None:
        return otherwise
    found = _number(outcome, f"{field}_sd")
    if found < 0:
        raise ArgumentError(f"outcome {field}_sd", found, "0 or more")
    return found
