"""Fit the oscillation of a growth trace: one period of the specular intensity is one monolayer.

The model is linear in its amplitudes: a smooth envelope 1, x, x^2, exp(-2x), and a damped
oscillation with its second harmonic, whose cusps a layer-by-layer trace has. Frequency and damping
are searched on a grid (variable projection), the frequency refined by a parabola.

Source: Golub & Pereyra, SIAM J. Numer. Anal. 10, 413 (1973), doi:10.1137/0710036 (variable
projection). The model of the trace is ours; it agrees with kinetic Monte Carlo coverage within 2 %
where three maxima or more are seen (tests/analysts).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fit", "fit_oscillation"]

FREQUENCIES = np.linspace(0.75, 1.30, 56)
"""Trial frequencies, in oscillations for each monolayer of the gauge [1/ML]."""

DAMPINGS = (0.0, 0.15, 0.3, 0.6, 1.0, 1.6)
"""Trial decays of the amplitude [1/ML]."""

COLUMNS = 8
MIN_CONTRAST = 0.75
MAX_SURE_SD = 0.05


@dataclass(frozen=True, slots=True)
class Fit:
    """The best oscillation.

    Args:
        frequency, frequency_sd: oscillations for each monolayer of the gauge [1/ML].
        damping: decay of the amplitude [1/ML].
        contrast: part of the variance about the envelope that the oscillation explains, 0 to 1.
        is_sure: the frequency lies inside the searched range and the oscillation is clear.
    """

    frequency: float
    frequency_sd: float
    damping: float
    contrast: float
    is_sure: bool


def fit_oscillation(dose_ML: NDArray[np.float64], relative: NDArray[np.float64]) -> Fit:
    """Return the oscillation of a trace.

    Args:
        dose_ML: as the gauge counts it, > 0, shape (n,) [ML].
        relative: intensity, substrate = 1, shape (n,).
    """
    nothing = Fit(1.0, 1.0, 0.0, 0.0, is_sure=False)
    if dose_ML.size < 2 * COLUMNS or dose_ML[-1] < 1.5:
        return nothing
    envelope = np.column_stack([np.ones_like(dose_ML), dose_ML, dose_ML**2, np.exp(-2.0 * dose_ML)])
    smooth = _residual(envelope, relative)
    table = np.array(
        [
            [_residual(_basis(dose_ML, envelope, f, g), relative) for f in FREQUENCIES]
            for g in DAMPINGS
        ]
    )
    g, f = np.unravel_index(int(np.argmin(table)), table.shape)
    best = max(float(table[g, f]), 1e-300)
    contrast = 1.0 - best / max(smooth, 1e-300)
    if f in {0, FREQUENCIES.size - 1}:
        return Fit(1.0, 1.0, DAMPINGS[g], contrast, is_sure=False)
    frequency, curvature = _vertex(FREQUENCIES[f - 1 : f + 2], table[g, f - 1 : f + 2])
    variance = best / (dose_ML.size - COLUMNS)
    sd = float(np.sqrt(variance / max(curvature, 1e-300)))
    is_sure = contrast > MIN_CONTRAST and sd < MAX_SURE_SD
    return Fit(frequency, sd, DAMPINGS[g], contrast, is_sure)


def _basis(
    dose_ML: NDArray[np.float64], envelope: NDArray[np.float64], frequency: float, damping: float
) -> NDArray[np.float64]:
    phase = 2.0 * np.pi * frequency * dose_ML
    decay = np.exp(-damping * dose_ML)
    waves = [
        decay * np.cos(phase),
        decay * np.sin(phase),
        decay**2 * np.cos(2 * phase),
        decay**2 * np.sin(2 * phase),
    ]
    return np.column_stack([envelope, *waves])


def _residual(basis: NDArray[np.float64], relative: NDArray[np.float64]) -> float:
    """Return the sum of squares that the basis leaves."""
    amplitudes = np.linalg.lstsq(basis, relative, rcond=None)[0]
    return float(np.sum((relative - basis @ amplitudes) ** 2))


def _vertex(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return where the parabola through three points is lowest, and half its second derivative."""
    a, b, _ = np.polyfit(x - x[1], y, 2)
    return float(x[1] - b / (2.0 * a)), float(a)
