"""Traces and pictures that a trial left: found by the shape of its arrays, not by their names.

A result with one-dimensional arrays of one length, one of which is a time, is a trace; a
two-dimensional array is a picture. So any protocol's RHEED, photoluminescence or camera shows up.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.campaign.events import Computed, Settled
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import TrialHistory
from twinloop.agents.report.words import unit_of_name
from twinloop.messages import ArrayRef

__all__ = ["Period", "Trace", "period_of", "picture_of", "trace_of"]

Floats = NDArray[np.float64]
_SMALLEST_PICTURE = 8
_UNNAMED = "result"


@dataclass(frozen=True, slots=True)
class Trace:
    """One quantity against time.

    Args:
        source: step that gave it ("rheed.record").
        name: of the quantity.
        time_name: of the time axis.
        time, values: shape (n,), finite, n > 1.
        is_partial: the step was cut short.
    """

    source: str
    name: str
    time_name: str
    time: Floats
    values: Floats
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Period:
    """Oscillation period that an analyst gave [s].

    Args:
        period_s: the period [s].
        sd_s: its standard deviation, 0 for unknown [s].
        source: quantity it was taken from.
        n_maxima: maxima that stand out of the noise, where the analyst counted them.
    """

    period_s: float
    sd_s: float
    source: str
    n_maxima: float | None = None


def trace_of(trial: TrialHistory, evidence: Evidence) -> Trace | None:
    """Return the last trace of a trial, or None."""
    for event in reversed(trial.results):
        refs = [ref for ref in event.arrays if len(ref.shape) == 1 and ref.shape[0] > 1]
        time = next((ref for ref in refs if _leaf(ref).startswith("time")), None)
        if time is None:
            continue
        for ref in refs:
            if ref is time or ref.shape != time.shape:
                continue
            axis, values = _floats(evidence.array(time)), _floats(evidence.array(ref))
            if axis is None or values is None:
                continue
            whole = np.isfinite(axis) & np.isfinite(values)
            if whole.sum() < 2:
                continue
            axis, values = axis[whole], values[whole]
            name, is_partial = _leaf(ref), event.state == "partial"
            return Trace(_source(trial, event), name, _leaf(time), axis, values, is_partial)
    return None


def picture_of(trial: TrialHistory, evidence: Evidence) -> tuple[str, Floats] | None:
    """Return the last picture of a trial with the step that took it, or None."""
    for event in reversed(trial.results):
        for ref in event.arrays:
            if len(ref.shape) == 2 and min(ref.shape) >= _SMALLEST_PICTURE:
                pixels = _floats(evidence.array(ref))
                if pixels is not None and np.isfinite(pixels).any():
                    return _source(trial, event), pixels
    return None


def period_of(trial: TrialHistory) -> Period | None:
    """Return the oscillation period from the analysts' results, directly or from a rate.

    An oscillation is one monolayer, so a rate of r ML/s is a period of 1/r. What an instrument said
    itself (its gauge) is no analysis, nor is the outcome of the protocol, which may repeat it.
    """
    for event in trial.computed:
        figures = dict(_numbers(event.name.rpartition(".")[2], event.result))
        named = [(n, v) for n, v in figures.items() if event.state == "done" and v > 0]
        n_maxima = figures.get("maxima")
        for name, value in named:
            if name.endswith("period_s"):
                sd_s = _sd(figures, name) or value * _relative_rate_sd(figures)
                return Period(value, sd_s, f"{event.name}.{name}", n_maxima)
        for name, value in named:
            if name.endswith("rate_ML_per_s"):
                sd_s = _sd(figures, name) / value**2
                return Period(1.0 / value, sd_s, event.name, n_maxima)
    return None


def _sd(figures: Mapping[str, float], name: str) -> float:
    """Return the standard deviation beside a figure: `rate_sd_ML_per_s` or `rate_ML_per_s_sd`."""
    bare = unit_of_name(name)[0]
    infix = f"{bare}_sd{name.removeprefix(bare)}"
    return figures.get(infix, figures.get(f"{name}_sd", 0.0))


def _relative_rate_sd(figures: Mapping[str, float]) -> float:
    rate = figures.get("rate_ML_per_s", 0.0)
    return _sd(figures, "rate_ML_per_s") / rate if rate > 0 else 0.0


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(str(key), part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def _source(trial: TrialHistory, event: Settled | Computed) -> str:
    if isinstance(event, Computed):
        return event.name
    steps = (step.commanded for step in trial.steps if step.commanded.key == event.key)
    return next((f"{c.instrument}.{c.action}" for c in steps), event.instrument)


def _leaf(ref: ArrayRef) -> str:
    name = ref.name.rpartition(".")[2]
    return "" if name == _UNNAMED else name


def _floats(array: NDArray[Any] | None) -> Floats | None:
    if array is None or array.dtype.kind not in "iuf":
        return None
    return array.astype(np.float64)
