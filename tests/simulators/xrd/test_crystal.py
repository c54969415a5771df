import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from twinloop.errors import ArgumentError
from twinloop.simulators.structure import AtomicStructure
from twinloop.simulators.xrd.crystal import Crystal


def test_fractions_times_cell_are_the_positions_in_any_cell():
    atoms = bulk("Si") * (2, 1, 3)
    crystal = Crystal.of(atoms)
    assert crystal.fractions @ crystal.cell_A == pytest.approx(atoms.positions)
    assert crystal.volume_A3 == pytest.approx(atoms.get_volume())
    assert crystal.reciprocal_per_A @ crystal.cell_A.T == pytest.approx(np.eye(3), abs=1e-12)


def test_a_box_of_atoms_brings_its_thermal_motion_along():
    box = AtomicStructure.of([14, 14], [[0, 0, 0], [1, 2, 3]], (4.0, 5.0, 6.0), 0.08)
    crystal = Crystal.of(box)
    assert crystal.rms_A == pytest.approx([0.08, 0.08])
    assert crystal.fractions[1] == pytest.approx([0.25, 0.4, 0.5])


@pytest.mark.parametrize(
    ("atoms", "said"),
    [
        (Atoms("H", cell=[1, 1, 0]), "volume"),
        (Atoms(cell=[1, 1, 1]), "one atom"),
    ],
)
def test_what_is_no_crystal_is_refused(atoms, said):
    with pytest.raises(ArgumentError, match=said):
        Crystal.of(atoms)


def test_an_occupancy_above_one_is_refused():
    with pytest.raises(ArgumentError, match="occupancy"):
        Crystal.of(bulk("Si"), occupancy=1.2)
