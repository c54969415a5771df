"""A surrogate of one truth, as good as knowing the truth allows.

The quality is a product (`film_quality`): how flat the film is, which only growths tell, and three
parts that are known formulas once theta is known. The surrogate learns the first from growths and
multiplies the others. It learns in coordinates in which films change slowly: ln of diffusion over
flux, ln flux, dose, ln of the anneal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.bench.gaussian_process import GaussianProcess
from twinloop.agents.bench.task import OBJECTIVE
from twinloop.planners.space import Space
from twinloop.simulators.film_quality import (
    BOLTZMANN_EV_PER_K,
    dose_part,
    film_part,
    interdiffusion_part,
    throughput_part,
)
from twinloop.simulators.kmc_growth import INTENSITY_DOSES_ML

__all__ = ["LEARNED", "Surrogate", "coordinates", "known_part", "learned_values"]

Floats = NDArray[np.float64]

FILM = "film"
LEARNED = (FILM, *INTENSITY_DOSES_ML)
"""What is learned from growths, in the order of the columns of a reference."""

_HOP_EV, _SHORT_S = 1.3, 3.0
_SPAN_DIFFUSION, _SPAN_FLUX, _SPAN_ANNEAL = 9.0, 4.0, 2.5


def learned_values(values: Mapping[str, float]) -> list[float]:
    """Return the columns of a reference from the values of a growth."""
    film = film_part(
        final_intensity=values["final_intensity"], intensity_2ML=values["intensity_2ML"]
    )
    return [film, *(values[name] for name in INTENSITY_DOSES_ML)]


def coordinates(space: Space, x: Floats) -> Floats:
    """Return places of the unit cube, shape (n, 4), in coordinates of order one, shape (n, 4)."""
    rows = []
    for place in x:
        knobs = space.to_point(place)
        log_flux = float(np.log(knobs["flux_ML_per_s"]))
        log_ratio = -_HOP_EV / (BOLTZMANN_EV_PER_K * knobs["substrate_K"]) - log_flux
        rows.append([
            log_ratio / _SPAN_DIFFUSION,
            log_flux / _SPAN_FLUX,
            knobs["dose_ML"],
            float(np.log1p(knobs["anneal_s"] / _SHORT_S)) / _SPAN_ANNEAL,
        ])  # fmt: skip
    return np.array(rows).reshape(-1, 4)


def known_part(space: Space, theta: Mapping[str, float], x: Floats) -> Floats:
    """Return the product of the known parts of the quality at places of the cube, shape (n,)."""
    found = []
    for place in x:
        knobs = space.to_point(place)
        growth_s = knobs["dose_ML"] / knobs["flux_ML_per_s"]
        total_s = growth_s + knobs["anneal_s"]
        found.append(
            throughput_part(growth_s=growth_s, anneal_s=knobs["anneal_s"])
            * interdiffusion_part(
                temperature_K=knobs["substrate_K"] + theta["thermocouple_offset_K"],
                time_s=total_s,
                log_interdiffusion_rate=theta["log_interdiffusion_rate"],
            )
            * dose_part(coverage_ML=knobs["dose_ML"] * float(np.exp(theta["log_flux_factor"])))
        )
    return np.array(found)


@dataclass(frozen=True)
class Surrogate:
    """Expected observables of one truth.

    Args:
        space: of the knobs, as the film feels them.
        theta: the truth.
        processes: of what is learned, by name; their places are `coordinates`.
    """

    space: Space
    theta: Mapping[str, float]
    processes: Mapping[str, GaussianProcess]

    def predict(self, name: str, x: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation of an observable at places of the cube, each of shape (n,)."""
        at = coordinates(self.space, x)
        if name != OBJECTIVE:
            return self.processes[name].predict(at)
        part = known_part(self.space, self.theta, x)
        mean, sd = self.processes[FILM].predict(at)
        return part * mean, part * sd

    def scatter(self, name: str, x: Floats) -> Floats:
        """Return the scatter from film to film, standard deviation, shape (n,)."""
        if name != OBJECTIVE:
            return np.full(len(x), self.processes[name].noise_sd)
        return known_part(self.space, self.theta, x) * self.processes[FILM].noise_sd

    def sampled_quality(self, x: Floats, n: int, rng: np.random.Generator) -> Floats:
        """Return `n` functions drawn from the posterior of the quality, shape (n, m)."""
        drawn = self.processes[FILM].sampled(coordinates(self.space, x), n, rng)
        return known_part(self.space, self.theta, x) * drawn
