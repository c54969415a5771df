"""Documents of bluesky runs, kept on the disk of the control PC: provenance, and what to ask after a crash.

One file for each command. Its first line is written before a device is touched and its last one when the
plan is over, each durable, so that a restarted adapter can tell what became of a command: no file, it never
began; a last line, it ended so; otherwise it was cut, and the documents say how far it came.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from twinloop.ids import CommandKey, digest_of
from twinloop.results import Array

__all__ = ["RunDocuments", "RunFile"]

_BEGIN, _END = "twinloop_begin", "twinloop_end"
_MAX_TEXT_BYTES = 64 * 2**20


class RunDocuments(NamedTuple):
    """What is known of one command.

    Args:
        documents: (name, document) in their order.
        status: "success", "abort", "fail", or "cut" when nobody wrote how it ended.
        reason: why it did not succeed.
    """

    documents: list[tuple[str, dict[str, Any]]]
    status: str
    reason: str

    @property
    def run_uids(self) -> list[str]:
        """Return the uid of each run."""
        return [doc["uid"] for name, doc in self.documents if name == "start"]

    @property
    def n_events(self) -> int:
        """Return how many events were recorded."""
        return len(self.events())

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (stream, event), pages taken apart."""
        streams = {doc["uid"]: doc["name"] for name, doc in self.documents if name == "descriptor"}
        found = []
        for name, doc in self.documents:
            if name == "event":
                found.append((streams[doc["descriptor"]], doc))
            elif name == "event_page":
                for n, seq in enumerate(doc["seq_num"]):
                    data = {key: values[n] for key, values in doc["data"].items()}
                    one = {"seq_num": seq, "time": doc["time"][n], "data": data}
                    found.append((streams[doc["descriptor"]], one))
        return found

    def summary(self) -> dict[str, object]:
        """Return what travels as the result of a command.

        The columns are numbers only, shape (n_events, ...), one for each key of each stream; what is text
        stands in `documents`, the documents as JSON lines, uint8.
        """
        columns: dict[str, dict[str, list[Any]]] = {}
        for stream, event in self.events():
            rows = columns.setdefault(stream, {})
            rows.setdefault("time", []).append(event["time"])
            for key, value in event["data"].items():
                rows.setdefault(key, []).append(value)
        arrays = {
            stream: {
                key: array for key, rows in found.items() if (array := _column(rows)) is not None
            }
            for stream, found in columns.items()
        }
        units = {
            key: about["units"]
            for name, doc in self.documents
            if name == "descriptor"
            for key, about in doc["data_keys"].items()
            if about.get("units")
        }
        text = "".join(json.dumps(pair) + "\n" for pair in self.documents).encode()
        return {
            "status": self.status,
            "reason": self.reason,
            "run_uids": self.run_uids,
            "n_events": self.n_events,
            "streams": arrays,
            "units": units,
            "documents": np.frombuffer(text[:_MAX_TEXT_BYTES], dtype=np.uint8),
        }


class RunFile:
    """The file of one command, open for writing.

    Args:
        folder: of all files.
        key: of the command.
        action: its name.

    Raises:
        OSError: the disk does not take it; no file is left.
    """

    def __init__(self, folder: Path, key: CommandKey, action: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = self.path(folder, key)
        self._file: TextIO = path.open("w", encoding="utf-8")
        try:
            self._write(_BEGIN, {"key": str(key), "action": action})
            self.sync()
        except OSError:
            with contextlib.suppress(OSError):  # the same disk, once more
                self._file.close()
            path.unlink()
            raise

    @staticmethod
    def path(folder: Path, key: CommandKey) -> Path:
        """Return where the documents of a command are."""
        return folder / f"{digest_of(str(key).encode())[:24]}.jsonl"

    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """Add a document; durable at the end of each run."""
        self._write(name, document)
        if name == "stop":
            self.sync()

    def end(self, status: str, reason: str = "") -> None:
        """Write how it ended, and close."""
        self._write(_END, {"status": status, "reason": reason})
        self.sync()
        self._file.close()

    def sync(self) -> None:
        """Make it durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        self._file.write(json.dumps([name, document], default=_plain) + "\n")
        self._file.flush()

    @classmethod
    def read(cls, folder: Path, key: CommandKey) -> RunDocuments | None:
        """Return what is known of a command; None when it never began."""
        try:
            lines = cls.path(folder, key).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        documents, status, reason = [], "cut", "the process that ran the plan died"
        for line in lines:
            try:
                name, document = json.loads(line)
            except ValueError:
                break  # the last line of a process that was killed
            if name == _END:
                status, reason = document["status"], document["reason"]
            elif name != _BEGIN:
                documents.append((name, document))
        return RunDocuments(documents, status, reason)


def _column(rows: list[Any]) -> Array | None:
    try:
        column = np.asarray(rows)
    except ValueError:  # ragged
        return None
    return column if column.dtype.kind in "biuf" and np.isfinite(column).all() else None


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
