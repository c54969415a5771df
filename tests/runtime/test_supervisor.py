"""The supervisor with children that do nothing: who is killed comes back, and nothing is left."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from twinloop.agents.runtime.processes import SystemTable, sweep
from twinloop.agents.runtime.run_folder import RunFolder

pytestmark = pytest.mark.system

CREW = Path(__file__).with_name("fake_crew.py")
FAMILIES = {"hub", "chamber", "stubborn", "conductor", "janitor"}


class Run:
    """A supervisor in a process of its own, and a view of its children."""

    def __init__(self, folder: RunFolder, *arguments: str) -> None:
        self.folder = folder
        self.ray_tmp = folder.make_ray_tmp()
        self.process = subprocess.Popen(
            [sys.executable, str(CREW), "supervise", str(folder.path), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )

    def families(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for process in SystemTable().marked(self.folder.run):
            found.setdefault(process.family, set()).add(process.pid)
        return found

    def child(self, name: str) -> int:
        """Return the pid of a child of the supervisor."""
        own = {p.pid for p in psutil.Process(self.process.pid).children()}
        while not (both := own & self.families().get(name, set())):
            threading.Event().wait(0.1)
            own = {p.pid for p in psutil.Process(self.process.pid).children()}
        return min(both)

    def until(self, is_so: Callable[[], bool]) -> float:
        begun_s = time.monotonic()
        while not is_so():
            threading.Event().wait(0.1)
        return time.monotonic() - begun_s

    def is_complete(self) -> bool:
        families = self.families()
        return families.keys() == FAMILIES and len(families["conductor"]) == 2

    def is_empty(self) -> bool:
        return not self.families() and not self.ray_tmp.exists()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {}, "fake.yaml")


@pytest.fixture
def run(folder: RunFolder) -> Iterator[Run]:
    made = Run(folder)
    made.until(made.is_complete)
    yield made
    made.process.kill()
    made.process.wait()
    made.process.stdout.close()
    sweep(folder.run)
    folder.remove_ray_tmp()


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_any_child_that_is_killed_comes_back_and_the_others_stay(run: Run, name: str) -> None:
    before = {n: run.child(n) for n in FAMILIES}
    families = run.families()
    leftover = families["conductor"] - {before["conductor"]}
    os.kill(before[name], signal.SIGKILL)
    # what a killed child leaves is the supervisor's child, too, until it is swept
    run.until(lambda: run.is_complete() and run.child(name) not in families[name])
    for other in FAMILIES - {name}:
        assert run.child(other) == before[other]
    is_new_family = run.families()["conductor"].isdisjoint(leftover)
    assert is_new_family == (name == "conductor")


def test_when_the_leader_ends_on_purpose_the_others_end_in_order_and_nothing_is_left(
    run: Run,
) -> None:
    (run.folder.path / "verdict").write_text("0")
    os.kill(run.child("conductor"), signal.SIGKILL)
    assert run.process.wait() == 0
    assert run.is_empty()
    # the stubborn one was killed, so it wrote nothing
    assert (run.folder.path / "order.txt").read_text().split() == ["chamber", "hub"]


def test_a_stop_by_a_person_is_the_leaders_own_exit_status(run: Run) -> None:
    (run.folder.path / "verdict").write_text("3")
    os.kill(run.child("conductor"), signal.SIGKILL)
    assert run.process.wait() == 3
    assert run.is_empty()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_kin_end_everything_in_order(run: Run, number: signal.Signals) -> None:
    run.process.send_signal(number)
    assert run.process.wait() == 3
    assert run.is_empty()
    assert (run.folder.path / "order.txt").read_text().split() == ["conductor", "chamber", "hub"]


def test_a_second_ctrl_c_waits_for_nobody(run: Run) -> None:
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait() == 3
    assert run.is_empty()


def test_when_the_supervisor_is_killed_everything_ends_within_ten_seconds(run: Run) -> None:
    run.process.kill()
    run.process.wait()
    # the deaf child and the leader's leftover do not end by themselves: the janitor sees to it
    assert run.until(run.is_empty) < 10.0


def test_the_watchdog_of_an_adapter_does_not_outlive_the_run(folder: RunFolder) -> None:
    run = Run(folder, "guarded")
    run.until(lambda: run.is_complete() and len(run.families()["chamber"]) == 2)
    run.process.send_signal(signal.SIGTERM)
    run.process.communicate()
    assert run.process.returncode == 3
    assert run.is_empty()


def test_a_child_that_cannot_live_ends_the_run_with_a_reason(folder: RunFolder) -> None:
    run = Run(folder, "broken")
    said, _ = run.process.communicate()
    assert run.process.returncode == 1
    assert "chamber does not stay alive: exit status 9; 5 deaths within 60 s" in said
    assert str(folder.logs / "chamber.log") in said
    assert run.is_empty()


def test_the_supervisor_imports_nothing_heavy() -> None:
    program = (
        "import sys, twinloop.agents.runtime.supervisor, twinloop.agents.runtime.crew\n"
        "from twinloop.agents.config.interface import load_campaign\n"
        "load_campaign('mbe_growth')\n"
        "heavy = {'ray', 'torch', 'numba', 'botorch', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "raise SystemExit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
    assert done.returncode == 0
