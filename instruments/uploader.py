"""Brings arrays from the spool into the depot of their campaign, in a thread of its own."""

import logging
import queue
import threading
from collections.abc import Callable

from twinloop.ids import CommandKey
from twinloop.instruments.adapter_effects import Upload
from twinloop.instruments.spool import Spool
from twinloop.wire.depot import DepotClient

__all__ = ["Uploader"]

_LOG = logging.getLogger(__name__)
_SILENCE_S = 10.0

Report = Callable[[CommandKey, str], None]


class Uploader:
    """One upload at a time, oldest first.

    Args:
        spool: has the arrays.
        done: takes (key, depot) when the depot has all arrays of the key, durably.
        failed: takes (key, depot) when it has not; whoever asked tries again later.
    """

    def __init__(self, spool: Spool, done: Report, failed: Report) -> None:
        self._spool, self._done, self._failed = spool, done, failed
        self._queue: queue.SimpleQueue[Upload | None] = queue.SimpleQueue()
        self._client: DepotClient | None = None
        self._lock = threading.Lock()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)
        self._thread.start()

    def submit(self, upload: Upload) -> None:
        """Ask for an upload; a wait for another depot, which the campaign has left, ends."""
        with self._lock:
            if self._client is not None and self._client.endpoint != upload.depot:
                self._client.cancel()
        self._queue.put(upload)

    def stop(self) -> None:
        """End the thread; what was not brought stays in the spool."""
        with self._lock:
            self._is_stopping = True
            if self._client is not None:
                self._client.cancel()
        self._queue.put(None)
        self._thread.join(5.0)

    def _run(self) -> None:
        while (upload := self._queue.get()) is not None and not self._is_stopping:
            try:
                self._bring(upload)
            except Exception as err:  # noqa: BLE001 - actor boundary: the next upload needs it
                _LOG.warning("arrays of %s are not in the depot yet: %s", upload.key, err)
                self._failed(upload.key, upload.depot)
            else:
                self._done(upload.key, upload.depot)

    def _bring(self, upload: Upload) -> None:
        client = DepotClient(upload.depot)
        with self._lock:
            self._client = client
        try:
            for ref in upload.arrays:
                client.put_bytes(ref, self._spool.load(upload.key, ref), _SILENCE_S)
        finally:
            with self._lock:
                self._client = None
            client.close()
