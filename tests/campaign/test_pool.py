"""The pool: every task is answered once, whatever becomes of the workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.agents.campaign.pool import Pool, SendTask
from twinloop.messages import CancelTask, Task, TaskResult


def task(n, target="double", priority=0):
    return Task(
        task=f"task-{n}", target=target, method="run", arguments={"n": n}, priority=priority
    )


def done(name, value=1):
    return TaskResult(task=name, state="done", result=value)


def told(effects):
    return [(e.to, e.task.task) for e in effects if isinstance(e, SendTask)]


def test_a_worker_gets_its_next_task_ahead_but_no_more():
    pool = Pool(credit=2)
    for n in range(3):
        pool.submit(task(n), (), 0.0)
    assert told(pool.here("w", ["double"], 0.0)) == [("w", "task-0"), ("w", "task-1")]
    _, effects = pool.result("w", done("task-0"), 0.1)
    assert told(effects) == [("w", "task-2")]


def test_tasks_go_to_the_least_loaded_worker_that_can_do_them():
    pool = Pool(credit=2)
    pool.here("a", ["double"], 0.0)
    pool.here("b", ["double", "other"], 0.0)
    first = told(pool.submit(task(0), (), 0.0))
    second = told(pool.submit(task(1), (), 0.0))
    assert {first[0][0], second[0][0]} == {"a", "b"}
    assert told(pool.submit(task(2, "other"), (), 0.0)) == [("b", "task-2")]


def test_more_urgent_tasks_go_first():
    pool = Pool(credit=1)
    pool.submit(task(0), (), 0.0)
    pool.submit(task(1, priority=5), (), 0.0)
    assert told(pool.here("w", ["double"], 0.0)) == [("w", "task-1")]


def test_the_tasks_of_a_lost_worker_go_to_another_in_their_order():
    pool = Pool(credit=2)
    pool.here("a", ["double"], 0.0)
    pool.submit(task(0), (), 0.0)
    pool.submit(task(1), (), 0.0)
    assert told(pool.gone("a", 1.0)) == []
    assert told(pool.here("b", ["double"], 2.0)) == [("b", "task-0"), ("b", "task-1")]
    assert pool.counts["reassigned"] == 2


def test_a_new_incarnation_of_a_worker_is_told_its_tasks_again():
    pool = Pool()
    pool.here("a", ["double"], 0.0)
    pool.submit(task(0), (), 0.0)
    assert told(pool.here("a", ["double"], 1.0)) == [("a", "task-0")]


def test_the_first_answer_wins_and_the_second_is_compared():
    pool = Pool()
    pool.here("a", ["double"], 0.0)
    pool.submit(task(0), (), 0.0)
    first, _ = pool.result("a", done("task-0", 4), 1.0)
    second, _ = pool.result("b", done("task-0", 4), 2.0)
    third, _ = pool.result("b", done("task-0", 5), 2.0)
    assert (first.task, second, third) == ("task-0", None, None)
    assert (pool.counts["repeated"], pool.counts["disagreed"]) == (1, 1)


def test_a_silent_task_is_told_again():
    pool = Pool(retell_s=5.0)
    pool.here("a", ["double"], 0.0)
    pool.submit(task(0), (), 0.0)
    assert pool.tick(4.9) == []
    assert told(pool.tick(pool.wake_at_s)) == [("a", "task-0")]


def test_a_cancelled_task_is_never_told_again():
    pool = Pool(credit=1)
    pool.here("a", ["double"], 0.0)
    pool.submit(task(0), (), 0.0)
    pool.submit(task(1), (), 0.0)
    assert pool.cancel("task-1", 0.0) == []
    assert isinstance(pool.cancel("task-0", 0.0)[0].message, CancelTask)
    assert told(pool.gone("a", 1.0)) + told(pool.here("b", ["double"], 1.0)) == []


def test_a_cancelled_task_makes_room_for_the_next():
    pool = Pool(credit=1)
    pool.here("a", ["double"], 0.0)
    pool.submit(task(0), (), 0.0)
    pool.submit(task(1), (), 0.0)
    assert told(pool.cancel("task-0", 0.0)[1:]) == [("a", "task-1")]


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["here", "gone", "answer"]))),
)
def test_every_task_is_answered_once_however_workers_come_and_go(n_tasks, story):
    pool = Pool(credit=2)
    held = {name: [] for name in "abc"}
    answered = []

    def note(effects):
        for to, name in told(effects):
            held[to].append(name)

    for n in range(n_tasks):
        note(pool.submit(task(n), (), 0.0))
    for worker, happening in story:
        if happening == "here":
            held[worker] = []
            note(pool.here(worker, ["double"], 0.0))
        elif happening == "gone":
            held[worker] = []
            note(pool.gone(worker, 0.0))
        elif held[worker]:
            first, effects = pool.result(worker, done(held[worker].pop(0)), 0.0)
            answered += [first.task] if first else []
            note(effects)
    held["a"] = []
    note(pool.here("a", ["double"], 0.0))
    for worker in "bc":
        note(pool.gone(worker, 0.0))
    while held["a"]:
        first, effects = pool.result("a", done(held["a"].pop(0)), 0.0)
        answered += [first.task] if first else []
        note(effects)
    assert sorted(answered) == sorted(f"task-{n}" for n in range(n_tasks))


@pytest.mark.parametrize("credit", [1, 3])
def test_no_worker_ever_holds_more_than_its_credit(credit):
    pool = Pool(credit=credit)
    pool.here("a", ["double"], 0.0)
    for n in range(10):
        pool.submit(task(n), (), 0.0)
        assert pool.workers["a"] <= credit


def test_the_task_at_which_workers_are_lost_is_known_and_not_the_one_behind_it():
    pool = Pool()
    pool.submit(task(0), (), 0.0)
    pool.submit(task(1), (), 0.0)
    for k in range(3):
        assert pool.lost(k + 1) == []
        pool.here(f"w{k}", ["double"], float(k))
        pool.gone(f"w{k}", k + 0.5)
    assert pool.lost(3) == ["task-0"]
    pool.cancel("task-0", 9.0)
    assert pool.lost(1) == []
