"""How to check your instrument: write a rehearsal, run one command.

A class with nothing but types can be checked at once:

    twinloop instrument check lab.our_furnace:Furnace --settings port=COM3

or in its own test:

    from twinloop.instruments.conformance.interface import check_instrument

    def test_it_conforms() -> None:
        check_instrument(Furnace, settings={"port": "sim://"}).raise_if_failed()

The suite serves the class in the real adapter process beside a real hub, commands it, kills clients,
the adapter and its machine's connection, and compares what the instrument says with what happened.
What reaches the author's code is recorded there, so that "never reaches the device" is an observation.

What the types cannot say, a rehearsal says: which values are harmless, how long something lasts, how
to count what the device did without asking the adapter. Write it beside the class, in `rehearsal.py`
of its package, where `twinloop instrument check` finds it:

    class FurnaceRehearsal(Rehearsal):
        instrument = Furnace
        examples = {"anneal": {"hold_K": 400.0, "hold_s": 0.2}}     # quick and harmless
        lasting = {"anneal": {"hold_K": 400.0, "hold_s": 4.0}}      # the same, some seconds long
        safe = {"temperature_K": (250.0, 320.0)}                    # readouts in the safe state

        def settings(self) -> dict[str, Any]:
            return {"folder": str(self.folder)}                     # a device of its own

        def effects(self) -> list[Effect]:                          # the device's own record
            return [Effect("anneal", e["key"], e["what"]) for e in self.read_log()]

On a real machine that is already served (`--endpoint`) nothing moves unless `--with-actions` is given.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal

from twinloop.errors import LabError
from twinloop.instruments.interface import Instrument

__all__ = [
    "Clause",
    "Effect",
    "Finding",
    "NotConforming",
    "Rehearsal",
    "Report",
    "Step",
    "Verdict",
    "check_instrument",
]


class Verdict(StrEnum):
    """What the suite says of a clause."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"  # the class has nothing of the sort
    NOT_JUDGED = "not judged"  # the suite lacks something: the reason says what


@dataclass(frozen=True, slots=True)
class Clause:
    """One promise of the contract.

    Args:
        id: stable, "L2".
        sentence: what is promised.
        why: what goes wrong in a laboratory where it is not kept.
        how: how the suite judges it.
        needs: what a bench must offer: `class` (its types), `inspector` (a process with a connection
            of its own), `served` (an adapter at a hub), `actions` (it may move), `own` (the adapter is
            the bench's own: it records, and may be killed).
    """

    id: str
    sentence: str
    why: str
    how: str
    needs: frozenset[str] = frozenset({"class"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at one clause found; the texts are for the person at the machine.

    Args:
        clause: its id.
        verdict: passed, failed, not applicable, not judged.
        subject: which action, argument or readout; "" for the whole instrument.
        did: what was done.
        expected: what the contract asks for.
        happened: what was seen, or why it was not judged.
        to_do: where to look.
    """

    clause: str
    verdict: Verdict
    subject: str = ""
    did: str = ""
    expected: str = ""
    happened: str = ""
    to_do: str = ""

    def lines(self) -> list[str]:
        """Return it as lines of text."""
        named = (
            ("did", self.did), ("expected", self.expected),
            ("happened", self.happened), ("to do", self.to_do),
        )  # fmt: skip
        return [f"    {label + ':':10} {text}" for label, text in named if text]


class NotConforming(LabError):
    """An instrument that breaks clauses of the contract."""

    def __init__(self, report: "Report") -> None:
        self.report = report
        super().__init__(report.text())


@dataclass(frozen=True, slots=True)
class Report:
    """What the suite found of one class.

    Args:
        instrument: "module:Class".
        findings: in the order of the looks.
        took_s: how long the suite took [s, real].
        notes: what a reader must know: silences that were shortened, what was skipped.
    """

    instrument: str
    findings: tuple[Finding, ...]
    took_s: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Return the findings of broken clauses."""
        return tuple(f for f in self.findings if f.verdict is Verdict.FAILED)

    @property
    def failed_clauses(self) -> list[str]:
        """Return the ids of broken clauses, sorted."""
        return sorted({f.clause for f in self.failed})

    def verdict_of(self, clause: str) -> Verdict:
        """Return the worst verdict on a clause; not judged when it was not looked at."""
        found = {f.verdict for f in self.findings if f.clause == clause}
        for verdict in (Verdict.FAILED, Verdict.PASSED, Verdict.NOT_JUDGED):
            if verdict in found:
                return verdict
        return Verdict.NOT_APPLICABLE if found else Verdict.NOT_JUDGED

    def raise_if_failed(self) -> None:
        """Raise where a clause is broken.

        Raises:
            NotConforming: with the whole report as its text.
        """
        if self.failed:
            raise NotConforming(self)

    def text(self) -> str:
        """Return the report as plain text."""
        from twinloop.instruments.conformance.words import report_text

        return report_text(self)

    def json(self) -> str:
        """Return the report as JSON, for programs."""
        return json.dumps(asdict(self), indent=1)


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a preparation.

    Args:
        action: its name.
        arguments: of it.
        instrument: "" for the one that is checked, or the name of a companion.
    """

    action: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    instrument: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that the device did, from a record that neither adapter nor author's class keeps.

    Args:
        action: which action it belongs to.
        key: `str(command.key)` of the command, where the device knows it; else "".
        what: `began`; `done`: came to its proper end; `cut`: ended before.
        numbers: of a `cut` or `done`: what a Partial or a result must agree with, by name.
    """

    action: str
    key: str
    what: Literal["began", "done", "cut"]
    numbers: Mapping[str, float] = field(default_factory=dict)


class Rehearsal:
    """What an author tells the suite of a safe rehearsal; every part of it has a default.

    Class attributes:
        instrument: the class that it is for.
        clock_factor: laboratory seconds in one real second; 1 unless the class is a twin.
        prepare: commands that make the instrument ready: bring a sample in. None: the first action
            that loads a sample, if there is one.
        before: by action, commands right before each run of it: approach before a scan.
        meanwhile: by action, one command to a companion while it runs: a growth for its record.
        examples: by action, harmless arguments with which it is quick; what is missing is chosen
            from default, limits and type.
        lasting: by action, arguments with which it lasts some real seconds (two at least), so that
            there is time to abort and to kill; what is missing as in `examples`.
        goes_on: actions with which the device goes on by itself when the adapter dies.
        longest_s: longest time that an action with its examples takes [s, real].
        abort_s: longest time until an aborted action has ended [s, real].
        silence_s: every silence is rehearsed with this length, whatever is declared [s, real].
        safe: by readout, its value in the safe state, or (low, high).
        follows: by "action.argument", the readout that must not change faster than the argument's
            limit allows.
        interlocks: by interlock readout, the fault that opens it.
        faults: names that `inject` and `mend` take.
        breaks: by action, a fault that makes it fail after the device was touched.
        skip: by clause or action, why the suite is to leave it out; the report says so.

    Args:
        folder: empty, for the device of the rehearsal and what it records.
        given: settings from the command line; they win.
    """

    instrument: ClassVar[type[Instrument] | None] = None
    clock_factor: float = 1.0
    prepare: Sequence[Step] | None = None
    before: Mapping[str, Sequence[Step]] = {}
    meanwhile: Mapping[str, Step] = {}
    examples: Mapping[str, Mapping[str, Any]] = {}
    lasting: Mapping[str, Mapping[str, Any]] = {}
    goes_on: Sequence[str] = ()
    longest_s: float = 60.0
    abort_s: float = 2.0
    silence_s: float = 1.5
    safe: Mapping[str, Any] = {}
    follows: Mapping[str, str] = {}
    interlocks: Mapping[str, str] = {}
    faults: Sequence[str] = ()
    breaks: Mapping[str, str] = {}
    skip: Mapping[str, str] = {}

    def __init__(self, folder: Path, given: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.given: dict[str, Any] = dict(given or {})

    def settings(self) -> dict[str, Any]:
        """Return the settings of the instrument."""
        return {}

    def companions(self) -> Mapping[str, tuple[type[Instrument], Mapping[str, Any]]]:
        """Return what is served in the same adapter process, by name: class and settings."""
        return {}

    def start(self) -> None:
        """Start what the instrument talks to, before it is served; nothing by default."""

    def stop(self) -> None:
        """Stop it again."""

    def effects(self) -> Sequence[Effect] | None:
        """Return what the device did so far, by its own record; None where there is none."""
        return None

    @staticmethod
    def action_of(key: str) -> str:
        """Return the action that a key of the suite belongs to, for a device that keeps keys only.

        Example:
            >>> Rehearsal.action_of("check-1a2b3c/check/7-anneal/1")
            'anneal'
        """
        return key.split("/")[2].partition("-")[2]

    def inject(self, fault: str) -> None:
        """Let a named fault stand until `mend`."""

    def mend(self, fault: str) -> None:
        """Take it away."""


def check_instrument(
    cls: type[Instrument],
    rehearsal: type[Rehearsal] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    only: Iterable[str] = (),
    folder: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Check a class on a real adapter process, and return what was found.

    Args:
        cls: the class of the instrument.
        rehearsal: of it; None: the one in `rehearsal.py` of its package, or the defaults.
        settings: of the instrument; they win over those of the rehearsal.
        only: ids of clauses ("L2"), or groups ("L"); all when empty.
        folder: for ledger, records and device; None: a temporary one.
        progress: takes a line for each clause.

    Raises:
        ConfigError: settings that the class does not take.
        ArgumentError: a clause that does not exist.
        BenchFailed: hub or adapter do not start; the text says why.
    """
    from twinloop.instruments.conformance.suite import check

    return check(cls, rehearsal, settings=settings, only=only, folder=folder, progress=progress)
