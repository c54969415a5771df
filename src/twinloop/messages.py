"""Every message of the wire, as frozen models.

Two agents never share anything but these. A message is one JSON header (this model) and raw array
frames that the header describes. The hub stamps the sender; a name inside a header proves nothing.

Conversations:

- agent and hub: `Hello` -> `Welcome` | `Refused`; `Beat` -> `Beat`; `Watch` -> `Presence` ...;
  `Replaced` tells an older incarnation to exit; `Undeliverable` returns what could not be routed.
- conductor and adapter: `LeaseRequest` -> `LeaseGranted` | `LeaseRefused`; `LeaseRenew` ->
  `LeaseRenewed` | `LeaseRefused`; `Command` -> `Accepted` ... `Outcome` -> `OutcomeAck`;
  `Query` -> `Outcome`; `Abort`; anyone: `StatusRequest` -> `InstrumentStatus`; a person: `Clear`,
  `EmergencyStop`.
- conductor and compute agent: `Task` -> `TaskPartial` ... `TaskResult`; `CancelTask`.
- conductor and viewers: `Control`, `View`.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
)

from twinloop.errors import MessageRejected
from twinloop.ids import CommandKey, Name

__all__ = [
    "WIRE_VERSION",
    "Abort",
    "Accepted",
    "ArrayRef",
    "Beat",
    "Bye",
    "CancelTask",
    "Clear",
    "Command",
    "Control",
    "EmergencyStop",
    "Hello",
    "InstrumentStatus",
    "JsonValue",
    "LeaseGranted",
    "LeaseRefused",
    "LeaseRelease",
    "LeaseRenew",
    "LeaseRenewed",
    "LeaseRequest",
    "Message",
    "Outcome",
    "OutcomeAck",
    "OutcomeState",
    "Presence",
    "Query",
    "ReadoutReply",
    "ReadoutRequest",
    "Refused",
    "Replaced",
    "StatusRequest",
    "Task",
    "TaskPartial",
    "TaskResult",
    "Undeliverable",
    "View",
    "Watch",
    "Welcome",
    "decode_message",
    "encode_message",
]

WIRE_VERSION = 2
_MAX_DEPTH = 8


def _bounded_json(value: Any) -> Any:
    """Refuse NaN, infinity and nesting deeper than the wire allows."""
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH}")
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("NaN and infinity are not allowed")
        if isinstance(item, dict):
            stack.extend((v, depth + 1) for v in item.values())
        elif isinstance(item, list | tuple):
            stack.extend((v, depth + 1) for v in item)
        elif not isinstance(item, str | int | float | bool | type(None)):
            raise ValueError(f"{type(item).__name__} is not JSON")
    return value


JsonValue = Annotated[Any, AfterValidator(_bounded_json)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_bounded_json)]
Text = Annotated[str, Field(max_length=4096)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants"
    )


class ArrayRef(_Model):
    """One array: what it is called, its type and shape, its digest; never its content.

    Args:
        name: what the sender calls it ("trace").
        digest: BLAKE2b-256 of the C-contiguous little-endian bytes, hexadecimal.
        dtype: numpy type string, little endian ("<f4").
        shape: the shape.
        nbytes: the length in bytes; equals the product of shape and item size.
        inline: True when the bytes travel as a frame of this message, in the order of the list.
    """

    name: Annotated[str, Field(max_length=64)]
    digest: Digest
    dtype: Annotated[str, Field(pattern=r"^[<|][biufc?]\d{0,2}$")]
    shape: Annotated[tuple[NonNegativeInt, ...], Field(max_length=8)]
    nbytes: NonNegativeInt
    inline: bool = False


# --- agent and hub ---------------------------------------------------------------------------


class Hello(_Model):
    """First word of an agent: who it is, and the wire versions it speaks."""

    kind: Literal["hello"] = "hello"
    name: Name
    role: Literal["conductor", "adapter", "worker", "viewer", "person"]
    incarnation: Name
    wire: tuple[int, ...] = (WIRE_VERSION,)
    watch: bool = False
    about: JsonObject = {}


class Welcome(_Model):
    """The hub has registered this incarnation."""

    kind: Literal["welcome"] = "welcome"
    wire: int
    hub: Name
    beat_s: float
    max_bytes: int


class Refused(_Model):
    """The hub does not register this agent.

    Args:
        code: `say_hello` asks a sender that the hub does not know to introduce itself (the hub or
            the connection is new); any other code is final.
        reason: for people.
    """

    kind: Literal["refused"] = "refused"
    code: Literal["say_hello", "wire", "name", "full"]
    reason: Text


class Replaced(_Model):
    """A newer incarnation has this name now: exit."""

    kind: Literal["replaced"] = "replaced"
    by: Name


class Beat(_Model):
    """Heartbeat, both ways."""

    kind: Literal["beat"] = "beat"
    n: NonNegativeInt


class Watch(_Model):
    """Ask the hub for the present agents now (as `Presence` messages) and on each change."""

    kind: Literal["watch"] = "watch"


class Presence(_Model):
    """An agent came, or has not been heard of for too long."""

    kind: Literal["presence"] = "presence"
    name: Name
    role: str
    incarnation: Name
    is_here: bool
    about: JsonObject = {}


class Undeliverable(_Model):
    """The hub knows nobody of that name, or could not hand the message over."""

    kind: Literal["undeliverable"] = "undeliverable"
    to: Text
    reason: Text


class Bye(_Model):
    """An agent leaves on purpose."""

    kind: Literal["bye"] = "bye"


# --- conductor and adapter -------------------------------------------------------------------


class LeaseRequest(_Model):
    """Ask for the only lease on an instrument.

    Args:
        instrument: its name in the laboratory file.
        campaign: who wants it.
        depot: endpoint of the campaign's depot, where arrays are to be put.
        ttl_s: how long the holder wants to be thought alive after its last renewal [s].
        incarnation: which life of the holder asks; the same life asking again gets the same epoch,
            another life, or none named, a new one.
    """

    kind: Literal["lease_request"] = "lease_request"
    instrument: Name
    campaign: Name
    depot: Text
    ttl_s: Annotated[float, Field(gt=0)]
    incarnation: Text = ""


class LeaseGranted(_Model):
    """The lease, its epoch, and what the adapter is.

    Args:
        epoch: counter of the adapter's ledger; a command under another is refused.
        ledger: identity of the ledger on the adapter's disk.
        adapter_now_s: the adapter's own monotonic clock; `not_after_s` deadlines are in it [s].
        clock_factor: laboratory seconds in one real second; 1 unless `is_twin`.
        sample: what the instrument holds, if anything.
        schema_digest: digest of the actions with their limits.
        trip: reason of a latched trip, if one stands.
    """

    kind: Literal["lease_granted"] = "lease_granted"
    instrument: Name
    campaign: Name
    epoch: NonNegativeInt
    ledger: Name
    adapter_now_s: float
    ttl_s: float
    clock_factor: float
    is_twin: bool
    sample: Name | None = None
    schema_digest: Digest
    trip: Text | None = None


class LeaseRefused(_Model):
    """No lease: another holder, or an epoch that is over.

    It also answers a command or a query that only a present holder may send: nothing was done and
    nothing is decided about its key; ask for the lease, then send the same key again.

    Args:
        epoch: the epoch that was refused; None for the answer to a lease request.
    """

    kind: Literal["lease_refused"] = "lease_refused"
    instrument: Name
    campaign: Name
    reason: Text
    holder: Text = ""
    epoch: NonNegativeInt | None = None


class LeaseRenew(_Model):
    """The holder is alive."""

    kind: Literal["lease_renew"] = "lease_renew"
    instrument: Name
    epoch: NonNegativeInt


class LeaseRenewed(_Model):
    """The adapter has heard it."""

    kind: Literal["lease_renewed"] = "lease_renewed"
    instrument: Name
    epoch: NonNegativeInt
    adapter_now_s: float
    trip: Text | None = None


class LeaseRelease(_Model):
    """The holder is done with the instrument."""

    kind: Literal["lease_release"] = "lease_release"
    instrument: Name
    epoch: NonNegativeInt


class Command(_Model):
    """One physical action, at most once.

    Args:
        key: identity of this attempt; a repeated key is answered from the ledger.
        arguments: keyword arguments, plain numbers in the units of their types.
        sample: the sample it is meant for; the adapter refuses another.
        epoch: of the lease it is sent under.
        ledger: identity of the ledger that granted it.
        not_after_s: latest start, in the adapter's own clock [s].
    """

    kind: Literal["command"] = "command"
    key: CommandKey
    instrument: Name
    action: Annotated[str, Field(max_length=64)]
    arguments: JsonObject = {}
    sample: Name | None = None
    epoch: NonNegativeInt
    ledger: Name
    not_after_s: float
    priority: int = 0


class Accepted(_Model):
    """The command passed every check and stands in the ledger; the device is being asked."""

    kind: Literal["accepted"] = "accepted"
    key: CommandKey


OutcomeState = Literal["done", "failed", "partial", "unknown", "running", "not_done"]


class Outcome(_Model):
    """What became of a command.

    `done`: it happened. `failed`: no effect, and certain of it. `partial`: some of it happened,
    `result` says what. `unknown`: nobody can tell. `running`: still at it (answer to a query).
    `not_done`: the ledger has never seen the key (answer to a query): certain, under that ledger.

    Args:
        result: JSON value of the action.
        arrays: arrays of the result, durable in the depot named by the lease request.
        reason: for people.
        may_retry: True for a definite failure that has nothing to do with sample or arguments (busy,
            late, spool full, never arrived): another attempt may go through.
        started_lab_s, ended_lab_s: laboratory time of the adapter's clock [s].
    """

    kind: Literal["outcome"] = "outcome"
    key: CommandKey
    instrument: Name
    ledger: Name
    state: OutcomeState
    result: JsonValue = None
    arrays: tuple[ArrayRef, ...] = ()
    reason: Text = ""
    may_retry: bool = False
    started_lab_s: NonNegativeFloat | None = None
    ended_lab_s: NonNegativeFloat | None = None


class OutcomeAck(_Model):
    """The journal holds this outcome and its arrays, durably: the spool may let go."""

    kind: Literal["outcome_ack"] = "outcome_ack"
    key: CommandKey


class Query(_Model):
    """What became of this command?"""

    kind: Literal["query"] = "query"
    key: CommandKey
    instrument: Name
    ledger: Name


class Abort(_Model):
    """Cancel the running action of this key at its next await."""

    kind: Literal["abort"] = "abort"
    key: CommandKey
    instrument: Name
    epoch: NonNegativeInt


class ReadoutRequest(_Model):
    """Read, change nothing; repeatable, so it needs no lease and no ledger."""

    kind: Literal["readout_request"] = "readout_request"
    request: Annotated[str, Field(max_length=200)]
    instrument: Name
    readout: Annotated[str, Field(max_length=64)]


class ReadoutReply(_Model):
    """What was read, or why nothing was."""

    kind: Literal["readout_reply"] = "readout_reply"
    request: Annotated[str, Field(max_length=200)]
    state: Literal["done", "failed"]
    result: JsonValue = None
    reason: Text = ""


class EmergencyStop(_Model):
    """Safe state now, latched; anybody may send it."""

    kind: Literal["emergency_stop"] = "emergency_stop"
    instrument: Name | None = None
    reason: Text


class Clear(_Model):
    """A person clears a latched trip."""

    kind: Literal["clear"] = "clear"
    instrument: Name
    person: Text
    reason: Text


class StatusRequest(_Model):
    """How is this instrument? None asks for all of the adapter."""

    kind: Literal["status_request"] = "status_request"
    instrument: Name | None = None


class InstrumentStatus(_Model):
    """State of one instrument, for views and lists; never for control.

    Args:
        utc: wall clock of the control PC when it answered, ISO 8601; "" from an older adapter.
        last_trip: the newest trip, when, and who cleared it; "" for none.
        n_commands: how many commands of this instrument its ledger knows.
        n_unacked: how many outcomes wait for their campaign.
    """

    kind: Literal["instrument_status"] = "instrument_status"
    instrument: Name
    kind_name: Text
    state: Literal["idle", "busy", "held", "tripped", "reconciling"]
    is_twin: bool
    action: Text = ""
    key: CommandKey | None = None
    holder: Text = ""
    epoch: NonNegativeInt = 0
    ledger: Name
    sample: Name | None = None
    trip: Text | None = None
    schema_digest: Digest
    clock_factor: float
    lab_now_s: float
    spool_bytes: NonNegativeInt = 0
    utc: Text = ""
    last_trip: Text = ""
    n_commands: NonNegativeInt = 0
    n_unacked: NonNegativeInt = 0


# --- conductor and compute agents ------------------------------------------------------------


class Task(_Model):
    """One repeatable computation.

    Args:
        task: identity; the same task gives the same answer wherever it runs.
        target: name of the object in the agent ("planner", "analyst", "kmc_growth").
        method: what to call on it.
        arguments: JSON keyword arguments.
        arrays: array arguments by name; inline ones follow as frames, others lie in the depot.
        seed: seeds every generator of the call.
    """

    kind: Literal["task"] = "task"
    task: Annotated[str, Field(max_length=200)]
    target: Annotated[str, Field(max_length=64)]
    method: Annotated[str, Field(max_length=64)]
    arguments: JsonObject = {}
    arrays: tuple[ArrayRef, ...] = ()
    depot: Text = ""
    seed: NonNegativeInt = 0
    campaign: Text = ""
    priority: int = 0


class TaskPartial(_Model):
    """An intermediate result of a long computation."""

    kind: Literal["task_partial"] = "task_partial"
    task: Annotated[str, Field(max_length=200)]
    n: NonNegativeInt
    result: JsonValue = None
    arrays: tuple[ArrayRef, ...] = ()


class TaskResult(_Model):
    """The answer to a task, or why there is none.

    Args:
        state: `done`, `failed` (the computation raised: `reason` holds it) or `cancelled`.
        may_retry: True for a failure that has nothing to do with the question (a depot that does not
            answer, a full disk or queue): the same task may be answered later.
        wall_s, cpu_s: what it cost [s].
    """

    kind: Literal["task_result"] = "task_result"
    task: Annotated[str, Field(max_length=200)]
    state: Literal["done", "failed", "cancelled"]
    result: JsonValue = None
    arrays: tuple[ArrayRef, ...] = ()
    reason: Text = ""
    may_retry: bool = False
    wall_s: NonNegativeFloat = 0.0
    cpu_s: NonNegativeFloat = 0.0


class CancelTask(_Model):
    """Nobody wants this task any more."""

    kind: Literal["cancel_task"] = "cancel_task"
    task: Annotated[str, Field(max_length=200)]


# --- people ----------------------------------------------------------------------------------


class Control(_Model):
    """A person tells the conductor what to do.

    `decide` settles an unknown outcome: `arguments` = {"key": "...", "state": "done" | "not_done",
    "result": ...}.
    """

    kind: Literal["control"] = "control"
    action: Literal["pause", "resume", "stop", "status", "decide"]
    arguments: JsonObject = {}
    person: Text = ""


class View(_Model):
    """A picture of the campaign for people; the latest wins."""

    kind: Literal["view"] = "view"
    campaign: Text
    content: JsonObject


Message = Annotated[
    Hello | Welcome | Refused | Replaced | Beat | Watch | Presence | Undeliverable | Bye
    | LeaseRequest | LeaseGranted | LeaseRefused | LeaseRenew | LeaseRenewed | LeaseRelease
    | ReadoutRequest | ReadoutReply | Command | Accepted | Outcome | OutcomeAck | Query | Abort | EmergencyStop | Clear
    | StatusRequest | InstrumentStatus
    | Task | TaskPartial | TaskResult | CancelTask | Control | View,
    Field(discriminator="kind"),
]  # fmt: skip

_ADAPTER: TypeAdapter[Message] = TypeAdapter(Message)


def encode_message(message: BaseModel) -> bytes:
    """Return the header bytes of a message."""
    return message.model_dump_json().encode()


def decode_message(header: bytes) -> Message:
    """Return the message that header bytes stand for.

    Raises:
        MessageRejected: not JSON, an unknown kind, a missing or unknown field, a wrong type.
    """
    try:
        return _ADAPTER.validate_json(header)
    except (ValidationError, ValueError) as err:
        raise MessageRejected("header", str(err)[:500]) from err
