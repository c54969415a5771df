"""The shell of an adapter: mailbox thread around the core, device thread, uploads, streams.

`AdapterServer` runs in the calling thread until it ends; `serve_in_thread` serves twins inside another
process (a Ray actor) with a ledger in memory. `server.serve` is the process beside a real machine.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq

from twinloop.clocks import LabClock, RealWireClock, ScaledLabClock, WireClock, utc_now
from twinloop.errors import ArgumentError, Disconnected, LabError, MessageRejected
from twinloop.ids import CommandKey, new_incarnation
from twinloop.instruments.adapter_core import AdapterCore
from twinloop.instruments.adapter_effects import (
    CancelAction,
    DeviceEvent,
    DropSpool,
    LimitBroken,
    ReadOut,
    Reconcile,
    RunSafeState,
    SafeStateDone,
    SafeStateFailed,
    StartAction,
    Upload,
)
from twinloop.instruments.device import DeviceThread
from twinloop.instruments.guard import Guard
from twinloop.instruments.interface import Instrument
from twinloop.instruments.live import LiveStreams
from twinloop.instruments.rules import AdapterSettings, rules_of
from twinloop.instruments.spool import MemorySpool, Spool
from twinloop.instruments.telemetry import Telemetry, TelemetryFile
from twinloop.instruments.uploader import Uploader
from twinloop.instruments.watchdog_notes import WatchdogNote
from twinloop.log.interface import EventLog
from twinloop.log.memory import MemoryLog
from twinloop.messages import EmergencyStop, InstrumentStatus, Message, StatusRequest
from twinloop.wire.effects import Exit, Send
from twinloop.wire.endpoint import bind_checked, make_socket, receive_frames
from twinloop.wire.envelope import MAX_MESSAGE_BYTES, pack, unpack
from twinloop.wire.loop import AgentLoop
from twinloop.wire.mailbox import Mailbox

__all__ = ["AdapterServer", "ThreadAdapter", "serve_in_thread"]

_LOG = logging.getLogger(__name__)
_BEAT_S = 0.5
_SAFE_LIMIT_S = 5.0
_STOP_DOOR = "stop-endpoint"
_MAX_GUARDS = 5
_BROKEN = 5


@dataclass(frozen=True, slots=True)
class _Call:
    """An effect of the shell itself: it runs in order with the others, behind their gates."""

    call: Callable[[], None]


class _Shell:
    """The core with what the shell adds: beats, limits on safe states, a watchdog that ended."""

    def __init__(
        self,
        core: AdapterCore,
        observe: Callable[[], None],
        beat: Callable[[], Sequence[object]],
        clock: WireClock,
    ) -> None:
        self.core, self._observe, self._beat = core, observe, beat
        self.on_ready: list[Callable[[], None]] = []
        self._beat_at_s = clock.now_s()
        self.safe_by_s: dict[str, float] = {}

    @property
    def wake_at_s(self) -> float:
        core_s = self.core.wake_at_s
        times = [self._beat_at_s, *self.safe_by_s.values()]
        return min(times if core_s is None else [*times, core_s])

    def start(self, now_s: float) -> Sequence[object]:
        self._observe()
        return [*self.core.start(now_s), *map(_Call, self.on_ready)]

    def receive(self, sender: str, message: Message, now_s: float) -> Sequence[object]:
        self._observe()
        return self.core.receive(sender, message, now_s)

    def device(self, event: DeviceEvent, now_s: float) -> Sequence[object]:
        if isinstance(event, SafeStateDone | SafeStateFailed):
            self.safe_by_s.pop(event.instrument, None)
        return self.core.device(event, now_s)

    def tick(self, now_s: float) -> Sequence[object]:
        self._observe()
        effects: list[object] = list(self.core.tick(now_s))
        if now_s >= self._beat_at_s:
            self._beat_at_s = now_s + _BEAT_S
            effects += self._beat()
        return effects


class AdapterServer:
    """Serves instruments until `stop`, a signal, or the hub's word.

    Args:
        instruments: by name, not yet connected.
        agent: name at the hub.
        hub: its endpoint.
        log: the ledger.
        spool: arrays that are not acknowledged.
        clock: the laboratory clock.
        settings: numbers; the clock factor is taken from `clock`.
        notes: what a watchdog did before this life.
        start_guard: starts the watchdog; None for an adapter without one (a twin in memory).
        read_notes, drop_notes: what a watchdog did during this life, and forget it.
        telemetry: file of the readouts; None to watch their limits only.
        telemetry_s: real time between two readings [s].
        stop_endpoint: where an emergency stop arrives without the hub; "" for nowhere.
        incarnation: identity of this life.

    Raises:
        ArgumentError: a scaled clock for an instrument that is not a twin.
        BindRefused, EndpointBusy: the stop endpoint cannot be had.
    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        *,
        agent: str,
        hub: str,
        log: EventLog,
        spool: Spool,
        clock: LabClock,
        settings: AdapterSettings | None = None,
        notes: Sequence[WatchdogNote] = (),
        start_guard: Callable[[], Guard] | None = None,
        read_notes: Callable[[], list[WatchdogNote]] = list,
        drop_notes: Callable[[], None] = lambda: None,
        telemetry: TelemetryFile | None = None,
        telemetry_s: float = 1.0,
        stop_endpoint: str = "",
        incarnation: str | None = None,
    ) -> None:
        _check_clock(instruments, clock)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._door = _open_door(self._context, stop_endpoint) if stop_endpoint else None
        self._instruments, self._log, self._spool, self._clock = instruments, log, spool, clock
        self._wire_clock = RealWireClock()
        self._start_guard = start_guard
        self._read_notes, self._drop_notes = read_notes, drop_notes
        self._guard: Guard | None = None
        self._n_guards = 0
        rules = {name: rules_of(type(instrument)) for name, instrument in instruments.items()}
        core = AdapterCore(log.read(), log.log_id, rules, settings, notes)
        self._shell = _Shell(core, self._observe, self._beat, self._wire_clock)
        self._shell.on_ready.append(drop_notes)
        spool.retain(core.spool_keys())
        self._streams = LiveStreams()
        self._uploader = Uploader(spool, self._uploaded, self._upload_failed)
        watch = Telemetry(instruments, telemetry, self._post, clock, telemetry_s)
        self._device = DeviceThread(
            instruments, spool, self._post, clock, self._streams.emit_of, watch.run
        )
        about = {name: r.kind for name, r in rules.items()}
        self._mailbox = Mailbox(
            hub, agent, "adapter", incarnation or new_incarnation(), about={"instruments": about}
        )
        self._loop = AgentLoop(self._shell, self._mailbox, log, self._perform)
        if self._door is not None:
            self._mailbox.register(self._door, self._at_door)

    @property
    def core(self) -> AdapterCore:
        """Return the core, for reading in tests."""
        return self._shell.core

    def when_ready(self, call: Callable[[], None]) -> None:
        """Have `call` called once all is connected and guarded, and the ledger is folded."""
        self._shell.on_ready.append(call)

    def run(self) -> Exit:
        """Connect, serve, make safe; return how it ended.

        Raises:
            GuardFailed: no watchdog.
            Exception: what `connect` of an instrument raised.
        """
        try:
            if self._start_guard is not None:
                self._guard = self._start_guard()
            self._device.start()
            if self._guard is not None:
                self._guard.await_ready()
            ended = self._run()
        finally:
            self._close()
        return ended

    def stop(self, reason: str) -> None:
        """Begin the end: safe states first; any thread may call it."""
        self._loop.inject(lambda: self._shell.core.shutdown(reason, self._wire_clock.now_s()))

    def _run(self) -> Exit:
        try:
            ended = self._loop.run()
        except LabError as err:
            # a ledger that cannot be written: nothing may start or go on
            _LOG.exception("the adapter ends")
            self._device.secure_all()
            return Exit(_BROKEN, str(err))
        if not self._shell.core.is_ending:
            # the hub's word: another incarnation has the name
            self._device.secure_all()
        return ended

    def _close(self) -> None:
        self._device.stop()
        self._uploader.stop()
        self._streams.stop()
        if self._guard is not None:
            self._guard.dismiss()
        if self._door is not None:
            self._door.close(linger=0)
        self._context.term()
        self._mailbox.close()

    # --- effects -----------------------------------------------------------------------------

    def _perform(self, effect: object) -> None:
        match effect:
            case StartAction(command=command):
                home = self._shell.core.ledger.homes.get(command.key.campaign)
                depot = home.depot if home else ""
                self._streams.aim(command.instrument, depot, str(command.key))
                self._device.perform(effect)
            case RunSafeState(instrument=name):
                by_s = self._wire_clock.now_s() + _SAFE_LIMIT_S
                self._shell.safe_by_s.setdefault(name, by_s)
                self._device.perform(effect)
            case CancelAction() | Reconcile() | ReadOut():
                self._device.perform(effect)
            case Upload():
                self._uploader.submit(effect)
            case _Call(call=call):
                call()
            case DropSpool(key=key):
                self._spool.drop(key)
            case _:
                raise ArgumentError("effect", effect, "an effect of the adapter's core")

    def _observe(self) -> None:
        self._shell.core.observe(self._clock.now_s(), self._spool.used_bytes, utc_now())

    def _beat(self) -> list[object]:
        effects: list[object] = []
        now_s = self._wire_clock.now_s()
        if self._guard is not None:
            effects += self._mind_guard(self._guard, now_s)
        for name in [n for n, by_s in self._shell.safe_by_s.items() if by_s <= now_s]:
            reason = f"it did not return within {_SAFE_LIMIT_S:g} s"
            if self._guard is not None:
                self._guard.make_safe(name)
            effects += self._shell.device(SafeStateFailed(name, reason), now_s)
        return effects

    def _mind_guard(self, guard: Guard, now_s: float) -> list[object]:
        if not guard.has_ended:
            guard.beat()
            return []
        notes = self._read_notes()
        _LOG.warning("the watchdog has ended; it did: %s", notes or "nothing")
        effects: list[object] = []
        if notes:
            effects += self._shell.core.watchdog_acted(notes, now_s)
            effects.append(_Call(self._drop_notes))
        self._n_guards += 1
        if self._n_guards > _MAX_GUARDS or self._start_guard is None:
            effects += self._shell.core.shutdown("the watchdog does not stay alive", now_s)
        else:
            self._guard = self._start_guard()
        return effects

    def _post(self, event: DeviceEvent | LimitBroken) -> None:
        self._loop.inject(lambda: self._shell.device(event, self._wire_clock.now_s()))

    def _uploaded(self, key: CommandKey, depot: str) -> None:
        core, clock = self._shell.core, self._wire_clock
        self._loop.inject(lambda: core.uploaded(key, depot, clock.now_s()))

    def _upload_failed(self, key: CommandKey, depot: str) -> None:
        core, clock = self._shell.core, self._wire_clock
        self._loop.inject(lambda: core.upload_failed(key, depot, clock.now_s()))

    # --- the stop endpoint -------------------------------------------------------------------

    def _at_door(self) -> None:
        door = self._door
        while door is not None and (frames := receive_frames(door, 3)):
            try:
                message, _ = unpack(frames[1:])
            except MessageRejected as err:
                _LOG.warning("stop endpoint: %s", err)
                continue
            # whoever reaches this socket may stop and look, and nothing else
            if isinstance(message, EmergencyStop | StatusRequest):
                self._loop.inject(self._answer_at_door(frames[0], message))

    def _answer_at_door(self, asker: bytes, message: Message) -> Callable[[], Sequence[object]]:
        def answer() -> Sequence[object]:
            effects = self._shell.receive(_STOP_DOOR, message, self._wire_clock.now_s())
            for effect in effects:
                if isinstance(effect, Send) and effect.to == _STOP_DOOR:
                    self._say_at_door(asker, effect.message)
            return [e for e in effects if not (isinstance(e, Send) and e.to == _STOP_DOOR)]

        return answer

    def _say_at_door(self, asker: bytes, message: Message) -> None:
        if self._door is None or not isinstance(message, InstrumentStatus):
            return
        try:
            self._door.send_multipart([asker, *pack(message)], zmq.NOBLOCK)
        except zmq.ZMQError as err:
            _LOG.warning("stop endpoint: nobody takes the answer: %s", err)


def _open_door(context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> "zmq.Socket[bytes]":
    door = make_socket(context, zmq.ROUTER, max_bytes=MAX_MESSAGE_BYTES, hwm=10)
    try:
        bind_checked(door, endpoint)
    except LabError:
        door.close(linger=0)
        context.term()
        raise
    return door


def _check_clock(instruments: Mapping[str, Instrument], clock: LabClock) -> None:
    for name, instrument in instruments.items():
        if clock.factor != 1.0 and not instrument.is_twin:
            raise ArgumentError(f"clock_factor of {name}", clock.factor, "1: it is not a twin")


class ThreadAdapter:
    """An adapter in a thread of this process, its ledger in memory; see `serve_in_thread`."""

    def __init__(self, server: AdapterServer) -> None:
        self.server = server
        self.ended: Exit | None = None
        self._is_up = threading.Event()
        self._error = ""
        server.when_ready(self._is_up.set)
        self._thread = threading.Thread(target=self._run, name="adapter", daemon=True)
        self._thread.start()

    def stop(self, reason: str = "stopped", timeout_s: float = 10.0) -> None:
        """Make everything safe and end."""
        self.server.stop(reason)
        self._thread.join(timeout_s)

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the instruments are connected.

        Raises:
            Disconnected: they are not.
        """
        if not self._is_up.wait(timeout_s) or self._error:
            raise Disconnected("connect() of the instruments", timeout_s, self._error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self.ended = self.server.run()
        except Exception as err:  # noqa: BLE001 - actor boundary: the author's connect
            self._error = f"{type(err).__name__}: {err}"
            self._is_up.set()


def serve_in_thread(
    instruments: Mapping[str, Instrument],
    *,
    agent: str,
    hub: str,
    clock_factor: float = 1.0,
    telemetry: Path | None = None,
    settings: AdapterSettings | None = None,
    ready_s: float = 60.0,
    **options: Any,
) -> ThreadAdapter:
    """Serve twins from this process: no disk, no watchdog, a new ledger with each call.

    Args:
        instruments: twins by name, not yet connected.
        agent: name at the hub.
        hub: its endpoint.
        clock_factor: laboratory seconds in one real second.
        telemetry: file of the readouts.
        settings: numbers of the adapter.
        ready_s: how long connecting may take [s].
        options: of `AdapterServer`.

    Raises:
        ArgumentError: an instrument that is not a twin: what it does must not be forgotten.
        Disconnected: an instrument does not connect.
    """
    for name, instrument in instruments.items():
        if not instrument.is_twin:
            raise ArgumentError(name, type(instrument).__name__, "a twin; serve others with a disk")
    server = AdapterServer(
        instruments,
        agent=agent,
        hub=hub,
        log=MemoryLog(f"memory-{new_incarnation()}"),
        spool=MemorySpool(),
        clock=ScaledLabClock(clock_factor),
        settings=settings or AdapterSettings(clock_factor=clock_factor),
        telemetry=TelemetryFile(telemetry) if telemetry else None,
        **options,
    )
    adapter = ThreadAdapter(server)
    adapter.wait_ready(ready_s)
    return adapter
