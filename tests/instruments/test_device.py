"""The device thread: limits and interlocks at execution, cancellation, safe states, results."""

import asyncio
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from twinloop.clocks import ScaledLabClock
from twinloop.instruments.adapter_effects import (
    CancelAction,
    Cancelled,
    LimitBroken,
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
from twinloop.instruments.device import DeviceThread
from twinloop.instruments.interface import Instrument, Limit, OnSilence, Recovery, action, readout
from twinloop.instruments.outgoing import limit_complaint
from twinloop.instruments.spool import MemorySpool
from twinloop.instruments.telemetry import Telemetry, TelemetryFile
from twinloop.instruments.testing import Furnace, FurnaceLine, LineFault, furnace_command
from twinloop.messages import Command
from twinloop.results import Array, Result
from twinloop.units import Kelvin

LIMIT_S = 20.0


class Rig:
    """A device thread on a furnace, its events in a queue."""

    def __init__(self, folder: Path, **others: Instrument) -> None:
        self.line = FurnaceLine(folder)
        self.events: queue.Queue[Any] = queue.Queue()
        self.spool = MemorySpool()
        instruments = {"furnace": Furnace(folder=str(folder), poll_s=0.001), **others}
        self.device = DeviceThread(
            instruments, self.spool, self.events.put, ScaledLabClock(), self.emit_of
        )

    def emit_of(self, name: str) -> Any:
        return lambda stream, _numbers, _arrays: self.events.put(stream) if name == "odd" else None

    def start(self, command: Command) -> Command:
        self.device.perform(StartAction(command))
        return command

    def next(self) -> Any:
        return self.events.get(timeout=LIMIT_S)

    def await_effect(self, what: str) -> None:
        tick = threading.Event()
        for _ in range(2000):
            if self.line.count(what):
                return
            tick.wait(0.01)
        pytest.fail(f"no {what}")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.device.start()
    yield rig
    rig.device.stop()


def command(step: str, action_name: str, **arguments: Any) -> Command:
    return furnace_command(step, action_name, epoch=1, ledger="l", **arguments)


def test_a_result_is_returned_with_its_arrays_in_the_spool(rig: Rig) -> None:
    asked = rig.start(command("1", "anneal", hold_K=900.0, hold_s=0.01))
    event = rig.next()
    assert isinstance(event, Returned)
    assert event.result == {"peak_K": 900.0, "trace_K": {"$array": "trace_K"}}
    assert len(rig.spool.load(asked.key, event.arrays[0])) == 64 * 4
    assert event.ended_lab_s >= event.started_lab_s


def test_limits_are_checked_at_the_moment_of_execution(rig: Rig) -> None:
    rig.start(command("1", "anneal", hold_K=2000.0, hold_s=0.01))
    event = rig.next()
    assert isinstance(event, Raised)
    assert not event.is_touched
    assert "allowed 293 to 1423" in event.reason
    assert rig.line.effects() == []


def test_an_open_interlock_keeps_the_device_untouched(rig: Rig) -> None:
    rig.line.inject("lid-open")
    rig.start(command("1", "anneal", hold_K=900.0, hold_s=0.01))
    event = rig.next()
    assert (event.is_touched, "lid_is_closed" in event.reason) == (False, True)
    assert rig.line.effects() == []


@pytest.mark.parametrize(("fault", "is_touched"), [("refuses", False), ("noise", True)])
def test_an_exception_says_whether_the_device_was_touched(
    rig: Rig, fault: str, is_touched: bool
) -> None:
    rig.line.inject(fault)
    rig.start(command("1", "anneal", hold_K=900.0, hold_s=5.0))
    event = rig.next()
    assert isinstance(event, Raised)
    assert event.is_touched is is_touched


def test_an_abort_arrives_at_an_await(rig: Rig) -> None:
    asked = rig.start(command("1", "anneal", hold_K=900.0, hold_s=3600.0))
    rig.await_effect("run")
    rig.device.perform(CancelAction("furnace", asked.key))
    assert rig.next() == Cancelled(asked.key)
    assert rig.line.state_of(str(asked.key)) == "partial"


def test_a_cancel_before_the_first_step_is_a_certain_failure(rig: Rig) -> None:
    asked = command("1", "anneal", hold_K=900.0, hold_s=3600.0)

    def both() -> None:
        rig.device._begin(StartAction(asked))
        rig.device._begin(CancelAction("furnace", asked.key))

    assert rig.device._loop is not None
    rig.device._loop.call_soon_threadsafe(both)
    assert rig.next() == Raised(asked.key, False, "cancelled before it began")
    assert rig.line.effects() == []


def test_a_cancel_of_something_else_is_nothing(rig: Rig) -> None:
    rig.device.perform(CancelAction("furnace", command("9", "heat", target_K=500.0).key))
    rig.start(command("1", "heat", target_K=500.0))
    assert isinstance(rig.next(), Returned)


def test_the_safe_state_follows_the_cancelled_action(rig: Rig) -> None:
    asked = rig.start(command("1", "anneal", hold_K=900.0, hold_s=3600.0))
    rig.await_effect("run")
    rig.device.perform(CancelAction("furnace", asked.key))
    rig.device.perform(RunSafeState("furnace", "smoke"))
    assert rig.next() == Cancelled(asked.key)
    assert rig.next() == SafeStateDone("furnace", "smoke")
    assert rig.line.effects()[-1]["what"] == "off"


def test_a_safe_state_that_raises_is_reported(rig: Rig) -> None:
    rig.line.inject("stuck-relay")
    rig.device.perform(RunSafeState("furnace", "smoke"))
    event = rig.next()
    assert isinstance(event, SafeStateFailed)
    assert "relay" in event.reason


@pytest.mark.parametrize(
    ("state", "verdict"), [("unseen", "not_done"), ("done", "done"), ("running", "running")]
)
def test_the_instrument_is_asked_by_command_key(rig: Rig, state: str, verdict: str) -> None:
    asked = command("1", "anneal", hold_K=900.0, hold_s=1.0)
    if state != "unseen":
        rig.line.run(str(asked.key), 900.0, 0.0 if state == "done" else 3600.0)
    rig.device.perform(Reconcile(asked))
    event = rig.next()
    assert isinstance(event, Reconciled)
    assert event.verdict == verdict
    assert bool(event.arrays) is (verdict == "done")


def test_an_instrument_that_does_not_answer_is_no_verdict(rig: Rig) -> None:
    rig.line.inject("mute")
    rig.device.perform(Reconcile(command("1", "anneal", hold_K=900.0, hold_s=1.0)))
    assert isinstance(rig.next(), ReconcileFailed)


def test_a_lie_is_found_also_when_it_is_told_in_answer_to_a_question(rig: Rig) -> None:
    asked = command("1", "anneal", hold_K=900.0, hold_s=1.0)
    rig.line.run(str(asked.key), 900.0, 0.0)
    rig.line.inject("lies")
    rig.device.perform(Reconcile(asked))
    assert "lies" in rig.next().complaint


def test_readouts_answer_beside_a_running_action(rig: Rig) -> None:
    rig.start(command("1", "anneal", hold_K=900.0, hold_s=3600.0))
    rig.await_effect("run")
    rig.device.perform(ReadOut("viewer", "r", "furnace", "temperature_K"))
    assert rig.next() == ReadOutDone("viewer", "r", 293.0, None)


def test_what_connect_raises_is_raised_at_the_start(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.line.inject("no-line")
    with pytest.raises(LineFault, match="nobody answers"):
        rig.device.start()


def test_all_instruments_are_made_safe_without_reports(rig: Rig) -> None:
    rig.start(command("1", "anneal", hold_K=900.0, hold_s=3600.0))
    rig.await_effect("run")
    assert rig.device.secure_all()
    assert rig.line.effects()[-1]["what"] == "off"
    rig.line.inject("stuck-relay")
    assert not rig.device.secure_all()


class Hot(Result):
    peak_K: Annotated[Kelvin, Limit(0, 1000)]


class Odd(Instrument, kind="odd"):
    """Does what no instrument should."""

    def connect(self) -> None: ...

    def safe_state(self) -> None:
        object.__setattr__(self, "n_safe", getattr(self, "n_safe", 0) + 1)

    @readout
    async def picture(self) -> Array:
        return np.zeros(3)

    @action(recovery=Recovery.UNSAFE, on_silence=OnSilence.FINISH)
    async def talk(self) -> list[float]:
        return [1.0] * 10_000

    @readout
    async def log_book(self) -> str:
        return "x" * 20_000

    @readout
    async def nest(self) -> Any:
        return [[[[[[[[[[[1.0]]]]]]]]]]]

    @action(recovery=Recovery.UNSAFE, on_silence=OnSilence.FINISH)
    async def mumble(self) -> str:
        return b"\x80\xff".decode("ascii", "surrogateescape")

    @action(recovery=Recovery.UNSAFE, on_silence=OnSilence.FINISH)
    async def curse(self) -> None:
        raise OSError(b"\x80".decode("ascii", "surrogateescape"))

    @action(recovery=Recovery.UNSAFE, on_silence=OnSilence.FINISH)
    async def boast(self) -> Hot:
        return Hot(peak_K=2000.0)

    @action(recovery=Recovery.UNSAFE, on_silence=OnSilence.FINISH)
    async def leave(self) -> None:
        raise SystemExit(3)

    @action(recovery=Recovery.UNSAFE, on_silence=OnSilence.FINISH)
    async def cling(self) -> None:
        self.emit("clings", {}, {})
        for _ in range(3):
            try:
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                continue


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[tuple[Rig, Odd]]:
    instrument = Odd()
    rig = Rig(tmp_path, odd=instrument)
    rig.device.start()
    yield rig, instrument
    rig.device.stop()


def start_odd(rig: Rig, name: str) -> Command:
    return rig.start(command(name, name).model_copy(update={"instrument": "odd"}))


def test_a_result_too_long_for_a_message_is_not_lost_in_silence(odd: tuple[Rig, Odd]) -> None:
    start_odd(odd[0], "talk")
    event = odd[0].next()
    assert isinstance(event, Raised)
    assert event.is_touched


@pytest.mark.parametrize("name", ["mumble", "curse"])
def test_bytes_that_are_no_text_do_not_keep_the_instrument_busy_for_ever(
    odd: tuple[Rig, Odd], name: str
) -> None:
    start_odd(odd[0], name)
    event = odd[0].next()
    assert isinstance(event, Raised)
    assert event.is_touched
    assert event.reason.encode("utf-8")


@pytest.mark.parametrize("name", ["log_book", "nest"])
def test_a_reading_that_no_message_holds_fails_with_its_reason(
    odd: tuple[Rig, Odd], name: str
) -> None:
    odd[0].device.perform(ReadOut("viewer", "r", "odd", name))
    event = odd[0].next()
    assert isinstance(event, ReadOutDone)
    assert event.error


def test_a_result_outside_the_limit_of_its_type_is_a_complaint(odd: tuple[Rig, Odd]) -> None:
    start_odd(odd[0], "boast")
    assert odd[0].next().complaint == "odd.boast.peak_K is 2000, allowed 0 to 1000"


def test_not_even_an_exit_in_an_action_ends_the_thread(odd: tuple[Rig, Odd]) -> None:
    start_odd(odd[0], "leave")
    assert odd[0].next().is_touched
    start_odd(odd[0], "boast")
    assert isinstance(odd[0].next(), Returned)


def test_an_action_that_clings_is_made_safe_again_when_it_ends(odd: tuple[Rig, Odd]) -> None:
    rig, instrument = odd
    asked = start_odd(rig, "cling")
    assert rig.next() == "clings"
    rig.device.perform(CancelAction("odd", asked.key))
    rig.device.perform(RunSafeState("odd", "smoke"))
    events = [rig.next(), rig.next()]
    assert isinstance(events[-1], SafeStateDone)
    assert vars(instrument)["n_safe"] == 2


def test_a_readout_of_arrays_is_refused(odd: tuple[Rig, Odd]) -> None:
    odd[0].device.perform(ReadOut("viewer", "r", "odd", "picture"))
    assert "an action returns arrays" in odd[0].next().error


def test_telemetry_reports_a_broken_limit_once_until_it_holds_again(tmp_path: Path) -> None:
    furnace = Furnace(folder=str(tmp_path / "furnace"))
    furnace.connect()
    broken: list[LimitBroken] = []
    file = TelemetryFile(tmp_path / "telemetry.jsonl", limit_bytes=1000)
    telemetry = Telemetry({"furnace": furnace}, file, broken.append, ScaledLabClock())

    async def looks() -> None:
        await telemetry.look()
        for _ in range(2):
            furnace.line.inject("hot")
            await telemetry.look()
            await telemetry.look()
            furnace.line.mend("hot")
            await telemetry.look()

    asyncio.run(looks())
    asyncio.run(telemetry.watch())
    assert [b.instrument for b in broken] == ["furnace", "furnace"]
    assert "9999" in broken[0].reason
    assert len((tmp_path / "telemetry.jsonl").read_text().splitlines()) == 7


def test_only_numbers_outside_are_complained_about() -> None:
    limited = Annotated[float, Limit(0, 1)]
    assert limit_complaint(2.0, limited, "x") is not None
    assert limit_complaint(float("nan"), limited, "x") is not None
    assert limit_complaint(1.0, limited, "x") is None
    assert limit_complaint(2.0, float, "x") is None
    assert limit_complaint("hot", limited, "x") is None
