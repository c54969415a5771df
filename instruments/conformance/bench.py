"""The bench: a real hub, a real adapter process that may be killed, and a lease holder by hand."""

import contextlib
import itertools
import secrets
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from twinloop.clocks import RealWireClock
from twinloop.errors import LabError
from twinloop.ids import CommandKey
from twinloop.instruments.conformance.record import Record
from twinloop.instruments.conformance.recorder import recorded_path
from twinloop.instruments.interface import Instrument
from twinloop.instruments.locks import FolderLock
from twinloop.instruments.serving import READY
from twinloop.instruments.spec import AdapterSpec, InstrumentSpec, class_path
from twinloop.instruments.watchdog_notes import WATCHDOG_LOCK
from twinloop.messages import (
    Abort,
    Accepted,
    Clear,
    Command,
    InstrumentStatus,
    LeaseGranted,
    LeaseRefused,
    LeaseRelease,
    LeaseRenew,
    LeaseRequest,
    Message,
    Outcome,
    OutcomeAck,
    Query,
    ReadoutReply,
    ReadoutRequest,
    StatusRequest,
)
from twinloop.wire.mailbox import Mailbox

__all__ = ["AdapterDied", "Bench", "BenchFailed", "Place"]

CAMPAIGN = "check"
ADAPTER = "adapter"
ANSWER_S = 20.0
START_S = 300.0
TTL_S = 1.0

_RENEW_S = 0.2
_AGAIN_S = 0.5
_POLL_S = 0.02
_END_S = 10.0
_BOUND_S = 60.0
_LAST_LINES = 12
T = TypeVar("T")


class BenchFailed(LabError):
    """Hub, adapter or a helper process does not do what the bench needs."""

    def __init__(self, what: str, detail: str, what_to_do: str = "") -> None:
        self.what, self.detail, self.what_to_do = what, detail, what_to_do
        hint = f"\n{what_to_do}" if what_to_do else ""
        super().__init__(f"{what}: {detail}{hint}")


class AdapterDied(BenchFailed):
    """The adapter process ended, and nobody had killed it."""

    def __init__(self, log: str) -> None:
        super().__init__("the adapter process", "it died by itself", log)


@dataclass(slots=True)
class Place:
    """One instrument on the bench.

    Args:
        cls: its class.
        settings: of it.
        record: what reaches the author's code; None where the adapter is not ours.
        silence_s: every silence is rehearsed with this length [s, real].
    """

    cls: type[Instrument]
    settings: Mapping[str, Any]
    record: Record | None
    silence_s: float = 1.5


@dataclass(slots=True)
class _Heard:
    outcomes: dict[CommandKey, Outcome] = field(default_factory=dict)
    accepted: set[CommandKey] = field(default_factory=set)
    refused: list[LeaseRefused] = field(default_factory=list)
    n_told: defaultdict[CommandKey, int] = field(default_factory=lambda: defaultdict(int))


class Bench:
    """Hub, depot, adapter process and mailbox; used from one thread.

    Args:
        folder: of everything; empty.
        endpoint: of a hub at which the instruments are served already; None: a hub of its own.
        adapter: name of the adapter there.

    Raises:
        BenchFailed: the hub does not start.
    """

    def __init__(self, folder: Path, endpoint: str | None = None, adapter: str = ADAPTER) -> None:
        self.folder, self.adapter = folder, adapter
        self.clock = RealWireClock()
        self.places: dict[str, Place] = {}
        self.leases: dict[str, LeaseGranted] = {}
        self.heard = _Heard()
        self.acknowledges = True
        self.may_die = False
        self.n_starts = 0
        self.campaign = f"{CAMPAIGN}-{secrets.token_hex(3)}"
        self._steps, self._lives = itertools.count(1), itertools.count(1)
        self._renewed_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._hub = self._start_hub()
        self.hub, self.depot = self._announced()
        if endpoint is not None:
            self.hub = endpoint
        self.mailbox = Mailbox(self.hub, f"check-{secrets.token_hex(4)}", "conductor")
        self.person = Mailbox(self.hub, f"person-{secrets.token_hex(4)}", "person")

    # --- processes ---------------------------------------------------------------------------

    def start(self, clock_factor: float = 1.0, **change: Any) -> None:
        """Start the adapter process on what stands in `places`, and wait until it is ready.

        Raises:
            BenchFailed: it is not ready in time.
        """
        spec = AdapterSpec.model_validate(
            {
                "agent": self.adapter,
                "hub": self.hub,
                "folder": self.adapter_folder,
                "instruments": {name: _spec_of(place) for name, place in self.places.items()},
                "clock_factor": clock_factor,
                "telemetry_s": 0.5,
                # an adapter that is not started again leaves a watchdog behind: not for long
                "finish_bound_lab_s": _BOUND_S * clock_factor,
                **change,
            }
        )
        path = self.folder / "adapter.json"
        spec.write(path)
        ready = self.adapter_folder / READY
        ready.unlink(missing_ok=True)
        with (self.folder / "adapter.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "twinloop.instruments.server", "--spec", str(path),
                 "--exit-with-stdin"],
                stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip
        self.n_starts += 1
        process = self._process
        self.may_die = True
        is_up = self.wait(lambda: ready.exists() or process.poll() is not None, START_S)
        self.may_die = False
        if not is_up:
            raise BenchFailed("the adapter", f"it is not ready after {START_S:g} s", self.log())
        if process.poll() is not None:
            raise BenchFailed("the adapter", "it ended at its start", self.log())

    @property
    def adapter_folder(self) -> Path:
        """Return the folder of ledger and spool."""
        return self.folder / "adapter"

    @property
    def is_dead(self) -> bool:
        """Return True when the adapter process is gone."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End the adapter as a power cut does: no word, no cleaning up; its watchdog lives."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def await_death(self, within_s: float) -> bool:
        """Wait for an adapter that was ordered to die (`may_die`); True when it did."""
        is_dead = self.wait(lambda: self.is_dead, within_s)
        self.may_die = False
        if is_dead:
            self._reap()
        return is_dead

    def end(self) -> None:
        """End the adapter in order, with its watchdog."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        self.may_die = True
        is_over = self.wait(lambda: process.poll() is not None, _END_S)
        if not is_over:
            process.kill()
        self._reap()
        self.may_die = False

    def log(self) -> str:
        """Return the last lines of the adapter's and its watchdog's words."""
        lines: list[str] = []
        for path in (self.folder / "adapter.log", self.adapter_folder / "watchdog.log"):
            if path.exists():
                text = path.read_text(encoding="utf-8", errors="replace")
                lines += text.splitlines()[-_LAST_LINES:]
        return "\n".join(lines)

    def watchdog_is_there(self) -> bool:
        """Return True while a watchdog holds its lock."""
        return FolderLock.is_held(self.adapter_folder / WATCHDOG_LOCK)

    def close(self) -> None:
        """End everything."""
        for name in list(self.leases):
            self.release(name)
        self.end()
        self.mailbox.close()
        self.person.close()
        if self._hub.stdin is not None:
            self._hub.stdin.close()
        try:
            self._hub.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._hub.kill()
            self._hub.wait()

    # --- waiting -----------------------------------------------------------------------------

    def wait(self, is_true: Callable[[], object], within_s: float) -> bool:
        """Keep leases up and take messages until something is so; False when it does not come."""
        end_s = self.clock.now_s() + within_s
        while not is_true():
            if self.clock.now_s() >= end_s:
                return False
            self.poll(_POLL_S)
        return True

    def pause(self, duration_s: float) -> None:
        """Let time pass, keeping leases up [s]."""
        self.wait(lambda: False, duration_s)

    def poll(self, timeout_s: float) -> list[Message]:
        """Take what has come.

        Raises:
            AdapterDied: nobody had killed it.
        """
        if self._process is not None and not self.may_die and self._process.poll() is not None:
            self._reap()
            raise AdapterDied(self.log())
        if self.clock.now_s() >= self._renewed_s + _RENEW_S:
            self._renewed_s = self.clock.now_s()
            for name, lease in self.leases.items():
                self.send(LeaseRenew(instrument=name, epoch=lease.epoch))
        found = [message for _, message, _ in self.mailbox.poll(timeout_s)]
        self.person.poll(0.0)
        for message in found:
            match message:
                case Outcome() if message.state != "running":
                    self.heard.outcomes[message.key] = message
                    self.heard.n_told[message.key] += 1
                    if self.acknowledges:
                        self.send(OutcomeAck(key=message.key))
                case Accepted():
                    self.heard.accepted.add(message.key)
                case LeaseRefused():
                    self.heard.refused.append(message)
                case _:
                    pass
        return found

    def send(self, message: Message) -> bool:
        """Say something to the adapter; best effort."""
        return self.mailbox.send(self.adapter, message)

    def ask(
        self, message: Message, find: Callable[[Message], T | None], within_s: float = ANSWER_S
    ) -> T | None:
        """Say something again and again until it is answered; None when it is not."""
        end_s, again_s = self.clock.now_s() + within_s, 0.0
        while self.clock.now_s() < end_s:
            if self.clock.now_s() >= again_s and self.mailbox.is_registered:
                self.send(message)
                again_s = self.clock.now_s() + _AGAIN_S
            for heard in self.poll(_POLL_S):
                found = find(heard)
                if found is not None:
                    return found
        return None

    # --- leases and commands -----------------------------------------------------------------

    def lease(self, name: str, campaign: str = "", within_s: float = ANSWER_S) -> LeaseGranted:
        """Take the lease on an instrument, as a new life of the holder.

        Raises:
            BenchFailed: it is not granted.
        """
        life = str(next(self._lives))
        request = LeaseRequest(
            instrument=name, campaign=campaign or self.campaign, depot=self.depot, ttl_s=TTL_S,
            incarnation=life,
        )  # fmt: skip
        self.leases.pop(name, None)
        self.heard.refused.clear()
        granted = self.ask(
            request,
            lambda m: m if isinstance(m, LeaseGranted) and m.instrument == name else None,
            within_s,
        )
        if granted is None:
            why = self.heard.refused[-1].reason if self.heard.refused else "no answer"
            raise BenchFailed(f"lease on {name}", why, self.log())
        self.leases[name] = granted
        return granted

    def release(self, name: str) -> None:
        """Give the lease back."""
        lease = self.leases.pop(name, None)
        if lease is not None:
            self.send(LeaseRelease(instrument=name, epoch=lease.epoch))

    def command(
        self,
        name: str,
        action: str,
        arguments: Mapping[str, Any],
        sample: str | None,
        **change: Any,
    ) -> Command:
        """Return a command under the present lease, with a key that no other has."""
        lease = self.leases[name]
        made = Command(
            key=CommandKey(lease.campaign, "check", f"{next(self._steps)}-{action}"[:64], 1),
            instrument=name,
            action=action,
            arguments=dict(arguments),
            sample=sample,
            epoch=lease.epoch,
            ledger=lease.ledger,
            not_after_s=1e12,
        )
        return made.model_copy(update=change)

    def begin(self, command: Command, within_s: float = ANSWER_S) -> Command:
        """Send a command until it is accepted or answered; return it as it was sent."""
        end_s = self.clock.now_s() + within_s
        while self.clock.now_s() < end_s:
            self.heard.refused.clear()
            answered = self.ask(command, _answer_to(command.key), min(2.0, within_s))
            if not isinstance(answered, LeaseRefused):
                return command
            # as a conductor does: the key is not decided
            lease = self.lease(command.instrument, command.key.campaign)
            command = command.model_copy(update={"epoch": lease.epoch})
        return command

    def outcome(self, command: Command, within_s: float = ANSWER_S) -> Outcome | None:
        """Wait for the outcome of a command; None when it does not come in time."""
        key, end_s, ask_s = command.key, self.clock.now_s() + within_s, self.clock.now_s() + 1.0
        while key not in self.heard.outcomes and self.clock.now_s() < end_s:
            if self.clock.now_s() >= ask_s:
                query = Query(key=key, instrument=command.instrument, ledger=command.ledger)
                self.send(query)
                ask_s = self.clock.now_s() + 1.0
            self.poll(_POLL_S)
        return self.heard.outcomes.get(key)

    def abort(self, command: Command) -> None:
        """Ask for the end of a command."""
        epoch = self.leases[command.instrument].epoch
        self.send(Abort(key=command.key, instrument=command.instrument, epoch=epoch))

    def status(self, name: str) -> InstrumentStatus:
        """Return the state of an instrument.

        Raises:
            BenchFailed: no answer.
        """
        found = self.ask(
            StatusRequest(instrument=name),
            lambda m: m if isinstance(m, InstrumentStatus) and m.instrument == name else None,
        )
        if found is None:
            raise BenchFailed(f"status of {name}", "no answer", self.log())
        return found

    def read(self, name: str, readout: str, within_s: float = 5.0) -> ReadoutReply | None:
        """Ask a readout; None when it does not answer."""
        request = f"r{next(self._steps)}"
        message = ReadoutRequest(request=request, instrument=name, readout=readout)
        return self.ask(
            message,
            lambda m: m if isinstance(m, ReadoutReply) and m.request == request else None,
            within_s,
        )

    def clear(self, name: str, reason: str) -> InstrumentStatus:
        """Clear a trip, as a person."""
        message = Clear(instrument=name, person="conformance suite", reason=reason)
        self.wait(lambda: self.person.is_registered, ANSWER_S)

        def is_cleared() -> bool:
            self.person.send(self.adapter, message)
            self.pause(_AGAIN_S / 2)
            return self.status(name).trip is None

        self.wait(is_cleared, ANSWER_S)
        return self.status(name)

    # --- private -----------------------------------------------------------------------------

    def _start_hub(self) -> "subprocess.Popen[bytes]":
        self._announcement = self.folder / "hub.txt"
        # by name: the instruments' room knows nothing of the agents'
        command = [
            sys.executable, "-m", "twinloop.agents.hub.bench",
            "--announce", str(self._announcement), "--arrays", str(self.folder / "arrays"),
        ]  # fmt: skip
        with (self.folder / "hub.log").open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def _announced(self) -> Sequence[str]:
        waiting, end_s = threading.Event(), self.clock.now_s() + START_S
        while not self._announcement.exists():
            if self._hub.poll() is not None or self.clock.now_s() > end_s:
                detail = (self.folder / "hub.log").read_text(encoding="utf-8", errors="replace")
                raise BenchFailed("the hub", f"it does not start: {detail[-1000:]}")
            waiting.wait(0.02)
        return self._announcement.read_text(encoding="utf-8").split()

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        process.wait()
        for name in list(self.leases):
            del self.leases[name]


def _answer_to(key: CommandKey) -> Callable[[Message], Message | None]:
    def find(message: Message) -> Message | None:
        is_about_it = isinstance(message, Accepted | Outcome) and message.key == key
        return message if is_about_it or isinstance(message, LeaseRefused) else None

    return find


def _spec_of(place: Place) -> InstrumentSpec:
    if place.record is None:
        return InstrumentSpec(cls=class_path(place.cls), settings=dict(place.settings))
    return InstrumentSpec(cls=recorded_path(place.record.folder), settings=dict(place.settings))
