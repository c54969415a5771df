"""The powder pattern of a crystal: reflections, and what a diffractometer makes of them.

    F(hkl) = sum_j o_j f_j exp(-q^2 u_j^2 / 2) exp(2 pi i (h x_j + k y_j + l z_j))
    I(hkl) = sum over the equal d of |F|^2 (1 + cos^2 2 theta) / (sin^2 theta cos theta)

Extinction rules follow from F itself; what cancels is zero, not a rounding error. The profile is a
pseudo-Voigt whose Gaussian width is the instrument's and whose Lorentzian width is size and strain.

Not modelled: absorption, preferred orientation, asymmetry by axial divergence, thermal diffuse
scattering, displacement and transparency of the specimen.

Source: De Graef & McHenry, Structure of Materials, 2nd ed. (Cambridge, 2012), chapters 11 and 12
(intensities); Caglioti, Paoletti & Ricci, Nucl. Instrum. 3, 223 (1958), doi:10.1016/
0369-643X(58)90029-X (width of the instrument); Thompson, Cox & Hastings, J. Appl. Cryst. 20, 79
(1987), doi:10.1107/S0021889887087090 (pseudo-Voigt of two widths); Scherrer (1918) as in Patterson,
Phys. Rev. 56, 978 (1939), doi:10.1103/PhysRev.56.978 (size).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.xrd.crystal import Crystal
from twinloop.simulators.xrd.scattering_factors import (
    CU_KA1_A,
    CU_KA2_A,
    debye_waller,
    form_factors,
    scattering_factors,
)

__all__ = ["CU_KA", "Profile", "Reflections", "powder_pattern", "reflections", "structure_factors"]

CU_KA = ((CU_KA1_A, 2.0 / 3.0), (CU_KA2_A, 1.0 / 3.0))
"""Wavelength [A] and share of the two lines of an unfiltered copper tube."""

ZERO = 1e-9
"""Part of the largest possible |F| below which a reflection counts as extinct [1]."""

SAME_D = 1e-7
"""Relative difference of lattice spacings that count as one [1]."""

Factors = Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[Any]]
"""Takes atomic numbers (m,) and q (n,) [1/A]; returns scattering factors (m, n) [electrons]."""


@dataclass(frozen=True, eq=False, slots=True)
class Reflections:
    """Reflections of a powder by rising angle; those of equal d are one.

    Args:
        hkl: the highest indices of each, shape (n, 3), int64.
        multiplicity: how many lattice planes contribute, shape (n,), int64.
        d_A: lattice spacing, shape (n,) [A].
        two_theta_deg: scattering angle, shape (n,) [deg].
        f2: mean |F|^2 of the planes that contribute, shape (n,) [electrons^2].
        intensity: with multiplicity and Lorentz-polarisation factor, shape (n,) [arbitrary].
        wavelength_A: of the angles [A].
    """

    hkl: NDArray[np.int64]
    multiplicity: NDArray[np.int64]
    d_A: NDArray[np.float64]
    two_theta_deg: NDArray[np.float64]
    f2: NDArray[np.float64]
    intensity: NDArray[np.float64]
    wavelength_A: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Widths of the peaks.

    Args:
        u_deg2, v_deg2, w_deg2: FWHM^2 = U tan^2 theta + V tan theta + W of the instrument [deg^2].
        size_A: thickness of the crystallites [A]; infinite: no broadening.
        shape_factor: Scherrer's K [1].
        strain: microstrain, d spacing over spacing [1].

    Raises:
        ArgumentError: a size that is not positive.
    """

    u_deg2: float = 0.004
    v_deg2: float = -0.004
    w_deg2: float = 0.005
    size_A: float = float("inf")
    shape_factor: float = 0.9
    strain: float = 0.0

    def __post_init__(self) -> None:
        if not (self.size_A > 0 and self.shape_factor > 0 and self.strain >= 0):
            found = (self.size_A, self.shape_factor, self.strain)
            raise ArgumentError("profile", found, "size and shape > 0, strain >= 0")

    def widths_deg(
        self, two_theta_deg: NDArray[np.float64], wavelength_A: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Gaussian and Lorentzian full widths at half maximum, of the same shape [deg].

        Raises:
            ArgumentError: U, V and W that make a width that is not positive.
        """
        theta = np.radians(0.5 * two_theta_deg)
        squared = self.u_deg2 * np.tan(theta) ** 2 + self.v_deg2 * np.tan(theta) + self.w_deg2
        if bool((squared <= 0).any()):
            raise ArgumentError(
                "profile", (self.u_deg2, self.v_deg2, self.w_deg2), "positive width"
            )
        size = self.shape_factor * wavelength_A / (self.size_A * np.cos(theta))
        lorentzian = np.degrees(size + 4.0 * self.strain * np.tan(theta))
        return np.sqrt(squared), lorentzian


def structure_factors(
    crystal: Crystal, hkl: ArrayLike, factors: Factors = form_factors
) -> NDArray[np.complex128]:
    """Return F of lattice planes, shape (n,) [electrons]; exactly 0 where it is extinct.

    Args:
        crystal: atoms in their cell.
        hkl: Miller indices, shape (n, 3).
        factors: how atoms scatter; f0 of `scattering_factors` unless told otherwise.
    """
    planes = np.asarray(hkl, dtype=np.int64).reshape(-1, 3)
    q = 2.0 * np.pi * np.linalg.norm(planes @ crystal.reciprocal_per_A, axis=1)
    kinds, which = np.unique(crystal.numbers, return_inverse=True)
    f = np.asarray(factors(kinds, q), dtype=np.complex128)
    total = np.zeros(planes.shape[0], dtype=np.complex128)
    largest = np.zeros(planes.shape[0])
    for site in range(crystal.n):
        own = crystal.occupancy[site] * debye_waller(q, crystal.rms_A[site])[0]
        wave = own * f[which[site]]
        total += wave * np.exp(2j * np.pi * (planes @ crystal.fractions[site]))
        largest += np.abs(wave)
    total[np.abs(total) <= ZERO * largest] = 0.0
    return total


def reflections(
    source: Any,
    *,
    wavelength_A: float = CU_KA1_A,
    two_theta_deg: tuple[float, float] = (0.0, 90.0),
    is_anomalous: bool = False,
    factors: Factors | None = None,
) -> Reflections:
    """Return the reflections of a powder.

    Args:
        source: what `Crystal.of` takes.
        wavelength_A: of the beam [A].
        two_theta_deg: lowest and highest scattering angle [deg].
        is_anomalous: with f' and f'' at Cu K alpha 1.
        factors: how atoms scatter, instead.

    Raises:
        ArgumentError: a range outside 0 to 180 degrees, or a wavelength that is not positive.

    Example:
        >>> from ase.build import bulk
        >>> found = reflections(bulk("Si", a=5.431), two_theta_deg=(20, 60))
        >>> found.two_theta_deg.round(2), found.multiplicity
        (array([28.44, 47.3 , 56.12]), array([ 8, 12, 24]))
    """
    low, high = two_theta_deg
    if not 0 <= low < high <= 180:
        raise ArgumentError("two_theta_deg", two_theta_deg, "0 <= low < high <= 180 deg")
    if not wavelength_A > 0:
        raise ArgumentError("wavelength_A", wavelength_A, "a positive number")
    crystal = Crystal.of(source)
    if factors is None:
        factors = _anomalous_factors if is_anomalous else form_factors
    limits = 2.0 * np.sin(np.radians(0.5 * np.array([low, high]))) / wavelength_A
    planes, g_per_A = _planes(crystal, float(limits[0]), float(limits[1]))
    f2 = np.abs(structure_factors(crystal, planes, factors)) ** 2
    planes, g_per_A, f2 = planes[f2 > 0], g_per_A[f2 > 0], f2[f2 > 0]
    # Highest h, then k, then l first: the usual name of a family stands at the head of its group.
    order = np.lexsort((-planes[:, 2], -planes[:, 1], -planes[:, 0], np.round(g_per_A, 9)))
    planes, g_per_A, f2 = planes[order], g_per_A[order], f2[order]
    first = np.flatnonzero(np.diff(g_per_A, prepend=-1.0) > SAME_D * g_per_A)
    if first.size == 0:
        nothing = np.zeros(0)
        count = np.zeros(0, np.int64)
        return Reflections(planes, count, nothing, nothing, nothing, nothing, wavelength_A)
    multiplicity = np.diff(first, append=g_per_A.size)
    sums = np.add.reduceat(f2, first)
    theta = np.arcsin(0.5 * wavelength_A * g_per_A[first])
    factor = (1.0 + np.cos(2.0 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    return Reflections(
        hkl=planes[first],
        multiplicity=multiplicity.astype(np.int64),
        d_A=1.0 / g_per_A[first],
        two_theta_deg=np.degrees(2.0 * theta),
        f2=sums / multiplicity,
        intensity=sums * factor,
        wavelength_A=wavelength_A,
    )


def powder_pattern(
    source: Any,
    two_theta_deg: NDArray[np.float64],
    *,
    profile: Profile | None = None,
    lines: tuple[tuple[float, float], ...] = CU_KA,
    is_anomalous: bool = False,
    zero_deg: float = 0.0,
) -> NDArray[np.float64]:
    """Return the profile of a powder, shape (n,) [arbitrary].

    Its area under a peak, in degrees, is the `intensity` of the reflection times the line's share.

    Args:
        source: what `Crystal.of` takes.
        two_theta_deg: angles of the detector, shape (n,) [deg].
        profile: widths; None: a laboratory diffractometer.
        lines: wavelength [A] and share of each spectral line.
        is_anomalous: with f' and f'' at Cu K alpha 1.
        zero_deg: what the detector's scale shows too much [deg].
    """
    widths = profile or Profile()
    angles = np.asarray(two_theta_deg, dtype=np.float64) - zero_deg
    crystal = Crystal.of(source)
    total = np.zeros_like(angles)
    reach = (max(float(angles.min()) - 5.0, 0.0), min(float(angles.max()) + 5.0, 179.9))
    for wavelength_A, share in lines:
        found = reflections(
            crystal, wavelength_A=wavelength_A, two_theta_deg=reach, is_anomalous=is_anomalous
        )
        gaussian, lorentzian = widths.widths_deg(found.two_theta_deg, wavelength_A)
        for peak_deg, area, g, lo in zip(
            found.two_theta_deg, found.intensity, gaussian, lorentzian, strict=True
        ):
            total += share * area * _pseudo_voigt(angles - peak_deg, g, lo)
    return total


def _planes(
    crystal: Crystal, low_per_A: float, high_per_A: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return hkl (n, 3) and 1 / d (n,) of every plane but (000) between two limits."""
    # |h| <= |a| / d for every plane: h = g . a, and |g| = 1 / d.
    most = np.floor(np.linalg.norm(crystal.cell_A, axis=1) * high_per_A + 1e-9).astype(int)
    grid = np.indices(2 * most + 1).reshape(3, -1).T - most
    g_per_A = np.linalg.norm(grid @ crystal.reciprocal_per_A, axis=1)
    keep = (g_per_A > 0) & (g_per_A >= low_per_A) & (g_per_A <= high_per_A * (1.0 - 1e-12))
    return grid[keep].astype(np.int64), g_per_A[keep]


def _anomalous_factors(
    numbers: NDArray[np.int64], q_per_A: NDArray[np.float64]
) -> NDArray[np.complex128]:
    return scattering_factors(numbers, q_per_A)


def _pseudo_voigt(
    away_deg: NDArray[np.float64], gaussian_deg: float, lorentzian_deg: float
) -> NDArray[np.float64]:
    """Return a peak of area 1; widths are full widths at half maximum [1/deg]."""
    g, lo = gaussian_deg, lorentzian_deg
    width = (
        g**5 + 2.69269 * g**4 * lo + 2.42843 * g**3 * lo**2
        + 4.47163 * g**2 * lo**3 + 0.07842 * g * lo**4 + lo**5
    ) ** 0.2  # fmt: skip
    part = lo / width
    eta = 1.36603 * part - 0.47719 * part**2 + 0.11116 * part**3
    t2 = (away_deg / width) ** 2
    normal = 2.0 / width * np.sqrt(np.log(2.0) / np.pi) * np.exp(-4.0 * np.log(2.0) * t2)
    cauchy = 2.0 / (np.pi * width) / (1.0 + 4.0 * t2)
    peak: NDArray[np.float64] = eta * cauchy + (1.0 - eta) * normal
    return peak
