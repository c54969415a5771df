"""A furnace for tests: an instrument on a line that survives whoever commands it.

`FurnaceLine` is the device: a folder. A run goes on by the wall clock whether anybody looks or not,
and every physical effect is a line of `physical.log`, fsynced: that file is what tests count.
`Furnace` is an instrument on it with one action of each recovery class and each kind of silence.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import PrivateAttr

from twinloop.errors import LabError
from twinloop.ids import digest_of
from twinloop.instruments.interface import (
    Command,
    Done,
    Instrument,
    Limit,
    NotDone,
    NotTouched,
    OnSilence,
    Partial,
    Recovery,
    Running,
    Unknown,
    Verdict,
    action,
    readout,
)
from twinloop.messages import Command as CommandMessage
from twinloop.results import Array, Result
from twinloop.units import Kelvin, Seconds

__all__ = ["Annealed", "Furnace", "FurnaceLine", "LineFault", "furnace_command"]

Hold_K = Annotated[Kelvin, Limit(293, 1423, rate_per_s=1)]
Hold_s = Annotated[Seconds, Limit(0, 3600)]
_ROOM_K = 293.0


class LineFault(LabError):
    """The line did not answer as it should."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"furnace line: {what}; look at the cable")


class FurnaceLine:
    """A furnace behind a line: a folder that outlives every process.

    Args:
        folder: of the furnace; made if it is not there.
        wall_s: gives the time by which runs go on [s].

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     line = FurnaceLine(Path(folder), wall_s=lambda: 0.0)
        ...     line.run("c/t/anneal/1", 900.0, 5.0)
        ...     line.state_of("c/t/anneal/1"), line.count("run")
        ('running', 1)
    """

    def __init__(self, folder: Path, wall_s: Callable[[], float] = time.time) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._wall_s = folder, wall_s

    def wall_s(self) -> float:
        """Return the time by which runs go on [s]."""
        return self._wall_s()

    def run(self, key: str, hold_K: float, hold_s: float) -> None:
        """Begin a run."""
        begin_s = self._wall_s()
        record = {"begin_s": begin_s, "end_s": begin_s + hold_s, "cut_s": None, "hold_K": hold_K}
        self._write(self._run_file(key), record)
        # last: whoever sees the effect, and kills somebody then, finds that the furnace knows of it
        self._log("run", key=key, hold_K=hold_K, hold_s=hold_s)

    def state_of(self, key: str) -> str:
        """Return unseen, running, partial or done."""
        record = self._read(self._run_file(key))
        if record is None:
            return "unseen"
        if record["cut_s"] is not None:
            return "partial"
        return "running" if self._wall_s() < record["end_s"] else "done"

    def peak_K(self, key: str) -> float:
        """Return the highest temperature of a run."""
        record = self._read(self._run_file(key))
        return _ROOM_K if record is None else float(record["hold_K"])

    def cut(self, why: str) -> None:
        """Heater off: every run ends here."""
        for file in self._folder.glob("run-*.json"):
            record = self._read(file)
            if record and record["cut_s"] is None and self._wall_s() < record["end_s"]:
                self._write(file, {**record, "cut_s": self._wall_s()})
        # last, as in `run`: whoever sees the effect finds every run cut
        self._log("off", why=why)

    def note(self, what: str, **about: object) -> None:
        """Log another physical effect."""
        self._log(what, **about)

    def inject(self, fault: str) -> None:
        """Let a fault stand until `mend`."""
        (self._folder / f"fault-{fault}").touch()

    def mend(self, fault: str) -> None:
        """Take a fault away."""
        (self._folder / f"fault-{fault}").unlink(missing_ok=True)

    def has(self, fault: str) -> bool:
        """Return True while a fault stands."""
        return (self._folder / f"fault-{fault}").exists()

    def effects(self) -> list[dict[str, Any]]:
        """Return every physical effect so far."""
        try:
            lines = (self._folder / "physical.log").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def count(self, what: str, key: str | None = None) -> int:
        """Return how often an effect happened."""
        return sum(
            e["what"] == what and (key is None or e.get("key") == key) for e in self.effects()
        )

    def _log(self, what: str, **about: object) -> None:
        with (self._folder / "physical.log").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "at_s": self._wall_s(), **about}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _run_file(self, key: str) -> Path:
        return self._folder / f"run-{digest_of(key.encode())[:16]}.json"

    def _write(self, file: Path, record: dict[str, Any]) -> None:
        draft = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
        draft.write_text(json.dumps(record), encoding="utf-8")
        draft.replace(file)

    def _read(self, file: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found


class Annealed(Result):
    """What an anneal returns."""

    peak_K: Kelvin
    trace_K: Array


class Furnace(Instrument, kind="furnace"):
    """A tube furnace on a `FurnaceLine`.

    Args:
        folder: of the line.
        poll_s: how often a run is looked at [s].
    """

    is_twin = True
    folder: str
    poll_s: float = 0.02
    _line: FurnaceLine | None = PrivateAttr(default=None)

    @property
    def line(self) -> FurnaceLine:
        """Return the line.

        Raises:
            LineFault: `connect` has not been called.
        """
        if self._line is None:
            raise LineFault("not connected")
        return self._line

    def connect(self) -> None:
        """Open the line."""
        line = FurnaceLine(Path(self.folder))
        if line.has("no-line"):
            raise LineFault("nobody answers")
        self._line = line

    def safe_state(self) -> None:
        """Heater off."""
        if self.line.has("stuck-relay"):
            raise LineFault("the relay does not open")
        self.line.cut(f"safe_state in process {os.getpid()}")

    def is_busy(self) -> bool | None:
        """Return whether the last run goes on."""
        runs = [e["key"] for e in self.line.effects() if e["what"] == "run"]
        return bool(runs) and self.line.state_of(runs[-1]) == "running"

    @readout
    async def temperature_K(self) -> Annotated[Kelvin, Limit(0, 2000)]:
        """Return the temperature; a broken thermocouple reads far too high."""
        return 9999.0 if self.line.has("hot") else _ROOM_K

    @readout
    async def lid_is_closed(self) -> bool:
        """Return what the lid's contact says."""
        return not self.line.has("lid-open")

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH, loads_sample=True)
    async def load(self) -> None:
        """Bring the named sample in."""
        self.line.run(str(self.command.key), _ROOM_K, 0.0)
        self.line.note("load", sample=self.command.sample)

    @load.reconcile
    async def what_was_loaded(self, command: Command) -> Verdict:
        """Ask by command key."""
        return Done(None) if self.line.state_of(str(command.key)) == "done" else NotDone()

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=0.5,
        interlocks=("lid_is_closed",),
    )
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while; it ends by itself, even without the adapter."""
        key = str(self.command.key)
        if self.line.has("refuses"):
            raise NotTouched("the furnace says no")
        self.line.run(key, hold_K, hold_s)
        try:
            while self.line.state_of(key) == "running":
                self.emit("temperature", {"temperature_K": hold_K}, {})
                await self.clock.sleep(self.poll_s)
                if self.line.has("blocks"):
                    # a driver that hangs, and holds up the whole event loop
                    self.line.note("hangs")
                    threading.Event().wait()
                if self.line.has("noise"):
                    raise LineFault("noise")
        finally:
            if self.line.state_of(key) == "running" and not self.line.has("noise"):
                self.line.cut("aborted")
        if self.line.state_of(key) == "partial":
            raise LineFault("cut short")
        return self._annealed(key)

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask by command key."""
        key = str(command.key)
        if self.line.has("mute"):
            raise LineFault("no answer")
        match self.line.state_of(key):
            case "done":
                return Done(self._annealed(key))
            case "running":
                return Running()
            case "partial":
                return Partial(peak_K=self.line.peak_K(key))
            case _:
                return NotDone()

    @anneal.confirm
    async def is_plausible(self, command: Command, result: Annealed) -> str | None:
        """Complain when the furnace lies."""
        if self.line.has("lies"):
            return f"{command.key}: it says {result.peak_K:g} K, and lies"
        return None

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE, silence_s=0.5)
    async def heat(self, *, target_K: Hold_K) -> Kelvin:
        """Set a temperature and leave it there."""
        self.line.note("heat", key=str(self.command.key), target_K=target_K)
        if self.line.has("noise"):
            raise LineFault("noise")
        await self.clock.sleep(self.poll_s)
        return target_K

    @action(recovery=Recovery.UNSAFE, on_silence=OnSilence.HOLD, silence_s=0.5)
    async def quench(self) -> None:
        """Drop the sample into water: nobody can tell afterwards."""
        self.line.note("quench", key=str(self.command.key))
        await self.clock.sleep(self.poll_s)
        if self.line.has("noise"):
            raise LineFault("noise")

    @quench.reconcile
    async def what_was_quenched(self, command: Command) -> Verdict:
        """Say that nobody can tell."""
        return Unknown(f"water tells nothing about {command.key}")

    def _annealed(self, key: str) -> Annealed:
        peak_K = self.line.peak_K(key)
        return Annealed(peak_K=peak_K, trace_K=np.linspace(_ROOM_K, peak_K, 64, dtype=np.float32))


def furnace_command(
    step: str,
    action_name: str,
    *,
    epoch: int,
    ledger: str,
    sample: str | None = "s1",
    attempt: int = 1,
    not_after_s: float = 1e12,
    **arguments: float,
) -> CommandMessage:
    """Return a command for the instrument "furnace" of campaign "c", trial "t"."""
    return CommandMessage.model_validate(
        {
            "key": ("c", "t", step, attempt),
            "instrument": "furnace",
            "action": action_name,
            "arguments": arguments,
            "sample": sample,
            "epoch": epoch,
            "ledger": ledger,
            "not_after_s": not_after_s,
        }
    )
