"""Make a topograph level: tilt, bow and line offsets off, the terraces' steps left as they are.

A terraced surface levels itself: exp(2 pi i z / step) has the same phase on every terrace, so tilt is
the peak of its Fourier transform, and the offset of a line is the phase of its sum. No terrace has to be
chosen, and the error does not add up from line to line. An atomic lattice has no terraces; there a
plane and the median of each line are taken off.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["Levelled", "as_image", "flatten_lines", "level_terraces", "lines_apart_px"]

PADDING = 4
"""Zero padding of the transform whose peak is the tilt."""

ROWS_TOGETHER, COLUMNS_TOGETHER = 4.0, 2.0
"""Lines that are looked at together for slow offsets, and columns for the bow (standard deviation)."""

F8 = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Levelled:
    """A levelled topograph in units of the step.

    Args:
        u: height over step height, whole numbers on terraces, shape (lines, pixels) [1].
        concentration: |<exp(2 pi i u)>|, 1 for ideal terraces, near 0 for none [1].
        step_A: that height was divided by [A].
    """

    u: F8
    concentration: float
    step_A: float


def as_image(name: str, z: object, at_least: int = 8) -> F8:
    """Return an image as float64.

    Raises:
        ArgumentError: not two axes, too few pixels, or numbers that are not finite.
    """
    image: F8 = np.asarray(z, dtype=np.float64)
    if image.ndim != 2 or min(image.shape) < at_least:
        raise ArgumentError(name, image.shape, f"two axes of {at_least} pixels or more")
    if not bool(np.isfinite(image).all()):
        raise ArgumentError(name, "not finite", "finite numbers")
    return image


def flatten_lines(z: F8) -> F8:
    """Return a topograph without its mean slopes along and across lines, and without line offsets."""
    columns = np.arange(z.shape[1])
    flat = z - np.median(np.diff(z, axis=1)) * columns
    flat = flat - np.median(flat, axis=1)[:, None]
    slope, offset = np.polyfit(columns, flat.mean(axis=0), 1)
    level: F8 = flat - slope * columns - offset
    return level


def level_terraces(z: F8, step_A: float) -> Levelled:
    """Return a topograph of terraces, levelled.

    Args:
        z: shape (lines, pixels) [A].
        step_A: height of a step, as the microscope sees it [A].
    """
    rows, columns = np.arange(z.shape[0])[:, None], np.arange(z.shape[1])
    raw = z - np.median(np.diff(z, axis=1)) * columns
    jumps = np.median(np.diff(raw, axis=0), axis=1)
    raw = raw - np.concatenate([[0.0], np.cumsum(jumps)])[:, None]
    u = (raw - np.median(raw)) / step_A
    down, along = _tilt(np.exp(2j * np.pi * u))
    u = u - down * rows - along * columns
    for _ in range(2):
        column = _together(np.exp(2j * np.pi * u).sum(axis=0), COLUMNS_TOGETHER)
        bow = np.polyfit(columns, np.unwrap(np.angle(column)), 2, w=np.abs(column))
        u = u - np.polyval(bow, columns) / (2.0 * np.pi)
        row = _together(np.exp(2j * np.pi * u).sum(axis=1), ROWS_TOGETHER)
        u = u - np.unwrap(np.angle(row))[:, None] / (2.0 * np.pi)
    u = u - _own_offsets(u)[:, None]
    waves = np.exp(2j * np.pi * u)
    return Levelled(u, float(np.abs(waves.mean())), step_A)


def lines_apart_px(first: F8, second: F8, reach_px: int) -> tuple[float, float]:
    """Return by how many pixels the second is shifted to larger indices, and how sure that is.

    Args:
        first: shape (n,) or (lines, n).
        second: the same shape.
        reach_px: largest shift that is looked at.

    Returns:
        Shift [px], and the correlation there, 0 to 1.
    """
    one = np.atleast_2d(first) - np.mean(first, axis=-1, keepdims=True)
    two = np.atleast_2d(second) - np.mean(second, axis=-1, keepdims=True)
    shifts = np.arange(-reach_px, reach_px + 1)
    found = np.array([_likeness(one, two, int(shift)) for shift in shifts])
    best = int(np.argmax(found))
    if not 0 < best < shifts.size - 1:
        return float(shifts[best]), float(found[best])
    low, top, high = found[best - 1 : best + 2]
    bend = low - 2.0 * top + high
    part = 0.5 * (low - high) / bend if bend < 0 else 0.0
    return float(shifts[best] + part), float(top)


def _likeness(one: F8, two: F8, shift: int) -> float:
    """Return the correlation of what overlaps when `two` is shifted back."""
    n = one.shape[1]
    a = one[:, max(0, -shift) : n - max(0, shift)]
    b = two[:, max(0, shift) : n - max(0, -shift)]
    scale = np.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def _tilt(waves: NDArray[np.complex128]) -> tuple[float, float]:
    """Return the frequency of the highest peak along lines and rows [1/px]."""
    shape = (PADDING * waves.shape[0], PADDING * waves.shape[1])
    height = np.abs(np.fft.fft2(waves, shape))
    row, column = np.unravel_index(int(np.argmax(height)), height.shape)
    return float(np.fft.fftfreq(shape[0])[row]), float(np.fft.fftfreq(shape[1])[column])


def _together(sums: NDArray[np.complex128], width: float) -> NDArray[np.complex128]:
    from scipy.ndimage import gaussian_filter1d

    real = gaussian_filter1d(sums.real, width, mode="nearest")
    imaginary = gaussian_filter1d(sums.imag, width, mode="nearest")
    smooth: NDArray[np.complex128] = real + 1j * imaginary
    return smooth


def _own_offsets(u: F8) -> F8:
    """Return what each line still deviates by, where its terraces tell it clearly."""
    sums = np.exp(2j * np.pi * u).mean(axis=1)
    turn = np.angle(sums)
    trust = np.clip((np.abs(sums) - 0.15) / 0.3, 0.0, 1.0) * np.exp(-0.5 * (turn / 0.8) ** 2)
    offsets: F8 = trust * turn / (2.0 * np.pi)
    return offsets
