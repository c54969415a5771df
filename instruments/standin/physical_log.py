"""What really happened to the machine, one line each, on disk before it goes on.

Kill tests count these lines. A real machine has no such log, so nothing but tests and the report
after the end of a campaign may read it.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any, Protocol

from twinloop.clocks import utc_now

__all__ = ["EventFile", "EventList", "PhysicalLog", "read_physical_log"]


class PhysicalLog(Protocol):
    """Where a chamber writes its effects."""

    def append(self, kind: str, **fields: Any) -> None:
        """Write one effect; it is durable when this returns."""
        ...


class EventList:
    """A physical log in memory, for a chamber that is gone when its process is.

    Example:
        >>> log = EventList()
        >>> log.append("sample_loaded", sample="s1")
        >>> [event["kind"] for event in log.events]
        ['sample_loaded']
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def append(self, kind: str, **fields: Any) -> None:
        """Keep one effect."""
        self.events.append({"n": len(self.events), "at": utc_now(), "kind": kind, **fields})


class EventFile:
    """A physical log on disk: JSON lines, synced one by one.

    Args:
        path: of the file; a torn last line of an earlier life is cut off. Any thread may append.
    """

    def __init__(self, path: Path) -> None:
        self.events = read_physical_log(path)
        self._lock = threading.Lock()
        self._file = path.open("ab")
        self._file.truncate(path.read_bytes().rfind(b"\n") + 1)

    def append(self, kind: str, **fields: Any) -> None:
        """Write one effect and sync the file."""
        # two lanes write: a growth and a safe state may end in the same moment
        with self._lock:
            event = {"n": len(self.events), "at": utc_now(), "kind": kind, **fields}
            self._file.write(_line(event))
            self._file.flush()
            os.fsync(self._file.fileno())
            self.events.append(event)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_physical_log(path: Path) -> list[dict[str, Any]]:
    """Return the effects in a file, in order; an absent file has none, a torn last line is left out."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1]]


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"
