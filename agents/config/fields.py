"""The fields of a Point or an Outcome: numbers with units and limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from twinloop.limits import Limit, limit_of
from twinloop.units import Unit, unit_of

__all__ = ["NumberField", "number_fields"]

_NO_UNIT = Unit("", "dimensionless")


@dataclass(frozen=True, slots=True)
class NumberField:
    """A field that is one number.

    Args:
        name: its name.
        unit: its unit; without one it is dimensionless.
        limit: what its type allows, if it says.
    """

    name: str
    unit: Unit
    limit: Limit | None


def number_fields(model: type[BaseModel]) -> Mapping[str, NumberField]:
    """Return the fields that are one float or int, by name.

    Example:
        >>> from twinloop.protocols.interface import Point
        >>> from twinloop.units import Kelvin
        >>> class Growth(Point):
        ...     substrate_K: Kelvin
        >>> number_fields(Growth)["substrate_K"].unit.symbol
        'K'
    """
    hints = get_type_hints(model, include_extras=True)
    return {
        name: NumberField(name, unit_of(hints[name]) or _NO_UNIT, limit_of(hints[name]))
        for name in model.model_fields
        if _bare(hints[name]) in {float, int}
    }


def _bare(annotation: object) -> object:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
