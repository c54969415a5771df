"""What blurs a tunnelling spectrum: temperature, lifetime, and the lock-in's own modulation.

Each blur is a convolution, so the three are multiplied as Fourier transforms, which are known in
closed form, and transformed back once.

Source: Klein, Leger, Belin, Defourneau & Sangster, Phys. Rev. B 7, 2336 (1973),
doi:10.1103/PhysRevB.7.2336 (thermal and modulation broadening in electron tunnelling; 3.5 k_B T
for the derivative of the Fermi function, 1.73 times the amplitude for the first harmonic).
"""

from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["BOLTZMANN_EV_PER_K", "Broadening"]

BOLTZMANN_EV_PER_K = 8.617333262e-5
"""Boltzmann's constant [eV/K] (CODATA 2018)."""

POINTS, REACH = 1 << 14, 24.0
"""Samples of the table, and its half width in sums of the three widths."""


@dataclass(frozen=True, slots=True)
class Broadening:
    """The instrument function of a spectrum; its parts add as convolutions.

    Args:
        temperature_K: of the electrons of tip and sample [K], > 0.
        lifetime_eV: standard deviation of a Gaussian around each level [eV], >= 0.
        modulation_V: root mean square of the lock-in's sine [V], >= 0; acts on dI/dV only.

    Raises:
        ArgumentError: a number outside its range.

    Example:
        >>> cold = Broadening(temperature_K=4.2, lifetime_eV=0.0, modulation_V=0.005)
        >>> round(cold.full_width_eV(), 4)
        0.012
    """

    temperature_K: float = 4.2
    lifetime_eV: float = 0.01
    modulation_V: float = 0.005

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature_K < 1.0e4:
            raise ArgumentError("temperature_K", self.temperature_K, "a number > 0 K, < 10000 K")
        for name in ("lifetime_eV", "modulation_V"):
            if not 0.0 <= getattr(self, name) < 10.0:
                raise ArgumentError(name, getattr(self, name), "a number >= 0, < 10")

    def derivative(self, energies_eV: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the line that dI/dV sees of a sharp level at 0, area 1, same shape [1/eV]."""
        grid_eV, line = self._table(self.modulation_V)
        seen: NDArray[np.float64] = np.interp(energies_eV, grid_eV, line, left=0.0, right=0.0)
        return seen

    def occupation(self, energies_eV: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the part of a level that is filled, 1 far below 0, same shape [1]."""
        grid_eV, line = self._table(0.0)
        below = np.concatenate([[0.0], np.cumsum(0.5 * (line[1:] + line[:-1]))])
        filled: NDArray[np.float64] = np.interp(energies_eV, grid_eV, 1.0 - below / below[-1])
        return filled

    def window(self, energies_eV: NDArray[np.float64], *, bias_V: float) -> NDArray[np.float64]:
        """Return how much each level carries of the current at a bias, between -1 and 1 [1].

        Args:
            energies_eV: from the Fermi level of the sample [eV].
            bias_V: of the sample against the tip [V]; positive: into empty states.
        """
        return self.occupation(energies_eV - bias_V) - self.occupation(energies_eV)

    def full_width_eV(self) -> float:
        """Return the full width at half maximum of the line of dI/dV [eV]."""
        grid_eV, line = self._table(self.modulation_V)
        upper = grid_eV >= 0.0
        return 2.0 * float(np.interp(-0.5 * line.max(), -line[upper], grid_eV[upper]))

    def _table(self, modulation_V: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return energies [eV] and the line there [1/eV], from the product of the transforms."""
        heat_eV = BOLTZMANN_EV_PER_K * self.temperature_K
        peak_eV = np.sqrt(2.0) * modulation_V
        half_eV = REACH * (2.0 * heat_eV + self.lifetime_eV + peak_eV)
        step_eV = 2.0 * half_eV / POINTS
        times = 2.0 * np.pi * np.fft.rfftfreq(POINTS, step_eV)
        thermal = np.ones_like(times)
        turns = np.pi * heat_eV * times[1:]
        thermal[1:] = 2.0 * turns * np.exp(-turns) / -np.expm1(-2.0 * turns)
        lock_in = np.ones_like(times)
        if peak_eV > 0.0:
            lock_in[1:] = 2.0 * scipy.special.j1(peak_eV * times[1:]) / (peak_eV * times[1:])
        whole = thermal * lock_in * np.exp(-0.5 * (self.lifetime_eV * times) ** 2)
        line = np.fft.fftshift(np.fft.irfft(whole, POINTS)) / step_eV
        return (np.arange(POINTS) - POINTS // 2) * step_eV, line
