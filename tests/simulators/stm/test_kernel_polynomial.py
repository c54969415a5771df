"""The kernel polynomial method against dense diagonalisation."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm import kernel_polynomial
from twinloop.simulators.stm.density_of_states import eigenstates
from twinloop.simulators.stm.graphene import dope, graphene
from twinloop.simulators.stm.kernel_polynomial import expand, expand_orbitals, expand_trace
from twinloop.simulators.stm.tersoff_hamann import tails

ORBITALS = [0, 150, 201, 300]


@pytest.fixture(scope="module")
def box():
    return dope(graphene((14, 8)).without([200]), [50], "N")


@pytest.mark.parametrize("k_per_A", [(0.0, 0.0), (0.02, 0.01)])
def test_moments_are_those_of_the_spectrum(box, k_per_A):
    states = eigenstates(box, k_per_A=k_per_A)
    found = expand_orbitals(box, ORBITALS, moments=200, k_per_A=k_per_A)
    x = (states.energies_eV - found.centre_eV) / found.half_eV
    assert np.abs(x).max() < 1.0
    weights = np.abs(states.vectors[ORBITALS]) ** 2
    expected = weights @ np.cos(np.arange(200)[None, :] * np.arccos(x)[:, None])
    assert found.moments == pytest.approx(expected, abs=1e-12)


def lines(energies_eV, levels_eV, widths_eV, kernel):
    scaled = (energies_eV[None, :] - levels_eV[:, None]) / widths_eV[:, None]
    if kernel == "jackson":
        return np.exp(-0.5 * scaled**2) / (np.sqrt(2 * np.pi) * widths_eV[:, None])
    return 1.0 / (np.pi * widths_eV[:, None] * (1.0 + scaled**2))


@pytest.mark.parametrize(("kernel", "error"), [("jackson", 0.05), ("lorentz", 0.04)])
def test_the_density_is_that_of_dense_diagonalisation_with_the_kernels_line(box, kernel, error):
    # Neither kernel is quite a Gaussian or a Lorentzian: pointwise 2 to 4 % of the maximum remain.
    states = eigenstates(box)
    energies_eV = np.linspace(-1.5, 1.5, 301)
    expansion = expand_orbitals(box, ORBITALS, moments=512)
    found = expansion.density(energies_eV, kernel=kernel)
    widths_eV = expansion.width_eV(states.energies_eV, kernel=kernel)
    weights = np.abs(states.vectors[ORBITALS]) ** 2
    dense = weights @ lines(energies_eV, states.energies_eV, widths_eV, kernel)
    assert np.abs(found - dense).max() < error * dense.max()
    assert np.sqrt(np.mean((found - dense) ** 2)) < 0.015 * dense.max()


def test_every_density_holds_one_state(box):
    energies_eV = np.linspace(-13.0, 13.0, 20001)
    for kernel in ("jackson", "lorentz"):
        density = expand_orbitals(box, [0, 7], moments=128).density(energies_eV, kernel=kernel)
        assert density.sum(axis=1) * 0.0013 == pytest.approx([1.0, 1.0], abs=2e-3)
        assert density.min() > -1e-3


def test_small_batches_change_nothing(box, monkeypatch):
    at_once = expand_orbitals(box, ORBITALS, moments=64)
    monkeypatch.setattr(kernel_polynomial, "BLOCK_BYTES", 1)
    one_by_one = expand_orbitals(box, ORBITALS, moments=64)
    assert one_by_one.moments == pytest.approx(at_once.moments, abs=1e-14)


def test_the_trace_of_random_vectors_is_the_mean_density():
    # Per site of graphene near 0: |E| / (sqrt 3 pi t^2), Castro Neto 2009, eq. 15.
    sheet = graphene((90, 52))
    energies_eV = np.linspace(0.3, 0.9, 13)
    found = expand_trace(sheet, moments=256, vectors=8, rng=np.random.default_rng(3))
    expected = energies_eV / (np.sqrt(3) * np.pi * 2.7**2)
    ratio = found.density(energies_eV)[0] / expected
    assert ratio.mean() == pytest.approx(1.0, abs=0.03)
    assert ratio == pytest.approx(np.ones(13), abs=0.12)


def test_tails_as_a_start_give_the_density_at_the_tip(box):
    states = eigenstates(box)
    start = tails(box, [[12.0, 14.0, 5.0]], work_function_eV=4.5, reach_A=16.0)
    energies_eV = np.linspace(-1.0, 1.0, 41)
    expansion = expand(box.hamiltonian(), start, moments=512)
    waves = np.abs((start @ states.vectors)[0]) ** 2
    widths_eV = expansion.width_eV(states.energies_eV, kernel="jackson")
    expected = waves @ lines(energies_eV, states.energies_eV, widths_eV, "jackson")
    found = expansion.density(energies_eV)[0]
    assert np.abs(found - expected).max() < 0.05 * expected.max()


def test_an_odd_number_of_moments_and_short_vectors_are_refused(box):
    with pytest.raises(ArgumentError, match="moments"):
        expand_orbitals(box, [0], moments=7)
    with pytest.raises(ArgumentError, match="starts"):
        expand(box.hamiltonian(), np.ones((1, 3)), moments=8)
