"""Boxes of a crystal: what repeats, what is missing, what Bloch's theorem demands."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.graphene import graphene, graphene_crystal
from twinloop.simulators.stm.tight_binding import Crystal, Hop, TightBinding


def test_a_box_has_the_bands_of_its_crystal_at_the_folded_wave_vectors():
    crystal = graphene_crystal(next_hopping_eV=0.1)
    box = TightBinding.of(crystal, (3, 4))
    k_per_A = np.array([0.07, -0.03])
    found = np.linalg.eigvalsh(box.hamiltonian(k_per_A).toarray())
    b1, b2 = crystal.reciprocal_per_A
    folded = [
        np.linalg.eigvalsh(crystal.bloch(k_per_A + i / 3 * b1 + j / 4 * b2))
        for i in range(3)
        for j in range(4)
    ]
    assert found == pytest.approx(np.sort(np.concatenate(folded)), abs=1e-10)


def test_the_rectangular_cell_has_the_same_states_as_the_hexagonal_one():
    hexagonal = TightBinding.of(graphene_crystal(), (6, 6))
    rectangular = TightBinding.of(graphene_crystal(is_rectangular=True), (6, 3))
    assert rectangular.n == hexagonal.n
    area_A2 = [abs(np.linalg.det(box.cell_A)) for box in (hexagonal, rectangular)]
    assert area_A2[0] == pytest.approx(area_A2[1])
    moments = [
        [np.trace(np.linalg.matrix_power(box.hamiltonian().toarray(), p)) for p in (2, 4)]
        for box in (hexagonal, rectangular)
    ]
    # Closed walks of length 2 and 4 on a honeycomb: 3 and 15 for each site.
    assert moments[1] == pytest.approx([72 * 3 * 2.7**2, 72 * 15 * 2.7**4])
    assert moments[0] == pytest.approx(moments[1])


def test_every_site_of_graphene_has_three_neighbours_at_one_bond():
    box = graphene((4, 3))
    places_A = box.positions_A
    rows, columns = box.hamiltonian().nonzero()
    off = rows != columns
    apart = np.linalg.solve(box.cell_A.T, (places_A[columns] - places_A[rows])[:, :2].T).T
    far_A = np.linalg.norm((apart - np.rint(apart)) @ box.cell_A, axis=1)[off]
    assert far_A == pytest.approx(np.full(off.sum(), 1.42))
    assert np.bincount(rows[off]) == pytest.approx(np.full(box.n, 3))


def test_a_vacancy_takes_its_row_away_and_leaves_the_others():
    box = graphene((4, 3))
    whole = box.hamiltonian().toarray()
    holed = box.without([5, 17]).hamiltonian().toarray()
    keep = np.delete(np.arange(box.n), [5, 17])
    assert holed == pytest.approx(whole[np.ix_(keep, keep)])


def test_on_site_shifts_follow_the_orbitals_that_remain():
    box = graphene((4, 3)).without([0]).with_onsite([2], -1.5)
    again = box.without([1])
    assert box.hamiltonian().diagonal()[2] == -1.5
    assert again.hamiltonian().diagonal()[1] == -1.5
    assert np.count_nonzero(again.hamiltonian().diagonal()) == 1


def test_the_nearest_orbital_is_found_across_the_edge():
    box = graphene((5, 4))
    width_A, height_A = box.cell_A.sum(axis=0)
    assert box.nearest(width_A - 0.1, height_A + 0.1) == box.nearest(0.0, 0.0)
    assert box.positions_A[box.nearest(0.0, 0.0)] == pytest.approx([0.0, 0.0, 0.0])


def test_a_hop_without_its_reverse_is_refused():
    one = graphene_crystal()
    with pytest.raises(ArgumentError, match="reverse"):
        Crystal(
            one.vectors_A, one.places_A, one.shapes, one.species, one.atoms, one.onsite_eV,
            (Hop(0, 1, 0, 0, -2.7),),
        )  # fmt: skip


@pytest.mark.parametrize("repeats", [(0, 3), (2, -1)])
def test_an_empty_box_is_refused(repeats):
    with pytest.raises(ArgumentError, match="repeats"):
        graphene(repeats)
