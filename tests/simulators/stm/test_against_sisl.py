"""LDOS beside sisl: an independent code builds the same Hamiltonian and broadens the same levels."""

import numpy as np
import pytest

from twinloop.simulators.stm.density_of_states import eigenstates, local_density
from twinloop.simulators.stm.graphene import graphene
from twinloop.simulators.stm.mos2 import THREE_BAND_EV, THREE_BAND_LATTICE_A, mos2
from twinloop.simulators.stm.tight_binding import TightBinding

sisl = pytest.importorskip("sisl", reason="the oracle of tight binding is not installed")

pytestmark = [
    pytest.mark.physics,
    # sisl's own imports and sparse sums warn under this numpy.
    pytest.mark.filterwarnings("ignore"),
]

BOND_A, WIDTH_EV = 1.42, 0.1
ENERGIES_EV = np.linspace(-3.0, 3.0, 241)


def sisl_graphene(repeats):
    """Return sisl's box; its rectangular cell has the armchair along x, so x and y change places."""
    cell = sisl.geom.graphene(bond=BOND_A, orthogonal=True)
    geometry = cell.tile(repeats[1], 0).tile(repeats[0], 1)
    hamiltonian = sisl.Hamiltonian(geometry)
    hamiltonian.construct(([0.1, BOND_A + 0.05], [0.0, -2.7]))
    return hamiltonian


def apart_A(geometry, place_A):
    """Return the distance of every site of sisl's box to a place, across edges, (n,)."""
    cell_A = np.asarray(geometry.cell)[:2, :2]
    parts = np.linalg.solve(cell_A.T, (geometry.xyz[:, :2] - place_A).T).T
    return np.linalg.norm((parts - np.rint(parts)) @ cell_A, axis=1)


def sites(geometry, places_A):
    """Return the sites of sisl's box at our places, after finding where its lattice begins."""
    for corner in range(4):
        shift_A = geometry.xyz[corner, :2]
        far_A = np.array([apart_A(geometry, p[[1, 0]] + shift_A) for p in places_A])
        if far_A.min(axis=1).max() < 1e-3:
            return far_A.argmin(axis=1)
    raise AssertionError("the two lattices do not match")


def sisl_density(hamiltonian, orbitals, k=(0.0, 0.0, 0.0)):
    """Return sisl's projected density of states of some orbitals, (o, e)."""
    line = sisl.get_distribution("gaussian", smearing=WIDTH_EV)
    density = hamiltonian.eigenstate(k).PDOS(ENERGIES_EV, distribution=line)
    return density.reshape(-1, ENERGIES_EV.size)[orbitals]


def worst(ours, theirs):
    return np.abs(ours - theirs).max() / theirs.max()


@pytest.mark.parametrize("k", [(0.0, 0.0), (0.25, 0.4)])
def test_pristine_graphene_has_the_density_that_sisl_finds(k):
    box, hamiltonian = graphene((8, 5)), sisl_graphene((8, 5))
    wave_per_A = np.array(k) @ (2 * np.pi * np.linalg.inv(box.cell_A).T)
    states = eigenstates(box, k_per_A=wave_per_A)
    ours = local_density([states], ENERGIES_EV, width_eV=WIDTH_EV)
    theirs = sites(hamiltonian.geometry, box.positions_A[:, :2])
    assert np.unique(theirs).size == box.n
    assert worst(ours, sisl_density(hamiltonian, theirs, (k[1], k[0], 0.0))) < 1e-3


def test_the_dirac_point_lies_at_zero_in_both():
    ours = TightBinding.of(graphene((1, 1), is_rectangular=False).crystal, (1, 1))
    b1, b2 = ours.crystal.reciprocal_per_A
    primitive = sisl.Hamiltonian(sisl.geom.graphene(bond=BOND_A))
    primitive.construct(([0.1, BOND_A + 0.05], [0.0, -2.7]))
    theirs = np.sort(primitive.eigh((1 / 3, 2 / 3, 0)))
    found = eigenstates(ours, k_per_A=(b1 + 2 * b2) / 3).energies_eV
    assert found == pytest.approx([0.0, 0.0], abs=1e-4)
    assert theirs == pytest.approx([0.0, 0.0], abs=1e-4)


def test_a_vacancy_has_the_density_that_sisl_finds():
    whole, hamiltonian = graphene((10, 6)), sisl_graphene((10, 6))
    gone = whole.nearest(12.0, 12.0)
    theirs = sites(hamiltonian.geometry, whole.positions_A[:, :2])
    box, holed = whole.without([gone]), hamiltonian.remove(int(theirs[gone]))
    # What follows the removed site moves up by one.
    left = np.delete(theirs, gone)
    left = left - (left > theirs[gone])
    ours = local_density([eigenstates(box)], ENERGIES_EV, width_eV=WIDTH_EV)
    assert worst(ours, sisl_density(holed, left)) < 1e-3
    # A vacancy changes the density near it: the comparison is not one of pristine sites.
    pristine = local_density([eigenstates(whole)], ENERGIES_EV, width_eV=WIDTH_EV)
    assert worst(np.delete(pristine, gone, axis=0), ours) > 0.1


def test_three_band_mos2_has_the_density_that_sisl_finds():
    # The hoppings are built again here, by turning the block of one neighbour (Liu et al. 2013,
    # table I), not read off the closed form as the package does.
    p = THREE_BAND_EV
    first = np.array([
        [p["t0"], p["t1"], p["t2"]],
        [-p["t1"], p["t11"], p["t12"]],
        [p["t2"], -p["t12"], p["t22"]],
    ])  # fmt: skip
    a1 = THREE_BAND_LATTICE_A * np.array([1.0, 0.0, 0.0])
    a2 = THREE_BAND_LATTICE_A * np.array([0.5, np.sqrt(3) / 2, 0.0])
    metal = sisl.Atom(42, R=[THREE_BAND_LATTICE_A + 0.1] * 3)
    lattice = sisl.Lattice([a1, a2, [0, 0, 20.0]], nsc=[3, 3, 1])
    hamiltonian = sisl.Hamiltonian(sisl.Geometry([[0, 0, 0]], metal, lattice))
    for i, energy_eV in enumerate((p["e1"], p["e2"], p["e2"])):
        hamiltonian[i, i] = energy_eV

    def turned(angle):
        c, s = np.cos(2 * angle), np.sin(2 * angle)
        # (dxy, dx2-y2) turn as a pair of angular momentum 2.
        return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])

    cells = {0: (1, 0), 120: (-1, 1), 240: (0, -1)}
    for angle_deg, cell in cells.items():
        d = turned(np.radians(angle_deg))
        block = d @ first @ d.T
        for i in range(3):
            for j in range(3):
                hamiltonian[i, j, (*cell, 0)] = block[i, j]
                hamiltonian[j, i, (-cell[0], -cell[1], 0)] = block[i, j]
    box = mos2((1, 1), bands=3, is_rectangular=False)
    line = sisl.get_distribution("gaussian", smearing=WIDTH_EV)
    for k in ((0.0, 0.0, 0.0), (1 / 3, 2 / 3, 0.0), (0.13, 0.31, 0.0)):
        wave_per_A = np.array(k[:2]) @ box.crystal.reciprocal_per_A
        states = eigenstates(box, k_per_A=wave_per_A)
        ours = local_density([states], ENERGIES_EV + 1.0, width_eV=WIDTH_EV)
        theirs = hamiltonian.eigenstate(k).PDOS(ENERGIES_EV + 1.0, distribution=line)
        assert worst(ours, theirs.reshape(3, -1)) < 1e-3
