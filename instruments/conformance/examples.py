"""Arguments for a rehearsal: harmless ones from default, limit and type, and wrong ones."""

import inspect
import random
import types
import typing
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from twinloop.errors import LabError
from twinloop.ids import canonical_json
from twinloop.instruments.interface import ParameterSpec
from twinloop.limits import Limit

__all__ = ["NoExample", "example", "outside", "wrong_values"]

QUICK_S, LASTING_S = 0.2, 4.0
"""How long a generated duration is, for a quick and for a lasting run [s, real]."""

_DURATIONS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_SHARE = 0.3
_FAR = 1e6
_N_RANDOM = 6
_CANDIDATES: tuple[Any, ...] = (
    "5", "no such word", True, None, [1.0], {"a": 1.0}, 1.5, 7, [["x"]], "",
)  # fmt: skip

_BASES = frozenset({int, str, bool})


class NoExample(LabError):
    """An argument for which no harmless value can be guessed."""

    def __init__(self, action: str, argument: str) -> None:
        self.action, self.argument = action, argument
        super().__init__(
            f"no harmless value of {action}.{argument} can be guessed; "
            f'give one in the rehearsal: examples = {{"{action}": {{"{argument}": ...}}}}'
        )


def example(action: str, parameter: ParameterSpec, clock_factor: float, *, lasting: bool) -> Any:
    """Return a harmless value.

    Args:
        action: for errors.
        parameter: what it is for.
        clock_factor: laboratory seconds in one real second.
        lasting: durations are some seconds long.

    Raises:
        NoExample: none can be guessed.
    """
    limit, default = parameter.limit, parameter.default
    has_default = default is not inspect.Parameter.empty
    if parameter.type_name == "float":
        if parameter.unit in _DURATIONS:
            real_s = LASTING_S if lasting else QUICK_S
            return _clamped(real_s * clock_factor / _DURATIONS[parameter.unit], limit)
        if has_default:
            return default
        return 1.0 if limit is None else limit.low + _SHARE * (limit.high - limit.low)
    if has_default:
        return TypeAdapter(Any).dump_python(default, mode="json")
    return _other(action, parameter, parameter.annotation, limit)


def _other(action: str, parameter: ParameterSpec, annotation: Any, limit: Limit | None) -> Any:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _other(action, parameter, get_args(annotation)[0], limit)
    if origin is Literal:
        return get_args(annotation)[0]
    if origin in {types.UnionType, typing.Union} and type(None) in get_args(annotation):
        return None
    if annotation is bool:
        return False
    if annotation is int:
        return 1 if limit is None else int(_clamped(1, limit))
    if annotation is str:
        return "a"
    raise NoExample(action, parameter.name)


def _clamped(value: float, limit: Limit | None) -> float:
    return value if limit is None else min(max(value, limit.low), limit.high)


def outside(limit: Limit, seed: int) -> list[float]:
    """Return numbers just outside, far outside and somewhere outside a limit."""
    span = max(limit.high - limit.low, 1e-9, 1e-9 * abs(limit.high))
    edge = 1e-6 * max(span, abs(limit.low), abs(limit.high))
    draw = random.Random(seed)  # noqa: S311 - no secret
    somewhere = [draw.choice((-1, 1)) * 10 ** draw.uniform(0, 12) * span for _ in range(_N_RANDOM)]
    found = [limit.low - edge, limit.high + edge, limit.low - _FAR * span, limit.high + _FAR * span]
    return [x for x in [*found, *somewhere, 1e308, -1e308] if not limit.low <= x <= limit.high]


def wrong_values(parameter: ParameterSpec) -> list[Any]:
    """Return JSON values that are of another type than the argument; none where anything goes."""
    if parameter.type_name == "float":
        return [c for c in _CANDIDATES if isinstance(c, bool) or not isinstance(c, int | float)]
    if parameter.annotation in {None, Any, object}:
        return []
    base = parameter.annotation
    while get_origin(base) is Annotated:
        base = get_args(base)[0]
    if base in _BASES:
        # by the base type: a validator that makes a number of a word is no licence for words
        return [c for c in _CANDIDATES if type(c) is not base]
    adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation)
    wrong = []
    for candidate in _CANDIDATES:
        try:
            adapter.validate_json(canonical_json(candidate), strict=True)
        except ValidationError:
            wrong.append(candidate)
    return wrong
