"""Terraces of a film: which layer each pixel shows, and what a tip of finite sharpness hides.

A tip sees the outline of the surface at its own distance: islands are a column or so too wide on either
side, pits of one column nearly vanish. The image is opened by as much as a ball of the effective radius
would have closed it (erosion) and then rounded to layers. What is lost all the same grows with the
length of steps that the image shows; how much, and how surely, was measured on films of the growth code
imaged by the current of `simulators.stm`, and stands here as constants.

Source: Villarrubia, J. Res. Natl. Inst. Stand. Technol. 102, 425 (1997), doi:10.6028/jres.102.030
(dilation of images by tips, reconstruction by erosion).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.analysts.stm_islands import count_islands, step_length
from twinloop.analysts.stm_levelling import Levelled, as_image, level_terraces, lines_apart_px
from twinloop.errors import ArgumentError

__all__ = [
    "Terraces",
    "averaged",
    "density_spread",
    "frame_pitch_A",
    "height_of_step_A",
    "islands_seen",
    "read_terraces",
    "roughness_seen",
]

BALL_A = 4.5
"""Effective radius of a good tip at 0.1 nA [A]: less than its distance, since the current falls
off exponentially."""

SMOOTH_A = 1.0
"""Width of the smoothing before anything else [A]."""

ROUND_UP = 0.3
"""Part of a layer that may be missing for a pixel to count as that layer [1]."""

CREST = 0.2
"""The same for islands that a narrow gap parts, where nothing is eroded [1]."""

SMALLEST_A2 = 64.0
"""Area below which an island is not counted [A^2]: four columns of GaAs(001)."""

ROUGHNESS_LOG = (-1.0578, 0.7122, 0.1144, 0.1435, -0.0352, 0.9343, 0.5482, -0.5281)
ROUGHNESS_SD = (-3.22, 2.053, -0.927)
"""ln(true / seen) of the roughness: factors of 1, s, s^2, f, f^2, R, R s, f s; with s the length of steps
for each 10 A^2, f the share of the islands' layer, R the terraces' concentration. The standard
deviation over the roughness is exp(a + b s + c f). Fitted on 485 images of 119 films, one in four of
them by the twin, like the next ones; the first factor of each was set by 200 more films in the twin
(cases 2880 to 3079): 0.02 higher, and deviations 15 % wider."""

ISLANDS_LOG = (1.1128, 1.2542, -0.7820, -1.2658, -0.6063, -0.8312, 1.4789, 1.8767)
ISLANDS_LOG_SD = (-3.95, 2.964, 1.997, -0.186)
"""ln(true count + 1): factors of 1, N, s, R, f, N s, s^2, f s, with N = ln(seen + 1). Where steps are
dense the tip runs islands together, and their number says less than the length of steps. The standard
deviation is exp(a + b s + c / sqrt(seen + 1) + d f)."""

BORDER_A = 1.5
"""By how much the frame's edge is uncertain: which islands touch it is chance, and those do not count
[A]."""

MOST_LOG = 0.7
"""Largest correction of a roughness, as a logarithm: images beyond those it was fitted on [1]."""

FEW_STEPS = 0.3
"""Length of steps for each 10 A^2 below which corrections fade [1]."""

TOOTH_FLOOR_ML = 0.02
"""Roughness that single adatoms and pits make, which no image shows [ML]."""

F8 = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Terraces:
    """An image, read as layers.

    Args:
        levels: layer of each pixel, the lowest is 0, after erosion, shape (lines, pixels), int64.
        crests: the same without erosion, with gaps kept open, shape (lines, pixels), int64.
        levelled: height over step height.
        pitch_A: distance of lines and of pixels [A].
        steps_per_A: length of steps for each area [1/A].
        noise_A: of one pixel, from forward against backward [A].
        lag_px: by how many pixels the backward image lies to larger x [px].
    """

    levels: NDArray[np.int64]
    crests: NDArray[np.int64]
    levelled: Levelled
    pitch_A: tuple[float, float]
    steps_per_A: float
    noise_A: float
    lag_px: float

    @property
    def area_A2(self) -> float:
        """Of the frame [A^2]."""
        return self.levels.size * self.pitch_A[0] * self.pitch_A[1]

    @property
    def roughness_ML(self) -> float:
        """Root mean square of the layers that are seen [ML]."""
        return float(self.levels.std())


def frame_pitch_A(x_A: object, y_A: object, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the distance of lines and of pixels [A]; lines may run downwards.

    Raises:
        ArgumentError: axes that do not fit the image, or are not evenly spaced.
    """
    pitches = []
    for name, axis, n in (("y_A", y_A, shape[0]), ("x_A", x_A, shape[1])):
        places = np.asarray(axis, dtype=np.float64)
        if places.shape != (n,):
            raise ArgumentError(name, places.shape, f"the shape ({n},), as the image has")
        steps = np.diff(places)
        pitch = float(steps.mean())
        if pitch == 0.0 or float(np.abs(steps - pitch).max()) > 1e-3 * abs(pitch):
            raise ArgumentError(name, pitch, "evenly spaced places")
        pitches.append(abs(pitch))
    return pitches[0], pitches[1]


def averaged(z_forward_A: F8, z_backward_A: F8) -> tuple[F8, float, float]:
    """Return the mean of both directions, the lag between them [px], and a pixel's noise [A].

    Each is moved by half of the lag; where they do not resemble each other the forward one stands
    alone.

    Args:
        z_forward_A: shape (lines, pixels) [A].
        z_backward_A: in the same order of x [A].
    """
    from scipy.ndimage import shift

    lag_px, likeness = lines_apart_px(z_forward_A, z_backward_A, min(12, z_forward_A.shape[1] // 4))
    if likeness < 0.5:
        return z_forward_A, 0.0, float(np.std(np.diff(z_forward_A, axis=1)))
    ahead = shift(z_forward_A, (0.0, 0.5 * lag_px), order=1, mode="nearest")
    behind = shift(z_backward_A, (0.0, -0.5 * lag_px), order=1, mode="nearest")
    apart = ahead - behind
    apart = apart - np.median(apart, axis=1)[:, None]
    noise_A = 1.4826 * float(np.median(np.abs(apart))) / math.sqrt(2.0)
    return 0.5 * (ahead + behind), lag_px, noise_A


def read_terraces(
    z_forward_A: object, z_backward_A: object, x_A: object, y_A: object, step_A: float
) -> Terraces:
    """Return an image as layers.

    Args:
        z_forward_A: shape (lines, pixels) [A].
        z_backward_A: the same shape [A].
        x_A: of the pixels [A].
        y_A: of the lines, rising or falling [A].
        step_A: height of a layer [A].

    Raises:
        ArgumentError: images or axes that do not fit.
    """
    from scipy import ndimage

    forward = as_image("z_forward_A", z_forward_A)
    backward = as_image("z_backward_A", z_backward_A)
    if forward.shape != backward.shape:
        raise ArgumentError("z_backward_A", backward.shape, f"the shape {forward.shape}")
    pitch_A = frame_pitch_A(x_A, y_A, forward.shape)
    z, lag_px, noise_A = averaged(forward, backward)
    levelled = level_terraces(z, step_A)
    smooth = ndimage.gaussian_filter(levelled.u, [SMOOTH_A / p for p in pitch_A], mode="nearest")
    eroded = _eroded(smooth * step_A, pitch_A) / step_A
    levels = np.floor(eroded + ROUND_UP).astype(np.int64)
    crests = np.floor(smooth + CREST).astype(np.int64)
    lowest = int(levels.min())
    levels, crests = levels - lowest, crests - lowest
    return Terraces(
        levels,
        crests,
        levelled,
        pitch_A,
        step_length(levels, pitch_A),
        noise_A,
        lag_px,
    )


def roughness_seen(terraces: Terraces) -> tuple[float, float]:
    """Return the roughness of the imaged area and its standard deviation [ML]."""
    s, share = 10.0 * terraces.steps_per_A, _islands_share(terraces)
    sure = terraces.levelled.concentration
    terms = (1.0, s, s * s, share, share * share, sure, sure * s, share * s)
    change = sum(a * b for a, b in zip(ROUGHNESS_LOG, terms, strict=True))
    # a surface nearly without steps has nothing to correct, and was not among those of the fit
    change *= min(s / FEW_STEPS, 1.0)
    found = terraces.roughness_ML * math.exp(min(max(change, -MOST_LOG), MOST_LOG))
    low, rise, filled = ROUGHNESS_SD
    spread = math.exp(low + rise * s + filled * share)
    return found, math.hypot(found * min(spread, 1.0), TOOTH_FLOOR_ML)


def islands_seen(terraces: Terraces) -> tuple[float, float, int]:
    """Return ln(islands + 1) of the imaged area, its standard deviation, and what was counted."""
    cell_A2 = terraces.pitch_A[0] * terraces.pitch_A[1]
    smallest = SMALLEST_A2 / cell_A2
    found = count_islands(terraces.crests, smallest_cells=smallest)
    share = _islands_share(terraces)
    s = 10.0 * terraces.steps_per_A
    seen, sure = math.log(found.count + 1.0), terraces.levelled.concentration
    terms = (1.0, seen, s, sure, share, seen * s, s * s, share * s)
    log_count = sum(a * b for a, b in zip(ISLANDS_LOG, terms, strict=True))
    low, rise, small, filled = ISLANDS_LOG_SD
    spread = math.exp(low + rise * s + small / math.sqrt(found.count + 1.0) + filled * share)
    log_count = seen + min(s / FEW_STEPS, 1.0) ** 2 * (log_count - seen)
    border = 4.0 * BORDER_A / math.sqrt(terraces.area_A2)
    at_border = math.sqrt(border * found.count) / (found.count + 1.0)
    return max(log_count, 0.0), math.hypot(min(spread, 2.0), at_border), found.count


def density_spread(terraces: Terraces, values: F8, whole_A2: float) -> float:
    """Return the standard deviation of an area's mean against that of the whole surface.

    The autocovariance of `values` over the image is summed until it has died away; an area that is
    all of the surface has none.

    Args:
        terraces: of the image.
        values: of which the mean is taken, shape (lines, pixels).
        whole_A2: area of the surface of which this is a part; infinite for a large one [A^2].
    """
    away = values - values.mean()
    shape = (2 * values.shape[0], 2 * values.shape[1])
    power = np.abs(np.fft.rfft2(away, shape)) ** 2
    pairs = np.abs(np.fft.rfft2(np.ones_like(away), shape)) ** 2
    summed = np.fft.irfft2(power, shape)
    count = np.maximum(np.fft.irfft2(pairs, shape), 1.0)
    covariance = summed / count
    rows = np.fft.fftfreq(shape[0], 1.0 / shape[0])[:, None] * terraces.pitch_A[0]
    columns = np.fft.fftfreq(shape[1], 1.0 / shape[1])[None, :] * terraces.pitch_A[1]
    reach_A = 0.2 * min(
        values.shape[0] * terraces.pitch_A[0], values.shape[1] * terraces.pitch_A[1]
    )
    near = np.hypot(rows, columns) <= reach_A
    # The mean was taken from the same area, which lowers each covariance by the variance sought.
    cells = float(near.sum())
    total = float(covariance[near].sum())
    variance = max(total, float(covariance[0, 0])) / max(values.size - cells, 1.0)
    part = min(terraces.area_A2 / whole_A2, 1.0) if whole_A2 > 0 else 0.0
    return math.sqrt(variance * (1.0 - part))


def height_of_step_A(terraces: Terraces) -> tuple[float, float]:
    """Return the height of a layer as this image shows it, and its standard deviation [A].

    Only pixels whose neighbourhood is flat count. Small islands look lower than they are, by a
    twentieth or so; that is in the deviation.
    """
    from scipy import ndimage

    size = [2 * int(np.ceil(2.0 * BALL_A / p)) + 1 for p in terraces.pitch_A]
    flat = ndimage.maximum_filter(terraces.levels, size) == ndimage.minimum_filter(
        terraces.levels, size
    )
    step_A = terraces.levelled.step_A
    wanted = terraces.levels[flat]
    if wanted.size < 30 or np.ptp(wanted) == 0:
        return step_A, 0.05 * step_A
    slope = float(np.polyfit(wanted, terraces.levelled.u[flat], 1)[0])
    return step_A * slope, 0.015 * step_A


def _islands_share(terraces: Terraces) -> float:
    """Return the share of the area that stands at the layer with the most islands or higher."""
    smallest = SMALLEST_A2 / (terraces.pitch_A[0] * terraces.pitch_A[1])
    return count_islands(terraces.levels, smallest_cells=smallest).share


def _eroded(z_A: F8, pitch_A: tuple[float, float]) -> F8:
    """Return the image eroded by a ball of the effective radius."""
    from scipy import ndimage

    reach = [int(np.ceil(BALL_A / p)) for p in pitch_A]
    rows = (np.arange(-reach[0], reach[0] + 1) * pitch_A[0])[:, None]
    columns = (np.arange(-reach[1], reach[1] + 1) * pitch_A[1])[None, :]
    far2 = rows**2 + columns**2
    inside = far2 < 0.95 * BALL_A**2
    ball = np.where(inside, np.sqrt(np.maximum(BALL_A**2 - far2, 0.0)) - BALL_A, 0.0)
    eroded: F8 = ndimage.grey_erosion(z_A, footprint=inside, structure=ball, mode="nearest")
    return eroded
