"""A heated body behind a controller: what a substrate heater or an effusion cell does in time.

Power u (a part of full power) warms the heating element, the element warms the body, the body loses
its heat by radiation (Stefan and Boltzmann):

    tau_e dq/dt = u - q,    C dT/dt = P q - eps sigma A (T^4 - T_s^4)

The body's emissivity, area and heat capacity enter through two figures that a heater shows: the
temperature T_f that full power holds for ever, and the rate R = P / C at which full power warms the
cold body:

    dT/dt = R (q - (T^4 - T_s^4) / (T_f^4 - T_s^4))

About a temperature T it answers like T / u = K / ((tau_e s + 1)(tau_b s + 1)) with

    K = (T_f^4 - T_s^4) / (4 T^3),    tau_b = K / R

so a hot body is quicker and needs more power for the next kelvin. A digital PID controller sees the
thermocouple, reads r = T - offset, every `sample_s`:

    u = clip(k_p (w - r) + k_i int (w - r) dt - k_d dr/dt, 0, 1)

with the derivative on the reading, and an integral that stands still while the power is at an end
that it would drive further. The set point w walks to the temperature asked for at the rate asked
for. For a small step, far from the ends, the closed loop is linear (`closed_loop`): overshoot and
damping are those of its poles.

Source: Astrom & Hagglund, Advanced PID Control (ISA, 2006), sections 3.4 and 3.5 (derivative on the
measurement, conditional integration); Incropera, DeWitt, Bergman & Lavine, Fundamentals of Heat and
Mass Transfer, 6th ed. (Wiley, 2007), section 5.3 (one body that radiates into large surroundings). For
scale: a bare GaAs wafer of 0.35 mm (700 J/m^2/K) with an emissivity of 0.6 on both sides has tau_b = 4 s
at 850 K. Left out: conduction through holder and leads, an emissivity that depends on temperature, and
what a film does to it.
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
        body_lag_s: time in which full power would warm the body by `full_power_K` if it lost no heat,
            so that R = full_power_K / body_lag_s [s].
        element_lag_s: tau_e [s].
        full_power_K: T_f - T_s, above the surroundings at full power for ever [K].
        surroundings_K: T_s [K].

    Raises:
        ArgumentError: lags, power or surroundings that are not positive.

    Example:
        >>> body = ThermalBody()
        >>> round(body.power_at(1400.0), 3), round(body.power_at(850.0), 3)
        (1.0, 0.134)
        >>> round(body.gain_K(850.0)), round(body.lag_s(850.0), 1)  # a step of power, small
        (1561, 8.5)
    """

    body_lag_s: float = 6.0
    element_lag_s: float = 1.5
    full_power_K: float = 1100.0
    surroundings_K: float = 300.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        lags_s = (self.body_lag_s, self.element_lag_s)
        if not min(*lags_s, self.full_power_K, self.surroundings_K) > 0:
            allowed = "lags > 0 s, a full power > 0 K, surroundings > 0 K"
            raise ArgumentError("body", self, allowed)

    @property
    def warming_K_per_s(self) -> float:
        """R: what full power does to the cold body [K/s]."""
        return self.full_power_K / self.body_lag_s

    def power_at(self, body_K: float) -> float:
        """Return the power that holds a temperature, a part of full power [1]."""
        return float((body_K**4 - self.surroundings_K**4) / self._full_K4)

    def gain_K(self, body_K: float) -> float:
        """Return K: how much hotter a little more power makes the body, of full power [K]."""
        return float(self._full_K4 / (4.0 * body_K**3))

    def lag_s(self, body_K: float) -> float:
        """Return tau_b: in what time a small deviation falls to 1 / e [s]."""
        return self.gain_K(body_K) / self.warming_K_per_s

    @property
    def _full_K4(self) -> float:
        return float((self.surroundings_K + self.full_power_K) ** 4 - self.surroundings_K**4)


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


def closed_loop(
    body: ThermalBody, gains: Gains, body_K: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return numerator and denominator of T / w in powers of s, highest first, about a temperature.

    K (k_p s + k_i) / (tau_e tau_b s^3 + (tau_e + tau_b + K k_d) s^2 + (1 + K k_p) s + K k_i)

    Args:
        body: what is heated.
        gains: of the controller.
        body_K: where it stands; K and tau_b are those there [K].
    """
    gain_K, lag_s = body.gain_K(body_K), body.lag_s(body_K)
    numerator = gain_K * np.array([gains.proportional_per_K, gains.integral_per_K_s])
    denominator = np.array(
        [
            body.element_lag_s * lag_s,
            body.element_lag_s + lag_s + gain_K * gains.derivative_s_per_K,
            1.0 + gain_K * gains.proportional_per_K,
            gain_K * gains.integral_per_K_s,
        ]
    )
    return numerator, denominator


def poles_per_s(body: ThermalBody, gains: Gains, body_K: float) -> NDArray[np.complex128]:
    """Return the poles of the closed loop at a temperature, (3,) [1/s]; left of zero: it is stable."""
    return np.asarray(np.roots(closed_loop(body, gains, body_K)[1]), dtype=np.complex128)


class TemperatureLoop:
    """One heated body under control.

    Args:
        body: what is heated.
        gains: of the controller.
        start_K: reading at which it stands, settled [K].
        offset_K: true minus reading [K].

    Raises:
        ArgumentError: gains that make the loop unstable where it stands.

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
        if float(poles_per_s(body, gains, start_K + offset_K).real.max()) >= 0:
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
        self.power = self._integral = self._element = self.body.power_at(self.body_K)
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
        """Solve element and body over one step of constant power, the loss linear in the step."""
        body, start_K = self.body, self.body_K
        power = 0.0 if self.is_broken else self.power
        lead, lag_s = self._element - power, body.lag_s(start_K)
        left, pace = math.exp(-step_s / lag_s), 1.0 / lag_s - 1.0 / body.element_lag_s
        self._element = power + lead * math.exp(-step_s / body.element_lag_s)
        # (exp(-t / tau_e) - exp(-t / tau_b)) / pace, which has a limit where the lags are equal
        both_s = left * (math.expm1(pace * step_s) / pace if pace else step_s)
        excess = power - body.power_at(start_K)
        rise_K = body.gain_K(start_K) * excess * (1.0 - left)
        self.body_K = start_K + rise_K + body.warming_K_per_s * lead * both_s
