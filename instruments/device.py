"""The device thread: the author's code, in an asyncio loop of its own.

The mailbox thread hands effects over and gets events back; nothing the author writes can hold up a
heartbeat, a ledger entry or an emergency stop. An abort arrives in an action as a cancellation at an
await. Limits and interlocks are checked here, at the moment of execution.
"""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from twinloop.clocks import LabClock
from twinloop.errors import (
    ArgumentError,
    Disconnected,
    InterlockOpen,
    describe_error,
)
from twinloop.ids import CommandKey
from twinloop.instruments.adapter_effects import (
    CancelAction,
    Cancelled,
    DeviceEvent,
    Raised,
    ReadOut,
    ReadOutDone,
    Reconcile,
    Reconciled,
    ReconcileFailed,
    Returned,
    RunSafeState,
    SafeStateDone,
    SafeStateFailed,
    StartAction,
)
from twinloop.instruments.interface import (
    ActionMethod,
    Command,
    Done,
    Emit,
    Instrument,
    NotDone,
    NotTouched,
    Partial,
    Running,
    Unknown,
)
from twinloop.instruments.outgoing import limit_complaint, store_result
from twinloop.instruments.spool import Spool
from twinloop.messages import ReadoutReply
from twinloop.results import encode_result
from twinloop.wire.envelope import pack

__all__ = ["DeviceEffect", "DeviceThread"]

_LOG = logging.getLogger(__name__)
_ASK_LIMIT_S = 30.0
_READ_LIMIT_S = 10.0
_CUT_AT_ONCE_S = 0.1
_CUT_LIMIT_S = 2.0

DeviceEffect = StartAction | CancelAction | Reconcile | RunSafeState | ReadOut
Watcher = Callable[[], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Job:
    task: "asyncio.Task[None]"
    instrument: str
    may_cancel: bool = True
    has_begun: bool = False
    is_unwanted: bool = False

    def cancel(self) -> None:
        """Cancel at the next await; a task that has not begun would vanish without a word."""
        if not self.has_begun:
            self.is_unwanted = True
        elif self.may_cancel:
            self.task.cancel()


class DeviceThread:
    """Runs the instruments of one adapter process.

    Args:
        instruments: by name.
        spool: takes the arrays of results.
        post: takes events; called in the device thread, must not block.
        clock: the laboratory clock.
        emit: gives each instrument its stream, by name.
        watch: runs beside the actions as long as the thread lives (telemetry).
    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        spool: Spool,
        post: Callable[[DeviceEvent], None],
        clock: LabClock,
        emit: Callable[[str], Emit] | None = None,
        watch: Watcher | None = None,
    ) -> None:
        self._instruments, self._spool, self._post = dict(instruments), spool, post
        self._clock, self._emit, self._watch = clock, emit, watch
        self._jobs: dict[CommandKey, _Job] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._is_up = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self, timeout_s: float = 60.0) -> None:
        """Connect the instruments and return when they answer.

        Raises:
            Disconnected: they do not within `timeout_s`.
            Exception: what `connect` of an instrument raised.
        """
        self._thread.start()
        if not self._is_up.wait(timeout_s):
            raise Disconnected("connect() of the instruments", timeout_s, "look at the devices")
        if self._error is not None:
            raise self._error

    def perform(self, effect: DeviceEffect) -> None:
        """Hand an effect over; any thread may call it, and it does not wait."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin, effect)

    def secure_all(self, timeout_s: float = 5.0) -> bool:
        """Cancel everything, run every safe state, and return whether all returned; not reported."""
        if self._loop is None or self._loop.is_closed():
            return False
        done = asyncio.run_coroutine_threadsafe(self._secure_all(), self._loop)
        try:
            return done.result(timeout_s)
        except (TimeoutError, RuntimeError, concurrent.futures.CancelledError) as err:
            _LOG.warning("not every safe state was reached: %s", describe_error(err))
            return False

    def stop(self, timeout_s: float = 5.0) -> None:
        """End what runs, disconnect, end the thread."""
        if self._loop is not None and self._stopping is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as err:  # noqa: BLE001 - actor boundary: the author's connect
            self._error = err
            _LOG.exception("the device thread ended")
        finally:
            self._is_up.set()

    async def _live(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        connected: list[Instrument] = []
        try:
            for name, instrument in self._instruments.items():
                if self._emit is None:
                    instrument.attach(self._clock)
                else:
                    instrument.attach(self._clock, self._emit(name))
                instrument.connect()
                connected.append(instrument)
            if self._watch is not None:
                self._keep(self._watch())
            self._is_up.set()
            await self._stopping.wait()
        finally:
            tasks = [*self._others, *(job.task for job in self._jobs.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for instrument in connected:
                self._disconnect(instrument)

    def _disconnect(self, instrument: Instrument) -> None:
        try:
            instrument.disconnect()
        except Exception:  # noqa: BLE001 - actor boundary: the author's code
            _LOG.exception("disconnect of %s", type(instrument).__name__)

    def _begin(self, effect: DeviceEffect) -> None:
        match effect:
            case StartAction(command=command):
                task = asyncio.get_running_loop().create_task(self._execute(command))
                self._jobs[command.key] = _Job(task, command.instrument)
            case CancelAction(key=key):
                job = self._jobs.get(key)
                if job is not None:
                    job.cancel()
            case Reconcile(command=command):
                self._keep(self._reconcile(command))
            case RunSafeState():
                self._keep(self._secure(effect))
            case ReadOut():
                self._keep(self._read_out(effect))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    # --- actions -----------------------------------------------------------------------------

    async def _execute(self, command: Command) -> None:
        job = self._jobs[command.key]
        job.has_begun = True
        try:
            event = await self._outcome(command, job)
        finally:
            del self._jobs[command.key]
        self._post(event)

    async def _outcome(self, command: Command, job: _Job) -> DeviceEvent:
        key, instrument = command.key, self._instruments[command.instrument]
        method = type(instrument).actions()[command.action]
        where = f"{command.instrument}.{command.action}"
        if job.is_unwanted:
            return Raised(key, is_touched=False, reason="cancelled before it began")
        try:
            arguments = method.spec.check(command.arguments, where)
            await self._check_interlocks(command.instrument, instrument, method)
        except asyncio.CancelledError:
            return Raised(key, is_touched=False, reason="cancelled before it began")
        except Exception as err:  # noqa: BLE001 - actor boundary: an interlock of the author
            return Raised(key, is_touched=False, reason=describe_error(err))
        started_s = self._clock.now_s()
        try:
            instrument.begin(command)
            value = await getattr(instrument, command.action)(**arguments)
        except NotTouched as err:
            return Raised(key, is_touched=False, reason=describe_error(err))
        except asyncio.CancelledError:
            return Cancelled(key)
        except BaseException as err:  # noqa: BLE001 - actor boundary: the action
            return Raised(key, is_touched=True, reason=describe_error(err))
        job.may_cancel = False
        ended_s = self._clock.now_s()
        try:
            complaint = await self._complaint(instrument, method, command, value)
            result, refs = await store_result(command, value, "done", self._spool)
        except Exception as err:  # noqa: BLE001 - actor boundary: what an author's type may raise
            # an action that ends without a word would keep its instrument busy for ever
            return Raised(key, is_touched=True, reason=f"its result is lost: {describe_error(err)}")
        return Returned(key, result, refs, complaint, started_s, ended_s)

    async def _check_interlocks(
        self, name: str, instrument: Instrument, method: ActionMethod[..., Any]
    ) -> None:
        for interlock in method.spec.interlocks:
            if not await getattr(instrument, interlock)():
                raise InterlockOpen(name, f"{interlock} is not true", "see to it, then try again")

    async def _complaint(
        self,
        instrument: Instrument,
        method: ActionMethod[..., Any],
        command: Command,
        value: object,
    ) -> str | None:
        where = f"{command.instrument}.{command.action}"
        complaint = limit_complaint(value, method.spec.returns, where)
        if complaint is not None or method.confirmer is None:
            return complaint
        try:
            return await method.confirmer(instrument, command, value)
        except Exception as err:  # noqa: BLE001 - actor boundary: the author's read-back
            return f"the read-back failed: {describe_error(err)}"

    # --- questions ---------------------------------------------------------------------------

    async def _reconcile(self, command: Command) -> None:
        key, instrument = command.key, self._instruments[command.instrument]
        method = type(instrument).actions()[command.action]
        if method.reconciler is None:
            self._post(Reconciled(key, "unknown", reason="it has no reconcile"))
            return
        try:
            verdict = await asyncio.wait_for(method.reconciler(instrument, command), _ASK_LIMIT_S)
            event = await self._verdict(command, instrument, method, verdict)
        except asyncio.CancelledError:
            return
        except BaseException as err:  # noqa: BLE001 - actor boundary: the author's reconcile
            event = ReconcileFailed(key, describe_error(err))
        self._post(event)

    async def _verdict(
        self,
        command: Command,
        instrument: Instrument,
        method: ActionMethod[..., Any],
        verdict: object,
    ) -> DeviceEvent:
        key = command.key
        match verdict:
            case Done(result=value):
                complaint = await self._complaint(instrument, method, command, value)
                result, refs = await store_result(command, value, "done", self._spool)
                return Reconciled(key, "done", result, refs, complaint=complaint)
            case Partial(what=what):
                result, refs = await store_result(command, what, "partial", self._spool)
                return Reconciled(key, "partial", result, refs)
            case Running():
                return Reconciled(key, "running")
            case NotDone():
                return Reconciled(key, "not_done")
            case Unknown(reason=reason):
                return Reconciled(key, "unknown", reason=reason)
            case _:
                raise ArgumentError(
                    f"verdict of {command.action}", verdict,
                    "Done, Running, Partial, NotDone or Unknown",
                )  # fmt: skip

    async def _read_out(self, effect: ReadOut) -> None:
        instrument = self._instruments[effect.instrument]
        result, error = None, None
        try:
            value = await asyncio.wait_for(getattr(instrument, effect.readout)(), _READ_LIMIT_S)
            result, arrays = encode_result(value)
            if arrays:
                raise ArgumentError(effect.readout, "an array", "numbers; an action returns arrays")
            # a reply that cannot be sent would be asked for for ever
            pack(ReadoutReply(request=effect.request, state="done", result=result))
        except Exception as err:  # noqa: BLE001 - actor boundary: the author's readout
            result, error = None, describe_error(err)
        self._post(ReadOutDone(effect.asker, effect.request, result, error))

    # --- safe state --------------------------------------------------------------------------

    async def _secure(self, effect: RunSafeState) -> None:
        name, instrument = effect.instrument, self._instruments[effect.instrument]
        tasks = [job.task for job in self._jobs.values() if job.instrument == name]
        error = None
        if tasks:
            await asyncio.wait(tasks, timeout=_CUT_AT_ONCE_S)
        error = self._safe_state(instrument)
        if any(not task.done() for task in tasks):
            # what it still does on its way out is undone once more
            await asyncio.wait(tasks, timeout=_CUT_LIMIT_S)
            error = self._safe_state(instrument)
        if error is None:
            self._post(SafeStateDone(name, effect.reason))
        else:
            self._post(SafeStateFailed(name, error))

    async def _secure_all(self) -> bool:
        for job in self._jobs.values():
            job.cancel()
        await asyncio.sleep(_CUT_AT_ONCE_S)
        errors = {name: self._safe_state(one) for name, one in self._instruments.items()}
        for name, error in errors.items():
            if error is not None:
                _LOG.error("safe_state of %s: %s", name, error)
        return not any(errors.values())

    def _safe_state(self, instrument: Instrument) -> str | None:
        try:
            instrument.safe_state()
        except Exception as err:  # noqa: BLE001 - actor boundary: the author's safe state
            return describe_error(err)
        return None
