"""Snapshots of thermal motion."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.phonons import snapshots
from twinloop.simulators.structure import AtomicStructure

ATOMS = AtomicStructure.of([6] * 400, np.full((400, 3), 5.0), (10.0, 10.0, 10.0), rms_A=0.07)


def test_atoms_move_by_their_thermal_displacement():
    moved = np.concatenate([s.positions_A - 5.0 for s in snapshots(ATOMS, 20, seed=1)])
    assert moved.std(axis=0) == pytest.approx([0.07] * 3, rel=0.03)
    assert np.abs(moved.mean(axis=0)).max() < 0.003


def test_more_snapshots_keep_the_first_ones_and_another_seed_does_not():
    few, many = snapshots(ATOMS, 2, seed=1), snapshots(ATOMS, 5, seed=1)
    assert np.array_equal(few[1].positions_A, many[1].positions_A)
    assert not np.array_equal(many[0].positions_A, many[1].positions_A)
    assert not np.array_equal(snapshots(ATOMS, 1, seed=2)[0].positions_A, few[0].positions_A)


def test_no_snapshots_mean_atoms_that_stand_still():
    assert snapshots(ATOMS, 0) == [ATOMS]


def test_negative_numbers_are_refused():
    with pytest.raises(ArgumentError, match="phonons"):
        snapshots(ATOMS, -1)
    with pytest.raises(ArgumentError, match="seed"):
        snapshots(ATOMS, 1, seed=-1)
