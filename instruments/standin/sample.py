"""One sample in the stand-in chamber: its film, what mixes below it, and what a detector sees.

Every random number depends on the chamber's seed, the sample and how often that was asked of the
sample; never on wall time or on the order of threads.

Interdiffusion is taken to show in the diffracted beam after the growth: atoms of the substrate that
have mixed in segregate to the surface while the film is measured, and take their share of the
coherent amplitude, exp(-x) with the x of `simulators.film_quality`. This is a stand-in for what a
probe of composition would measure; it makes the measured film quality carry that loss once. A chamber
whose films are looked at by instruments that see the interface sets `segregation: 0` instead: then its
diffraction tells of the topmost layers alone, as at glancing incidence.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.ids import seed_of
from twinloop.instruments.standin.settings import ChamberSettings, Truth
from twinloop.lattice_constants import MESH_A, MONOLAYER_A
from twinloop.simulators import film_quality, rheed
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.growth_budget import GrowthBudget
from twinloop.simulators.kmc import Advance, Film, GrowthParameters
from twinloop.simulators.specimen import Event, Specimen

__all__ = ["Sample", "SampleState", "View"]

CAMERA_GAIN = 0.02
"""Counts of the camera for one detected electron: a flat film's spot fills a sixth of its range in
a second [counts]."""
CAMERA_ELECTRONS_PER_S = 5.0e5
BACKGROUND = 0.05
CAMERA_DARK_COUNTS = 40.0


@dataclass(frozen=True, slots=True)
class View:
    """How gun and screen stand to a sample.

    Args:
        incidence_deg: glancing angle [deg]; None: the second anti-phase angle.
        azimuth_deg: see `rheed.frame` [deg].
        beam: part of its current that the gun delivers [1].
        screen: part of its light that the screen gives [1].
    """

    incidence_deg: float | None = None
    azimuth_deg: float = 0.0
    beam: float = 1.0
    screen: float = 1.0

    def incidence(self, energy_keV: float) -> float:
        """Return the glancing angle [deg]."""
        if self.incidence_deg is not None:
            return self.incidence_deg
        return rheed.antiphase_incidence_deg(energy_keV=energy_keV, step_height_A=MONOLAYER_A)

    def phase_rad(self, energy_keV: float) -> float:
        """Return the phase between layers in the specular beam [rad]."""
        angle_deg = self.incidence(energy_keV)
        return rheed.specular_phase_rad(
            energy_keV=energy_keV, incidence_deg=angle_deg, step_height_A=MONOLAYER_A
        )


STRAIGHT = View()


@dataclass(frozen=True, slots=True)
class SampleState:
    """Everything a sample is besides its chamber.

    Args:
        name, life, mixing: see `Sample`.
        asked: how often each of its random numbers was asked for.
        film: snapshot of the film.
        events: what has been done with it.
        cations: see `Sample`.
    """

    name: str
    life: int
    mixing: float
    asked: Mapping[str, int]
    film: Mapping[str, NDArray[Any]]
    events: Sequence[Event] = ()
    cations: Sequence[tuple[float, float]] = ()


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
        self.film = _substrate(settings, parameters, seed_of(self._seed, "film"))
        self._parameters = parameters
        # what arrived while layer k = 1, 2, ... formed: cations and aluminium among them [ML]
        self._cations: list[tuple[float, float]] = []
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
            tuple(self._cations),
        )

    def put_back(self, state: SampleState) -> None:
        """Take up the state of a sample of the same name and life."""
        self.mixing, self._asked = state.mixing, Counter(state.asked)
        self.events = list(state.events)
        self._cations = [(all_ML, aluminium_ML) for all_ML, aluminium_ML in state.cations]
        self.film = Film.restore(
            state.film, parameters=self.film.parameters, steps=self._settings.steps
        )

    def specimen(self) -> Specimen:
        """Return the sample as other instruments will meet it."""
        film = FilmStructure(self.grown(), self.aluminium(), self._mixing_ML())
        return Specimen(self.name, self._seed, film, tuple(self.events))

    def aluminium(self) -> NDArray[np.float64]:
        """Return the share of aluminium that arrived while layer k = 1, 2, ... formed, shape (n,)."""
        found = [aluminium / every for every, aluminium in self._cations if every > 0]
        shares: NDArray[np.float64] = np.clip(np.array(found or [1.0]), 0.0, 1.0)
        return shares

    def grown(self) -> NDArray[np.int32]:
        """Return what has grown on each site, shape (L, L) [ML]: the heights above the substrate's.

        A vicinal substrate is a staircase under the film.
        """
        if not self._settings.steps:
            return self.film.heights
        return self.film.heights - _staircase(self._settings.size, self._settings.steps)

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
        aluminium: float = 1.0,
    ) -> Advance:
        """Let time pass on the film at its true temperature [K] and flux [ML/s].

        Args:
            budget: of the growth or anneal.
            temperature_K: of the surface [K].
            flux_ML_per_s: arriving cations [ML/s].
            duration_s: of this slice [s].
            remaining_s: to the end of what the budget is for [s].
            cancel: True stops.
            aluminium: share of it in the flux, 0 to 1.
        """
        self._set_barrier(aluminium if flux_ML_per_s > 0 else float(self.aluminium()[-1]))
        below_ML = self.film.coverage_ML
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
        self._keep_cations(below_ML, self.film.coverage_ML, aluminium)
        return step

    def _set_barrier(self, aluminium: float) -> None:
        """Let gallium be faster than aluminium, in proportion."""
        cells = self._settings.cells
        if cells is not None and cells.gallium_barrier_eV:
            barrier_eV = self._truth.surface_barrier_eV + (1 - aluminium) * cells.gallium_barrier_eV
            self.film.parameters = replace(self._parameters, surface_barrier_eV=barrier_eV)

    def _keep_cations(self, below_ML: float, above_ML: float, aluminium: float) -> None:
        """Share out what has stayed, from one coverage to another, to the layers it belongs to."""
        below_ML = max(below_ML, 0.0)
        while below_ML < above_ML - 1e-12:
            layer = int(below_ML + 1e-12)
            part_ML = min(above_ML, layer + 1.0) - below_ML
            self._cations += [(0.0, 0.0)] * (layer + 1 - len(self._cations))
            every, of_aluminium = self._cations[layer]
            self._cations[layer] = (every + part_ML, of_aluminium + part_ML * aluminium)
            below_ML += part_ML

    def specular_sd(self, exposure_s: float) -> float:
        """Return the standard deviation of one reading [counts/s]."""
        detector = self._settings.detector
        white = detector.white_noise * np.sqrt(detector.exposure_s / exposure_s)
        return float(detector.counts_per_s * np.hypot(white, detector.floor_noise))

    def specular(
        self,
        rng: np.random.Generator,
        exposure_s: float,
        *,
        is_growing: bool = False,
        view: View = STRAIGHT,
    ) -> float:
        """Return one reading of the specular beam, at the anti-phase condition if not aimed otherwise.

        Returns:
            Intensity [counts/s].
        """
        coherent = self._coherent(view)
        coherent *= 1.0 if is_growing else self._left_of_the_beam()
        level = self._settings.detector.counts_per_s * self._beam * coherent
        level *= view.beam * view.screen
        return float(level + self.specular_sd(exposure_s) * rng.standard_normal())

    def _left_of_the_beam(self) -> float:
        """Return the intensity that atoms which have come up from the interface leave [1]."""
        return float(np.exp(-2.0 * self.mixing * self._settings.detector.segregation))

    def usual_counts_per_s(self, view: View) -> float:
        """Return what substrates like this one have always given; 0 when it is fresh no more."""
        is_fresh = self.film.time_s == 0.0
        return self._settings.detector.counts_per_s * self._coherent(view) if is_fresh else 0.0

    def _coherent(self, view: View) -> float:
        """Return the specular intensity of the film, a flat surface's = 1."""
        detector = self._settings.detector
        if detector.window_A is not None:
            return rheed.specular_spot(
                self.film.heights,
                phase_rad=view.phase_rad(detector.energy_keV),
                steps=self._settings.steps,
                window_sites=detector.window_A / MESH_A,
            )
        if view.incidence_deg is None:
            return rheed.antiphase_intensity(self.film.heights)
        phase_rad = view.phase_rad(detector.energy_keV)
        return rheed.specular_intensity(self.film.heights, phase_rad=phase_rad)

    def frame(
        self, rng: np.random.Generator, exposure_s: float, view: View = STRAIGHT
    ) -> NDArray[np.uint16]:
        """Return one frame of the camera, shape (rows, columns), (96, 96) without settings [counts]."""
        detector = self._settings.detector
        camera = detector.camera
        shape, pixel_deg, blur_px = (
            ((96, 96), 0.05, 1.0)
            if camera is None
            else (
                (camera.rows, camera.columns),
                camera.pixel_deg * (1.0 + camera.scale_error),
                camera.blur_px,
            )
        )
        elastic = rheed.frame(
            self.film.heights,
            energy_keV=detector.energy_keV,
            incidence_deg=view.incidence_deg,
            azimuth_deg=view.azimuth_deg,
            steps=self._settings.steps,
            shape=shape,
            pixel_deg=pixel_deg,
            blur_px=blur_px,
            background=0.0,
        )
        smooth = _inelastic(detector.energy_keV, view.incidence_deg, shape, pixel_deg, blur_px)
        expected = elastic * self._left_of_the_beam() + smooth
        return rheed.expose(
            expected * (self._beam * view.beam * view.screen),
            exposure_s=exposure_s,
            gain=CAMERA_GAIN,
            rng=rng,
            electrons_per_s=CAMERA_ELECTRONS_PER_S,
            dark_counts=CAMERA_DARK_COUNTS,
        )


def _substrate(settings: ChamberSettings, parameters: GrowthParameters, seed: int) -> Film:
    if not settings.steps:
        return Film.flat(size=settings.size, parameters=parameters, seed=seed)
    return Film.vicinal(size=settings.size, steps=settings.steps, parameters=parameters, seed=seed)


@lru_cache(maxsize=4)
def _staircase(size: int, steps: int) -> NDArray[np.int32]:
    """Return the heights of a fresh vicinal substrate, shape (L, L) [ML]."""
    levels = ((np.arange(size) * steps) // size).astype(np.int32)
    return np.broadcast_to(levels, (size, size))


@lru_cache(maxsize=4)
def _inelastic(
    energy_keV: float,
    incidence_deg: float | None,
    shape: tuple[int, int],
    pixel_deg: float,
    blur_px: float,
) -> NDArray[np.float64]:
    """Return the smooth background on the screen, in units of a flat surface's maximum [1]."""
    flat = np.zeros((8, 8), dtype=np.int32)
    bright, dark = (
        rheed.frame(
            flat,
            energy_keV=energy_keV,
            incidence_deg=incidence_deg,
            shape=shape,
            pixel_deg=pixel_deg,
            blur_px=blur_px,
            background=part,
        )
        for part in (BACKGROUND, 0.0)
    )
    return bright - dark
