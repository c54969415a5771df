"""Units in types: a physical quantity is a float whose type says its unit.

A configuration may write a plain number (in the unit of the type) or a quantity with a unit
("410 degC", "2 min"), which pint converts; a wrong dimension is an error. Pint is imported only
when a quantity with a unit is read, so an adapter on a control PC starts without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from twinloop.errors import ArgumentError

__all__ = [
    "Amperes",
    "Angstroms",
    "Counts",
    "Degrees",
    "Dimensionless",
    "ElectronVolts",
    "ElectronsPerSquareAngstrom",
    "Hertz",
    "Hours",
    "Kelvin",
    "KelvinPerSecond",
    "KiloElectronVolts",
    "Microseconds",
    "Milliradians",
    "Monolayers",
    "MonolayersPerSecond",
    "Nanoamperes",
    "Nanometres",
    "Seconds",
    "Unit",
    "Volts",
    "parse_quantity",
    "unit_of",
]


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of an annotated float.

    Args:
        symbol: how people write it ("ML/s").
        pint: the same as a pint expression ("monolayer / second"); "" for none.
    """

    symbol: str
    pint: str


Kelvin = Annotated[float, Unit("K", "kelvin")]
KelvinPerSecond = Annotated[float, Unit("K/s", "kelvin / second")]
Seconds = Annotated[float, Unit("s", "second")]
Hours = Annotated[float, Unit("h", "hour")]
Monolayers = Annotated[float, Unit("ML", "monolayer")]
MonolayersPerSecond = Annotated[float, Unit("ML/s", "monolayer / second")]
ElectronVolts = Annotated[float, Unit("eV", "electron_volt")]
KiloElectronVolts = Annotated[float, Unit("keV", "kiloelectron_volt")]
Volts = Annotated[float, Unit("V", "volt")]
Amperes = Annotated[float, Unit("A", "ampere")]
Angstroms = Annotated[float, Unit("A", "angstrom")]
Nanoamperes = Annotated[float, Unit("nA", "nanoampere")]
Milliradians = Annotated[float, Unit("mrad", "milliradian")]
Microseconds = Annotated[float, Unit("us", "microsecond")]
Hertz = Annotated[float, Unit("Hz", "hertz")]
ElectronsPerSquareAngstrom = Annotated[float, Unit("e/A^2", "count / angstrom ** 2")]
Nanometres = Annotated[float, Unit("nm", "nanometer")]
Degrees = Annotated[float, Unit("deg", "degree")]
Counts = Annotated[float, Unit("counts", "count")]
Dimensionless = Annotated[float, Unit("", "dimensionless")]


def unit_of(annotation: object) -> Unit | None:
    """Return the unit that an annotation carries, looking through nested Annotated; else None."""
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, Unit):
                return extra
    return None


@cache
def _quantity_parser() -> Callable[[str], Any]:
    import pint

    registry: Any = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    # pint reads "ML" as megalitre: here it is the monolayer, a dimension of its own.
    registry.define("monolayer = [layer] = ML")
    parser: Callable[[str], Any] = registry.Quantity
    return parser


def parse_quantity(value: object, unit: Unit, name: str = "value") -> float:
    """Return `value` as a float in `unit`.

    Args:
        value: a number (already in `unit`) or a string with a unit, such as "410 degC".
        unit: the unit wanted.
        name: how errors call it.

    Raises:
        ArgumentError: not a number, not finite, an unknown unit, or another dimension.

    Example:
        >>> parse_quantity("2 min", Unit("s", "second"))
        120.0
    """
    allowed = f"a number in {unit.symbol or 'no unit'}, or a quantity such as '1.5 {unit.symbol}'"
    if isinstance(value, bool):
        raise ArgumentError(name, value, allowed)
    if isinstance(value, int | float):
        number = float(value)
    elif isinstance(value, str):
        try:
            number = float(_quantity_parser()(value).to(unit.pint).magnitude)
        except Exception as err:  # pint raises many kinds; each means: not this quantity
            raise ArgumentError(name, value, f"{allowed} ({err})") from err
    else:
        raise ArgumentError(name, value, allowed)
    if not abs(number) < float("inf"):
        raise ArgumentError(name, value, f"{allowed}, finite")
    return number
