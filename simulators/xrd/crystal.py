"""A crystal: atoms in a unit cell of any shape that repeats in all three directions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.structure import AtomicStructure

__all__ = ["Crystal"]


@dataclass(frozen=True, eq=False, slots=True)
class Crystal:
    """Atoms in a unit cell.

    Args:
        numbers: atomic numbers, shape (n,), int64.
        fractions: positions in units of the cell's vectors, shape (n, 3), float64 [1].
        cell_A: vectors of the cell, one a row, shape (3, 3), float64 [A].
        rms_A: root mean square thermal displacement along one axis, shape (n,), float64 [A].
        occupancy: part of the cells in which the site is occupied, shape (n,), float64 [1].

    Raises:
        ArgumentError: no atoms, shapes that do not fit, a flat cell, or an occupancy outside 0 to 1.

    Example:
        >>> from ase.build import bulk
        >>> crystal = Crystal.of(bulk("Si"))
        >>> crystal.n, round(crystal.volume_A3, 2)
        (2, 40.03)
    """

    numbers: NDArray[np.int64]
    fractions: NDArray[np.float64]
    cell_A: NDArray[np.float64]
    rms_A: NDArray[np.float64]
    occupancy: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = self.numbers.shape[0] if self.numbers.ndim == 1 else 0
        if n == 0:
            raise ArgumentError("crystal.numbers", self.numbers.shape, "one atom or more")
        shapes = {"fractions": (n, 3), "cell_A": (3, 3), "rms_A": (n,), "occupancy": (n,)}
        for name, shape in shapes.items():
            found = getattr(self, name)
            if found.shape != shape or not bool(np.isfinite(found).all()):
                allowed = f"finite numbers of the shape {shape}"
                raise ArgumentError(f"crystal.{name}", found.shape, allowed)
        if not self.volume_A3 > 1e-6:
            raise ArgumentError("crystal.cell_A", self.cell_A, "three vectors that span a volume")
        if not (self.occupancy.min() >= 0 and self.occupancy.max() <= 1):
            raise ArgumentError("crystal.occupancy", self.occupancy, "numbers from 0 to 1")

    @classmethod
    def of(cls, source: Any, rms_A: Any = None, occupancy: Any = 1.0) -> "Crystal":
        """Return the crystal of an `ase.Atoms`, an `AtomicStructure` or another crystal.

        Args:
            source: periodic along all three of its cell's vectors, whatever it says of itself.
            rms_A: thermal displacement, one for all or one an atom [A]; None: the source's own, or
                none.
            occupancy: of the sites, one for all or one an atom [1].
        """
        own_rms: Any = 0.0
        if isinstance(source, cls):
            return source
        if isinstance(source, AtomicStructure):
            numbers, positions_A = source.numbers, source.positions_A
            cell_A, own_rms = np.diag(source.cell_A), source.rms_A
        else:
            numbers, positions_A = np.asarray(source.numbers), np.asarray(source.positions)
            cell_A = np.asarray(source.cell[:], dtype=np.float64)
        if abs(np.linalg.det(cell_A)) < 1e-6:
            raise ArgumentError("cell", cell_A, "three vectors that span a volume")
        shape = (len(numbers),)
        return cls(
            np.asarray(numbers, dtype=np.int64),
            np.asarray(
                np.linalg.solve(cell_A.T, np.asarray(positions_A, np.float64).T).T, np.float64
            ),
            cell_A,
            np.array(np.broadcast_to(own_rms if rms_A is None else rms_A, shape), np.float64),
            np.array(np.broadcast_to(occupancy, shape), np.float64),
        )

    @property
    def n(self) -> int:
        """How many sites."""
        return int(self.numbers.shape[0])

    @property
    def volume_A3(self) -> float:
        """Volume of the cell [A^3]."""
        return float(abs(np.linalg.det(self.cell_A)))

    @property
    def reciprocal_per_A(self) -> NDArray[np.float64]:
        """Vectors of the reciprocal lattice, one a row, without 2 pi, shape (3, 3) [1/A]."""
        inverse: NDArray[np.float64] = np.asarray(np.linalg.inv(self.cell_A).T, dtype=np.float64)
        return inverse
