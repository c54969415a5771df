"""What an instrument's own computer remembers of its runs: one folder, results by command key.

A run is noted before it begins and closed when it ends, each durably. One that was noted and never
closed was cut short by the death of the computer: it is `partial`, whatever it had reached.

    runs/DIGEST.npz                  one run, with its arrays
    runs/DIGEST.json                 an old one, whose arrays have been dropped
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.ids import digest_of
from twinloop.instruments.standin.interface import Progress, State
from twinloop.log.durable import write_whole

__all__ = ["RunBook"]

RUNS_KEPT = 512
"""Runs whose arrays are kept; of older ones only the numbers stay."""


class RunBook:
    """Results by command key.

    Args:
        folder: where they are kept; made when it is not there.

    Example:
        >>> import tempfile
        >>> book = RunBook(Path(tempfile.mkdtemp()))
        >>> book.begin("run/t1/0/0", "scan")
        >>> book.find("run/t1/0/0").state
        'partial'
        >>> book.end("run/t1/0/0", "scan", "done", {"lines": 4.0}, {"z": np.zeros(4)})
        >>> book.find("run/t1/0/0").numbers, book.find("run/t1/9/0").state
        ({'lines': 4.0}, 'unseen')
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, key: str, name: str) -> None:
        """Note a run, durably, before anything moves."""
        reason = "the instrument's computer was restarted in the middle of it"
        self._write(key, {"key": key, "name": name, "state": "partial", "reason": reason}, {})

    def end(
        self,
        key: str,
        name: str,
        state: State,
        numbers: Mapping[str, float],
        arrays: Mapping[str, NDArray[Any]],
        reason: str = "",
    ) -> None:
        """Close a run with what came of it, durably."""
        about = {
            "key": key,
            "name": name,
            "state": state,
            "numbers": dict(numbers),
            "reason": reason,
        }
        self._write(key, about, arrays)
        self._thin()

    def find(self, key: str) -> Progress:
        """Return what is known of a run; `lost` when its record is damaged."""
        path = self._path(key)
        arrays: dict[str, NDArray[Any]] = {}
        try:
            if path.is_file():
                about, arrays = _read(path)
            elif path.with_suffix(".json").is_file():
                about = json.loads(path.with_suffix(".json").read_text("utf-8"))
            else:
                return Progress("unseen")
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as err:
            return Progress("lost", reason=f"its record {path.name} is damaged: {err}")
        return Progress(about["state"], about.get("numbers", {}), arrays, about.get("reason", ""))

    def _write(
        self, key: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise ArgumentError(f"{about['name']}.{name}", array.dtype, "numbers, no pickle")
        file = io.BytesIO()
        text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        np.savez(file, about=text, **arrays)  # type: ignore[arg-type]
        write_whole(self._path(key), file.getbuffer())

    def _path(self, key: str) -> Path:
        return self._folder / f"{digest_of(key.encode())[:32]}.npz"

    def _thin(self) -> None:
        """Bound the disk: drop the arrays of the oldest runs."""
        files = list(self._folder.glob("*.npz"))
        if len(files) <= RUNS_KEPT:
            return
        oldest_first = sorted(files, key=lambda path: path.stat().st_mtime_ns)
        for path in oldest_first[: len(files) - RUNS_KEPT]:
            try:
                about, arrays = _read(path)
            except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
                # it stays, as evidence; `find` says that it is damaged
                continue
            if about["state"] == "done" and arrays:
                about |= {"state": "lost", "reason": "its arrays are no longer kept"}
            # another name, so that it does not count among those that are kept
            write_whole(path.with_suffix(".json"), json.dumps(about).encode())
            path.unlink()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    # of bytes: numpy leaves a damaged file open
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
        about: dict[str, Any] = json.loads(kept["about"].tobytes())
        return about, {name: kept[name] for name in kept.files if name != "about"}
