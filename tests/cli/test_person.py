"""A person at the hub: pause, stop, list and clear, against agents that only answer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinloop.agents.cli.main import app
from twinloop.agents.cli.person import ask, emergency_stop
from twinloop.agents.hub.process import Hub
from twinloop.errors import Disconnected
from twinloop.messages import (
    Clear,
    Control,
    EmergencyStop,
    InstrumentStatus,
    Message,
    StatusRequest,
    View,
)
from twinloop.wire.mailbox import Mailbox

pytestmark = pytest.mark.system


class Lab:
    """What the agents heard, and what they answer."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.trip = hub, "shutter hung"
        self.heard: list[Message] = []
        self.is_over = threading.Event()

    def conductor(self, message: Message) -> list[Message]:
        self.heard.append(message)
        paused = "by hand" if isinstance(message, Control) and message.action == "pause" else None
        return [View(campaign="c", content={"paused": paused, "finished": None})]

    def chamber(self, message: Message) -> list[Message]:
        self.heard.append(message)
        if isinstance(message, Clear) and message.reason != "no":
            self.trip = ""
        if isinstance(message, EmergencyStop):
            self.trip = message.reason
            if message.instrument not in {None, "mbe"}:
                return []
            return [self.status("mbe", self.trip), self.status("rheed", self.trip)]
        return [self.status("mbe", self.trip), self.status("rheed", "")]

    def status(self, name: str, trip: str) -> InstrumentStatus:
        return InstrumentStatus(
            instrument=name,
            kind_name=name,
            state="tripped" if trip else "idle",
            is_twin=True,
            ledger="l",
            trip=trip or None,
            schema_digest="0" * 64,
            clock_factor=1.0,
            lab_now_s=0.0,
        )

    def serve(self, name: str, role: str) -> None:
        answer = self.conductor if name == "conductor" else self.chamber
        with Mailbox(self.hub.endpoint, name, role) as mailbox:
            while not self.is_over.is_set():
                for sender, message, _ in mailbox.poll(0.05):
                    if isinstance(message, Control | Clear | StatusRequest | EmergencyStop):
                        for reply in answer(message):
                            mailbox.send(sender, reply)


@contextmanager
def serving() -> Iterator[Lab]:
    lab = Lab(Hub("tcp://127.0.0.1:0"))
    threads = [threading.Thread(target=lab.hub.run)]
    agents = (("conductor", "conductor"), ("chamber", "adapter"))
    threads += [threading.Thread(target=lab.serve, args=agent) for agent in agents]
    for thread in threads:
        thread.start()
    try:
        yield lab
    finally:
        lab.is_over.set()
        for thread in threads[1:]:
            thread.join()
        lab.hub.stop()
        threads[0].join()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with serving() as lab:
        # answered only when both are registered
        ask(lab.hub.endpoint, "conductor", Control(action="status"), View)
        ask(lab.hub.endpoint, "chamber", StatusRequest(), InstrumentStatus)
        lab.heard.clear()
        yield lab


def call(*words: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


def test_a_person_pauses_and_stops_a_campaign_by_its_run_folder(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "hub.txt").write_text(lab.hub.endpoint + "\n", encoding="utf-8")
    assert call("pause", tmp_path, "--reason", "cell change") == (0, "c: paused\n", "")
    assert call("unpause", tmp_path) == (0, "c: under way\n", "")
    assert call("stop", tmp_path) == (0, "c: stopping\n", "")
    heard = [m for m in lab.heard if isinstance(m, Control)]
    assert [m.action for m in heard] == ["pause", "resume", "stop"]
    assert heard[0].arguments == {"reason": "cell change"}
    assert "@" in heard[0].person


def test_a_person_sees_what_is_served_and_clears_a_trip(lab: Lab) -> None:
    hub = ("--hub", lab.hub.endpoint)
    status, out, _ = call("instrument", "list", *hub)
    assert status == 0
    assert "TRIPPED: shutter hung" in out
    assert "rheed" in out
    status, out, _ = call("instrument", "clear", "mbe", "--reason", "no", *hub)
    assert (status, out) == (1, "mbe: tripped, still tripped: shutter hung\n")
    status, out, _ = call("instrument", "clear", "mbe", "--reason", "freed", *hub)
    assert (status, out) == (0, "mbe: idle\n")
    status, out, _ = call("instrument", "clear", "mbe", "--reason", "freed", *hub)
    assert (status, out) == (0, "mbe is not tripped: idle\n")
    assert call("instrument", "clear", "stm", "--reason", "freed", *hub)[0] == 1
    reasons = {m.reason for m in lab.heard if isinstance(m, Clear)}
    assert reasons == {"no", "freed"}


def test_an_agent_that_is_not_there_is_told_by_name(lab: Lab) -> None:
    with pytest.raises(Disconnected, match=r"nobody did not answer within 0\.5 s"):
        ask(lab.hub.endpoint, "nobody", StatusRequest(), InstrumentStatus, wait_s=0.5)


def test_a_person_stops_the_machine_at_once(lab: Lab) -> None:
    hub = ("--hub", lab.hub.endpoint)
    status, out, err = call("instrument", "stop", "mbe", "--reason", "smoke", *hub)
    assert (status, err) == (0, "")
    assert out.startswith("mbe: tripped, ")
    assert out.endswith(": smoke\n")
    assert [m.instrument for m in lab.heard if isinstance(m, EmergencyStop)] == ["mbe"]


def test_a_stop_that_nobody_took_says_so(lab: Lab) -> None:
    stop = EmergencyStop(instrument="stm", reason="smoke")
    with pytest.raises(Disconnected, match="by hand, at the machine"):
        emergency_stop(lab.hub.endpoint, stop, wait_s=1.5)
