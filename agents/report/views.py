"""What each instrument saw of one film: images and scans, found by the shape of their arrays.

A two-dimensional array is an image; where lengths along its sides stand beside it (`x_A`, `y_A`), it
has a scale. A one-dimensional array of counts beside an axis of angles is a scan. So a fifth
instrument shows up without a line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.campaign.events import Settled
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import History, TrialHistory
from twinloop.messages import ArrayRef

__all__ = ["Look", "View", "looks_of", "seen_most"]

Floats = NDArray[np.float64]
Look = Literal["topograph", "micrograph", "screen", "scan"]

_SMALLEST = 8
_MOST_FILMS = 2


@dataclass(frozen=True, slots=True)
class View:
    """One instrument's view of a film.

    Args:
        instrument: who saw it.
        action: by what.
        look: how it is drawn.
        name: of the array.
        values: image of shape (rows, columns), its highest y first, or counts of shape (n,).
        axis: of a scan, shape (n,); of an image, its width and height in `unit`, or nothing.
        unit: of the axis, "" for pixels.
        is_partial: the action was cut short.
    """

    instrument: str
    action: str
    look: Look
    name: str
    values: Floats
    axis: Floats
    unit: str
    is_partial: bool = False


def looks_of(trial: TrialHistory, evidence: Evidence) -> list[View]:
    """Return the last view of each instrument on a film, in the order in which they first looked."""
    found: dict[str, View | None] = {}
    for step in trial.steps:
        settled = step.settled
        if settled is None or not settled.arrays:
            continue
        view = _view(step.commanded.instrument, step.commanded.action, settled, evidence)
        if view is not None:
            found[view.instrument] = view
    return [view for view in found.values() if view is not None]


def seen_most(history: History, evidence: Evidence) -> dict[str, list[View]]:
    """Return the films that several instruments saw, by name: the best of those seen by most first."""
    seen = {t.id: looks_of(t, evidence) for t in history.trials.values()}
    most = max((len(views) for views in seen.values()), default=0)
    if most < 2:
        return {}
    ranked = sorted(
        (t for t in history.trials.values() if len(seen[t.id]) > 1),
        key=lambda t: (len(seen[t.id]), -np.inf if t.y is None else t.y),
        reverse=True,
    )
    return {trial.id: seen[trial.id] for trial in ranked[:_MOST_FILMS]}


def _view(instrument: str, action: str, settled: Settled, evidence: Evidence) -> View | None:
    refs = {ref.name.rpartition(".")[2]: ref for ref in settled.arrays}
    is_partial = settled.state == "partial"
    for name, ref in refs.items():
        if len(ref.shape) == 2 and min(ref.shape) >= _SMALLEST:
            pixels = _floats(ref, evidence)
            if pixels is None or not np.isfinite(pixels).any():
                continue
            extent = _extent(refs, ref, evidence)
            look = _look(name, bool(extent.size))
            if extent.size and _rises(refs["y_A"], evidence):
                pixels = pixels[::-1]  # up is up: a film grows towards the top of its cross-section
            unit = "A" if extent.size else ""
            return View(instrument, action, look, name, pixels, extent, unit, is_partial)
    return _scan(instrument, action, refs, evidence, is_partial=is_partial)


def _scan(
    instrument: str,
    action: str,
    refs: Mapping[str, ArrayRef],
    evidence: Evidence,
    *,
    is_partial: bool,
) -> View | None:
    angle = next((n for n, r in refs.items() if n.endswith("_deg") and len(r.shape) == 1), None)
    counts = next((n for n, r in refs.items() if "counts" in n and len(r.shape) == 1), None)
    if angle is None or counts is None or refs[angle].shape != refs[counts].shape:
        return None
    axis, values = _floats(refs[angle], evidence), _floats(refs[counts], evidence)
    if axis is None or values is None or axis.size < 2:
        return None
    return View(instrument, action, "scan", counts, values, axis, angle, is_partial)


def _extent(refs: Mapping[str, ArrayRef], image: ArrayRef, evidence: Evidence) -> Floats:
    """Return width and height of an image [A], where lengths of its sides stand beside it."""
    sides = []
    for name, count in (("x_A", image.shape[1]), ("y_A", image.shape[0])):
        if name not in refs or refs[name].shape != (count,):
            return np.zeros(0)
        places = _floats(refs[name], evidence)
        if places is None:
            return np.zeros(0)
        sides.append(float(np.ptp(places)) * count / max(count - 1, 1))
    return np.array(sides)


def _rises(ref: ArrayRef, evidence: Evidence) -> bool:
    """Return whether the second row of an image lies above the first."""
    places = _floats(ref, evidence)
    return places is not None and places.size > 1 and bool(places[0] < places[-1])


def _look(name: str, has_scale: bool) -> Look:
    if name.startswith("z_"):
        return "topograph"
    return "micrograph" if has_scale else "screen"


def _floats(ref: ArrayRef, evidence: Evidence) -> Floats | None:
    array = evidence.array(ref)
    if array is None or array.dtype.kind not in "iuf":
        return None
    return array.astype(np.float64)
