"""What the electronics of the twin of a tunnelling microscope keep of scans and spectra."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.instruments.standin.tunnelling import FULL_SCALE_NA
from twinloop.results import Array
from twinloop.simulators.stm import ScanWindow

__all__ = ["Frame", "FrameRecord", "Ramp", "SpectraRecord", "ohmic_spectrum"]

F8 = NDArray[np.float64]

SAMPLE_S = 2.5e-4
"""Time of one sample of the electronics; pixels are means of them [s]."""

SAMPLES_PER_LINE = 8000

PARTS = 20
"""In how many steps a spectrum that is cut tells how far it came."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The arguments of a scan."""

    width_A: float
    height_A: float
    pixels_x: int
    pixels_y: int
    centre_x_A: float
    centre_y_A: float
    angle_deg: float
    line_time_s: float
    bias_V: float
    mode: str
    slow_axis: str

    @property
    def samples(self) -> int:
        """Samples of the electronics in a pixel."""
        most = max(1, SAMPLES_PER_LINE // self.pixels_x)
        return min(max(1, round(0.5 * self.line_time_s / self.pixels_x / SAMPLE_S)), most)

    @property
    def is_constant_height(self) -> bool:
        """Whether the loop is open."""
        return self.mode == "constant_height"

    @property
    def window(self) -> ScanWindow:
        """The same as the physics takes it, one pixel for each sample."""
        return ScanWindow(
            self.centre_x_A,
            self.centre_y_A,
            self.width_A,
            self.height_A,
            pixels=self.pixels_x * self.samples,
            lines=self.pixels_y,
            line_s=0.5 * self.line_time_s,
            angle_deg=self.angle_deg,
        )

    def index(self, n: int) -> int:
        """Return which line of the window is scanned as number n."""
        return n if self.slow_axis == "up" else self.pixels_y - 1 - n


class FrameRecord:
    """What the electronics keep of a scan: four images of float32, whatever the rate."""

    def __init__(self, frame: Frame, setpoint_nA: float, start_s: float) -> None:
        shape = (frame.pixels_y, frame.pixels_x)
        self.frame, self.setpoint_nA, self.start_s = frame, setpoint_nA, start_s
        self.images = {
            name: np.zeros(shape, np.float32)
            for name in (
                "z_forward_A", "z_backward_A", "current_forward_nA", "current_backward_nA"
            )
        }  # fmt: skip
        self.true_x_A, self.true_y_A = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.saturations, self.fast2, self.samples = 0, 0.0, 0
        self.check_line, self.check_start_s = frame.pixels_y // 2, 0.0
        self.check_z_A = np.zeros(0, np.float32)
        self.x_A = frame.width_A * ((np.arange(shape[1]) + 0.5) / shape[1] - 0.5)
        across = np.arange(shape[0]) / max(shape[0] - 1, 1) - 0.5
        self.y_A = frame.height_A * (across if frame.slow_axis == "up" else across[::-1])

    def put(self, n: int, line: Any, micro: Any, scale: float) -> None:
        """Take up one line."""
        for way, name in ((line.trace, "forward"), (line.retrace, "backward")):
            self.images[f"z_{name}_A"][n] = scale * self._pixels(way.height_A)
            self.images[f"current_{name}_nA"][n] = self._pixels(way.current_nA)
            limit_nA = 0.98 * micro.loop.full_scale_nA
            self.saturations += int(np.count_nonzero(np.abs(way.current_nA) >= limit_nA))
            fast = way.error[1:-1] - 0.5 * (way.error[2:] + way.error[:-2])
            if micro.loop.is_closed:
                self.fast2 += float(fast @ fast)
                self.samples += fast.size
        for axis, true in zip(micro.axes, (self.true_x_A, self.true_y_A), strict=True):
            drifted = micro.drift.offset_A[0 if true is self.true_x_A else 1]
            went = axis.trail[-2]
            true[n] = self._pixels(0.5 * (went[1:] + went[:-1])) - drifted

    def check(self, line: Any, scale: float, start_s: float) -> None:
        """Take up the check line."""
        self.check_z_A = (scale * self._pixels(line.trace.height_A)).astype(np.float32)
        self.check_start_s = start_s

    def so_far(
        self, lines: int, *, is_complete: bool = False
    ) -> tuple[dict[str, float], dict[str, Array]]:
        """Return numbers and arrays of the lines that are there."""
        frame = self.frame
        numbers = {
            "lines": float(lines),
            "line_time_s": frame.line_time_s,
            "centre_x_A": frame.centre_x_A,
            "centre_y_A": frame.centre_y_A,
            "angle_deg": frame.angle_deg,
            "is_constant_height": float(frame.is_constant_height),
            "bias_V": frame.bias_V,
            "setpoint_nA": self.setpoint_nA,
            "saturations": round(self.saturations / frame.samples, 1) // 1,
            "ringing": math.sqrt(self.fast2 / self.samples) if self.samples else 0.0,
            "check_line": float(self.check_line),
            "check_start_s": self.check_start_s,
            "is_complete": float(is_complete),
        }
        arrays: dict[str, Array] = {name: image[:lines] for name, image in self.images.items()}
        arrays["x_A"], arrays["y_A"] = self.x_A, self.y_A[:lines]
        arrays["line_start_s"] = self.start_s + frame.line_time_s * np.arange(lines)
        arrays["check_z_A"] = self.check_z_A
        return numbers, arrays

    def last(self, n: int) -> tuple[dict[str, float], dict[str, Array]]:
        """Return what goes on the stream."""
        numbers = {"line": float(n), "y_A": float(self.y_A[n])}
        return numbers, {"z_forward_A": self.images["z_forward_A"][n]}

    def _pixels(self, samples: F8) -> F8:
        means: F8 = samples.reshape(self.frame.pixels_x, -1).mean(axis=1)
        return means


@dataclass(frozen=True, slots=True)
class Ramp:
    """The arguments of a spectrum."""

    start_V: float
    stop_V: float
    points: int
    modulation_V: float
    lockin_Hz: float
    point_time_s: float

    @property
    def biases_V(self) -> F8:
        """In the order of the ramp."""
        return np.linspace(self.start_V, self.stop_V, self.points)

    @property
    def duration_s(self) -> float:
        """Of one spectrum, with the time to open and close the loop [s]."""
        return self.points * self.point_time_s + 0.2

    @property
    def parts(self) -> list[tuple[int, float]]:
        """A spectrum in parts: how many points are there before each, and how long it lasts [s]."""
        edges = np.unique(np.linspace(0, self.points, PARTS + 1).astype(np.int64)).tolist()
        lengths_s = [(last - first) * self.point_time_s for first, last in pairwise(edges)]
        lengths_s[0] += self.duration_s - self.points * self.point_time_s
        return list(zip(edges[:-1], lengths_s, strict=True))


class SpectraRecord:
    """What is kept of a grid of spectra."""

    def __init__(self, places: F8, ramp: Ramp, setpoint_nA: float, bias_V: float) -> None:
        shape = (*places.shape[:2], ramp.points)
        self.current_nA, self.dIdV_nS = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.z_A = np.zeros(shape[:2], np.float32)
        self.places, self.ramp = places, ramp
        self.setpoint_nA, self.bias_V = setpoint_nA, bias_V
        self.drift_A = 0.0

    def put(self, row: int, column: int, seen: tuple[F8, F8], z_A: float, drift_A: float) -> None:
        """Take up one spectrum."""
        limit_nA = FULL_SCALE_NA
        self.current_nA[row, column] = np.clip(seen[0], -limit_nA, limit_nA)
        self.dIdV_nS[row, column] = seen[1]
        self.z_A[row, column], self.drift_A = z_A, drift_A

    def so_far(self, spectra: int, points: int) -> tuple[dict[str, float], dict[str, Array]]:
        """Return numbers and arrays of what is there.

        Args:
            spectra: how many are there whole, row by row; arrays hold whole rows.
            points: of the next one. A spectrum that stands alone is there as far as its points are.
        """
        rows, cut = spectra // self.places.shape[1], self.ramp.points
        if self.places.size == 2 and spectra == 0:
            rows, cut = 1, points
        current_nA = self.current_nA[:rows, :, :cut]
        numbers = {
            "setpoint_nA": self.setpoint_nA,
            "bias_set_V": self.bias_V,
            "modulation_V": self.ramp.modulation_V,
            "drift_A": self.drift_A,
            "saturations": float(np.count_nonzero(np.abs(current_nA) >= np.float32(FULL_SCALE_NA))),
            "spectra": float(spectra),
            "points": float(points),
            "is_complete": float(spectra == self.z_A.size),
        }
        middle = self.places.mean(axis=(0, 1)) if self.places.size > 2 else np.zeros(2)
        return numbers, {
            "bias_V": self.ramp.biases_V[:cut],
            "current_nA": current_nA,
            "dIdV_nS": self.dIdV_nS[:rows, :, :cut],
            "z_A": self.z_A[:rows],
            "x_A": self.places[0, :, 0] - middle[0],
            "y_A": self.places[:rows, 0, 1] - middle[1],
        }


def ohmic_spectrum(
    micro: Any, ramp: Ramp, setpoint_nA: float, bias_V: float, rng: np.random.Generator
) -> tuple[F8, F8]:
    """Return current and conductance over a film, which has no electronic structure here."""
    conductance_nS = setpoint_nA / abs(bias_V)
    micro.clock_s += ramp.duration_s
    noise_nA = float(micro.noise.current_nA_per_sqrt_Hz) / math.sqrt(2.0 * ramp.point_time_s)
    current_nA = conductance_nS * ramp.biases_V + noise_nA * rng.standard_normal(ramp.points)
    spread = noise_nA / ramp.modulation_V
    return current_nA, conductance_nS + spread * rng.standard_normal(ramp.points)
