"""Talk to a stand-in machine in another process."""

import itertools
import json
import threading
from pathlib import Path

import zmq

from twinloop.clocks import RealWireClock
from twinloop.errors import Disconnected
from twinloop.instruments.standin.interface import MachineFault, Operation, Progress, Readings
from twinloop.instruments.standin.wire import (
    MAX_FRAME_BYTES,
    Reply,
    Request,
    decode_reply,
    progress_of,
)
from twinloop.wire.endpoint import check_endpoint, connect_checked, make_socket

__all__ = ["ChamberClient", "machine_endpoint"]

RESEND_S = 0.5
HWM = 64


def machine_endpoint(machine: str, wait_s: float = 10.0) -> str:
    """Return the endpoint of a machine.

    Args:
        machine: an endpoint ("tcp://127.0.0.1:5601"), or the file that the machine announces
            itself in.
        wait_s: how long such a file is waited for [s].

    Raises:
        Disconnected: no such file in time.
    """
    if "://" in machine:
        return machine
    path, clock = Path(machine), RealWireClock()
    deadline_s = clock.now_s() + wait_s
    while clock.now_s() < deadline_s:
        if path.is_file():
            return str(json.loads(path.read_text("utf-8"))["endpoint"])
        threading.Event().wait(0.05)
    hint = "start the machine process, or correct the path in the laboratory file"
    raise Disconnected(f"stand-in machine announced in {machine}", wait_s, hint)


class ChamberClient:
    """A machine in another process; one connection, requests one after another.

    It may be used from several threads. A request is repeated until it is answered.

    Args:
        endpoint: of the machine, on loopback.
        timeout_s: longest wait for an answer [s].

    Raises:
        BindRefused: an endpoint that is not on loopback.
    """

    def __init__(self, endpoint: str, timeout_s: float = 5.0) -> None:
        self.endpoint, self.timeout_s = check_endpoint(endpoint), timeout_s
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = make_socket(self._context, zmq.DEALER, max_bytes=MAX_FRAME_BYTES, hwm=HWM)
        connect_checked(self._socket, endpoint)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._clock = RealWireClock()

    def begin(self, operation: Operation) -> Progress:
        """Start an operation, or learn about a key that has been seen."""
        return progress_of(*self._ask(Request(ask="begin", operation=operation)))

    def progress(self, key: str, since: int = 0) -> Progress:
        """Ask how far an operation is."""
        return progress_of(*self._ask(Request(ask="progress", key=key, since=since)))

    def abort(self, key: str) -> Progress:
        """Cut an operation short."""
        return progress_of(*self._ask(Request(ask="abort", key=key)))

    def safe_state(self, reason: str) -> None:
        """Close the shutter and let the heater idle."""
        self._ask(Request(ask="safe_state", reason=reason))

    def readings(self) -> Readings:
        """Ask what gauges and contacts say."""
        reply, _ = self._ask(Request(ask="readings"))
        if reply.readings is None:
            raise MachineFault("readings", "the reply holds none")
        return reply.readings

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._socket.close(linger=0)
            self._context.term()

    def _ask(self, request: Request) -> tuple[Reply, list[bytes]]:
        """Send until answered.

        Raises:
            Disconnected: no answer in time.
            MachineFault: the machine refused the request.
        """
        body = request.model_dump_json().encode()
        with self._lock:
            number = str(next(self._numbers)).encode()
            deadline_s = self._clock.now_s() + self.timeout_s
            while self._clock.now_s() < deadline_s:
                self._send([number, body])
                frames = self._answer(number)
                if frames is None:
                    continue
                reply = decode_reply(frames[0])
                if reply.error:
                    raise MachineFault(request.ask, reply.error)
                return reply, frames[1:]
        hint = "is its process running? Its log says what happened"
        raise Disconnected(f"stand-in machine at {self.endpoint}", self.timeout_s, hint)

    def _send(self, frames: list[bytes]) -> None:
        try:
            self._socket.send_multipart(frames)
        except zmq.Again:
            # Nobody is there yet; the wait for an answer paces the next try.
            return

    def _answer(self, number: bytes) -> list[bytes] | None:
        """Return the frames after the number; None after a while without the right answer."""
        deadline_s = self._clock.now_s() + RESEND_S
        while (left_s := deadline_s - self._clock.now_s()) > 0:
            if self._socket.poll(int(left_s * 1000) + 1):
                found, *frames = self._socket.recv_multipart()
                if found == number and frames:
                    return frames
        return None
