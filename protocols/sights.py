"""What one instrument sees of a film: a few awaited lines for each, to be made part of protocols.

Each takes an instrument with the film in it and an analyst, and returns a `Sight`: numbers with their
standard deviations, by name. An instrument that sees nothing says so by a deviation as wide as the
quantity itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinloop.analysts.rheed import RHEEDAnalyst
from twinloop.analysts.stem import STEMAnalyst
from twinloop.analysts.stm import STMAnalyst
from twinloop.analysts.xrd import XRDAnalyst
from twinloop.instruments.mbe.interface import MBE
from twinloop.instruments.rheed.interface import RHEED
from twinloop.instruments.stem.interface import STEM
from twinloop.instruments.stm.interface import STM
from twinloop.instruments.xrd.interface import XRD
from twinloop.protocols.interface import Point, together

__all__ = ["Sight", "by_beam", "by_tip", "by_xrays", "nothing", "watched_growth"]

SUBSTRATE_002_DEG = 31.63
"""Where GaAs (002) reflects copper's K alpha [deg]."""

SCAN_A, SCAN_PIXELS, LINE_S = 300.0, 128, 0.5
FIELD_A, FIELD_PIXELS, DWELL_US = 90.0, 288, 20.0
"""Of the image of a lamella. The field holds substrate, film and some nanometres of vacuum: where no
empty plane is in it, nobody can say where a film ends."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Numbers with standard deviations, by name.

    Args:
        values: by name.
        sds: by name, where there is one.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    sds: Mapping[str, float] = field(default_factory=dict)

    def value(self, name: str) -> float:
        """Return a number that is there."""
        return self.values[name]

    def sd(self, name: str) -> float:
        """Return the standard deviation of a number that has one."""
        return self.sds[name]

    def get(self, name: str) -> float | None:
        """Return a number, None where nobody looked."""
        return self.values.get(name)

    def get_sd(self, name: str) -> float | None:
        """Return its standard deviation, None where nobody looked."""
        return self.sds.get(name)


def nothing() -> Sight:
    """Return what is seen without a look."""
    return Sight()


class GrowthPoint(Point):
    """What `watched_growth` needs of a point."""

    substrate_K: float
    flux_ML_per_s: float
    dose_ML: float
    anneal_s: float


async def watched_growth(mbe: MBE, rheed: RHEED, analyst: RHEEDAnalyst, point: object) -> Sight:
    """Load, heat, grow under RHEED, anneal; say how bright and how thick the film is.

    Args:
        mbe: the chamber.
        rheed: its diffraction.
        analyst: of the trace.
        point: with substrate_K, flux_ML_per_s, dose_ML and anneal_s.
    """
    asked = GrowthPoint.model_validate(
        {name: getattr(point, name) for name in GrowthPoint.model_fields}
    )
    await mbe.load()
    await mbe.heat(substrate_K=asked.substrate_K)
    grown, trace = await together(
        mbe.grow(flux_ML_per_s=asked.flux_ML_per_s, dose_ML=asked.dose_ML),
        rheed.record(wait_s=600.0),
    )
    await mbe.anneal(hold_s=asked.anneal_s)
    specular = await rheed.specular(exposure_s=2.0)
    await rheed.expose(exposure_s=1.0)
    seen = await analyst.film_quality(
        time_s=trace.time_s,
        intensity=trace.intensity,
        rate_ML_per_s=grown.rate_ML_per_s,
        growth_s=grown.growth_s,
        anneal_s=asked.anneal_s,
        specular=specular.intensity,
        specular_sd=specular.intensity_sd,
    )
    return Sight(
        {
            "intensity": seen.final_intensity,
            "thickness": seen.coverage_ML,
            "substrate": grown.substrate_K,
            "growth": grown.growth_s,
            "hot": grown.growth_s + asked.anneal_s,
        },
        {"intensity": seen.final_intensity_sd, "thickness": seen.coverage_sd_ML},
    )


async def by_tip(stm: STM, analyst: STMAnalyst) -> Sight:
    """Approach, take one image of the surface, retract; say how rough the film is."""
    await stm.approach()
    await stm.set_feedback(setpoint_nA=0.1, bias_V=1.0)
    image = await stm.scan(
        width_A=SCAN_A,
        height_A=SCAN_A,
        pixels_x=SCAN_PIXELS,
        pixels_y=SCAN_PIXELS,
        line_time_s=LINE_S,
    )
    await stm.retract()
    film = await analyst.film(
        z_forward_A=image.z_forward_A,
        z_backward_A=image.z_backward_A,
        x_A=image.x_A,
        y_A=image.y_A,
    )
    return Sight({"roughness": film.roughness_ML}, {"roughness": film.film_roughness_sd_ML})


async def by_xrays(xrd: XRD, analyst: XRDAnalyst) -> Sight:
    """Align, scan about the (002) reflection; say how thick the film is."""
    await xrd.align(two_theta_deg=SUBSTRATE_002_DEG)
    scan = await xrd.scan(start_deg=25.0, stop_deg=39.0, step_deg=0.05, count_s=4.0)
    film = await analyst.film(
        two_theta_deg=scan.two_theta_deg,
        counts=scan.counts,
        count_s=scan.count_s,
        live_s=scan.live_s,
    )
    return Sight({"thickness": film.thickness_ML}, {"thickness": film.thickness_sd_ML})


async def by_beam(stem: STEM, analyst: STEMAnalyst) -> Sight:
    """Take one dark-field image of the lamella; say how thick the film is, and how abrupt."""
    await stem.set_optics(convergence_mrad=30.0, current_nA=0.03)
    image = await stem.scan(
        detector="haadf", field_A=FIELD_A, pixels=FIELD_PIXELS, dwell_us=DWELL_US
    )
    film = await analyst.film(
        counts=image.counts, pixel_A=image.pixel_A, dark_counts=image.dark_counts
    )
    return Sight(
        {"thickness": film.thickness_ML, "interface": film.width_ML},
        {"thickness": film.thickness_sd_ML, "interface": film.width_sd_ML},
    )
