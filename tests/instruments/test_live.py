"""Streams of instruments never hold up a device: they are bounded, and losses are counted."""

import threading

import numpy as np
import pytest

from twinloop.agents.campaign.depot import DepotServer
from twinloop.instruments.live import LiveStreams
from twinloop.wire.streams import StreamPublisher, StreamSubscriber

NOBODY = "tcp://127.0.0.1:9"


def test_what_nobody_takes_is_lost_and_counted() -> None:
    streams = LiveStreams()
    emit = streams.emit_of("rheed")
    emit("intensity", {"time_s": 0.0}, {})
    assert streams.n_lost == 0, "no campaign: there is nobody to lose it to"
    streams.aim("rheed", NOBODY, "c/t/record/1")
    for n in range(1000):
        emit("intensity", {"time_s": float(n)}, {"trace": np.zeros(4)})
    streams.stop()
    assert streams.n_lost == 1000


def test_an_element_too_large_for_a_stream_is_lost_and_not_raised() -> None:
    streams = LiveStreams()
    streams.aim("rheed", NOBODY, "c/t/record/1")
    streams.emit_of("rheed")("intensity", {}, {"movie": np.zeros(2_000_000)})
    streams.stop()
    assert streams.n_lost == 1


class Gate:
    """Holds up the thread that publishes, as a slow line does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open, self.has_come = threading.Event(), threading.Event()
        publish = StreamPublisher.publish

        def wait_and_publish(publisher, *arguments):
            self.has_come.set()
            assert self.is_open.wait(20.0)
            return publish(publisher, *arguments)

        monkeypatch.setattr(StreamPublisher, "publish", wait_and_publish)


def test_what_waits_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, frame = Gate(monkeypatch), np.zeros(1000, dtype=np.uint8)
    streams = LiveStreams(limit_bytes=10_000)
    streams.aim("camera", NOBODY, "c/t/record/1")
    emit = streams.emit_of("camera")
    emit("frames", {}, {"frame": frame})
    assert gate.has_come.wait(20.0)
    for _ in range(30):
        emit("frames", {}, {"frame": frame})
    assert streams.losses == {"camera.frames": 20}, "one is being published, ten may wait"
    gate.is_open.set()
    streams.stop()


def test_a_subscriber_sees_what_was_lost_before_it_was_published(tmp_path, monkeypatch) -> None:
    gate, frame = Gate(monkeypatch), np.zeros(4000, dtype=np.uint8)
    depot = DepotServer(tmp_path)
    depot.start()
    streams = LiveStreams(limit_bytes=10_000)
    streams.aim("camera", depot.endpoint, "c/t/record/1")
    emit = streams.emit_of("camera")
    gate.is_open.set()
    with StreamSubscriber(depot.endpoint, "camera.frames") as subscriber:
        seen: list[int] = []
        while not seen:
            emit("frames", {"level": 0.0}, {})
            seen += [element.n for element in subscriber.poll(0.05)]
        gate.is_open.clear()
        gate.has_come.clear()
        emit("frames", {}, {"frame": frame})
        assert gate.has_come.wait(20.0)
        n_before = subscriber.n_lost, streams.n_lost
        for _ in range(5):
            emit("frames", {}, {"frame": frame})  # two may wait, three are lost
        gate.is_open.set()
        last: list[float] = []
        while not last:
            emit("frames", {"level": 1.0}, {})
            last = [e.about["level"] for e in subscriber.poll(0.05) if "level" in e.about]
            last = [level for level in last if level == 1.0]
        assert (subscriber.n_lost - n_before[0], streams.n_lost - n_before[1]) == (3, 3)
    streams.stop()
    depot.stop()


def test_a_driver_may_use_its_buffer_again(tmp_path, monkeypatch) -> None:
    gate, buffer = Gate(monkeypatch), np.zeros(8, dtype=np.uint16)
    depot = DepotServer(tmp_path)
    depot.start()
    streams = LiveStreams()
    streams.aim("camera", depot.endpoint, "c/t/record/1")
    emit = streams.emit_of("camera")
    gate.is_open.set()
    with StreamSubscriber(depot.endpoint, "camera.frames") as subscriber:
        while not subscriber.poll(0.05):
            emit("frames", {}, {})
        gate.is_open.clear()
        for n in range(1, 4):
            buffer[:] = n
            emit("frames", {}, {"frame": buffer})
        gate.is_open.set()
        found: list[int] = []
        while len(found) < 3:
            found += [int(e.arrays[0][0]) for e in subscriber.poll(1.0) if e.arrays]
    assert found == [1, 2, 3]
    streams.stop()
    depot.stop()


def test_what_no_stream_can_carry_is_lost_and_the_next_element_is_not(tmp_path) -> None:
    depot = DepotServer(tmp_path)
    depot.start()
    streams = LiveStreams()
    streams.aim("camera", depot.endpoint, "c/t/record/1")
    emit = streams.emit_of("camera")
    with StreamSubscriber(depot.endpoint, "camera.frames") as subscriber:
        while not subscriber.poll(0.05):
            emit("frames", {}, {})
        n_before = streams.n_lost
        emit("frames", {"level": float("nan")}, {})
        emit("frames", {"level": object()}, {})  # type: ignore[dict-item]
        emit("frames", {}, {"frame": np.array([object()])})
        emit("frames", {}, {"frame": np.array(["text"])})
        found: list[float] = []
        while not found:
            emit("frames", {"level": 1.0}, {})
            found = [e.about["level"] for e in subscriber.poll(0.05) if "level" in e.about]
    assert streams.n_lost - n_before == 4
    streams.stop()
    depot.stop()
