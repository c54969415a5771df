"""What the contracts of a protocol say of each number: unit and meaning.

The protocol of a run names the contract of each instrument and analyst; types carry the units of
numbers, and the `Args:` of a result say what each field means, with the unit in square brackets.
Where the protocol cannot be imported, the names alone tell the units.
"""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from twinloop.agents.export.quantities import nexus_unit, unit_in_name
from twinloop.errors import ArgumentError
from twinloop.plugins import find_object
from twinloop.protocols.interface import Protocol
from twinloop.results import Result, result_type
from twinloop.units import unit_of

__all__ = ["Contracts", "Meaning"]

_FIELD = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<text>.*)$")
_BRACKET = re.compile(r"\[([^\][]{1,12})\]")
_SPELLED = {"A": "angstrom", "1": "", "deg": "deg", "e/A^2": "electron/angstrom^2"}


class Meaning:
    """What one number is.

    Args:
        unit: as NeXus writes it; "" for a plain number.
        text: what it means, in the words of its contract; "" where nobody says.
    """

    __slots__ = ("text", "unit")

    def __init__(self, unit: str = "", text: str = "") -> None:
        self.unit, self.text = unit, text


class Contracts:
    """Looks up what numbers of a run mean.

    Args:
        protocol: the protocol; None where it cannot be had.
    """

    def __init__(self, protocol: Protocol[Any] | None = None) -> None:
        self._protocol = protocol
        self._results: dict[tuple[str, str], dict[str, Meaning]] = {}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> tuple["Contracts", str]:
        """Return the contracts of a configuration, and what is amiss ("" for nothing)."""
        name = config.get("protocol")
        if not isinstance(name, str):
            return cls(), "the journal names no protocol: units are read from names"
        try:
            found = find_object("protocols", name)
        except ArgumentError as err:
            return cls(), f"protocol {name!r} is not at hand, units are read from names: {err}"
        if not isinstance(found, Protocol):
            return cls(), f"{name!r} is no protocol: units are read from names"
        return cls(found), ""

    def kind(self, target: str) -> str:
        """Return the kind of instrument behind a parameter of the protocol; "" when unknown."""
        found = self._class(target)
        return str(getattr(found, "kind", "") or "")

    def argument(self, target: str, action: str, name: str) -> Meaning:
        """Return what an argument of an action means."""
        actions: Mapping[str, Any] = getattr(self._class(target), "actions", dict)()
        method = actions.get(action)
        for parameter in () if method is None else method.spec.parameters:
            if parameter.name == name and parameter.unit:
                return Meaning(unit_in_name(name) or str(parameter.unit))
        return Meaning(unit_in_name(name))

    def returned(self, target: str, action: str, name: str) -> Meaning:
        """Return what a field of a result means; "result" is a bare number or array."""
        key = (target, action)
        if key not in self._results:
            self._results[key] = self._read(target, action)
        return self._results[key].get(name) or Meaning(unit_in_name(name))

    def readout(self, target: str, name: str) -> Meaning:
        """Return what a readout means."""
        readouts: Mapping[str, Any] = getattr(self._class(target), "readouts", dict)()
        method = readouts.get(name)
        text = "" if method is None else _first_line(method.function)
        return Meaning(unit_in_name(name), text)

    def _class(self, target: str) -> type | None:
        return None if self._protocol is None else self._protocol.parameters.get(target)

    def _read(self, target: str, action: str) -> dict[str, Meaning]:
        annotation, doc = self._annotation(target, action)
        record = result_type(annotation)
        if record is not None:
            return _fields(record)
        unit = unit_of(annotation)
        said = _unit_said(doc)
        return {"result": Meaning(nexus_unit(unit) if unit is not None else said, doc)}

    def _annotation(self, target: str, action: str) -> tuple[object, str]:
        cls = self._class(target)
        actions: Mapping[str, Any] = getattr(cls, "actions", dict)()
        if action in actions:
            return actions[action].spec.returns, actions[action].spec.doc
        quantities: Mapping[str, Any] = getattr(cls, "quantities", dict)()
        function = quantities.get(action)
        if function is None:
            return None, ""
        hints = inspect.get_annotations(function, eval_str=False)
        return hints.get("return"), _first_line(function)


def _fields(record: type[Result]) -> dict[str, Meaning]:
    texts = _texts(inspect.getdoc(record) or "")
    found = {}
    for name, field in record.model_fields.items():
        unit = next((m for m in field.metadata if hasattr(m, "pint")), None)
        text = texts.get(name, "")
        said = nexus_unit(unit) if unit is not None else unit_in_name(name) or _unit_said(text)
        found[name] = Meaning(said, text)
    return found


def _texts(doc: str) -> dict[str, str]:
    """Return what the `Args:` section says of each name."""
    found: dict[str, str] = {}
    names: list[str] = []
    indent = None
    for line in doc.partition("Args:\n")[2].splitlines():
        depth = len(line) - len(line.lstrip())
        indent = depth if indent is None else indent
        if not line.strip() or depth < indent:
            break
        match = _FIELD.match(line.strip()) if depth == indent else None
        if match is not None:
            names = match["names"].split(", ")
            found.update(dict.fromkeys(names, match["text"]))
        else:
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return found


def _unit_said(text: str) -> str:
    brackets = _BRACKET.findall(text)
    return _SPELLED.get(brackets[-1], brackets[-1]) if brackets else ""


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]
