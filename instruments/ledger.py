"""The adapter's ledger: what it was asked, what became of it, and who knows.

The ledger is an append-only log; `LedgerState` is the fold over its entries and holds nothing else,
so that an adapter that starts again on the same log knows exactly what it knew before.

One slot of the log decides for ever whether a key may start: it holds either its INTENT or the entry
that closed the key without a start. A second slot holds how it ended.

| kind | says |
|---|---|
| `ledger_opened` | identity of the ledger and the instruments it is for |
| `leased`, `released` | who holds an instrument under which epoch, and where its arrays go |
| `intent`, `accepted`, `repeated` | an action passed the checks; was told; is done once more |
| `done`, `failed`, `partial`, `unknown`, `not_done` | how a key ended, or was closed unstarted |
| `acked` | the campaign's journal holds the outcome and its arrays |
| `tripped`, `cleared`, `safe_state` | what happened to the instrument besides commands |
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from twinloop.errors import JournalCorrupt
from twinloop.ids import CommandKey, canonical_json, digest_of
from twinloop.log.interface import Entry, Stored
from twinloop.messages import ArrayRef, Command, Outcome

__all__ = [
    "EndState",
    "Final",
    "Home",
    "LedgerState",
    "PastTrip",
    "Record",
    "accepted",
    "acked",
    "cleared",
    "closed",
    "command_digest",
    "ended",
    "intent",
    "leased",
    "ledger_opened",
    "released",
    "repeated",
    "safe_state",
    "tripped",
]

EndState = Literal["done", "failed", "partial", "unknown", "not_done"]
_ENDS: frozenset[str] = frozenset(get_args(EndState))
_LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class Final:
    """How a command ended; `arrays` lie in the spool until the outcome is acknowledged."""

    state: EndState
    result: Any = None
    arrays: tuple[ArrayRef, ...] = ()
    reason: str = ""
    may_retry: bool = False
    started_lab_s: float | None = None
    ended_lab_s: float | None = None


@dataclass(slots=True)
class Record:
    """One key of the ledger.

    Args:
        command: None for a key that was closed without its command ever arriving.
        n_starts: how often the device was asked to do it; 0 for a key that was closed unstarted.
        sample_before: what the chamber held when it started.
    """

    key: CommandKey
    instrument: str
    command: Command | None
    n_starts: int = 0
    sample_before: str | None = None
    final: Final | None = None
    is_acked: bool = False

    def outcome(self, ledger: str) -> Outcome:
        """Return what to tell the campaign: `running` until it has ended."""
        if self.final is None:
            return Outcome(key=self.key, instrument=self.instrument, ledger=ledger, state="running")
        end = self.final
        return Outcome(
            key=self.key, instrument=self.instrument, ledger=ledger, state=end.state,
            result=end.result, arrays=end.arrays, reason=end.reason, may_retry=end.may_retry,
            started_lab_s=end.started_lab_s, ended_lab_s=end.ended_lab_s,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Home:
    """Where the outcomes of a campaign go: its agent, and its depot for the arrays."""

    agent: str
    depot: str


@dataclass(slots=True)
class PastTrip:
    """The newest trip of an instrument, and who cleared it.

    Args:
        reason: why it tripped.
        at: when, ISO 8601; "" where that is not known.
        person, cleared_reason, cleared_at: who cleared it, why and when; "" while it stands.
    """

    reason: str
    at: str
    person: str = ""
    cleared_reason: str = ""
    cleared_at: str = ""

    def words(self) -> str:
        """Return it in one line."""
        told = f"{self.at or 'some time'}: {self.reason}"
        if not self.person:
            return f"{told}; not cleared"
        return f"{told}; cleared {self.cleared_at} by {self.person}: {self.cleared_reason}"


@dataclass(slots=True)
class LedgerState:
    """What the ledger says, folded from its entries and from nothing else.

    Args:
        epoch: of the newest lease on any instrument; never reset.
        homes: where outcomes go, by campaign.
        records: every key it has ever seen.
        open: keys with an INTENT and no end.
        unacked: keys with an end that the campaign has not acknowledged.
        trips: reasons of latched trips, by instrument.
        past_trips: the newest trip of each instrument, cleared or not.
        sample: what the chamber holds, None for nothing or nobody knows.
        left_by: last key whose action reached the instrument: its silence governs what it left.

    Example:
        >>> state = LedgerState.of([])
        >>> state.apply(tripped("furnace", "too hot"))
        >>> state.trips
        {'furnace': 'too hot'}
    """

    epoch: int = 0
    homes: dict[str, Home] = field(default_factory=dict)
    records: dict[CommandKey, Record] = field(default_factory=dict)
    open: dict[CommandKey, None] = field(default_factory=dict)
    unacked: dict[CommandKey, None] = field(default_factory=dict)
    trips: dict[str, str] = field(default_factory=dict)
    past_trips: dict[str, PastTrip] = field(default_factory=dict)
    sample: str | None = None
    left_by: dict[str, CommandKey] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Entry | Stored]) -> "LedgerState":
        """Fold a log.

        Raises:
            JournalCorrupt: an entry that this version does not know or that fits nothing before it.
        """
        state = cls()
        for n, item in enumerate(entries, 1):
            try:
                if isinstance(item, Stored):
                    state.apply(item.entry, item.at)
                else:
                    state.apply(item)
            except (KeyError, TypeError, ValueError) as err:
                raise JournalCorrupt("ledger", n, f"{type(err).__name__}: {err}") from err
        return state

    def open_on(self, instrument: str) -> Record | None:
        """Return the action that is under way on an instrument."""
        for key in self.open:
            if self.records[key].instrument == instrument:
                return self.records[key]
        return None

    def policy_of(self, instrument: str) -> Record | None:
        """Return the action whose `on_silence` governs the instrument now, if any does."""
        record = self.open_on(instrument)
        if record is None and instrument in self.left_by:
            record = self.records[self.left_by[instrument]]
        return record

    def apply(self, entry: Entry, at: str = "") -> None:
        """Take one entry, written at that time (ISO 8601)."""
        body, kind = entry.body, entry.kind
        if entry.v != 1:
            raise ValueError(f"{kind} of version {entry.v}; this program reads version 1")
        if kind in _ENDS:
            self._end(entry)
        elif kind == "intent":
            self._intend(Command.model_validate_json(canonical_json(body["command"])), body)
        elif kind == "leased":
            self.epoch = max(self.epoch, body["epoch"])
            self.homes[body["campaign"]] = Home(body["agent"], body["depot"])
        elif kind == "repeated":
            self.records[_key(body)].n_starts = body["n_starts"]
        elif kind == "acked":
            self.records[_key(body)].is_acked = True
            self.unacked.pop(_key(body), None)
        elif kind == "tripped":
            if body["instrument"] not in self.trips:
                self.past_trips[body["instrument"]] = PastTrip(body["reason"], at)
            self.trips.setdefault(body["instrument"], body["reason"])
        elif kind == "cleared":
            if self.trips.pop(body["instrument"], None) is not None:
                past = self.past_trips[body["instrument"]]
                past.person, past.cleared_reason = body["person"], body["reason"]
                past.cleared_at = at
        elif kind == "safe_state":
            self.left_by.pop(body["instrument"], None)
        elif kind not in {"ledger_opened", "released", "accepted"}:
            raise ValueError(f"unknown kind {kind!r}")

    def _intend(self, command: Command, body: dict[str, Any]) -> None:
        key = command.key
        self.records[key] = Record(
            key, command.instrument, command, n_starts=1, sample_before=body["sample_before"]
        )
        self.open[key] = None
        self.left_by[command.instrument] = key
        if body["loads_sample"]:
            # until it is known to be in, or out, nobody can say what the chamber holds
            self.sample = None

    def _end(self, entry: Entry) -> None:
        body, key = entry.body, _key(entry.body)
        final = Final(
            state=cast(EndState, entry.kind),
            result=body["result"],
            arrays=tuple(ArrayRef.model_validate(a) for a in body["arrays"]),
            reason=body["reason"],
            may_retry=body["may_retry"],
            started_lab_s=body["started_lab_s"],
            ended_lab_s=body["ended_lab_s"],
        )
        record = self.records.setdefault(key, Record(key, body["instrument"], None))
        record.final = final
        self.open.pop(key, None)
        self.unacked[key] = None
        if body["sets_sample"]:
            self.sample = body["sample"]


def ledger_opened(instruments: dict[str, str]) -> Entry:
    """Return the first entry.

    Args:
        instruments: schema digest by name.
    """
    return Entry("ledger_opened", 1, {"instruments": instruments})


def leased(
    instrument: str, campaign: str, agent: str, depot: str, epoch: int, incarnation: str
) -> Entry:
    """Return the entry of a lease."""
    body = {
        "instrument": instrument, "campaign": campaign, "agent": agent, "depot": depot,
        "epoch": epoch, "incarnation": incarnation,
    }  # fmt: skip
    return Entry("leased", 1, body)


def released(instrument: str, epoch: int) -> Entry:
    """Return the entry of a lease that was given back."""
    return Entry("released", 1, {"instrument": instrument, "epoch": epoch})


def intent(command: Command, agent: str, *, loads_sample: bool, sample_before: str | None) -> Entry:
    """Return INTENT: every check is passed; the device is touched after this is durable."""
    body = {
        "command": command.model_dump(mode="json"),
        "digest": command_digest(command),
        "agent": agent,
        "loads_sample": loads_sample,
        "sample_before": sample_before,
    }
    return Entry("intent", 1, body, key=_slot("start", command.key))


def accepted(key: CommandKey) -> Entry:
    """Return ACCEPTED; not separately synced."""
    return Entry("accepted", 1, {"key": list(key)})


def repeated(key: CommandKey, n_starts: int) -> Entry:
    """Return the entry of another start of an idempotent action."""
    return Entry("repeated", 1, {"key": list(key), "n_starts": n_starts})


def ended(record: Record, final: Final, *, sample: str | None, sets_sample: bool) -> Entry:
    """Return how a started command ended.

    Args:
        record: the command.
        final: how it ended.
        sample: what the chamber holds now, when the action has changed that.
        sets_sample: True when it has.
    """
    return _end_entry(
        "end", record.key, record.instrument, final, sample=sample, sets_sample=sets_sample
    )


def closed(key: CommandKey, instrument: str, final: Final) -> Entry:
    """Return the entry that closes a key before any start: it can never start after this."""
    return _end_entry("start", key, instrument, final, sample=None, sets_sample=False)


def acked(key: CommandKey) -> Entry:
    """Return the acknowledgement of an outcome."""
    return Entry("acked", 1, {"key": list(key)}, key=_slot("ack", key))


def tripped(instrument: str, reason: str) -> Entry:
    """Return the entry of a latched trip."""
    return Entry("tripped", 1, {"instrument": instrument, "reason": reason[:_LONGEST_REASON]})


def cleared(instrument: str, person: str, reason: str) -> Entry:
    """Return the entry of a person who clears a trip."""
    return Entry("cleared", 1, {"instrument": instrument, "person": person, "reason": reason})


def safe_state(instrument: str, by: str, reason: str) -> Entry:
    """Return the entry of a safe state that was run.

    Args:
        instrument: which.
        by: "adapter" or "watchdog".
        reason: why.
    """
    body = {"instrument": instrument, "by": by, "reason": reason[:_LONGEST_REASON]}
    return Entry("safe_state", 1, body)


def command_digest(command: Command) -> str:
    """Return the digest of what a command asks for, whatever its lease and deadline."""
    asked = [command.instrument, command.action, command.arguments, command.sample]
    return digest_of(canonical_json(asked))


def _end_entry(slot: str, key: CommandKey, instrument: str, final: Final, **sample: Any) -> Entry:
    body = {
        "key": list(key), "instrument": instrument, "result": final.result,
        "arrays": [a.model_dump(mode="json") for a in final.arrays],
        "reason": final.reason[:_LONGEST_REASON], "may_retry": final.may_retry,
        "started_lab_s": final.started_lab_s, "ended_lab_s": final.ended_lab_s, **sample,
    }  # fmt: skip
    refs = tuple(dict.fromkeys(a.digest for a in final.arrays))
    return Entry(final.state, 1, body, key=_slot(slot, key), refs=refs)


def _slot(what: str, key: CommandKey) -> str:
    return f"{what}:{canonical_json(list(key)).decode()}"


def _key(body: dict[str, Any]) -> CommandKey:
    return CommandKey(*body["key"])
