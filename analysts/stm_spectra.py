"""Features of a tunnelling spectrum: the edges of a gap, the Dirac point, a bound state.

Each is a small curve fitted by least squares; its deviation is the fit's, with the scatter that the
residuals show, and never below a share of the spacing of the points. What the lock-in's modulation and
temperature blur keeps its place: a blurred step is at half height where the sharp one was.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["Feature", "as_spectrum", "fit_dirac_point", "fit_edges", "fit_peak"]

F8 = NDArray[np.float64]

SPACING_SHARE = 0.1
"""Part of the distance of two points below which no place is told apart [1]."""

QUIET_SHARE = 0.15
"""Part of the typical conductance outside a gap that counts as none inside it [1]."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A place in a spectrum.

    Args:
        place_V, place_sd_V: where [V].
        width_V: of the step or peak, standard deviation [V].
        height: of the step, or of the peak above what is around it [nS].
        height_sd: its standard deviation [nS].
        is_sure: it stands out of the noise.
    """

    place_V: float
    place_sd_V: float
    width_V: float
    height: float
    height_sd: float
    is_sure: bool


def as_spectrum(bias_V: object, dIdV_nS: object) -> tuple[F8, F8]:
    """Return a spectrum in rising order of bias.

    Raises:
        ArgumentError: fewer than 15 points, shapes that do not fit, or numbers that are not finite.
    """
    bias: F8 = np.asarray(bias_V, dtype=np.float64)
    signal: F8 = np.asarray(dIdV_nS, dtype=np.float64)
    if bias.ndim != 1 or bias.shape != signal.shape or bias.size < 15:
        raise ArgumentError("spectrum", (bias.shape, signal.shape), "equal shapes (n,), n >= 15")
    if not bool(np.isfinite(bias).all() and np.isfinite(signal).all()):
        raise ArgumentError("spectrum", "not finite", "finite numbers")
    rise = np.argsort(bias, kind="stable")
    return bias[rise], signal[rise]


def fit_edges(bias_V: F8, dIdV_nS: F8) -> tuple[Feature, Feature]:
    """Return the edges of the gap: where the valence band ends and the conduction band begins.

    Each is the middle of a blurred step, over what is inside the gap.

    Args:
        bias_V: rising, shape (n,) [V].
        dIdV_nS: shape (n,) [nS].
    """
    outside = float(np.quantile(dIdV_nS, 0.75))
    low, high = _widest_run(dIdV_nS < QUIET_SHARE * outside, dIdV_nS)
    return (
        _edge(bias_V, dIdV_nS, low, high, is_upper=False),
        _edge(bias_V, dIdV_nS, low, high, is_upper=True),
    )


def fit_dirac_point(bias_V: F8, dIdV_nS: F8) -> Feature:
    """Return the minimum of a V-shaped spectrum.

    Args:
        bias_V: rising, shape (n,) [V].
        dIdV_nS: shape (n,) [nS].
    """
    reach_V = 0.5 * (bias_V[-1] - bias_V[0])
    start_V = float(bias_V[int(np.argmin(_smooth(dIdV_nS)))])
    slope = float(np.ptp(dIdV_nS)) / reach_V

    def valley(v: F8, place: float, floor: float, below: float, above: float, blunt: float) -> F8:
        arm: F8 = np.sqrt((v - place) ** 2 + blunt**2) - abs(blunt)
        side = 0.5 * (1.0 + np.tanh((v - place) / (0.02 * reach_V)))
        curve: F8 = floor + arm * (below * (1.0 - side) + above * side)
        return curve

    first = (start_V, float(dIdV_nS.min()), slope, slope, 0.05 * reach_V)
    fit = _fit(valley, bias_V, dIdV_nS, first)
    spacing_V = float(np.median(np.diff(bias_V)))
    if fit is None:
        return Feature(start_V, reach_V, 0.0, 0.0, 0.0, is_sure=False)
    found, deviations, scatter = fit
    is_inside = bias_V[0] < found[0] < bias_V[-1]
    is_sure = bool(is_inside and min(found[2], found[3]) * reach_V > 3.0 * scatter)
    sd_V = float(np.hypot(deviations[0], SPACING_SHARE * spacing_V))
    return Feature(
        float(found[0]) if is_inside else start_V,
        sd_V if is_inside else reach_V,
        abs(float(found[4])),
        float(found[1]),
        float(deviations[1]),
        is_sure,
    )


def fit_peak(bias_V: F8, dIdV_nS: F8, near_V: float, reach_V: float) -> Feature:
    """Return a peak on a bent background, near a bias.

    Args:
        bias_V: rising, shape (n,) [V].
        dIdV_nS: shape (n,) [nS].
        near_V: where it is looked for [V].
        reach_V: how far from there [V].
    """
    around = np.abs(bias_V - near_V) <= reach_V
    v, y = bias_V[around], dIdV_nS[around]
    nothing = Feature(near_V, reach_V, 0.0, 0.0, 0.0, is_sure=False)
    if v.size < 9:
        return nothing
    top = int(np.argmax(_smooth(y)))
    spacing_V = float(np.median(np.diff(v)))

    def bump(
        x: F8, place: float, height: float, width: float, level: float, slope: float, bend: float
    ) -> F8:
        away = x - near_V
        curve: F8 = height * np.exp(-0.5 * ((x - place) / width) ** 2)
        return curve + level + slope * away + bend * away**2

    first = (float(v[top]), float(np.ptp(y)), 0.15 * reach_V, float(np.median(y)), 0.0, 0.0)
    fit = _fit(bump, v, y, first)
    if fit is None:
        return nothing
    found, deviations, _ = fit
    is_inside = v[0] < found[0] < v[-1] and spacing_V < 2.0 * abs(found[2]) < 2.0 * reach_V
    is_sure = bool(is_inside and found[1] > 5.0 * deviations[1])
    if not is_sure:
        return nothing
    return Feature(
        float(found[0]),
        float(np.hypot(deviations[0], SPACING_SHARE * spacing_V)),
        abs(float(found[2])),
        float(found[1]),
        float(deviations[1]),
        is_sure=True,
    )


def _edge(v: F8, y: F8, low: int, high: int, *, is_upper: bool) -> Feature:
    """Return one edge of the quiet run from index `low` to `high`, both inside it."""
    sign = 1.0 if is_upper else -1.0
    there = high if is_upper else low
    spacing_V = float(np.median(np.diff(v)))
    reach = max(6, (v.size - 1 - high if is_upper else low) // 2)
    first, last = (low, high + reach) if is_upper else (low - reach, high)
    part = slice(max(first, 0), min(last, v.size - 1) + 1)
    x, z = v[part], y[part]
    place_V = float(v[there])
    if x.size < 9 or there in {0, v.size - 1}:
        return Feature(place_V, float(v[-1] - v[0]), 0.0, 0.0, 0.0, is_sure=False)

    def step(b: F8, place: float, height: float, width: float, floor: float, slope: float) -> F8:
        from scipy.special import ndtr

        away = sign * (b - place)
        rise: F8 = ndtr(away / abs(width)) * (height + slope * np.maximum(away, 0.0))
        return rise + floor

    guess = (place_V, float(np.ptp(z)), 2.0 * spacing_V, float(z.min()), 0.0)
    fit = _fit(step, x, z, guess)
    if fit is None:
        return Feature(place_V, 3.0 * spacing_V, 0.0, 0.0, 0.0, is_sure=False)
    found, deviations, scatter = fit
    is_sure = bool(found[1] > 5.0 * scatter and x[0] <= found[0] <= x[-1])
    return Feature(
        float(found[0]) if is_sure else place_V,
        float(np.hypot(deviations[0], SPACING_SHARE * spacing_V)) if is_sure else 3.0 * spacing_V,
        abs(float(found[2])),
        float(found[1]),
        float(deviations[1]),
        is_sure,
    )


def _fit(
    curve: Callable[..., F8], x: F8, y: F8, first: tuple[float, ...]
) -> tuple[F8, F8, float] | None:
    """Return parameters, deviations and the scatter of the residuals; None when it did not settle."""
    import warnings

    from scipy.optimize import OptimizeWarning, curve_fit

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            found, covariance = curve_fit(curve, x, y, p0=first, maxfev=4000)
    except (RuntimeError, OptimizeWarning, ValueError):
        return None
    scatter = float(np.std(y - curve(x, *found)))
    deviations = np.sqrt(np.diag(covariance))
    return np.asarray(found, np.float64), np.asarray(deviations, np.float64), scatter


def _smooth(y: F8) -> F8:
    from scipy.ndimage import gaussian_filter1d

    smooth: F8 = gaussian_filter1d(y, 1.5, mode="nearest")
    return smooth


def _widest_run(is_quiet: NDArray[np.bool_], y: F8) -> tuple[int, int]:
    """Return the first and last index of the longest quiet run; the minimum where there is none."""
    if not is_quiet.any():
        lowest = int(np.argmin(y))
        return lowest, lowest
    edges = np.diff(np.concatenate([[0], is_quiet.astype(np.int64), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest])
