"""Atoms in an orthogonal box: what electrons, tips and X-rays meet.

Multislice, tight binding and diffraction all start from this one record. It is plain arrays, so that
it crosses processes without pickle; `from_ase` and `to_ase` lead to every file format there is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["AtomicStructure"]


@dataclass(frozen=True, eq=False, slots=True)
class AtomicStructure:
    """Atoms in a box whose edges lie along x, y and z.

    Args:
        numbers: atomic numbers, shape (n,), int64.
        positions_A: shape (n, 3), float64 [A]; z is the beam direction, the surface normal of a
            film, the stacking direction of a sheet.
        cell_A: edges of the box, shape (3,), float64 [A]; it repeats along x and y.
        rms_A: root mean square thermal displacement of each atom along one axis, shape (n,),
            float64 [A]; zeros where the atoms stand still.

    Raises:
        ArgumentError: shapes that do not fit, numbers below 1 or above 118, an edge that is not
            positive, a displacement below 0, or a number that is not finite.

    Example:
        >>> atom = AtomicStructure.of([6], [[1.0, 1.0, 1.0]], (2.0, 2.0, 2.0))
        >>> atom.n, atom.rms_A
        (1, array([0.]))
    """

    numbers: NDArray[np.int64]
    positions_A: NDArray[np.float64]
    cell_A: NDArray[np.float64]
    rms_A: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = self.numbers.size
        if self.numbers.shape != (n,):
            raise ArgumentError("structure.numbers", self.numbers.shape, "the shape (n,)")
        shapes = {"positions_A": (n, 3), "cell_A": (3,), "rms_A": (n,)}
        for name, shape in shapes.items():
            found = getattr(self, name)
            if found.shape != shape:
                raise ArgumentError(f"structure.{name}", found.shape, f"the shape {shape}")
            if not bool(np.isfinite(found).all()):
                raise ArgumentError(f"structure.{name}", "not finite", "finite numbers")
        if n and not (int(self.numbers.min()) >= 1 and int(self.numbers.max()) <= 118):
            raise ArgumentError("structure.numbers", self.numbers, "atomic numbers, 1 to 118")
        if not bool((self.cell_A > 0).all()):
            raise ArgumentError("structure.cell_A", self.cell_A, "positive edges")
        if not bool((self.rms_A >= 0).all()):
            raise ArgumentError("structure.rms_A", float(self.rms_A.min()), "numbers >= 0 A")

    @classmethod
    def of(cls, numbers: Any, positions_A: Any, cell_A: Any, rms_A: Any = 0.0) -> "AtomicStructure":
        """Return a structure of anything that numpy reads; one `rms_A` may serve all atoms."""
        kinds = np.asarray(numbers, dtype=np.int64)
        places = np.asarray(positions_A, dtype=np.float64)
        rms = np.asarray(rms_A, dtype=np.float64)
        return cls(
            kinds,
            # an empty list has one dimension
            places if places.size else places.reshape(0, 3),
            np.asarray(cell_A, dtype=np.float64),
            rms if rms.ndim else np.full(kinds.shape, rms),
        )

    @classmethod
    def from_ase(cls, atoms: Any, rms_A: Any = 0.0) -> "AtomicStructure":
        """Return the structure of an `ase.Atoms` whose cell is orthogonal.

        Raises:
            ArgumentError: a cell with other angles than 90 degrees.
        """
        matrix = np.asarray(atoms.cell[:], dtype=np.float64)
        edges = np.diag(matrix)
        if not np.allclose(matrix, np.diag(edges), atol=1e-6):
            raise ArgumentError("cell", matrix, "an orthogonal cell (see ase.build.make_supercell)")
        return cls.of(atoms.numbers, atoms.positions, edges, rms_A)

    def to_ase(self) -> Any:
        """Return the same as `ase.Atoms`, periodic along x and y."""
        from ase import Atoms

        return Atoms(
            numbers=self.numbers,
            positions=self.positions_A,
            cell=self.cell_A,
            pbc=(True, True, False),
        )

    @property
    def n(self) -> int:
        """How many atoms."""
        return int(self.numbers.shape[0])

    def shaken(self, rng: np.random.Generator) -> "AtomicStructure":
        """Return a snapshot in the Einstein model: each atom displaced by its own normal numbers.

        Source: Loane, Xu & Silcox, Acta Cryst. A47, 267 (1991), doi:10.1107/S0108767391000375
        (frozen phonons).
        """
        moved = self.positions_A + self.rms_A[:, None] * rng.standard_normal((self.n, 3))
        return AtomicStructure(self.numbers, moved, self.cell_A, self.rms_A)

    def without(self, atoms: Any) -> "AtomicStructure":
        """Return the structure less the atoms of these indices or of this mask: vacancies."""
        keep = np.ones(self.n, dtype=bool)
        keep[atoms] = False
        return AtomicStructure(
            self.numbers[keep], self.positions_A[keep], self.cell_A, self.rms_A[keep]
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_arrays` reads."""
        return {
            "numbers": self.numbers,
            "positions_A": self.positions_A,
            "cell_A": self.cell_A,
            "rms_A": self.rms_A,
        }

    @classmethod
    def from_arrays(cls, arrays: Any) -> "AtomicStructure":
        """Return the structure of `to_arrays`."""
        return cls.of(arrays["numbers"], arrays["positions_A"], arrays["cell_A"], arrays["rms_A"])
