"""Compute agents on a real local Ray cluster: one cluster for all tests, killed piece by piece."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from twinloop.agents.hub.process import Hub
from twinloop.agents.runtime.compute import ComputeSpec
from twinloop.agents.runtime.processes import MarkedProcess, SystemTable
from twinloop.agents.runtime.ray_placement import RayPlacement, ray_is_installed
from twinloop.agents.runtime.run_folder import RunFolder
from twinloop.messages import Task, TaskResult
from twinloop.wire.mailbox import Mailbox

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not ray_is_installed(), reason="ray is not installed"),
]
WORKERS = ("w0", "w1")


class Cluster:
    """A placement with two workers, and a conductor's mailbox that watches them."""

    def __init__(self, folder: RunFolder, hub: str) -> None:
        self.folder = folder
        self.placement = RayPlacement(folder, num_cpus=2, silent_s=8.0)
        self.mailbox = Mailbox(hub, "conductor", "conductor", watch=True)
        self.results: dict[str, TaskResult] = {}
        self.placement.place(self.spec("w0"))
        self.placement.start(hub)
        self.placement.place(self.spec("w1"))

    @staticmethod
    def spec(name: str, num_cpus: float = 0.5) -> ComputeSpec:
        return ComputeSpec(name=name, targets={"sleep": {"kind": "sleep"}}, num_cpus=num_cpus)

    def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            for _, message, _ in self.mailbox.poll(0.1):
                if isinstance(message, TaskResult):
                    self.results[message.task] = message

    def lives(self) -> dict[str, str]:
        """Return the incarnation of each worker that is present."""
        present = self.mailbox.presence
        return {n: present[n].incarnation for n in WORKERS if n in present and present[n].is_here}

    def settle(self) -> dict[str, str]:
        """Wait until both workers are there and the placement knows it; return their lives."""
        self.until(lambda: len(self.lives()) == len(WORKERS))
        self.until(lambda: all(self.placement.running()[n].state == "running" for n in WORKERS))
        return self.lives()

    def helpers(self) -> list[MarkedProcess]:
        return SystemTable().marked(self.folder.run)

    def ask(self, to: str, task: str) -> TaskResult:
        self.mailbox.send(to, Task(task=task, target="sleep", method="x"))
        self.until(lambda: task in self.results)
        return self.results[task]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    folder = RunFolder.create(tmp_path_factory.mktemp("ray") / "run", {}, "test")
    hub = Hub("tcp://127.0.0.1:0")
    thread = threading.Thread(target=hub.run)
    thread.start()
    made = Cluster(folder, hub.endpoint)
    made.settle()
    yield made
    made.placement.stop()
    made.mailbox.close()
    hub.stop()
    thread.join()


def test_both_workers_answer_from_processes_of_their_own(cluster: Cluster) -> None:
    cluster.settle()
    assert cluster.placement.is_ready
    for name in WORKERS:
        assert cluster.ask(name, f"first-{name}").state == "done"
    pids = {cluster.placement.running()[n].pid for n in WORKERS}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_every_helper_of_ray_carries_the_mark_of_the_run(cluster: Cluster) -> None:
    cluster.settle()
    marked = {p.pid for p in cluster.helpers()}
    assert marked == {p.pid for p in psutil.Process().children(recursive=True)}
    names = {p.name for p in cluster.helpers()}
    assert {"raylet", "gcs_server"} <= names
    assert all(p.family == "ray" for p in cluster.helpers())


def test_rays_files_lie_in_the_private_folder_that_the_run_folder_names(cluster: Cluster) -> None:
    (named,) = (cluster.folder.path / "ray_tmp.txt").read_text().split()
    assert Path(named).stat().st_mode & 0o777 == 0o700
    sockets = [p for p in Path(named).rglob("*") if p.is_socket()]
    assert len(sockets) >= 2
    assert max(len(str(p)) for p in sockets) < 107
    assert (Path(named) / "token").stat().st_mode & 0o777 == 0o600


def test_a_killed_actor_is_back_and_answers_and_the_other_has_not_noticed(
    cluster: Cluster,
) -> None:
    before = cluster.settle()
    os.kill(cluster.placement.running()["w0"].pid, signal.SIGKILL)
    cluster.until(lambda: cluster.lives().get("w0", before["w0"]) != before["w0"])
    assert cluster.ask("w0", "after-the-kill").state == "done"
    assert cluster.settle()["w1"] == before["w1"]
    cluster.until(lambda: any(p.startswith("w0 died") for p in cluster.placement.problems()))


def test_a_killed_cluster_is_replaced_by_a_new_one_and_nothing_of_the_old_is_left(
    cluster: Cluster,
) -> None:
    before = cluster.settle()
    old = cluster.helpers()
    old_tmp = (cluster.folder.path / "ray_tmp.txt").read_text().strip()
    (victim,) = [p for p in old if p.name == "gcs_server"]
    os.kill(victim.pid, signal.SIGKILL)
    cluster.until(
        lambda: (
            set(cluster.lives()) == set(WORKERS)
            and set(cluster.lives().values()).isdisjoint(before.values())
        )
    )
    cluster.settle()
    assert cluster.ask("w1", "after-the-cluster").state == "done"
    new = {p.pid for p in cluster.helpers()}
    assert new.isdisjoint(p.pid for p in old)
    assert not Path(old_tmp).exists()
    assert any(
        "a Ray host ended" in p or "Ray host ended" in p for p in cluster.placement.problems()
    )


def test_a_raylet_that_is_killed_and_killed_again_while_it_starts_is_not_waited_for(
    cluster: Cluster,
) -> None:
    cluster.settle()
    for _ in range(2):
        old = {p.pid for p in cluster.helpers()}
        (victim,) = [p for p in cluster.helpers() if p.name == "raylet"]
        os.kill(victim.pid, signal.SIGKILL)
        cluster.until(lambda old=old: any(is_a_new_raylet(p, old) for p in cluster.helpers()))
    assert not cluster.placement.is_ready, "the second kill fell into the start"
    cluster.until(lambda: set(cluster.lives()) == set(WORKERS) and cluster.placement.is_ready)
    cluster.settle()
    # Ray itself would have noticed after half a minute, and ended with a traceback
    assert not any("exit status 1" in p for p in cluster.placement.problems())


def is_a_new_raylet(process: MarkedProcess, old: set[int]) -> bool:
    return process.name == "raylet" and process.pid not in old


def test_a_control_store_that_hangs_is_not_waited_for_for_ever(cluster: Cluster) -> None:
    before = cluster.settle()
    (hanging,) = [p for p in cluster.helpers() if p.name == "gcs_server"]
    os.kill(hanging.pid, signal.SIGSTOP)
    cluster.until(
        lambda: (
            set(cluster.lives()) == set(WORKERS)
            and set(cluster.lives().values()).isdisjoint(before.values())
        )
    )
    assert not psutil.pid_exists(hanging.pid)


def test_after_the_stop_nothing_is_left(cluster: Cluster) -> None:
    cluster.settle()
    cluster.placement.stop()
    assert cluster.helpers() == []
    assert not (cluster.folder.path / "ray_tmp.txt").exists()
    assert psutil.Process().children(recursive=True) == []
