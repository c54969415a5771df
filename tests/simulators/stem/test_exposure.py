import numpy as np
import pytest

from twinloop.simulators.stem import specimens
from twinloop.simulators.stem.acquisition import Raster, ScanErrors, ScanPath, visited_pixels
from twinloop.simulators.stem.damage import displacement_cross_section_A2
from twinloop.simulators.stem.exposure import Exposure

SHEET = specimens.graphene(across=(12, 7))
MIDDLE = (0.5 * SHEET.cell_A[0], 0.5 * SHEET.cell_A[1])


def path(field_A=20.0, pixels=80, **others):
    return ScanPath.draw(
        Raster.of_field(field_A, pixels, region=None, dwell_s=1e-6, centre_A=MIDDLE, **others),
        ScanErrors(),
    )


def test_atoms_in_the_field_get_the_dose_and_others_none():
    exposure = Exposure.of(SHEET, path(), 100.0, 200.0)
    away = np.abs(SHEET.positions_A[:, :2] - MIDDLE).max(axis=1)
    assert (
        set(np.flatnonzero(away < 9.8)) <= set(exposure.atoms) <= set(np.flatnonzero(away < 10.2))
    )
    np.testing.assert_allclose(exposure.dose_e_per_A2, 100.0 / 0.25**2)


def test_as_many_are_lost_as_cross_section_times_dose():
    wide = path(field_A=28.0, pixels=64)
    dose = 0.05 / displacement_cross_section_A2(6, 200.0)
    exposure = Exposure.of(SHEET, wide, dose * (28.0 / 64) ** 2, 200.0)
    rng = np.random.default_rng(5)
    lost = [exposure.lost(SHEET.numbers, 0, 64, rng).size for _ in range(400)]
    expected = exposure.atoms.size * (1.0 - np.exp(-0.05))
    assert np.mean(lost) == pytest.approx(expected, abs=4 * np.sqrt(expected / 400))


def test_an_atom_is_met_at_the_line_that_passes_it():
    exposure = Exposure.of(SHEET, path(), 100.0, 200.0)
    y_A = SHEET.positions_A[exposure.atoms, 1]
    np.testing.assert_allclose(exposure.rows, (y_A - MIDDLE[1]) / 0.25 + 39.5, atol=0.51)
    rng = np.random.default_rng(0)
    assert exposure.lost(SHEET.numbers, 80, 81, rng).size == 0


def test_an_atom_that_repeats_in_the_field_is_met_in_each_image():
    small = specimens.graphene(across=(2, 1))
    exposure = Exposure.of(small, path(field_A=40.0), 1.0, 200.0)
    images = np.bincount(exposure.atoms, minlength=small.n)
    cells = 40.0**2 / (small.cell_A[0] * small.cell_A[1])
    assert images.mean() == pytest.approx(cells, rel=0.1)


def test_a_tenth_of_the_pixels_gives_a_tenth_of_the_dose():
    visited = visited_pixels((80, 80), 0.1, 0, None)
    raster = Raster.of_field(20.0, 80, region=None, dwell_s=1e-6, centre_A=MIDDLE, visited=visited)
    exposure = Exposure.of(SHEET, ScanPath.draw(raster, ScanErrors()), 100.0, 200.0)
    assert exposure.dose_e_per_A2.mean() == pytest.approx(0.1 * 100.0 / 0.25**2, rel=0.15)


def test_at_80_kV_no_atom_of_graphene_is_lost():
    exposure = Exposure.of(SHEET, path(), 1e5, 80.0)
    assert exposure.lost(SHEET.numbers, 0, 80, np.random.default_rng(1)).size == 0
