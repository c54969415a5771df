"""What the twins of one stand-in chamber have in common: the machine behind them.

    mbe: {twin: mbe_twin, machine: "tcp://127.0.0.1:5601"}    # a machine in its own process
    mbe: {twin: mbe_twin, chamber: virtual, settings: growth_chamber.yaml}     # computed here

Twins in process that name the same `chamber` look at the same film.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PrivateAttr

from twinloop.errors import ArgumentError, LabError
from twinloop.instruments.interface import Instrument, NotTouched
from twinloop.instruments.standin.client import ChamberClient, machine_endpoint
from twinloop.instruments.standin.interface import (
    Machine,
    OperationName,
    Progress,
    operation_of,
)
from twinloop.instruments.standin.settings import ChamberSettings, read_settings

if TYPE_CHECKING:
    from twinloop.instruments.standin.local import LocalMachine

__all__ = ["OperationCut", "StandinTwin"]

POLL_REAL_S = 0.05
"""How often a machine in another process is asked [s, real]."""


class OperationCut(LabError):
    """An operation ended before its time, or nobody can tell; ask the machine what happened."""

    def __init__(self, name: str, state: str, reason: str) -> None:
        self.name, self.state, self.reason = name, state, reason
        super().__init__(f"{name} is {state}: {reason}; reconcile by its command key")


class StandinTwin(Instrument):
    """An instrument of the stand-in chamber.

    Args:
        machine: endpoint of the machine process, or the file it announces itself in; None: the
            chamber is computed in this process.
        chamber: name of the chamber in this process.
        settings: of the chamber in this process: a file, or the settings themselves.
        vessel: folder of the transfer vessel at the chamber in this process; None: there is none.
            A machine process has its own.
    """

    is_twin: ClassVar[bool] = True

    machine: str | None = None
    chamber: str = "chamber"
    settings: ChamberSettings | str | None = None
    vessel: str | None = None
    _line: Machine | None = PrivateAttr(default=None)

    def connect(self) -> None:
        """Dial the machine, or find the chamber of this process."""
        if self._line is not None:
            return
        if self.machine is not None:
            self._line = ChamberClient(machine_endpoint(self.machine))
            return
        # The physics needs numba, which a control PC does not have.
        from twinloop.instruments.standin.local import shared_machine

        settings = read_settings(self.settings) if isinstance(self.settings, str) else self.settings
        vessel = None if self.vessel is None else Path(self.vessel)
        self._line = shared_machine(self.chamber, settings, vessel)

    def disconnect(self) -> None:
        """Let go of the machine."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def safe_state(self) -> None:
        """Close the shutter and let the heater idle; a growth under way is cut short."""
        self.line.safe_state(f"asked by {type(self).kind}")

    def is_busy(self) -> bool | None:
        """Return whether the machine is still at it; None when the chamber is in this process."""
        return None if self.machine is None else self.line.readings().is_busy

    @property
    def line(self) -> Machine:
        """The machine.

        Raises:
            ArgumentError: `connect` has not been called.
        """
        if self._line is None:
            raise ArgumentError(f"{type(self).__name__}.line", None, "a call of connect() first")
        return self._line

    def inject(self, fault: str) -> None:
        """Let a fault happen at the next growth; for tests of a chamber in this process."""
        self._local().chamber.inject(fault)

    def truth(self) -> dict[str, Any]:
        """Return what the chamber hides; for tests of a chamber in this process, never served."""
        return self._local().chamber.truth()

    async def perform(self, name: OperationName, **arguments: float) -> Progress:
        """Run one operation to its end.

        Raises:
            NotTouched: it was refused.
        """
        operation = operation_of(self.command, name, **arguments)
        progress = self.line.begin(operation)
        try:
            while progress.is_running:
                progress = self.line.progress(operation.key)
                await self.pause(progress)
        except asyncio.CancelledError:
            self.line.abort(operation.key)
            raise
        return self.finished(name, progress)

    async def pause(self, progress: Progress) -> None:
        """Wait before the machine is asked again; an abort may arrive here."""
        if progress.pause_s is not None:
            await self.clock.sleep(progress.pause_s)
        elif progress.is_running:
            await self.clock.sleep(POLL_REAL_S * self.clock.factor)

    def finished(self, name: OperationName, progress: Progress) -> Progress:
        """Return the progress of an operation that came to its end.

        Raises:
            NotTouched: it was refused, or cut short before anything happened.
            OperationCut: it was cut short, or the machine was restarted and has not seen it.
        """
        if progress.state == "done":
            return progress
        reason = progress.reason or "no reason given"
        if progress.state == "unseen":
            reason = "the machine was restarted and knows nothing of it"
        if progress.state == "not_done":
            raise NotTouched(f"{name}: {reason}")
        raise OperationCut(name, progress.state, reason)

    async def ask_machine(self, key: object) -> Progress:
        """Return what the machine knows of a command."""
        return self.line.progress(str(key))

    def _local(self) -> "LocalMachine":
        from twinloop.instruments.standin.local import LocalMachine

        if not isinstance(self.line, LocalMachine):
            raise ArgumentError("machine", self.machine, "a chamber in this process")
        return self.line
