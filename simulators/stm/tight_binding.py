"""Tight-binding Hamiltonians of crystals, cut from a lattice and spoilt by defects.

A `Crystal` is what repeats: lattice vectors, orbitals, hoppings. A `TightBinding` is a periodic box
of N1 x N2 such cells, less the orbitals that are missing and with on-site energies of its own. The
book-keeping by cell is kept, because waves above the surface are then one FFT per state
(`tersoff_hamann`).

Source: Slater & Koster, Phys. Rev. 94, 1498 (1954), doi:10.1103/PhysRev.94.1498; orthogonal
orbitals (no overlap matrix), one spin.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError

__all__ = ["ORBITALS", "Crystal", "Hop", "TightBinding"]

ORBITALS = ("s", "px", "py", "pz", "dz2", "dxz", "dyz", "dx2-y2", "dxy")
"""Shapes that an orbital may have, as real harmonics."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A hopping from an orbital of the home cell to one of the cell (step1, step2); directed.

    Args:
        start: orbital in the home cell, its index in the crystal.
        end: orbital in the other cell.
        step1: other cell along the first lattice vector.
        step2: other cell along the second lattice vector.
        energy_eV: matrix element <start, 0 | H | end, step> [eV].
    """

    start: int
    end: int
    step1: int
    step2: int
    energy_eV: float


@dataclass(frozen=True, eq=False, slots=True)
class Crystal:
    """The repeating unit of a sheet.

    Args:
        vectors_A: lattice vectors as rows, shape (2, 2), float64 [A].
        places_A: where each orbital sits, shape (m, 3), float64 [A]; z points to the tip, 0 is the
            topmost plane of nuclei.
        shapes: one of `ORBITALS` for each.
        species: atomic number of the atom that has the orbital, shape (m,), int64.
        atoms: which atom of the cell has the orbital, shape (m,), int64.
        onsite_eV: shape (m,), float64 [eV].
        hops: every hopping in both directions.

    Raises:
        ArgumentError: shapes that do not fit, an unknown orbital, or hops that are not Hermitian.

    Example:
        >>> from twinloop.simulators.stm.graphene import graphene_crystal
        >>> graphene_crystal().m
        2
    """

    vectors_A: NDArray[np.float64]
    places_A: NDArray[np.float64]
    shapes: tuple[str, ...]
    species: NDArray[np.int64]
    atoms: NDArray[np.int64]
    onsite_eV: NDArray[np.float64]
    hops: tuple[Hop, ...]

    def __post_init__(self) -> None:
        m = len(self.shapes)
        wanted = {"vectors_A": (2, 2), "places_A": (m, 3), "species": (m,), "onsite_eV": (m,)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ArgumentError(f"crystal.{name}", getattr(self, name).shape, f"shape {shape}")
        for shape_name in self.shapes:
            if shape_name not in ORBITALS:
                raise ArgumentError("crystal.shapes", shape_name, f"one of {ORBITALS}")
        there = {(h.start, h.end, h.step1, h.step2): h.energy_eV for h in self.hops}
        for (start, end, one, two), energy_eV in there.items():
            back_eV = there.get((end, start, -one, -two), np.nan)
            if not abs(back_eV - energy_eV) < 1e-9:
                raise ArgumentError("crystal.hops", (start, end, one, two), "its reverse beside it")

    @property
    def m(self) -> int:
        """How many orbitals a cell has."""
        return len(self.shapes)

    def bloch(self, k_per_A: ArrayLike) -> NDArray[np.complex128]:
        """Return H(k) of the cell, sum over cells R of H(R) exp(i k . R), shape (m, m) [eV].

        Args:
            k_per_A: wave vector, shape (2,) [1/A].
        """
        turn = self.vectors_A @ np.asarray(k_per_A, dtype=np.float64)
        matrix = np.diag(self.onsite_eV).astype(np.complex128)
        for hop in self.hops:
            phase = np.exp(1j * (hop.step1 * turn[0] + hop.step2 * turn[1]))
            matrix[hop.start, hop.end] += hop.energy_eV * phase
        return matrix

    @property
    def reciprocal_per_A(self) -> NDArray[np.float64]:
        """Reciprocal lattice vectors as rows, a_i . b_j = 2 pi delta_ij, shape (2, 2) [1/A]."""
        inverse = np.linalg.inv(self.vectors_A).T.astype(np.float64)
        return 2.0 * np.pi * inverse

    def rectangular(self) -> "Crystal":
        """Return the same hexagonal crystal with the cell a1, 2 a2 - a1 of twice the orbitals.

        Raises:
            ArgumentError: lattice vectors that do not make a rectangle so.
        """
        first_A, second_A = self.vectors_A
        edge_A = 2.0 * second_A - first_A
        if abs(float(first_A @ edge_A)) > 1e-9 or abs(float(first_A[1])) > 1e-9:
            raise ArgumentError("vectors_A", self.vectors_A, "a along x, and 60 degrees beside it")
        hops = []
        for hop in self.hops:
            for half in (0, 1):
                two, other = divmod(half + hop.step2, 2)
                start, end = hop.start + half * self.m, hop.end + other * self.m
                hops.append(Hop(start, end, hop.step1 + two, two, hop.energy_eV))
        moved_A = self.places_A + np.array([*second_A, 0.0])
        return Crystal(
            np.array([first_A, edge_A]),
            np.vstack([self.places_A, moved_A]),
            self.shapes * 2,
            np.tile(self.species, 2),
            np.concatenate([self.atoms, self.atoms + self.atoms.max() + 1]),
            np.tile(self.onsite_eV, 2),
            tuple(hops),
        )


@dataclass(frozen=True, eq=False, slots=True)
class TightBinding:
    """A periodic box of a crystal with its defects.

    Orbital (b, n1, n2) of the full box has the number (b * N1 + n1) * N2 + n2; rows of the
    Hamiltonian are those that are present, in that order.

    Args:
        crystal: what repeats.
        repeats: cells along each lattice vector, (N1, N2).
        is_present: shape (m, N1, N2), bool.
        shift_eV: on-site energy added to the crystal's, shape (m, N1, N2), float64 [eV].

    Raises:
        ArgumentError: repeats below 1 or shapes that do not fit.

    Example:
        >>> from twinloop.simulators.stm.graphene import graphene
        >>> sheet = graphene((6, 6))
        >>> sheet.n, sheet.without([0]).n
        (144, 143)
    """

    crystal: Crystal
    repeats: tuple[int, int]
    is_present: NDArray[np.bool_]
    shift_eV: NDArray[np.float64]

    def __post_init__(self) -> None:
        if min(self.repeats) < 1:
            raise ArgumentError("repeats", self.repeats, "two numbers >= 1")
        shape = (self.crystal.m, *self.repeats)
        for name in ("is_present", "shift_eV"):
            if getattr(self, name).shape != shape:
                raise ArgumentError(name, getattr(self, name).shape, f"the shape {shape}")

    @classmethod
    def of(cls, crystal: Crystal, repeats: tuple[int, int]) -> "TightBinding":
        """Return a perfect box of `repeats` cells."""
        if min(repeats) < 1:
            raise ArgumentError("repeats", repeats, "two numbers >= 1")
        shape = (crystal.m, *repeats)
        return cls(crystal, repeats, np.ones(shape, dtype=np.bool_), np.zeros(shape))

    @property
    def n(self) -> int:
        """How many orbitals are present."""
        return int(np.count_nonzero(self.is_present))

    @property
    def cell_A(self) -> NDArray[np.float64]:
        """Edges of the box as rows, shape (2, 2) [A]."""
        edges: NDArray[np.float64] = self.crystal.vectors_A * np.array(self.repeats, float)[:, None]
        return edges

    @property
    def positions_A(self) -> NDArray[np.float64]:
        """Place of each present orbital, shape (n, 3) [A]."""
        full = np.zeros((*self.is_present.shape, 3))
        one, two = np.indices(self.repeats)
        origin = (
            one[..., None] * self.crystal.vectors_A[0]
            + two[..., None] * (self.crystal.vectors_A[1])
        )
        full[..., :2] = origin[None] + self.crystal.places_A[:, None, None, :2]
        full[..., 2] = self.crystal.places_A[:, None, None, 2]
        present: NDArray[np.float64] = full[self.is_present]
        return present

    @property
    def kinds(self) -> NDArray[np.int64]:
        """Index in the crystal of each present orbital, shape (n,)."""
        kinds: NDArray[np.int64] = np.nonzero(self.is_present)[0].astype(np.int64)
        return kinds

    def nearest(self, x_A: float, y_A: float, *, kind: int | None = None) -> int:
        """Return the present orbital nearest to a point, across the box's edges.

        Args:
            x_A: [A].
            y_A: [A].
            kind: of this index in the crystal only; None: any.
        """
        apart = np.linalg.solve(self.cell_A.T, (self.positions_A[:, :2] - np.array([x_A, y_A])).T).T
        apart -= np.rint(apart)
        far_A = np.linalg.norm(apart @ self.cell_A, axis=1)
        if kind is not None:
            far_A = np.where(self.kinds == kind, far_A, np.inf)
        return int(far_A.argmin())

    def without(self, orbitals: Any) -> "TightBinding":
        """Return the box less these orbitals (indices or mask over those present): vacancies."""
        keep = np.ones(self.n, dtype=np.bool_)
        keep[orbitals] = False
        present = self.is_present.copy()
        present[self.is_present] = keep
        return replace(self, is_present=present)

    def with_onsite(self, orbitals: Any, energy_eV: ArrayLike) -> "TightBinding":
        """Return the box with `energy_eV` added on these orbitals: substitutional dopants."""
        added = np.zeros(self.n)
        np.add.at(added, orbitals, energy_eV)
        shift_eV = self.shift_eV.copy()
        shift_eV[self.is_present] += added
        return replace(self, shift_eV=shift_eV)

    def scatter(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Return values over present orbitals, shape (..., n), as the full box (..., m, N1, N2)."""
        full = np.zeros((*vectors.shape[:-1], *self.is_present.shape), dtype=vectors.dtype)
        full[..., self.is_present] = vectors
        return full

    def hamiltonian(self, k_per_A: ArrayLike = (0.0, 0.0)) -> Any:
        """Return the sparse Hamiltonian, csr of shape (n, n) [eV].

        Args:
            k_per_A: wave vector of the box [1/A]; at (0, 0) the matrix is real (float64), else
                complex128; the Bloch phase sits on the bonds that cross the box's edges.
        """
        wave = np.asarray(k_per_A, dtype=np.float64)
        turn = self.cell_A @ wave
        is_real = not wave.any()
        number = np.full(self.is_present.shape, -1, dtype=np.int64)
        number[self.is_present] = np.arange(self.n)
        one, two = np.indices(self.repeats)
        rows, columns, values = [], [], []
        for hop in self.crystal.hops:
            wrap1, there1 = np.divmod(one + hop.step1, self.repeats[0])
            wrap2, there2 = np.divmod(two + hop.step2, self.repeats[1])
            row, column = number[hop.start], number[hop.end][there1, there2]
            keep = (row >= 0) & (column >= 0)
            rows.append(row[keep])
            columns.append(column[keep])
            phase = np.exp(1j * (wrap1 * turn[0] + wrap2 * turn[1]))[keep]
            values.append(hop.energy_eV * (phase.real if is_real else phase))
        onsite_eV = (self.crystal.onsite_eV[:, None, None] + self.shift_eV)[self.is_present]
        order = np.arange(self.n)
        matrix = scipy.sparse.coo_matrix(
            (
                np.concatenate([*values, onsite_eV]),
                (np.concatenate([*rows, order]), np.concatenate([*columns, order])),
            ),
            shape=(self.n, self.n),
        )
        return matrix.tocsr()
