"""Fast electrons against the tables that every microscopist has."""

import math

import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.electrons import interaction_rad_per_VA, wavelength_A

# Kirkland, Advanced Computing in Electron Microscopy (2010), table 2.1 and equation 5.6.
TABLE = {100.0: (0.037014, 0.9244e-3), 200.0: (0.025079, 0.7288e-3), 300.0: (0.019687, 0.6526e-3)}


@pytest.mark.parametrize("energy_keV", TABLE)
def test_wavelength_and_interaction_agree_with_the_tables(energy_keV):
    length_A, phase_rad_per_VA = TABLE[energy_keV]
    assert wavelength_A(energy_keV) == pytest.approx(length_A, rel=5e-5)
    assert interaction_rad_per_VA(energy_keV) == pytest.approx(phase_rad_per_VA, rel=1e-4)


@pytest.mark.parametrize("energy_keV", [0.0, -1.0, math.inf, math.nan])
def test_an_energy_that_is_not_positive_is_refused(energy_keV):
    with pytest.raises(ArgumentError, match="energy_keV"):
        wavelength_A(energy_keV)
    with pytest.raises(ArgumentError, match="energy_keV"):
        interaction_rad_per_VA(energy_keV)
