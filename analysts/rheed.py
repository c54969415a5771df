"""What a RHEED trace says: growth rate, damping, and how good the film is.

Intensities are taken relative to the substrate's, which the samples before the opening of the
shutter show. The film quality is the objective of the growth campaign,

    J = sqrt(I_f I_2ML) exp(-t / 300 s) exp(-((Theta - 4 ML) / 0.6 ML)^2 / 2)

with I_f the specular anti-phase intensity after the anneal (interdiffusion lowers it, so that loss
is inside), I_2ML the one at a calibrated dose of 2 ML, t the time of growth and anneal, Theta the
coverage. It is the measured side of `simulators.film_quality`, where the reasons stand; a test
keeps the two equal.
"""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinloop.analysts.interface import Analyst, quantity
from twinloop.analysts.oscillation import Fit, fit_oscillation
from twinloop.errors import ArgumentError
from twinloop.results import Array, Result

__all__ = [
    "TRACE_DOSES_ML",
    "Estimate",
    "Oscillation",
    "Quality",
    "RHEEDAnalyst",
    "TraceIntensities",
    "quality_of",
]

TARGET_ML = 4.0
TOLERANCE_ML = 0.6
THROUGHPUT_S = 300.0

SECOND_ML = 2.0
"""Dose at which the flatness during growth is judged [ML]."""

TRACE_DOSES_ML = {
    "intensity_0p75ML": 0.75,
    "intensity_1ML": 1.0,
    "intensity_1p5ML": 1.5,
    "intensity_2ML": 2.0,
    "intensity_2p5ML": 2.5,
    "intensity_3ML": 3.0,
}
"""Doses at which a trace is compared with theory [ML]; a test keeps them those of the simulator."""

SPOT_PX = 1
RING_PX = (5, 8)
"""Half width of the box around the specular spot, and of the ring that tells its background [px]."""


class Estimate(Result):
    """A number and its standard deviation."""

    value: float
    value_sd: float


class Oscillation(Result):
    """What the oscillations of one growth say.

    Args:
        rate_ML_per_s, rate_sd_ML_per_s: true growth rate, one period being one monolayer; where
            the trace hardly oscillates, the gauge's with the uncertainty of its calibration [ML/s].
        period_s: of the oscillation, 1 / rate [s].
        maxima: how many stand out of the noise.
        damping_per_ML: decay of the amplitude with coverage [1/ML].
        contrast: part of the variance that the oscillation explains, 0 to 1.
    """

    rate_ML_per_s: float
    rate_sd_ML_per_s: float
    period_s: float
    maxima: int
    damping_per_ML: float
    contrast: float


class Quality(Result):
    """The film quality J and what it is made of; each with its standard deviation.

    Args:
        quality: J [1].
        final_intensity: after the anneal, substrate = 1.
        intensity_2ML: at 2 ML, substrate = 1.
        coverage_ML: from the oscillations and the gauge [ML].
    """

    quality: float
    quality_sd: float
    final_intensity: float
    final_intensity_sd: float
    intensity_2ML: float
    intensity_2ML_sd: float
    coverage_ML: float
    coverage_sd_ML: float


class TraceIntensities(Result):
    """Intensities of a trace at doses that the gauge counts, substrate = 1, each with its deviation.

    They are what theory of the growth is compared with (`simulators.kmc_growth` predicts them under
    the same names): extremes and flanks of the first oscillations, before any anneal.
    """

    intensity_0p75ML: float
    intensity_0p75ML_sd: float
    intensity_1ML: float
    intensity_1ML_sd: float
    intensity_1p5ML: float
    intensity_1p5ML_sd: float
    intensity_2ML: float
    intensity_2ML_sd: float
    intensity_2p5ML: float
    intensity_2p5ML_sd: float
    intensity_3ML: float
    intensity_3ML_sd: float


class RHEEDAnalyst(Analyst, name="rheed"):
    """Reads specular traces and frames.

    Args:
        gauge_sd: relative uncertainty of the flux calibration, before the trace is seen [1].
        period_sd: relative deviation of the period from one monolayer that growth modes cause [1].
        reproducibility: standard deviation of J between films of equal conditions [1].

    Example:
        >>> t = np.linspace(-1.0, 20.0, 421)
        >>> y = np.where(t < 0, 1.0, 0.6 + 0.4 * np.exp(-0.1 * t) * np.cos(2 * np.pi * t / 5.0))
        >>> found = RHEEDAnalyst().compute(
        ...     "oscillation", time_s=t, intensity=1000 * y, rate_ML_per_s=0.19
        ... )
        >>> round(found.period_s, 1), found.maxima
        (5.0, 3)
    """

    gauge_sd: float = Field(default=0.08, gt=0)
    period_sd: float = Field(default=0.015, gt=0)
    reproducibility: float = Field(default=0.028, ge=0)

    @quantity
    def oscillation(self, *, time_s: Array, intensity: Array, rate_ML_per_s: float) -> Oscillation:
        """Return growth rate, maxima and damping.

        Args:
            time_s: 0 at the opening of the shutter, shape (n,) [s].
            intensity: specular, shape (n,), any unit.
            rate_ML_per_s: what the gauge says [ML/s].
        """
        trace = _Trace(time_s, intensity)
        fit = fit_oscillation(trace.time_s * rate_ML_per_s, trace.relative)
        factor, factor_sd = self._rate_factor(fit)
        return Oscillation(
            rate_ML_per_s=factor * rate_ML_per_s,
            rate_sd_ML_per_s=factor_sd * rate_ML_per_s,
            period_s=1.0 / (factor * rate_ML_per_s),
            maxima=trace.count_maxima(rate_ML_per_s),
            damping_per_ML=fit.damping / factor,
            contrast=fit.contrast,
        )

    @quantity
    def trace_intensities(
        self, *, time_s: Array, intensity: Array, rate_ML_per_s: float
    ) -> TraceIntensities:
        """Return the intensities at the doses of `TRACE_DOSES_ML`; 0 +- 1 where none was reached.

        Args:
            time_s: 0 at the opening of the shutter, shape (n,) [s].
            intensity: specular, shape (n,), any unit.
            rate_ML_per_s: what the gauge says [ML/s].
        """
        trace = _Trace(time_s, intensity)
        found: dict[str, float] = {}
        for name, dose_ML in TRACE_DOSES_ML.items():
            found[name], found[f"{name}_sd"] = trace.at_dose(dose_ML, rate_ML_per_s)
        return TraceIntensities(**found)

    @quantity
    def amplitude_2ML(self, *, time_s: Array, intensity: Array, rate_ML_per_s: float) -> Estimate:
        """Return the square root of the intensity at a calibrated dose of 2 ML, substrate = 1."""
        value, sd = _Trace(time_s, intensity).at_dose(SECOND_ML, rate_ML_per_s)
        amplitude, amplitude_sd = _root(value, sd)
        return Estimate(value=amplitude, value_sd=amplitude_sd)

    @quantity
    def final_intensity(
        self, *, time_s: Array, intensity: Array, specular: float, specular_sd: float
    ) -> Estimate:
        """Return a later reading of the specular beam, substrate = 1.

        Args:
            time_s: of the trace of this sample's growth, 0 at the opening, shape (n,) [s].
            intensity: of that trace, shape (n,) [counts/s].
            specular: the reading [counts/s].
            specular_sd: its standard deviation [counts/s].
        """
        value, sd = _Trace(time_s, intensity).compare(specular, specular_sd)
        return Estimate(value=value, value_sd=sd)

    @quantity
    def spot_intensity(self, *, frame: Array) -> Estimate:
        """Return mean counts of the specular spot above its surroundings, of one frame.

        The spot is sought in the middle columns; diffuse intensity close to it counts as its
        background.

        Args:
            frame: shape (rows, columns) [counts].
        """
        return _spot(np.asarray(frame, dtype=np.float64))

    @quantity
    def film_quality(
        self,
        *,
        time_s: Array,
        intensity: Array,
        rate_ML_per_s: float,
        growth_s: float,
        anneal_s: float,
        specular: float,
        specular_sd: float,
    ) -> Quality:
        """Return the film quality J.

        Args:
            time_s: of the trace, 0 at the opening of the shutter, shape (n,) [s].
            intensity: of the trace, shape (n,) [counts/s].
            rate_ML_per_s: what the gauge says [ML/s].
            growth_s: how long the shutter was open [s].
            anneal_s: how long the film was annealed [s].
            specular: the specular beam after that [counts/s].
            specular_sd: its standard deviation [counts/s].
        """
        trace = _Trace(time_s, intensity)
        final, final_sd = trace.compare(specular, specular_sd)
        second, second_sd = trace.at_dose(SECOND_ML, rate_ML_per_s)
        factor, factor_sd = self._rate_factor(
            fit_oscillation(trace.time_s * rate_ML_per_s, trace.relative)
        )
        coverage = factor * rate_ML_per_s * growth_s
        coverage_sd = factor_sd * rate_ML_per_s * growth_s
        quality, quality_sd = quality_of(
            final, final_sd, second, second_sd, coverage, coverage_sd, growth_s + anneal_s
        )
        return Quality(
            quality=quality,
            quality_sd=math.hypot(quality_sd, self.reproducibility),
            final_intensity=final,
            final_intensity_sd=final_sd,
            intensity_2ML=second,
            intensity_2ML_sd=second_sd,
            coverage_ML=coverage,
            coverage_sd_ML=coverage_sd,
        )

    def _rate_factor(self, fit: Fit) -> tuple[float, float]:
        """Return true over gauge rate and its deviation: the gauge corrected by the trace."""
        fit_sd = math.hypot(fit.frequency_sd, self.period_sd)
        weight = 0.0 if not fit.is_sure else self.gauge_sd**2 / (self.gauge_sd**2 + fit_sd**2)
        return 1.0 + weight * (fit.frequency - 1.0), self.gauge_sd * math.sqrt(1.0 - weight)


def quality_of(
    final: float,
    final_sd: float,
    second: float,
    second_sd: float,
    coverage_ML: float,
    coverage_sd_ML: float,
    time_s: float,
) -> tuple[float, float]:
    """Return J and its standard deviation.

    Args:
        final: intensity after the anneal, interdiffusion included, substrate = 1.
        final_sd: its standard deviation.
        second: intensity at 2 ML, substrate = 1.
        second_sd: its standard deviation.
        coverage_ML: [ML].
        coverage_sd_ML: its standard deviation [ML].
        time_s: growth and anneal [s].
    """
    off = (coverage_ML - TARGET_ML) / TOLERANCE_ML
    cost = math.exp(-time_s / THROUGHPUT_S - 0.5 * off**2)
    flat, flat_sd = _root(final, final_sd)
    then, then_sd = _root(second, second_sd)
    quality = flat * then * cost
    parts = (
        then * cost * flat_sd,
        flat * cost * then_sd,
        flat_sd * cost * then_sd,
        quality * off / TOLERANCE_ML * coverage_sd_ML,
    )
    return quality, math.hypot(*parts)


def _root(intensity: float, intensity_sd: float) -> tuple[float, float]:
    """Return the amplitude and its deviation; near zero, where the slope diverges, a bound."""
    slope = 0.5 / math.sqrt(max(intensity, intensity_sd, 1e-12))
    return math.sqrt(max(intensity, 0.0)), slope * intensity_sd


class _Trace:
    """A trace relative to its substrate.

    Raises:
        ArgumentError: fewer than 3 samples before the opening, or arrays that do not fit.
    """

    def __init__(self, time_s: Array, intensity: Array) -> None:
        times, counts = np.asarray(time_s, np.float64), np.asarray(intensity, np.float64)
        before = times <= 0
        if times.ndim != 1 or times.shape != counts.shape or before.sum() < 3:
            raise ArgumentError(
                "trace",
                (times.shape, counts.shape, int(before.sum())),
                "equal shapes (n,), with 3 samples or more before the opening at 0 s",
            )
        self.level = float(counts[before].mean())
        self.noise = float(counts[before].std(ddof=1)) / self.level
        self.level_sd = self.noise / math.sqrt(int(before.sum()))
        self.time_s: NDArray[np.float64] = times[~before]
        self.relative: NDArray[np.float64] = counts[~before] / self.level

    def compare(self, counts: float, counts_sd: float) -> tuple[float, float]:
        """Return another reading relative to the substrate, and its deviation."""
        value = counts / self.level
        return value, math.hypot(counts_sd / self.level, value * self.level_sd)

    def at_dose(self, dose_ML: float, rate_ML_per_s: float) -> tuple[float, float]:
        """Return the mean in a window of 0.2 ML around a dose, and its deviation."""
        doses = self.time_s * rate_ML_per_s
        if doses.size == 0 or doses[-1] < dose_ML:
            return 0.0, 1.0
        # the margin keeps samples at the edge in, as in `simulators.kmc_growth.intensity_at`
        near = np.abs(doses - dose_ML) <= 0.1 + 1e-9
        if not near.any():
            near[np.argmin(np.abs(doses - dose_ML))] = True
        value = float(self.relative[near].mean())
        own_sd = self.noise / math.sqrt(int(near.sum()))
        return value, math.hypot(own_sd, value * self.level_sd)

    def count_maxima(self, rate_ML_per_s: float) -> int:
        """Return how many maxima, half a monolayer apart at least, stand out of the noise."""
        doses = self.time_s * rate_ML_per_s
        if doses.size < 3:
            return 0
        width = max(1, round(0.15 / float(np.median(np.diff(doses)))))
        smooth = np.convolve(np.pad(self.relative, width, mode="edge"), _hat(width), "valid")
        clear = 3.0 * self.noise / math.sqrt(width)
        count, lowest, highest, is_rising = 0, float(smooth[0]), float(smooth[0]), False
        for value in map(float, smooth):
            lowest, highest = min(lowest, value), max(highest, value)
            if is_rising and value < highest - clear:
                count, is_rising, lowest = count + 1, False, value
            elif not is_rising and value > lowest + clear:
                is_rising, highest = True, value
        return count


def _hat(width: int) -> NDArray[np.float64]:
    """Return a normalised triangle of 2 width + 1 samples."""
    hat = 1.0 + width - np.abs(np.arange(-width, width + 1))
    weights: NDArray[np.float64] = hat / hat.sum()
    return weights


def _spot(counts: NDArray[np.float64]) -> Estimate:
    far = RING_PX[1]
    if counts.ndim != 2 or min(counts.shape) < 2 * far + 3:
        raise ArgumentError("frame", counts.shape, f"two axes of {2 * far + 3} pixels or more")
    middle = counts.shape[1] // 2
    column = counts[far:-far, middle - SPOT_PX : middle + SPOT_PX + 1].mean(axis=1)
    row = far + int(np.argmax(column))
    patch = counts[row - far : row + far + 1, middle - far : middle + far + 1]
    reach = np.maximum(*np.abs(np.mgrid[-far : far + 1, -far : far + 1]))
    # Streaks run along the middle columns, so the ring leaves them out.
    aside = np.abs(np.mgrid[-far : far + 1, -far : far + 1][1]) >= RING_PX[0]
    spot, ring = patch[reach <= SPOT_PX], patch[(reach >= RING_PX[0]) & aside]
    value = float(spot.mean() - ring.mean())
    value_sd = float(ring.std(ddof=1)) * math.hypot(1 / math.sqrt(spot.size), ring.size**-0.5)
    return Estimate(value=value, value_sd=value_sd)
