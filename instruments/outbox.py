"""The outbox of an adapter: outcomes are told again and again until they are acknowledged.

An outcome with arrays is told only when they are durable in the depot of its campaign.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twinloop.ids import CommandKey
from twinloop.instruments.adapter_effects import AdapterEffect, Upload
from twinloop.instruments.ledger import Home, Record
from twinloop.wire.effects import Send

__all__ = ["Outbox"]

_FOR_EVER = float("inf")


@dataclass(slots=True)
class _Parcel:
    record: Record
    stored_in: str | None = None
    uploading_to: str | None = None
    n_tries: int = 0
    next_s: float = 0.0


class Outbox:
    """Pure; the caller runs the effects.

    Args:
        ledger: identity of the ledger.
        home_of: gives where the outcomes of a campaign go now, None for nowhere yet.
        resend_s, resend_max_s: first and longest pause [s].
    """

    def __init__(
        self,
        ledger: str,
        home_of: Callable[[str], Home | None],
        resend_s: float,
        resend_max_s: float,
    ) -> None:
        self._ledger, self._home_of = ledger, home_of
        self._resend_s, self._resend_max_s = resend_s, resend_max_s
        self._parcels: dict[CommandKey, _Parcel] = {}

    def add(self, record: Record, now_s: float) -> list[AdapterEffect]:
        """Take an outcome that is durable in the ledger, and tell it."""
        parcel = _Parcel(record)
        self._parcels[record.key] = parcel
        return self._deliver(parcel, now_s)

    def remove(self, key: CommandKey) -> None:
        """Forget an outcome: it is acknowledged."""
        self._parcels.pop(key, None)

    def is_tellable(self, record: Record) -> bool:
        """Return True when nothing of the outcome is only on this machine."""
        if record.is_acked or record.final is None or not record.final.arrays:
            return True
        parcel = self._parcels.get(record.key)
        home = self._home_of(record.key.campaign)
        return parcel is not None and home is not None and parcel.stored_in == home.depot

    def uploaded(self, key: CommandKey, depot: str, now_s: float) -> list[AdapterEffect]:
        """Take note that the arrays of a key are durable in a depot."""
        parcel = self._parcels.get(key)
        if parcel is None:
            return []
        parcel.stored_in, parcel.n_tries = depot, 0
        if parcel.uploading_to == depot:
            parcel.uploading_to = None
        return self._deliver(parcel, now_s)

    def upload_failed(self, key: CommandKey, depot: str, now_s: float) -> None:
        """Plan another try."""
        parcel = self._parcels.get(key)
        if parcel is not None and parcel.uploading_to == depot:
            parcel.uploading_to = None
            self._postpone(parcel, now_s)

    def hasten(self, campaign: str, now_s: float) -> list[AdapterEffect]:
        """Tell a campaign all at once: it has just been heard."""
        effects: list[AdapterEffect] = []
        for parcel in self._parcels.values():
            if parcel.record.key.campaign == campaign:
                parcel.n_tries = 0
                effects += self._deliver(parcel, now_s)
        return effects

    def tick(self, now_s: float) -> list[AdapterEffect]:
        """Tell again what is due."""
        effects: list[AdapterEffect] = []
        for parcel in self._parcels.values():
            if parcel.next_s <= now_s:
                effects += self._deliver(parcel, now_s)
        return effects

    def times_s(self) -> Iterator[float]:
        """Yield when something is due."""
        return (p.next_s for p in self._parcels.values() if p.next_s < _FOR_EVER)

    def _deliver(self, parcel: _Parcel, now_s: float) -> list[AdapterEffect]:
        home, record = self._home_of(parcel.record.key.campaign), parcel.record
        if home is None or record.final is None:
            parcel.next_s = _FOR_EVER
            return []
        if record.final.arrays and parcel.stored_in != home.depot:
            # the uploader reports either way; nothing is due until it does
            parcel.next_s = _FOR_EVER
            if parcel.uploading_to == home.depot or not home.depot:
                return []
            parcel.uploading_to = home.depot
            return [Upload(record.key, record.final.arrays, home.depot)]
        self._postpone(parcel, now_s)
        return [Send(home.agent, record.outcome(self._ledger))]

    def _postpone(self, parcel: _Parcel, now_s: float) -> None:
        pause_s = min(self._resend_s * 2**parcel.n_tries, self._resend_max_s)
        parcel.n_tries = min(parcel.n_tries + 1, 32)
        parcel.next_s = now_s + pause_s
