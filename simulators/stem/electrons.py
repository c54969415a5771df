"""Fast electrons: wavelength, and how strongly a potential turns their phase.

Source: relativistic kinematics with CODATA 2018 constants (Tiesinga et al., Rev. Mod. Phys. 93,
025010 (2021), doi:10.1103/RevModPhys.93.025010); Kirkland, Advanced Computing in Electron
Microscopy (Springer, 2010), doi:10.1007/978-1-4419-6533-2 (wavelength, interaction parameter).
"""

import math

from twinloop.errors import ArgumentError

__all__ = ["BOHR_A", "ELECTRON_CHARGE_VA", "interaction_rad_per_VA", "wavelength_A"]

PLANCK_LIGHT_eVA = 12398.419843320026
"""h c [eV A]."""

ELECTRON_REST_eV = 510998.95
"""Rest energy of the electron, m c^2 [eV]."""

BOHR_A = 0.529177210903
"""Bohr radius [A]."""

ELECTRON_CHARGE_VA = 14.399645478425668
"""e / (4 pi epsilon_0) [V A]."""


def wavelength_A(energy_keV: float) -> float:
    """Return the relativistic wavelength of an electron [A]: 0.037014 A at 100 keV.

    lambda = h c / sqrt(E (2 m c^2 + E)).

    Raises:
        ArgumentError: an energy that is not positive.
    """
    energy_eV = _energy_eV(energy_keV)
    return PLANCK_LIGHT_eVA / math.sqrt(energy_eV * (2.0 * ELECTRON_REST_eV + energy_eV))


def interaction_rad_per_VA(energy_keV: float) -> float:
    """Return the phase that a projected potential of 1 V A adds [rad/(V A)]: 9.24e-4 at 100 keV.

    sigma = 2 pi / (lambda E) (m c^2 + E) / (2 m c^2 + E).

    Raises:
        ArgumentError: an energy that is not positive.
    """
    energy_eV = _energy_eV(energy_keV)
    relativistic = (ELECTRON_REST_eV + energy_eV) / (2.0 * ELECTRON_REST_eV + energy_eV)
    return 2.0 * math.pi / (wavelength_A(energy_keV) * energy_eV) * relativistic


def _energy_eV(energy_keV: float) -> float:
    if not 0.0 < energy_keV < math.inf:
        raise ArgumentError("energy_keV", energy_keV, "a finite number > 0 keV")
    return 1.0e3 * energy_keV
