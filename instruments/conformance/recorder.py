"""The recorded class: the author's class, with a note of everything that reaches it.

`recorder:of_HEX` is a class path for an adapter: HEX is the folder of a `Record`, written as
hexadecimal, whose `orders.json` names the author's class. Adapter and watchdog import it like any
other class. It adds nothing to an action but notes, forced interlocks and deaths on order:

    kill.json      {"action": "grow", "at": "before"}   the process ends there, as by kill -9
    force.json     {"lid_is_closed": false}             what readouts say instead
"""

import asyncio
import functools
import inspect
import json
import os
import signal
import time
import types
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from twinloop.errors import LabError, describe_error
from twinloop.instruments.conformance.record import Record
from twinloop.instruments.conformance.shapes import emit_complaint, shape_complaint
from twinloop.instruments.interface import (
    ActionMethod,
    Command,
    Instrument,
    NotTouched,
    ReadoutMethod,
)
from twinloop.instruments.spec import load_class
from twinloop.results import encode_result

__all__ = ["recorded_class", "recorded_path"]

LONG_STEP_S = 0.5
"""Longest time between two awaits that goes without a note [s]."""

IDLE_SHARE = 0.1
"""A long step that computed for less than this share of it has waited; for more, and not long enough
by itself, it was a short one on a busy computer [1]."""

_PREFIX = "of_"
_MADE: dict[str, type[Instrument]] = {}


def recorded_path(folder: Path) -> str:
    """Return the class path under which an adapter serves the recorded class of a folder."""
    return f"{__name__}:{_PREFIX}{str(folder).encode().hex()}"


def __getattr__(name: str) -> type[Instrument]:
    if not name.startswith(_PREFIX):
        raise AttributeError(name)
    try:
        folder = Path(bytes.fromhex(name.removeprefix(_PREFIX)).decode())
    except ValueError as err:
        raise AttributeError(name) from err
    if name not in _MADE:
        _MADE[name] = recorded_class(Record(folder))
    return _MADE[name]


def recorded_class(record: Record) -> type[Instrument]:
    """Return the class that the orders of a record name, with notes.

    Raises:
        ArgumentError: a class that cannot be found.
    """
    orders = record.orders()
    cls = load_class(orders["class"], str(orders["name"]))
    notes = _Notes(record)
    body: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    for name, method in cls.actions().items():
        body[name] = _recorded_action(name, method, notes, float(orders["silence_s"]))
    for name, readout in cls.readouts().items():
        body[name] = _recorded_readout(name, readout, notes)
    for name in ("connect", "disconnect", "safe_state"):
        body[name] = _recorded_call(name, getattr(cls, name), notes)
    body["emit"] = _recorded_emit(cls.emit, notes)
    # the metaclass is pydantic's; types.new_class finds it
    return types.new_class(cls.__name__, (cls,), exec_body=lambda space: space.update(body))


class _Notes:
    """Writes the record of one process."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._emitted: set[str] = set()

    def note(self, what: str, **about: Any) -> None:
        """Write one line, durably: whoever kills us then finds it."""
        self.record.append({"what": what, "at_s": time.monotonic(), "pid": os.getpid(), **about})

    def die_on_order(self, action: str, at: str) -> None:
        """End the process as kill -9 does, when that is the order; once."""
        order = self.record.order("kill")
        if order.get("action") != action or order.get("at") != at:
            return
        self.record.withdraw("kill")
        self.note("killed", action=action, at=at)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    def is_first_of(self, stream: str) -> bool:
        """Return True once for each stream."""
        is_first = stream not in self._emitted
        self._emitted.add(stream)
        return is_first


class _Stepped:
    """A coroutine whose steps between two awaits are timed."""

    def __init__(self, coroutine: Any, on_long: Callable[[float], None]) -> None:
        self._coroutine, self._on_long = coroutine, on_long

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            begun_s, cpu_s = time.monotonic(), time.thread_time()
            try:
                if error is None:
                    waits_for = self._coroutine.send(value)
                else:
                    waits_for = self._coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            finally:
                took_s, cpu_s = time.monotonic() - begun_s, time.thread_time() - cpu_s
                if took_s > LONG_STEP_S and (cpu_s > LONG_STEP_S or cpu_s < IDLE_SHARE * took_s):
                    self._on_long(took_s)
            value, error = None, None
            try:
                value = yield waits_for
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as err:  # noqa: BLE001 - a cancellation goes into the author's code
                error = err


def _stepped(awaitable: Any, on_long: Callable[[float], None]) -> Awaitable[Any]:
    # a driver's own awaitable is no coroutine, and has no steps of ours
    return _Stepped(awaitable, on_long) if inspect.iscoroutine(awaitable) else awaitable


def _recorded_action(
    name: str, method: ActionMethod[..., Any], notes: _Notes, silence_s: float
) -> ActionMethod[..., Any]:
    function, returns = method.function, method.spec.returns

    @functools.wraps(function)
    async def act(self: Instrument, **arguments: Any) -> Any:
        key = str(self.command.key)
        notes.die_on_order(name, "before")
        notes.note("began", action=name, key=key, arguments=arguments)

        def on_long(took_s: float) -> None:
            notes.note("blocked", action=name, key=key, for_s=took_s)

        try:
            value = await _stepped(function(self, **arguments), on_long)
        except asyncio.CancelledError:
            notes.note("cancelled", action=name, key=key)
            raise
        except NotTouched as err:
            notes.note("refused", action=name, key=key, error=describe_error(err))
            raise
        except BaseException as err:
            notes.note("raised", action=name, key=key, error=describe_error(err))
            raise
        told = _json_of(value)
        notes.note(
            "returned", action=name, key=key, result=told, shape=shape_complaint(value, returns)
        )
        notes.die_on_order(name, "after")
        return value

    made: ActionMethod[..., Any] = ActionMethod(
        act,
        recovery=method.recovery,
        on_silence=method.on_silence,
        silence_s=silence_s,
        interlocks=method.interlocks,
        loads_sample=method.loads_sample,
        unloads_sample=method.unloads_sample,
    )
    made.confirmer = method.confirmer
    if method.reconciler is not None:
        made.reconciler = _recorded_reconciler(name, method.reconciler, notes)
    return made


def _recorded_reconciler(
    name: str, reconciler: Callable[..., Awaitable[Any]], notes: _Notes
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(reconciler)
    async def ask(self: Instrument, command: Command) -> Any:
        key = str(command.key)

        def on_long(took_s: float) -> None:
            notes.note("blocked", action=name, key=key, for_s=took_s)

        try:
            verdict = await _stepped(reconciler(self, command), on_long)
        except BaseException as err:
            notes.note("not_asked", action=name, key=key, error=describe_error(err))
            raise
        notes.note("asked", action=name, key=key, verdict=type(verdict).__name__)
        return verdict

    return ask


def _recorded_readout(name: str, readout: ReadoutMethod[Any], notes: _Notes) -> ReadoutMethod[Any]:
    function = readout.function

    @functools.wraps(function)
    async def read(self: Instrument) -> Any:
        def on_long(took_s: float) -> None:
            notes.note("blocked", readout=name, for_s=took_s)

        forced = notes.record.order("force")
        value = await _stepped(function(self), on_long)
        return forced.get(name, value)

    return ReadoutMethod(read)


def _recorded_call(name: str, call: Callable[..., Any], notes: _Notes) -> Callable[..., Any]:
    @functools.wraps(call)
    def do(self: Instrument) -> Any:
        begun_s = time.monotonic()
        error = None
        try:
            return call(self)
        except BaseException as err:
            error = describe_error(err)
            raise
        finally:
            took_s = time.monotonic() - begun_s
            notes.note(name, took_s=took_s, error=error, begun_s=begun_s)

    return do


def _recorded_emit(emit: Callable[..., None], notes: _Notes) -> Callable[..., None]:
    @functools.wraps(emit)
    def put(self: Instrument, stream: str, numbers: Any, arrays: Any) -> None:
        complaint = emit_complaint(numbers, arrays)
        if complaint:
            notes.note("emitted_badly", stream=stream, error=complaint)
        elif notes.is_first_of(stream):
            notes.note("emitted", stream=stream)
        emit(self, stream, numbers, arrays)

    return put


def _json_of(value: object) -> Any:
    try:
        plain, arrays = encode_result(value)
        json.dumps(plain)
    except (LabError, TypeError, ValueError) as err:
        return {"$error": describe_error(err)}
    sizes = {name: list(np.shape(array)) for name, array in arrays.items()}
    return {"$value": plain, "$arrays": sizes}
