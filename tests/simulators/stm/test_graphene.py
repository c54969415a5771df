"""Graphene against what is known of it on paper."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.density_of_states import eigenstates, local_density
from twinloop.simulators.stm.graphene import (
    dope,
    graphene,
    graphene_crystal,
    graphene_from_structure,
)
from twinloop.simulators.structure import AtomicStructure

LATTICE_A = np.sqrt(3.0) * 1.42
K_PER_A = np.array([4.0 * np.pi / (3.0 * LATTICE_A), 0.0])


def test_the_bands_touch_at_k():
    energies_eV = np.linalg.eigvalsh(graphene_crystal().bloch(K_PER_A))
    assert energies_eV == pytest.approx([0.0, 0.0], abs=1e-4)


def test_the_bands_follow_wallaces_formula():
    # Wallace 1947; Castro Neto 2009, eq. 6: E = +-t sqrt(3 + f) - t' f, with H = -t, -t'.
    crystal = graphene_crystal(hopping_eV=-2.7, next_hopping_eV=-0.1)
    for kx, ky in ((0.3, 0.2), (1.1, -0.4), (0.0, 0.9)):
        f = 2 * np.cos(kx * LATTICE_A) + 4 * np.cos(kx * LATTICE_A / 2) * np.cos(1.5 * ky * 1.42)
        expected = [-2.7 * np.sqrt(3 + f) - 0.1 * f, 2.7 * np.sqrt(3 + f) - 0.1 * f]
        assert np.linalg.eigvalsh(crystal.bloch([kx, ky])) == pytest.approx(sorted(expected))


def test_the_cone_has_the_fermi_velocity_of_three_halves_t_d():
    for angle in (0.0, 0.7, 2.0):
        step = 1e-4 * np.array([np.cos(angle), np.sin(angle)])
        high_eV = np.linalg.eigvalsh(graphene_crystal().bloch(K_PER_A + step))[1]
        assert high_eV / 1e-4 == pytest.approx(1.5 * 2.7 * 1.42, rel=1e-3)


@pytest.fixture(scope="module")
def vacancy():
    """A vacancy among 799 orbitals, whose box does not fold K to the zone's middle."""
    whole = graphene((20, 10))
    box = whole.without([whole.nearest(24.6, 21.3)])
    return whole, box, eigenstates(box)


def test_a_vacancy_leaves_one_state_at_zero_on_the_other_sublattice(vacancy):
    # Lieb's counting: one site more on a sublattice, one state at 0 that lives there alone.
    whole, box, states = vacancy
    near = np.flatnonzero(np.abs(states.energies_eV) < 0.1)
    assert box.n == 799
    assert near.size == 1
    assert states.energies_eV[near[0]] == pytest.approx(0.0, abs=1e-9)
    missing = whole.kinds[whole.nearest(24.6, 21.3)] % 2
    own = box.kinds % 2 == missing
    weight = states.vectors[:, near[0]] ** 2
    assert weight[own].sum() == pytest.approx(0.0, abs=1e-12)


def peaks(values, places_A, count):
    """Return length and angle of the highest peaks of a Fourier transform, and the rest's highest."""
    mesh = np.linspace(-2.2, 2.2, 89)
    turns_x = np.exp(-1j * np.outer(places_A[:, 0], mesh))
    turns_y = np.exp(-1j * np.outer(places_A[:, 1], mesh))
    power = np.abs(np.einsum("j,ja,jb->ab", values, turns_x, turns_y, optimize=True)) ** 2
    x, y = np.meshgrid(mesh, mesh, indexing="ij")
    found = []
    for _ in range(count):
        i, j = np.unravel_index(power.argmax(), power.shape)
        found.append((np.hypot(mesh[i], mesh[j]), np.degrees(np.arctan2(mesh[j], mesh[i]))))
        lowest = power[i, j]
        power[(x - mesh[i]) ** 2 + (y - mesh[j]) ** 2 < 0.3**2] = 0.0
    return np.array(found), lowest / power.max()


def from_vacancy(whole, box):
    apart_A = box.positions_A[:, :2] - whole.positions_A[whole.nearest(24.6, 21.3), :2]
    parts = np.linalg.solve(box.cell_A.T, apart_A.T).T
    return (parts - np.rint(parts)) @ box.cell_A


def test_the_vacancys_state_is_made_of_waves_at_the_six_k_points(vacancy):
    whole, box, states = vacancy
    mode = states.vectors[:, np.abs(states.energies_eV).argmin()]
    found, contrast = peaks(mode, from_vacancy(whole, box), 6)
    assert found[:, 0] / K_PER_A[0] == pytest.approx(np.ones(6), abs=0.05)
    off = (found[:, 1] + 30.0) % 60.0 - 30.0
    assert off == pytest.approx(np.zeros(6), abs=3.0)
    assert contrast > 10.0


def test_the_vacancys_density_has_the_root_three_pattern(vacancy):
    # psi ~ exp(i K r) / z + exp(-i K r) / z*, so r^2 |psi|^2 has a wave at 2 K = -K (the lattice of
    # root three) whose phase turns twice around the vacancy (Pereira et al. 2006).
    whole, box, states = vacancy
    density = states.vectors[:, np.abs(states.energies_eV).argmin()] ** 2
    apart_A = from_vacancy(whole, box)
    far2 = np.sum(apart_A**2, axis=1)
    turn = np.arctan2(apart_A[:, 1], apart_A[:, 0])
    unwound = density * far2 * np.exp(2j * turn - 0.5 * far2 / 9.0**2)
    found, _ = peaks(unwound, apart_A, 4)
    at_k = found[found[:, 0] > 0.5 * K_PER_A[0]]  # besides what little waves in the middle
    assert at_k[:, 0] / K_PER_A[0] == pytest.approx(np.ones(3), abs=0.05)
    assert np.sort(at_k[:, 1] % 360.0) == pytest.approx([60.0, 180.0, 300.0], abs=3.0)


def test_donor_and_acceptor_prefer_opposite_biases():
    # An attractive site binds its resonance above the Dirac point (empty states), a repulsive below.
    sheet = graphene((13, 8))
    site = sheet.nearest(16.0, 17.0)
    energies_eV = np.linspace(-1.0, 1.0, 401)
    asymmetry = {}
    for element in ("N", "B"):
        states = eigenstates(dope(sheet, [site], element))
        around = np.flatnonzero(
            np.linalg.norm(sheet.positions_A - sheet.positions_A[site], axis=1) < 1.5
        )
        density = local_density([states], energies_eV, width_eV=0.1, orbitals=around).sum(axis=0)
        empty, filled = density[energies_eV > 0.05].sum(), density[energies_eV < -0.05].sum()
        asymmetry[element] = (empty - filled) / (empty + filled)
    assert asymmetry["N"] > 0.2
    assert asymmetry["B"] < -0.2


def test_a_dopant_with_a_range_shares_its_shift_with_its_neighbours():
    sheet = graphene((6, 4))
    shifts_eV = dope(sheet, [10], "N", range_A=1.42).hamiltonian().diagonal()
    assert shifts_eV[10] == pytest.approx(-4.0)
    assert np.sort(shifts_eV)[1:4] == pytest.approx(-4.0 * np.exp(-0.5), rel=1e-9)


def test_a_structure_with_holes_and_dopants_becomes_its_box():
    whole = graphene((5, 4))
    gone, nitrogen = 7, 31
    order = np.random.default_rng(1).permutation(np.delete(np.arange(80), gone))
    numbers = np.where(order == nitrogen, 7, 6)
    # Another origin, a lattice 1 % larger, atoms a little off their sites.
    edges_A = 1.01 * whole.cell_A.diagonal()
    moved_A = 1.01 * whole.positions_A[order, :2] + [0.7, 1.9]
    moved_A += np.random.default_rng(2).normal(0.0, 0.05, moved_A.shape)
    places_A = np.column_stack([moved_A % edges_A, np.full(79, 5.0)])
    box = graphene_from_structure(AtomicStructure.of(numbers, places_A, [*edges_A, 10.0]))
    wanted = dope(whole.without([gone]), [nitrogen - 1], "N")
    assert box.n == 79
    spectra = [np.linalg.eigvalsh(b.hamiltonian().toarray()) for b in (box, wanted)]
    assert spectra[0] == pytest.approx(spectra[1], abs=1e-9)


def test_structures_that_are_no_graphene_are_refused():
    whole = graphene((3, 2))
    edges_A = [*whole.cell_A.diagonal(), 10.0]
    numbers = np.full(24, 6)
    with pytest.raises(ArgumentError, match="whole cells"):
        graphene_from_structure(AtomicStructure.of(numbers, whole.positions_A, [7.0, 8.0, 10.0]))
    with pytest.raises(ArgumentError, match="numbers"):
        graphene_from_structure(AtomicStructure.of(numbers + 8, whole.positions_A, edges_A))
    doubled = whole.positions_A.copy()
    doubled[1] = doubled[0]
    with pytest.raises(ArgumentError, match="one atom a site"):
        graphene_from_structure(AtomicStructure.of(numbers, doubled, edges_A))


def test_an_unknown_dopant_is_refused():
    with pytest.raises(ArgumentError, match="element"):
        dope(graphene((3, 3)), [0], "Xe")
