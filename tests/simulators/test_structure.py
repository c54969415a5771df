"""Atoms in a box: what is refused, what comes back, how far atoms are shaken."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.structure import AtomicStructure

CELL_A = (3.0, 4.0, 5.0)


def two_atoms(**changed):
    given = {
        "numbers": [31, 33],
        "positions_A": [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]],
        "cell_A": CELL_A,
        "rms_A": [0.09, 0.08],
    } | changed
    return AtomicStructure.of(**given)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("numbers", [0, 33]),
        ("numbers", [31, 119]),
        ("numbers", [[31], [33]]),
        ("positions_A", [[0.0, 0.0, 0.0]]),
        # three atoms' worth of numbers in the wrong order must not become three positions
        ("positions_A", [[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]),
        ("positions_A", [[0.0, 0.0, float("nan")], [1.0, 2.0, 3.0]]),
        ("cell_A", (3.0, 4.0)),
        ("cell_A", (3.0, 4.0, 0.0)),
        ("cell_A", (3.0, 4.0, float("inf"))),
        ("rms_A", [0.09]),
        ("rms_A", [0.09, -0.08]),
    ],
)
def test_what_is_no_structure_is_refused_with_the_name_of_the_field(field, value):
    with pytest.raises(ArgumentError, match=rf"structure\.{field}"):
        two_atoms(**{field: value})


def test_one_displacement_serves_all_atoms():
    assert two_atoms(rms_A=0.1).rms_A.tolist() == [0.1, 0.1]


def test_an_empty_box_is_a_structure():
    empty = AtomicStructure.of([], [], CELL_A)
    assert empty.n == 0
    assert empty.positions_A.shape == (0, 3)
    assert empty.shaken(np.random.default_rng(0)).n == 0


def test_arrays_bring_the_structure_back():
    atoms = two_atoms()
    again = AtomicStructure.from_arrays(atoms.to_arrays())
    for name, array in atoms.to_arrays().items():
        np.testing.assert_array_equal(array, getattr(again, name))
        assert array.dtype == getattr(again, name).dtype


def test_ase_gives_the_same_atoms_back():
    pytest.importorskip("ase", reason="ase is an optional dependency")
    atoms = two_atoms()
    there = atoms.to_ase()
    assert there.pbc.tolist() == [True, True, False]
    back = AtomicStructure.from_ase(there, atoms.rms_A)
    for name, array in atoms.to_arrays().items():
        np.testing.assert_allclose(array, getattr(back, name))


def test_a_crystal_of_ase_keeps_its_composition_and_density():
    build = pytest.importorskip("ase.build", reason="ase is an optional dependency")
    gaas = AtomicStructure.from_ase(build.bulk("GaAs", "zincblende", a=5.65325, cubic=True))
    assert sorted(gaas.numbers.tolist()) == [31] * 4 + [33] * 4
    # 4 formula units of 144.645 u in a^3: 5.318 g/cm^3 (Blakemore 1982 gives 5.3165)
    density = 4 * 144.645 * 1.66053907 / np.prod(gaas.cell_A)
    assert density == pytest.approx(5.3165, rel=1e-3)


def test_an_oblique_cell_is_refused():
    build = pytest.importorskip("ase.build", reason="ase is an optional dependency")
    with pytest.raises(ArgumentError, match="orthogonal"):
        AtomicStructure.from_ase(build.bulk("GaAs", "zincblende", a=5.65))


def test_displacements_have_the_width_that_each_atom_has():
    n = 4000
    still = AtomicStructure.of([31] * n, np.zeros((n, 3)), CELL_A, np.repeat([0.05, 0.2], n // 2))
    moved = still.shaken(np.random.default_rng(3)).positions_A
    for half, rms_A in ((moved[: n // 2], 0.05), (moved[n // 2 :], 0.2)):
        # 2000 draws an axis: the width is known to 1 / sqrt(4000) = 1.6 %
        np.testing.assert_allclose(half.std(axis=0), rms_A, rtol=0.06)
        np.testing.assert_allclose(half.mean(axis=0), 0.0, atol=5 * rms_A / np.sqrt(n / 2))
    np.testing.assert_array_equal(still.positions_A, 0.0)


def test_atoms_without_displacement_stand_still():
    still = two_atoms(rms_A=0.0)
    shaken = still.shaken(np.random.default_rng(1))
    np.testing.assert_array_equal(shaken.positions_A, still.positions_A)


@pytest.mark.parametrize("gone", [[0], np.array([True, False])])
def test_a_vacancy_takes_its_atom_and_no_other(gone):
    left = two_atoms().without(gone)
    assert left.numbers.tolist() == [33]
    assert left.positions_A.tolist() == [[1.0, 2.0, 3.0]]
    assert left.rms_A.tolist() == [0.08]
    np.testing.assert_array_equal(left.cell_A, CELL_A)
