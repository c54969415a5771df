"""What the readouts showed while a film was in an instrument, from the adapters' own files.

Telemetry is no promise: an adapter writes it now and then into a bounded file on its own disk. Only
files inside the run folder are found; of an adapter elsewhere there is none.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Track", "tracks_of"]


@dataclass(frozen=True, slots=True)
class Track:
    """One readout over time.

    Args:
        instrument, readout: whose.
        at_s: when, seconds since 1970, shape (n,), float64 [s].
        lab_s: the same in the adapter's laboratory clock, which begins anew with the adapter [s].
        values: shape (n,), float64; 0 and 1 for what is false or true.
    """

    instrument: str
    readout: str
    at_s: NDArray[np.float64]
    lab_s: NDArray[np.float64]
    values: NDArray[np.float64]


def tracks_of(
    folder: Path, adapter: str, instrument: str, begin_s: float, end_s: float
) -> list[Track]:
    """Return the numeric readouts of an instrument between two times, by name.

    Args:
        folder: the run folder.
        adapter: name of the adapter that serves it.
        instrument: its name.
        begin_s: seconds since 1970 [s].
        end_s: the same [s].
    """
    rows: dict[str, list[tuple[float, float, float]]] = {}
    if Path(adapter).name != adapter:
        return []  # no name of an agent: it would lead out of the run folder
    for at_s, lab_s, readouts in _lines(folder / "adapters" / adapter, instrument):
        if begin_s <= at_s <= end_s:
            for name, value in readouts.items():
                if isinstance(value, bool | int | float):
                    rows.setdefault(name, []).append((at_s, lab_s, float(value)))
    tracks = []
    for name, found in sorted(rows.items()):
        at, lab, values = np.array(found, np.float64).T
        tracks.append(Track(instrument, name, at, lab, values))
    return tracks


def _lines(folder: Path, instrument: str) -> Iterator[tuple[float, float, Mapping[str, Any]]]:
    for name in ("telemetry.jsonl.old", "telemetry.jsonl"):
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            try:
                body = json.loads(line)
                at_s = datetime.fromisoformat(body["at"]).timestamp()
                lab_s = float(body["lab_s"])
            except (ValueError, KeyError, TypeError):
                continue  # the last line of an adapter that was killed may be torn
            readouts = body.get(instrument)
            if isinstance(readouts, dict):
                yield at_s, lab_s, readouts
