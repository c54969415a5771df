"""Find the peaks of a powder pattern, and the cubic lattice that explains them.

A peak is a pseudo-Voigt with its K alpha 2 companion, fitted to its counts alone. The lattice is the
one among primitive, body-centred, face-centred and diamond cubic whose lines are all seen and that
leaves no peak without a line; its constant and the zero of the scale are fitted to all peaks.

Source: Klug & Alexander, X-ray Diffraction Procedures, 2nd ed. (Wiley, 1974), chapters 5 and 6
(positions and indexing of cubic patterns).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.analysts.poisson_fit import fit_poisson

__all__ = ["CubicFit", "Peak", "find_peaks", "fit_cubic"]

KA2_OVER_KA1 = 1.544427 / 1.540593
"""Ratio of the wavelengths of copper's K alpha lines [1] (Holzer et al., Phys. Rev. A 56, 4554 (1997),
doi:10.1103/PhysRevA.56.4554)."""

CLEAR_SD = 6.0
"""Height above the background from which on a maximum is a peak [sd of its counts]."""

MATCH_DEG = 0.15
"""How far a peak may be from its line [deg]."""

COMPANION_DEG = 0.1
"""How far a maximum may be from the K alpha 2 companion of another to count as that [deg]."""

SUMS = sorted({h * h + k * k + m * m for h in range(8) for k in range(8) for m in range(8)} - {0})
LATTICES: dict[str, list[int]] = {
    "diamond": sorted(
        {
            h * h + k * k + m * m
            for h in range(9)
            for k in range(9)
            for m in range(9)
            if h % 2 == k % 2 == m % 2 and (h % 2 or (h + k + m) % 4 == 0)
        }
        - {0}
    ),
    "face-centred": sorted(
        {
            h * h + k * k + m * m
            for h in range(9)
            for k in range(9)
            for m in range(9)
            if h % 2 == k % 2 == m % 2
        }
        - {0}
    ),
    "body-centred": [n for n in SUMS if n % 2 == 0],
    "primitive": SUMS,
}
"""h^2 + k^2 + l^2 of the lines of each lattice."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A peak.

    Args:
        two_theta_deg, two_theta_sd_deg: place of its K alpha 1 part [deg].
        area: under it, counts times degrees.
        width_deg: full width at half maximum [deg].
    """

    two_theta_deg: float
    two_theta_sd_deg: float
    area: float
    width_deg: float


@dataclass(frozen=True, slots=True)
class CubicFit:
    """A cubic lattice.

    Args:
        a_A, a_sd_A: lattice constant [A].
        zero_deg: what the scale of the angles shows too much [deg].
        lattice: "primitive", "body-centred", "face-centred" or "diamond"; "" if none fits.
        peaks: how many it explains.
    """

    a_A: float
    a_sd_A: float
    zero_deg: float
    lattice: str
    peaks: int


def find_peaks(
    two_theta_deg: NDArray[np.float64], counts: NDArray[np.float64], *, ka2_ratio: float
) -> list[Peak]:
    """Return the peaks of a pattern by rising angle.

    Args:
        two_theta_deg: rising, even, shape (n,) [deg].
        counts: shape (n,) [counts].
        ka2_ratio: intensity of the K alpha 2 line over that of K alpha 1 [1].
    """
    step = float(np.median(np.diff(two_theta_deg)))
    floor = float(np.median(counts))
    width = max(1, round(0.05 / step))
    box = np.ones(2 * width + 1)
    smooth = np.convolve(counts, box / box.size, mode="same")
    clear = CLEAR_SD * math.sqrt(max(floor, 1.0) / box.size)
    reach = max(2, round(0.25 / step))
    peaks: list[int] = []
    for at in np.flatnonzero(smooth > floor + clear).tolist():
        around = smooth[max(at - reach, 0) : at + reach + 1]
        if smooth[at] < around.max() or (peaks and at - peaks[-1] <= reach):
            continue
        place = float(two_theta_deg[at])
        companions = [two_theta_deg[one] + _apart_deg(float(two_theta_deg[one])) for one in peaks]
        if ka2_ratio > 0 and any(abs(place - one) < COMPANION_DEG for one in companions):
            continue
        peaks.append(at)
    return [_fit_peak(two_theta_deg, counts, at, floor, ka2_ratio) for at in peaks]


def fit_cubic(peaks: list[Peak], wavelength_A: float, span_deg: tuple[float, float]) -> CubicFit:
    """Return the cubic lattice that explains the peaks best.

    Args:
        peaks: two or more.
        wavelength_A: of K alpha 1 [A].
        span_deg: first and last angle of the scan [deg].
    """
    nothing = CubicFit(0.0, math.inf, 0.0, "", 0)
    if len(peaks) < 2:
        return nothing
    places = np.array([peak.two_theta_deg for peak in peaks])
    best, best_score = nothing, -math.inf
    for lattice, sums in LATTICES.items():
        for first in sums[:4]:
            a_A = 0.5 * wavelength_A * math.sqrt(first) / math.sin(math.radians(0.5 * places[0]))
            lines = _lines(sums, a_A, wavelength_A)
            nearest = np.array([int(np.argmin(np.abs(lines - place))) for place in places])
            if np.abs(lines[nearest] - places).max() > 3 * MATCH_DEG:
                continue
            found = _refine(peaks, np.array(sums)[nearest], wavelength_A, lattice)
            lines = _lines(sums, found.a_A, wavelength_A) + found.zero_deg
            if np.abs(lines[nearest] - places).max() > MATCH_DEG:
                continue
            expected = int(np.sum((lines > span_deg[0]) & (lines < span_deg[1])))
            score = -abs(expected - len(peaks))
            if score > best_score:
                best, best_score = found, score
    return best


def _lines(sums: list[int], a_A: float, wavelength_A: float) -> NDArray[np.float64]:
    """Return the angles of all lines; 180 degrees for those out of reach [deg]."""
    sine = np.minimum(0.5 * wavelength_A * np.sqrt(sums) / a_A, 1.0)
    angles: NDArray[np.float64] = 2.0 * np.degrees(np.arcsin(sine))
    return angles


def _refine(
    peaks: list[Peak], sums: NDArray[np.int64], wavelength_A: float, lattice: str
) -> CubicFit:
    """Fit lattice constant and zero to places with their deviations."""
    places = np.array([peak.two_theta_deg for peak in peaks])
    weights = np.array([1.0 / max(peak.two_theta_sd_deg, 1e-5) for peak in peaks])
    a_A = 0.5 * wavelength_A * math.sqrt(sums[0]) / math.sin(math.radians(0.5 * places[0]))
    zero_deg = 0.0
    basis, rest = np.zeros((places.size, 2)), places
    for _ in range(6):
        sine = np.minimum(0.5 * wavelength_A * np.sqrt(sums) / a_A, 0.999999)
        rest = places - 2.0 * np.degrees(np.arcsin(sine)) - zero_deg
        slope = -2.0 * np.degrees(sine / np.sqrt(1.0 - sine**2)) / a_A
        basis = np.column_stack([slope, np.ones_like(slope)])
        change = np.linalg.lstsq(basis * weights[:, None], rest * weights, rcond=None)[0]
        a_A, zero_deg = a_A + float(change[0]), zero_deg + float(change[1])
    covariance = np.linalg.pinv((basis * weights[:, None] ** 2).T @ basis)
    freedom = max(places.size - 2, 1)
    chi2 = float(np.sum((rest * weights) ** 2)) / freedom
    a_sd_A = math.sqrt(float(covariance[0, 0]) * max(chi2, 1.0))
    return CubicFit(a_A, a_sd_A, zero_deg, lattice, places.size)


def _fit_peak(
    two_theta_deg: NDArray[np.float64],
    counts: NDArray[np.float64],
    at: int,
    floor: float,
    ka2_ratio: float,
) -> Peak:
    """Fit a pseudo-Voigt and its companion around a maximum."""
    step = float(np.median(np.diff(two_theta_deg)))
    half = 0.5 * (counts[at] + floor)
    low, high = at, at
    while low > 0 and counts[low] > half:
        low -= 1
    while high < counts.size - 1 and counts[high] > half:
        high += 1
    width = max((high - low) * step, 2.0 * step)
    near = np.abs(two_theta_deg - two_theta_deg[at]) <= max(4.0 * width, 0.4)
    angles, seen, place = two_theta_deg[near], counts[near], float(two_theta_deg[at])
    apart = _apart_deg(place)

    def model(values: NDArray[np.float64]) -> NDArray[np.float64]:
        wide, eta = width * math.exp(np.clip(values[2], -3, 3)), 1 / (1 + math.exp(-values[3]))
        one = _shape(angles - place - values[1], wide, eta)
        two = _shape(angles - place - values[1] - apart, wide, eta)
        area = height * math.exp(np.clip(values[0], -20, 20))
        expected: NDArray[np.float64] = area * (one + ka2_ratio * two) + ground * math.exp(
            np.clip(values[4], -20, 20)
        )
        return expected

    height = max(float(seen.max()) - floor, 1.0) * width / (1.0 + ka2_ratio)
    ground = max(floor, 0.5)
    prior = np.array([3.0, max(2.0 * width, 0.05), 1.0, 2.0, 2.0])
    fit = fit_poisson(model, seen, np.zeros(5), np.zeros(5), prior)
    place_sd = math.sqrt(fit.covariance[1, 1] * max(fit.misfit, 1.0))
    return Peak(
        two_theta_deg=place + float(fit.values[1]),
        two_theta_sd_deg=place_sd,
        area=height * math.exp(fit.values[0]),
        width_deg=width * math.exp(fit.values[2]),
    )


def _apart_deg(two_theta_deg: float) -> float:
    """Return how far the K alpha 2 peak stands above that of K alpha 1 [deg]."""
    sine = min(KA2_OVER_KA1 * math.sin(math.radians(0.5 * two_theta_deg)), 1.0)
    return 2.0 * math.degrees(math.asin(sine)) - two_theta_deg


def _shape(away_deg: NDArray[np.float64], width_deg: float, eta: float) -> NDArray[np.float64]:
    """Return a pseudo-Voigt of area 1 [1/deg]."""
    t2 = (away_deg / width_deg) ** 2
    normal = 2.0 / width_deg * math.sqrt(math.log(2.0) / math.pi) * np.exp(-4 * math.log(2.0) * t2)
    cauchy = 2.0 / (math.pi * width_deg) / (1.0 + 4.0 * t2)
    shape: NDArray[np.float64] = eta * cauchy + (1.0 - eta) * normal
    return shape
