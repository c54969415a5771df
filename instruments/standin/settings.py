"""What a stand-in chamber is: its hidden truth, its detector, its lattice, its pace.

Read from `configs/standins/*.yaml` by the machine process and by twins that compute in process,
never by a planner, an analyst or a conductor. A number may carry its unit ("1.32 eV", "8 min").
"""

import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from twinloop.errors import ConfigError, ConfigProblem, LabError
from twinloop.ids import seed_of
from twinloop.simulators.film_quality import LOG_INTERDIFFUSION_RATE
from twinloop.units import (
    Angstroms,
    Degrees,
    Dimensionless,
    ElectronVolts,
    Kelvin,
    KelvinPerSecond,
    Monolayers,
    Seconds,
    Unit,
    parse_quantity,
)

__all__ = [
    "FAULTS",
    "CameraSettings",
    "CellSettings",
    "CellsSettings",
    "ChamberSettings",
    "DetectorSettings",
    "FaultName",
    "FaultPlan",
    "HeaterSettings",
    "LoopSettings",
    "Truth",
    "paced",
    "read_settings",
    "what_a_fault_lacks",
]

FaultName = Literal[
    "shutter_hung",
    "thermocouple_jump",
    "thermocouple_drift",
    "cell_drift",
    "heater_failure",
    "gun_off",
    "gun_dim",
]
FAULTS: tuple[FaultName, ...] = get_args(FaultName)


class _Settings(BaseModel):
    """A frozen section whose quantities may be written with a unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _convert_quantities(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        converted = dict(data)
        for name, info in cls.model_fields.items():
            unit = _unit_of(info)
            if unit is not None and isinstance(converted.get(name), str):
                try:
                    converted[name] = parse_quantity(converted[name], unit, name)
                except LabError as err:
                    # pydantic turns only a ValueError into its own located error
                    raise ValueError(str(err)) from err
        return converted


def _unit_of(info: FieldInfo) -> Unit | None:
    """Return the unit of a field; that of `Kelvin | None` stands in the first part of the union."""
    parts = [m for part in get_args(info.annotation) for m in getattr(part, "__metadata__", ())]
    return next((m for m in (*info.metadata, *parts) if isinstance(m, Unit)), None)


class Truth(_Settings):
    """What nobody outside the machine knows.

    Args:
        surface_barrier_eV, bond_energy_eV, step_barrier_eV: see `GrowthParameters` [eV].
        attempt_frequency_per_s: [1/s].
        thermocouple_offset_K: true temperature minus reading [K].
        log_flux_factor: ln of true over calibrated flux [1].
        flux_drift_per_growth: change of ln flux with each growth, a crucible that empties [1];
            the gauge sees it.
        log_interdiffusion_rate: ln nu_i of `simulators.film_quality` [ln 1/s].
        desorption_energy_eV: see `GrowthParameters`; a mechanism that the shipped theory does not
            have [eV]; None: nothing leaves the surface.
        thermocouple_reversed_about_K: the thermocouple's leads are exchanged at a reference of this
            temperature: true is 2 * about - reading + offset [K]; None: they are not.
    """

    surface_barrier_eV: ElectronVolts = Field(default=1.30, gt=0)
    bond_energy_eV: ElectronVolts = Field(default=0.25, ge=0)
    step_barrier_eV: ElectronVolts = Field(default=0.05, ge=0)
    attempt_frequency_per_s: float = Field(default=1.0e13, gt=0)
    thermocouple_offset_K: Kelvin = Field(default=0.0, ge=-100, le=100)
    log_flux_factor: Dimensionless = Field(default=0.0, ge=-1, le=1)
    flux_drift_per_growth: Dimensionless = Field(default=0.0, ge=-0.1, le=0.1)
    log_interdiffusion_rate: Dimensionless = LOG_INTERDIFFUSION_RATE
    desorption_energy_eV: ElectronVolts | None = Field(default=None, gt=0)
    thermocouple_reversed_about_K: Kelvin | None = Field(default=None, gt=0)

    @classmethod
    def drawn(cls, seed: int) -> Self:
        """Return a truth from the prior of the headline task.

        Source: PLANNING.md section 12, with the interdiffusion of `simulators.film_quality`.
        """
        rng = np.random.default_rng(seed_of(seed, "truth"))
        return cls(
            surface_barrier_eV=rng.normal(1.30, 0.04),
            bond_energy_eV=rng.normal(0.25, 0.03),
            step_barrier_eV=abs(rng.normal(0.05, 0.03)),
            thermocouple_offset_K=rng.normal(0.0, 12.0),
            log_flux_factor=rng.normal(0.0, 0.08),
            flux_drift_per_growth=-abs(rng.normal(0.0, 0.001)),
            log_interdiffusion_rate=rng.normal(LOG_INTERDIFFUSION_RATE, 0.5),
        )


class CameraSettings(_Settings):
    """A camera that resolves streaks, and shows the screen while a film grows.

    Args:
        rows, columns: of a frame [px].
        pixel_deg: angle that a pixel sees [deg].
        blur_px: standard deviation of the screen's blur [px].
        scale_error: a pixel sees so much more than `pixel_deg` says, relatively; hidden [1].
        frames_per_ML: frames shown in one calibrated layer while a film grows, ten a second at most;
            0: none.
    """

    rows: int = Field(default=160, ge=32, le=512)
    columns: int = Field(default=192, ge=32, le=512)
    pixel_deg: Degrees = Field(default=0.02, gt=0, le=0.5)
    blur_px: float = Field(default=1.0, gt=0.2, le=10)
    scale_error: Dimensionless = Field(default=0.0, ge=-0.1, le=0.1)
    frames_per_ML: int = Field(default=0, ge=0, le=20)


class DetectorSettings(_Settings):
    """Electron gun, screen and camera.

    Args:
        exposure_s: shortest exposure of the camera [s].
        samples_per_ML: longer exposures are taken so that a calibrated layer has so many samples.
        white_noise: standard deviation of one shortest exposure, in units of the substrate's [1].
        floor_noise: part that no longer exposure averages away [1].
        beam_spread: standard deviation of ln beam current from sample to sample [1].
        counts_per_s: specular beam of a flat surface [counts/s].
        segregation: share of the atoms that have crossed the interface which stands at the surface, where
            the beam is, once the growth is over; 0: what lies below the film does not show [1].
        energy_keV: of the beam [keV].
        window_A: length on the surface that the photometer's window tells apart: it adds up all that
            is scattered by less than 1 / window_A [A]; None: the specular rod alone.
        camera: another camera than the first one, which takes 96 x 96 pixels of 0.05 deg.
    """

    exposure_s: Seconds = Field(default=0.05, gt=0)
    samples_per_ML: int = Field(default=50, ge=4)
    white_noise: Dimensionless = Field(default=0.03, ge=0)
    floor_noise: Dimensionless = Field(default=0.008, ge=0)
    beam_spread: Dimensionless = Field(default=0.03, ge=0)
    counts_per_s: float = Field(default=20_000.0, gt=0)
    segregation: Dimensionless = Field(default=1.0, ge=0, le=1)
    energy_keV: float = Field(default=15.0, gt=1)
    window_A: Angstroms | None = Field(default=None, gt=0)
    camera: CameraSettings | None = None


class LoopSettings(_Settings):
    """A heated body and its controller (see `simulators.temperature_loop`).

    Args:
        body_lag_s: time in which full power would warm the body by `full_power_K` without loss [s].
        element_lag_s: time constant of the element [s].
        full_power_K: above the surroundings at full power for ever [K].
        surroundings_K: [K].
        proportional_per_K, integral_per_K_s, derivative_s_per_K: gains [1/K, 1/K/s, s/K].
        sample_s: of the controller [s].
        settled_s: so long a reading must stay where it was asked to be [s].
        power_noise: relative standard deviation of one reading of the power [1].
    """

    body_lag_s: Seconds = Field(default=6.0, gt=0)
    element_lag_s: Seconds = Field(default=1.5, gt=0)
    full_power_K: Kelvin = Field(default=1100.0, gt=0)
    surroundings_K: Kelvin = Field(default=300.0, gt=0)
    proportional_per_K: float = Field(default=0.02, ge=0)
    integral_per_K_s: float = Field(default=0.003, ge=0)
    derivative_s_per_K: float = Field(default=0.012, ge=0)
    sample_s: Seconds = Field(default=0.05, gt=0)
    settled_s: Seconds = Field(default=4.0, ge=0)
    power_noise: Dimensionless = Field(default=0.003, ge=0)


class CellSettings(_Settings):
    """One effusion cell (see `simulators.effusion_cell`).

    Args:
        charge_ML: what a full crucible can put on the substrate [ML].
        fill_power: flux goes as this power of the part of the charge that is left [1].
        overshoot: excess flux of a cell that has long been shut, when it opens [1].
        overshoot_s: time constant of its decay [s].
        standby_K: at which it stands when it is not needed [K].
        rate_K_per_s: fastest change of its set point [K/s].
        settled_K: deviation at which its temperature counts as reached [K].
        loop: its heater.
    """

    charge_ML: Monolayers = Field(default=50_000.0, gt=0)
    fill_power: float = Field(default=0.5, ge=0)
    overshoot: Dimensionless = Field(default=0.05, ge=0, le=1)
    overshoot_s: Seconds = Field(default=3.0, gt=0)
    standby_K: Kelvin = Field(default=900.0, gt=0)
    rate_K_per_s: KelvinPerSecond = Field(default=10.0, gt=0)
    settled_K: Kelvin = Field(default=0.1, gt=0)
    loop: LoopSettings = LoopSettings(
        body_lag_s=8.0,
        element_lag_s=2.0,
        full_power_K=1600.0,
        integral_per_K_s=0.002,
        derivative_s_per_K=0.015,
        settled_s=2.0,
    )


class CellsSettings(_Settings):
    """The two cells of a chamber that grows alloys.

    Args:
        gallium, aluminium: the cells.
        gallium_barrier_eV: added to the surface barrier for a film that is all gallium, in
            proportion for an alloy: gallium is faster than aluminium [eV].
    """

    gallium: CellSettings = CellSettings()
    aluminium: CellSettings = CellSettings(standby_K=1100.0)
    gallium_barrier_eV: ElectronVolts = Field(default=0.0, ge=-0.5, le=0.5)


class HeaterSettings(_Settings):
    """Substrate heater with its thermocouple.

    Args:
        idle_K: reading at which it idles [K].
        lag_s: time constant of the approach [s].
        rate_K_per_s: fastest change [K/s].
        settled_K: deviation at which a temperature counts as reached [K].
        noise_K: standard deviation of a reading [K].
        loop: element, body and PID controller, which make temperature change while a film grows;
            None: a first-order approach with `lag_s` that stands still once it is settled.
    """

    idle_K: Kelvin = Field(default=450.0, gt=0)
    lag_s: Seconds = Field(default=4.0, gt=0)
    rate_K_per_s: KelvinPerSecond = Field(default=40.0, gt=0)
    settled_K: Kelvin = Field(default=0.2, gt=0)
    noise_K: Kelvin = Field(default=0.3, ge=0)
    loop: LoopSettings | None = None


class FaultPlan(_Settings):
    """A fault that comes by itself.

    Args:
        name: `shutter_hung`: at that growth the shutter closes late by half the dose, while its
            contact says that all is well; `thermocouple_jump`: from that growth on the true
            temperature is 25 K above what it was at the same reading; `thermocouple_drift`: from
            then on it rises above the reading by 0.5 K/s, up to 40 K; `cell_drift`: from then on
            the flux of both cells falls by 2 % a second, down to three quarters; `heater_failure`:
            from then on the element gives no heat; `gun_off`: when that shutter opens the electron
            gun goes out; `gun_dim`: from before that growth on the screen shows 60 %.
        growth: number of the growth, counted from 1.
    """

    name: FaultName
    growth: int = Field(ge=1)


class ChamberSettings(_Settings):
    """One stand-in chamber.

    Args:
        seed: of every random number of the chamber.
        clock_factor: laboratory seconds in one real second; twins in process wait by their own clock.
        size: edge length of the lattice [sites].
        multi_hop: see `GrowthParameters`.
        max_events: of one growth or anneal, before it is finished coarsely.
        load_s: time to bring a sample in [s].
        give_s: time to cool a sample and put it into the transfer vessel [s].
        gauge_noise: relative standard deviation of the flux gauge in one growth [1].
        truth: the hidden truth, or "drawn": from the prior, by the seed.
        steps: monolayer steps of a vicinal substrate in one lattice (see `kmc.Film.vicinal`).
        cells: two effusion cells, gallium and aluminium; None: one cell that is always ready.
    """

    seed: int = 0
    clock_factor: float = Field(default=1.0, gt=0)
    size: int = Field(default=64, ge=8, le=1024)
    multi_hop: int = Field(default=8, ge=1, le=32)
    max_events: int = Field(default=8_000_000, gt=0)
    load_s: Seconds = Field(default=10.0, ge=0)
    give_s: Seconds = Field(default=120.0, ge=0)
    gauge_noise: Dimensionless = Field(default=0.01, ge=0)
    truth: Truth | Literal["drawn"] = Truth()
    detector: DetectorSettings = DetectorSettings()
    heater: HeaterSettings = HeaterSettings()
    faults: tuple[FaultPlan, ...] = ()
    steps: int = Field(default=0, ge=0, le=127)
    cells: CellsSettings | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if 3 * self.steps > self.size:
            raise ValueError(f"steps: {self.steps} on {self.size} sites; allowed: a third of size")
        if self.steps and self.detector.window_A is None:
            raise ValueError("detector.window_A: none; a staircase has no specular rod of its own")
        if self.heater.loop and self.truth_drawn().thermocouple_reversed_about_K is not None:
            raise ValueError("thermocouple_reversed_about_K: no controller holds such a heater")
        for plan in self.faults:
            if lacking := what_a_fault_lacks(plan.name, self):
                raise ValueError(f"faults: {plan.name} needs {lacking}")
        return self

    def truth_drawn(self) -> Truth:
        """Return the truth, drawn when it is to be drawn."""
        return Truth.drawn(self.seed) if self.truth == "drawn" else self.truth


def what_a_fault_lacks(name: FaultName, settings: ChamberSettings) -> str:
    """Return the section that a chamber must have for a fault to happen in it; "" when it may."""
    if name == "cell_drift" and settings.cells is None:
        return "cells"
    if name in {"thermocouple_drift", "heater_failure"} and settings.heater.loop is None:
        return "heater.loop"
    return ""


def read_settings(name: str) -> ChamberSettings:
    """Return the settings in a file, or in one that ships with twinloop.

    Args:
        name: a path, or a name under `configs/standins` ("growth_chamber.yaml").

    Raises:
        ConfigError: no such file, not YAML, or a field that cannot be used.
    """
    path = Path(name)
    shipped = files("twinloop.configs").joinpath("standins", name)
    try:
        text = path.read_text("utf-8") if path.is_file() else shipped.read_text("utf-8")
        data = yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as err:
        raise ConfigError([ConfigProblem(name, "file", str(err), "a readable YAML file")]) from err
    try:
        settings = ChamberSettings.model_validate(data)
    except ValidationError as err:
        problems = [
            ConfigProblem(name, ".".join(map(str, e["loc"])), e.get("input"), e["msg"])
            for e in err.errors()
        ]
        raise ConfigError(problems) from err
    return paced(settings, settings.clock_factor)


def paced(settings: ChamberSettings, clock_factor: float) -> ChamberSettings:
    """Return the same chamber at another pace.

    Raises:
        ConfigError: a factor that is not finite and positive.
    """
    if not 0 < clock_factor < math.inf:
        problem = ConfigProblem("stand-in", "clock_factor", clock_factor, "a finite number > 0")
        raise ConfigError([problem])
    return settings.model_copy(update={"clock_factor": clock_factor})
