"""How the scanner misses the place it is sent to: creep, hysteresis, drift, and its noise.

Creep: a piezo goes on after a step as the logarithm of time; here a sum of exponentials, one a
decade, which has memory but needs no history. Hysteresis: play operators (Prandtl and Ishlinskii),
independent of the rate. Drift: a constant velocity and a random walk. 1/f noise: shaped spectra.

Source: Croft, Shed & Devasia, J. Dyn. Syst. Meas. Control 123, 35 (2001) (creep as relaxations,
hysteresis and resonance of a piezo scanner); Kuhnen, Eur. J. Control 9, 407 (2003) (play operators);
Timmer & Konig, Astron. Astrophys. 300, 707
(1995) (coloured noise from a spectrum).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.compiled import compiled

__all__ = ["Axis", "AxisState", "Drift", "coloured_noise"]

CREEP_TIMES_S = np.array([0.3, 3.0, 30.0, 300.0])
"""Relaxation times, one a decade [s]."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What one piezo axis does to its command.

    Args:
        creep: part of a step that is added per decade of time [1]; 0.01 to 0.02 is usual.
        hysteresis: width of a large loop as a part of its range [1]; 0.05 to 0.15 is usual.
        range_A: range that the loop's width is told for [A].

    Raises:
        ArgumentError: a number outside its range.

    Example:
        >>> axis = Axis(creep=0.0, hysteresis=0.1, range_A=1000.0)
        >>> state = axis.rest()
        >>> up = axis.follow(state, np.linspace(0.0, 1000.0, 101), step_s=0.1)
        >>> down = axis.follow(state, np.linspace(1000.0, 0.0, 101), step_s=0.1)
        >>> bool(down[50] > up[50])
        True
    """

    creep: float = 0.01
    hysteresis: float = 0.05
    range_A: float = 1000.0

    def __post_init__(self) -> None:
        for name, high in (("creep", 0.1), ("hysteresis", 0.15)):
            if not 0.0 <= getattr(self, name) <= high:
                raise ArgumentError(f"axis.{name}", getattr(self, name), f"0 to {high:g}")
        if not self.range_A > 0:
            raise ArgumentError("axis.range_A", self.range_A, "a number > 0 A")

    @property
    def plays_A(self) -> NDArray[np.float64]:
        """Half widths of the play operators [A]."""
        return self.range_A * np.array([0.02, 0.05, 0.1, 0.2])

    @property
    def shares(self) -> NDArray[np.float64]:
        """Weight of each play operator: together a loop over the range is `hysteresis` wide."""
        # Each operator opens its share of the loop by twice its half width.
        weights = np.ones(4)
        return weights * self.hysteresis * self.range_A / float(weights @ (2.0 * self.plays_A))

    def rest(self, place_A: float = 0.0) -> "AxisState":
        """Return an axis that has long stood at a place."""
        return AxisState(np.full(4, place_A), np.full(4, place_A))

    def follow(
        self, state: "AxisState", command_A: NDArray[np.float64], *, step_s: float
    ) -> NDArray[np.float64]:
        """Return where the axis really is after each command, shape (n,) [A]; moves `state` on.

        Args:
            state: of the axis; changed in place.
            command_A: shape (n,) [A].
            step_s: time for each command [s].
        """
        keep = np.exp(-step_s / CREEP_TIMES_S)
        return _follow(
            np.ascontiguousarray(command_A, dtype=np.float64), state.plays_A, state.lags_A,
            self.plays_A, self.shares, keep, self.creep,
        )  # fmt: skip


@dataclass(slots=True)
class AxisState:
    """Memory of an axis.

    Args:
        plays_A: of the play operators, shape (4,) [A].
        lags_A: of the relaxations, shape (4,) [A].
    """

    plays_A: NDArray[np.float64]
    lags_A: NDArray[np.float64]


@dataclass(slots=True)
class Drift:
    """Thermal drift of the sample under the tip.

    Args:
        velocity_A_per_s: along x, y and z [A/s].
        walk_A_per_sqrt_s: of the random walk along each [A/s^(1/2)].
        offset_A: so far [A]; grows.

    Example:
        >>> drift = Drift((0.01, 0.0, 0.0), 0.0)
        >>> drift.advance(np.full(3, 10.0), np.random.default_rng(0))[-1]
        array([0.3, 0. , 0. ])
    """

    velocity_A_per_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    walk_A_per_sqrt_s: float = 0.0
    offset_A: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def advance(
        self, steps_s: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the offset after each step, shape (n, 3) [A], and keep the last.

        Args:
            steps_s: length of each step, shape (n,) [s].
            rng: the source of the walk.
        """
        moves_A = steps_s[:, None] * np.array(self.velocity_A_per_s)
        if self.walk_A_per_sqrt_s > 0.0:
            moves_A += (
                self.walk_A_per_sqrt_s
                * np.sqrt(steps_s)[:, None]
                * rng.standard_normal((steps_s.size, 3))
            )
        path_A: NDArray[np.float64] = self.offset_A + np.cumsum(moves_A, axis=0)
        if path_A.size:
            self.offset_A = path_A[-1].copy()
        return path_A


def coloured_noise(
    n: int,
    *,
    rate_Hz: float,
    density: float,
    corner_Hz: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return Gaussian noise whose one-sided spectrum is density^2 (1 + corner / f), shape (n,).

    Args:
        n: samples, >= 1.
        rate_Hz: of sampling [Hz].
        density: of the white part [unit/Hz^(1/2)].
        corner_Hz: below it 1/f noise prevails [Hz].
        rng: the source of chance.

    Raises:
        ArgumentError: no samples, or a negative density or corner.
    """
    if n < 1:
        raise ArgumentError("n", n, "a number >= 1")
    if not (density >= 0 and corner_Hz >= 0):
        raise ArgumentError("density, corner_Hz", (density, corner_Hz), "numbers >= 0")
    if density == 0.0:
        return np.zeros(n)
    # Twice the length: the transform's period must not show within the samples.
    longer = 2 * n
    frequencies_Hz = np.fft.rfftfreq(longer, 1.0 / rate_Hz)
    frequencies_Hz[0] = 0.5 * frequencies_Hz[1]
    spectrum = density**2 * (1.0 + corner_Hz / frequencies_Hz)
    parts = rng.standard_normal((2, frequencies_Hz.size))
    # rfft of white noise of variance s2 has |X|^2 = N s2, with s2 = density^2 rate / 2.
    amplitude = np.sqrt(spectrum * rate_Hz / 2.0 * longer / 2.0) * (parts[0] + 1j * parts[1])
    return np.fft.irfft(amplitude, longer)[:n]


@compiled
def _follow(
    command_A: NDArray[np.float64],
    inner_A: NDArray[np.float64],
    lags_A: NDArray[np.float64],
    plays_A: NDArray[np.float64],
    shares: NDArray[np.float64],
    keep: NDArray[np.float64],
    creep: float,
) -> NDArray[np.float64]:
    """Return where the axis is after each command; inner_A and lags_A are moved on in place."""
    found = np.empty(command_A.size)
    direct = 1.0 - shares.sum()
    for i in range(command_A.size):
        went = direct * command_A[i]
        for k in range(plays_A.size):
            inner = max(inner_A[k], command_A[i] - plays_A[k])
            inner_A[k] = min(inner, command_A[i] + plays_A[k])
            went += shares[k] * inner_A[k]
        late = 0.0
        for k in range(keep.size):
            lags_A[k] = went + (lags_A[k] - went) * keep[k]
            late += went - lags_A[k]
        # Each relaxation holds back what a decade of creep adds later.
        found[i] = went - creep * late
    return found
