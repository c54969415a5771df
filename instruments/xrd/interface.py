"""The contract of an X-ray diffractometer: a tube, a goniometer, a counter, a sample on a stage.

A sample comes onto the stage tilted; `align` rocks it through a reflection and turns it to where the
most is reflected. In a protocol:

    await xrd.take()
    await xrd.align(two_theta_deg=31.63)
    seen = await xrd.scan(start_deg=25.0, stop_deg=39.0, step_deg=0.05, count_s=2.0)
    found = await analyst.film(
        two_theta_deg=seen.two_theta_deg, counts=seen.counts, count_s=2.0, live_s=seen.live_s
    )
    await xrd.give()

Angles are what the scales of the goniometer show: they may be off by a zero error. Counts are what
the counter has counted, dead time and all; its live time says how much of each point it missed. A scan
of an aligned sample begins and ends with a count at the reflection of its alignment, the control: a
sample that slips meanwhile shows there. While a scan goes on, new points appear on the stream
"scan": `two_theta_deg` and `counts_per_s` of the last one as numbers, all new ones as arrays. An
aborted scan tells how many points it has.
"""

from abc import abstractmethod
from typing import Annotated

from twinloop.instruments.holder.interface import SampleHolder
from twinloop.instruments.interface import Limit, OnSilence, Recovery, action, readout
from twinloop.results import Array, Result
from twinloop.units import Degrees, Dimensionless, Seconds

__all__ = [
    "MAX_POINTS",
    "XRD",
    "Alignment",
    "Angle_deg",
    "Count_s",
    "Rocking",
    "Scan",
    "Span_deg",
    "Step_deg",
]

Angle_deg = Annotated[Degrees, Limit(5, 140)]
Step_deg = Annotated[Degrees, Limit(0.001, 1)]
Span_deg = Annotated[Degrees, Limit(0.05, 4)]
Count_s = Annotated[Seconds, Limit(0.01, 600)]

MAX_POINTS = 20_000
"""Most points of one scan."""


class Scan(Result):
    """A theta-2theta scan.

    Args:
        two_theta_deg: what the scale showed, rising, shape (n,), float64 [deg].
        counts: shape (n,), int64 [counts].
        count_s: counting time of a point [s].
        live_s: part of it in which the counter was ready for a photon, shape (n,), float64; near 0 it was
            saturated; None: this counter has no clock for it [s].
        control: counts at the reflection of the last alignment before and after the scan, one second
            each, shape (2,), int64; None: not aligned since it was mounted, or no such count [counts].
    """

    two_theta_deg: Array
    counts: Array
    count_s: Seconds
    live_s: Array | None = None
    control: Array | None = None


class Rocking(Result):
    """A rocking curve: the sample turns, the detector stands.

    Args:
        omega_deg: turn of the sample against half the detector's angle, shape (n,), float64 [deg].
        counts: shape (n,), int64 [counts].
        count_s: counting time of a point [s].
    """

    omega_deg: Array
    counts: Array
    count_s: Seconds


class Alignment(Result):
    """How the sample was turned.

    Args:
        omega_offset_deg: what every later scan adds to half the detector's angle [deg].
        width_deg: full width at half maximum of the rocking curve [deg].
        peak_counts: at its top [counts].
    """

    omega_offset_deg: Degrees
    width_deg: Degrees
    peak_counts: Dimensionless


class XRD(SampleHolder, kind="xrd"):
    """Diffractometer with a copper tube."""

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=60,
        interlocks=("tube_is_on",),
    )
    @abstractmethod
    async def scan(
        self,
        *,
        start_deg: Angle_deg,
        stop_deg: Angle_deg,
        step_deg: Step_deg = 0.05,
        count_s: Count_s = 1.0,
    ) -> Scan:
        """Count at detector angles from start to stop, the sample at half of each.

        Raises:
            NotTouched: stop below start, more than `MAX_POINTS` points, or no sample.
        """

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=60,
        interlocks=("tube_is_on",),
    )
    @abstractmethod
    async def rock(
        self,
        *,
        two_theta_deg: Angle_deg,
        span_deg: Span_deg = 1.0,
        step_deg: Step_deg = 0.01,
        count_s: Count_s = 0.5,
    ) -> Rocking:
        """Turn the sample through a reflection, the detector at rest.

        Raises:
            NotTouched: more than `MAX_POINTS` points, or no sample.
        """

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=60,
        interlocks=("tube_is_on",),
    )
    @abstractmethod
    async def align(
        self, *, two_theta_deg: Angle_deg, span_deg: Span_deg = 1.6, count_s: Count_s = 0.5
    ) -> Alignment:
        """Rock through a reflection and turn the sample to where most is reflected.

        Raises:
            NotTouched: no sample, or nothing that stands out within the span: the offset stays.
        """

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=60)
    @abstractmethod
    async def warm_up(self) -> None:
        """Switch the tube on, slowly; nothing where it is on."""

    @readout
    @abstractmethod
    async def tube_is_on(self) -> bool:
        """Return whether the generator says that the tube has its voltage."""

    @readout
    @abstractmethod
    async def shutter_is_open(self) -> bool:
        """Return whether the shutter's contact says that it is open."""

    @readout
    @abstractmethod
    async def two_theta_deg(self) -> Degrees:
        """Return what the detector's scale shows [deg]."""
