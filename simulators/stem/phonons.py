"""Frozen phonons: thermal motion as an average over still snapshots.

An electron crosses the specimen in far less than a vibration takes, so that each meets atoms at rest,
displaced at random; intensities of independent snapshots are averaged.

Source: Loane, Xu & Silcox, Acta Cryst. A47, 267 (1991), doi:10.1107/S0108767391000375.
"""

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.structure import AtomicStructure

__all__ = ["pinned_snapshots", "snapshots"]

PLACE_A = 0.01
"""How finely places at rest are told apart [A]."""


def snapshots(structure: AtomicStructure, n: int, seed: int = 0) -> list[AtomicStructure]:
    """Return n snapshots in the Einstein model; the structure itself where n is 0.

    Snapshot k depends on the seed and k alone: more snapshots keep the first ones.

    Args:
        structure: atoms with their thermal displacements.
        n: how many, >= 0.
        seed: >= 0.

    Raises:
        ArgumentError: a negative number or seed.

    Example:
        >>> atom = AtomicStructure.of([6], [[1.0, 1.0, 1.0]], (2.0, 2.0, 2.0), rms_A=0.1)
        >>> len(snapshots(atom, 3)), snapshots(atom, 0)[0] is atom
        (3, True)
    """
    if n < 0:
        raise ArgumentError("phonons", n, "a whole number >= 0")
    if seed < 0:
        raise ArgumentError("seed", seed, "a whole number >= 0")
    if n == 0:
        return [structure]
    return [structure.shaken(np.random.default_rng([seed, k])) for k in range(n)]


def pinned_snapshots(structure: AtomicStructure, n: int, seed: int = 0) -> list[AtomicStructure]:
    """Return n snapshots in which each atom's displacement belongs to its place at rest.

    For a specimen that is looked at again and again: what is cut out of it, or removed from it, leaves
    the other atoms of each snapshot where they were, so that two scans differ only by what they
    measure. Places count to 0.01 A.

    Arguments, errors and statistics as in `snapshots`.

    Example:
        >>> pair = AtomicStructure.of([6, 6], [[1, 1, 1], [2, 1, 1]], (3.0, 3.0, 2.0), rms_A=0.1)
        >>> both, one = (pinned_snapshots(s, 1)[0] for s in (pair, pair.without([0])))
        >>> bool((both.positions_A[1] == one.positions_A[0]).all())
        True
    """
    if n <= 0 or seed < 0:
        return snapshots(structure, n, seed)
    places = np.rint(structure.positions_A / PLACE_A).astype(np.int64).view(np.uint64)
    name = _mixed(np.full(structure.n, seed % 2**64, dtype=np.uint64))
    for axis in range(3):
        name = _mixed(name ^ places[:, axis])
    found = []
    for k in range(n):
        moves = np.stack([_normal(name, 3 * k + axis) for axis in range(3)], axis=1)
        moved = structure.positions_A + structure.rms_A[:, None] * moves
        found.append(AtomicStructure(structure.numbers, moved, structure.cell_A, structure.rms_A))
    return found


def _normal(name: NDArray[np.uint64], which: int) -> NDArray[np.float64]:
    """Return one normal number for each name (Box & Muller 1958, doi:10.1214/aoms/1177706645)."""
    one, two = (
        (_mixed(name ^ np.uint64(2 * which + half + 1)) >> np.uint64(11)).astype(np.float64)
        * 2.0**-53
        for half in (0, 1)
    )
    normal: NDArray[np.float64] = np.sqrt(-2.0 * np.log1p(-one)) * np.cos(2.0 * np.pi * two)
    return normal


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return well mixed bits of each number.

    Source: SplitMix64: Steele, Lea & Flood, OOPSLA 2014, doi:10.1145/2660193.2660195.
    """
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return found
