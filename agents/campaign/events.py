"""The events of a campaign: its only history.

Each is a frozen model with a `kind` and a version `v`. `upcast` turns an older body into the present
form by small pure functions; an event is never rewritten on disk.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from twinloop.ids import CommandKey, canonical_json, digest_of
from twinloop.log.interface import Entry, Stored
from twinloop.messages import ArrayRef

__all__ = [
    "CampaignStarted",
    "Commanded",
    "Computed",
    "ConductorStarted",
    "Decided",
    "Discarded",
    "Event",
    "Finished",
    "Leased",
    "Paused",
    "Proposed",
    "Resumed",
    "Settled",
    "Simulated",
    "SimulationWanted",
    "SimulationsProposed",
    "TrialEnded",
    "TrialStarted",
    "code_of",
    "entry_of",
    "event_of",
]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at_s: float = 0.0  # seconds since the campaign began, over all its lives [s]

    def log_key(self) -> str | None:
        """Return the key under which the log holds this event once; None for any number of times."""
        return None

    def array_refs(self) -> tuple[ArrayRef, ...]:
        """Return the arrays that this event names."""
        return ()


class CampaignStarted(_Event):
    """What was asked for, and by which code."""

    kind: Literal["campaign_started"] = "campaign_started"
    campaign: str
    seed: int
    config: dict[str, Any]
    protocol: str
    protocol_version: int
    protocol_digest: str
    planner: str
    planner_version: int
    versions: dict[str, str]
    clock_factor: float

    def log_key(self) -> str:
        """Return the key: a campaign starts once."""
        return "campaign_started"


class ConductorStarted(_Event):
    """A conductor took the campaign up: life n of it.

    Args:
        code: what leads the campaign in this life; see `code_of`.
        notes: what of it differs from the life before, for people.
    """

    kind: Literal["conductor_started"] = "conductor_started"
    incarnation: str
    life: int
    versions: dict[str, str] = {}
    code: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class Proposed(_Event):
    """A point to try, with everything needed to propose it again.

    Args:
        number: number of the proposal, from 0.
        x: the point in the unit cube, shape (d,).
        point: the same in physical units.
        basis: sequence number of the last event it was computed from.
        pending: numbers of the proposals that were under way in that prefix.
        seed: hash of campaign seed and number.
        why: figures of the choice (acquisition value, predicted mean ...).
        memo: what the planner wants to find again (hyperparameters).
        place: where it was computed ("conductor", or the worker's name).
        cpu_s: what it cost [s].
    """

    kind: Literal["proposed"] = "proposed"
    number: int
    x: tuple[float, ...]
    point: dict[str, float]
    basis: int
    pending: tuple[int, ...]
    seed: int
    why: dict[str, float | str] = {}
    memo: dict[str, Any] = {}
    place: str = ""
    cpu_s: float = 0.0

    def log_key(self) -> str:
        """Return the key: a number is proposed once."""
        return f"proposed/{self.number}"


class SimulationWanted(BaseModel):
    """One simulation of a batch.

    Args:
        x: the point in the unit cube, shape (d,).
        point: the same in physical units.
        theta: parameters of the theory, by name.
        seed: of the simulation's own randomness.
        gain_per_h: what it was expected to be worth for its cost.
        why: in a word.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    x: tuple[float, ...]
    point: dict[str, float]
    theta: dict[str, float]
    seed: int
    gain_per_h: float = 0.0
    why: str = ""


class SimulationsProposed(_Event):
    """What theory is to be asked, with everything needed to decide it again.

    Args:
        batch: number of the batch, from 0.
        simulator: who simulates.
        wanted: the simulations, the most valuable first; none: nothing is worth its cost.
        withdrawn: simulations asked for earlier, as (batch, row), that nobody wants any more.
        holds: number of the experiment that waits for this batch; None: none does.
        proposal: number of the experiment in whose proposal it was decided; None: on its own.
        ended: how many trials had ended by then; None where a journal of before does not say.
        basis, seed, why, memo, place, cpu_s: as of `Proposed`.
    """

    kind: Literal["simulations_proposed"] = "simulations_proposed"
    batch: int
    simulator: str
    wanted: tuple[SimulationWanted, ...] = ()
    withdrawn: tuple[tuple[int, int], ...] = ()
    holds: int | None = None
    proposal: int | None = None
    ended: int | None = None
    basis: int
    seed: int
    why: dict[str, float | str] = {}
    memo: dict[str, Any] = {}
    place: str = ""
    cpu_s: float = 0.0

    def log_key(self) -> str:
        """Return the key: a batch is proposed once."""
        return f"simulations_proposed/{self.batch}"


class Simulated(_Event):
    """What theory said, or why it said nothing; its inputs stand in the batch.

    Args:
        batch, row: which simulation.
        state: `done`, `failed`, or `cancelled` because nobody wanted it any more.
        values: predicted quantities by name.
        exceeded: the cost bound was reached: a hint, no prediction.
        code: version and source digest of the simulator.
        arrays: traces, by digest.
        place, wall_s, cpu_s: who computed, how long, and what it cost [s].
    """

    kind: Literal["simulated"] = "simulated"
    batch: int
    row: int
    state: Literal["done", "failed", "cancelled"]
    values: dict[str, float] = {}
    exceeded: bool = False
    code: str = ""
    arrays: tuple[ArrayRef, ...] = ()
    reason: str = ""
    place: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def log_key(self) -> str:
        """Return the key: a simulation is answered once."""
        return f"simulated/{self.batch}/{self.row}"

    def array_refs(self) -> tuple[ArrayRef, ...]:
        """Return the arrays of the prediction."""
        return self.arrays


class Discarded(_Event):
    """A proposal that will not be tried."""

    kind: Literal["discarded"] = "discarded"
    number: int
    reason: str

    def log_key(self) -> str:
        """Return the key."""
        return f"discarded/{self.number}"


class TrialStarted(_Event):
    """A proposal becomes a trial with a sample of its own."""

    kind: Literal["trial_started"] = "trial_started"
    trial: str
    number: int
    sample: str

    def log_key(self) -> str:
        """Return the key."""
        return f"trial_started/{self.trial}"


class Leased(_Event):
    """An adapter granted its lease: epoch, ledger, and what it is."""

    kind: Literal["leased"] = "leased"
    instrument: str
    adapter: str
    epoch: int
    ledger: str
    clock_factor: float
    is_twin: bool
    schema_digest: str


class Commanded(_Event):
    """A physical action was decided; durable before it is sent.

    `ledger` is the ledger under which it is sent first: under another one its effect is unknown.
    """

    kind: Literal["commanded"] = "commanded"
    key: CommandKey
    instrument: str
    target: str
    action: str
    arguments: dict[str, Any]
    digest: str
    sample: str
    ledger: str

    def log_key(self) -> str:
        """Return the key."""
        return f"commanded/{self.key}"


class Settled(_Event):
    """What became of a command.

    `may_retry` marks a definite failure that has nothing to do with the sample (the adapter was busy,
    the lease had moved on): a new attempt may be decided; the protocol does not see it.
    """

    kind: Literal["settled"] = "settled"
    key: CommandKey
    instrument: str
    state: Literal["done", "failed", "partial", "unknown"]
    result: Any = None
    arrays: tuple[ArrayRef, ...] = ()
    reason: str = ""
    may_retry: bool = False
    started_lab_s: float | None = None
    ended_lab_s: float | None = None

    def log_key(self) -> str:
        """Return the key: a command is settled once."""
        return f"settled/{self.key}"

    def array_refs(self) -> tuple[ArrayRef, ...]:
        """Return the arrays of the result."""
        return self.arrays


class Decided(_Event):
    """An unknown outcome is settled: by a person, or by the ledger that answers after all."""

    kind: Literal["decided"] = "decided"
    key: CommandKey
    state: Literal["done", "failed", "partial", "unknown"]
    result: Any = None
    arrays: tuple[ArrayRef, ...] = ()
    person: str
    reason: str

    def log_key(self) -> str:
        """Return the key."""
        return f"decided/{self.key}"

    def array_refs(self) -> tuple[ArrayRef, ...]:
        """Return the arrays of the result."""
        return self.arrays


class Computed(_Event):
    """A computation or readout that a trial waited for."""

    kind: Literal["computed"] = "computed"
    trial: str
    path: str
    name: str
    digest: str
    state: Literal["done", "failed"]
    result: Any = None
    arrays: tuple[ArrayRef, ...] = ()
    reason: str = ""
    place: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def log_key(self) -> str:
        """Return the key: a step is computed once."""
        return f"computed/{self.trial}/{self.path}"

    def array_refs(self) -> tuple[ArrayRef, ...]:
        """Return the arrays of the result."""
        return self.arrays


class TrialEnded(_Event):
    """A trial is over; with an outcome it is an observation.

    Args:
        state: `done` (an observation), `failed` (the protocol gave up), `parked` (re-entry did not
            fit the journal).
        outcome: fields of the protocol's Outcome.
        y, y_sd: the goal, maximised, and its standard deviation.
        slack, slack_sd: constraints, >= 0 feasible.
    """

    kind: Literal["trial_ended"] = "trial_ended"
    trial: str
    number: int
    state: Literal["done", "failed", "parked"]
    outcome: dict[str, Any] = {}
    y: float | None = None
    y_sd: float = 0.0
    slack: tuple[float, ...] = ()
    slack_sd: tuple[float, ...] = ()
    reason: str = ""

    def log_key(self) -> str:
        """Return the key."""
        return f"trial_ended/{self.trial}"


class Paused(_Event):
    """A person stopped new proposals and new trials; trials under way go on to their end."""

    kind: Literal["paused"] = "paused"
    person: str
    reason: str = ""


class Resumed(_Event):
    """A person let it go on."""

    kind: Literal["resumed"] = "resumed"
    person: str
    reason: str = ""


class Finished(_Event):
    """The campaign is over."""

    kind: Literal["finished"] = "finished"
    reason: str

    def log_key(self) -> str:
        """Return the key: a campaign ends once."""
        return "finished"


Event = Annotated[
    CampaignStarted
    | ConductorStarted
    | Proposed
    | SimulationsProposed
    | Simulated
    | Discarded
    | TrialStarted
    | Leased
    | Commanded
    | Settled
    | Decided
    | Computed
    | TrialEnded
    | Paused
    | Resumed
    | Finished,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def _without_source(body: dict[str, Any]) -> dict[str, Any]:
    """A proposal of version 1 named its source; since then simulations have an event of their own."""
    return {k: v for k, v in body.items() if k not in {"source", "theta"}}


# (kind, version found) -> body of the next version; a kind that is not here has not changed.
_UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("proposed", 1): _without_source,
}
VERSION = 2


def code_of(first: CampaignStarted) -> dict[str, str]:
    """Return what leads a campaign: its protocol, planner and configuration, as comparable text."""
    return {
        "protocol": f"{first.protocol} version {first.protocol_version}, "
        f"source {first.protocol_digest}",
        "planner": f"{first.planner} version {first.planner_version}",
        "configuration": f"of digest {digest_of(canonical_json(first.config))[:16]}",
    }


def entry_of(event: Event) -> Entry:
    """Return the log entry of an event."""
    body = event.model_dump(mode="json", exclude={"kind"})
    refs = tuple(ref.digest for ref in event.array_refs())
    return Entry(kind=event.kind, v=VERSION, body=body, key=event.log_key(), refs=refs)


def event_of(stored: Stored) -> Event:
    """Return the event that a log holds, in its present form."""
    entry = stored.entry
    body, v = dict(entry.body), entry.v
    while (entry.kind, v) in _UPCASTERS:
        body, v = _UPCASTERS[entry.kind, v](body), v + 1
    return _ADAPTER.validate_python({"kind": entry.kind, **body})
