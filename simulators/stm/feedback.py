"""The feedback loop on the logarithm of the current, and where control theory says it rings.

Controller: command u = P e + sum(I T e), e = ln(I / set point), at a fixed rate, with some dead
steps until the piezo hears it. Piezo: a resonator, z'' + (w0 / Q) z' + w0^2 z = w0^2 u. Current:
ln I falls with 2 kappa per angstrom. Amplifier: first order.

`stability_border` needs no simulation: it takes the exact sampled plant behind a zero-order hold
and finds the smallest gain at which the open loop passes through -1 (Nyquist).

Source: Anguiano, Oliva & Aguilar, Rev. Sci. Instrum. 69, 3867 (1998), doi:10.1063/1.1149191 (the
feedback loop of a tunnelling microscope, its stability); Astrom & Wittenmark, Computer-Controlled
Systems, 3rd ed. (Prentice Hall, 1997), chapter 3 (sampled plants).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["Border", "FeedbackLoop", "open_loop", "stability_border"]

SUBSTEPS = 8
"""Steps of piezo and amplifier within one of the controller."""

MODES = 20000
"""Frequencies at which the open loop is looked at."""


@dataclass(frozen=True, slots=True)
class FeedbackLoop:
    """The settings of the loop and the machine it acts on.

    Args:
        setpoint_nA: absolute value of the current to hold [nA].
        proportional_A: motion for each e-fold of error at once [A].
        integral_A_per_s: speed for each e-fold of error [A/s].
        rate_Hz: of the controller [Hz].
        resonance_Hz: of the piezo tube along z [Hz].
        quality: of the resonance, Q [1].
        bandwidth_Hz: of the current amplifier (-3 dB) [Hz].
        dead_steps: controller periods from command to motion [1].
        lowest_A: of the piezo's range [A].
        highest_A: of the piezo's range [A].
        full_scale_nA: of the amplifier [nA].
        is_closed: False holds the height: constant-height mode.

    Raises:
        ArgumentError: a number outside its range, or nothing to control with.

    Example:
        >>> loop = FeedbackLoop()
        >>> stability_border(loop, slope_per_A=-2.1).gain > 1.0
        True
    """

    setpoint_nA: float = 0.1
    proportional_A: float = 0.0
    integral_A_per_s: float = 400.0
    rate_Hz: float = 20000.0
    resonance_Hz: float = 4500.0
    quality: float = 12.0
    bandwidth_Hz: float = 3000.0
    dead_steps: int = 1
    lowest_A: float = -2000.0
    highest_A: float = 2000.0
    full_scale_nA: float = 100.0
    is_closed: bool = True

    def __post_init__(self) -> None:
        positive = ("setpoint_nA", "rate_Hz", "resonance_Hz", "quality", "bandwidth_Hz",
                    "full_scale_nA")  # fmt: skip
        for name in positive:
            if not 0.0 < getattr(self, name) < 1.0e9:
                raise ArgumentError(f"loop.{name}", getattr(self, name), "a number > 0")
        for name in ("proportional_A", "integral_A_per_s"):
            if not 0.0 <= getattr(self, name) < 1.0e9:
                raise ArgumentError(f"loop.{name}", getattr(self, name), "a number >= 0")
        if not 0 <= self.dead_steps <= 1000:
            raise ArgumentError("loop.dead_steps", self.dead_steps, "0 to 1000")
        if not self.lowest_A < self.highest_A:
            raise ArgumentError("loop.lowest_A", self.lowest_A, f"less than {self.highest_A:g} A")

    def times(self, factor: float) -> "FeedbackLoop":
        """Return the loop with both gains multiplied."""
        return replace(
            self,
            proportional_A=factor * self.proportional_A,
            integral_A_per_s=factor * self.integral_A_per_s,
        )

    def piezo_step(self, time_s: float) -> NDArray[np.float64]:
        """Return the resonator's exact step under a held command, rows z and speed, shape (2, 3).

        Args:
            time_s: length of the step [s].
        """
        turn = 2.0 * np.pi * self.resonance_Hz
        motion = np.array(
            [[0.0, 1.0, 0.0], [-(turn**2), -turn / self.quality, turn**2], [0.0, 0.0, 0.0]]
        )
        step: NDArray[np.float64] = scipy.linalg.expm(motion * time_s)[:2]
        return step

    def numbers(self, *, records_piezo: bool = False) -> NDArray[np.float64]:
        """Return the settings as `scan_kernel.run_line` reads them."""
        sub_s = 1.0 / (self.rate_Hz * SUBSTEPS)
        follow = -np.expm1(-2.0 * np.pi * self.bandwidth_Hz * sub_s)
        return np.array(
            [
                np.log(self.setpoint_nA),
                self.proportional_A,
                self.integral_A_per_s / self.rate_Hz,
                float(self.is_closed),
                self.lowest_A,
                self.highest_A,
                1e-6 * self.setpoint_nA,
                self.full_scale_nA,
                follow,
                float(SUBSTEPS),
                sub_s,
                float(records_piezo),
            ]
        )


@dataclass(frozen=True, slots=True)
class Border:
    """Where a loop begins to ring.

    Args:
        gain: factor on both gains that makes it ring; the loop is stable if this is above 1.
        ringing_Hz: frequency of the ringing there [Hz].
    """

    gain: float
    ringing_Hz: float


def open_loop(
    loop: FeedbackLoop, frequencies_Hz: NDArray[np.float64], *, slope_per_A: float
) -> NDArray[np.complex128]:
    """Return the loop's transfer at each frequency, negative feedback counted out.

    Args:
        loop: its gains and dynamics.
        frequencies_Hz: between 0 and half the rate [Hz].
        slope_per_A: d ln I / dz, -2 kappa for a wave at rest [1/A].
    """
    period_s = 1.0 / loop.rate_Hz
    step, drive, sense = _sampled_plant(loop, period_s)
    turns = np.exp(2j * np.pi * frequencies_Hz * period_s)
    columns = np.linalg.solve(
        turns[:, None, None] * np.eye(3) - step, np.broadcast_to(drive[:, None], (turns.size, 3, 1))
    )
    plant = columns[:, :, 0] @ sense
    controller = loop.proportional_A + loop.integral_A_per_s * period_s * turns / (turns - 1.0)
    transfer: NDArray[np.complex128] = (
        -slope_per_A * controller * plant * turns ** (-float(loop.dead_steps))
    )
    return transfer


def stability_border(loop: FeedbackLoop, *, slope_per_A: float) -> Border:
    """Return the factor on the gains at which the loop rings, and its frequency.

    The closed loop has a root on the unit circle where the open loop is -1. Gains rise from 0,
    where it is stable, so the first such crossing is the border.

    Args:
        loop: with a gain above 0.
        slope_per_A: d ln I / dz [1/A], < 0.

    Raises:
        ArgumentError: no gain, or a current that does not fall with height.
    """
    if not loop.proportional_A + loop.integral_A_per_s > 0:
        raise ArgumentError("loop", "no gain", "a proportional or an integral gain above 0")
    if not slope_per_A < 0:
        raise ArgumentError("slope_per_A", slope_per_A, "a number < 0")

    def imaginary(frequency_Hz: float) -> float:
        found = open_loop(loop, np.array([frequency_Hz]), slope_per_A=slope_per_A)
        return float(found[0].imag)

    frequencies_Hz = np.linspace(0.0, 0.5 * loop.rate_Hz, MODES + 2)[1:]
    transfer = open_loop(loop, frequencies_Hz, slope_per_A=slope_per_A)
    sign = np.sign(transfer.imag[:-1])
    turns = np.flatnonzero((sign[:-1] * sign[1:] < 0) & (transfer.real[:-2] < 0))
    best = Border(np.inf, 0.0)
    for i in turns:
        crossing_Hz = float(
            scipy.optimize.brentq(imaginary, frequencies_Hz[i], frequencies_Hz[i + 1])
        )
        there = open_loop(loop, np.array([crossing_Hz]), slope_per_A=slope_per_A)[0].real
        if there < 0 and -1.0 / there < best.gain:
            best = Border(float(-1.0 / there), crossing_Hz)
    # At half the rate the transfer is real: the controller can flip sign from step to step.
    last = transfer[-1].real
    if last < 0 and -1.0 / last < best.gain:
        best = Border(float(-1.0 / last), 0.5 * loop.rate_Hz)
    return best


def _sampled_plant(loop: FeedbackLoop, period_s: float) -> tuple[Any, Any, Any]:
    """Return (step, drive, sense) of piezo and amplifier, command to amplified height [A]."""
    turn, cut = 2.0 * np.pi * loop.resonance_Hz, 2.0 * np.pi * loop.bandwidth_Hz
    whole = np.zeros((4, 4))
    whole[0, 1] = 1.0
    whole[1] = [-(turn**2), -turn / loop.quality, 0.0, turn**2]
    whole[2] = [cut, 0.0, -cut, 0.0]
    exact = scipy.linalg.expm(whole * period_s)
    return exact[:3, :3], exact[:3, 3], np.array([0.0, 0.0, 1.0])
