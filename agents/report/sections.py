"""The parts of the page below its head, each made of the history and the evidence."""

import json

from twinloop.agents.report.choice import surprise
from twinloop.agents.report.costs import Cost, compute_costs, lab_costs
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.film_figures import draw_pictures, draw_surfaces, draw_traces
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.incidents import incidents
from twinloop.agents.report.markup import definitions, figure, meter, note, table, text
from twinloop.agents.report.objective_figure import draw_expected, draw_objective
from twinloop.agents.report.space_figure import draw_space
from twinloop.agents.report.time_figure import draw_campaign, draw_trial
from twinloop.agents.report.timeline import busy_s, lanes
from twinloop.agents.report.traces import Period, Trace, period_of, picture_of, trace_of
from twinloop.agents.report.words import NONE, duration, number, title

__all__ = ["bill", "course", "events", "films", "reproduce", "space", "truth", "work"]


def course(history: History, _: Evidence) -> str:
    """Objective against experiments, and measured against expected."""
    main = figure(
        draw_objective(history),
        "Each experiment with one standard deviation of its measurement, in the order of "
        "completion. Rest the pointer on a point for its conditions.",
    )
    if not main:
        return note("There is no observation to draw yet.")
    side = figure(
        draw_expected(history),
        "What the model expected before each experiment it chose; on the dashed line it was right. "
        + _calibration(history),
    )
    return f'<div class="pair">{main}{side}</div>'


def _calibration(history: History) -> str:
    """Say how often reality lay outside what the model thought possible."""
    found = [surprise(trial.proposed, trial.ended) for trial in history.observations]
    sigmas = [abs(value) for value in found if value is not None]
    n_far = sum(value > 2 for value in sigmas)
    return (
        f"{n_far} of {len(sigmas)} measurements lay more than two standard deviations off; a model "
        "that knows its own uncertainty is so far off one time in twenty."
    )


def films(history: History, evidence: Evidence) -> str:
    """Traces, pictures and surfaces of the first and the best film."""
    chosen = _first_and_best(history, evidence)
    traces: dict[str, tuple[Trace, Period | None]] = {}
    pictures, surfaces = {}, {}
    is_over = history.finished is not None
    for words, trial in chosen.items():
        trace, picture = trace_of(trial, evidence), picture_of(trial, evidence)
        heights = evidence.heights(trial.sample) if is_over else None
        if trace is not None:
            cut = ", cut short" if trace.is_partial else ""
            traces[f"{words}: {trace.source}{cut}"] = (trace, period_of(trial))
        if picture is not None:
            pictures[f"{words}: {picture[0]}"] = picture[1]
        if heights is not None:
            surfaces[words] = heights
    parts = []
    if traces:
        parts.append(figure(draw_traces(traces), _trace_caption(traces)))
    if pictures:
        words = "Both in one scale of brightness." if len(pictures) > 1 else ""
        parts.append(figure(draw_pictures(pictures), words))
    if not parts:
        parts.append(note("No trace and no picture has been stored."))
    parts.append("<h3>Surfaces</h3>")
    if surfaces:
        parts.append(figure(draw_surfaces(surfaces), _REVEALED))
    else:
        parts.append(note(_why_no_surface(history, evidence)))
    return "".join(parts)


_REVEALED = (
    "Revealed after the campaign from the stand-in's own file: planner, analysts and conductor "
    "never saw these heights."
)


def _first_and_best(history: History, evidence: Evidence) -> dict[str, TrialHistory]:
    """Return the first trial that left something to see and the best one, by their titles."""
    first = next(
        (
            t
            for t in history.trials.values()
            if trace_of(t, evidence) is not None or picture_of(t, evidence) is not None
        ),
        next(iter(history.observations), None),
    )
    best = history.best
    chosen = {}
    if first is not None:
        is_best = ", also the best" if first is best else ""
        chosen[f"First, {first.id}{is_best}{_value(history, first)}"] = first
    if best is not None and best is not first:
        chosen[f"Best, {best.id}{_value(history, best)}"] = best
    return chosen


def _value(history: History, trial: TrialHistory) -> str:
    value = history.value(trial)
    name = title(history.aim.objective) if history.aim.objective else "objective"
    return "" if value is None else f", {name} {number(value, 3)}"


def _trace_caption(traces: dict[str, tuple[Trace, Period | None]]) -> str:
    words = "Raw samples, not smoothed"
    if any(trace.time[0] < 0 for trace, _ in traces.values()):
        words += "; time 0 is the opening of the shutter"
    periods = [period for _, period in traces.values() if period is not None]
    if periods:
        words += f"; thin lines at whole periods, from {periods[-1].source}"
    elif traces:
        words += "; no analyst gave a period"
    return words + "."


def _why_no_surface(history: History, evidence: Evidence) -> str:
    if not evidence.has_machine:
        return (
            "The surface of a real film is not known atom by atom, and this run folder holds no "
            "stand-in machine that could reveal it."
        )
    if history.finished is None:
        return (
            "The stand-in's own record stays sealed until the campaign has ended; make the report "
            "again then."
        )
    return "The stand-in kept no surface of these films."


def space(history: History, _: Evidence) -> str:
    """Where it looked."""
    found = figure(
        draw_space(history),
        "Below the diagonal each pair of conditions, on it the objective against each one; colour "
        "is the objective, the ring the best, dashed lines the limits of the search.",
    )
    return found or note("There is no observation to draw yet.")


def work(history: History, _: Evidence) -> str:
    """Gantt charts and utilisation."""
    parts = [
        figure(
            draw_campaign(history),
            "From command to outcome for instruments, computing time for workers; per cent of the "
            "whole span at the right. Numbers are trials, the best one in colour; hatched: no "
            "outcome yet. Time between two lives of the conductor is left out.",
        )
    ]
    detail = history.best or next(iter(history.trials.values()), None)
    if detail is not None:
        words = "best" if detail is history.best else "first"
        parts.append(figure(draw_trial(history, detail), f"The {words} trial, {detail.id}."))
    rows = []
    for lane in lanes(history):
        share = lane.utilisation(history.end_s)
        cells = [
            f"<b>{text(lane.name)}</b>",
            lane.kind,
            str(len(lane.bars)),
            text(duration(busy_s(lane.bars))),
            f"{share:.1%}",
            meter(share),
        ]
        rows.append(("", cells))
    if not rows:
        return note("Nothing has been done yet.")
    heads = ("who", "kind", "pieces of work", "busy, real time", "utilisation", "")
    return "".join(parts) + table(heads, rows, (2, 3, 4))


def bill(history: History, _: Evidence) -> str:
    """Laboratory time and computing time."""
    lab, compute = lab_costs(history), compute_costs(history)
    if not lab and not compute:
        return note("Nothing has been spent yet.")
    n = max(len(history.observations), 1)
    total_s = sum(cost.spent_s for cost in lab)
    cpu_s = sum(cost.spent_s for cost in compute)
    return (
        "<h3>Laboratory time</h3>"
        + _bill(lab, "instrument", "action", "laboratory time")
        + note(
            f"{number(total_s / 3600, 3)} h in all, summed over instruments (two that work side by "
            f"side count twice), {duration(total_s / n)} for each observation.{_overhead(history)}"
        )
        + "<h3>Computing</h3>"
        + _bill(compute, "who", "what", "CPU time")
        + note(
            f"{number(cpu_s, 3)} CPU seconds in all, as the workers measured them. What the "
            "stand-in machine computes is not counted: it plays the laboratory."
        )
    )


def _overhead(history: History) -> str:
    factor = max((lease.clock_factor for lease in history.leases), default=1.0)
    if factor <= 1:
        return ""
    return (
        f" With this clock a real second that computers take counts as {number(factor)} laboratory "
        "seconds, here and against the budget."
    )


def _bill(costs: list[Cost], who: str, what: str, spent: str) -> str:
    total_s = sum(cost.spent_s for cost in costs) or 1.0
    rows = [
        (
            "",
            [
                f"<b>{text(cost.who)}</b>",
                text(cost.what),
                str(cost.n),
                text(duration(cost.spent_s)),
                f"{cost.spent_s / total_s:.1%}",
                meter(cost.spent_s / total_s),
            ],
        )
        for cost in costs
    ]
    return table((who, what, "times", spent, "share", ""), rows, (2, 3, 4))


def events(history: History, evidence: Evidence) -> str:
    """Incidents."""
    found = incidents(history)
    rows = [
        (
            "",
            [
                NONE if i.at_s is None else text(duration(i.at_s)),
                f"<b>{text(i.kind)}</b>",
                text(i.where),
                text(i.what),
            ],
        )
        for i in found
    ]
    rows += [("", [NONE, "<b>file</b>", "", text(words)]) for words in evidence.problems]
    if not rows:
        return note("None: no restart, no failure, no retry, no doubt.")
    return table(("at", "what", "where", "what is known"), rows, (0,))


def truth(history: History, evidence: Evidence) -> str:
    """What a stand-in machine hid, once the campaign is over."""
    if not evidence.has_machine:
        return ""
    if history.finished is None:
        return note("Sealed until the campaign has ended.")
    parts = []
    for name, body in evidence.truths().items():
        pairs = [
            (key, text(number(v, 6) if isinstance(v, float) else json.dumps(v)))
            for key, v in body.items()
        ]
        parts.append(f"<h3>{text(name)}</h3>" + definitions(pairs))
    if not parts:
        return note("The stand-in left no truth to reveal.")
    words = "What the stand-in machine really was. Nothing that chose a point could read this."
    return note(words) + "".join(parts)


def reproduce(history: History, evidence: Evidence) -> str:
    """Where everything came from, and how to do it again."""
    started = history.started
    versions = dict(started.versions) if started else {}
    for life in history.lives:
        versions.update(life.versions)
    source = str(evidence.json("run.json").get("source", "")).replace("\\", "/").rpartition("/")[2]
    pairs = [("run folder", f"<code>{text(evidence.folder.absolute().name)}</code>")]
    if started is not None:
        pairs += [
            ("seed", str(started.seed)),
            (
                "protocol",
                f"<code>{text(started.protocol)}</code>, version {started.protocol_version}",
            ),
            ("protocol source", f"<code>{text(started.protocol_digest)}</code>"),
            ("planner", f"<code>{text(started.planner)}</code>, version {started.planner_version}"),
        ]
    pairs += [
        ("journal", f"{history.n_events} events, id <code>{text(history.log_id)}</code>"),
        ("last hash", f"<code>{text(history.head)}</code>"),
        ("hash chain", text(history.check)),
        ("versions", text(", ".join(f"{k} {v}" for k, v in versions.items()) or "not said")),
    ]
    commands = (
        f"twinloop run {source or 'config.json'}    # the same campaign anew, from its seed\n"
        "twinloop explain FOLDER TRIAL    # what a point was chosen from\n"
        "twinloop report FOLDER    # this page, from the journal\n"
    )
    config = json.dumps(
        history.config or evidence.json("config.json"), indent=2, ensure_ascii=False
    )
    packages = evidence.json("versions.json")
    parts = [definitions(pairs), f"<pre>{text(commands)}</pre>"]
    parts.append(
        f"<details><summary>Configuration as run</summary><pre>{text(config)}</pre></details>"
    )
    if packages:
        listed = text(json.dumps(packages, indent=1, ensure_ascii=False))
        parts.append(f"<details><summary>Installed packages</summary><pre>{listed}</pre></details>")
    return "".join(parts)
