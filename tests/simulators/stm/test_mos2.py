"""MoS2 against its published formulas and the Slater-Koster table."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.density_of_states import eigenstates
from twinloop.simulators.stm.graphene import graphene
from twinloop.simulators.stm.mos2 import (
    BONDS_EV,
    _two_centre,
    mos2,
    mos2_crystal,
    three_band_matrix,
    without_sulphur,
)


def zone_corner(lattice_A):
    return np.array([4.0 * np.pi / (3.0 * lattice_A), 0.0])


def test_three_bands_hop_as_their_closed_form_says():
    rng = np.random.default_rng(1)
    crystal = mos2_crystal(bands=3)
    for k_per_A in rng.normal(size=(5, 2)):
        assert crystal.bloch(k_per_A) == pytest.approx(three_band_matrix(k_per_A), abs=1e-12)


def test_three_bands_at_k_are_those_of_the_paper():
    # Liu et al. 2013, at K: e1 - 3 t0 and e2 - 3/2 (t11 + t22) -+ 3 sqrt(3) t12.
    found = np.linalg.eigvalsh(mos2_crystal(bands=3).bloch(zone_corner(3.190)))
    middle, split = 2.104 - 1.5 * (0.218 + 0.057), 3 * np.sqrt(3) * 0.338
    expected = sorted([1.046 + 3 * 0.184, middle - split, middle + split])
    assert found == pytest.approx(expected, abs=1e-9)
    assert found[1] - found[0] == pytest.approx(1.66, abs=0.01)  # the GGA gap of the paper


def test_two_centre_integrals_agree_with_slater_and_kosters_table():
    x, y, z = direction = np.array([0.36, -0.48, 0.8])
    pd_sigma, pd_pi = BONDS_EV["pd"]
    dd_sigma, dd_pi, dd_delta = BONDS_EV["dd"]
    p, d = ("px", "py", "pz"), ("dz2", "dxz", "dyz", "dx2-y2", "dxy")
    pd = _two_centre(p, d, direction)
    r3 = np.sqrt(3.0)
    # Table I of Slater & Koster 1954: E_x,xy; E_z,3z2-r2; E_x,x2-y2; E_z,zx.
    assert pd[0, 4] == pytest.approx(r3 * x * x * y * pd_sigma + y * (1 - 2 * x * x) * pd_pi)
    assert pd[2, 0] == pytest.approx(
        z * (z * z - 0.5 * (x * x + y * y)) * pd_sigma + r3 * z * (x * x + y * y) * pd_pi
    )
    assert pd[0, 3] == pytest.approx(
        r3 / 2 * x * (x * x - y * y) * pd_sigma + x * (1 - x * x + y * y) * pd_pi
    )
    assert pd[2, 1] == pytest.approx(r3 * z * z * x * pd_sigma + x * (1 - 2 * z * z) * pd_pi)
    assert _two_centre(d, p, direction) == pytest.approx(-pd.T)
    dd = _two_centre(d, d, direction)
    assert dd[4, 4] == pytest.approx(
        3 * x * x * y * y * dd_sigma
        + (x * x + y * y - 4 * x * x * y * y) * dd_pi
        + (z * z + x * x * y * y) * dd_delta
    )
    assert dd[0, 0] == pytest.approx(
        (z * z - 0.5 * (x * x + y * y)) ** 2 * dd_sigma
        + 3 * z * z * (x * x + y * y) * dd_pi
        + 0.75 * (x * x + y * y) ** 2 * dd_delta
    )


def test_eleven_bands_have_a_direct_gap_at_k():
    crystal = mos2_crystal(bands=11)
    path = np.linspace(0.0, 1.0, 41)[:, None] * zone_corner(3.160)
    bands = np.array([np.linalg.eigvalsh(crystal.bloch(k)) for k in path])
    assert bands[:, 6].argmax() == 40
    assert bands[:, 7].argmin() == 40
    # Mirror symmetry of a free-standing layer: at Gamma e-type levels come in pairs.
    assert bands[0, 2] == pytest.approx(bands[0, 3], abs=1e-9)


def test_the_threefold_axis_shows_in_the_bands():
    crystal = mos2_crystal(bands=11)
    turn = np.radians(120.0)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    k_per_A = np.array([0.31, 0.17])
    here, there = (np.linalg.eigvalsh(crystal.bloch(k)) for k in (k_per_A, rotation @ k_per_A))
    assert here == pytest.approx(there, abs=1e-9)


def test_a_sulphur_vacancy_takes_three_orbitals_and_leaves_states_in_the_gap():
    whole = mos2((4, 3))
    holed = without_sulphur(whole, [(6.0, 8.0)])
    assert holed.n == whole.n - 3
    assert (holed.positions_A[:, 2] == 0.0).sum() == (whole.positions_A[:, 2] == 0.0).sum() - 3
    filled, gap_eV = 7 * 24, (-0.9, 0.8)
    before, after = eigenstates(whole).energies_eV, eigenstates(holed).energies_eV
    assert before[filled - 1] < gap_eV[0]
    assert before[filled] > gap_eV[1]
    inside = (after > gap_eV[0]) & (after < gap_eV[1])
    # The three bonds that the atom leaves open: a pair and a single level.
    assert inside.sum() == 3


def test_other_numbers_of_bands_and_sheets_without_sulphur_are_refused():
    with pytest.raises(ArgumentError, match="bands"):
        mos2_crystal(bands=5)
    with pytest.raises(ArgumentError, match="eleven"):
        without_sulphur(graphene((2, 2)), [(0.0, 0.0)])
