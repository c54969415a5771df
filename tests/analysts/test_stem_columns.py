"""Columns that overlap, hardly above the noise: the common fit comes to rest, and is as good as counting permits."""

import numpy as np

from twinloop.analysts.stem_columns import Image, find_columns, refine

SIDE, PIXEL_A = 96, 0.1875
BOND_A, WIDTH_A = 1.42, 0.42
HEIGHT, GROUND, NOISE = 140.0, 50.0, 28.0


def honeycomb_A(rng: np.random.Generator) -> np.ndarray:
    """Return the atoms of a sheet that lies somehow, shape (n, 2) [A]."""
    steps = np.stack(np.meshgrid(*[np.arange(-16, 17)] * 2, indexing="ij"), -1).reshape(-1, 1, 2)
    lattice_A = np.sqrt(3.0) * BOND_A * np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    places = (steps @ lattice_A + np.array([[0.0, 0.0], [0.0, BOND_A]])).reshape(-1, 2)
    angle = rng.uniform(0.0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = places @ turn + 0.5 * SIDE * PIXEL_A + rng.uniform(0.0, BOND_A, 2)
    return places[((places > -2.0) & (places < SIDE * PIXEL_A + 2.0)).all(axis=1)]


def refined(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return errors and stated deviations of the columns away from the edge, each (n, 2) [A]."""
    rng = np.random.default_rng(seed)
    places_A = honeycomb_A(rng)
    axis_A = PIXEL_A * np.arange(SIDE)
    bells = np.exp(-0.5 * ((axis_A[:, None] - places_A.T[:, None]) / WIDTH_A) ** 2)
    counts = GROUND + HEIGHT * bells[0] @ bells[1].T + NOISE * rng.standard_normal((SIDE, SIDE))
    image = Image(counts, np.ones((SIDE, SIDE), dtype=bool), PIXEL_A)
    found = refine(image, find_columns(image, 1.0))
    at_A, sd_A = PIXEL_A * found.places, PIXEL_A * found.places_sd
    away_A = np.linalg.norm(at_A[:, None] - places_A, axis=2)
    inner = (np.abs(at_A - 0.5 * SIDE * PIXEL_A) < 0.5 * SIDE * PIXEL_A - 1.0).all(axis=1)
    inner &= away_A.min(axis=1) < 0.6
    return (at_A - places_A[away_A.argmin(axis=1)])[inner], sd_A[inner]


def test_columns_that_overlap_are_placed_as_well_as_counting_permits():
    errors_A, sd_A = (np.concatenate(v) for v in zip(*map(refined, range(10)), strict=True))
    assert len(errors_A) > 800
    # of one round Gaussian alone on a known background: Winick, J. Opt. Soc. Am. A 3, 1809 (1986)
    bound_A = np.sqrt(2.0 / np.pi) * NOISE / HEIGHT * PIXEL_A
    rms_A = np.sqrt((errors_A**2).mean(axis=0))
    assert (rms_A > bound_A).all()
    assert (rms_A < 1.4 * bound_A).all()  # neighbours and backgrounds are fitted with it
    assert sd_A.min() > 0.5 * bound_A
    assert (np.median(sd_A, axis=0) < 1.6 * bound_A).all()
    inside = (np.abs(errors_A) < 1.6449 * sd_A).mean(axis=0)
    assert (inside > 0.85).all()
    assert (inside < 0.97).all()
