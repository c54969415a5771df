"""The sampled cell: points along x and y, their spatial frequencies, and the band limit."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["BAND_LIMIT", "UNTWISTED", "Grid", "Twist", "fast_size"]

BAND_LIMIT = 2.0 / 3.0
"""Part of the Nyquist frequency that waves may fill: products of two such arrays do not alias.

Source: Kirkland, Advanced Computing in Electron Microscopy (Springer, 2010),
doi:10.1007/978-1-4419-6533-2, section 6.8."""

BAND_TAPER = 0.01
"""Width of the band limit's cosine edge, in units of 1 / sampling (abTEM's default)."""


Twist: TypeAlias = tuple[float, float]
UNTWISTED: Twist = (0.0, 0.0)


def fast_size(least: int) -> int:
    """Return the smallest multiple of 4 that is >= least and has no prime factor but 2, 3 and 5.

    Odd multiples of 2, such as 250, cost a third more for each point than their neighbours.

    Raises:
        ArgumentError: a number below 1.

    Example:
        >>> fast_size(251)
        256
    """
    if least < 1:
        raise ArgumentError("grid points", least, "a number >= 1")
    size = -(-least // 4) * 4
    while not _is_fast(size):
        size += 4
    return size


def _is_fast(size: int) -> bool:
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    return size == 1


@dataclass(frozen=True, slots=True)
class Grid:
    """Points that sample a periodic cell; axis 0 runs along x, axis 1 along y.

    Args:
        shape: points along x and y.
        cell_A: edges of the cell along x and y [A].

    Raises:
        ArgumentError: fewer than 2 points, or an edge that is not positive.

    Example:
        >>> Grid.of((10.0, 8.0), 0.1).shape
        (100, 80)
    """

    shape: tuple[int, int]
    cell_A: tuple[float, float]

    def __post_init__(self) -> None:
        if min(self.shape) < 2:
            raise ArgumentError("grid.shape", self.shape, "at least 2 points along each axis")
        if not all(0.0 < edge < math.inf for edge in self.cell_A):
            raise ArgumentError("grid.cell_A", self.cell_A, "positive edges")

    @classmethod
    def of(cls, cell_A: tuple[float, float], sampling_A: float) -> "Grid":
        """Return the fast grid whose points stand at most `sampling_A` apart [A]."""
        if not 0.0 < sampling_A < math.inf:
            raise ArgumentError("sampling_A", sampling_A, "a finite number > 0 A")
        x, y = (fast_size(math.ceil(round(edge / sampling_A, 9))) for edge in cell_A)
        return cls((max(x, 2), max(y, 2)), (float(cell_A[0]), float(cell_A[1])))

    def repeated(self, repeats: tuple[int, int]) -> "Grid":
        """Return the same points over so many cells along x and y.

        Raises:
            ArgumentError: fewer than one cell.
        """
        if min(repeats) < 1:
            raise ArgumentError("repeats", repeats, "at least one cell along each axis")
        x, y = repeats
        cell_A = (self.cell_A[0] * x, self.cell_A[1] * y)
        return Grid((self.shape[0] * x, self.shape[1] * y), cell_A)

    @property
    def points(self) -> int:
        """How many points."""
        return self.shape[0] * self.shape[1]

    @property
    def sampling_A(self) -> tuple[float, float]:
        """Distance of neighbouring points along x and y [A]."""
        return self.cell_A[0] / self.shape[0], self.cell_A[1] / self.shape[1]

    def orders(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the integer frequencies of a Fourier transform along x and y."""
        x, y = (np.rint(np.fft.fftfreq(n, 1.0 / n)).astype(np.int64) for n in self.shape)
        return x, y

    def frequencies_per_A(
        self, twist: Twist = UNTWISTED
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the spatial frequencies along x, shape (nx, 1), and y, shape (1, ny) [1/A].

        Args:
            twist: fractions of an order that are added along x and y: the wave's phase from one
                cell to the next, in turns.
        """
        x, y = self.orders()
        across = (x.astype(np.float64) + twist[0]) / self.cell_A[0]
        along = (y.astype(np.float64) + twist[1]) / self.cell_A[1]
        return across[:, None], along[None, :]

    def frequency_per_A(self, twist: Twist = UNTWISTED) -> NDArray[np.float64]:
        """Return the length of the spatial frequency, shape (nx, ny) [1/A]."""
        x, y = self.frequencies_per_A(twist)
        length: NDArray[np.float64] = np.hypot(x, y)
        return length

    def band(self, twist: Twist = UNTWISTED) -> NDArray[np.float64]:
        """Return the band limit of waves and transmission functions, 0 to 1, shape (nx, ny)."""
        coarse_A = max(self.sampling_A)
        edge, taper = BAND_LIMIT / (2.0 * coarse_A), BAND_TAPER / coarse_A
        inside = np.clip((edge - self.frequency_per_A(twist)) / taper, 0.0, 1.0)
        limit: NDArray[np.float64] = 0.5 * (1.0 - np.cos(np.pi * inside))
        return limit

    def widest_mrad(self, wavelength_A: float) -> float:
        """Return the largest scattering angle inside the band limit [mrad]."""
        return 1.0e3 * wavelength_A * BAND_LIMIT / (2.0 * max(self.sampling_A))
