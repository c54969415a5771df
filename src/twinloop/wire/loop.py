"""The shell of every agent: drives a pure core with a mailbox and a log, with group commit.

Order is kept: no effect runs before an earlier one, with one exception that makes group commit
possible: an `Append` at the head of one input's effects may reach the log before effects of
another input that wait at a `Sync`. Nothing ever runs before what its own gate asks for is on disk.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from twinloop.clocks import RealWireClock, WireClock
from twinloop.errors import ArgumentError, MessageRejected
from twinloop.log.interface import EventLog
from twinloop.messages import Message
from twinloop.wire.effects import Append, Exit, Send, Sync
from twinloop.wire.mailbox import Letter, Mailbox

__all__ = ["AgentCore", "AgentLoop", "EffectRunner"]

_LOG = logging.getLogger(__name__)
_LAZY_COMMIT_S = 0.005
_LONGEST_WAIT_S = 60.0

Effects = Sequence[object]
ArrayIntake = Callable[[str, Message, tuple[NDArray[Any], ...], float], Effects]


class AgentCore(Protocol):
    """What an agent decides; see `twinloop.wire.effects`."""

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called, None for never."""
        ...

    def start(self, now_s: float) -> Effects:
        """Begin."""
        ...

    def receive(self, sender: str, message: Message, now_s: float) -> Effects:
        """Take a message."""
        ...

    def tick(self, now_s: float) -> Effects:
        """Take note of the time."""
        ...


class EffectRunner:
    """Runs lists of effects in order, one commit for all gates of a batch.

    Args:
        log: the agent's log, None for an agent without one (an `Append` is then an error).
        perform: runs any effect that is not a log effect.

    Example:
        >>> from twinloop.log.interface import Entry
        >>> from twinloop.log.memory import MemoryLog
        >>> done, log = [], MemoryLog("demo")
        >>> runner = EffectRunner(log, done.append)
        >>> runner.add([Append(Entry("intent", 1)), Sync(), "start the device"])
        >>> done, log.has_pending
        ([], True)
        >>> runner.flush()
        >>> done, log.has_pending
        (['start the device'], False)
    """

    def __init__(self, log: EventLog | None, perform: Callable[[object], None]) -> None:
        self._log, self._perform = log, perform
        self._waiting: list[list[object]] = []

    def add(self, effects: Effects) -> None:
        """Run what may run now; keep what stands behind a gate for `flush`."""
        kept: list[object] = []
        is_gated = bool(self._waiting)
        for effect in effects:
            # after an own effect that waits, nothing of this list may overtake it
            if kept:
                kept.append(effect)
            elif isinstance(effect, Append):
                self._append(effect)
            elif isinstance(effect, Sync) or is_gated:
                kept.append(effect)
            else:
                self._perform(effect)
        if kept:
            self._waiting.append(kept)

    def flush(self) -> None:
        """Commit once and run what waited, until nothing waits."""
        while self._waiting:
            if self._log is not None:
                self._log.commit()
            waiting, self._waiting = self._waiting, []
            for effects in waiting:
                self.add(effects[1:] if isinstance(effects[0], Sync) else effects)

    def _append(self, effect: Append) -> None:
        if self._log is None:
            raise ArgumentError("effect", effect, "no Append in an agent without a log")
        self._log.append(effect.entry)


class AgentLoop:
    """Poll loop around a core.

    Args:
        core: the decisions.
        mailbox: the connection; closed by the caller.
        log: the agent's own log, or None.
        perform: runs the agent's own effects, in the loop's thread; must not block.
        receive_arrays: takes messages with their inline arrays, in place of `core.receive`; without
            it the arrays are dropped.
        clock: the wire's clock.
    """

    def __init__(
        self,
        core: AgentCore,
        mailbox: Mailbox,
        log: EventLog | None = None,
        perform: Callable[[object], None] | None = None,
        *,
        receive_arrays: ArrayIntake | None = None,
        clock: WireClock | None = None,
    ) -> None:
        self.unsendable: Counter[str] = Counter()
        self._core, self._mailbox, self._log = core, mailbox, log
        self._extra = perform
        self._receive_arrays = receive_arrays
        self._clock = clock or RealWireClock()
        self._runner = EffectRunner(log, self._perform)
        self._injected: deque[Callable[[], Effects]] = deque()
        self._lock = threading.Lock()
        self._commit_by_s: float | None = None
        self._exit: Exit | None = None

    def inject(self, make_effects: Callable[[], Effects]) -> None:
        """Have the loop call `make_effects` in its own thread and run the effects; thread-safe.

        Device and pool threads report this way: `loop.inject(lambda: core.device_done(...))`.
        """
        with self._lock:
            self._injected.append(make_effects)
        self._mailbox.wake()

    def run(self) -> Exit:
        """Run until an `Exit`, and return it; everything appended is then on disk."""
        self._runner.add(self._core.start(self._clock.now_s()))
        self._runner.flush()
        while self._exit is None:
            self.step(self._mailbox.poll(self._wait_s()))
            self._exit = self._exit or self._mailbox.ended
        if self._log is not None:
            self._log.commit()
        return self._exit

    def step(self, letters: Sequence[Letter]) -> None:
        """Take one batch of inputs, run its effects, commit at most as often as gates demand."""
        for letter in letters:
            self._runner.add(self._take(letter))
        for make_effects in self._take_injected():
            self._runner.add(make_effects())
        wake_at_s, now_s = self._core.wake_at_s, self._clock.now_s()
        if wake_at_s is not None and wake_at_s <= now_s:
            self._runner.add(self._core.tick(now_s))
        self._runner.flush()
        self._commit_lazily(now_s)

    def _take(self, letter: Letter) -> Effects:
        now_s = self._clock.now_s()
        if self._receive_arrays is not None:
            return self._receive_arrays(letter.sender, letter.message, letter.arrays, now_s)
        return self._core.receive(letter.sender, letter.message, now_s)

    def _take_injected(self) -> list[Callable[[], Effects]]:
        with self._lock:
            taken = list(self._injected)
            self._injected.clear()
        return taken

    def _commit_lazily(self, now_s: float) -> None:
        if self._log is None or not self._log.has_pending:
            self._commit_by_s = None
        elif self._commit_by_s is None:
            self._commit_by_s = now_s + _LAZY_COMMIT_S
        elif now_s >= self._commit_by_s:
            self._log.commit()
            self._commit_by_s = None

    def _wait_s(self) -> float:
        now_s = self._clock.now_s()
        times = [now_s + _LONGEST_WAIT_S]
        times += [t for t in (self._core.wake_at_s, self._commit_by_s) if t is not None]
        return max(0.0, min(times) - now_s)

    def _perform(self, effect: object) -> None:
        if self._exit is not None:
            return
        if isinstance(effect, Send):
            self._send(effect)
        elif isinstance(effect, Exit):
            self._exit = effect
        elif self._extra is not None:
            self._extra(effect)
        else:
            raise ArgumentError(
                "effect", effect, "Send, Append, Sync, Exit, or one that `perform` takes"
            )

    def _send(self, effect: Send) -> None:
        try:
            self._mailbox.send(effect.to, effect.message, effect.arrays)
        except MessageRejected as err:
            # one message that cannot pass must not end an agent that holds a machine
            self.unsendable[err.reason] += 1
            _LOG.error("%s to %s cannot be sent: %s", effect.message.kind, effect.to, err)
