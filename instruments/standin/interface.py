"""What the twins need of the machine behind them: the contract of a stand-in.

Two implementations: `local.LocalMachine` computes in this process, one slice whenever it is asked
for progress; `client.ChamberClient` talks to a machine process that computes and paces by itself.
An operation carries the key of its command. A key that has been seen is answered, never repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from twinloop.errors import LabError
from twinloop.instruments.interface import (
    Command,
    Done,
    NotDone,
    Partial,
    Running,
    Unknown,
    Verdict,
)

__all__ = [
    "Machine",
    "MachineFault",
    "Operation",
    "OperationName",
    "Progress",
    "Readings",
    "State",
    "operation_of",
    "verdict",
]

OperationName = Literal[
    "load",
    "heat",
    "ramp",
    "heat_cells",
    "grow",
    "grow_alloy",
    "grow_interrupted",
    "anneal",
    "give",
    "record",
    "specular",
    "expose",
    "aim",
]
State = Literal["unseen", "running", "done", "partial", "not_done", "lost"]


class MachineFault(LabError):
    """The stand-in machine refused a request that no correct client sends."""

    def __init__(self, request: str, reason: str) -> None:
        self.request, self.reason = request, reason
        super().__init__(f"stand-in machine, request {request}: {reason}")


class Operation(BaseModel):
    """One thing the machine is asked to do.

    Args:
        key: of the command; the machine remembers it.
        name: what to do.
        arguments: plain numbers in the units of their names.
        sample: name of the sample it is meant for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    key: str
    name: OperationName
    arguments: dict[str, float] = {}
    sample: str | None = None


class Readings(BaseModel):
    """What gauges and contacts say now.

    Args:
        thermocouple_K: [K].
        shutter_is_open: what the shutter's contact says.
        heater_is_idle: the heater idles.
        intensity_counts_per_s: last sample of the specular beam [counts/s].
        sample: name of what is in.
        growths: shutters opened since the machine was built.
        is_busy: an operation is under way.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    thermocouple_K: float
    shutter_is_open: bool
    heater_is_idle: bool
    intensity_counts_per_s: float
    sample: str | None
    growths: int
    is_busy: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is.

    `unseen`: the key is not known. `running`. `done`: `numbers` and `arrays` are the result.
    `partial`: it was cut short, `numbers` say what happened. `not_done`: refused or cut short
    before anything happened. `lost`: nobody can tell what happened, or the result is gone.

    Args:
        numbers: result, or what happened so far.
        arrays: result; of a running `record`, the samples from `since` on.
        reason: for people.
        pause_s: laboratory time to let pass before asking again [s]; None: as you like.
    """

    state: State
    numbers: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    reason: str = ""
    pause_s: float | None = None

    @property
    def is_running(self) -> bool:
        """True while it goes on."""
        return self.state == "running"


class Machine(Protocol):
    """A chamber, wherever it computes. Every method answers within a second."""

    def begin(self, operation: Operation) -> Progress:
        """Start an operation, or answer for a key that has been seen.

        A refusal (another operation is running, another sample is in) is `not_done` and is not
        remembered.
        """
        ...

    def progress(self, key: str, since: int = 0) -> Progress:
        """Say how far an operation is; `since` counts samples of a `record` already fetched."""
        ...

    def abort(self, key: str) -> Progress:
        """Cut an operation short; it may still be running when this returns."""
        ...

    def safe_state(self, reason: str) -> None:
        """Close the shutter and let the heater idle, now."""
        ...

    def readings(self) -> Readings:
        """Return what gauges and contacts say."""
        ...

    def close(self) -> None:
        """Let go of the machine, which goes on."""
        ...


def operation_of(command: Command, name: OperationName, **arguments: float) -> Operation:
    """Return the operation that a command asks for."""
    return Operation(key=str(command.key), name=name, arguments=arguments, sample=command.sample)


def verdict(progress: Progress, result: Any) -> Verdict:
    """Return what the machine says of an operation, for the adapter.

    Args:
        progress: what the machine said.
        result: makes the action's result of it.
    """
    if progress.state == "done":
        return Done(result(progress))
    if progress.state == "running":
        return Running()
    if progress.state == "partial":
        return Partial(**progress.numbers)
    if progress.state == "lost":
        return Unknown(progress.reason)
    return NotDone()
