"""The phase of the lens against its textbook formula."""

import math

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.aberrations import Aberrations, phase_basis

ALL = Aberrations(
    defocus_A=55.0,
    astigmatism_A=20.0,
    astigmatism_deg=25.0,
    coma_A=300.0,
    coma_deg=-70.0,
    trefoil_A=400.0,
    trefoil_deg=15.0,
    c3_A=2.0e5,
    c5_A=3.0e7,
)
LENGTH_A = 0.037


def test_chi_is_the_polar_formula():
    rng = np.random.default_rng(1)
    alpha, phi = 0.03 * rng.random(50), 2 * np.pi * rng.random(50)
    k = alpha / LENGTH_A
    chi = phase_basis(k * np.cos(phi), k * np.sin(phi), LENGTH_A) @ ALL.vector()
    a = ALL
    expected = (
        alpha**2 / 2 * (-a.defocus_A + a.astigmatism_A * np.cos(2 * (phi - math.radians(25.0))))
        + alpha**3 / 3 * a.coma_A * np.cos(phi - math.radians(-70.0))
        + alpha**3 / 3 * a.trefoil_A * np.cos(3 * (phi - math.radians(15.0)))
        + alpha**4 / 4 * a.c3_A
        + alpha**6 / 6 * a.c5_A
    )
    assert np.allclose(chi, 2 * np.pi / LENGTH_A * expected, rtol=1e-12, atol=1e-12)


def test_the_vector_leads_back_to_the_same_aberrations():
    again = Aberrations.of_vector(ALL.vector())
    assert np.allclose(again.vector(), ALL.vector(), rtol=1e-12)
    assert again.trefoil_deg == pytest.approx(15.0)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ArgumentError, match="c3_A"):
        Aberrations(c3_A=math.nan)
