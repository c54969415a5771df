"""Reading a journal: its fold, the status, the explanation of a trial, the proof by replay."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twinloop.agents.campaign.events import Event, Proposed, TrialEnded, event_of
from twinloop.agents.campaign.known import known_at
from twinloop.agents.campaign.state import CampaignState, apply
from twinloop.agents.campaign.theory import theory_of
from twinloop.errors import ArgumentError
from twinloop.log.interface import Stored
from twinloop.log.sqlite import open_readonly
from twinloop.planners.registry import resolve
from twinloop.planners.space import Space

__all__ = ["Explanation", "Replay", "explain", "fold", "history", "read_state", "replay", "status"]


def fold(events: Iterable[Stored]) -> CampaignState:
    """Return the state that a journal makes."""
    state = CampaignState()
    for stored in events:
        state = apply(state, event_of(stored))
    return state


def history(folder: Path) -> Iterator[tuple[Stored, Event]]:
    """Yield the events of a run folder's journal, read only."""
    log = open_readonly(folder / "journal.db")
    try:
        for stored in log.read():
            yield stored, event_of(stored)
    finally:
        log.close()


def read_state(folder: Path, until: int | None = None) -> CampaignState:
    """Return the state of a run, or of its first `until` events."""
    state = CampaignState()
    for stored, event in history(folder):
        if until is not None and stored.seq > until:
            break
        state = apply(state, event)
    return state


def status(folder: Path) -> dict[str, Any]:
    """Return what a person wants to know of a run, from its journal alone."""
    state = read_state(folder)
    if state.started is None:
        return {"campaign": None, "state": "not started"}
    best = max(state.observations, key=lambda t: t.y or 0.0, default=None)
    running = f"paused by {state.paused}" if state.paused else "under way, or waiting to be resumed"
    return {
        "campaign": state.started.campaign,
        "state": f"finished: {state.finished}" if state.finished else running,
        "observations": len(state.observations),
        "failed": sum(1 for t in state.ended if t.y is None),
        "under_way": sorted(state.trials),
        "notes": list(state.notes),
        "unknown": [str(s.key) for t in state.trials.values() for s in t.unknown.values()],
        "best": None if best is None else {"trial": best.trial, "outcome": best.outcome},
        "lives": state.life,
        "events": state.seq,
        "at_s": state.at_s,
        "lab_s": state.lab_s,
    }


@dataclass(frozen=True)
class Explanation:
    """Why a trial was made, and what came of it.

    Args:
        proposed: the journalled proposal: basis, pending set, acquisition value, seed.
        ended: how it ended, if it has.
        steps: what was done, in journal order.
    """

    proposed: Proposed
    ended: TrialEnded | None
    steps: tuple[str, ...]


def explain(folder: Path, trial: str) -> Explanation:
    """Return the explanation of a trial ("t0007", or its number).

    Raises:
        ArgumentError: no such trial.
    """
    state = read_state(folder)
    number = trial.removeprefix("t")
    if not number.isdigit() or int(number) >= len(state.proposed):
        last = len(state.proposed) - 1
        raise ArgumentError("trial", trial, f"t0000 to t{last:04d}" if last >= 0 else "none yet")
    name = f"t{int(number):04d}"
    ended = next((t for t in state.ended if t.trial == name), None)
    steps = []
    for _, event in history(folder):
        match event.kind:
            case "commanded" if event.key.trial == name:
                steps.append(
                    f"{event.at_s:8.1f} s  {event.key.step:6} {event.instrument}.{event.action} "
                    f"{json.dumps(event.arguments)} (attempt {event.key.attempt})"
                )
            case "settled" if event.key.trial == name:
                steps.append(
                    f"{event.at_s:8.1f} s  {event.key.step:6} {event.state} {event.reason}".rstrip()
                )
            case "computed" if event.trial == name:
                steps.append(
                    f"{event.at_s:8.1f} s  {event.path:6} {event.name} = "
                    f"{json.dumps(event.result)} on {event.place or 'conductor'}"
                )
            case _:
                pass
    return Explanation(state.proposed[int(number)], ended, tuple(steps))


@dataclass(frozen=True)
class Replay:
    """A proposal computed again from its basis.

    Args:
        number: which.
        difference: largest absolute difference of x, in the unit cube; 0.0 is bit-exact.
    """

    number: int
    difference: float


def replay(folder: Path, numbers: Iterable[int] | None = None) -> list[Replay]:
    """Compute proposals again, each from the journal prefix that it names.

    On the same machine and the same wheels the difference is 0.0; elsewhere it says how far the
    libraries differ. Proposals of the fallback rung are computed by the planner they fell back to.
    """
    whole = read_state(folder)
    if whole.started is None:
        return []
    config = whole.started.config
    planner = resolve(dict(config["planner"]))
    theory = theory_of(config) if type(planner).uses_theory else None
    space = _space_of(whole)
    found = []
    for number in range(len(whole.proposed)) if numbers is None else numbers:
        proposed = whole.proposed[number]
        if "fallback" in proposed.why:
            continue
        known = known_at(read_state(folder, proposed.basis), space, number, theory)
        x = planner.ask(known).x
        found.append(Replay(number, float(np.max(np.abs(x - np.array(proposed.x))))))
    return found


def _space_of(state: CampaignState) -> Space:
    """Return the space in the order of its axes, which the sorted configuration does not keep.

    An axis is the dimension whose values stand where the proposals lie on it.
    """
    search = state.started.config["search"] if state.started else {}
    left = {k: Space.of({k: (v["low"], v["high"], v["scale"])}) for k, v in search.items()}
    ordered: dict[str, tuple[float, float, str]] = {}
    for axis in range(len(search)):
        off = {
            name: max(
                (
                    abs(float(one.to_cube({name: p.point[name]})[0]) - p.x[axis])
                    for p in state.proposed
                ),
                default=0.0,
            )
            for name, one in left.items()
        }
        name = min(off, key=lambda n: off[n])
        del left[name]
        ordered[name] = (search[name]["low"], search[name]["high"], search[name]["scale"])
    return Space.of(ordered)
