"""The health of served instruments, as text: what a person at the control PC wants to know."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from twinloop.clocks import RealWireClock, WireClock
from twinloop.errors import Disconnected
from twinloop.messages import InstrumentStatus, StatusRequest
from twinloop.wire.mailbox import Mailbox

__all__ = ["Health", "Watcher", "change_line", "list_lines", "show_lines"]

_GONE_S = 3.0
_POLL_S = 0.05
_DIGEST = 12


@dataclass(frozen=True, slots=True)
class Health:
    """What was last heard of one instrument.

    Args:
        agent: the adapter that serves it.
        status: what it said.
        offset_s: its wall clock minus ours, when it said it [s]; None where it does not tell.
        offset_error_s: largest error of that: half the time between question and answer [s].
        age_s: how long ago that was [s].
    """

    agent: str
    status: InstrumentStatus
    offset_s: float | None
    offset_error_s: float
    age_s: float = 0.0

    @property
    def is_silent(self) -> bool:
        """Return True when nothing has been heard for a while."""
        return self.age_s > _GONE_S


class Watcher:
    """Asks every adapter at a hub, again and again.

    Args:
        endpoint: of the hub.
        name: of this asker at the hub.
        clock: the wire's clock.
    """

    def __init__(self, endpoint: str, name: str, clock: WireClock | None = None) -> None:
        self._clock = clock or RealWireClock()
        self._mailbox = Mailbox(endpoint, name, "person", watch=True)
        self._asked_s: dict[str, float] = {}
        self._best: dict[str, tuple[float, float]] = {}
        self._found: dict[str, tuple[Health, float]] = {}

    def close(self) -> None:
        """Leave the hub."""
        self._mailbox.close()

    def rounds(self, every_s: float, lasts_s: float | None = None) -> Iterator[dict[str, Health]]:
        """Yield the health of every instrument, once a period.

        Args:
            every_s: period [s].
            lasts_s: when to end [s]; None: never.

        Raises:
            Disconnected: the hub does not answer.
        """
        begun_s = self._clock.now_s()
        while lasts_s is None or self._clock.now_s() < begun_s + lasts_s:
            end_s = self._clock.now_s() + every_s
            self._ask()
            while self._clock.now_s() < end_s:
                self._listen(_POLL_S)
                if self._mailbox.is_registered and not self._asked_s:
                    self._ask()
            if not self._mailbox.is_registered and self._clock.now_s() > begun_s + 2 * every_s:
                raise Disconnected("the hub", every_s, "is the run still under way?")
            yield self.now()

    def now(self) -> dict[str, Health]:
        """Return what is known, by instrument."""
        now_s = self._clock.now_s()
        return {
            name: Health(h.agent, h.status, h.offset_s, h.offset_error_s, now_s - at_s)
            for name, (h, at_s) in sorted(self._found.items())
        }

    def _ask(self) -> None:
        if not self._mailbox.is_registered:
            return
        for agent in self._mailbox.presence.values():
            if agent.is_here and agent.role == "adapter":
                self._asked_s[agent.name] = self._clock.now_s()
                self._mailbox.send(agent.name, StatusRequest())

    def _listen(self, timeout_s: float) -> None:
        for sender, message, _ in self._mailbox.poll(timeout_s):
            if isinstance(message, InstrumentStatus):
                now_s = self._clock.now_s()
                taken_s = now_s - self._asked_s.get(sender, now_s)
                offset_s, error_s = self._offset(sender, message, taken_s)
                health = Health(sender, message, offset_s, error_s)
                self._found[message.instrument] = (health, now_s)

    def _offset(
        self, agent: str, status: InstrumentStatus, taken_s: float
    ) -> tuple[float | None, float]:
        """Return the offset of the quickest answer so far: its error is the smallest."""
        if not status.utc:
            return None, 0.0
        found_s = (datetime.fromisoformat(status.utc) - datetime.now(UTC)).total_seconds()
        one = (taken_s / 2, found_s + taken_s / 2)
        self._best[agent] = min(self._best.get(agent, one), one)
        error_s, offset_s = self._best[agent]
        return offset_s, error_s


def list_lines(found: Mapping[str, Health]) -> list[str]:
    """Return one line for each instrument, and one more for a trip.

    Example:
        >>> list_lines({})
        ['no adapter is present']
    """
    if not found:
        return ["no adapter is present"]
    lines = [f"{'NAME':16} {'KIND':10} {'STATE':12} {'HELD BY':28} {'DOES':20} ADAPTER"]
    for name, health in found.items():
        status = health.status
        state = "silent" if health.is_silent else status.state
        lines.append(
            f"{name:16} {status.kind_name:10} {state:12} {status.holder or 'nobody':28} "
            f"{status.action or 'nothing':20} {health.agent}"
            + ("  (twin)" if status.is_twin else "")
        )
        if status.trip:
            lines.append(f"  TRIPPED: {status.trip}")
    return lines


def show_lines(health: Health, installed_digest: str | None = None) -> list[str]:
    """Return everything that is known of one instrument.

    Args:
        health: what was heard.
        installed_digest: schema digest of the class that is installed here, to compare.
    """
    status = health.status
    doing = f"{status.action} ({status.key})" if status.action else "nothing"
    told = {
        "state": f"{status.state}{'; nothing heard of it' if health.is_silent else ''}",
        "kind": f"{status.kind_name}{', a twin' if status.is_twin else ''}",
        "adapter": health.agent,
        "does": doing,
        "lease": f"{status.holder or 'nobody'}{f', epoch {status.epoch}' if status.epoch else ''}",
        "sample": status.sample or "none",
        "trip": status.trip or "none",
        "last trip": status.last_trip or "none in this ledger",
        "ledger": f"{status.ledger}: {status.n_commands} commands, "
        f"{status.n_unacked} outcomes not yet acknowledged",
        "spool": f"{status.spool_bytes / 2**20:.1f} MiB",
        "clock": _clock_words(health),
        "schema": _schema_words(status.schema_digest, installed_digest),
    }
    lines = [f"{key + ':':11} {value}" for key, value in told.items()]
    if status.trip:
        lines += ["", "Look at the instrument. Then, with what you found:"]
        lines.append(f"  twinloop instrument clear {status.instrument} --reason '...' --run FOLDER")
    return [status.instrument, *lines]


def change_line(before: Health | None, health: Health) -> str | None:
    """Return a line where something has changed that a person would want to know; else None."""
    if before is not None and _key(before) == _key(health):
        return None
    status = health.status
    state = "silent" if health.is_silent else status.state
    doing = f", {status.action} ({status.key})" if status.action else ""
    trip = f", TRIPPED: {status.trip}" if status.trip else ""
    held = f", held by {status.holder}" if status.holder else ""
    return f"{status.utc[11:19]} {status.instrument}: {state}{doing}{held}{trip}".lstrip()


def _key(health: Health) -> tuple[object, ...]:
    status = health.status
    return (health.is_silent, status.state, status.key, status.holder, status.trip, status.ledger)


def _clock_words(health: Health) -> str:
    words = f"laboratory clock x {health.status.clock_factor:g}"
    if health.offset_s is None:
        return f"{words}; its wall clock is not told"
    offset, error = 1e3 * health.offset_s, 1e3 * health.offset_error_s
    return f"{words}; wall clock {offset:+.0f} ms from this machine's (+- {error:.0f} ms)"


def _schema_words(digest: str, installed: str | None) -> str:
    words = f"{digest[:_DIGEST]}..."
    if installed is None:
        return words
    if installed == digest:
        return f"{words}, as installed here"
    return f"{words}, but {installed[:_DIGEST]}... is installed here: limits or actions differ"
