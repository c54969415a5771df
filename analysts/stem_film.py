"""A film of (Al,Ga)As on GaAs(001) in cross-section: its thickness and its interface, plane by plane.

Seen along [1-10] the crystal is a stack of planes, cations and arsenic in turn, 1.41 A apart. The
image, summed along the surface, is a sum of Gaussians on these planes: their heights follow by
linear least squares. Arsenic is the same everywhere, so its planes tell where the film ends; cation
planes divided by them tell where gallium gives way to aluminium, which scatters little:

    cations(k) = B - (B - F) share(k),                      thickness = (planes up to the top) - n0
    share(k) = Phi((k - n0) / w) - Phi((k - n1) / w),       n1 = 2 surface - n0

Nothing diffuses across the surface, so what would have gone there comes back: the image n1 of the interface.
F / B is no smaller than what aluminium alone scatters. How many of the sites of a plane hold aluminium is
chance where the alloy is mixed, and that is part of the noise. n0 and w are found on a grid, each weighed by its likelihood, so that a width that is too small to be
seen has an honest deviation. The image's own plane distance is the ruler: the calibration does not enter.

Source: Z contrast of (Al,Ga)As: Robb & Craven, Ultramicroscopy 109, 61 (2008),
doi:10.1016/j.ultramic.2008.08.001; the fit is ours.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.analysts.stem_columns import Floats

__all__ = ["FilmProfile", "Unseen", "measure_film", "straight_profile"]

PLANE_A = 5.65325 / 4.0
"""Distance of neighbouring planes, cation to arsenic, in GaAs at 300 K [A]."""

SCALE_RANGE = 0.035
"""By how much the calibration of the image may be off [1]."""

WIDTHS_A = np.linspace(0.32, 0.72, 11)
TAILS_A = (1.2, 2.0, 3.5)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.45)
SHAPE = (0.44, 2.0, 0.2)
"""Shapes of a plane: widths of its core and its tail [A], and the tail's share of it; the first guess."""

MODEL_SD_ML, MODEL_WIDTH_SD_ML = 0.035, 0.03
"""What the shape of the planes leaves uncertain beside the noise, thickness and width: measured on the
twin (docs/validation/stem_analyst.py) [ML]."""

BELOW = 3
"""Planes below the edge of the image whose tails reach into it."""

TILTS = np.linspace(-0.03, 0.03, 41)
LEAST_PLANES = 12
MOST_WIDTH_ML = 6.0
FULL, PARTIAL, EMPTY = 0.8, 0.2, 0.05
"""A plane is whole above the first part of the usual height, there above the second, vacuum below the third."""

MESH_A = 4.0 * PLANE_A / math.sqrt(2.0)
"""Distance of cation sites along [110] [A]."""

LAMELLA_A = 100.0
"""How thick a lamella is along the beam, unless told otherwise [A]."""

ALUMINIUM = (13.0 / 31.0) ** 1.7
LEAST_RATIO = 0.15
"""Brightness of aluminium over gallium's by Z^1.7 [1], and the least that F / B may be."""

REACH_ML = 45
"""Planes beyond the image that are counted with those in it, so that no tail of a step is lost."""

LEAST_CONTRAST = 4.0
"""The step of the cations must stand this many deviations out of their scatter to be seen."""


@dataclass(frozen=True, eq=False, slots=True)
class FilmProfile:
    """A film in cross-section.

    Args:
        thickness_ML, thickness_sd_ML: from the interface to the surface.
        width_ML, width_sd_ML: of the interface: standard deviation of the step of the cations.
        contrast, contrast_sd: height of the film's cation planes relative to the substrate's.
        top_plane: number of arsenic planes that the image holds, partly filled ones as parts.
        scale, scale_sd: true over calibrated length along the growth direction, from the planes.
        planes: how many are seen.
        cations: heights of the cation planes relative to arsenic, from below, shape (n,).
        arsenic: heights of the arsenic planes, relative to the substrate's, shape (n,).
    """

    thickness_ML: float
    thickness_sd_ML: float
    width_ML: float
    width_sd_ML: float
    contrast: float
    contrast_sd: float
    top_plane: float
    scale: float
    scale_sd: float
    planes: int
    cations: Floats
    arsenic: Floats


@dataclass(frozen=True, slots=True)
class Unseen:
    """A film that is not seen.

    Args:
        reason: what is missing in the image.
        most_ML: thickness that it cannot exceed: planes between the lowest whole one and the surface
            [ML].
    """

    reason: str
    most_ML: float = 100.0


def straight_profile(counts: Floats, seen: NDArray[np.bool_]) -> tuple[Floats, float, Floats]:
    """Return the image summed along its planes, their tilt, and the image with the planes level.

    Args:
        counts: rows from the substrate to the vacuum, shape (rows, columns).
        seen: which pixels were acquired.

    Returns:
        Mean of each row, shape (rows,), NaN where nothing is; slope of the planes [px/px]; the
        levelled image, NaN where nothing is.
    """
    data = np.where(seen, counts, np.nan)
    best, best_score = 0.0, -math.inf
    for tilt in TILTS:
        profile = _row_means(_level(data, float(tilt)))
        score = float(np.nanvar(np.diff(profile)))
        if score > best_score:
            best, best_score = float(tilt), score
    step = float(TILTS[1] - TILTS[0])
    for tilt in best + step * np.linspace(-1.0, 1.0, 9):
        score = float(np.nanvar(np.diff(_row_means(_level(data, float(tilt))))))
        if score > best_score:
            best, best_score = float(tilt), score
    level = _level(data, best)
    return _row_means(level), best, level


def measure_film(
    counts: Floats, seen: NDArray[np.bool_], pixel_A: float, lamella_A: float = LAMELLA_A
) -> FilmProfile | Unseen:
    """Return the film in an image, or why there is none to be seen.

    Args:
        counts: without the dark level, rows from the substrate to the vacuum, shape (rows, columns).
        seen: which pixels were acquired.
        pixel_A: by the calibration [A].
        lamella_A: thickness along the beam [A].
    """
    profile, _, level = straight_profile(counts, seen)
    rows = np.flatnonzero(np.isfinite(profile))
    if rows.size < 40:
        return Unseen("fewer than 40 lines were acquired")
    profile, level = profile[rows[0] : rows[-1] + 1], level[rows[0] : rows[-1] + 1]
    profile = np.interp(
        np.arange(profile.size), np.flatnonzero(np.isfinite(profile)), profile[np.isfinite(profile)]
    )
    found = _planes(profile, pixel_A)
    if found is None:
        return Unseen("no atom planes along the lines")
    spacing, first, spacing_sd = found
    heights, _, places = _heights(profile, spacing, first, pixel_A)
    cation_first = _polarity(level, places, pixel_A)
    pairs = (heights.size - cation_first) // 2
    inside = _inside(heights[cation_first + 1 : cation_first + 2 * pairs : 2])
    if inside is None:
        return Unseen("no surface, or too few whole planes below it")
    low, high, end = inside
    heights, heights_sd, _ = _heights(
        profile,
        spacing,
        first,
        pixel_A,
        equal=slice(cation_first + 1 + 2 * low, cation_first + 2 * high, 2),
        last=cation_first + 2 * end,
    )
    kept = slice(cation_first, cation_first + 2 * pairs)
    scale = spacing * pixel_A / PLANE_A
    sites = max(counts.shape[1] * pixel_A / MESH_A, 1.0) * max(lamella_A / MESH_A, 1.0)
    return _film_of(heights[kept], heights_sd[kept], inside, scale, spacing_sd / spacing, sites)


def _level(data: Floats, tilt: float) -> Floats:
    """Return the image with each column shifted by its share of the tilt, linearly interpolated."""
    rows, columns = data.shape
    shift = tilt * (np.arange(columns) - 0.5 * columns)
    whole = np.floor(shift).astype(np.int64)
    part = shift - whole
    index = np.arange(rows)[:, None] + whole[None]
    inside = (index >= 0) & (index < rows - 1)
    low = index.clip(0, rows - 2)
    across = np.arange(columns)[None]
    moved = (1.0 - part) * data[low, across] + part * data[low + 1, across]
    return np.where(inside, moved, np.nan)


def _row_means(data: Floats) -> Floats:
    known = np.isfinite(data)
    number = known.sum(axis=1)
    sums = np.where(known, data, 0.0).sum(axis=1)
    return np.where(number > 0.3 * data.shape[1], sums / np.maximum(number, 1), np.nan)


def _planes(profile: Floats, pixel_A: float) -> tuple[float, float, float] | None:
    """Return the distance of planes [px], the place of one of them [px], and the distance's sd."""
    usual = PLANE_A / pixel_A
    smooth = _moving_mean(profile, usual)
    wave = profile - smooth
    weight = np.clip(smooth / max(float(np.percentile(smooth, 90)), 1e-12), 0.0, 1.0)
    weight = np.where(weight > 0.3, 1.0, 0.0)
    if weight.sum() < LEAST_PLANES * usual:
        return None
    rows = np.arange(profile.size)
    trials = 1.0 / (usual * np.linspace(1.0 - SCALE_RANGE, 1.0 + SCALE_RANGE, 281))
    sums = np.array([np.sum(weight * wave * np.exp(-2j * np.pi * f * rows)) for f in trials])
    power = np.abs(sums)
    best = int(np.argmax(power))
    if best in {0, trials.size - 1}:
        return None
    a, b, _ = np.polyfit(trials[best - 1 : best + 2] - trials[best], power[best - 1 : best + 2], 2)
    frequency = float(trials[best] - 0.5 * b / a) if a < 0 else float(trials[best])
    total = np.sum(weight * wave * np.exp(-2j * np.pi * frequency * rows))
    phase = float(np.angle(total))
    count = float(weight.sum())
    amplitude = 2.0 * abs(total) / count
    noise = wave - amplitude * np.cos(2.0 * np.pi * frequency * rows + phase)
    rest = float(np.sqrt(np.mean(noise[weight > 0] ** 2)))
    # Cramer-Rao of a frequency: sqrt(6) s / (pi A n^1.5); the scatter is not white, hence the two.
    frequency_sd = 2.0 * math.sqrt(6.0) * rest / (math.pi * max(amplitude, 1e-12) * count**1.5)
    if amplitude < rest * 3.0 / math.sqrt(count):
        return None
    spacing = 1.0 / frequency
    first = (-phase / (2.0 * np.pi)) * spacing
    return spacing, first, frequency_sd * spacing**2


def _heights(
    profile: Floats,
    spacing: float,
    first: float,
    pixel_A: float,
    *,
    equal: slice | None = None,
    last: int | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Return heights, deviations and places of all planes in the image, from below.

    A plane is a Gaussian with a wider one below it: the tails of the probe, which pile up inside the
    crystal and are missing at its surface. What tells them from a background is that some planes are
    known to be alike.

    Args:
        profile: mean of each row.
        spacing: of the planes [px].
        first: place of one of them [px].
        pixel_A: distance of rows [A].
        equal: planes of one height, every second one: arsenic inside the crystal.
        last: number of the first plane that is vacuum, and those above it.
    """
    start = math.ceil((0.0 - first) / spacing) - BELOW
    stop = math.floor((profile.size - 1.0 - first) / spacing)
    places = first + spacing * np.arange(start, stop + 1)
    group = np.arange(places.size)
    if equal is not None:
        alike = np.arange(places.size)[BELOW:][equal]
        group[alike] = alike[0]
    _, group = np.unique(group, return_inverse=True)
    gather = np.zeros((places.size + 1, int(group.max()) + 2))
    gather[np.arange(places.size), group] = 1.0
    gather[-1, -1] = 1.0
    if last is not None:
        gather[BELOW + last : -1] = 0.0
        gather = gather[:, gather.any(axis=0)]
    away_A = (np.arange(profile.size)[:, None] - places[None]) * pixel_A

    def fit(width_A: float, tail_A: float, share: float) -> tuple[float, Floats, Floats]:
        core = np.exp(-0.5 * (away_A / width_A) ** 2) / width_A
        tail = np.exp(-0.5 * (away_A / tail_A) ** 2) / tail_A
        basis = np.column_stack([(1.0 - share) * core + share * tail, np.ones(profile.size)])
        basis = basis @ gather
        normal = basis.T @ basis
        normal[np.diag_indices_from(normal)] *= 1.0 + 1e-6
        found = np.linalg.solve(normal, basis.T @ profile)
        return float(((profile - basis @ found) ** 2).sum()), found, normal

    shape = SHAPE
    for trials in (_widths, _tails, _widths, _tails, _widths):
        shape = min(trials(shape), key=lambda trial: fit(*trial)[0])
    loss, found, normal = fit(*shape)
    variance = loss / max(profile.size - found.size, 1)
    sd = np.sqrt(np.maximum(np.diag(np.linalg.inv(normal)) * variance, 0.0))
    heights: Floats = (gather @ found)[BELOW:-1]
    heights_sd: Floats = (gather @ sd)[BELOW:-1]
    return heights, heights_sd, np.asarray(places[BELOW:], dtype=np.float64)


def _widths(shape: tuple[float, float, float]) -> list[tuple[float, float, float]]:
    return [(float(width_A), shape[1], shape[2]) for width_A in WIDTHS_A]


def _tails(shape: tuple[float, float, float]) -> list[tuple[float, float, float]]:
    return [(shape[0], tail_A, share) for tail_A in TAILS_A for share in SHARES]


def _polarity(level: Floats, places: Floats, pixel_A: float) -> int:
    """Return the number (0 or 1) of the first cation plane among the planes.

    The columns of an arsenic plane stand below those of the next cation plane, not of the last: along
    the surface the two have the same phase.
    """
    period = 4.0 * PLANE_A / math.sqrt(2.0) / pixel_A
    columns = np.arange(level.shape[1])
    flat = np.where(np.isfinite(level), level, np.nanmean(level, axis=1, keepdims=True))
    flat = np.nan_to_num(flat - np.nanmean(flat, axis=1, keepdims=True))
    trials = 1.0 / (period * np.linspace(1.0 - SCALE_RANGE, 1.0 + SCALE_RANGE, 71))
    waves = np.exp(-2j * np.pi * np.outer(columns, trials))
    amplitudes = flat @ waves
    best = int(np.argmax((np.abs(amplitudes) ** 2).sum(axis=0)))
    rows = np.rint(places).astype(np.int64).clip(0, level.shape[0] - 1)
    phases = amplitudes[rows, best]
    same = np.real(phases[:-1] * np.conj(phases[1:]))
    even, odd = float(same[0::2].sum()), float(same[1::2].sum())
    # Pairs (0, 1), (2, 3), ... of equal phase: plane 0 is arsenic, plane 1 the cation above it.
    return 1 if even > odd else 0


def _inside(arsenic: Floats) -> tuple[int, int, int] | None:
    """Return the first arsenic plane that is whole, the first that may be partial, the first of vacuum.

    The lowest planes may be cut by the edge of the image.
    """
    strong = float(np.percentile(arsenic, 75))
    if strong <= 0:
        return None
    full = np.flatnonzero(arsenic > FULL * strong)
    empty = np.flatnonzero(arsenic < EMPTY * strong)
    empty = empty[empty > full[-1]]
    low, high = int(full[0]) + 1, int(full[-1]) - 1
    if low + LEAST_PLANES // 2 > high or empty.size == 0:
        return None
    return low, high, int(empty[0]) + 1


def _film_of(
    heights: Floats,
    heights_sd: Floats,
    inside: tuple[int, int, int],
    ratio: float,
    ratio_sd: float,
    sites: float,
) -> FilmProfile | Unseen:
    """Return the film of planes: cation, arsenic, cation, arsenic, ... from below.

    Args:
        heights: of the planes, those of arsenic alike where they are whole.
        heights_sd: of the same shape.
        inside: of `_inside`.
        ratio: true over calibrated length along the growth direction.
        ratio_sd: its standard deviation.
        sites: of a plane in the image, along the surface and along the beam.
    """
    low, high, end = inside
    usual = float(heights[2 * low + 1])
    cation, arsenic = heights[0::2] / usual, heights[1::2] / usual
    cation_sd, arsenic_sd = heights_sd[0::2] / usual, heights_sd[1::2] / usual
    top = high + float(arsenic[high:end].sum())
    top_var = float(np.sum(arsenic_sd[high:end] ** 2))
    whole = np.arange(low, high + 2)
    cover = np.clip(arsenic[whole], 0.5, 1.0)
    noise = np.maximum(cation_sd[whole], 1e-4) / cover
    there = np.flatnonzero(arsenic[: end + 1] > PARTIAL)
    surface = float(there[-1]) + 0.5
    step = _step(whole.astype(np.float64), cation[whole] / cover, noise, surface, sites)
    if step is None:
        return Unseen("the cation planes show no step", top - float(low))
    n0, n0_sd, width, width_sd, below, above, contrast_sd = step
    return FilmProfile(
        thickness_ML=top - n0 - 0.5,
        thickness_sd_ML=math.sqrt(n0_sd**2 + top_var + MODEL_SD_ML**2),
        width_ML=width,
        width_sd_ML=math.hypot(width_sd, MODEL_WIDTH_SD_ML),
        contrast=above / below,
        contrast_sd=contrast_sd,
        top_plane=top,
        scale=1.0 / ratio,
        scale_sd=ratio_sd / ratio,
        planes=2 * (high - low),
        cations=cation,
        arsenic=arsenic,
    )


def _step(
    numbers: Floats, values: Floats, noise: Floats, surface: float, sites: float
) -> tuple[float, float, float, float, float, float, float] | None:
    """Return place, width, levels of the step of the cations, with deviations.

    Args:
        numbers: of the planes.
        values: their heights relative to arsenic.
        noise: standard deviations, by the image.
        surface: half a plane above the highest plane that is there.
        sites: how many sites of a plane the image shows.
    """
    low, high = float(numbers[0]), float(numbers[-1])
    places = np.arange(low - 0.5, high + 0.51, 0.05)
    widths = np.concatenate([np.linspace(0.02, 2.0, 34), np.linspace(2.1, MOST_WIDTH_ML, 27)])
    # as likely at each width, and the edges of the grid count half
    weight_of_width = np.gradient(widths) * np.where(
        np.arange(widths.size) % (widths.size - 1), 1.0, 0.5
    )
    counted = np.stack([_counted(places, low, float(width)) for width in widths], axis=1)
    shares = np.stack(
        [_shares(numbers[None], places[:, None], float(width), surface) for width in widths], axis=1
    )
    levels, losses = _two_levels(1.0 - shares, values, np.broadcast_to(noise, shares.shape))
    best = np.unravel_index(int(np.argmin(losses)), losses.shape)
    # each trial has the scatter that it says itself: a sharp step would else hide what a wide one does
    scatter = np.hypot(noise, _alloy(shares, float(levels[best][0]), float(levels[best][1]), sites))
    levels, losses = _two_levels(1.0 - shares, values, scatter)
    likely = losses + 2.0 * np.log(scatter).sum(axis=-1)
    best = np.unravel_index(int(np.argmin(likely)), losses.shape)
    free = max(numbers.size - 4, 1)
    # two deviations of chi^2 are chance
    inflation = max(float(losses[best]) / free / (1.0 + 2.0 * math.sqrt(2.0 / free)), 1.0)
    likely = likely - losses * (1.0 - 1.0 / inflation)
    flat = float(_flat_loss(values, noise))
    if (flat - float(losses.min())) / inflation < LEAST_CONTRAST**2:
        return None
    likelihood = np.exp(-0.5 * (likely - likely.min())) * weight_of_width[None]
    likelihood /= likelihood.sum()
    over_widths = likelihood.sum(axis=0)
    place = float((likelihood * counted).sum())
    width = float(over_widths @ widths)
    place_sd = math.sqrt(float((likelihood * (counted - place) ** 2).sum()))
    width_sd = math.sqrt(max(float(over_widths @ (widths - width) ** 2), 1e-4))
    below, above = (float(v) for v in levels[best])
    contrast_sd = float(np.median(noise)) * math.sqrt(inflation) / max(below, 1e-9)
    return place, place_sd, width, width_sd, below, above, contrast_sd


def _shares(numbers: Floats, places: Floats, width: float, surface: float) -> Floats:
    """Return which part of the film's composition each plane has: the step and its mirror image."""
    mirrored = 2.0 * surface - places
    found: Floats = _phi((numbers - places) / width) - _phi((numbers - mirrored) / width)
    return found


def _counted(places: Floats, low: float, width: float) -> Floats:
    """Return how many planes' worth of substrate there are below each place of a step.

    Where the step lies between two planes cannot be seen, and does not matter: planes count.
    """
    planes = np.arange(low - REACH_ML, low + 2.0 * REACH_ML)
    part = _phi((places[:, None] - planes[None]) / width)
    found: Floats = low - REACH_ML - 0.5 + part.sum(axis=1)
    return found


def _alloy(shares: Floats, below: float, above: float, sites: float) -> Floats:
    """Return by how much the number of aluminium atoms of each plane scatters its brightness."""
    of_aluminium = max(below, 1e-9) * (1.0 - ALUMINIUM)
    part = np.clip(np.clip((below - above) / of_aluminium, 0.0, 1.0) * shares, 0.0, 1.0)
    found: Floats = of_aluminium * np.sqrt(part * (1.0 - part) / sites)
    return found


def _two_levels(part: Floats, values: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Return the levels below and above for each trial step, shape (..., 2), and the losses."""
    weight = 1.0 / noise**2
    rest = 1.0 - part
    sums = [part**2, rest**2, part * rest, part * values, rest * values]
    aa, bb, ab, av, bv = ((term * weight).sum(axis=-1) for term in sums)
    determinant = aa * bb - ab**2
    known = np.abs(determinant) > 1e-9 * np.maximum(aa * bb, 1e-30)
    safe = np.where(known, determinant, 1.0)
    below, above = (bb * av - ab * bv) / safe, (aa * bv - ab * av) / safe
    # a film that is darker than aluminium: as dark as it may be, and the substrate anew
    dark = above < LEAST_RATIO * below
    both = part + LEAST_RATIO * rest
    least = (both * weight * values).sum(axis=-1) / (both**2 * weight).sum(axis=-1)
    below, above = np.where(dark, least, below), np.where(dark, LEAST_RATIO * least, above)
    left = values - below[..., None] * part - above[..., None] * rest
    losses = np.where(known, (left**2 * weight).sum(axis=-1), _flat_loss(values, noise))
    return np.stack([below, above], axis=-1), losses


def _flat_loss(values: Floats, noise: Floats) -> Floats:
    weight = 1.0 / noise**2
    mean = (weight * values).sum(axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True)
    found: Floats = (weight * (values - mean) ** 2).sum(axis=-1)
    return found


def _phi(x: Floats) -> Floats:
    """Return the normal distribution function; Abramowitz & Stegun 26.2.17, within 1e-7."""
    size = np.abs(x)
    t = 1.0 / (1.0 + 0.2316419 * size)
    series = t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    tail = np.exp(-0.5 * np.minimum(size, 38.0) ** 2) / math.sqrt(2.0 * math.pi) * series
    result: Floats = np.where(x >= 0, 1.0 - tail, tail)
    return result


def _moving_mean(values: Floats, length: float) -> Floats:
    """Return the mean over a window of a length that need not be whole, mirrored at the ends."""
    half = 0.5 * length
    pad = math.ceil(half) + 1
    padded = np.pad(values, pad, mode="symmetric")
    sums = np.concatenate([[0.0], np.cumsum(padded)])
    at = np.arange(values.size) + pad + 0.5
    grid = np.arange(sums.size)
    upper, lower = np.interp(at + half, grid, sums), np.interp(at - half, grid, sums)
    mean: Floats = (upper - lower) / length
    return mean
