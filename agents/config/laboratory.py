"""A laboratory as the runtime uses it: classes found, settings complete, rules checked."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from twinloop.agents.config.finding import find_file, shipped_file
from twinloop.agents.config.laboratory_file import (
    RESERVED_AGENTS,
    AdapterSection,
    InstrumentLine,
    LaboratoryFile,
)
from twinloop.agents.config.problems import Findings, Place
from twinloop.agents.config.section import read_section
from twinloop.errors import ArgumentError
from twinloop.instruments.interface import Instrument
from twinloop.plugins import find_object, one_of
from twinloop.units import parse_quantity, unit_of

__all__ = ["TWINS", "Adapter", "LabInstrument", "Laboratory", "read_laboratory", "with_places"]

TWINS = "twins"
"""The agent that hosts the twins of a growth chamber on Ray."""


@dataclass(frozen=True)
class LabInstrument:
    """One instrument of a laboratory.

    Args:
        name: its name there.
        class_name: installed name or module:Class, as a process elsewhere can find it again.
        cls: that class.
        settings: all of its fields, as JSON.
        served: name of the adapter that serves it; None for a twin on Ray.
        num_cpus, num_gpus: what a twin adds to the share of the actor of the twins.
        cost_h: laboratory time that one sample costs there [h]; None: the file does not say.
    """

    name: str
    class_name: str
    cls: type[Instrument]
    settings: Mapping[str, Any]
    served: str | None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    cost_h: float | None = None

    @property
    def is_twin(self) -> bool:
        """True for a simulated instrument, wherever it runs."""
        return self.cls.is_twin

    @property
    def host(self) -> str:
        """Name of the agent that hosts it: its adapter, or the actor of its chamber on Ray.

        Twins of one growth chamber look at the same film, so they share an actor and its ledger. Any
        other twin holds a sample of its own.
        """
        if self.served is not None:
            return self.served
        return TWINS if "chamber" in self.settings else f"{TWINS}-{self.name}"

    def to_json(self) -> dict[str, Any]:
        """Return the line of the laboratory file, complete."""
        if self.served is not None:
            head: dict[str, Any] = {"served": self.served, "class": self.class_name}
        else:
            head = {"twin": self.class_name, "num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
        cost = {} if self.cost_h is None else {"cost_h": self.cost_h}
        return {**head, **cost, "settings": dict(self.settings)}


@dataclass(frozen=True)
class Adapter:
    """One adapter process of a laboratory.

    Args:
        name: its name as an agent.
        start: "demo" when the supervisor starts it, "none" when somebody else does.
        machine: settings of the stand-in machine behind it; None for a real machine, or a twin
            that computes in the adapter itself.
        stop_endpoint: where it takes an emergency stop without the hub.
    """

    name: str
    start: Literal["demo", "none"]
    machine: Path | None
    stop_endpoint: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the laboratory file, complete."""
        entry: dict[str, Any] = {"start": self.start}
        if self.machine is not None:
            is_shipped = shipped_file("standins", self.machine.name) == self.machine
            entry["machine"] = self.machine.name if is_shipped else str(self.machine.resolve())
        if self.stop_endpoint is not None:
            entry["stop_endpoint"] = self.stop_endpoint
        return entry


@dataclass(frozen=True)
class Laboratory:
    """A laboratory that can be run.

    Args:
        name: its name.
        clock_factor: laboratory seconds in one real second [1].
        instruments: by name.
        adapters: by name.
    """

    name: str
    clock_factor: float
    instruments: Mapping[str, LabInstrument]
    adapters: Mapping[str, Adapter]

    def served_by(self, adapter: str) -> dict[str, LabInstrument]:
        """Return the instruments of one adapter, by name."""
        return {n: i for n, i in self.instruments.items() if i.served == adapter}

    @property
    def twins_on_ray(self) -> dict[str, LabInstrument]:
        """The instruments that Ray places, by name; those of one `host` share an actor."""
        return {n: i for n, i in self.instruments.items() if i.served is None}

    def to_json(self) -> dict[str, Any]:
        """Return the laboratory as a complete laboratory file."""
        return {
            "lab": self.name,
            "clock_factor": self.clock_factor,
            "instruments": {name: i.to_json() for name, i in self.instruments.items()},
            "adapters": {name: a.to_json() for name, a in self.adapters.items()},
        }


def with_places(settings: Mapping[str, Any], vessel: Path, folder: Path) -> dict[str, Any]:
    """Return the settings of a twin, with the places of a run where they name none.

    Every twin of a run is at the run's transfer vessel, and keeps its own state beside it: on one
    file system, where a sample moves by a rename. A twin with an autoloader needs no vessel.

    Args:
        settings: all fields of its class.
        vessel: folder of the run's transfer vessel.
        folder: where this twin may keep what it is.
    """
    placed = dict(settings)
    if settings.get("specimen") is None and "vessel" in settings and settings["vessel"] is None:
        placed["vessel"] = str(vessel)
    if "folder" in settings and settings["folder"] is None:
        placed["folder"] = str(folder)
    return placed


def read_laboratory(
    value: Mapping[str, Any], place: Place, beside: Path, findings: Findings
) -> Laboratory | None:
    """Return the laboratory that a file describes; None where the findings say what is wrong.

    Args:
        value: what stands at `place`.
        place: the top of a laboratory file, or `lab` in a campaign file.
        beside: the folder from which files are named.
        findings: takes problems and notes.
    """
    file = read_section(LaboratoryFile, value, place, findings)
    if file is None:
        return None
    before = len(findings.problems)
    instruments = {
        name: _instrument(name, line, place.at("instruments", name), findings)
        for name, line in file.instruments.items()
    }
    adapters = {
        name: _adapter(name, entry, place.at("adapters", name), beside, findings)
        for name, entry in file.adapters.items()
    }
    found = {name: i for name, i in instruments.items() if i is not None}
    _check_adapters(file, found, place, findings)
    _check_clock(file.clock_factor, found, place.at("clock_factor"), findings)
    if len(findings.problems) > before:
        return None
    return Laboratory(file.lab, file.clock_factor, found, adapters)


def _instrument(
    name: str, line: InstrumentLine, place: Place, findings: Findings
) -> LabInstrument | None:
    key, class_name = ("twin", line.twin) if line.twin else ("class", line.implementation or "")
    try:
        cls = find_object("instruments", class_name)
    except ArgumentError as err:
        findings.refused(place.at(key), err)
        return None
    if not (isinstance(cls, type) and issubclass(cls, Instrument)):
        findings.problem(place.at(key), class_name, "a class derived from Instrument")
        return None
    if line.twin and (inspect.isabstract(cls) or not cls.is_twin):
        allowed = "a twin (is_twin = True); a machine is {served: ADAPTER, class: CLASS}"
        findings.problem(place.at(key), class_name, allowed)
        return None
    settings = _settings(cls, line.settings, place.at("settings"), findings)
    if settings is None:
        return None
    return LabInstrument(
        name,
        class_name,
        cls,
        settings,
        served=line.served,
        num_cpus=1.0 if line.num_cpus is None else line.num_cpus,
        num_gpus=line.num_gpus or 0.0,
        cost_h=line.cost_h,
    )


def _settings(
    cls: type[Instrument], given: Mapping[str, Any], place: Place, findings: Findings
) -> dict[str, Any] | None:
    """Return every field of the class as JSON, quantities with units converted."""
    hints = get_type_hints(cls, include_extras=True)
    values = dict(given)
    before = len(findings.problems)
    for name, value in given.items():
        unit = unit_of(hints.get(name)) if name in cls.model_fields else None
        if unit is not None and isinstance(value, str):
            try:
                values[name] = parse_quantity(value, unit, name)
            except ArgumentError as err:
                findings.refused(place.at(name), err)
    if len(findings.problems) > before:
        return None
    settings = read_section(_settings_model(cls), values, place, findings)
    return None if settings is None else settings.model_dump(mode="json")


def _settings_model(cls: type[Instrument]) -> type[BaseModel]:
    """Return a model with the fields of the class; the class itself where it can be made."""
    if not inspect.isabstract(cls):
        return cls
    fields: dict[str, Any] = {n: (f.annotation, f) for n, f in cls.model_fields.items()}
    return create_model(cls.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _adapter(
    name: str, entry: AdapterSection, place: Place, beside: Path, findings: Findings
) -> Adapter:
    if name in RESERVED_AGENTS or name.startswith(("analyst-", f"{TWINS}-")):
        allowed = f"a name other than {', '.join(sorted(RESERVED_AGENTS))}, analyst-N, {TWINS}-N"
        findings.problem(place, name, allowed)
    machine = None
    if entry.machine is not None:
        try:
            machine = find_file("standins", entry.machine, beside)
        except ArgumentError as err:
            findings.refused(place.at("machine"), err)
    return Adapter(name, entry.start, machine, entry.stop_endpoint)


def _check_adapters(
    file: LaboratoryFile, found: Mapping[str, LabInstrument], place: Place, findings: Findings
) -> None:
    for name, line in file.instruments.items():
        if line.served is None:
            continue
        where = place.at("instruments", name)
        if line.served not in file.adapters:
            allowed = f"a key of adapters: {one_of(file.adapters, line.served)}"
            findings.problem(where.at("served"), line.served, allowed)
        elif name in found and file.adapters[line.served].start == "demo":
            _check_demo(found[name], where.at("class"), findings)
    _check_stages(found, place, findings)
    served = {line.served for line in file.instruments.values()}
    for name, entry in file.adapters.items():
        where = place.at("adapters", name)
        if name not in served:
            findings.note(where, "serves no instrument of this laboratory")
        elif entry.stop_endpoint is None:
            findings.note(
                where, "no stop_endpoint: an emergency stop reaches it through the hub only"
            )


def _check_stages(found: Mapping[str, LabInstrument], place: Place, findings: Findings) -> None:
    """Refuse two instruments that hold a sample each behind one adapter: its ledger knows of one."""
    holders: dict[str, str] = {}
    for name, instrument in found.items():
        is_holder = any(a.spec.loads_sample for a in instrument.cls.actions().values())
        if instrument.served is None or not is_holder:
            continue
        other = holders.setdefault(instrument.served, name)
        if other != name:
            allowed = f"an adapter of its own: {instrument.served} serves {other}, which holds one"
            findings.problem(place.at("instruments", name, "served"), instrument.served, allowed)


def _check_demo(instrument: LabInstrument, place: Place, findings: Findings) -> None:
    if inspect.isabstract(instrument.cls):
        allowed = "a class that can be made, since the supervisor starts this adapter here"
        findings.problem(place, instrument.class_name, allowed)


def _check_clock(
    factor: float, found: Mapping[str, LabInstrument], place: Place, findings: Findings
) -> None:
    real = [name for name, instrument in found.items() if not instrument.is_twin]
    if factor != 1.0 and real:
        findings.problem(
            place,
            factor,
            f"1, because {', '.join(real)} {'is' if len(real) == 1 else 'are'} no twin",
        )
