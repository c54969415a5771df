"""Grow one film and judge it: what a single trial does."""

from twinloop.analysts.rheed import RHEEDAnalyst
from twinloop.instruments.mbe.interface import MBE, Dose_ML, Flux_ML_per_s, Hold_s, Substrate_K
from twinloop.instruments.rheed.interface import RHEED
from twinloop.protocols.interface import Outcome, Point, Trial, protocol, together
from twinloop.results import Array, Result
from twinloop.units import Dimensionless, Kelvin, Monolayers, MonolayersPerSecond, Seconds

__all__ = ["Film", "Growth", "Traced", "grow_film"]


class Growth(Point):
    """The knobs of one growth, as the chamber's own instruments show them, within its limits."""

    substrate_K: Substrate_K
    flux_ML_per_s: Flux_ML_per_s
    dose_ML: Dose_ML
    anneal_s: Hold_s


class Traced(Outcome):
    """Intensities while a film grew, at doses that the gauge counted, substrate = 1, and deviations.

    They are what theory of the growth is held to, beside the objective.
    """

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


class Film(Traced):
    """What RHEED says of the film.

    Args:
        quality: the objective: flat at the end, flat while it grew, in little time, of 4 ML.
        quality_sd: its standard deviation.
        final_intensity: specular intensity after the anneal, substrate = 1.
        coverage_ML: film thickness from the oscillations.
        rate_ML_per_s: growth rate that the gauge read.
        growth_s: how long the shutter was open.
        anneal_s: how long the film was annealed.
        substrate_K: mean thermocouple reading during the growth.
    """

    quality: Dimensionless
    quality_sd: Dimensionless
    final_intensity: Dimensionless
    final_intensity_sd: Dimensionless
    coverage_ML: Monolayers
    rate_ML_per_s: MonolayersPerSecond
    growth_s: Seconds
    anneal_s: Seconds
    substrate_K: Kelvin


@protocol(version=2)
async def grow_film(trial: Trial[Growth], mbe: MBE, rheed: RHEED, analyst: RHEEDAnalyst) -> Film:
    """Each awaited line is done once, kept in the journal, and never repeated after a crash."""
    point = trial.point
    await mbe.load()
    await mbe.heat(substrate_K=point.substrate_K)
    grown, trace = await together(
        mbe.grow(flux_ML_per_s=point.flux_ML_per_s, dose_ML=point.dose_ML),
        rheed.record(wait_s=600.0),
    )
    await mbe.anneal(hold_s=point.anneal_s)
    specular = await rheed.specular(exposure_s=2.0)
    frame = await rheed.expose(exposure_s=1.0)
    await trial.release(mbe, rheed)  # the next film may begin while this one is judged
    seen = await analyst.film_quality(
        time_s=trace.time_s,
        intensity=trace.intensity,
        rate_ML_per_s=grown.rate_ML_per_s,
        growth_s=grown.growth_s,
        anneal_s=point.anneal_s,
        specular=specular.intensity,
        specular_sd=specular.intensity_sd,
    )
    along, _, _ = await together(
        analyst.trace_intensities(
            time_s=trace.time_s, intensity=trace.intensity, rate_ML_per_s=grown.rate_ML_per_s
        ),
        analyst.oscillation(
            time_s=trace.time_s, intensity=trace.intensity, rate_ML_per_s=grown.rate_ML_per_s
        ),
        _spot(analyst, frame),
    )
    return Film(
        quality=seen.quality,
        quality_sd=seen.quality_sd,
        final_intensity=seen.final_intensity,
        final_intensity_sd=seen.final_intensity_sd,
        **along.model_dump(),
        coverage_ML=seen.coverage_ML,
        rate_ML_per_s=grown.rate_ML_per_s,
        growth_s=grown.growth_s,
        anneal_s=point.anneal_s,
        substrate_K=grown.substrate_K,
    )


async def _spot(analyst: RHEEDAnalyst, frame: Array) -> Result:
    """Judge the camera's frame beside the trace; kept in the journal for the report."""
    return await analyst.spot_intensity(frame=frame)
