"""The task of the benchmark: one film, four knobs, its quality and what RHEED showed on the way."""

from abc import abstractmethod
from typing import Annotated

from twinloop.instruments.interface import Instrument, OnSilence, Recovery, action
from twinloop.limits import Limit
from twinloop.protocols.grow_film import Growth, Traced
from twinloop.protocols.interface import Trial, protocol
from twinloop.results import Result
from twinloop.simulators.kmc_growth import INTENSITY_DOSES_ML
from twinloop.units import Dimensionless, Kelvin, Monolayers, MonolayersPerSecond, Seconds

__all__ = [
    "OBJECTIVE",
    "OBSERVABLES",
    "FilmLab",
    "Growth",
    "SeenFilm",
    "measure_film",
]

OBJECTIVE = "quality"
OBSERVABLES = (OBJECTIVE, *INTENSITY_DOSES_ML)

Substrate_K = Annotated[Kelvin, Limit(300, 1100)]
Flux_ML_per_s = Annotated[MonolayersPerSecond, Limit(0.001, 10)]
Dose_ML = Annotated[Monolayers, Limit(0, 20)]
Anneal_s = Annotated[Seconds, Limit(0, 600)]


class SeenFilm(Traced):
    """What one experiment says: quality, intensities in units of the substrate's, deviations."""

    quality: Dimensionless
    quality_sd: Dimensionless


class _Film(SeenFilm, Result):
    """The same as an action returns it."""


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
