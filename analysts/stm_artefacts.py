"""Images that are not of the surface alone: a double tip, a loop that rings, a tip that crashed.

A double tip draws everything twice, by the same vector all over the image. So whatever stands up has a
companion at that vector, on one side or the other: taking away what has none (an opening by the pair of
points) takes away next to nothing. And the autocorrelation of the steps has a pair of peaks there that
it has not after a quarter turn, whereas islands on a square mesh look the same after one, on the average.
Both have to agree.

Over a sheet there is nothing but defects to be seen twice. Those are few, so their vectors are counted
instead: two or more pairs apart by the same vector, which leave few defects without a companion.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ghost", "Twins", "find_ghost", "find_twins", "line_jumps_A"]

NEAR_A, FAR_A = 9.0, 36.0
"""Distances at which a second apex is looked for [A]."""

BAND_A = 3.0
"""Width of the rings within which vectors are compared [A]."""

SMOOTH_A = 1.0

ALIKE_A = 0.8
"""Vectors between defects that differ by less are the same [A]: places are good to 0.1 A or so, a figure
leans by more where two overlap."""

RIM_A = 2.0
"""Nearer to the frame's edge a defect is not looked for [A]."""

PAIRED = 0.6
"""Share of the defects with a companion, of those that could have one, from which a tip is double [1]."""

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ghost:
    """The most likely second image.

    Args:
        x_A, y_A: vector from the image to it, of either sign [A].
        loneliness: what has no companion at that vector, over what has none at other vectors of
            that length: 0 for a perfect ghost, near 1 for none [1].
        strength: how far the autocorrelation stands out there, in its own deviations [1].
    """

    x_A: float
    y_A: float
    loneliness: float
    strength: float


@dataclass(frozen=True, slots=True)
class Twins:
    """The vector that most pairs of defects have in common.

    Args:
        x_A, y_A: that vector, of either sign [A]; 0 for none.
        pairs: that are apart by it.
        is_double_tip: whether the tip shows defects twice.
    """

    x_A: float
    y_A: float
    pairs: int
    is_double_tip: bool


def find_twins(places_A: F8, half_A: F8) -> Twins:
    """Return the vector by which defects repeat themselves best.

    Args:
        places_A: of the defects from the middle of the frame, shape (n, 2) [A].
        half_A: half of the frame's sides along x and y, shape (2,) [A].

    Example:
        >>> one = np.array([[-9.0, 2.0], [4.0, -7.0], [-3.0, -12.0]])
        >>> both = np.concatenate([one, one + [12.0, 9.0]])
        >>> find_twins(both, np.array([30.0, 30.0])).is_double_tip
        True
        >>> find_twins(one, np.array([30.0, 30.0])).is_double_tip
        False
    """
    first, second = np.triu_indices(len(places_A), 1)
    vectors = places_A[second] - places_A[first]
    # one of the two signs stands for both
    vectors = np.where((vectors[:, 1] < 0.0)[:, None], -vectors, vectors)
    far_A = np.linalg.norm(vectors, axis=1)
    vectors = vectors[(far_A >= NEAR_A) & (far_A <= FAR_A)]
    best, share, middle = 0, 0.0, np.zeros(2)
    for vector in vectors:
        alike = vectors[np.linalg.norm(vectors - vector, axis=1) < ALIKE_A]
        mean = alike.mean(axis=0)
        part = _companions(places_A, mean, half_A)
        if (alike.shape[0], part) > (best, share):
            best, share, middle = alike.shape[0], part, mean
    if best < 2:
        return Twins(0.0, 0.0, best, is_double_tip=False)
    return Twins(float(middle[0]), float(middle[1]), best, is_double_tip=share >= PAIRED)


def _companions(places_A: F8, vector: F8, half_A: F8) -> float:
    """Return the share of defects with a companion at a vector, of those that could have one."""
    able = paired = 0
    for place in places_A:
        there = [place + vector, place - vector]
        has = any(np.linalg.norm(places_A - at, axis=1).min() < 1.5 * ALIKE_A for at in there)
        could = all(bool((np.abs(at) < half_A - RIM_A).all()) for at in there)
        able += has or could
        paired += has
    return paired / able if able else 0.0


def find_ghost(u: F8, pitch_A: tuple[float, float]) -> Ghost:
    """Return the vector by which a levelled image repeats itself best.

    Args:
        u: height over step height, levelled, shape (lines, pixels) [1].
        pitch_A: distance of lines and of pixels [A].
    """
    from scipy import ndimage

    pitch = max(min(pitch_A), 1.5)
    # a square mesh of pixels, so that a quarter turn maps it onto itself
    square = ndimage.zoom(u, (pitch_A[0] / pitch, pitch_A[1] / pitch), order=1)
    smooth = ndimage.gaussian_filter(square, SMOOTH_A / pitch)
    reach = min(int(FAR_A / pitch), min(smooth.shape) // 3)
    odd = _odd_part(smooth, reach)
    rows, columns, losses = _losses(smooth, reach, pitch)
    if losses.size == 0:
        return Ghost(0.0, 0.0, 1.0, 0.0)
    bands = (np.hypot(rows, columns) * pitch / BAND_A).astype(np.int64)
    usual = np.array([np.median(losses[bands == b]) if b in bands else 1.0 for b in range(64)])
    share = losses / np.maximum(usual[np.minimum(bands, 63)], 1e-4)
    best = int(np.argmin(share))
    row, column = int(rows[best]), int(columns[best])
    near = odd[row + reach - 1 : row + reach + 2, column + reach - 1 : column + reach + 2]
    scatter = 1.4826 * float(np.median(np.abs(odd)))
    strength = float(near.max()) / scatter if near.size and scatter > 0 else 0.0
    return Ghost(column * pitch, row * pitch, float(share[best]), strength)


def line_jumps_A(z: F8) -> F8:
    """Return by how much each line lies higher than the one before, beside the usual rise [A].

    Args:
        z: shape (lines, pixels), as recorded [A].
    """
    jumps = np.median(np.diff(z, axis=0), axis=1)
    unusual: F8 = jumps - np.median(jumps)
    return unusual


def _losses(
    smooth: F8, reach: int, pitch: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], F8]:
    """Return vectors (rows, columns) [px], and what an opening by each takes away [layers]."""
    n, m = smooth.shape
    inner = smooth[reach : n - reach, reach : m - reach]
    vectors = [
        (row, column)
        for row in range(reach + 1)
        for column in range(-reach, reach + 1)
        if (row, column) > (0, 0) and NEAR_A <= math.hypot(row, column) * pitch <= FAR_A
    ]
    losses = np.zeros(len(vectors))
    for i, (row, column) in enumerate(vectors):
        if row >= reach or abs(column) >= reach:
            losses[i] = np.inf
            continue
        ahead = smooth[reach + row : n - reach + row, reach + column : m - reach + column]
        behind = smooth[reach - row : n - reach - row, reach - column : m - reach - column]
        losses[i] = float((inner - np.minimum(inner, np.maximum(ahead, behind))).mean())
    kept = np.isfinite(losses)
    places = np.array(vectors, dtype=np.int64).reshape(-1, 2)[kept]
    return places[:, 0], places[:, 1], losses[kept]


def _odd_part(smooth: F8, reach: int) -> F8:
    """Return the steps' autocorrelation less itself after a quarter turn, no shift in the middle."""
    from scipy import ndimage

    steps = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1))
    likeness = _autocorrelation(steps - steps.mean())
    middle = np.arange(-reach, reach + 1)
    patch = likeness[np.ix_(middle, middle)]
    odd: F8 = patch - np.rot90(patch)
    return odd


def _autocorrelation(image: F8) -> F8:
    """Return the normalised autocorrelation without wrap, index 0 at no shift."""
    shape = (2 * image.shape[0], 2 * image.shape[1])
    power = np.fft.irfft2(np.abs(np.fft.rfft2(image, shape)) ** 2, shape)
    pairs = np.fft.irfft2(np.abs(np.fft.rfft2(np.ones_like(image), shape)) ** 2, shape)
    found: F8 = power / np.maximum(pairs, 1.0)
    scale = float(found[0, 0])
    return found / scale if scale > 0 and math.isfinite(scale) else found
