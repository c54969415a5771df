"""A heated body behind a controller: what a substrate heater or an effusion cell does in time.

Power u (a part of full power) warms the heating element, the element warms the body, the body loses
heat to its surroundings:

    tau_e dq/dt = u K - q,    tau_b dT/dt = q - (T - T_s)

so T / u = K / ((tau_e s + 1)(tau_b s + 1)). A digital PID controller sees the thermocouple,
reads r = T - offset, every `sample_s`:

    u = clip(k_p (w - r) + k_i int (w - r) dt - k_d dr/dt, 0, 1)

with the derivative on the reading, and an integral that stands still while the power is at an end
that it would drive further. The set point w walks to the temperature asked for at the rate asked
for. Far from the ends the closed loop is linear (`closed_loop`): overshoot and damping are those of
its poles.

Source: Astrom & Hagglund, Advanced PID Control (ISA, 2006), sections 3.4 and 3.5 (derivative on the
measurement, conditional integration). Left out: radiation, which makes K and tau_b depend on T; one
linear body stands for the neighbourhood of the working point.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["Gains", "TemperatureLoop", "ThermalBody", "closed_loop", "poles_per_s"]


@dataclass(frozen=True, slots=True)
class ThermalBody:
    """What is heated.

    Args:
        body_lag_s: tau_b [s].
        element_lag_s: tau_e [s], another number than tau_b.
        full_power_K: K, above the surroundings at full power for ever [K].
        surroundings_K: T_s [K].

    Raises:
        ArgumentError: lags that are not positive or (nearly) equal, or no power.
    """

    body_lag_s: float = 6.0
    element_lag_s: float = 1.5
    full_power_K: float = 1100.0
    surroundings_K: float = 300.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (self.body_lag_s > 0 and self.element_lag_s > 0 and self.full_power_K > 0):
            raise ArgumentError("body", self, "lags > 0 s and a full power > 0 K")
        if abs(self.body_lag_s - self.element_lag_s) < 1e-3 * self.body_lag_s:
            raise ArgumentError(
                "element_lag_s", self.element_lag_s, "another number than body_lag_s"
            )

    def power_at(self, body_K: float) -> float:
        """Return the power that holds a temperature, a part of full power [1]."""
        return (body_K - self.surroundings_K) / self.full_power_K


@dataclass(frozen=True, slots=True)
class Gains:
    """The controller.

    Args:
        proportional_per_K: k_p [1/K].
        integral_per_K_s: k_i [1/K/s].
        derivative_s_per_K: k_d [s/K].
        sample_s: between two looks at the thermocouple [s].

    Raises:
        ArgumentError: a negative gain, or no sample time.
    """

    proportional_per_K: float = 0.02
    integral_per_K_s: float = 0.003
    derivative_s_per_K: float = 0.012
    sample_s: float = 0.05

    def __post_init__(self) -> None:
        """Check the ranges."""
        gains = (self.proportional_per_K, self.integral_per_K_s, self.derivative_s_per_K)
        if min(gains) < 0 or not self.sample_s > 0:
            raise ArgumentError("gains", self, "gains >= 0 and a sample time > 0 s")


def closed_loop(body: ThermalBody, gains: Gains) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return numerator and denominator of T / w in powers of s, highest first.

    K (k_p s + k_i) / (tau_e tau_b s^3 + (tau_e + tau_b + K k_d) s^2 + (1 + K k_p) s + K k_i)
    """
    full_K = body.full_power_K
    numerator = full_K * np.array([gains.proportional_per_K, gains.integral_per_K_s])
    denominator = np.array(
        [
            body.element_lag_s * body.body_lag_s,
            body.element_lag_s + body.body_lag_s + full_K * gains.derivative_s_per_K,
            1.0 + full_K * gains.proportional_per_K,
            full_K * gains.integral_per_K_s,
        ]
    )
    return numerator, denominator


def poles_per_s(body: ThermalBody, gains: Gains) -> NDArray[np.complex128]:
    """Return the poles of the closed loop, shape (3,) [1/s]; all left of zero: it is stable."""
    return np.asarray(np.roots(closed_loop(body, gains)[1]), dtype=np.complex128)


class TemperatureLoop:
    """One heated body under control.

    Args:
        body: what is heated.
        gains: of the controller.
        start_K: reading at which it stands, settled [K].
        offset_K: true minus reading [K].

    Raises:
        ArgumentError: gains that make the loop unstable.

    Example:
        >>> loop = TemperatureLoop(ThermalBody(), Gains(), start_K=500.0)
        >>> loop.ask(800.0, rate_K_per_s=20.0)
        >>> loop.advance(5.0)
        >>> loop.set_point_K
        600.0
        >>> loop.advance(60.0)
        >>> round(loop.reading_K, 1)
        800.0
    """

    def __init__(
        self, body: ThermalBody, gains: Gains, *, start_K: float, offset_K: float = 0.0
    ) -> None:
        if float(poles_per_s(body, gains).real.max()) >= 0:
            raise ArgumentError("gains", gains, "gains whose closed loop is stable")
        self.body, self.gains = body, gains
        self.offset_K = offset_K
        self.is_broken = False
        """The element gives no heat."""
        self.settle_at(start_K)

    @property
    def reading_K(self) -> float:
        """What the thermocouple reads [K]."""
        return self.body_K - self.offset_K

    def settle_at(self, reading_K: float) -> None:
        """Stand at a reading, as after a long time."""
        self.body_K = reading_K + self.offset_K
        self._element_K = self.body_K - self.body.surroundings_K
        self.power = self._integral = self.body.power_at(self.body_K)
        self.target_K = self.set_point_K = self._last_K = reading_K
        self._rate_K_per_s = math.inf

    def ask(self, target_K: float, *, rate_K_per_s: float = math.inf) -> None:
        """Let the set point walk to a reading [K] at a rate [K/s]."""
        self.target_K, self._rate_K_per_s = target_K, rate_K_per_s

    def advance(self, duration_s: float) -> None:
        """Let time pass under control."""
        steps = max(1, math.ceil(duration_s / self.gains.sample_s - 1e-9))
        for _ in range(steps if duration_s > 0 else 0):
            self._step(duration_s / steps)

    def _step(self, step_s: float) -> None:
        most_K = self._rate_K_per_s * step_s
        gap_K = self.target_K - self.set_point_K
        self.set_point_K = (
            self.target_K
            if abs(gap_K) <= most_K
            else self.set_point_K + math.copysign(most_K, gap_K)
        )
        self._control(step_s)
        self._heat(step_s)

    def _control(self, step_s: float) -> None:
        """Choose the power of the next step."""
        reading_K = self.reading_K
        error_K = self.set_point_K - reading_K
        slope = (reading_K - self._last_K) / step_s
        self._last_K = reading_K
        grown = self._integral + self.gains.integral_per_K_s * error_K * step_s
        fixed = self.gains.proportional_per_K * error_K - self.gains.derivative_s_per_K * slope
        wanted = fixed + grown
        self.power = min(max(wanted, 0.0), 1.0)
        if self.power == wanted or (wanted > 1.0) != (error_K > 0):
            self._integral = grown

    def _heat(self, step_s: float) -> None:
        """Solve element and body over one step of constant power, exactly."""
        body = self.body
        above_K = 0.0 if self.is_broken else self.power * body.full_power_K
        slow, fast = math.exp(-step_s / body.body_lag_s), math.exp(-step_s / body.element_lag_s)
        lead_K = self._element_K - above_K
        part_K = lead_K * body.element_lag_s / (body.element_lag_s - body.body_lag_s)
        rise_K = self.body_K - body.surroundings_K - above_K
        self._element_K = above_K + lead_K * fast
        self.body_K = body.surroundings_K + above_K + (rise_K - part_K) * slow + part_K * fast
