"""The map of the belief: what is expected, how sure that is, and where experiments were."""

from typing import TYPE_CHECKING, Any

import numpy as np

from twinloop.agents.report.belief import Floats, Slice
from twinloop.agents.report.drawing import ACCENT, INK, SERIES, Drawing, Look, drawing
from twinloop.agents.report.history import History
from twinloop.agents.report.objective_figure import tip_of
from twinloop.agents.report.words import label, number, title
from twinloop.planners.space import Dimension

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_belief"]

_WIDEST, _SMALLEST, _REACH = 62.0, 7.0, 0.3
_TIPS_UP_TO = 200
# on a picture that is the same by day and by night
_DOT, _EDGE = "#ffffff", "#101010"


def draw_belief(history: History, found: Slice) -> str:
    """Return the SVG of mean and standard deviation, side by side."""
    name = history.aim.objective or "objective"
    over = " and ".join(title(axis.name) for axis in found.axes)
    words = f"Belief about {title(name)} over {over}, mean and standard deviation"
    if len(found.axes) == 1:
        return _line(history, found, words)
    with drawing("belief", words, 10.6, 4.3) as page:
        left, right = page.figure.subplots(1, 2)
        _map(page, left, history, found, found.mean, f"expected {label(name)}", "viridis")
        _map(page, right, history, found, found.sd, "standard deviation of it", "magma")
        right.set_ylabel("")
    return page.svg


def _line(history: History, found: Slice, words: str) -> str:
    axis, n = found.axes[0], len(found.mean)
    with drawing("belief", words, 7.0, 3.8) as page:
        axes = page.figure.add_subplot()
        shares = np.linspace(0.0, 1.0, n)
        low, high = found.mean - 2 * found.sd, found.mean + 2 * found.sd
        axes.fill_between(shares, low, high, color=SERIES[0], alpha=0.2, linewidth=0)
        axes.plot(shares, found.mean, color=SERIES[0], label="expected, ± 2 standard deviations")
        y = [history.value(t) or 0.0 for t in history.observations]
        look: Look = {"color": INK, "s": 26, "zorder": 3, "label": "measured"}
        points = axes.scatter(found.places[:, 0], y, **look)
        page.tip(points, *(tip_of(history, t) for t in history.observations))
        _ticks(axes.xaxis, axis)
        axes.set_xlim(0, 1)
        axes.set_xlabel(label(axis.name))
        axes.set_ylabel(label(history.aim.objective or "objective"))
        axes.legend()
    return page.svg


def _map(
    page: Drawing,
    axes: "Axes",
    history: History,
    found: Slice,
    values: Floats,
    words: str,
    colours: str,
) -> None:
    style: Look = {
        "origin": "lower",
        "extent": (0, 1, 0, 1),
        "aspect": "auto",
        "interpolation": "bicubic",
        "cmap": colours,
    }
    picture = axes.imshow(values, **style)
    axes.grid(visible=False)
    sizes = _SMALLEST + (_WIDEST - _SMALLEST) * np.exp(-((found.distances / _REACH) ** 2))
    look: Look = {"s": sizes, "facecolors": _DOT, "edgecolors": _EDGE, "linewidths": 0.8}
    dots = axes.scatter(found.places[:, 0], found.places[:, 1], zorder=3, clip_on=False, **look)
    if len(history.observations) <= _TIPS_UP_TO:
        page.tip(dots, *(tip_of(history, t) for t in history.observations))
    best = history.observations.index(found.through)
    ring: Look = {"s": 190, "facecolors": "none", "edgecolors": ACCENT, "linewidths": 2.2}
    axes.scatter(*found.places[best], zorder=4, clip_on=False, **ring)
    for axis, dimension, say in (
        (axes.xaxis, found.axes[0], axes.set_xlabel),
        (axes.yaxis, found.axes[1], axes.set_ylabel),
    ):
        _ticks(axis, dimension)
        say(label(dimension.name))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    bar = page.figure.colorbar(picture, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    axes.set_title(words)


def _ticks(axis: Any, dimension: Dimension) -> None:
    """Write physical values along an axis of the unit cube."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    is_log = dimension.scale == "log"
    locator = LogLocator(subs=(1.0, 2.0, 5.0)) if is_log else MaxNLocator(5)
    values = [
        float(v)
        for v in locator.tick_values(dimension.low, dimension.high)
        if dimension.low <= v <= dimension.high
    ]
    axis.set_ticks([dimension.to_cube(v) for v in values], [number(v, 3) for v in values])
