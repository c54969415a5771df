"""The append-only log under the journal of a campaign and the ledger of an adapter.

An author of a store implements `EventLog`; `SqliteLog` is the one on disk, `MemoryLog` the one for
fault simulation and for twins that need no disk. Both give the same events and the same hashes.

Example:
    >>> from twinloop.log.memory import MemoryLog
    >>> log = MemoryLog("demo")
    >>> log.append(Entry("commanded", 1, {"temperature_K": 850.0}, key="c/1/grow/0"))
    1
    >>> log.commit()
    >>> [stored.entry.kind for stored in log.read()]
    ['commanded']
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from twinloop.errors import LabError

__all__ = ["DuplicateKey", "Entry", "EventLog", "LogBusy", "LogFailed", "Stored"]


class DuplicateKey(LabError):
    """An entry whose key the log already holds; nothing was appended."""

    def __init__(self, key: str, seq: int) -> None:
        self.key, self.seq = key, seq
        super().__init__(
            f"key {key!r} is already event {seq}; a key stands once: read that event with find()"
        )


class LogFailed(LabError):
    """The disk refused a write; what the log holds in memory may not be on disk."""

    def __init__(self, path: str, operation: str, detail: str) -> None:
        self.path, self.operation, self.detail = path, operation, detail
        super().__init__(
            f"{path}: {operation} failed ({detail}); free the disk and start the process again: "
            "it continues from what is on disk"
        )


class LogBusy(LabError):
    """Another connection has written to the log, or holds its write lock."""

    def __init__(self, path: str, detail: str) -> None:
        self.path, self.detail = path, detail
        super().__init__(
            f"{path}: another writer ({detail}); one process writes a log: stop the other one"
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as its author writes it.

    Args:
        kind: what happened ("proposed", "intent").
        v: version of the shape of `body` for this kind, from 1.
        body: JSON object; NaN and infinity are refused.
        key: at most one event of the log has this key.
        refs: digests of the arrays that the event needs.
    """

    kind: str
    v: int
    body: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """One event as the log holds it.

    Args:
        seq: its number, from 1 without gaps.
        at: when it was appended, ISO 8601 with time zone.
        entry: what was written.
        hash: BLAKE2b-256 over this event and the hash before it, hexadecimal.
    """

    seq: int
    at: str
    entry: Entry
    hash: str


class EventLog(Protocol):
    """An append-only log with a durable gate. One process and one thread at a time writes it."""

    @property
    def log_id(self) -> str:
        """Return the identity given when the log was made; it never changes."""
        ...

    @property
    def last_seq(self) -> int:
        """Return the number of the last appended event, 0 for an empty log."""
        ...

    @property
    def has_pending(self) -> bool:
        """Return True while something appended awaits `commit`."""
        ...

    def append(self, entry: Entry) -> int:
        """Add an event to the open group and return its number; not durable yet.

        Raises:
            DuplicateKey: the key is taken; nothing was appended.
            ArgumentError: the body is not JSON.
            LogFailed: the disk refused; the log accepts nothing more.
            LogBusy: another writer.
        """
        ...

    def commit(self) -> None:
        """Return when all that was appended is durable.

        Raises:
            LogFailed: the disk refused; the log accepts nothing more.
        """
        ...

    def read(self, after: int = 0) -> Iterator[Stored]:
        """Yield the events with `seq > after`, in order, those not yet committed included."""
        ...

    def find(self, key: str) -> Stored | None:
        """Return the event of this key, or None."""
        ...

    def verify(self) -> int:
        """Check the hash chain and return the number of events.

        Raises:
            JournalCorrupt: the first event that does not fit.
        """
        ...

    def close(self) -> None:
        """Commit and let go."""
        ...
