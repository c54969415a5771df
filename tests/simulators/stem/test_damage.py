import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.damage import (
    displacement_cross_section_A2,
    displacement_cross_section_barn,
    largest_transfer_eV,
    loss_probability,
)


def test_a_head_on_electron_hands_over_what_egertons_book_says():
    # Egerton, EELS in the Electron Microscope (2011), program SigDis: C, A = 12, 200 keV: 43.73 eV
    assert largest_transfer_eV(200.0, 12.0) == pytest.approx(43.7334, rel=2e-4)


def test_the_cross_section_is_that_of_egertons_program():
    # the same program with a threshold of 10 eV: 54.101 barn by the McKinley-Feshbach formula
    assert displacement_cross_section_barn(6, 200.0, 10.0, 12.0) == pytest.approx(54.101, rel=2e-3)


def test_below_its_threshold_an_atom_at_rest_stays():
    # T_max of carbon at 80 keV is 15.8 eV
    assert largest_transfer_eV(80.0, 12.011) == pytest.approx(15.8, abs=0.1)
    assert displacement_cross_section_barn(6, 80.0, 21.14, 12.011) == 0.0
    assert displacement_cross_section_barn(6, 80.0, 15.0, 12.011) > 0.0


def test_graphene_stands_80_kV_and_not_200():
    dose = 1e7  # e/A^2: hundreds of ordinary scans
    assert displacement_cross_section_A2(6, 80.0) * dose < 1e-4
    assert displacement_cross_section_A2(6, 200.0) * dose > 1.0


def test_thermal_motion_lets_carbon_go_where_an_atom_at_rest_would_not():
    # Meyer et al. (2012): losses begin between 80 and 100 kV, below the static threshold of 104 kV
    assert displacement_cross_section_barn(6, 100.0, 21.14, 12.011) == 0.0
    at_100 = displacement_cross_section_A2(6, 100.0) / 1e-8
    at_90 = displacement_cross_section_A2(6, 90.0) / 1e-8
    assert 0.01 < at_100 < 1.0
    assert at_90 < 0.05 * at_100


def test_sulphur_leaves_mos2_at_80_kV_as_komsa_computed():
    # Komsa et al. (2012), figure 3: of the order of a barn at 80 kV with thermal motion
    assert 0.2 < displacement_cross_section_A2(16, 80.0) / 1e-8 < 5.0
    assert displacement_cross_section_A2(42, 80.0) == 0.0


def test_the_loss_is_cross_section_times_dose_and_saturates():
    numbers, section_A2 = np.array([6, 6, 42]), displacement_cross_section_A2(6, 200.0)
    chance = loss_probability(numbers, np.array([1e3, 1e9, 1e9]), 200.0)
    assert chance[0] == pytest.approx(section_A2 * 1e3, rel=1e-3)
    assert chance[1] == pytest.approx(1.0)
    assert chance[2] < 1e-9 or displacement_cross_section_A2(42, 200.0) > 0


def test_elements_without_a_threshold_are_never_displaced():
    assert displacement_cross_section_A2(79, 300.0) == 0.0


@pytest.mark.parametrize("name", ["energy_keV", "threshold_eV", "mass_u"])
def test_numbers_that_are_not_positive_are_refused(name):
    numbers = {"energy_keV": 80.0, "threshold_eV": 20.0, "mass_u": 12.0, name: 0.0}
    with pytest.raises(ArgumentError, match=name):
        displacement_cross_section_barn(6, **numbers)
