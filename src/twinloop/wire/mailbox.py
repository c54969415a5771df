"""The mailbox: the one tool by which an agent talks to the others, through the hub.

Example of use::

    with Mailbox(endpoint, "planner", "worker", new_incarnation()) as mailbox:
        while mailbox.ended is None:
            for sender, message, arrays in mailbox.poll(1.0):
                ...
                mailbox.send(sender, answer)

Sending is best effort: what nobody answers is sent again by whoever wants the answer.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import zmq
from numpy.typing import NDArray

from twinloop.clocks import RealWireClock, WireClock
from twinloop.errors import MessageRejected
from twinloop.ids import new_incarnation
from twinloop.messages import Bye, Message, Presence, Welcome
from twinloop.wire.bell import Bell
from twinloop.wire.effects import Exit, Send
from twinloop.wire.endpoint import check_endpoint, connect_checked, make_socket, receive_frames
from twinloop.wire.envelope import MAX_ARRAY_FRAMES, MAX_MESSAGE_BYTES, Frame, pack, unpack
from twinloop.wire.mailbox_core import HUB, Deliver, MailboxCore, MailboxEffect, Role

__all__ = ["Letter", "Mailbox", "MailboxCore"]

_LOG = logging.getLogger(__name__)
_QUEUE = 1000
_BATCH = 256
# the sender's name, the header, the arrays
_MAX_FRAMES = 2 + MAX_ARRAY_FRAMES
_BYE_LINGER_MS = 100


class Letter(NamedTuple):
    """A message as it arrives: from whom, what, and its inline arrays."""

    sender: str
    message: Message
    arrays: tuple[NDArray[Any], ...]


class Mailbox:
    """One agent's connection to the hub. One thread uses it; only `wake` is for any thread.

    Args:
        endpoint: of the hub.
        name, role, incarnation, about, watch: see `MailboxCore`; a fresh incarnation is drawn when
            None is given.
        context: a ZeroMQ context to share; an own one otherwise.
        clock: the wire's clock.

    Raises:
        BindRefused: the endpoint is not loopback.
    """

    def __init__(
        self,
        endpoint: str,
        name: str,
        role: Role,
        incarnation: str | None = None,
        *,
        about: dict[str, Any] | None = None,
        watch: bool = False,
        context: "zmq.Context[zmq.Socket[bytes]] | None" = None,
        clock: WireClock | None = None,
    ) -> None:
        # before any socket is made, so that a refusal leaves nothing open
        check_endpoint(endpoint)
        self.ended: Exit | None = None
        self.rejects: Counter[str] = Counter()
        self.n_unsent = 0
        self._clock = clock or RealWireClock()
        self._core = MailboxCore(name, role, incarnation or new_incarnation(), about, watch=watch)
        self._own_context = context is None
        self._context = context or zmq.Context()
        self._socket = make_socket(
            self._context, zmq.DEALER, max_bytes=MAX_MESSAGE_BYTES, hwm=_QUEUE
        )
        # nothing waits for a hub that is away: it would arrive late, under an old registration
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        connect_checked(self._socket, endpoint)
        self._bell = Bell(self._context)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._bell.socket, zmq.POLLIN)
        self._others: dict[Any, Callable[[], None]] = {}
        self._inbox: list[Letter] = []
        self._unsent_hello: Send | None = None
        self._run(self._core.start(self._clock.now_s()))

    @property
    def name(self) -> str:
        """Return the agent's name."""
        return self._core.name

    @property
    def incarnation(self) -> str:
        """Return the identity of this life of the agent."""
        return self._core.incarnation

    @property
    def is_registered(self) -> bool:
        """Return True while the hub is known to route for this agent."""
        return self._core.is_registered

    @property
    def welcome(self) -> Welcome | None:
        """Return what the hub said at the last registration, None before the first."""
        return self._core.welcome

    @property
    def presence(self) -> dict[str, Presence]:
        """Return the last known presence by name; empty unless watching."""
        return self._core.presence

    def poll(self, timeout_s: float) -> list[Letter]:
        """Wait for messages, at most `timeout_s`, and return them; [] after `wake` or the time.

        Heartbeats and registration are kept up in here, so call it at least once a second.
        """
        deadline_s = self._clock.now_s() + timeout_s
        while True:
            was_woken = self._poll_once(deadline_s)
            letters, self._inbox = self._inbox, []
            if letters or was_woken or self.ended or self._clock.now_s() >= deadline_s:
                return letters

    def send(self, to: str, message: Message, arrays: Sequence[NDArray[Any]] = ()) -> bool:
        """Hand a message to the hub; False when that is not possible now.

        Args:
            to: name of the agent, or "hub".
            message: what to say.
            arrays: content of its inline arrays, in their order.

        Raises:
            MessageRejected: the message breaks a limit of the wire; it would never get through.
        """
        frames = pack(message, arrays)
        if not self._core.is_registered:
            self.n_unsent += 1
            return False
        return self._put(to, frames)

    def wake(self) -> None:
        """Make `poll` return; any thread may call it."""
        self._bell.ring()

    def register(self, source: Any, on_ready: Callable[[], None]) -> None:
        """Watch another socket (ZeroMQ, or one with a file number) in the same `poll`.

        Args:
            source: what to watch for input.
            on_ready: called by `poll`, in its thread; it must take what is there.
        """
        self._others[source] = on_ready
        self._poller.register(source, zmq.POLLIN)

    def unregister(self, source: Any) -> None:
        """Watch it no longer."""
        del self._others[source]
        self._poller.unregister(source)

    def close(self) -> None:
        """Say goodbye, as far as that goes, and let go of the sockets."""
        if self._socket.closed:
            return
        if self._core.is_registered:
            self._put(HUB, pack(Bye()))
        self._socket.close(linger=_BYE_LINGER_MS)
        self._bell.close()
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

    def _poll_once(self, deadline_s: float) -> bool:
        wake_at_s = self._core.wake_at_s
        until_s = deadline_s if wake_at_s is None else min(deadline_s, wake_at_s)
        wait_ms = max(0.0, (until_s - self._clock.now_s()) * 1000)
        flags = zmq.POLLIN | (zmq.POLLOUT if self._unsent_hello else 0)
        self._poller.modify(self._socket, flags)
        # round up, or the last fraction of a millisecond is spent spinning
        ready = dict(self._poller.poll(int(wait_ms) + (wait_ms > int(wait_ms))))
        if ready.get(self._socket, 0) & zmq.POLLOUT and self._unsent_hello:
            self._run([self._unsent_hello])
        if ready.get(self._socket, 0) & zmq.POLLIN:
            self._drain()
        was_woken = self._bell.socket in ready
        if was_woken:
            self._bell.answer()
        for source, on_ready in list(self._others.items()):
            # a plain socket is reported by its file number
            if source in ready or (hasattr(source, "fileno") and source.fileno() in ready):
                on_ready()
                was_woken = True
        self._run(self._core.tick(self._clock.now_s()))
        return was_woken

    def _drain(self) -> None:
        for _ in range(_BATCH):
            frames = receive_frames(self._socket, _MAX_FRAMES)
            if not frames:
                return
            try:
                sender = frames[0].decode("ascii") or HUB
                message, arrays = unpack(frames[1:])
            except (MessageRejected, UnicodeDecodeError) as err:
                self.rejects[getattr(err, "reason", "sender")] += 1
                continue
            self._run(self._core.receive(sender, message, self._clock.now_s(), arrays))

    def _run(self, effects: list[MailboxEffect]) -> None:
        for effect in effects:
            match effect:
                case Deliver():
                    self._inbox.append(Letter(effect.sender, effect.message, effect.arrays))
                case Send():
                    is_sent = self._put(effect.to, pack(effect.message))
                    self._unsent_hello = (
                        None if is_sent or effect.message.kind != "hello" else effect
                    )
                case Exit():
                    _LOG.warning("%s ends: %s", self.name, effect.reason)
                    self.ended = effect

    def _put(self, to: str, frames: list[Frame]) -> bool:
        name = b"" if to == HUB else to.encode()
        try:
            self._socket.send_multipart([name, *frames], zmq.NOBLOCK)
        except zmq.Again:
            self.n_unsent += 1
            return False
        return True
