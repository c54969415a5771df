"""What reached the author's code: lines on disk, from every process that has the class."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Record"]

_LINES = "record.jsonl"
_ORDERS = "orders.json"


@dataclass(frozen=True, slots=True)
class Record:
    """One folder: orders from the bench, notes of adapter, watchdog and inspector.

    Args:
        folder: of one instrument.

    Example:
        >>> import tempfile
        >>> record = Record(Path(tempfile.mkdtemp()))
        >>> record.append({"what": "began", "action": "anneal", "key": "c/t/1/1"})
        >>> [line["what"] for line in record.lines(action="anneal")]
        ['began']
    """

    folder: Path

    def orders(self) -> dict[str, Any]:
        """Return class, name and longest silence, as `order_class` wrote them."""
        return self._read(_ORDERS)

    def order_class(self, cls: str, name: str, silence_s: float) -> None:
        """Say which class is to be recorded.

        Args:
            cls: "module:Class".
            name: of the instrument.
            silence_s: every silence is rehearsed with this length [s, real].
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(_ORDERS, {"class": cls, "name": name, "silence_s": silence_s})

    def order(self, what: str) -> dict[str, Any]:
        """Return a standing order ("kill", "force"); {} where there is none."""
        return self._read(f"{what}.json")

    def give_order(self, what: str, **order: Any) -> None:
        """Let an order stand."""
        self._write(f"{what}.json", order)

    def withdraw(self, what: str) -> None:
        """Withdraw an order."""
        (self.folder / f"{what}.json").unlink(missing_ok=True)

    def append(self, line: dict[str, Any]) -> None:
        """Write one line; it is on disk when this returns."""
        with (self.folder / _LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(
        self, accept: Callable[[dict[str, Any]], bool] = lambda _: True, **same: Any
    ) -> list[dict[str, Any]]:
        """Return the lines whose fields are as given, in order."""
        try:
            text = (self.folder / _LINES).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        # a process that was killed may have left half a line
        found = [json.loads(line) for line in text.split("\n")[:-1] if line.endswith("}")]
        return [
            line
            for line in found
            if all(line.get(name) == value for name, value in same.items()) and accept(line)
        ]

    def count(self, what: str, **same: Any) -> int:
        """Return how many lines there are."""
        return len(self.lines(what=what, **same))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found

    def _write(self, name: str, content: dict[str, Any]) -> None:
        draft = self.folder / f"{name}.tmp"
        draft.write_text(json.dumps(content), encoding="utf-8")
        draft.replace(self.folder / name)
