"""Limits of physical quantities, written into types."""

from dataclasses import dataclass
from typing import Annotated, get_args, get_origin

from twinloop.errors import ArgumentError, LimitViolation

__all__ = ["Limit", "limit_of"]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a quantity may be, in the unit of the type that carries it.

    Args:
        low, high: inclusive bounds.
        rate_per_s: fastest change while the instrument moves to the value [unit/s]; None for any.

    Example:
        >>> Limit(293, 1423, rate_per_s=1).check("hold_K", 2000.0, "K")
        Traceback (most recent call last):
        ...
        twinloop.errors.LimitViolation: hold_K: requested 2000 K, allowed 293 to 1423 K; ...
    """

    low: float
    high: float
    rate_per_s: float | None = None

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ArgumentError("Limit", (self.low, self.high), "low <= high, both finite")
        # Annotated types with equal limits are one object, whichever was made first: 5 and 5.0 would
        # be described now in one way, now in the other.
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        if self.rate_per_s is not None:
            object.__setattr__(self, "rate_per_s", float(self.rate_per_s))

    def check(self, name: str, value: float, unit: str = "", where: str = "") -> float:
        """Return `value` when it is inside.

        Raises:
            LimitViolation: outside, or not a number.
        """
        if not self.low <= value <= self.high:
            raise LimitViolation(name, value, self.low, self.high, unit, where)
        return value


def limit_of(annotation: object) -> Limit | None:
    """Return the innermost Limit that an annotation carries; else None."""
    found = None
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, Limit):
                found = extra
    return found
