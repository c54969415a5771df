from math import erf, sqrt

import numpy as np
import pytest

from twinloop.analysts.interface import find_analyst
from twinloop.analysts.stem import STEMAnalyst

ANALYST = STEMAnalyst()
GAIN = 9.0


def image_of(
    places_A, heights, *, field_A=20.0, pixels=100, seed=0, ground=20.0, width_A=0.45, jitter_A=0.0
):
    """Columns of known places (x, y) as Gaussians, counted electron by electron."""
    rng = np.random.default_rng(seed)
    axis = np.arange(pixels) * field_A / pixels
    start = jitter_A * rng.standard_normal(pixels)
    light = np.full((pixels, pixels), ground)
    for (x, y), height in zip(places_A, heights, strict=True):
        across = np.exp(-0.5 * ((axis[None] + start[:, None] - x) / width_A) ** 2)
        light += height * across * np.exp(-0.5 * ((axis[:, None] - y) / width_A) ** 2)
    return {"counts": GAIN * rng.poisson(light / GAIN), "pixel_A": field_A / pixels}


def square(a_A=3.0, field_A=20.0, *, angle_deg=90.0, turn_deg=0.0):
    turn, lean = np.radians(turn_deg), np.radians(turn_deg + angle_deg)
    vectors = a_A * np.array([[np.cos(turn), np.sin(turn)], [np.cos(lean), np.sin(lean)]])
    numbers = np.stack(np.meshgrid(np.arange(-12, 13), np.arange(-12, 13)), axis=-1).reshape(-1, 2)
    places = numbers @ vectors + field_A / 2.0
    return places[((places > 0.6) & (places < field_A - 0.8)).all(axis=1)]


def matched(found, places):
    """Return errors and deviations, axis by axis, of columns away from the edge."""
    seen = np.column_stack([found.x_A, found.y_A])
    sd = np.column_stack([found.x_sd_A, found.y_sd_A])
    away = np.hypot(*(seen[:, None] - places[None]).transpose(2, 0, 1))
    assert away.min(axis=1).max() < 0.5
    return seen - places[away.argmin(axis=1)], sd


def test_the_analyst_is_found_by_its_name():
    assert find_analyst("stem") is STEMAnalyst
    assert set(STEMAnalyst.quantities()) == {"columns", "lattice", "defects", "film"}


def test_every_column_is_found_and_nothing_else():
    places = square()
    found = ANALYST.compute("columns", **image_of(places, np.full(len(places), 900.0)))
    assert found.count == len(places)
    matched(found, places)
    assert found.width_A == pytest.approx(0.45, abs=0.03)


@pytest.mark.parametrize("jitter_A", [0.0, 0.08])
def test_places_are_as_uncertain_as_they_say(jitter_A):
    errors, sds = [], []
    for seed in range(4):
        places = square(turn_deg=4.0)
        scene = image_of(places, np.full(len(places), 300.0), seed=seed, jitter_A=jitter_A)
        error, sd = matched(ANALYST.compute("columns", **scene), places)
        errors.append(error)
        sds.append(sd)
    z = np.concatenate(errors) / np.concatenate(sds)
    assert z.size > 250
    np.testing.assert_array_less(0.84, (np.abs(z) < 1.645).mean(axis=0))
    np.testing.assert_array_less((np.abs(z) < 1.645).mean(axis=0), 0.96)


def test_precision_is_what_counting_permits():
    # Fisher information of a Gaussian with Poisson noise, no background: sd = width / sqrt(N)
    places = square(a_A=4.0)
    scene = image_of(places, np.full(len(places), 2000.0), ground=1e-3, seed=3)
    found = ANALYST.compute("columns", **scene)
    electrons = 2000.0 / GAIN * 2 * np.pi * (0.45 / 0.2) ** 2
    error, _ = matched(found, places)
    # the analyst takes a constant part of the noise too, hence not the last factor
    assert 0.8 < error.std() / (0.45 / np.sqrt(electrons)) < 2.2


def test_jitter_of_the_lines_is_measured():
    places = square(turn_deg=4.0)
    found = ANALYST.compute(
        "columns", **image_of(places, np.full(len(places), 5000.0), jitter_A=0.1)
    )
    assert found.jitter_A == pytest.approx(0.1, rel=0.3)


def test_pixels_that_were_left_out_are_not_missed():
    places = square()
    scene = image_of(places, np.full(len(places), 3000.0))
    seen = np.random.default_rng(1).random((100, 100)) < 0.5
    scene["counts"] = np.where(seen, scene["counts"], 0)
    found = ANALYST.compute("columns", is_acquired=seen, **scene)
    assert found.count == len(places)
    error, sd = matched(found, places)
    assert (np.abs(error / sd) < 1.645).mean() > 0.8


def test_the_lattice_has_its_lengths_angle_and_turn():
    places = square(a_A=3.0, angle_deg=88.0, turn_deg=5.0)
    found = ANALYST.compute(
        "lattice", expected_a_A=3.03, **image_of(places, np.full(len(places), 900.0))
    )
    assert found.is_seen
    assert found.sites == 1
    assert found.a_A == pytest.approx(3.0, abs=4 * found.a_sd_A)
    assert found.angle_deg == pytest.approx(88.0, abs=4 * found.angle_sd_deg)
    assert found.turn_deg == pytest.approx(5.0, abs=0.2)
    assert found.scale == pytest.approx(1.01, abs=0.003)
    # two degrees of shear
    assert found.strain == pytest.approx(np.radians(2.0), abs=0.003)
    assert found.is_distorted


def test_a_second_column_in_the_cell_is_a_site_not_a_lattice_point():
    corners = square(a_A=3.9)
    middles = corners + 1.95
    middles = middles[(middles < 19.2).all(axis=1)]
    places = np.concatenate([corners, middles])
    heights = np.r_[np.full(len(corners), 900.0), np.full(len(middles), 400.0)]
    found = ANALYST.compute("lattice", **image_of(places, heights))
    assert found.sites == 2
    assert found.a_A == pytest.approx(3.9, abs=0.02)
    assert found.b_A == pytest.approx(3.9, abs=0.02)
    assert not found.is_distorted
    assert not found.is_blurred


def test_a_missing_column_and_a_heavy_one_are_told_with_their_places():
    places = square()
    heights = np.full(len(places), 900.0)
    hole, heavy = (
        int(np.argmin(np.hypot(*(places - spot).T))) for spot in ((7.0, 10.0), (13.0, 7.0))
    )
    heights[hole], heights[heavy] = 0.0, 2700.0
    found = ANALYST.compute("defects", **image_of(places, heights))
    assert found.missing == pytest.approx(1.0, abs=0.1)
    assert found.change.size == 2
    order = np.argsort(found.change)
    seen = np.column_stack([found.x_A, found.y_A])[order]
    np.testing.assert_allclose(seen, places[[hole, heavy]], atol=0.2)
    np.testing.assert_allclose(found.change[order], [-1.0, 2.0], atol=0.15)


def test_a_perfect_lattice_has_no_defects_however_noisy():
    total = 0.0
    for seed in range(3):
        places = square(turn_deg=3.0 * seed)
        found = ANALYST.compute(
            "defects", **image_of(places, np.full(len(places), 70.0), seed=seed)
        )
        assert found.change.size == 0
        total += found.missing
    assert total < 0.5


@pytest.mark.parametrize("name", ["columns", "lattice", "defects", "film"])
def test_an_image_of_nothing_gives_nothing_and_no_error(name):
    noise = np.random.default_rng(0).poisson(50.0, (80, 80))
    found = ANALYST.compute(name, counts=noise, pixel_A=0.2)
    if name == "columns":
        assert found.count < 12
    else:
        assert not found.is_seen
    blank = ANALYST.compute(name, counts=np.zeros((80, 80)), pixel_A=0.2, dark_counts=0.0)
    assert name == "columns" or not blank.is_seen


def planes(thickness, width_ML, *, contrast=0.23, coverage=0.0, seed=0, pixel_A=0.25, scale=1.0):
    """A cross-section whose planes have known heights: cations step down, arsenic ends."""
    rng = np.random.default_rng(seed)
    rows, columns = 300, 120
    y = np.arange(rows)[:, None] * pixel_A * scale
    x = np.arange(columns)[None] * pixel_A
    light = np.full((rows, columns), 2.0)
    for k in range(-16, thickness + 2):
        there = 1.0 if k <= thickness else (coverage if k == thickness + 1 else 0.0)
        gallium = (
            float(k < 0.75)
            if width_ML == 0
            else 0.5 * (1.0 + erf((0.5 - k) / width_ML / sqrt(2.0)))
        )
        cation = there * (0.9 * (gallium + contrast * (1.0 - gallium)))
        level = 38.0 + k * 2.82663
        for height, at, shift in ((cation, level, k % 2), (there, level + 1.41331, (k + 1) % 2)):
            phase = np.cos(2 * np.pi * (x / 3.9975 - 0.5 * shift))
            light = light + 400.0 * height * np.exp(1.6 * (phase - 1.0)) * np.exp(
                -0.5 * ((y - at) / 0.45) ** 2
            )
    return {"counts": GAIN * rng.poisson(light / GAIN), "pixel_A": pixel_A}


@pytest.mark.parametrize(("thickness", "width_ML"), [(6, 0.0), (8, 1.0), (5, 0.5)])
def test_a_film_is_as_thick_as_it_was_made(thickness, width_ML):
    found = ANALYST.compute("film", **planes(thickness, width_ML))
    assert found.is_seen
    assert found.thickness_ML == pytest.approx(thickness, abs=3 * found.thickness_sd_ML)
    assert found.thickness_sd_ML < 0.25
    assert found.width_ML == pytest.approx(width_ML, abs=0.25)
    assert found.contrast == pytest.approx(0.23, abs=0.08)


def test_a_part_of_a_layer_counts_as_that_part():
    found = ANALYST.compute("film", **planes(6, 0.5, coverage=0.4))
    assert found.thickness_ML == pytest.approx(6.4, abs=3 * found.thickness_sd_ML)


def test_the_crystal_is_the_ruler_not_the_calibration():
    found = ANALYST.compute("film", **planes(6, 0.5, scale=1.02))
    assert found.scale == pytest.approx(1.02, abs=0.004)
    assert found.thickness_ML == pytest.approx(6.0, abs=3 * found.thickness_sd_ML)


def test_a_substrate_without_a_film_shows_no_interface():
    assert not ANALYST.compute("film", **planes(6, 0.0, contrast=1.0)).is_seen
