"""What the stand-in chamber does for each operation, in slices.

A recipe is a generator: it does one slice of physics and yields the laboratory time that the slice
stands for [s]. Who runs it decides about real time. It is cut short by `Interrupted`, thrown in at
a yield; its `finally` closes what must be closed.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from twinloop.instruments.standin.cells import CELLS
from twinloop.instruments.standin.growth import Growth, GrowthPlan
from twinloop.instruments.standin.interface import MachineFault, OperationName
from twinloop.instruments.standin.plant import Plant
from twinloop.instruments.standin.run import Interrupted, Recipe, Run
from twinloop.instruments.standin.sample import Sample
from twinloop.instruments.standin.vessel import VesselRefused

__all__ = ["RECIPES", "Interrupted", "Recipe", "Run"]

HEAT_SLICE_S = 0.5
ANNEAL_SLICE_S = 0.5
SETTLE_LIMIT_S = 900.0
"""A heater or cell that has not come to rest within this is not waited for [s]."""
AIM_S = 2.0
TURN_DEG_PER_S = 10.0


def load(plant: Plant, run: Run) -> Recipe:
    """Take out what is in, bring a fresh substrate in."""
    run.is_touched = True
    plant.sample = None
    plant.idle_heater()
    plant.asked_K = plant.settings.heater.idle_K
    yield plant.settings.load_s
    plant.pass_time(plant.settings.load_s)
    name = run.operation.sample or f"unnamed-{plant.growths}"
    plant.take_in(name)
    plant.log.append("sample_loaded", sample=name, **run.facts("done"))


def heat(plant: Plant, run: Run) -> Recipe:
    """Approach the asked temperature."""
    yield from _approach(plant, run, math.inf)


def ramp(plant: Plant, run: Run) -> Recipe:
    """Walk to the asked temperature at the asked rate."""
    if plant.loop is None:
        raise MachineFault("ramp", "the heater has no controller that walks; use heat")
    yield from _approach(plant, run, run.operation.arguments["rate_K_per_s"])


def _approach(plant: Plant, run: Run, rate_K_per_s: float) -> Recipe:
    run.is_touched = True
    plant.ask_heater(run.operation.arguments["substrate_K"], rate_K_per_s)
    try:
        yield from _settle(plant)
    finally:
        noise_K = plant.settings.heater.noise_K * _random(plant, "heat").standard_normal()
        run.numbers = {"substrate_K": plant.thermocouple_K + float(noise_K)}
    plant.log.append("heated", true_K=plant.surface_K, **run.facts("done"))


def heat_cells(plant: Plant, run: Run) -> Recipe:
    """Bring both cells to a temperature."""
    cells = plant.cells
    if cells is None:
        raise MachineFault("heat_cells", "this chamber has one cell, which is always ready")
    run.is_touched = True
    try:
        for name in CELLS:
            cells.ask(name, run.operation.arguments[f"{name}_K"])
        yield from _settle_cells(plant)
    finally:
        run.numbers = {f"{name}_K": cells.reading_K(name) for name in CELLS}
    plant.log.append("cells_heated", **run.facts("done"))


def grow(plant: Plant, run: Run) -> Recipe:
    """Open, deposit, close; with pauses and in a composition where they are asked for."""
    sample, plan = _sample_of(plant, run), GrowthPlan(**run.operation.arguments)
    if plan.aluminium != 1.0 and plant.cells is None:
        raise MachineFault("grow_alloy", "this chamber has one cell, of aluminium")
    if plant.cells is not None:
        plant.cells.ask_flux(plan.by_cell())
        yield from _settle_cells(plant, is_needed=True)
    yield from _settle(plant, is_needed=True)
    growth = Growth(plant, run, sample, plan)
    yield from growth.watch_substrate()
    yield from growth.deposit()


def anneal(plant: Plant, run: Run) -> Recipe:
    """Hold the film at its temperature."""
    sample = _sample_of(plant, run)
    hold_s = run.operation.arguments["hold_s"]
    yield from _settle(plant, is_needed=True)
    run.is_touched = True
    plant.log.append("anneal_started", key=run.operation.key, sample=sample.name, hold_s=hold_s)
    rng, budget = sample.random("anneal"), sample.budget()
    slices = math.ceil(hold_s / ANNEAL_SLICE_S)
    held_s, worst_K, state = 0.0, 0.0, "partial"
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
            plant.pass_time(step.elapsed_s)
            worst_K = max(worst_K, abs(plant.thermocouple_K - plant.asked_K))
            plant.last_intensity = sample.specular(rng, hold_s / slices, view=plant.view)
            yield step.elapsed_s
        state = "done"
    finally:
        noise_K = plant.settings.heater.noise_K / math.sqrt(slices + 1) * rng.standard_normal()
        watched = {} if plant.loop is None else {"off_K": worst_K}
        reading_K = plant.thermocouple_K + float(noise_K)
        run.numbers = {"hold_s": held_s, "substrate_K": reading_K, **watched}
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
    value = sample.specular(
        sample.random("specular"),
        exposure_s,
        is_growing=plant.shutter_is_open,
        view=plant.view,
    )
    plant.last_intensity = value
    run.numbers = {"intensity": value, "intensity_sd": sample.specular_sd(exposure_s)}


def expose(plant: Plant, run: Run) -> Recipe:
    """Take one frame."""
    sample = _sample_of(plant, run)
    exposure_s = run.operation.arguments["exposure_s"]
    yield exposure_s
    run.arrays = {"frame": sample.frame(sample.random("expose"), exposure_s, plant.view)}


def aim(plant: Plant, run: Run) -> Recipe:
    """Turn the sample and tilt the gun."""
    wanted = run.operation.arguments
    if plant.shutter_is_open:
        raise MachineFault("aim", "a film is growing: its trace is being taken")
    run.is_touched = True
    turn_deg = abs((wanted["azimuth_deg"] - plant.view.azimuth_deg + 180.0) % 360.0 - 180.0)
    yield AIM_S + turn_deg / TURN_DEG_PER_S
    # 0 asks for the anti-phase angle, which the machine knows best
    incidence_deg = wanted["incidence_deg"] or None
    plant.view = replace(plant.view, incidence_deg=incidence_deg, azimuth_deg=wanted["azimuth_deg"])
    run.numbers = {
        "incidence_deg": plant.view.incidence(plant.settings.detector.energy_keV),
        "azimuth_deg": plant.view.azimuth_deg,
    }
    plant.log.append("aimed", view=asdict(plant.view), key=run.operation.key)


RECIPES: dict[OperationName, Callable[[Plant, Run], Recipe]] = {
    "load": load,
    "heat": heat,
    "ramp": ramp,
    "heat_cells": heat_cells,
    "grow": grow,
    "grow_alloy": grow,
    "grow_interrupted": grow,
    "anneal": anneal,
    "give": give,
    "specular": specular,
    "expose": expose,
    "aim": aim,
}


def _settle(plant: Plant, *, is_needed: bool = False) -> Recipe:
    """Wait until the substrate has the temperature last asked for.

    Raises:
        MachineFault: it does not come there, and `is_needed`.
    """
    waited_s = 0.0
    while not plant.is_settled and waited_s < SETTLE_LIMIT_S:
        plant.move_heater(HEAT_SLICE_S)
        waited_s += HEAT_SLICE_S
        yield HEAT_SLICE_S
    if is_needed and not plant.is_settled:
        reason = f"{plant.thermocouple_K:.0f} K is read, {plant.asked_K:.0f} K was asked for"
        raise MachineFault("heater", reason)


def _settle_cells(plant: Plant, *, is_needed: bool = False) -> Recipe:
    waited_s = 0.0
    while plant.cells is not None and not plant.cells.are_settled and waited_s < SETTLE_LIMIT_S:
        plant.pass_time(HEAT_SLICE_S)
        waited_s += HEAT_SLICE_S
        yield HEAT_SLICE_S
    if is_needed and plant.cells is not None and not plant.cells.are_settled:
        raise MachineFault("cells", f"no cell temperature after {SETTLE_LIMIT_S:g} s")


def _sample_of(plant: Plant, run: Run) -> Sample:
    if plant.sample is None:
        raise MachineFault(run.operation.name, "no sample is in; load one")
    return plant.sample


def _random(plant: Plant, what: str) -> np.random.Generator:
    return np.random.default_rng(0) if plant.sample is None else plant.sample.random(what)
