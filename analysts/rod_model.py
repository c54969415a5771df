"""The analyst's own model of a theta-2theta scan: a film of (Al,Ga)As on GaAs(001).

It is simpler than what a simulator of diffraction does: the film has one composition, one lattice
spacing, a Gaussian top and a Gaussian interface; points within the substrate's peak are left to
others, because kinematic theory does not hold there. The instrument's scale and background are free.

Source: form factors of Ga, Al and As: Waasmaier & Kirfel, Acta Cryst. A51, 416 (1995), doi:10.1107/
S0108767394013292; f', f'' at 8.05 keV: Chantler, J. Phys. Chem. Ref. Data 29, 597 (2000), doi:10.1063/
1.1321055; lattice and elastic constants: `twinloop.lattice_constants`; thermal displacement: B
of 0.64 and 0.54 A^2 (Ga, As) after Reid, Acta Cryst. A39, 1 (1983), doi:10.1107/S0108767383000021.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.lattice_constants import (
    ALAS_A,
    ALAS_C12_OVER_C11,
    GAAS_A,
    GAAS_C12_OVER_C11,
    MONOLAYER_A,
)

__all__ = ["FilmShape", "RodModel", "coherent_spacing_A", "layer_parts", "momentum_per_A"]

SPACING_A = MONOLAYER_A
"""Distance of cation layers of the substrate [A]."""

GALLIUM = (
    (15.758946, 6.841123, 4.121016, 2.714681, 2.395246),
    (3.121754, 0.226057, 12.482196, 66.203621, 0.007238),
    -0.847395,
    complex(-1.2911, 0.7696),
)
ALUMINIUM = (
    (4.730796, 2.313951, 1.541980, 1.117564, 3.154754),
    (3.628931, 43.051166, 0.095960, 108.932388, 1.555918),
    0.139509,
    complex(0.2069, 0.2450),
)
ARSENIC = (
    (17.025642, 4.503441, 3.715904, 3.937200, 6.790175),
    (2.597739, 0.003012, 14.272119, 50.437996, 0.193015),
    -2.984117,
    complex(-0.9378, 0.9990),
)
"""a, b [A^2], c and f' + i f'' [electrons]."""

CATION_RMS_A, ARSENIC_RMS_A = 0.090, 0.083

NODES = ((-math.sqrt(3.0), 1.0 / 6.0), (0.0, 2.0 / 3.0), (math.sqrt(3.0), 1.0 / 6.0))
"""Three-point rule for an average over a normal distribution: place [sd] and weight."""


@dataclass(frozen=True, slots=True)
class FilmShape:
    """What the model knows of a film.

    Args:
        thickness_ML: amount of material [ML].
        blur_ML: of the top, standard deviation [ML].
        mixing_ML: of the interface, standard deviation [ML].
        aluminium: share of the cation sites [1].
        spacing_A: of its layers [A].
    """

    thickness_ML: float
    blur_ML: float
    mixing_ML: float
    aluminium: float
    spacing_A: float


def coherent_spacing_A(aluminium: float) -> float:
    """Return the layer spacing of a film that is strained to the substrate [A]."""
    free_A = GAAS_A + (ALAS_A - GAAS_A) * aluminium
    ratio = GAAS_C12_OVER_C11 + (ALAS_C12_OVER_C11 - GAAS_C12_OVER_C11) * aluminium
    return 0.5 * (free_A + 2.0 * ratio * (free_A - GAAS_A))


def momentum_per_A(two_theta_deg: NDArray[np.float64], wavelength_A: float) -> NDArray[np.float64]:
    """Return 4 pi sin(theta) / lambda, of the same shape [1/A]."""
    q: NDArray[np.float64] = 4.0 * np.pi * np.sin(np.radians(0.5 * two_theta_deg)) / wavelength_A
    return q


def layer_parts(thickness_ML: float, blur_ML: float) -> NDArray[np.float64]:
    """Return which part of each layer 1, 2, ... is there; the sum is the thickness, shape (n,).

    A blur of 0 gives full layers below a part of one.
    """
    blur = max(blur_ML, 1e-3)
    edges = np.arange(math.ceil(max(thickness_ML, 0.0) + 4.0 * blur) + 2)
    # The part of layer n is the mean over it of Phi((N - t) / blur); this is its integral.
    u = (thickness_ML - edges) / blur
    integral = blur * (u * _phi(u) + np.exp(-0.5 * u**2) / math.sqrt(2.0 * math.pi))
    parts: NDArray[np.float64] = -np.diff(integral)
    return parts


class RodModel:
    """Intensities along the specular rod at fixed points.

    Args:
        two_theta_deg: angles of the detector, shape (n,) [deg].
        wavelength_A: of the beam [A].
        resolution_per_A: standard deviation of the momentum transfer [1/A]; 0: sharp, and faster.
    """

    def __init__(
        self, two_theta_deg: NDArray[np.float64], wavelength_A: float, resolution_per_A: float
    ) -> None:
        nodes = NODES if resolution_per_A > 0 else ((0.0, 1.0),)
        q_per_A = momentum_per_A(two_theta_deg, wavelength_A)
        cosine = np.cos(np.radians(0.5 * two_theta_deg))
        self._per_deg = np.tile(2.0 * np.pi * cosine / wavelength_A * np.pi / 180.0, len(nodes))
        self._weights = [weight for _, weight in nodes]
        self._q = np.concatenate([q_per_A + at * resolution_per_A for at, _ in nodes])
        self._size = q_per_A.size
        u2 = (self._q / (4.0 * np.pi)) ** 2
        cation = np.exp(-0.5 * (self._q * CATION_RMS_A) ** 2)
        self._gallium, self._aluminium = cation * _f(GALLIUM, u2), cation * _f(ALUMINIUM, u2)
        self._arsenic = np.exp(-0.5 * (self._q * ARSENIC_RMS_A) ** 2) * _f(ARSENIC, u2)
        sine2 = np.minimum((self._q * wavelength_A / (4.0 * np.pi)) ** 2, 1.0)
        self._factor = 0.5 * (1.0 + (1.0 - 2.0 * sine2) ** 2) / self._q**2

    def intensity(self, film: FilmShape, zero_deg: float = 0.0) -> NDArray[np.float64]:
        """Return P |A|^2 / q^2, shape (n,) [electrons^2 A^2].

        Args:
            film: what lies on the substrate.
            zero_deg: what the scale of the angles shows too much [deg].
        """
        q = self._q - zero_deg * self._per_deg
        wave = self._wave(q, film)
        sharp = (self._factor * np.abs(wave) ** 2).reshape(-1, self._size)
        return np.asarray(self._weights @ sharp)

    def _wave(self, q: NDArray[np.float64], film: FilmShape) -> NDArray[np.complex128]:
        """Return the wave of the film and of the substrate below it [electrons]."""
        mixing_ML, exchange = max(film.mixing_ML, 1e-3), self._aluminium - self._gallium
        parts = layer_parts(film.thickness_ML, film.blur_ML)
        half_up, half = np.exp(0.5j * q * film.spacing_A), np.exp(0.5j * q * SPACING_A)
        up, down = half_up**2, half**-2
        layers = _full_and_top(q * film.spacing_A, up, parts)
        # the interface takes aluminium from the film's first layers and gives it to the substrate's
        first = np.arange(1, min(math.ceil(5.0 * mixing_ML), parts.size) + 1)
        taken = _sum(up, parts[: first.size] * _phi((0.5 - first) / mixing_ML)) * up
        given = _sum(down, _phi((0.5 - first) / mixing_ML))
        film_wave = (self._gallium + self._arsenic * half_up) * layers
        film_wave = film_wave + film.aluminium * exchange * (layers - taken + given)
        return np.asarray(film_wave + (self._gallium + self._arsenic * half) / (1.0 - down))


def _full_and_top(
    phase: NDArray[np.float64], step: NDArray[np.complex128], parts: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Return sum parts_n step^n, n = 1, 2, ..., the full layers as one geometric series."""
    full = int(np.argmax(parts < 1.0 - 1e-9))
    reached = np.exp(1j * phase * full)
    return np.asarray(
        step * (reached - 1.0) / (step - 1.0) + reached * step * _sum(step, parts[full:])
    )


def _sum(step: NDArray[np.complex128], weights: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return sum w_n step^n, n = 0, 1, ..., of the same shape as `step` (Horner)."""
    total = np.zeros_like(step)
    for weight in weights[::-1].tolist():
        total = total * step + weight
    return total


def _f(
    atom: tuple[tuple[float, ...], tuple[float, ...], float, complex], s2: NDArray[np.float64]
) -> NDArray[np.complex128]:
    a, b, c, dispersion = atom
    gaussians = np.array(a) @ np.exp(-np.outer(b, s2))
    return np.asarray(gaussians + c + dispersion)


def _phi(u: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the normal distribution function."""
    return np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in u.tolist()])
