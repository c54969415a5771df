"""Spots and their intensities against `rheedium`, and against a sum over atoms.

What is compared: where the Ewald sphere cuts the rods, and |sum exp(i q . r)|^2 over the topmost atoms
where it does. Atomic form factors cannot be: rheedium has those of elements, `rheed.frame` a stand-in
(a Gaussian of the momentum along the surface); both are divided out. Nor can rheedium's surface
(a crystal that ends, with its own attenuation): its truncation factor is switched off, so that its
crystal is the topmost layer, as here.
"""

import numpy as np
import pytest

from twinloop.lattice_constants import MESH_A, MONOLAYER_A
from twinloop.simulators import rheed

pytestmark = [
    pytest.mark.physics,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(300),
]

ENERGY_KEV, INCIDENCE_DEG = 15.0, 2.4
LATTICE_A, STEP_A = MESH_A, MONOLAYER_A
FLAT = np.zeros((1, 1), dtype=np.int32)
ISLANDS = np.array([[0, 1, 1, 0], [0, 1, 2, 0], [0, 0, 1, 0], [1, 0, 0, 0]], dtype=np.int32)


def reference_spots(heights, azimuth_deg, *, orders):
    """Exit angle, angle aside [deg], momentum transfer (n, 3) [1/A] and |F|^2 of each spot."""
    jax = pytest.importorskip("jax", reason="rheedium stands on jax")
    pytest.importorskip("rheedium", reason="rheedium is the reference")
    jax.config.update("jax_enable_x64", True)
    from rheedium.simul import atomic_scattering_factor, ewald_simulator
    from rheedium.types import create_crystal_structure

    size, gold = heights.shape[0], 79
    first, second = np.indices(heights.shape)
    places = np.column_stack(
        [first.ravel() * LATTICE_A, second.ravel() * LATTICE_A, heights.ravel() * STEP_A]
    )
    cell = np.array([size * LATTICE_A, size * LATTICE_A, 1000.0])
    numbers = np.full((places.shape[0], 1), float(gold))
    crystal = create_crystal_structure(
        *map(
            jax.numpy.asarray,
            (np.hstack([places / cell, numbers]), np.hstack([places, numbers]), cell, [90.0] * 3),
        )
    )
    pattern = ewald_simulator(
        crystal,
        energy_kev=ENERGY_KEV,
        theta_deg=INCIDENCE_DEG,
        phi_deg=azimuth_deg,
        hmax=orders * size,
        kmax=orders * size,
        temperature=0.0,
        ctr_power=0.0,
        roughness_power=0.0,
    )
    is_there = np.asarray(pattern.G_indices) >= 0
    k_out = np.asarray(pattern.k_out)[is_there]
    k = np.linalg.norm(k_out, axis=1)
    turn, glancing = np.radians(azimuth_deg), np.radians(INCIDENCE_DEG)
    beam = np.array(
        [np.cos(glancing) * np.cos(turn), np.cos(glancing) * np.sin(turn), -np.sin(glancing)]
    )
    q = k_out - k[:, None] * beam
    factors = atomic_scattering_factor(gold, jax.numpy.asarray(q), temperature=0.0)
    f2 = np.asarray(pattern.intensities)[is_there] / np.square(np.asarray(factors))
    aside = k_out[:, 1] * np.cos(turn) - k_out[:, 0] * np.sin(turn)
    forward = k_out[:, 0] * np.cos(turn) + k_out[:, 1] * np.sin(turn)
    up_deg = np.degrees(np.arcsin(k_out[:, 2] / k))
    aside_deg = np.degrees(np.arcsin(aside / k))
    keep = (up_deg > 0.2) & (forward > 0)
    return up_deg[keep], aside_deg[keep], q[keep], f2[keep]


def picture(heights, azimuth_deg, *, pixel_deg, rows_deg, columns_deg, size):
    tiled = np.tile(heights, (size // heights.shape[0],) * 2)
    shape = (round(rows_deg / pixel_deg), 2 * round(columns_deg / pixel_deg))
    return rheed.frame(
        tiled,
        energy_keV=ENERGY_KEV,
        incidence_deg=INCIDENCE_DEG,
        lattice_A=LATTICE_A,
        step_height_A=STEP_A,
        azimuth_deg=azimuth_deg,
        shape=shape,
        pixel_deg=pixel_deg,
        blur_px=0.6,
        background=0.0,
    )


def spot_in(screen, pixel_deg, up_deg, aside_deg, *, reach_deg=0.12):
    """Exit angle, angle aside of the brightest place near a spot, and its height along the rod."""
    rows, columns = screen.shape
    ups = np.arange(rows - 0.5, 0.0, -1.0) * pixel_deg
    asides = np.arange(-(columns // 2), columns - columns // 2) * pixel_deg
    down, across = np.abs(ups - up_deg) < reach_deg, np.abs(asides - aside_deg) < 0.08
    patch = screen[np.ix_(down, across)]
    along, beside = patch.sum(axis=1), patch.sum(axis=0)
    top = int(along.argmax())
    return ups[down][top], float(beside @ asides[across] / beside.sum()), float(along[top])


@pytest.mark.parametrize("azimuth_deg", [0.0, 45.0, 90.0])
def test_spots_stand_where_rheedium_says(azimuth_deg):
    pixel_deg = 0.02
    up_deg, aside_deg, _, _ = reference_spots(FLAT, -azimuth_deg, orders=4)
    screen = picture(
        FLAT, azimuth_deg, pixel_deg=pixel_deg, rows_deg=14.0, columns_deg=4.6, size=128
    )
    near = (up_deg < 13.7) & (np.abs(aside_deg) < 4.4)
    assert near.sum() >= 6
    for up, aside in zip(up_deg[near], aside_deg[near], strict=True):
        found_up, found_aside, height = spot_in(screen, pixel_deg, up, aside)
        assert height > 0
        assert found_up == pytest.approx(up, abs=1.5 * pixel_deg)
        assert found_aside == pytest.approx(aside, abs=0.5 * pixel_deg)


@pytest.mark.parametrize("azimuth_deg", [0.0, 90.0])
def test_islands_share_the_intensity_among_spots_as_rheedium_says(azimuth_deg):
    ours, theirs = spot_intensities(ISLANDS, azimuth_deg)
    assert ours == pytest.approx(theirs, rel=0.06, abs=0.01)


@pytest.mark.parametrize("azimuth_deg", [0.0, 90.0])
def test_islands_alike_from_both_sides_share_the_intensity_as_rheedium_says(azimuth_deg):
    even = np.array([[0, 1, 1, 0], [2, 1, 0, 0], [0, 0, 1, 2], [0, 1, 1, 0]], dtype=np.int32)
    assert np.array_equal(np.rot90(even, 2), even)
    ours, theirs = spot_intensities(even, azimuth_deg)
    assert ours == pytest.approx(theirs, rel=0.06, abs=0.01)


def spot_intensities(heights, azimuth_deg):
    """Heights of the spots of both, without form factors, the highest 1."""
    pixel_deg = 0.006
    up_deg, aside_deg, q, f2 = reference_spots(heights, -azimuth_deg, orders=2)
    screen = picture(
        heights, azimuth_deg, pixel_deg=pixel_deg, rows_deg=7.2, columns_deg=1.6, size=256
    )
    near = (up_deg < 7.0) & (up_deg > 0.8) & (np.abs(aside_deg) < 1.5)
    assert near.sum() >= 12
    places = zip(up_deg[near], aside_deg[near], strict=True)
    ours = np.array([spot_in(screen, pixel_deg, up, aside)[2] for up, aside in places])
    ours *= np.exp(rheed.FORM_FACTOR_A2 * np.sum(q[near, :2] ** 2, axis=1))
    return ours / ours.max(), f2[near] / f2[near].max()


def test_rheedium_adds_the_waves_of_atoms():
    _, _, q, f2 = reference_spots(ISLANDS, 0.0, orders=2)
    first, second = np.indices(ISLANDS.shape)
    places = np.column_stack(
        [first.ravel() * LATTICE_A, second.ravel() * LATTICE_A, ISLANDS.ravel() * STEP_A]
    )
    plain = np.abs(np.exp(1j * q @ places.T).sum(axis=1)) ** 2
    assert f2 / f2.max() == pytest.approx(plain / plain.max(), rel=1e-3, abs=1e-4)
