"""Streams: what is worth seeing while it happens, and may be lost.

A publisher never waits: when the queue is full the element is lost and counted, and the gap in the
numbers tells the subscriber how many it missed.
"""

from types import TracebackType
from typing import Any, NamedTuple, Self

import zmq
from numpy.typing import NDArray
from pydantic import ValidationError

from twinloop.clocks import RealWireClock, WireClock
from twinloop.errors import MessageRejected
from twinloop.wire.arrays import as_bytes, checksum_of, describe, rebuild
from twinloop.wire.depot_words import (
    CHUNK_BYTES,
    MAX_DEPOT_FRAMES,
    Publish,
    Subscribe,
    decode_word,
    encode_word,
)
from twinloop.wire.endpoint import (
    check_endpoint,
    connect_checked,
    make_socket,
    receive_frames,
)

__all__ = ["Element", "StreamPublisher", "StreamSubscriber"]

_QUEUE = 16
_RENEW_S = 1.0


class Element(NamedTuple):
    """One element of a stream as a subscriber gets it.

    Args:
        key: what it belongs to, as text.
        n: its number under this key.
        about: JSON.
        arrays: read-only, checksums compared.
        n_lost: elements of this key missed since the one before.
    """

    key: str
    n: int
    about: dict[str, Any]
    arrays: tuple[NDArray[Any], ...]
    n_lost: int


class _Line:
    """One dealer socket to a depot, closed with its context."""

    def __init__(self, endpoint: str) -> None:
        check_endpoint(endpoint)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = make_socket(self._context, zmq.DEALER, max_bytes=CHUNK_BYTES, hwm=_QUEUE)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        connect_checked(self._socket, endpoint)

    def _put(self, frames: list[bytes | memoryview]) -> bool:
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class StreamPublisher(_Line):
    """Publishes elements of one stream; used by one thread.

    Args:
        endpoint: of the depot.
        stream: name of the stream ("chamber.rheed").

    Raises:
        BindRefused: the endpoint is not loopback.
    """

    def __init__(self, endpoint: str, stream: str) -> None:
        super().__init__(endpoint)
        self.stream = stream
        self.n_lost = 0
        self._key, self._n = "", 0

    def publish(
        self,
        key: str,
        about: dict[str, Any],
        arrays: dict[str, NDArray[Any]] | None = None,
        n: int | None = None,
    ) -> bool:
        """Publish without waiting; False when the element was lost.

        Args:
            key: what it belongs to; numbers start again with each new key.
            about: JSON, small.
            arrays: by name, at most 8 and 1 MiB in all.
            n: its number under the key, where elements were numbered (and may have been lost)
                before they came here; counted here without it.

        Raises:
            MessageRejected: too many or too large, or what no JSON can say, such as NaN.
            FrameError: an array of anything but numbers.
        """
        if key != self._key:
            self._key, self._n = key, 0
        if n is not None:
            self._n = n
        arrays = arrays or {}
        refs = tuple(
            describe(name, array, inline=True, digest=checksum_of) for name, array in arrays.items()
        )
        if len(refs) >= MAX_DEPOT_FRAMES or sum(ref.nbytes for ref in refs) > CHUNK_BYTES:
            raise MessageRejected("size", f"8 arrays and {CHUNK_BYTES} bytes allowed in a stream")
        try:
            word = Publish(stream=self.stream, key=key, n=self._n, about=about, arrays=refs)
        except ValidationError as err:
            raise MessageRejected("element", str(err)) from err
        self._n += 1
        is_sent = self._put([encode_word(word), *map(as_bytes, arrays.values())])
        self.n_lost += not is_sent
        return is_sent


class StreamSubscriber(_Line):
    """Receives one stream; used by one thread.

    Args:
        endpoint: of the depot.
        stream: name of the stream.
        clock: the wire's clock.

    Raises:
        BindRefused: the endpoint is not loopback.
    """

    def __init__(self, endpoint: str, stream: str, clock: WireClock | None = None) -> None:
        super().__init__(endpoint)
        self.stream = stream
        self.n_lost = self.n_rejected = 0
        self._clock = clock or RealWireClock()
        self._renew_at_s = self._clock.now_s()
        self._key, self._n_next = "", 0

    def poll(self, timeout_s: float) -> list[Element]:
        """Wait for elements, at most `timeout_s`, and return them."""
        deadline_s = self._clock.now_s() + timeout_s
        while True:
            self._renew()
            left_s = min(deadline_s, self._renew_at_s) - self._clock.now_s()
            if self._socket.poll(max(0, int(left_s * 1000) + 1)):
                elements = self._drain()
                if elements:
                    return elements
            if self._clock.now_s() >= deadline_s:
                return []

    def _renew(self) -> None:
        now_s = self._clock.now_s()
        if now_s < self._renew_at_s:
            return
        is_sent = self._put([encode_word(Subscribe(stream=self.stream))])
        self._renew_at_s = now_s + (_RENEW_S if is_sent else _RENEW_S / 20)

    def _drain(self) -> list[Element]:
        elements: list[Element] = []
        for _ in range(_QUEUE):
            frames = receive_frames(self._socket, MAX_DEPOT_FRAMES)
            if not frames:
                break
            try:
                elements.append(self._element(frames))
            except MessageRejected:
                self.n_rejected += 1
        return elements

    def _element(self, frames: list[bytes]) -> Element:
        word = decode_word(frames[0])
        if not isinstance(word, Publish) or len(word.arrays) != len(frames) - 1:
            raise MessageRejected("frame count", f"{len(frames) - 1} array frames")
        arrays = tuple(
            rebuild(r, f, checksum_of) for r, f in zip(word.arrays, frames[1:], strict=True)
        )
        if word.key != self._key:
            self._key, self._n_next = word.key, 0
        n_lost = max(0, word.n - self._n_next)
        self.n_lost += n_lost
        self._n_next = word.n + 1
        return Element(word.key, word.n, word.about, arrays, n_lost)
