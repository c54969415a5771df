"""Results of actions and computations: numbers, records, arrays.

A result is a float, int, bool, str, None, an array, or a `Result`: a frozen record whose fields are
those. On the wire it is a JSON value in which each array stands as `{"$array": name}`, beside the
arrays themselves. A protocol sees an array as its `ArrayRef`: it passes it on, it never loads it.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_origin

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from twinloop.errors import ArgumentError

__all__ = ["Array", "Result", "decode_result", "encode_result", "result_type"]

Array = NDArray[Any]
T = TypeVar("T")


class Result(BaseModel):
    """Base of a record that an action or a computation returns.

    Example:
        >>> class Grown(Result):
        ...     rate_ML_per_s: float
        >>> Grown(rate_ML_per_s=0.5).rate_ML_per_s
        0.5
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def encode_result(value: object, name: str = "result") -> tuple[Any, dict[str, Array]]:
    """Return the JSON value and the arrays of a result.

    Raises:
        ArgumentError: a type that cannot travel, or a number that is not finite.
    """
    arrays: dict[str, Array] = {}

    def walk(item: object, path: str) -> Any:
        if isinstance(item, np.ndarray):
            arrays[path] = item
            return {"$array": path}
        if isinstance(item, Result):
            return {
                field: walk(getattr(item, field), field if path == name else f"{path}.{field}")
                for field in type(item).model_fields
            }
        if isinstance(item, np.generic):
            return walk(item.item(), path)
        if isinstance(item, float) and not np.isfinite(item):
            raise ArgumentError(path, item, "a finite number")
        if item is None or isinstance(item, str | int | float | bool):
            return item
        if isinstance(item, list | tuple):
            return [walk(v, f"{path}.{i}") for i, v in enumerate(item)]
        if isinstance(item, Mapping):
            return {str(k): walk(v, f"{path}.{k}") for k, v in item.items()}
        raise ArgumentError(path, type(item).__name__, "numbers, text, arrays and Result records")

    return walk(value, name), arrays


def decode_result(value: Any, array: Callable[[str], Any], kind: object = None) -> Any:
    """Rebuild a result.

    Args:
        value: the JSON value.
        array: gives the array, or its reference, by name.
        kind: the annotated type of the result; a `Result` subclass is rebuilt as such, without
            validation of its arrays, so that a reference may stand in for an array.
    """
    if isinstance(value, dict):
        if set(value) == {"$array"}:
            return array(str(value["$array"]))
        record = result_type(kind)
        if record is not None:
            fields = record.model_fields
            return record.model_construct(
                **{
                    k: decode_result(v, array, fields[k].annotation if k in fields else None)
                    for k, v in value.items()
                }
            )
        return {k: decode_result(v, array) for k, v in value.items()}
    if isinstance(value, list):
        return [decode_result(v, array) for v in value]
    return value


def result_type(annotation: object) -> type[Result] | None:
    """Return the Result subclass that an annotation names, looking through Annotated and unions."""
    if isinstance(annotation, type) and issubclass(annotation, Result):
        return annotation
    if get_origin(annotation) is not None:
        for arg in get_args(annotation):
            if isinstance(arg, type) and issubclass(arg, Result):
                return arg
    return None
