"""A bell: any thread rings it, and the poll of the thread that owns it returns."""

import threading

import zmq

from twinloop.ids import new_incarnation

__all__ = ["Bell"]


class Bell:
    """Wakes a thread that polls `socket`.

    Args:
        context: the ZeroMQ context of the polling thread's sockets.

    Example:
        >>> context = zmq.Context()
        >>> bell = Bell(context)
        >>> bell.ring(), bell.ring()
        (None, None)
        >>> bell.socket.poll(1000) == zmq.POLLIN
        True
        >>> bell.answer(), bell.socket.poll(0)
        (None, 0)
        >>> bell.close(), context.term()
        (None, None)
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        address = f"inproc://bell-{new_incarnation()}"
        self.socket = context.socket(zmq.PULL)
        self._push = context.socket(zmq.PUSH)
        self.socket.setsockopt(zmq.RCVHWM, 1)
        self._push.setsockopt(zmq.SNDHWM, 1)
        self.socket.bind(address)
        self._push.connect(address)
        self._lock = threading.Lock()

    def ring(self) -> None:
        """Wake the owner; any thread may call it, also after `close`."""
        with self._lock:
            if self._push.closed:
                return
            try:
                self._push.send(b"", zmq.NOBLOCK)
            except zmq.Again:
                # a ring that is not answered yet is enough
                return

    def answer(self) -> None:
        """Take all rings; by the owner only."""
        while self.socket.poll(0):
            self.socket.recv(zmq.NOBLOCK)

    def close(self) -> None:
        """Let go of both ends; by the owner only."""
        self.socket.close(linger=0)
        with self._lock:
            self._push.close(linger=0)
