"""What the adapter's core asks of the device side, and what the device side reports back."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from twinloop.ids import CommandKey
from twinloop.messages import ArrayRef, Command
from twinloop.wire.effects import Effect

__all__ = [
    "AdapterEffect",
    "CancelAction",
    "Cancelled",
    "DeviceEvent",
    "DropSpool",
    "LimitBroken",
    "Raised",
    "ReadOut",
    "ReadOutDone",
    "Reconcile",
    "ReconcileFailed",
    "Reconciled",
    "Returned",
    "RunSafeState",
    "SafeStateDone",
    "SafeStateFailed",
    "StartAction",
    "Upload",
]


@dataclass(frozen=True, slots=True)
class StartAction:
    """Execute a command on the device: `Returned`, `Raised` or `Cancelled` follows."""

    command: Command


@dataclass(frozen=True, slots=True)
class CancelAction:
    """Cancel the running action at its next await; nothing when it does not run any more."""

    instrument: str
    key: CommandKey


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Ask the instrument what became of a command: `Reconciled` or `ReconcileFailed` follows."""

    command: Command


@dataclass(frozen=True, slots=True)
class RunSafeState:
    """Run `safe_state`, after a running action was cancelled; never waits long for that."""

    instrument: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadOut:
    """Read a readout for somebody: `ReadOutDone` follows."""

    asker: str
    request: str
    instrument: str
    readout: str


@dataclass(frozen=True, slots=True)
class Upload:
    """Bring the arrays of a key from the spool into a depot: `uploaded` or `upload_failed`."""

    key: CommandKey
    arrays: tuple[ArrayRef, ...]
    depot: str


@dataclass(frozen=True, slots=True)
class DropSpool:
    """The spool may let go of the arrays of a key."""

    key: CommandKey


AdapterEffect: TypeAlias = (
    Effect | StartAction | CancelAction | Reconcile | RunSafeState | ReadOut | Upload | DropSpool
)


@dataclass(frozen=True, slots=True)
class Returned:
    """The action returned; its arrays are in the spool, fsynced.

    Args:
        key: which command.
        result: JSON value.
        arrays: what lies in the spool.
        complaint: of the read-back check or of a limit on the result; None when all is well.
        started_lab_s, ended_lab_s: laboratory time [s].
    """

    key: CommandKey
    result: Any = None
    arrays: tuple[ArrayRef, ...] = ()
    complaint: str | None = None
    started_lab_s: float | None = None
    ended_lab_s: float | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """The action raised; `is_touched` is False only when it is certain that nothing happened."""

    key: CommandKey
    is_touched: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The action ended on a cancellation, having touched the device."""

    key: CommandKey


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the instrument says became of a command; arrays are in the spool, fsynced."""

    key: CommandKey
    verdict: Literal["done", "running", "partial", "not_done", "unknown"]
    result: Any = None
    arrays: tuple[ArrayRef, ...] = ()
    reason: str = ""
    complaint: str | None = None


@dataclass(frozen=True, slots=True)
class ReconcileFailed:
    """The instrument could not be asked."""

    key: CommandKey
    reason: str


@dataclass(frozen=True, slots=True)
class SafeStateDone:
    """`safe_state` returned."""

    instrument: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SafeStateFailed:
    """`safe_state` raised or did not return in time."""

    instrument: str
    reason: str


@dataclass(frozen=True, slots=True)
class LimitBroken:
    """A readout was seen outside the limit of its type."""

    instrument: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadOutDone:
    """Answer to `ReadOut`."""

    asker: str
    request: str
    result: Any = None
    error: str | None = None


DeviceEvent: TypeAlias = (
    Returned
    | Raised
    | Cancelled
    | Reconciled
    | ReconcileFailed
    | SafeStateDone
    | SafeStateFailed
    | LimitBroken
    | ReadOutDone
)
