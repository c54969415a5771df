"""A protocol for kill tests: a film is grown, and passed on through two instruments."""

from twinloop.instruments.mbe.interface import MBE
from twinloop.instruments.xrd.interface import XRD
from twinloop.protocols.interface import Outcome, Point, Trial, protocol
from twinloop.protocols.transfer import move
from twinloop.units import MonolayersPerSecond

__all__ = ["PassedOn", "Way", "pass_on"]


class Way(Point):
    """How fast the film grows."""

    flux_ML_per_s: MonolayersPerSecond


class PassedOn(Outcome):
    """How fast it grew; that the trial ends says that the film came through."""

    rate_ML_per_s: MonolayersPerSecond


@protocol(version=1)
async def pass_on(trial: Trial[Way], mbe: MBE, first: XRD, second: XRD) -> PassedOn:
    """Grow, pass on to one instrument, then to the other, and leave it in the vessel."""
    await mbe.load()
    grown = await mbe.grow(flux_ML_per_s=trial.point.flux_ML_per_s, dose_ML=1.0)
    await move(mbe, first)
    await trial.release(mbe)
    await move(first, second)
    await trial.release(first)
    await second.give()
    return PassedOn(rate_ML_per_s=grown.rate_ML_per_s)
