"""The twin of a molecular beam epitaxy chamber: kinetic Monte Carlo behind the contract of the kind."""

from twinloop.instruments.interface import Command, Verdict, readout
from twinloop.instruments.mbe.interface import (
    MBE,
    Dose_ML,
    Flux_ML_per_s,
    Grown,
    Hold_s,
    Substrate_K,
)
from twinloop.instruments.standin.interface import Progress, verdict
from twinloop.instruments.standin.twin import StandinTwin
from twinloop.units import Kelvin

__all__ = ["MBETwin"]

DOSE_TOLERANCE = 0.08
"""Deviation of the gauge's dose from flux times time that its noise does not explain [1]."""


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
    async def dose_is_plausible(self, command: Command, result: Grown) -> str | None:
        """Complain when the gauge counted another dose than flux times open time."""
        expected_ML = result.rate_ML_per_s * result.growth_s
        if abs(result.dose_ML - expected_ML) <= DOSE_TOLERANCE * expected_ML:
            return None
        return (
            f"the gauge counted {result.dose_ML:.3g} ML, the shutter was open for "
            f"{expected_ML:.3g} ML ({command.key}): look whether the shutter closes"
        )

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

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask the machine by command key."""
        return verdict(await self.ask_machine(command.key), _substrate_K)


def _grown(progress: Progress) -> Grown:
    return Grown(**progress.numbers)


def _substrate_K(progress: Progress) -> Kelvin:
    return progress.numbers["substrate_K"]
