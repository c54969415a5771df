"""Leases and silences of one adapter process: who holds what, and since when nobody speaks.

Nothing here is durable: the epoch is in the ledger, and no lease outlives the process that granted
it, so that a command of an earlier life is always refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from twinloop.messages import LeaseRequest

__all__ = ["Lease", "Leases"]

_SHORTEST_TTL_S, _LONGEST_TTL_S = 1.0, 3600.0


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease.

    Args:
        agent, campaign, incarnation: the holder, its campaign, and which life of it asked.
        depot: where its arrays go.
        epoch: from the ledger.
        ttl_s: how long it is thought alive after it was heard [s].
    """

    agent: str
    campaign: str
    incarnation: str
    depot: str
    epoch: int
    ttl_s: float

    @classmethod
    def of(cls, agent: str, request: LeaseRequest, epoch: int) -> "Lease":
        """Return the lease that answers a request."""
        ttl_s = min(max(request.ttl_s, _SHORTEST_TTL_S), _LONGEST_TTL_S)
        return cls(agent, request.campaign, request.incarnation, request.depot, epoch, ttl_s)

    def is_same(self, agent: str, request: LeaseRequest) -> bool:
        """Return True when the same life of the holder asks once more."""
        return bool(self.incarnation) and self == Lease.of(agent, request, self.epoch)


class Leases:
    """At most one lease for each instrument, and when its holder was heard.

    Args:
        instruments: their names.
        now_s: monotonic time of the start: silence counts from here [s].
    """

    def __init__(self, instruments: Iterable[str], now_s: float) -> None:
        self._leases: dict[str, Lease] = {}
        self._heard_s = dict.fromkeys(instruments, now_s)
        self._silent: set[str] = set()

    def get(self, instrument: str) -> Lease | None:
        """Return the lease that stands, however long its holder was silent."""
        return self._leases.get(instrument)

    def live(self, instrument: str, now_s: float) -> Lease | None:
        """Return the lease while nobody else may have it."""
        lease = self._leases.get(instrument)
        if lease is None or now_s > self._heard_s[instrument] + lease.ttl_s:
            return None
        return lease

    def holder_of(self, instrument: str, agent: str, epoch: int) -> Lease | None:
        """Return the lease when `agent` holds it under this very epoch."""
        lease = self._leases.get(instrument)
        return lease if lease and lease.agent == agent and lease.epoch == epoch else None

    def grant(self, instrument: str, lease: Lease, now_s: float) -> None:
        """Give the lease; whoever had it has it no longer."""
        self._leases[instrument] = lease
        self.hear(instrument, now_s)

    def release(self, instrument: str) -> None:
        """Take the lease back; the silence goes on from when the holder was last heard."""
        self._leases.pop(instrument, None)

    def hear(self, instrument: str, now_s: float) -> None:
        """Take note that the holder is alive."""
        self._heard_s[instrument] = now_s
        self._silent.discard(instrument)

    def is_silent(self, instrument: str) -> bool:
        """Return True after `note_silence`, until the holder, or a new one, is heard."""
        return instrument in self._silent

    def note_silence(self, instrument: str) -> None:
        """Take note that the silence has taken effect."""
        self._silent.add(instrument)

    def silent_at_s(self, instrument: str, silence_s: float) -> float | None:
        """Return when a silence takes effect; None when it has."""
        if instrument in self._silent:
            return None
        return self._heard_s[instrument] + silence_s
