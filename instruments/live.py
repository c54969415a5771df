"""Streams of instruments to the depot of the campaign that uses them: bounded, losses counted.

Instrument "rheed" that emits on "intensity" appears as stream "rheed.intensity", under the key of the
command that was begun last on it. An element has its number before it can be lost, so that whoever
subscribes sees each loss as a gap, wherever on the way it happened.
"""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from twinloop.errors import LabError
from twinloop.instruments.interface import Emit
from twinloop.results import Array
from twinloop.wire.streams import StreamPublisher

__all__ = ["LiveStreams"]

_LIMIT_BYTES = 32 * 2**20
_LIMIT_ELEMENTS = 256


class _Element(NamedTuple):
    depot: str
    stream: str
    key: str
    n: int
    numbers: dict[str, float]
    arrays: dict[str, Array]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())


class LiveStreams:
    """Takes elements from device threads, never waits, publishes in a thread of its own.

    Args:
        limit_bytes: what waits to be published holds at most so much [byte]; the newest is lost.
    """

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self.losses: Counter[str] = Counter()
        self._limit_bytes = limit_bytes
        self._targets: dict[str, tuple[str, str]] = {}
        self._numbers: dict[str, tuple[str, int]] = {}
        self._waiting: deque[_Element] = deque()
        self._waiting_bytes = 0
        self._is_stopping = False
        self._news = threading.Condition()
        self._publishers: dict[tuple[str, str], StreamPublisher] = {}
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._thread.start()

    @property
    def n_lost(self) -> int:
        """Return how many elements were lost on this side."""
        return self.losses.total()

    def aim(self, instrument: str, depot: str, key: str) -> None:
        """Say where the elements of an instrument go from now on, and under which key."""
        self._targets[instrument] = (depot, key)

    def emit_of(self, instrument: str) -> Emit:
        """Return the `emit` of one instrument."""

        def emit(stream: str, numbers: Mapping[str, float], arrays: Mapping[str, Array], /) -> None:
            depot, key = self._targets.get(instrument, ("", ""))
            if depot:
                self._add(depot, f"{instrument}.{stream}", key, numbers, arrays)

        return emit

    def stop(self) -> None:
        """End the thread when it has published what waits."""
        with self._news:
            self._is_stopping = True
            self._news.notify()
        self._thread.join(2.0)

    def _add(
        self,
        depot: str,
        stream: str,
        key: str,
        numbers: Mapping[str, float],
        arrays: Mapping[str, Array],
    ) -> None:
        # a camera's driver writes its next frame into the same memory
        kept = {name: np.array(array) for name, array in arrays.items()}
        nbytes = sum(array.nbytes for array in kept.values())
        with self._news:
            last_key, last_n = self._numbers.get(stream, ("", -1))
            n = last_n + 1 if key == last_key else 0
            self._numbers[stream] = (key, n)
            is_full = (
                len(self._waiting) >= _LIMIT_ELEMENTS
                or self._waiting_bytes + nbytes > self._limit_bytes
            )
            if is_full:
                self.losses[stream] += 1
                return
            self._waiting.append(_Element(depot, stream, key, n, dict(numbers), kept))
            self._waiting_bytes += nbytes
            self._news.notify()

    def _run(self) -> None:
        while (element := self._next()) is not None:
            publisher = self._publisher(element.depot, element.stream)
            try:
                is_sent = publisher is not None and publisher.publish(
                    element.key, element.numbers, element.arrays, element.n
                )
            except Exception:  # noqa: BLE001 - actor boundary: what an author emits may be anything
                is_sent = False
            if not is_sent:
                self.losses[element.stream] += 1
        for publisher in self._publishers.values():
            publisher.close()

    def _next(self) -> _Element | None:
        with self._news:
            while not self._waiting:
                if self._is_stopping:
                    return None
                self._news.wait()
            element = self._waiting.popleft()
            self._waiting_bytes -= element.nbytes
            return element

    def _publisher(self, depot: str, stream: str) -> StreamPublisher | None:
        place = (depot, stream)
        if place not in self._publishers:
            for other in [p for p in self._publishers if p[1] == stream]:
                self._publishers.pop(other).close()
            try:
                self._publishers[place] = StreamPublisher(depot, stream)
            except LabError:
                return None
        return self._publishers[place]
