"""What the parts of the adapter's core share: the folded ledger, the leases, and what goes on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from twinloop.ids import CommandKey
from twinloop.instruments.adapter_effects import AdapterEffect, CancelAction, RunSafeState
from twinloop.instruments.lease import Leases
from twinloop.instruments.ledger import LedgerState, Record
from twinloop.instruments.outbox import Outbox
from twinloop.instruments.rules import ActionRules, AdapterSettings, InstrumentRules
from twinloop.log.interface import Entry, Stored
from twinloop.wire.effects import Append, Sync

__all__ = ["Desk", "Work"]


@dataclass(slots=True)
class Work:
    """What this life of the adapter knows of an open key.

    Args:
        phase: `running`: its coroutine runs. `asking`: the instrument is being asked. `adopted`: the
            instrument said that it is at it, without a coroutine of ours. `waiting`: an idempotent
            action that is repeated as soon as its campaign is in charge.
        ask_at_s: when to ask the instrument again [s].
        n_errors: how often it could not be asked.
        is_settled: False until an instrument has said something about a key of an earlier life.
        is_aborted: somebody wants it to end.
    """

    phase: Literal["running", "asking", "adopted", "waiting"]
    ask_at_s: float | None = None
    n_errors: int = 0
    is_settled: bool = True
    is_aborted: bool = False


class Desk:
    """Shared by the parts of one core, which alone writes to it.

    Args:
        entries: what the ledger holds.
        ledger_id: its identity.
        instruments: rules by name.
        settings: numbers of the process.
    """

    def __init__(
        self,
        entries: Iterable[Entry | Stored],
        ledger_id: str,
        instruments: Mapping[str, InstrumentRules],
        settings: AdapterSettings,
    ) -> None:
        known = list(entries)
        self.is_new = not known
        self.ledger = LedgerState.of(known)
        self.ledger_id = ledger_id
        self.instruments = dict(instruments)
        self.settings = settings
        self.outbox = Outbox(
            ledger_id, self.ledger.homes.get, settings.resend_s, settings.resend_max_s
        )
        self.leases = Leases(instruments, 0.0)
        self.work: dict[CommandKey, Work] = {}
        self.securing: set[str] = set()
        self.ending = ""
        self.finish_by_s: float | None = None
        self.end_by_s: float | None = None
        self.now_s = self.lab_now_s = 0.0
        self.spool_bytes = 0
        self.utc = ""
        self._effects: list[AdapterEffect] = []

    def write(self, entry: Entry) -> None:
        """Take an entry, and have it appended."""
        self.ledger.apply(entry, self.utc)
        self._effects.append(Append(entry))

    def do(self, *effects: AdapterEffect) -> None:
        """Ask for effects."""
        self._effects += effects

    def flush(self) -> list[AdapterEffect]:
        """Return what was asked for since the last time.

        Entries stand first, so that the log's order is the order of the decisions even where a
        shell commits several inputs together. What makes the device safe waits for no disk. All
        else stands behind one gate, if any was asked for.
        """
        effects, self._effects = self._effects, []
        entries = [e for e in effects if isinstance(e, Append)]
        safety = [e for e in effects if isinstance(e, CancelAction | RunSafeState)]
        gates = [Sync()] if any(isinstance(e, Sync) for e in effects) else []
        others = [
            e for e in effects if not isinstance(e, Append | CancelAction | RunSafeState | Sync)
        ]
        return [*entries, *safety, *gates, *others]

    def work_on(self, instrument: str) -> Work | None:
        """Return what goes on at an instrument."""
        record = self.ledger.open_on(instrument)
        return None if record is None else self.work.get(record.key)

    def rules(self, record: Record) -> ActionRules | None:
        """Return the rules of a command's action, None when it is served no longer."""
        instrument = self.instruments.get(record.instrument)
        if instrument is None or record.command is None:
            return None
        return instrument.actions.get(record.command.action)

    @property
    def tracks_samples(self) -> bool:
        """Return True when some action of the process brings samples in."""
        return any(
            a.spec.loads_sample for i in self.instruments.values() for a in i.actions.values()
        )
