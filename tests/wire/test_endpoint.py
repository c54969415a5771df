"""Loopback or an error that says what is missing."""

import subprocess
import sys

import pytest
import zmq

from twinloop.errors import ArgumentError, BindRefused
from twinloop.wire.endpoint import bind_checked, check_endpoint, connect_checked, make_socket


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:0", "tcp://127.9.9.9:80", "tcp://[::1]:65535", "inproc://hub"]
)
def test_loopback_is_allowed(endpoint):
    assert check_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://0.0.0.0:5555",
        "tcp://*:5555",
        "tcp://[::]:5555",
        "tcp://192.168.1.20:5555",
        "tcp://10.0.0.1:*",
        "tcp://8.8.8.8:1",
        "tcp://localhost:5555",
        "tcp://lab-pc:5555",
        "tcp://eth0;127.0.0.1:5555",
        "tcp://127.0.0.1.evil.example:5555",
        "tcp://[fe80::1]:5555",
        "tcp://0:5555",
        "tcp://2130706433:5555",
    ],
)
def test_any_other_address_is_refused_and_says_what_is_missing(endpoint):
    with pytest.raises(BindRefused, match="CURVE") as caught:
        check_endpoint(endpoint)
    assert caught.value.endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "127.0.0.1:5",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:99999",
        "ipc:///tmp/x",
        "pgm://x:1",
        "tcp://127.0.0.1:5\n",
    ],
)
def test_what_is_no_endpoint_is_an_argument_error(endpoint):
    with pytest.raises(ArgumentError):
        check_endpoint(endpoint)


@pytest.mark.parametrize("act", [bind_checked, connect_checked])
def test_no_socket_is_touched_before_the_check(act):
    with zmq.Context() as context, make_socket(context, zmq.DEALER, max_bytes=10, hwm=1) as socket:
        with pytest.raises(BindRefused):
            act(socket, "tcp://0.0.0.0:0")
        assert socket.getsockopt(zmq.LAST_ENDPOINT).strip(b"\0") == b""


def test_sockets_have_bounded_memory_waits_and_silences():
    with zmq.Context() as context, make_socket(context, zmq.ROUTER, max_bytes=77, hwm=5) as socket:
        found = {
            name: socket.getsockopt(getattr(zmq, name))
            for name in (
                "LINGER",
                "SNDTIMEO",
                "MAXMSGSIZE",
                "SNDHWM",
                "RCVHWM",
                "HEARTBEAT_IVL",
                "TCP_KEEPALIVE",
                "TCP_KEEPALIVE_IDLE",
                "HANDSHAKE_IVL",
                "RECONNECT_IVL",
                "RECONNECT_IVL_MAX",
            )
        }
    assert found == {
        "LINGER": 0,
        "SNDTIMEO": 100,
        "MAXMSGSIZE": 77,
        "SNDHWM": 5,
        "RCVHWM": 5,
        "HEARTBEAT_IVL": 0,
        "TCP_KEEPALIVE": 1,
        "TCP_KEEPALIVE_IDLE": 3,
        "HANDSHAKE_IVL": 3000,
        "RECONNECT_IVL": 100,
        "RECONNECT_IVL_MAX": 2000,
    }


SLOW_RECEIVER = """
import threading
import zmq
from twinloop.wire.endpoint import bind_checked, make_socket

context, others = zmq.Context(), zmq.Context()
slow = make_socket(context, zmq.ROUTER, max_bytes=1000, hwm=2)
peer = others.socket(zmq.DEALER)
peer.connect(bind_checked(slow, "tcp://127.0.0.1:0"))
for _ in range(500):
    peer.send(b"word")
slow.poll(5000)
others.destroy(linger=1000)
# longer than a heartbeat of ZeroMQ would be
threading.Event().wait(2.0)
n_received = 0
while slow.poll(300):
    slow.recv_multipart()
    n_received += 1
context.destroy(linger=0)
raise SystemExit(0 if n_received else "nothing was received")
"""


@pytest.mark.system
def test_a_slow_receiver_survives_a_peer_that_goes_away():
    """Heartbeats of ZeroMQ would abort this process: zeromq/libzmq#4767."""
    command = [sys.executable, "-c", SLOW_RECEIVER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
