"""What the hub decides: who is who, who is present, and whom a message goes to.

No socket, clock or randomness. The hub holds no queue, no lease and no campaign state: when it is
killed, agents say hello to the next one and nothing else is lost.

A connection is what ZeroMQ names it, new at each reconnect; an agent proves nothing but its
incarnation. The newest registered incarnation owns the name, an older one is told to exit.
"""

from collections import Counter
from dataclasses import dataclass, field

from twinloop.messages import (
    WIRE_VERSION,
    Beat,
    Bye,
    Hello,
    Message,
    Presence,
    Refused,
    Replaced,
    Undeliverable,
    Watch,
    Welcome,
)

__all__ = ["HubCore", "HubSend", "Route"]

_BEAT_S = 1.0
_SILENT_S = 3 * _BEAT_S
_FORGET_S = 600.0
_MAX_AGENTS = 1000
_MAX_RETIRED = 32


@dataclass(frozen=True, slots=True)
class HubSend:
    """A message of the hub itself to one connection."""

    connection: bytes
    message: Message


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes, the name of its sender as the hub knows it, and what to tell others."""

    connection: bytes
    sender: bytes
    news: tuple[HubSend, ...] = ()


@dataclass(slots=True)
class _Agent:
    hello: Hello
    wire_name: bytes
    connection: bytes
    heard_s: float
    is_here: bool = True
    watches: bool = False
    retired: list[str] = field(default_factory=list)


class HubCore:
    """Names, presence and routing.

    Args:
        incarnation: of this life of the hub; agents see in `Welcome` that a hub is new.
        max_bytes: largest message, told to agents [byte].

    Example:
        >>> hub = HubCore("h1", 65536)
        >>> hello = Hello(name="planner", role="worker", incarnation="a1")
        >>> [send.message.kind for send in hub.receive(b"c1", hello, 0.0)]
        ['welcome']
        >>> hub.route(b"c1", b"planner", 0.1)
        Route(connection=b'c1', sender=b'planner', news=())
    """

    def __init__(self, incarnation: str, max_bytes: int) -> None:
        self.incarnation, self.max_bytes = incarnation, max_bytes
        self.counts: Counter[str] = Counter()
        self._agents: dict[bytes, _Agent] = {}
        self._by_connection: dict[bytes, _Agent] = {}
        self._next_look_s: float | None = None

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called, None while nobody is registered."""
        return self._next_look_s

    @property
    def names(self) -> list[str]:
        """Return the names of the agents that are here."""
        return sorted(a.hello.name for a in self._agents.values() if a.is_here)

    def route(self, connection: bytes, to: bytes, now_s: float) -> Route | list[HubSend]:
        """Say where a message for another agent goes, or what to answer its sender.

        The header of the message is not looked at: this is the fast path.

        Args:
            connection: whence it came.
            to: name of the receiver, as on the wire, not empty.
            now_s: the time.
        """
        sender = self._by_connection.get(connection)
        if sender is None:
            return self._ask_hello(connection)
        sender.heard_s = now_s
        receiver = self._agents.get(to)
        if receiver is not None:
            news = () if sender.is_here else tuple(self._came(sender))
            return Route(receiver.connection, sender.wire_name, news)
        return self.undeliverable(connection, to, "nobody of that name is registered")

    def receive(self, connection: bytes, message: Message, now_s: float) -> list[HubSend]:
        """Take a message meant for the hub."""
        if isinstance(message, Hello):
            return self._hello(connection, message, now_s)
        agent = self._by_connection.get(connection)
        if agent is None:
            return self._ask_hello(connection)
        agent.heard_s = now_s
        came = [] if agent.is_here else self._came(agent)
        match message:
            case Beat():
                return [HubSend(connection, message), *came]
            case Watch():
                agent.watches = True
                return [HubSend(connection, _presence(a)) for a in self._agents.values()]
            case Bye():
                return self._leave(agent)
            case _:
                self.counts[f"rejected: {message.kind} is not for the hub"] += 1
                return came

    def tick(self, now_s: float) -> list[HubSend]:
        """Notice who has not been heard of for too long."""
        if self._next_look_s is None or now_s < self._next_look_s:
            return []
        sends: list[HubSend] = []
        for agent in list(self._agents.values()):
            silent_s = now_s - agent.heard_s
            if agent.is_here and silent_s >= _SILENT_S:
                sends += self._went(agent)
            elif silent_s >= _FORGET_S:
                self._drop(agent)
        self._next_look_s = now_s + _BEAT_S / 2 if self._agents else None
        return sends

    def undeliverable(self, connection: bytes, to: bytes, reason: str) -> list[HubSend]:
        """Tell a sender that its message was not handed over."""
        self.counts["undeliverable"] += 1
        name = to[:64].decode("ascii", "replace")
        return [HubSend(connection, Undeliverable(to=name, reason=reason))]

    def connection_lost(self, connection: bytes) -> list[HubSend]:
        """Take note that ZeroMQ knows this connection no longer."""
        agent = self._by_connection.pop(connection, None)
        return self._went(agent) if agent is not None and agent.is_here else []

    def reject(self, reason: str) -> None:
        """Count something that broke the rules of the wire."""
        self.counts[f"rejected: {reason}"] += 1

    def _hello(self, connection: bytes, hello: Hello, now_s: float) -> list[HubSend]:
        if self._next_look_s is None:
            self._next_look_s = now_s + _BEAT_S / 2
        known = self._agents.get(hello.name.encode())
        refused = self._refusal(connection, hello, known)
        if refused is not None:
            self.counts[f"refused: {refused.code}"] += 1
            return [HubSend(connection, refused)]
        if known is not None and hello.incarnation in known.retired:
            return [HubSend(connection, Replaced(by=known.hello.incarnation))]
        sends: list[HubSend] = []
        retired: list[str] = []
        is_news = known is None or not known.is_here
        if known is not None:
            self._by_connection.pop(known.connection, None)
            retired = known.retired
            if known.hello.incarnation != hello.incarnation:
                is_news = True
                retired = [*retired, known.hello.incarnation][-_MAX_RETIRED:]
                if known.connection != connection:
                    sends.append(HubSend(known.connection, Replaced(by=hello.incarnation)))
        agent = _Agent(hello, hello.name.encode(), connection, now_s, True, hello.watch, retired)
        self._agents[agent.wire_name] = self._by_connection[connection] = agent
        sends.append(HubSend(connection, self._welcome()))
        if hello.watch:
            sends += [HubSend(connection, _presence(a)) for a in self._agents.values()]
        return sends + (self._tell_watchers(agent) if is_news else [])

    def _refusal(self, connection: bytes, hello: Hello, known: _Agent | None) -> Refused | None:
        if WIRE_VERSION not in hello.wire:
            return Refused(
                code="wire",
                reason=f"wire versions {list(hello.wire)} offered, {WIRE_VERSION} spoken here: "
                "install the same twinloop on both sides",
            )
        here = self._by_connection.get(connection)
        if hello.name.lower() == "hub":
            return Refused(code="name", reason="hub is the name of the hub")
        if here is not None and here.hello.name != hello.name:
            return Refused(code="name", reason=f"this connection belongs to {here.hello.name}")
        if known is None and len(self._agents) >= _MAX_AGENTS:
            return Refused(code="full", reason=f"{_MAX_AGENTS} agents are registered")
        return None

    def _welcome(self) -> Welcome:
        return Welcome(
            wire=WIRE_VERSION, hub=self.incarnation, beat_s=_BEAT_S, max_bytes=self.max_bytes
        )

    def _ask_hello(self, connection: bytes) -> list[HubSend]:
        self.counts["refused: say_hello"] += 1
        return [HubSend(connection, Refused(code="say_hello", reason="unknown connection"))]

    def _came(self, agent: _Agent) -> list[HubSend]:
        agent.is_here = True
        return self._tell_watchers(agent)

    def _went(self, agent: _Agent) -> list[HubSend]:
        agent.is_here = False
        return self._tell_watchers(agent)

    def _leave(self, agent: _Agent) -> list[HubSend]:
        self._drop(agent)
        return self._went(agent)

    def _drop(self, agent: _Agent) -> None:
        self._by_connection.pop(agent.connection, None)
        self._agents.pop(agent.wire_name, None)

    def _tell_watchers(self, about: _Agent) -> list[HubSend]:
        news = _presence(about)
        return [
            HubSend(a.connection, news)
            for a in self._agents.values()
            if a.watches and a.is_here and a is not about
        ]


def _presence(agent: _Agent) -> Presence:
    hello = agent.hello
    return Presence(
        name=hello.name,
        role=hello.role,
        incarnation=hello.incarnation,
        is_here=agent.is_here,
        about=hello.about,
    )
