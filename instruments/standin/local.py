"""A stand-in machine in this process: it computes one slice whenever it is asked for progress.

For virtual experiments (in a Ray actor, under a virtual clock) and for unit tests. Twins that name
the same chamber share its film.
"""

from dataclasses import replace
from pathlib import Path

from twinloop.errors import ArgumentError
from twinloop.instruments.standin.chamber import Chamber, lane_of
from twinloop.instruments.standin.interface import Operation, Progress, Readings
from twinloop.instruments.standin.settings import ChamberSettings

__all__ = ["LocalMachine", "forget_chamber", "shared_machine"]

IDLE_POLL_S = 1.0
"""Laboratory time that passes while a `record` waits for a growth that has not begun [s]."""

_SHARED: dict[str, tuple[ChamberSettings, "LocalMachine"]] = {}


class LocalMachine:
    """A chamber stepped by those who wait for it; used from one thread.

    Args:
        chamber: whose operations it runs.
    """

    def __init__(self, chamber: Chamber) -> None:
        self.chamber = chamber
        self._operations: dict[str, Operation] = {}

    def begin(self, operation: Operation) -> Progress:
        """Start an operation; it moves when `progress` is asked for."""
        progress = self.chamber.begin(operation)
        self._operations.setdefault(operation.key, operation)
        return replace(progress, pause_s=0.0)

    def progress(self, key: str, since: int = 0) -> Progress:
        """Do one slice and say how far it is."""
        progress = self.chamber.progress(key, since)
        operation = self._operations.get(key)
        if not progress.is_running or operation is None:
            return progress
        if operation.name == "record":
            pause_s = 0.0 if "growth" in progress.numbers else IDLE_POLL_S
            return replace(progress, pause_s=pause_s)
        pause_s = self.chamber.step(lane_of(operation)) or 0.0
        return replace(self.chamber.progress(key, since), pause_s=pause_s)

    def abort(self, key: str) -> Progress:
        """Cut an operation short and wait for its end."""
        self.chamber.abort(key)
        while (progress := self.progress(key)).is_running and not self._is_passive(key):
            pass
        return progress

    def safe_state(self, reason: str) -> None:
        """Close the shutter and let the heater idle."""
        self.chamber.safe_state(reason)

    def readings(self) -> Readings:
        """Return what gauges and contacts say."""
        return self.chamber.readings()

    def close(self) -> None:
        """Do nothing: the chamber belongs to the process."""

    def _is_passive(self, key: str) -> bool:
        operation = self._operations.get(key)
        return operation is None or operation.name == "record"


def shared_machine(
    name: str, settings: ChamberSettings | None, vessel: Path | None = None
) -> LocalMachine:
    """Return the chamber of that name in this process, made at first use.

    Args:
        name: what the twins of one chamber call it.
        settings: what it is; None: whatever it is already, or the defaults.
        vessel: folder of the transfer vessel at the chamber, where it is made; None: there is none.

    Raises:
        ArgumentError: a chamber of that name with other settings exists.
    """
    if name not in _SHARED:
        made = ChamberSettings() if settings is None else settings
        _SHARED[name] = (made, LocalMachine(Chamber(made, vessel=vessel)))
    known, machine = _SHARED[name]
    if settings is not None and settings != known:
        raise ArgumentError(
            f"chamber {name!r}", settings, f"the settings it was made with: {known}"
        )
    return machine


def forget_chamber(name: str) -> None:
    """Let go of a chamber; the next use of its name makes a new one."""
    _SHARED.pop(name, None)
