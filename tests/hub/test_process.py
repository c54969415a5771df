"""The hub as a process, with real sockets, kills and stops."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import zmq

from twinloop.agents.hub.process import Hub
from twinloop.errors import BindRefused
from twinloop.messages import Beat, Command, Hello, Task
from twinloop.wire.arrays import describe
from twinloop.wire.endpoint import EndpointBusy
from twinloop.wire.envelope import MAX_MESSAGE_BYTES, pack, unpack
from twinloop.wire.mailbox import Mailbox

pytestmark = pytest.mark.system


class HubProcess:
    def __init__(self, folder, endpoint="tcp://127.0.0.1:0"):
        self.file = folder / "endpoint"
        self.file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "twinloop.agents.hub.process",
                "--endpoint",
                endpoint,
                "--announce",
                self.file,
                "--exit-with-stdin",
            ],
            stdin=subprocess.PIPE,
        )
        until(self.file.exists)
        self.endpoint = self.file.read_text().strip()

    def end(self):
        self.process.kill()
        self.process.stdin.close()
        self.process.wait()


def until(condition, limit_s=20.0):
    give_up_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up_s, "waited in vain"
        threading.Event().wait(0.01)


@pytest.fixture
def hub(tmp_path):
    process = HubProcess(tmp_path)
    yield process
    process.end()


class Agents:
    """Several mailboxes driven by one thread."""

    def __init__(self, endpoint, *names, **options):
        self.boxes = {n: Mailbox(endpoint, n, "worker", **options) for n in names}
        self.got = {n: [] for n in names}

    def poll(self):
        for name, box in self.boxes.items():
            self.got[name] += box.poll(0.01)

    def until(self, condition):
        until(lambda: (self.poll(), condition())[1])

    def register(self):
        self.until(lambda: all(b.is_registered for b in self.boxes.values()))

    def heard(self, name, kind):
        return [letter for letter in self.got[name] if letter.message.kind == kind]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for box in self.boxes.values():
            box.close()


def work(array=None):
    refs = () if array is None else (describe("x", array, inline=True),)
    return Task(task="t", target="planner", method="ask", arrays=refs)


def test_a_message_with_an_array_arrives_under_the_name_of_its_sender(hub):
    array = np.arange(1000.0)
    with Agents(hub.endpoint, "conductor", "planner") as agents:
        agents.register()
        assert agents.boxes["conductor"].send("planner", work(array), (array,))
        agents.until(lambda: agents.heard("planner", "task"))
        (letter,) = agents.heard("planner", "task")
    assert letter.sender == "conductor"
    assert np.array_equal(letter.arrays[0], array)


def test_before_registration_nothing_is_sent_and_the_caller_knows(tmp_path):
    with Mailbox("tcp://127.0.0.1:1", "planner", "worker") as box:
        assert not box.send("conductor", work())
        assert box.n_unsent >= 1


def test_kill_9_of_the_hub_costs_a_reconnect(hub, tmp_path):
    with Agents(hub.endpoint, "conductor", "planner", watch=True) as agents:
        agents.register()
        first = agents.boxes["planner"].welcome.hub
        hub.end()
        second = HubProcess(tmp_path, hub.endpoint)
        assert second.endpoint == hub.endpoint
        agents.until(
            lambda: all(b.is_registered and b.welcome.hub != first for b in agents.boxes.values())
        )
        agents.boxes["conductor"].send("planner", work())
        agents.until(lambda: agents.heard("planner", "task"))
        assert len(agents.heard("planner", "welcome")) == 2
        second.end()


def test_the_hub_ends_when_its_parent_closes_the_pipe(hub):
    hub.process.stdin.close()
    assert hub.process.wait(10) == 0


def test_a_second_hub_on_the_port_says_so_and_ends(hub):
    with pytest.raises(EndpointBusy):
        Hub(hub.endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://192.168.0.7:5000"])
def test_a_hub_off_loopback_does_not_start(endpoint):
    ended = subprocess.run(
        [sys.executable, "-m", "twinloop.agents.hub.process", "--endpoint", endpoint],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "CURVE" in ended.stderr
    with pytest.raises(BindRefused):
        Hub(endpoint)


AGENT = """
import sys
from twinloop.wire.mailbox import Mailbox
box = Mailbox(sys.argv[1], sys.argv[2], "worker", sys.argv[3])
while box.ended is None:
    box.poll(1.0)
sys.exit(box.ended.code)
"""


def agent_process(endpoint, name, incarnation):
    return subprocess.Popen([sys.executable, "-c", AGENT, endpoint, name, incarnation])


def last_presence(agents, name):
    told = [m.message for m in agents.heard("viewer", "presence") if m.message.name == name]
    return (told[-1].is_here, told[-1].incarnation) if told else None


def test_a_stopped_agent_is_gone_in_seconds_and_back_when_it_goes_on(hub):
    peer = agent_process(hub.endpoint, "sim", "s1")
    with Agents(hub.endpoint, "viewer", watch=True) as agents:
        agents.until(lambda: last_presence(agents, "sim") == (True, "s1"))
        os.kill(peer.pid, signal.SIGSTOP)
        agents.until(lambda: last_presence(agents, "sim") == (False, "s1"))
        os.kill(peer.pid, signal.SIGCONT)
        agents.until(lambda: last_presence(agents, "sim") == (True, "s1"))
    peer.kill()
    peer.wait()


def test_a_stopped_agent_that_was_replaced_ends_when_it_goes_on(hub):
    old = agent_process(hub.endpoint, "sim", "s1")
    with Agents(hub.endpoint, "viewer", watch=True) as agents:
        agents.until(lambda: last_presence(agents, "sim") == (True, "s1"))
        os.kill(old.pid, signal.SIGSTOP)
        new = agent_process(hub.endpoint, "sim", "s2")
        agents.until(lambda: last_presence(agents, "sim") == (True, "s2"))
        os.kill(old.pid, signal.SIGCONT)
        assert old.wait(20) == 20
        agents.poll()
        assert last_presence(agents, "sim") == (True, "s2")
    new.kill()
    new.wait()


def raw_dealer(context, endpoint):
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(endpoint)
    return socket


def test_hostile_frames_are_dropped_and_counted_and_the_hub_goes_on():
    hub = Hub("tcp://127.0.0.1:0")
    thread = threading.Thread(target=hub.run)
    thread.start()
    command = Command(
        key=("c", "t", "s", 0), instrument="mbe", action="grow", epoch=1, ledger="l", not_after_s=1
    )  # fmt: skip
    attacks = [
        [b"planner", *[b"x"] * 50_000],
        [b"planner", b"x" * (MAX_MESSAGE_BYTES - 1)],
        [b"planner", b"{}", *[b"x" * 30_000] * 3],
        [b"planner"],
        [b""],
        [b"", b"\xff\x00"],
        [b"", b'{"kind":"view"}'],
        [b"\xff" * 10_000, *pack(command)],
        [b"planner", *pack(command)],
    ]
    with (
        zmq.Context() as context,
        raw_dealer(context, hub.endpoint) as stranger,
        Agents(hub.endpoint, "planner", "viewer") as agents,
    ):
        agents.register()
        for frames in attacks:
            stranger.send_multipart(frames)
        # one frame above the limit costs the connection; this socket then dials again by itself
        stranger.send_multipart([b"planner", b"x" * (2 * MAX_MESSAGE_BYTES)])
        agents.boxes["viewer"].send("planner", work())
        agents.until(lambda: agents.heard("planner", "task"))
        until(lambda: hub.core.counts["refused: say_hello"] >= 2)
        assert [m.message.kind for m in agents.got["planner"]] == ["welcome", "task"]
    hub.stop()
    thread.join()
    assert {r: hub.core.counts[f"rejected: {r}"] for r in ("frames", "header size", "size", "header")} == {
        "frames": 3, "header size": 1, "size": 1, "header": 2,
    }  # fmt: skip


def test_a_receiver_counts_what_its_own_checks_refuse(hub):
    array = np.arange(8.0)
    frames = [bytes(f) for f in pack(work(array), (array,))]
    frames[1] = frames[1][:-1] + b"\x01"
    with (
        zmq.Context() as context,
        raw_dealer(context, hub.endpoint) as liar,
        Agents(hub.endpoint, "planner") as agents,
    ):
        agents.register()
        liar.send_multipart([b"", *pack(Hello(name="liar", role="worker", incarnation="l1"))])
        liar.recv_multipart()
        liar.send_multipart([b"planner", *frames])
        liar.send_multipart([b"planner", b"not json"])
        agents.until(lambda: agents.boxes["planner"].rejects.total() == 2)
        assert agents.boxes["planner"].rejects == {"frame": 1, "header": 1}
        assert agents.heard("planner", "task") == []
        liar.send_multipart([b"", *pack(Beat(n=4))])
        assert unpack(liar.recv_multipart()[1:])[0] == Beat(n=4)


def test_wake_from_another_thread_ends_a_long_poll(hub):
    with Mailbox(hub.endpoint, "planner", "worker") as box:
        until(lambda: (box.poll(0.01), box.is_registered)[1])
        thread = threading.Thread(target=box.wake)
        thread.start()
        assert box.poll(50.0) == []
        thread.join()
