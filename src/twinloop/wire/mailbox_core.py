"""What a mailbox decides: say hello, keep the beat, notice silence, know who is present.

No socket, clock or randomness; the shell is `twinloop.wire.mailbox.Mailbox`, and fault simulation
drives this core directly.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

from twinloop.messages import (
    Beat,
    Hello,
    Message,
    Presence,
    Refused,
    Replaced,
    Watch,
    Welcome,
)
from twinloop.wire.effects import Exit, Send

__all__ = [
    "EXIT_REFUSED",
    "EXIT_REPLACED",
    "HUB",
    "Deliver",
    "MailboxCore",
    "MailboxEffect",
    "Role",
]

HUB = "hub"
EXIT_REPLACED = 20
EXIT_REFUSED = 21
Role: TypeAlias = Literal["conductor", "adapter", "worker", "viewer", "person"]

_MISSED_BEATS = 3
_RETRY_FIRST_S, _RETRY_MAX_S = 0.1, 2.0
# who is present is asked again now and then: the word of a change, sent once, may be lost
_WATCH_EVERY_BEATS = 5
_UNCONFIRMED_S = 12.0
# after a new hub, peers have this long to come back before they count as gone
_NEW_HUB_GRACE_S = 6.0


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand a message to the agent; sender "hub" for the hub's own words."""

    sender: str
    message: Message
    arrays: tuple[NDArray[Any], ...] = ()


MailboxEffect: TypeAlias = Send | Exit | Deliver


class MailboxCore:
    """The conversation of one agent with the hub.

    The agent gets, besides the messages of others, these from "hub": `Welcome` at each
    registration, `Presence` (when watching) and `Undeliverable`.

    Args:
        name: of the agent.
        role: of the agent.
        incarnation: of this life of the agent.
        about: what others may know of it: JSON, small.
        watch: ask for the presence of all agents.

    Example:
        >>> core = MailboxCore("planner", "worker", "a1")
        >>> [effect.message.kind for effect in core.start(0.0)]
        ['hello']
        >>> welcome = Welcome(wire=1, hub="h1", beat_s=1.0, max_bytes=65536)
        >>> core.receive("hub", welcome, 0.1)[0].message.kind, core.is_registered
        ('welcome', True)
    """

    def __init__(
        self,
        name: str,
        role: Role,
        incarnation: str,
        about: dict[str, Any] | None = None,
        *,
        watch: bool = False,
    ) -> None:
        self.name = name
        self.incarnation = incarnation
        self.welcome: Welcome | None = None
        self.presence: dict[str, Presence] = {}
        self._hello = Hello(
            name=name, role=role, incarnation=incarnation, watch=watch, about=about or {}
        )
        self._state: Literal["dialing", "registered", "ended"] = "dialing"
        self._next_s: float | None = None
        self._retry_s = _RETRY_FIRST_S
        self._heard_s = 0.0
        self._n_beats = 0
        self._gone_at_s: dict[str, float] = {}

    @property
    def is_registered(self) -> bool:
        """Return True while the hub is known to route for this agent."""
        return self._state == "registered"

    @property
    def is_ended(self) -> bool:
        """Return True after `Exit`."""
        return self._state == "ended"

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called, None for never."""
        return self._next_s

    def start(self, now_s: float) -> list[MailboxEffect]:
        """Say hello."""
        return self._dial(now_s)

    def receive(
        self,
        sender: str,
        message: Message,
        now_s: float,
        arrays: tuple[NDArray[Any], ...] = (),
    ) -> list[MailboxEffect]:
        """Take a message of the hub, or one that the hub passes on."""
        if self._state == "ended":
            return []
        self._heard_s = now_s
        if sender != HUB:
            return [Deliver(sender, message, arrays)]
        match message:
            case Welcome():
                return self._registered(message, now_s)
            case Refused(code="say_hello"):
                return self._dial(now_s) if self._state == "registered" else []
            case Refused():
                return self._end(EXIT_REFUSED, f"the hub refuses {self.name}: {message.reason}")
            case Replaced():
                return self._end(EXIT_REPLACED, f"{self.name} lives on as incarnation {message.by}")
            case Presence():
                return self._present(message, now_s)
            case Beat():
                return []
            case _:
                return [Deliver(HUB, message, arrays)]

    def tick(self, now_s: float) -> list[MailboxEffect]:
        """Beat, say hello again, or notice that the hub is silent."""
        if self._next_s is None or now_s < self._next_s:
            return []
        if self._state == "dialing":
            return self._say_hello(now_s)
        beat_s = self._beat_s
        if now_s - self._heard_s >= _MISSED_BEATS * beat_s:
            return self._dial(now_s)
        self._n_beats += 1
        self._next_s = now_s + beat_s
        says: list[MailboxEffect] = [Send(HUB, Beat(n=self._n_beats))]
        if self._hello.watch and self._n_beats % _WATCH_EVERY_BEATS == 0:
            says.append(Send(HUB, Watch()))
        return says + self._forget_unconfirmed(now_s)

    @property
    def _beat_s(self) -> float:
        return self.welcome.beat_s if self.welcome else 1.0

    def _dial(self, now_s: float) -> list[MailboxEffect]:
        self._state = "dialing"
        self._retry_s = _RETRY_FIRST_S
        return self._say_hello(now_s)

    def _say_hello(self, now_s: float) -> list[MailboxEffect]:
        self._next_s = now_s + self._retry_s
        self._retry_s = min(2 * self._retry_s, _RETRY_MAX_S)
        return [Send(HUB, self._hello)]

    def _registered(self, welcome: Welcome, now_s: float) -> list[MailboxEffect]:
        was_registered = self._state == "registered"
        if not was_registered:
            is_new_hub = self.welcome is None or welcome.hub != self.welcome.hub
            grace_s = _NEW_HUB_GRACE_S if is_new_hub else _UNCONFIRMED_S
            self._gone_at_s = dict.fromkeys(self._gone_at_s, now_s + grace_s)
        self.welcome = welcome
        self._state = "registered"
        self._next_s = now_s + welcome.beat_s
        return [] if was_registered else [Deliver(HUB, welcome)]

    def _present(self, presence: Presence, now_s: float) -> list[MailboxEffect]:
        is_news = self.presence.get(presence.name) != presence
        self.presence[presence.name] = presence
        self._gone_at_s.pop(presence.name, None)
        if presence.is_here:
            self._gone_at_s[presence.name] = now_s + _UNCONFIRMED_S
        return [Deliver(HUB, presence)] if is_news else []

    def _forget_unconfirmed(self, now_s: float) -> list[MailboxEffect]:
        told: list[MailboxEffect] = []
        for name in sorted(n for n, at_s in self._gone_at_s.items() if now_s >= at_s):
            gone = self.presence[name].model_copy(update={"is_here": False})
            told += self._present(gone, now_s)
        return told

    def _end(self, code: int, reason: str) -> list[MailboxEffect]:
        self._state = "ended"
        self._next_s = None
        return [Exit(code, reason)]
