"""Refine the oscillation of a growth trace: period, amplitude and damping, each with its deviation.

`fit_oscillation` searches a grid; here frequency and damping go on from its best node by
Gauss-Newton steps of the same model, amplitudes projected out, and the covariance of all parameters
follows from the noise that the trace shows before the opening.

Source: Golub & Pereyra, SIAM J. Numer. Anal. 10, 413 (1973), doi:10.1137/0710036 (variable
projection); Kaufman, BIT 15, 49 (1975), doi:10.1007/BF01932995 (its Jacobian).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.analysts.oscillation import Fit, fit_oscillation

__all__ = ["Refined", "refine_oscillation"]

STEPS = 30
DAMPING_RANGE = (-0.3, 4.0)
STEP = 1e-5

REACH = 0.05
"""Half width of the neighbourhood of a maximum or a minimum [layers]."""


@dataclass(frozen=True, slots=True)
class Refined:
    """An oscillation, with standard deviations by noise alone.

    Args:
        frequency, frequency_sd: oscillations for each monolayer of the gauge [1/ML].
        damping, damping_sd: decay of the amplitude [1/ML].
        amplitude, amplitude_sd: half of what the first maximum stands above the mean of the minima
            beside it, substrate = 1. How much of a decaying trace is oscillation and how much is its
            ground is a matter of the model; the height of a maximum is not. It is read off the fitted
            curve, and mended by what the samples next to these three places leave over: two harmonics
            cannot draw the cusps of good growth.
        contrast: see `Fit`.
        is_sure: see `Fit`.
    """

    frequency: float
    frequency_sd: float
    damping: float
    damping_sd: float
    amplitude: float
    amplitude_sd: float
    contrast: float
    is_sure: bool


def refine_oscillation(
    dose_ML: NDArray[np.float64], relative: NDArray[np.float64], noise: float
) -> Refined:
    """Return the refined oscillation of a trace.

    Args:
        dose_ML: as the gauge counts it, > 0, shape (n,) [ML].
        relative: intensity, substrate = 1, shape (n,).
        noise: standard deviation of one sample, substrate = 1.
    """
    coarse = fit_oscillation(dose_ML, relative)
    if not coarse.is_sure:
        return Refined(1.0, 1.0, 0.0, 10.0, 0.0, 1.0, coarse.contrast, is_sure=False)
    at = _descend(dose_ML, relative, coarse)
    basis = _basis(dose_ML, at[0], at[1])
    amplitudes = np.linalg.lstsq(basis, relative, rcond=None)[0]
    slopes = [
        (_basis(dose_ML, *(at + step)) - _basis(dose_ML, *(at - step))) @ amplitudes / (2.0 * STEP)
        for step in STEP * np.eye(2)
    ]
    jacobian = np.column_stack([basis, *slopes])
    inverse = np.linalg.pinv(jacobian.T @ jacobian)
    covariance = max(noise, 1e-12) ** 2 * inverse
    reading = _first_maximum(at)
    turned = [
        (_first_maximum(at + step) - _first_maximum(at - step)) @ amplitudes / (2.0 * STEP)
        for step in STEP * np.eye(2)
    ]
    gradient = np.concatenate([reading, turned])
    local = _beside_the_first_maximum(dose_ML * at[0])
    # how each sample moves the amplitude: directly, and through the fit
    influence = local + jacobian @ (inverse @ (gradient - jacobian.T @ local))
    return Refined(
        frequency=float(at[0]),
        frequency_sd=float(np.sqrt(covariance[-2, -2])),
        damping=float(at[1]),
        damping_sd=float(np.sqrt(covariance[-1, -1])),
        amplitude=float(reading @ amplitudes + local @ (relative - basis @ amplitudes)),
        amplitude_sd=max(noise, 1e-12) * float(np.linalg.norm(influence)),
        contrast=coarse.contrast,
        is_sure=True,
    )


def _descend(
    dose_ML: NDArray[np.float64], relative: NDArray[np.float64], coarse: Fit
) -> NDArray[np.float64]:
    """Return frequency and damping of the least sum of squares near a grid node, shape (2,)."""
    at = np.array([coarse.frequency, coarse.damping])
    rest = _rest(dose_ML, relative, at)
    for _ in range(STEPS):
        slopes = np.column_stack(
            [(_rest(dose_ML, relative, at + step) - rest) / STEP for step in STEP * np.eye(2)]
        )
        move = np.linalg.lstsq(slopes, -rest, rcond=None)[0]
        for _ in range(8):
            new = at + np.clip(move, -0.1, 0.1)
            new[1] = min(max(float(new[1]), DAMPING_RANGE[0]), DAMPING_RANGE[1])
            new_rest = _rest(dose_ML, relative, new)
            if new_rest @ new_rest <= rest @ rest:
                break
            move = 0.5 * move
        else:
            return at
        is_still = float(np.abs(new - at).max()) < 1e-7
        at, rest = new, new_rest
        if is_still:
            break
    return at


def _rest(
    dose_ML: NDArray[np.float64], relative: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    basis = _basis(dose_ML, at[0], at[1])
    rest: NDArray[np.float64] = relative - basis @ np.linalg.lstsq(basis, relative, rcond=None)[0]
    return rest


def _first_maximum(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what amplitudes are weighted with for half the height of the first maximum, shape (8,).

    A maximum stands at one whole layer, the minima beside it half a layer off.
    """
    below, top, above = _basis(np.array([0.5, 1.0, 1.5]) / at[0], float(at[0]), float(at[1]))
    reading: NDArray[np.float64] = 0.5 * (top - 0.5 * (below + above))
    return reading


def _beside_the_first_maximum(layers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what residuals are weighted with for half the height of the first maximum, (n,).

    Args:
        layers: shape (n,) [layers].
    """
    weights = np.zeros_like(layers)
    for place, weight in ((0.5, -0.25), (1.0, 0.5), (1.5, -0.25)):
        near = np.abs(layers - place) < REACH
        weights[near] += weight / max(int(near.sum()), 1)
    return weights


def _basis(dose_ML: NDArray[np.float64], frequency: float, damping: float) -> NDArray[np.float64]:
    """Return the columns of the model of `fit_oscillation`: envelope, then the oscillation."""
    phase, decay = 2.0 * np.pi * frequency * dose_ML, np.exp(-damping * dose_ML)
    return np.column_stack(
        [
            np.ones_like(dose_ML),
            dose_ML,
            dose_ML**2,
            np.exp(-2.0 * dose_ML),
            decay * np.cos(phase),
            decay * np.sin(phase),
            decay**2 * np.cos(2.0 * phase),
            decay**2 * np.sin(2.0 * phase),
        ]
    )
