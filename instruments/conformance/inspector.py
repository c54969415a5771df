"""A second process with a connection of its own, as the watchdog has: it looks, and makes safe.

    python -m twinloop.instruments.conformance.inspector --record FOLDER --factor 1 --settings JSON

Its first line says what making an object touched; then each line of standard input is an operation
(describe, connect, disconnect, readouts, busy, safe), answered by one line of JSON.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twinloop.clocks import ScaledLabClock
from twinloop.errors import LabError, describe_error
from twinloop.instruments.conformance.record import Record
from twinloop.instruments.conformance.recorder import recorded_class
from twinloop.instruments.interface import Instrument
from twinloop.instruments.spec import load_class
from twinloop.results import encode_result

__all__ = ["main"]

_READ_LIMIT_S = 10.0
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_TOUCHES = frozenset(
    {"socket.connect", "socket.bind", "socket.sendto", "subprocess.Popen", "os.mkdir", "os.remove",
     "os.rename", "os.rmdir", "shutil.rmtree", "tempfile.mkdtemp", "tempfile.mkstemp",
     "sqlite3.connect"}
)  # fmt: skip


class _Audit:
    """Notes what touches the world outside of this process, while it is open."""

    def __init__(self) -> None:
        self.is_open = False
        self.touched: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_open or len(self.touched) > 20:
            return
        if event == "open":
            path, _, flags = arguments
            is_device = isinstance(path, str) and path.startswith(("/dev/", "\\\\.\\"))
            is_written = isinstance(flags, int) and flags & _WRITES
            if (is_written or is_device) and path != os.devnull:
                self.touched.append(f"open {path!s:.100}")
        elif event in _TOUCHES:
            self.touched.append(f"{event} {arguments!s:.100}")


class _Inspector:
    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._is_attached = False

    def do(self, what: str) -> dict[str, Any]:
        """Do one operation, and say how it went."""
        known: dict[str, Callable[[], Any]] = {
            "describe": self._describe,
            "connect": self._connect,
            "disconnect": self._instrument.disconnect,
            "readouts": lambda: asyncio.run(self._readouts()),
            "busy": self._instrument.is_busy,
            "safe": self._instrument.safe_state,
        }
        begun_s = time.monotonic()
        try:
            told = known[what]()
            error = None
        except Exception as err:  # noqa: BLE001 - actor boundary: the author's code
            told, error = None, describe_error(err)
        return {"told": told, "error": error, "took_s": time.monotonic() - begun_s}

    def _describe(self) -> dict[str, Any]:
        cls = type(self._instrument)
        return {"schema": cls.describe(), "digest": cls.schema_digest()}

    def _connect(self) -> None:
        self._instrument.connect()

    async def _readouts(self) -> dict[str, Any]:
        found = {}
        for name in type(self._instrument).readouts():
            reading = getattr(self._instrument, name)()
            try:
                found[name], _ = encode_result(await asyncio.wait_for(reading, _READ_LIMIT_S))
            except Exception as err:  # noqa: BLE001 - actor boundary: the author's readout
                found[name] = {"error": describe_error(err)}
        return found


def _say(line: object) -> None:
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer until standard input closes, and return the exit status."""
    parser = argparse.ArgumentParser(prog="twinloop inspector", description=__doc__)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--settings", default="{}")
    parser.add_argument("--plain", action="store_true", help="the class itself, without notes")
    options = parser.parse_args(arguments)
    record = Record(options.record)
    orders = record.orders()
    try:
        cls = load_class(orders["class"], orders["name"])
        if not options.plain:
            cls = recorded_class(record)
        audit = _Audit()
        audit.is_open = True
        instrument = cls(**json.loads(options.settings))
        audit.is_open = False
    except LabError as err:
        _say({"error": str(err)})
        return 2
    except Exception as err:  # noqa: BLE001 - actor boundary: the author's constructor
        _say({"error": describe_error(err)})
        return 2
    instrument.attach(ScaledLabClock(options.factor))
    _say({"error": None, "touched": audit.touched, "pid": os.getpid()})
    inspector = _Inspector(instrument)
    # unbuffered reads of whole lines: nothing may wait in a buffer when the bench is gone
    for line in iter(sys.stdin.readline, ""):
        _say(inspector.do(line.strip()))
    inspector.do("disconnect")
    return 0


if __name__ == "__main__":
    sys.exit(main())
