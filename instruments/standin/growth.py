"""One growth of the stand-in chamber: its flux, its pauses, its camera, its books."""

import math
from dataclasses import dataclass

from twinloop.instruments.standin.cells import CellName
from twinloop.instruments.standin.plant import GrowthTrace, Plant
from twinloop.instruments.standin.run import Interrupted, Recipe, Run
from twinloop.instruments.standin.sample import Sample
from twinloop.simulators.growth_budget import GrowthBudget

__all__ = ["Growth", "GrowthPlan"]

BEFORE_OPENING_S = 2.0
SAMPLES_BEFORE_OPENING = 10
COUNT_EVERY_ML = 0.5
FRAME_EXPOSURE_S = 0.2
FRAMES_PER_S = 10.0
EMISSION_NOISE = 0.01
"""Relative standard deviation of one reading of the gun's own current [1]."""


@dataclass(frozen=True, slots=True)
class GrowthPlan:
    """What a growth is to be, in the scale of the calibration.

    Args:
        flux_ML_per_s: of all cations [ML/s].
        dose_ML: of all cations [ML].
        aluminium: share of it in the flux, where there are two cells, 0 to 1.
        pause_after_ML: the shutter closes for `pause_s` whenever so much has come; 0: never.
        pause_s: [s].
    """

    flux_ML_per_s: float
    dose_ML: float
    aluminium: float = 1.0
    pause_after_ML: float = 0.0
    pause_s: float = 0.0

    @property
    def open_s(self) -> float:
        """How long the shutter is to be open, all parts together [s]."""
        return self.dose_ML / self.flux_ML_per_s

    def parts_s(self) -> list[float]:
        """Return how long the shutter is to be open before each pause, and to the end [s]."""
        part_s = self.pause_after_ML / self.flux_ML_per_s
        if not (0 < part_s < self.open_s and self.pause_s > 0):
            return [self.open_s]
        whole = math.ceil(self.open_s / part_s - 1e-9) - 1
        return [part_s] * whole + [self.open_s - whole * part_s]

    def by_cell(self) -> dict[CellName, float]:
        """Return the flux that is asked of each cell [ML/s]."""
        of_aluminium = self.flux_ML_per_s * self.aluminium
        return {"gallium": self.flux_ML_per_s - of_aluminium, "aluminium": of_aluminium}


class Growth:
    """One growth under way.

    Args:
        plant: where it happens; its heater and cells have settled.
        run: the operation.
        sample: what grows.
        plan: what it is to be.
    """

    def __init__(self, plant: Plant, run: Run, sample: Sample, plan: GrowthPlan) -> None:
        self.plant, self.run, self.sample, self.plan = plant, run, sample, plan
        self.flux_ML_per_s, self.planned_s = plan.flux_ML_per_s, plan.open_s
        detector = plant.settings.detector
        self.exposure_s = max(
            detector.exposure_s, 1.0 / (detector.samples_per_ML * self.flux_ML_per_s)
        )
        self.noise = sample.random("trace")
        gauge, noise = sample.random("gauge"), plant.settings.gauge_noise
        self.gauge_factor = 1.0 + float(noise * gauge.standard_normal())
        self.other_gauge_factor = 1.0 + float(noise * gauge.standard_normal())
        self.reading_noise_K = float(
            plant.settings.heater.noise_K * 0.1 * sample.random("thermocouple").standard_normal()
        )
        self.reading_K = plant.thermocouple_K + self.reading_noise_K
        self.trace: GrowthTrace = plant.arm_detector(self.exposure_s, sample)
        self.open_s = self.paused_s = 0.0
        self.counted_ML = 0.0
        self.is_coarse = False
        self._shared: GrowthBudget | None = None
        self._watch = _Watch(plant, sample)
        self._gauged_ML = dict.fromkeys(plan.by_cell(), 0.0)
        self._frames, self._emission = sample.random("frames"), sample.random("emission")
        self._next_frame_s = 0.0

    def watch_substrate(self) -> Recipe:
        """Fill the ring buffer with the substrate's own intensity before the shutter opens."""
        samples = max(SAMPLES_BEFORE_OPENING, round(BEFORE_OPENING_S / self.exposure_s))
        try:
            for i in range(samples):
                self._look(-(samples - 1 - i) * self.exposure_s)
            self.plant.pass_time(samples * self.exposure_s)
            yield samples * self.exposure_s
        except Interrupted:
            self.trace.has_ended = True
            raise

    def deposit(self) -> Recipe:
        """Deposit the dose in slices of one exposure, with its pauses."""
        plant, operation = self.plant, self.run.operation
        plant.open_shutter()
        self._open_cells()
        self.run.is_touched = True
        state = "partial"
        try:
            true_flux, aluminium = self._arriving()
            extra = {} if plant.cells is None else {"true_aluminium": aluminium}
            plant.log.append(
                "growth_started",
                key=operation.key,
                sample=self.sample.name,
                growth=self.trace.growth,
                arguments=operation.arguments,
                true_K=plant.surface_K,
                true_flux_ML_per_s=true_flux,
                **extra,
            )
            yield from self._deposit_parts()
            if plant.take_fault("shutter_hung"):
                plant.contact_is_open = False
                yield from self._pass_time(0.5 * self.planned_s)
            state = "done"
        finally:
            self._close(state)

    def _deposit_parts(self) -> Recipe:
        first, *others = self.plan.parts_s()
        yield from self._pass_time(first)
        for part_s in others:
            # the pause is part of the growth: fault or abort in it leaves the shutter closed
            self.plant.close_shutter()
            yield from self._pass_time(self.plan.pause_s, is_open=False)
            self.plant.shutter_is_open = self.plant.contact_is_open = True
            self._open_cells()
            yield from self._pass_time(part_s)

    def _open_cells(self) -> None:
        if self.plant.cells is not None:
            self.plant.cells.open(self.plan.by_cell())

    def _pass_time(self, duration_s: float, *, is_open: bool = True) -> Recipe:
        slices = math.ceil(duration_s / self.exposure_s - 1e-9)
        start_s, start_paused_s = self.open_s, self.paused_s
        budget = self._budget()
        for i in range(slices):
            slice_s = duration_s / slices
            flux_ML_per_s, aluminium = self._arriving() if is_open else (0.0, 1.0)
            step = self.sample.advance(
                budget,
                temperature_K=self.plant.surface_K,
                flux_ML_per_s=flux_ML_per_s,
                duration_s=slice_s,
                remaining_s=duration_s - i * slice_s,
                cancel=self.run.is_cancelled,
                aluminium=aluminium,
            )
            gone_s = step.elapsed_s if step.cancelled else slice_s
            if not is_open:
                self.paused_s = start_paused_s + i * slice_s + gone_s
            elif step.cancelled:
                self.open_s = self.open_s + step.elapsed_s
            else:
                self.open_s = start_s + (i + 1) * slice_s
            self._gauge(gone_s, is_open=is_open)
            self._watch.look()
            self.plant.pass_time(gone_s)
            self.is_coarse |= step.budget_exceeded
            self._look(self.open_s + self.paused_s)
            self._show()
            self.run.numbers = self._numbers()
            self._keep_count()
            yield step.elapsed_s

    def _budget(self) -> GrowthBudget:
        """Return the events that may be spent: with pauses, all parts share those of one growth."""
        if len(self.plan.parts_s()) == 1:
            return self.sample.budget()
        self._shared = self._shared or self.sample.budget()
        return self._shared

    def _gauge(self, duration_s: float, *, is_open: bool) -> None:
        if self.plant.cells is not None and is_open:
            for name, flux in self.plant.cells.arriving().items():
                self._gauged_ML[name] += flux * duration_s

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
        view = self.plant.view
        value = self.sample.specular(self.noise, self.exposure_s, is_growing=True, view=view)
        emission = view.beam * (1.0 + EMISSION_NOISE * float(self._emission.standard_normal()))
        self.trace.emission = min(self.trace.emission, emission)
        self.plant.last_intensity = value
        self.trace.add(time_s, value)

    def _show(self) -> None:
        """Take a frame of the screen, now and then; only the newest is kept."""
        camera = self.plant.settings.detector.camera
        time_s = self.open_s + self.paused_s
        if camera is None or not camera.frames_per_ML or time_s < self._next_frame_s:
            return
        frames_per_s = min(camera.frames_per_ML * self.flux_ML_per_s, FRAMES_PER_S)
        self._next_frame_s = time_s + 1.0 / frames_per_s
        frame = self.sample.frame(self._frames, FRAME_EXPOSURE_S, self.plant.view)
        self.trace.frame, self.trace.frame_at = frame, len(self.trace.time_s) - 1

    def _arriving(self) -> tuple[float, float]:
        """Return the true flux of cations [ML/s] and the share of aluminium in it [1]."""
        factor = math.exp(self.plant.truth.log_flux_factor)
        cells = self.plant.cells
        if cells is None:
            return self.flux_ML_per_s * factor * self.plant.calibrated_drift(), 1.0
        flux = cells.arriving()
        total = sum(flux.values())
        return total * factor, flux["aluminium"] / total if total > 0 else self.plan.aluminium

    def _numbers(self) -> dict[str, float]:
        # The clock of the shutter believes its contact; the gauge counts what came.
        said_s = min(self.open_s, self.planned_s)
        rate, by_cell = self._rates()
        return {
            "growth_s": said_s,
            "rate_ML_per_s": rate,
            "dose_ML": rate * self.open_s,
            "substrate_K": self._watch.mean_K(self.reading_K, self.reading_noise_K),
            "is_coarse": float(self.is_coarse),
            **by_cell,
            **self._watch.numbers(),
        }

    def _rates(self) -> tuple[float, dict[str, float]]:
        """Return the rate that the gauge read [ML/s], and with two cells what it read of each."""
        cells = self.plant.cells
        if cells is None:
            return self.flux_ML_per_s * self.plant.calibrated_drift() * self.gauge_factor, {}
        open_s = max(self.open_s, 1e-9)
        gallium = self._gauged_ML["gallium"] / open_s * self.gauge_factor
        aluminium = self._gauged_ML["aluminium"] / open_s * self.other_gauge_factor
        rate = gallium + aluminium
        return rate, {
            "gallium_ML_per_s": gallium,
            "aluminium_ML_per_s": aluminium,
            "aluminium": aluminium / rate if rate > 0 else self.plan.aluminium,
            "gallium_K": cells.reading_K("gallium"),
            "aluminium_K": cells.reading_K("aluminium"),
            "flux_asked_ML_per_s": self.flux_ML_per_s,
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


class _Watch:
    """What a controlled heater shows while a film grows: nothing, where there is none."""

    def __init__(self, plant: Plant, sample: Sample) -> None:
        self._plant = plant
        self._samples = 0
        self._sum_K = self._sum_power = self._worst_K = 0.0
        loop = plant.settings.heater.loop
        noise = 0.0 if loop is None else loop.power_noise
        self._factor = 1.0 + float(noise * sample.random("power").standard_normal())

    def look(self) -> None:
        """Add one reading."""
        plant = self._plant
        if plant.loop is None:
            return
        self._samples += 1
        self._sum_K += plant.thermocouple_K
        self._sum_power += plant.loop.power
        self._worst_K = max(self._worst_K, abs(plant.thermocouple_K - plant.asked_K))

    def mean_K(self, at_opening_K: float, noise_K: float) -> float:
        """Return the mean reading; that at the opening where temperature stands still [K]."""
        return self._sum_K / self._samples + noise_K if self._samples else at_opening_K

    def numbers(self) -> dict[str, float]:
        """Return what a confirmation looks at."""
        if not self._samples:
            return {}
        return {
            "off_K": self._worst_K,
            "power": self._sum_power / self._samples * self._factor,
            "power_usual": self._plant.power_usual,
        }
