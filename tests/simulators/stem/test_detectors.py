"""Rings and cameras behind the specimen."""

from itertools import pairwise

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.detectors import Detector, PixelDetector, standard_detectors
from twinloop.simulators.stem.grid import Grid

GRID = Grid((200, 160), (20.0, 16.0))


def test_adjoining_rings_count_each_electron_once():
    for edge_mrad in (0.0, 2.0):
        alpha = np.linspace(0.0, 80.0, 999)
        inner, outer = Detector(0.0, 20.0, edge_mrad), Detector(20.0, 100.0, edge_mrad)
        assert np.allclose(inner.weights(alpha) + outer.weights(alpha), 1.0)


def test_a_ring_covers_its_solid_angle():
    weights = Detector(20.0, 60.0).on(GRID, 100.0)
    # One spatial frequency stands for (lambda / a)(lambda / b) of solid angle.
    covered = weights.sum() * (37.014 / 20.0) * (37.014 / 16.0)
    assert covered == pytest.approx(np.pi * (60.0**2 - 20.0**2), rel=0.01)


def test_the_standard_four_are_ordered_outwards():
    rings = list(standard_detectors(25.0).values())
    assert all(a.outer_mrad <= b.inner_mrad for a, b in pairwise(rings))


def test_camera_pixels_see_their_own_angles():
    camera = PixelDetector(8, 40.0)
    bins = camera.bins(GRID, 100.0)
    x, y = GRID.frequencies_per_A()
    mrad = [np.broadcast_to(k * 37.014, GRID.shape) for k in (x, y)]
    assert (bins[np.hypot(*mrad) < 39.0] >= 0).all()
    assert (bins[(np.abs(mrad[0]) > 40.1) | (np.abs(mrad[1]) > 40.1)] == -1).all()
    place = (np.abs(mrad[0] - 13.0) < 1.0) & (np.abs(mrad[1] + 25.0) < 1.2)
    assert set(bins[place]) == {1 * 8 + 5}


def test_impossible_detectors_are_refused():
    for wrong in (
        lambda: Detector(20.0, 20.0),
        lambda: Detector(-1.0, 20.0),
        lambda: Detector(1.0, 20.0, -1.0),
        lambda: PixelDetector(0, 10.0),
        lambda: PixelDetector(4, 0.0),
        lambda: Detector(130.0, 200.0).on(GRID, 100.0),
    ):
        with pytest.raises(ArgumentError, match="detector"):
            wrong()
