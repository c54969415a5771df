"""An adapter without threads, sockets or disk: for property tests and deterministic simulation.

`SimMachine` is the physical side: it goes on whoever dies, and remembers every effect. `AdapterSim`
is one adapter process on it: the real core, a log that can crash, and time that the caller moves.

    machine = SimMachine()
    adapter = AdapterSim(rules, machine, MemoryLog("ledger"), send=network.send)
    adapter.start(0.0)
    adapter.receive("conductor", LeaseRequest(...), 0.0)
    adapter.step(now_s)             # due device events, uploads and ticks
    adapter.crash()                 # between any two effects: see `crash_after`
    adapter.start(now_s)            # the same ledger, the same machine, another life
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinloop.ids import CommandKey
from twinloop.instruments.adapter_core import AdapterCore
from twinloop.instruments.adapter_effects import (
    CancelAction,
    Cancelled,
    DeviceEvent,
    DropSpool,
    Raised,
    ReadOut,
    ReadOutDone,
    Reconcile,
    Reconciled,
    Returned,
    RunSafeState,
    SafeStateDone,
    StartAction,
    Upload,
)
from twinloop.instruments.rules import AdapterSettings, InstrumentRules
from twinloop.instruments.spool import MemorySpool, SpoolFailed
from twinloop.log.memory import MemoryLog
from twinloop.messages import Command, Message
from twinloop.results import Array
from twinloop.wire.effects import Append, Exit, Send, Sync

__all__ = ["AdapterSim", "SimMachine", "SimRun"]

Work = Callable[[Command], tuple[Any, Mapping[str, Array]]]


def _default_result(command: Command) -> tuple[Any, Mapping[str, Array]]:
    frame = np.full(3, len(str(command.key)), dtype=np.float32)
    return {"of": str(command.key), "frame": {"$array": "frame"}}, {"frame": frame}


@dataclass(slots=True)
class SimRun:
    """One run of the machine; `cut_s` when it was cut short."""

    command: Command
    begin_s: float
    end_s: float
    cut_s: float | None = None


class SimMachine:
    """A machine that outlives its adapters, and logs every physical effect.

    Args:
        duration_s: how long an action lasts [s].
        result: JSON value and arrays of an action that ran to its end.
        fails: True for a run that raises in the adapter although the machine goes on.
        store: what an upload does with arrays in a depot; None to forget them.

    Attributes:
        effects: every physical effect in order: ("begin" | "cut" | "safe_state", key or instrument).
        runs: last run by key.
    """

    def __init__(
        self,
        duration_s: Callable[[Command], float] = lambda _: 1.0,
        result: Work = _default_result,
        fails: Callable[[Command], bool] = lambda _: False,
    ) -> None:
        self.effects: list[tuple[str, CommandKey | str]] = []
        self.runs: dict[CommandKey, SimRun] = {}
        self._duration_s, self.result, self.fails = duration_s, result, fails

    def n_begun(self, key: CommandKey) -> int:
        """Return how often a key was begun: the figure that must not exceed one."""
        return self.effects.count(("begin", key))

    def begin(self, command: Command, now_s: float) -> SimRun:
        """Begin a run, now, for good."""
        run = SimRun(command, now_s, now_s + self._duration_s(command))
        self.effects.append(("begin", command.key))
        self.runs[command.key] = run
        return run

    def cut(self, key: CommandKey, now_s: float) -> None:
        """Cut a run short."""
        run = self.runs.get(key)
        if run is not None and run.cut_s is None and now_s < run.end_s:
            run.cut_s = now_s
            self.effects.append(("cut", key))

    def safe_state(self, instrument: str, now_s: float) -> None:
        """Cut whatever the instrument does."""
        self.effects.append(("safe_state", instrument))
        for key, run in self.runs.items():
            if run.command.instrument == instrument:
                self.cut(key, now_s)

    def state_of(self, key: CommandKey, now_s: float) -> str:
        """Return not_done, running, partial or done."""
        run = self.runs.get(key)
        if run is None:
            return "not_done"
        if run.cut_s is not None:
            return "partial"
        return "running" if now_s < run.end_s else "done"


class AdapterSim:
    """One adapter process on a simulated machine.

    Args:
        rules: instruments by name.
        machine: outlives this process.
        log: the ledger; `crash` makes it forget what was not committed.
        send: takes (receiver, message).
        settings: numbers of the process.
        upload_s: how long an upload lasts [s]; it fails while `depot_is_up` is False.

    Attributes:
        core: of the present life, None while dead.
        crash_after: crash after so many more effects; None for never.
        uploads: (key, depot) of every upload that reached a depot.
        ended: the `Exit` of a life that ended by itself.
    """

    def __init__(
        self,
        rules: Mapping[str, InstrumentRules],
        machine: SimMachine,
        log: MemoryLog,
        send: Callable[[str, Message], None],
        settings: AdapterSettings | None = None,
        *,
        upload_s: float = 0.1,
    ) -> None:
        self.machine, self.log, self.spool = machine, log, MemorySpool()
        self.core: AdapterCore | None = None
        self.crash_after: int | None = None
        self.depot_is_up = True
        self.uploads: list[tuple[CommandKey, str]] = []
        self.ended: Exit | None = None
        self._rules, self._send, self._settings = rules, send, settings or AdapterSettings()
        self._upload_s = upload_s
        self._due: list[tuple[float, Callable[[AdapterCore, float], list[Any]]]] = []
        self._running: dict[CommandKey, SimRun] = {}

    @property
    def next_s(self) -> float | None:
        """Return when `step` has something to do."""
        if self.core is None:
            return None
        times = [at_s for at_s, _ in self._due]
        times += [run.end_s for run in self._running.values()]
        times += [] if self.core.wake_at_s is None else [self.core.wake_at_s]
        return min(times, default=None)

    def start(self, now_s: float) -> None:
        """Begin another life on the same ledger."""
        self.ended = None
        self.core = AdapterCore(self.log.read(), self.log.log_id, self._rules, self._settings)
        self.spool.retain(self.core.spool_keys())
        self._run(self.core.start(now_s), now_s)

    def receive(self, sender: str, message: Message, now_s: float) -> None:
        """Take a message; lost while dead."""
        if self.core is not None:
            self.core.observe(now_s, self.spool.used_bytes)
            self._run(self.core.receive(sender, message, now_s), now_s)

    def step(self, now_s: float) -> None:
        """Do what is due: device events, uploads, ticks."""
        for key, run in list(self._running.items()):
            if self.core is not None and run.end_s <= now_s:
                del self._running[key]
                self._report(self._end_of(run, now_s), now_s)
        due = [item for item in self._due if item[0] <= now_s]
        self._due = [item for item in self._due if item[0] > now_s]
        for _, call in due:
            if self.core is not None:
                self._run(call(self.core, now_s), now_s)
        if self.core is not None and (self.core.wake_at_s or now_s + 1) <= now_s:
            self._run(self.core.tick(now_s), now_s)

    def crash(self) -> None:
        """Die: what was not committed is lost; the machine goes on."""
        self.core, self.crash_after = None, None
        self._due, self._running = [], {}
        self.log.crash()

    def _run(self, effects: list[Any], now_s: float) -> None:
        for effect in effects:
            if self.core is None:
                return
            if self.crash_after is not None:
                if self.crash_after <= 0:
                    self.crash()
                    return
                self.crash_after -= 1
            self._perform(effect, now_s)

    def _perform(self, effect: Any, now_s: float) -> None:
        match effect:
            case Append(entry=entry):
                self.log.append(entry)
            case Sync():
                self.log.commit()
            case Send(to=to, message=message):
                self._send(to, message)
            case StartAction(command=command):
                self._running[command.key] = self.machine.begin(command, now_s)
            case CancelAction(key=key):
                if self._running.pop(key, None) is not None:
                    self.machine.cut(key, now_s)
                    self._later(Cancelled(key), now_s)
            case RunSafeState(instrument=name, reason=reason):
                self._secure(name, reason, now_s)
            case Reconcile(command=command):
                self._later(self._verdict(command.key, now_s), now_s)
            case ReadOut(asker=asker, request=request):
                self._later(ReadOutDone(asker, request, 1.0), now_s)
            case Upload():
                self._upload(effect, now_s)
            case DropSpool(key=key):
                self.spool.drop(key)
            case Exit():
                self.ended, self.core = effect, None

    def _secure(self, name: str, reason: str, now_s: float) -> None:
        self.machine.safe_state(name, now_s)
        for key, run in list(self._running.items()):
            if run.command.instrument == name:
                del self._running[key]
                self._later(Raised(key, is_touched=True, reason="cut short"), now_s)
        self._later(SafeStateDone(name, reason), now_s)

    def _end_of(self, run: SimRun, now_s: float) -> DeviceEvent:
        key = run.command.key
        if self.machine.fails(run.command):
            return Raised(key, is_touched=True, reason="the line was noisy")
        result, arrays = self.machine.result(run.command)
        refs = self.spool.store(key, arrays)
        return Returned(key, result, refs, None, run.begin_s, now_s)

    def _verdict(self, key: CommandKey, now_s: float) -> DeviceEvent:
        match self.machine.state_of(key, now_s):
            case "done":
                result, arrays = self.machine.result(self.machine.runs[key].command)
                return Reconciled(key, "done", result, self.spool.store(key, arrays))
            case "partial":
                return Reconciled(key, "partial", {"cut": True})
            case "running":
                return Reconciled(key, "running")
            case _:
                return Reconciled(key, "not_done")

    def _upload(self, effect: Upload, now_s: float) -> None:
        key, depot, refs = effect.key, effect.depot, effect.arrays

        def arrive(core: AdapterCore, at_s: float) -> list[Any]:
            try:
                for ref in refs:
                    self.spool.load(key, ref)
            except SpoolFailed:
                # acknowledged meanwhile, from another depot
                return core.upload_failed(key, depot, at_s)
            if not self.depot_is_up:
                return core.upload_failed(key, depot, at_s)
            self.uploads.append((key, depot))
            return core.uploaded(key, depot, at_s)

        self._due.append((now_s + self._upload_s, arrive))

    def _report(self, event: DeviceEvent, now_s: float) -> None:
        if self.core is not None:
            self._run(self.core.device(event, now_s), now_s)

    def _later(self, event: DeviceEvent, now_s: float) -> None:
        self._due.append((now_s, lambda core, at_s: core.device(event, at_s)))
