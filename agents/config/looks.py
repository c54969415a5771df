"""What a look costs, from the one place that says it: the laboratory file, with each instrument.

The protocol says which field of its Point asks for which instrument (`@protocol(looks=...)`), the
laboratory file what a sample costs there (`cost_h`). A planner that weighs looks is given both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinloop.agents.config.laboratory import Laboratory
from twinloop.agents.config.problems import Findings, Place, Words
from twinloop.planners.registry import find_planner
from twinloop.protocols.interface import Protocol

__all__ = ["LooksHours", "looks_h", "with_hours"]


@dataclass(frozen=True, slots=True)
class LooksHours:
    """What a trial costs in hours.

    Args:
        protocol: which declares the looks.
        laboratory: which says what they cost.
        base: cost of the instruments of every trial, by name; None where the file does not say [h].
        looks: instrument and its cost, by the field that asks for it; None as above [h].
    """

    protocol: str
    laboratory: str
    base: Mapping[str, float | None]
    looks: Mapping[str, tuple[str, float | None]]


def looks_h(
    protocol: Protocol[Any], laboratory: Laboratory, bound: Mapping[str, str]
) -> LooksHours:
    """Return what trials of a protocol cost in a laboratory.

    Args:
        protocol: what a trial does.
        laboratory: where.
        bound: instrument of the laboratory for each parameter of the protocol that has one.
    """
    cost = {name: i.cost_h for name, i in laboratory.instruments.items()}
    looking = set(protocol.looks.values())
    return LooksHours(
        protocol.name,
        laboratory.name,
        {name: cost[name] for p, name in bound.items() if p not in looking},
        {a: (bound[p], cost[bound[p]]) for a, p in protocol.looks.items() if p in bound},
    )


def with_hours(
    planner: Mapping[str, Any] | None,
    hours: LooksHours,
    written: Mapping[str, Any],
    place: Place,
    findings: Findings,
) -> dict[str, Any] | None:
    """Return a planner's options with the hours of looks, where it weighs them.

    Args:
        planner: its name and all options; None where they are wrong.
        hours: what looks cost.
        written: the options that the campaign file has.
        place: of the planner in that file.
        findings: takes what is missing, and what says something else than the laboratory.
    """
    if planner is None:
        return None
    if not getattr(find_planner(planner["name"]), "weighs_looks", False):
        return dict(planner)
    if not hours.looks:
        allowed = f"a planner without looks: {hours.protocol} declares none (@protocol(looks=...))"
        findings.problem(place.at("name"), planner["name"], allowed)
        return None
    before = len(findings.problems)
    named = [*hours.base.items(), *hours.looks.values()]
    for name, cost in named:
        is_look = name not in hours.base
        if cost is None or (is_look and cost == 0):
            where = f"instruments.{name}.cost_h of the laboratory {hours.laboratory}"
            found = Words(f"{'nothing' if cost is None else '0 h'} as {where}")
            allowed = "the hours that a sample costs there, transfer included"
            findings.problem(
                place,
                found,
                f"{allowed}{', > 0' if is_look else ''}: {planner['name']} weighs them",
            )
    if len(findings.problems) > before:
        return None
    base_h = sum(cost or 0.0 for cost in hours.base.values())
    if base_h <= 0:
        found = Words(f"0 h for a trial without a look in the laboratory {hours.laboratory}")
        findings.problem(place, found, f"cost_h > 0 of one of {', '.join(hours.base)}")
        return None
    options = {"base_h": base_h, "look_h": {a: cost for a, (_, cost) in hours.looks.items()}}
    for option, value in options.items():
        if option in written and written[option] != value:
            findings.problem(
                place.at(option),
                written[option],
                f"nothing, or {value}: the hours stand in the laboratory {hours.laboratory}, as "
                "cost_h of each instrument",
            )
    return {**planner, **options}
