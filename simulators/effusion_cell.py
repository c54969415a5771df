"""An effusion cell: from the temperature of a melt to monolayers per second on the substrate.

The melt's vapour leaves the orifice as an effusive beam; a substrate on its axis, far compared with
the orifice, receives

    J = A p(T) / (pi d^2 sqrt(2 pi m k T)),    p = p0 (T / 1 K)^n exp(-H / k T)

per unit area. Two things change it at a constant temperature. The crucible empties: a lower melt
sees less of the orifice, so that the flux falls with a power of the charge that is left. And the
shutter: while it is closed it sends the melt's heat back, so that a freshly opened cell delivers too
much and settles exponentially.

Source: Herman & Sitter, Molecular Beam Epitaxy (Springer, 1996), doi:10.1007/978-3-642-80060-3,
chapter 2 (effusion, cosine law, shutter transient). Vapour pressures: Alcock, Itkin & Horrigan, Can.
Metall. Q. 23, 309 (1984), doi:10.1179/cmq.1984.23.3.309 (liquid metals, melting point to 1600 K
for gallium, to 1800 K for aluminium, stated accuracy 5 %). Left out: the collimated, non-cosine beam
of a half empty conical crucible, spitting, and the time that a melt takes to follow its crucible.
"""

import math
from dataclasses import dataclass
from typing import Literal

from twinloop.errors import ArgumentError
from twinloop.simulators.temperature_loop import TemperatureLoop

__all__ = ["VAPOURS", "CellShape", "EffusionCell", "Vapour", "melt_temperature_K"]

BOLTZMANN_J_PER_K = 1.380649e-23
"""k [J/K]. Source: SI of 2019, exact."""
BOLTZMANN_EV_PER_K = 8.617333262e-5
"""k [eV/K]. Source: CODATA 2018."""
ATOMIC_MASS_KG = 1.66053906660e-27
"""Atomic mass unit [kg]. Source: CODATA 2018."""


@dataclass(frozen=True, slots=True)
class Vapour:
    """The vapour of a melt.

    Args:
        mass_u: of an atom [u].
        pressure_Pa: p0 [Pa].
        enthalpy_eV: H, of vaporisation [eV].
        power: n, of the temperature [1].

    Example:
        >>> round(VAPOURS["gallium"].at(1310.0), 2)
        1.05
    """

    mass_u: float
    pressure_Pa: float
    enthalpy_eV: float
    power: float = 0.0

    @classmethod
    def of_decades(cls, mass_u: float, a: float, b_K: float, c: float = 0.0) -> "Vapour":
        """Return the vapour of log10(p / Pa) = a - b / T + c log10(T / 1 K)."""
        return cls(mass_u, 10.0**a, b_K * math.log(10.0) * BOLTZMANN_EV_PER_K, c)

    def at(self, melt_K: float) -> float:
        """Return the pressure over a melt [Pa]."""
        boltzmann = math.exp(-self.enthalpy_eV / (BOLTZMANN_EV_PER_K * melt_K))
        return float(self.pressure_Pa * melt_K**self.power * boltzmann)

    def effusion_per_m2_s(self, melt_K: float) -> float:
        """Return the atoms that leave an orifice per area and time, p / sqrt(2 pi m k T) [1/m^2/s].

        Source: Knudsen, Ann. Phys. 333, 999 (1909), doi:10.1002/andp.19093330505.
        """
        mass_kg = self.mass_u * ATOMIC_MASS_KG
        return self.at(melt_K) / math.sqrt(2.0 * math.pi * mass_kg * BOLTZMANN_J_PER_K * melt_K)


VAPOURS: dict[Literal["gallium", "aluminium"], Vapour] = {
    "gallium": Vapour.of_decades(69.723, 11.760, 13984.0, -0.3413),
    "aluminium": Vapour.of_decades(26.982, 10.917, 16211.0),
}
"""Source: Alcock, Itkin & Horrigan 1984 (see above); masses: IUPAC 2021."""


@dataclass(frozen=True, slots=True)
class CellShape:
    """Where a cell stands, what it holds, what its shutter does.

    Args:
        orifice_m2: area of the orifice, A [m^2].
        distance_m: from the orifice to the substrate, d [m].
        sites_per_m2: of a monolayer of cations; 6.26e18 for GaAs(001), a = 5.653 A.
        charge_ML: what a full crucible can put on the substrate [ML].
        fill_power: flux goes as this power of the part of the charge that is left, >= 0 [1].
        overshoot: excess flux of a cell that has long been shut, when it opens [1].
        overshoot_s: time constant of its decay, and of its return behind the shutter [s].

    Raises:
        ArgumentError: a length, charge or time that is not positive.
    """

    orifice_m2: float = 4.9e-4
    distance_m: float = 0.12
    sites_per_m2: float = 6.26e18
    charge_ML: float = 50_000.0
    fill_power: float = 0.5
    overshoot: float = 0.0
    overshoot_s: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive = ("orifice_m2", "distance_m", "sites_per_m2", "charge_ML", "overshoot_s")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ArgumentError(f"cell.{name}", getattr(self, name), "a number > 0")
        if self.fill_power < 0 or self.overshoot < 0:
            raise ArgumentError("cell", (self.fill_power, self.overshoot), "numbers >= 0")

    def flux_ML_per_s(self, vapour: Vapour, melt_K: float) -> float:
        """Return what a full cell of steady flux puts on the substrate [ML/s]."""
        solid = self.orifice_m2 / (math.pi * self.distance_m**2)
        return solid * vapour.effusion_per_m2_s(melt_K) / self.sites_per_m2


def melt_temperature_K(shape: CellShape, vapour: Vapour, flux_ML_per_s: float) -> float:
    """Return the temperature at which a full cell delivers a flux [K]: its calibration.

    Raises:
        ArgumentError: a flux that no melt between 600 and 2500 K delivers.
    """
    low_K, high_K = 600.0, 2500.0
    ends = shape.flux_ML_per_s(vapour, low_K), shape.flux_ML_per_s(vapour, high_K)
    if not ends[0] < flux_ML_per_s < ends[1]:
        raise ArgumentError("flux_ML_per_s", flux_ML_per_s, f"{ends[0]:.3g} to {ends[1]:.3g} ML/s")
    # 50 halvings leave 2e-12 K
    for _ in range(50):
        middle_K = 0.5 * (low_K + high_K)
        if shape.flux_ML_per_s(vapour, middle_K) < flux_ML_per_s:
            low_K = middle_K
        else:
            high_K = middle_K
    return 0.5 * (low_K + high_K)


class EffusionCell:
    """One cell: its melt, its heater, its charge, its shutter.

    Args:
        shape: where it stands and what it holds.
        vapour: of what is in it.
        loop: heater and controller of the melt.
        delivered_ML: what it has put on the substrate, or on its shutter, so far [ML].

    Example:
        >>> from twinloop.simulators.temperature_loop import Gains, ThermalBody
        >>> loop = TemperatureLoop(ThermalBody(), Gains(), start_K=1150.0)
        >>> cell = EffusionCell(CellShape(overshoot=0.1), VAPOURS["gallium"], loop)
        >>> steady = cell.calibrated_ML_per_s
        >>> cell.open()
        >>> round(cell.flux_ML_per_s / steady, 3)
        1.1
        >>> cell.advance(300.0)
        >>> round(cell.flux_ML_per_s / steady, 3)
        0.998
    """

    def __init__(
        self,
        shape: CellShape,
        vapour: Vapour,
        loop: TemperatureLoop,
        delivered_ML: float = 0.0,
    ) -> None:
        self.shape, self.vapour, self.loop = shape, vapour, loop
        self.delivered_ML = delivered_ML
        self.is_open = False
        self.drift = 0.0
        """ln of true over expected flux, of a cell that has gone out of order [1]."""
        self._excess = 1.0

    @property
    def left(self) -> float:
        """Part of the charge that is left, 0 to 1."""
        return max(0.0, 1.0 - self.delivered_ML / self.shape.charge_ML)

    @property
    def calibrated_ML_per_s(self) -> float:
        """Steady flux of a full cell at the temperature of the melt [ML/s]."""
        return self.shape.flux_ML_per_s(self.vapour, self.loop.body_K)

    @property
    def flux_ML_per_s(self) -> float:
        """What leaves towards the substrate now, as if the shutter were open [ML/s]."""
        transient = 1.0 + self.shape.overshoot * self._excess
        filled = self.left**self.shape.fill_power
        return float(self.calibrated_ML_per_s * filled * transient * math.exp(self.drift))

    def temperature_for(self, flux_ML_per_s: float) -> float:
        """Return the temperature that the calibration of the full cell gives for a flux [K]."""
        return melt_temperature_K(self.shape, self.vapour, flux_ML_per_s)

    def open(self) -> None:
        """Let the beam through."""
        self.is_open = True

    def close(self) -> None:
        """Shut the beam off."""
        self.is_open = False

    def advance(self, duration_s: float) -> None:
        """Let time pass: the melt follows its heater, the charge falls, the transient decays."""
        self.delivered_ML += self.flux_ML_per_s * duration_s
        decay = math.exp(-duration_s / self.shape.overshoot_s)
        self._excess = self._excess * decay if self.is_open else 1.0 - (1.0 - self._excess) * decay
        self.loop.advance(duration_s)

    def state(self) -> dict[str, float]:
        """Return what a crucible remembers, its temperature left out."""
        return {"delivered_ML": self.delivered_ML, "drift": self.drift, "excess": self._excess}

    def put_back(self, state: dict[str, float]) -> None:
        """Take up what `state` returned; the shutter is closed."""
        self.delivered_ML, self.drift = state["delivered_ML"], state["drift"]
        self._excess, self.is_open = state["excess"], False
