"""The conductor's leases: asked for, renewed end to end, asked for again when lost. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass

from twinloop.messages import (
    LeaseGranted,
    LeaseRefused,
    LeaseRelease,
    LeaseRenew,
    LeaseRenewed,
    LeaseRequest,
)
from twinloop.wire.effects import Send

__all__ = ["LeaseKeeper"]

_ASK_AGAIN_S = 0.5
_DEADLINE_S = 30.0


@dataclass
class _Lease:
    granted: LeaseGranted
    adapter_now_s: float
    heard_s: float
    renewed_s: float
    trip: str | None


class LeaseKeeper:
    """Holds the leases of one life of a conductor.

    Args:
        adapters: adapter that serves each instrument.
        campaign: who asks.
        depot: where adapters are to put arrays.
        incarnation: this life of the conductor.
        ttl_s: how long the adapter may think us alive after a renewal [s].
    """

    def __init__(
        self,
        adapters: Mapping[str, str],
        campaign: str,
        depot: str,
        incarnation: str,
        ttl_s: float = 3.0,
    ) -> None:
        self.adapters, self._campaign, self._depot, self._ttl_s = adapters, campaign, depot, ttl_s
        self._incarnation = incarnation
        self._leases: dict[str, _Lease] = {}
        self._asked_s: dict[str, float] = {}
        self.refusals: dict[str, str] = {}

    @property
    def usable(self) -> frozenset[str]:
        """Return the instruments that may be commanded: leased, and not tripped."""
        return frozenset(name for name, lease in self._leases.items() if lease.trip is None)

    @property
    def trips(self) -> dict[str, str]:
        """Return the latched trips that a person has to clear."""
        return {n: lease.trip for n, lease in self._leases.items() if lease.trip is not None}

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Return the instruments whose adapter has not answered the request for a lease."""
        known = {*self._leases, *self.refusals}
        return tuple(name for name in self.adapters if name in self._asked_s and name not in known)

    def get(self, instrument: str) -> LeaseGranted | None:
        """Return the lease on an instrument."""
        lease = self._leases.get(instrument)
        return lease.granted if lease else None

    def not_after_s(self, instrument: str, now_s: float) -> float:
        """Return the deadline for a start, in the adapter's own clock [s]."""
        lease = self._leases[instrument]
        return lease.adapter_now_s + (now_s - lease.heard_s) + _DEADLINE_S

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called."""
        times = [lease.renewed_s + self._ttl_s / 3 for lease in self._leases.values()]
        times += [
            self._asked_s.get(name, -_ASK_AGAIN_S) + _ASK_AGAIN_S
            for name in self.adapters
            if name not in self._leases
        ]
        return min(times, default=None)

    def tick(self, now_s: float) -> list[Send]:
        """Ask for what is missing, renew what is held."""
        sends = []
        for name, adapter in self.adapters.items():
            lease = self._leases.get(name)
            if lease is None:
                # the same sum as in wake_at_s, or rounding makes the loop spin
                if now_s >= self._asked_s.get(name, -_ASK_AGAIN_S) + _ASK_AGAIN_S:
                    self._asked_s[name] = now_s
                    sends.append(Send(adapter, self._request(name)))
            elif now_s - lease.heard_s > 2 * self._ttl_s:
                # the adapter, or the way to it, is gone: its answer to a new request tells
                del self._leases[name]
            elif now_s >= lease.renewed_s + self._ttl_s / 3:
                lease.renewed_s = now_s
                renew = LeaseRenew(instrument=name, epoch=lease.granted.epoch)
                sends.append(Send(adapter, renew))
        return sends

    def granted(self, message: LeaseGranted, now_s: float) -> bool:
        """Take a lease; True when its epoch or ledger is new to us."""
        if message.instrument not in self.adapters or message.campaign != self._campaign:
            return False
        held = self._leases.get(message.instrument)
        if held is not None and held.granted.ledger == message.ledger:
            if held.granted.epoch > message.epoch:
                return False
            is_new = held.granted.epoch != message.epoch
        else:
            is_new = True
        self.refusals.pop(message.instrument, None)
        self._leases[message.instrument] = _Lease(
            message, message.adapter_now_s, now_s, now_s, message.trip
        )
        return is_new

    def renewed(self, message: LeaseRenewed, now_s: float) -> None:
        """Note that the adapter has heard us."""
        lease = self._leases.get(message.instrument)
        if lease is not None and lease.granted.epoch == message.epoch:
            lease.adapter_now_s, lease.heard_s = message.adapter_now_s, now_s
            lease.trip = message.trip

    def refused(self, message: LeaseRefused) -> None:
        """Drop a lease that the adapter does not know; it is asked for again."""
        held = self._leases.get(message.instrument)
        if held is not None and message.epoch not in {None, held.granted.epoch}:
            return  # about an epoch that is over for us too
        self._leases.pop(message.instrument, None)
        holder = f" ({message.holder})" if message.holder else ""
        self.refusals[message.instrument] = f"{message.reason}{holder}"

    def release(self) -> list[Send]:
        """Give all leases back."""
        sends = [
            Send(self.adapters[name], LeaseRelease(instrument=name, epoch=lease.granted.epoch))
            for name, lease in self._leases.items()
        ]
        self._leases.clear()
        return sends

    def _request(self, name: str) -> LeaseRequest:
        return LeaseRequest(
            instrument=name,
            campaign=self._campaign,
            depot=self._depot,
            ttl_s=self._ttl_s,
            incarnation=self._incarnation,
        )
