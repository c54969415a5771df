"""The course of the campaign: each measurement, the best so far, and what the model had expected."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twinloop.agents.report.choice import Choice, choice_of, predicted, surprise
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
from twinloop.agents.report.words import label, number, quantity, title, with_sd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_expected", "draw_objective", "tip_of"]

_TIPS_UP_TO = 400
_MARKERS = {
    Choice.OPENING: ("o", SERIES[0], PAPER, "opening (even spread, no model)"),
    Choice.MODEL: ("o", SERIES[0], SERIES[0], "chosen by the model"),
    Choice.FALLBACK: ("D", SERIES[1], SERIES[1], "fallback point"),
    Choice.OTHER: ("s", SERIES[0], SERIES[0], "chosen by the planner"),
}


def draw_objective(history: History) -> str:
    """Return the SVG of the objective against experiments; "" without an observation."""
    from matplotlib.ticker import MaxNLocator

    observed = history.observations
    if not observed:
        return ""
    name = history.aim.objective or "objective"
    words = f"{title(name)} of {len(observed)} experiments with error bars and the best so far"
    with drawing("objective", words, 7.0, 4.0) as page:
        axes = page.figure.add_subplot()
        for choice in Choice:
            numbered = [
                (n, t) for n, t in enumerate(observed, 1) if choice_of(t.proposed) is choice
            ]
            if numbered:
                _points(page, axes, history, choice, numbered)
        _infeasible(axes, history, observed)
        _running_best(axes, history, observed)
        _mark_best(axes, history, observed)
        axes.set_xlabel("experiment, in the order of completion")
        axes.set_ylabel(label(name))
        axes.set_xlim(0.4, max(len(observed), 2) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(y=0.12)
        page.figure.legend(loc="outside lower center", ncols=3)
    return page.svg


def _points(
    page: Drawing,
    axes: "Axes",
    history: History,
    choice: Choice,
    numbered: Sequence[tuple[int, TrialHistory]],
) -> None:
    marker, edge, face, words = _MARKERS[choice]
    x = [n for n, _ in numbered]
    y = [history.value(t) or 0.0 for _, t in numbered]
    sd = [t.ended.y_sd if t.ended else 0.0 for _, t in numbered]
    if any(sd):
        axes.errorbar(x, y, yerr=sd, fmt="none", ecolor=MUTED, elinewidth=1, capsize=2, zorder=2)
    look: Look = {"marker": marker, "s": 34, "edgecolors": edge, "facecolors": face, "zorder": 3}
    found = axes.scatter(x, y, label=words, **look)
    if len(history.observations) <= _TIPS_UP_TO:
        page.tip(found, *(tip_of(history, trial) for _, trial in numbered))


def _infeasible(axes: "Axes", history: History, observed: Sequence[TrialHistory]) -> None:
    outside = [(n, history.value(t) or 0.0) for n, t in enumerate(observed, 1) if not t.is_feasible]
    if outside:
        x, y = zip(*outside, strict=True)
        axes.scatter(x, y, marker="x", s=60, c=BAD, zorder=4, label="breaks a constraint")


def _running_best(axes: "Axes", history: History, observed: Sequence[TrialHistory]) -> None:
    x: list[float] = []
    y: list[float] = []
    best: float | None = None
    for n, trial in enumerate(observed, 1):
        if trial.y is not None and trial.is_feasible and (best is None or trial.y > best):
            best = trial.y
        if best is not None:
            x.append(n)
            y.append(history.aim.natural(best))
    if x:
        style: Look = {"color": ACCENT, "linewidth": 1.8, "zorder": 1.5, "label": "best so far"}
        axes.step([*x, x[-1] + 0.5], [*y, y[-1]], where="post", **style)


def _mark_best(axes: "Axes", history: History, observed: Sequence[TrialHistory]) -> None:
    best = history.best
    if best is None:
        return
    n, value = observed.index(best) + 1, history.value(best) or 0.0
    axes.scatter(
        [n], [value], s=150, facecolors="none", edgecolors=ACCENT, linewidths=1.6, zorder=5
    )
    is_right = n > 0.7 * len(observed)
    axes.annotate(
        f"best: {number(value)} ({best.id})",
        (n, value),
        xytext=(-10 if is_right else 10, 10 if history.aim.is_maximised else -16),
        textcoords="offset points",
        ha="right" if is_right else "left",
        color=ACCENT,
        fontweight="bold",
        fontsize=9,
    )


def draw_expected(history: History) -> str:
    """Return the SVG of measured against expected values; "" where no model expected anything."""
    pairs = [
        (trial, expected)
        for trial in history.observations
        if (expected := predicted(trial.proposed)) is not None
    ]
    if not pairs:
        return ""
    name = history.aim.objective or "objective"
    with drawing("expected", f"{title(name)}: measured against expected", 3.6, 4.0) as page:
        axes = page.figure.add_subplot()
        x = [history.aim.natural(mean) for _, (mean, _) in pairs]
        y = [history.value(t) or 0.0 for t, _ in pairs]
        y_sd = [t.ended.y_sd if t.ended else 0.0 for t, _ in pairs]
        ends = (min(*x, *y), max(*x, *y))
        axes.plot(ends, ends, color=MUTED, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        axes.errorbar(
            x,
            y,
            xerr=[sd for _, (_, sd) in pairs],
            yerr=y_sd if any(y_sd) else None,
            fmt="none",
            ecolor=MUTED,
            elinewidth=0.8,
            zorder=2,
        )
        points = axes.scatter(x, y, s=26, color=SERIES[0], edgecolors=INK, linewidths=0.4, zorder=3)
        if len(pairs) <= _TIPS_UP_TO:
            page.tip(points, *(tip_of(history, trial) for trial, _ in pairs))
        axes.set_xlabel(f"expected {label(name)}")
        axes.set_ylabel(f"measured {label(name)}")
        axes.margins(0.1)
    return page.svg


def tip_of(history: History, trial: TrialHistory) -> str:
    """Return the hover text of a trial: value, conditions, who chose it, surprise."""
    sd = trial.ended.y_sd if trial.ended else 0.0
    name = history.aim.objective
    lines = [f"{trial.id}: {title(name)} {with_sd(history.value(trial), sd)}"]
    lines += [
        f"{title(k)} {quantity(k, trial.point[k])}" for k in history.knobs if k in trial.point
    ]
    lines.append(_MARKERS[choice_of(trial.proposed)][3])
    sigmas = surprise(trial.proposed, trial.ended)
    if sigmas is not None:
        lines.append(f"{abs(sigmas):.1f} sd from what was expected")
    return "\n".join(lines)
