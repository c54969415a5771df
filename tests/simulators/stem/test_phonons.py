"""Snapshots of thermal motion."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.phonons import pinned_snapshots, snapshots
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


def test_pinned_displacements_are_normal_and_independent():
    rng = np.random.default_rng(3)
    many = AtomicStructure.of(
        np.full(4000, 6), rng.random((4000, 3)) * 50.0, (50.0, 50.0, 50.0), rms_A=0.1
    )
    moves = [
        (still.positions_A - many.positions_A) / 0.1 for still in pinned_snapshots(many, 3, seed=1)
    ]
    numbers = np.concatenate(moves, axis=1)
    # deviations of a mean, a variance, a correlation and a kurtosis of 4000 numbers: 1.6 to 8 %
    np.testing.assert_allclose(numbers.mean(axis=0), 0.0, atol=0.07)
    np.testing.assert_allclose(numbers.var(axis=0), 1.0, atol=0.1)
    apart = np.corrcoef(numbers.T) - np.eye(9)
    assert np.abs(apart).max() < 0.07
    np.testing.assert_allclose((numbers**4).mean(axis=0), 3.0, atol=0.6)


def test_pinned_displacements_stay_when_other_atoms_go_and_change_with_the_seed():
    rng = np.random.default_rng(4)
    whole = AtomicStructure.of(np.full(30, 6), rng.random((30, 3)) * 9.0, (9.0, 9.0, 9.0), 0.1)
    gone = [0, 7, 12]
    before, after = (pinned_snapshots(s, 2, seed=5) for s in (whole, whole.without(gone)))
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.without(gone).positions_A, two.positions_A)
    other = pinned_snapshots(whole, 1, seed=6)[0]
    assert np.abs(other.positions_A - before[0].positions_A).min() > 0.0
    assert pinned_snapshots(whole, 0)[0] is whole
