"""The microscope proxy of DTMicroscope as an instrument, over a real Pyro5 daemon and a stand-in."""
# ruff: noqa: RUF012 - a rehearsal is declared by plain class attributes

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("Pyro5", reason="the extra `dtmicroscope` is not installed")

import Pyro5.api

from twinloop.clocks import ScaledLabClock
from twinloop.errors import LimitViolation
from twinloop.ids import CommandKey
from twinloop.instruments.bridges.dtmicroscope_tem import ProxiedTEM
from twinloop.instruments.conformance.interface import Rehearsal, check_instrument
from twinloop.instruments.interface import Command, NotTouched


class Column:
    """What stands behind every connection: stage, valves, cameras."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.stage = [0.0, 0.0, 0.0, 0.0, 0.0]
        self.valve = "Open"
        self.cameras = {"flu_camera": {"size": 8, "exposure": 0.1}, "slow_camera": {"size": 8}}
        self.go_on, self.is_waiting = threading.Event(), threading.Event()
        self.lost_m = 0.0


def served(column: Column) -> type:
    """Return the class of `tem.server`, as smart_proxy.py has it; an instance for each connection."""

    @Pyro5.api.expose
    @Pyro5.api.behavior(instance_mode="session")
    class StandIn:
        def get_detectors(self) -> Any:
            return list(column.cameras)

        def device_settings(self, device: str, **args: Any) -> int:
            column.calls.append(("settings", device, args))
            if device not in column.cameras:
                return 0
            column.cameras[device].update(args)
            return 1

        def get_stage(self) -> Any:
            return column.stage

        def set_stage(self, stage_positions: dict[str, float], relative: bool = True) -> None:
            column.calls.append(("stage", stage_positions, relative))
            column.stage = [stage_positions[axis] for axis in ("x", "y", "z", "a", "b")]
            column.stage[0] += column.lost_m

        def acquire_image(self, device: str) -> Any:
            if device == "slow_camera":
                column.is_waiting.set()
                column.go_on.wait(4.0)
            side = int(column.cameras[device]["size"])
            return np.full((side, side), 7, np.uint16).tolist(), (side, side), "uint16"

        def get_microscope_status(self) -> Any:
            return {"vaccuum": "Ready", "column_valve": column.valve}

        def close(self) -> int:
            column.valve = "Closed"
            return 1

    return StandIn


class Server:
    """A daemon in a thread."""

    def __init__(self, column: Column) -> None:
        self.daemon = Pyro5.api.Daemon(host="127.0.0.1", port=0)
        self.daemon.register(served(column), objectId="tem.server")
        self.port = int(self.daemon.locationStr.rpartition(":")[2])
        self.thread = threading.Thread(target=self.daemon.requestLoop, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.daemon.shutdown()
        self.thread.join(20.0)
        self.daemon.close()


@pytest.fixture
def column() -> Column:
    return Column()


@pytest.fixture
def tem(column: Column) -> Iterator[Any]:
    server = Server(column)
    made = ProxiedTEM(port=server.port, timeout_s=10.0)
    made.attach(ScaledLabClock(1.0))
    made.connect()
    yield made
    column.go_on.set()
    made.disconnect()
    server.close()


def test_a_camera_is_set_and_read(tem: Any, column: Column) -> None:
    asyncio.run(tem.set_camera(exposure_s=0.5, size=16))
    assert column.calls == [("settings", "flu_camera", {"exposure": 0.5, "size": 16})]
    found = asyncio.run(tem.acquire())
    assert (found.counts.shape, found.counts.dtype, found.device) == (
        (16, 16),
        np.uint16,
        "flu_camera",
    )
    with pytest.raises(NotTouched, match="no device 'espresso'"):
        asyncio.run(tem.set_camera(device="espresso"))
    with pytest.raises(NotTouched, match="one of flu_camera"):
        asyncio.run(tem.acquire(device="espresso"))


def test_the_stage_is_sent_to_a_place_and_read_back(tem: Any, column: Column) -> None:
    asked = {"x_m": 1e-5, "y_m": -2e-5}
    command = Command(
        key=CommandKey("c", "t", "1", 1), instrument="tem", action="move_stage", arguments=asked,
        epoch=1, ledger="none", not_after_s=1e9,
    )  # fmt: skip
    for _ in range(2):  # repeated, it ends at the same place
        asyncio.run(tem.move_stage(**asked))
        assert column.stage == [1e-5, -2e-5, 0.0, 0.0, 0.0]
    confirm = ProxiedTEM.actions()["move_stage"].confirmer
    assert confirm is not None
    assert asyncio.run(confirm(tem, command, None)) is None
    column.lost_m = 5e-6
    asyncio.run(tem.move_stage(**asked))
    complaint = asyncio.run(confirm(tem, command, None))
    assert complaint is not None
    assert "x_m: told 1e-05, the stage reads 1.5e-05" in complaint
    assert asyncio.run(tem.stage_y_m()) == -2e-5
    with pytest.raises(LimitViolation, match=r"-0.001 to 0.001 m"):
        ProxiedTEM.actions()["move_stage"].spec.check({"x_m": 1.0, "y_m": 0.0}, "tem.move_stage")


def test_the_valves_close_while_a_call_hangs(tem: Any, column: Column) -> None:
    async def run() -> None:
        running = asyncio.create_task(tem.acquire(device="slow_camera"))
        assert await asyncio.to_thread(column.is_waiting.wait, 20.0)
        tem.safe_state()
        tem.safe_state()
        assert column.valve == "Closed"
        assert not column.go_on.is_set()
        column.go_on.set()
        assert (await running).counts.shape == (8, 8)
        assert await tem.valves_are_closed() is True

    asyncio.run(run())


class ProxiedTEMRehearsal(Rehearsal):
    """Against the stand-in."""

    instrument = ProxiedTEM
    examples = {"move_stage": {"x_m": 0.0, "y_m": 0.0}, "set_camera": {"device": "flu_camera"}}
    lasting = {"acquire": {"device": "slow_camera"}}
    safe = {"valves_are_closed": True}

    def start(self) -> None:
        self.column = Column()
        self.server = Server(self.column)

    def stop(self) -> None:
        self.column.go_on.set()
        self.server.close()

    def settings(self) -> dict[str, Any]:
        return {"port": self.server.port}


@pytest.mark.soak
def test_it_keeps_the_contract(tmp_path: Path) -> None:
    check_instrument(ProxiedTEM, ProxiedTEMRehearsal, folder=tmp_path).raise_if_failed()
