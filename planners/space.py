"""The search space: physical values outside, the unit cube inside.

Campaigns, reports and instruments speak in physical values with units; planners see only the unit
cube, so that no kernel, no prior and no optimiser depends on the choice of a unit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["Dimension", "Floats", "Scale", "Space"]

Scale = Literal["linear", "log"]
Floats = NDArray[np.float64]

# A value written by hand or computed in another order may miss a bound by some rounding errors.
_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Dimension:
    """One knob that a planner may turn.

    Args:
        name: the field of the Point, with its unit ("substrate_K").
        low: lowest value, in `unit`.
        high: highest value, in `unit`; above `low`.
        scale: "log" where a factor, not a difference, is what counts; then `low` > 0.
        unit: how people write the unit ("K"); "" for none.

    Raises:
        ArgumentError: bounds that are not finite or not in order, or a scale that does not fit.

    Example:
        >>> Dimension("flux_ML_per_s", 0.01, 1.0, scale="log").to_cube(0.1)
        0.5
    """

    name: str
    low: float
    high: float
    scale: Scale = "linear"
    unit: str = ""

    def __post_init__(self) -> None:
        where = f"space.{self.name}"
        if not self.name:
            raise ArgumentError("space", self.name, "a name for each dimension")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ArgumentError(where, (self.low, self.high), "two finite numbers, low < high")
        if self.scale not in {"linear", "log"}:
            raise ArgumentError(f"{where}.scale", self.scale, "linear, log")
        if self.scale == "log" and self.low <= 0:
            raise ArgumentError(f"{where}.low", self.low, "a number > 0 on a log scale")
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))

    def to_cube(self, value: float) -> float:
        """Return where `value` [unit] lies between the bounds, 0 to 1.

        Raises:
            ArgumentError: not a number, or outside the bounds by more than rounding.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArgumentError(self.name, value, f"a number in {self.unit or 'no unit'}")
        margin = _EDGE * (self.high - self.low)
        if not self.low - margin <= value <= self.high + margin:
            raise ArgumentError(
                self.name, value, f"{self.low:g} to {self.high:g} {self.unit}".rstrip()
            )
        inside = min(max(float(value), self.low), self.high)
        if self.scale == "log":
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def to_value(self, share: float) -> float:
        """Return the value [unit] at `share` (0 to 1) of the way; the ends give the bounds exactly."""
        if share <= 0.0:
            return self.low
        if share >= 1.0:
            return self.high
        if self.scale == "log":
            value = self.low * math.exp(share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, slots=True)
class Space:
    """The dimensions of a search, in order; axis j of the unit cube is dimension j.

    Raises:
        ArgumentError: no dimension, or a name that stands twice.

    Example:
        >>> space = Space.of({"substrate_K": (500, 800), "flux_ML_per_s": (0.05, 0.5, "log")})
        >>> space.to_cube({"substrate_K": 650.0, "flux_ML_per_s": 0.05})
        array([0.5, 0. ])
    """

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        names = self.names
        if not names:
            raise ArgumentError("space", {}, "at least one dimension")
        if len(set(names)) < len(names):
            raise ArgumentError("space", list(names), "each name once")

    @classmethod
    def of(cls, bounds: "Space | Mapping[str, Sequence[Any]]") -> "Space":
        """Return a space from `{name: (low, high)}` or `{name: (low, high, "log")}`."""
        if isinstance(bounds, Space):
            return bounds
        if not isinstance(bounds, Mapping):
            raise ArgumentError(
                "space", bounds, "{name: (low, high)} or {name: (low, high, 'log')}"
            )
        return cls(tuple(_dimension(name, given) for name, given in bounds.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the axes."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def d(self) -> int:
        """How many dimensions."""
        return len(self.dimensions)

    def to_cube(self, point: Mapping[str, float]) -> Floats:
        """Return the place of a physical point in the unit cube, shape (d,).

        Raises:
            ArgumentError: a name too many or too few, or a value outside its bounds.
        """
        if set(point) != set(self.names):
            raise ArgumentError("point", sorted(point), f"exactly {', '.join(self.names)}")
        return np.array([dim.to_cube(point[dim.name]) for dim in self.dimensions], dtype=np.float64)

    def to_point(self, x: Floats) -> dict[str, float]:
        """Return the physical values of a place `x` in the unit cube, shape (d,).

        Raises:
            ArgumentError: another shape, or a place outside the cube.
        """
        place = np.asarray(x, dtype=np.float64)
        if place.shape != (self.d,):
            raise ArgumentError("x", place.shape, f"shape ({self.d},)")
        if not bool(np.all((place >= 0.0) & (place <= 1.0))):
            raise ArgumentError("x", place.tolist(), "0 to 1 in each dimension")
        shares = place.tolist()
        return {
            dim.name: dim.to_value(share)
            for dim, share in zip(self.dimensions, shares, strict=True)
        }

    def to_json(self) -> list[dict[str, Any]]:
        """Return the space as JSON; `from_json` gives it back exactly."""
        return [
            {"name": d.name, "low": d.low, "high": d.high, "scale": d.scale, "unit": d.unit}
            for d in self.dimensions
        ]

    @classmethod
    def from_json(cls, rows: Sequence[Mapping[str, Any]]) -> "Space":
        """Return the space that `to_json` wrote."""
        return cls(tuple(Dimension(**row) for row in rows))


def _dimension(name: str, given: Sequence[Any]) -> Dimension:
    numbers = list(given[:2])
    scale: Any = given[2] if len(given) == 3 else "linear"
    if len(given) not in {2, 3} or not all(isinstance(n, int | float) for n in numbers):
        raise ArgumentError(f"space.{name}", given, "(low, high) or (low, high, 'log')")
    return Dimension(name, numbers[0], numbers[1], scale)
