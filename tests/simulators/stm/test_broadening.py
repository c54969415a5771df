"""Broadening of spectra against the widths that Klein et al. published."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.broadening import BOLTZMANN_EV_PER_K, Broadening


def test_heat_alone_is_three_and_a_half_kt_wide():
    line = Broadening(temperature_K=77.0, lifetime_eV=0.0, modulation_V=0.0)
    # Full width of -df/dE: 2 arccosh(sqrt 2) 2 kT = 3.5255 kT.
    expected = 4.0 * np.arccosh(np.sqrt(2.0)) * BOLTZMANN_EV_PER_K * 77.0
    assert line.full_width_eV() == pytest.approx(expected, rel=1e-3)


def test_modulation_alone_is_root_three_of_the_amplitude_wide():
    line = Broadening(temperature_K=0.05, lifetime_eV=0.0, modulation_V=0.010)
    assert line.full_width_eV() == pytest.approx(np.sqrt(3.0) * np.sqrt(2.0) * 0.010, rel=0.01)


def test_the_line_has_area_one_whatever_blurs_it():
    line = Broadening(temperature_K=20.0, lifetime_eV=0.02, modulation_V=0.01)
    grid_eV = np.linspace(-0.6, 0.6, 24001)
    assert line.derivative(grid_eV).sum() * 5e-5 == pytest.approx(1.0, abs=1e-4)


def test_variances_of_the_parts_add():
    heat = np.pi * BOLTZMANN_EV_PER_K * 20.0 / np.sqrt(3.0)
    # The first harmonic's kernel is a half circle: variance of the amplitude squared / 4.
    expected = heat**2 + 0.02**2 + 2 * 0.01**2 / 4
    line = Broadening(temperature_K=20.0, lifetime_eV=0.02, modulation_V=0.01)
    grid_eV = np.linspace(-0.4, 0.4, 40001)
    weights = line.derivative(grid_eV)
    assert (weights * grid_eV**2).sum() / weights.sum() == pytest.approx(expected, rel=2e-3)


def test_occupation_without_lifetime_is_fermis():
    line = Broadening(temperature_K=300.0, lifetime_eV=0.0, modulation_V=0.05)
    energies_eV = np.linspace(-0.3, 0.3, 13)
    expected = 1.0 / (1.0 + np.exp(energies_eV / (BOLTZMANN_EV_PER_K * 300.0)))
    assert line.occupation(energies_eV) == pytest.approx(expected, abs=2e-4)


def test_a_window_opens_on_the_side_of_its_bias():
    line = Broadening(temperature_K=1.0, lifetime_eV=0.001)
    energies_eV = np.array([-0.3, -0.1, 0.1, 0.3])
    assert line.window(energies_eV, bias_V=0.2) == pytest.approx([0, 0, 1, 0], abs=1e-6)
    assert line.window(energies_eV, bias_V=-0.2) == pytest.approx([0, -1, 0, 0], abs=1e-6)


@pytest.mark.parametrize(
    "bad", [{"temperature_K": 0.0}, {"lifetime_eV": -1.0}, {"modulation_V": np.nan}]
)
def test_numbers_outside_their_range_are_refused(bad):
    with pytest.raises(ArgumentError):
        Broadening(**bad)
