"""Powders whose lines are known from the tables, and rules that hold exactly."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal as build_crystal

from twinloop.errors import ArgumentError
from twinloop.simulators.xrd.crystal import Crystal
from twinloop.simulators.xrd.powder import (
    Profile,
    powder_pattern,
    reflections,
    structure_factors,
)
from twinloop.simulators.xrd.scattering_factors import CU_KA1_A, CU_KA2_A

PLANES = np.array([p for p in itertools.product(range(-4, 5), repeat=3) if any(p)])
ONE = ((CU_KA1_A, 1.0),)


def strontium_titanate():
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True)


def molybdenite():
    return build_crystal(
        ["Mo", "S"],
        [(1 / 3, 2 / 3, 0.25), (1 / 3, 2 / 3, 0.621)],
        spacegroup=194,
        cellpar=[3.161, 3.161, 12.295, 90, 90, 120],
    )


CRYSTALS = {
    "Si": bulk("Si", cubic=True, a=5.431),
    "SrTiO3": strontium_titanate(),
    "MoS2": molybdenite(),
    "GaAs": bulk("GaAs", "zincblende", a=5.65325),
}


def test_lines_of_silicon_stand_where_its_card_says():
    # PDF 27-1402 (NIST SRM 640), Cu K alpha 1.
    card_deg = [28.442, 47.303, 56.121, 69.130, 76.377, 88.026, 94.948]
    found = reflections(bulk("Si", a=5.4309), two_theta_deg=(20, 100))
    assert found.two_theta_deg == pytest.approx(card_deg, abs=0.01)
    assert found.multiplicity.tolist() == [8, 12, 24, 6, 24, 24, 32]


def test_a_face_centred_lattice_has_no_mixed_indices():
    f = structure_factors(Crystal.of(bulk("Cu", cubic=True)), PLANES)
    is_mixed = (PLANES % 2).sum(axis=1) % 3 != 0
    assert (f[is_mixed] == 0).all()
    assert (abs(f[~is_mixed]) > 1).all()


def test_a_body_centred_lattice_has_no_odd_sums():
    f = structure_factors(Crystal.of(bulk("Fe", cubic=True)), PLANES)
    is_odd = PLANES.sum(axis=1) % 2 == 1
    assert (f[is_odd] == 0).all()
    assert (abs(f[~is_odd]) > 1).all()


def test_diamond_lacks_even_planes_whose_sum_is_no_multiple_of_four():
    f = structure_factors(Crystal.of(CRYSTALS["Si"]), PLANES)
    is_even = (PLANES % 2 == 0).all(axis=1)
    gone = is_even & (PLANES.sum(axis=1) % 4 == 2)
    assert gone.any()
    assert (f[gone] == 0).all()


def test_a_hexagonal_close_packing_lacks_odd_l_where_h_plus_2k_is_a_multiple_of_three():
    f = structure_factors(Crystal.of(bulk("Mg")), PLANES)
    h, k, m = PLANES.T
    gone = ((h + 2 * k) % 3 == 0) & (m % 2 == 1)
    assert (f[gone] == 0).all()
    assert (abs(f[~gone]) > 0.1).all()


def test_the_choice_of_cell_does_not_show():
    primitive = reflections(bulk("Si", a=5.431))
    cubic = reflections(CRYSTALS["Si"])
    large = reflections(bulk("Si", a=5.431) * (2, 1, 1))
    for other in (primitive, large):
        assert other.two_theta_deg == pytest.approx(cubic.two_theta_deg)
        assert other.multiplicity.tolist() == cubic.multiplicity.tolist()
    # intensity of a crystal grows with the square of what its cell holds
    assert primitive.f2 == pytest.approx(cubic.f2 / 16)


def test_every_plane_of_a_low_symmetry_cell_is_found():
    skew = Atoms("He", cell=[[3, 0, 0], [1.2, 3.5, 0], [-0.8, 0.9, 4.1]], pbc=True)
    found = reflections(skew, two_theta_deg=(0, 60))
    wide = np.array(list(itertools.product(range(-9, 10), repeat=3)))
    g = np.linalg.norm(wide @ np.linalg.inv(skew.cell[:]).T, axis=1)
    limit = 2 * np.sin(np.radians(30)) / CU_KA1_A
    assert found.multiplicity.sum() == np.sum((g > 1e-9) & (g < limit))


def test_thermal_motion_lowers_a_line_by_the_debye_waller_factor():
    still, warm = (reflections(Crystal.of(bulk("Cu"), rms_A=u)) for u in (0.0, 0.1))
    q = 2 * np.pi / still.d_A
    assert warm.f2 == pytest.approx(still.f2 * np.exp(-((0.1 * q) ** 2)))


def test_half_an_occupancy_is_half_an_amplitude():
    full, half = (reflections(Crystal.of(bulk("Cu"), occupancy=o)) for o in (1.0, 0.5))
    assert half.f2 == pytest.approx(0.25 * full.f2)


def test_small_crystals_have_lines_as_wide_as_scherrer_says():
    angles = np.arange(42.0, 45.0, 0.005)
    sharp = Profile(u_deg2=0.0, v_deg2=0.0, w_deg2=1e-6, size_A=100.0)
    line = powder_pattern(bulk("Cu", a=3.615), angles, profile=sharp, lines=ONE)
    above = angles[line > 0.5 * line.max()]
    theta = np.radians(0.5 * angles[line.argmax()])
    expected_deg = np.degrees(0.9 * CU_KA1_A / (100.0 * np.cos(theta)))
    assert above[-1] - above[0] == pytest.approx(expected_deg, rel=0.02)


@pytest.mark.parametrize(("theta_deg", "factor"), [(45.0, 2.828), (20.0, 14.44)])
def test_lines_carry_the_lorentz_polarisation_factor(theta_deg, factor):
    # Cullity & Stock, Elements of X-ray Diffraction, 3rd ed., appendix 11.
    d_A = 5.431 / np.sqrt(3)
    wavelength_A = 2 * d_A * np.sin(np.radians(theta_deg))
    found = reflections(bulk("Si", a=5.431), wavelength_A=wavelength_A, two_theta_deg=(10, 130))
    at = int(np.argmin(np.abs(found.d_A - d_A)))
    assert found.intensity[at] / (found.multiplicity[at] * found.f2[at]) == pytest.approx(
        factor, rel=1e-3
    )


def test_a_line_of_two_widths_is_as_wide_as_a_voigt_profile():
    from scipy.special import voigt_profile

    angles = np.arange(42.0, 45.0, 0.001)
    both = Profile(u_deg2=0.0, v_deg2=0.0, w_deg2=0.04, size_A=400.0)
    line = powder_pattern(bulk("Cu", a=3.615), angles, profile=both, lines=ONE)
    gaussian, lorentzian = (w[0] for w in both.widths_deg(np.array([43.3]), CU_KA1_A))
    voigt = voigt_profile(angles - 43.5, gaussian / 2.35482, 0.5 * lorentzian)
    seen, expected = (np.ptp(angles[y > 0.5 * y.max()]) for y in (line, voigt))
    assert seen == pytest.approx(expected, rel=0.01)


def test_the_area_under_a_line_is_its_intensity():
    angles = np.arange(35.0, 52.0, 0.002)
    atoms = bulk("Cu", a=3.615)
    narrow = Profile(u_deg2=0.0, v_deg2=0.0, w_deg2=0.01)
    area = powder_pattern(atoms, angles, profile=narrow, lines=ONE).sum() * 0.002
    inside = reflections(atoms, two_theta_deg=(35.0, 52.0))
    assert area == pytest.approx(inside.intensity.sum(), rel=1e-3)


def test_two_lines_of_copper_part_at_high_angles():
    angles = np.arange(134.0, 138.5, 0.005)
    line = powder_pattern(bulk("Si", a=5.431), angles)
    tops = np.flatnonzero((line[1:-1] > line[:-2]) & (line[1:-1] > line[2:])) + 1
    tops = tops[line[tops] > 0.2 * line.max()]
    assert tops.size == 2
    ratio = np.sin(np.radians(angles[tops] / 2))
    assert ratio[1] / ratio[0] == pytest.approx(CU_KA2_A / CU_KA1_A, rel=1e-5)
    assert line[tops[1]] / line[tops[0]] == pytest.approx(0.5, abs=0.05)


def test_an_impossible_range_is_refused():
    with pytest.raises(ArgumentError, match="two_theta_deg"):
        reflections(bulk("Si"), two_theta_deg=(50, 20))


def test_a_width_that_vanishes_is_refused():
    with pytest.raises(ArgumentError, match="width"):
        powder_pattern(
            bulk("Si"), np.arange(20.0, 60.0, 0.1), profile=Profile(w_deg2=0.0001, v_deg2=-0.1)
        )


@pytest.mark.physics
@pytest.mark.parametrize("name", CRYSTALS)
def test_lines_agree_with_pymatgen(name):
    pytest.importorskip("pymatgen", reason="pymatgen is the reference")
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS, XRDCalculator
    from pymatgen.io.ase import AseAtomsAdaptor

    symbols = dict(zip(CRYSTALS[name].numbers, CRYSTALS[name].symbols, strict=True))

    def their_factors(numbers, q_per_A):
        s2 = (q_per_A / (4 * np.pi)) ** 2
        rows = []
        for z in numbers.tolist():
            gaussians = sum(a * np.exp(-b * s2) for a, b in ATOMIC_SCATTERING_PARAMS[symbols[z]])
            rows.append(z - 41.78214 * s2 * gaussians)
        return np.array(rows)

    theirs = XRDCalculator(wavelength=CU_KA1_A).get_pattern(
        AseAtomsAdaptor.get_structure(CRYSTALS[name]), two_theta_range=(5, 120)
    )
    for factors, tolerance in ((None, 0.05), (their_factors, 1e-9)):
        ours = reflections(CRYSTALS[name], two_theta_deg=(5, 120), factors=factors)
        scaled = 100 * ours.intensity / ours.intensity.max()
        assert ours.two_theta_deg == pytest.approx(theirs.x, abs=0.001)
        # lines below 1 % are differences of nearly equal waves, where the tables of f0 differ
        strong = theirs.y > (1.0 if factors is None else 0.0)
        assert scaled[strong] == pytest.approx(theirs.y[strong], rel=tolerance)
        assert scaled == pytest.approx(theirs.y, abs=0.5)
