"""The section that shows a film through all the instruments that saw it."""

from math import exp

from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.markup import figure, table, text
from twinloop.agents.report.views import View, seen_most
from twinloop.agents.report.views_figure import draw_views
from twinloop.agents.report.words import NONE, duration, label, with_sd

__all__ = ["through_instruments"]

_CAPTION = (
    "The same film in each instrument, as measured: heights less a plane, counts as they came, a "
    "screen in its own brightness. A bar gives the scale where the instrument has one."
)


def through_instruments(history: History, evidence: Evidence) -> str:
    """Return the films that several instruments saw, side by side, and what was found of them."""
    films = seen_most(history, evidence)
    if not films:
        return ""
    drawn = draw_views({_title(history.trials[t]): views for t, views in films.items()})
    return figure(drawn, _CAPTION) + _found(history, films) + _decided(history)


def _title(trial: TrialHistory) -> str:
    return f"{trial.id}, sample {trial.sample}" if trial.sample else trial.id


def _found(history: History, films: dict[str, list[View]]) -> str:
    """Return a table: each quantity of the outcome that has a standard deviation, film by film."""
    outcomes = {t: _outcome(history.trials[t]) for t in films}
    names = [
        name
        for name in next(iter(outcomes.values()), {})
        if any(f"{name}_sd" in found for found in outcomes.values())
    ]
    rows = [
        ("", [text(label(name)), *(text(_value(found, name)) for found in outcomes.values())])
        for name in names
    ]
    hours = [_lab_time(history.trials[t]) for t in films]
    rows.append(("", ["laboratory time", *(text(words) for words in hours)]))
    seen = [", ".join(view.instrument for view in views) for views in films.values()]
    rows.append(("", ["seen by", *(text(words) for words in seen)]))
    return table(["", *films], rows, range(1, len(films) + 1))


def _decided(history: History) -> str:
    """Return a table of the looks that were decided: each film after the opening, and why.

    The gain is what the planner expected for each hour, as a multiple of the best that it could have had
    without any look.
    """
    looks = tuple(history.config.get("planner", {}).get("look_h") or ())
    rows = []
    for trial in history.observations:
        why = {} if trial.proposed is None else trial.proposed.why
        if "log_gain_per_h_unlooked" not in why:
            continue
        taken = [name.removeprefix("look_") for name in looks if trial.point.get(name, 0.0) >= 0.5]
        over = exp(min(float(why["log_gain_per_h"]) - float(why["log_gain_per_h_unlooked"]), 50.0))
        found, name = _outcome(trial), history.aim.objective
        cells = [
            trial.id,
            ", ".join(taken) or "nothing more",
            f"{float(why['cost_h']):.1f} h",
            f"{over:.3g} x",
            with_sd(float(why["bias"]), float(why["bias_sd"])),
            with_sd(found.get(f"{name}_blind"), found.get(f"{name}_blind_sd")),
            _value(found, name),
        ]
        rows.append(("", [text(cell) for cell in cells]))
    if not rows:
        return ""
    heads = [
        "film", "looked at by", "cost", "gain an hour, over the best without a look",
        "overstated without a look", "said without a look", "said",
    ]  # fmt: skip
    return table(heads, rows, range(2, len(heads)))


def _outcome(trial: TrialHistory) -> dict[str, float]:
    found = {} if trial.ended is None else dict(trial.ended.outcome or {})
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float)}


def _value(found: dict[str, float], name: str) -> str:
    return with_sd(found.get(name), found.get(f"{name}_sd"))


def _lab_time(trial: TrialHistory) -> str:
    """Return how long instruments have worked on a film, all of them together."""
    spent = [
        s.settled.ended_lab_s - s.settled.started_lab_s
        for s in trial.steps
        if s.settled is not None
        and s.settled.ended_lab_s is not None
        and s.settled.started_lab_s is not None
    ]
    return duration(sum(spent)) if spent else NONE
