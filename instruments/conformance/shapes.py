"""Is a value what its annotation says, and can it travel?"""

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
from pydantic import BaseModel

from twinloop.results import Result
from twinloop.units import unit_of

__all__ = ["emit_complaint", "is_number_type", "names_its_unit", "shape_complaint", "untravelled"]

_UNIT_WORDS = frozenset(
    [
        "K",
        "degC",
        "s",
        "ms",
        "us",
        "min",
        "h",
        "Hz",
        "kHz",
        "MHz",
        "V",
        "mV",
        "kV",
        "A",
        "mA",
        "uA",
        "nA",
        "pA",
        "W",
        "mW",
        "eV",
        "keV",
        "meV",
        "J",
        "N",
        "m",
        "mm",
        "um",
        "nm",
        "pm",
        "Pa",
        "hPa",
        "mbar",
        "bar",
        "Torr",
        "deg",
        "rad",
        "mrad",
        "ML",
        "nC",
        "C",
        "T",
        "mT",
        "F",
        "H",
        "ohm",
        "counts",
        "cts",
        "e",
        "px",
        "pixels",
        "frames",
        "percent",
        "dB",
        "nS",
        "S",
        "kg",
        "g",
        "mg",
        "ug",
        "L",
        "mL",
        "mol",
        "M",
        "ppm",
    ]
)


def shape_complaint(value: object, annotation: object) -> str | None:
    """Return what is wrong with a value, None when it is as annotated.

    Example:
        >>> shape_complaint("hot", float)
        "a float is annotated, a str was returned: 'hot'"
    """
    if _is_like(value, annotation):
        return None
    return f"a {_name_of(annotation)} is annotated, a {type(value).__name__} was returned: {value!r:.80}"


def _is_like(value: object, annotation: object) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_like(value, get_args(annotation)[0])
    if annotation is Any:
        return True
    if annotation is None or annotation is type(None):
        return value is None
    if origin in {types.UnionType, typing.Union}:
        return any(_is_like(value, one) for one in get_args(annotation))
    if origin is Literal:
        return value in get_args(annotation)
    if origin is np.ndarray:
        return isinstance(value, np.ndarray)
    if annotation is float:
        is_real = isinstance(value, int | float | np.floating | np.integer)
        return is_real and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return isinstance(value, annotation) and all(
            _is_like(getattr(value, name), field.annotation)
            for name, field in annotation.model_fields.items()
        )
    wanted = origin or annotation
    if wanted is tuple:
        return isinstance(value, list | tuple)
    return not isinstance(wanted, type) or isinstance(value, wanted)


def _name_of(annotation: object) -> str:
    if get_origin(annotation) is Annotated:
        return _name_of(get_args(annotation)[0])
    return getattr(annotation, "__name__", str(annotation))


def emit_complaint(numbers: object, arrays: object) -> str:
    """Return what is wrong with an element of a stream; "" when nothing is."""
    if not isinstance(numbers, Mapping) or not isinstance(arrays, Mapping):
        return "numbers and arrays are two mappings"
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float | np.number):
            return f"{name} is a {type(number).__name__}: {number!r:.60}"
        if not np.isfinite(number):
            return f"{name} is {number}"
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
            return f"{name} is no numeric array"
        if array.dtype.kind in "fc" and np.isinf(array).any():
            return f"{name} holds infinities"
    return ""


def is_number_type(annotation: object) -> bool:
    """Return True for a float, however it is annotated; a whole number is a count, and needs no unit."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return is_number_type(get_args(annotation)[0])
    if origin in {types.UnionType, typing.Union}:
        return any(is_number_type(one) for one in get_args(annotation))
    return annotation is float


def names_its_unit(name: str, annotation: object) -> bool:
    """Return True when a number's type or name says its unit.

    Example:
        >>> names_its_unit("charge_nC", float), names_its_unit("charge", float)
        (True, False)
    """
    if unit_of(annotation) is not None:
        return True
    if any(unit_of(one) is not None for one in get_args(annotation)):
        return True
    last = name.rpartition("_")[2]
    return "_" in name and (last in _UNIT_WORDS or "_per_" in name)


def untravelled(annotation: object, seen: frozenset[object] = frozenset()) -> str:
    """Return why values of a type cannot travel as a result; "" when they can."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return untravelled(get_args(annotation)[0], seen)
    if annotation in {None, type(None), float, int, str, bool, Any} or origin in {
        np.ndarray,
        Literal,
    }:
        return ""
    if isinstance(annotation, type) and issubclass(annotation, Result):
        if annotation in seen:
            return ""
        fields = annotation.model_fields.items()
        inner = (untravelled(field.annotation, seen | {annotation}) for _, field in fields)
        return next((why for why in inner if why), "")
    if origin in {types.UnionType, typing.Union, list, tuple, dict}:
        inner = (untravelled(a, seen) for a in get_args(annotation) if a is not Ellipsis)
        return next((why for why in inner if why), "")
    if annotation in {list, tuple, dict} or annotation is np.ndarray:
        return ""
    return f"{_name_of(annotation)} is no number, text, array or Result"
