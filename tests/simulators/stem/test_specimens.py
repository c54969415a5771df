"""Reference specimens: bond lengths, coordination and stoichiometry."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem import specimens
from twinloop.simulators.structure import AtomicStructure


def distances_A(structure: AtomicStructure, kind: int, other: int, *, deep: bool) -> np.ndarray:
    """Return all distances between the two kinds, the cell repeating, ascending for each atom."""
    a = structure.positions_A[structure.numbers == kind]
    b = structure.positions_A[structure.numbers == other]
    apart = a[:, None] - b[None]
    periodic = structure.cell_A * np.array([1.0, 1.0, float(deep)])
    for axis in (0, 1, 2):
        if periodic[axis]:
            apart[..., axis] -= periodic[axis] * np.rint(apart[..., axis] / periodic[axis])
    return np.sort(np.linalg.norm(apart, axis=-1), axis=1)


def test_molybdenum_has_six_sulphur_neighbours_at_two_point_four():
    sheet = specimens.mos2(across=(3, 2))
    assert (sheet.numbers == 16).sum() == 2 * (sheet.numbers == 42).sum()
    near = distances_A(sheet, 42, 16, deep=False)
    assert near[:, :6] == pytest.approx(2.413, abs=0.02)
    assert near[:, 6].min() > 3.5


def test_the_second_layer_lies_on_the_first_and_leans():
    flat = specimens.mos2_tilted_bilayer(across=(4, 2), tilt_mrad=0.0)
    assert flat.n == 2 * specimens.mos2(across=(4, 2)).n
    assert distances_A(flat, 42, 42, deep=False)[:, 1].min() == pytest.approx(3.16, abs=0.01)
    near = distances_A(flat, 16, 16, deep=False)[:, 1]
    assert near.min() > 2.9
    leaning = specimens.mos2_tilted_bilayer(across=(4, 2), tilt_mrad=50.0)
    shift_A = (leaning.positions_A - flat.positions_A)[:, 0]
    shift_A -= flat.cell_A[0] * np.rint(shift_A / flat.cell_A[0])
    assert shift_A == pytest.approx(flat.positions_A[:, 2] * np.tan(0.05))


def test_graphene_has_three_neighbours_but_for_its_defects():
    near = distances_A(specimens.graphene(across=(4, 3)), 6, 6, deep=False)
    assert near[:, 1:4] == pytest.approx(1.42, abs=0.005)
    broken = specimens.graphene(across=(4, 3), vacancies=(0, 7), dopants={20: 14})
    assert broken.n == 46
    assert (broken.numbers == 14).sum() == 1


def test_strontium_titanate_is_a_perovskite_of_whole_cells():
    crystal = specimens.srtio3(across=(3, 3), thickness_A=200.0)
    assert crystal.cell_A == pytest.approx([11.715, 11.715, 199.155])
    counts = [(crystal.numbers == z).sum() for z in (38, 22, 8)]
    assert counts == [459, 459, 1377]
    small = specimens.srtio3(across=(3, 3), thickness_A=12.0)
    assert distances_A(small, 22, 8, deep=True)[:, :6] == pytest.approx(1.9525)
    assert distances_A(small, 38, 8, deep=True)[:, :12] == pytest.approx(3.905 / np.sqrt(2))


def test_impossible_specimens_are_refused():
    for wrong in (
        lambda: specimens.mos2(across=(0, 1)),
        lambda: specimens.graphene(across=(1, 1), vacancies=(4,)),
        lambda: specimens.srtio3(thickness_A=0.0),
        lambda: specimens.mos2_tilted_bilayer(spacing_A=-1.0),
    ):
        with pytest.raises(ArgumentError):
            wrong()
