"""A film as atoms: geometry of zincblende, elasticity of a coherent film, interdiffusion."""

from math import erf, sqrt

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.film_structure import (
    ALUMINIUM,
    ARSENIC,
    GALLIUM,
    MESH_A,
    MONOLAYER_A,
    FilmStructure,
    film_monolayer_A,
)

SECTION = {"row": 0, "column": 0, "width_sites": 6, "depth_sites": 4, "substrate_layers": 5}


def section(film, **changed):
    return film.section(**({**SECTION, "seed": 1} | changed))


def cations_of(atoms):
    return atoms.numbers != ARSENIC


def heights_ML(atoms):
    """Return the height of each cation above the lowest, in monolayers of the substrate."""
    y_A = atoms.positions_A[cations_of(atoms), 1]
    return (y_A - y_A.min()) / MONOLAYER_A


def neighbour_distances_A(atoms, i):
    """Return the distances of all others from one atom, the box repeated along x and z, sorted."""
    apart = atoms.positions_A - atoms.positions_A[i]
    for axis in (0, 2):
        edge = atoms.cell_A[axis]
        apart[:, axis] -= edge * np.round(apart[:, axis] / edge)
    return np.sort(np.linalg.norm(apart, axis=1))[1:]


def film_of(size=8, thickness=12, aluminium=1.0, mixing_ML=0.0):
    return FilmStructure(
        np.full((size, size), thickness, np.int32), np.array([aluminium]), mixing_ML
    )


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heights", "aluminium", "mixing_ML", "named"),
    [
        (np.zeros((4, 3), np.int32), [1.0], 0.0, "heights_ML"),
        (np.zeros(4, np.int32), [1.0], 0.0, "heights_ML"),
        (np.zeros((0, 0), np.int32), [1.0], 0.0, "heights_ML"),
        (np.full((4, 4), 0.5), [1.0], 0.0, "heights_ML"),
        (np.zeros((4, 4), np.int32), [], 0.0, "aluminium"),
        (np.zeros((4, 4), np.int32), [[1.0]], 0.0, "aluminium"),
        (np.zeros((4, 4), np.int32), [1.1], 0.0, "aluminium"),
        (np.zeros((4, 4), np.int32), [float("nan")], 0.0, "aluminium"),
        (np.zeros((4, 4), np.int32), [1.0], -1.0, "mixing_ML"),
        (np.zeros((4, 4), np.int32), [1.0], float("nan"), "mixing_ML"),
        (np.zeros((4, 4), np.int32), [1.0], float("inf"), "mixing_ML"),
    ],
)
def test_what_is_no_film_is_refused_by_name(heights, aluminium, mixing_ML, named):
    with pytest.raises(ArgumentError, match=rf"film\.{named}"):
        FilmStructure(heights, np.array(aluminium, float), mixing_ML)


@pytest.mark.parametrize("name", ["width_sites", "depth_sites", "substrate_layers"])
def test_a_section_without_extent_is_refused(name):
    with pytest.raises(ArgumentError, match=name):
        section(film_of(), **{name: 0})


def test_a_section_through_a_hole_deeper_than_its_substrate_is_refused():
    with pytest.raises(ArgumentError, match="substrate_layers"):
        section(FilmStructure.flat(4, -9), substrate_layers=3)


# --- heights and coverages ----------------------------------------------------------------------


def test_coverages_count_the_columns_of_each_layer():
    heights = np.array([[0, 1], [2, 3]], np.int32)
    film = FilmStructure(heights, np.array([1.0]))
    assert film.layer_coverages().tolist() == [0.75, 0.5, 0.25]
    assert film.layer_coverages().sum() == film.coverage_ML
    assert film.roughness_ML == pytest.approx(sqrt(1.25))


def test_arrays_bring_the_film_back():
    film = FilmStructure(np.arange(16, dtype=np.int32).reshape(4, 4), np.array([0.1, 0.9]), 0.7)
    again = FilmStructure.from_arrays(film.to_arrays())
    np.testing.assert_array_equal(again.heights_ML, film.heights_ML)
    np.testing.assert_array_equal(again.aluminium, film.aluminium)
    assert again.mixing_ML == 0.7


# --- elasticity ---------------------------------------------------------------------------------


def test_a_coherent_layer_of_AlAs_is_as_high_as_published_constants_say():
    # Vurgaftman 2001, tables I and II: a = 5.65325 and 5.6611 A, C11 = 1250, C12 = 534 GPa of AlAs.
    perpendicular = (1 + 2 * 534 / 1250) * (5.6611 - 5.65325) / 5.65325
    assert film_monolayer_A(np.array([1.0]))[0] == pytest.approx(
        5.65325 / 2 * (1 + perpendicular), abs=1e-5
    )
    # Adachi, J. Appl. Phys. 58, R1 (1985): a = 5.6533 + 0.0078 x, C11 = 1202, C12 = 570 GPa of AlAs
    adachi = (1 + 2 * 570 / 1202) * 0.0078 / 5.6533
    assert film_monolayer_A(np.array([1.0]))[0] / MONOLAYER_A - 1 == pytest.approx(adachi, rel=0.06)


def test_a_layer_of_GaAs_on_GaAs_is_the_substrate_s():
    assert film_monolayer_A(np.zeros(1))[0] == pytest.approx(MONOLAYER_A, rel=1e-15)


def test_strain_grows_with_the_share_of_aluminium():
    spacing_A = film_monolayer_A(np.linspace(0, 1, 11))
    assert (np.diff(spacing_A) > 0).all()


@pytest.mark.parametrize("first", [-4, 0, 1, 3])
def test_layer_heights_are_those_of_the_layers_asked_for(first):
    film = film_of(aluminium=0.3)
    spacing_A = film_monolayer_A(np.array([0.3]))[0]
    expected = [n * (MONOLAYER_A if n <= 0 else spacing_A) for n in range(first, 9)]
    np.testing.assert_allclose(film.layer_heights_A(first, 8), expected, atol=1e-12)


def test_layers_of_the_substrate_alone_are_evenly_spaced():
    np.testing.assert_allclose(
        film_of().layer_heights_A(-3, 0), np.arange(-3, 1) * MONOLAYER_A, atol=1e-12
    )


# --- interdiffusion -----------------------------------------------------------------------------


@pytest.mark.parametrize("mixing_ML", [0.3, 1.0, 4.0])
def test_interdiffusion_conserves_aluminium(mixing_ML):
    layers = np.array([1.0, 1.0, 0.0, 0.3, 1.0, 0.0, 0.6])
    film = FilmStructure(np.full((4, 4), layers.size, np.int32), layers, mixing_ML)
    mixed = film.layer_aluminium(-60, layers.size)
    assert mixed.sum() == pytest.approx(layers.sum(), abs=1e-6)
    assert 0 <= mixed.min() <= mixed.max() <= 1


@pytest.mark.parametrize("mixing_ML", [0.5, 2.0, 3.5])
def test_an_interface_tends_to_an_error_function(mixing_ML):
    film = film_of(thickness=60, mixing_ML=mixing_ML)
    layers = np.arange(-15, 16)
    # the interface lies halfway between layer 0 and layer 1
    expected = [0.5 * (1 + erf((n - 0.5) / (mixing_ML * sqrt(2)))) for n in layers]
    np.testing.assert_allclose(film.layer_aluminium(-15, 15), expected, atol=1e-6)


def test_nothing_diffuses_through_the_free_surface():
    film = film_of(thickness=6, mixing_ML=2.0)
    half = film.layer_aluminium(-40, 6)
    # a film twice as thick, mirrored at that surface, has no flux there either
    whole = FilmStructure(np.full((4, 4), 80, np.int32), np.repeat([1.0, 0.0], [12, 68]), 2.0)
    np.testing.assert_allclose(half[40:], whole.layer_aluminium(0, 6), atol=1e-6)


def test_without_mixing_layers_are_what_arrived():
    film = FilmStructure(np.full((4, 4), 5, np.int32), np.array([0.2, 0.8]))
    assert film.layer_aluminium(-1, 4).tolist() == [0, 0, 0.2, 0.8, 0.8, 0.8]


def test_shares_of_layers_that_are_not_there_do_not_diffuse_into_the_substrate():
    bare = FilmStructure(np.zeros((4, 4), np.int32), np.array([1.0]), 2.0)
    assert bare.layer_aluminium(-5, 0).max() == 0.0


def test_the_share_of_a_layer_does_not_depend_on_how_many_are_asked_for():
    film = film_of(mixing_ML=1.5)
    np.testing.assert_allclose(
        film.layer_aluminium(3, 5), film.layer_aluminium(-9, 12)[12:15], atol=1e-6
    )


# --- atoms --------------------------------------------------------------------------------------


def test_every_layer_has_one_cation_and_one_arsenic_a_site():
    atoms = section(film_of(thickness=3))
    assert atoms.n == 2 * 6 * 4 * (5 + 3)
    assert np.count_nonzero(cations_of(atoms)) == atoms.n // 2
    levels, counts = np.unique(np.round(atoms.positions_A[:, 1], 4), return_counts=True)
    assert counts.tolist() == [24] * levels.size


def test_bonds_are_those_of_zincblende():
    atoms = section(FilmStructure.flat(8, 0), substrate_layers=8)
    middle = np.flatnonzero(np.abs(atoms.positions_A[:, 1] - atoms.cell_A[1] / 2) < 3.0)
    assert middle.size > 20
    for i in middle:
        near = neighbour_distances_A(atoms, i)
        np.testing.assert_allclose(near[:4], 5.65325 * sqrt(3) / 4, atol=1e-6)
        np.testing.assert_allclose(near[4:16], MESH_A, atol=1e-6)


def test_each_atom_is_bonded_to_the_other_sublattice():
    atoms = section(FilmStructure.flat(8, 0), substrate_layers=8)
    is_cation = cations_of(atoms)
    middle = np.flatnonzero(np.abs(atoms.positions_A[:, 1] - atoms.cell_A[1] / 2) < 3.0)
    for i in middle:
        apart = atoms.positions_A - atoms.positions_A[i]
        for axis in (0, 2):
            apart[:, axis] -= atoms.cell_A[axis] * np.round(apart[:, axis] / atoms.cell_A[axis])
        near = np.linalg.norm(apart, axis=1) < 2.6
        assert np.count_nonzero(is_cation[near] != is_cation[i]) == 4
        assert np.count_nonzero(near) == 5


def test_the_lattice_of_ase_is_the_same_crystal():
    build = pytest.importorskip("ase.build", reason="ase is an optional dependency")
    bulk = build.bulk("GaAs", "zincblende", a=5.65325, cubic=True).repeat(3)
    theirs = np.sort(bulk.get_distances(0, range(len(bulk)), mic=True))[1:30]
    atoms = section(FilmStructure.flat(16, 0), substrate_layers=10, width_sites=8, depth_sites=8)
    i = int(np.argmin(np.abs(atoms.positions_A[:, 1] - atoms.cell_A[1] / 2)))
    np.testing.assert_allclose(neighbour_distances_A(atoms, i)[:29], theirs, atol=1e-6)


def test_dumbbells_of_the_projection_are_a_quarter_of_the_lattice_constant_long():
    atoms = section(FilmStructure.flat(8, 0), substrate_layers=8)
    x_A, y_A = atoms.positions_A[:, 0], atoms.positions_A[:, 1]
    one_column = np.isclose(x_A, x_A[0], atol=1e-6)
    apart_A = np.diff(np.unique(np.round(y_A[one_column], 6)))
    assert set(np.round(apart_A, 3)) == {round(5.65325 / 4, 3), round(3 * 5.65325 / 4, 3)}


@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_cations_have_the_layer_s_share_of_aluminium(share):
    film = film_of(size=32, thickness=4, aluminium=share)
    atoms = section(film, width_sites=32, depth_sites=32, substrate_layers=3)
    above = heights_ML(atoms) > 2.5
    kinds = atoms.numbers[cations_of(atoms)]
    found = np.count_nonzero(kinds[above] == ALUMINIUM) / np.count_nonzero(above)
    # 4096 sites: a standard deviation of 0.0075 at 0.35
    assert found == pytest.approx(share, abs=0.03)
    assert (kinds[~above] == GALLIUM).all()
    assert set(atoms.numbers.tolist()) <= {GALLIUM, ALUMINIUM, ARSENIC}


def test_an_incomplete_layer_has_its_atoms_where_its_columns_are():
    heights = np.zeros((8, 8), np.int32)
    heights[2, 3], heights[2, 4] = 2, 1
    atoms = section(FilmStructure(heights, np.array([1.0])), width_sites=8, depth_sites=8)
    is_film = atoms.numbers == ALUMINIUM
    spacing_A = film_monolayer_A(np.array([1.0]))[0]
    y_A = atoms.positions_A[:, 1]
    zero_A = y_A[cations_of(atoms)].min() + 4 * MONOLAYER_A
    levels_A = y_A[is_film] - zero_A
    np.testing.assert_allclose(np.sort(levels_A), [spacing_A, spacing_A, 2 * spacing_A], atol=1e-9)
    top = atoms.positions_A[is_film][np.argmax(levels_A)]
    np.testing.assert_allclose(top[[0, 2]] / MESH_A, [3.0, 2.0], atol=1e-9)
    assert np.count_nonzero(cations_of(atoms)) == 64 * 5 + 3


def test_a_hole_in_the_substrate_lacks_its_atoms():
    heights = np.zeros((6, 6), np.int32)
    heights[0, 0] = -2
    atoms = section(FilmStructure(heights, np.array([1.0])), width_sites=6, depth_sites=6)
    assert np.count_nonzero(cations_of(atoms)) == 36 * 5 - 2


def test_a_section_wraps_around_the_lattice():
    heights = np.arange(64, dtype=np.int32).reshape(8, 8) % 5
    film = FilmStructure(heights, np.array([1.0]))
    rolled = FilmStructure(np.roll(heights, (-6, -5), (0, 1)), np.array([1.0]))
    there = section(film, row=6, column=5)
    here = section(rolled)
    np.testing.assert_allclose(there.positions_A, here.positions_A)
    np.testing.assert_array_equal(there.numbers, here.numbers)
    once_around = section(film, row=14, column=-3)
    np.testing.assert_allclose(there.positions_A, once_around.positions_A)


def test_all_atoms_lie_in_the_box_with_its_vacuum():
    atoms = section(film_of(thickness=5), vacuum_A=7.5)
    assert (atoms.positions_A >= 0).all()
    assert (atoms.positions_A <= atoms.cell_A + 1e-9).all()
    y_A = atoms.positions_A[:, 1]
    assert y_A.min() == pytest.approx(7.5)
    assert atoms.cell_A[1] - y_A.max() == pytest.approx(7.5)
    np.testing.assert_allclose(atoms.cell_A[[0, 2]], [6 * MESH_A, 4 * MESH_A])


def test_the_same_seed_gives_the_same_sites_and_another_gives_others():
    film = film_of(aluminium=0.5)
    np.testing.assert_array_equal(section(film, seed=4).numbers, section(film, seed=4).numbers)
    assert (section(film, seed=4).numbers != section(film, seed=5).numbers).any()


def test_thermal_displacements_are_those_of_their_elements():
    atoms = section(film_of(thickness=2, aluminium=0.5))
    # B = 8 pi^2 u^2 of GaAs at room temperature: 0.64 A^2 of gallium, 0.54 A^2 of arsenic
    for number, b_A2 in ((GALLIUM, 0.64), (ALUMINIUM, 0.64), (ARSENIC, 0.54)):
        rms_A = atoms.rms_A[atoms.numbers == number]
        np.testing.assert_allclose(8 * np.pi**2 * rms_A**2, b_A2, rtol=0.02)
