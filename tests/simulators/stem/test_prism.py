"""PRISM against multislice: exact at factor 1, close at factor 2 where the window holds the probe."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem import specimens
from twinloop.simulators.stem.aberrations import Aberrations
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.detectors import Detector, PixelDetector
from twinloop.simulators.stem.multislice import diffract, scan_directly
from twinloop.simulators.stem.potential import project
from twinloop.simulators.stem.prism import ScatteringMatrix
from twinloop.simulators.stem.probe import Probe

RINGS = {"bf": Detector(0.0, 20.0), "adf": Detector(40.0, 100.0)}
POTENTIAL = project(
    specimens.mos2(across=(5, 3)), sampling_A=0.13, compute=Compute(precision="double")
)
PROBE = Probe(100.0, 25.0, Aberrations(defocus_A=20.0, c3_A=5e4, coma_A=200.0))
SPOTS_A = np.random.default_rng(4).uniform(0.0, 10.0, (7, 2))


def test_factor_one_equals_multislice():
    direct = scan_directly([POTENTIAL], PROBE, SPOTS_A, RINGS)
    found = ScatteringMatrix.of(POTENTIAL, Probe(100.0, 28.0)).at(PROBE, SPOTS_A, RINGS)
    for name in RINGS:
        assert found[name] == pytest.approx(direct[name], rel=1e-9)


def test_factor_two_is_close_where_the_window_holds_the_probe():
    direct = scan_directly([POTENTIAL], PROBE, SPOTS_A, RINGS)
    found = ScatteringMatrix.of(POTENTIAL, PROBE, factor=2).at(PROBE, SPOTS_A, RINGS)
    for name in RINGS:
        assert np.abs(found[name] - direct[name]).max() < 0.06 * direct[name].max()
        assert np.abs(found[name] - direct[name]).max() > 1e-6


def test_patterns_equal_those_of_multislice():
    camera = PixelDetector(24, 80.0)
    matrix = ScatteringMatrix.of(POTENTIAL, PROBE)
    found = matrix.diffract(PROBE, SPOTS_A[:2], camera)
    assert found == pytest.approx(diffract([POTENTIAL], PROBE, SPOTS_A[:2], camera), abs=1e-12)


def test_factor_two_takes_a_quarter_of_the_beams():
    whole, quarter = (ScatteringMatrix.of(POTENTIAL, PROBE, f).beams.n for f in (1, 2))
    assert whole / quarter == pytest.approx(4.0, rel=0.25)


def test_factors_that_leave_no_window_are_refused():
    for factor in (0, 20, 40):
        with pytest.raises(ArgumentError, match="interpolation"):
            ScatteringMatrix.of(POTENTIAL, PROBE, factor)
