"""Grow a film, look at it as far as it is worth it, and say how good it is.

The point says how to grow and which of three looks to take: `look_stm`, `look_xrd`, `look_stem`, each
taken at 0.5 and above; what a look costs in hours stands in the laboratory file, with its instrument.
RHEED watches every film. The film goes to the tip first, while its surface is clean, then to the X-rays,
which do it no harm, and to the electron beam last, because a lamella is cut out of it there. Instruments
that are not asked are given back at once, the others one by one, so that the next film grows while this
one is looked at.

A film that was looked at is judged twice: by all that was seen of it, and by diffraction alone, as a
film that nobody looked at would have been. The difference is what the looks were worth.
"""

from twinloop.analysts.film import FilmAnalyst, FilmBelief
from twinloop.analysts.rheed import RHEEDAnalyst
from twinloop.analysts.stem import STEMAnalyst
from twinloop.analysts.stm import STMAnalyst
from twinloop.analysts.xrd import XRDAnalyst
from twinloop.instruments.mbe.interface import MBE, Dose_ML, Flux_ML_per_s, Hold_s, Substrate_K
from twinloop.instruments.rheed.interface import RHEED
from twinloop.instruments.stem.interface import STEM
from twinloop.instruments.stm.interface import STM
from twinloop.instruments.xrd.interface import XRD
from twinloop.protocols.interface import Outcome, Point, Trial, protocol
from twinloop.protocols.sights import Sight, by_beam, by_tip, by_xrays, nothing, watched_growth
from twinloop.protocols.transfer import move
from twinloop.units import Dimensionless, Kelvin, Monolayers, Seconds

__all__ = ["Judged", "Looked", "grow_and_look"]


Place = tuple[MBE | STM | XRD | STEM, *tuple[RHEED, ...]]


class Looked(Point):
    """How to grow a film, and what to look at it with: a look is taken at 0.5 and above."""

    substrate_K: Substrate_K
    flux_ML_per_s: Flux_ML_per_s
    dose_ML: Dose_ML
    anneal_s: Hold_s
    look_stm: Dimensionless
    look_xrd: Dimensionless
    look_stem: Dimensionless


class Judged(Outcome):
    """What all instruments together say of the film.

    Args:
        merit: the objective: smooth, abrupt, and 6 ML thick.
        merit_sd: its standard deviation; smaller the more was looked at.
        merit_blind: what it would have been said to be without any look.
        roughness_ML: root mean square roughness.
        interface_ML: standard deviation of the interface profile.
        thickness_ML: thickness of the film.
        rheed_intensity: specular intensity after the anneal, substrate = 1.
        growth_s: how long the shutter was open.
        substrate_K: mean thermocouple reading during the growth.
    """

    merit: Dimensionless
    merit_sd: Dimensionless
    merit_blind: Dimensionless
    merit_blind_sd: Dimensionless
    roughness_ML: Monolayers
    roughness_ML_sd: Monolayers
    interface_ML: Monolayers
    interface_ML_sd: Monolayers
    thickness_ML: Monolayers
    thickness_ML_sd: Monolayers
    rheed_intensity: Dimensionless
    rheed_intensity_sd: Dimensionless
    growth_s: Seconds
    substrate_K: Kelvin


@protocol(version=2, looks={"look_stm": "stm", "look_xrd": "xrd", "look_stem": "stem"})
async def grow_and_look(
    trial: Trial[Looked],
    mbe: MBE,
    rheed: RHEED,
    stm: STM,
    xrd: XRD,
    stem: STEM,
    rheed_analyst: RHEEDAnalyst,
    stm_analyst: STMAnalyst,
    xrd_analyst: XRDAnalyst,
    stem_analyst: STEMAnalyst,
    film_analyst: FilmAnalyst,
) -> Judged:
    """Each awaited line is done once, kept in the journal, and never repeated after a crash."""
    point = trial.point
    looks = {
        stm: point.look_stm >= 0.5,
        xrd: point.look_xrd >= 0.5,
        stem: point.look_stem >= 0.5,
    }
    unasked = [instrument for instrument, is_asked in looks.items() if not is_asked]
    if unasked:
        await trial.release(*unasked)
    grown = await watched_growth(mbe, rheed, rheed_analyst, point)
    tip, rays, beam = nothing(), nothing(), nothing()
    # where the film is, and with it whatever else belongs to that place
    here: Place = (mbe, rheed)
    if looks[stm]:
        here = await _pass_on(trial, here, stm)
        tip = await by_tip(stm, stm_analyst)
    if looks[xrd]:
        here = await _pass_on(trial, here, xrd)
        rays = await by_xrays(xrd, xrd_analyst)
    if looks[stem]:
        here = await _pass_on(trial, here, stem)
        beam = await by_beam(stem, stem_analyst)
    if here[0] is not mbe:
        await here[0].give()
    await trial.release(*here)
    return await _judged(film_analyst, grown, tip, rays, beam)


async def _pass_on(trial: Trial[Looked], here: Place, target: STM | XRD | STEM) -> Place:
    """Move the film, and give back the instruments at the place that it left."""
    await move(here[0], target)
    await trial.release(*here)
    return (target,)


async def _judged(
    analyst: FilmAnalyst, grown: Sight, tip: Sight, rays: Sight, beam: Sight
) -> Judged:
    blind = await _told(analyst, grown, nothing(), nothing(), nothing())
    is_looked_at = any(sight.values for sight in (tip, rays, beam))
    seen = await _told(analyst, grown, tip, rays, beam) if is_looked_at else blind
    return Judged(
        **seen.model_dump(),
        merit_blind=blind.merit,
        merit_blind_sd=blind.merit_sd,
        rheed_intensity=grown.value("intensity"),
        rheed_intensity_sd=grown.sd("intensity"),
        growth_s=grown.value("growth"),
        substrate_K=grown.value("substrate"),
    )


async def _told(
    analyst: FilmAnalyst, grown: Sight, tip: Sight, rays: Sight, beam: Sight
) -> FilmBelief:
    return await analyst.film(
        rheed=grown.value("intensity"),
        rheed_sd=grown.sd("intensity"),
        coverage_ML=grown.value("thickness"),
        coverage_ML_sd=grown.sd("thickness"),
        substrate_K=grown.value("substrate"),
        hot_s=grown.value("hot"),
        stm_roughness_ML=tip.get("roughness"),
        stm_roughness_ML_sd=tip.get_sd("roughness"),
        xrd_thickness_ML=rays.get("thickness"),
        xrd_thickness_ML_sd=rays.get_sd("thickness"),
        stem_thickness_ML=beam.get("thickness"),
        stem_thickness_ML_sd=beam.get_sd("thickness"),
        stem_interface_ML=beam.get("interface"),
        stem_interface_ML_sd=beam.get_sd("interface"),
    )
