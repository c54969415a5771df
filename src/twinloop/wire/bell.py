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
        # no limit, and a flag instead: a sender learns late that a queue of one has been emptied,
        # and a ring that it takes for superfluous until then would be lost
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self._push.setsockopt(zmq.SNDHWM, 0)
        self.socket.bind(address)
        self._push.connect(address)
        self._lock = threading.Lock()
        self._is_rung = False

    def ring(self) -> None:
        """Wake the owner; any thread may call it, also after `close`."""
        with self._lock:
            # a ring that is not answered yet is enough
            if self._push.closed or self._is_rung:
                return
            self._push.send(b"", zmq.NOBLOCK)
            self._is_rung = True

    def answer(self) -> None:
        """Take the ring, before looking at what it was for; by the owner only."""
        with self._lock:
            self._is_rung = False
            while self.socket.poll(0):
                self.socket.recv(zmq.NOBLOCK)

    def close(self) -> None:
        """Let go of both ends; by the owner only."""
        self.socket.close(linger=0)
        with self._lock:
            self._push.close(linger=0)
