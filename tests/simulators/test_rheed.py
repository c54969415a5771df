"""Diffraction of surfaces whose answer is known on paper."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.lattice_constants import MESH_A, MONOLAYER_A
from twinloop.simulators import rheed

FLAT = np.zeros((64, 64), dtype=np.int32)
CHECKER = np.indices((64, 64)).sum(axis=0) % 2


def islands(seed: int = 1) -> np.ndarray:
    rough = np.random.default_rng(seed).normal(size=(64, 64))
    smooth = np.fft.ifft2(
        np.fft.fft2(rough) * np.exp(-200 * np.add.outer(*2 * [np.fft.fftfreq(64) ** 2]))
    ).real
    return (smooth > np.quantile(smooth, 0.7)).astype(np.int32)


def test_wavelength_agrees_with_the_tables():
    # Reference figures: 0.0994 A at 15 keV; 0.03701 A at 100 keV (usual microscopy tables).
    assert rheed.wavelength_A(15.0) == pytest.approx(0.0994, abs=5e-5)
    assert rheed.wavelength_A(100.0) == pytest.approx(0.03701, abs=5e-6)


def test_antiphase_angle_makes_an_odd_multiple_of_pi():
    for order in (0, 1, 2):
        angle_deg = rheed.antiphase_incidence_deg(
            energy_keV=15.0, step_height_A=MONOLAYER_A, order=order
        )
        phase = rheed.specular_phase_rad(
            energy_keV=15.0, incidence_deg=angle_deg, step_height_A=MONOLAYER_A
        )
        assert phase == pytest.approx((2 * order + 1) * np.pi, rel=1e-12)
        # Bragg: twice the step times the sine is a half-odd number of wavelengths.
        path_A = 2 * MONOLAYER_A * np.sin(np.radians(angle_deg))
        assert path_A / rheed.wavelength_A(15.0) == pytest.approx(order + 0.5)


@pytest.mark.parametrize("coverage", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_two_level_surface_has_one_minus_two_theta_squared(coverage):
    heights = np.zeros(4096, dtype=np.int32)
    heights[: int(4096 * coverage)] = 1
    heights = heights.reshape(64, 64)
    assert rheed.antiphase_intensity(heights) == pytest.approx((1 - 2 * coverage) ** 2)
    assert rheed.antiphase_intensity(heights - 3) == pytest.approx((1 - 2 * coverage) ** 2)
    # Lent & Cohen: 1 - 2 theta (1 - theta) (1 - cos phase) for two levels.
    general = rheed.specular_intensity(heights, phase_rad=1.1)
    assert general == pytest.approx(1 - 2 * coverage * (1 - coverage) * (1 - np.cos(1.1)))


def test_in_phase_the_surface_looks_flat():
    assert rheed.specular_intensity(CHECKER * 3, phase_rad=2 * np.pi) == pytest.approx(1.0)


def test_flat_surface_shows_the_specular_beam_where_it_leaves():
    picture = rheed.frame(FLAT, incidence_deg=1.5, background=0.0, pixel_deg=0.05)
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert picture.max() == pytest.approx(1.0)
    assert column == 48
    assert (96 - 0.5 - row) * 0.05 == pytest.approx(1.5, abs=0.051)


def test_streak_spacing_gives_the_lattice_constant_within_one_percent():
    lattice_A, pixel_deg = 4.2, 0.01
    picture = rheed.frame(
        FLAT, lattice_A=lattice_A, shape=(160, 360), pixel_deg=pixel_deg, background=0.0,
        blur_px=2.0,
    )  # fmt: skip
    profile = picture.sum(axis=0)
    aside = profile[200:]
    first = 200 + np.sum(np.arange(aside.size) * aside) / aside.sum() - 180
    measured_A = rheed.wavelength_A(15.0) / np.sin(np.radians(first * pixel_deg))
    assert measured_A == pytest.approx(lattice_A, rel=0.01)


def test_at_antiphase_islands_move_intensity_from_the_specular_beam_to_its_sides():
    flat = rheed.frame(FLAT, background=0.0)
    half = rheed.frame(islands(), background=0.0)
    row, column = np.unravel_index(flat.argmax(), flat.shape)
    assert half[row, column] < 0.5
    assert half[:, column + 4 : column + 12].sum() > 4 * flat[:, column + 4 : column + 12].sum()


def test_specular_pixel_follows_the_formula():
    heights = islands()
    for angle_deg in (1.0, 1.5258):
        arguments = {"incidence_deg": angle_deg, "background": 0.0, "blur_px": 0.3}
        shape = {"shape": (600, 3), "pixel_deg": 0.005}
        flat = rheed.frame(FLAT, **arguments, **shape)
        row = flat[:, 1].argmax()
        seen = rheed.frame(heights, **arguments, **shape)[row, 1]
        phase = rheed.specular_phase_rad(
            energy_keV=15.0, incidence_deg=angle_deg, step_height_A=MONOLAYER_A
        )
        assert seen == pytest.approx(rheed.specular_intensity(heights, phase_rad=phase), abs=0.01)


def test_a_quarter_turn_of_the_sample_is_a_quarter_turn_of_the_azimuth():
    heights = islands()
    turned = rheed.frame(np.rot90(heights), azimuth_deg=0)
    assert turned == pytest.approx(rheed.frame(heights, azimuth_deg=90))
    assert rheed.frame(heights) != pytest.approx(turned)
    square = CHECKER * np.outer(np.arange(64) % 4 < 2, np.arange(64) % 4 < 2)
    symmetric = square + square.T + np.rot90(square) + np.rot90(square.T)
    symmetric = symmetric + np.rot90(symmetric, 2)
    assert rheed.frame(symmetric, azimuth_deg=90) == pytest.approx(rheed.frame(symmetric))


def test_a_picture_is_never_negative():
    assert (rheed.frame(islands()) >= 0).all()


def peaks(picture: np.ndarray, row: int, floor: float = 0.02) -> list[int]:
    """Return the columns of the maxima of one row."""
    line = picture[row]
    inner = (line[1:-1] > line[:-2]) & (line[1:-1] >= line[2:]) & (line[1:-1] > floor * line.max())
    return [int(k) + 1 for k in np.flatnonzero(inner)]


def test_along_the_diagonal_the_streaks_of_the_zeroth_zone_stand_root_two_apart():
    """Rows of atoms along [11] are a / sqrt(2) apart, so their reciprocal rods sqrt(2) / a."""
    view = {"shape": (60, 400), "pixel_deg": 0.02, "background": 0.0}
    for azimuth_deg, spacing_A in (
        (0.0, MESH_A),
        (45.0, MESH_A / np.sqrt(2.0)),
        (135.0, MESH_A / np.sqrt(2.0)),
    ):
        picture = rheed.frame(FLAT, azimuth_deg=azimuth_deg, **view)
        found = [k - 200 for k in peaks(picture, 55, 0.01) if k > 210]
        expected_deg = np.degrees(np.arcsin(rheed.wavelength_A(15.0) / spacing_A))
        assert found[0] * 0.02 == pytest.approx(expected_deg, abs=0.03)


def test_a_square_surface_looks_the_same_from_both_of_its_diagonals():
    square = CHECKER * np.outer(np.arange(64) % 4 < 2, np.arange(64) % 4 < 2)
    symmetric = square + square.T + np.rot90(square) + np.rot90(square.T)
    symmetric = symmetric + np.rot90(symmetric, 2)
    one, other = (rheed.frame(symmetric, azimuth_deg=angle) for angle in (45.0, 135.0))
    assert one == pytest.approx(other, abs=1e-9)


def test_any_azimuth_agrees_with_the_axes_where_it_comes_close_to_them():
    heights = islands()
    for azimuth_deg in (0.0, 90.0, 180.0, 270.0):
        on_axis = rheed.frame(heights, azimuth_deg=azimuth_deg, background=0.0)
        beside = rheed.frame(heights, azimuth_deg=azimuth_deg + 1e-9, background=0.0)
        assert np.abs(on_axis - beside).max() < 0.02 * on_axis.max()
        assert beside.sum() == pytest.approx(on_axis.sum(), rel=0.01)


def test_the_rods_of_a_staircase_lean_with_its_mean_surface():
    """Rods stand along the normal of the mean surface, which rises to the right: they lean left."""
    stairs = np.broadcast_to((np.arange(64) * 2) // 64, (64, 64))
    view = {"shape": (240, 120), "pixel_deg": 0.01, "background": 0.0, "blur_px": 0.7}
    flat, leaning = rheed.frame(FLAT, **view), rheed.frame(stairs, steps=2, **view)
    k_per_A = 2 * np.pi / rheed.wavelength_A(15.0)
    incidence = np.radians(
        rheed.antiphase_incidence_deg(energy_keV=15.0, step_height_A=MONOLAYER_A)
    )
    columns = np.arange(120) - 60
    for row in (60, 90, 110):
        exit_rad = np.radians((239.5 - row) * 0.01)
        q_z = k_per_A * (np.sin(exit_rad) + np.sin(incidence))
        lean_deg = -np.degrees(q_z * (2 * MONOLAYER_A) / (64 * MESH_A) / k_per_A)
        # all rods of the staircase lean alike: they are 2 pi / (64 x 4 A) apart, 0.022 deg
        apart_deg = np.degrees(2 * np.pi / 256.0 / k_per_A)
        weight = leaning[row] / leaning[row].sum()
        place = columns[int(weight.argmax())] * 0.01
        assert abs((place - lean_deg + 0.5 * apart_deg) % apart_deg - 0.5 * apart_deg) < 0.006
        assert columns[int(flat[row].argmax())] == 0


def test_a_window_adds_up_what_the_steps_of_a_staircase_scatter():
    stairs = np.broadcast_to((np.arange(64) * 4) // 64, (64, 64))
    seen = [
        rheed.specular_spot(stairs, phase_rad=3 * np.pi, steps=4, window_sites=w)
        for w in (0.01, 4.0, 1e6)
    ]
    # everything; most of it; and of equal terraces at anti-phase nothing goes straight on
    assert seen[0] == pytest.approx(1.0, abs=1e-3)
    assert 0.5 < seen[1] < 1.0
    assert seen[2] == pytest.approx(0.0, abs=1e-9)
    heights = islands()
    sharp = rheed.specular_spot(heights, phase_rad=1.1, steps=0, window_sites=1e6)
    assert sharp == pytest.approx(rheed.specular_intensity(heights, phase_rad=1.1))
    assert rheed.specular_spot(FLAT, phase_rad=2.0, steps=0, window_sites=9.0) == pytest.approx(1.0)


def test_a_rough_film_shows_rows_of_spots_at_the_in_phase_angles():
    """Three-dimensional roughness leaves the in-phase conditions q_z c = 2 pi n alone bright."""
    heights = np.random.default_rng(3).integers(0, 12, size=(64, 64))
    picture = rheed.frame(heights, shape=(240, 241), pixel_deg=0.02, background=0.0, blur_px=1.0)
    k_per_A = 2 * np.pi / rheed.wavelength_A(15.0)
    incidence = np.radians(
        rheed.antiphase_incidence_deg(energy_keV=15.0, step_height_A=MONOLAYER_A)
    )
    exits = np.radians((239.5 - np.arange(240)) * 0.02)
    phase = k_per_A * MONOLAYER_A * (np.sin(exits) + np.sin(incidence)) / (2 * np.pi)
    # the first-order rods, whose cut with the sphere lies along the whole height
    aside = round(float(np.degrees(np.arcsin(rheed.wavelength_A(15.0) / MESH_A))) / 0.02)
    line = picture[:, 120 + aside - 1 : 120 + aside + 2].mean(axis=1)
    brightest = phase[int(line.argmax())]
    assert abs(brightest - round(brightest)) < 0.05
    off = np.abs(phase - np.round(phase)) > 0.3
    assert line[off].max() < 0.1 * line.max()


def test_an_angle_that_is_no_number_is_refused():
    with pytest.raises(ArgumentError, match="azimuth_deg"):
        rheed.frame(FLAT, azimuth_deg=float("nan"))


def test_counts_have_poisson_mean_and_variance():
    expected = np.full((200, 200), 0.05)
    counts = rheed.expose(
        expected, exposure_s=0.5, gain=3.0, rng=np.random.default_rng(1), electrons_per_s=4000.0
    )
    # 100 electrons a pixel, three counts each: mean 300, variance 9 x 100.
    assert counts.dtype == np.uint16
    assert counts.mean() == pytest.approx(300.0, abs=4 * 30 / 200)
    assert counts.var() == pytest.approx(900.0, rel=4 * np.sqrt(2 / 40000))


def test_the_camera_saturates_instead_of_wrapping():
    counts = rheed.expose(np.ones((4, 4)), exposure_s=10.0, gain=10.0, rng=np.random.default_rng(1))
    assert (counts == 65535).all()


def test_one_generator_state_gives_one_picture():
    pictures = [
        rheed.expose(rheed.frame(FLAT), exposure_s=1.0, gain=1.0, rng=np.random.default_rng(7))
        for _ in range(2)
    ]
    assert np.array_equal(*pictures)
