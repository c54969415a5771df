"""The hub process: a ROUTER socket around `HubCore`.

Run it as `python -m twinloop.agents.hub.process --endpoint tcp://127.0.0.1:0 --announce FILE`.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import zmq

from twinloop.agents.hub.core import HubCore, HubSend, Route
from twinloop.clocks import RealWireClock, WireClock
from twinloop.errors import LabError, MessageRejected
from twinloop.ids import new_incarnation
from twinloop.wire.bell import Bell
from twinloop.wire.endpoint import bind_checked, make_socket, receive_frames
from twinloop.wire.envelope import (
    MAX_ARRAY_FRAMES,
    MAX_MESSAGE_BYTES,
    check_frames,
    pack,
    unpack,
)

__all__ = ["Hub", "main"]

_LOG = logging.getLogger(__name__)
_QUEUE = 1000
_BATCH = 512
_LONGEST_WAIT_S = 60.0
# connection, receiver, header, arrays
_MAX_FRAMES = 3 + MAX_ARRAY_FRAMES


class Hub:
    """The shell of the hub.

    Args:
        endpoint: where to listen; port 0 takes a free one.
        clock: the wire's clock.

    Raises:
        BindRefused: not a loopback endpoint.
        EndpointBusy: the port is taken.
    """

    def __init__(self, endpoint: str, clock: WireClock | None = None) -> None:
        self.core = HubCore(new_incarnation(), MAX_MESSAGE_BYTES)
        self._clock = clock or RealWireClock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = make_socket(
            self._context, zmq.ROUTER, max_bytes=MAX_MESSAGE_BYTES, hwm=_QUEUE
        )
        self._bell = Bell(self._context)
        self._is_stopping = False
        try:
            self.endpoint = bind_checked(self._socket, endpoint)
        except LabError:
            self._close()
            raise

    def run(self) -> None:
        """Route until `stop`."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._bell.socket, zmq.POLLIN)
        while not self._is_stopping:
            poller.poll(self._wait_ms())
            for _ in range(_BATCH):
                frames = receive_frames(self._socket, _MAX_FRAMES)
                if not frames:
                    break
                self._serve(frames, self._clock.now_s())
            self._send_all(self.core.tick(self._clock.now_s()))
        self._close()

    def stop(self) -> None:
        """End `run`; any thread may call it."""
        self._is_stopping = True
        self._bell.ring()

    def _serve(self, frames: list[bytes], now_s: float) -> None:
        connection, payload = frames[0], frames[2:]
        try:
            check_frames(payload)
        except MessageRejected as err:
            self.core.reject(err.reason)
            return
        to = frames[1]
        if not to:
            self._serve_own(connection, payload, now_s)
            return
        where = self.core.route(connection, to, now_s)
        if not isinstance(where, Route):
            self._send_all(where)
            return
        if where.news:
            self._send_all(where.news)
        failure = self._put([where.connection, where.sender, *payload])
        if failure:
            self._send_all(self.core.undeliverable(connection, to, failure))

    def _serve_own(self, connection: bytes, payload: list[bytes], now_s: float) -> None:
        try:
            message, _ = unpack(payload)
        except MessageRejected as err:
            self.core.reject(err.reason)
            return
        self._send_all(self.core.receive(connection, message, now_s))

    def _send_all(self, sends: Sequence[HubSend]) -> None:
        for send in sends:
            self._put([send.connection, b"", *pack(send.message)])

    def _put(self, frames: Sequence[bytes | bytearray | memoryview]) -> str:
        """Send; return why it failed, or nothing."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            self.core.counts["queue full"] += 1
            return "its queue is full"
        except zmq.ZMQError as err:
            if err.errno != zmq.EHOSTUNREACH:
                raise
            self._send_all(self.core.connection_lost(bytes(frames[0])))
            return "its connection is gone"
        return ""

    def _wait_ms(self) -> int:
        wake_at_s = self.core.wake_at_s
        if wake_at_s is None:
            return int(_LONGEST_WAIT_S * 1000)
        return max(0, int((wake_at_s - self._clock.now_s()) * 1000) + 1)

    def _close(self) -> None:
        self._socket.close(linger=0)
        self._bell.close()
        self._context.term()


def announce(path: Path, endpoint: str) -> None:
    """Write the real endpoint to a file, whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(endpoint + "\n", encoding="utf-8")
    draft.replace(path)


def _stop_with_stdin(hub: Hub) -> None:
    # the pipe closes when the parent dies, however it dies
    # not sys.stdin: its lock, held by a daemon thread, can abort the interpreter at its end
    while os.read(0, 4096):
        continue
    hub.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the hub until it is told to end, and return the exit status."""
    parser = argparse.ArgumentParser(prog="twinloop hub", description=__doc__)
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:0", help="where to listen")
    parser.add_argument("--announce", type=Path, help="file that gets the real endpoint")
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="end when standard input closes"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="hub: %(message)s")
    try:
        hub = Hub(options.endpoint)
    except LabError as err:
        _LOG.error("%s", err)
        return 2
    if options.exit_with_stdin:
        # Ctrl-C reaches the whole group; who holds the pipe decides the order in which we end
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_stop_with_stdin, args=(hub,), daemon=True).start()
    if options.announce:
        announce(options.announce, hub.endpoint)
    try:
        hub.run()
    except KeyboardInterrupt:
        _LOG.info("interrupted")
    _LOG.info("ends; %s", dict(hub.core.counts) or "nothing was refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
