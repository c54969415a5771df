"""Graphene by one pz orbital per atom, with vacancies and substitutional dopants.

Source: Castro Neto et al., Rev. Mod. Phys. 81, 109 (2009), doi:10.1103/RevModPhys.81.109, equations
5 and 6 (bands; t about 2.7 to 2.8 eV, |t'| between 0.02 t and 0.2 t). Here hoppings are negative
matrix elements: H = t sum |i><j|, t = -2.7 eV. Left out: overlap, relaxation around defects,
spin and the electrons' repulsion (a real vacancy is magnetic and reconstructs).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.tight_binding import Crystal, Hop, TightBinding
from twinloop.simulators.structure import AtomicStructure

__all__ = [
    "BOND_A",
    "DOPANT_SHIFT_EV",
    "HOPPING_EV",
    "dope",
    "graphene",
    "graphene_crystal",
    "graphene_from_structure",
]

BOND_A = 1.42
"""Distance of neighbouring atoms [A] (Castro Neto et al. 2009)."""

HOPPING_EV = -2.7
"""Nearest-neighbour matrix element [eV] (Castro Neto et al. 2009: 2.7 to 2.8 eV)."""

DOPANT_SHIFT_EV = {"N": -4.0, "B": 4.0}
"""On-site shift of the dopant's pz orbital [eV]: a stand-in of the right sign and order (nitrogen
attracts electrons, boron repels them); fits to density-functional theory differ by model (Lambin et
al., Phys. Rev. B 86, 045448 (2012), arXiv:1205.6630, spread it over neighbours)."""


def graphene_crystal(
    *, hopping_eV: float = HOPPING_EV, next_hopping_eV: float = 0.0, is_rectangular: bool = False
) -> Crystal:
    """Return the unit cell of graphene, zigzag rows along x.

    Args:
        hopping_eV: matrix element between nearest neighbours [eV].
        next_hopping_eV: between next-nearest neighbours [eV].
        is_rectangular: the cell of four atoms, sqrt(3) d by 3 d, rather than that of two.

    Raises:
        ArgumentError: a hopping that is not finite.
    """
    for name, value in (("hopping_eV", hopping_eV), ("next_hopping_eV", next_hopping_eV)):
        if not np.isfinite(value):
            raise ArgumentError(name, value, "a finite number of eV")
    lattice_A = np.sqrt(3.0) * BOND_A
    vectors_A = lattice_A * np.array([[1.0, 0.0], [0.5, np.sqrt(3.0) / 2.0]])
    flat_A = np.array([[0.0, 0.0], [lattice_A / 2, 0.5 * BOND_A]])
    shells = ((BOND_A, hopping_eV), (lattice_A, next_hopping_eV))
    hops = tuple(
        Hop(start, end, one, two, energy_eV)
        for distance_A, energy_eV in shells
        if energy_eV != 0.0
        for start, end, one, two in _pairs(vectors_A, flat_A, distance_A)
    )
    crystal = Crystal(
        vectors_A,
        np.hstack([flat_A, np.zeros((2, 1))]),
        ("pz", "pz"),
        np.array([6, 6], dtype=np.int64),
        np.array([0, 1], dtype=np.int64),
        np.zeros(2),
        hops,
    )
    return crystal.rectangular() if is_rectangular else crystal


def graphene(
    repeats: tuple[int, int],
    *,
    hopping_eV: float = HOPPING_EV,
    next_hopping_eV: float = 0.0,
    is_rectangular: bool = True,
) -> TightBinding:
    """Return a periodic box of graphene.

    Args:
        repeats: cells along x (2.459 A each) and along y (4.26 A each when rectangular).
        hopping_eV: matrix element between nearest neighbours [eV].
        next_hopping_eV: between next-nearest neighbours [eV].
        is_rectangular: cells of four atoms with edges along x and y, rather than cells of two.
    """
    crystal = graphene_crystal(
        hopping_eV=hopping_eV, next_hopping_eV=next_hopping_eV, is_rectangular=is_rectangular
    )
    return TightBinding.of(crystal, repeats)


def dope(
    sheet: TightBinding,
    atoms: Sequence[int],
    element: str,
    *,
    range_A: float = 0.0,
    shift_eV: float | None = None,
) -> TightBinding:
    """Return the sheet with atoms replaced by a dopant: a shift of the on-site energy.

    Args:
        sheet: graphene.
        atoms: orbitals that the dopant takes.
        element: "N" or "B" (`DOPANT_SHIFT_EV`).
        range_A: standard deviation of a Gaussian by which neighbours share the shift [A]; 0: the
            dopant alone.
        shift_eV: another shift [eV]; None: the element's.

    Raises:
        ArgumentError: an element without a shift, or a negative range.
    """
    if element not in DOPANT_SHIFT_EV:
        raise ArgumentError("element", element, f"one of {sorted(DOPANT_SHIFT_EV)}")
    if not range_A >= 0:
        raise ArgumentError("range_A", range_A, "a number >= 0 A")
    depth_eV = DOPANT_SHIFT_EV[element] if shift_eV is None else shift_eV
    if range_A == 0.0:
        return sheet.with_onsite(np.asarray(atoms, dtype=np.int64), depth_eV)
    places_A = sheet.positions_A[:, :2]
    total_eV = np.zeros(sheet.n)
    for atom in atoms:
        apart = np.linalg.solve(sheet.cell_A.T, (places_A - places_A[atom]).T).T
        far_A = np.linalg.norm((apart - np.rint(apart)) @ sheet.cell_A, axis=1)
        total_eV += depth_eV * np.exp(-0.5 * (far_A / range_A) ** 2)
    return sheet.with_onsite(np.arange(sheet.n), total_eV)


def graphene_from_structure(structure: AtomicStructure) -> TightBinding:
    """Return the box of a structure: missing atoms are vacancies, N and B are dopants.

    The atoms take the nearest sites of the lattice, zigzag along x, wherever its origin is; strain
    and relaxation are left out.

    Args:
        structure: carbon, nitrogen and boron in one plane; edges of whole rectangular cells.

    Raises:
        ArgumentError: edges off by over 3 % from whole cells, another element, an atom over 0.5 A
            from every site, or two on one site.
    """
    unit_A = np.array([np.sqrt(3.0) * BOND_A, 3.0 * BOND_A])
    repeats = np.rint(structure.cell_A[:2] / unit_A).astype(np.int64)
    if repeats.min() < 1 or np.abs(structure.cell_A[:2] / (repeats * unit_A) - 1.0).max() > 0.03:
        raise ArgumentError("structure.cell_A", structure.cell_A, "whole cells of 2.46 by 4.26 A")
    strange = set(structure.numbers.tolist()) - {5, 6, 7}
    if strange or structure.n == 0:
        raise ArgumentError("structure.numbers", sorted(strange), "some of 5, 6, 7 (B, C, N)")
    box = graphene((int(repeats[0]), int(repeats[1])))
    basis = box.crystal.places_A[:, :2] / unit_A
    parts = structure.positions_A[:, :2] / structure.cell_A[:2] * repeats
    best = (np.inf, np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.int64))
    for corner in basis:
        apart = (parts - parts[0] + corner)[:, None, :] - basis[None]
        far_A = np.linalg.norm((apart - np.rint(apart)) * unit_A, axis=2)
        if far_A.min(axis=1).max() < best[0]:
            kind = far_A.argmin(axis=1)
            cell = np.rint(apart[np.arange(structure.n), kind]).astype(np.int64) % repeats
            best = (float(far_A.min(axis=1).max()), kind, cell)
    worst_A, kind, cell = best
    present = np.zeros(box.is_present.shape, dtype=np.bool_)
    present[kind, cell[:, 0], cell[:, 1]] = True
    if worst_A > 0.5 or np.count_nonzero(present) != structure.n:
        raise ArgumentError("structure.positions_A", f"{worst_A:.2f} A off", "one atom a site")
    shift_eV = np.zeros(present.shape)
    for number, element in ((7, "N"), (5, "B")):
        mine = structure.numbers == number
        shift_eV[kind[mine], cell[mine, 0], cell[mine, 1]] = DOPANT_SHIFT_EV[element]
    return replace(box, is_present=present, shift_eV=shift_eV)


def _pairs(
    vectors_A: NDArray[np.float64], flat_A: NDArray[np.float64], distance_A: float
) -> list[tuple[int, int, int, int]]:
    """Return (start, end, step1, step2) of all pairs at this distance."""
    found = []
    for start, here_A in enumerate(flat_A):
        for end, there_A in enumerate(flat_A):
            for one in (-1, 0, 1):
                for two in (-1, 0, 1):
                    apart_A = there_A + np.array([one, two]) @ vectors_A - here_A
                    if abs(np.linalg.norm(apart_A) - distance_A) < 0.01:
                        found.append((start, end, one, two))
    return found
