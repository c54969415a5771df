"""A log in memory: for twins inside Ray, and for fault simulation, where it can crash."""

import json
from collections.abc import Callable, Iterator

from twinloop.clocks import utc_now
from twinloop.errors import JournalCorrupt
from twinloop.log.chain import body_bytes, first_hash, link
from twinloop.log.interface import DuplicateKey, Entry, Stored

__all__ = ["MemoryLog"]


class MemoryLog:
    """An `EventLog` without a disk.

    Args:
        log_id: identity of the log.
        stamp: gives the time stamps; fault simulation passes its own clock.

    Example:
        >>> log = MemoryLog("demo")
        >>> log.append(Entry("intent", 1)), log.commit(), log.append(Entry("done", 1))
        (1, None, 2)
        >>> log.crash()
        >>> log.last_seq
        1
    """

    def __init__(self, log_id: str, stamp: Callable[[], str] = utc_now) -> None:
        self._log_id, self._stamp = log_id, stamp
        self._rows: list[tuple[Stored, bytes]] = []
        self._by_key: dict[str, int] = {}
        self._n_durable = 0

    @property
    def log_id(self) -> str:
        """Return the identity of the log."""
        return self._log_id

    @property
    def last_seq(self) -> int:
        """Return the number of the last appended event, 0 for an empty log."""
        return len(self._rows)

    @property
    def has_pending(self) -> bool:
        """Return True while something appended awaits `commit`."""
        return self._n_durable < len(self._rows)

    @property
    def durable_seq(self) -> int:
        """Return the number of the last committed event: what survives a crash."""
        return self._n_durable

    def append(self, entry: Entry) -> int:
        """Add an event and return its number.

        Raises:
            DuplicateKey: the key is taken.
            ArgumentError: the body is not JSON.
        """
        body = body_bytes(entry)
        if entry.key is not None and entry.key in self._by_key:
            raise DuplicateKey(entry.key, self._by_key[entry.key])
        seq, at = len(self._rows) + 1, self._stamp()
        digest = link(
            self._head(), seq, at, entry.kind, entry.v, entry.key, " ".join(entry.refs), body
        )
        # parsed back, so that a reader sees what a reader of the file would see
        kept = Entry(entry.kind, entry.v, json.loads(body), entry.key, tuple(entry.refs))
        self._rows.append((Stored(seq, at, kept, digest.hex()), body))
        if entry.key is not None:
            self._by_key[entry.key] = seq
        return seq

    def commit(self) -> None:
        """Keep what was appended, whatever `crash` does later."""
        self._n_durable = len(self._rows)

    def crash(self) -> None:
        """Forget what was not committed, as a power cut would."""
        del self._rows[self._n_durable :]
        self._by_key = {k: seq for k, seq in self._by_key.items() if seq <= self._n_durable}

    def read(self, after: int = 0) -> Iterator[Stored]:
        """Yield the events with `seq > after`, in order."""
        for stored, _ in self._rows[max(0, after) :]:
            yield stored

    def find(self, key: str) -> Stored | None:
        """Return the event of this key, or None."""
        seq = self._by_key.get(key)
        return None if seq is None else self._rows[seq - 1][0]

    def referring(self, digest: str) -> list[int]:
        """Return the numbers of the events that need this array."""
        return [stored.seq for stored, _ in self._rows if digest in stored.entry.refs]

    def verify(self) -> int:
        """Check the hash chain and return the number of events.

        Raises:
            JournalCorrupt: the first event that does not fit.
        """
        before = first_hash(self._log_id)
        for stored, body in self._rows:
            e = stored.entry
            before = link(before, stored.seq, stored.at, e.kind, e.v, e.key, " ".join(e.refs), body)
            if before.hex() != stored.hash:
                raise JournalCorrupt(f"memory log {self._log_id}", stored.seq, "hash differs")
        return len(self._rows)

    def close(self) -> None:
        """Commit."""
        self.commit()

    def _head(self) -> bytes:
        return bytes.fromhex(self._rows[-1][0].hash) if self._rows else first_hash(self._log_id)
