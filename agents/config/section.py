"""Parts of a configuration file as pydantic models, and their errors in our words."""

import math
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from twinloop.agents.config.problems import Findings, Place, Words, closest
from twinloop.errors import ArgumentError
from twinloop.plugins import one_of
from twinloop.units import Hours, Unit, parse_quantity, unit_of

__all__ = ["LabHours", "Quantity", "Section", "read_section", "refused"]


class Section(BaseModel):
    """Base of each part of a file: frozen, strict, no unknown keys, no NaN."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )


M = TypeVar("M", bound=BaseModel)


def _quantity(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refused("a number, or a quantity with a unit such as '2 min'")
    if isinstance(value, float) and not math.isfinite(value):
        raise refused("a finite number")
    return value


def _hours(value: object) -> float:
    unit = unit_of(Hours) or Unit("h", "hour")
    try:
        return parse_quantity(value, unit)
    except ArgumentError as err:
        raise refused(err.allowed) from err


def refused(allowed: str) -> PydanticCustomError:
    """Return what a validator of a section raises: the value found is not among `allowed`."""
    return PydanticCustomError("refused", "{allowed}", {"allowed": allowed})


_JSON: dict[str, Any] = {"type": ["number", "string"]}
# The unit is that of a field of the protocol, which is known only when the protocol has been found.
Quantity = Annotated[float | str, BeforeValidator(_quantity), WithJsonSchema(_JSON)]
LabHours = Annotated[float, BeforeValidator(_hours), WithJsonSchema(_JSON)]


def read_section(
    model: type[M], value: Mapping[str, Any], place: Place, findings: Findings
) -> M | None:
    """Return the part as its model; None where it is wrong, and the findings say all of it."""
    try:
        return model.model_validate(value)
    except ValidationError as err:
        details = err.errors(include_url=False)
        meant = {place for place in (_meant(model, detail) for detail in details) if place}
        for detail in details:
            if detail["type"] == "missing" and detail["loc"] in meant:
                continue  # it is there, misspelled: told once
            keys = tuple(map(str, detail["loc"]))
            where = place.at(*(key for key in keys if key != "[key]"))
            findings.problem(where, _found(detail, keys), _allowed(model, detail))
        return None


def _meant(model: type[BaseModel], detail: ErrorDetails) -> tuple[int | str, ...]:
    """Return the place that an unknown key was probably meant for; () for none."""
    loc = detail["loc"]
    if detail["type"] != "extra_forbidden":
        return ()
    inner = _model_at(model, loc[:-1])
    close = closest(_keys(inner) if inner else (), loc[-1])
    return (*loc[:-1], close) if close else ()


def _found(detail: ErrorDetails, keys: tuple[str, ...]) -> object:
    if detail["type"] == "missing":
        return None
    if detail["type"] == "extra_forbidden":
        return Words(f"the unknown key {keys[-1]!r}")
    return detail["input"]


def _allowed(model: type[BaseModel], detail: ErrorDetails) -> str:
    loc, kind = detail["loc"], detail["type"]
    if kind == "extra_forbidden":
        inner = _model_at(model, loc[:-1])
        return one_of(_keys(inner) if inner else (), loc[-1])
    if kind == "refused":
        return detail["msg"]
    if kind == "literal_error":
        return one_of(_choices(detail), detail["input"])
    described = _description(model, loc)
    rule = _rule(detail)
    if kind in {"missing", "string_pattern_mismatch"} and described:
        return described
    return f"{rule} ({described})" if described else rule


def _rule(detail: ErrorDetails) -> str:
    """Return what pydantic asks for, without its preamble."""
    error = detail.get("ctx", {}).get("error")
    cause = getattr(error, "__cause__", None)
    if isinstance(cause, ArgumentError):
        return cause.allowed
    text = str(error) if error is not None else detail["msg"]
    return text.removeprefix("Input should be ").removeprefix("Value error, ")


def _choices(detail: ErrorDetails) -> list[str]:
    expected = str(detail.get("ctx", {}).get("expected", ""))
    return [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")]


def _keys(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _description(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    if not loc or not isinstance(loc[-1], str):
        return ""
    inner = _model_at(model, loc[:-1])
    for name, info in inner.model_fields.items() if inner else ():
        if loc[-1] in {name, info.alias}:
            return info.description or ""
    return ""


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model that stands at a location, walking through the annotations."""
    here: Any = model
    for part in loc:
        if get_origin(here) is dict:
            here = get_args(here)[1]
        elif isinstance(here, type) and issubclass(here, BaseModel):
            infos = {info.alias or name: info for name, info in here.model_fields.items()}
            here = infos[str(part)].annotation if part in infos else None
        else:
            return None
        if isinstance(here, UnionType):  # Section | None
            here = get_args(here)[0]
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None
