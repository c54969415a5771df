"""Who was at work when, as a Gantt chart: the whole campaign, and one trial in detail."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twinloop.agents.report.drawing import (
    ACCENT,
    BAD,
    INK,
    MUTED,
    PAPER,
    SERIES,
    Drawing,
    Look,
    drawing,
)
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.timeline import PLANNING, Bar, Lane, lanes, trial_rows
from twinloop.agents.report.words import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_campaign", "draw_trial"]

_BAR = 0.72
_TIPS_UP_TO = 1500
_MOST_TRIAL_ROWS = 8
_LABELLED_TRIALS = 40
_MINUTES_FROM_S, _HOURS_FROM_S = 300.0, 3 * 3600.0


def draw_campaign(history: History) -> str:
    """Return the SVG of all work over the whole campaign; "" when nothing was done."""
    found = lanes(history)
    rows = trial_rows(history)[:_MOST_TRIAL_ROWS]
    if history.end_s <= 0 or not (rows or any(lane.bars for lane in found)):
        return ""
    colours = _colours(found)
    height = 1.3 + 0.36 * (len(rows) + len(found))
    with drawing("gantt", "Work of each instrument and worker over time", 10.6, height) as page:
        axes = page.figure.add_subplot()
        scale, unit = _scale(history.end_s)
        for n, row in enumerate(rows):
            _trial_row(page, axes, history, n, row, scale)
        for n, lane in enumerate(found, len(rows)):
            _row(page, axes, n, lane.bars, colours, scale)
            share = lane.utilisation(history.end_s)
            place = (1.005, n)
            axes.annotate(
                f"{share:.0%}", place, xycoords=axes.get_yaxis_transform(), va="center", fontsize=9
            )
        for life in history.lives[1:]:
            axes.axvline(life.at_s / scale, color=BAD, linewidth=1.2, linestyle=(0, (3, 2)))
        names = ["trials" if n == 0 else "" for n in range(len(rows))]
        _finish(axes, [*names, *(lane.name for lane in found)], history.end_s / scale, unit)
        _legend(page, colours, has_restarts=len(history.lives) > 1)
    return page.svg


def draw_trial(history: History, trial: TrialHistory) -> str:
    """Return the SVG of one trial's work; "" when it did none."""
    if trial.started is None:
        return ""
    everything = lanes(history)
    found = [
        Lane(lane.name, lane.kind, tuple(b for b in lane.bars if b.trial == trial.id))
        for lane in everything
    ]
    found = [lane for lane in found if lane.bars]
    begin_s = trial.started.at_s
    end_s = trial.ended.at_s if trial.ended else history.end_s
    if not found or end_s <= begin_s:
        return ""
    colours = _colours(everything)
    with drawing("trial", f"Work done for trial {trial.id}", 10.6, 1.0 + 0.42 * len(found)) as page:
        axes = page.figure.add_subplot()
        scale, unit = _scale(end_s - begin_s)
        for n, lane in enumerate(found):
            moved = [
                Bar(b.start_s - begin_s, b.end_s - begin_s, b.what, b.trial, b.is_open)
                for b in lane.bars
            ]
            _row(page, axes, n, moved, colours, scale)
            for bar in moved:
                if bar.end_s - bar.start_s > 0.05 * (end_s - begin_s):
                    middle = (bar.start_s + bar.end_s) / 2 / scale
                    style: Look = {
                        "ha": "center",
                        "va": "center",
                        "fontsize": 8,
                        "color": PAPER,
                    }
                    axes.text(middle, n, bar.what, **style)
        _finish(axes, [lane.name for lane in found], (end_s - begin_s) / scale, unit)
        axes.set_xlabel(f"time since {trial.id} began [{unit}]")
    return page.svg


def _trial_row(
    page: Drawing,
    axes: "Axes",
    history: History,
    n: int,
    row: Sequence[tuple[TrialHistory, Bar]],
    scale: float,
) -> None:
    for trial, bar in row:
        is_best = trial is history.best
        has_failed = trial.ended is not None and trial.ended.state != "done"
        colour = ACCENT if is_best else BAD if has_failed else MUTED
        span = (bar.start_s / scale, max(bar.end_s - bar.start_s, 0) / scale)
        look: Look = {"color": colour, "alpha": 0.9 if is_best else 0.45, "linewidth": 0}
        patch = axes.broken_barh([span], (n - _BAR / 2, _BAR), **look)
        if len(history.trials) <= _TIPS_UP_TO:
            page.tip(patch, _words(bar))
        if len(history.trials) <= _LABELLED_TRIALS:
            style: Look = {"ha": "center", "va": "center", "fontsize": 7}
            axes.text(span[0] + span[1] / 2, n, str(trial.number), **style)


def _row(
    page: Drawing,
    axes: "Axes",
    n: int,
    bars: Sequence[Bar],
    colours: dict[str, str],
    scale: float,
) -> None:
    groups: dict[tuple[str, bool], list[Bar]] = {}
    for bar in bars:
        groups.setdefault((bar.what, bar.is_open), []).append(bar)
    for (what, is_open), group in groups.items():
        spans = [(b.start_s / scale, max(b.end_s - b.start_s, 0) / scale) for b in group]
        # the thin edge keeps work of no length visible
        look: Look = {"color": colours[what], "linewidth": 0.5}
        if is_open:
            look |= {"hatch": "///", "alpha": 0.5}
        found = axes.broken_barh(spans, (n - _BAR / 2, _BAR), **look)
        if len(bars) <= _TIPS_UP_TO:
            page.tip(found, *map(_words, group))


def _words(bar: Bar) -> str:
    what = bar.trial if bar.what == "trial" else f"{bar.trial}: {bar.what}"
    still = " (still under way)" if bar.is_open else ""
    return f"{what}, {duration(bar.end_s - bar.start_s)}{still}"


def _finish(axes: "Axes", names: Sequence[str], end: float, unit: str) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, end)
    axes.set_xlabel(f"real time the campaign was led [{unit}]")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _legend(page: Drawing, colours: dict[str, str], *, has_restarts: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Patch | Line2D] = [Patch(color=c, label=name) for name, c in colours.items()]
    if has_restarts:
        dashes = (0, (3, 2))
        handles.append(Line2D([], [], color=BAD, linestyle=dashes, label="conductor restarted"))
    page.figure.legend(handles=handles, loc="outside lower center", ncols=9, handlelength=1.2)


def _colours(found: Sequence[Lane]) -> dict[str, str]:
    """Give each action a colour of its own; past twelve they repeat."""
    actions = dict.fromkeys(bar.what for lane in found for bar in lane.bars)
    free = iter(range(len(actions)))
    return {what: INK if what == PLANNING else SERIES[next(free) % len(SERIES)] for what in actions}


def _scale(span_s: float) -> tuple[float, str]:
    if span_s >= _HOURS_FROM_S:
        return 3600.0, "h"
    return (60.0, "min") if span_s >= _MINUTES_FROM_S else (1.0, "s")
