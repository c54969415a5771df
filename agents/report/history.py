"""What a journal tells, put in order for people.

Unlike the fold of `twinloop.agents.campaign.state` this reading never refuses: an event that cannot
be understood is noted and left out, and whatever stands beside it is still shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

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
    event_of,
)
from twinloop.agents.report.aims import Aim, aim_of, knobs_of
from twinloop.agents.report.evidence import Evidence
from twinloop.errors import LabError
from twinloop.log.interface import Stored
from twinloop.log.sqlite import LogReader, open_readonly

__all__ = ["JOURNAL", "History", "Step", "TrialHistory", "history_of", "read_history"]
__all__ += ["read_stored"]

JOURNAL = "journal.db"
_READS = 3


@dataclass(slots=True)
class Step:
    """One command with what became of it.

    Args:
        commanded: when and what.
        settled: its outcome; None while it is under way.
        decided: what a person said of an unknown outcome.
    """

    commanded: Commanded
    settled: Settled | None = None
    decided: Decided | None = None


@dataclass(slots=True)
class TrialHistory:
    """One trial from its start to its end, as far as it came."""

    id: str
    number: int
    sample: str = ""
    proposed: Proposed | None = None
    started: TrialStarted | None = None
    ended: TrialEnded | None = None
    steps: list[Step] = field(default_factory=list)
    computed: list[Computed] = field(default_factory=list)

    @property
    def y(self) -> float | None:
        """Return the goal, maximised; None for no observation."""
        return None if self.ended is None else self.ended.y

    @property
    def is_feasible(self) -> bool:
        """Return True for an observation that keeps every constraint."""
        return (
            self.ended is not None and self.y is not None and min(self.ended.slack, default=0) >= 0
        )

    @property
    def point(self) -> Mapping[str, float]:
        """Return the conditions in physical units."""
        return {} if self.proposed is None else self.proposed.point

    @property
    def results(self) -> list[Settled | Computed]:
        """Return every answered step in the order of the journal's time."""
        settled = [step.settled for step in self.steps if step.settled is not None]
        found: list[Settled | Computed] = [*settled, *self.computed]
        return sorted(found, key=lambda event: event.at_s)


@dataclass(slots=True)
class History:
    """A whole journal.

    Args:
        aim: what the campaign wants.
        order: conditions in the order of the configuration file; the journal sorts them.
        trials: by id, in the order they began.
        observations: trials with a value, in the order they ended.
        proposed: by number.
        batches: what theory was to be asked, by number.
        simulated: what it answered, in the order of the journal.
        seqs: number in the journal of each event that can happen once, by its log key.
        times: seconds the campaign had been led at each event, by its number in the journal [s].
        pauses, leases, lives, discarded, decided: events of their kind.
        unreadable: what could not be understood, and why.
        n_events, head, log_id, check: of the journal: size, last hash, identity, result of the
            check of its hash chain.
        first_at, last_at: time stamps, ISO 8601.
        end_s: time of the last event, seconds the campaign has been led [s].
    """

    aim: Aim = field(default_factory=Aim)
    order: tuple[str, ...] = ()
    started: CampaignStarted | None = None
    finished: Finished | None = None
    trials: dict[str, TrialHistory] = field(default_factory=dict)
    ended: list[TrialHistory] = field(default_factory=list)
    proposed: dict[int, Proposed] = field(default_factory=dict)
    batches: dict[int, SimulationsProposed] = field(default_factory=dict)
    simulated: list[Simulated] = field(default_factory=list)
    seqs: dict[str, int] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    lives: list[ConductorStarted] = field(default_factory=list)
    leases: list[Leased] = field(default_factory=list)
    discarded: list[Discarded] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    pauses: list[Paused | Resumed] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    n_events: int = 0
    head: str = ""
    log_id: str = ""
    check: str = "not checked"
    first_at: str = ""
    last_at: str = ""
    end_s: float = 0.0

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the configuration as the journal holds it."""
        return {} if self.started is None else self.started.config

    @property
    def observations(self) -> list[TrialHistory]:
        """Return the trials that gave a value, in the order they ended."""
        return [trial for trial in self.ended if trial.y is not None]

    @property
    def best(self) -> TrialHistory | None:
        """Return the best observation that keeps the constraints; None without one."""
        feasible = [trial for trial in self.observations if trial.is_feasible]
        return max(feasible, key=lambda trial: trial.y or 0.0, default=None)

    @property
    def knobs(self) -> list[str]:
        """Return the names of the conditions, those of `order` first."""
        found = dict.fromkeys(k for event in self.proposed.values() for k in event.point)
        return [*(k for k in self.order if k in found), *(k for k in found if k not in self.order)]

    @property
    def elapsed_s(self) -> float:
        """Return real time from the first event to the last, pauses between lives included [s]."""
        try:
            first, last = map(datetime.fromisoformat, (self.first_at, self.last_at))
        except ValueError:
            return self.end_s
        return max((last - first).total_seconds(), 0.0)

    def n_observed_at(self, seq: int) -> int:
        """Return how many observations stood in the first `seq` events."""
        ends = (self.seqs.get(f"trial_ended/{trial.id}", 0) for trial in self.observations)
        return sum(end <= seq for end in ends)

    def value(self, trial: TrialHistory) -> float | None:
        """Return the objective of a trial in its own sense, not turned round for maximising."""
        return None if trial.y is None else self.aim.natural(trial.y)


def read_history(evidence: Evidence) -> History:
    """Return what the journal of a run folder tells.

    Raises:
        LogFailed: there is no journal, or it cannot be opened.
    """
    reader = open_readonly(evidence.folder / JOURNAL)
    try:
        history = history_of(read_stored(reader))
        history.log_id = reader.log_id
        history.check = _check(reader)
        if history.check != "intact":
            history.unreadable.append(history.check)
    finally:
        reader.close()
    history.order = tuple(knobs_of(evidence.json("config.json")))
    return history


def history_of(stored: Iterable[Stored | str]) -> History:
    """Return the history that events make; a text stands for events that could not be read."""
    history = History()
    for item in stored:
        if isinstance(item, str):
            history.unreadable.append(item)
            continue
        history.n_events, history.head = history.n_events + 1, item.hash
        history.first_at, history.last_at = history.first_at or item.at, item.at
        try:
            event = event_of(item)
        except ValidationError as err:
            first = err.errors(include_url=False)[0]
            history.unreadable.append(
                f"event {item.seq} ({item.entry.kind!r}, v{item.entry.v}) is not understood by "
                f"this version: {first['msg']}"
            )
            continue
        history.end_s = max(history.end_s, event.at_s)
        history.times[item.seq] = event.at_s
        key = event.log_key()
        if key is not None:
            history.seqs[key] = item.seq
        _take(history, event)
    history.aim = aim_of(history.config, [t.ended for t in history.ended if t.ended is not None])
    return history


def read_stored(reader: LogReader) -> Iterator[Stored | str]:
    """Yield every event, and a word on where reading ended when the journal is damaged."""
    seq = 0
    try:
        for stored in reader.read():
            seq = stored.seq
            yield stored
    # a damaged page or a torn body may show itself in any of these ways
    except Exception as err:  # noqa: BLE001 - the events before it are still worth showing
        yield f"the journal cannot be read after event {seq}: {type(err).__name__}: {err}"


def _check(reader: LogReader) -> str:
    """Return "intact" or what is wrong; a writer at work may look like damage, so look again."""
    found = ""
    for _ in range(_READS):
        before = reader.last_seq
        try:
            reader.verify()
        except LabError as err:
            found = str(err)
        else:
            return "intact"
        if reader.last_seq == before:
            break
    return found


def _take(history: History, event: Event) -> None:
    match event:
        case CampaignStarted():
            history.started = event
        case ConductorStarted():
            history.lives.append(event)
        case Proposed():
            history.proposed[event.number] = event
        case SimulationsProposed():
            history.batches[event.batch] = event
        case Simulated():
            history.simulated.append(event)
        case Discarded():
            history.discarded.append(event)
        case Leased():
            history.leases.append(event)
        case Paused() | Resumed():
            history.pauses.append(event)
        case Finished():
            history.finished = event
        case TrialStarted():
            trial = _trial(history, event.trial, event.number)
            trial.started, trial.sample = event, event.sample
        case TrialEnded():
            trial = _trial(history, event.trial, event.number)
            trial.ended = event
            history.ended.append(trial)
        case Computed():
            _trial(history, event.trial).computed.append(event)
        case Commanded():
            _trial(history, event.key.trial).steps.append(Step(event))
        case Settled() | Decided():
            _settle(history, event)


def _trial(history: History, name: str, number: int = -1) -> TrialHistory:
    trial = history.trials.get(name)
    if trial is None:
        trial = history.trials[name] = TrialHistory(name, number)
    if number >= 0:
        trial.number, trial.proposed = number, history.proposed.get(number)
    return trial


def _settle(history: History, event: Settled | Decided) -> None:
    if isinstance(event, Decided):
        history.decided.append(event)
    for step in reversed(_trial(history, event.key.trial).steps):
        if step.commanded.key == event.key:
            if isinstance(event, Settled):
                step.settled = event
            else:
                step.decided = event
            return
    history.unreadable.append(f"an outcome of {event.key} has no command before it")
