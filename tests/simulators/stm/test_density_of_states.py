"""Local density of states: sum rules, windows, line shapes."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm import density_of_states
from twinloop.simulators.stm.density_of_states import (
    band_structure,
    eigenstates,
    lineshape,
    local_density,
    wave_mesh,
)
from twinloop.simulators.stm.graphene import graphene, graphene_crystal


def test_the_density_of_every_orbital_holds_one_state():
    energies_eV = np.linspace(-12.0, 12.0, 4801)
    states = eigenstates(graphene((4, 3)).without([3]))
    density = local_density([states], energies_eV, width_eV=0.2)
    assert density.sum(axis=1) * 0.005 == pytest.approx(np.ones(47), abs=1e-6)


def test_two_wave_vectors_share_the_weight():
    box, energies_eV = graphene((3, 2)), np.linspace(-12.0, 12.0, 2401)
    halves = [eigenstates(box, k_per_A=k, weight=0.5) for k in ((0.0, 0.0), (0.1, 0.2))]
    density = local_density(halves, energies_eV, width_eV=0.2, orbitals=[0])
    assert density.sum() * 0.01 == pytest.approx(1.0, abs=1e-6)


def test_lanczos_finds_all_states_of_a_window(monkeypatch):
    box = graphene((14, 8)).without([100])
    dense = eigenstates(box, window_eV=(-1.5, 1.0))
    monkeypatch.setattr(density_of_states, "DENSE_LIMIT", 10)
    sparse = eigenstates(box, window_eV=(-1.5, 1.0))
    assert sparse.energies_eV == pytest.approx(dense.energies_eV, abs=1e-8)
    energies_eV = np.linspace(-1.0, 0.5, 31)
    both = [
        local_density([s], energies_eV, width_eV=0.05, orbitals=[0, 50]) for s in (dense, sparse)
    ]
    assert both[1] == pytest.approx(both[0], abs=1e-7)


@pytest.mark.parametrize(
    ("shape", "half"), [("gaussian", np.sqrt(2 * np.log(2))), ("lorentzian", 1.0)]
)
def test_lines_have_area_one_and_their_stated_width(shape, half):
    grid_eV = np.linspace(-400.0, 400.0, 1_600_001)
    line = lineshape(grid_eV, width_eV=0.1, shape=shape)
    assert line.sum() * 0.0005 == pytest.approx(1.0, abs=2e-3)
    top, flank = lineshape(np.array([0.0, 0.1 * half]), width_eV=0.1, shape=shape)
    assert flank / top == pytest.approx(0.5)


def test_bands_of_a_path_come_in_rising_order():
    bands = band_structure(graphene_crystal(), np.array([[0.0, 0.0], [0.3, 0.1]]))
    assert bands.shape == (2, 2)
    assert bands[0] == pytest.approx([-8.1, 8.1])


def test_a_mesh_of_waves_averages_as_a_larger_box_does():
    # Waves a half step off in a box are the antiperiodic states of it: those of twice the box.
    small, energies_eV = graphene((3, 2)), np.linspace(-9.0, 9.0, 61)
    waves = wave_mesh(small, (2, 1))
    states = [eigenstates(small, k_per_A=k, weight=0.5) for k in waves]
    mean = local_density(states, energies_eV, width_eV=0.3, orbitals=[0])
    large = graphene((6, 2))
    shift = wave_mesh(large, (1, 1))[0]
    alone = local_density(
        [eigenstates(large, k_per_A=shift)], energies_eV, width_eV=0.3, orbitals=[0]
    )
    assert mean == pytest.approx(alone, abs=1e-10)
    with pytest.raises(ArgumentError, match="counts"):
        wave_mesh(small, (0, 1))


def test_an_empty_window_and_no_width_are_refused():
    with pytest.raises(ArgumentError, match="window_eV"):
        eigenstates(graphene((2, 2)), window_eV=(1.0, -1.0))
    with pytest.raises(ArgumentError, match="width_eV"):
        lineshape(np.zeros(1), width_eV=0.0, shape="gaussian")
