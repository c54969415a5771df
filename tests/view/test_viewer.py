"""The viewer agent: what it asks, what it keeps, and that it ends."""

import io
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from rich.console import Console

from twinloop.agents.campaign.depot import DepotServer
from twinloop.agents.hub.process import Hub
from twinloop.agents.view import live_view
from twinloop.agents.view.viewer import Gallery, LineCanvas, ScreenCanvas
from twinloop.messages import InstrumentStatus, Presence, StatusRequest, View
from twinloop.wire.mailbox import Mailbox
from twinloop.wire.streams import StreamPublisher

PICTURE = {"goal": "quality", "observations": 0, "experiments": 3, "life": 1, "at_s": 1.5}


class Clock:
    def __init__(self):
        self.at_s = 100.0

    def now_s(self):
        return self.at_s


def presence(name, role="adapter", is_here=True):
    return Presence(name=name, role=role, incarnation="i1", is_here=is_here)


def status(instrument="mbe", **rest):
    told = {"kind_name": "mbe", "state": "busy", "is_twin": True, "action": "grow", "ledger": "l1"}
    told |= {"schema_digest": "ab" * 32, "clock_factor": 20.0, "lab_now_s": 3.0}
    return InstrumentStatus(instrument=instrument, **told, **rest)


def view(**news):
    return View(campaign="demo", content={**PICTURE, **news})


def test_adapters_that_are_here_are_asked_once_a_second():
    clock = Clock()
    gallery = Gallery(clock=clock)
    gallery.receive("hub", presence("chamber"))
    gallery.receive("hub", presence("planner", role="worker"))
    assert gallery.to_ask() == ["chamber"]
    clock.at_s += 0.5
    assert gallery.to_ask() == []
    clock.at_s += 0.6
    gallery.receive("hub", presence("chamber", is_here=False))
    assert gallery.to_ask() == []


def test_a_picture_carries_what_instruments_answered():
    gallery = Gallery("demo")
    gallery.receive("conductor", view())
    gallery.receive("chamber", status(sample="s1"))
    content = gallery.content
    assert content["campaign"] == "demo"
    assert content["instruments"]["mbe"] == {
        "state": "busy",
        "action": "grow",
        "sample": "s1",
        "trip": None,
    }


def test_silence_is_counted_from_the_last_picture_and_not_before_the_first():
    clock = Clock()
    gallery = Gallery(clock=clock)
    clock.at_s += 50
    gallery.note_silence()
    assert gallery.content["silent_s"] == 0.0
    gallery.receive("conductor", view())
    clock.at_s += 4
    gallery.note_silence()
    assert gallery.content["silent_s"] == 4.0


def test_a_conductor_that_has_finished_may_be_silent():
    clock = Clock()
    gallery = Gallery(clock=clock)
    gallery.receive("conductor", view(finished="budget spent"))
    clock.at_s += 60
    gallery.note_silence()
    assert gallery.content["silent_s"] == 0.0


def test_a_depot_that_is_not_ours_is_not_dialled(caplog):
    gallery = Gallery()
    gallery.receive("conductor", view(depot="tcp://10.1.2.3:99", leases=["rheed"]))
    gallery.listen()
    assert "no stream rheed.intensity" in caplog.text
    gallery.close()


def test_lines_are_printed_once_and_with_the_time_of_the_campaign():
    file = io.StringIO()
    canvas, gallery = LineCanvas(Console(file=file)), Gallery()
    canvas.show(gallery)
    gallery.receive("conductor", view())
    canvas.show(gallery)
    canvas.show(gallery)
    expected = "campaign: 0 of 3 experiments, life 1 of the conductor"
    assert file.getvalue() == f"      1.5 s  {expected}\n"


def test_a_screen_is_redrawn_some_times_a_second_and_at_the_end():
    class Live:
        n = 0

        def update(self, _, *, refresh):
            self.n += refresh

    clock, live = Clock(), Live()
    canvas = ScreenCanvas(Console(file=io.StringIO()), live, clock)
    for _ in range(10):
        canvas.show(Gallery())
        clock.at_s += 0.0625
    assert live.n == 4
    canvas.show(Gallery(), is_last=True)
    assert live.n == 5


def test_an_endpoint_that_cannot_be_dialled_ends_the_view_without_an_error(caplog):
    live_view("tcp://10.1.2.3:99", threading.Event(), console=Console(file=io.StringIO()))
    assert "the campaign goes on without it" in caplog.text


@contextmanager
def served():
    hub = Hub("tcp://127.0.0.1:0")
    thread = threading.Thread(target=hub.run, daemon=True)
    thread.start()
    try:
        yield hub.endpoint
    finally:
        hub.stop()
        thread.join(10)


def conduct(endpoint, depot, tell, seen):
    """Send pictures to each viewer, and answer for the adapter, until `seen` is set."""
    with (
        Mailbox(endpoint, "conductor", "conductor", watch=True) as conductor,
        Mailbox(endpoint, "chamber", "adapter") as adapter,
        StreamPublisher(depot, "rheed.intensity") as publisher,
    ):
        while not seen.is_set():
            conductor.poll(0.05)
            for name, other in conductor.presence.items():
                if other.role == "viewer" and other.is_here:
                    conductor.send(name, tell(depot))
            for sender, message, _ in adapter.poll(0.05):
                if isinstance(message, StatusRequest):
                    adapter.send(sender, status())
            sample = {"time_s": np.array([0.5]), "intensity": np.array([0.25])}
            publisher.publish("c/t0000/2.1.0/0", {}, sample)


class Watched(io.StringIO):
    """A file that notes when all of the words have been written."""

    def __init__(self, *words):
        super().__init__()
        self.words, self.seen = words, threading.Event()

    def write(self, text):
        n = super().write(text)
        if all(word in self.getvalue() for word in self.words):
            self.seen.set()
        return n


@pytest.mark.system
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_campaign_is_seen_live_and_the_view_ends_when_told(tmp_path, is_terminal):
    words = ["best so far: quality 0.5"]
    if is_terminal:
        words = ["busy grow", "rheed.intensity of t0000", "now 0.25", "quality 0.5 in t0000"]
    file, stop = Watched(*words), threading.Event()
    console = Console(file=file, force_terminal=is_terminal, width=100, height=50)
    best = {"trial": "t0000", "value": 0.5, "point": {}}
    depot = DepotServer(tmp_path)
    depot.start()

    def tell(endpoint):
        return view(depot=endpoint, leases=["rheed"], best=best)

    with served() as endpoint:
        # daemons: a view that does not end must fail this test, not hang the whole run
        watcher = threading.Thread(
            target=live_view, args=(endpoint, stop), kwargs={"console": console}, daemon=True
        )
        told = (endpoint, depot.endpoint, tell, file.seen)
        lab = threading.Thread(target=conduct, args=told, daemon=True)
        watcher.start()
        lab.start()
        assert file.seen.wait(30), file.getvalue()[-3000:]
        stop.set()
        watcher.join(10)
        lab.join(10)
    depot.stop()
    assert not watcher.is_alive()
