"""What a compute agent runs next."""

import pytest

from twinloop.agents.runtime.compute_core import CancelJob, ComputeCore, StartJob
from twinloop.messages import Beat, CancelTask, Task, TaskPartial, TaskResult
from twinloop.wire.effects import Send


def task(name: str, priority: int = 0, target: str = "kmc") -> Task:
    return Task(task=name, target=target, method="simulate", priority=priority)


def done(name: str) -> TaskResult:
    return TaskResult(task=name, state="done", result=name)


def started(effects: list[object]) -> list[str]:
    return [e.job.task.task for e in effects if isinstance(e, StartJob)]


def sent(effects: list[object]) -> list[tuple[str, str, str]]:
    return [
        (e.to, e.message.task, e.message.state)
        for e in effects
        if isinstance(e, Send) and isinstance(e.message, TaskResult)
    ]


@pytest.fixture
def core() -> ComputeCore:
    return ComputeCore({"kmc"})


def test_the_first_task_starts_and_the_next_waits_for_its_end(core: ComputeCore) -> None:
    assert started(core.receive("c", task("a"), 0.0)) == ["a"]
    assert core.receive("c", task("b"), 0.0) == []
    effects = core.finished(done("a"))
    assert sent(effects) == [("c", "a", "done")]
    assert started(effects) == ["b"]


def test_urgent_tasks_overtake_and_equal_ones_keep_their_order(core: ComputeCore) -> None:
    core.receive("c", task("running"), 0.0)
    for name, priority in (("x1", 0), ("x2", 0), ("urgent", 10), ("x3", 0)):
        core.receive("c", task(name, priority), 0.0)
    order, current = [], "running"
    while current:
        current = next(iter(started(core.finished(done(current)))), "")
        order.append(current)
    assert order == ["urgent", "x1", "x2", "x3", ""]


def test_a_task_told_again_while_it_waits_or_runs_is_not_run_twice(core: ComputeCore) -> None:
    core.receive("c", task("a"), 0.0)
    core.receive("c", task("b"), 0.0)
    assert core.receive("c", task("a"), 5.0) == []
    assert core.receive("c", task("b"), 5.0) == []
    assert started(core.finished(done("a"))) == ["b"]
    assert started(core.finished(done("b"))) == []


def test_an_answer_that_may_be_lost_is_given_again_without_computing(core: ComputeCore) -> None:
    core.receive("c", task("a"), 0.0)
    first = core.finished(done("a"))
    assert core.receive("c", task("a"), 5.0) == first


def test_what_failed_is_computed_anew_when_told_again(core: ComputeCore) -> None:
    core.receive("c", task("a"), 0.0)
    core.finished(TaskResult(task="a", state="failed", reason="the depot was away"))
    assert started(core.receive("c", task("a"), 5.0)) == ["a"]


def test_the_same_task_of_two_senders_is_answered_to_each(core: ComputeCore) -> None:
    core.receive("c1", task("a"), 0.0)
    core.receive("c2", task("a"), 0.0)
    assert sent(core.finished(done("a"))) == [("c1", "a", "done")]
    assert sent(core.finished(done("a"))) == [("c2", "a", "done")]


def test_a_cancelled_task_that_waits_is_dropped_and_said_to_be(core: ComputeCore) -> None:
    for name in "abc":
        core.receive("c", task(name), 0.0)
    assert sent(core.receive("c", CancelTask(task="b"), 0.0)) == [("c", "b", "cancelled")]
    assert started(core.finished(done("a"))) == ["c"]


def test_a_cancelled_task_that_runs_is_flagged_and_answers_itself(core: ComputeCore) -> None:
    core.receive("c", task("a"), 0.0)
    effects = core.receive("c", CancelTask(task="a"), 0.0)
    assert [type(e) for e in effects] == [CancelJob]
    answer = TaskResult(task="a", state="cancelled")
    assert sent(core.finished(answer)) == [("c", "a", "cancelled")]


def test_nobody_cancels_the_task_of_another(core: ComputeCore) -> None:
    core.receive("c1", task("a"), 0.0)
    core.receive("c1", task("b"), 0.0)
    assert core.receive("c2", CancelTask(task="a"), 0.0) == []
    assert core.receive("c2", CancelTask(task="b"), 0.0) == []
    assert core.n_waiting == 1


def test_a_target_that_is_not_here_is_refused_with_what_is(core: ComputeCore) -> None:
    (answer,) = core.receive("c", task("a", target="planner"), 0.0)
    assert isinstance(answer, Send)
    assert answer.message.state == "failed"
    assert "here are: kmc" in answer.message.reason


def test_the_queue_is_bounded(core: ComputeCore) -> None:
    for n in range(257):
        core.receive("c", task(f"t{n}"), 0.0)
    (answer,) = core.receive("c", task("one-too-many"), 0.0)
    assert answer.message.state == "failed"
    assert core.n_waiting == 256


def test_an_intermediate_result_goes_to_who_asked(core: ComputeCore) -> None:
    core.receive("c", task("a"), 0.0)
    partial = TaskPartial(task="a", n=0, result=1)
    assert core.partial(partial) == [Send("c", partial)]
    core.finished(done("a"))
    assert core.partial(partial) == []


def test_an_instant_target_is_answered_at_once_while_another_runs() -> None:
    core = ComputeCore({"kmc"}, {"noop": lambda t, arrays: (done(t.task), arrays)})
    core.receive("c", task("long"), 0.0)
    assert sent(core.receive("c", task("n", target="noop"), 0.0)) == [("c", "n", "done")]


def test_other_messages_are_ignored(core: ComputeCore) -> None:
    assert core.receive("hub", Beat(n=1), 0.0) == []


def test_a_queue_that_is_full_is_no_fault_of_the_question():
    core = ComputeCore({"kmc"})
    effects = []
    for n in range(300):
        task = Task(task=f"t{n}", target="kmc", method="simulate")
        effects += core.receive("conductor", task, 0.0)
    refused = [e.message for e in effects if isinstance(e, Send)]
    assert refused
    assert all(r.state == "failed" and r.may_retry for r in refused)
    stranger = core.receive("conductor", Task(task="x", target="stm", method="m"), 0.0)
    assert not stranger[0].message.may_retry
