"""An instrument that speaks SCPI, on pyvisa and its simulated back end."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

pytest.importorskip("pyvisa_sim", reason="the extra `visa` and pyvisa-sim are not installed")

from twinloop.clocks import ScaledLabClock
from twinloop.errors import ArgumentError, Disconnected
from twinloop.ids import CommandKey
from twinloop.instruments.bridges.visa import Scpi, ScpiError, scpi_instrument
from twinloop.instruments.interface import (
    Command,
    Limit,
    NotTouched,
    OnSilence,
    Recovery,
)
from twinloop.results import Array
from twinloop.units import Amperes, Kelvin, Volts

SIMULATED = f"{Path(__file__).with_name('power_supply.yaml')}@sim"
HOLD_V = Annotated[Volts, Limit(0, 30)]
SLOW_V = Annotated[Volts, Limit(0, 30, rate_per_s=5)]

Supply = scpi_instrument(
    "Supply",
    kind="power_supply",
    doc="Heater supply of an anneal stage.",
    identity=r"^ACME,PS-30",
    safe_state=("VOLT 0.000", "OUTP 0"),
    is_twin=True,
    does={
        "set_voltage": Scpi(
            "VOLT {voltage_V:.3f}",
            Recovery.IDEMPOTENT,
            OnSilence.SAFE_STATE,
            parameters={"voltage_V": HOLD_V},
            read_back={"voltage_V": ("VOLT?", 0.01)},
        ),
        "ramp": Scpi(
            "VOLT {voltage_V:.3f}",
            Recovery.IDEMPOTENT,
            OnSilence.SAFE_STATE,
            parameters={"voltage_V": SLOW_V},
            ramp_from={"voltage_V": "VOLT?"},
        ),
        "switch_on": Scpi(("VOLT 0.000", "OUTP 1"), Recovery.IDEMPOTENT, OnSilence.SAFE_STATE),
        "measure": Scpi(
            ("OUTP 1",),
            Recovery.IDEMPOTENT,
            OnSilence.FINISH,
            ask="TRAC?",
            returns=Array,
            done_when=("STAT:OPER:COND?", r"^0$"),
        ),
        "nonsense": Scpi("FROBNICATE", Recovery.UNSAFE, OnSilence.HOLD),
        "half": Scpi(("OUTP 1", "FROBNICATE"), Recovery.UNSAFE, OnSilence.HOLD),
        "wait": Scpi(
            "OUTP 1",
            Recovery.UNSAFE,
            OnSilence.HOLD,
            done_when=("STAT:OPER:COND?", "never"),
            abort="OUTP 0",
        ),
    },
    reads={
        "current_A": ("MEAS:CURR?", Annotated[Amperes, Limit(0, 3)]),
        "is_on": ("OUTP?", bool),
        "temperature_K": ("MEAS:TEMP?", Kelvin),
    },
)


@pytest.fixture
def supply() -> Iterator[Any]:
    made = Supply(resource="ASRL1::INSTR", visa_library=SIMULATED)
    made.attach(ScaledLabClock(1000.0))
    made.connect()
    made.safe_state()  # the simulated supply outlives each session, as a real one does
    yield made
    made.disconnect()


def asked(supply: Any, query: str) -> str:
    return str(supply.thread.at_once(lambda: supply.ask(query)))


def test_a_table_is_an_instrument(supply: Any) -> None:
    told = Supply.describe()
    assert told["actions"]["ramp"]["parameters"]["voltage_V"] == {
        "unit": "V",
        "low": 0,
        "high": 30,
        "rate_per_s": 5,
    }
    assert told["readouts"] == ["current_A", "is_on", "temperature_K"]
    asyncio.run(supply.set_voltage(voltage_V=5.0))
    assert asked(supply, "VOLT?") == "5.000"
    assert asyncio.run(supply.current_A()) == 0.25
    assert asyncio.run(supply.is_on()) is False
    np.testing.assert_array_equal(asyncio.run(supply.measure()), [1.5, 2.5, -3.0])
    assert asyncio.run(supply.is_on()) is True
    with pytest.raises(ArgumentError, match="warm"):
        asyncio.run(supply.temperature_K())


def test_safe_state_is_idempotent(supply: Any) -> None:
    asyncio.run(supply.set_voltage(voltage_V=5.0))
    asyncio.run(supply.switch_on())
    supply.safe_state()
    supply.safe_state()
    assert (asked(supply, "VOLT?"), asked(supply, "OUTP?")) == ("0.000", "0")


def test_a_rate_limit_is_kept_by_steps(supply: Any) -> None:
    slept: list[float] = []

    class Clock:
        factor = 1.0

        def now_s(self) -> float:
            return sum(slept)

        async def sleep(self, duration_s: float) -> None:
            slept.append(duration_s)
            seen.append(float(supply.ask("VOLT?")))

        def wait(self, duration_s: float) -> None:
            slept.append(duration_s)

    seen = [0.0]
    supply.attach(Clock())
    asyncio.run(supply.ramp(voltage_V=6.0))
    seen.append(float(supply.ask("VOLT?")))
    assert seen[-1] == 6.0
    assert max(np.diff(seen)) <= 5 * 0.1 + 1e-9
    assert sum(slept) == pytest.approx(6.0 / 5.0, abs=0.11)
    asyncio.run(supply.ramp(voltage_V=0.0))
    assert asked(supply, "VOLT?") == "0.000"


@pytest.mark.parametrize("answer", ["NAN", "9.91E37", "INF"])
def test_a_ramp_that_begins_nowhere_is_not_begun(
    supply: Any, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = supply.ask
    told: list[str] = []
    monkeypatch.setattr(
        type(supply), "ask", lambda _, query: answer if query == "VOLT?" else ask(query)
    )
    monkeypatch.setattr(type(supply), "tell", lambda _, line: told.append(line))
    with pytest.raises(ScpiError, match="no place where a ramp could begin"):
        asyncio.run(supply.ramp(voltage_V=6.0))
    assert not told
    monkeypatch.undo()


def test_what_the_instrument_refuses_did_not_happen(supply: Any) -> None:
    with pytest.raises(NotTouched, match=r"-113.*FROBNICATE"):
        asyncio.run(supply.nonsense())
    asyncio.run(supply.set_voltage(voltage_V=1.0))
    with pytest.raises(NotTouched):
        asyncio.run(supply.set_voltage(voltage_V=20.0))  # the supply's own limit is 12 V
    assert asked(supply, "VOLT?") == "1.000"
    with pytest.raises(ScpiError, match="FROBNICATE"):
        asyncio.run(
            supply.half()
        )  # its first line was carried out: nobody may say that nothing was
    assert asyncio.run(supply.is_on()) is True


@pytest.mark.parametrize(
    ("complaint", "is_refusal"),
    [
        ('-113,"Undefined header"', True),
        ('-222,"Data out of range"', True),
        ('-200,"Execution error"', False),
        ('-310,"System error"', False),
        ('+100,"over temperature"', False),
    ],
)
def test_only_some_errors_say_that_nothing_happened(complaint: str, *, is_refusal: bool) -> None:
    assert ScpiError("VOLT 3", complaint).is_refusal is is_refusal


def test_old_complaints_are_not_blamed_on_the_next_action(supply: Any) -> None:
    supply.tell("FROBNICATE")
    asyncio.run(supply.set_voltage(voltage_V=2.0))
    assert asked(supply, "VOLT?") == "2.000"


def test_a_value_is_read_back(supply: Any) -> None:
    confirm = Supply.actions()["set_voltage"].confirmer
    assert confirm is not None
    command = Command(
        key=CommandKey("c", "t", "1", 1),
        instrument="supply",
        action="set_voltage",
        arguments={"voltage_V": 4.0},
        epoch=1,
        ledger="none",
        not_after_s=1e9,
    )
    asyncio.run(supply.set_voltage(voltage_V=4.0))
    assert asyncio.run(confirm(supply, command, None)) is None
    supply.tell("VOLT 3.900")
    assert "told 4, VOLT? gives 3.9" in str(asyncio.run(confirm(supply, command, None)))


def test_an_abort_is_written(supply: Any) -> None:
    async def cut() -> None:
        running = asyncio.create_task(supply.wait())
        while asked(supply, "OUTP?") == "0":  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cut())
    assert asked(supply, "OUTP?") == "0"


def test_another_instrument_in_the_socket_is_refused() -> None:
    other = scpi_instrument(
        "Other", kind="x", doc="x", identity="KEYSIGHT", safe_state=("OUTP 0",), does={}, reads={}
    )
    with pytest.raises(ArgumentError, match="ACME"):
        other(resource="ASRL1::INSTR", visa_library=SIMULATED).connect()


def test_nobody_at_the_other_end_is_said() -> None:
    with pytest.raises(Disconnected, match="ASRL9"):
        Supply(resource="ASRL9::INSTR", visa_library=SIMULATED).connect()
    lost: Any = Supply(resource="ASRL1::INSTR", visa_library=SIMULATED)
    with pytest.raises(Disconnected, match="connect first"):
        lost.ask("VOLT?")


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (Scpi("VOLT {v}", Recovery.UNSAFE, OnSilence.HOLD), "in braces"),
        (Scpi((), Recovery.UNSAFE, OnSilence.HOLD), "at least one line"),
        (
            Scpi("VOLT {v}", Recovery.UNSAFE, OnSilence.HOLD, parameters={"v": SLOW_V}),
            "where the ramp begins",
        ),
        (Scpi("VOLT {v}", Recovery.UNSAFE, OnSilence.HOLD, parameters={"v": Volts}), "no limit"),
        (
            Scpi("GO", Recovery.UNSAFE, OnSilence.HOLD, read_back={"v": ("VOLT?", 1.0)}),
            "one of",
        ),
        (Scpi("GO", Recovery.RECONCILABLE, OnSilence.HOLD), "reconcile"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_said_at_once(does: Scpi, told: str) -> None:
    asked: dict[str, Any] = {"kind": "x", "doc": "x", "identity": "x", "reads": {}}
    with pytest.raises(ArgumentError, match=told):
        scpi_instrument("X", safe_state=("OUTP 0",), does={"go": does}, **asked)
