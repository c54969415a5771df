"""Detectors behind the specimen: rings that integrate, and pixels that keep the pattern.

Source: Pennycook & Nellist (eds.), Scanning Transmission Electron Microscopy (Springer, 2011),
doi:10.1007/978-1-4419-7200-2, chapters 1 and 2 (bright field, annular bright and dark field).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.electrons import wavelength_A
from twinloop.simulators.stem.grid import UNTWISTED, Grid, Twist

__all__ = ["Detector", "PixelDetector", "standard_detectors"]


@dataclass(frozen=True, slots=True)
class Detector:
    """A ring that counts every electron between two scattering angles.

    Args:
        inner_mrad: >= 0 [mrad].
        outer_mrad: > inner [mrad].
        edge_mrad: width over which the efficiency rises at each edge, linearly; 0: a hard edge,
            inner <= alpha < outer [mrad].

    Raises:
        ArgumentError: angles out of order, or a negative edge.

    Example:
        >>> Detector(10.0, 20.0).weights(np.array([9.0, 10.0, 20.0]))
        array([0., 1., 0.])
    """

    inner_mrad: float
    outer_mrad: float
    edge_mrad: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.inner_mrad < self.outer_mrad < math.inf:
            found = (self.inner_mrad, self.outer_mrad)
            raise ArgumentError("detector.inner_mrad, outer_mrad", found, "0 <= inner < outer")
        if not 0.0 <= self.edge_mrad < math.inf:
            raise ArgumentError("detector.edge_mrad", self.edge_mrad, "a finite number >= 0 mrad")

    def weights(self, alpha_mrad: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the efficiency at these scattering angles, 0 to 1, same shape."""
        if self.edge_mrad == 0.0:
            hit = (alpha_mrad >= self.inner_mrad) & (alpha_mrad < self.outer_mrad)
            return hit.astype(np.float64)
        rise = np.clip((alpha_mrad - self.inner_mrad) / self.edge_mrad + 0.5, 0.0, 1.0)
        if self.inner_mrad == 0.0:
            rise = np.ones_like(alpha_mrad)
        fall = np.clip((self.outer_mrad - alpha_mrad) / self.edge_mrad + 0.5, 0.0, 1.0)
        efficiency: NDArray[np.float64] = rise * fall
        return efficiency

    def on(self, grid: Grid, energy_keV: float, twist: Twist = UNTWISTED) -> NDArray[np.float64]:
        """Return the efficiency at every spatial frequency of a grid, shape (nx, ny).

        Raises:
            ArgumentError: a ring that begins beyond the grid's band limit, so that it would count
                nothing.
        """
        widest_mrad = grid.widest_mrad(wavelength_A(energy_keV))
        if self.inner_mrad >= widest_mrad:
            raise ArgumentError(
                "detector.inner_mrad",
                self.inner_mrad,
                f"below the grid's {widest_mrad:.1f} mrad; sample finer",
            )
        return self.weights(grid.frequency_per_A(twist) * (1e3 * wavelength_A(energy_keV)))


def standard_detectors(semiangle_mrad: float) -> dict[str, Detector]:
    """Return the usual four for a probe of this half angle [mrad]: bf, abf, adf, haadf."""
    return {
        "bf": Detector(0.0, semiangle_mrad / 2.0),
        "abf": Detector(semiangle_mrad / 2.0, semiangle_mrad),
        "adf": Detector(1.5 * semiangle_mrad, 3.0 * semiangle_mrad),
        "haadf": Detector(3.0 * semiangle_mrad, 8.0 * semiangle_mrad),
    }


@dataclass(frozen=True, slots=True)
class PixelDetector:
    """A square camera in the diffraction plane.

    Args:
        pixels: along one edge.
        widest_mrad: scattering angle at the middle of an edge [mrad].

    Raises:
        ArgumentError: no pixels, or an angle that is not positive.

    Example:
        >>> PixelDetector(8, 40.0).pixel_mrad
        10.0
    """

    pixels: int
    widest_mrad: float

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise ArgumentError("detector.pixels", self.pixels, "a whole number >= 1")
        if not 0.0 < self.widest_mrad < math.inf:
            raise ArgumentError("detector.widest_mrad", self.widest_mrad, "a finite number > 0")

    @property
    def pixel_mrad(self) -> float:
        """Angle that a pixel sees [mrad]."""
        return 2.0 * self.widest_mrad / self.pixels

    def bins(self, grid: Grid, energy_keV: float) -> NDArray[np.int64]:
        """Return the pixel of each spatial frequency, row * pixels + column; -1 misses the camera.

        Rows run along y, columns along x, both from negative to positive angles; shape (nx, ny).
        """
        scale = 1e3 * wavelength_A(energy_keV)
        x, y = grid.frequencies_per_A()
        column, row = (
            np.floor((angle * scale + self.widest_mrad) / self.pixel_mrad).astype(np.int64)
            for angle in (x, y)
        )
        inside = [(place >= 0) & (place < self.pixels) for place in (column, row)]
        return np.where(inside[0] & inside[1], row * self.pixels + column, -1)
