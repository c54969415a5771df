"""Pictures of sheets and films against what a tip must see."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.broadening import Broadening
from twinloop.simulators.stm.graphene import graphene
from twinloop.simulators.stm.mos2 import mos2, without_sulphur
from twinloop.simulators.stm.surface import Film, Sheet
from twinloop.simulators.stm.tersoff_hamann import corrugation_decay_per_A, decay_per_A
from twinloop.simulators.stm.tip import Tip

FLAT = np.zeros((16, 16))


def mesh(width_A, n, height_A=None):
    return np.meshgrid(
        np.arange(n) / n * width_A, np.arange(n) / n * (height_A or width_A), indexing="ij"
    )


@pytest.fixture(scope="module")
def holed():
    whole = graphene((12, 7))
    return Sheet.of(whole.without([whole.nearest(14.8, 14.9)]), window_eV=(-0.8, 0.8))


def test_a_flat_film_of_four_electronvolts_loses_two_e_folds_per_angstrom():
    film = Film(FLAT, work_function_eV=4.0)
    field = film.field(bias_V=0.5, tip=Tip(work_function_eV=4.0))
    x_A, y_A = mesh(4.0, 8)
    points = [np.stack([x_A, y_A, np.full_like(x_A, z)], axis=-1) for z in (8.0, 9.0)]
    low_nA, high_nA = (field.currents_nA(p).mean() for p in points)
    # Reference: 2 x 1.025 1/A (tables); the mean over the cell has no corrugation.
    assert np.log(high_nA / low_nA) == pytest.approx(-2.05, abs=0.01)


def test_a_film_is_seen_in_full_by_the_reach_of_the_kernel():
    # The mean current over a terrace has a closed form: 2 pi / (a^2 2 kappa) exp(-2 kappa z).
    kappa = decay_per_A(4.5)
    field = Film(FLAT).field(bias_V=1.0)
    x_A, y_A = mesh(4.0, 8)
    points = np.stack([x_A, y_A, np.full_like(x_A, 8.0)], axis=-1)
    atom_nA = 77480.917 * 2.5 * np.exp(2 * kappa * 2.5)
    expected = atom_nA * 2 * np.pi / (16.0 * 2 * kappa) * np.exp(-2 * kappa * 8.0)
    assert field.currents_nA(points).mean() == pytest.approx(expected, rel=0.01)


def test_corrugation_of_a_film_falls_as_tersoff_and_hamann_say():
    field = Film(FLAT, lattice_A=3.0, work_function_eV=4.5).field(bias_V=1.0)
    heights_A, corrugations_A = [], []
    for setpoint_nA in (1.0, 0.01):
        top, hollow = field.topograph_A(
            np.array([0.0, 1.5]), np.array([0.0, 1.5]), setpoint_nA=setpoint_nA
        )
        heights_A.append(top)
        corrugations_A.append(top - hollow)
    fall = np.log(corrugations_A[1] / corrugations_A[0]) / (heights_A[1] - heights_A[0])
    expected = corrugation_decay_per_A(work_function_eV=4.5, wave_per_A=2 * np.pi / 3.0)
    assert fall == pytest.approx(-expected, rel=0.08)


def test_a_step_is_as_high_as_its_monolayer():
    heights = np.zeros((32, 8))
    heights[:16] = 1
    field = Film(heights, lattice_A=4.0, step_A=2.8).field(bias_V=1.0)
    x_A, y_A = mesh(4.0, 6)
    upper = field.topograph_A(x_A + 32.0, y_A, setpoint_nA=0.1).mean()
    lower = field.topograph_A(x_A + 96.0, y_A, setpoint_nA=0.1).mean()
    assert upper - lower == pytest.approx(2.8, abs=1e-3)


def test_a_topograph_holds_its_current_exactly(holed):
    field = holed.field(bias_V=0.5)
    x_A, y_A = mesh(29.0, 12)
    z_A = field.topograph_A(x_A, y_A, setpoint_nA=0.05)
    points = np.stack([x_A, y_A, z_A], axis=-1)
    assert np.abs(field.currents_nA(points)) == pytest.approx(np.full((12, 12), 0.05), rel=1e-6)
    # The table stands between the waves and the picture; the waves themselves are the judge.
    exact_nA = holed.currents_nA(points, np.array([0.5]))[:, 0]
    assert np.std(np.log(exact_nA / 0.05)) < 0.01


def test_slopes_are_the_derivative_of_the_current(holed):
    for field in (holed.field(bias_V=0.5), Film(np.eye(16)).field(bias_V=1.0)):
        point = np.array([7.3, 5.1, 6.2])
        step = np.array([0.0, 0.0, 1e-5])
        logs = np.log(field.currents_nA(np.array([point - step, point + step])))
        assert field.slopes_per_A(point) == pytest.approx((logs[1] - logs[0]) / 2e-5, rel=1e-5)


def test_conductance_is_the_derivative_of_the_current():
    whole = graphene((9, 5))
    blur = Broadening(temperature_K=30.0, lifetime_eV=0.05, modulation_V=0.0)
    sheet = Sheet.of(whole.without([17]), window_eV=(-1.0, 1.0), broadening=blur)
    biases_V = np.linspace(-0.9, 0.9, 1801)
    point = [[5.0, 6.0, 5.0]]
    current = sheet.currents_nA(point, biases_V)[0]
    conductance = sheet.conductances_nA_per_V(point, biases_V)[0]
    numeric = np.gradient(current, biases_V)
    assert np.abs(numeric - conductance)[5:-5].max() < 1e-3 * conductance.max()
    assert current[900] == pytest.approx(0.0, abs=1e-9 * np.abs(current).max())


def test_a_vacancy_stands_out_at_low_bias(holed):
    field = holed.field(bias_V=0.3)
    x_A, y_A = mesh(29.5, 48, 29.8)
    z_A = field.topograph_A(x_A, y_A, setpoint_nA=0.1)
    row, column = np.unravel_index(z_A.argmax(), z_A.shape)
    assert np.hypot(x_A[row, column] - 14.8, y_A[row, column] - 14.9) < 3.0
    assert z_A.max() - np.median(z_A) > 1.0


def test_the_upper_sulphur_is_what_a_tip_sees_of_mos2():
    sheet = Sheet.of(mos2((4, 2)), window_eV=(-2.0, 0.7), fermi_eV=0.6)
    box = sheet.waves.box
    field = sheet.field(bias_V=-1.9)
    shape = box.crystal.shapes
    tops = [i for i, s in enumerate(shape) if s == "pz" and box.crystal.places_A[i, 2] == 0.0]
    sulphur_A = box.crystal.places_A[tops, :2]
    metal_A = box.crystal.places_A[[i for i, s in enumerate(shape) if s == "dz2"], :2]
    hollow_A = 2 * sulphur_A[0] - metal_A[0]

    def height(place_A):
        return field.topograph_A(np.array([place_A[0]]), np.array([place_A[1]]), setpoint_nA=0.05)[
            0
        ]

    assert height(sulphur_A[0]) > height(metal_A[0])
    assert height(sulphur_A[0]) > height(hollow_A)


def test_a_missing_sulphur_is_a_hole_at_positive_bias():
    whole = mos2((6, 4))
    sheet = Sheet.of(without_sulphur(whole, [(9.0, 10.0)]), window_eV=(-0.1, 0.7), fermi_eV=0.6)
    field = sheet.field(bias_V=0.6)
    x_A, y_A = mesh(18.96, 40, 21.89)
    z_A = field.topograph_A(x_A, y_A, setpoint_nA=0.05)
    row, column = np.unravel_index(z_A.argmin(), z_A.shape)
    assert np.hypot(x_A[row, column] - 9.0, y_A[row, column] - 10.0) < 3.0


def test_a_double_tip_shows_an_island_twice():
    heights = np.zeros((40, 16))
    heights[20, 8] = 1
    x_A = np.arange(0.0, 160.0, 1.0)

    def bumps_A(tip):
        field = Film(heights).field(bias_V=1.0, tip=tip)
        z_A = field.topograph_A(x_A, np.full_like(x_A, 32.0), setpoint_nA=0.1)
        inner = z_A[1:-1]
        is_top = (inner > z_A[:-2]) & (inner >= z_A[2:]) & (inner > np.median(z_A) + 0.5)
        return x_A[1:-1][is_top]

    assert bumps_A(Tip()) == pytest.approx([80.0], abs=1.0)
    # The second atom meets the island when the first is 40 A before it.
    assert bumps_A(Tip.double((40.0, 0.0))) == pytest.approx([40.0, 80.0], abs=1.0)


def test_a_blunt_tip_smooths_and_keeps_the_mean_current():
    heights = np.indices((16, 16)).sum(axis=0) % 2 * 0.2
    film = Film(heights)
    x_A, y_A = mesh(8.0, 16)
    points = np.stack([x_A, y_A, np.full_like(x_A, 6.0)], axis=-1)
    sharp, blunt = (
        film.field(bias_V=1.0, tip=Tip(radius_A=r)).currents_nA(points) for r in (0.0, 6.0)
    )
    assert blunt.mean() == pytest.approx(sharp.mean(), rel=0.05)
    assert np.ptp(np.log(blunt)) < 0.5 * np.ptp(np.log(sharp))


def test_the_current_has_the_sign_of_the_bias(holed):
    for surface in (holed, Film(FLAT)):
        for bias_V in (-0.5, 0.5):
            current_nA = surface.field(bias_V=bias_V).currents_nA([5.0, 5.0, 6.0])
            assert np.sign(current_nA) == np.sign(bias_V)


def test_biases_and_set_points_outside_their_range_are_refused(holed):
    with pytest.raises(ArgumentError, match="window"):
        holed.field(bias_V=1.5)
    with pytest.raises(ArgumentError, match="window"):
        holed.conductances_nA_per_V([[0.0, 0.0, 5.0]], np.linspace(-2, 0, 3))
    with pytest.raises(ArgumentError, match="bias_V"):
        Film(FLAT).field(bias_V=0.0)
    with pytest.raises(ArgumentError, match="setpoint_nA"):
        Film(FLAT).field(bias_V=1.0).topograph_A(np.zeros(1), np.zeros(1), setpoint_nA=0.0)
    with pytest.raises(ArgumentError, match="heights_ML"):
        Film(np.zeros(4))
