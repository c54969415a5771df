"""The twin of a RHEED system: kinematic diffraction of the film in the stand-in chamber."""

import asyncio
from collections.abc import Mapping

import numpy as np

from twinloop.instruments.interface import Command, NotTouched, Verdict, readout
from twinloop.instruments.rheed.interface import RHEED, Exposure_s, Specular, Trace, Wait_s
from twinloop.instruments.standin.interface import Progress, operation_of, verdict
from twinloop.instruments.standin.twin import StandinTwin
from twinloop.results import Array
from twinloop.units import Dimensionless

__all__ = ["RHEEDTwin"]

LOCAL_GRACE_S = 0.001
"""Real time of one poll for a growth that has not begun, under a virtual clock [s]: whoever is to
begin it may be another thread."""


class RHEEDTwin(StandinTwin, RHEED):
    """Sees the film that `MBETwin` of the same chamber grows."""

    @RHEED.record.implement
    async def record(self, *, wait_s: Wait_s = 600.0) -> Trace:
        """Return the specular trace of this sample's growth, from before its opening to its end.

        Raises:
            NotTouched: no growth began within `wait_s`, or the trace is gone with the machine.
        """
        key = str(self.command.key)
        progress = self.line.begin(operation_of(self.command, "record", wait_s=wait_s))
        seen, start_s = 0, self.clock.now_s()
        try:
            while progress.is_running:
                seen = self._show(progress.arrays, seen)
                await self.pause(progress)
                if "growth" not in progress.numbers:
                    await asyncio.sleep(LOCAL_GRACE_S)
                    if self.clock.now_s() - start_s > wait_s and not self._give_up(key):
                        raise NotTouched(f"record: no growth began within {wait_s:g} s")
                progress = self.line.progress(key, since=seen)
        except asyncio.CancelledError:
            self.line.abort(key)
            raise
        if progress.state == "unseen":
            # armed again it would wait for a growth that has been
            raise NotTouched("record: the machine was restarted, the detector's memory is gone")
        finished = self.finished("record", progress)
        self._show({name: array[seen:] for name, array in finished.arrays.items()}, seen)
        return _trace(finished)

    @RHEED.specular.implement
    async def specular(self, *, exposure_s: Exposure_s = 2.0) -> Specular:
        """Read the specular beam of the film as it is."""
        return _specular(await self.perform("specular", exposure_s=exposure_s))

    @RHEED.expose.implement
    async def expose(self, *, exposure_s: Exposure_s = 1.0) -> Array:
        """Take one frame of the screen, shape (rows, columns), uint16 [counts]."""
        return _frame(await self.perform("expose", exposure_s=exposure_s))

    @readout
    async def intensity_counts_per_s(self) -> Dimensionless:
        """Return the last sample of the specular beam [counts/s]."""
        return self.line.readings().intensity_counts_per_s

    @record.reconcile
    async def what_was_recorded(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), _trace)

    @specular.reconcile
    async def what_was_read(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), _specular)

    @expose.reconcile
    async def what_was_exposed(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), _frame)

    def _give_up(self, key: str) -> bool:
        """Disarm; return True when a growth came at the last moment after all."""
        return self.line.abort(key).state != "not_done"

    def _show(self, arrays: Mapping[str, Array], seen: int) -> int:
        """Put new samples on the stream; return how many have been shown."""
        times_s = arrays.get("time_s", np.zeros(0))
        if times_s.size == 0:
            return seen
        numbers = {
            "time_s": float(times_s[-1]),
            "intensity": float(arrays["intensity"][-1]),
            "first": float(seen),
        }
        self.emit("intensity", numbers, dict(arrays))
        return seen + int(times_s.size)


def _trace(progress: Progress) -> Trace:
    return Trace(
        time_s=progress.arrays["time_s"],
        intensity=progress.arrays["intensity"],
        exposure_s=progress.numbers["exposure_s"],
        is_complete=bool(progress.numbers["is_complete"]),
    )


def _specular(progress: Progress) -> Specular:
    return Specular(**progress.numbers)


def _frame(progress: Progress) -> Array:
    return progress.arrays["frame"]
