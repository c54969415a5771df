"""What a campaign wants, read from its configuration or, failing that, from its observations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinloop.agents.campaign.events import TrialEnded

__all__ = ["Aim", "Knob", "aim_of", "knobs_of"]


@dataclass(frozen=True, slots=True)
class Aim:
    """The objective and the bounds on other fields.

    Args:
        objective: name of the field that counts; "" when nothing tells it.
        is_maximised: False to minimise it.
        bounds: text of each bound, by field.

    Example:
        >>> Aim("roughness_ML", is_maximised=False).natural(-0.4)
        0.4
    """

    objective: str = ""
    is_maximised: bool = True
    bounds: Mapping[str, str] = field(default_factory=dict)

    def natural(self, y: float) -> float:
        """Return a value to maximise in the objective's own sense."""
        return y if self.is_maximised else -y


@dataclass(frozen=True, slots=True)
class Knob:
    """The range of one condition as far as the configuration says it."""

    low: float | None = None
    high: float | None = None
    is_log: bool = False


def aim_of(config: Mapping[str, Any], ended: Sequence[TrialEnded]) -> Aim:
    """Return the aim; a field whose value equals y, or -y, tells it where the configuration is silent."""
    goal = _section(config, "goal")
    for word, is_maximised in (("maximise", True), ("minimise", False)):
        if isinstance(goal.get(word), str):
            return Aim(goal[word], is_maximised, _bounds(goal))
    for event in ended:
        for name, value in event.outcome.items():
            if (
                isinstance(value, int | float)
                and event.y is not None
                and abs(value) == abs(event.y)
            ):
                return Aim(name, value == event.y, _bounds(goal))
    return Aim(bounds=_bounds(goal))


def knobs_of(config: Mapping[str, Any]) -> dict[str, Knob]:
    """Return the range of each condition that the configuration names."""
    return {
        str(name): Knob(_number(part, "low"), _number(part, "high"), part.get("scale") == "log")
        for name, part in _section(config, "search").items()
        if isinstance(part, Mapping)
    }


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = config.get("campaign")
    for place in (config, inner if isinstance(inner, Mapping) else {}):
        if isinstance(place.get(name), Mapping):
            found: Mapping[str, Any] = place[name]
            return found
    return {}


def _bounds(goal: Mapping[str, Any]) -> dict[str, str]:
    texts: dict[str, str] = {}
    parts = goal.get("subject_to")
    for name, part in parts.items() if isinstance(parts, Mapping) else ():
        bound = part if isinstance(part, Mapping) else {}
        limits = [
            f"{sign} {bound[word]:g}"
            if isinstance(bound[word], float | int)
            else f"{sign} {bound[word]}"
            for word, sign in (("at_least", "≥"), ("at_most", "≤"))
            if bound.get(word) is not None
        ]
        texts[str(name)] = " and ".join(limits)
    return texts


def _number(part: Mapping[str, Any], name: str) -> float | None:
    value = part.get(name)
    return float(value) if isinstance(value, int | float) else None
