"""A film through all its instruments, side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.report.drawing import SERIES, drawing, without_frame
from twinloop.agents.report.views import View
from twinloop.agents.report.words import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_views", "level"]

_SCREEN = ("#04070a", "#0b2a18", "#1f7a3f", "#7fd68b", "#f4ffe9")
_TIP = ("#1a0d05", "#6b3410", "#c47a2c", "#f0c987", "#fffaf0")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_BARS_A = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def draw_views(films: Mapping[str, Sequence[View]]) -> str:
    """Return the SVG: a row for each film, a panel for each instrument that saw it.

    Args:
        films: views by the title of each film.
    """
    columns = max((len(views) for views in films.values()), default=0)
    if not columns:
        return ""
    words = "; ".join(films)
    with drawing("views", f"Films through instruments: {words}", 10.6, 3.1 * len(films)) as page:
        rows = page.figure.subplots(len(films), columns, squeeze=False)
        for axes_of_film, (title, views) in zip(rows, films.items(), strict=True):
            for axes, view in zip(axes_of_film, views, strict=False):
                _panel(axes, view)
            for axes in axes_of_film[len(views) :]:
                without_frame(axes)
            axes_of_film[0].set_title(f"{title}\n{_name(views[0])}")
    return page.svg


def level(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return heights less the plane that fits them best, shape kept; NaN stays NaN."""
    rows, columns = np.mgrid[: heights.shape[0], : heights.shape[1]].astype(np.float64)
    known = np.isfinite(heights)
    basis = np.column_stack([rows[known], columns[known], np.ones(int(known.sum()))])
    plane, *_ = np.linalg.lstsq(basis, heights[known], rcond=None)
    flat: NDArray[np.float64] = heights - (rows * plane[0] + columns * plane[1] + plane[2])
    return flat


def _name(view: View) -> str:
    cut = ", cut short" if view.is_partial else ""
    return f"{view.instrument}.{view.action}{cut}"


def _panel(axes: "Axes", view: View) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import NullFormatter

    axes.set_title(_name(view))
    if view.look == "scan":
        axes.plot(view.axis, np.maximum(view.values, 0.5), color=SERIES[0], linewidth=0.9)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_power_of_ten)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label(view.unit))
        axes.set_ylabel(label(view.name))
        axes.margins(x=0.01)
        return
    pixels = level(view.values) if view.look == "topograph" else view.values
    low, high = np.nanpercentile(pixels, [0.5, 99.5])
    colours = {"topograph": _TIP, "screen": _SCREEN}.get(view.look)
    colormap = "gray" if colours is None else LinearSegmentedColormap.from_list("view", colours)
    axes.imshow(
        pixels,
        cmap=colormap,
        vmin=low,
        vmax=high if high > low else low + 1.0,
        interpolation="nearest",
        aspect=_aspect(view),
    )
    without_frame(axes)
    if view.axis.size:
        _scale_bar(axes, view)
    if view.look == "topograph":
        axes.set_xlabel(f"height range {high - low:.2g} Å")


def _power_of_ten(value: float, _position: float) -> str:
    """Return 10 with its exponent as text: a page that keeps text as text draws no formula."""
    exponent = round(np.log10(value)) if value > 0 else 0
    return f"10{str(exponent).translate(_RAISED)}" if value > 0 else ""


def _aspect(view: View) -> float:
    """Return how high a pixel is drawn, in units of its width."""
    if not view.axis.size:
        return 1.0
    width, height = view.axis
    rows, columns = view.values.shape
    return float((height / rows) / (width / columns)) if width > 0 and height > 0 else 1.0


def _scale_bar(axes: "Axes", view: View) -> None:
    """Draw a bar of a round length, at most a third of the width."""
    width_A = float(view.axis[0])
    fitting = [bar for bar in _BARS_A if bar <= width_A / 3]
    if not fitting:
        return
    rows, columns = view.values.shape
    length = fitting[-1] / width_A * columns
    x, y = 0.05 * columns, 0.94 * rows
    for colour, thickness in (("black", 4.5), ("white", 2.5)):
        axes.plot([x, x + length], [y, y], color=colour, linewidth=thickness, solid_capstyle="butt")
    said = f"{fitting[-1] / 10:g} nm"
    axes.text(
        x, y - 0.03 * rows, said, color="white", fontsize=8, ha="left", va="bottom",
        bbox={"facecolor": "black", "alpha": 0.45, "edgecolor": "none", "pad": 1},
    )  # fmt: skip
