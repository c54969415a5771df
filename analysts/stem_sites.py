"""Which sites of a lattice are short of atoms, or hold heavier ones, and how sure that is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.analysts.stem_columns import Fitted, Floats, Image, refine
from twinloop.analysts.stem_lattice import Lattice

__all__ = ["Occupation", "occupation_of"]

BORDER_A = 0.9
"""Sites closer to the edge of the image are not judged [A]."""

PRIOR = 0.01
"""Share of sites that one expects to be defective before looking."""

LOSSES = (0.5, 1.0)
"""What a column may have lost: one of two atoms, or all."""

NEAR = 0.35
"""A column is at a site when it is nearer than this part of the shortest vector."""


@dataclass(frozen=True, eq=False, slots=True)
class Occupation:
    """The sites of an image.

    Args:
        places: row and column, shape (n, 2) [px].
        site: which site of the cell, shape (n,).
        change: height relative to the same site elsewhere, less 1, shape (n,): -1 is empty.
        change_sd: shape (n,).
        loss: probability that atoms are missing, shape (n,).
    """

    places: Floats
    site: NDArray[np.int64]
    change: Floats
    change_sd: Floats
    loss: Floats


def occupation_of(image: Image, fitted: Fitted, lattice: Lattice) -> Occupation:
    """Return how every site of the lattice inside the image is occupied.

    Args:
        image: the image.
        fitted: its columns.
        lattice: their lattice.
    """
    cells, site = lattice.all_sites(
        (image.counts.shape[0], image.counts.shape[1]), BORDER_A / image.pixel_A
    )
    places = lattice.places(cells, site)
    shortest = float(np.hypot(lattice.vectors[:, 0], lattice.vectors[:, 1]).min())
    owner = _nearest(places, fitted.places, NEAR * shortest)
    found = owner >= 0
    places[found] = fitted.places[owner[found]]
    # Columns that are at no site stay in the picture, so that no site is given their light.
    others = np.setdiff1d(np.arange(fitted.places.shape[0]), owner[found])
    measured = refine(image, np.concatenate([places, fitted.places[others]]), hold=True)
    heights, noise = measured.heights[: places.shape[0]], measured.heights_sd[: places.shape[0]]
    change, change_sd = np.zeros(places.shape[0]), np.ones(places.shape[0])
    for kind in np.unique(site):
        same = site == kind
        usual = float(np.median(heights[same]))
        if usual <= 0:
            continue
        spread = 1.4826 * float(np.median(np.abs(heights[same] - usual)))
        typical = float(np.median(noise[same]))
        excess = np.sqrt(max(spread**2 - typical**2, 0.0))
        change[same] = heights[same] / usual - 1.0
        change_sd[same] = np.hypot(noise[same], excess) / usual
    return Occupation(places, site, change, change_sd, _loss(change, change_sd))


def _loss(change: Floats, change_sd: Floats) -> Floats:
    """Return the probability that a column has lost something, against that it has lost nothing."""

    def density(middle: float) -> Floats:
        away = np.clip((change - middle) / change_sd, -30.0, 30.0)
        # Tails of measured heights are longer than a normal distribution's.
        values: Floats = (1.0 + away**2 / 6.0) ** -3.5
        return values

    lost = sum(density(-loss) for loss in LOSSES) / len(LOSSES)
    probability: Floats = PRIOR * lost / (PRIOR * lost + (1.0 - PRIOR) * density(0.0))
    probability[change >= 0.0] = 0.0
    return probability


def _nearest(places: Floats, columns: Floats, far: float) -> NDArray[np.int64]:
    """Return the column at each place, -1 where there is none; no column at two places."""
    owner = np.full(places.shape[0], -1, dtype=np.int64)
    for start in range(0, places.shape[0], 512):
        part = places[start : start + 512]
        away = ((part[:, None] - columns[None]) ** 2).sum(axis=2)
        best = np.argmin(away, axis=1)
        near = away[np.arange(part.shape[0]), best] < far**2
        owner[start : start + 512] = np.where(near, best, -1)
    taken: dict[int, int] = {}
    for index, column in enumerate(owner):
        if column < 0:
            continue
        rival = taken.get(int(column))
        if rival is None:
            taken[int(column)] = index
            continue
        mine = ((places[index] - columns[column]) ** 2).sum()
        theirs = ((places[rival] - columns[column]) ** 2).sum()
        worse, better = (index, rival) if mine >= theirs else (rival, index)
        owner[worse] = -1
        taken[int(column)] = better
    return owner
