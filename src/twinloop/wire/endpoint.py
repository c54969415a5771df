"""Endpoints on the loopback interface, and socket options that are safe.

The defaults of ZeroMQ are not: no limit on a message, lingering for ever at close, and a ROUTER that
drops what it cannot route without a word.

The heartbeats of ZeroMQ itself stay off: with them, libzmq aborts the whole process when a peer goes
away while its messages still wait for a receiver that is slow or was stopped for a while ("Assertion
failed: !_io_error", zeromq/libzmq#4767). Who is alive is asked by our own heartbeats, above the
socket; a dead line is noticed by TCP.
"""

import ipaddress
import re

import zmq

from twinloop.errors import ArgumentError, BindRefused, LabError

__all__ = [
    "EndpointBusy",
    "bind_checked",
    "check_endpoint",
    "connect_checked",
    "make_socket",
    "receive_frames",
]

_TCP = re.compile(r"tcp://(\*|\[[0-9A-Fa-f:.%\w]*\]|[^:/\[\]]+):(\d{1,5}|\*)")
_INPROC = re.compile(r"inproc://[\w.:-]{1,100}")
_SEND_TIMEOUT_MS = 100
_SILENT_MS = 3000
_LINE_IDLE_S, _LINE_PROBE_S, _LINE_PROBES = 3, 1, 3
_RECONNECT_MS, _RECONNECT_MAX_MS = 100, 2000


class EndpointBusy(LabError):
    """The port is taken by another process."""

    def __init__(self, endpoint: str, detail: str) -> None:
        self.endpoint, self.detail = endpoint, detail
        super().__init__(
            f"cannot listen on {endpoint}: {detail}; end the process that holds the port, "
            "or ask for a free one with port 0"
        )


def check_endpoint(endpoint: str) -> str:
    """Return `endpoint` when it stays on this machine.

    Raises:
        BindRefused: an address that is not of the loopback interface; names count as such,
            because what they resolve to may change.
        ArgumentError: not an endpoint at all.

    Example:
        >>> check_endpoint("tcp://127.0.0.1:5555")
        'tcp://127.0.0.1:5555'
    """
    if _INPROC.fullmatch(endpoint):
        return endpoint
    match = _TCP.fullmatch(endpoint)
    if match is None or (match[2] != "*" and int(match[2]) > 65535):
        raise ArgumentError("endpoint", endpoint, "tcp://127.0.0.1:PORT or tcp://[::1]:PORT")
    try:
        address = ipaddress.ip_address(match[1].strip("[]"))
    except ValueError as err:
        raise BindRefused(endpoint) from err
    if not address.is_loopback:
        raise BindRefused(endpoint)
    return endpoint


def make_socket(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, *, max_bytes: int, hwm: int
) -> "zmq.Socket[bytes]":
    """Return a socket whose memory, waits and silences are bounded.

    Args:
        context: the ZeroMQ context.
        kind: `zmq.ROUTER` or `zmq.DEALER`.
        max_bytes: longest frame taken from a peer; a longer one costs it the connection [byte].
        hwm: messages queued for each peer in each direction.
    """
    socket = context.socket(kind)
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.SNDTIMEO, _SEND_TIMEOUT_MS),
        (zmq.MAXMSGSIZE, max_bytes),
        (zmq.SNDHWM, hwm),
        (zmq.RCVHWM, hwm),
        (zmq.HANDSHAKE_IVL, _SILENT_MS),
        (zmq.RECONNECT_IVL, _RECONNECT_MS),
        (zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS),
        (zmq.TCP_KEEPALIVE, 1),
        (zmq.TCP_KEEPALIVE_IDLE, _LINE_IDLE_S),
        (zmq.TCP_KEEPALIVE_INTVL, _LINE_PROBE_S),
        (zmq.TCP_KEEPALIVE_CNT, _LINE_PROBES),
    ):
        socket.setsockopt(option, value)
    if kind == zmq.ROUTER:
        # without it a message to nobody, or to a full queue, vanishes and the send "succeeds"
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return socket


def bind_checked(socket: "zmq.Socket[bytes]", endpoint: str) -> str:
    """Bind to a loopback endpoint and return the real one, with its port.

    Raises:
        BindRefused: not loopback.
        EndpointBusy: the port is taken.
    """
    checked = check_endpoint(endpoint)
    socket.setsockopt(zmq.IPV6, int("[" in checked))
    try:
        socket.bind(re.sub(r":0$", ":*", checked))
    except zmq.ZMQError as err:
        raise EndpointBusy(endpoint, str(err)) from err
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def connect_checked(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Dial a loopback endpoint; another host is reached through a tunnel that ends here.

    Raises:
        BindRefused: not loopback.
    """
    checked = check_endpoint(endpoint)
    # with the option on, 127.0.0.1 would be reported as a mapped IPv6 address
    socket.setsockopt(zmq.IPV6, int("[" in checked))
    socket.connect(checked)


def receive_frames(socket: "zmq.Socket[bytes]", max_frames: int) -> list[bytes]:
    """Return the frames of the next message, [] when there is none.

    A message of too many frames comes back cut to `max_frames` + 1, so that its length tells: the
    size limit of ZeroMQ counts each frame alone, and 100,000 small ones would pass it.
    """
    try:
        frames = [socket.recv(zmq.NOBLOCK)]
    except zmq.Again:
        return []
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv()
        if len(frames) <= max_frames:
            frames.append(frame)
    return frames
