"""Commands to instruments: journalled first, told until answered, settled once. No I/O."""

from pydantic import ValidationError

from twinloop.agents.campaign.book import Book
from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.core import MAX_ATTEMPTS, Issue
from twinloop.agents.campaign.events import Commanded, Computed, Decided, Leased, Settled
from twinloop.agents.campaign.leases import LeaseKeeper
from twinloop.agents.campaign.state import TrialState
from twinloop.errors import MessageRejected
from twinloop.ids import CommandKey
from twinloop.messages import Command, LeaseGranted, Outcome, OutcomeAck
from twinloop.protocols.interface import plain
from twinloop.wire.effects import Send
from twinloop.wire.envelope import pack

__all__ = ["Commanding"]

_RETRY_S = 2.0
_BACK_OFF_S, _LONGEST_BACK_OFF_S = 1.0, 60.0


class Commanding:
    """Commands that are under way.

    Args:
        book: the state and the open turn.
        brief: what is led.
        leases: under which they are sent.
    """

    def __init__(self, book: Book, brief: Brief, leases: LeaseKeeper) -> None:
        self._book, self._brief, self._leases = book, brief, leases
        self._told: dict[CommandKey, float] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self._refusals: dict[tuple[str, str], str] = {}

    def waiting(self) -> list[str]:
        """Return what is commanded again after a refusal, and the refusal, for people."""
        trials = self._book.state.trials
        return [
            f"{trial} will be commanded again at step {step}: {reason}"
            for (trial, step), reason in self._refusals.items()
            if trial in trials and step not in trials[trial].open
        ]

    def forget(self, trial: str) -> None:
        """Drop what a trial that is over was waiting for."""
        for place in [p for p in self._refusals if p[0] == trial]:
            del self._refusals[place]
            self._not_before.pop(place, None)

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called."""
        times = [told_s + _RETRY_S for told_s in self._told.values()]
        times += [t for t in self._not_before.values() if t > self._book.now_s]
        return min(times, default=None)

    def on_granted(self, sender: str, message: LeaseGranted) -> None:
        """Take a lease, and tell the open commands of its instrument again."""
        if sender != self._brief.adapters.get(message.instrument):
            return
        if not self._leases.granted(message, self._book.now_s):
            return
        self._book.record(
            Leased(
                instrument=message.instrument,
                adapter=sender,
                epoch=message.epoch,
                ledger=message.ledger,
                clock_factor=message.clock_factor,
                is_twin=message.is_twin,
                schema_digest=message.schema_digest,
            )
        )
        for trial in list(self._book.state.trials.values()):
            for command in trial.open.values():
                if command.instrument != message.instrument:
                    continue
                if command.ledger != message.ledger:
                    self._settle_unknown(command, message.ledger)
                else:
                    self._tell(command)

    def _settle_unknown(self, command: Commanded, ledger: str) -> None:
        reason = (
            f"it was sent under ledger {command.ledger}, the adapter now has ledger {ledger}: "
            "its memory is gone"
        )
        self._told.pop(command.key, None)
        self._book.record(
            Settled(key=command.key, instrument=command.instrument, state="unknown", reason=reason)
        )

    def issue(self, decision: Issue) -> None:
        """Command an instrument: the event first, then, once it is on disk, the message."""
        place = (decision.trial, decision.request.path)
        if self._book.now_s < self._not_before.get(place, 0.0):
            return
        self._not_before.pop(place, None)
        lease = self._leases.get(decision.instrument)
        if lease is None:
            return
        step = decision.request.step
        command = Commanded(
            key=decision.key,
            instrument=decision.instrument,
            target=step.target,
            action=step.method,
            arguments=plain(dict(step.arguments)),
            digest=decision.request.digest,
            sample=self._book.state.trials[decision.trial].sample,
            ledger=lease.ledger,
        )
        try:
            pack(self._message(command, lease))
        except (MessageRejected, ValidationError) as err:
            self._cannot_be_sent(decision, str(err))
            return
        self._book.record(command)
        self._tell(command)

    def _cannot_be_sent(self, decision: Issue, why: str) -> None:
        """Fail a step whose command no message holds: told for ever, it would never be heard."""
        request = decision.request
        self._book.record(
            Computed(
                trial=decision.trial,
                path=request.path,
                name=request.step.name,
                digest=request.digest,
                state="failed",
                reason=f"its command cannot be sent: {why}"[:2000],
            )
        )

    def _tell(self, command: Commanded) -> None:
        """Send a command, new or again: the adapter answers a key that it knows."""
        lease = self._leases.get(command.instrument)
        if lease is None or lease.ledger != command.ledger:
            return
        self._told[command.key] = self._book.now_s
        message = self._message(command, lease)
        self._book.turn.gated.append(Send(self._brief.adapters[command.instrument], message))

    def _message(self, command: Commanded, lease: LeaseGranted) -> Command:
        return Command(
            key=command.key,
            instrument=command.instrument,
            action=command.action,
            arguments=command.arguments,
            sample=command.sample,
            epoch=lease.epoch,
            ledger=lease.ledger,
            not_after_s=self._leases.not_after_s(command.instrument, self._book.now_s),
        )

    def tick(self) -> None:
        """Tell again what has not been answered."""
        for trial in self._book.state.trials.values():
            for command in trial.open.values():
                told_s = self._told.get(command.key)
                if told_s is None or self._book.now_s >= told_s + _RETRY_S:
                    # moved on even without a lease, or the loop would wake for it at once again
                    self._told[command.key] = self._book.now_s
                    self._tell(command)

    def on_outcome(self, sender: str, message: Outcome) -> None:
        """Settle a command, once, and acknowledge what the journal holds."""
        if sender != self._brief.adapters.get(message.instrument):
            return
        if message.state == "running":
            return
        trial = self._book.state.trials.get(message.key.trial)
        command = trial.open.get(message.key.step) if trial else None
        if command is not None and command.key == message.key:
            if message.ledger != command.ledger:
                return
            self._settle(command, message)
        elif trial is not None:
            self._learn(trial, sender, message)
        if self._is_settled(message.key):
            ack = OutcomeAck(key=message.key)
            self._book.turn.gated.append(Send(sender, ack))

    def _learn(self, trial: TrialState, sender: str, message: Outcome) -> None:
        """Take a definite word on what nobody could tell: the ledger that was lost is back."""
        unknown = trial.unknown.get(message.key.step)
        if unknown is None or unknown.key != message.key:
            return
        if message.ledger != trial.commands[message.key.step].ledger:
            return
        state = "failed" if message.state == "not_done" else message.state
        if state == "unknown":
            return
        self._book.record(
            Decided(
                key=message.key,
                state=state,
                result=message.result,
                arrays=message.arrays,
                person=sender,
                reason=message.reason or "the ledger of the command answered after all",
            )
        )

    def _is_settled(self, key: CommandKey) -> bool:
        """Return True when the journal holds the outcome of this attempt, or of a later one."""
        if key.campaign != self._brief.plan.campaign:
            return False
        trial = self._book.state.trials.get(key.trial)
        if trial is None:
            return any(t.trial == key.trial for t in self._book.state.ended)
        command = trial.commands.get(key.step)
        is_open = key.step in trial.open and trial.open[key.step].key == key
        return command is not None and not is_open and command.key.attempt >= key.attempt

    def _settle(self, command: Commanded, message: Outcome) -> None:
        # closed as never begun is a definite failure, and no fault of the sample
        state = "failed" if message.state == "not_done" else message.state
        may_retry = state == "failed" and message.may_retry and command.key.attempt < MAX_ATTEMPTS
        place = (command.key.trial, command.key.step)
        self._refusals.pop(place, None)
        if may_retry:
            pause_s = min(_BACK_OFF_S * 2 ** (command.key.attempt - 1), _LONGEST_BACK_OFF_S)
            self._not_before[place] = self._book.now_s + pause_s
            self._refusals[place] = message.reason[:200]
        self._told.pop(command.key, None)
        self._book.record(
            Settled(
                key=command.key,
                instrument=command.instrument,
                state=state,
                result=message.result,
                arrays=message.arrays,
                reason=message.reason,
                may_retry=may_retry,
                started_lab_s=message.started_lab_s,
                ended_lab_s=message.ended_lab_s,
            )
        )
