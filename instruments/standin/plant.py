"""The hardware of the stand-in chamber: heater, shutter, cell, detector, and the film inside.

Between operations nothing happens to the film and the heater does not drift: what a film becomes
must not depend on how long a computer takes. Cooling to idle is not resolved in time. With
`heater.loop` or `cells` in the settings, time passes for heater and cells while an operation goes on.
"""

import json
import math
import os
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.instruments.standin.cells import Cells, loop_of
from twinloop.instruments.standin.physical_log import PhysicalLog
from twinloop.instruments.standin.sample import Sample, SampleState, View
from twinloop.instruments.standin.settings import ChamberSettings
from twinloop.instruments.standin.vessel import Stage, Vessel

__all__ = ["GrowthTrace", "Plant"]

THERMOCOUPLE_JUMP_K = 25.0
THERMOCOUPLE_DRIFT_K_PER_S = 0.5
LARGEST_DRIFT_K = 40.0
DIM_SCREEN = 0.6
TRACES_KEPT = 8


@dataclass(slots=True)
class GrowthTrace:
    """The specular beam of one growth, in the ring buffer of the detector.

    Args:
        growth: number of the growth.
        sample: whose it is.
        exposure_s: of one sample [s].
        time_s: 0 at the opening [s].
        intensity: [counts/s].
        has_ended: no sample will follow.
        is_complete: the growth was not cut short.
        is_claimed: a `record` has taken it.
        usual_counts_per_s: what a fresh substrate has always given; 0: this is none [counts/s].
        emission: smallest reading of the gun's own current, usual = 1.
        frame: newest frame of the screen that was shown while the film grew.
        frame_at: index of the sample at which it was taken.
    """

    growth: int
    sample: str
    exposure_s: float
    time_s: list[float] = field(default_factory=list)
    intensity: list[float] = field(default_factory=list)
    has_ended: bool = False
    is_complete: bool = False
    is_claimed: bool = False
    usual_counts_per_s: float = 0.0
    emission: float = 1.0
    frame: NDArray[np.uint16] | None = None
    frame_at: int = -1

    def add(self, time_s: float, intensity: float) -> None:
        """Append one sample; another thread may be reading."""
        self.intensity.append(intensity)
        self.time_s.append(time_s)


class Plant:
    """The physical state of one chamber.

    Args:
        settings: what the chamber is.
        log: where its effects are written.
        folder: where final surfaces and the sealed truth are kept; None: nowhere.
        growths: how many it has grown in earlier lives of its process.
        vessel: transfer vessel at the chamber; None: what has grown stays in.
    """

    def __init__(
        self,
        settings: ChamberSettings,
        log: PhysicalLog,
        folder: Path | None = None,
        growths: int = 0,
        vessel: Path | None = None,
    ) -> None:
        self.settings, self.log, self.folder, self.growths = settings, log, folder, growths
        self.truth = settings.truth_drawn()
        self.thermocouple_K = self.asked_K = settings.heater.idle_K
        self.shutter_is_open = self.contact_is_open = False
        self.sample: Sample | None = None
        self.traces: deque[GrowthTrace] = deque(maxlen=TRACES_KEPT)
        self.last_intensity = 0.0
        self.faults: set[str] = set()
        self._jump_K = self._drift_K = 0.0
        self.thermocouple_drifts = False
        self.view = View()
        heater = settings.heater
        self.loop = (
            None
            if heater.loop is None
            else loop_of(heater.loop, heater.idle_K, self.truth.thermocouple_offset_K)
        )
        self.cells = None if settings.cells is None else Cells(settings.cells)
        self._calm_s = 0.0
        self._planned_to = growths
        self._lives: Counter[str] = Counter()
        self.vessel = None if vessel is None else Vessel(vessel)
        # what is on its way out lies beside the vessel where the chamber has no folder of its own
        self._door = Stage((folder or vessel or Path()) / "door")
        if folder is not None:
            self._seal(folder)

    @property
    def heater_is_idle(self) -> bool:
        """True at idle, as after loading and in the safe state."""
        idle_K = self.settings.heater.idle_K
        if self.loop is not None:
            return math.isclose(self.thermocouple_K, idle_K, abs_tol=1e-6)
        return self.thermocouple_K == idle_K

    @property
    def is_settled(self) -> bool:
        """True when the temperature last asked for is reached."""
        if self.settings.heater.loop is not None:
            return self._calm_s >= self.settings.heater.loop.settled_s
        return abs(self.thermocouple_K - self.asked_K) <= self.settings.heater.settled_K

    @property
    def surface_K(self) -> float:
        """True temperature of the surface [K]."""
        reading_K = self.thermocouple_K
        about_K = self.truth.thermocouple_reversed_about_K
        if about_K is not None:
            reading_K = 2.0 * about_K - reading_K
        return reading_K + self.truth.thermocouple_offset_K + self._jump_K + self._drift_K

    @property
    def power_usual(self) -> float:
        """Part of full power that held the asked reading when the chamber was built [1]."""
        if self.loop is None:
            return 0.0
        return self.loop.body.power_at(self.asked_K + self.truth.thermocouple_offset_K)

    def ask_heater(self, target_K: float, rate_K_per_s: float = math.inf) -> None:
        """Keep a temperature as the one asked for; a controller walks there [K, K/s]."""
        self.asked_K = target_K
        if self.loop is not None:
            fastest = min(rate_K_per_s, self.settings.heater.rate_K_per_s)
            self.loop.ask(target_K, rate_K_per_s=fastest)
            self._calm_s = 0.0

    def pass_time(self, duration_s: float) -> None:
        """Let time pass for heater and cells; nothing happens where none has a controller."""
        if self.cells is not None:
            self.cells.advance(duration_s)
        if self.loop is None or duration_s <= 0:
            return
        if self.thermocouple_drifts:
            risen_K = self._drift_K + THERMOCOUPLE_DRIFT_K_PER_S * duration_s
            self._drift_K = min(LARGEST_DRIFT_K, risen_K)
        self.loop.offset_K = self.truth.thermocouple_offset_K + self._jump_K + self._drift_K
        self.loop.advance(duration_s)
        self.thermocouple_K = self.loop.reading_K
        is_calm = abs(self.thermocouple_K - self.asked_K) <= self.settings.heater.settled_K
        self._calm_s = self._calm_s + duration_s if is_calm else 0.0

    def move_heater(self, duration_s: float) -> None:
        """Let the temperature approach what was asked, with lag and the fastest change."""
        if self.loop is not None:
            # after a safe state the controller stands at idle: what was asked stays on record
            if self.loop.target_K != self.asked_K:
                self.ask_heater(self.asked_K)
            self.pass_time(duration_s)
            return
        heater = self.settings.heater
        gap_K = self.asked_K - self.thermocouple_K
        change_K = gap_K * -np.expm1(-duration_s / heater.lag_s)
        most_K = heater.rate_K_per_s * duration_s
        self.thermocouple_K += float(np.clip(change_K, -most_K, most_K))

    def idle_heater(self) -> None:
        """Let the heater idle; the temperature asked for stays on record."""
        self.thermocouple_K = self.settings.heater.idle_K
        if self.loop is not None:
            self.loop.settle_at(self.thermocouple_K)
            self._calm_s = 0.0

    def calibrated_drift(self) -> float:
        """Return present over calibrated flux, as a perfect gauge sees it [1]."""
        return float(np.exp(self.truth.flux_drift_per_growth * (self.growths - 1)))

    def take_in(self, name: str) -> None:
        """Put a fresh substrate of that name in."""
        self.sample = Sample(name, self._lives[name], self.settings, self.truth)
        self._lives[name] += 1

    def give(self, key: str) -> None:
        """Put the sample into the transfer vessel.

        Raises:
            VesselRefused: the vessel is full, or holds one of that name; the sample is still in.
            ArgumentError: there is no vessel, or no sample is in.
        """
        if self.vessel is None or self.sample is None:
            raise ArgumentError("give", None, "a sample that is in, and a transfer vessel")
        self.vessel.clear(self._door)
        self._door.write(self.sample.specimen().with_event("give", "mbe", key), key)
        self.vessel.give(key, self._door)
        self.sample = None

    def resting(self) -> dict[str, Any]:
        """Return what stays when the controller dies, besides the sample and the traces."""
        return {
            "asked_K": self.asked_K,
            "jump_K": self._jump_K,
            "lives": dict(self._lives),
            "faults": sorted(self.faults),
            "drift_K": self._drift_K,
            "drifts": self.thermocouple_drifts,
            "is_broken": self.loop is not None and self.loop.is_broken,
            "cells": None if self.cells is None else self.cells.state(),
            "view": asdict(self.view),
        }

    def come_to_rest(self, about: Mapping[str, Any]) -> None:
        """Take up what `resting` returned; the heater idles."""
        self.asked_K, self._jump_K = about["asked_K"], about["jump_K"]
        self._lives, self.faults = Counter(about["lives"]), set(about["faults"])
        self._drift_K = about.get("drift_K", 0.0)
        self.thermocouple_drifts = about.get("drifts", False)
        self.view = View(**about.get("view", {}))
        if self.loop is not None:
            self.loop.is_broken = about.get("is_broken", False)
            self.loop.offset_K = self.truth.thermocouple_offset_K + self._jump_K + self._drift_K
            self.idle_heater()
        if self.cells is not None and about.get("cells"):
            self.cells.put_back(about["cells"])

    def put_back(self, state: SampleState) -> None:
        """Have the sample in that was in."""
        self.sample = Sample(state.name, state.life, self.settings, self.truth)
        self.sample.put_back(state)

    def arm_detector(self, exposure_s: float, sample: Sample) -> GrowthTrace:
        """Start the trace of the growth that is about to begin."""
        self._plan_faults(self.growths + 1)
        if self.take_fault("gun_dim"):
            self.view = replace(self.view, screen=self.view.screen * DIM_SCREEN)
        usual = sample.usual_counts_per_s(self.view)
        trace = GrowthTrace(self.growths + 1, sample.name, exposure_s, usual_counts_per_s=usual)
        self.traces.append(trace)
        return trace

    def open_shutter(self) -> None:
        """Count a growth, wake the faults that were planned for it, and let the beam through."""
        self.growths += 1
        if self.take_fault("thermocouple_jump"):
            self._jump_K += THERMOCOUPLE_JUMP_K
        if self.take_fault("thermocouple_drift"):
            self.thermocouple_drifts = True
        if self.take_fault("heater_failure") and self.loop is not None:
            self.loop.is_broken = True
        if self.take_fault("cell_drift") and self.cells is not None:
            self.cells.is_out_of_order = True
        if self.take_fault("gun_off"):
            self.view = replace(self.view, beam=0.0)
        self.shutter_is_open = self.contact_is_open = True

    def close_shutter(self) -> None:
        """Shut the beam off."""
        self.shutter_is_open = self.contact_is_open = False
        if self.cells is not None:
            self.cells.close()

    def _plan_faults(self, growth: int) -> None:
        """Wake the faults that were planned for a growth, once."""
        if growth > self._planned_to:
            self._planned_to = growth
            self.faults |= {plan.name for plan in self.settings.faults if plan.growth == growth}

    def take_fault(self, name: str) -> bool:
        """Return whether this fault is due, once, and log it."""
        if name not in self.faults:
            return False
        self.faults.discard(name)
        self.log.append("fault", name=name, growth=self.growths)
        return True

    def keep_surface(self, sample: Sample) -> None:
        """Write the heights of the film, shape (L, L), int32 [ML], to be revealed at the end."""
        if self.folder is None:
            return
        target = self.folder / "films" / f"{sample.name}.npy"
        unfinished = target.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            np.save(file, sample.film.heights, allow_pickle=False)
        os.replace(unfinished, target)  # noqa: PTH105 - the same on Windows and POSIX

    def reveal(self) -> dict[str, Any]:
        """Return the truth and the present state, for tests in process and for the sealed file."""
        film = None if self.sample is None else self.sample.film
        return {
            "truth": self.truth.model_dump(),
            "surface_K": self.surface_K,
            "growths": self.growths,
            "sample": None if self.sample is None else self.sample.name,
            "coverage_ML": 0.0 if film is None else film.coverage_ML,
            "mixing": 0.0 if self.sample is None else self.sample.mixing,
        }

    def _seal(self, folder: Path) -> None:
        (folder / "films").mkdir(parents=True, exist_ok=True)
        note = "Hidden truth of the stand-in: read it when the campaign has ended, not before."
        body = {
            "note": note,
            "truth": self.truth.model_dump(),
            "settings": self.settings.model_dump(mode="json"),
        }
        (folder / "truth.json").write_text(json.dumps(body, indent=1), "utf-8")
