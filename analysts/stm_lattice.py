"""An atomic lattice in an image: its waves, what they say of the scanner, and what breaks it.

The first-order waves of a hexagonal lattice of known spacing calibrate the image they are in: scale of
both axes and the shear that drift makes, x_true = M x_seen with M upper triangular (the fast axis keeps
its direction, since drift is slow against it). What is left when the lattice is taken off are defects;
each lies where its own three-fold symmetric figure has its centre.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Defects", "LatticeFit", "distortion", "find_defects", "fit_lattice"]

F8 = NDArray[np.float64]

SEARCH = 0.15
"""Part by which a wave may differ from the expected one, by calibration and drift [1]."""

CLIP = 5.0
"""Deviations beyond which a pixel is a defect's, and no part of the lattice."""

BUMP_A, WIDE_A = 1.3, 7.0
"""Width of the smoothing that shows defects, and of the background that is taken off [A]."""

REACH_A = 4.0
"""Radius over which a defect's centre is taken [A]."""

APART_A = 4.0
"""Defects nearer to each other than this are one [A]."""


@dataclass(frozen=True, eq=False, slots=True)
class LatticeFit:
    """First-order waves of a hexagonal lattice.

    Args:
        waves_per_A: two of them, 60 degrees apart as far as the image is true, shape (2, 2): wave by
            x, y [1/A, with 2 pi].
        amplitudes: of the three waves [A].
        contrast: the weakest of the three over the median of what is around, 1 for none.
    """

    waves_per_A: F8
    amplitudes: F8
    contrast: float


@dataclass(frozen=True, eq=False, slots=True)
class Defects:
    """Places at which an image is no lattice.

    Args:
        places_A: from the middle of the image, shape (n, 2) [A].
        heights_A: over the lattice, after smoothing, shape (n,) [A].
        threshold_A: height that a defect has at least [A].
        scatter_A: deviation of the smoothed image where no defect is [A].
    """

    places_A: F8
    heights_A: F8
    threshold_A: float
    scatter_A: float


def fit_lattice(z: F8, pitch_A: tuple[float, float], spacing_A: float) -> LatticeFit:
    """Return the lattice's waves in a levelled image.

    Args:
        z: shape (lines, pixels) [A].
        pitch_A: distance of lines and of pixels [A].
        spacing_A: lattice constant that is expected [A].
    """
    flat = _clipped(z)
    window = np.hanning(z.shape[0])[:, None] * np.hanning(z.shape[1]) * _clean(z, pitch_A)
    flat = flat - float((flat * window).sum() / window.sum())
    weighed = flat * window / window.sum()
    shape = (2 * z.shape[0], 2 * z.shape[1])
    height = np.abs(np.fft.fft2(weighed, shape))
    ky = 2.0 * np.pi * np.fft.fftfreq(shape[0], pitch_A[0])[:, None]
    kx = 2.0 * np.pi * np.fft.fftfreq(shape[1], pitch_A[1])[None, :]
    length, angle = np.hypot(kx, ky), np.arctan2(ky, kx)
    expected = 4.0 * np.pi / (np.sqrt(3.0) * spacing_A)
    ring = np.abs(length / expected - 1.0) < SEARCH
    around = float(np.median(height[ring])) if ring.any() else 1.0
    if not ring.any() or around == 0.0:
        return LatticeFit(np.zeros((2, 2)), np.zeros(3), 1.0)
    # The comb of three directions that is strongest together; one wave alone may be a scan line's.
    turns = np.arange(0.0, np.pi / 3.0, np.radians(2.0))
    sums = [
        sum(_best(height, ring, angle, t + k * np.pi / 3.0)[0] for k in range(3)) for t in turns
    ]
    turn = float(turns[int(np.argmax(sums))])
    picks = [_best(height, ring, angle, turn + k * np.pi / 3.0)[1] for k in range(3)]
    waves = [_refined(weighed, pitch_A, (float(kx[0, c]), float(ky[r, 0]))) for r, c in picks]
    amplitudes = np.array([2.0 * amplitude for _, amplitude in waves])
    return LatticeFit(
        _reconciled([wave for wave, _ in waves], amplitudes),
        amplitudes,
        float(amplitudes.min() / (2.0 * around)),
    )


def distortion(fit: LatticeFit, spacing_A: float) -> tuple[F8, float]:
    """Return M of x_true = M x_seen, upper triangular, and the angle of the first wave [deg].

    Seen waves are k = M^T R(angle) k_true; the decomposition into a lower triangle and a rotation
    is unique for a positive diagonal.

    Args:
        fit: of a hexagonal lattice.
        spacing_A: its true lattice constant [A].
    """
    length = 4.0 * np.pi / (np.sqrt(3.0) * spacing_A)
    true = length * np.array([[1.0, 0.5], [0.0, np.sqrt(3.0) / 2.0]])
    seen = fit.waves_per_A.T @ np.linalg.inv(true)
    # seen = lower @ rotation  <=>  seen^T = rotation^T @ upper
    turn, upper = np.linalg.qr(seen.T)
    signs = np.sign(np.diag(upper))
    upper, turn = signs[:, None] * upper, turn * signs
    rotation = turn.T
    return upper, float(np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0])))


def without_lattice(z: F8, pitch_A: tuple[float, float], fit: LatticeFit) -> F8:
    """Return an image less the three waves of its lattice, fitted where no defect is."""
    rows, columns = _places(z.shape, pitch_A)
    first, second = fit.waves_per_A
    parts = [np.ones(z.size)]
    for wave in (first, second, second - first):
        phase = (wave[0] * columns + wave[1] * rows).ravel()
        parts += [np.cos(phase), np.sin(phase)]
    design = np.array(parts).T
    flat = _clipped(z).ravel()
    found, *_ = np.linalg.lstsq(design, flat, rcond=None)
    left: F8 = z - (design @ found).reshape(z.shape)
    return left


def find_defects(
    z: F8, pitch_A: tuple[float, float], fit: LatticeFit, *, sigmas: float, least_A: float
) -> Defects:
    """Return the defects of a levelled image.

    Args:
        z: shape (lines, pixels) [A].
        pitch_A: distance of lines and of pixels [A].
        fit: of its lattice.
        sigmas: how many deviations of the smoothed background a defect stands out.
        least_A: and how many angstrom at least [A].
    """
    from scipy import ndimage

    left = without_lattice(z, pitch_A, fit)
    narrow = ndimage.gaussian_filter(left, [BUMP_A / p for p in pitch_A], mode="nearest")
    wide = ndimage.gaussian_filter(_clipped(left), [WIDE_A / p for p in pitch_A], mode="nearest")
    bump = narrow - wide
    scatter = 1.4826 * float(np.median(np.abs(bump - np.median(bump))))
    threshold = max(sigmas * scatter, least_A)
    size = [2 * int(np.ceil(APART_A / p)) + 1 for p in pitch_A]
    is_top = (bump == ndimage.maximum_filter(bump, size=size)) & (bump > threshold)
    rim = [int(np.ceil(0.5 * REACH_A / p)) for p in pitch_A]
    is_top[: rim[0]] = is_top[-rim[0] :] = False
    is_top[:, : rim[1]] = is_top[:, -rim[1] :] = False
    tops = np.argwhere(is_top)
    rows, columns = _places(z.shape, pitch_A)
    weight = np.maximum(bump - 0.25 * threshold, 0.0)
    places = [_centre(weight, rows, columns, int(r), int(c)) for r, c in tops]
    return Defects(
        np.array(places).reshape(-1, 2), bump[is_top].reshape(-1), float(threshold), scatter
    )


def _reconciled(waves: list[F8], amplitudes: F8) -> F8:
    """Return two waves that agree best with all three, the third being second less first."""
    design = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]])
    trust = amplitudes[:, None]
    found, *_ = np.linalg.lstsq(design * trust, np.array(waves) * trust, rcond=None)
    return np.asarray(found, dtype=np.float64)


def _clean(z: F8, pitch_A: tuple[float, float]) -> F8:
    """Return 1 where the lattice is undisturbed, falling to 0 at defects, in the image's shape."""
    from scipy import ndimage

    middle = float(np.median(z))
    scatter = 1.4826 * float(np.median(np.abs(z - middle)))
    narrow = ndimage.gaussian_filter(z, [BUMP_A / p for p in pitch_A], mode="nearest")
    is_off = (np.abs(narrow - middle) > CLIP * scatter).astype(np.float64)
    spread = ndimage.gaussian_filter(is_off, [REACH_A / p for p in pitch_A], mode="nearest")
    clean: F8 = np.clip(1.0 - 4.0 * spread, 0.0, 1.0)
    return clean if float(clean.mean()) > 0.2 else np.ones_like(z)


def _centre(weight: F8, rows: F8, columns: F8, row: int, column: int) -> tuple[float, float]:
    """Return the centre of a bump's own figure, twice about where it was found before."""
    x, y = float(columns[0, column]), float(rows[row, 0])
    for _ in range(4):
        far = (columns - x) ** 2 + (rows - y) ** 2
        near = weight * np.clip(2.0 - 2.0 * np.sqrt(far) / REACH_A, 0.0, 1.0)
        total = float(near.sum())
        if total <= 0.0:
            break
        x, y = float((near * columns).sum()) / total, float((near * rows).sum()) / total
    return x, y


def _places(shape: tuple[int, ...], pitch_A: tuple[float, float]) -> tuple[F8, F8]:
    rows = np.asarray(
        (np.arange(shape[0]) - 0.5 * (shape[0] - 1))[:, None] * pitch_A[0], np.float64
    )
    columns = (np.arange(shape[1]) - 0.5 * (shape[1] - 1))[None, :] * pitch_A[1]
    return rows, np.asarray(columns, np.float64)


def _clipped(z: F8) -> F8:
    middle = float(np.median(z))
    scatter = 1.4826 * float(np.median(np.abs(z - middle)))
    clipped: F8 = np.clip(z, middle - CLIP * scatter, middle + CLIP * scatter) - middle
    return clipped


def _best(
    height: F8, ring: NDArray[np.bool_], angle: F8, turn: float
) -> tuple[float, tuple[int, int]]:
    """Return the highest point of the ring within 10 degrees of a direction."""
    apart = np.abs((angle - turn + np.pi) % (2.0 * np.pi) - np.pi)
    inside = np.where(ring & (apart < np.radians(10.0)), height, -1.0)
    row, column = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return float(inside[row, column]), (int(row), int(column))


def _refined(
    weighed: F8, pitch_A: tuple[float, float], wave: tuple[float, float]
) -> tuple[F8, float]:
    """Return a wave at the top of its peak, and its amplitude there (Newton on ln |F|^2)."""
    rows, columns = _places(weighed.shape, pitch_A)
    k: F8 = np.array(wave, dtype=np.float64)
    step = 0.05 * np.array(
        [
            2.0 * np.pi / (weighed.shape[1] * pitch_A[1]),
            2.0 * np.pi / (weighed.shape[0] * pitch_A[0]),
        ]
    )

    def log_height(at: F8) -> float:
        along, down = np.exp(-1j * at[0] * columns), np.exp(-1j * at[1] * rows)
        return float(np.log(np.abs((down.T @ weighed @ along.T).item()) + 1e-300))

    for _ in range(8):
        move = np.zeros(2)
        here = log_height(k)
        for axis in range(2):
            shift = np.zeros(2)
            shift[axis] = step[axis]
            up, down = log_height(k + shift), log_height(k - shift)
            bend = up - 2.0 * here + down
            part = 0.5 * (down - up) / bend if bend < 0 else 0.0
            move[axis] = np.clip(part, -10.0, 10.0) * step[axis]
        k = k + move
        if bool(np.all(np.abs(move) < 1e-4 * step)):
            break
    return k, float(np.exp(log_height(k)))
