import numpy as np
import pytest

from twinloop.analysts.stem_columns import Image, refine

PIXEL_A, WIDTH_PX = 0.2, 2.2
HEIGHT, NOISE = 200.0, 8.0


def lattice_of(spacing_px, *, jitter_px=0.0, stretch=1.0, seed=0):
    """An image of equal columns on a square mesh, white noise, and where they stand."""
    rng = np.random.default_rng(seed)
    middles = np.arange(14.0, 106.0, spacing_px)
    places = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 2)
    axis = np.arange(120.0)
    along = axis[None] + jitter_px * rng.standard_normal((120, 1))
    counts = NOISE * rng.standard_normal((120, 120))
    for row, column in places:
        down = np.exp(-0.5 * ((axis - row) / WIDTH_PX / stretch) ** 2)
        counts += HEIGHT * down[:, None] * np.exp(-0.5 * ((along - column) / WIDTH_PX) ** 2)
    return Image(counts, np.ones((120, 120), bool), PIXEL_A), places


def test_places_of_lone_columns_are_as_sure_as_fisher_information_permits():
    image, places = lattice_of(18.0)
    fitted = refine(image, places.copy())
    # the slope of a Gaussian has the square pi h^2 / 2, whatever its width
    least = np.sqrt(2.0 / np.pi) * NOISE / HEIGHT
    np.testing.assert_array_less(least * 0.95, np.median(fitted.places_sd, axis=0))
    np.testing.assert_array_less(np.median(fitted.places_sd[:, 0]), least * 1.35)


def test_columns_that_overlap_are_less_sure():
    lone, close = (refine(*lattice_of(spacing)) for spacing in (18.0, 6.0))
    assert np.median(close.places_sd) > 1.05 * np.median(lone.places_sd)


def test_jitter_moves_columns_along_the_lines_and_is_told():
    image, places = lattice_of(9.0, jitter_px=0.3)
    fitted = refine(image, places.copy())
    assert fitted.jitter[0] == pytest.approx(0.3, rel=0.3)
    assert fitted.jitter[1] < 0.15
    error = (fitted.places - places)[:, 1]
    assert np.median(fitted.places_sd[:, 1]) == pytest.approx(error.std(), rel=0.3)


def test_an_astigmatic_probe_is_no_misfit():
    image, places = lattice_of(9.0, stretch=1.25)
    fitted = refine(image, places.copy())
    error = fitted.places - places
    assert np.sqrt((error**2).mean()) < 1.3 * np.median(fitted.places_sd)
