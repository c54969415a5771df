"""A scan in time: the tip goes line by line, the loop keeps the current, the machine misses a little.

A `Scanner` holds what has memory: the loop, the axes, the drift, the clock. Each call runs a piece
of scan and returns what the electronics recorded, so a caller can stream lines and stop between
two of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.feedback import FeedbackLoop
from twinloop.simulators.stm.motion import Axis, Drift, coloured_noise
from twinloop.simulators.stm.scan_kernel import AMPLITUDE, HEIGHT, INTEGRAL, run_line
from twinloop.simulators.stm.surface import CurrentField, Sheet
from twinloop.simulators.stm.tip import Tip

__all__ = ["CurrentNoise", "Line", "ScanWindow", "Scanner", "Spectrum", "Sweep"]

ELECTRON_NA_S = 1.602176634e-10
"""Elementary charge [nA s] (CODATA 2018)."""


@dataclass(frozen=True, slots=True)
class ScanWindow:
    """Where to scan and how fast.

    Args:
        x_A: middle of the window [A].
        y_A: middle of the window [A].
        width_A: along the fast axis [A].
        height_A: along the slow axis [A].
        pixels: of a line.
        lines: of the image.
        line_s: time for a line in one direction [s].
        angle_deg: of the fast axis from x, anticlockwise [deg].

    Raises:
        ArgumentError: a size, a count or a time that is not positive.

    Example:
        >>> ScanWindow(0.0, 0.0, 100.0, 50.0, pixels=64, lines=32).places_A(0)[0]
        array([-50., -25.])
    """

    x_A: float
    y_A: float
    width_A: float
    height_A: float
    pixels: int = 128
    lines: int = 128
    line_s: float = 0.25
    angle_deg: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width_A", "height_A", "line_s"):
            if not 0.0 < getattr(self, name) < 1.0e7:
                raise ArgumentError(f"window.{name}", getattr(self, name), "a number > 0")
        for name in ("pixels", "lines"):
            if not 1 <= getattr(self, name) <= 8192:
                raise ArgumentError(f"window.{name}", getattr(self, name), "1 to 8192")

    def places_A(self, line: int) -> NDArray[np.float64]:
        """Return the borders of a line's pixels in the order of the trace, (pixels + 1, 2) [A]."""
        along = self.width_A * (np.arange(self.pixels + 1) / self.pixels - 0.5)
        across = self.height_A * (line / max(self.lines - 1, 1) - 0.5)
        turn = np.radians(self.angle_deg)
        x_A = self.x_A + along * np.cos(turn) - across * np.sin(turn)
        y_A = self.y_A + along * np.sin(turn) + across * np.cos(turn)
        return np.stack([x_A, y_A], axis=1)

    def mesh_A(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x and y of all pixel centres, each of shape (lines, pixels) [A]."""
        borders = np.array([self.places_A(line) for line in range(self.lines)])
        centres = 0.5 * (borders[:, 1:] + borders[:, :-1])
        return centres[..., 0], centres[..., 1]


@dataclass(frozen=True, slots=True)
class CurrentNoise:
    """Noise of the amplifier and of the height.

    Args:
        current_nA_per_sqrt_Hz: white noise of the amplifier [nA/Hz^(1/2)]; shot noise is added.
        current_corner_Hz: below it 1/f noise prevails [Hz].
        height_A_per_sqrt_Hz: of the gap: vibration and a restless apex [A/Hz^(1/2)].
        height_corner_Hz: below it 1/f noise prevails [Hz].

    Example:
        >>> CurrentNoise().with_dirt(0.5).height_A_per_sqrt_Hz > CurrentNoise().height_A_per_sqrt_Hz
        True
    """

    current_nA_per_sqrt_Hz: float = 5.0e-6
    current_corner_Hz: float = 30.0
    height_A_per_sqrt_Hz: float = 2.0e-4
    height_corner_Hz: float = 10.0

    def with_dirt(self, contamination: float) -> "CurrentNoise":
        """Return the noise with a dirty tip: up to ten times the restlessness (a stand-in)."""
        height = self.height_A_per_sqrt_Hz * (1.0 + 9.0 * contamination)
        return replace(self, height_A_per_sqrt_Hz=height)

    def draw(
        self, n: int, *, rate_Hz: float, current_nA: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return current [nA] and height [A] noise of `n` samples, shape (n, 2)."""
        white = np.hypot(
            self.current_nA_per_sqrt_Hz, np.sqrt(2.0 * ELECTRON_NA_S * abs(current_nA))
        )
        return np.stack(
            [
                coloured_noise(
                    n, rate_Hz=rate_Hz, density=float(white), corner_Hz=self.current_corner_Hz,
                    rng=rng,
                ),
                coloured_noise(
                    n, rate_Hz=rate_Hz, density=self.height_A_per_sqrt_Hz,
                    corner_Hz=self.height_corner_Hz, rng=rng,
                ),
            ],
            axis=1,
        )  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class Sweep:
    """One direction of a line, as recorded, in the order of x (a retrace is turned around).

    Args:
        height_A: of the tip, mean over each pixel, shape (pixels,) [A].
        current_nA: mean of the measured current, with its sign, shape (pixels,) [nA].
        error: mean of ln(I / set point), shape (pixels,) [1].
    """

    height_A: NDArray[np.float64]
    current_nA: NDArray[np.float64]
    error: NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Line:
    """A line of a scan, there and back.

    Args:
        index: of the line in its window.
        trace: on the way there.
        retrace: on the way back.
        start_s: on the scanner's clock [s].
        duration_s: of both ways [s].
        lowest_A: least distance over the top atoms on the way (the truth, for crashes) [A].
        climbed_A: sum of |dz| that the tip followed [A].
    """

    index: int
    trace: Sweep
    retrace: Sweep
    start_s: float
    duration_s: float
    lowest_A: float
    climbed_A: float


@dataclass(frozen=True, eq=False, slots=True)
class Spectrum:
    """A spectrum at one place.

    Args:
        bias_V: shape (v,) [V].
        current_nA: shape (v,) [nA].
        conductance_nA_per_V: dI/dV of the lock-in, shape (v,) [nA/V].
    """

    bias_V: NDArray[np.float64]
    current_nA: NDArray[np.float64]
    conductance_nA_per_V: NDArray[np.float64]


class Scanner:
    """A tip over a surface, moved by piezos and held by a loop.

    Args:
        field: the current between the tip and the surface (replace it when either changes).
        loop: settings of the feedback.
        rng: the source of all noise.
        axes: of the fast and slow direction; None: ideal ones.
        drift: of the sample; None: none.
        noise: None: no noise at all.
        tilt: slope of the sample along x and y [A/A].

    Example:
        >>> from twinloop.simulators.stm.surface import Film
        >>> field = Film(np.zeros((8, 8))).field(bias_V=1.0)
        >>> scanner = Scanner(field, FeedbackLoop(), np.random.default_rng(1))
        >>> window = ScanWindow(16.0, 16.0, 20.0, 20.0, pixels=16, lines=2, line_s=0.02)
        >>> lines = list(scanner.frame(window))
        >>> [line.trace.height_A.shape for line in lines]
        [(16,), (16,)]
    """

    def __init__(
        self,
        field: CurrentField,
        loop: FeedbackLoop,
        rng: np.random.Generator,
        *,
        axes: tuple[Axis, Axis] | None = None,
        drift: Drift | None = None,
        noise: CurrentNoise | None = None,
        tilt: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.field, self.loop, self.noise, self.tilt = field, loop, noise, tilt
        self.drift = Drift() if drift is None else drift
        self.axes = (Axis(0.0, 0.0), Axis(0.0, 0.0)) if axes is None else axes
        self.clock_s = 0.0
        self._rng = rng
        self._axis_states = tuple(axis.rest() for axis in self.axes)
        self._at_A = np.zeros(2)
        self._state = np.zeros(5)
        self._ring = np.zeros(loop.dead_steps + 1)
        self._true_A = np.zeros(3)

    @property
    def place_A(self) -> NDArray[np.float64]:
        """Where the tip truly is over the sample: x, y, z; shape (3,) [A]."""
        return self._true_A.copy()

    def approach(self, x_A: float, y_A: float, *, settle_s: float = 0.05) -> None:
        """Put the resting tip at a place, at the set point's height, and let the loop settle.

        Args:
            x_A: of the command [A].
            y_A: of the command [A].
            settle_s: time for the loop [s].
        """
        self._axis_states = (self.axes[0].rest(x_A), self.axes[1].rest(y_A))
        self._at_A = np.array([x_A, y_A])
        # an axis need not be where its command says, even at rest
        rests_A = [
            axis.follow(state, np.full(1, at_A), step_s=1.0 / self.loop.rate_Hz)[0]
            for axis, state, at_A in zip(self.axes, self._axis_states, self._at_A, strict=True)
        ]
        over_A = np.array(rests_A) - self.drift.offset_A[:2]
        height_A = self.field.topograph_A(
            over_A[:1], over_A[1:], setpoint_nA=self.loop.setpoint_nA
        )[0] - (self._lift_A(over_A) - self.drift.offset_A[2])
        self._state[:] = 0.0
        self._state[[INTEGRAL, HEIGHT]] = height_A
        self._state[AMPLITUDE] = self.loop.setpoint_nA
        self._ring = np.full(self.loop.dead_steps + 1, height_A)
        if settle_s > 0.0:
            self._go(np.tile(self._at_A, (2, 1)), settle_s)

    def move_to(self, x_A: float, y_A: float, *, speed_A_per_s: float = 500.0) -> None:
        """Carry the tip to a place with the loop as it is.

        Args:
            x_A: of the command [A].
            y_A: of the command [A].
            speed_A_per_s: [A/s], > 0.

        Raises:
            ArgumentError: a speed that is not positive.
        """
        if not speed_A_per_s > 0:
            raise ArgumentError("speed_A_per_s", speed_A_per_s, "a number > 0 A/s")
        goal_A = np.array([x_A, y_A])
        far_A = float(np.linalg.norm(goal_A - self._at_A))
        if far_A > 0.0:
            pieces = max(2, int(far_A / 2.0))
            parts = np.linspace(0.0, 1.0, pieces + 1)[:, None]
            self._go(self._at_A + parts * (goal_A - self._at_A), far_A / speed_A_per_s)

    def set_loop(self, loop: FeedbackLoop) -> None:
        """Change the loop's settings; the tip stays where it is."""
        reached_A = self._ring[int(self._state[4])]
        self._ring = np.full(loop.dead_steps + 1, reached_A)
        self._state[4] = 0.0
        if not loop.is_closed and self.loop.is_closed:
            self._state[INTEGRAL] = reached_A
        self.loop = loop

    def shift_height(self, by_A: float) -> None:
        """Move the held height of an open loop (constant-height mode), up for > 0 [A].

        Raises:
            ArgumentError: the loop is closed: it would move the tip back.
        """
        if self.loop.is_closed:
            raise ArgumentError("loop.is_closed", True, "an open loop (set_loop) for a shift")
        self._state[INTEGRAL] += by_A

    def nudge(self, by_A: float) -> None:
        """Knock the piezo out of its place, to see how the loop rings [A]."""
        self._state[HEIGHT] += by_A

    def watch(self, steps: int) -> NDArray[np.float64]:
        """Stay where the tip is; return the height that the loop commands at each step [A].

        Args:
            steps: of the controller, >= 1.

        Raises:
            ArgumentError: no step.
        """
        if steps < 1:
            raise ArgumentError("steps", steps, "a number >= 1")
        return self._go(np.tile(self._at_A, (steps + 1, 1)), steps / self.loop.rate_Hz)[:, 0]

    def line(self, window: ScanWindow, index: int) -> Line:
        """Scan one line there and back, after moving to its start.

        Args:
            window: where.
            index: which line, 0 to lines - 1.

        Raises:
            ArgumentError: a line outside the window.
        """
        if not 0 <= index < window.lines:
            raise ArgumentError("index", index, f"0 to {window.lines - 1}")
        places_A = window.places_A(index)
        speed_A_per_s = window.width_A / window.line_s
        self.move_to(float(places_A[0, 0]), float(places_A[0, 1]), speed_A_per_s=speed_A_per_s)
        start_s = self.clock_s
        there = self._go(places_A, window.line_s)
        back = self._go(places_A[::-1], window.line_s)
        climbed_A = sum(float(np.abs(np.diff(way[:, 0])).sum()) for way in (there, back))
        lowest_A = float(min(there[:, 3].min(), back[:, 3].min()))
        return Line(
            index, self._sweep(there), self._sweep(back[::-1]), start_s,
            self.clock_s - start_s, lowest_A, climbed_A,
        )  # fmt: skip

    def frame(self, window: ScanWindow) -> Iterator[Line]:
        """Yield the lines of a window; stop iterating to abort the scan."""
        if not self._state.any():
            first_A = window.places_A(0)[0]
            self.approach(float(first_A[0]), float(first_A[1]))
        for index in range(window.lines):
            yield self.line(window, index)

    def spectrum(
        self,
        sheet: Sheet,
        biases_V: NDArray[np.float64],
        *,
        tip: Tip,
        dwell_s: float = 0.02,
    ) -> Spectrum:
        """Open the loop, sweep the bias at this place, and return to the loop.

        Args:
            sheet: under the tip.
            biases_V: shape (v,) [V].
            tip: the same as the field's.
            dwell_s: for each bias [s].

        Raises:
            ArgumentError: a dwell that is not positive, or biases outside the sheet's window.
        """
        if not dwell_s > 0:
            raise ArgumentError("dwell_s", dwell_s, "a number > 0 s")
        place_A = self.place_A
        current = sheet.currents_nA(place_A, biases_V, tip=tip)[0]
        conductance = sheet.conductances_nA_per_V(place_A, biases_V, tip=tip)[0]
        offsets_A = self.drift.advance(np.full(biases_V.size, dwell_s), self._rng)
        # The gap drifts while the loop is open.
        change = np.exp(
            2.0 * self.field.decay_per_A * (offsets_A[:, 2] - offsets_A[0, 2])
            if biases_V.size
            else np.zeros(0)
        )
        current, conductance = current * change, conductance * change
        if self.noise is not None:
            shot = 2.0 * ELECTRON_NA_S * np.abs(current)
            spread_nA = np.sqrt((self.noise.current_nA_per_sqrt_Hz**2 + shot) / (2.0 * dwell_s))
            current = current + spread_nA * self._rng.standard_normal(biases_V.size)
            swing_V = max(sheet.broadening.modulation_V, 1e-4)
            conductance = conductance + spread_nA / swing_V * self._rng.standard_normal(
                biases_V.size
            )
        self.clock_s += dwell_s * biases_V.size
        return Spectrum(biases_V, current, conductance)

    def _go(self, command_A: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
        """Run the loop along borders of pixels (n + 1, 2); return the kernel's record (n, 4)."""
        n = command_A.shape[0] - 1
        steps = max(1, round(self.loop.rate_Hz * time_s / n))
        step_s = steps / self.loop.rate_Hz
        x_A, y_A = (
            axis.follow(state, np.ascontiguousarray(command_A[:, i]), step_s=step_s)
            for i, (axis, state) in enumerate(zip(self.axes, self._axis_states, strict=True))
        )
        start_A = self.drift.offset_A.copy()
        offsets_A = np.vstack([start_A, self.drift.advance(np.full(n, step_s), self._rng)])
        path_A = np.empty((n + 1, 3))
        path_A[:, 0] = x_A - offsets_A[:, 0]
        path_A[:, 1] = y_A - offsets_A[:, 1]
        path_A[:, 2] = self._lift_A(path_A[:, :2].T) - offsets_A[:, 2]
        noise = np.zeros((n * steps, 2))
        if self.noise is not None:
            noise = self.noise.draw(
                n * steps, rate_Hz=self.loop.rate_Hz, current_nA=self.loop.setpoint_nA,
                rng=self._rng,
            )  # fmt: skip
        numbers = self.loop.numbers()
        found = run_line(
            path_A, noise, self._state, self._ring, numbers,
            self.loop.piezo_step(float(numbers[10])), int(self.field.is_film), self.field.table,
            self.field.tops_A, self.field.numbers, self.field.apexes,
        )  # fmt: skip
        self._at_A = command_A[-1].copy()
        self._true_A = path_A[-1] + np.array([0.0, 0.0, self._state[HEIGHT]])
        self.clock_s += n * step_s
        return found

    def _lift_A(self, over_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what tilt takes off the gap at places (2, ...), shape (...) [A]."""
        lifted: NDArray[np.float64] = -(self.tilt[0] * over_A[0] + self.tilt[1] * over_A[1])
        return lifted

    def _sweep(self, found: NDArray[np.float64]) -> Sweep:
        return Sweep(found[:, 0].copy(), self.field.sign * found[:, 1], found[:, 2].copy())
