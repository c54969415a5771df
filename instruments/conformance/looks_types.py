"""Looks at what a class says of itself (S1 to S7): nothing is started but a second process."""

import inspect
import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

from twinloop.errors import LabError
from twinloop.ids import canonical_json, digest_of
from twinloop.instruments.conformance.interface import Finding
from twinloop.instruments.conformance.shapes import is_number_type, names_its_unit, untravelled
from twinloop.instruments.conformance.stand import Inspector, Look, Stand
from twinloop.instruments.interface import ParameterSpec, Recovery
from twinloop.results import result_type

__all__ = ["LOOKS"]

_PLAIN = ("connect", "disconnect", "safe_state", "is_busy")


def _description(stand: Stand) -> Iterator[Finding]:
    did = "describe() was turned into JSON and back"
    try:
        schema = stand.cls.describe()
        text = canonical_json(schema)
        is_kept = json.loads(text) == schema and schema == stand.cls.describe()
        happened = "it came back as it was" if is_kept else "something else came back"
    except (TypeError, ValueError, LabError) as err:
        is_kept, happened, text = False, f"{type(err).__name__}: {err}", b""
    yield stand.judge(
        "S1", is_kept, did=did, expected="the same", happened=happened,
        to_do="let limits and types be plain numbers and words",
    )  # fmt: skip
    if stand.record is None:
        served = stand.bench.status(stand.name).schema_digest
        yield stand.judge(
            "S1", served == stand.cls.schema_digest(), "the served instrument",
            did="its digest was compared with that of the class here",
            expected=stand.cls.schema_digest(), happened=served,
            to_do="install the same version of the class on both sides",
        )  # fmt: skip
        return
    with Inspector(stand, plain=True) as other:
        told = other.do("describe")["told"] or {}
        found = told.get("digest", other.log())
    yield stand.judge(
        "S1", is_kept and found == digest_of(text), "in another process",
        did="the digest of describe() was made in a second process",
        expected=digest_of(text), happened=str(found),
        to_do="let no set order, time, path or random number into limits, words and defaults",
    )  # fmt: skip


def _parameters(stand: Stand) -> Iterator[tuple[str, ParameterSpec]]:
    for name, method in stand.cls.actions().items():
        for parameter in method.spec.parameters:
            yield f"{name}.{parameter.name}", parameter


def _units(stand: Stand) -> Iterator[Finding]:
    found = list(_parameters(stand))
    for subject, parameter in found:
        hint = parameter.annotation
        if parameter.type_name == "float" and not _has_unit(hint):
            happened = "a float without a unit"
        elif hint in {None, inspect.Parameter.empty, Any, object, dict, list}:
            happened = f"{parameter.type_name}: anything goes"
        elif is_number_type(hint) and parameter.type_name != "float":
            happened = f"{parameter.type_name}: an optional number is not checked as a quantity"
        else:
            happened = ""
        yield stand.judge(
            "S2", not happened, subject, did="the type was read",
            expected="a unit of twinloop.units, or a plain type that JSON can carry",
            happened=happened or parameter.type_name,
            to_do=f"write {parameter.name}: Annotated[<Unit>, Limit(low, high)]",
        )  # fmt: skip
    if not found:
        yield stand.not_applicable("S2", "no action takes an argument")


def _has_unit(hint: object) -> bool:
    from twinloop.units import unit_of

    return unit_of(hint) is not None


def _limits(stand: Stand) -> Iterator[Finding]:
    quantities = [(s, p) for s, p in _parameters(stand) if p.type_name == "float"]
    for subject, parameter in quantities:
        limit = parameter.limit
        if limit is None:
            happened = "no limit"
        elif not (_is_finite(limit.low) and _is_finite(limit.high) and limit.low < limit.high):
            happened = f"limit {limit.low:g} to {limit.high:g}"
        elif limit.rate_per_s is not None and not 0 < limit.rate_per_s < float("inf"):
            happened = f"rate {limit.rate_per_s:g} per s"
        elif not _default_fits(parameter):
            happened = f"default {parameter.default!r}, limit {limit.low:g} to {limit.high:g}"
        else:
            happened = ""
        yield stand.judge(
            "S3", not happened, subject, did="the type was read",
            expected="Limit(low, high) with low < high, both finite, and a default inside",
            happened=happened or "a limit",
            to_do="write the machine's own limits into the type: they are checked at execution",
        )  # fmt: skip
    if not quantities:
        yield stand.not_applicable("S3", "no action takes a quantity")


def _is_finite(number: float) -> bool:
    return number - number == 0.0


def _default_fits(parameter: ParameterSpec) -> bool:
    if parameter.default is inspect.Parameter.empty:
        return True
    try:
        parameter.check(parameter.default, "")
    except LabError:
        return False
    return True


def _docs(stand: Stand) -> Iterator[Finding]:
    members = {**stand.cls.actions(), **stand.cls.readouts()}
    for name, member in members.items():
        first = (member.__doc__ or "").strip().partition("\n")[0]
        yield stand.judge(
            "S4", len(first) > 3, name, did="the docstring was read",
            expected="a first line that says what it does", happened=repr(first),
            to_do=f"write a docstring under {name}",
        )  # fmt: skip
    if not members:
        yield stand.judge("S4", False, did="the class was read",
                          expected="an action or a readout", happened="it has neither",
                          to_do="write one coroutine under @action for each thing it can do")  # fmt: skip


def _recovery(stand: Stand) -> Iterator[Finding]:
    readouts = stand.cls.readouts()
    for name, method in stand.cls.actions().items():
        spec = method.spec
        complaints = []
        if spec.recovery is Recovery.RECONCILABLE and method.reconciler is None:
            complaints.append(f"reconcilable, and no @{name}.reconcile")
        if not 0 < spec.silence_s < float("inf"):
            complaints.append(f"silence_s is {spec.silence_s}")
        if spec.loads_sample and spec.unloads_sample:
            complaints.append("it loads and unloads")
        for interlock in spec.interlocks:
            if interlock not in readouts:
                complaints.append(f"interlock {interlock} is no readout")
            elif get_type_hints(readouts[interlock].function).get("return") is not bool:
                complaints.append(f"interlock {interlock} is not annotated as bool")
        yield stand.judge(
            "S5", not complaints, name, did="its declaration was read",
            expected="a recovery class that can be kept, a silence, boolean interlocks",
            happened="; ".join(complaints) or f"{spec.recovery}, {spec.on_silence}",
            to_do=f"see @action over {name}",
        )  # fmt: skip
    if not stand.cls.actions():
        yield stand.not_applicable("S5", "no action")


def _results(stand: Stand) -> Iterator[Finding]:
    for name, method in stand.cls.actions().items():
        hints = get_type_hints(method.function, include_extras=True)
        complaints = _result_complaints(name, hints) if "return" in hints else ["no return type"]
        yield stand.judge(
            "S6", not complaints, name, did="the return type was read",
            expected="None, a number with its unit, an Array, or a Result whose numbers have units",
            happened="; ".join(complaints) or "a type that can travel",
            to_do="write a Result record; `_K`, `_s` in the name or a unit in the type",
        )  # fmt: skip
    if not stand.cls.actions():
        yield stand.not_applicable("S6", "no action")


def _result_complaints(name: str, hints: dict[str, Any]) -> list[str]:
    returns = hints["return"]
    why = untravelled(returns)
    if why:
        return [why]
    record = result_type(returns)
    if record is None:
        is_bare = is_number_type(returns) and not names_its_unit(name, returns)
        return ["a float without a unit"] if is_bare else []
    fields = get_type_hints(record, include_extras=True)
    return [
        f"{record.__name__}.{field} is a float without a unit"
        for field in record.model_fields
        if is_number_type(fields[field]) and not names_its_unit(field, fields[field])
    ]


def _plain(stand: Stand) -> Iterator[Finding]:
    for name in _PLAIN:
        function = getattr(stand.cls, name)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        needed = [p.name for p in parameters if p.default is inspect.Parameter.empty]
        complaints = []
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            complaints.append("it is a coroutine")
        if needed or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
            complaints.append(f"it takes {', '.join(needed) or 'arguments'}")
        if get_origin(function) is not None or get_args(function):
            complaints.append("it is no function")
        yield stand.judge(
            "S7", not complaints, name, did="the signature was read",
            expected=f"def {name}(self)", happened="; ".join(complaints) or "plain",
            to_do="write a plain def: the watchdog has no event loop",
        )  # fmt: skip


LOOKS = (
    Look(("S1",), _description),
    Look(("S2",), _units),
    Look(("S3",), _limits),
    Look(("S4",), _docs),
    Look(("S5",), _recovery),
    Look(("S6",), _results),
    Look(("S7",), _plain),
)
