"""Where the campaign looked: every pair of conditions, coloured by the objective."""

from typing import TYPE_CHECKING, Any

from twinloop.agents.report.aims import Knob, knobs_of
from twinloop.agents.report.drawing import ACCENT, BAD, INK, MUTED, Look, drawing
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.objective_figure import tip_of
from twinloop.agents.report.words import label, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_space"]

_MOST_KNOBS = 6
_TIPS_UP_TO = 200
_CELL = 2.25


def draw_space(history: History) -> str:
    """Return the SVG of the search space; "" without conditions or observations.

    The diagonal shows the objective against each condition, below it stand the pairs.
    """
    knobs = history.knobs[:_MOST_KNOBS]
    observed = [t for t in history.observations if all(k in t.point for k in knobs)]
    if not knobs or not observed:
        return ""
    ranges = knobs_of(history.config)
    n, size = len(knobs), 1.0 + _CELL * max(len(knobs), 2)
    with drawing("space", f"Observations over {', '.join(knobs)}", size + 0.6, size) as page:
        grid = page.figure.subplots(n, n, squeeze=False)
        shown: Any = None
        tips = [tip_of(history, trial) for trial in observed]
        for row, column in ((r, c) for r in range(n) for c in range(n)):
            axes = grid[row][column]
            if column > row:
                axes.set_axis_off()
                continue
            x = [t.point[knobs[column]] for t in observed]
            values = [history.value(t) or 0.0 for t in observed]
            y = values if row == column else [t.point[knobs[row]] for t in observed]
            shown = axes.scatter(
                x, y, c=values, cmap="viridis", s=30, edgecolors=INK, linewidths=0.5, zorder=3
            )
            _marks(axes, history, observed, x, y)
            _ranges(
                axes, ranges.get(knobs[column]), None if row == column else ranges.get(knobs[row])
            )
            _names(axes, history, knobs, row, column)
            if len(observed) <= _TIPS_UP_TO:
                page.tip(shown, *tips)
        bar = page.figure.colorbar(shown, ax=grid, shrink=0.35, pad=0.01, anchor=(0, 1))
        bar.set_label(label(history.aim.objective or "objective"), color=INK)
        bar.outline.set_visible(False)
    return page.svg


def _marks(
    axes: "Axes", history: History, observed: list[TrialHistory], x: list[float], y: list[float]
) -> None:
    for trial, a, b in zip(observed, x, y, strict=True):
        if trial is history.best:
            look: Look = {
                "facecolors": "none",
                "edgecolors": ACCENT,
                "linewidths": 1.8,
                "zorder": 4,
            }
            axes.scatter([a], [b], s=130, **look)
        if not trial.is_feasible:
            axes.scatter([a], [b], s=40, marker="x", c=BAD, zorder=4)


def _ranges(axes: "Axes", across: Knob | None, up: Knob | None) -> None:
    from matplotlib.ticker import LogLocator

    for knob, is_x in ((across, True), (up, False)):
        if knob is None:
            continue
        if knob.is_log:
            (axes.set_xscale if is_x else axes.set_yscale)("log")
            axis = axes.xaxis if is_x else axes.yaxis
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(lambda value, _: number(value, 3))
            axis.set_minor_formatter("")
        if knob.low is not None and knob.high is not None and knob.high > knob.low:
            for edge in (knob.low, knob.high):
                line = axes.axvline if is_x else axes.axhline
                line(edge, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))


def _names(axes: "Axes", history: History, knobs: list[str], row: int, column: int) -> None:
    if row == len(knobs) - 1:
        axes.set_xlabel(label(knobs[column]))
    else:
        axes.tick_params(labelbottom=False)
    if row == column:
        # the diagonal has an axis of its own, on the right where pairs stand to its left
        if column:
            axes.yaxis.tick_right()
            axes.yaxis.set_label_position("right")
            axes.spines["left"].set_visible(False)
            axes.spines["right"].set_visible(True)
        axes.set_ylabel(label(history.aim.objective or "objective"), fontsize=9)
    elif column == 0:
        axes.set_ylabel(label(knobs[row]))
    else:
        axes.tick_params(labelleft=False)
