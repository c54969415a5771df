"""Streams of instruments never hold up a device: they are bounded, and losses are counted."""

import numpy as np

from twinloop.instruments.live import LiveStreams

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
