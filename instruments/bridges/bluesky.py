"""Ophyd and ophyd-async devices, and bluesky plans on them, as one instrument.

    def make_devices():
        from ophyd_async.sim import SimMotor, SimPointDetector, PatternGenerator
        pattern = PatternGenerator()
        return {"stage": SimMotor(), "counter": SimPointDetector(pattern)}

    def scan(devices, *, start_mm, stop_mm, n_points):
        from bluesky.plans import scan
        yield from scan([devices["counter"]], devices["stage"], start_mm, stop_mm, n_points)

    Beamline = bluesky_instrument(
        "Beamline",
        kind="beamline",
        doc="A stage and a counter.",
        make=make_devices,
        moves={"move_stage": Move("stage", "x_mm", Annotated[float, unit, Limit(-10, 10)])},
        plans={"scan": Plan(scan, OnSilence.SAFE_STATE, parameters={...})},
        reads={"x_mm": ("stage.user_readback", Annotated[float, unit, Limit(-11, 11)])},
    )

`make` runs in `connect`, in adapter and watchdog alike, so each has connections of its own; devices of
ophyd-async are named and connected there. Every action is a plan that a real RunEngine runs; its documents
are kept in the folder `documents` of the laboratory file and travel with the result. A plan is
reconcilable by its documents. `safe_state` stops every device that can be stopped, unless `safe_state=`
tells better. Needs the extra `bluesky`.
"""

import asyncio
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import PositiveFloat, PrivateAttr

from twinloop.errors import ArgumentError, Disconnected, LabError
from twinloop.instruments.bridges.foreign import (
    DriverThread,
    instrument_class,
    make_action,
    make_readout,
)
from twinloop.instruments.bridges.run_documents import RunDocuments, RunFile
from twinloop.instruments.interface import (
    ActionMethod,
    Command,
    Done,
    Instrument,
    NotDone,
    NotTouched,
    OnSilence,
    Partial,
    ReadoutMethod,
    Recovery,
    Verdict,
)
from twinloop.limits import limit_of

__all__ = ["BlueskyInstrument", "Move", "Plan", "PlanFailed", "bluesky_instrument"]

Devices = Mapping[str, Any]
_STOP_S = 2.0


class PlanFailed(LabError):
    """A plan did not come to its end."""

    def __init__(self, action: str, documents: RunDocuments) -> None:
        self.action, self.documents = action, documents
        super().__init__(
            f"plan {action} ended with {documents.status!r} after {documents.n_events} events: "
            f"{documents.reason}; the documents of runs {documents.run_uids} say how far it came"
        )


@dataclass(frozen=True)
class Plan:
    """A bluesky plan as an action.

    Args:
        plan: `def (devices, **arguments)`, a generator of messages.
        on_silence: what to do when the lease holder falls silent.
        parameters: annotated type of each argument, every number with its limit.
        recovery: RECONCILABLE by its documents; IDEMPOTENT where it may be repeated.
        defaults: of arguments that may be left out.
        silence_s: how long a silence is one [s, real].
        interlocks: boolean readouts that must be true when it starts.
        metadata: of the runs, beside campaign, trial and sample.
        doc: first line for people; the plan's own without it.
    """

    plan: Callable[..., Generator[Any, Any, Any]]
    on_silence: OnSilence
    parameters: Mapping[str, Any] = field(default_factory=dict)
    recovery: Recovery = Recovery.RECONCILABLE
    defaults: Mapping[str, object] = field(default_factory=dict)
    silence_s: float = 10.0
    interlocks: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    doc: str = ""


@dataclass(frozen=True)
class Move:
    """Set a device, as `bluesky.plan_stubs.mv` does, and wait until it is there.

    Args:
        device: name, or path such as "stage.x".
        parameter: name of the argument, with its unit.
        annotation: its annotated type, with unit and limit.
        on_silence: what to do when the lease holder falls silent.
        read_back: path of a signal that must then be within `tolerance`; "" for none.
        tolerance: largest difference, in the unit of the argument.
        silence_s: how long a silence is one [s, real].
        interlocks: boolean readouts that must be true when it starts.
    """

    device: str
    parameter: str
    annotation: Any
    on_silence: OnSilence = OnSilence.SAFE_STATE
    read_back: str = ""
    tolerance: float = 0.0
    silence_s: float = 10.0
    interlocks: tuple[str, ...] = ()


class BlueskyInstrument(Instrument):
    """Base of every instrument that `bluesky_instrument` makes.

    Args:
        documents: folder of run documents, on the control PC; the same at every start.
        connect_s: longest wait for the devices [s].
    """

    documents: str
    connect_s: PositiveFloat = 10.0
    _engine: Any = PrivateAttr(default=None)
    _devices: dict[str, Any] = PrivateAttr(default_factory=dict)
    _thread: DriverThread | None = PrivateAttr(default=None)

    @property
    def devices(self) -> dict[str, Any]:
        """Return the devices by name.

        Raises:
            Disconnected: `connect` has not been called.
        """
        if self._engine is None:
            raise Disconnected(f"devices of {type(self).__name__}", 0.0, "call connect first")
        return self._devices

    @property
    def folder(self) -> Path:
        """Return the folder of run documents."""
        return Path(self.documents)

    def device(self, path: str) -> Any:
        """Return a device or signal by its path ("stage.user_readback")."""
        first, *rest = path.split(".")
        found = self.devices[first]
        for name in rest:
            found = getattr(found, name)
        return found

    def open_engine(self, make: Callable[[], Devices]) -> None:
        """Start a RunEngine and make the devices.

        Raises:
            ArgumentError: bluesky is not installed.
            Disconnected: a device does not answer.
        """
        try:
            from bluesky.run_engine import DuringTask, RunEngine
        except ImportError as err:
            raise ArgumentError("bluesky", None, "pip install 'twinloop[bluesky]'") from err
        # no signal handler: the engine runs beside the main thread, and the adapter decides on Ctrl-C
        loop = asyncio.new_event_loop()
        self._engine = RunEngine({}, loop=loop, context_managers=[], during_task=DuringTask())
        self._thread = DriverThread(type(self).__name__)
        try:
            self._devices = self.in_engine(_made(make, self.connect_s), self.connect_s + 5.0)
        except Exception as err:  # devices of other people raise what they like
            self.close_engine()
            name = f"devices of {type(self).__name__}"
            raise Disconnected(name, self.connect_s, f"{type(err).__name__}: {err}") from err

    def close_engine(self) -> None:
        """End the RunEngine."""
        engine, self._engine = self._engine, None
        thread, self._thread = self._thread, None
        self._devices = {}
        if thread is not None:
            thread.close()
        if engine is not None:
            _abort(engine)
            _close_loop(engine)

    def in_engine(self, coroutine: Any, limit_s: float) -> Any:
        """Return what a coroutine returns in the engine's event loop; blocks."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._engine.loop)
        try:
            return future.result(limit_s)
        except TimeoutError:
            future.cancel()
            raise

    async def run_plan(
        self, action: str, plan: Generator[Any, Any, Any], metadata: Mapping[str, Any]
    ) -> RunDocuments:
        """Run a plan and return its documents.

        Raises:
            NotTouched: the disk does not take its documents; nothing has moved.
            PlanFailed: it raised, or was aborted by its own device.
            asyncio.CancelledError: aborted; the engine has cleaned up.
        """
        if self._thread is None:
            raise Disconnected(f"devices of {type(self).__name__}", 0.0, "call connect first")
        command = self.command
        try:
            file = RunFile(self.folder, command.key, action)
        except OSError as err:
            raise NotTouched(f"{action}: its documents cannot be kept ({err}); make room") from err
        told = {
            "campaign": command.key.campaign, "trial": command.key.trial, "step": command.key.step,
            "attempt": command.key.attempt, "sample": command.sample or "", **metadata,
        }  # fmt: skip
        call = partial(_run, self._engine, plan, file, self._note, told)
        try:
            await self._thread.run(call, stop=partial(_abort, self._engine))
        except asyncio.CancelledError:
            file.end("abort", "aborted by its campaign")
            raise
        except Exception as err:  # noqa: BLE001 - whatever a plan or a device raises is its end
            file.end("fail", f"{type(err).__name__}: {err}"[:1000])
        else:
            file.end("success")
        found = RunFile.read(self.folder, command.key)
        if found is None or found.status != "success":
            raise PlanFailed(action, found or RunDocuments([], "cut", "no documents"))
        return found

    async def read(self, path: str) -> Any:
        """Return the value of a signal."""
        signal = self.device(path)
        if hasattr(signal, "get_value"):
            future = asyncio.run_coroutine_threadsafe(signal.get_value(), self._engine.loop)
            return await asyncio.wrap_future(future)
        return await asyncio.to_thread(signal.get)

    def stop_all(self) -> None:
        """End the plan, and stop every device that can be stopped.

        Raises:
            LabError: a device that cannot be stopped; the others are.
        """
        _abort(self._engine)
        errors = []
        for name, device in self.devices.items():
            try:
                self._stop(device)
            except Exception as err:  # noqa: BLE001 - the next device must be stopped as well
                errors.append(f"{name}: {type(err).__name__}: {err}")
        if errors:
            raise LabError(f"cannot be stopped: {'; '.join(errors)}; look at the devices")

    def _stop(self, device: Any) -> None:
        stop = getattr(device, "stop", None)
        if inspect.iscoroutinefunction(stop):
            self.in_engine(stop(), _STOP_S)
        elif callable(stop):
            stop()

    def _note(self, name: str, document: Mapping[str, Any]) -> None:
        """Put the numbers of an event on the stream "events"."""
        if name != "event":
            return
        numbers = {
            key: float(value)
            for key, value in document["data"].items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self.emit("events", numbers, {})


def bluesky_instrument(
    name: str,
    *,
    kind: str,
    doc: str,
    make: Callable[[], Devices],
    moves: Mapping[str, Move] | None = None,
    plans: Mapping[str, Plan] | None = None,
    reads: Mapping[str, tuple[str, Any]] | None = None,
    safe_state: Callable[[Devices], None] | None = None,
    is_twin: bool = False,
) -> type[BlueskyInstrument]:
    """Return an instrument class around devices and plans.

    Args:
        name: of the class: the variable that holds it.
        kind: of the instrument.
        doc: first line for people.
        make: returns the devices by name; ophyd is imported in there.
        moves: actions that set one device.
        plans: actions that run a plan.
        reads: readouts: path of a signal, and its annotated type.
        safe_state: makes the devices safe, plain and idempotent; every device is stopped without it.
        is_twin: the devices are simulations.

    Raises:
        ArgumentError: a number without a limit, an action that is declared twice.
    """
    members: dict[str, object] = {}
    for key, move in (moves or {}).items():
        members[key] = _move(f"{name}.{key}", key, move)
    for key, plan in (plans or {}).items():
        if key in members:
            raise ArgumentError(f"{name}.{key}", "a move and a plan", "one of them")
        members[key] = _plan(f"{name}.{key}", key, plan)
    for key, (path, annotation) in (reads or {}).items():
        members[key] = _readout(key, path, annotation)

    class Devised(BlueskyInstrument):
        def connect(self) -> None:
            """Start a RunEngine, make the devices and connect them."""
            self.open_engine(make)

        def safe_state(self) -> None:
            """End what runs and make the devices safe."""
            if safe_state is None:
                self.stop_all()
            else:
                _abort(self._engine)
                safe_state(self.devices)

        def disconnect(self) -> None:
            """End the RunEngine."""
            self.close_engine()

    Devised.is_twin = is_twin
    return instrument_class(name, kind=kind, base=Devised, members=members, doc=doc, depth=2)


def _plan(where: str, name: str, told: Plan) -> ActionMethod[..., Any]:
    _check_limits(where, told.parameters)

    async def body(instrument: BlueskyInstrument, **arguments: Any) -> Any:
        plan = told.plan(instrument.devices, **arguments)
        found = await instrument.run_plan(name, plan, {**told.metadata, "arguments": arguments})
        return found.summary()

    doc = told.doc or inspect.getdoc(told.plan) or f"Run the plan {name}."
    return make_action(
        name,
        body,
        doc=doc,
        parameters=told.parameters,
        defaults=told.defaults,
        returns=dict,
        recovery=told.recovery,
        on_silence=told.on_silence,
        silence_s=told.silence_s,
        interlocks=told.interlocks,
        reconcile=_reconcile,
    )


def _move(where: str, name: str, told: Move) -> ActionMethod[..., Any]:
    _check_limits(where, {told.parameter: told.annotation})

    async def body(instrument: BlueskyInstrument, **arguments: Any) -> Any:
        from bluesky.plan_stubs import mv

        plan = mv(instrument.device(told.device), arguments[told.parameter])
        await instrument.run_plan(name, plan, {})
        return arguments[told.parameter]

    made = make_action(
        name,
        body,
        doc=f"Set {told.device} and wait until it is there.",
        parameters={told.parameter: told.annotation},
        returns=told.annotation,
        recovery=Recovery.IDEMPOTENT,
        on_silence=told.on_silence,
        silence_s=told.silence_s,
        interlocks=told.interlocks,
    )
    if told.read_back:
        made.confirm(partial(_confirm, told))
    return made


async def _confirm(
    told: Move, instrument: BlueskyInstrument, command: Command, _result: object
) -> str | None:
    asked, found = float(command.arguments[told.parameter]), await instrument.read(told.read_back)
    if abs(found - asked) <= told.tolerance:
        return None
    return f"{told.read_back} is {found:g}, told {asked:g}, {told.tolerance:g} allowed"


async def _reconcile(instrument: BlueskyInstrument, command: Command) -> Verdict:
    """Read the documents of the command."""
    found = RunFile.read(instrument.folder, command.key)
    if found is None:
        return NotDone()
    if found.status == "success":
        return Done(found.summary())
    return Partial(**found.summary())


def _readout(name: str, path: str, annotation: Any) -> ReadoutMethod[Any]:
    async def body(instrument: BlueskyInstrument) -> Any:
        return await instrument.read(path)

    return make_readout(name, body, doc=f"Read {path}.", returns=annotation)


def _check_limits(where: str, parameters: Mapping[str, Any]) -> None:
    for key, annotation in parameters.items():
        kind = getattr(annotation, "__origin__", annotation)
        if kind in {float, int} and limit_of(annotation) is None:
            raise ArgumentError(f"{where}({key})", "no limit", "Annotated[..., Limit(low, high)]")


def _run(
    engine: Any,
    plan: Generator[Any, Any, Any],
    file: RunFile,
    note: Callable[[str, Mapping[str, Any]], None],
    metadata: Mapping[str, Any],
) -> None:
    """Run a plan in this thread, which waits for it."""

    def take(name: str, document: Mapping[str, Any]) -> None:
        file.add(name, document)
        note(name, document)

    engine(plan, take, **metadata)


def _abort(engine: Any) -> None:
    """End what the engine runs, from any thread; nothing when it is idle."""
    from bluesky.utils import TransitionError

    if engine is None or engine.state == "idle":
        return
    try:
        engine.abort("safe state or abort")
    except TransitionError:
        return  # it became idle meanwhile


def _close_loop(engine: Any) -> None:
    """End the event loop that the engine started in a thread, and what still waits in it."""
    loop = engine.loop

    async def end() -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_STOP_S)
        loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    thread = getattr(engine, "_th", None)
    if thread is not None:
        thread.join(2 * _STOP_S)
    if not loop.is_running():
        loop.close()


async def _made(make: Callable[[], Devices], connect_s: float) -> dict[str, Any]:
    """Return the devices, those of ophyd-async named and connected."""
    devices = dict(make())
    waits: Sequence[Any] = []
    for name, device in devices.items():
        if inspect.iscoroutinefunction(getattr(device, "connect", None)):
            if not device.name:
                device.set_name(name)
            waits = [*waits, device.connect(timeout=connect_s)]
    await asyncio.gather(*waits)
    blocking = [d for d in devices.values() if hasattr(d, "wait_for_connection")]
    for device in blocking:
        await asyncio.to_thread(device.wait_for_connection, timeout=connect_s)
    return devices
