"""Two clocks: laboratory time, and the wire's own time.

`LabClock` is what laboratory processes last: real, scaled (a demonstration runs 100 laboratory
seconds in one) or virtual (benchmarks). `WireClock` is for heartbeats, leases and time-outs:
monotonic and real, replaced only in fault simulation. An adapter author sees the laboratory clock.
"""

import asyncio
import threading
import time
from datetime import UTC, datetime
from typing import Protocol

from twinloop.errors import ArgumentError

__all__ = ["LabClock", "RealWireClock", "ScaledLabClock", "VirtualClock", "WireClock", "utc_now"]


def utc_now() -> str:
    """Return the present moment as an ISO 8601 stamp with its time zone."""
    return datetime.now(UTC).isoformat()


class WireClock(Protocol):
    """Monotonic real time for heartbeats, leases and time-outs."""

    def now_s(self) -> float:
        """Return monotonic seconds; only differences mean something."""
        ...


class RealWireClock:
    """The wire's clock outside fault simulation."""

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()


class LabClock(Protocol):
    """What laboratory processes last."""

    @property
    def factor(self) -> float:
        """Laboratory seconds in one real second; infinity for a virtual clock."""
        ...

    def now_s(self) -> float:
        """Return laboratory seconds since the clock was made."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Wait laboratory seconds; an abort may arrive here as a cancellation."""
        ...

    def wait(self, duration_s: float) -> None:
        """Wait laboratory seconds in a plain thread."""
        ...


class ScaledLabClock:
    """Real time, times a factor.

    Args:
        factor: laboratory seconds in one real second, > 0 [1]; 1 for anything but a twin.

    Raises:
        ArgumentError: a factor that is not positive and finite.
    """

    def __init__(self, factor: float = 1.0) -> None:
        if not 0 < factor < float("inf"):
            raise ArgumentError("clock_factor", factor, "a finite number > 0")
        self.factor = factor
        self._start_s = time.monotonic()

    def now_s(self) -> float:
        """Return laboratory seconds since this clock was made."""
        return (time.monotonic() - self._start_s) * self.factor

    async def sleep(self, duration_s: float) -> None:
        """Wait `duration_s` laboratory seconds."""
        await asyncio.sleep(max(0.0, duration_s) / self.factor)

    def wait(self, duration_s: float) -> None:
        """Wait `duration_s` laboratory seconds in this thread."""
        threading.Event().wait(max(0.0, duration_s) / self.factor)


class VirtualClock:
    """Time that moves only when somebody waits: benchmarks, unit tests and fault simulation.

    Example:
        >>> clock = VirtualClock()
        >>> clock.wait(3600.0)
        >>> clock.now_s()
        3600.0
    """

    factor = float("inf")

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """Return virtual seconds."""
        return self._now_s

    def advance(self, duration_s: float) -> None:
        """Move time on by `duration_s` >= 0 seconds."""
        self._now_s += max(0.0, duration_s)

    async def sleep(self, duration_s: float) -> None:
        """Move time on at once, and let other coroutines run."""
        self.advance(duration_s)
        await asyncio.sleep(0)

    def wait(self, duration_s: float) -> None:
        """Move time on at once."""
        self.advance(duration_s)
