import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.acquisition import (
    Counting,
    Raster,
    ScanErrors,
    ScanPath,
    visited_pixels,
)

RASTER = Raster((40, 50), 0.2, 1e-3, flyback_s=5e-3, start_A=(-5.0, -4.0), centre_A=(30.0, 20.0))


def test_counts_have_the_mean_and_variance_of_counted_electrons():
    counter = Counting(gain_counts=10.0, gain_spread=0.3, efficiency=0.9)
    counts = counter.counts(np.full(200_000, 0.02), 1000.0, 4.0, np.random.default_rng(1))
    electrons = 0.9 * 1000.0 * 0.02
    mean, variance = 10.0 * electrons + 5.0 * 4.0, 100.0 * electrons * 1.09 + 9.0 * 4.0 + 1 / 12
    assert counts.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / counts.size))
    assert counts.var(ddof=1) == pytest.approx(variance, rel=0.02)
    assert np.all(counts == np.rint(counts))


def test_dark_counts_are_what_the_dark_reference_says():
    counter = Counting()
    counts = counter.counts(np.zeros(100_000), 1e4, 10.0, np.random.default_rng(2))
    assert counts.mean() == pytest.approx(counter.dark_counts(10.0), abs=0.15)
    assert counts.std() == pytest.approx(counter.dark_sd_counts(10.0), rel=0.02)


def test_a_pixel_never_shows_more_than_full_scale():
    counter = Counting(full_scale_counts_per_us=100.0)
    counts = counter.counts(np.ones(10), 1e6, 2.0, np.random.default_rng(0))
    assert counts.max() == counter.saturation_counts(2.0) == 200.0


def test_every_pixel_is_looked_at_at_its_own_time():
    times = RASTER.times_s(0, 40)
    assert times[0, 0] == pytest.approx(0.5e-3)
    assert times[0, 49] == pytest.approx(49.5e-3)
    assert times[7, 3] == pytest.approx(7 * 55e-3 + 3.5e-3)
    assert RASTER.duration_s == pytest.approx(40 * 55e-3)


def test_drift_displaces_the_end_of_a_frame_by_rate_times_time():
    drift = (0.3, -0.2)
    still = ScanPath.draw(RASTER, ScanErrors())
    moved = ScanPath.draw(RASTER, ScanErrors(drift_A_per_s=drift))
    for axis in (0, 1):
        away = still.places_A(0, 40)[axis] - moved.places_A(0, 40)[axis]
        np.testing.assert_allclose(away, drift[axis] * RASTER.times_s(0, 40), atol=1e-9)


def test_the_random_walk_grows_as_the_root_of_time():
    errors = ScanErrors(walk_A_per_root_s=0.4)
    ends = [
        ScanPath.draw(RASTER, errors, np.random.default_rng(seed)).walk_A[-1] for seed in range(600)
    ]
    expected = 0.4 * np.sqrt(RASTER.duration_s)
    np.testing.assert_allclose(np.std(ends, axis=0), expected, rtol=0.12)


def test_lines_jitter_by_what_was_asked_and_half_of_it_across():
    errors = ScanErrors(jitter_A=0.1)
    raster = Raster((4000, 1), 0.2, 1e-6)
    path, still = (
        ScanPath.draw(raster, e, np.random.default_rng(3)).places_A(0, 4000)
        for e in (errors, ScanErrors())
    )
    assert np.std(path[0] - still[0]) == pytest.approx(0.1, rel=0.05)
    assert np.std(path[1] - still[1]) == pytest.approx(0.05, rel=0.05)
    # a line moves as a whole
    wide = ScanPath.draw(RASTER, errors, np.random.default_rng(3))
    np.testing.assert_allclose(np.diff(wide.places_A(0, 40)[0], axis=1), 0.2)


def test_scale_shear_and_rotation_are_what_they_say():
    raster = Raster((2, 2), 1.0, 1e-6, rotation_deg=90.0)
    x, y = ScanPath.draw(raster, ScanErrors(scale_x=1.02, scale_y=0.99, shear_rad=0.1)).places_A(
        0, 2
    )
    fast = np.array([x[0, 1] - x[0, 0], y[0, 1] - y[0, 0]])
    slow = np.array([x[1, 0] - x[0, 0], y[1, 0] - y[0, 0]])
    # lines run along y when the scan is turned by 90 degrees, and successive lines along -x
    np.testing.assert_allclose(fast, [0.0, 1.02], atol=1e-12)
    np.testing.assert_allclose(slow, [-0.99, 1.02 * np.tan(0.1)], atol=1e-12)


def test_places_of_the_sample_are_found_in_the_image_again():
    errors = ScanErrors(
        scale_x=1.01,
        scale_y=0.99,
        shear_rad=0.01,
        rotation_deg=0.7,
        drift_A_per_s=(0.2, -0.1),
        walk_A_per_root_s=0.05,
    )
    path = ScanPath.draw(RASTER, errors, np.random.default_rng(4)).without_jitter()
    x, y = path.places_A(0, 40)
    pixels = path.pixels_of(x.ravel(), y.ravel())
    expected = np.stack(np.indices((40, 50)), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(pixels, expected, atol=2e-3)


def test_a_subset_takes_the_time_of_the_pixels_that_are_visited():
    visited = visited_pixels((40, 50), 0.1, 3, None)
    assert visited.sum() == 200
    raster = Raster((40, 50), 0.2, 1e-3, flyback_s=5e-3, hop_s=1e-4, visited=visited)
    lines = int(visited.any(axis=1).sum())
    assert raster.duration_s == pytest.approx(200 * 1.1e-3 + lines * 5e-3)
    np.testing.assert_array_equal(visited, visited_pixels((40, 50), 0.1, 3, None))
    assert visited_pixels((40, 50), 1.0, 3, None) is None


def test_pixels_outside_are_refused():
    with pytest.raises(ArgumentError, match="below 4"):
        visited_pixels((2, 2), 1.0, 0, (4,))
    with pytest.raises(ArgumentError, match="inside the 64 x 64"):
        Raster.of_field(10.0, 64, region=(50, 0, 20, 64), dwell_s=1e-6)


def test_a_region_looks_at_the_places_of_its_pixels_in_the_field():
    options = {"dwell_s": 1e-6, "centre_A": (7.0, 3.0), "rotation_deg": 20.0}
    whole = ScanPath.draw(Raster.of_field(10.0, 64, region=None, **options), ScanErrors())
    part = ScanPath.draw(
        Raster.of_field(10.0, 64, region=(10, 20, 16, 30), **options), ScanErrors()
    )
    for axis in (0, 1):
        np.testing.assert_allclose(
            part.places_A(0, 16)[axis], whole.places_A(0, 64)[axis][10:26, 20:50]
        )
