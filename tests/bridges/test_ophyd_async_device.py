"""A served instrument as an ophyd-async device: a real RunEngine scans a furnace in its adapter process."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ophyd_async", reason="the extra `bluesky` is not installed")
pytest.importorskip("bluesky", reason="the extra `bluesky` is not installed")

import bluesky.plan_stubs as bps
import bluesky.plans as bp
from bluesky.run_engine import DuringTask, RunEngine
from bluesky.utils import FailedStatus
from event_model import DocumentNames, schema_validators

from twinloop.agents.bridges.ophyd_async_device import ServedDevice
from twinloop.agents.bridges.served_instrument import ServedInstrument
from twinloop.agents.hub.process import Hub
from twinloop.clocks import RealWireClock
from twinloop.errors import ArgumentError, Disconnected, StepFailed
from twinloop.instruments.locks import LockTaken
from twinloop.instruments.serving import READY
from twinloop.instruments.spec import AdapterSpec, class_path
from twinloop.instruments.testing import Furnace, FurnaceLine

pytestmark = pytest.mark.system
CLOCK = RealWireClock()
LIMIT_S = 40.0


class Bench:
    """A hub and an adapter process with a furnace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = Hub("tcp://127.0.0.1:0")
        threading.Thread(target=self.hub.run, daemon=True).start()
        self.line = FurnaceLine(folder / "line")
        furnace = {"class": class_path(Furnace), "settings": {"folder": str(folder / "line")}}
        spec = AdapterSpec.model_validate(
            {
                "agent": "pc",
                "hub": self.hub.endpoint,
                "folder": folder / "adapter",
                "instruments": {"furnace": furnace},
            }
        )
        spec.write(folder / "spec.json")
        command = [sys.executable, "-m", "twinloop.instruments.server"]
        command += ["--spec", str(folder / "spec.json"), "--exit-with-stdin"]
        self.adapter = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        await_true((folder / "adapter" / READY).exists)

    def close(self) -> None:
        if self.adapter.stdin is not None:
            self.adapter.stdin.close()
        self.adapter.wait(LIMIT_S)
        self.hub.stop()


def await_true(is_true: Any) -> None:
    end_s = CLOCK.now_s() + LIMIT_S
    while not is_true():
        assert CLOCK.now_s() < end_s
        threading.Event().wait(0.02)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("bench"))
    with ServedInstrument(made.hub.endpoint, "furnace", folder=made.folder / "load") as furnace:
        furnace.sample = "s1"
        furnace.do("load").result(LIMIT_S)
    yield made
    made.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[RunEngine]:
    loop = asyncio.new_event_loop()
    made = RunEngine({}, loop=loop, context_managers=[], during_task=DuringTask())
    yield made
    loop.call_soon_threadsafe(loop.stop)
    made._th.join(5.0)
    loop.close()


@pytest.fixture
def furnace(bench: Bench, tmp_path: Path) -> Iterator[ServedDevice]:
    made = ServedDevice(
        bench.hub.endpoint,
        "furnace",
        Furnace,
        folder=tmp_path,
        sample="s1",
        trigger="anneal",
        knobs=("anneal.hold_K", "heat.target_K"),
        fixed={"anneal.hold_s": 0.05},
        reads=("temperature_K",),
    )
    yield made
    made.close()


def connect(device: ServedDevice, engine: RunEngine) -> None:
    asyncio.run_coroutine_threadsafe(device.connect(), engine.loop).result(LIMIT_S)


def test_a_run_engine_scans_it(bench: Bench, furnace: ServedDevice, engine: RunEngine) -> None:
    connect(furnace, engine)
    documents: list[tuple[str, dict[str, Any]]] = []
    n_before = bench.line.count("run")
    engine(
        bp.scan([furnace], furnace.hold_K, 400.0, 600.0, 3), lambda *pair: documents.append(pair)
    )
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    events = [doc["data"] for name, doc in documents if name == "event"]
    assert [one["furnace-hold_K"] for one in events] == [400.0, 500.0, 600.0]
    assert [one["furnace-peak_K"] for one in events] == [400.0, 500.0, 600.0]
    assert [one["furnace-trace_K-max"] for one in events] == [400.0, 500.0, 600.0]
    assert events[0]["furnace-temperature_K"] == 293.0
    keys = next(doc for name, doc in documents if name == "descriptor")["data_keys"]
    assert keys["furnace-hold_K"]["units"] == "K"
    assert keys["furnace-hold_K"]["limits"]["control"] == {"low": 293, "high": 1423}
    assert keys["furnace-peak_K"]["units"] == "K"
    assert keys["furnace-trace_K"]["shape"] == [64]
    # the furnace's own record, which no adapter can embellish
    assert bench.line.count("run") - n_before == 3


def test_a_knob_of_another_action_carries_it_out(
    bench: Bench, furnace: ServedDevice, engine: RunEngine
) -> None:
    connect(furnace, engine)
    n_before = bench.line.count("heat")
    engine(bps.mv(furnace.target_K, 500.0))
    assert bench.line.count("heat") - n_before == 1
    assert bench.line.effects()[-1]["target_K"] == 500.0


def test_limits_hold_before_anything_is_sent(
    bench: Bench, furnace: ServedDevice, engine: RunEngine
) -> None:
    connect(furnace, engine)
    n_before = len(bench.line.effects())
    with pytest.raises(FailedStatus, match="allowed 293 to 1423 K"):
        engine(bps.mv(furnace.target_K, 5000.0))
    assert len(bench.line.effects()) == n_before


def test_what_the_furnace_refuses_fails_the_plan(
    bench: Bench, furnace: ServedDevice, engine: RunEngine
) -> None:
    connect(furnace, engine)
    engine(bps.mv(furnace.hold_K, 500.0))
    bench.line.inject("lid-open")
    try:
        with pytest.raises((StepFailed, FailedStatus), match="lid_is_closed"):
            engine(bp.count([furnace]))
    finally:
        bench.line.mend("lid-open")


def test_stopping_aborts_the_action(bench: Bench, tmp_path: Path, engine: RunEngine) -> None:
    furnace = ServedDevice(
        bench.hub.endpoint, "furnace", Furnace, folder=tmp_path, sample="s1", trigger="anneal",
        fixed={"anneal.hold_s": 300.0, "anneal.hold_K": 500.0},
    )  # fmt: skip
    connect(furnace, engine)
    n_before = bench.line.count("run")

    async def cut() -> None:
        status = furnace.trigger()
        while bench.line.count("run") == n_before:  # noqa: ASYNC110 - the line has no event
            await asyncio.sleep(0.02)
        await furnace.stop()
        with pytest.raises(Exception, match="only in part"):
            await status

    asyncio.run_coroutine_threadsafe(cut(), engine.loop).result(LIMIT_S)
    assert bench.line.effects()[-1]["why"] == "aborted"
    furnace.close()


def test_who_was_killed_hears_the_outcome_when_it_comes_back(bench: Bench, tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from twinloop.agents.bridges.served_instrument import ServedInstrument\n"
        "from twinloop.instruments.testing import FurnaceLine\n"
        "hub, folder, line = sys.argv[1:]\n"
        "furnace = ServedInstrument(hub, 'furnace', folder=pathlib.Path(folder), sample='s1')\n"
        "n = FurnaceLine(pathlib.Path(line)).count('run')\n"
        "furnace.do('anneal', hold_K=700.0, hold_s=1.0)\n"
        "while FurnaceLine(pathlib.Path(line)).count('run') == n: pass\n"
        "os._exit(9)\n"
    )
    command = [sys.executable, "-c", code, bench.hub.endpoint, str(tmp_path)]
    n_before = bench.line.count("run")
    assert subprocess.run([*command, str(bench.folder / "line")], check=False).returncode == 9
    # the dead holder's lease must run out first
    with ServedInstrument(
        bench.hub.endpoint, "furnace", folder=tmp_path, sample="s1", find_s=LIMIT_S
    ) as again:
        await_true(lambda: again.outcomes)
        (outcome,) = again.outcomes.values()
        assert (outcome.state, outcome.result["peak_K"]) == ("done", 700.0)
        assert again.do("anneal", hold_K=400.0, hold_s=0.01).result(LIMIT_S)["peak_K"] == 400.0
    assert bench.line.count("run") - n_before == 2


def test_a_wrong_name_is_said_at_once(bench: Bench, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"folder": tmp_path, "trigger": "anneal"}
    hub = bench.hub.endpoint
    for change, told in (
        ({"trigger": "cook"}, "one of anneal"),
        ({"knobs": ("anneal.heat",)}, "anneal.hold_K"),
        ({"reads": ("colour",)}, "temperature_K"),
        ({}, "a knob or a fixed value"),
    ):
        with pytest.raises(ArgumentError, match=told):
            ServedDevice(hub, "furnace", Furnace, **{**asked, **change})
    with pytest.raises(Disconnected, match="served there: furnace"):
        ServedInstrument(hub, "oven", folder=tmp_path, find_s=6.0)
    with (
        ServedInstrument(hub, "furnace", folder=tmp_path / "a"),
        pytest.raises(Disconnected, match="held by another"),
    ):
        ServedInstrument(hub, "furnace", folder=tmp_path / "b", find_s=6.0)


def test_who_stops_waiting_for_a_readout_does_not_end_the_holder(
    bench: Bench, tmp_path: Path
) -> None:
    with ServedInstrument(bench.hub.endpoint, "furnace", folder=tmp_path, sample="s1") as furnace:

        async def leave() -> None:
            reading = asyncio.ensure_future(asyncio.wrap_future(furnace.read("temperature_K")))
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])

        for _ in range(3):
            asyncio.run(leave())
        assert furnace.read("temperature_K").result(LIMIT_S) == 293.0
        assert furnace.do("heat", target_K=400.0).result(LIMIT_S) == 400.0


def test_a_full_disk_ends_the_holder_and_whoever_waits_hears_of_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServedInstrument(bench.hub.endpoint, "furnace", folder=tmp_path, sample="s1") as furnace:
        keep = furnace._keep

        def full(line: Any) -> None:
            if "outcome" in line:
                raise OSError(28, "No space left on device")
            keep(line)

        monkeypatch.setattr(furnace, "_keep", full)
        with pytest.raises(Disconnected, match="No space left"):
            furnace.do("heat", target_K=450.0).result(LIMIT_S)
        with pytest.raises(Disconnected, match="No space left"):
            furnace.do("heat", target_K=460.0)
    # nothing was acknowledged: told again to the same folder, once there is room
    with ServedInstrument(
        bench.hub.endpoint, "furnace", folder=tmp_path, sample="s1", find_s=LIMIT_S
    ) as again:
        await_true(lambda: again.outcomes)
        assert [o.result for o in again.outcomes.values()] == [450.0]


def test_one_folder_has_one_holder_and_no_key_twice(bench: Bench, tmp_path: Path) -> None:
    with ServedInstrument(bench.hub.endpoint, "furnace", folder=tmp_path, sample="s1") as furnace:
        furnace.do("heat", target_K=400.0).result(LIMIT_S)
        with pytest.raises(LockTaken):
            ServedInstrument(bench.hub.endpoint, "furnace", folder=tmp_path)
    log = tmp_path / "commands.jsonl"
    log.write_text(log.read_text() + '{"key": "by-hand/by-hand/2/1", "action": "he')
    for step in ("2", "3"):
        with ServedInstrument(
            bench.hub.endpoint, "furnace", folder=tmp_path, sample="s1", find_s=LIMIT_S
        ) as furnace:
            future = furnace.do("heat", target_K=401.0)
            assert future.result(LIMIT_S) == 401.0
            assert vars(future)["key"].step == step
