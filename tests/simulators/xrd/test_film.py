"""The specular rod against sums over atoms, slits and long stacks."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.xrd.film import (
    CLASSICAL_RADIUS_A,
    FilmOnSubstrate,
    Optics,
    PlaneStack,
    expected_counts_per_s,
    momentum_per_A,
)
from twinloop.simulators.xrd.scattering_factors import CU_KA1_A, form_factors

C_A = 2.5


def slits(q_per_A, n, c_A):
    """Laue's interference function."""
    return np.sin(0.5 * n * c_A * q_per_A) ** 2 / np.sin(0.5 * c_A * q_per_A) ** 2


def test_a_free_film_is_laues_interference_function():
    q = np.linspace(2.0, 3.1, 400)
    film = PlaneStack.of(C_A * np.arange(17), [6], np.ones((17, 1)))
    f2 = form_factors([6], q)[0] ** 2
    found = np.abs(film.amplitude(q, is_anomalous=False)) ** 2
    assert found == pytest.approx(f2 * slits(q, 17, C_A), rel=1e-9, abs=1e-9)


def test_fringes_are_two_pi_over_the_thickness_apart():
    n, q = 24, np.linspace(1.6, 2.4, 40001)
    film = PlaneStack.of(C_A * np.arange(n), [14], np.ones((n, 1)))
    seen = (
        np.abs(film.amplitude(q)) ** 2 / np.abs(PlaneStack.of([0], [14], [[1]]).amplitude(q)) ** 2
    )
    minima = q[1:-1][(seen[1:-1] < seen[:-2]) & (seen[1:-1] < seen[2:])]
    assert np.diff(minima) == pytest.approx(2 * np.pi / (n * C_A), rel=1e-3)


def test_incomplete_layers_scatter_as_their_coverage_says():
    # every column of a height map, one by one, against the coverage of each layer
    heights = np.random.default_rng(3).integers(2, 7, size=(12, 12))
    q = np.linspace(1.0, 4.0, 50)
    columns = [np.exp(1j * np.outer(q, C_A * np.arange(h))).sum(axis=1) for h in heights.ravel()]
    coverage = [(heights > layer).mean() for layer in range(7)]
    stack = PlaneStack.of(C_A * np.arange(7), [6], np.array(coverage)[:, None])
    f = form_factors([6], q)[0]
    assert stack.amplitude(q, is_anomalous=False) == pytest.approx(f * np.mean(columns, axis=0))


def test_a_rod_is_the_sum_over_a_very_deep_crystal():
    q, depth = np.linspace(1.2, 2.2, 30), 40_000
    silicon = PlaneStack.of([0.0], [14], [[1.0]])
    absorbing = FilmOnSubstrate(
        PlaneStack.of([], [14], np.zeros((0, 1))), silicon, C_A, 1e9, absorption_per_A=2e-4
    )
    sine = q * CU_KA1_A / (4 * np.pi)
    cells = np.arange(depth)
    waves = np.exp(np.outer(-1j * q * C_A - 2e-4 * C_A / sine, cells)).sum(axis=1)
    assert absorbing.amplitude(q) == pytest.approx(silicon.amplitude(q) * waves, rel=1e-4)


def test_a_film_of_the_substrates_own_cells_cannot_be_told_from_it():
    silicon = PlaneStack.of([0.0], [14], [[1.0]])
    grown = PlaneStack.of(C_A * np.arange(1, 12), [14], np.ones((11, 1)))
    q = np.linspace(1.0, 2.2, 40)
    bare = FilmOnSubstrate(PlaneStack.of([], [14], np.zeros((0, 1))), silicon, C_A, 9.0)
    covered = FilmOnSubstrate(grown, silicon, C_A, 9.0)
    assert covered.reflectivity(q) == pytest.approx(bare.reflectivity(q), rel=2e-3)


def test_off_the_peaks_a_plane_reflects_what_its_electrons_do():
    # Half way between peaks the rod of a primitive crystal is |F|^2 / 4.
    silicon = PlaneStack.of([0.0], [14], [[1.0]])
    sample = FilmOnSubstrate(PlaneStack.of([], [14], np.zeros((0, 1))), silicon, C_A, 9.0)
    q = np.array([3 * np.pi / C_A])
    two_theta = 2 * np.arcsin(q * CU_KA1_A / (4 * np.pi))
    part = (4 * np.pi * CLASSICAL_RADIUS_A / (q * 9.0)) ** 2
    expected = part * np.abs(silicon.amplitude(q)) ** 2 / 4 * (1 + np.cos(two_theta) ** 2) / 2
    assert sample.reflectivity(q) == pytest.approx(expected, rel=1e-3)


def test_a_substrate_peak_never_reflects_more_than_came():
    gold = PlaneStack.of([0.0], [14], [[1.0]])
    sample = FilmOnSubstrate(PlaneStack.of([], [14], np.zeros((0, 1))), gold, C_A, 9.0)
    q = 2 * np.pi / C_A + np.linspace(-1e-3, 1e-3, 2001)
    assert 0.5 < sample.reflectivity(q).max() <= 1.0


def test_the_fast_grid_agrees_with_every_point():
    film = PlaneStack.of(C_A * np.arange(1, 40) * 1.01, [13], np.ones((39, 1)))
    silicon = PlaneStack.of([0.0], [14], [[1.0]])
    sample = FilmOnSubstrate(film, silicon, C_A, 9.0)
    grid = np.linspace(2.0, 3.0, 20001)
    assert sample.reflectivity_on_grid(grid) == pytest.approx(sample.reflectivity(grid), rel=3e-3)


def test_resolution_spreads_a_peak_and_keeps_its_area():
    silicon = PlaneStack.of([0.0], [14], [[1.0]])
    sample = FilmOnSubstrate(PlaneStack.of([], [14], np.zeros((0, 1))), silicon, C_A, 9.0)
    angles = np.arange(34.5, 37.3, 0.002)
    q = momentum_per_A(angles, CU_KA1_A)
    areas, widths = [], []
    for resolution_per_A in (0.002, 0.004):
        optics = Optics(1e7, 0.0, resolution_per_A)
        seen = expected_counts_per_s(sample, angles, optics)
        areas.append(np.trapezoid(seen, q))
        widths.append(np.ptp(q[seen > 0.5 * seen.max()]))
    assert areas[0] == pytest.approx(areas[1], rel=0.01)
    fine = np.linspace(q[0], q[-1], 200_001)
    assert areas[0] == pytest.approx(1e7 * np.trapezoid(sample.reflectivity(fine), fine), rel=0.01)
    assert widths == pytest.approx([2.355 * 0.002, 2.355 * 0.004], rel=0.05)


def test_background_is_there_at_every_angle():
    sample = FilmOnSubstrate(
        PlaneStack.of([], [14], np.zeros((0, 1))), PlaneStack.of([0.0], [14], [[1.0]]), C_A, 9.0
    )
    angles = np.linspace(20.0, 30.0, 50)
    bare = expected_counts_per_s(sample, angles, Optics(1e6, 0.0))
    assert expected_counts_per_s(sample, angles, Optics(1e6, 3.0)) == pytest.approx(bare + 3.0)


def test_angles_where_refraction_matters_are_refused():
    sample = FilmOnSubstrate(
        PlaneStack.of([], [14], np.zeros((0, 1))), PlaneStack.of([0.0], [14], [[1.0]]), C_A, 9.0
    )
    with pytest.raises(ArgumentError, match="two_theta_deg"):
        expected_counts_per_s(sample, np.array([0.5, 1.0]), Optics())


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="occupancy"):
        PlaneStack.of([0.0, 1.0], [6], [[1.0]])
