"""Telemetry: every readout, now and then, in a bounded file of its own; never in a journal."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from twinloop.clocks import LabClock, utc_now
from twinloop.instruments.adapter_effects import LimitBroken
from twinloop.instruments.interface import Instrument
from twinloop.instruments.outgoing import limit_complaint
from twinloop.limits import limit_of
from twinloop.results import encode_result

__all__ = ["Telemetry", "TelemetryFile"]

_READ_LIMIT_S = 5.0


class TelemetryFile:
    """JSON lines; when the file is full it becomes the older one of two.

    Args:
        path: of the file; the older one is beside it, with ".old" behind its name.
        limit_bytes: of each of the two [byte].

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = TelemetryFile(Path(folder) / "telemetry.jsonl", limit_bytes=40)
        ...     for n in range(9):
        ...         file.write({"n": n})
        ...     sorted(p.name for p in Path(folder).iterdir())
        ['telemetry.jsonl', 'telemetry.jsonl.old']
    """

    def __init__(self, path: Path, limit_bytes: int = 16 * 1024**2) -> None:
        self._path, self._limit_bytes = path, limit_bytes
        self.n_lost = 0

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line; counted as lost when the disk refuses, because telemetry is no promise."""
        try:
            if self._path.exists() and self._path.stat().st_size >= self._limit_bytes:
                self._path.replace(self._path.with_name(self._path.name + ".old"))
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError:
            self.n_lost += 1


class Telemetry:
    """Reads every readout of every instrument and watches the limits of their types.

    Args:
        instruments: by name.
        file: takes the lines; None to watch the limits only.
        broken: takes a limit that was broken, once until it holds again.
        clock: the laboratory clock.
        period_s: real time between two readings of everything [s].
        watch_s: real time between two readings of what has a limit [s].
    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        file: TelemetryFile | None,
        broken: Callable[[LimitBroken], None],
        clock: LabClock,
        period_s: float = 1.0,
        watch_s: float = 0.2,
    ) -> None:
        self._instruments, self._file, self._broken = instruments, file, broken
        self._clock, self._period_s, self._watch_s = clock, period_s, min(watch_s, period_s)
        self._is_broken: set[tuple[str, str]] = set()
        self._hints = {
            (name, readout): get_type_hints(method.function, include_extras=True).get("return")
            for name, instrument in instruments.items()
            for readout, method in type(instrument).readouts().items()
        }

    async def run(self) -> None:
        """Look for ever, in the device thread's loop."""
        n_watches = max(1, round(self._period_s / self._watch_s))
        while True:
            await self.look()
            for _ in range(n_watches - 1):
                await asyncio.sleep(self._watch_s)
                await self.watch()
            await asyncio.sleep(self._watch_s)

    async def watch(self) -> None:
        """Read what has a limit, once."""
        for (name, readout), hint in self._hints.items():
            if limit_of(hint) is not None:
                await self._read(name, readout)

    async def look(self) -> None:
        """Read everything once, and write it down."""
        values: dict[str, dict[str, Any]] = {}
        for name, readout in self._hints:
            values.setdefault(name, {})[readout] = await self._read(name, readout)
        if self._file is not None:
            self._file.write({"at": utc_now(), "lab_s": self._clock.now_s(), **values})

    async def _read(self, name: str, readout: str) -> Any:
        try:
            reading = getattr(self._instruments[name], readout)()
            value = await asyncio.wait_for(reading, _READ_LIMIT_S)
            result, arrays = encode_result(value)
        except Exception as err:  # noqa: BLE001 - actor boundary: the author's readout
            return {"error": f"{type(err).__name__}: {err}"[:200]}
        place = (name, readout)
        complaint = limit_complaint(value, self._hints[place], f"{name}.{readout}")
        if complaint is None:
            self._is_broken.discard(place)
        elif place not in self._is_broken:
            self._is_broken.add(place)
            self._broken(LimitBroken(name, complaint))
        return None if arrays else result
