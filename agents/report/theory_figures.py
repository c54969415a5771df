"""Theory in the loop in pictures: parameters, foresight, weight, and what simulations were worth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinloop.agents.report.decisions import (
    Decision,
    Theta,
    decisions,
    figure_of,
    off_since,
    scores,
)
from twinloop.agents.report.drawing import (
    ACCENT,
    BAD,
    INK,
    MUTED,
    PAPER,
    SERIES,
    Look,
    drawing,
)
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.objective_figure import tip_of
from twinloop.agents.report.words import label, number, quantity, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_foresight", "draw_theta", "draw_weight", "draw_worth", "foreseen"]

_COLUMNS = 3
_TIPS_UP_TO = 400
_KNOWN = "experiments known"
_THEORY, _PLAIN = SERIES[0], SERIES[1]
_MARKERS = {
    "theory": ("o", _THEORY, "theory chose"),
    "plain": ("s", _PLAIN, "chosen without theory"),
}


def draw_theta(history: History, truth: Mapping[str, float]) -> str:
    """Return the SVG of the parameters' posterior against experiments; "" without a calibration.

    Args:
        history: of the campaign.
        truth: hidden value of each parameter that may be shown.
    """
    found = [(d.at, d.theta) for d in decisions(history) if d.theta is not None]
    found = [(at, theta) for at, theta in found if theta.names == found[-1][1].names]
    if not found:
        return ""
    names = found[-1][1].names
    rows = -(-len(names) // _COLUMNS)
    words = f"Posterior of {', '.join(map(title, names))} against experiments"
    with drawing("theta", words, 10.6, 0.75 + 2.1 * rows) as page:
        # one more column than needed would be an empty one
        columns = min(_COLUMNS, len(names))
        grid = page.figure.subplots(rows, columns, squeeze=False, sharex=True)
        panels = [axes for row in grid for axes in row]
        for n, name in enumerate(names):
            _parameter(panels[n], found, n, truth.get(name))
            panels[n].set_title(label(name))
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        for axes in panels[max(len(names) - columns, 0) : len(names)]:
            axes.set_xlabel(_KNOWN)
            axes.tick_params(labelbottom=True)
        handles, labels = panels[0].get_legend_handles_labels()
        page.figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return page.svg


def _parameter(
    axes: "Axes", found: Sequence[tuple[float, Theta]], n: int, truth: float | None
) -> None:
    x = [at for at, _ in found]
    mean = np.array([theta.mean[n] for _, theta in found])
    sd = np.array([theta.sd[n] for _, theta in found])
    prior, prior_sd = found[-1][1].prior_mean[n], found[-1][1].prior_sd[n]
    end = max(x[-1], 1.0)
    style: Look = {"color": MUTED, "linewidth": 0}
    axes.axhspan(prior - prior_sd, prior + prior_sd, alpha=0.16, label="prior ± 1 sd", **style)
    for width, alpha, words in ((2, 0.16, None), (1, 0.32, "posterior ± 1 and 2 sd")):
        band: Look = {"color": _THEORY, "alpha": alpha, "linewidth": 0, "label": words}
        axes.fill_between(x, mean - width * sd, mean + width * sd, **band)
    if truth is not None:
        axes.axhline(truth, color=ACCENT, linewidth=2.4, alpha=0.75, label="hidden truth")
    line: Look = {"color": _THEORY, "linewidth": 1.4, "marker": ".", "markersize": 4}
    axes.plot(x, mean, label="mean", zorder=3, **line)
    axes.set_xlim(min(x[0], 0.0), end)
    _whole(axes)


def foreseen(history: History) -> list[TrialHistory]:
    """Return the observations of which theory had said something beforehand."""
    return [t for t in history.observations if _said(t, "theory") is not None]


def _said(trial: TrialHistory, who: str) -> tuple[float, float] | None:
    why = trial.proposed.why if trial.proposed is not None else {}
    mean, sd = figure_of(why, f"{who}_mean"), figure_of(why, f"{who}_sd")
    return None if mean is None or sd is None else (mean, sd)


def draw_foresight(history: History) -> str:
    """Return the SVG of what theory predicted against what was measured; "" without predictions."""
    told = foreseen(history)
    if not told:
        return ""
    name = history.aim.objective or "objective"
    words = f"{title(name)} that theory predicted, and that was measured"
    with drawing("foresight", words, 10.6, 3.9) as page:
        left, right = page.figure.subplots(1, 2, width_ratios=(1, 1.75), sharey=True)
        x, x_sd = _spoken(history, told, "theory")
        y = [history.value(t) or 0.0 for t in told]
        y_sd = [t.ended.y_sd if t.ended else 0.0 for t in told]
        ends = (min(*x, *y), max(*x, *y))
        left.plot(ends, ends, color=MUTED, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        bars: Look = {"fmt": "none", "ecolor": MUTED, "elinewidth": 0.8, "zorder": 2}
        left.errorbar(x, y, xerr=x_sd, yerr=y_sd if any(y_sd) else None, **bars)
        dots: Look = {"color": _THEORY, "edgecolors": INK, "linewidths": 0.4, "zorder": 3}
        points = left.scatter(x, y, s=28, **dots)
        if len(told) <= _TIPS_UP_TO:
            page.tip(points, *(tip_of(history, t) for t in told))
        left.set_xlabel(f"predicted by theory, {label(name)}")
        left.set_ylabel(f"measured {label(name)}")
        left.margins(0.1)
        _rounds(right, history)
        right.set_xlabel("experiment, in the order of completion")
        page.figure.legend(loc="outside lower center", ncols=4)
    return page.svg


def _spoken(
    history: History, trials: Sequence[TrialHistory], who: str
) -> tuple[list[float], list[float]]:
    said = [_said(t, who) or (0.0, 0.0) for t in trials]
    return [history.aim.natural(mean) for mean, _ in said], [sd for _, sd in said]


def _rounds(axes: "Axes", history: History) -> None:
    observed = history.observations
    for who, colour, off, words in (
        ("theory", _THEORY, -0.14, "theory expected"),
        ("plain", _PLAIN, 0.14, "expected without theory"),
    ):
        rows = [(n, t) for n, t in enumerate(observed, 1) if _said(t, who) is not None]
        if rows:
            mean, sd = _spoken(history, [t for _, t in rows], who)
            x = [n + off for n, _ in rows]
            bars: Look = {"fmt": "o", "color": colour, "ecolor": colour, "markersize": 3.5}
            axes.errorbar(x, mean, yerr=sd, elinewidth=1.4, label=words, **bars)
    values = [history.value(t) or 0.0 for t in observed]
    sds = [t.ended.y_sd if t.ended else 0.0 for t in observed]
    look: Look = {"fmt": "D", "color": INK, "ecolor": INK, "markersize": 4, "zorder": 3}
    axes.errorbar(range(1, len(observed) + 1), values, yerr=sds, label="measured", **look)
    axes.set_xlim(0.4, max(len(observed), 2) + 0.6)
    _whole(axes)


def draw_weight(history: History) -> str:
    """Return the SVG of the weight of theory, and what each experiment spoke for; "" without."""
    told = [
        (d, weight) for d in decisions(history) if (weight := d.figure("theory_weight")) is not None
    ]
    if not told:
        return ""
    gains = [
        (n, theory - plain)
        for n, (theory, plain) in enumerate(scores(history), 1)
        if theory is not None and plain is not None
    ]
    with drawing("weight", "Weight of theory against no theory", 10.6, 3.9) as page:
        above, below = page.figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 1))
        x = [d.at for d, _ in told]
        end = max(len(history.observations), x[-1]) + 0.3
        y = [weight for _, weight in told]
        line: Look = {"color": _THEORY, "linewidth": 1.4, "where": "post", "zorder": 2}
        above.step([*x, end], [*y, y[-1]], **line)
        _experts(above, told)
        above.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        off = off_since(history)
        if off is not None:
            style: Look = {"color": BAD, "linewidth": 1.2, "linestyle": (0, (3, 2))}
            above.axvline(off, label="theory switched off", **style)
        above.set_ylim(-0.06, 1.06)
        above.set_ylabel("weight of theory")
        if gains:
            colours = [_THEORY if gain >= 0 else _PLAIN for _, gain in gains]
            below.bar([n for n, _ in gains], [g for _, g in gains], width=0.5, color=colours)
        below.axhline(0, color=MUTED, linewidth=0.8)
        below.set_ylabel("spoke for\ntheory by")
        below.set_xlabel("experiments")
        below.set_xlim(-0.3, end)
        _whole(below)
        if above.get_legend_handles_labels()[0]:
            page.figure.legend(loc="outside lower center", ncols=4)
    return page.svg


def _experts(axes: "Axes", told: Sequence[tuple[Decision, float]]) -> None:
    """Mark each experiment by who chose it."""
    for expert, (marker, colour, words) in _MARKERS.items():
        rows = [
            (d.at, weight)
            for d, weight in told
            if d.event.kind == "proposed" and d.event.why.get("expert") == expert
        ]
        if rows:
            x, y = zip(*rows, strict=True)
            look: Look = {"marker": marker, "color": colour, "edgecolors": PAPER, "s": 42}
            axes.scatter(x, y, zorder=3, label=words, **look)


def draw_worth(history: History) -> str:
    """Return the SVG of gains for their cost, and of what is uncertain; "" without either."""
    every = decisions(history)
    gains = {
        "an experiment": _course(every, "gain_per_h"),
        "the best simulation": _course(every, "simulation_gain_per_h"),
    }
    doubts = {
        "all together": _course(every, "theory_sd"),
        "emulator": _course(every, "emulator_sd"),
        "discrepancy": _course(every, "discrepancy_sd"),
    }
    if not any(gains.values()) and not any(doubts.values()):
        return ""
    name = history.aim.objective or "objective"
    unit = quantity(name, 0.0)[1:].strip()
    with drawing("worth", "Gains for an hour, and what was uncertain", 10.6, 3.7) as page:
        left, right = page.figure.subplots(1, 2)
        _lines(left, gains, (ACCENT, _THEORY))
        left.set_title("expected gain for its cost")
        left.set_ylabel(f"{title(name)} for an hour" + (f" [{unit}/h]" if unit else ""))
        _lines(right, doubts, (INK, _THEORY, SERIES[3]))
        right.set_title("uncertain at the next experiment")
        right.set_ylabel(f"standard deviation{f' [{unit}]' if unit else ''}")
    return page.svg


def _course(every: Sequence[Decision], name: str) -> list[tuple[float, float]]:
    found = [(d.at, d.figure(name)) for d in every]
    return [(at, value) for at, value in found if value is not None and value > 0]


def _lines(
    axes: "Axes", courses: Mapping[str, list[tuple[float, float]]], colours: Sequence[str]
) -> None:
    from matplotlib.ticker import LogLocator

    shown = [(w, c, k) for (w, c), k in zip(courses.items(), colours, strict=True) if c]
    for words, course, colour in shown:
        x, y = zip(*course, strict=True)
        style: Look = {"color": colour, "marker": "o", "markersize": 3.5, "linewidth": 1.3}
        axes.plot(x, y, label=words, **style)
    if shown:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_major_formatter(lambda value, _: number(value, 2))
        axes.yaxis.set_minor_formatter("")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    axes.set_xlabel(_KNOWN)
    _whole(axes)


def _whole(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
