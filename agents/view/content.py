"""Readings of the conductor's picture that drawing and lines share.

A picture is JSON from another process, perhaps of another version: whatever is missing or of
another type reads as nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twinloop.agents.report.words import number, plural, quantity, title

__all__ = [
    "SILENT_S",
    "best_words",
    "count",
    "names",
    "point_words",
    "progress_words",
    "silent_s",
    "theory",
    "theory_words",
    "trials",
    "value_words",
    "values",
    "waiting_trial",
]

SILENT_S = 3.0
"""After so long without a picture the conductor counts as silent [s]."""

Content = Mapping[str, Any]


def count(content: Content, name: str) -> int:
    """Return a whole number of the picture, 0 where there is none."""
    value = content.get(name)
    return value if isinstance(value, int) else 0


def names(content: Content, name: str) -> list[str]:
    """Return a list of texts (or the keys of an object) of the picture."""
    value = content.get(name)
    if isinstance(value, Mapping):
        return [str(key) for key in value]
    return [str(item) for item in value] if isinstance(value, Sequence) else []


def silent_s(content: Content) -> float:
    """Return for how long nothing has been heard of the conductor, as the viewer noted it [s]."""
    value = content.get("silent_s")
    return float(value) if isinstance(value, int | float) else 0.0


def theory(content: Content) -> Content:
    """Return what the picture says of theory, {} for a campaign without."""
    found = content.get("theory")
    return found if isinstance(found, Mapping) else {}


def trials(content: Content) -> dict[str, Content]:
    """Return the trials under way by name, oldest first."""
    found = content.get("trials")
    items = found if isinstance(found, Sequence) else ()
    return {str(item.get("trial")): item for item in items if isinstance(item, Mapping)}


def values(content: Content) -> list[float]:
    """Return the objective of the newest observations, oldest first."""
    found = content.get("values")
    items = found if isinstance(found, Sequence) else ()
    return [float(v) for v in items if isinstance(v, int | float)]


def point_words(point: object) -> str:
    """Return conditions in one line."""
    if not isinstance(point, Mapping):
        return ""
    numbers = {str(k): v for k, v in point.items() if isinstance(v, int | float)}
    return ", ".join(f"{title(k)} {quantity(k, float(v))}" for k, v in numbers.items())


def value_words(content: Content, value: object) -> str:
    """Return a value of the objective with its name and unit."""
    goal = str(content.get("goal") or "objective")
    words = quantity(goal, float(value)) if isinstance(value, int | float) else number(None)
    return f"{title(goal)} {words}"


def best_words(content: Content) -> str:
    """Return the best observation in one line, "" without one."""
    best = content.get("best")
    if not isinstance(best, Mapping):
        return ""
    words = f"{value_words(content, best.get('value'))} in {best.get('trial')}"
    at = point_words(best.get("point"))
    return f"{words} at {at}" if at else words


def progress_words(content: Content) -> str:
    """Return how many experiments are done."""
    done, wanted = count(content, "observations"), count(content, "experiments")
    words = f"{done} of {plural(wanted, 'experiment')}" if wanted else plural(done, "experiment")
    failed = count(content, "failed")
    return f"{words}, {failed} without result" if failed else words


def theory_words(content: Content) -> str:
    """Return how theory stands in one line, "" for a campaign without."""
    about = theory(content)
    if not about:
        return ""
    under_way = count(about, "simulating")
    words = [f"{plural(count(about, 'simulated'), 'simulation')} done"]
    if under_way:
        found = about.get("progress")
        shares = [
            f"{share:.0%}"
            for share in (found if isinstance(found, Sequence) else ())
            if isinstance(share, int | float)
        ]
        words.append(f"{under_way} under way" + (f" ({', '.join(shares)})" if shares else ""))
    weight = about.get("weight")
    if isinstance(weight, int | float):
        words.append("switched off" if weight <= 0 else f"weight {number(float(weight), 2)}")
    held = waiting_trial(content)
    return ", ".join([*words, f"{held} waits for it"] if held else words)


def waiting_trial(content: Content) -> str:
    """Return the name of the trial to be that waits for simulations, "" where none does."""
    holds = theory(content).get("holds")
    is_number = isinstance(holds, int) and not isinstance(holds, bool)
    return f"t{holds:04d}" if is_number else ""
