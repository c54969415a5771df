"""A person at the hub of a run: send one message, and wait for the answer."""

import secrets
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from twinloop.clocks import RealWireClock
from twinloop.errors import Disconnected
from twinloop.messages import (
    EmergencyStop,
    InstrumentStatus,
    Message,
    StatusRequest,
    Undeliverable,
)
from twinloop.wire.mailbox import Mailbox

__all__ = ["ask", "emergency_stop", "hub_of", "instruments_at"]

WAIT_S = 10.0
_AGAIN_S = 1.0
_QUIET_S = 1.0
M = TypeVar("M", bound=BaseModel)


def hub_of(folder: Path) -> str:
    """Return the endpoint of the hub of a run.

    Raises:
        Disconnected: nothing runs there.
    """
    try:
        return (folder / "hub.txt").read_text(encoding="utf-8").strip()
    except FileNotFoundError as err:
        hint = f"it does not run; 'twinloop resume {folder}' takes it up"
        raise Disconnected(f"the hub of {folder}", 0.0, hint) from err


def ask(endpoint: str, to: str, message: Message, answer: type[M], wait_s: float = WAIT_S) -> M:
    """Send a message until it is answered; every message of a person may arrive twice.

    Args:
        endpoint: of the hub.
        to: name of the agent.
        message: what to say.
        answer: sort of message that answers it.
        wait_s: how long to try [s].

    Raises:
        Disconnected: no answer.
    """
    clock = RealWireClock()
    end_s, again_s = clock.now_s() + wait_s, 0.0
    reason = "the hub does not answer: 'twinloop resume FOLDER' takes the run up again"
    with Mailbox(endpoint, _name(), "person") as mailbox:
        while mailbox.ended is None and clock.now_s() < end_s:
            if mailbox.is_registered and clock.now_s() >= again_s:
                mailbox.send(to, message)
                again_s = clock.now_s() + _AGAIN_S
            for sender, found, _ in mailbox.poll(0.1):
                if sender == to and isinstance(found, answer):
                    return found
                if isinstance(found, Undeliverable) and found.to == to:
                    reason = found.reason
    raise Disconnected(to, wait_s, reason)


def instruments_at(
    endpoint: str, wait_s: float = WAIT_S
) -> dict[str, tuple[str, InstrumentStatus]]:
    """Return the agent and the state of each instrument that is served at a hub, by name.

    Raises:
        Disconnected: the hub does not answer.
    """
    clock = RealWireClock()
    end_s = clock.now_s() + wait_s
    found: dict[str, tuple[str, InstrumentStatus]] = {}
    asked: set[str] = set()
    with Mailbox(endpoint, _name(), "person", watch=True) as mailbox:
        while not mailbox.is_registered and mailbox.ended is None and clock.now_s() < end_s:
            mailbox.poll(0.1)
        if not mailbox.is_registered:
            raise Disconnected("the hub", wait_s, "is the run still under way?")
        quiet_s = clock.now_s() + _QUIET_S
        while clock.now_s() < min(quiet_s, end_s):
            for sender, message, _ in mailbox.poll(0.1):
                if isinstance(message, InstrumentStatus):
                    found[message.instrument] = (sender, message)
                    quiet_s = clock.now_s() + _QUIET_S
            for agent in mailbox.presence.values():
                if agent.is_here and agent.role == "adapter" and agent.name not in asked:
                    asked.add(agent.name)
                    mailbox.send(agent.name, StatusRequest())
    return dict(sorted(found.items()))


def emergency_stop(
    endpoint: str, stop: EmergencyStop, wait_s: float = WAIT_S
) -> dict[str, InstrumentStatus]:
    """Tell every adapter at a hub to stop, until each has answered; return what they say.

    Args:
        endpoint: of the hub.
        stop: which instrument, or None for all, and why.
        wait_s: how long to try [s].

    Raises:
        Disconnected: no adapter, or one that does not answer, or none that serves the instrument.
    """
    clock = RealWireClock()
    begun_s = clock.now_s()
    told_s: dict[str, float] = {}
    here: set[str] = set()
    answered: set[str] = set()
    found: dict[str, InstrumentStatus] = {}
    with Mailbox(endpoint, _name(), "person", watch=True) as mailbox:
        while mailbox.ended is None and clock.now_s() < begun_s + wait_s:
            here = {a.name for a in mailbox.presence.values() if a.is_here and a.role == "adapter"}
            for name in sorted(here):
                if clock.now_s() >= told_s.get(name, begun_s - _AGAIN_S) + _AGAIN_S:
                    told_s[name] = clock.now_s()
                    mailbox.send(name, stop)
                    # answered also by an adapter that does not serve that instrument
                    mailbox.send(name, StatusRequest())
            for sender, message, _ in mailbox.poll(0.05):
                if isinstance(message, InstrumentStatus):
                    answered.add(sender)
                    if message.instrument == (stop.instrument or message.instrument):
                        found[message.instrument] = message
            if found and here <= answered and all(status.trip for status in found.values()):
                return dict(sorted(found.items()))
    silent = ", ".join(sorted(here - answered)) if mailbox.is_registered else "the hub"
    raise Disconnected(
        silent or f"an adapter that serves {stop.instrument or 'something'}",
        wait_s,
        "stop the machine by hand, at the machine",
    )


def _name() -> str:
    return f"person-{secrets.token_hex(4)}"
