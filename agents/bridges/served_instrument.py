"""One served instrument, leased and commanded from a program that is no campaign.

    with ServedInstrument("tcp://127.0.0.1:5555", "stem", folder=Path("by-hand")) as stem:
        image = stem.do("scan", field_of_view_nm=5.0).result()
        where = stem.read("stage_x_nm").result()

It keeps the promises of a campaign with the means of a script: every command has a key that is on the disk
before it is sent, a repeated key is answered and never executed, and an outcome is on the disk, its arrays
in a depot of its own, before the adapter may forget it. Started again on the same folder after a crash, it
asks for what it had not heard.
"""

import itertools
import json
import logging
import os
import queue
import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from twinloop.agents.campaign.depot import DepotServer
from twinloop.clocks import RealWireClock
from twinloop.errors import (
    Disconnected,
    LabError,
    StepFailed,
    StepPartial,
    StepUnknown,
    describe_error,
)
from twinloop.ids import CommandKey
from twinloop.instruments.locks import FolderLock
from twinloop.log.durable import write_whole
from twinloop.messages import (
    Abort,
    Accepted,
    Command,
    InstrumentStatus,
    LeaseGranted,
    LeaseRefused,
    LeaseRelease,
    LeaseRenew,
    LeaseRenewed,
    LeaseRequest,
    Message,
    Outcome,
    OutcomeAck,
    ReadoutReply,
    ReadoutRequest,
    StatusRequest,
)
from twinloop.results import decode_result
from twinloop.wire.mailbox import Mailbox

__all__ = ["ServedInstrument"]

_LOG = logging.getLogger(__name__)
_TTL_S = 5.0
# shorter than any silence that an action may declare: a silence is held until the next renewal
_RENEW_S = 0.2
_AGAIN_S = 1.0
_FIND_S = 10.0
_POLL_S = 0.02
_LATE_S = 30.0
_TRIAL = "by-hand"
COMMANDS = "commands.jsonl"


@dataclass
class _Asked:
    """A command or a readout that waits for its answer."""

    message: Command | ReadoutRequest
    future: "Future[Any]"
    returns: object = None
    again_s: float = 0.0
    give_up_s: float | None = None
    is_aborted: bool = False


@dataclass
class _Told:
    """What other threads want of the one that owns the mailbox."""

    asked: "queue.Queue[_Asked]" = field(default_factory=queue.Queue)
    aborted: "queue.Queue[CommandKey]" = field(default_factory=queue.Queue)


class ServedInstrument:
    """Holds the lease on one instrument until it is closed.

    Args:
        hub: endpoint of the hub at which the instrument is served.
        instrument: its name in the laboratory file.
        folder: of commands, outcomes and arrays; the same after a crash.
        sample: the sample in the instrument; None where it holds none.
        find_s: longest wait for the instrument and its lease [s].

    Raises:
        Disconnected: the hub, or an adapter that serves the instrument, is not there, or another
            holds it.
        LockTaken: another process uses the folder.
    """

    def __init__(
        self,
        hub: str,
        instrument: str,
        *,
        folder: Path,
        sample: str | None = None,
        find_s: float = _FIND_S,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # keys are counted in the folder: two holders would give one key to two commands
        self._lock = FolderLock(folder / "holder.lock")
        self.instrument, self.sample, self.folder = instrument, sample, folder
        self.status: InstrumentStatus | None = None
        self.outcomes: dict[str, Outcome] = {}
        self._hub = hub
        self._campaign, self._steps = _identity(folder)
        self._log = (folder / COMMANDS).open("a", encoding="utf-8")
        self._depot = DepotServer(folder / "arrays", keep_free_bytes=0)
        self._depot.start()
        self._clock = RealWireClock()
        self._told, self._asked = _Told(), dict[object, _Asked]()
        self._adapter = ""
        self._grant: LeaseGranted | None = None
        self._adapter_now_s = self._heard_s = 0.0
        self._is_closing = False
        self._is_held = threading.Event()
        self._why_not = "no adapter serves it"
        self._thread = threading.Thread(target=self._run, name=f"holder-{instrument}", daemon=True)
        self._thread.start()
        if not self._is_held.wait(find_s):
            why_not = self._why_not
            self.close()
            raise Disconnected(f"{instrument} at {hub}", find_s, why_not)

    # --- for any thread ----------------------------------------------------------------------

    @property
    def grant(self) -> LeaseGranted:
        """Return the lease.

        Raises:
            Disconnected: it is lost.
        """
        if self._grant is None:
            raise Disconnected(f"{self.instrument} at {self._hub}", 0.0, self._why_not)
        return self._grant

    def do(self, action: str, *, returns: object = None, **arguments: Any) -> "Future[Any]":
        """Command an action; the future gives its result, arrays loaded.

        Args:
            action: its name.
            returns: annotated type of the result, where a record is wanted.
            arguments: in the units of their types.

        The future raises `StepFailed` (nothing happened), `StepPartial` (its result says what did),
        `StepUnknown` (nobody can tell). `cancel_command` aborts it.
        """
        grant = self.grant
        key = CommandKey(self._campaign, _TRIAL, str(next(self._steps)), 1)
        command = Command(
            key=key, instrument=self.instrument, action=action, arguments=arguments,
            sample=self.sample, epoch=grant.epoch, ledger=grant.ledger,
            not_after_s=self._adapter_now_s + self._clock.now_s() - self._heard_s + _LATE_S,
        )  # fmt: skip
        future: Future[Any] = Future()
        # who waits for it may be cancelled; the command is not
        future.set_running_or_notify_cancel()
        self._keep({"key": str(key), "action": action, "arguments": arguments})
        vars(future)["key"] = key
        self._told.asked.put(_Asked(command, future, returns))
        return future

    def cancel_command(self, future: "Future[Any]") -> None:
        """Abort the action of a future; it still ends with what happened."""
        self._told.aborted.put(vars(future)["key"])

    def read(self, readout: str, wait_s: float = 5.0) -> "Future[Any]":
        """Ask a readout."""
        request = ReadoutRequest(
            request=secrets.token_hex(8), instrument=self.instrument, readout=readout
        )
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._told.asked.put(_Asked(request, future, give_up_s=self._clock.now_s() + wait_s))
        return future

    def close(self) -> None:
        """Give the lease back; what is under way goes on as its silence declares."""
        self._is_closing = True
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5.0)
        self._depot.stop()
        self._log.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- the thread of the mailbox ------------------------------------------------------------

    def _run(self) -> None:
        reason = "closed"
        try:
            reason = self._hold() or reason
        except Exception as err:  # noqa: BLE001 - whoever waits must hear of it
            _LOG.exception("the holder of %s ends", self.instrument)
            reason = describe_error(err)
        self._why_not, self._grant = reason, None
        self._take_asked()
        for asked in self._asked.values():
            asked.future.set_exception(Disconnected(self.instrument, 0.0, reason))

    def _hold(self) -> str:
        """Hold the lease until closed; return why it ended earlier, "" when it did not."""
        renew_s = lease_s = 0.0
        name = f"holder-{secrets.token_hex(4)}"
        with Mailbox(self._hub, name, "conductor", watch=True) as mailbox:
            while not self._is_closing and mailbox.ended is None:
                for sender, message, _ in mailbox.poll(_POLL_S):
                    self._take(mailbox, sender, message)
                now_s = self._clock.now_s()
                if not mailbox.is_registered:
                    self._why_not = "the hub does not answer"
                elif self._grant is None:
                    if now_s >= lease_s:
                        lease_s = now_s + _AGAIN_S / 2
                        self._seek(mailbox)
                elif now_s >= renew_s:
                    renew_s = now_s + _RENEW_S
                    renew = LeaseRenew(instrument=self.instrument, epoch=self._grant.epoch)
                    mailbox.send(self._adapter, renew)
                self._send_asked(mailbox, now_s)
            if self._grant is not None:
                release = LeaseRelease(instrument=self.instrument, epoch=self._grant.epoch)
                mailbox.send(self._adapter, release)
                mailbox.poll(_POLL_S)
        return "" if self._is_closing else f"the hub ended it: {mailbox.ended}"

    def _seek(self, mailbox: Mailbox) -> None:
        """Ask every adapter what it serves, and ours for the lease."""
        request = LeaseRequest(
            instrument=self.instrument, campaign=self._campaign, depot=self._depot.endpoint,
            ttl_s=_TTL_S, incarnation=str(os.getpid()),
        )  # fmt: skip
        here = [a for a in mailbox.presence.values() if a.is_here and a.role == "adapter"]
        for agent in here:
            serves = agent.about.get("instruments", {})
            if self.instrument in serves:
                self._adapter = agent.name
                mailbox.send(agent.name, StatusRequest(instrument=self.instrument))
                mailbox.send(agent.name, request)
                return
        known = sorted({n for a in here for n in a.about.get("instruments", {})})
        self._why_not = f"no adapter serves it; served there: {', '.join(known) or 'nothing'}"

    def _take_asked(self) -> None:
        while not self._told.asked.empty():
            asked = self._told.asked.get()
            message = asked.message
            self._asked[message.key if isinstance(message, Command) else message.request] = asked

    def _send_asked(self, mailbox: Mailbox, now_s: float) -> None:
        self._take_asked()
        while not self._told.aborted.empty():
            found = self._asked.get(self._told.aborted.get())
            if found is not None:
                found.is_aborted, found.again_s = True, 0.0
        for name, asked in list(self._asked.items()):
            if asked.give_up_s is not None and now_s >= asked.give_up_s:
                del self._asked[name]
                asked.future.set_exception(Disconnected(self.instrument, 5.0, "no answer"))
            elif now_s >= asked.again_s and self._adapter and self._grant is not None:
                asked.again_s = now_s + _AGAIN_S
                self._send_one(mailbox, asked, self._grant)

    def _send_one(self, mailbox: Mailbox, asked: _Asked, grant: LeaseGranted) -> None:
        message = asked.message
        if isinstance(message, Command):
            if asked.is_aborted:
                abort = Abort(key=message.key, instrument=self.instrument, epoch=grant.epoch)
                mailbox.send(self._adapter, abort)
            renew = LeaseRenew(instrument=self.instrument, epoch=grant.epoch)
            mailbox.send(self._adapter, renew)
            # under the present lease: the same key, so it is answered and not executed again
            message = message.model_copy(update={"epoch": grant.epoch})
        mailbox.send(self._adapter, message)

    def _take(self, mailbox: Mailbox, sender: str, message: Message) -> None:
        match message:
            case LeaseGranted() if message.instrument == self.instrument:
                self._grant, self._why_not = message, message.trip or ""
                self._adapter_now_s, self._heard_s = message.adapter_now_s, self._clock.now_s()
                self._is_held.set()
            case LeaseRenewed() if message.instrument == self.instrument:
                self._adapter_now_s, self._heard_s = message.adapter_now_s, self._clock.now_s()
            case LeaseRefused() if message.instrument == self.instrument:
                self._why_not = f"{message.reason} {message.holder}".strip()
                self._grant = None
                for asked in self._asked.values():
                    # nothing is decided about its key: sent again as soon as the lease is here
                    asked.again_s = 0.0
            case InstrumentStatus() if message.instrument == self.instrument:
                self.status = message
            case Accepted():
                if message.key in self._asked:
                    # it stands in the ledger: the outcome comes by itself
                    self._asked[message.key].again_s = self._clock.now_s() + _LATE_S
            case Outcome() if message.state != "running" and message.key.campaign == self._campaign:
                self._end(message)
                mailbox.send(sender, OutcomeAck(key=message.key))
            case ReadoutReply():
                read = self._asked.pop(message.request, None)
                if read is not None and message.state == "done":
                    read.future.set_result(message.result)
                elif read is not None:
                    read.future.set_exception(LabError(message.reason))
            case _:
                pass

    def _end(self, outcome: Outcome) -> None:
        """Keep an outcome, then tell whoever waits."""
        name = str(outcome.key)
        if name not in self.outcomes:
            self.outcomes[name] = outcome
            self._keep({"key": name, "outcome": outcome.model_dump(mode="json")})
        asked = self._asked.pop(outcome.key, None)
        if asked is None:
            return
        try:
            result = self._result(outcome, asked.returns)
        except LabError as err:
            asked.future.set_exception(err)
            return
        if outcome.state == "done":
            asked.future.set_result(result)
        else:
            asked.future.set_exception(_error(outcome, result))

    def _result(self, outcome: Outcome, returns: object) -> Any:
        refs = {ref.name: ref for ref in outcome.arrays}
        return decode_result(outcome.result, lambda name: self._depot.load(refs[name]), returns)

    def _keep(self, line: Mapping[str, object]) -> None:
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        os.fsync(self._log.fileno())


def _identity(folder: Path) -> tuple[str, "itertools.count[int]"]:
    """Return the campaign of a folder, and its next step; mend a line that a crash has torn."""
    file, log = folder / "campaign.txt", folder / COMMANDS
    if not file.exists():
        write_whole(file, f"by-hand-{secrets.token_hex(6)}".encode())
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    if text and not text.endswith("\n"):
        # what is written next must not hang on to half a line
        with log.open("a", encoding="utf-8") as end:
            end.write("\n")
    steps = [0]
    for line in text.splitlines():
        try:
            steps.append(int(json.loads(line)["key"].split("/")[-2]))
        except ValueError:
            continue  # torn: it was never sent
    return file.read_text(encoding="utf-8").strip(), itertools.count(max(steps) + 1)


def _error(outcome: Outcome, result: Any) -> LabError:
    name, reason = str(outcome.key), outcome.reason
    match outcome.state:
        case "partial":
            return StepPartial(name, result or {}, reason)
        case "unknown":
            return StepUnknown(name, reason)
        case _:
            return StepFailed(name, reason)
