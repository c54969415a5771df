"""Every experiment on one line: conditions, outcome, what was expected, and why it was chosen."""

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
_MOST_FIELDS = 4
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
    heads = ["trial", *map(label, history.knobs), label(objective), "expected", "off by", "chosen"]
    heads += [label(name) for name in fields] + (["trace"] if traces else [])
    rows = []
    for trial in trials:
        cells = [
            f"<b>{text(trial.id)}</b>",
            *(text(aligned(trial.point.get(knob))) for knob in history.knobs),
            _measured(history, trial),
            _expected(history, trial),
            _surprise(trial),
            _why(trial),
            *(text(_outcome(trial, name)) for name in fields),
        ]
        if traces:
            cells.append(traces.get(trial.id, ""))
        kind = "best" if trial is history.best else "" if trial.y is not None else "off"
        rows.append((kind, cells))
    n = len(history.knobs)
    numbers = [*range(1, n + 4), *range(n + 5, n + 5 + len(fields))]
    return table(heads, rows, numbers) + _legend(history)


def _traces(trials: list[TrialHistory], evidence: Evidence) -> dict[str, str]:
    found = {}
    for trial in trials[:_TRACES_UP_TO]:
        trace = trace_of(trial, evidence)
        if trace is not None:
            found[trial.id] = sparkline(trace)
    return found


def _fields(history: History) -> list[str]:
    """Return the other fields of the outcome worth a column: bounded ones first, deviations not."""
    numbers = dict.fromkeys(
        name
        for trial in history.ended
        if trial.ended is not None
        for name, value in trial.ended.outcome.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    others = [
        name for name in numbers if name != history.aim.objective and not name.endswith("_sd")
    ]
    others.sort(key=lambda name: name not in history.aim.bounds)
    return others[:_MOST_FIELDS]


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
    if trial.proposed is not None and trial.proposed.pending:
        parts.append(f"{len(trial.proposed.pending)} pending")
    return pill(*_WORDS[choice]) + f"<small>{text('; '.join(parts))}</small>"


def _outcome(trial: TrialHistory, name: str) -> str:
    outcome = trial.ended.outcome if trial.ended is not None else {}
    bare = unit_of_name(name)[0]
    infix = f"{bare}_sd{name.removeprefix(bare)}"
    value, sd = outcome.get(name), outcome.get(infix, outcome.get(f"{name}_sd"))
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
