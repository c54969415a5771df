"""Every experiment on one line: conditions, outcome, what was expected, and why it was chosen."""

from collections.abc import Iterable

from twinloop.agents.report.choice import Choice, choice_of, predicted, reasons, surprise
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.film_figures import sparkline
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.markup import note, pill, table, text
from twinloop.agents.report.traces import trace_of
from twinloop.agents.report.words import (
    NONE,
    aligned,
    label,
    number,
    plural,
    title,
    unit_of_name,
    with_sd,
)

__all__ = ["trials_table"]

_TRACES_UP_TO = 200
_FIELDS_BESIDE_BOUNDS = 1
_LONGEST = 160
_WORDS = {
    Choice.OPENING: ("opening", "muted"),
    Choice.MODEL: ("model", "good"),
    Choice.FALLBACK: ("fallback", "bad"),
    Choice.OTHER: ("planner", "muted"),
}


def trials_table(history: History, evidence: Evidence) -> str:
    """Return the table of all trials with its legend."""
    trials = list(history.trials.values())
    if not trials:
        return note("No trial has begun.")
    traces = _traces(trials, evidence)
    fields = _fields(history)
    objective = history.aim.objective or "objective"
    heads = ["trial", "trace", *map(label, history.knobs), label(objective), "expected", "off by"]
    heads += ["chosen", *map(label, fields)]
    rows = []
    for trial in trials:
        cells = [
            f"<b>{text(trial.id)}</b>",
            traces.get(trial.id, NONE),
            *(text(aligned(trial.point.get(knob))) for knob in history.knobs),
            _measured(history, trial),
            _expected(history, trial),
            _surprise(trial),
            _why(trial),
            *(text(_outcome(trial, name)) for name in fields),
        ]
        kind = "best" if trial is history.best else "" if trial.y is not None else "off"
        rows.append((kind, cells))
    n = len(history.knobs)
    numbers = [*range(2, n + 5), *range(n + 6, n + 6 + len(fields))]
    return table(heads, rows, numbers) + _legend(history)


def _traces(trials: list[TrialHistory], evidence: Evidence) -> dict[str, str]:
    found = {}
    for trial in trials[:_TRACES_UP_TO]:
        trace = trace_of(trial, evidence)
        if trace is not None:
            found[trial.id] = sparkline(trace)
    return found


def _fields(history: History) -> list[str]:
    """Return the fields of the outcome worth a column beside the objective."""
    numbers = dict.fromkeys(
        name
        for trial in history.ended
        if trial.ended is not None
        for name, value in trial.ended.outcome.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    known = {history.aim.objective, *history.knobs}
    others = [n for n in numbers if n not in known and not unit_of_name(n)[0].endswith("_sd")]
    # bounded ones first, then those whose deviation is known
    others.sort(key=lambda n: (n not in history.aim.bounds, _sd_name(n, numbers) is None))
    return others[: sum(n in history.aim.bounds for n in others) + _FIELDS_BESIDE_BOUNDS]


def _sd_name(name: str, fields: Iterable[str]) -> str | None:
    """Return the field that holds the standard deviation of another, None without one."""
    bare = unit_of_name(name)[0]
    candidates = (f"{bare}_sd{name.removeprefix(bare)}", f"{name}_sd")
    return next((c for c in candidates if c in fields), None)


def _measured(history: History, trial: TrialHistory) -> str:
    if trial.ended is None:
        return _under_way(trial)
    if trial.y is None:
        reason = f"<small>{text(trial.ended.reason[:_LONGEST])}</small>"
        return pill(trial.ended.state, "bad") + reason
    value = text(with_sd(history.value(trial), trial.ended.y_sd))
    return value if trial.is_feasible else f"{value} {pill('infeasible', 'bad')}"


def _under_way(trial: TrialHistory) -> str:
    waits = [
        f"{s.commanded.instrument}.{s.commanded.action}" for s in trial.steps if s.settled is None
    ]
    words = f"<small>waits for {text(', '.join(waits))}</small>" if waits else ""
    return pill("under way") + words


def _expected(history: History, trial: TrialHistory) -> str:
    expected = predicted(trial.proposed)
    if expected is None:
        return NONE
    return text(with_sd(history.aim.natural(expected[0]), expected[1]))


def _surprise(trial: TrialHistory) -> str:
    sigmas = surprise(trial.proposed, trial.ended)
    if sigmas is None:
        return NONE
    words = f"{abs(sigmas):.1f} sd {'better' if sigmas > 0 else 'worse'}"
    return f'<span class="bad">{text(words)}</span>' if abs(sigmas) > 3 else text(words)


def _why(trial: TrialHistory) -> str:
    choice = choice_of(trial.proposed)
    parts = [
        f"{title(name)} {number(value, 3) if isinstance(value, int | float) else value[:_LONGEST]}"
        for name, value in reasons(trial.proposed)
    ]
    small = f"<small>{text('; '.join(parts))}</small>" if parts else ""
    n_pending = len(trial.proposed.pending) if trial.proposed is not None else 0
    hover = f"{plural(n_pending, 'other proposal')} without result then"
    return f'<span title="{hover}">{pill(*_WORDS[choice])}</span>{small}'


def _outcome(trial: TrialHistory, name: str) -> str:
    outcome = trial.ended.outcome if trial.ended is not None else {}
    value, sd = outcome.get(name), outcome.get(_sd_name(name, outcome) or "")
    if not isinstance(value, int | float):
        return NONE
    return with_sd(float(value), float(sd) if isinstance(sd, int | float) else None)


def _legend(history: History) -> str:
    words = (
        "Expected: mean ± standard deviation of the planner's model before the experiment, without "
        "measurement noise. Off by: measured minus expected, in standard deviations of both "
        "together; some one in twenty should exceed 2, none 3."
    )
    n_ready = len(history.proposed) - len(history.trials) - len(history.discarded)
    if n_ready > 0:
        words += f" {plural(n_ready, 'further proposal')} never began."
    return note(words)
