import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.xrays import XRayDetector, expected_spectrum

AXIS = XRayDetector().energies_keV()


def peak(spectrum, energy_keV, half_keV=0.1):
    near = np.abs(AXIS - energy_keV) < half_keV
    return float(spectrum[near].sum())


def test_each_element_shows_at_its_line():
    # Ga K alpha 9.25 keV, As K alpha 10.54 keV, Al K alpha 1.49 keV (X-Ray Data Booklet)
    spectrum = expected_spectrum({31: 1.0, 33: 1.0, 13: 1.0}, 1e9, 200.0)
    for line_keV in (9.25, 10.54, 1.49):
        assert peak(spectrum, line_keV) > 5 * peak(spectrum, line_keV + 0.7)


def test_counts_are_proportional_to_electrons_and_atoms():
    one = expected_spectrum({22: 1.0}, 1e8, 200.0)
    np.testing.assert_allclose(expected_spectrum({22: 2.0}, 3e8, 200.0), 6.0 * one)
    assert expected_spectrum({22: 0.0}, 1e8, 200.0).sum() == 0.0


def test_sulphur_and_molybdenum_cannot_be_told_apart_at_2_3_keV():
    # the classical overlap: S K alpha 2.308, Mo L alpha 2.293 keV
    sulphur = expected_spectrum({16: 1.0}, 1e9, 80.0)
    both = expected_spectrum({16: 1.0, 42: 1.0}, 1e9, 80.0)
    assert abs(AXIS[150:][both[150:].argmax()] - 2.30) < 0.03
    assert peak(both, 2.30) > 1.2 * peak(sulphur, 2.30)


def test_a_shell_that_the_beam_cannot_ionise_gives_nothing():
    # Mo K edge 20.0 keV: below 30 keV ln(0.65 E / E_c) < 0
    assert peak(expected_spectrum({42: 1.0}, 1e9, 30.0), 17.48) < 2 * peak(
        expected_spectrum({42: 1.0}, 1e9, 30.0), 16.9
    )
    assert peak(expected_spectrum({42: 1.0}, 1e9, 80.0), 17.48) > 5 * peak(
        expected_spectrum({42: 1.0}, 1e9, 80.0), 16.9
    )


def test_the_cross_section_is_of_the_size_that_tables_give():
    # copper-like light case: Ti K at 200 keV, Bethe: about 330 barn; omega_K about 0.17 to 0.22
    spectrum = expected_spectrum({22: 1.0}, 1e9, 200.0, XRayDetector(solid_angle_sr=4 * np.pi))
    sigma_omega_barn = peak(spectrum, 4.511, 0.25) / 1e9 / 1e-8
    assert 30.0 < sigma_omega_barn < 120.0


def test_resolution_is_the_makers_at_manganese():
    assert XRayDetector().sigma_keV(5.895) * 2.3548 == pytest.approx(0.13, rel=1e-3)
    assert XRayDetector().sigma_keV(0.28) < XRayDetector().sigma_keV(10.0)


def test_a_negative_density_is_refused():
    with pytest.raises(ArgumentError, match="atoms_per_A2"):
        expected_spectrum({6: -1.0}, 1.0, 80.0)
