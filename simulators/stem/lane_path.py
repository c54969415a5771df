"""Slices and propagators in the order that `lanes` wants, and the way of waves through them.

The way is the same as that of `Multislice` by plain Fourier transforms, to rounding: it leaves out
the frequencies outside the band limit, where the waves are 0, and does not sort in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.grid import Grid
from twinloop.simulators.stem.lanes import LANES, PLACE, RADICES, Reals, across, along, pack, unpack

__all__ = ["Axis", "Band", "LanePath", "factors_of"]


def factors_of(n: int) -> tuple[int, ...] | None:
    """Return the stages of a transform of n points; None where n has a prime factor above 5.

    Example:
        >>> factors_of(160), factors_of(14)
        ((5, 4, 4, 2), None)
    """
    found = []
    for radix in RADICES:
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return tuple(found) if n == 1 else None


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """What the transforms along one axis need; `Axis.of` makes it.

    Args:
        radices: of the stages, int64.
        order: the natural index of each scrambled place, shape (n,).
        turns: twiddle factors of all stages, as pairs of real numbers.
        conjugate: their conjugates.
    """

    radices: NDArray[np.int64]
    order: NDArray[np.int64]
    turns: Reals
    conjugate: Reals

    @classmethod
    @lru_cache(maxsize=32)
    def of(cls, factors: tuple[int, ...]) -> "Axis":
        """Return the axis of so many points as the product of the factors."""
        size = int(np.prod(factors))
        order, parts = np.zeros(1, dtype=np.int64), []
        for radix in factors:
            step = size // radix
            angle = np.outer(np.arange(step), np.arange(1, radix)) / size
            parts.append(np.exp(2j * np.pi * angle).ravel())
            size = step
        for radix in reversed(factors):
            order = np.concatenate([radix * order + k for k in range(radix)])
        turns = np.concatenate([*parts, np.zeros(0, dtype=np.complex128)])
        radices = np.array(factors, dtype=np.int64)
        return cls(radices, order, _pairs(turns), _pairs(turns.conj()))


class LanePath:
    """Slices ready for `lanes`; each twist of Bloch's theorem shares them.

    Args:
        grid: of the slices; `LanePath.serves` says whether it will do.
        slices: transmissions, shape (n, nx, ny), complex, on the CPU.
    """

    def __init__(self, grid: Grid, slices: Sequence[Tensor]) -> None:
        self.grid = grid
        self._x, self._y = (Axis.of(factors_of(n) or ()) for n in grid.shape)
        order = [torch.from_numpy(axis.order) for axis in (self._x, self._y)]
        # Transforms are not normalised: each slice divides by the number of points.
        self._slices = [_pairs((s[order[0]][:, order[1]] / grid.points).numpy()) for s in slices]

    @staticmethod
    def serves(grid: Grid, compute: Compute) -> bool:
        """Return whether there are kernels for this: a grid of fast sizes, in single precision."""
        is_here = compute.device == "cpu" and compute.precision == "single"
        return is_here and None not in map(factors_of, grid.shape)

    def propagator(self, whole: Tensor, band: "Band") -> Reals:
        """Return a propagator, shape (nx, ny), in the order of `through`."""
        return _pairs(whole.numpy()[:, band.columns].T)

    def through(
        self, waves: Tensor, propagators: Sequence[Reals], first: int, band: "Band"
    ) -> None:
        """Take waves from in front of slice `first` to the exit, in place.

        Args:
            waves: in frequencies, shape (n, nx, ny); 0 outside the band's columns.
            propagators: behind each slice from `first` on.
            first: slice.
            band: the frequencies along y that there are.
        """
        nx, ny = self.grid.shape
        x, y, kept = self._x, self._y, band.columns.size
        lanes = np.empty(nx * kept * PLACE, dtype=np.float32)
        scratch = np.empty(max(ny, 2 * nx) * PLACE, dtype=np.float32)
        row, columns = scratch[: ny * PLACE], scratch[: 2 * nx * PLACE]
        plain = waves.numpy()
        last = len(self._slices) - 1
        for start in range(0, plain.shape[0], LANES):
            part = plain[start : start + LANES]
            pack(part, lanes, columns[: nx * PLACE], band.positive, kept, x.radices, x.turns)
            for k, propagator in enumerate(propagators, first):
                along(
                    lanes, row, self._slices[k], band.positive, kept, y.radices, y.turns,
                    y.conjugate,
                )  # fmt: skip
                across(lanes, columns, propagator, kept, x.radices, x.turns, x.conjugate, k == last)
            unpack(lanes, part, band.positive, kept)


@dataclass(frozen=True, eq=False, slots=True)
class Band:
    """The frequencies along y that a band limit leaves.

    Args:
        columns: their indices, from 0 up, then the negative ones.
        positive: how many are >= 0.
    """

    columns: NDArray[np.int64]
    positive: int

    @classmethod
    def of(cls, limit: NDArray[np.float64]) -> "Band":
        """Return the columns in which a band limit, shape (nx, ny), is not 0."""
        columns = np.flatnonzero(limit.any(axis=0))
        return cls(columns, int((columns < (limit.shape[1] + 1) // 2).sum()))

    def holds(self, waves: Tensor) -> bool:
        """Return whether the waves, shape (n, nx, ny), are 0 outside."""
        outside = np.setdiff1d(np.arange(waves.shape[2]), self.columns)
        return not bool(waves[:, :, torch.from_numpy(outside)].any())


def _pairs(numbers: NDArray[np.complexfloating[Any, Any]]) -> Reals:
    """Return complex numbers as pairs of real ones, flat, in single precision."""
    flat = np.ascontiguousarray(numbers.astype(np.complex64)).ravel()
    return flat.view(np.float32)
