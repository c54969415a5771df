"""The twin of a molecular beam epitaxy chamber: kinetic Monte Carlo behind the contract of the kind."""

from collections.abc import Mapping

from twinloop.instruments.interface import Command, Verdict, readout
from twinloop.instruments.mbe.interface import (
    MBE,
    AluminiumShare,
    Cell_K,
    CellTemperatures,
    Dose_ML,
    Flux_ML_per_s,
    Grown,
    GrownAlloy,
    Hold_s,
    Pause_ML,
    Pause_s,
    Ramp_K_per_s,
    Substrate_K,
)
from twinloop.instruments.standin.interface import Progress, verdict
from twinloop.instruments.standin.twin import StandinTwin
from twinloop.results import Result
from twinloop.units import Kelvin

__all__ = ["MBETwin"]

DOSE_TOLERANCE = 0.08
"""Deviation of the gauge's dose from flux times time that its noise does not explain [1]."""
FLUX_TOLERANCE = 0.08
"""Deviation of the gauge's flux from what the cells were set for: transient of the shutter, crucible
and noise stay below it [1]."""
READING_TOLERANCE_K = 3.0
"""Deviation of a controlled temperature from what was asked [K]."""
POWER_TOLERANCE = 0.02
"""Deviation of the heater's power from what has always held that reading: power goes with T^4, so this
is 4 K at 850 K [1]."""


class MBETwin(StandinTwin, MBE):
    """Grows films by kinetic Monte Carlo, in this process or in a machine process."""

    @MBE.load.implement
    async def load(self) -> None:
        """Bring the named sample in: a fresh substrate."""
        await self.perform("load")

    @MBE.heat.implement
    async def heat(self, *, substrate_K: Substrate_K) -> Kelvin:
        """Bring the substrate to a temperature; return what the thermocouple reads there [K]."""
        return _substrate_K(await self.perform("heat", substrate_K=substrate_K))

    @MBE.grow.implement
    async def grow(self, *, flux_ML_per_s: Flux_ML_per_s, dose_ML: Dose_ML) -> Grown:
        """Open the shutter, deposit the dose, close the shutter."""
        return _grown(await self.perform("grow", flux_ML_per_s=flux_ML_per_s, dose_ML=dose_ML))

    @MBE.anneal.implement
    async def anneal(self, *, hold_s: Hold_s) -> Kelvin:
        """Hold the film at its temperature without flux; return the mean reading [K]."""
        return _substrate_K(await self.perform("anneal", hold_s=hold_s))

    @MBE.ramp.implement
    async def ramp(self, *, substrate_K: Substrate_K, rate_K_per_s: Ramp_K_per_s) -> Kelvin:
        """Walk the substrate to a temperature at a rate; return what the thermocouple reads [K]."""
        return _substrate_K(
            await self.perform("ramp", substrate_K=substrate_K, rate_K_per_s=rate_K_per_s)
        )

    @MBE.heat_cells.implement
    async def heat_cells(self, *, gallium_K: Cell_K, aluminium_K: Cell_K) -> CellTemperatures:
        """Bring both cells to a temperature, with their shutters closed."""
        progress = await self.perform("heat_cells", gallium_K=gallium_K, aluminium_K=aluminium_K)
        return CellTemperatures(**_picked(progress, CellTemperatures))

    @MBE.grow_alloy.implement
    async def grow_alloy(
        self, *, flux_ML_per_s: Flux_ML_per_s, aluminium: AluminiumShare, dose_ML: Dose_ML
    ) -> GrownAlloy:
        """Bring the cells to what the fluxes need, open, deposit the dose of all cations, close."""
        progress = await self.perform(
            "grow_alloy", flux_ML_per_s=flux_ML_per_s, aluminium=aluminium, dose_ML=dose_ML
        )
        return _alloy(progress)

    @MBE.grow_interrupted.implement
    async def grow_interrupted(
        self,
        *,
        flux_ML_per_s: Flux_ML_per_s,
        dose_ML: Dose_ML,
        pause_after_ML: Pause_ML,
        pause_s: Pause_s,
    ) -> Grown:
        """Grow, and close the shutter for a pause whenever so much has come."""
        return _grown(
            await self.perform(
                "grow_interrupted",
                flux_ML_per_s=flux_ML_per_s,
                dose_ML=dose_ML,
                pause_after_ML=pause_after_ML,
                pause_s=pause_s,
            )
        )

    @MBE.give.implement
    async def give(self) -> None:
        """Let the sample cool, and put it into the transfer vessel."""
        await self.perform("give")

    @readout
    async def thermocouple_K(self) -> Kelvin:
        """Return what the thermocouple reads now."""
        return self.line.readings().thermocouple_K

    @readout
    async def shutter_is_open(self) -> bool:
        """Return whether the shutter's contact says that it is open."""
        return self.line.readings().shutter_is_open

    @readout
    async def heater_is_idle(self) -> bool:
        """Return whether the heater idles."""
        return self.line.readings().heater_is_idle

    @grow.confirm
    async def growth_is_plausible(self, command: Command, result: Grown) -> str | None:
        """Complain of the dose, the flux, the temperature or the power of a growth."""
        return await self._complaint(command, result)

    @grow_alloy.confirm
    async def alloy_is_plausible(self, command: Command, result: GrownAlloy) -> str | None:
        """Complain of the dose, the flux, the temperature or the power of a growth."""
        return await self._complaint(command, result)

    @grow_interrupted.confirm
    async def interruption_is_plausible(self, command: Command, result: Grown) -> str | None:
        """Complain of the dose, the flux, the temperature or the power of a growth."""
        return await self._complaint(command, result)

    @anneal.confirm
    async def anneal_is_steady(self, command: Command, _: Kelvin) -> str | None:
        """Complain when a controlled temperature was left."""
        return _out_of_order((await self.ask_machine(command.key)).numbers)

    @heat.confirm
    async def heat_is_reached(self, command: Command, result: Kelvin) -> str | None:
        """Complain when the thermocouple is not where it was asked to be."""
        return _off_temperature(command, result)

    @ramp.confirm
    async def ramp_is_reached(self, command: Command, result: Kelvin) -> str | None:
        """Complain when the thermocouple is not where it was asked to be."""
        return _off_temperature(command, result)

    async def _complaint(self, command: Command, result: Grown | GrownAlloy) -> str | None:
        """Return the first thing that is wrong with a growth; the machine is asked for the rest."""
        expected_ML = result.rate_ML_per_s * result.growth_s
        if abs(result.dose_ML - expected_ML) > DOSE_TOLERANCE * expected_ML:
            return (
                f"the gauge counted {result.dose_ML:.3g} ML, the shutter was open for "
                f"{expected_ML:.3g} ML ({command.key}): look whether the shutter closes"
            )
        return _out_of_order((await self.ask_machine(command.key)).numbers)

    @load.reconcile
    async def what_was_loaded(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), lambda _: None)

    @give.reconcile
    async def what_was_given(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), lambda _: None)

    @grow.reconcile
    async def what_grew(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), _grown)

    @grow_alloy.reconcile
    async def what_alloy_grew(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), _alloy)

    @grow_interrupted.reconcile
    async def what_grew_interrupted(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), _grown)

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), _substrate_K)


def _grown(progress: Progress) -> Grown:
    return Grown.model_validate(_picked(progress, Grown))


def _alloy(progress: Progress) -> GrownAlloy:
    return GrownAlloy.model_validate(_picked(progress, GrownAlloy))


def _picked(progress: Progress, record: type[Result]) -> dict[str, float]:
    """Return those numbers that a record holds; the machine says more to who asks it."""
    # a machine of before has not said everything that has a default
    return {name: n for name, n in progress.numbers.items() if name in record.model_fields}


def _substrate_K(progress: Progress) -> Kelvin:
    return progress.numbers["substrate_K"]


def _off_temperature(command: Command, reading_K: Kelvin) -> str | None:
    asked_K = float(command.arguments["substrate_K"])
    if abs(reading_K - asked_K) <= READING_TOLERANCE_K:
        return None
    return f"{asked_K:.0f} K was asked for, {reading_K:.0f} K is read: look at the heater"


def _out_of_order(numbers: Mapping[str, float]) -> str | None:
    """Return what cells, heater or thermocouple of a growth show; None where they are not watched."""
    asked = numbers.get("flux_asked_ML_per_s", 0.0)
    if asked and abs(numbers["rate_ML_per_s"] / asked - 1.0) > FLUX_TOLERANCE:
        return (
            f"the gauge read {numbers['rate_ML_per_s']:.3g} ML/s, the cells were set for "
            f"{asked:.3g} ML/s: calibrate them, a cell has drifted"
        )
    if numbers.get("off_K", 0.0) > READING_TOLERANCE_K:
        return (
            f"the thermocouple left the asked temperature by {numbers['off_K']:.0f} K with a film "
            "in: look at the heater"
        )
    usual = numbers.get("power_usual", 0.0)
    if usual and abs(numbers["power"] / usual - 1.0) > POWER_TOLERANCE:
        return (
            f"the heater took {numbers['power'] / usual - 1.0:+.1%} of the power that has always "
            "held this reading: look whether the thermocouple misreads"
        )
    return None
