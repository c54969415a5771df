"""The depot: arrays of a campaign, kept by digest, on a port of its own.

It is a thread of the process that owns the run folder. What it calls durable is on the disk; what a
kill leaves half-written is continued, and checked as a whole before it gets its name.
"""

import logging
import os
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq
from numpy.typing import NDArray

from twinloop.agents.campaign.depot_upload import Upload, UploadRefused
from twinloop.clocks import RealWireClock, WireClock
from twinloop.errors import LabError, MessageRejected
from twinloop.log.arrays import ArrayStore
from twinloop.messages import ArrayRef
from twinloop.wire.arrays import as_bytes, describe
from twinloop.wire.bell import Bell
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
    Publish,
    Subscribe,
    Word,
    decode_word,
    encode_word,
)
from twinloop.wire.endpoint import bind_checked, make_socket, receive_frames

__all__ = ["DepotServer"]

_LOG = logging.getLogger(__name__)
_QUEUE = 8
_BATCH = 64
_SUBSCRIPTION_S = 5.0
_MAX_UPLOADS = 64
_MAX_SUBSCRIPTIONS = 256
_LENT_BYTES = 256 * 2**20

Reply = tuple[Word, bytes | None]


class DepotServer:
    """Keeps and gives arrays, and forwards streams.

    Args:
        folder: of the arrays (`RUN/arrays`), made if it is not there.
        endpoint: where to listen; port 0 takes a free one.
        max_array_bytes: largest array accepted [byte].
        keep_free_bytes: refuse arrays when the disk would have less than this left [byte].
        on_stream: sees each published element, in the depot's thread; must not block.
        clock: the wire's clock.

    Raises:
        BindRefused: not a loopback endpoint.
        EndpointBusy: the port is taken.
    """

    def __init__(
        self,
        folder: Path,
        endpoint: str = "tcp://127.0.0.1:0",
        *,
        max_array_bytes: int = 4 * 2**30,
        keep_free_bytes: int = 256 * 2**20,
        on_stream: Callable[[Publish, list[bytes]], None] | None = None,
        clock: WireClock | None = None,
    ) -> None:
        self.store = ArrayStore(folder)
        self.counts: Counter[str] = Counter()
        self._incoming = folder / "incoming"
        self._incoming.mkdir(exist_ok=True)
        self._max_array_bytes, self._keep_free_bytes = max_array_bytes, keep_free_bytes
        self._on_stream = on_stream
        self._clock = clock or RealWireClock()
        self._uploads: OrderedDict[str, Upload] = OrderedDict()
        self._subscribers: dict[tuple[str, bytes], float] = {}
        self._lent: OrderedDict[str, bytes] = OrderedDict()
        self._lending = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = make_socket(self._context, zmq.ROUTER, max_bytes=CHUNK_BYTES, hwm=_QUEUE)
        self._bell = Bell(self._context)
        self._is_stopping = False
        try:
            self.endpoint = bind_checked(self._socket, endpoint)
        except LabError:
            self._close()
            raise
        self._thread = threading.Thread(target=self._run, name="depot", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Return True while the thread serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is half-uploaded stays for the next life."""
        self._is_stopping = True
        self._bell.ring()
        if self._thread.is_alive():
            self._thread.join()
        else:
            self._close()

    def has(self, digest: str) -> bool:
        """Return True when the array is there, durably; any thread."""
        return self.store.has(digest)

    def path(self, digest: str) -> Path:
        """Return where the array is or would be; any thread.

        Raises:
            ArgumentError: not a digest.
        """
        return self.store.path(digest)

    def read(self, digest: str) -> bytes:
        """Return the bytes of an array, checked; any thread.

        Raises:
            ArrayUnavailable: not there, or damaged.
        """
        return self.store.read(digest)

    def load(self, ref: ArrayRef) -> NDArray[Any]:
        """Return an array, read-only; any thread.

        Raises:
            ArrayUnavailable: not there, or damaged.
            FrameError: the description does not fit.
        """
        return self.store.load(ref)

    def lend(self, name: str, array: NDArray[Any]) -> ArrayRef:
        """Give an array of this process out without keeping it on the disk; any thread.

        For what only a question needs: of more than 256 MiB lent, the oldest are forgotten.
        """
        ref = describe(name, array, inline=False)
        with self._lending:
            self._lent[ref.digest] = bytes(as_bytes(array))
            self._lent.move_to_end(ref.digest)
            total = sum(map(len, self._lent.values()))
            while total > _LENT_BYTES and len(self._lent) > 1:
                total -= len(self._lent.popitem(last=False)[1])
        return ref

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._bell.socket, zmq.POLLIN)
        while not self._is_stopping:
            poller.poll()
            for _ in range(_BATCH):
                frames = receive_frames(self._socket, 1 + MAX_DEPOT_FRAMES)
                if not frames:
                    break
                try:
                    self._serve(frames)
                except Exception:  # noqa: BLE001 - actor boundary: the next word needs this thread
                    self.counts["errors"] += 1
                    _LOG.exception("depot: a word was not served")
        self._close()

    def _serve(self, frames: list[bytes]) -> None:
        connection, payload = frames[0], frames[1:]
        try:
            word = _checked_word(payload)
        except MessageRejected as err:
            self.counts[f"rejected: {err.reason}"] += 1
            return
        match word:
            case Have():
                self._answer(connection, self._have(word))
            case Chunk():
                self._answer(connection, self._chunk(word, payload[1]))
            case Get():
                self._answer(connection, self._get(word))
            case Subscribe():
                self._subscribe(connection, word)
            case Publish():
                self._forward(word, payload)
            case _:
                self.counts[f"rejected: {word.kind} is no question"] += 1

    def _have(self, word: Have) -> Reply:
        try:
            if self.store.has(word.digest):
                return Durable(ask=word.ask, digest=word.digest), None
            refusal = self._refusal(word)
            if refusal is not None:
                return refusal, None
            upload = self._upload(word.digest, word.nbytes)
        except OSError as err:
            return self._disk_error(word, err), None
        return Offset(ask=word.ask, digest=word.digest, offset=upload.size), None

    def _chunk(self, word: Chunk, data: bytes) -> Reply:
        try:
            if self.store.has(word.digest):
                return Durable(ask=word.ask, digest=word.digest), None
            refusal = self._refusal(word)
            if refusal is not None:
                return refusal, None
            upload = self._upload(word.digest, word.nbytes)
            if word.offset != upload.size:
                return Offset(ask=word.ask, digest=word.digest, offset=upload.size), None
            if upload.add(data):
                upload.finish(self.store)
                del self._uploads[word.digest]
                return Durable(ask=word.ask, digest=word.digest), None
        except UploadRefused as err:
            self._uploads.pop(word.digest, None)
            return DepotError(
                ask=word.ask, digest=word.digest, code="damaged", detail=err.detail
            ), None
        except OSError as err:
            return self._disk_error(word, err), None
        return Offset(ask=word.ask, digest=word.digest, offset=upload.size), None

    def _get(self, word: Get) -> Reply:
        with self._lending:
            lent = self._lent.get(word.digest)
        if lent is not None:
            data = lent[word.offset : word.offset + CHUNK_BYTES]
            piece = Piece(ask=word.ask, digest=word.digest, offset=word.offset, nbytes=len(lent))
            return piece, data
        try:
            with self.store.path(word.digest).open("rb") as file:
                nbytes = os.fstat(file.fileno()).st_size
                file.seek(min(word.offset, nbytes))
                data = file.read(CHUNK_BYTES)
        except FileNotFoundError:
            detail = "not in this depot; put it first"
            return DepotError(ask=word.ask, digest=word.digest, code="absent", detail=detail), None
        except OSError as err:
            return self._disk_error(word, err), None
        piece = Piece(ask=word.ask, digest=word.digest, offset=word.offset, nbytes=nbytes)
        return piece, data

    def _refusal(self, word: Have | Chunk) -> DepotError | None:
        if word.nbytes > self._max_array_bytes:
            detail = f"{word.nbytes} bytes, allowed {self._max_array_bytes}"
            return DepotError(ask=word.ask, digest=word.digest, code="too_large", detail=detail)
        free = shutil.disk_usage(self._incoming).free
        if free - word.nbytes < self._keep_free_bytes:
            detail = f"{free} bytes free, {self._keep_free_bytes} are kept free"
            return DepotError(ask=word.ask, digest=word.digest, code="full", detail=detail)
        return None

    def _disk_error(self, word: Have | Chunk | Get, err: OSError) -> DepotError:
        # what the file holds now is unknown: the next word about it looks at the disk again
        self._uploads.pop(word.digest, None)
        self.counts["disk errors"] += 1
        _LOG.error("depot: %s of %s failed: %s", word.kind, word.digest, err)
        return DepotError(ask=word.ask, digest=word.digest, code="disk", detail=str(err)[:1000])

    def _upload(self, digest: str, nbytes: int) -> Upload:
        upload = self._uploads.get(digest)
        if upload is None or upload.nbytes != nbytes:
            upload = Upload(self._incoming / digest, digest, nbytes)
            self._uploads[digest] = upload
        self._uploads.move_to_end(digest)
        while len(self._uploads) > _MAX_UPLOADS:
            self._uploads.popitem(last=False)
        return upload

    def _subscribe(self, connection: bytes, word: Subscribe) -> None:
        now_s = self._clock.now_s()
        self._subscribers = {
            who: until_s for who, until_s in self._subscribers.items() if until_s > now_s
        }
        if len(self._subscribers) < _MAX_SUBSCRIPTIONS:
            self._subscribers[word.stream, connection] = now_s + _SUBSCRIPTION_S

    def _forward(self, word: Publish, frames: list[bytes]) -> None:
        now_s = self._clock.now_s()
        if self._on_stream is not None:
            self._on_stream(word, frames[1:])
        for (stream, connection), until_s in list(self._subscribers.items()):
            if stream == word.stream and until_s > now_s and not self._put([connection, *frames]):
                self.counts["stream elements lost"] += 1

    def _answer(self, connection: bytes, reply: Reply) -> None:
        word, data = reply
        frames = [connection, encode_word(word)]
        if not self._put(frames if data is None else [*frames, data]):
            self.counts["answers lost"] += 1

    def _put(self, frames: list[bytes]) -> bool:
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as err:
            if err.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True

    def _close(self) -> None:
        self._socket.close(linger=0)
        self._bell.close()
        self._context.term()


def _checked_word(payload: list[bytes]) -> Word:
    if not 1 <= len(payload) <= MAX_DEPOT_FRAMES:
        raise MessageRejected("frames", f"{len(payload)} frames, allowed {MAX_DEPOT_FRAMES}")
    if sum(map(len, payload[1:])) > CHUNK_BYTES:
        raise MessageRejected("size", f"allowed {CHUNK_BYTES} bytes")
    word = decode_word(payload[0])
    n_frames = {"chunk": 1, "publish": len(getattr(word, "arrays", ()))}.get(word.kind, 0)
    if len(payload) - 1 != n_frames:
        raise MessageRejected("frame count", f"{len(payload) - 1} frames with {word.kind}")
    return word
