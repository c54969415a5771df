"""The contract of a molecular beam epitaxy chamber: load, heat, grow, anneal.

An implementation subclasses `MBE` and gives each action a body:

    class OurMBE(MBE):
        @MBE.grow.implement
        async def grow(self, *, flux_ML_per_s: Flux_ML_per_s, dose_ML: Dose_ML) -> Grown: ...

Temperatures are what the thermocouple reads, fluxes and doses what the cell is calibrated for: the
film may know better. Every recipe first brings the substrate to the temperature last asked for by
`heat`, so that a safe state between two actions costs time, not a film.
"""

from abc import abstractmethod
from typing import Annotated

from twinloop.instruments.interface import (
    Instrument,
    Limit,
    NotTouched,
    OnSilence,
    Recovery,
    action,
    readout,
)
from twinloop.results import Result
from twinloop.units import Kelvin, Monolayers, MonolayersPerSecond, Seconds

__all__ = ["MBE", "Dose_ML", "Flux_ML_per_s", "Grown", "Hold_s", "Substrate_K"]

Substrate_K = Annotated[Kelvin, Limit(300, 1000, rate_per_s=40)]
Flux_ML_per_s = Annotated[MonolayersPerSecond, Limit(0.01, 2)]
Dose_ML = Annotated[Monolayers, Limit(0, 20)]
Hold_s = Annotated[Seconds, Limit(0, 600)]


class Grown(Result):
    """What the chamber knows of a growth.

    Args:
        growth_s: how long the shutter was open [s].
        rate_ML_per_s: flux that the gauge read, in the scale of its calibration [ML/s].
        dose_ML: gauge flux times open time [ML].
        substrate_K: mean thermocouple reading while the shutter was open [K].
    """

    growth_s: Seconds
    rate_ML_per_s: MonolayersPerSecond
    dose_ML: Monolayers
    substrate_K: Kelvin


class MBE(Instrument, kind="mbe"):
    """Grows one film at a time on a heated substrate."""

    @action(
        recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH, silence_s=30, loads_sample=True
    )
    @abstractmethod
    async def load(self) -> None:
        """Take out what is in, and bring in the named sample: a fresh substrate, at idle heat."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE, silence_s=600)
    @abstractmethod
    async def heat(self, *, substrate_K: Substrate_K) -> Kelvin:
        """Bring the substrate to a temperature; return what the thermocouple reads there [K]."""

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH, silence_s=30)
    @abstractmethod
    async def grow(self, *, flux_ML_per_s: Flux_ML_per_s, dose_ML: Dose_ML) -> Grown:
        """Open the shutter, deposit the dose, close the shutter."""

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH, silence_s=30)
    @abstractmethod
    async def anneal(self, *, hold_s: Hold_s) -> Kelvin:
        """Hold the film at its temperature without flux; return the mean reading [K]."""

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        unloads_sample=True,
    )
    async def give(self) -> None:
        """Let the sample cool, and put it into the transfer vessel (see `instruments.holder`).

        Raises:
            NotTouched: this chamber has no transfer vessel.
        """
        raise NotTouched("give: this chamber has no transfer vessel")

    @readout
    @abstractmethod
    async def thermocouple_K(self) -> Kelvin:
        """Return what the thermocouple reads now."""

    @readout
    @abstractmethod
    async def shutter_is_open(self) -> bool:
        """Return whether the shutter says that it is open."""

    @readout
    @abstractmethod
    async def heater_is_idle(self) -> bool:
        """Return whether the heater idles, as after loading and in the safe state."""
