"""The contract of reflection high-energy electron diffraction: the film seen while it grows.

`record` is synchronised by the shutter of the growth, as cameras are by a trigger. It may be armed
before the growth or after it has begun: the detector keeps a ring buffer that reaches back to
before the opening. In a protocol the two stand side by side:

    grown, trace = await together(
        mbe.grow(flux_ML_per_s=0.2, dose_ML=4.0),
        rheed.record(wait_s=600.0),
    )

While the growth goes on, new samples appear on the stream "intensity": `time_s` and `intensity` of
the last one as numbers, all new ones as arrays of the same names. A camera that can shows the screen
as well, on the stream "frames": `time_s` of the newest as a number, `frame` as an array.
"""

from abc import abstractmethod
from typing import Annotated

from twinloop.instruments.interface import (
    Instrument,
    Limit,
    NotTouched,
    OnSilence,
    Recovery,
    action,
    readout,
)
from twinloop.results import Array, Result
from twinloop.units import Degrees, Dimensionless, Seconds

__all__ = [
    "RHEED",
    "Aimed",
    "Azimuth_deg",
    "Exposure_s",
    "Incidence_deg",
    "Specular",
    "Trace",
    "Wait_s",
]

Exposure_s = Annotated[Seconds, Limit(0.01, 60)]
Wait_s = Annotated[Seconds, Limit(0, 7200)]
Incidence_deg = Annotated[Degrees, Limit(0, 5)]
Azimuth_deg = Annotated[Degrees, Limit(-360, 360)]


class Trace(Result):
    """The specular beam of one growth, in the order of time.

    Args:
        time_s: end of each exposure, 0 at the opening of the shutter; samples before it show the
            substrate; shape (n,), float64 [s].
        intensity: at the anti-phase condition where not aimed otherwise, shape (n,), float64
            [counts/s].
        exposure_s: of one sample [s].
        is_complete: False when the growth was cut short.
    """

    time_s: Array
    intensity: Array
    exposure_s: Seconds
    is_complete: bool


class Specular(Result):
    """One reading of the specular beam.

    Args:
        intensity: at the anti-phase condition where not aimed otherwise [counts/s].
        intensity_sd: standard deviation that the detector's maker states [counts/s].
    """

    intensity: Dimensionless
    intensity_sd: Dimensionless


class Aimed(Result):
    """Where gun and sample stand.

    Args:
        incidence_deg: glancing angle [deg].
        azimuth_deg: between the beam and the first axis of the surface lattice [deg].
    """

    incidence_deg: Degrees
    azimuth_deg: Degrees


class RHEED(Instrument, kind="rheed"):
    """Electron gun, screen and camera at a growing film."""

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH)
    @abstractmethod
    async def record(self, *, wait_s: Wait_s = 600.0) -> Trace:
        """Return the specular trace of this sample's growth, from before its opening to its end.

        Raises:
            NotTouched: no growth began within `wait_s`.
        """

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH)
    @abstractmethod
    async def specular(self, *, exposure_s: Exposure_s = 2.0) -> Specular:
        """Read the specular beam of the film as it is."""

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH)
    @abstractmethod
    async def expose(self, *, exposure_s: Exposure_s = 1.0) -> Array:
        """Take one frame of the screen, shape (rows, columns), uint16 [counts]."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH)
    async def aim(self, *, incidence_deg: Incidence_deg, azimuth_deg: Azimuth_deg) -> Aimed:
        """Tilt the gun and turn the sample; what is read afterwards is read from there.

        Args:
            incidence_deg: glancing angle; 0 asks for the instrument's own anti-phase angle [deg].
            azimuth_deg: 0 is along the first axis of the surface lattice [deg].

        Raises:
            NotTouched: a film is growing, or this instrument cannot be aimed.
        """
        raise NotTouched(f"aim at {incidence_deg:g} and {azimuth_deg:g} deg: cannot be aimed")

    @readout
    @abstractmethod
    async def intensity_counts_per_s(self) -> Dimensionless:
        """Return the last sample of the specular beam [counts/s]; 0 before the first."""
