"""Compute agents at a real hub: in threads, and as plain processes."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from twinloop.agents.campaign.depot import DepotServer
from twinloop.agents.hub.process import Hub
from twinloop.agents.runtime.compute import ComputeSpec, _failed
from twinloop.agents.runtime.payload import bundle
from twinloop.agents.runtime.placement import InProcessPlacement, SubprocessPlacement
from twinloop.agents.runtime.twin_agent import make_agent
from twinloop.errors import ArgumentError, Disconnected
from twinloop.ids import new_incarnation
from twinloop.messages import (
    CancelTask,
    LeaseGranted,
    LeaseRequest,
    Presence,
    Task,
    TaskPartial,
    TaskResult,
)
from twinloop.planners.known import Known, Proposal
from twinloop.planners.registry import resolve
from twinloop.wire.arrays import describe
from twinloop.wire.depot import DepotRefused
from twinloop.wire.mailbox import Letter, Mailbox

pytestmark = pytest.mark.system

NOOP = {"noop": {"kind": "noop"}}
SLEEP = {"sleep": {"kind": "sleep"}}


class Desk:
    """A conductor's end: it sends tasks and takes answers."""

    def __init__(self, endpoint: str) -> None:
        self.mailbox = Mailbox(endpoint, "conductor", "conductor", watch=True)
        self.letters: list[Letter] = []

    def here(self, name: str) -> Presence | None:
        found = self.mailbox.presence.get(name)
        return found if found is not None and found.is_here else None

    def wait_for(self, name: str, other_than: str = "") -> str:
        while (found := self.here(name)) is None or found.incarnation == other_than:
            self.letters += self.mailbox.poll(0.1)
        return found.incarnation

    def ask(self, to: str, task: Task, arrays: tuple[np.ndarray, ...] = ()) -> Letter:
        self.mailbox.send(to, task, arrays)
        return self.answer(task.task)

    def answer(self, task: str) -> Letter:
        while True:
            for letter in self.letters:
                if isinstance(letter.message, TaskResult) and letter.message.task == task:
                    return letter
            self.letters += self.mailbox.poll(0.1)


@pytest.fixture
def desk() -> Iterator[Desk]:
    hub = Hub("tcp://127.0.0.1:0")
    thread = threading.Thread(target=hub.run)
    thread.start()
    made = Desk(hub.endpoint)
    made.endpoint = hub.endpoint
    yield made
    made.mailbox.close()
    hub.stop()
    thread.join()


@pytest.fixture
def threads(desk: Desk) -> Iterator[InProcessPlacement]:
    placement = InProcessPlacement()
    placement.start(desk.endpoint)
    yield placement
    placement.stop()


def test_a_worker_says_what_it_hosts_and_answers(desk: Desk, threads: InProcessPlacement) -> None:
    threads.place(ComputeSpec(name="w", targets=NOOP | SLEEP))
    desk.wait_for("w")
    assert desk.here("w").about["targets"] == ["noop", "sleep"]
    arrays = (np.arange(4.0),)
    refs = (describe("a", arrays[0], inline=True),)
    task = Task(task="t", target="noop", method="x", arguments={"n": 1}, arrays=refs)
    letter = desk.ask("w", task, arrays)
    assert letter.message.result == {"n": 1}
    assert letter.arrays[0].tolist() == [0.0, 1.0, 2.0, 3.0]
    slept = desk.ask("w", Task(task="s", target="sleep", method="x", arguments={"duration_s": 0.1}))
    assert slept.message.wall_s >= 0.1


def test_a_planners_question_with_many_arrays_travels_in_one_frame(
    desk: Desk, threads: InProcessPlacement
) -> None:
    planner = {"planner": {"kind": "planner", "class": "sobol"}}
    threads.place(ComputeSpec(name="planner", targets=planner))
    desk.wait_for("planner")
    known = Known.of({"a_K": (0, 1)}, [[0.5]], [[1.0]], proposal=1, campaign_seed=3)
    header, parts = known.to_wire()
    refs = tuple(describe(n, a, inline=True) for n, a in parts.items())
    task = Task(task="p", target="planner", method="ask", arguments=header, arrays=refs)
    letter = desk.ask("planner", *bundle(task, tuple(parts.values())))
    named = {r.name: a for r, a in zip(letter.message.arrays, letter.arrays, strict=True)}
    assert Proposal.from_wire(letter.message.result, named) == resolve("sobol").ask(known)


def test_large_arrays_come_from_the_depot_and_go_to_it(
    desk: Desk, threads: InProcessPlacement, tmp_path: Path
) -> None:
    depot = DepotServer(tmp_path / "arrays")
    depot.start()
    large = np.random.default_rng(1).random(50_000)
    ref = depot.store.put("trace", large)
    threads.place(ComputeSpec(name="w", targets={"echo": {"kind": "echo"}}))
    desk.wait_for("w")
    task = Task(task="t", target="echo", method="x", arrays=(ref,), depot=depot.endpoint)
    answer = desk.ask("w", task).message
    assert answer.state == "done", answer.reason
    assert answer.arrays[0].digest == ref.digest
    assert not answer.arrays[0].inline
    depot.stop()


def test_what_raises_is_a_failure_with_its_reason_and_the_worker_goes_on(
    desk: Desk, threads: InProcessPlacement
) -> None:
    threads.place(ComputeSpec(name="w", targets=SLEEP))
    desk.wait_for("w")
    bad = desk.ask("w", Task(task="b", target="sleep", method="x", arguments={"duration_s": "?"}))
    assert bad.message.state == "failed"
    assert "ValueError" in bad.message.reason
    assert desk.ask("w", Task(task="g", target="sleep", method="x")).message.state == "done"


def test_an_answer_that_the_wire_would_refuse_comes_back_as_a_failure(
    desk: Desk, threads: InProcessPlacement
) -> None:
    threads.place(ComputeSpec(name="w", targets={"echo": {"kind": "echo"}}))
    desk.wait_for("w")
    # it fits on the way there; the answer repeats it, and is longer by its own fields
    text = "x" * (16 * 1024 - 330)
    task = Task(task="t", target="echo", method="x", arguments={"text": text, "repeat": 2})
    answer = desk.ask("w", task).message
    assert answer.state == "failed"
    assert "header size" in answer.reason


def test_a_running_task_is_cancelled_and_a_partial_result_comes_first(
    desk: Desk, threads: InProcessPlacement
) -> None:
    threads.place(ComputeSpec(name="w", targets=SLEEP))
    desk.wait_for("w")
    arguments = {"duration_s": 100.0, "partials": 1000}
    desk.mailbox.send("w", Task(task="t", target="sleep", method="x", arguments=arguments))
    while not any(isinstance(letter.message, TaskPartial) for letter in desk.letters):
        desk.letters += desk.mailbox.poll(0.1)
    desk.mailbox.send("w", CancelTask(task="t"))
    assert desk.answer("t").message.state == "cancelled"


def test_a_worker_that_cannot_be_built_is_given_up_with_its_reason(
    desk: Desk, threads: InProcessPlacement
) -> None:
    threads.place(ComputeSpec(name="w", targets={"p": {"kind": "planner", "class": "no_such"}}))
    while threads.running()["w"].state != "given up":
        desk.mailbox.poll(0.05)
    assert any("no_such" in problem for problem in threads.problems())


def test_one_name_is_placed_once(threads: InProcessPlacement) -> None:
    threads.place(ComputeSpec(name="w", targets=SLEEP))
    threads.place(ComputeSpec(name="w", targets=SLEEP))
    with pytest.raises(ArgumentError, match="not placed yet"):
        threads.place(ComputeSpec(name="w", targets=NOOP))


def test_a_newer_incarnation_ends_the_older_which_does_not_come_back(
    desk: Desk, threads: InProcessPlacement
) -> None:
    threads.place(ComputeSpec(name="w", targets=SLEEP))
    first = desk.wait_for("w")
    other = InProcessPlacement()
    other.start(desk.endpoint)
    other.place(ComputeSpec(name="w", targets=SLEEP))
    desk.wait_for("w", other_than=first)
    while threads.running()["w"].state == "running":
        desk.mailbox.poll(0.05)
    assert threads.running()["w"].state == "ended"
    assert other.running()["w"].state == "running"
    other.stop()


def test_twins_are_served_by_an_adapter_in_the_actor_with_the_laboratorys_clock(
    desk: Desk, threads: InProcessPlacement
) -> None:
    twins = {
        name: {"kind": "instrument", "class": f"{name}_twin", "clock_factor": 1000.0}
        for name in ("mbe", "rheed")
    }
    threads.place(ComputeSpec(name="twins", targets=twins))
    desk.wait_for("twins")
    assert desk.here("twins").role == "adapter"
    request = LeaseRequest(instrument="mbe", campaign="c", depot="tcp://127.0.0.1:1", ttl_s=5.0)
    desk.mailbox.send("twins", request)
    while not (found := [x for x in desk.letters if isinstance(x.message, LeaseGranted)]):
        desk.letters += desk.mailbox.poll(0.1)
    granted = found[0].message
    assert (granted.is_twin, granted.clock_factor) == (True, 1000.0)


def test_an_agent_hosts_either_twins_or_computations(desk: Desk) -> None:
    twin = {"kind": "instrument", "class": "mbe_twin"}
    with pytest.raises(ArgumentError, match="the same for all"):
        make_agent(ComputeSpec(name="w", targets={"mbe": twin} | NOOP), desk.endpoint)


def test_a_killed_worker_process_is_back_and_answers(desk: Desk, tmp_path: Path) -> None:
    placement = SubprocessPlacement(new_incarnation(), tmp_path)
    placement.start(desk.endpoint)
    placement.place(ComputeSpec(name="w", targets=SLEEP))
    first = desk.wait_for("w")
    os.kill(placement.running()["w"].pid, 9)
    desk.wait_for("w", other_than=first)
    assert desk.ask("w", Task(task="t", target="sleep", method="x")).message.state == "done"
    placed = placement.running()["w"]
    assert (placed.state, placed.n_starts) == ("running", 2)
    assert any("signal 9" in problem for problem in placement.problems())
    placement.stop()
    assert placement.running()["w"].pid is None or not _lives(placed.pid)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("error", "may_retry"),
    [
        (Disconnected("depot", 60.0), True),
        (DepotRefused("0" * 64, "full", "no room"), True),
        (DepotRefused("0" * 64, "absent", "not in this depot"), False),
        (ArgumentError("x", 1, "2"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_only_a_failure_of_the_moment_may_be_retried(error: Exception, may_retry: bool) -> None:
    try:
        raise error
    except Exception as err:  # noqa: BLE001
        failed = _failed(Task(task="t", target="kmc", method="m"), err)
    assert failed.may_retry is may_retry
