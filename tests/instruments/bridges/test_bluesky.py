"""Ophyd and ophyd-async devices and bluesky plans as instruments, run by a real RunEngine."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

pytest.importorskip("bluesky", reason="the extra `bluesky` is not installed")
pytest.importorskip("ophyd_async", reason="the extra `bluesky` is not installed")

from event_model import DocumentNames, schema_validators

from twinloop.clocks import ScaledLabClock
from twinloop.errors import ArgumentError, Disconnected
from twinloop.ids import CommandKey
from twinloop.instruments.bridges.bluesky import Move, Plan, PlanFailed, bluesky_instrument
from twinloop.instruments.bridges.run_documents import RunFile
from twinloop.instruments.interface import (
    Command,
    Done,
    Limit,
    NotDone,
    NotTouched,
    OnSilence,
    Partial,
    Recovery,
)
from twinloop.results import encode_result
from twinloop.units import Unit

pytestmark = pytest.mark.system
Position_mm = Annotated[float, Unit("mm", "millimeter"), Limit(-10, 10)]
Points = Annotated[int, Limit(1, 50)]
HELD = threading.Event()


def ophyd_devices() -> dict[str, Any]:
    from ophyd.sim import SynAxis, SynGauss

    motor = SynAxis(name="motor", labels={"motors"})
    return {"motor": motor, "det": SynGauss("det", motor, "motor", center=1.0, Imax=2.0, sigma=1.5)}


def async_devices() -> dict[str, Any]:
    from ophyd_async.sim import PatternGenerator, SimMotor, SimPointDetector

    pattern = PatternGenerator()
    stage = SimMotor(instant=False)
    return {"stage": stage, "det": SimPointDetector(pattern)}


def scan(devices: Any, *, start_mm: float, stop_mm: float, n_points: int) -> Any:
    """Step the motor and read the detector."""
    from bluesky.plans import scan

    motor = devices.get("motor") or devices["stage"]
    yield from scan([devices["det"]], motor, start_mm, stop_mm, n_points)


def stuck(devices: Any) -> Any:
    """Read once, then wait for something that does not come."""
    import bluesky.plan_stubs as bps

    yield from bps.open_run()
    yield from bps.trigger_and_read([devices["det"]])
    HELD.set()
    yield from bps.sleep(60)
    yield from bps.close_run()


def broken(devices: Any) -> Any:
    """Read once, then raise."""
    import bluesky.plan_stubs as bps

    yield from bps.open_run()
    yield from bps.trigger_and_read([devices["det"]])
    raise RuntimeError("the shutter is shut")


PLANS = {
    "scan": Plan(
        scan,
        OnSilence.SAFE_STATE,
        parameters={"start_mm": Position_mm, "stop_mm": Position_mm, "n_points": Points},
    ),
    "stuck": Plan(stuck, OnSilence.SAFE_STATE),
    "broken": Plan(broken, OnSilence.SAFE_STATE),
}

Line = bluesky_instrument(
    "Line",
    kind="beamline",
    doc="A motor and a detector.",
    make=ophyd_devices,
    moves={
        "move": Move("motor", "x_mm", Position_mm, read_back="motor.readback", tolerance=0.01),
        "lie": Move("motor", "x_mm", Position_mm, read_back="det.Imax", tolerance=0.01),
    },
    plans=PLANS,
    reads={"x_mm": ("motor.readback", Position_mm)},
    is_twin=True,
)

Async = bluesky_instrument(
    "Async",
    kind="beamline",
    doc="A stage of ophyd-async and a point detector.",
    make=async_devices,
    moves={
        "move": Move("stage", "x_mm", Position_mm, read_back="stage.user_readback", tolerance=0.01)
    },
    plans={"scan": PLANS["scan"]},
    reads={"x_mm": ("stage.user_readback", Position_mm)},
    is_twin=True,
)


def command(action: str, **arguments: Any) -> Command:
    return Command(
        key=CommandKey("c", "t0001", "2", 1),
        instrument="line",
        action=action,
        arguments=arguments,
        sample="film-1",
        epoch=1,
        ledger="none",
        not_after_s=1e9,
    )


@pytest.fixture(params=[Line, Async], ids=["ophyd", "ophyd_async"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    yield from opened(request.param, tmp_path)


@pytest.fixture
def ophyd_line(tmp_path: Path) -> Iterator[Any]:
    yield from opened(Line, tmp_path)


def opened(cls: Any, folder: Path) -> Iterator[Any]:
    made = cls(documents=str(folder / "documents"))
    made.heard = []
    made.attach(ScaledLabClock(1.0), lambda *element: made.heard.append(element))
    made.connect()
    yield made
    made.disconnect()


def test_a_plan_is_an_action_and_its_documents_come_along(line: Any) -> None:
    asked = command("scan", start_mm=-1.0, stop_mm=1.0, n_points=3)
    line.begin(asked)
    found = asyncio.run(line.scan(start_mm=-1.0, stop_mm=1.0, n_points=3))
    assert (found["status"], found["n_events"], len(found["run_uids"])) == ("success", 3, 1)
    position = next(v for k, v in found["streams"]["primary"].items() if k in {"motor", "stage"})
    np.testing.assert_allclose(position, [-1.0, 0.0, 1.0], atol=1e-6)
    told = bytes(found["documents"]).decode().splitlines()
    names = [json.loads(one)[0] for one in told]
    assert (names[0], names[-1], names.count("descriptor")) == ("start", "stop", 1)
    for one in told:
        name, document = json.loads(one)
        schema_validators[DocumentNames[name]].validate(document)
    start = json.loads(told[0])[1]
    assert (start["campaign"], start["trial"], start["sample"]) == ("c", "t0001", "film-1")
    assert start["arguments"] == {"start_mm": -1.0, "stop_mm": 1.0, "n_points": 3}
    encode_result(found)
    verdict = asyncio.run(type(line).actions()["scan"].reconciler(line, asked))
    assert isinstance(verdict, Done)
    assert verdict.result["run_uids"] == found["run_uids"]
    assert [stream for stream, _, _ in line.heard] == ["events"] * 3


def test_the_gauss_of_bluesky_is_what_is_recorded(ophyd_line: Any) -> None:
    ophyd_line.begin(command("scan"))
    found = asyncio.run(ophyd_line.scan(start_mm=-1.0, stop_mm=3.0, n_points=5))
    x = np.linspace(-1.0, 3.0, 5)
    expected = 2.0 * np.exp(-((x - 1.0) ** 2) / (2 * 1.5**2))
    np.testing.assert_allclose(found["streams"]["primary"]["det"], expected, rtol=1e-12)


def test_a_move_is_read_back(line: Any) -> None:
    asked = command("move", x_mm=0.25)
    line.begin(asked)
    asyncio.run(line.move(x_mm=0.25))
    assert asyncio.run(line.x_mm()) == pytest.approx(0.25)
    confirm = type(line).actions()["move"].confirmer
    assert asyncio.run(confirm(line, asked, None)) is None
    assert "told 3" in asyncio.run(confirm(line, command("move", x_mm=3.0), None))


def test_a_machine_that_lies_is_noticed(ophyd_line: Any) -> None:
    asked = command("lie", x_mm=0.5)
    ophyd_line.begin(asked)
    asyncio.run(ophyd_line.lie(x_mm=0.5))
    complaint = asyncio.run(Line.actions()["lie"].confirmer(ophyd_line, asked, None))
    assert "det.Imax is 2, told 0.5" in complaint


def test_an_abort_leaves_what_was_recorded(ophyd_line: Any) -> None:
    HELD.clear()
    asked = command("stuck")
    ophyd_line.begin(asked)

    async def cut() -> None:
        running = asyncio.create_task(ophyd_line.stuck())
        assert await asyncio.to_thread(HELD.wait, 20.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cut())
    verdict = asyncio.run(Line.actions()["stuck"].reconciler(ophyd_line, asked))
    assert isinstance(verdict, Partial)
    assert (verdict.what["status"], verdict.what["n_events"]) == ("abort", 1)
    # the engine is free again
    ophyd_line.begin(command("scan"))
    assert asyncio.run(ophyd_line.scan(start_mm=0.0, stop_mm=1.0, n_points=2))["n_events"] == 2


def test_safe_state_ends_a_plan_and_is_idempotent(ophyd_line: Any) -> None:
    HELD.clear()
    ophyd_line.begin(command("stuck"))

    async def cut() -> None:
        running = asyncio.create_task(ophyd_line.stuck())
        assert await asyncio.to_thread(HELD.wait, 20.0)
        ophyd_line.safe_state()
        ophyd_line.safe_state()
        with pytest.raises(PlanFailed, match="1 events"):
            await running

    asyncio.run(cut())


def test_a_plan_that_raises_is_no_success(ophyd_line: Any) -> None:
    asked = command("broken")
    ophyd_line.begin(asked)
    with pytest.raises(PlanFailed, match=r"1 events.*the shutter is shut"):
        asyncio.run(ophyd_line.broken())
    verdict = asyncio.run(Line.actions()["broken"].reconciler(ophyd_line, asked))
    assert isinstance(verdict, Partial)
    assert verdict.what["status"] == "fail"


def test_a_killed_process_leaves_documents_that_tell(ophyd_line: Any) -> None:
    asked = command("scan", start_mm=0.0, stop_mm=1.0, n_points=2)
    reconcile = Line.actions()["scan"].reconciler
    assert isinstance(asyncio.run(reconcile(ophyd_line, asked)), NotDone)
    ophyd_line.begin(asked)
    asyncio.run(ophyd_line.scan(start_mm=0.0, stop_mm=1.0, n_points=2))
    path = RunFile.path(ophyd_line.folder, asked.key)
    lines = path.read_text().splitlines(keepends=True)
    # as if it had been killed in the middle of writing the second event
    second = [n for n, line in enumerate(lines) if line.startswith('["event"')][1]
    path.write_text("".join(lines[:second]) + lines[second][:40])
    verdict = asyncio.run(reconcile(ophyd_line, asked))
    assert isinstance(verdict, Partial)
    assert (verdict.what["status"], verdict.what["n_events"]) == ("cut", 1)


def test_a_full_disk_stops_a_plan_before_anything_moves(
    ophyd_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import twinloop.instruments.bridges.run_documents as kept

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.os, "fsync", full)
    before = ophyd_line.device("motor").position
    ophyd_line.begin(command("scan"))
    with pytest.raises(NotTouched, match="make room"):
        asyncio.run(ophyd_line.scan(start_mm=5.0, stop_mm=6.0, n_points=2))
    assert ophyd_line.device("motor").position == before


def test_what_cannot_be_bridged_is_said() -> None:
    asked: dict[str, Any] = {"kind": "x", "doc": "x", "make": ophyd_devices}
    with pytest.raises(ArgumentError, match="no limit"):
        bluesky_instrument("X", plans={"go": Plan(scan, OnSilence.HOLD, {"a": float})}, **asked)
    with pytest.raises(ArgumentError, match="one of them"):
        bluesky_instrument(
            "X", moves={"scan": Move("m", "x_mm", Position_mm)}, plans=PLANS, **asked
        )

    def unreachable() -> dict[str, Any]:
        raise OSError("no route to host")

    lost = bluesky_instrument("Lost", kind="x", doc="x", make=unreachable)
    with pytest.raises(Disconnected, match="no route to host"):
        lost(documents="x").connect()


def test_limits_and_recovery_are_in_the_schema() -> None:
    told = Line.describe()["actions"]
    assert told["move"]["parameters"]["x_mm"] == {
        "unit": "mm",
        "low": -10,
        "high": 10,
        "rate_per_s": None,
    }
    assert told["scan"]["recovery"] == Recovery.RECONCILABLE
    assert told["scan"]["doc"] == "Step the motor and read the detector."
