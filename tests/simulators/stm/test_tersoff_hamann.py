"""Waves in the vacuum: exact sums, known decays."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.density_of_states import eigenstates
from twinloop.simulators.stm.graphene import graphene, graphene_crystal
from twinloop.simulators.stm.mos2 import mos2
from twinloop.simulators.stm.tersoff_hamann import (
    CONTACT_A,
    Waves,
    corrugation_decay_per_A,
    decay_per_A,
    tails,
)
from twinloop.simulators.stm.tight_binding import TightBinding


def test_the_current_falls_by_two_per_angstrom_at_four_electronvolts():
    # Textbooks: kappa = 0.51 sqrt(phi) 1/A, a decade of current for each angstrom.
    assert -2 * decay_per_A(4.0) == pytest.approx(-2.05, abs=0.005)
    assert decay_per_A(1.0) == pytest.approx(0.51, abs=0.005)
    # A decade per angstrom is 2 kappa = ln 10, which is 5 eV.
    assert decay_per_A(5.05) == pytest.approx(np.log(10) / 2, rel=2e-3)


def angular(name, x, y, z):
    return {
        "pz": np.sqrt(3) * z,
        "px": np.sqrt(3) * x,
        "py": np.sqrt(3) * y,
        "dz2": np.sqrt(5) / 2 * (3 * z * z - 1),
        "dxz": np.sqrt(15) * x * z,
        "dyz": np.sqrt(15) * y * z,
        "dx2-y2": np.sqrt(15) / 2 * (x * x - y * y),
        "dxy": np.sqrt(15) * x * y,
    }[name]


def bessel(degree, u):
    # Modified spherical Bessel functions of the second kind, Abramowitz & Stegun 10.2.17.
    return np.exp(-u) * [1 / u, 1 / u + 1 / u**2, 1 / u + 3 / u**2 + 3 / u**3][degree]


def direct_sum(box, states, n, points_A, kappa, images=6):
    """Add up the tails of all orbitals in many copies of the box: slow, and free of Fourier."""
    found = np.zeros(len(points_A), dtype=complex)
    for i in range(-images, images + 1):
        for j in range(-images, images + 1):
            copy_A = np.array([i, j]) @ box.cell_A
            phase = np.exp(1j * states.k_per_A @ copy_A)
            for o, place_A in enumerate(box.positions_A):
                apart_A = points_A - place_A - np.array([*copy_A, 0.0])
                far_A = np.linalg.norm(apart_A, axis=1)
                name = box.crystal.shapes[box.kinds[o]]
                degree = {"s": 0, "p": 1, "d": 2}[name[0]]
                radial = bessel(degree, kappa * far_A) / bessel(degree, kappa * CONTACT_A)
                found += (
                    phase
                    * states.vectors[o, n]
                    * radial
                    * angular(name, *(apart_A / far_A[:, None]).T)
                )
    return found


@pytest.mark.parametrize(
    "box",
    [graphene((2, 1)).without([3]), mos2((1, 1), is_rectangular=False), mos2((1, 1), bands=3)],
    ids=["graphene with a vacancy", "eleven bands, hexagonal", "three bands"],
)
def test_waves_above_a_box_are_the_sum_of_all_tails(box):
    states = eigenstates(box, k_per_A=(0.11, -0.06))
    waves = Waves(box, (states,), 4.5)
    points_A = np.array([[0.3, 0.2, 3.5], [1.9, 2.8, 4.6]])
    found = waves.amplitudes(points_A)[0]
    for n in (0, box.n // 2):
        expected = direct_sum(box, states, n, points_A, decay_per_A(4.5))
        assert found[n] == pytest.approx(expected, rel=1e-4, abs=1e-5 * np.abs(expected).max())


def test_maps_and_points_agree():
    box = graphene((3, 2)).without([1])
    states = eigenstates(box)
    waves, grid = Waves(box, (states,), 4.0), (24, 30)
    weights = np.linspace(0.1, 1.0, states.energies_eV.size)
    heights_A = np.array([3.0, 5.0])
    maps = waves.densities([weights], heights_A, grid)
    places = np.array([[i / 24, j / 30] for i, j in ((0, 0), (5, 7), (23, 12))]) @ box.cell_A
    points_A = np.column_stack([places, np.full(3, 5.0)])
    expected = weights @ np.abs(waves.amplitudes(points_A)[0]) ** 2
    assert maps[1][[0, 5, 23], [0, 7, 12]] == pytest.approx(expected, rel=1e-6)


def slope_per_A(k_per_A, n):
    box = TightBinding.of(graphene_crystal(), (1, 1))
    states = eigenstates(box, k_per_A=k_per_A)
    waves = Waves(box, (states,), 4.0)
    high, higher = np.abs(waves.amplitudes([[0.2, 0.1, 9.0], [0.2, 0.1, 9.5]])[0][n]) ** 2
    return np.log(higher / high) / 0.5


def test_a_wave_without_momentum_falls_by_two_per_angstrom():
    assert slope_per_A((0.0, 0.0), 0) == pytest.approx(-2.05, abs=0.01)


def test_a_wave_at_k_falls_faster_by_its_momentum():
    # Tersoff 1986: exp(-2 sqrt(kappa^2 + k^2) z); K = 1.703 1/A for graphene.
    k_per_A = 4 * np.pi / (3 * np.sqrt(3) * 1.42)
    expected = -2 * np.hypot(decay_per_A(4.0), k_per_A)
    assert slope_per_A((k_per_A, 0.0), 0) == pytest.approx(expected, rel=0.01)


def test_tails_of_a_large_box_add_up_to_its_waves():
    box = graphene((15, 9)).without([300])
    states = eigenstates(box)
    points_A = [[10.0, 11.0, 5.0], [22.0, 20.3, 5.0]]
    expected = Waves(box, (states,), 4.5).amplitudes(points_A)[0]
    found = (tails(box, points_A, work_function_eV=4.5, reach_A=18.0) @ states.vectors).T
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_long_waves_leave_a_corrugation_that_falls_as_g_squared_over_four_kappa():
    beta = corrugation_decay_per_A(work_function_eV=4.0, wave_per_A=0.3)
    assert beta == pytest.approx(0.3**2 / (4 * decay_per_A(4.0)), rel=0.01)


def test_no_barrier_is_refused():
    with pytest.raises(ArgumentError, match="work_function_eV"):
        decay_per_A(0.0)
