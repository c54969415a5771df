"""Frozen phonons: thermal motion as an average over still snapshots.

An electron crosses the specimen in far less than a vibration takes, so that each meets atoms at rest,
displaced at random; intensities of independent snapshots are averaged.

Source: Loane, Xu & Silcox, Acta Cryst. A47, 267 (1991), doi:10.1107/S0108767391000375.
"""

import numpy as np

from twinloop.errors import ArgumentError
from twinloop.simulators.structure import AtomicStructure

__all__ = ["snapshots"]


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
