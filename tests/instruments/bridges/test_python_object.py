"""A plain Python class as an instrument: what it says of itself is believed, what it cannot say is asked."""

import asyncio
import threading
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Literal

import pytest

from twinloop.clocks import ScaledLabClock
from twinloop.errors import ArgumentError, LimitViolation
from twinloop.ids import CommandKey
from twinloop.instruments.bridges.python_object import Does, bridge
from twinloop.instruments.interface import (
    Command,
    Done,
    Limit,
    NotDone,
    OnSilence,
    Recovery,
    Verdict,
)
from twinloop.instruments.rules import rules_of
from twinloop.units import unit_of

SAFE = Does(Recovery.UNSAFE, OnSilence.SAFE_STATE)


class Valve(Enum):
    """Where the liquid goes."""

    WASTE = "waste"
    CELL = "cell"


@dataclass
class Dispensed:
    """What was dispensed."""

    volume_mL: float
    n_strokes: int


class SyringePump:
    """A pump as a vendor writes it.

    More about it.
    """

    made: ClassVar[list["SyringePump"]] = []

    def __init__(self, port: str, syringe_mL: float = 10.0) -> None:
        self.port, self.syringe_mL = port, syringe_mL
        self.calls: list[Any] = []
        self.halted, self.has_begun = threading.Event(), threading.Event()
        self.valve = Valve.WASTE
        type(self).made.append(self)

    def open(self) -> None:
        self.calls.append("open")

    def close(self) -> None:
        self.calls.append("close")

    def stop(self) -> None:
        self.calls.append("stop")
        self.halted.set()

    def dispense(self, volume_mL: float, rate_mL_per_min: float = 1.0) -> Dispensed:
        """Push liquid out."""
        self.calls.append(("dispense", volume_mL, rate_mL_per_min))
        return Dispensed(volume_mL, 2)

    def soak(self, hold_s: float) -> float:
        """Wait, as blocking drivers do."""
        self.has_begun.set()
        self.halted.wait(hold_s)
        return hold_s

    def turn(self, to: Valve, n_times: int = 1) -> None:
        self.valve = to
        self.calls.append(("turn", to, n_times))

    async def prime(self, mode: Literal["quick", "full"] = "quick") -> str:
        await asyncio.sleep(0)
        return mode

    def untyped(self, x):
        return x

    def flush(self, amount: float) -> None:
        """Flush."""

    @property
    def pressure_kPa(self) -> float:
        return 101.0

    def is_primed(self) -> bool:
        return True

    @property
    def n_strokes(self) -> int:
        return 7


async def what_happened(instrument: Any, command: Command) -> Verdict:
    return Done(None) if instrument.driver.valve is Valve.CELL else NotDone()


Pump = bridge(
    SyringePump,
    name="Pump",
    kind="syringe_pump",
    safe_state="stop",
    open_with="open",
    close_with="close",
    does={
        "dispense": Does(
            Recovery.UNSAFE,
            OnSilence.SAFE_STATE,
            limits={"volume_mL": Limit(0, 10), "rate_mL_per_min": Limit(0.1, 5)},
        ),
        "soak": Does(
            Recovery.IDEMPOTENT, OnSilence.FINISH, limits={"hold_s": Limit(0, 60)}, abort="stop"
        ),
        "turn": Does(
            Recovery.RECONCILABLE,
            OnSilence.HOLD,
            limits={"n_times": Limit(1, 3)},
            reconcile=what_happened,
        ),
        "prime": Does(Recovery.IDEMPOTENT, OnSilence.FINISH, interlocks=("is_primed",)),
    },
    reads=("pressure_kPa", "is_primed", "n_strokes"),
    read_limits={"pressure_kPa": Limit(0, 400)},
)


@pytest.fixture
def pump() -> Any:
    made = Pump(port="COM3")
    made.attach(ScaledLabClock(1.0))
    made.connect()
    yield made
    made.disconnect()


def test_the_schema_comes_from_the_type_hints() -> None:
    told = Pump.describe()
    assert told["kind"] == "syringe_pump"
    assert told["actions"]["dispense"]["parameters"] == {
        "volume_mL": {"unit": "mL", "low": 0, "high": 10, "rate_per_s": None},
        "rate_mL_per_min": {"unit": "mL/min", "low": 0.1, "high": 5, "rate_per_s": None},
    }
    assert told["actions"]["dispense"]["doc"] == "Push liquid out."
    assert told["actions"]["turn"]["parameters"]["to"]["type"]["enum"] == ["waste", "cell"]
    assert told["readouts"] == ["is_primed", "n_strokes", "pressure_kPa"]
    assert Pump.__module__ == __name__
    assert rules_of(Pump).actions["turn"].has_reconcile
    spec = Pump.actions()["soak"].spec
    unit = unit_of(spec.returns)
    assert unit is not None
    assert unit.symbol == ""


def test_settings_are_the_parameters_of_the_constructor() -> None:
    n_made = len(SyringePump.made)
    made: Any = Pump(port="COM3")
    assert (made.port, made.syringe_mL) == ("COM3", 10.0)
    assert len(SyringePump.made) == n_made, "the driver is made in connect, not before"
    with pytest.raises(ValueError, match="port"):
        Pump()
    with pytest.raises(ValueError, match="baud"):
        Pump(port="COM3", baud=9600)


def test_an_action_calls_the_method(pump: Any) -> None:
    found = asyncio.run(pump.dispense(volume_mL=2.0, rate_mL_per_min=1.5))
    assert found == {"volume_mL": 2.0, "n_strokes": 2}
    asyncio.run(pump.turn(to="cell", n_times=2))
    assert pump.driver.calls == ["open", ("dispense", 2.0, 1.5), ("turn", Valve.CELL, 2)]
    assert asyncio.run(pump.prime(mode="full")) == "full"
    assert asyncio.run(pump.pressure_kPa()) == 101.0
    assert asyncio.run(pump.n_strokes()) == 7


def test_arguments_are_checked_before_the_driver_sees_them() -> None:
    spec = Pump.actions()["dispense"].spec
    assert spec.check({"volume_mL": 1.0}, "pump.dispense") == {
        "volume_mL": 1.0,
        "rate_mL_per_min": 1.0,
    }
    with pytest.raises(LimitViolation, match="allowed 0 to 10 mL"):
        spec.check({"volume_mL": 11.0}, "pump.dispense")
    turn = Pump.actions()["turn"].spec
    for wrong in ({"to": "drain"}, {"to": "cell", "n_times": 1.5}, {"to": "cell", "n_times": True}):
        with pytest.raises(ArgumentError):
            turn.check(wrong, "pump.turn")
    with pytest.raises(LimitViolation):
        turn.check({"to": "cell", "n_times": 4}, "pump.turn")


def test_an_abort_stops_a_blocking_call(pump: Any) -> None:
    async def cut() -> None:
        running = asyncio.create_task(pump.soak(hold_s=30.0))
        await asyncio.to_thread(pump.driver.has_begun.wait, 20.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cut())
    assert pump.driver.calls == ["open", "stop"]


def test_safe_state_gets_through_while_a_call_blocks(pump: Any) -> None:
    async def run() -> float:
        running = asyncio.create_task(pump.soak(hold_s=30.0))
        await asyncio.to_thread(pump.driver.has_begun.wait, 20.0)
        pump.safe_state()
        pump.safe_state()
        return await running

    assert asyncio.run(run()) == 30.0
    assert pump.driver.calls == ["open", "stop", "stop"]


def test_the_author_says_how_to_reconcile(pump: Any) -> None:
    command = Command(
        key=CommandKey("c", "t", "1", 1),
        instrument="pump",
        action="turn",
        epoch=1,
        ledger="none",
        not_after_s=1e9,
    )
    reconcile = Pump.actions()["turn"].reconciler
    assert reconcile is not None
    assert isinstance(asyncio.run(reconcile(pump, command)), NotDone)
    asyncio.run(pump.turn(to="cell"))
    assert asyncio.run(reconcile(pump, command)) == Done(None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"does": {"spray": SAFE}}, "SyringePump: .*dispense"),
        ({"does": {"untyped": SAFE}}, "type hint"),
        ({"does": {"dispense": SAFE}}, r"limits=\{'volume_mL': Limit"),
        (
            {"does": {"flush": Does(Recovery.UNSAFE, OnSilence.HOLD, limits={"amount": Limit(0, 1)})}},
            "ends with its unit",
        ),
        (
            {"does": {"prime": Does(Recovery.UNSAFE, OnSilence.HOLD, limits={"x": Limit(0, 1)})}},
            "one of .*mode",
        ),
        ({"does": {"prime": Does(Recovery.RECONCILABLE, OnSilence.HOLD)}}, "reconcile"),
        ({"does": {"stop": Does(Recovery.UNSAFE, OnSilence.HOLD, name="connect")}}, "rename"),
        ({"safe_state": "prime"}, "plain method"),
        ({"safe_state": "dispense"}, "no arguments"),
        ({"safe_state": "halt"}, "a method of SyringePump"),
        ({"reads": ("colour",)}, "property"),
        ({"reads": {"pressure_kPa": "parrot"}}, "a unit such as"),
    ],
)  # fmt: skip
def test_what_cannot_be_bridged_is_said_at_once(change: dict[str, Any], told: str) -> None:
    asked = {"safe_state": "stop", "does": {}, "name": "P", "kind": "pump"} | change
    with pytest.raises(ArgumentError, match=told):
        bridge(SyringePump, **asked)
