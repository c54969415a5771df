"""The contract of a molecular beam epitaxy chamber: load, heat, grow, anneal.

An implementation subclasses `MBE` and gives each action a body:

    class OurMBE(MBE):
        @MBE.grow.implement
        async def grow(self, *, flux_ML_per_s: Flux_ML_per_s, dose_ML: Dose_ML) -> Grown: ...

Temperatures are what the thermocouple reads, fluxes and doses what the cell is calibrated for: the
film may know better. Every recipe first brings the substrate to the temperature last asked for by
`heat`, so that a safe state between two actions costs time, not a film.

Not every chamber can do everything: `ramp`, `heat_cells`, `grow_alloy` and `grow_interrupted` have a
body that refuses, and an implementation gives them another where it has the hardware.
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
from twinloop.units import (
    Dimensionless,
    Kelvin,
    KelvinPerSecond,
    Monolayers,
    MonolayersPerSecond,
    Seconds,
)

__all__ = [
    "MBE",
    "AluminiumShare",
    "CellTemperatures",
    "Cell_K",
    "Dose_ML",
    "Flux_ML_per_s",
    "Grown",
    "GrownAlloy",
    "Hold_s",
    "Pause_ML",
    "Pause_s",
    "Ramp_K_per_s",
    "Substrate_K",
]

Substrate_K = Annotated[Kelvin, Limit(300, 1000, rate_per_s=40)]
Flux_ML_per_s = Annotated[MonolayersPerSecond, Limit(0.01, 2)]
Dose_ML = Annotated[Monolayers, Limit(0, 20)]
Hold_s = Annotated[Seconds, Limit(0, 600)]
Ramp_K_per_s = Annotated[KelvinPerSecond, Limit(0.05, 40)]
Cell_K = Annotated[Kelvin, Limit(600, 1550, rate_per_s=20)]
AluminiumShare = Annotated[Dimensionless, Limit(0, 1)]
Pause_ML = Annotated[Monolayers, Limit(0.1, 20)]
Pause_s = Annotated[Seconds, Limit(0, 600)]


class Grown(Result):
    """What the chamber knows of a growth.

    Args:
        growth_s: how long the shutter was open [s].
        rate_ML_per_s: flux that the gauge read, in the scale of its calibration [ML/s].
        dose_ML: gauge flux times open time [ML].
        substrate_K: mean thermocouple reading while the shutter was open [K].
        is_coarse: a twin ran out of its budget and finished the film with slowed diffusion, so that it
            is a hint, not a prediction; never of a real chamber.
    """

    growth_s: Seconds
    rate_ML_per_s: MonolayersPerSecond
    dose_ML: Monolayers
    substrate_K: Kelvin
    is_coarse: bool = False


class GrownAlloy(Result):
    """What the chamber knows of the growth of an alloy.

    Args:
        growth_s: how long the shutters were open [s].
        rate_ML_per_s: flux of all cations that the gauge read, mean over the growth [ML/s].
        dose_ML: gauge flux times open time [ML].
        substrate_K: mean thermocouple reading while the shutters were open [K].
        aluminium: share of aluminium in what the gauge read, 0 to 1.
        gallium_ML_per_s, aluminium_ML_per_s: what it read of each cell [ML/s].
        gallium_K, aluminium_K: what the cells' thermocouples read at the end [K].
        is_coarse: see `Grown`.
    """

    growth_s: Seconds
    rate_ML_per_s: MonolayersPerSecond
    dose_ML: Monolayers
    substrate_K: Kelvin
    aluminium: Dimensionless
    gallium_ML_per_s: MonolayersPerSecond
    aluminium_ML_per_s: MonolayersPerSecond
    gallium_K: Kelvin
    aluminium_K: Kelvin
    is_coarse: bool = False


class CellTemperatures(Result):
    """What the thermocouples of the cells read [K]."""

    gallium_K: Kelvin
    aluminium_K: Kelvin


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

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE, silence_s=600)
    async def ramp(self, *, substrate_K: Substrate_K, rate_K_per_s: Ramp_K_per_s) -> Kelvin:
        """Walk the substrate to a temperature at a rate; return what the thermocouple reads [K].

        Raises:
            NotTouched: this chamber's heater cannot walk.
        """
        raise NotTouched(f"ramp to {substrate_K:g} K at {rate_K_per_s:g} K/s: no controller")

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=600)
    async def heat_cells(self, *, gallium_K: Cell_K, aluminium_K: Cell_K) -> CellTemperatures:
        """Bring both cells to a temperature, with their shutters closed.

        Raises:
            NotTouched: this chamber does not have two cells.
        """
        raise NotTouched(f"heat_cells to {gallium_K:g} and {aluminium_K:g} K: no two cells")

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH, silence_s=30)
    async def grow_alloy(
        self, *, flux_ML_per_s: Flux_ML_per_s, aluminium: AluminiumShare, dose_ML: Dose_ML
    ) -> GrownAlloy:
        """Bring the cells to what the fluxes need, open, deposit the dose of all cations, close.

        Args:
            flux_ML_per_s: of all cations [ML/s].
            aluminium: share of aluminium in it, 0 to 1.
            dose_ML: of all cations [ML].

        Raises:
            NotTouched: this chamber does not have two cells.
        """
        reason = f"grow_alloy of {dose_ML:g} ML at {flux_ML_per_s:g} ML/s, {aluminium:g} aluminium"
        raise NotTouched(f"{reason}: no two cells")

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH, silence_s=30)
    async def grow_interrupted(
        self,
        *,
        flux_ML_per_s: Flux_ML_per_s,
        dose_ML: Dose_ML,
        pause_after_ML: Pause_ML,
        pause_s: Pause_s,
    ) -> Grown:
        """Grow, and close the shutter for a pause whenever so much has come.

        Args:
            flux_ML_per_s: while the shutter is open [ML/s].
            dose_ML: of all parts together [ML].
            pause_after_ML: between two pauses [ML].
            pause_s: length of a pause [s].

        Raises:
            NotTouched: this chamber does not interrupt its growths.
        """
        reason = f"grow_interrupted of {dose_ML:g} ML at {flux_ML_per_s:g} ML/s"
        raise NotTouched(f"{reason}, {pause_s:g} s after each {pause_after_ML:g} ML: cannot pause")

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
