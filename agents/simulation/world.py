"""A world for agents: virtual time, a network that loses, doubles and delays, crashes anywhere.

Everything random comes from one generator, so a seed is a history: the same seed gives the same
trace, byte by byte. Agents are the production cores; only sockets, disks and clocks are replaced.
"""

import hashlib
import heapq
import random
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from twinloop.agents.hub.core import HubCore, HubSend, Route
from twinloop.errors import LabError, MessageRejected
from twinloop.messages import Message
from twinloop.wire.effects import Exit, Send
from twinloop.wire.envelope import MAX_MESSAGE_BYTES, Frame, check_frames, pack, unpack
from twinloop.wire.mailbox_core import Deliver, MailboxCore, Role

__all__ = ["Agent", "Crashed", "Faults", "HubNode", "World"]

HUB = "hub"
_TRACE = 400


class Crashed(LabError):
    """Raised inside an agent at the effect before which it dies."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What the world does to its agents until `calm_s`.

    Args:
        loss, doubling: probability for each frame on each hop.
        delay_s: mean delay of a hop; exponential, so messages overtake each other [s].
        crash_every_s: mean time between crashes of each agent; 0 for none [s].
        pause_every_s: mean time between pauses (as by SIGSTOP) of each agent; 0 for none [s].
        cut_every_s: mean time between partitions of each agent; 0 for none [s].
        down_s: mean time until a crashed agent is started again [s].
        calm_s: from then on nothing goes wrong [s].
    """

    loss: float = 0.05
    doubling: float = 0.05
    delay_s: float = 0.01
    crash_every_s: float = 12.0
    pause_every_s: float = 25.0
    cut_every_s: float = 25.0
    down_s: float = 1.0
    calm_s: float = 60.0


class Node(ABC):
    """Something that takes frames and has a time to wake."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.is_up = False
        self.lives = 0
        self.paused_until_s = self.cut_until_s = 0.0
        world.nodes[name] = self

    @property
    @abstractmethod
    def next_s(self) -> float | None:
        """Return when `tick` wants to be called."""

    @abstractmethod
    def boot(self) -> None:
        """Begin another life."""

    @abstractmethod
    def die(self) -> None:
        """Lose everything that is not on disk."""

    @abstractmethod
    def take(self, source: bytes, frames: list[bytes]) -> None:
        """Take frames from the network."""

    @abstractmethod
    def tick(self) -> None:
        """Take note of the time."""

    def arm(self, n_effects: int) -> None:  # noqa: B027 (a node without effects dies at once)
        """Die before so many more effects were run."""

    def start(self) -> None:
        """Begin a life."""
        self.lives += 1
        self.is_up = True
        self.world.note(f"{self.name} starts life {self.lives}")
        self.guarded(self.boot)

    def crash(self) -> None:
        """End a life, and begin another some time later."""
        if not self.is_up:
            return
        self.is_up = False
        self.world.counts["crashes"] += 1
        self.world.note(f"{self.name} crashes")
        self.die()
        down_s = self.world.random.expovariate(1.0 / self.world.faults.down_s)
        self.world.at(self.world.now_s + down_s, self.start)

    def guarded(self, run: Callable[[], None]) -> None:
        """Run something of this node; a crash inside ends its life."""
        try:
            run()
        except Crashed:
            self.crash()


class HubNode(Node):
    """The hub: the core of production; connections outlive a crash as TCP peers reconnect."""

    def __init__(self, world: "World") -> None:
        super().__init__(world, HUB)
        self.core = HubCore("hub-0", MAX_MESSAGE_BYTES)

    @property
    def next_s(self) -> float | None:
        """Return when presence has to be looked at."""
        return self.core.wake_at_s if self.is_up else None

    def boot(self) -> None:
        """Begin with an empty table."""
        self.core = HubCore(f"hub-{self.lives}", MAX_MESSAGE_BYTES)

    def die(self) -> None:
        """Forget the table."""

    def tick(self) -> None:
        """Notice who is silent."""
        self._send_all(self.core.tick(self.world.now_s))

    def take(self, source: bytes, frames: list[bytes]) -> None:
        """Route, as the process does."""
        to, payload = frames[0], frames[1:]
        try:
            check_frames(payload)
            if not to:
                message, _ = unpack(payload)
                self._send_all(self.core.receive(source, message, self.world.now_s))
                return
        except MessageRejected as err:
            self.core.reject(err.reason)
            return
        where = self.core.route(source, to, self.world.now_s)
        if isinstance(where, Route):
            self._send_all(where.news)
            self.world.carry(self, where.connection, [where.sender, *payload])
        else:
            self._send_all(where)

    def _send_all(self, sends: Sequence[HubSend]) -> None:
        for send in sends:
            self.world.carry(self, send.connection, [b"", *map(bytes, pack(send.message))])


class Agent(Node):
    """An agent with a mailbox: subclasses host a core."""

    def __init__(
        self, world: "World", name: str, role: Role, about: dict[str, Any] | None = None
    ) -> None:
        super().__init__(world, name)
        self._role, self._about = role, about
        self.mailbox = MailboxCore(name, role, f"{name}-0", about)
        self.connection = b""

    @property
    def core_next_s(self) -> float | None:
        """Return when the hosted core wants to wake."""
        return None

    @property
    def next_s(self) -> float | None:
        """Return when the mailbox or the core wants to wake."""
        if not self.is_up:
            return None
        times = [t for t in (self.mailbox.wake_at_s, self.core_next_s) if t is not None]
        return min(times, default=None)

    def boot(self) -> None:
        """Dial the hub under a new incarnation."""
        incarnation = f"{self.name}-{self.lives}"
        self.connection = incarnation.encode()
        self.world.connections[self.connection] = self
        self.mailbox = MailboxCore(
            self.name, self._role, incarnation, self._about, watch=self._role == "conductor"
        )
        self._run_mailbox(self.mailbox.start(self.world.now_s))
        self.begin()

    def die(self) -> None:
        """Drop the connection."""
        self.world.connections.pop(self.connection, None)
        self.lose()

    def take(self, source: bytes, frames: list[bytes]) -> None:  # noqa: ARG002 (of every node)
        """Take what the hub passes on."""
        try:
            message, arrays = unpack(frames[1:])
        except MessageRejected:
            self.world.counts["rejected"] += 1
            return
        sender = frames[0].decode() or HUB
        now_s = self.world.now_s
        self._run_mailbox(self.mailbox.receive(sender, message, now_s, arrays))

    def tick(self) -> None:
        """Wake what wants to wake."""
        self._run_mailbox(self.mailbox.tick(self.world.now_s))
        if self.is_up:
            self.wake()

    def send(self, to: str, message: Message, arrays: Sequence[NDArray[Any]] = ()) -> None:
        """Hand a message to the hub; lost when not registered, as in production."""
        if not self.mailbox.is_registered and to != HUB:
            self.world.counts["unsent"] += 1
            return
        frames: list[Frame] = pack(message, arrays)
        name = b"" if to == HUB else to.encode()
        self.world.carry(self, HUB.encode(), [name, *map(bytes, frames)])

    def _run_mailbox(self, effects: Sequence[object]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.send(effect.to, effect.message, effect.arrays)
                case Deliver():
                    self.receive(effect.sender, effect.message, effect.arrays)
                case Exit():
                    # replaced, or refused: the process ends, and something starts it again
                    raise Crashed

    @abstractmethod
    def begin(self) -> None:
        """Make the core, from what is on disk."""

    @abstractmethod
    def lose(self) -> None:
        """Lose what is not on disk."""

    @abstractmethod
    def receive(self, sender: str, message: Message, arrays: Sequence[NDArray[Any]]) -> None:
        """Take a message."""

    @abstractmethod
    def wake(self) -> None:
        """Tick the core, if it is time."""


class World:
    """Time, network, and the nodes on it.

    Args:
        seed: of everything random.
        faults: what goes wrong.
    """

    def __init__(self, seed: int, faults: Faults) -> None:
        self.seed, self.faults = seed, faults
        self.random = random.Random(seed)  # noqa: S311 (a simulation, not a secret)
        self.now_s = 0.0
        self.nodes: dict[str, Node] = {}
        self.connections: dict[bytes, Agent] = {}
        self.counts: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=_TRACE)
        self._digest = hashlib.blake2b(digest_size=16)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._n = 0

    @property
    def is_calm(self) -> bool:
        """Return True once nothing goes wrong any more."""
        return self.now_s >= self.faults.calm_s

    def at(self, time_s: float, call: Callable[[], None]) -> None:
        """Have something happen later."""
        self._n += 1
        heapq.heappush(self._heap, (time_s, self._n, call))

    def note(self, line: str) -> None:
        """Write a line of the history."""
        text = f"{self.now_s:10.4f} {line}"
        self._digest.update(text.encode())
        self.trace.append(text)

    def fingerprint(self) -> str:
        """Return the digest of the whole history."""
        return self._digest.hexdigest()

    def carry(self, source: Node, target: bytes, frames: Sequence[bytes]) -> None:
        """Send frames over one hop, as well as this network does."""
        payload = [bytes(f) for f in frames]
        identity = source.connection if isinstance(source, Agent) else HUB.encode()
        n_copies = 1
        if not self.is_calm:
            if self.random.random() < self.faults.loss:
                self.counts["lost"] += 1
                return
            if self.random.random() < self.faults.doubling:
                self.counts["doubled"] += 1
                n_copies = 2
        for _ in range(n_copies):
            delay_s = self.random.expovariate(1.0 / self.faults.delay_s)
            self.at(self.now_s + delay_s, lambda: self._arrive(source, identity, target, payload))

    def run(self, until_s: float, is_over: Callable[[], bool]) -> None:
        """Let time pass until `is_over`, at most to `until_s`."""
        for node in list(self.nodes.values()):
            node.start()
            self._plan_faults(node)
        while not is_over():
            at_s, waking = self._next_wake()
            if self._heap and self._heap[0][0] <= at_s:
                at_s, _, call = heapq.heappop(self._heap)
                self.now_s = max(self.now_s, at_s)
                if self.now_s > until_s:
                    return
                call()
            elif waking is None or at_s > until_s:
                return
            else:
                self.now_s = max(self.now_s, at_s)
                waking.guarded(waking.tick)

    def _arrive(self, source: Node, identity: bytes, target: bytes, payload: list[bytes]) -> None:
        node = self.nodes[HUB] if target == HUB.encode() else self.connections.get(target)
        if node is None or not node.is_up:
            self.counts["to nobody"] += 1
            return
        if max(source.cut_until_s, node.cut_until_s) > self.now_s:
            self.counts["cut off"] += 1
            return
        if node.paused_until_s > self.now_s:
            # a stopped process reads its socket when it goes on
            resume_s = node.paused_until_s
            self.at(resume_s, lambda: self._arrive(source, identity, target, payload))
            return
        self.counts["messages"] += 1
        digest = hashlib.blake2b(b"".join(payload), digest_size=4).hexdigest()
        self.note(f"{source.name} -> {node.name} {payload[0].decode()} {digest}")
        node.guarded(lambda: node.take(identity, payload))

    def _next_wake(self) -> tuple[float, Node | None]:
        best: tuple[float, Node | None] = (float("inf"), None)
        for node in self.nodes.values():
            wake_s = node.next_s
            if wake_s is not None and max(wake_s, node.paused_until_s) < best[0]:
                best = (max(wake_s, node.paused_until_s), node)
        return best

    def _plan_faults(self, node: Node) -> None:
        self._often(self.faults.crash_every_s, lambda: self._strike(node))
        self._often(self.faults.pause_every_s, lambda: self._pause(node))
        self._often(self.faults.cut_every_s, lambda: self._cut(node))

    def _often(self, every_s: float, call: Callable[[], None]) -> None:
        if every_s <= 0:
            return
        at_s = self.now_s + self.random.expovariate(1.0 / every_s)

        def happen() -> None:
            call()
            self._often(every_s, call)

        if at_s < self.faults.calm_s:
            self.at(at_s, happen)

    def _strike(self, node: Node) -> None:
        """Kill a node now, or in the middle of what it does next."""
        if self.random.random() < 0.3 or node.name == HUB:
            node.crash()
        else:
            node.arm(self.random.randrange(12))

    def _pause(self, node: Node) -> None:
        self.counts["pauses"] += 1
        node.paused_until_s = self.now_s + self.random.uniform(0.2, 8.0)
        self.note(f"{node.name} is stopped until {node.paused_until_s:.3f}")

    def _cut(self, node: Node) -> None:
        self.counts["partitions"] += 1
        node.cut_until_s = self.now_s + self.random.uniform(0.2, 8.0)
        self.note(f"{node.name} is cut off until {node.cut_until_s:.3f}")
