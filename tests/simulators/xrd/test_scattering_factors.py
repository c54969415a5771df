import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.xrd.scattering_factors import (
    anomalous,
    debye_waller,
    form_factors,
    scattering_factors,
)

S_PER_A = np.linspace(0.0, 1.5, 61)
Q_PER_A = 4 * np.pi * S_PER_A

# Cromer & Mann's four Gaussians: International Tables for Crystallography C, table 6.1.1.4.
CROMER_MANN = {
    6: ((2.31, 1.02, 1.5886, 0.865), (20.8439, 10.2075, 0.5687, 51.6512), 0.2156),
    8: ((3.0485, 2.2868, 1.5463, 0.867), (13.2771, 5.7011, 0.3239, 32.9089), 0.2508),
    16: ((6.9053, 5.2034, 1.4379, 1.5863), (1.4679, 22.2151, 0.2536, 56.172), 0.8669),
}


def test_forward_every_electron_of_every_element_scatters():
    numbers = np.arange(1, 99)
    assert form_factors(numbers, [0.0])[:, 0] == pytest.approx(numbers, abs=0.04)


@pytest.mark.parametrize("number", CROMER_MANN)
def test_form_factors_agree_with_another_parametrisation(number):
    a, b, c = CROMER_MANN[number]
    other = np.array(a) @ np.exp(-np.outer(b, S_PER_A**2)) + c
    assert form_factors([number], Q_PER_A)[0] == pytest.approx(other, abs=0.006 * number)


def test_form_factors_fall_with_the_angle():
    assert (np.diff(form_factors(np.arange(1, 99), Q_PER_A), axis=1) < 1e-3).all()


def test_dispersion_of_gallium_and_arsenic_agrees_with_cromer_and_liberman():
    # International Tables C, table 4.2.6.8, Cu K alpha: Ga -1.285, 0.776; As -0.930, 1.005.
    found = anomalous([31, 33])
    assert found.real == pytest.approx([-1.285, -0.930], abs=0.02)
    assert found.imag == pytest.approx([0.776, 1.005], abs=0.02)
    together = scattering_factors([31], [2.0])[0, 0]
    assert together == pytest.approx(form_factors([31], [2.0])[0, 0] + found[0])


def test_an_element_without_dispersion_is_refused_not_guessed():
    with pytest.raises(ArgumentError, match="number"):
        anomalous([79])


def test_an_element_beyond_the_table_is_refused():
    with pytest.raises(ArgumentError, match="1 to 98"):
        form_factors([99], [1.0])


def test_thermal_motion_lowers_an_amplitude_by_exp_minus_b_s_squared():
    b_A2, rms_A = 0.64, np.sqrt(0.64 / (8 * np.pi**2))
    assert debye_waller(Q_PER_A, rms_A)[0] == pytest.approx(np.exp(-b_A2 * S_PER_A**2))
