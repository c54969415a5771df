"""Reference specimens: small structures whose images everyone knows.

Lattice constants and thermal displacements are rounded values for room temperature.

Source: MoS2: Bronsema, De Boer & Jellinek, Z. anorg. allg. Chem. 540, 15 (1986),
doi:10.1002/zaac.19865400904 (a 3.16 A, Mo-S 2.42 A); graphene: Castro Neto et al., Rev. Mod. Phys.
81, 109 (2009), doi:10.1103/RevModPhys.81.109 (C-C 1.42 A); SrTiO3: Okazaki & Kawaminami, Mater. Res.
Bull. 8, 545 (1973) (a 3.905 A).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.structure import AtomicStructure

__all__ = ["graphene", "mos2", "mos2_tilted_bilayer", "srtio3"]

VACUUM_A = 2.0
"""Empty space below and above a sheet [A]."""

RMS_A: Mapping[int, float] = {6: 0.06, 8: 0.09, 14: 0.07, 16: 0.08, 22: 0.07, 38: 0.08, 42: 0.06}
"""Thermal displacement along one axis by atomic number [A]: rounded stand-ins for 300 K."""


def mos2(*, across: tuple[int, int] = (4, 2)) -> AtomicStructure:
    """Return a monolayer of 2H MoS2, in orthogonal cells of 3.16 x 5.47 A.

    Args:
        across: how many cells along x and y.

    Raises:
        ArgumentError: fewer than one cell.

    Example:
        >>> mos2(across=(1, 1)).n
        6
    """
    from ase import build

    _check_cells(across)
    make: Any = build.mx2
    layer = make("MoS2", kind="2H", a=3.16, thickness=3.17, size=(1, 1, 1), vacuum=None)
    return _laid(_orthogonal(layer), across)


def mos2_tilted_bilayer(
    *, across: tuple[int, int] = (4, 2), tilt_mrad: float = 50.0, spacing_A: float = 6.15
) -> AtomicStructure:
    """Return two layers of MoS2 (2H stacking) whose stacking axis leans towards x.

    The cell stays periodic: the upper layer is displaced by the tilt, as a shear does, and each
    atom by its own height.

    Args:
        across: how many cells along x and y.
        tilt_mrad: lean of the stacking axis against the beam [mrad].
        spacing_A: distance of the Mo planes [A].

    Raises:
        ArgumentError: fewer than one cell, or a spacing that is not positive.
    """
    if not 0.0 < spacing_A < math.inf:
        raise ArgumentError("spacing_A", spacing_A, "a finite number > 0 A")
    lower = mos2(across=across)
    upper = lower.positions_A * np.array([1.0, -1.0, 1.0]) + np.array([0.0, 0.0, spacing_A])
    positions_A = np.concatenate([lower.positions_A, upper])
    positions_A[:, 0] += math.tan(1e-3 * tilt_mrad) * positions_A[:, 2]
    edges_A = lower.cell_A + np.array([0.0, 0.0, spacing_A])
    return _wrapped(np.tile(lower.numbers, 2), positions_A, edges_A)


def graphene(
    *,
    across: tuple[int, int] = (6, 4),
    vacancies: tuple[int, ...] = (),
    dopants: Mapping[int, int] | None = None,
) -> AtomicStructure:
    """Return a sheet of graphene with point defects, unrelaxed; cells of 2.46 x 4.26 A.

    Args:
        across: how many orthogonal cells along x and y.
        vacancies: indices of the atoms that are missing.
        dopants: atomic number by the index of the atom it replaces, such as {10: 14} (Si).

    Raises:
        ArgumentError: fewer than one cell, or an index that the sheet lacks.

    Example:
        >>> sheet = graphene(across=(2, 2), vacancies=(0,), dopants={5: 14})
        >>> sheet.n, int((sheet.numbers == 14).sum())
        (15, 1)
    """
    from ase import build

    _check_cells(across)
    make: Any = build.graphene
    whole = _laid(_orthogonal(make(a=2.46, vacuum=None)), across)
    changed = dict(dopants or {})
    for index in (*vacancies, *changed):
        if not 0 <= index < whole.n:
            raise ArgumentError("vacancies, dopants", index, f"indices from 0 to {whole.n - 1}")
    numbers = whole.numbers.copy()
    numbers[list(changed)] = list(changed.values())
    kept = AtomicStructure.of(numbers, whole.positions_A, whole.cell_A, _rms_A(numbers))
    return kept.without(list(vacancies))


def srtio3(*, across: tuple[int, int] = (3, 3), thickness_A: float = 200.0) -> AtomicStructure:
    """Return SrTiO3 along [001], cubic, in cells of 3.905 A.

    Args:
        across: how many cells along x and y.
        thickness_A: rounded to whole cells, at least one [A].

    Raises:
        ArgumentError: fewer than one cell, or a thickness that is not positive.

    Example:
        >>> srtio3(across=(1, 1), thickness_A=8.0).n
        10
    """
    _check_cells(across)
    if not 0.0 < thickness_A < math.inf:
        raise ArgumentError("thickness_A", thickness_A, "a finite number > 0 A")
    edge_A, numbers = 3.905, np.array([38, 22, 8, 8, 8])
    basis = np.array(
        [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    )
    deep = max(1, round(thickness_A / edge_A))
    counts = (*across, deep)
    origins = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1)
    # A quarter of a cell of lift: no atom stands on the border of the cell or of a slice.
    places = origins.reshape(-1, 1, 3) + basis + np.array([0.0, 0.0, 0.25])
    return _wrapped(
        np.tile(numbers, origins.size // 3),
        places.reshape(-1, 3) * edge_A,
        edge_A * np.array(counts),
    )


def _check_cells(across: tuple[int, int]) -> None:
    if min(across) < 1:
        raise ArgumentError("across", across, "at least one cell along each axis")


def _orthogonal(sheet: Any) -> Any:
    """Return the rectangular cell of a hexagonal sheet of two primitive cells."""
    from ase import build

    make: Any = build.make_supercell
    sheet.cell[2] = (0.0, 0.0, 1.0)
    return make(sheet, [[1, 0, 0], [1, 2, 0], [0, 0, 1]])


def _laid(cell: Any, across: tuple[int, int]) -> AtomicStructure:
    """Repeat the cell and put vacuum below and above."""
    sheet = cell.repeat((*across, 1))
    positions_A = np.array(sheet.positions)
    positions_A[:, 2] += VACUUM_A - positions_A[:, 2].min()
    height_A = float(positions_A[:, 2].max()) + VACUUM_A
    edges_A = np.array([sheet.cell[0, 0], sheet.cell[1, 1], height_A])
    return _wrapped(np.asarray(sheet.numbers), positions_A, edges_A)


def _wrapped(
    numbers: NDArray[np.int64], positions_A: NDArray[np.float64], cell_A: NDArray[np.float64]
) -> AtomicStructure:
    flat = positions_A.copy()
    flat[:, :2] %= cell_A[:2]
    return AtomicStructure.of(numbers, flat, cell_A, _rms_A(numbers))


def _rms_A(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([RMS_A.get(int(number), 0.0) for number in numbers])
