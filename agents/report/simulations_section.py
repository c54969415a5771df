"""The part on simulations of the section "Theory in the loop": gain, cost, and busy simulators."""

from collections.abc import Sequence

from twinloop.agents.report.batches import Batch, batches_of
from twinloop.agents.report.history import History
from twinloop.agents.report.markup import figure, meter, note, table, text
from twinloop.agents.report.theory_figures import draw_worth
from twinloop.agents.report.waiting import Pool, Waits, pool_of, waits_of
from twinloop.agents.report.words import NONE, duration, number, plural

__all__ = ["how_busy", "what_they_bought"]

_ROWS_SHOWN = 12


def what_they_bought(history: History) -> str:
    """Return what each batch was expected to be worth, what it cost, and what it changed."""
    found = batches_of(history)
    parts = ["<h3>What simulations bought</h3>"]
    worth = figure(
        draw_worth(history),
        "Left: an experiment waits for simulations while the best of them is expected to be worth "
        "more for its cost. Right: how unsure theory was at the point chosen, in all, for want of "
        "simulations (emulator), and because it may be wrong (discrepancy).",
    )
    parts.append(worth)
    if not found:
        return "".join([*parts, note("No simulation has been asked for.")])
    heads = (
        "batch", "at", "for", "simulations", "gain for an hour", "of an experiment",
        "computing", "parameters' sd", "emulator's error", "trials meanwhile",
    )  # fmt: skip
    rows = [("", _batch_row(batch)) for batch in found]
    shown = table(heads, rows[:_ROWS_SHOWN], (0, 1, 4, 5, 6, 7, 8, 9))
    if len(rows) > _ROWS_SHOWN:
        rest = table(heads, rows[_ROWS_SHOWN:], (0, 1, 4, 5, 6, 7, 8, 9))
        shown += (
            f"<details><summary>{len(rows) - _ROWS_SHOWN} more batches</summary>{rest}</details>"
        )
    return "".join([*parts, shown, note(_sum_of(history, found))])


def _batch_row(batch: Batch) -> list[str]:
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
        NONE if change is None else text(_change(change)),
        text(sd),
        NONE if batch.after is None else str(batch.n_experiments),
    ]


def _change(factor: float) -> str:
    percent = round(100 * (factor - 1))
    sign = "+" if percent > 0 else "\N{MINUS SIGN}" if percent < 0 else ""
    return f"{sign}{abs(percent)}%"


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
        "of the best simulation of the batch and of the best experiment. Parameters' sd: change "
        "of the posterior's standard deviations, geometric mean, from the decision that asked to "
        "the first one that knew the answers; emulator's error: at the point chosen at each of the "
        "two, which may be different points. Experiments that came in meanwhile taught as well, and "
        "batches between the same two decisions share what they changed."
    )


def how_busy(history: History) -> str:
    """Return how busy the simulators were, and for what the machine waited."""
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
        + table(heads, [*rows, ("", whole)], (1, 2))
        + note(_pool_words(pool))
        + f"<p>{text(_waiting(waits))}</p>"
        + note(
            "How that was computed: an experiment waits where no trial holds the instruments (from "
            "its start to the last outcome of its commands) and no proposal lies ready. The planner "
            "is charged from the event that its answer rests on to the answer, a worker's start "
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
    words += (
        f" {pool.share(pool.waited_s):.1%} of the time a simulator had nothing to do while the "
        "planner thought."
    )
    silent = pool.n_places - len(pool.busy_s)
    if silent:
        words += f" {silent} of {pool.n_places} simulators answered nothing, and count as idle."
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
