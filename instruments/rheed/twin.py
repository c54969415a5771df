"""The twin of a RHEED system: kinematic diffraction of the film in the stand-in chamber."""

import asyncio
from dataclasses import replace

import numpy as np

from twinloop.instruments.interface import Command, NotTouched, Verdict, readout
from twinloop.instruments.rheed.interface import (
    RHEED,
    Aimed,
    Azimuth_deg,
    Exposure_s,
    Incidence_deg,
    Specular,
    Trace,
    Wait_s,
)
from twinloop.instruments.standin.interface import Progress, operation_of, verdict
from twinloop.instruments.standin.twin import StandinTwin
from twinloop.results import Array
from twinloop.units import Dimensionless

__all__ = ["RHEEDTwin"]

LOCAL_GRACE_S = 0.001
"""Real time of one poll for a growth that has not begun, under a virtual clock [s]: whoever is to
begin it may be another thread."""
EMISSION_TOLERANCE = 0.1
"""Fall of the gun's own current that its noise does not explain [1]."""
LEVEL_TOLERANCE = 0.25
"""Deviation of a fresh substrate's intensity from what it has always been: samples differ by 3 % [1]."""
LEVEL_SAMPLES = 10


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
                seen = self._show(progress, seen)
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
        rest = {name: array[seen:] for name, array in finished.arrays.items()}
        self._show(replace(finished, arrays=rest), seen)
        return _trace(finished)

    @RHEED.specular.implement
    async def specular(self, *, exposure_s: Exposure_s = 2.0) -> Specular:
        """Read the specular beam of the film as it is."""
        return _specular(await self.perform("specular", exposure_s=exposure_s))

    @RHEED.expose.implement
    async def expose(self, *, exposure_s: Exposure_s = 1.0) -> Array:
        """Take one frame of the screen, shape (rows, columns), uint16 [counts]."""
        return _frame(await self.perform("expose", exposure_s=exposure_s))

    @RHEED.aim.implement
    async def aim(self, *, incidence_deg: Incidence_deg, azimuth_deg: Azimuth_deg) -> Aimed:
        """Tilt the gun and turn the sample; what is read afterwards is read from there."""
        progress = await self.perform("aim", incidence_deg=incidence_deg, azimuth_deg=azimuth_deg)
        return Aimed(**progress.numbers)

    @readout
    async def intensity_counts_per_s(self) -> Dimensionless:
        """Return the last sample of the specular beam [counts/s]."""
        return self.line.readings().intensity_counts_per_s

    @record.confirm
    async def gun_is_steady(self, command: Command, result: Trace) -> str | None:
        """Complain when the gun lost current, or a fresh substrate is not as bright as always."""
        numbers = (await self.ask_machine(command.key)).numbers
        emission = numbers.get("emission", 1.0)
        if emission < 1.0 - EMISSION_TOLERANCE:
            return f"the gun fell to {emission:.0%} of its current: look at its filament"
        usual, before = numbers.get("usual_counts_per_s", 0.0), result.time_s <= 0
        if not usual or int(before.sum()) < LEVEL_SAMPLES:
            return None
        level = float(result.intensity[before].mean()) / usual
        if abs(level - 1.0) <= LEVEL_TOLERANCE:
            return None
        return f"the substrate gave {level:.0%} of its usual intensity: look at gun and screen"

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

    def _show(self, progress: Progress, seen: int) -> int:
        """Put new samples, and a new frame, on their streams; return how many samples were shown."""
        arrays = dict(progress.arrays)
        frame = arrays.pop("frame", None)
        if frame is not None:
            self.emit("frames", {"time_s": progress.numbers["frame_s"]}, {"frame": frame})
        times_s = arrays.get("time_s", np.zeros(0))
        if times_s.size == 0:
            return seen
        numbers = {
            "time_s": float(times_s[-1]),
            "intensity": float(arrays["intensity"][-1]),
            "first": float(seen),
        }
        self.emit("intensity", numbers, arrays)
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
