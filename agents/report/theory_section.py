"""The section "Theory in the loop": what theory said, how far it was followed, and what it cost."""

import math
from collections.abc import Sequence

from twinloop.agents.report.batches import Batch, batches_of
from twinloop.agents.report.belief import Slice, slice_of
from twinloop.agents.report.belief_figure import draw_belief
from twinloop.agents.report.decisions import (
    Theta,
    carried,
    decisions,
    figure_of,
    has_theory,
    off_since,
    scores,
)
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.markup import figure, meter, note, table, text
from twinloop.agents.report.theory_figures import (
    draw_foresight,
    draw_theta,
    draw_weight,
    draw_worth,
    foreseen,
)
from twinloop.agents.report.waiting import Pool, Waits, pool_of, waits_of
from twinloop.agents.report.words import NONE, duration, label, number, plural, title, with_sd

__all__ = ["in_the_loop"]

_ROWS_SHOWN = 12
_LIMIT_SD = 2.0


def in_the_loop(history: History, evidence: Evidence) -> str:
    """Return the section; "" for a campaign without theory."""
    if not has_theory(history):
        return ""
    truth = _truth(history, evidence)
    return "".join(
        [
            f'<p class="lead">{text(_verdict(history))}</p>',
            _weight(history),
            _theta(history, truth),
            _foresight(history),
            _belief(history, evidence),
            _batches(history),
            _pool(history),
        ]
    )


def _verdict(history: History) -> str:
    """Say in two sentences what part theory had."""
    n, m = carried(history)
    words = []
    if m:
        words.append(f"Theory carried the choice in {n} of {plural(m, 'experiment')}.")
    off = off_since(history)
    weights = [d.figure("theory_weight") for d in decisions(history)]
    known = [weight for weight in weights if weight is not None]
    if off is not None:
        words.append(
            f"Theory was switched off at experiment {off}: it had foreseen the experiments worse "
            "than a model without theory, and had no say from then on."
        )
    elif known:
        words.append(
            f"It was never switched off for good; its weight began at {number(known[0], 2)} and "
            f"ended at {number(known[-1], 2)}."
        )
    done = sum(s.state == "done" for s in history.simulated)
    words.append(f"{plural(done, 'simulation')} answered.")
    return " ".join(words)


def _weight(history: History) -> str:
    found = figure(
        draw_weight(history),
        "Above: the weight of theory against a model that knows the experiments alone, at each "
        "decision; dots are experiments, by who chose them. Below: by how much theory foresaw "
        "each experiment better (up) or worse (down) than that model, as the difference of their "
        "logarithmic predictive densities.",
    )
    pairs = [(a, b) for a, b in scores(history) if a is not None and b is not None]
    if not pairs:
        return found
    theory, plain = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
    return found + note(
        f"Mean logarithmic score of {plural(len(pairs), 'experiment')} foreseen by both: theory "
        f"{number(theory, 3)}, without theory {number(plain, 3)}; the larger, the better."
    )


def _truth(history: History, evidence: Evidence) -> dict[str, float]:
    """Return the hidden numbers of the stand-in, only once the campaign is over."""
    if history.finished is None:
        return {}
    found: dict[str, float] = {}
    for body in evidence.truths().values():
        for name, value in body.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, float(value))
    return found


def _theta(history: History, truth: dict[str, float]) -> str:
    found = [d.theta for d in decisions(history) if d.theta is not None]
    if not found:
        return note("The planner left no calibration of theory.")
    last = found[-1]
    hidden = {name: truth[name] for name in last.names if name in truth}
    caption = (
        "What all experiments together say of the parameters of theory, at each decision; between "
        "two whole numbers only simulations came in. "
    )
    if hidden:
        caption += (
            "The line is what the stand-in really was, from its own sealed file, opened after the "
            "campaign."
        )
    elif history.finished is None:
        caption += "The hidden truth stays sealed until the campaign has ended."
    else:
        caption += "No truth is known for these parameters."
    return (
        "<h3>The parameters of theory</h3>"
        + figure(draw_theta(history, hidden), caption)
        + _theta_table(last, hidden)
    )


def _theta_table(last: Theta, hidden: dict[str, float]) -> str:
    rows = []
    for n, name in enumerate(last.names):
        mean, sd, value = last.mean[n], last.sd[n], hidden.get(name)
        cells = [
            text(label(name)),
            text(with_sd(last.prior_mean[n], last.prior_sd[n])),
            text(with_sd(mean, sd)),
            f"{sd / last.prior_sd[n]:.0%}",
        ]
        if hidden:
            off = NONE if value is None or sd <= 0 else f"{abs(mean - value) / sd:.1f} sd"
            cells += [text(number(value)), text(off)]
        rows.append(("", cells))
    heads = ["parameter", "prior", "posterior", "sd left"]
    heads += ["hidden truth", "posterior off by"] if hidden else []
    return table(heads, rows, range(1, len(heads)))


def _foresight(history: History) -> str:
    told = foreseen(history)
    if not told:
        return ""
    sigmas = [_off(trial) for trial in told]
    n_far = sum(value > _LIMIT_SD for value in sigmas if value is not None)
    errors = {who: _error(told, who) for who in ("theory", "plain")}
    words = (
        "Calibrated theory with its learned error, ± one standard deviation, as it stood before "
        f"each experiment; {n_far} of {len(told)} measurements lay more than two standard "
        "deviations off. Root mean square error: theory "
        f"{number(errors['theory'], 2)}"
    )
    if errors["plain"] is not None:
        words += f", without theory {number(errors['plain'], 2)}"
    caption = words + ". Experiments of which theory had said nothing have no blue dot."
    return "<h3>Predicted and measured</h3>" + figure(draw_foresight(history), caption)


def _said(trial: TrialHistory, name: str) -> float | None:
    return None if trial.proposed is None else figure_of(trial.proposed.why, name)


def _off(trial: TrialHistory) -> float | None:
    mean, sd, ended = _said(trial, "theory_mean"), _said(trial, "theory_sd"), trial.ended
    if mean is None or sd is None or ended is None or ended.y is None:
        return None
    both = math.hypot(sd, ended.y_sd)
    return abs(ended.y - mean) / both if both > 0 else None


def _error(told: Sequence[TrialHistory], who: str) -> float | None:
    squares = [
        (t.y - mean) ** 2
        for t in told
        if (mean := _said(t, f"{who}_mean")) is not None and t.y is not None
    ]
    return math.sqrt(sum(squares) / len(squares)) if squares else None


def _belief(history: History, evidence: Evidence) -> str:
    if not history.observations:
        return ""
    found: Slice | str
    try:
        found = slice_of(history, evidence)
    # a planner of anybody's, asked once more: its failure must not cost the section
    except Exception as err:  # noqa: BLE001
        found = f"{type(err).__name__}: {err}"
    head = "<h3>What is believed in the end</h3>"
    if isinstance(found, str):
        return head + note(f"No map: the planner gave no belief ({found[:300]}).")
    return head + figure(draw_belief(history, found), _belief_caption(found))


def _belief_caption(found: Slice) -> str:
    words = (
        "Asked of the planner with the whole journal: the objective it expects, without "
        "measurement noise, and how sure it is. "
    )
    if found.n_knobs > len(found.axes):
        over = " and ".join(title(axis.name) for axis in found.axes)
        words += (
            f"The slice spans {over}, along which the expected objective varies most, and goes "
            f"through the best experiment, {found.through.id} (ringed). The larger a dot, the "
            "nearer the experiment was to the slice."
        )
    else:
        words += f"Dots are the experiments; ringed is the best, {found.through.id}."
    return words


def _batches(history: History) -> str:
    found = batches_of(history)
    parts = ["<h3>What simulations bought</h3>"]
    worth = figure(
        draw_worth(history),
        "Left: an experiment waits for simulations while the best of them is expected to be worth "
        "more for its cost. Right: what theory could not tell at the point chosen.",
    )
    parts.append(worth)
    if not found:
        return "".join([*parts, note("No simulation has been asked for.")])
    heads = (
        "batch", "at", "for", "simulations", "gain for an hour", "of an experiment",
        "computing", "parameters’ sd", "emulator’s error", "experiments meanwhile",
    )  # fmt: skip
    rows = [("", _batch_row(history, batch)) for batch in found]
    shown = table(heads, rows[:_ROWS_SHOWN], (0, 1, 4, 5, 6, 7, 8, 9))
    if len(rows) > _ROWS_SHOWN:
        rest = table(heads, rows[_ROWS_SHOWN:], (0, 1, 4, 5, 6, 7, 8, 9))
        shown += f"<details><summary>{len(rows) - _ROWS_SHOWN} more batches</summary>{rest}</details>"
    return "".join([*parts, shown, note(_sum_of(history, found))])


def _batch_row(history: History, batch: Batch) -> list[str]:
    event, change = batch.event, batch.width_change
    before, after = batch.sds("emulator_sd")
    sd = NONE if after is None else f"{number(before, 2)} → {number(after, 2)}"
    return [
        str(event.batch),
        text(duration(event.at_s)),
        text(_purpose(batch)),
        text(_answers(batch)),
        text(number(batch.gain_per_h, 2)),
        text(number(batch.experiment_gain_per_h, 2)),
        text(duration(batch.wall_s)),
        NONE if change is None else text(f"{change - 1:+.0%}".replace("-", "\N{MINUS SIGN}")),
        text(sd),
        NONE if batch.after is None else str(batch.n_experiments),
    ]


def _purpose(batch: Batch) -> str:
    event = batch.event
    if event.holds is not None:
        return f"t{event.holds:04d} waited"
    return "on its own" if event.proposal is None else f"beside t{event.proposal:04d}"


def _answers(batch: Batch) -> str:
    words = [f"{batch.n('done')} of {batch.n_asked} done"]
    counts = (
        (batch.n_exceeded, "at its bound"),
        (batch.n("failed"), "failed"),
        (batch.n("cancelled"), "withdrawn"),
        (batch.n_open, "under way"),
    )
    words += [f"{n} {what}" for n, what in counts if n]
    return ", ".join(words)


def _sum_of(history: History, found: Sequence[Batch]) -> str:
    done, failed = (sum(b.n(state) for b in found) for state in ("done", "failed"))
    withdrawn = sum(b.n("cancelled") for b in found)
    exceeded = sum(b.n_exceeded for b in found)
    cpu_s = sum(s.cpu_s for s in history.simulated)
    each = f", {duration(cpu_s / (done + failed))} each" if done + failed else ""
    return (
        f"In all {plural(sum(b.n_asked for b in found), 'simulation')} asked for: {done} done, "
        f"{exceeded} of them stopped at the bound on their cost (a hint, no prediction); {failed} "
        f"failed; {withdrawn} withdrawn because nobody wanted them any more. "
        f"{duration(cpu_s)} of CPU time{each}. Gains are what the planner expected when it asked, "
        "of the best simulation of the batch and of the best experiment. Parameters’ sd: change "
        "of the posterior’s standard deviations, geometric mean, from the decision that asked to "
        "the first one that knew the answers; emulator’s error: at the point chosen at each of the "
        "two, which may be different points. Experiments that came in meanwhile taught as well."
    )


def _pool(history: History) -> str:
    pool, waits = pool_of(history), waits_of(history)
    if not pool.busy_s:
        return note("No simulator has answered yet.") + note(_waiting(waits))
    rows = [("", _busy_row(place, busy_s, pool.span_s)) for place, busy_s in pool.busy_s.items()]
    whole = [
        "<b>all</b>",
        text(duration(sum(pool.busy_s.values()))),
        f"{pool.utilisation:.1%}",
        meter(pool.utilisation),
    ]
    heads = ("simulator", "busy, real time", "of the time led", "")
    return (
        "<h3>How busy the simulators were</h3>"
        + table(heads, [*rows, ("best", whole)], (1, 2))
        + note(_pool_words(pool))
        + f"<p>{text(_waiting(waits))}</p>"
        + note(
            "How that was computed: an experiment waits where no trial holds the instruments (from "
            "its start to the last outcome of its commands) and no proposal lies ready. The planner "
            "is charged from the event that its answer rests on to the answer, a worker’s start "
            "included; simulations from the batch that an experiment was held for to the last "
            "answer of it."
        )
    )


def _busy_row(place: str, busy_s: float, span_s: float) -> list[str]:
    share = min(busy_s / span_s, 1.0) if span_s > 0 else 0.0
    return [f"<b>{text(place)}</b>", text(duration(busy_s)), f"{share:.1%}", meter(share)]


def _pool_words(pool: Pool) -> str:
    words = (
        "Busy is the time that answered simulations took, as the workers measured it; how long "
        "one ran that was withdrawn half-way nobody noted, so this is a lower bound."
    )
    if pool.lost_s > 0:
        words += f" {duration(pool.lost_s)} went into simulations that failed."
    return words


def _waiting(waits: Waits) -> str:
    return (
        f"The machine stood ready without an experiment for {duration(waits.free_s)} of "
        f"{duration(waits.led_s)} ({waits.share(waits.free_s):.1%}). Of that it waited for the "
        f"planner {duration(waits.planner_s)} ({waits.share(waits.planner_s):.1%} of the time led), "
        f"for simulations {duration(waits.simulations_s)} "
        f"({waits.share(waits.simulations_s):.1%}), and for the start, the analysis of a film or a "
        f"person {duration(waits.rest_s)}."
    )
