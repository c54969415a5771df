"""Putting arrays into the depot and taking them out, across cuts of either side.

A put is over when the depot says that the array is durable. After any silence the client asks how
far the depot came and goes on from there, so neither a restart of the depot nor a lost message
costs more than the last chunk.
"""

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import zmq
from numpy.typing import NDArray

from twinloop.clocks import RealWireClock, WireClock
from twinloop.errors import Disconnected, LabError, MessageRejected
from twinloop.messages import ArrayRef
from twinloop.wire.arrays import as_bytes, check_bytes, describe, rebuild
from twinloop.wire.depot_words import (
    CHUNK_BYTES,
    MAX_DEPOT_FRAMES,
    Chunk,
    DepotError,
    Durable,
    Get,
    Have,
    Offset,
    Piece,
    Word,
    decode_word,
    encode_word,
)
from twinloop.wire.endpoint import connect_checked, make_socket, receive_frames

__all__ = ["DepotClient", "DepotRefused"]

_QUEUE = 8
_ASK_AGAIN_S = 1.0
_LOOK_S = 0.25

Bytes = bytes | bytearray | memoryview


class DepotRefused(LabError):
    """The depot cannot keep or give an array; who has it must hold it, and may put it again."""

    def __init__(self, digest: str, code: str, detail: str) -> None:
        self.digest, self.code, self.detail = digest, code, detail
        super().__init__(f"depot refuses array {digest[:16]}... ({code}): {detail}")


class DepotClient:
    """A connection to a depot; used by one thread, `cancel` by any.

    Args:
        endpoint: of the depot, as in a lease request or a task.
        context: a ZeroMQ context to share; an own one otherwise.
        clock: the wire's clock.

    Raises:
        BindRefused: the endpoint is not loopback.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        context: "zmq.Context[zmq.Socket[bytes]] | None" = None,
        clock: WireClock | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._clock = clock or RealWireClock()
        self._own_context = context is None
        self._context = context or zmq.Context()
        self._socket = make_socket(self._context, zmq.DEALER, max_bytes=CHUNK_BYTES, hwm=_QUEUE)
        connect_checked(self._socket, endpoint)
        self._is_cancelled = threading.Event()
        self._n_asked = 0

    def put(self, name: str, array: NDArray[Any], timeout_s: float = 60.0) -> ArrayRef:
        """Return the description of an array when the depot holds it durably.

        Raises:
            DepotRefused: its disk is full or failing.
            Disconnected: no answer for `timeout_s`.
            FrameError: not a numeric array.
        """
        ref = describe(name, array)
        self.put_bytes(ref, as_bytes(array), timeout_s)
        return ref

    def put_bytes(self, ref: ArrayRef, data: Bytes, timeout_s: float = 60.0) -> None:
        """Return when the depot holds these bytes of an array durably.

        Args:
            ref: its description.
            data: little endian, C-contiguous.
            timeout_s: longest silence of the depot [s].

        Raises:
            DepotRefused, Disconnected: as for `put`.
            FrameError: the bytes are not of that length.
        """
        check_bytes(ref, len(data))
        view, n_damaged = memoryview(data), 0
        word: Have | Chunk = Have(ask=self._number(), digest=ref.digest, nbytes=ref.nbytes)
        frame: Bytes | None = None
        while True:
            answer, _ = self._ask(word, frame, timeout_s)
            match answer:
                case Durable():
                    return
                case Offset(offset=offset):
                    word = Chunk(
                        ask=self._number(), digest=ref.digest, offset=offset, nbytes=ref.nbytes
                    )
                    frame = view[offset : offset + CHUNK_BYTES]
                case DepotError(code="damaged") if n_damaged == 0:
                    # what an earlier life of the depot had kept was torn: once more, from the start
                    n_damaged += 1
                    word, frame = (
                        Have(ask=self._number(), digest=ref.digest, nbytes=ref.nbytes),
                        None,
                    )
                case DepotError():
                    raise DepotRefused(ref.digest, answer.code, answer.detail)
                case _:
                    raise DepotRefused(ref.digest, "damaged", f"it answers {answer.kind} to a put")

    def get(self, ref: ArrayRef, timeout_s: float = 60.0) -> NDArray[Any]:
        """Return an array, read-only, its digest checked.

        Raises:
            DepotRefused: it is not there, or damaged.
            Disconnected: no answer for `timeout_s`.
            FrameError: the description does not fit the bytes.
        """
        check_bytes(ref, ref.nbytes)
        data = bytearray()
        for piece in self._pieces(ref, timeout_s):
            data += piece
        return rebuild(ref, data)

    def cancel(self) -> None:
        """Make a waiting `put` or `get` raise `Disconnected`; any thread may call it."""
        self._is_cancelled.set()

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close(linger=0)
        if self._own_context:
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

    def _pieces(self, ref: ArrayRef, timeout_s: float) -> Iterator[Bytes]:
        offset = 0
        while True:
            word = Get(ask=self._number(), digest=ref.digest, offset=offset)
            answer, piece = self._ask(word, None, timeout_s)
            if isinstance(answer, DepotError):
                raise DepotRefused(ref.digest, answer.code, answer.detail)
            if not isinstance(answer, Piece):
                raise DepotRefused(ref.digest, "damaged", f"it answers {answer.kind} to a get")
            if answer.nbytes != ref.nbytes or (not piece and offset < ref.nbytes):
                raise DepotRefused(ref.digest, "damaged", f"it has {answer.nbytes} bytes there")
            yield piece
            offset += len(piece)
            if offset >= ref.nbytes:
                return

    def _number(self) -> int:
        self._n_asked += 1
        return self._n_asked

    def _ask(
        self, word: Have | Chunk | Get, frame: Bytes | None, timeout_s: float
    ) -> tuple[Word, bytes]:
        """Say a word until something fitting is answered."""
        give_up_s = self._clock.now_s() + timeout_s
        while True:
            self._say(word, frame)
            ask_again_s = min(self._clock.now_s() + _ASK_AGAIN_S, give_up_s)
            while (left_s := ask_again_s - self._clock.now_s()) > 0:
                if self._is_cancelled.is_set():
                    raise Disconnected(f"depot {self.endpoint}", 0.0, "the wait was cancelled")
                if not self._socket.poll(int(min(left_s, _LOOK_S) * 1000) + 1):
                    continue
                answer = self._receive()
                if answer is not None and getattr(answer[0], "ask", None) == word.ask:
                    return answer
            if self._clock.now_s() >= give_up_s:
                raise Disconnected(f"depot {self.endpoint}", timeout_s, "keep the array and retry")
            if isinstance(word, Chunk):
                # the answer may be lost, and the chunk kept: ask instead of sending it twice
                word, frame = Have(ask=self._number(), digest=word.digest, nbytes=word.nbytes), None

    def _say(self, word: Word, frame: Bytes | None) -> None:
        frames: list[Bytes] = [encode_word(word)]
        if frame is not None:
            frames.append(frame)
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            # the queue is full of what was said before; the time to ask again comes
            return

    def _receive(self) -> tuple[Word, bytes] | None:
        frames = receive_frames(self._socket, MAX_DEPOT_FRAMES)
        if not 1 <= len(frames) <= 2:
            return None
        try:
            return decode_word(frames[0]), frames[1] if len(frames) == 2 else b""
        except MessageRejected:
            return None
