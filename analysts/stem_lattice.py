"""The lattice of an image: two vectors, the sites of a cell, and which columns stand where.

The vectors are sought in the autocorrelation of the image, which knows heights as well as places: in
SrTiO3 the titanium column in the middle of the cell is no lattice point. Then every column gets the
numbers of its cell and its site, from the middle of the image outwards, while the vectors sharpen.

Source: lattice fit to column positions: Nord et al., Adv. Struct. Chem. Imaging 3, 9 (2017),
doi:10.1186/s40679-017-0042-5; from autocorrelation to vectors: ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.analysts.stem_columns import Fitted, Floats, Image, smoothed

__all__ = ["Lattice", "find_lattice"]

SHORTEST_A, LONGEST_A = 1.8, 13.0
"""Lattice vectors are sought between these lengths [A]."""

ALIKE = 0.75
"""A vector is one of the lattice when the autocorrelation there is this part of the best."""

LEAST_CORRELATION = 0.12
SMOOTHING_A = 0.3
FAR = 0.22
"""A column belongs to a site when it is nearer than this part of the shortest vector."""

ROUNDS = (3.0, 5.0, 8.0, 13.0, 21.0, 1e9, 1e9)
LEAST_COLUMNS = 9
MOST_FOR_SITES = 250
SITE_SHARE = 0.25
"""A site is one when it is occupied in this part of the cells at least."""


@dataclass(frozen=True, eq=False, slots=True)
class Lattice:
    """A lattice fitted to columns, in pixels (row, column).

    Args:
        vectors: a and b, shape (2, 2) [px].
        covariance: of their four components, shape (4, 4).
        origin: of cell (0, 0), shape (2,) [px].
        sites: of the cell, relative to the origin, shape (s, 2) [px].
        cells: numbers of the cell of each column, shape (n, 2).
        site: of each column, -1 where it fits none, shape (n,).
        left: root mean square distance of columns from their sites, one axis [px].
    """

    vectors: Floats
    covariance: Floats
    origin: Floats
    sites: Floats
    cells: NDArray[np.int64]
    site: NDArray[np.int64]
    left: float

    def places(self, cells: NDArray[np.int64], site: NDArray[np.int64]) -> Floats:
        """Return where sites are, shape (n, 2) [px]."""
        found: Floats = self.origin + cells @ self.vectors + self.sites[site]
        return found

    def all_sites(
        self, shape: tuple[int, int], border: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return cells, shape (n, 2), and sites, shape (n,), of all that lie inside an image.

        Args:
            shape: rows and columns of the image.
            border: as far from its edge [px].
        """
        corners = np.array([[0, 0], [0, shape[1]], [shape[0], 0], [shape[0], shape[1]]], float)
        numbers = (corners - self.origin) @ np.linalg.inv(self.vectors)
        low, high = (
            np.floor(numbers.min(axis=0)).astype(int) - 2,
            np.ceil(numbers.max(axis=0)).astype(int) + 2,
        )
        grid = np.stack(
            np.meshgrid(
                *(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"
            ),
            axis=-1,
        ).reshape(-1, 2)
        cells = np.repeat(grid, self.sites.shape[0], axis=0)
        site = np.tile(np.arange(self.sites.shape[0]), grid.shape[0])
        place = self.places(cells, site)
        inside = ((place >= border) & (place <= np.array(shape) - 1 - border)).all(axis=1)
        return cells[inside], site[inside]


def find_lattice(image: Image, fitted: Fitted) -> Lattice | None:
    """Return the lattice of the columns; None where there is none to be seen.

    Args:
        image: the image.
        fitted: its columns.
    """
    if fitted.places.shape[0] < LEAST_COLUMNS:
        return None
    vectors = _vectors_of(image)
    if vectors is None:
        return None
    return _fitted_lattice(vectors, fitted, np.array(image.counts.shape) / 2.0)


def _vectors_of(image: Image) -> Floats | None:
    """Return the two shortest vectors that map the image onto itself, shape (2, 2) [px]."""
    correlation = _autocorrelation(image)
    half = correlation.shape[0] // 2
    peaks = _peaks(correlation)
    lengths = np.hypot(*peaks.T) * image.pixel_A
    inside = (lengths >= SHORTEST_A) & (lengths <= LONGEST_A)
    upper = (peaks[:, 0] > 0.5) | ((np.abs(peaks[:, 0]) <= 0.5) & (peaks[:, 1] > 0))
    peaks, lengths = peaks[inside & upper], lengths[inside & upper]
    if peaks.shape[0] < 2:
        return None
    rows, columns = np.rint(peaks).astype(int).T + half
    values = correlation[rows, columns]
    best = float(values.max())
    if best < LEAST_CORRELATION:
        return None
    order = np.argsort(lengths)
    good = [i for i in order if values[i] >= ALIKE * best]
    if not good:
        return None
    first = peaks[good[0]]
    for i in good[1:]:
        second = peaks[i]
        sine = abs(first[0] * second[1] - first[1] * second[0]) / (
            np.hypot(*first) * np.hypot(*second)
        )
        if sine > 0.4:
            return _turned(np.array([first, second]))
    return None


def _turned(vectors: Floats) -> Floats:
    """Return the same vectors, a nearer to the direction of the lines, b at an angle below 180."""
    first, second = vectors
    if abs(second[1]) * np.hypot(*first) > abs(first[1]) * np.hypot(*second):
        first, second = second, first
    if first[1] < 0:
        first = -first
    if first[1] * second[0] - first[0] * second[1] < 0:
        second = -second
    return np.array([first, second])


def _autocorrelation(image: Image) -> Floats:
    """Return the normalised autocorrelation around no shift, odd square."""
    sigma = SMOOTHING_A / image.pixel_A
    seen = image.seen.astype(np.float64)
    weight = np.maximum(smoothed(seen, sigma), 0.02)
    smooth = smoothed(np.where(image.seen, image.counts, 0.0), sigma) / weight
    level = smoothed(smooth, 12.0 * sigma)
    flat = (smooth - level) * (smoothed(seen, sigma) > 0.02)
    half = min(int(LONGEST_A / image.pixel_A) + 2, min(flat.shape) // 2 - 1)
    shape = [2 * n for n in flat.shape]
    spectrum = np.abs(np.fft.rfft2(flat, s=shape)) ** 2
    whole = np.fft.fftshift(np.fft.irfft2(spectrum, s=shape))
    middle = [n // 2 for n in shape]
    cut = whole[middle[0] - half : middle[0] + half + 1, middle[1] - half : middle[1] + half + 1]
    shifts = np.abs(np.arange(-half, half + 1))
    overlap = np.outer(1.0 - shifts / flat.shape[0], 1.0 - shifts / flat.shape[1])
    found: Floats = cut / overlap / max(float(cut[half, half]), 1e-300)
    return found


def _peaks(values: Floats) -> Floats:
    """Return local maxima relative to the middle, sharpened by a parabola, shape (n, 2)."""
    half = values.shape[0] // 2
    inner = values[1:-1, 1:-1]
    top = np.ones_like(inner, dtype=bool)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            if down or across:
                top &= (
                    inner
                    >= values[
                        1 + down : values.shape[0] - 1 + down,
                        1 + across : values.shape[1] - 1 + across,
                    ]
                )
    rows, columns = (index + 1 for index in np.nonzero(top))
    places = []
    for row, column in zip(rows, columns, strict=True):
        shift = []
        for step in ((1, 0), (0, 1)):
            low, high = (
                values[row - step[0], column - step[1]],
                values[row + step[0], column + step[1]],
            )
            bend = low - 2.0 * values[row, column] + high
            shift.append(0.0 if bend >= 0 else 0.5 * (low - high) / bend)
        places.append((row + shift[0] - half, column + shift[1] - half))
    return np.array(places).reshape(-1, 2)


def _fitted_lattice(vectors: Floats, fitted: Fitted, middle: Floats) -> Lattice | None:
    places = fitted.places
    away = np.hypot(*(places - middle).T)
    shortest = float(np.hypot(vectors[:, 0], vectors[:, 1]).min())
    order = np.argsort(away)
    origin = places[order[0]]
    sites = np.zeros((1, 2))
    cells = np.zeros((places.shape[0], 2), dtype=np.int64)
    site = np.full(places.shape[0], -1)
    covariance, left = np.eye(4), shortest
    for reach in ROUNDS:
        near = away <= reach * shortest
        if near.sum() < LEAST_COLUMNS:
            continue
        inner = order[: min(int(near.sum()), MOST_FOR_SITES)]
        sites = _sites_of(places[inner], vectors, origin, shortest)
        cells, site = _assigned(places, vectors, origin, sites, FAR * shortest)
        use = near & (site >= 0)
        if use.sum() < LEAST_COLUMNS:
            return None
        solved = _solved(places[use], fitted.places_sd[use], cells[use], site[use], sites.shape[0])
        if solved is None:
            return None
        vectors, offsets, covariance, left = solved
        origin, sites = offsets[0], offsets - offsets[0]
    return Lattice(vectors, covariance, origin, sites, cells, site, left)


def _sites_of(places: Floats, vectors: Floats, origin: Floats, shortest: float) -> Floats:
    """Return the sites of a cell, relative to the origin, the fullest first, shape (s, 2) [px]."""
    inverse = np.linalg.inv(vectors)
    numbers = (places - origin) @ inverse
    folded = (numbers - np.floor(numbers)) @ vectors
    images = (np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)) @ vectors
    cells = np.unique(np.floor(numbers).astype(np.int64), axis=0).shape[0]
    free = np.ones(places.shape[0], dtype=bool)
    sites: list[Floats] = []
    while free.any() and len(sites) < 12:
        offsets = folded[None, free] - folded[free][:, None]
        offsets = offsets[:, :, None] + images[None, None]
        near = np.hypot(offsets[..., 0], offsets[..., 1]).min(axis=2) < FAR * shortest
        best = int(np.argmax(near.sum(axis=1)))
        members = np.flatnonzero(free)[near[best]]
        if sites and members.size < SITE_SHARE * cells:
            break
        seed = folded[np.flatnonzero(free)[best]]
        away = folded[members] - seed
        around = away[:, None] + images[None]
        pick = np.argmin((around**2).sum(axis=2), axis=1)
        sites.append(seed + np.median(around[np.arange(members.size), pick], axis=0))
        free[members] = False
    return np.array(sites)


def _assigned(
    places: Floats, vectors: Floats, origin: Floats, sites: Floats, far: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return cell and site of each column; site -1 where it is too far from any."""
    inverse = np.linalg.inv(vectors)
    best = np.full(places.shape[0], np.inf)
    cells = np.zeros((places.shape[0], 2), dtype=np.int64)
    site = np.full(places.shape[0], -1, dtype=np.int64)
    for index, offset in enumerate(sites):
        numbers = np.rint((places - origin - offset) @ inverse)
        away = np.hypot(*(places - origin - offset - numbers @ vectors).T)
        nearer = away < best
        best[nearer], cells[nearer], site[nearer] = (
            away[nearer],
            numbers[nearer].astype(np.int64),
            index,
        )
    site[best > far] = -1
    return cells, site


def _solved(
    places: Floats, places_sd: Floats, cells: NDArray[np.int64], site: NDArray[np.int64], sites: int
) -> tuple[Floats, Floats, Floats, float] | None:
    """Return vectors, sites' places, covariance of the vectors' components, rms of what is left."""
    basis = np.zeros((places.shape[0], 2 + sites))
    basis[:, :2] = cells
    basis[np.arange(places.shape[0]), 2 + site] = 1.0
    used = np.flatnonzero((basis != 0).any(axis=0))
    if not {0, 1} <= set(used.tolist()):
        return None
    solutions = np.zeros((2 + sites, 2))
    covariance, squares = np.zeros((4, 4)), 0.0
    for axis in (0, 1):
        weight = 1.0 / np.maximum(places_sd[:, axis], 1e-3)
        scaled = basis[:, used] * weight[:, None]
        found, *_ = np.linalg.lstsq(scaled, places[:, axis] * weight, rcond=None)
        solutions[used, axis] = found
        residual = places[:, axis] - basis[:, used] @ found
        free = max(places.shape[0] - used.size, 1)
        inflation = max(float(((residual * weight) ** 2).sum()) / free, 1.0)
        block = np.linalg.pinv(scaled.T @ scaled)[:2, :2] * inflation
        for i in (0, 1):
            for j in (0, 1):
                covariance[2 * i + axis, 2 * j + axis] = block[i, j]
        squares += float((residual**2).mean())
    return solutions[:2], solutions[2:], covariance, float(np.sqrt(squares / 2.0))
