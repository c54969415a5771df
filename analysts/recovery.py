"""Fit the recovery of the specular beam while no atoms arrive.

I(t) = I_end - D exp(-t / tau): the smoothing of a surface whose islands are taken up by steps. Real
recoveries have a fast and a slow part; one constant is the mean of both, weighted by what is seen.

Source: Neave, Joyce, Dobson & Norton, Appl. Phys. A 31, 1 (1983), doi:10.1007/BF00617180 (recovery
after growth); variable projection as in `beats`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Recovered", "fit_recovery"]

TRIALS = 60
MIN_SAMPLES = 6


@dataclass(frozen=True, slots=True)
class Recovered:
    """A recovery, with standard deviations by noise alone.

    Args:
        log_constant, log_constant_sd: ln of the time constant in seconds.
        gain, gain_sd: D, what would come back in an endless pause, substrate = 1.
        end, end_sd: I_end, substrate = 1.
        is_sure: the constant lies inside the range that the pause can tell.
    """

    log_constant: float
    log_constant_sd: float
    gain: float
    gain_sd: float
    end: float
    end_sd: float
    is_sure: bool


def fit_recovery(
    time_s: NDArray[np.float64], relative: NDArray[np.float64], noise: float
) -> Recovered:
    """Return the recovery in a piece of a trace.

    Args:
        time_s: since the flux stopped, shape (n,) [s].
        relative: intensity, substrate = 1, shape (n,).
        noise: standard deviation of one sample, substrate = 1.
    """
    span_s = float(time_s[-1]) if time_s.size else 1.0
    unsure = Recovered(float(np.log(max(span_s, 1e-9))), 3.0, 0.0, 1.0, 0.0, 1.0, is_sure=False)
    if time_s.size < MIN_SAMPLES:
        return unsure
    trials = np.log(np.geomspace(0.5 * span_s / time_s.size, 5.0 * span_s, TRIALS))
    squares = np.array([_squares(time_s, relative, u) for u in trials])
    best = int(np.argmin(squares))
    if best in {0, TRIALS - 1}:
        return unsure
    u = _golden(time_s, relative, trials[best - 1], trials[best + 1])
    basis = _basis(time_s, u)
    end, drop = np.linalg.lstsq(basis, relative, rcond=None)[0]
    slope = drop * basis[:, 1] * time_s * np.exp(-u)
    jacobian = np.column_stack([basis, slope])
    covariance = max(noise, 1e-12) ** 2 * np.linalg.pinv(jacobian.T @ jacobian)
    sd = np.sqrt(np.diag(covariance))
    is_sure = bool(sd[2] < 1.0)
    return Recovered(
        u, float(min(sd[2], 3.0)), -float(drop), float(sd[1]), float(end), float(sd[0]), is_sure
    )


def _basis(time_s: NDArray[np.float64], log_constant: float) -> NDArray[np.float64]:
    return np.column_stack([np.ones_like(time_s), np.exp(-time_s * np.exp(-log_constant))])


def _squares(
    time_s: NDArray[np.float64], relative: NDArray[np.float64], log_constant: float
) -> float:
    basis = _basis(time_s, log_constant)
    rest = relative - basis @ np.linalg.lstsq(basis, relative, rcond=None)[0]
    return float(rest @ rest)


def _golden(
    time_s: NDArray[np.float64], relative: NDArray[np.float64], low: float, high: float
) -> float:
    """Return where the sum of squares is least between two trials, by golden sections."""
    part = 0.5 * (np.sqrt(5.0) - 1.0)
    for _ in range(40):
        left, right = high - part * (high - low), low + part * (high - low)
        if _squares(time_s, relative, left) < _squares(time_s, relative, right):
            high = right
        else:
            low = left
    return float(0.5 * (low + high))
