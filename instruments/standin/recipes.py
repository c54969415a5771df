"""What the stand-in chamber does for each operation, in slices.

A recipe is a generator: it does one slice of physics and yields the laboratory time that the slice
stands for [s]. Who runs it decides about real time. It is cut short by `Interrupted`, thrown in at
a yield; its `finally` closes what must be closed.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import LabError
from twinloop.instruments.standin.interface import MachineFault, Operation, OperationName
from twinloop.instruments.standin.plant import GrowthTrace, Plant
from twinloop.instruments.standin.sample import Sample
from twinloop.instruments.standin.vessel import VesselRefused

__all__ = ["RECIPES", "Interrupted", "Recipe", "Run"]

Recipe = Generator[float, None, None]

HEAT_SLICE_S = 0.5
ANNEAL_SLICE_S = 0.5
BEFORE_OPENING_S = 2.0
SAMPLES_BEFORE_OPENING = 10
COUNT_EVERY_ML = 0.5


class Interrupted(LabError):
    """The operation is cut short, here and now."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the operation was cut short: {reason}")


@dataclass(slots=True)
class Run:
    """An operation under way.

    Args:
        operation: what was asked.
        numbers: result, or what happened so far; replaced, never changed in place.
        arrays: result.
        is_touched: something irreversible has happened.
        interrupt: reason why it is to be cut short.
        trace: of a `record`, the growth that it takes.
    """

    operation: Operation
    numbers: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    is_touched: bool = False
    interrupt: str = ""
    trace: GrowthTrace | None = None

    def is_cancelled(self) -> bool:
        """True when the physics should stop at its next look."""
        return bool(self.interrupt)

    def facts(self, state: str) -> dict[str, Any]:
        """Return what the physical log keeps so that a restarted machine can answer."""
        return {"key": self.operation.key, "state": state, "numbers": self.numbers}


def load(plant: Plant, run: Run) -> Recipe:
    """Take out what is in, bring a fresh substrate in."""
    run.is_touched = True
    plant.sample = None
    plant.idle_heater()
    plant.asked_K = plant.settings.heater.idle_K
    yield plant.settings.load_s
    name = run.operation.sample or f"unnamed-{plant.growths}"
    plant.take_in(name)
    plant.log.append("sample_loaded", sample=name, **run.facts("done"))


def heat(plant: Plant, run: Run) -> Recipe:
    """Approach the asked temperature."""
    run.is_touched = True
    plant.asked_K = run.operation.arguments["substrate_K"]
    try:
        yield from _settle(plant)
    finally:
        noise_K = plant.settings.heater.noise_K * _random(plant, "heat").standard_normal()
        run.numbers = {"substrate_K": plant.thermocouple_K + float(noise_K)}
    plant.log.append("heated", true_K=plant.surface_K, **run.facts("done"))


def grow(plant: Plant, run: Run) -> Recipe:
    """Open, deposit, close."""
    sample = _sample_of(plant, run)
    yield from _settle(plant)
    growth = _Growth(plant, run, sample)
    yield from growth.watch_substrate()
    yield from growth.deposit()


def anneal(plant: Plant, run: Run) -> Recipe:
    """Hold the film at its temperature."""
    sample = _sample_of(plant, run)
    hold_s = run.operation.arguments["hold_s"]
    yield from _settle(plant)
    run.is_touched = True
    plant.log.append("anneal_started", key=run.operation.key, sample=sample.name, hold_s=hold_s)
    rng, budget = sample.random("anneal"), sample.budget()
    slices = math.ceil(hold_s / ANNEAL_SLICE_S)
    held_s, state = 0.0, "partial"
    try:
        for _ in range(slices):
            step = sample.advance(
                budget,
                temperature_K=plant.surface_K,
                flux_ML_per_s=0.0,
                duration_s=hold_s / slices,
                remaining_s=hold_s - held_s,
                cancel=run.is_cancelled,
            )
            held_s += step.elapsed_s
            run.numbers = {"hold_s": held_s}
            plant.last_intensity = sample.specular(rng, hold_s / slices)
            yield step.elapsed_s
        state = "done"
    finally:
        noise_K = plant.settings.heater.noise_K / math.sqrt(slices + 1) * rng.standard_normal()
        run.numbers = {"hold_s": held_s, "substrate_K": plant.thermocouple_K + float(noise_K)}
        plant.keep_surface(sample)
        sample.remember("anneal", run.operation.key, **run.numbers)
        plant.log.append(
            "anneal_ended", sample=sample.name, is_coarse=budget.is_exceeded, **run.facts(state)
        )


def give(plant: Plant, run: Run) -> Recipe:
    """Let the sample cool, and put it into the transfer vessel."""
    sample = _sample_of(plant, run)
    if plant.vessel is None:
        raise MachineFault("give", "no transfer vessel is at this chamber")
    plant.idle_heater()
    plant.asked_K = plant.settings.heater.idle_K
    yield plant.settings.give_s
    # Should this process die now, the vessel knows whether the sample has left under this key.
    plant.log.append("giving", sample=sample.name, giving=run.operation.key)
    try:
        plant.give(run.operation.key)
    except VesselRefused as err:
        raise MachineFault("give", str(err)) from err
    run.is_touched = True
    plant.log.append("sample_given", sample=sample.name, **run.facts("done"))


def specular(plant: Plant, run: Run) -> Recipe:
    """Read the specular beam once."""
    sample = _sample_of(plant, run)
    exposure_s = run.operation.arguments["exposure_s"]
    yield exposure_s
    value = sample.specular(sample.random("specular"), exposure_s, is_growing=plant.shutter_is_open)
    plant.last_intensity = value
    run.numbers = {"intensity": value, "intensity_sd": sample.specular_sd(exposure_s)}


def expose(plant: Plant, run: Run) -> Recipe:
    """Take one frame."""
    sample = _sample_of(plant, run)
    exposure_s = run.operation.arguments["exposure_s"]
    yield exposure_s
    run.arrays = {"frame": sample.frame(sample.random("expose"), exposure_s)}


RECIPES: dict[OperationName, Callable[[Plant, Run], Recipe]] = {
    "load": load,
    "heat": heat,
    "grow": grow,
    "anneal": anneal,
    "give": give,
    "specular": specular,
    "expose": expose,
}


class _Growth:
    """One growth under way: its flux, its camera, its books."""

    def __init__(self, plant: Plant, run: Run, sample: Sample) -> None:
        self.plant, self.run, self.sample = plant, run, sample
        self.flux_ML_per_s = run.operation.arguments["flux_ML_per_s"]
        self.dose_ML = run.operation.arguments["dose_ML"]
        self.planned_s = self.dose_ML / self.flux_ML_per_s
        detector = plant.settings.detector
        self.exposure_s = max(
            detector.exposure_s, 1.0 / (detector.samples_per_ML * self.flux_ML_per_s)
        )
        self.noise = sample.random("trace")
        gauge = plant.settings.gauge_noise * sample.random("gauge").standard_normal()
        self.gauge_factor = 1.0 + float(gauge)
        self.reading_K = plant.thermocouple_K + float(
            plant.settings.heater.noise_K * 0.1 * sample.random("thermocouple").standard_normal()
        )
        self.trace: GrowthTrace = plant.arm_detector(self.exposure_s, sample)
        self.open_s = 0.0
        self.counted_ML = 0.0
        self.is_coarse = False

    def watch_substrate(self) -> Recipe:
        """Fill the ring buffer with the substrate's own intensity before the shutter opens."""
        samples = max(SAMPLES_BEFORE_OPENING, round(BEFORE_OPENING_S / self.exposure_s))
        try:
            for i in range(samples):
                self._look(-(samples - 1 - i) * self.exposure_s)
            yield samples * self.exposure_s
        except Interrupted:
            self.trace.has_ended = True
            raise

    def deposit(self) -> Recipe:
        """Deposit the dose in slices of one exposure."""
        plant, operation = self.plant, self.run.operation
        plant.open_shutter()
        self.run.is_touched = True
        state = "partial"
        try:
            plant.log.append(
                "growth_started",
                key=operation.key,
                sample=self.sample.name,
                growth=self.trace.growth,
                arguments=operation.arguments,
                true_K=plant.surface_K,
                true_flux_ML_per_s=self._true_flux(),
            )
            yield from self._pass_time(self.planned_s)
            if plant.take_fault("shutter_hung"):
                plant.contact_is_open = False
                yield from self._pass_time(0.5 * self.planned_s)
            state = "done"
        finally:
            self._close(state)

    def _pass_time(self, duration_s: float) -> Recipe:
        slices = math.ceil(duration_s / self.exposure_s - 1e-9)
        start_s = self.open_s
        budget = self.sample.budget()
        for i in range(slices):
            slice_s = duration_s / slices
            step = self.sample.advance(
                budget,
                temperature_K=self.plant.surface_K,
                flux_ML_per_s=self._true_flux(),
                duration_s=slice_s,
                remaining_s=duration_s - i * slice_s,
                cancel=self.run.is_cancelled,
            )
            self.open_s = (
                self.open_s + step.elapsed_s if step.cancelled else start_s + (i + 1) * slice_s
            )
            self.is_coarse |= step.budget_exceeded
            self._look(self.open_s)
            self.run.numbers = self._numbers()
            self._keep_count()
            yield step.elapsed_s

    def _keep_count(self) -> None:
        """Write what has come so far, now and then: a machine that is killed can tell."""
        reached_ML = self.run.numbers["dose_ML"]
        if reached_ML >= self.counted_ML + COUNT_EVERY_ML:
            self.counted_ML = reached_ML
            self.plant.log.append(
                "growth_reached",
                key=self.run.operation.key,
                numbers={"dose_at_least_ML": reached_ML, "growth_at_least_s": self.open_s},
            )

    def _look(self, time_s: float) -> None:
        value = self.sample.specular(self.noise, self.exposure_s, is_growing=True)
        self.plant.last_intensity = value
        self.trace.add(time_s, value)

    def _true_flux(self) -> float:
        factor = math.exp(self.plant.truth.log_flux_factor)
        return self.flux_ML_per_s * factor * self.plant.calibrated_drift()

    def _numbers(self) -> dict[str, float]:
        rate = self.flux_ML_per_s * self.plant.calibrated_drift() * self.gauge_factor
        # The clock of the shutter believes its contact; the gauge counts what came.
        said_s = min(self.open_s, self.planned_s)
        return {
            "growth_s": said_s,
            "rate_ML_per_s": rate,
            "dose_ML": rate * self.open_s,
            "substrate_K": self.reading_K,
        }

    def _close(self, state: str) -> None:
        self.plant.close_shutter()
        self.run.numbers = self._numbers()
        self.trace.is_complete = state == "done"
        self.trace.has_ended = True
        self.plant.keep_surface(self.sample)
        self.sample.remember("grow", self.run.operation.key, **self.run.numbers)
        self.plant.log.append(
            "growth_ended",
            sample=self.sample.name,
            growth=self.trace.growth,
            true_coverage_ML=self.sample.film.coverage_ML,
            events=self.sample.film.events,
            is_coarse=self.is_coarse,
            **self.run.facts(state),
        )


def _settle(plant: Plant) -> Recipe:
    """Wait until the substrate has the temperature last asked for."""
    while not plant.is_settled:
        plant.move_heater(HEAT_SLICE_S)
        yield HEAT_SLICE_S


def _sample_of(plant: Plant, run: Run) -> Sample:
    if plant.sample is None:
        raise MachineFault(run.operation.name, "no sample is in; load one")
    return plant.sample


def _random(plant: Plant, what: str) -> np.random.Generator:
    return np.random.default_rng(0) if plant.sample is None else plant.sample.random(what)
