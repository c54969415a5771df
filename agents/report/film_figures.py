"""What was seen of the films: traces in time, pictures of the screen, and surfaces."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.report.drawing import (
    ACCENT,
    INK,
    MUTED,
    PAPER,
    SERIES,
    drawing,
    without_frame,
)
from twinloop.agents.report.traces import Period, Trace
from twinloop.agents.report.words import duration, label, number, with_sd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_pictures", "draw_surfaces", "draw_traces", "roughness_ML", "sparkline"]

_MOST_POINTS = 2000
_MOST_TICKS = 60
_SCREEN = ("#04070a", "#0b2a18", "#1f7a3f", "#7fd68b", "#f4ffe9")


def draw_traces(named: Mapping[str, tuple[Trace, Period | None]]) -> str:
    """Return the SVG of traces, one above the other, in one scale of intensity.

    Args:
        named: by the title of each.
    """
    if not named:
        return ""
    words = "; ".join(named)
    with drawing("traces", f"Traces: {words}", 10.6, 0.6 + 2.4 * len(named)) as page:
        rows = page.figure.subplots(len(named), 1, squeeze=False)[:, 0]
        top = max(float(trace.values.max()) for trace, _ in named.values())
        bottom = min(0.0, *(float(trace.values.min()) for trace, _ in named.values()))
        for n, (axes, (name, (trace, period))) in enumerate(zip(rows, named.items(), strict=True)):
            _trace(axes, name, trace, period, SERIES[n % len(SERIES)])
            axes.set_ylim(bottom, bottom + 1.22 * (top - bottom or 1.0))
            axes.set_xlabel(label(trace.time_name))
    return page.svg


def _trace(axes: "Axes", name: str, trace: Trace, period: Period | None, colour: str) -> None:
    time, values = _thinned(trace)
    axes.plot(time, values, color=colour, linewidth=1.1)
    axes.set_title(name)
    axes.set_ylabel(label(trace.name or "signal"))
    axes.grid(visible=False, axis="x")
    axes.margins(x=0.01)
    begin, end = float(time[0]), float(time[-1])
    if begin < 0 < end:
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    if period is None or not 1 <= end / period.period_s < _MOST_TICKS:
        return
    for x in np.arange(1, end / period.period_s + 1e-6) * period.period_s:
        axes.axvline(x, color=ACCENT, linewidth=0.7, alpha=0.6, zorder=0.5)
    axes.annotate(
        "",
        (0, 0.9),
        (period.period_s, 0.9),
        xycoords=axes.get_xaxis_transform(),
        textcoords=axes.get_xaxis_transform(),
        arrowprops={"arrowstyle": "<->", "color": ACCENT, "shrinkA": 0, "shrinkB": 0},
    )
    words = f"one period {with_sd(period.period_s, period.sd_s)} s"
    if period.n_maxima == 0:
        words += " (no maximum stands out of the noise: from the gauge)"
    # beside a short arrow, above a long one
    is_short = period.period_s < 0.3 * (end - begin)
    axes.annotate(
        words,
        (period.period_s if is_short else period.period_s / 2, 0.9),
        xytext=(6, 0) if is_short else (0, 8),
        textcoords="offset points",
        xycoords=axes.get_xaxis_transform(),
        ha="left" if is_short else "center",
        va="center",
        fontsize=9,
        color=ACCENT,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
    )


def draw_pictures(named: Mapping[str, NDArray[np.float64]]) -> str:
    """Return the SVG of pictures side by side, in one scale of brightness."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    if not named:
        return ""
    columns = len(named)
    top = max(float(np.nanpercentile(pixels, 99.9)) for pixels in named.values())
    bottom = min(float(np.nanmin(pixels)) for pixels in named.values())
    norm = PowerNorm(0.5, bottom, top if top > bottom else bottom + 1)
    screen = LinearSegmentedColormap.from_list("screen", _SCREEN)
    with drawing("pictures", "Pictures: " + "; ".join(named), 1.0 + 4.8 * columns, 4.8) as page:
        shown: Any = None
        places = page.figure.subplots(1, columns, squeeze=False)[0]
        for axes, (name, pixels) in zip(places, named.items(), strict=True):
            shown = axes.imshow(pixels, norm=norm, cmap=screen, interpolation="nearest")
            axes.set_title(name)
            without_frame(axes)
        bar = page.figure.colorbar(shown, ax=list(places), shrink=0.8, pad=0.01)
        _plain_bar(bar, "counts (square-root scale)")
    return page.svg


def draw_surfaces(named: Mapping[str, NDArray[np.int64]]) -> str:
    """Return the SVG of height maps side by side, one colour for each layer."""
    from matplotlib.colors import BoundaryNorm

    if not named:
        return ""
    columns = len(named)
    low = int(min(heights.min() for heights in named.values()))
    high = int(max(heights.max() for heights in named.values()))
    step = max(1, (high - low) // 12 + 1) if high - low > 24 else 1
    edges = np.arange(low, high + step + 1, step) - 0.5
    with drawing("surfaces", "Surfaces: " + "; ".join(named), 1.0 + 4.8 * columns, 4.8) as page:
        norm = BoundaryNorm(edges, 256)
        shown: Any = None
        places = page.figure.subplots(1, columns, squeeze=False)[0]
        for axes, (name, heights) in zip(places, named.items(), strict=True):
            shown = axes.imshow(heights, norm=norm, cmap="cividis", interpolation="nearest")
            axes.set_title(name)
            without_frame(axes)
            axes.set_xlabel(
                f"{heights.shape[0]} × {heights.shape[1]} sites; rms roughness "  # noqa: RUF001
                f"{number(roughness_ML(heights), 3)} ML; mean {number(heights.mean(), 3)} ML"
            )
        bar = page.figure.colorbar(shown, ax=list(places), shrink=0.8, pad=0.01)
        bar.set_ticks([float(edge) + step / 2 for edge in edges[:-1]])
        _plain_bar(bar, "height [ML]")
        bar.ax.minorticks_off()
    return page.svg


def roughness_ML(heights: NDArray[np.int64]) -> float:
    """Return the root mean square deviation of heights from their mean [ML]."""
    return float(heights.std())


def sparkline(trace: Trace, width: int = 96, height: int = 22) -> str:
    """Return a trace as a small SVG without axes, each column the mean of its samples."""
    parts = np.array_split(trace.values, min(width, trace.values.size))
    means = np.array([part.mean() for part in parts])
    span = float(np.ptp(means)) or 1.0
    x = np.linspace(1, width - 1, means.size)
    y = height - 2 - (means - means.min()) / span * (height - 4)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    seconds = float(trace.time[-1] - trace.time[0])
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="trace over {duration(seconds)}">'
        f'<polyline points="{points}"/></svg>'
    )


def _thinned(trace: Trace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    stride = -(-trace.values.size // _MOST_POINTS)
    return trace.time[::stride], trace.values[::stride]


def _plain_bar(bar: Any, words: str) -> None:
    bar.set_label(words, color=INK)
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
