"""The section that shows a film through all the instruments that saw it."""

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
    return figure(drawn, _CAPTION) + _found(history, films)


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
