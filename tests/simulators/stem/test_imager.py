"""The door: images, positions, patterns of one specimen."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem import specimens
from twinloop.simulators.stem.detectors import Detector, PixelDetector
from twinloop.simulators.stem.imager import Imager, Recipe
from twinloop.simulators.stem.probe import Probe
from twinloop.simulators.structure import AtomicStructure

SHEET = specimens.mos2(across=(2, 1))
PROBE = Probe(100.0, 25.0)
RINGS = {"bf": Detector(0.0, 20.0), "haadf": Detector(60.0, 100.0)}
RECIPE = Recipe(sampling_A=0.1)


def test_heavy_columns_are_the_bright_ones():
    imager = Imager(SHEET, PROBE, RINGS, RECIPE)
    mo = SHEET.positions_A[SHEET.numbers == 42][0, :2]
    s = SHEET.positions_A[SHEET.numbers == 16][0, :2]
    hollow = np.array([mo[0], mo[1] + 2.0 * (s[1] - mo[1])])
    seen = imager.at(PROBE, np.stack([mo, s, hollow]))["haadf"]
    # Z contrast: Mo against two S on top of each other, about (42 / 16)^1.7 / 2.
    assert 1.5 < seen[0] / seen[1] < 4.0
    assert seen[2] < 0.3 * seen[1]


def test_few_positions_are_computed_directly_and_agree_with_the_image():
    imager = Imager(SHEET, PROBE, RINGS, Recipe(sampling_A=0.11, phonons=2))
    spots_A = np.array([[0.5, 1.0], [2.0, 3.0]])
    direct = imager.at(PROBE, spots_A)
    assert not imager.is_ready
    image = imager.image(PROBE, spots_A[:, 0], spots_A[:, 1])
    assert imager.is_ready
    again = imager.at(PROBE, spots_A)
    for name in RINGS:
        assert direct[name] == pytest.approx(np.diag(image[name]), rel=1e-4)
        assert again[name] == pytest.approx(np.diag(image[name]), rel=1e-5)


def test_a_larger_source_lowers_contrast_and_keeps_the_mean():
    imager = Imager(SHEET, PROBE, RINGS, RECIPE)
    x_A = np.arange(32) * SHEET.cell_A[0] / 32
    y_A = np.arange(32) * SHEET.cell_A[1] / 32
    sharp = imager.image(PROBE, x_A, y_A)["haadf"]
    soft = imager.image(Probe(100.0, 25.0, source_sigma_A=0.5), x_A, y_A)["haadf"]
    assert soft.mean() == pytest.approx(sharp.mean(), rel=1e-4)
    assert soft.std() < 0.7 * sharp.std()


def test_patterns_average_over_the_snapshots():
    imager = Imager(SHEET, PROBE, RINGS, Recipe(sampling_A=0.11, phonons=2))
    patterns = imager.diffraction(PROBE, np.array([[0.5, 1.0], [2.0, 3.0]]), PixelDetector(32, 90))
    assert patterns.shape == (2, 32, 32)
    many = np.repeat([[0.5, 1.0], [2.0, 3.0]], imager.beams.n, axis=0)
    by_matrix = imager.diffraction(PROBE, many, PixelDetector(32, 90))
    assert by_matrix[:: imager.beams.n] == pytest.approx(patterns, abs=1e-6)
    assert (patterns.sum(axis=(1, 2)) > 0.95).all()


def test_one_cell_that_repeats_gives_the_images_of_the_whole_sheet():
    cell = specimens.mos2(across=(1, 1))
    crystal = Imager(cell, PROBE, RINGS, Recipe(sampling_A=0.1, repeats=(2, 1)))
    spots_A = np.array([[0.5, 1.0], [2.0, 3.0], [4.4, 0.3]])
    direct = crystal.at(PROBE, spots_A)
    image = crystal.image(PROBE, spots_A[:, 0], spots_A[:, 1])
    sheet = Imager(SHEET, PROBE, RINGS, RECIPE)
    assert sheet.grid == crystal.grid.repeated((2, 1))
    for name in RINGS:
        assert direct[name] == pytest.approx(np.diag(image[name]), rel=1e-4)
        expected = np.diag(sheet.image(PROBE, spots_A[:, 0], spots_A[:, 1])[name])
        assert np.diag(image[name]) == pytest.approx(expected, rel=1e-4)


def test_what_cannot_be_imaged_is_refused():
    with pytest.raises(ArgumentError, match="detectors"):
        Imager(SHEET, PROBE, {}, RECIPE)
    with pytest.raises(ArgumentError, match="sample finer"):
        Imager(SHEET, PROBE, {"far": Detector(150.0, 200.0)}, RECIPE)
    with pytest.raises(ArgumentError, match="device"):
        Imager(SHEET, PROBE, RINGS, Recipe(device="abacus"))
    with pytest.raises(ArgumentError, match="at most"):
        Imager(SHEET, PROBE, RINGS, Recipe(sampling_A=0.1, memory_GB=1e-6))
    heavy = AtomicStructure.of([110], [[1.0, 1.0, 1.0]], (5.0, 5.0, 5.0))
    with pytest.raises(ArgumentError, match="numbers"):
        Imager(heavy, PROBE, RINGS, RECIPE)
    with pytest.raises(ArgumentError, match="snapshots do not repeat"):
        Imager(SHEET, PROBE, RINGS, Recipe(phonons=1, repeats=(2, 1)))
    with pytest.raises(ArgumentError, match="precision"):
        Imager(SHEET, PROBE, RINGS, Recipe(precision="half"))
    with pytest.raises(ArgumentError, match="semiangle"):
        Imager(SHEET, PROBE, RINGS, RECIPE).at(Probe(100.0, 30.0), np.zeros((1, 2)))
