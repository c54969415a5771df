"""From frames and interrupted growths: lattice constant, terrace size, recovery, beats.

What `analysts.rheed` judges a film by stays there; these quantities describe the surface. Deviations
are calibrated on the twin: over many films, 85 to 95 % of the true values lie inside +- 1.645
deviations (`tests/analysts/test_rheed_frames.py`).
"""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinloop.analysts.beats import refine_oscillation
from twinloop.analysts.interface import Analyst, quantity
from twinloop.analysts.recovery import fit_recovery
from twinloop.analysts.streaks import Screen, correlation_per_A, first_order_px
from twinloop.errors import ArgumentError
from twinloop.lattice_constants import MONOLAYER_A
from twinloop.results import Array, Result
from twinloop.simulators.rheed import antiphase_incidence_deg, wavelength_A

__all__ = ["Beats", "RHEEDFramesAnalyst", "Recovery", "Streaks"]

MIN_BEFORE = 3


class Beats(Result):
    """The oscillation of one growth; each with its standard deviation.

    Args:
        period_s: of the oscillation, the time of one monolayer [s]; the gauge's, uncertain by a
            tenth, where the trace hardly oscillates.
        amplitude: half of what the first maximum stands above the mean of the minima beside it,
            substrate = 1.
        damping_per_ML: decay of that with coverage [1/ML].
    """

    period_s: float
    period_sd_s: float
    amplitude: float
    amplitude_sd: float
    damping_per_ML: float
    damping_sd_per_ML: float


class Recovery(Result):
    """How the specular beam came back while no atoms arrived; each with its standard deviation.

    Args:
        constant_s: time constant [s].
        gain: what would come back in an endless pause, substrate = 1.
        end: where it would end, substrate = 1.
    """

    constant_s: float
    constant_sd_s: float
    gain: float
    gain_sd: float
    end: float
    end_sd: float


class Streaks(Result):
    """What one frame says of the surface; each with its standard deviation.

    Args:
        lattice_A: constant of the surface lattice across the beam [A]; 0 +- 10 without streaks.
        terrace_A: length over which the surface forgets its layer: the parity of the height is
            correlated by 1 / e [A].
        diffuse: part of the intensity around the specular beam that this disorder scatters.
    """

    lattice_A: float
    lattice_sd_A: float
    terrace_A: float
    terrace_sd_A: float
    diffuse: float


class RHEEDFramesAnalyst(Analyst, name="rheed_frames"):
    """Reads frames and recoveries.

    Args:
        energy_keV: of the beam [keV].
        pixel_deg: angle that a pixel of the camera sees [deg].
        step_height_A: of a monolayer [A].
        dark_counts: of the camera [counts].
        period_sd: relative deviation of the period from one monolayer that growth modes cause [1].
        amplitude_sd: by which the reading misses the height of the first maximum without noise, substrate = 1.
        pixel_sd: relative uncertainty of `pixel_deg`, the calibration of the camera [1].
        noise_factor: deviations by noise of what a fit tells (damping, recovery), over what a linear fit
            of a perfect model would have [1].
        terrace_bias, terrace_sd: ln of the correlation length over 1 / width: mean, and deviation
            between films [1].

    Example:
        >>> t = np.linspace(-1.0, 10.0, 441)
        >>> y = np.where(t < 1e-9, 1.0, 0.8 - 0.4 * np.exp(-t / 2.5))
        >>> found = RHEEDFramesAnalyst().compute(
        ...     "recovery", time_s=t, intensity=900 * y, start_s=0.0, end_s=10.0
        ... )
        >>> round(found.constant_s, 2), round(found.gain, 2), round(found.end, 2)
        (2.5, 0.4, 0.8)
    """

    energy_keV: float = Field(default=15.0, gt=1)
    pixel_deg: float = Field(default=0.02, gt=0)
    step_height_A: float = Field(default=MONOLAYER_A, gt=0)
    dark_counts: float = Field(default=40.0, ge=0)
    period_sd: float = Field(default=0.015, gt=0)
    amplitude_sd: float = Field(default=0.004, ge=0)
    pixel_sd: float = Field(default=2e-3, gt=0)
    noise_factor: float = Field(default=1.2, gt=0)
    terrace_bias: float = 0.0
    terrace_sd: float = Field(default=0.28, gt=0)

    @quantity
    def beats(self, *, time_s: Array, intensity: Array, rate_ML_per_s: float) -> Beats:
        """Return period, amplitude and damping of the oscillation of a growth.

        Args:
            time_s: 0 at the opening of the shutter, shape (n,) [s].
            intensity: specular, shape (n,), any unit.
            rate_ML_per_s: what the gauge says [ML/s].
        """
        times_s, relative, noise, level_sd = _relative(time_s, intensity)
        found = refine_oscillation(times_s * rate_ML_per_s, relative, noise)
        period_s = 1.0 / (found.frequency * rate_ML_per_s)
        model_sd = self.period_sd if found.is_sure else 0.1
        noise_sd = found.frequency_sd / found.frequency if found.is_sure else 0.0
        return Beats(
            period_s=period_s,
            period_sd_s=period_s * math.hypot(noise_sd, model_sd),
            amplitude=found.amplitude,
            amplitude_sd=math.hypot(
                found.amplitude_sd,
                found.amplitude * level_sd,
                self.amplitude_sd if found.is_sure else 0.0,
            ),
            damping_per_ML=found.damping / found.frequency,
            damping_sd_per_ML=self.noise_factor * found.damping_sd / found.frequency,
        )

    @quantity
    def recovery(
        self, *, time_s: Array, intensity: Array, start_s: float, end_s: float
    ) -> Recovery:
        """Return how the beam came back in a pause.

        Args:
            time_s: 0 at the opening of the shutter, shape (n,) [s].
            intensity: specular, shape (n,), any unit.
            start_s: when the pause began [s].
            end_s: when it ended [s].
        """
        times_s, relative, noise, level_sd = _relative(time_s, intensity)
        inside = (times_s > start_s + 1e-9) & (times_s <= end_s + 1e-9)
        found = fit_recovery(times_s[inside] - start_s, relative[inside], noise)
        constant_s = math.exp(found.log_constant)
        # what is seen of a slow recovery hardly bounds it from above: the upper side counts
        upper = math.expm1(self.noise_factor * found.log_constant_sd)
        wider = upper / max(found.log_constant_sd, 1e-12)
        return Recovery(
            constant_s=constant_s,
            constant_sd_s=constant_s * upper,
            gain=found.gain,
            gain_sd=math.hypot(wider * found.gain_sd, found.gain * level_sd),
            end=found.end,
            end_sd=math.hypot(wider * found.end_sd, found.end * level_sd),
        )

    @quantity
    def streaks(self, *, frame: Array, incidence_deg: float = 0.0) -> Streaks:
        """Return lattice constant and terrace size of one frame.

        Args:
            frame: shape (rows, columns) [counts].
            incidence_deg: glancing angle; 0: the second anti-phase angle [deg].
        """
        counts = np.asarray(frame, dtype=np.float64) - self.dark_counts
        if counts.ndim != 2 or min(counts.shape) < 32:
            raise ArgumentError("frame", counts.shape, "two axes of 32 pixels or more")
        screen = Screen(
            shape=(counts.shape[0], counts.shape[1]),
            pixel_deg=self.pixel_deg,
            wavelength_A=wavelength_A(self.energy_keV),
            incidence_deg=incidence_deg or self._antiphase_deg(),
            step_height_A=self.step_height_A,
        )
        lattice_A, lattice_sd_A = self._lattice(counts, screen)
        width_per_A, diffuse = correlation_per_A(counts, screen)
        terrace_A = math.exp(self.terrace_bias) / width_per_A
        return Streaks(
            lattice_A=lattice_A,
            lattice_sd_A=lattice_sd_A,
            terrace_A=terrace_A,
            terrace_sd_A=self.terrace_sd * terrace_A,
            diffuse=diffuse,
        )

    def _antiphase_deg(self) -> float:
        return antiphase_incidence_deg(energy_keV=self.energy_keV, step_height_A=self.step_height_A)

    def _lattice(self, counts: NDArray[np.float64], screen: Screen) -> tuple[float, float]:
        distance_px, distance_sd_px = first_order_px(counts, screen)
        if distance_px <= 0:
            return 0.0, 10.0
        sine = math.sin(math.radians(distance_px * self.pixel_deg))
        lattice_A = screen.wavelength_A / sine
        return lattice_A, lattice_A * math.hypot(distance_sd_px / distance_px, self.pixel_sd)


def _relative(
    time_s: Array, intensity: Array
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
    """Return times and intensities after the opening, substrate = 1, noise, and that of the level.

    Raises:
        ArgumentError: fewer than 3 samples before the opening, or arrays that do not fit.
    """
    times, counts = np.asarray(time_s, np.float64), np.asarray(intensity, np.float64)
    before = times <= 0
    if times.ndim != 1 or times.shape != counts.shape or int(before.sum()) < MIN_BEFORE:
        found = (times.shape, counts.shape, int(before.sum()))
        allowed = "equal shapes (n,), with 3 samples or more before the opening at 0 s"
        raise ArgumentError("trace", found, allowed)
    level = float(counts[before].mean())
    noise = _noise(counts[before], counts[~before]) / level
    return times[~before], counts[~before] / level, noise, noise / math.sqrt(int(before.sum()))


def _noise(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the deviation of one sample.

    About the mean before the opening, and about its neighbours after it, where third differences
    take the oscillation out.
    """
    squares, weight = float(((before - before.mean()) ** 2).sum()), before.size - 1.0
    if after.size > 3:
        third = np.diff(after, 3)
        # 1, -3, 3, -1: the variance is that of 20 samples, and neighbours are correlated
        squares, weight = squares + 0.4 * float(third @ third) / 20.0, weight + 0.4 * third.size
    return math.sqrt(squares / weight)
