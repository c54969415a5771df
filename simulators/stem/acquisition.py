"""How a scanned image comes about: when and where each pixel is looked at, and what is counted there.

A pixel of the image stands for a place that the coils were asked for. The beam is elsewhere: the coils
are calibrated with an error, not quite at right angles; each line starts with a jitter of its own;
and while the scan goes on, the sample drifts, steadily and at random. Each pixel is looked at
at its own time, so drift shears and stretches the image. The detector then counts electrons.

Source: Jones & Nellist, Microsc. Microanal. 19, 1050 (2013), doi:10.1017/S1431927613001402 (line
jitter, flyback, drift); Sang & LeBeau, Ultramicroscopy 138, 28 (2014)
(drift as shear and strain, scan rotation).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["Counting", "Raster", "ScanErrors", "ScanPath", "visited_pixels"]

KNOTS_A_LINE = 4
"""Points of the random walk for each line; between them it is a straight line."""


@dataclass(frozen=True, slots=True)
class Raster:
    """What the scan generator is asked for.

    Args:
        shape: rows and columns.
        pixel_A: distance of neighbouring pixels [A].
        dwell_s: on each pixel [s].
        flyback_s: from the end of a line to the start of the next [s].
        hop_s: to settle on each pixel, where pixels are left out [s].
        start_A: x and y of the first pixel, in the rotated frame of the scan [A].
        centre_A: x and y about which the scan is rotated, where the frame's origin lies [A].
        rotation_deg: of the scan; positive turns its lines from x towards y.
        visited: pixels to be visited, the same shape, bool; None: all.

    Raises:
        ArgumentError: no pixel, a size or a time that is not positive.

    Example:
        >>> raster = Raster((2, 3), 0.5, 1e-3, flyback_s=1e-2)
        >>> raster.line_starts_s().round(6).tolist(), round(raster.duration_s, 6)
        ([0.0, 0.013], 0.026)
    """

    shape: tuple[int, int]
    pixel_A: float
    dwell_s: float
    flyback_s: float = 0.0
    hop_s: float = 0.0
    start_A: tuple[float, float] = (0.0, 0.0)
    centre_A: tuple[float, float] = (0.0, 0.0)
    rotation_deg: float = 0.0
    visited: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ArgumentError("raster.shape", self.shape, "at least one row and one column")
        for name in ("pixel_A", "dwell_s"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ArgumentError(f"raster.{name}", getattr(self, name), "a finite number > 0")
        if self.visited is not None and self.visited.shape != self.shape:
            raise ArgumentError("raster.visited", self.visited.shape, f"the shape {self.shape}")

    @classmethod
    def of_field(
        cls,
        field_A: float,
        pixels: int,
        *,
        region: tuple[int, int, int, int] | None,
        dwell_s: float,
        **others: Any,
    ) -> "Raster":
        """Return the raster of a square field, or of a region of it, about `centre_A`.

        Args:
            field_A: edge of the whole field [A].
            pixels: along the edge.
            region: first row, first column, rows and columns; None: all.
            dwell_s: on each pixel [s].
            others: further fields of the raster.

        Raises:
            ArgumentError: a region that is not inside the field.
        """
        row, column, rows, columns = region or (0, 0, pixels, pixels)
        if row + rows > pixels or column + columns > pixels:
            raise ArgumentError("region", region, f"inside the {pixels} x {pixels} pixels")
        pixel_A = field_A / pixels
        corner_A = -0.5 * (pixels - 1) * pixel_A
        start_A = (corner_A + column * pixel_A, corner_A + row * pixel_A)
        return cls((rows, columns), pixel_A, dwell_s, start_A=start_A, **others)

    def axes_A(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what the calibration says of x of the columns and y of the rows [A]."""
        rows, columns = self.shape
        x_A = self.start_A[0] + self.pixel_A * np.arange(columns, dtype=np.float64)
        y_A = self.start_A[1] + self.pixel_A * np.arange(rows, dtype=np.float64)
        return x_A, y_A

    def span_s(self, first: int, last: int) -> float:
        """Return how long the lines from `first` to `last` (not included) take [s]."""
        counts = self.counts_of_lines()[first:last]
        return float(counts.sum() * self.pixel_s + (counts > 0).sum() * self.flyback_s)

    def counts_of_lines(self) -> NDArray[np.int64]:
        """Return how many pixels of each line are visited, shape (rows,)."""
        if self.visited is None:
            return np.full(self.shape[0], self.shape[1], dtype=np.int64)
        counts: NDArray[np.int64] = self.visited.sum(axis=1).astype(np.int64)
        return counts

    @property
    def pixel_s(self) -> float:
        """From one visited pixel to the next in a line [s]."""
        return self.dwell_s + (0.0 if self.visited is None else self.hop_s)

    def line_starts_s(self) -> NDArray[np.float64]:
        """Return when each line begins, shape (rows,) [s]; a line without a pixel takes no time."""
        counts = self.counts_of_lines()
        spans_s = counts * self.pixel_s + np.where(counts > 0, self.flyback_s, 0.0)
        starts: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(spans_s)[:-1]])
        return starts

    @property
    def duration_s(self) -> float:
        """How long it takes, the last flyback included [s]."""
        return self.span_s(0, self.shape[0])

    def times_s(self, first: int, last: int) -> NDArray[np.float64]:
        """Return the middle of each pixel's dwell time, shape (last - first, columns) [s].

        A pixel that is left out has the time at which the beam passes it.
        """
        starts = self.line_starts_s()[first:last, None]
        if self.visited is None:
            order = np.broadcast_to(np.arange(self.shape[1]), (last - first, self.shape[1]))
        else:
            seen = self.visited[first:last].astype(np.int64)
            order = np.cumsum(seen, axis=1) - seen
        times: NDArray[np.float64] = starts + order * self.pixel_s + 0.5 * self.dwell_s
        return times


def visited_pixels(
    shape: tuple[int, int], fraction: float, seed: int, only: Sequence[int] | None
) -> NDArray[np.bool_] | None:
    """Return which pixels of a raster are to be visited; None for all.

    Args:
        shape: rows and columns.
        fraction: of the pixels, drawn at random [1].
        seed: of the draw.
        only: pixels by number, row * columns + column, instead of a draw.

    Raises:
        ArgumentError: a number outside the raster.

    Example:
        >>> visited_pixels((2, 2), 1.0, 0, (3,)).tolist()
        [[False, False], [False, True]]
    """
    size = shape[0] * shape[1]
    if only is None and fraction >= 1.0:
        return None
    if only is None:
        order = np.random.default_rng(seed).permutation(size)
        numbers = order[: max(1, round(fraction * size))]
    else:
        numbers = np.asarray(only, dtype=np.int64)
        if int(numbers.max(initial=0)) >= size:
            raise ArgumentError("only", int(numbers.max()), f"pixel numbers below {size}")
    chosen = np.zeros(size, dtype=bool)
    chosen[numbers] = True
    return chosen.reshape(shape)


@dataclass(frozen=True, slots=True)
class ScanErrors:
    """How the beam misses the places that it is asked for.

    Args:
        scale_x, scale_y: true over calibrated length along x and y [1].
        shear_rad: by which the slow axis leans towards x [rad].
        rotation_deg: error of the scan's rotation [deg].
        jitter_A: standard deviation of the start of a line along x; half of it along y [A].
        drift_A_per_s: of the sample, along x and y [A/s].
        walk_A_per_root_s: standard deviation of its random walk after one second, one axis.

    Example:
        >>> ScanErrors().scale_x
        1.0
    """

    scale_x: float = 1.0
    scale_y: float = 1.0
    shear_rad: float = 0.0
    rotation_deg: float = 0.0
    jitter_A: float = 0.0
    drift_A_per_s: tuple[float, float] = (0.0, 0.0)
    walk_A_per_root_s: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class ScanPath:
    """Where the beam meets the sample, pixel by pixel, in one scan.

    Args:
        raster: what was asked for.
        errors: how it is missed.
        jitter_A: of each line, along x and y, shape (rows, 2) [A].
        knots_s: times of the random walk, shape (k,) [s].
        walk_A: the walk at those times, shape (k, 2) [A].

    Example:
        >>> path = ScanPath.draw(Raster((2, 2), 1.0, 1.0), ScanErrors(drift_A_per_s=(0.1, 0.0)))
        >>> path.places_A(0, 2)[0].round(3).tolist()
        [[-0.05, 0.85], [-0.25, 0.65]]
    """

    raster: Raster
    errors: ScanErrors
    jitter_A: NDArray[np.float64]
    knots_s: NDArray[np.float64]
    walk_A: NDArray[np.float64] = field(repr=False)

    @classmethod
    def draw(
        cls, raster: Raster, errors: ScanErrors, rng: np.random.Generator | None = None
    ) -> "ScanPath":
        """Return the path of one scan; without random numbers, one without jitter and walk."""
        rows = raster.shape[0]
        knots_s = np.linspace(0.0, max(raster.duration_s, 1e-12), KNOTS_A_LINE * rows + 1)
        if rng is None:
            return cls(raster, errors, np.zeros((rows, 2)), knots_s, np.zeros((knots_s.size, 2)))
        jitter = errors.jitter_A * np.array([1.0, 0.5]) * rng.standard_normal((rows, 2))
        sd_A = errors.walk_A_per_root_s * np.sqrt(np.diff(knots_s))[:, None]
        steps = np.concatenate(
            [np.zeros((1, 2)), sd_A * rng.standard_normal((knots_s.size - 1, 2))]
        )
        return cls(raster, errors, jitter, knots_s, np.cumsum(steps, axis=0))

    def without_jitter(self) -> "ScanPath":
        """Return the same path with steady line starts."""
        return replace(self, jitter_A=np.zeros_like(self.jitter_A))

    def drift_A(self, times_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return by how much the sample has moved, x and y, at these times of the scan [A]."""
        return tuple(
            rate * times_s + np.interp(times_s, self.knots_s, self.walk_A[:, axis])
            for axis, rate in enumerate(self.errors.drift_A_per_s)
        )

    def places_A(self, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where on the sample the beam stands, x and y, shape (last - first, columns) [A].

        Args:
            first: line.
            last: line, not included.
        """
        raster = self.raster
        column = raster.start_A[0] + raster.pixel_A * np.arange(raster.shape[1])[None, :]
        row = raster.start_A[1] + raster.pixel_A * np.arange(first, last)[:, None]
        x, y = self._deflected(
            column + self.jitter_A[first:last, :1], row + self.jitter_A[first:last, 1:]
        )
        # The sample moves one way, the place that the beam meets moves the other.
        drift_x, drift_y = self.drift_A(raster.times_s(first, last))
        return x - drift_x, y - drift_y

    def _deflected(
        self, u: NDArray[np.float64], v: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the place of a beam that is asked for (u, v) in the frame of the scan."""
        errors, raster = self.errors, self.raster
        u, v = errors.scale_x * (u + math.tan(errors.shear_rad) * v), errors.scale_y * v
        angle = math.radians(raster.rotation_deg + errors.rotation_deg)
        x = raster.centre_A[0] + u * math.cos(angle) - v * math.sin(angle)
        y = raster.centre_A[1] + u * math.sin(angle) + v * math.cos(angle)
        return x, y

    def pixels_of(self, x_A: NDArray[np.float64], y_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the row and column at which places of the sample appear, jitter aside, shape (n, 2).

        Args:
            x_A: shape (n,) [A].
            y_A: shape (n,) [A].
        """
        raster, errors = self.raster, self.errors
        rows, columns = raster.shape
        angle = math.radians(raster.rotation_deg + errors.rotation_deg)
        place_x, place_y = x_A - raster.centre_A[0], y_A - raster.centre_A[1]
        found = np.zeros((x_A.size, 2))
        starts_s = raster.line_starts_s()
        drift_x = drift_y = np.zeros(x_A.size)
        for _ in range(8):  # a frame drifts by little of itself, so this converges fast
            x, y = place_x + drift_x, place_y + drift_y
            v = (y * math.cos(angle) - x * math.sin(angle)) / errors.scale_y
            u = (x * math.cos(angle) + y * math.sin(angle)) / errors.scale_x
            u = u - math.tan(errors.shear_rad) * v
            found = np.column_stack([v - raster.start_A[1], u - raster.start_A[0]]) / raster.pixel_A
            # The time passes smoothly along a line and jumps from line to line: take the line's.
            line = np.clip(np.rint(found[:, 0]), 0, rows - 1).astype(np.int64)
            along = np.clip(found[:, 1], 0, columns - 1) * raster.pixel_s
            drift_x, drift_y = self.drift_A(starts_s[line] + along + 0.5 * raster.dwell_s)
        return found


@dataclass(frozen=True, slots=True)
class Counting:
    """A scintillator with a photomultiplier and its electronics.

    Args:
        gain_counts: mean counts of one electron.
        gain_spread: standard deviation of one electron's counts over their mean [1].
        dark_counts_per_us: level without beam [counts/us].
        readout_counts: standard deviation of the electronics after 1 us [counts].
        full_scale_counts_per_us: beyond which it is saturated [counts/us].
        efficiency: part of the electrons that is detected [1].

    Source: pulse heights of single electrons: Sang & LeBeau, Ultramicroscopy 161, 3 (2016).
    Readout noise and a flat gain are the usual simplification.

    Example:
        >>> quiet = Counting(gain_spread=0.0, readout_counts=0.0)
        >>> counts = quiet.counts(np.zeros(2), 100.0, 10.0, np.random.default_rng(0))
        >>> counts.tolist(), quiet.saturation_counts(10.0)
        ([50.0, 50.0], 163840.0)
    """

    gain_counts: float = 10.0
    gain_spread: float = 0.3
    dark_counts_per_us: float = 5.0
    readout_counts: float = 3.0
    full_scale_counts_per_us: float = 16384.0
    efficiency: float = 0.9

    def dark_counts(self, dwell_us: float) -> float:
        """Return the mean counts of a pixel without beam."""
        return self.dark_counts_per_us * dwell_us

    def dark_sd_counts(self, dwell_us: float) -> float:
        """Return their standard deviation, rounding to whole counts included."""
        return math.sqrt(self.readout_counts**2 * dwell_us + 1.0 / 12.0)

    def saturation_counts(self, dwell_us: float) -> float:
        """Return the most that a pixel can show."""
        return float(int(self.full_scale_counts_per_us * dwell_us))

    def counts(
        self,
        intensity: NDArray[np.float64],
        electrons_per_pixel: float,
        dwell_us: float,
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Return what is counted, whole numbers, same shape.

        Mean: gain efficiency electrons intensity + dark level; variance: gain^2 (1 + spread^2)
        efficiency electrons intensity + that of the electronics.

        Args:
            intensity: part of the beam that reaches the detector at each pixel [1].
            electrons_per_pixel: that the beam sends.
            dwell_us: on each pixel [us].
            rng: random numbers.
        """
        expected = self.efficiency * electrons_per_pixel * np.clip(intensity, 0.0, 1.0)
        arrived = rng.poisson(expected).astype(np.float64)
        heights = arrived + self.gain_spread * np.sqrt(arrived) * rng.standard_normal(arrived.shape)
        noise = self.readout_counts * math.sqrt(dwell_us) * rng.standard_normal(arrived.shape)
        raw = self.gain_counts * heights + self.dark_counts(dwell_us) + noise
        seen = np.clip(np.rint(raw), 0.0, self.saturation_counts(dwell_us))
        counts: NDArray[np.float32] = seen.astype(np.float32)
        return counts
