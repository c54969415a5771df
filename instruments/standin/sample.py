"""One sample in the stand-in chamber: its film, what mixes below it, and what a detector sees.

Every random number depends on the chamber's seed, the sample and how often that was asked of the
sample; never on wall time or on the order of threads.

Interdiffusion is taken to show in the diffracted beam after the growth: atoms of the substrate that
have mixed in segregate to the surface while the film is measured, and take their share of the
coherent amplitude, exp(-x) with the x of `simulators.film_quality`. This is a stand-in for what a
probe of composition would measure; it makes the measured film quality carry that loss once.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.ids import seed_of
from twinloop.instruments.standin.settings import ChamberSettings, Truth
from twinloop.simulators import film_quality, rheed
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.growth_budget import GrowthBudget
from twinloop.simulators.kmc import Advance, Film, GrowthParameters
from twinloop.simulators.specimen import Event, Specimen

__all__ = ["Sample", "SampleState"]

CAMERA_GAIN = 0.02
"""Counts of the camera for one detected electron: a flat film's spot fills a sixth of its range in
a second [counts]."""
CAMERA_ELECTRONS_PER_S = 5.0e5
BACKGROUND = 0.05
CAMERA_DARK_COUNTS = 40.0


@dataclass(frozen=True, slots=True)
class SampleState:
    """Everything a sample is besides its chamber.

    Args:
        name, life, mixing: see `Sample`.
        asked: how often each of its random numbers was asked for.
        film: snapshot of the film.
        events: what has been done with it.
    """

    name: str
    life: int
    mixing: float
    asked: Mapping[str, int]
    film: Mapping[str, NDArray[Any]]
    events: Sequence[Event] = ()


class Sample:
    """A substrate and what has grown on it.

    Args:
        name: of the sample.
        life: how many samples of that name were in before.
        settings: of the chamber.
        truth: of the chamber.
    """

    def __init__(self, name: str, life: int, settings: ChamberSettings, truth: Truth) -> None:
        self.name, self.life, self._settings, self._truth = name, life, settings, truth
        self._seed = seed_of(settings.seed, name, life)
        self._asked: Counter[str] = Counter()
        parameters = GrowthParameters(
            surface_barrier_eV=truth.surface_barrier_eV,
            bond_energy_eV=truth.bond_energy_eV,
            step_barrier_eV=truth.step_barrier_eV,
            desorption_energy_eV=truth.desorption_energy_eV,
            attempt_frequency_per_s=truth.attempt_frequency_per_s,
            multi_hop=settings.multi_hop,
        )
        self.film = Film.flat(
            size=settings.size, parameters=parameters, seed=seed_of(self._seed, "film")
        )
        self.mixing = 0.0
        self.events: list[Event] = []
        spread = settings.detector.beam_spread
        self._beam = float(np.exp(spread * self.random("beam").standard_normal()))

    def state(self) -> SampleState:
        """Return what `put_back` makes the same sample of."""
        return SampleState(
            self.name,
            self.life,
            self.mixing,
            dict(self._asked),
            self.film.snapshot(),
            tuple(self.events),
        )

    def put_back(self, state: SampleState) -> None:
        """Take up the state of a sample of the same name and life."""
        self.mixing, self._asked = state.mixing, Counter(state.asked)
        self.events = list(state.events)
        self.film = Film.restore(state.film, parameters=self.film.parameters)

    def specimen(self) -> Specimen:
        """Return the sample as other instruments will meet it."""
        film = FilmStructure(
            np.array(self.film.heights, dtype=np.int32), self.aluminium(), self._mixing_ML()
        )
        return Specimen(self.name, self._seed, film, tuple(self.events))

    def aluminium(self) -> NDArray[np.float64]:
        """Return the share of aluminium that arrived while layer k = 1, 2, ... formed, shape (n,)."""
        return np.ones(1)

    def _mixing_ML(self) -> float:
        """Return how far atoms have crossed the interface, standard deviation [ML].

        The part that has changed places, 1 - exp(-x), is that of one plane: a random walk of planes
        of x steps on average spreads as sqrt(x).
        """
        return float(np.sqrt(self.mixing))

    def remember(self, what: str, key: str, **numbers: float) -> None:
        """Add what has been done with the sample to its history."""
        self.events.append(Event(what, "mbe", key, numbers))

    def random(self, what: str) -> np.random.Generator:
        """Return the random numbers of the next operation of that name on this sample."""
        self._asked[what] += 1
        return np.random.default_rng(seed_of(self._seed, what, self._asked[what]))

    def budget(self) -> GrowthBudget:
        """Return the events that one growth or anneal may cost."""
        return GrowthBudget(max_events=self._settings.max_events)

    def advance(
        self,
        budget: GrowthBudget,
        *,
        temperature_K: float,
        flux_ML_per_s: float,
        duration_s: float,
        remaining_s: float,
        cancel: Callable[[], bool],
    ) -> Advance:
        """Let time pass on the film at its true temperature [K] and flux [ML/s]."""
        step = budget.advance(
            self.film,
            temperature_K=temperature_K,
            flux_ML_per_s=flux_ML_per_s,
            duration_s=duration_s,
            remaining_s=max(remaining_s, duration_s),
            cancel=cancel,
        )
        left = film_quality.interdiffusion_part(
            temperature_K=temperature_K,
            time_s=step.elapsed_s,
            log_interdiffusion_rate=self._truth.log_interdiffusion_rate,
        )
        self.mixing -= float(np.log(max(left, 1e-300)))
        return step

    def specular_sd(self, exposure_s: float) -> float:
        """Return the standard deviation of one reading [counts/s]."""
        detector = self._settings.detector
        white = detector.white_noise * np.sqrt(detector.exposure_s / exposure_s)
        return float(detector.counts_per_s * np.hypot(white, detector.floor_noise))

    def specular(
        self, rng: np.random.Generator, exposure_s: float, *, is_growing: bool = False
    ) -> float:
        """Return one reading of the specular beam at the anti-phase condition [counts/s]."""
        coherent = rheed.antiphase_intensity(self.film.heights)
        coherent *= 1.0 if is_growing else float(np.exp(-2.0 * self.mixing))
        level = self._settings.detector.counts_per_s * self._beam * coherent
        return float(level + self.specular_sd(exposure_s) * rng.standard_normal())

    def frame(self, rng: np.random.Generator, exposure_s: float) -> NDArray[np.uint16]:
        """Return one frame of the camera, shape (96, 96) [counts]."""
        energy_keV = self._settings.detector.energy_keV
        elastic = rheed.frame(self.film.heights, energy_keV=energy_keV, background=0.0)
        expected = elastic * np.exp(-2.0 * self.mixing) + _inelastic(energy_keV)
        return rheed.expose(
            expected * self._beam,
            exposure_s=exposure_s,
            gain=CAMERA_GAIN,
            rng=rng,
            electrons_per_s=CAMERA_ELECTRONS_PER_S,
            dark_counts=CAMERA_DARK_COUNTS,
        )


@lru_cache(maxsize=4)
def _inelastic(energy_keV: float) -> NDArray[np.float64]:
    """Return the smooth background on the screen, in units of a flat surface's maximum [1]."""
    flat = np.zeros((8, 8), dtype=np.int32)
    bright = rheed.frame(flat, energy_keV=energy_keV, background=BACKGROUND)
    return bright - rheed.frame(flat, energy_keV=energy_keV, background=0.0)
