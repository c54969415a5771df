"""Radiation damage as a rate: cross section times dose, for atoms that the beam knocks out.

A beam electron that is scattered back by a nucleus hands it up to T_max; beyond the displacement
threshold T_d the atom leaves. The cross section is that of McKinley & Feshbach for an atom at rest,
averaged over the atom's thermal velocity along the beam, which helps those that fall just short.

    sigma = 4 Z^2 E_R^2 / (m c^2)^2 (T_max / T_d) pi a_0^2 (1 - beta^2) / beta^4 {1 + 2 pi alpha beta
    sqrt(T_d / T_max) - (T_d / T_max) [1 + 2 pi alpha beta + (beta^2 + pi alpha beta) ln(T_max / T_d)]}

Left out: ionisation and radiolysis, which in MoS2 let sulphur go below 80 keV and dominate in oxides
and organics, chemical etching, and what neighbours of a vacancy do: rates here are lower bounds.
The expansion holds for light atoms (Z < 28); for heavier ones it is a rough figure.

Source: McKinley & Feshbach, Phys. Rev. 74, 1759 (1948), doi:10.1103/PhysRev.74.1759; integrated form:
Zobelli et al., Phys. Rev. B 75, 245402 (2007), doi:10.1103/PhysRevB.75.245402; thermal velocity: Meyer
et al., Phys. Rev. Lett. 108, 196102 (2012), doi:10.1103/PhysRevLett.108.196102; graphene's threshold
and velocity: Susi et al., Nature Communications 7, 13040 (2016), doi:10.1038/ncomms13040; sulphur in MoS2: Komsa
et al., Phys. Rev. Lett. 109, 035503 (2012), doi:10.1103/PhysRevLett.109.035503.
"""

import math

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.electrons import BOHR_A, ELECTRON_REST_eV

__all__ = [
    "THRESHOLDS_eV",
    "displacement_cross_section_A2",
    "displacement_cross_section_barn",
    "largest_transfer_eV",
    "loss_probability",
]

BARN_A2 = 1e-8
RYDBERG_eV = 13.605693
ATOMIC_MASS_eV = 931.494e6
SPEED_OF_LIGHT_m_per_s = 2.99792458e8
FINE_STRUCTURE = 1.0 / 137.036
BOLTZMANN_eV_per_K = 8.617333e-5
ROOM_K = 300.0

MASSES_u = {6: 12.011, 8: 15.999, 16: 32.06, 22: 47.867, 38: 87.62, 42: 95.95}
"""Standard atomic masses [u]."""

THRESHOLDS_eV = {6: 21.14, 16: 6.9, 42: 20.0, 8: 35.7, 22: 64.9, 38: 53.5}
"""Displacement thresholds [eV]: C in graphene and S in MoS2 from the sources above, Mo in MoS2 at least
20 (Komsa et al.), the rest in SrTiO3 (averages over directions: Liu et al., J. Phys.: Condens. Matter 25,
485003 (2013), doi:10.1088/0953-8984/25/48/485003). An element that is not listed is never displaced: in
a lamella of (Al,Ga)As an atom that leaves its site stays close by, which is not modelled."""

SQUARE_VELOCITIES_m2_per_s2 = {6: 3.17e5}
"""Mean square velocity along the beam at 300 K [m^2/s^2], carbon in graphene; else k_B T / M."""


def largest_transfer_eV(energy_keV: float, mass_u: float) -> float:
    """Return the energy that a head-on electron hands to a nucleus at rest [eV].

    T_max = 2 E (E + 2 m c^2) / (M c^2).
    """
    energy_eV = 1e3 * energy_keV
    return 2.0 * energy_eV * (energy_eV + 2.0 * ELECTRON_REST_eV) / (mass_u * ATOMIC_MASS_eV)


def displacement_cross_section_barn(
    number: int,
    energy_keV: float,
    threshold_eV: float,
    mass_u: float,
    square_m2_per_s2: float = 0.0,
) -> float:
    """Return the cross section for knocking out an atom [barn].

    Args:
        number: atomic number.
        energy_keV: of the electrons [keV].
        threshold_eV: displacement threshold [eV].
        mass_u: of the atom [u].
        square_m2_per_s2: mean square velocity of the atom along the beam [m^2/s^2]; 0: at rest.

    Raises:
        ArgumentError: an energy, a threshold or a mass that is not positive.

    Example:
        >>> round(displacement_cross_section_barn(6, 200.0, 10.0, 12.0), 1)
        54.1
    """
    given = {"energy_keV": energy_keV, "threshold_eV": threshold_eV, "mass_u": mass_u}
    for name, number_given in given.items():
        if not 0.0 < number_given < math.inf:
            raise ArgumentError(name, number_given, "a finite number > 0")
    at_rest_eV = largest_transfer_eV(energy_keV, mass_u)
    if square_m2_per_s2 == 0.0:
        return float(
            _mckinley_feshbach(number, energy_keV, threshold_eV, np.array([at_rest_eV]))[0]
        )
    z = np.linspace(-7.0, 7.0, 2001)
    weights = np.exp(-0.5 * z**2)
    # Momenta add: the square roots of the energies do.
    kinetic = 0.5 * mass_u * ATOMIC_MASS_eV * square_m2_per_s2 / SPEED_OF_LIGHT_m_per_s**2
    moving_eV = (math.sqrt(at_rest_eV) + z * math.sqrt(kinetic)) ** 2
    sections = _mckinley_feshbach(number, energy_keV, threshold_eV, moving_eV)
    return float(np.sum(weights * sections) / weights.sum())


def _mckinley_feshbach(
    number: int, energy_keV: float, threshold_eV: float, transfer_eV: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the integrated cross section for each largest transfer [barn]; 0 below the threshold."""
    gamma = 1.0 + 1e3 * energy_keV / ELECTRON_REST_eV
    square = 1.0 - 1.0 / gamma**2
    beta, alpha = math.sqrt(square), number * FINE_STRUCTURE
    ratio = np.maximum(transfer_eV / threshold_eV, 1.0)
    bracket = 1.0 + 2.0 * math.pi * alpha * beta
    grown = bracket + (square + math.pi * alpha * beta) * np.log(ratio)
    braces = 1.0 + 2.0 * math.pi * alpha * beta / np.sqrt(ratio) - grown / ratio
    front_A2 = 4.0 * (number * RYDBERG_eV / ELECTRON_REST_eV) ** 2 * math.pi * BOHR_A**2
    sections: NDArray[np.float64] = (
        front_A2 / BARN_A2 * (1.0 - square) / square**2 * ratio * np.maximum(braces, 0.0)
    )
    return sections


def displacement_cross_section_A2(number: int, energy_keV: float) -> float:
    """Return the cross section of an atom of the reference specimens at room temperature [A^2]."""
    if number not in THRESHOLDS_eV:
        return 0.0
    mass_u = MASSES_u[number]
    thermal = BOLTZMANN_eV_per_K * ROOM_K / (mass_u * ATOMIC_MASS_eV) * SPEED_OF_LIGHT_m_per_s**2
    square = SQUARE_VELOCITIES_m2_per_s2.get(number, thermal)
    barn = displacement_cross_section_barn(
        number, energy_keV, THRESHOLDS_eV[number], mass_u, square
    )
    return barn * BARN_A2


def loss_probability(
    numbers: NDArray[np.int64], dose_e_per_A2: NDArray[np.float64], energy_keV: float
) -> NDArray[np.float64]:
    """Return the probability that each atom has been knocked out, 1 - exp(-sigma dose), shape (n,).

    Args:
        numbers: atomic numbers, shape (n,).
        dose_e_per_A2: that each atom has had, shape (n,) [e/A^2].
        energy_keV: of the electrons [keV].
    """
    sections_A2 = np.zeros(numbers.shape)
    for number in np.unique(numbers):
        sections_A2[numbers == number] = displacement_cross_section_A2(int(number), energy_keV)
    probability: NDArray[np.float64] = -np.expm1(-sections_A2 * dose_e_per_A2)
    return probability
