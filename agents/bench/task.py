"""The task of the benchmark: one film, four knobs, its quality and what RHEED showed on the way."""

from abc import abstractmethod
from typing import Annotated

from twinloop.instruments.interface import Instrument, OnSilence, Recovery, action
from twinloop.limits import Limit
from twinloop.protocols.interface import Outcome, Point, Trial, protocol
from twinloop.results import Result
from twinloop.units import Dimensionless, Kelvin, Monolayers, MonolayersPerSecond, Seconds

__all__ = [
    "INTENSITIES",
    "OBJECTIVE",
    "OBSERVABLES",
    "FilmLab",
    "Growth",
    "SeenFilm",
    "measure_film",
]

OBJECTIVE = "quality"
INTENSITIES = {
    "intensity_0p75ML": 0.75,
    "intensity_1ML": 1.0,
    "intensity_1p5ML": 1.5,
    "intensity_2ML": 2.0,
    "intensity_2p5ML": 2.5,
    "intensity_3ML": 3.0,
}
"""Nominal dose [ML] of each intensity that is kept."""

OBSERVABLES = (OBJECTIVE, *INTENSITIES)

Substrate_K = Annotated[Kelvin, Limit(300, 1100)]
Flux_ML_per_s = Annotated[MonolayersPerSecond, Limit(0.001, 10)]
Dose_ML = Annotated[Monolayers, Limit(0, 20)]
Anneal_s = Annotated[Seconds, Limit(0, 600)]


class Growth(Point):
    """The knobs of one growth, as an operator sets them."""

    substrate_K: Kelvin
    flux_ML_per_s: MonolayersPerSecond
    dose_ML: Monolayers
    anneal_s: Seconds


class _Film(Result):
    quality: Dimensionless
    quality_sd: Dimensionless
    intensity_0p75ML: Dimensionless
    intensity_0p75ML_sd: Dimensionless
    intensity_1ML: Dimensionless
    intensity_1ML_sd: Dimensionless
    intensity_1p5ML: Dimensionless
    intensity_1p5ML_sd: Dimensionless
    intensity_2ML: Dimensionless
    intensity_2ML_sd: Dimensionless
    intensity_2p5ML: Dimensionless
    intensity_2p5ML_sd: Dimensionless
    intensity_3ML: Dimensionless
    intensity_3ML_sd: Dimensionless


class SeenFilm(Outcome):
    """What one experiment says: quality, intensities in units of the substrate's, deviations."""

    quality: Dimensionless
    quality_sd: Dimensionless
    intensity_0p75ML: Dimensionless
    intensity_0p75ML_sd: Dimensionless
    intensity_1ML: Dimensionless
    intensity_1ML_sd: Dimensionless
    intensity_1p5ML: Dimensionless
    intensity_1p5ML_sd: Dimensionless
    intensity_2ML: Dimensionless
    intensity_2ML_sd: Dimensionless
    intensity_2p5ML: Dimensionless
    intensity_2p5ML_sd: Dimensionless
    intensity_3ML: Dimensionless
    intensity_3ML_sd: Dimensionless


class FilmLab(Instrument, kind="film_lab"):
    """A laboratory in one instrument: it grows a film and judges it."""

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH, loads_sample=True)
    @abstractmethod
    async def measure(
        self,
        *,
        substrate_K: Substrate_K,
        flux_ML_per_s: Flux_ML_per_s,
        dose_ML: Dose_ML,
        anneal_s: Anneal_s,
    ) -> _Film:
        """Grow a film on a fresh substrate and tell all that is seen."""


@protocol(version=1)
async def measure_film(trial: Trial[Growth], film_lab: FilmLab) -> SeenFilm:
    """Grow and judge one film."""
    seen = await film_lab.measure(**trial.point.model_dump())
    return SeenFilm(**seen.model_dump())
