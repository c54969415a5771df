"""Streams of instruments to the depot of the campaign that uses them: bounded, losses counted.

Instrument "rheed" that emits on "intensity" appears as stream "rheed.intensity", under the key of the
command that was begun last on it.
"""

import queue
import threading
from collections.abc import Mapping

from twinloop.errors import LabError
from twinloop.instruments.interface import Emit
from twinloop.results import Array
from twinloop.wire.streams import StreamPublisher

__all__ = ["LiveStreams"]

_QUEUE = 256

_Element = tuple[str, str, str, dict[str, float], dict[str, Array]]


class LiveStreams:
    """Takes elements from device threads, never waits, publishes in a thread of its own."""

    def __init__(self) -> None:
        self.n_lost = 0
        self._targets: dict[str, tuple[str, str]] = {}
        self._queue: queue.Queue[_Element | None] = queue.Queue(_QUEUE)
        self._publishers: dict[tuple[str, str], StreamPublisher] = {}
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._thread.start()

    def aim(self, instrument: str, depot: str, key: str) -> None:
        """Say where the elements of an instrument go from now on, and under which key."""
        self._targets[instrument] = (depot, key)

    def emit_of(self, instrument: str) -> Emit:
        """Return the `emit` of one instrument."""

        def emit(stream: str, numbers: Mapping[str, float], arrays: Mapping[str, Array], /) -> None:
            depot, key = self._targets.get(instrument, ("", ""))
            if not depot:
                return
            element = (depot, f"{instrument}.{stream}", key, dict(numbers), dict(arrays))
            try:
                self._queue.put_nowait(element)
            except queue.Full:
                self.n_lost += 1

        return emit

    def stop(self) -> None:
        """End the thread; what was not published is lost."""
        try:
            self._queue.put(None, timeout=1.0)
        except queue.Full:
            return
        self._thread.join(2.0)

    def _run(self) -> None:
        while (element := self._queue.get()) is not None:
            depot, stream, key, numbers, arrays = element
            try:
                is_sent = self._publisher(depot, stream).publish(key, numbers, arrays)
            except LabError:
                is_sent = False
            self.n_lost += not is_sent
        for publisher in self._publishers.values():
            publisher.close()

    def _publisher(self, depot: str, stream: str) -> StreamPublisher:
        place = (depot, stream)
        if place not in self._publishers:
            for other in [p for p in self._publishers if p[1] == stream]:
                self._publishers.pop(other).close()
            self._publishers[place] = StreamPublisher(depot, stream)
        return self._publishers[place]
