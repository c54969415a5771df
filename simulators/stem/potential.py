"""Projected potentials: a structure cut into slices, each seen from above.

Atoms are independent and neutral; each puts its whole projected potential into the slice that holds
its nucleus. Charge transfer, bonding and absorption are left out.

Source: Kirkland, Advanced Computing in Electron Microscopy (Springer, 2010),
doi:10.1007/978-1-4419-6533-2, chapter 5: v(x, y) = 2 pi a_0 e sum_j F^-1{f_j(k)}.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.electrons import BOHR_A, ELECTRON_CHARGE_VA
from twinloop.simulators.stem.grid import Grid
from twinloop.simulators.stem.scattering_factors import Parametrisation, scattering_factor_A
from twinloop.simulators.structure import AtomicStructure

__all__ = ["Placement", "Potential", "project"]

BORN_VA2 = 2.0 * math.pi * BOHR_A * ELECTRON_CHARGE_VA
"""Projected potential by scattering factor, 2 pi a_0 e [V A]."""


class Placement(StrEnum):
    """How an atom that stands between grid points enters the grid.

    `GRID` spreads it over its four neighbours and sharpens the sum by k d / sin(k d), d the
    sampling: the convention of abTEM 1.0.11 (projection="infinite"), found from its output.
    `FOURIER` gives every atom its exact phase: the limit of both for fine sampling.
    """

    GRID = "grid"
    FOURIER = "fourier"


@dataclass(frozen=True, eq=False, slots=True)
class Potential:
    """Slices that hold atoms, and the vacuum between them; `project` makes it.

    Args:
        grid: the points of every slice.
        slices_VA: projected potentials, shape (n_slices, nx, ny), real [V A].
        levels: which of the equal steps each slice is, from the entrance, ascending.
        steps: how many equal steps there are, empty ones too.
        step_A: their thickness [A].
        compute: where the slices live.
    """

    grid: Grid
    slices_VA: Tensor
    levels: tuple[int, ...]
    steps: int
    step_A: float
    compute: Compute

    def repeated(self, repeats: tuple[int, int]) -> "Potential":
        """Return the same over so many cells along x and y."""
        grid = self.grid.repeated(repeats)
        return replace(self, grid=grid, slices_VA=self.slices_VA.repeat(1, *repeats))

    @property
    def lead(self) -> int:
        """Empty steps before the first atoms; they keep the focus where it belongs."""
        return self.levels[0] if self.levels else self.steps

    @property
    def follow(self) -> tuple[int, ...]:
        """Steps from each slice to the next, or to the exit."""
        ends = (*self.levels, self.steps)[1:]
        return tuple(end - level for level, end in zip(self.levels, ends, strict=True))


def project(
    structure: AtomicStructure,
    *,
    sampling_A: float | None = None,
    grid: Grid | None = None,
    step_A: float = 1.0,
    parametrisation: Parametrisation = Parametrisation.LOBATO,
    placement: Placement = Placement.GRID,
    compute: Compute | None = None,
) -> Potential:
    """Return the projected potential of a structure.

    The cell is cut into ceil(c / step_A) equal steps; empty ones cost nothing later. Atoms below or
    above the cell belong to its first or last step.

    Args:
        structure: atoms in a cell; electrons enter at z = 0.
        sampling_A: largest distance of grid points; the grid gets fast sizes [A].
        grid: the points, instead of `sampling_A`.
        step_A: largest thickness of a step [A].
        parametrisation: table of the scattering factors.
        placement: how atoms enter the grid.
        compute: device and precision.

    Raises:
        ArgumentError: neither or both of `sampling_A` and `grid`, a grid of another cell, or a
            thickness that is not positive.

    Example:
        >>> atom = AtomicStructure.of([6], [[1.0, 1.0, 1.0]], (4.0, 4.0, 2.0))
        >>> potential = project(atom, sampling_A=0.25)
        >>> potential.levels, tuple(potential.slices_VA.shape)
        ((1,), (1, 16, 16))
    """
    where = compute or Compute()
    points = _grid_of(structure, sampling_A, grid)
    if not 0.0 < step_A < math.inf:
        raise ArgumentError("step_A", step_A, "a finite number > 0 A")
    if placement not in set(Placement):
        raise ArgumentError("placement", placement, f"one of {', '.join(Placement)}")
    depth_A = float(structure.cell_A[2])
    steps = max(1, math.ceil(round(depth_A / step_A, 9)))
    level = np.floor(structure.positions_A[:, 2] * (steps / depth_A)).astype(np.int64)
    level = np.clip(level, 0, steps - 1)
    levels, place = np.unique(level, return_inverse=True)
    spectra = torch.zeros(
        (levels.size, points.shape[0], points.shape[1] // 2 + 1),
        dtype=torch.complex128,
        device=where.device,
    )
    spread = _on_grid if placement == Placement.GRID else _exact
    for number in np.unique(structure.numbers):
        mine = structure.numbers == number
        shape_VA = BORN_VA2 * scattering_factor_A(int(number), _half(points), parametrisation)
        if placement == Placement.GRID:
            shape_VA /= _droop(points)
        weight = torch.from_numpy(shape_VA).to(where.device)
        for chosen, factor in spread(structure.positions_A[mine], place[mine], levels.size, points):
            spectra[chosen] += factor.to(where.device) * weight
    dx, dy = points.sampling_A
    slices = torch.zeros((0, *points.shape), device=where.device)
    if levels.size:
        slices = torch.fft.irfft2(spectra, s=points.shape) / (dx * dy)
    return Potential(
        points, slices.to(where.real), tuple(levels.tolist()), steps, depth_A / steps, where
    )


def _grid_of(structure: AtomicStructure, sampling_A: float | None, grid: Grid | None) -> Grid:
    edges = (float(structure.cell_A[0]), float(structure.cell_A[1]))
    if grid is None and sampling_A is not None:
        return Grid.of(edges, sampling_A)
    if grid is None or sampling_A is not None:
        raise ArgumentError("grid, sampling_A", (grid, sampling_A), "one of the two")
    if not np.allclose(grid.cell_A, edges, rtol=1e-9):
        raise ArgumentError("grid.cell_A", grid.cell_A, f"the structure's edges {edges} A")
    return grid


def _half(grid: Grid) -> NDArray[np.float64]:
    """Return the frequencies of a real transform: non-negative along y [1/A]."""
    x, _ = grid.frequencies_per_A()
    y = np.arange(grid.shape[1] // 2 + 1) / grid.cell_A[1]
    length: NDArray[np.float64] = np.hypot(x, y[None, :])
    return length


def _droop(grid: Grid) -> NDArray[np.float64]:
    """Return sin(k d) / (k d) on the half grid; see `Placement.GRID`."""
    x, _ = grid.frequencies_per_A()
    y = np.arange(grid.shape[1] // 2 + 1)[None, :] / grid.cell_A[1]
    dx, dy = grid.sampling_A
    found: NDArray[np.float64] = np.sinc(np.hypot(x * dx, y * dy) / np.pi)
    return found


def _on_grid(
    positions_A: NDArray[np.float64], place: NDArray[np.int64], n: int, grid: Grid
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the transform of atoms that are spread over their four neighbours, slice by slice."""
    at = positions_A[:, :2] / np.array(grid.sampling_A)
    low = np.floor(at).astype(np.int64)
    share = at - low
    weights = np.zeros((n, grid.points))
    for right, up in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column = (low[:, 0] + right) % grid.shape[0]
        row = (low[:, 1] + up) % grid.shape[1]
        part = np.where(right, share[:, 0], 1.0 - share[:, 0])
        part *= np.where(up, share[:, 1], 1.0 - share[:, 1])
        np.add.at(weights, (place, column * grid.shape[1] + row), part)
    for k in range(n):
        if weights[k].any():
            layer = torch.from_numpy(weights[k].reshape(grid.shape))
            yield slice(k, k + 1), torch.fft.rfft2(layer)


def _exact(
    positions_A: NDArray[np.float64], place: NDArray[np.int64], n: int, grid: Grid
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the structure factor, slice by slice."""
    x, _ = grid.frequencies_per_A()
    y = np.arange(grid.shape[1] // 2 + 1) / grid.cell_A[1]
    for k in range(n):
        here = positions_A[place == k]
        if here.size:
            across = np.exp(-2j * np.pi * x * here[None, :, 0])
            along = np.exp(-2j * np.pi * here[:, 1, None] * y[None, :])
            yield slice(k, k + 1), torch.from_numpy(across) @ torch.from_numpy(along)
