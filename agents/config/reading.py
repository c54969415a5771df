"""From a campaign file to a campaign: look everything up, and compare the parts with each other."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twinloop.agents.campaign.goal import Constraint, Goal
from twinloop.agents.config.campaign import Campaign
from twinloop.agents.config.campaign_file import Bounds, CampaignFile, Range, TheorySection
from twinloop.agents.config.fields import NumberField, number_fields
from twinloop.agents.config.finding import find_file
from twinloop.agents.config.laboratory import LabInstrument, Laboratory, read_laboratory
from twinloop.agents.config.looks import looks_h, with_hours
from twinloop.agents.config.problems import Findings, Place, Words
from twinloop.agents.config.section import read_section
from twinloop.agents.config.yaml_text import Document, read_yaml
from twinloop.errors import ArgumentError, ConfigProblem
from twinloop.planners.registry import planner_problems, resolve
from twinloop.planners.space import Dimension, Space
from twinloop.plugins import find_object, installed, one_of
from twinloop.protocols.interface import Protocol
from twinloop.simulators.interface import Simulator, find_simulator
from twinloop.units import parse_quantity

__all__ = ["read_campaign"]


def read_campaign(path: Path, findings: Findings) -> Campaign | None:
    """Return the campaign in a file; None where the findings say what is wrong."""
    document = read_yaml(path, findings)
    if document is None:
        return None
    top = document.place
    file = read_section(CampaignFile, document.value, top, findings)
    # The other parts are read even where this one is wrong: one reading tells everything.
    laboratory = _laboratory(document, path.parent, findings)
    protocol = _protocol(document, findings)
    planner = _planner(document, findings)
    if file is None:
        return None
    _notes(file, planner, top, findings)
    simulator = _simulator(file.theory, top.at("theory"), findings)
    if protocol is None:
        return None
    space = _space(file.search, protocol, top.at("search"), findings)
    goal = _goal(file, protocol, top.at("goal"), findings)
    bound = {}
    if laboratory is not None:
        bound = _bind(protocol, laboratory, top.at("protocol"), findings)
        hours = looks_h(protocol, laboratory, bound)
        planner = with_hours(planner, hours, file.planner, top.at("planner"), findings)
    if space is not None and planner is not None:
        complaint = resolve(dict(planner)).complaint(space, len(file.goal.subject_to))
        if complaint:
            allowed = f"options that fit the search, or another planner: {complaint}"
            findings.problem(top.at("planner"), planner["name"], allowed)
    if laboratory is None:
        return None
    _compare_limits(space, {p: laboratory.instruments[n] for p, n in bound.items()}, top, findings)
    file = _compare_theory(file, simulator, protocol, planner, top, findings)
    if findings.problems or space is None or goal is None or planner is None:
        return None
    return Campaign(
        path, file, protocol, space, goal, planner, laboratory, bound, protocol.analysts()
    )


def _laboratory(document: Document, beside: Path, findings: Findings) -> Laboratory | None:
    value, place = document.value.get("lab"), document.place.at("lab")
    if isinstance(value, dict):
        return read_laboratory(value, place, beside, findings)
    if not isinstance(value, str):
        return None  # the model of the file has complained already
    try:
        path = find_file("labs", value, beside)
    except ArgumentError as err:
        findings.refused(place, err)
        return None
    lab = read_yaml(path, findings)
    return None if lab is None else read_laboratory(lab.value, lab.place, path.parent, findings)


def _protocol(document: Document, findings: Findings) -> Protocol[Any] | None:
    name = document.value.get("protocol")
    if not isinstance(name, str):
        return None
    try:
        found = find_object("protocols", name)
    except ArgumentError as err:
        findings.refused(document.place.at("protocol"), err)
        return None
    if not isinstance(found, Protocol):
        findings.problem(document.place.at("protocol"), name, "a function under @protocol")
        return None
    return found


def _planner(document: Document, findings: Findings) -> dict[str, Any] | None:
    """Return the planner's name and all of its options."""
    value = document.value.get("planner")
    if not isinstance(value, str | dict):
        return None
    config = {"name": value} if isinstance(value, str) else value
    problems = planner_problems(config, file=document.file)
    for p in problems:
        place = document.place.at(*p.key.split("."))
        found, allowed = p.found, p.allowed
        if p.key == "planner.name" and isinstance(found, str) and ":" not in found:
            allowed = f"{one_of(installed('planners'), found)}, or module:Name of your own"
        findings.problems.append(ConfigProblem(document.file, p.key, found, allowed, place.line))
    if problems:
        return None
    return {"name": config["name"], **resolve(config).model_dump(mode="json")}


def _space(
    search: Mapping[str, Range], protocol: Protocol[Any], place: Place, findings: Findings
) -> Space | None:
    point = protocol.point_type
    fields = number_fields(point)
    for name in point.model_fields:
        if name not in fields:
            allowed = f"numbers only in {point.__name__}: every field is searched"
            findings.problem(place.at(name), Words("a field that is no number"), allowed)
        elif name not in search:
            allowed = f"{{low: ..., high: ...}}, because {point.__name__} has this field"
            findings.problem(place.at(name), None, allowed)
    dimensions = []
    for name, given in search.items():
        if name in fields:
            dimensions.append(_dimension(fields[name], given, place.at(name), findings))
        elif name not in point.model_fields:
            allowed = f"a field of {point.__name__}: {one_of(point.model_fields, name)}"
            findings.problem(place.at(name), Words(f"the unknown field {name!r}"), allowed)
    found = [d for d in dimensions if d is not None]
    return Space(tuple(found)) if found and len(found) == len(fields) else None


def _dimension(
    field: NumberField, given: Range, place: Place, findings: Findings
) -> Dimension | None:
    low = _number(given.low, field, place.at("low"), findings)
    high = _number(given.high, field, place.at("high"), findings)
    if low is None or high is None:
        return None
    for key, value in (("low", low), ("high", high)):
        if field.limit and not field.limit.low <= value <= field.limit.high:
            allowed = f"{field.limit.low:g} to {field.limit.high:g} {field.unit.symbol}".rstrip()
            findings.problem(place.at(key), value, allowed)
    if not low < high:
        findings.problem(
            place, Words(f"low {low:g}, high {high:g} {field.unit.symbol}".rstrip()), "low < high"
        )
        return None
    if given.scale == "log" and low <= 0:
        findings.problem(place.at("low"), low, "a number > 0, because scale is log")
        return None
    return Dimension(field.name, low, high, given.scale, field.unit.symbol)


def _goal(
    file: CampaignFile, protocol: Protocol[Any], place: Place, findings: Findings
) -> Goal | None:
    given = file.goal
    fields = number_fields(protocol.outcome_type)
    direction, name = (
        ("maximise", given.maximise) if given.maximise else ("minimise", given.minimise or "")
    )
    objective = _outcome_field(name, fields, protocol, place.at(direction), name, findings)
    noise_sd = None
    if objective is not None:
        noise_sd = _number(given.noise_sd, objective, place.at("noise_sd"), findings)
        if noise_sd is not None and noise_sd < 0:
            findings.problem(place.at("noise_sd"), noise_sd, "a number >= 0 (0: not known)")
    constraints = [
        _constraint(name, bounds, fields, protocol, place.at("subject_to", name), findings)
        for name, bounds in given.subject_to.items()
    ]
    found = tuple(c for c in constraints if c is not None)
    if objective is None or noise_sd is None or len(found) < len(constraints):
        return None
    return Goal(objective.name, direction == "maximise", noise_sd, found)


def _constraint(
    name: str,
    bounds: Bounds,
    fields: Mapping[str, NumberField],
    protocol: Protocol[Any],
    place: Place,
    findings: Findings,
) -> Constraint | None:
    field = _outcome_field(
        name, fields, protocol, place, Words(f"the unknown field {name!r}"), findings
    )
    if field is None:
        return None
    numbers = {
        key: _number(value, field, place.at(key), findings)
        for key, value in (("at_least", bounds.at_least), ("at_most", bounds.at_most))
        if value is not None
    }
    if None in numbers.values():
        return None
    low, high = numbers.get("at_least"), numbers.get("at_most")
    if low is not None and high is not None and low > high:
        findings.problem(place, Words(f"at_least {low:g}, at_most {high:g}"), "at_least <= at_most")
    return Constraint(name, low, high)


def _outcome_field(
    name: str,
    fields: Mapping[str, NumberField],
    protocol: Protocol[Any],
    place: Place,
    found: str,
    findings: Findings,
) -> NumberField | None:
    field = fields.get(name)
    if field is None:
        outcome = protocol.outcome_type.__name__
        findings.problem(place, found, f"a number of {outcome}: {one_of(fields, name)}")
    return field


def _number(
    value: float | str, field: NumberField, place: Place, findings: Findings
) -> float | None:
    try:
        return parse_quantity(value, field.unit, field.name)
    except ArgumentError as err:
        findings.refused(place, err)
        return None


def _bind(
    protocol: Protocol[Any], lab: Laboratory, place: Place, findings: Findings
) -> dict[str, str]:
    """Return the instrument for each parameter: the one of that name, else the only one of its kind."""
    bound: dict[str, str] = {}
    for parameter, wanted in protocol.instruments().items():
        fitting = [n for n, i in lab.instruments.items() if issubclass(i.cls, wanted)]
        what = f"{protocol.name}({parameter}: {wanted.__name__})"
        if parameter in fitting:
            bound[parameter] = parameter
        elif parameter in lab.instruments:
            there = lab.instruments[parameter].cls.__name__
            found = Words(f"{parameter} of {lab.name}, a {there}")
            findings.problem(place, found, f"a {wanted.__name__} of that name, for {what}")
        elif len(fitting) == 1:
            bound[parameter] = fitting[0]
        else:
            found = Words(", ".join(fitting) or f"no {wanted.__name__} in laboratory {lab.name}")
            allowed = f"one {wanted.__name__}, or one called {parameter!r}, for {what}"
            findings.problem(place, found, allowed)
    for parameter, cls in protocol.analysts().items():
        if inspect.isabstract(cls) or not hasattr(cls, "quantities"):
            found = Words(f"{parameter}: {cls.__name__}")
            findings.problem(
                place, found, "an Instrument class, or an Analyst class with quantities"
            )
    return bound


def _compare_limits(
    space: Space | None,
    instruments: Mapping[str, LabInstrument],
    top: Place,
    findings: Findings,
) -> None:
    """Note ranges that reach outside what an action with an argument of that name allows."""
    for dimension in space.dimensions if space else ():
        for instrument in instruments.values():
            for action in instrument.cls.actions().values():
                for parameter in action.spec.parameters:
                    limit = parameter.limit if parameter.name == dimension.name else None
                    if limit and not limit.low <= dimension.low <= dimension.high <= limit.high:
                        findings.note(
                            top.at("search", dimension.name),
                            f"{dimension.low:g} to {dimension.high:g} {dimension.unit} reaches outside "
                            f"what {instrument.name}.{action.spec.name} allows, {limit.low:g} to "
                            f"{limit.high:g} {dimension.unit}: such a trial would be refused",
                        )


def _notes(
    file: CampaignFile, planner: Mapping[str, Any] | None, top: Place, findings: Findings
) -> None:
    n_initial = planner.get("n_initial", 0) if planner else 0
    if n_initial >= file.budget.experiments and n_initial > 0:
        findings.note(
            top.at("planner", "n_initial"),
            f"{n_initial} initial points use up the budget of {file.budget.experiments} experiments: "
            "no model will ever be asked",
        )


def _simulator(
    theory: TheorySection | None, place: Place, findings: Findings
) -> type[Simulator] | None:
    """Return the class of the simulator, its settings checked."""
    if theory is None:
        return None
    try:
        found = find_simulator(theory.simulator.name)
    except ArgumentError:
        names = installed("simulators")
        allowed = f"{one_of(names, theory.simulator.name)}, or module:Name of your own"
        findings.problem(place.at("simulator", "name"), theory.simulator.name, allowed)
        return None
    read_section(found, theory.simulator.settings, place.at("simulator", "settings"), findings)
    for name in theory.theta:
        if name not in found.beliefs:
            allowed = f"a parameter of {found.name}: {one_of(found.beliefs, name)}"
            findings.problem(place.at("theta", name), Words(f"the unknown {name!r}"), allowed)
    for name in found.beliefs:
        if name not in theory.theta and name not in found.optional:
            allowed = f"{{mean: ..., sd: ...}}, because {found.name} needs it"
            findings.problem(place.at("theta", name), None, allowed)
    return found


def _compare_theory(
    file: CampaignFile,
    simulator: type[Simulator] | None,
    protocol: Protocol[Any],
    planner: Mapping[str, Any] | None,
    top: Place,
    findings: Findings,
) -> CampaignFile:
    """Compare knobs and observables of theory and experiment; return the file with all of them."""
    uses_theory = planner is not None and type(resolve(dict(planner))).uses_theory
    theory, place = file.theory, top.at("theory")
    if theory is None:
        if uses_theory:
            allowed = "a theory section, or a planner without theory such as plain_bo"
            findings.problem(place, None, allowed)
        return file
    if planner is not None and not uses_theory:
        findings.note(place, f"not used: {planner['name']} plans without theory")
    elif file.goal.subject_to:
        findings.note(place, "not used: no planner keeps conditions (subject_to) by theory yet")
    elif planner is not None:
        least = type(resolve(dict(planner))).least_simulations
        if theory.simulator.at_most < least:
            allowed = f"{least} or more: {planner['name']} learns nothing from fewer"
            findings.problem(place.at("simulator", "at_most"), theory.simulator.at_most, allowed)
    if simulator is None:
        return file
    if set(simulator.knobs) != set(file.search):
        found = Words(f"{simulator.name}, which is asked for {', '.join(simulator.knobs)}")
        allowed = f"a simulator of the fields that are searched: {', '.join(file.search)}"
        findings.problem(place.at("simulator", "name"), found, allowed)
    fields = number_fields(protocol.outcome_type)
    objective = file.goal.maximise or file.goal.minimise or ""
    shared = [name for name in simulator.predicts if name in fields]
    if objective not in shared:
        allowed = f"a simulator that predicts {objective}; {simulator.name} predicts: "
        findings.problem(
            place.at("simulator", "name"), simulator.name, allowed + ", ".join(simulator.predicts)
        )
    for name in theory.observables:
        if name not in shared:
            allowed = f"a number that both tell: {one_of(shared, name)}"
            findings.problem(place.at("observables"), name, allowed)
    chosen = theory.observables or tuple(shared)
    observables = (objective, *(name for name in chosen if name != objective))
    complete = theory.model_copy(update={"observables": observables})
    return file.model_copy(update={"theory": complete})
