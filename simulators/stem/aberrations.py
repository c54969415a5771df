"""Aberrations of the probe-forming lens: the phase chi that each direction gains.

chi = 2 pi / lambda (alpha^2/2 (C10 + C12 cos 2(phi - phi12)) + alpha^3/3 (C21 cos(phi - phi21) +
C23 cos 3(phi - phi23)) + alpha^4/4 C30 + alpha^6/6 C50); the probe's amplitude is exp(-i chi).

Source: Krivanek, Dellby & Lupini, Ultramicroscopy 78, 1 (1999), doi:10.1016/S0304-3991(99)00013-3
(notation C_nm); Kirkland, Advanced Computing in Electron Microscopy (Springer, 2010),
doi:10.1007/978-1-4419-6533-2, equation 2.22.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["COEFFICIENTS", "Aberrations", "phase_basis"]

COEFFICIENTS = ("C10", "C12a", "C12b", "C21a", "C21b", "C23a", "C23b", "C30", "C50")
"""Names of the coefficients that chi is linear in [A]; a and b are the parts along cos and sin."""


@dataclass(frozen=True, slots=True)
class Aberrations:
    """Aberrations in the words of a microscopist; all lengths [A], all azimuths [deg].

    Args:
        defocus_A: > 0 is underfocus: the probe converges below the entrance; -C10.
        astigmatism_A: twofold, C12.
        astigmatism_deg: its azimuth.
        coma_A: axial, C21.
        coma_deg: its azimuth.
        trefoil_A: threefold astigmatism, C23.
        trefoil_deg: its azimuth.
        c3_A: spherical, C30 (1 mm = 1e7 A).
        c5_A: fifth-order spherical, C50.

    Raises:
        ArgumentError: a number that is not finite.

    Example:
        >>> float(Aberrations(defocus_A=50.0).vector()[0])
        -50.0
    """

    defocus_A: float = 0.0
    astigmatism_A: float = 0.0
    astigmatism_deg: float = 0.0
    coma_A: float = 0.0
    coma_deg: float = 0.0
    trefoil_A: float = 0.0
    trefoil_deg: float = 0.0
    c3_A: float = 0.0
    c5_A: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not math.isfinite(getattr(self, field.name)):
                found = getattr(self, field.name)
                raise ArgumentError(f"aberrations.{field.name}", found, "a finite number")

    def vector(self) -> NDArray[np.float64]:
        """Return the coefficients in the order of `COEFFICIENTS`, shape (9,) [A]."""
        return np.array(
            [
                -self.defocus_A,
                *_parts(self.astigmatism_A, 2, self.astigmatism_deg),
                *_parts(self.coma_A, 1, self.coma_deg),
                *_parts(self.trefoil_A, 3, self.trefoil_deg),
                self.c3_A,
                self.c5_A,
            ]
        )

    @classmethod
    def of_vector(cls, vector: NDArray[np.float64]) -> "Aberrations":
        """Return the aberrations of `vector`."""
        c10, c12a, c12b, c21a, c21b, c23a, c23b, c30, c50 = (float(v) for v in vector)
        return cls(
            -c10,
            *_polar(c12a, c12b, 2),
            *_polar(c21a, c21b, 1),
            *_polar(c23a, c23b, 3),
            c30,
            c50,
        )


def phase_basis(
    x_per_A: NDArray[np.float64], y_per_A: NDArray[np.float64], wavelength_A: float
) -> NDArray[np.float64]:
    """Return d chi / d coefficient at these spatial frequencies, shape (n, 9) [rad/A].

    Args:
        x_per_A: along x, shape (n,) [1/A].
        y_per_A: along y, shape (n,) [1/A].
        wavelength_A: of the electrons [A].
    """
    x, y = wavelength_A * x_per_A, wavelength_A * y_per_A
    square = x * x + y * y
    terms = [
        square / 2.0,
        (x * x - y * y) / 2.0,
        x * y,
        square * x / 3.0,
        square * y / 3.0,
        (x**3 - 3.0 * x * y * y) / 3.0,
        (3.0 * x * x * y - y**3) / 3.0,
        square**2 / 4.0,
        square**3 / 6.0,
    ]
    return (2.0 * np.pi / wavelength_A) * np.stack(terms, axis=-1)


def _parts(size: float, fold: int, azimuth_deg: float) -> tuple[float, float]:
    angle = fold * math.radians(azimuth_deg)
    return size * math.cos(angle), size * math.sin(angle)


def _polar(along: float, across: float, fold: int) -> tuple[float, float]:
    return math.hypot(along, across), math.degrees(math.atan2(across, along)) / fold
