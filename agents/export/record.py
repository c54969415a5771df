"""What a run folder tells, made ready for export: its history, its arrays, its clocks.

Everything is read and nothing is written, so that a run may be exported while it goes on: what the
journal held when reading began is what is exported.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from twinloop.agents.campaign.events import Commanded, Computed, Decided, Leased, Settled
from twinloop.agents.export.contracts import Contracts
from twinloop.agents.report.history import (
    JOURNAL,
    History,
    Step,
    TrialHistory,
    history_of,
    read_stored,
)
from twinloop.errors import ArgumentError, ConfigError, ConfigProblem, FrameError, LabError
from twinloop.ids import CommandKey
from twinloop.log.interface import Stored
from twinloop.log.sqlite import LogReader, open_readonly
from twinloop.messages import ArrayRef
from twinloop.wire.arrays import rebuild

__all__ = ["Answer", "RunRecord", "read_run"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One step of a trial that has an answer, of an instrument or of an analyst.

    Args:
        name: unique in its trial, for files and streams: "stm_scan_12".
        target: parameter of the protocol that was asked.
        action: what it was asked for.
        path: place of the step in the protocol.
        event: the answer.
        step: the command; None for a computation.
    """

    name: str
    target: str
    action: str
    path: str
    event: Settled | Decided | Computed
    step: Step | None = None

    @property
    def arrays(self) -> tuple[ArrayRef, ...]:
        """Return the arrays of the answer."""
        return self.event.arrays

    @property
    def numbers(self) -> dict[str, Any]:
        """Return the fields of the result that are no arrays; a bare one is called "result"."""
        result = self.event.result
        fields = result if isinstance(result, dict) else {"result": result}
        return {k: v for k, v in fields.items() if k != "$array" and not _is_array(v)}


class RunRecord:
    """A run as it is exported.

    Args:
        folder: the run folder.
        history: what its journal tells.
        stamps: UTC of each event, by its number in the journal, ISO 8601.
        about: identity of the run: `run.json`.
        contracts: what its numbers mean.
    """

    def __init__(
        self,
        folder: Path,
        history: History,
        stamps: dict[int, str],
        about: dict[str, Any],
        contracts: Contracts,
    ) -> None:
        self.folder, self.history, self.stamps = folder, history, stamps
        self.about, self.contracts = about, contracts
        self.problems: list[str] = list(history.unreadable)
        self.notes: list[str] = []
        self.trials: list[TrialHistory] = list(history.trials.values())

    @property
    def campaign(self) -> str:
        """Return the name of the campaign."""
        return "" if self.history.started is None else self.history.started.campaign

    @property
    def run_id(self) -> str:
        """Return the identity of the run."""
        return str(self.about.get("run", "")) or self.history.log_id

    def select(self, trial: str | None, sample: str | None) -> None:
        """Keep the trials that are asked for.

        Raises:
            ArgumentError: there is none such.
        """
        if trial is not None:
            digits = trial.removeprefix("t")
            wanted = f"t{int(digits):04d}" if digits.isdigit() else trial
            self._keep("--trial", trial, [t for t in self.trials if t.id == wanted], "id")
        if sample is not None:
            kept = [t for t in self.trials if t.sample == sample]
            self._keep("--sample", sample, kept, "sample")

    def at(self, key: str) -> str:
        """Return when an event was journalled, by its log key, UTC; "" where there is none."""
        return self.stamps.get(self.history.seqs.get(key, -1), "")

    def seconds(self, key: str) -> float | None:
        """Return the same as seconds since 1970; None where there is none [s]."""
        text = self.at(key)
        return datetime.fromisoformat(text).timestamp() if text else None

    def lease(self, commanded: Commanded) -> Leased | None:
        """Return the lease under which a command was given, as far as the journal tells."""
        found = None
        for lease in self.history.leases:
            if lease.instrument == commanded.instrument and lease.at_s <= commanded.at_s:
                found = lease
        return found

    def answers(self, trial: TrialHistory) -> list[Answer]:
        """Return the answered steps of a trial, in the order in which they were asked."""
        found = [_answer_of(step) for step in trial.steps]
        found += [_computation(event) for event in trial.computed if event.name != "trial.release"]
        return sorted((a for a in found if a is not None), key=_asked_at_s)

    def load(self, ref: ArrayRef, where: str) -> NDArray[Any] | None:
        """Return an array, its bytes checked against their digest; None where it is not whole.

        What is amiss is added to `problems`, by the digest.
        """
        path = self.folder / "arrays" / ref.digest[:2] / ref.digest
        try:
            return rebuild(ref, path.read_bytes())
        except OSError as err:
            self._complain(ref, where, f"cannot be read: {err.strerror}")
        except FrameError as err:
            self._complain(ref, where, f"is damaged: {err}")
        return None

    def _complain(self, ref: ArrayRef, where: str, what: str) -> None:
        self.problems.append(f"{where}: array {ref.name!r}, digest {ref.digest}, {what}; left out")

    def _keep(self, option: str, found: str, kept: list[TrialHistory], field: str) -> None:
        if not kept:
            known = [str(getattr(t, field)) for t in self.trials]
            listed = ", ".join(known[:4] + (["..."] if len(known) > 4 else []))
            raise ArgumentError(option, found, f"one of {listed}" if known else "no trial yet")
        self.trials = kept


def read_run(folder: Path) -> RunRecord:
    """Return what a run folder tells.

    A journal that is damaged is read as far as it can be; `problems` says from where it cannot.

    Raises:
        ConfigError: it is no run folder.
        LogFailed: the journal cannot be opened at all.
    """
    if not (folder / JOURNAL).is_file():
        problem = ConfigProblem(str(folder), JOURNAL, None, "a folder made by 'twinloop run'")
        raise ConfigError([problem])
    reader = open_readonly(folder / JOURNAL)
    stamps: dict[int, str] = {}
    try:
        history = history_of(_stamped(read_stored(reader), stamps))
        history.log_id = reader.log_id
        history.check = _check(reader, history.n_events)
    finally:
        reader.close()
    if history.check != "intact":
        history.unreadable.append(history.check)
    contracts, amiss = Contracts.of(history.config)
    record = RunRecord(folder, history, stamps, _json(folder / "run.json"), contracts)
    if amiss:
        record.notes.append(amiss)
    return record


def _stamped(events: Iterable[Stored | str], stamps: dict[int, str]) -> Iterator[Stored | str]:
    for item in events:
        if isinstance(item, Stored):
            stamps[item.seq] = item.at
        yield item


def _check(reader: LogReader, n_events: int) -> str:
    """Return "intact", or what is wrong; a writer at work may look like damage, so look again."""
    found = ""
    for _ in range(3):
        before = reader.last_seq
        try:
            reader.verify()
        except LabError as err:
            found = str(err)
        else:
            return "intact"
        if reader.last_seq == before:
            break
    return found or f"the journal cannot be checked beyond event {n_events}"


def _answer_of(step: Step) -> Answer | None:
    commanded = step.commanded
    event = step.decided if step.decided is not None else step.settled
    if event is None:
        return None
    key: CommandKey = commanded.key
    name = f"{commanded.instrument}_{commanded.action}_{key.step}"
    if key.attempt > 1:
        name += f"_attempt{key.attempt}"
    return Answer(
        _word(name),
        commanded.target or commanded.instrument,
        commanded.action,
        key.step,
        event,
        step,
    )


def _computation(event: Computed) -> Answer:
    target, _, action = event.name.partition(".")
    return Answer(_word(f"{target}_{action}_{event.path}"), target, action, event.path, event)


def _asked_at_s(answer: Answer) -> float:
    return answer.event.at_s if answer.step is None else answer.step.commanded.at_s


def _word(text: str) -> str:
    """Return a text as HDF5, NeXus and bluesky take names: letters, digits and underscores."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text)


def _is_array(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"$array"}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
