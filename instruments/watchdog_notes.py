"""What adapter and watchdog leave for each other in the adapter's folder."""

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ADAPTER_LOCK", "LIFE", "NOTES", "WATCHDOG_LOCK", "WatchdogNote"]
__all__ += ["drop_notes", "read_notes"]

NOTES = "watchdog-notes.jsonl"
ADAPTER_LOCK, WATCHDOG_LOCK = "adapter.lock", "watchdog.lock"
LIFE = "adapter-life.txt"


@dataclass(frozen=True, slots=True)
class WatchdogNote:
    """What a watchdog did; `error` is None when `safe_state` returned."""

    instrument: str
    reason: str
    error: str | None = None


def read_notes(folder: Path) -> list[WatchdogNote]:
    """Return what watchdogs have done and no adapter has folded in yet."""
    try:
        lines = (folder / NOTES).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [WatchdogNote(**json.loads(line)) for line in lines if line.endswith("}")]


def drop_notes(folder: Path) -> None:
    """Forget the notes: they are in the ledger now."""
    (folder / NOTES).unlink(missing_ok=True)
