"""What the planner believes of the objective in the end: asked of the planner itself.

The belief stands in no event; it is what the planner makes of the whole journal, as for one more
proposal. Where the planner gives none, or fails, there is no map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.campaign.known import known_at
from twinloop.agents.campaign.reading import read_state
from twinloop.agents.campaign.theory import theory_of
from twinloop.agents.report.aims import knobs_of
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import History, TrialHistory
from twinloop.errors import ArgumentError
from twinloop.planners.known import Known
from twinloop.planners.registry import resolve
from twinloop.planners.space import Dimension, Space

__all__ = ["Believer", "Slice", "slice_of", "space_of"]

_GRID = 33
_LEVELS = 7
_BASES = 6
_CLOSE = 1e-6
_MOST_KNOBS = 6
Floats = NDArray[np.float64]


@runtime_checkable
class Believer(Protocol):
    """A planner that says what it believes."""

    def belief(self, known: Known, x: Floats) -> Mapping[str, Floats]:
        """Return `mean` and `sd` of the objective at x, shape (n, d), large is good; (n,) each."""
        ...


@dataclass(frozen=True)
class Slice:
    """The belief on a slice of the search space through the best experiment.

    Args:
        axes: the conditions it spans, one or two.
        mean, sd: of the objective in its own sense, shape (g,), or (g, g) with the second axis up.
        through: the experiment it goes through.
        places: where each observation lies on it, unit cube, shape (n, axes).
        distances: of each observation from it, unit cube, shape (n,).
        n_knobs: conditions in all.
    """

    axes: tuple[Dimension, ...]
    mean: Floats
    sd: Floats
    through: TrialHistory
    places: Floats
    distances: Floats
    n_knobs: int


def slice_of(history: History, evidence: Evidence) -> Slice:
    """Return the belief over the two conditions that matter most to it.

    Raises:
        Exception: whatever keeps the planner from answering; it is another person's code.
    """
    config = dict(history.config)
    planner = resolve(dict(config["planner"]))
    if not isinstance(planner, Believer):
        raise ArgumentError("planner", type(planner).__name__, "one with a method `belief`")
    best = history.best or next(iter(history.observations), None)
    if best is None or best.proposed is None:
        raise ArgumentError("observations", 0, "one at least")
    state = read_state(evidence.folder)
    space = space_of(history)
    known = known_at(state, space, len(state.proposed), theory_of(config))
    place = np.array(best.proposed.x)
    chosen = _most_important(planner, known, place)
    grid = np.tile(place, (_GRID ** len(chosen), 1))
    mesh = np.meshgrid(*[np.linspace(0.0, 1.0, _GRID)] * len(chosen), indexing="xy")
    for axis, values in zip(chosen, mesh, strict=True):
        grid[:, axis] = values.ravel()
    mean, sd = _ask(planner, known, grid)
    shape = (_GRID,) * len(chosen)
    observed = np.array([t.proposed.x for t in history.observations if t.proposed is not None])
    rest = [j for j in range(space.d) if j not in chosen]
    return Slice(
        axes=tuple(space.dimensions[j] for j in chosen),
        mean=(mean if history.aim.is_maximised else -mean).reshape(shape),
        sd=sd.reshape(shape),
        through=best,
        places=observed[:, list(chosen)],
        distances=np.linalg.norm(observed[:, rest] - place[rest], axis=1),
        n_knobs=space.d,
    )


def space_of(history: History) -> Space:
    """Return the search space with its axes in the order of the proposals.

    The journal sorts the names of the conditions; their order is found from points and places.

    Raises:
        ArgumentError: no range for a condition, or no order that fits.
    """
    ranges = knobs_of(history.config)
    names = history.knobs
    dimensions = {}
    for name in names:
        knob = ranges.get(name)
        if knob is None or knob.low is None or knob.high is None:
            raise ArgumentError("search", sorted(ranges), f"a range of {name}")
        scale = "log" if knob.is_log else "linear"
        dimensions[name] = Dimension(name, knob.low, knob.high, scale)  # type: ignore[arg-type]
    orders: list[Sequence[str]] = [names, sorted(names)]
    orders += permutations(names) if len(names) <= _MOST_KNOBS else ()
    for order in orders:
        space = Space(tuple(dimensions[name] for name in order))
        if all(_fits(space, event.point, event.x) for event in history.proposed.values()):
            return space
    raise ArgumentError("points", len(history.proposed), "places of the unit cube that fit them")


def _fits(space: Space, point: Mapping[str, float], x: Sequence[float]) -> bool:
    if len(x) != space.d or set(point) != set(space.names):
        return False
    return bool(np.allclose(space.to_cube(point), x, atol=_CLOSE))


def _most_important(planner: Believer, known: Known, place: Floats) -> tuple[int, ...]:
    """Return the two axes along which the expected objective varies most, in their order."""
    if known.d <= 2:
        return tuple(range(known.d))
    bases = np.vstack([place[None, :], known.x[: _BASES - 1]])
    levels = np.linspace(0.0, 1.0, _LEVELS)
    points = np.tile(bases[:, None, None, :], (1, known.d, _LEVELS, 1))
    for axis in range(known.d):
        points[:, axis, :, axis] = levels
    mean, _ = _ask(planner, known, points.reshape(-1, known.d))
    swing = mean.reshape(len(bases), known.d, _LEVELS).std(axis=2).mean(axis=0)
    return tuple(sorted(int(j) for j in np.argsort(-swing, kind="stable")[:2]))


def _ask(planner: Believer, known: Known, x: Floats) -> tuple[Floats, Floats]:
    found: Any = planner.belief(known, x)
    if "mean" not in found or "sd" not in found:
        raise ArgumentError("belief", sorted(found), "mean and sd")
    mean, sd = (np.asarray(found[name], dtype=np.float64) for name in ("mean", "sd"))
    if mean.shape != (len(x),) or sd.shape != (len(x),) or not np.all(np.isfinite(mean + sd)):
        raise ArgumentError("belief", mean.shape, f"{len(x)} finite numbers")
    return mean, sd
