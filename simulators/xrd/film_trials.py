"""Scans of films whose truth is known: what an analyst of thickness is judged on.

Thickness, composition, roughness, interdiffusion, layer spacing, zero error, counting time and the
reflection are all drawn from a seed; the film is a height map, not the profile that an analyst's
model may have.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twinloop.simulators.film_structure import FilmStructure, film_monolayer_A
from twinloop.simulators.xrd.film import Optics, PlaneStack, expected_counts_per_s
from twinloop.simulators.xrd.grown_film import planes_of_film

__all__ = ["FilmTrial", "film_trial"]

SIZE = 48
THICKNESS_ML = (3.0, 40.0)
ALUMINIUM = (0.2, 1.0)
BLUR_ML = (0.2, 1.5)
MIXING_ML = (0.0, 1.0)
COUNT_S = (1.0, 20.0)
SPACING_SD = 0.0015
"""Relative deviation of the layer spacing from a coherent film's [1]: composition and defects that
Vegard's law and elasticity do not know."""

ZERO_SD_DEG = 0.02
RANGES_DEG = {"002": (25.0, 39.0), "004": (59.0, 74.0)}
STEP_DEG = 0.05
SHARE_OF_004 = 0.3


@dataclass(frozen=True, eq=False, slots=True)
class FilmTrial:
    """A scan and the truth behind it.

    Args:
        order: "002" or "004".
        two_theta_deg: what the scale shows, shape (n,) [deg].
        counts: shape (n,) [counts].
        count_s: counting time of a point [s].
        truth: "thickness_ML", "thickness_A", "spacing_A", "aluminium", "roughness_ML".
    """

    order: str
    two_theta_deg: NDArray[np.float64]
    counts: NDArray[np.int64]
    count_s: float
    truth: dict[str, float]


def film_trial(seed: int) -> FilmTrial:
    """Return one scan; the same for the same seed."""
    rng = np.random.default_rng(seed)
    film = _film(rng)
    sample, stretch = planes_of_film(film), 1.0 + SPACING_SD * rng.standard_normal()
    z_A = np.where(sample.film.z_A > 0, sample.film.z_A * stretch, sample.film.z_A)
    planes = sample.film
    stretched = PlaneStack(z_A, planes.numbers, planes.occupancy, planes.rms_A)
    order = "004" if rng.random() < SHARE_OF_004 else "002"
    angles = np.arange(*RANGES_DEG[order], STEP_DEG)
    zero_deg = ZERO_SD_DEG * rng.standard_normal()
    count_s = float(np.exp(rng.uniform(*np.log(COUNT_S))))
    rates = expected_counts_per_s(replace(sample, film=stretched), angles - zero_deg, Optics())
    spacing_A = float(film_monolayer_A(film.aluminium)[0]) * stretch
    return FilmTrial(
        order=order,
        two_theta_deg=angles,
        counts=rng.poisson(rates * count_s),
        count_s=count_s,
        truth={
            "thickness_ML": film.coverage_ML,
            "thickness_A": film.coverage_ML * spacing_A,
            "spacing_A": spacing_A,
            "aluminium": float(film.aluminium[0]),
            "roughness_ML": film.roughness_ML,
        },
    )


def _film(rng: np.random.Generator) -> FilmStructure:
    mean_ML, blur_ML = rng.uniform(*THICKNESS_ML), rng.uniform(*BLUR_ML)
    # adding a uniform part of a layer before the floor keeps the mean of the integer heights
    smooth = mean_ML + blur_ML * rng.standard_normal((SIZE, SIZE)) + rng.random((SIZE, SIZE))
    heights = np.maximum(np.floor(smooth), 0).astype(np.int32)
    aluminium = np.array([rng.uniform(*ALUMINIUM)])
    return FilmStructure(heights, aluminium, float(rng.uniform(*MIXING_ML)))
