"""The loop around a core: with a stand-in for the mailbox, and with a real hub."""

import threading

import numpy as np
import pytest

from twinloop.agents.hub.process import Hub
from twinloop.clocks import VirtualClock
from twinloop.errors import MessageRejected
from twinloop.log.interface import Entry
from twinloop.log.memory import MemoryLog
from twinloop.log.sqlite import SqliteLog, open_readonly
from twinloop.messages import Task, TaskPartial, TaskResult, View
from twinloop.wire.arrays import describe
from twinloop.wire.effects import Append, Exit, Send, Sync
from twinloop.wire.loop import AgentLoop
from twinloop.wire.mailbox import Letter, Mailbox


class Post:
    """Stands in for a mailbox: what the test puts in, and what the agent sends."""

    def __init__(self, clock):
        self.clock, self.sent, self.ended, self.waits, self.woken = clock, [], None, [], 0

    def poll(self, timeout_s):
        self.waits.append(timeout_s)
        self.clock.advance(timeout_s)
        return []

    def send(self, to, message, _=()):
        if isinstance(message, View):
            raise MessageRejected("size", "too large")
        self.sent.append((to, message.kind))
        return True

    def wake(self):
        self.woken += 1


class Core:
    """Logs each partial, answers behind a gate, and ends when it is told to stop."""

    wake_at_s = None

    def __init__(self):
        self.ticks = []

    def start(self, _):
        return [Append(Entry("started", 1))]

    def receive(self, sender, message, _):
        if not isinstance(message, TaskPartial):
            return []
        if message.n == 99:
            return [Append(Entry("last", 1)), Exit(0, "told to")]
        entry = Append(Entry("partial", 1, {"n": message.n}))
        return [entry, Sync(), Send(sender, TaskResult(task="t", state="done"))]

    def tick(self, now_s):
        self.ticks.append(now_s)
        self.wake_at_s = None
        return []


def letter(n):
    return Letter("conductor", TaskPartial(task="t", n=n), ())


@pytest.fixture
def made():
    clock, log, core = VirtualClock(), MemoryLog("lab"), Core()
    post = Post(clock)
    return AgentLoop(core, post, log, clock=clock), core, post, log, clock


def test_a_batch_is_committed_once_and_answered_after(made):
    loop, _, post, log, _ = made
    commits, commit = [], log.commit
    log.commit = lambda: (commits.append(len(post.sent)), commit())
    loop.step([letter(1), letter(2), letter(3)])
    assert commits == [0]
    assert post.sent == [("conductor", "task_result")] * 3


def test_what_no_gate_asks_for_is_committed_five_milliseconds_later(made):
    loop, core, _, log, clock = made
    loop._runner.add(core.start(0.0))
    loop.step([])
    assert log.has_pending
    assert loop._wait_s() == pytest.approx(0.005)
    clock.advance(0.006)
    loop.step([])
    assert not log.has_pending
    assert loop._wait_s() == 60.0


def test_the_core_is_ticked_when_it_wants_and_slept_until_then(made):
    loop, core, _, _, clock = made
    core.wake_at_s = 7.0
    loop.step([])
    assert loop._wait_s() == 7.0
    assert core.ticks == []
    clock.advance(7.0)
    loop.step([])
    assert core.ticks == [7.0]


def test_run_ends_with_the_exit_of_the_core_and_everything_on_disk(made):
    loop, _, post, log, _ = made
    post.poll = lambda _: [letter(99), letter(1)]
    assert loop.run() == Exit(0, "told to")
    assert not log.has_pending
    assert post.sent == []


def test_run_ends_with_the_exit_of_the_mailbox(made):
    loop, _, post, _, _ = made
    post.ended = Exit(20, "replaced")
    assert loop.run() == Exit(20, "replaced")


def test_another_thread_has_effects_run_in_the_loop(made):
    loop, _, post, _, _ = made
    threads = []

    def report():
        threads.append(threading.current_thread())
        return [Send("conductor", TaskPartial(task="t", n=1))]

    device = threading.Thread(target=loop.inject, args=(report,))
    device.start()
    device.join()
    assert (post.woken, threads) == (1, [])
    loop.step([])
    assert threads == [threading.current_thread()]
    assert post.sent == [("conductor", "task_partial")]


def test_a_message_that_cannot_be_sent_is_counted_and_does_not_end_the_agent(made, caplog):
    loop, _, post, _, _ = made
    loop.inject(
        lambda: [
            Send("viewer", View(campaign="c", content={})),
            Send("b", TaskPartial(task="t", n=1)),
        ]
    )
    loop.step([])
    assert loop.unsendable == {"size": 1}
    assert post.sent == [("b", "task_partial")]
    assert "cannot be sent" in caplog.text


def test_arrays_go_to_whoever_asked_for_them(made):
    loop, *_ = made
    taken = []
    loop._receive_arrays = lambda *given: taken.append(given[2]) or []
    array = np.arange(3.0)
    loop.step([Letter("a", Task(task="t", target="x", method="m"), (array,))])
    # also where there are none: what a message describes may lie in a depot
    loop.step([Letter("a", Task(task="t", target="x", method="m"), ())])
    assert taken == [(array,), ()]
    assert loop.unsendable.total() == 0


@pytest.mark.system
def test_an_agent_with_a_log_on_disk_answers_only_what_is_durable(tmp_path):
    hub = Hub("tcp://127.0.0.1:0")
    threads = [threading.Thread(target=hub.run, daemon=True)]
    log = SqliteLog(tmp_path / "log", "lab")
    box = Mailbox(hub.endpoint, "sim", "worker")
    loop = AgentLoop(Core(), box, log)
    threads.append(threading.Thread(target=loop.run, daemon=True))
    for thread in threads:
        thread.start()
    reader = open_readonly(tmp_path / "log")
    array = np.arange(4.0)
    with Mailbox(hub.endpoint, "conductor", "conductor", watch=True) as mine:
        while not (mine.is_registered and "sim" in mine.presence):
            mine.poll(0.05)
        for n in range(20):
            mine.send(
                "sim",
                TaskPartial(task="t", n=n, arrays=(describe("x", array, inline=True),)),
                (array,),
            )
        n_answers = 0
        while n_answers < 20:
            n_answers += sum(m.message.kind == "task_result" for m in mine.poll(5.0))
            assert n_answers == 0 or reader.last_seq >= 1 + n_answers
        mine.send("sim", TaskPartial(task="t", n=99))
        threads[1].join()
    assert [s.entry.kind for s in reader.read()][-1] == "last"
    reader.close()
    box.close()
    log.close()
    hub.stop()
    threads[0].join()
