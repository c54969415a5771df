"""The viewer agent: listens, draws, and gets in nobody's way.

It sends two things only: its hello to the hub, which tells the conductor that somebody looks, and
now and then a question to adapters how their instruments are. Whatever goes wrong in here is logged
and ends the view, never the campaign.
"""

import logging
import os
import threading
from contextlib import ExitStack
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live

from twinloop.agents.view.content import names, silent_s
from twinloop.agents.view.drawing import render
from twinloop.agents.view.log_lines import log_lines
from twinloop.agents.view.stream_window import StreamWindow
from twinloop.clocks import RealWireClock, WireClock
from twinloop.errors import LabError
from twinloop.messages import InstrumentStatus, Message, Presence, StatusRequest, View
from twinloop.wire.endpoint import check_endpoint
from twinloop.wire.mailbox import Mailbox
from twinloop.wire.streams import StreamSubscriber

__all__ = ["Canvas", "Gallery", "LineCanvas", "ScreenCanvas", "live_view"]

_LOG = logging.getLogger(__name__)
STREAM = "intensity"
_POLL_S = 0.1
_ASK_S = 1.0
_REDRAW_S = 0.15
_MOST_STREAMS = 4


def live_view(
    hub_endpoint: str,
    stop: threading.Event,
    *,
    campaign: str = "",
    console: Console | None = None,
) -> None:
    """Show a campaign until `stop` is set; return within half a second of it.

    Args:
        hub_endpoint: where the hub listens, or will listen.
        stop: ends the view.
        campaign: its name, for the title until the conductor tells it.
        console: where to draw; the terminal, or lines on standard output where that is none.
    """
    try:
        with ExitStack() as stack:
            canvas = _canvas(console or Console(), stack)
            mailbox = Mailbox(
                check_endpoint(hub_endpoint), f"viewer-{os.getpid()}", "viewer", watch=True
            )
            stack.enter_context(mailbox)
            gallery = Gallery(campaign)
            stack.callback(gallery.close)
            while not stop.is_set() and mailbox.ended is None:
                for sender, message, _ in mailbox.poll(_POLL_S):
                    gallery.receive(sender, message)
                for adapter in gallery.to_ask():
                    mailbox.send(adapter, StatusRequest())
                gallery.listen()
                canvas.show(gallery)
            gallery.note_silence()
            canvas.show(gallery, is_last=True)
    except Exception:  # noqa: BLE001 - the boundary of an agent that nothing depends on
        _LOG.exception("the live view has ended; the campaign goes on without it")


class Gallery:
    """What is known for the view: the last picture, instruments, streams.

    Args:
        campaign: its name as far as it is known.
        clock: the wire's clock.
    """

    def __init__(self, campaign: str = "", clock: WireClock | None = None) -> None:
        self.streams: dict[str, StreamWindow] = {}
        self._clock = clock or RealWireClock()
        self._picture: dict[str, Any] = {"campaign": campaign}
        self._instruments: dict[str, dict[str, Any]] = {}
        self._adapters: set[str] = set()
        self._subscribers: dict[str, StreamSubscriber] = {}
        self._depot = ""
        self._heard_s: float | None = None
        self._ask_at_s = self._clock.now_s()

    @property
    def content(self) -> dict[str, Any]:
        """Return the picture to draw."""
        return {**self._picture, "instruments": dict(self._instruments)}

    def receive(self, sender: str, message: Message) -> None:
        """Take a message."""
        match message:
            case View():
                self._heard_s = self._clock.now_s()
                name = message.campaign or self._picture["campaign"]
                self._picture = {**message.content, "campaign": name}
                self._tune(str(message.content.get("depot") or ""))
            case InstrumentStatus():
                self._instruments[message.instrument] = {
                    "state": message.state,
                    "action": message.action,
                    "sample": message.sample,
                    "trip": message.trip,
                }
            case Presence() if message.role == "adapter":
                (self._adapters.add if message.is_here else self._adapters.discard)(message.name)
            case _:
                _LOG.debug("from %s: %s", sender, message.kind)

    def to_ask(self) -> list[str]:
        """Return the adapters to ask for the state of their instruments now."""
        now_s = self._clock.now_s()
        if now_s < self._ask_at_s:
            return []
        self._ask_at_s = now_s + _ASK_S
        return sorted(self._adapters)

    def listen(self) -> None:
        """Take what the streams brought, without waiting."""
        self.note_silence()
        for name, subscriber in self._subscribers.items():
            for element in subscriber.poll(0.0):
                window = self.streams.setdefault(name, StreamWindow())
                window.take(element.key, element.about, element.arrays, element.n_lost)

    def note_silence(self) -> None:
        """Note for how long the conductor has been silent; one that has ended may be."""
        if self._heard_s is None or self._picture.get("finished"):
            self._picture["silent_s"] = 0.0
        else:
            self._picture["silent_s"] = self._clock.now_s() - self._heard_s

    def close(self) -> None:
        """Let go of the streams."""
        while self._subscribers:
            self._subscribers.popitem()[1].close()

    def _tune(self, depot: str) -> None:
        """Listen to the intensity of each instrument, at the depot of the present conductor."""
        if depot != self._depot:
            self.close()
            self._depot = depot
        for name in names(self._picture, "leases"):
            stream = f"{name}.{STREAM}"
            if depot and stream not in self._subscribers and len(self._subscribers) < _MOST_STREAMS:
                try:
                    self._subscribers[stream] = StreamSubscriber(check_endpoint(depot), stream)
                except LabError as err:
                    _LOG.warning("no stream %s: %s", stream, err)


class Canvas(Protocol):
    """Where a gallery is shown."""

    def show(self, gallery: Gallery, *, is_last: bool = False) -> None:
        """Show it as it is now."""
        ...


class ScreenCanvas:
    """Redraws a part of the terminal in place.

    Args:
        console: the terminal.
        live: rich's live display of it.
        clock: the wire's clock.
    """

    def __init__(self, console: Console, live: Live, clock: WireClock | None = None) -> None:
        self._console, self._live = console, live
        self._clock = clock or RealWireClock()
        self._drawn_s = float("-inf")

    def show(self, gallery: Gallery, *, is_last: bool = False) -> None:
        """Draw, some times a second at most."""
        now_s = self._clock.now_s()
        if not is_last and now_s - self._drawn_s < _REDRAW_S:
            return
        self._drawn_s = now_s
        picture = render(gallery.content, gallery.streams, self._console.width)
        self._live.update(picture, refresh=True)


class LineCanvas:
    """Prints a line for each change, with the campaign's time before it.

    Args:
        console: where to; no terminal, or one that lacks the characters of a drawing.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, Any] | None = None

    def show(self, gallery: Gallery, *, is_last: bool = False) -> None:  # noqa: ARG002 - as on a screen
        """Print what changed since the last time."""
        content = gallery.content
        if "goal" not in content:
            return
        at_s = content.get("at_s")
        stamp = f"{at_s + silent_s(content):9.1f} s  " if isinstance(at_s, int | float) else ""
        for line in log_lines(self._shown, content):
            self._console.out(_encodable(f"{stamp}{line}", self._console.encoding), highlight=False)
        self._shown = content


def _canvas(console: Console, stack: ExitStack) -> Canvas:
    if console.is_terminal and _encodable("█", console.encoding) == "█":
        live = Live(console=console, auto_refresh=False)
        return ScreenCanvas(console, stack.enter_context(live))
    return LineCanvas(console)


def _encodable(line: str, encoding: str) -> str:
    return line.encode(encoding, "replace").decode(encoding)
