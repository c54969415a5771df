"""The machine as a process of its own, with clients that come, go and die."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twinloop.clocks import RealWireClock, ScaledLabClock
from twinloop.errors import Disconnected
from twinloop.instruments.interface import Done
from twinloop.instruments.standin.client import ChamberClient, machine_endpoint
from twinloop.instruments.standin.interface import Operation
from twinloop.instruments.standin.physical_log import read_physical_log
from twinloop.instruments.standin.testing import Bench, command_for

pytestmark = pytest.mark.system

CONFIG = "{size: 16, multi_hop: 4, seed: 5, clock_factor: 20, load_s: 1}"
START_S = 40.0

CLIENT_THAT_DIES = """
import os, sys
from twinloop.instruments.standin.client import ChamberClient
from twinloop.instruments.standin.interface import Operation
client = ChamberClient(sys.argv[1])
client.begin(Operation.model_validate_json(sys.argv[2]))
os.kill(os.getpid(), 9)
"""


class Rig:
    """A machine process, its folder and a client; each test has a sample of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "chamber.yaml"
        self.file.write_text(CONFIG)
        self.samples, self.before = 0, 0
        self.start()

    @property
    def sample(self) -> str:
        return f"s{self.samples}"

    def renew(self) -> "Rig":
        self.samples += 1
        self.before = len(self.log())
        return self

    def start(self) -> None:
        announce = self.folder / "machine.json"
        announce.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "twinloop.instruments.standin.machine",
             "--config", str(self.file), "--folder", str(self.folder / "machine"),
             "--announce", str(announce), "--exit-with-stdin"],
            stdin=subprocess.PIPE,
        )  # fmt: skip
        self.endpoint = machine_endpoint(str(announce), wait_s=START_S)
        self.client = ChamberClient(self.endpoint, timeout_s=START_S)

    def end(self) -> None:
        self.client.close()
        self.process.stdin.close()
        assert self.process.wait(timeout=20) == 0

    def log(self) -> list[dict]:
        return read_physical_log(self.folder / "machine" / "physical.log")

    def events(self, kind: str) -> list[dict]:
        return [e for e in self.log()[self.before :] if e["kind"] == kind]

    def finish(self, key: str):
        clock = RealWireClock()
        deadline_s = clock.now_s() + START_S
        while (progress := self.client.progress(key)).is_running:
            assert clock.now_s() < deadline_s, f"{key} still runs"
        return progress

    def growth(self, key: str = "grow", *, dose_ML: float = 4.0) -> Operation:
        arguments = {"flux_ML_per_s": 1.0, "dose_ML": dose_ML}
        return Operation(
            key=f"{self.sample}/{key}", name="grow", sample=self.sample, arguments=arguments
        )

    def prepare(self) -> None:
        sample = self.sample
        self.client.begin(Operation(key=f"load-{sample}", name="load", sample=sample))
        self.finish(f"load-{sample}")
        self.client.begin(
            Operation(key=f"heat-{sample}", name="heat", arguments={"substrate_K": 650.0})
        )
        self.finish(f"heat-{sample}")


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    rig = Rig(tmp_path_factory.mktemp("machine"))
    yield rig
    rig.end()


@pytest.fixture
def rig(machine):
    return machine.renew()


def test_a_growth_goes_on_when_its_client_is_killed(rig):
    rig.prepare()
    one = rig.growth(dose_ML=10.0)
    died = subprocess.run(
        [sys.executable, "-c", CLIENT_THAT_DIES, rig.endpoint, one.model_dump_json()], check=False
    )
    assert died.returncode == -signal.SIGKILL
    progress = rig.finish(rig.growth().key)
    assert progress.state == "done"
    assert progress.numbers["growth_s"] == pytest.approx(10.0)
    assert len(rig.events("growth_started")) == len(rig.events("growth_ended")) == 1


def test_a_key_is_answered_and_not_grown_again(rig):
    rig.prepare()
    rig.client.begin(rig.growth())
    first = rig.finish(rig.growth().key)
    other = ChamberClient(rig.endpoint)
    again = other.begin(rig.growth())
    other.close()
    assert again.state == "done"
    assert again.numbers == first.numbers
    assert len(rig.events("growth_started")) == 1


def test_the_machine_answers_while_it_grows_and_keeps_its_pace(rig):
    rig.prepare()
    clock = RealWireClock()
    start_s = clock.now_s()
    rig.client.begin(rig.growth(dose_ML=20.0))
    answers = 0
    while rig.client.progress(rig.growth().key).is_running:
        answers += 1
    # 20 s of growth after 2 s of substrate at factor 20
    assert clock.now_s() - start_s >= 22.0 / 20 - 0.05
    assert answers > 20


def test_an_abort_closes_the_shutter_with_part_of_the_dose(rig):
    rig.prepare()
    rig.client.begin(rig.growth(dose_ML=20.0))
    while rig.client.progress(rig.growth().key).numbers.get("dose_ML", 0.0) < 1.0:
        pass
    rig.client.abort(rig.growth().key)
    progress = rig.finish(rig.growth().key)
    assert progress.state == "partial"
    assert 1.0 <= progress.numbers["dose_ML"] < 15.0
    assert not rig.client.readings().shutter_is_open
    assert rig.events("growth_ended")[0]["state"] == "partial"


def test_the_safe_state_comes_through_another_connection(rig):
    rig.prepare()
    rig.client.begin(rig.growth(dose_ML=20.0))
    watchdog = ChamberClient(rig.endpoint)
    while not watchdog.readings().shutter_is_open:
        pass
    assert watchdog.readings().is_busy
    watchdog.safe_state("adapter died")
    readings = watchdog.readings()
    watchdog.close()
    assert not readings.shutter_is_open
    assert readings.heater_is_idle
    assert rig.finish(rig.growth().key).state == "partial"
    assert len(rig.events("safe_state")) == 1


def test_a_late_record_through_the_twins_gets_the_whole_trace_of_another_life(rig):
    """Grow through one pair of twins, record through another that comes when all is over."""
    rig.prepare()
    first = Bench(machine=rig.endpoint, clock=ScaledLabClock(20.0))
    grow = command_for(first.mbe, "grow", rig.sample, flux_ML_per_s=1.0, dose_ML=4.0)
    grown = asyncio.run(first.obey(first.mbe, grow))
    first.close()
    second = Bench(machine=rig.endpoint, clock=ScaledLabClock(20.0))
    trace = asyncio.run(second.act(second.rheed, "record", rig.sample, wait_s=10.0))
    reconcile = type(second.mbe).actions()["grow"].reconciler
    verdict = asyncio.run(reconcile(second.mbe, grow))
    second.close()
    assert verdict == Done(grown)
    assert trace.is_complete
    assert trace.time_s[0] < 0 < trace.time_s[-1] == pytest.approx(4.0)


def test_process_and_in_process_chambers_grow_the_same_film(rig):
    from twinloop.instruments.standin.settings import read_settings

    def film(bench):
        async def trial():
            await bench.prepare("twice", substrate_K=650.0)
            return await bench.grow("twice", flux_ML_per_s=1.0, dose_ML=2.0)

        try:
            return asyncio.run(trial())
        finally:
            bench.close()

    served = film(Bench(machine=rig.endpoint, clock=ScaledLabClock(20.0)))
    local = film(Bench(read_settings(str(rig.file))))
    assert served[0] == local[0]
    np.testing.assert_array_equal(served[1].intensity, local[1].intensity)


def test_a_killed_machine_remembers_its_keys_and_ends_with_its_parents_pipe(tmp_path):
    rig = Rig(tmp_path)
    rig.prepare()
    rig.client.begin(rig.growth("whole"))
    whole = rig.finish(rig.growth("whole").key)
    rig.client.begin(rig.growth("broken", dose_ML=20.0))
    while not any(e["key"] == rig.growth("broken").key for e in rig.events("growth_reached")):
        pass
    rig.process.kill()
    rig.process.wait()
    rig.process.stdin.close()
    rig.client.close()
    rig.start()
    assert rig.client.begin(rig.growth("whole")).numbers == whole.numbers
    broken = rig.client.begin(rig.growth("broken", dose_ML=20.0))
    assert broken.state == "partial"
    assert broken.numbers["dose_at_least_ML"] >= 0.5
    rig.renew()
    rig.prepare()
    rig.client.begin(rig.growth("last", dose_ML=20.0))
    rig.end()
    rig.before = 0
    assert rig.events("growth_ended")[-1]["state"] == "done"
    assert len(rig.events("growth_started")) == 3
    assert len(rig.events("machine_started")) == 2
    with pytest.raises(ProcessLookupError):
        os.kill(rig.process.pid, 0)


def test_the_surface_and_the_truth_lie_sealed_in_the_machines_folder(rig):
    rig.prepare()
    rig.client.begin(rig.growth())
    rig.finish(rig.growth().key)
    heights = np.load(rig.folder / "machine" / "films" / f"{rig.sample}.npy")
    assert heights.mean() == pytest.approx(4.0, abs=0.6)
    sealed = json.loads((rig.folder / "machine" / "truth.json").read_text())
    assert sealed["truth"]["surface_barrier_eV"] == 1.3
    assert "when the campaign has ended" in sealed["note"]


def test_a_dead_machine_is_a_disconnection_that_says_what_to_do(tmp_path):
    client = ChamberClient("tcp://127.0.0.1:9", timeout_s=0.2)
    with pytest.raises(Disconnected, match="process running"):
        client.readings()
    client.close()


def test_a_config_that_cannot_be_used_ends_the_machine_before_it_listens(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("size: 3\n")
    ended = subprocess.run(
        [sys.executable, "-m", "twinloop.instruments.standin.machine",
         "--config", str(bad), "--folder", str(tmp_path / "machine")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "size" in ended.stderr
    assert not (tmp_path / "machine").exists()
