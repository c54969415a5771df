"""What a planner knows of theory, and what it asks of it: plain data that crosses the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.planners.space import Floats

__all__ = ["Prior", "SimulationRequest", "Simulations", "Theory"]

_ARRAYS = ("x", "theta", "values", "pending_x", "pending_theta")
_FLAGS = ("exceeded",)


@dataclass(frozen=True, slots=True)
class Prior:
    """Belief about one parameter of the theory before any experiment: normal, perhaps cut off.

    Args:
        mean, sd: in the unit that the parameter's name says; sd > 0.
        at_least, at_most: where the parameter makes sense.

    Raises:
        ArgumentError: sd that is not positive, or a mean outside the bounds.
    """

    mean: float
    sd: float
    at_least: float = -float("inf")
    at_most: float = float("inf")

    def __post_init__(self) -> None:
        if not self.sd > 0:
            raise ArgumentError("prior sd", self.sd, "a number > 0")
        if not self.at_least <= self.mean <= self.at_most:
            allowed = f"{self.at_least:g} to {self.at_most:g}, the bounds"
            raise ArgumentError("prior mean", self.mean, allowed)


@dataclass(frozen=True, slots=True)
class Theory:
    """The theory of a campaign, as its configuration says it.

    Args:
        simulator: its name.
        code: version and source digest of the simulator; predictions of another one are not mixed.
        priors: belief about each parameter, by name; their order is that of every theta.
        observables: quantities that theory predicts and an experiment measures, by name; the
            objective is the first.
        is_maximised: False where a small objective is wanted.
        simulation_h: what one simulation costs [h].
        experiment_h: what one experiment costs now [h].
        left: simulations that may still be asked for.
        coordinates: combinations of knobs and parameters on which its answer depends, as arithmetic
            (see `theory.coordinates`); {}: it does not say.
        constants: values of parameters that are left out, for the coordinates.

    Raises:
        ArgumentError: no parameter, no observable, or a cost below 0.
    """

    simulator: str
    code: str
    priors: Mapping[str, Prior]
    observables: tuple[str, ...]
    is_maximised: bool = True
    simulation_h: float = 0.01
    experiment_h: float = 1.0
    left: int = 1_000_000
    coordinates: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.priors or not self.observables:
            raise ArgumentError(
                "theory", self.simulator, "one parameter and one observable at least"
            )
        if self.simulation_h < 0 or self.experiment_h < 0:
            raise ArgumentError("cost", (self.simulation_h, self.experiment_h), "numbers >= 0 h")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.priors)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; infinite bounds are left out."""
        return {
            "simulator": self.simulator,
            "code": self.code,
            # a list keeps the order, which canonical JSON would not
            "priors": [
                [name, p.mean, p.sd, _finite(p.at_least), _finite(p.at_most)]
                for name, p in self.priors.items()
            ],
            "observables": list(self.observables),
            "is_maximised": self.is_maximised,
            "simulation_h": self.simulation_h,
            "experiment_h": self.experiment_h,
            "left": self.left,
            "coordinates": [[name, text] for name, text in self.coordinates.items()],
            "constants": dict(self.constants),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Theory":
        """Return what `to_json` wrote."""
        inf = float("inf")
        priors = {
            name: Prior(mean, sd, -inf if low is None else low, inf if high is None else high)
            for name, mean, sd, low, high in body["priors"]
        }
        special = {"priors", "observables", "coordinates"}
        rest = {k: v for k, v in body.items() if k not in special}
        return cls(
            priors=priors,
            observables=tuple(body["observables"]),
            coordinates=dict(body["coordinates"]),
            **rest,
        )


def _finite(bound: float) -> float | None:
    return bound if np.isfinite(bound) else None


@dataclass(frozen=True, eq=False, slots=True)
class Simulations:
    """Bare predictions of theory at known points, one row each; empty where no theory is used.

    Args:
        x: where, shape (m, d), unit cube.
        theta: parameters of the theory, shape (m, t), in the order of `Theory.names`.
        values: predicted observables, shape (m, q), in the order of `Theory.observables`, as an
            experiment would measure them (not turned round for maximising).
        exceeded: the cost bound of the simulator was reached: a hint, no prediction; shape (m,).
        pending_x: simulations that are asked for and not answered, shape (p, d), unit cube.
        pending_theta: their parameters, shape (p, t).

    Raises:
        ArgumentError: shapes that do not fit, or numbers that are not finite.
    """

    x: Floats
    theta: Floats
    values: Floats
    exceeded: NDArray[np.bool_]
    pending_x: Floats
    pending_theta: Floats

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            array = np.array(getattr(self, name), dtype=np.float64, order="C")
            if array.ndim != 2 or not np.all(np.isfinite(array)):
                allowed = "two axes of finite numbers"
                raise ArgumentError(f"simulations.{name}", array.shape, allowed)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "exceeded", np.array(self.exceeded, dtype=bool).reshape(-1))
        m, p = len(self.x), len(self.pending_x)
        for name, rows in (("theta", m), ("values", m), ("exceeded", m), ("pending_theta", p)):
            if len(getattr(self, name)) != rows:
                found = np.shape(getattr(self, name))
                raise ArgumentError(f"simulations.{name}", found, f"{rows} rows")

    @property
    def m(self) -> int:
        """Number of predictions."""
        return len(self.x)

    @property
    def n_usable(self) -> int:
        """Number of predictions that are no mere hint."""
        return int(np.count_nonzero(~self.exceeded))

    @classmethod
    def none(cls, d: int, t: int = 0, q: int = 0) -> "Simulations":
        """Return no simulations in `d` dimensions, of `t` parameters and `q` observables."""
        return cls(
            x=np.zeros((0, d)),
            theta=np.zeros((0, t)),
            values=np.zeros((0, q)),
            exceeded=np.zeros(0, dtype=bool),
            pending_x=np.zeros((0, d)),
            pending_theta=np.zeros((0, t)),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return {name: getattr(self, name) for name in (*_ARRAYS, *_FLAGS)}


@dataclass(frozen=True, eq=False, slots=True)
class SimulationRequest:
    """One simulation that a planner wants.

    Args:
        x: where, shape (d,), unit cube.
        theta: parameters, by name.
        gain_per_h: what it is expected to be worth for its cost; the larger, the sooner.
        why: in a word, such as "design" or "refine".
    """

    x: Floats
    theta: Mapping[str, float] = field(default_factory=dict)
    gain_per_h: float = 0.0
    why: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", np.array(self.x, dtype=np.float64))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "x": [float(v) for v in self.x],
            "theta": {name: float(v) for name, v in self.theta.items()},
            "gain_per_h": float(self.gain_per_h),
            "why": self.why,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "SimulationRequest":
        """Return what `to_json` wrote, bit for bit."""
        return cls(
            x=np.array(body["x"], dtype=np.float64),
            theta=dict(body["theta"]),
            gain_per_h=body["gain_per_h"],
            why=body["why"],
        )
