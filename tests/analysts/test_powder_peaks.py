import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from twinloop.analysts.powder_peaks import find_peaks, fit_cubic
from twinloop.simulators.xrd.powder import powder_pattern, reflections
from twinloop.simulators.xrd.scattering_factors import CU_KA1_A

ANGLES = np.arange(20.0, 110.0, 0.02)
PLACES = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def counts_of(atoms, *, top, zero_deg=0.0, seed=0):
    pattern = powder_pattern(atoms, ANGLES, zero_deg=zero_deg)
    expected = top * pattern / pattern.max() + 20.0
    return np.random.default_rng(seed).poisson(expected).astype(float)


def test_every_line_of_silicon_is_found_once_although_copper_has_two():
    atoms = bulk("Si", a=5.431)
    peaks = find_peaks(ANGLES, counts_of(atoms, top=2000.0), ka2_ratio=0.5)
    lines = reflections(atoms, two_theta_deg=(20, 110)).two_theta_deg
    assert [peak.two_theta_deg for peak in peaks] == pytest.approx(lines, abs=0.01)


@pytest.mark.parametrize(
    ("lattice", "atoms"),
    [
        ("diamond", bulk("Si", a=5.45)),
        ("face-centred", bulk("Cu", a=3.62)),
        ("body-centred", bulk("Fe", a=2.87)),
        ("primitive", Atoms("SrTiO3", scaled_positions=PLACES, cell=[3.9] * 3, pbc=True)),
    ],
)
def test_the_kind_of_lattice_and_its_constant_are_found(lattice, atoms):
    peaks = find_peaks(ANGLES, counts_of(atoms, top=3000.0, zero_deg=0.04), ka2_ratio=0.5)
    found = fit_cubic(peaks, CU_KA1_A, (20.0, 110.0))
    factor = {"primitive": 1, "body-centred": 2}.get(lattice, 4)
    unit = atoms.get_volume() * factor
    assert found.lattice == lattice
    assert found.a_A == pytest.approx(unit ** (1 / 3), abs=4 * found.a_sd_A)
    assert found.a_sd_A < 1e-3
    assert found.zero_deg == pytest.approx(0.04, abs=0.01)


def test_noise_has_no_peaks():
    counts = np.random.default_rng(5).poisson(20.0, ANGLES.size).astype(float)
    assert find_peaks(ANGLES, counts, ka2_ratio=0.5) == []
    assert fit_cubic([], CU_KA1_A, (20.0, 110.0)).lattice == ""
