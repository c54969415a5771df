"""Hidden truths: what a world is really like, and what one experiment in it shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from twinloop.agents.bench.growths import Growths
from twinloop.agents.bench.surrogate import Surrogate
from twinloop.agents.bench.task import OBJECTIVE, OBSERVABLES
from twinloop.ids import seed_of
from twinloop.planners.simulations import Prior

__all__ = ["EmulatedFilms", "Films", "Noise", "RealFilms", "Thermocouple", "World", "drawn_truth"]


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of a measurement, and what the laboratory says its results are good for.

    Args:
        quality, intensity: standard deviation that is added to each [1].
        quality_sd, intensity_sd: what is reported: with the scatter from film to film [1].
    """

    quality: float
    intensity: float
    quality_sd: float
    intensity_sd: float

    def sd(self, name: str) -> float:
        """Return the deviation that is added to an observable [1]."""
        return self.quality if name == OBJECTIVE else self.intensity

    def reported_sd(self, name: str) -> float:
        """Return the deviation that is reported with an observable [1]."""
        return self.quality_sd if name == OBJECTIVE else self.intensity_sd


@dataclass(frozen=True, slots=True)
class Thermocouple:
    """What the film feels of the temperature that is asked for.

    Args:
        mirror_K: None: what is read; else the temperature round which the reading is turned, so
            that the film is at 2 * mirror_K - reading.
    """

    mirror_K: float | None = None

    def knobs(self, point: Mapping[str, float]) -> dict[str, float]:
        """Return the knobs as the film feels them."""
        if self.mirror_K is None:
            return dict(point)
        return {**point, "substrate_K": 2.0 * self.mirror_K - point["substrate_K"]}


def drawn_truth(prior: Mapping[str, Prior], seed: int) -> dict[str, float]:
    """Return theta of one truth: each parameter from its prior, drawn again outside its bounds."""
    theta = {}
    for name, belief in sorted(prior.items()):
        rng = np.random.default_rng(seed_of(seed, "truth", name))
        value = float("nan")
        while not belief.at_least <= value <= belief.at_most:
            value = float(rng.normal(belief.mean, belief.sd))
        theta[name] = value
    return theta


class Films(Protocol):
    """What a film shows, with the scatter from film to film, without that of the measurement."""

    def show(self, knobs: Mapping[str, float], number: int) -> dict[str, float]:
        """Return the observables of film `number` at the knobs as it feels them."""
        ...


@dataclass(frozen=True)
class RealFilms:
    """Films that are grown atom by atom.

    Args:
        growths: the simulator.
        theta: the truth.
        seed: of the world; with the number of a film it decides about its atoms.
    """

    growths: Growths
    theta: Mapping[str, float]
    seed: int

    def show(self, knobs: Mapping[str, float], number: int) -> dict[str, float]:
        """Grow a film."""
        return dict(self.growths.grow(knobs, self.theta, seed_of(self.seed, "film", number)).values)


@dataclass(frozen=True)
class EmulatedFilms:
    """Films of a smooth surrogate, scattered as real ones are on average.

    Args:
        surrogate: of the truth.
        seed: of the world.
    """

    surrogate: Surrogate
    seed: int

    def show(self, knobs: Mapping[str, float], number: int) -> dict[str, float]:
        """Look a film up."""
        at = self.surrogate.space.to_cube(knobs)[None, :]
        rng = np.random.default_rng(seed_of(self.seed, "scatter", number))
        shown = {}
        for name in OBSERVABLES:
            mean, _ = self.surrogate.predict(name, at)
            scatter = self.surrogate.scatter(name, at)
            shown[name] = float(mean[0] + scatter[0] * rng.standard_normal())
        return shown


@dataclass(frozen=True)
class World:
    """What an experiment shows: common random numbers, whatever the planner.

    Args:
        films: what grows.
        noise: of the measurement.
        seed: of the world; with the number of the experiment it decides about the noise.
        thermocouple: how the film feels the temperature.
    """

    films: Films
    noise: Noise
    seed: int
    thermocouple: Thermocouple = field(default_factory=Thermocouple)

    def measure(self, point: Mapping[str, float], number: int) -> dict[str, float]:
        """Return the outcome of experiment `number` at the knobs of the operator."""
        shown = self.films.show(self.thermocouple.knobs(point), number)
        rng = np.random.default_rng(seed_of(self.seed, "measurement", number))
        outcome = {}
        for name in OBSERVABLES:
            outcome[name] = shown[name] + self.noise.sd(name) * float(rng.standard_normal())
            outcome[f"{name}_sd"] = self.noise.reported_sd(name)
        return outcome
