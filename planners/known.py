"""What a planner is given and what it gives back; both cross the wire without loss and without pickle."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError
from twinloop.ids import canonical_json, seed_of
from twinloop.planners.simulations import SimulationRequest, Simulations, Theory
from twinloop.planners.space import Floats, Space

__all__ = [
    "EXPERIMENT",
    "Header",
    "Known",
    "Proposal",
    "SimulationRequest",
    "Simulations",
    "Theory",
    "proposal_seed",
    "simulations_seed",
]

EXPERIMENT = "experiment"
Header = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

_FLOATS = ("x", "y", "y_sd", "slack", "slack_sd", "pending")
_SIMULATION_ARRAYS = ("x", "theta", "values", "exceeded", "pending_x", "pending_theta")
_COUNTS = ("basis", "proposal", "seed", "campaign_seed")


def proposal_seed(campaign_seed: int, proposal: int) -> int:
    """Return the seed of proposal number `proposal`: 63 bits that depend on both."""
    return seed_of(campaign_seed, "proposal", proposal)


def simulations_seed(campaign_seed: int, batch: int) -> int:
    """Return the seed of the planning of batch number `batch` of simulations: 63 bits."""
    return seed_of(campaign_seed, "simulations", batch)


@dataclass(frozen=True, eq=False, slots=True)
class Known:
    """All that a proposal may depend on. Rows stand in the order of the journal.

    Build one with `Known.of`, which fills in what there is none of.

    Args:
        space: what the axes of the unit cube mean.
        x: where experiments were made, shape (n, d), unit cube.
        y: objective, larger is better, shape (n, 1).
        y_sd: its standard deviation, shape (n, 1); 0 where it is not known.
        slack: how far inside each constraint, shape (n, k); feasible where >= 0.
        slack_sd: its standard deviation, shape (n, k); 0 where it is not known.
        features: other measured quantities by name, each of shape (n, 2): value and standard
            deviation; NaN where a trial did not measure it.
        pending: points under way, shape (p, d), unit cube.
        theory: the theory of the campaign; None where it has none.
        simulations: predictions of theory.
        basis: number of the last journal event that this rests on.
        proposal: number of the proposal asked for, from 0.
        seed: of this proposal alone; see `proposal_seed`.
        campaign_seed: of the whole campaign, for what must be one sequence.
        memo: what the last proposal asked to be remembered (JSON).

    Raises:
        ArgumentError: a shape, a number that is not finite, a point outside the cube, a standard
            deviation below 0, or a memo that is not JSON.
    """

    space: Space
    x: Floats
    y: Floats
    y_sd: Floats
    slack: Floats
    slack_sd: Floats
    pending: Floats
    simulations: Simulations
    theory: Theory | None = None
    features: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    basis: int = 0
    proposal: int = 0
    seed: int = 0
    campaign_seed: int = 0
    memo: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, d, k = len(self.y), self.space.d, np.shape(self.slack)[-1]
        shapes = {"x": (n, d), "y": (n, 1), "y_sd": (n, 1), "slack": (n, k), "slack_sd": (n, k)}
        for name, (rows, columns) in shapes.items():
            object.__setattr__(self, name, _matrix(name, getattr(self, name), columns, rows=rows))
        object.__setattr__(self, "pending", _matrix("pending", self.pending, d))
        _check_cube("x", self.x)
        _check_cube("pending", self.pending)
        for name in ("y_sd", "slack_sd"):
            if np.any(getattr(self, name) < 0):
                raise ArgumentError(name, float(getattr(self, name).min()), ">= 0 (0: not known)")
        if self.simulations.x.shape[1] != d:
            raise ArgumentError("simulations.x", self.simulations.x.shape, f"shape (m, {d})")
        self._check_theory()
        for name, array in self.features.items():
            if len(array) != n:
                raise ArgumentError(f"features.{name}", array.shape, f"shape ({n}, ...)")
        for name in _COUNTS:
            if not 0 <= getattr(self, name) < 2**63:
                raise ArgumentError(name, getattr(self, name), "0 to 2**63 - 1")
        object.__setattr__(self, "memo", _as_json("memo", self.memo))

    def _check_theory(self) -> None:
        t, q = np.shape(self.simulations.theta)[1], np.shape(self.simulations.values)[1]
        theory = self.theory
        if theory is None:
            if self.simulations.m:
                raise ArgumentError("theory", None, "a theory, because there are simulations")
        elif (t, q) != (len(theory.names), len(theory.observables)):
            allowed = f"{len(theory.names)} parameters, {len(theory.observables)} observables"
            raise ArgumentError("simulations", f"{t} and {q}", allowed)

    @classmethod
    def of(
        cls,
        space: Space | Mapping[str, Sequence[Any]],
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        y_sd: ArrayLike | None = None,
        slack: ArrayLike | None = None,
        slack_sd: ArrayLike | None = None,
        pending: ArrayLike | None = None,
        simulations: Simulations | None = None,
        theory: Theory | None = None,
        features: Mapping[str, NDArray[Any]] | None = None,
        basis: int = 0,
        proposal: int = 0,
        campaign_seed: int = 0,
        memo: Mapping[str, Any] | None = None,
    ) -> "Known":
        """Return what is known, with nothing where an argument is left out.

        The seed of the proposal is computed from `campaign_seed` and `proposal`.

        Example:
            >>> known = Known.of({"a_K": (0, 1)}, [[0.2], [0.7]], [[1.0], [2.0]], proposal=2)
            >>> known.y_sd.shape, known.slack.shape, known.pending.shape
            ((2, 1), (2, 0), (0, 1))
        """
        axes = Space.of(space)
        ys = _blank(1) if y is None else np.asarray(y, dtype=np.float64)
        n = len(ys)
        slacks = np.zeros((n, 0)) if slack is None else np.asarray(slack, dtype=np.float64)
        return cls(
            space=axes,
            x=_given(x, _blank(axes.d)),
            y=ys,
            y_sd=_given(y_sd, np.zeros((n, 1))),
            slack=slacks,
            slack_sd=_given(slack_sd, np.zeros(slacks.shape)),
            pending=_given(pending, _blank(axes.d)),
            simulations=simulations or _none(axes.d, theory),
            theory=theory,
            features=dict(features or {}),
            basis=basis,
            proposal=proposal,
            seed=proposal_seed(campaign_seed, proposal),
            campaign_seed=campaign_seed,
            memo=dict(memo or {}),
        )

    @property
    def d(self) -> int:
        """Dimensions of the space."""
        return self.space.d

    @property
    def n(self) -> int:
        """Experiments that have been observed."""
        return len(self.y)

    @property
    def k(self) -> int:
        """Constraints."""
        return int(self.slack.shape[1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and _same_bits(self.to_wire(), other.to_wire())

    __hash__ = None  # type: ignore[assignment]

    def to_wire(self) -> tuple[Header, Arrays]:
        """Return a JSON header and the arrays beside it (little endian, C order).

        The memo is one of the arrays, as bytes: a header is small, and what a planner remembers is
        not always.
        """
        header: Header = {name: getattr(self, name) for name in _COUNTS}
        header |= {
            "space": self.space.to_json(),
            "theory": None if self.theory is None else self.theory.to_json(),
        }
        arrays: Arrays = {name: getattr(self, name) for name in _FLOATS}
        for name, array in self.simulations.to_arrays().items():
            arrays[f"simulations.{name}"] = array
        arrays |= {f"features.{name}": array for name, array in self.features.items()}
        arrays["memo"] = _packed(self.memo)
        return header, {name: _portable(array) for name, array in arrays.items()}

    @classmethod
    def from_wire(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "Known":
        """Return what `to_wire` wrote, bit for bit.

        Raises:
            ArgumentError: a part is missing or does not fit.
        """
        simulations = Simulations(
            **{name: _part(arrays, f"simulations.{name}") for name in _SIMULATION_ARRAYS}
        )
        theory = _part(header, "theory")
        prefix = "features."
        return cls(
            space=Space.from_json(_part(header, "space")),
            simulations=simulations,
            theory=None if theory is None else Theory.from_json(theory),
            features={
                name.removeprefix(prefix): array
                for name, array in arrays.items()
                if name.startswith(prefix)
            },
            memo=_unpacked(_part(arrays, "memo")),
            **{name: _part(arrays, name) for name in _FLOATS},
            **{name: _part(header, name) for name in _COUNTS},
        )


@dataclass(frozen=True, eq=False, slots=True)
class Proposal:
    """Where to look next, by which means, and why.

    Args:
        x: where, shape (d,), unit cube.
        source: "experiment": make it at `x`; the name of the simulator: make none yet, because
            `simulations` are worth more for their cost.
        simulations: what to simulate now, the most valuable first.
        withdrawn: rows of `Known.simulations.pending_x` that are not wanted any more.
        why: figures and words for `twinloop explain`, such as an acquisition value.
        memo: JSON to be given back in the next `Known.memo`.

    Raises:
        ArgumentError: simulations of unlike parameters.

    Example:
        >>> Proposal(x=np.array([0.25]), why={"initial": 1.0}).source
        'experiment'
    """

    x: Floats
    source: str = EXPERIMENT
    simulations: tuple[SimulationRequest, ...] = ()
    withdrawn: tuple[int, ...] = ()
    why: Mapping[str, float | str] = field(default_factory=dict)
    memo: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", np.array(self.x, dtype=np.float64))
        object.__setattr__(self, "why", _as_json("why", self.why))
        object.__setattr__(self, "memo", _as_json("memo", self.memo))
        object.__setattr__(self, "simulations", tuple(self.simulations))
        object.__setattr__(self, "withdrawn", tuple(int(row) for row in self.withdrawn))
        names = {tuple(sorted(request.theta)) for request in self.simulations}
        if len(names) > 1:
            raise ArgumentError("simulations", sorted(names), "the same parameters in each")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proposal) and _same_bits(self.to_wire(), other.to_wire())

    __hash__ = None  # type: ignore[assignment]

    def to_wire(self) -> tuple[Header, Arrays]:
        """Return a JSON header and the arrays beside it."""
        requests = self.simulations
        names = list(requests[0].theta) if requests else []
        header: Header = {
            "source": self.source,
            "why": self.why,
            "withdrawn": list(self.withdrawn),
            "theta_names": names,
            "reasons": [request.why for request in requests],
        }
        arrays: Arrays = {"x": _portable(self.x), "memo": _packed(self.memo)}
        if requests:
            rows = [[*r.x, *(r.theta[name] for name in names), r.gain_per_h] for r in requests]
            arrays["requests"] = _portable(np.array(rows, dtype=np.float64))
        return json.loads(canonical_json(header)), arrays

    @classmethod
    def from_wire(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "Proposal":
        """Return what `to_wire` wrote, bit for bit.

        Raises:
            ArgumentError: a part is missing.
        """
        fields = {name: _part(header, name) for name in ("source", "why", "withdrawn")}
        fields["memo"] = _unpacked(_part(arrays, "memo"))
        names, reasons = _part(header, "theta_names"), _part(header, "reasons")
        x = _part(arrays, "x")
        d = len(x)
        rows = _part(arrays, "requests") if reasons else np.zeros((0, d + len(names) + 1))
        requests = tuple(
            SimulationRequest(
                x=row[:d],
                theta=dict(zip(names, map(float, row[d:-1]), strict=True)),
                gain_per_h=float(row[-1]),
                why=reason,
            )
            for row, reason in zip(rows, reasons, strict=True)
        )
        return cls(x=x, simulations=requests, **fields)


def _none(d: int, theory: Theory | None) -> Simulations:
    if theory is None:
        return Simulations.none(d)
    return Simulations.none(d, len(theory.names), len(theory.observables))


def _blank(columns: int) -> Floats:
    return np.zeros((0, columns))


def _given(value: ArrayLike | None, otherwise: Floats) -> Floats:
    return otherwise if value is None else np.asarray(value, dtype=np.float64)


def _matrix(name: str, value: object, columns: int | None, rows: int | None = None) -> Floats:
    """Return a private C-ordered float64 copy, checked for its shape and for finite numbers."""
    array = np.array(value, dtype=np.float64, order="C")
    fits = array.ndim == 2 and columns in {None, array.shape[1]} and rows in {None, len(array)}
    if not fits:
        n, m = ("n" if size is None else size for size in (rows, columns))
        raise ArgumentError(name, array.shape, f"shape ({n}, {m})")
    if not np.all(np.isfinite(array)):
        raise ArgumentError(name, "NaN or infinity", "finite numbers")
    return array


def _check_cube(name: str, array: Floats) -> None:
    if np.any((array < 0.0) | (array > 1.0)):
        raise ArgumentError(name, [float(array.min()), float(array.max())], "points of [0, 1]^d")


def _as_json(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a private copy in plain JSON types; floats keep every bit."""
    try:
        copy: dict[str, Any] = json.loads(canonical_json(dict(value)))
    except (TypeError, ValueError) as err:
        raise ArgumentError(name, value, f"JSON with finite numbers ({err})") from err
    return copy


def _packed(memo: Mapping[str, Any]) -> NDArray[Any]:
    """Return a memo as an array of bytes."""
    return np.frombuffer(canonical_json(dict(memo)), dtype=np.uint8)


def _unpacked(array: NDArray[Any]) -> dict[str, Any]:
    try:
        memo = json.loads(array.tobytes())
    except ValueError as err:
        raise ArgumentError("memo", f"{array.nbytes} bytes", f"JSON ({err})") from err
    if not isinstance(memo, dict):
        raise ArgumentError("memo", type(memo).__name__, "a JSON object")
    return memo


def _portable(array: NDArray[Any]) -> NDArray[Any]:
    little = array.dtype.newbyteorder("<")
    return np.ascontiguousarray(array, dtype=little)


def _part(parts: Mapping[str, Any], name: str) -> Any:
    if name not in parts:
        raise ArgumentError(name, sorted(parts), f"a part called {name!r}")
    return parts[name]


def _same_bits(one: tuple[Header, Arrays], other: tuple[Header, Arrays]) -> bool:
    if canonical_json(one[0]) != canonical_json(other[0]) or one[1].keys() != other[1].keys():
        return False
    return all(
        a.dtype == other[1][name].dtype
        and a.shape == other[1][name].shape
        and a.tobytes() == other[1][name].tobytes()
        for name, a in one[1].items()
    )
