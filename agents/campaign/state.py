"""The state of a campaign: a pure fold of its events.

`apply(state, event)` returns the next state and touches nothing else: no clock, no randomness, no
I/O. Whatever the campaign knows after a crash is what this fold makes of the journal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from twinloop.agents.campaign.events import (
    CampaignStarted,
    Commanded,
    Computed,
    ConductorStarted,
    Decided,
    Discarded,
    Event,
    Finished,
    Leased,
    Paused,
    Proposed,
    Resumed,
    Settled,
    Simulated,
    SimulationsProposed,
    TrialEnded,
    TrialStarted,
    code_of,
)
from twinloop.agents.campaign.stepper import StepRecord
from twinloop.errors import LabError

__all__ = ["CampaignState", "ImpossibleEvent", "SimulationId", "TrialState", "apply"]

SimulationId = tuple[int, int]
"""Batch and row of a simulation."""


class ImpossibleEvent(LabError):
    """An event that cannot follow the events before it."""

    def __init__(self, event: str, why: str) -> None:
        self.event, self.why = event, why
        super().__init__(
            f"event {event} cannot follow: {why}; the journal is from another version or damaged"
        )


@dataclass(frozen=True, slots=True)
class TrialState:
    """One trial under way.

    Args:
        id, number, sample: its identity, its proposal, its sample.
        records: answered steps, in journal order.
        open: commands without an outcome, by path.
        unknown: outcomes that nobody can tell, by path: the trial is held for a person.
        attempts: how many commands were issued at each path.
        retried: definite failures that were not handed to the protocol, by path.
        released: instruments given back before the end.
        spans: laboratory time of each step, or of each branch of steps that run together [s].
    """

    id: str
    number: int
    sample: str
    records: tuple[StepRecord, ...] = ()
    open: Mapping[str, Commanded] = field(default_factory=dict)
    unknown: Mapping[str, Settled] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    commands: Mapping[str, Commanded] = field(default_factory=dict)
    released: frozenset[str] = frozenset()
    spans: Mapping[str, float] = field(default_factory=dict)

    @property
    def lab_s(self) -> float:
        """Laboratory time of the trial: of branches that run together, the longest counts [s]."""
        longest: dict[str, float] = {}
        for branch, lasted_s in self.spans.items():
            step = branch.partition(".")[0]
            longest[step] = max(longest.get(step, 0.0), lasted_s)
        return sum(longest.values())

    @property
    def is_held(self) -> bool:
        """Return True while a person has to settle an unknown outcome."""
        return bool(self.unknown)


@dataclass(frozen=True, slots=True)
class CampaignState:
    """Everything the journal says.

    Args:
        seq: number of the last event.
        started: the first event, once it is there.
        life: how many conductors have led it.
        code: what leads it in the newest life: protocol, planner, configuration.
        notes: what was changed between its lives, for people.
        proposed: proposals by number.
        ready: proposals not yet started nor discarded, oldest first.
        trials: trials under way, by id, oldest first.
        ended: trials that are over, in journal order; those with y are the observations.
        batches: what theory was to be asked, by number.
        simulated: what it answered, in journal order.
        simulating: simulations without an answer, oldest first.
        withdrawn: simulations that nobody wants any more, answered or not.
        asked: simulations asked for, without those that were cancelled.
        idle_at: number of ended trials by which nothing was worth simulating; -1 when something was.
        memo: what the planner wanted to be remembered last.
        over: numbers of proposals that are over (ended or discarded).
        discarded: how many of them were never tried.
        leases: newest lease of each instrument.
        paused: why no new work starts, or None.
        finished: why it is over, or None.
        at_s: time of the last event, seconds since the campaign began [s].
        lab_s: laboratory time that instruments have worked [s].
    """

    seq: int = 0
    started: CampaignStarted | None = None
    life: int = 0
    code: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    proposed: tuple[Proposed, ...] = ()
    ready: tuple[int, ...] = ()
    trials: Mapping[str, TrialState] = field(default_factory=dict)
    ended: tuple[TrialEnded, ...] = ()
    batches: tuple[SimulationsProposed, ...] = ()
    simulated: tuple[Simulated, ...] = ()
    simulating: tuple[SimulationId, ...] = ()
    withdrawn: frozenset[SimulationId] = frozenset()
    asked: int = 0
    idle_at: int = -1
    memo: Mapping[str, Any] = field(default_factory=dict)
    over: frozenset[int] = frozenset()
    discarded: int = 0
    leases: Mapping[str, Leased] = field(default_factory=dict)
    paused: str | None = None
    finished: str | None = None
    at_s: float = 0.0
    lab_s: float = 0.0

    @property
    def observations(self) -> tuple[TrialEnded, ...]:
        """Return the trials that gave a value, in journal order."""
        return tuple(t for t in self.ended if t.y is not None)

    @property
    def held(self) -> int | None:
        """Return the number of the experiment that waits for simulations, or None."""
        for batch in reversed(self.batches):
            if batch.holds is None:
                continue
            waits = batch.holds == len(self.proposed) and any(
                number == batch.batch for number, _ in self.simulating
            )
            return batch.holds if waits else None
        return None

    @property
    def pending(self) -> tuple[int, ...]:
        """Return the numbers of proposals that are under way or ready."""
        return tuple(p.number for p in self.proposed if p.number not in self.over)


def _with(mapping: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    return {**mapping, key: value}


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in mapping.items() if k != key}


def apply(state: CampaignState, event: Event) -> CampaignState:
    """Return the state after an event.

    Raises:
        ImpossibleEvent: it cannot follow.
    """
    at_s = max(state.at_s, event.at_s)
    return replace(state, seq=state.seq + 1, at_s=at_s, **_changes(state, event))


def _changes(state: CampaignState, event: Event) -> dict[str, Any]:
    """Return the fields of the state that an event changes."""
    match event:
        case Computed():
            return {"trials": _on_trial(state, event.trial, event, _computed)}
        case Commanded():
            return {"trials": _on_trial(state, event.key.trial, event, _commanded)}
        case Settled():
            trials = _on_trial(state, event.key.trial, event, _settled)
            before = state.trials[event.key.trial].lab_s
            spent_s = trials[event.key.trial].lab_s - before
            return {"lab_s": state.lab_s + spent_s, "trials": trials}
        case Decided():
            return {"trials": _on_trial(state, event.key.trial, event, _decided)}
        case Proposed():
            return _proposed(state, event)
        case SimulationsProposed():
            return _simulations_proposed(state, event)
        case Simulated():
            return _simulated(state, event)
        case Discarded():
            ready, over = _not_ready(state, event.number), state.over | {event.number}
            return {"ready": ready, "over": over, "discarded": state.discarded + 1}
        case TrialStarted():
            trial = TrialState(event.trial, event.number, event.sample)
            trials = _with(state.trials, event.trial, trial)
            return {"ready": _not_ready(state, event.number), "trials": trials}
        case TrialEnded():
            return {
                "trials": _without(state.trials, event.trial),
                "ended": (*state.ended, event),
                "over": state.over | {event.number},
            }
        case Leased():
            return {"leases": _with(state.leases, event.instrument, event)}
        case CampaignStarted():
            return {"started": event, "code": code_of(event)}
        case ConductorStarted():
            notes = (*state.notes, *(f"life {event.life}: {note}" for note in event.notes))
            return {"life": event.life, "code": event.code or state.code, "notes": notes}
        case Paused():
            return {"paused": f"{event.person}: {event.reason}"}
        case Resumed():
            return {"paused": None}
        case Finished():
            return {"finished": event.reason}


def _not_ready(state: CampaignState, number: int) -> tuple[int, ...]:
    return tuple(n for n in state.ready if n != number)


def _proposed(state: CampaignState, event: Proposed) -> dict[str, Any]:
    if event.number != len(state.proposed):
        raise ImpossibleEvent(
            f"proposed/{event.number}", f"the next number is {len(state.proposed)}"
        )
    return {
        "proposed": (*state.proposed, event),
        "ready": (*state.ready, event.number),
        "memo": event.memo,
    }


def _simulations_proposed(state: CampaignState, event: SimulationsProposed) -> dict[str, Any]:
    if event.batch != len(state.batches):
        why = f"the next batch is {len(state.batches)}"
        raise ImpossibleEvent(f"simulations_proposed/{event.batch}", why)
    new = tuple((event.batch, row) for row in range(len(event.wanted)))
    return {
        "batches": (*state.batches, event),
        "simulating": (*state.simulating, *new),
        "withdrawn": state.withdrawn | set(event.withdrawn),
        "asked": state.asked + len(event.wanted),
        "idle_at": -1 if event.wanted else len(state.ended) if event.ended is None else event.ended,
        "memo": event.memo,
    }


def _simulated(state: CampaignState, event: Simulated) -> dict[str, Any]:
    known = (event.batch, event.row)
    if known not in state.simulating:
        raise ImpossibleEvent(f"simulated/{event.batch}/{event.row}", "it is not being simulated")
    return {
        "simulated": (*state.simulated, event),
        "simulating": tuple(s for s in state.simulating if s != known),
        "asked": state.asked - (event.state == "cancelled"),
    }


def _on_trial(state: CampaignState, trial: str, event: Any, change: Any) -> dict[str, Any]:
    found = state.trials.get(trial)
    if found is None:
        raise ImpossibleEvent(event.kind, f"trial {trial} is not under way")
    return _with(state.trials, trial, change(found, event))


def _commanded(trial: TrialState, event: Commanded) -> TrialState:
    path = event.key.step
    return replace(
        trial,
        open=_with(trial.open, path, event),
        commands=_with(trial.commands, path, event),
        attempts=_with(trial.attempts, path, event.key.attempt),
    )


def _settled(trial: TrialState, event: Settled) -> TrialState:
    path = event.key.step
    command = trial.open.get(path)
    if command is None or command.key != event.key:
        raise ImpossibleEvent(f"settled/{event.key}", "no such command is open")
    lasted_s = max(0.0, (event.ended_lab_s or 0.0) - (event.started_lab_s or 0.0))
    branch = ".".join(path.split(".")[:2])
    spans = _with(trial.spans, branch, trial.spans.get(branch, 0.0) + lasted_s)
    trial = replace(trial, open=_without(trial.open, path), spans=spans)
    if event.state == "unknown":
        return replace(trial, unknown=_with(trial.unknown, path, event))
    if event.state == "failed" and event.may_retry:
        return trial
    return replace(trial, records=(*trial.records, _record(command, event)))


def _decided(trial: TrialState, event: Decided) -> TrialState:
    path = event.key.step
    if path not in trial.unknown:
        raise ImpossibleEvent(f"decided/{event.key}", "its outcome is not unknown")
    record = StepRecord(
        path=path,
        digest=trial.commands[path].digest,
        name=f"{trial.commands[path].target}.{trial.commands[path].action}",
        state=event.state,
        result=event.result,
        arrays=event.arrays,
        reason=f"{event.person}: {event.reason}",
        at_s=event.at_s,
    )
    return replace(trial, unknown=_without(trial.unknown, path), records=(*trial.records, record))


def _record(command: Commanded, event: Settled) -> StepRecord:
    return StepRecord(
        path=command.key.step,
        digest=command.digest,
        name=f"{command.target}.{command.action}",
        state=event.state,
        result=event.result,
        arrays=event.arrays,
        reason=event.reason,
        at_s=event.at_s,
    )


def _computed(trial: TrialState, event: Computed) -> TrialState:
    record = StepRecord(
        path=event.path,
        digest=event.digest,
        name=event.name,
        state=event.state,
        result=event.result,
        arrays=event.arrays,
        reason=event.reason,
        at_s=event.at_s,
    )
    released = trial.released
    if event.name == "trial.release" and isinstance(event.result, list):
        released |= set(event.result)
    return replace(trial, records=(*trial.records, record), released=released)
