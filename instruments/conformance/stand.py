"""One instrument on the bench, with its rehearsal: what every look at a clause uses."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Self

from twinloop.errors import LabError
from twinloop.ids import CommandKey
from twinloop.instruments.conformance.bench import ANSWER_S, Bench, BenchFailed
from twinloop.instruments.conformance.clauses import CLAUSES
from twinloop.instruments.conformance.examples import example
from twinloop.instruments.conformance.interface import (
    Effect,
    Finding,
    Rehearsal,
    Step,
    Verdict,
)
from twinloop.instruments.conformance.record import Record
from twinloop.instruments.interface import ActionMethod, Instrument
from twinloop.messages import Command, Outcome

__all__ = ["CannotPrepare", "Inspector", "Look", "Looker", "Stand"]

Looker = Callable[["Stand"], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Look:
    """A function that looks at some clauses."""

    clauses: tuple[str, ...]
    look: Looker


class CannotPrepare(LabError):
    """The instrument could not be made ready for a look."""

    def __init__(self, action: str, detail: str) -> None:
        self.action, self.detail = action, detail
        super().__init__(f"it could not be made ready for {action}: {detail}")


@dataclass(slots=True)
class Truth:
    """What the device itself says of one command.

    Args:
        begins, ends, cuts: how often that was seen.
        numbers: of the last `done` or `cut`.
    """

    begins: int = 0
    ends: int = 0
    cuts: int = 0
    numbers: dict[str, float] = field(default_factory=dict)


class Stand:
    """An instrument that is served on a bench.

    Args:
        bench: hub and adapter.
        name: of the instrument there.
        cls: its class.
        rehearsal: of it.
        record: what reaches the author's code; None where the adapter is not ours.
        may_act: False where nothing may move.
    """

    def __init__(
        self,
        bench: Bench,
        name: str,
        cls: type[Instrument],
        rehearsal: Rehearsal,
        record: Record | None,
        *,
        may_act: bool = True,
    ) -> None:
        self.bench, self.name, self.cls = bench, name, cls
        self.rehearsal, self.record, self.may_act = rehearsal, record, may_act
        self.wanted: frozenset[str] = frozenset(CLAUSES)
        self.served: Callable[..., None] = lambda **_: None
        self._n_samples = 0
        self._beside: list[Command] = []
        self._recorded: set[str] = set()
        self._memory: dict[str, Any] = {}

    # --- findings ----------------------------------------------------------------------------

    def wants(self, *clauses: str) -> bool:
        """Return True when one of these clauses is to be judged."""
        return any(clause in self.wanted for clause in clauses)

    def judge(
        self,
        clause: str,
        is_kept: object,
        subject: str = "",
        *,
        did: str = "",
        expected: str = "",
        happened: str = "",
        to_do: str = "",
    ) -> Finding:
        """Return a finding: passed or failed."""
        verdict = Verdict.PASSED if is_kept else Verdict.FAILED
        return Finding(clause, verdict, subject, did, expected, happened, to_do)

    def not_judged(self, clause: str, reason: str, subject: str = "") -> Finding:
        """Return a finding that says what is lacking."""
        return Finding(clause, Verdict.NOT_JUDGED, subject, happened=reason)

    def not_applicable(self, clause: str, reason: str, subject: str = "") -> Finding:
        """Return a finding that says that there is nothing of the sort."""
        return Finding(clause, Verdict.NOT_APPLICABLE, subject, happened=reason)

    # --- what is there -----------------------------------------------------------------------

    @property
    def methods(self) -> dict[str, ActionMethod[..., Any]]:
        """Return the actions that are rehearsed, by name."""
        skip = self.rehearsal.skip
        return {n: m for n, m in self.cls.actions().items() if n not in skip}

    @property
    def own_record(self) -> Record:
        """Return the record.

        Raises:
            BenchFailed: the adapter is not ours.
        """
        if self.record is None:
            raise BenchFailed("the record", "this adapter is not the bench's own")
        return self.record

    def can_last(self, action: str) -> bool:
        """Return True when the rehearsal knows how to make an action last some seconds."""
        method = self.cls.actions()[action]
        units = {p.unit for p in method.spec.parameters if p.type_name == "float"}
        return action in self.rehearsal.lasting or bool(units & {"s", "min", "h"})

    def arguments(self, action: str, *, lasting: bool = False) -> dict[str, Any]:
        """Return harmless arguments.

        Raises:
            NoExample: for one of them none can be guessed.
        """
        given = dict(self.rehearsal.examples.get(action, {}))
        if lasting:
            given |= self.rehearsal.lasting.get(action, {})
        factor = self.rehearsal.clock_factor
        return {
            p.name: given[p.name]
            if p.name in given
            else example(action, p, factor, lasting=lasting)
            for p in self.cls.actions()[action].spec.parameters
        }

    def truth(self, key: CommandKey) -> Truth | None:
        """Return what the device says of a command, None where it keeps no record."""
        effects = self.rehearsal.effects()
        if effects is None:
            return None
        found = Truth()
        for effect in effects:
            if effect.key == str(key):
                found.begins += effect.what == "began"
                found.ends += effect.what == "done"
                found.cuts += effect.what == "cut"
                found.numbers |= dict(effect.numbers)
        return found

    def effects(self) -> list[Effect] | None:
        """Return everything that the device did, None where it keeps no record."""
        found = self.rehearsal.effects()
        return None if found is None else list(found)

    def is_recorded_by_device(self, action: str) -> bool:
        """Return True when the device's own record has shown this action."""
        effects = self.rehearsal.effects() or ()
        return any(e.action == action and e.what == "began" for e in effects)

    def starts(self, command: Command) -> int:
        """Return how often a command reached the author's code."""
        return self.own_record.count("began", key=str(command.key))

    def was_touched(self, command: Command) -> bool:
        """Return True when anything shows that a command reached the device."""
        truth = self.truth(command.key)
        if truth is not None and truth.begins:
            return True
        if self.record is None:
            outcome = self.bench.heard.outcomes.get(command.key)
            return outcome is not None and outcome.state not in {"failed", "not_done", "unknown"}
        return self.starts(command) > 0

    def partners(self) -> list[str]:
        """Return its name, and those of its companions."""
        return [self.name, *self.rehearsal.companions()]

    def beside(self, command: Command) -> None:
        """Take note of a command that goes on beside."""
        self._beside.append(command)

    # --- making ready ------------------------------------------------------------------------

    def ready(self, action: str = "") -> str | None:
        """Bring the instrument to rest, with a sample and a lease; return the sample.

        Raises:
            CannotPrepare: a step of the preparation is not done.
        """
        if not self.may_act:
            return self.bench.status(self.name).sample
        self._calm(action)
        status = self.bench.status(self.name)
        sample = status.sample
        if not self._tracks_samples():
            sample = sample or "rehearsal"
        elif sample is None and not self._loads(action):
            self._prepare(action)
            sample = self.bench.status(self.name).sample
        for step in self.rehearsal.before.get(action, ()):
            self._step(step, action, sample)
        return sample

    def new_sample(self) -> str:
        """Return the name of a sample that has not been."""
        self._n_samples += 1
        return f"rehearsal-{self.name}-{self._n_samples}"[:64]

    def make(
        self,
        action: str,
        *,
        lasting: bool = False,
        arguments: Mapping[str, Any] | None = None,
        ready: bool = True,
        **change: Any,
    ) -> Command:
        """Return a command with harmless arguments, for an instrument that is made ready.

        Raises:
            NoExample: an argument cannot be guessed.
            CannotPrepare: the instrument is not ready.
        """
        chosen = dict(self.arguments(action, lasting=lasting) if arguments is None else arguments)
        sample = self.ready(action) if ready else self.bench.status(self.name).sample
        if self._loads(action):
            sample = self.new_sample()
        return self.bench.command(self.name, action, chosen, sample, **change)

    def begin(self, command: Command, *, beside: bool = True) -> Command:
        """Begin a command, with what has to go on meanwhile; return it as it was sent."""
        command = self.bench.begin(command)
        step = self.rehearsal.meanwhile.get(command.action)
        if step is not None and beside:
            other = step.instrument or self.name
            second = self.bench.command(other, step.action, step.arguments, command.sample)
            self._beside.append(self.bench.begin(second))
        return command

    def end(self, command: Command, within_s: float | None = None) -> Outcome | None:
        """Wait for the outcome of a command, and for what went on beside it."""
        limit_s = self.rehearsal.longest_s if within_s is None else within_s
        outcome = self.bench.outcome(command, limit_s)
        if outcome is not None:
            self.finish_beside()
        return outcome

    def do(self, action: str, *, lasting: bool = False) -> tuple[Command, Outcome | None]:
        """Make ready, do an action, wait for its end."""
        command = self.begin(self.make(action, lasting=lasting))
        return command, self.end(command)

    def is_under_way(self, command: Command, within_s: float = ANSWER_S) -> bool:
        """Wait until a command has reached the device; False when it ended before."""

        def has_begun() -> bool:
            return command.key in self.bench.heard.outcomes or self.starts(command) > 0

        self.bench.wait(has_begun, within_s)
        return command.key not in self.bench.heard.outcomes

    def finish_beside(self) -> None:
        """Wait for what went on beside an action."""
        beside, self._beside = self._beside, []
        for command in beside:
            if self.bench.outcome(command, self.rehearsal.longest_s) is None:
                self.bench.abort(command)
                self.bench.outcome(command, ANSWER_S)

    def _calm(self, action: str) -> None:
        bench = self.bench
        status = bench.status(self.name)
        if status.state in {"busy", "reconciling"}:
            is_rest = lambda: bench.status(self.name).state not in {"busy", "reconciling"}  # noqa: E731
            if not bench.wait(is_rest, self.rehearsal.longest_s):
                raise CannotPrepare(action, f"it is {status.state} with {status.key} for ever")
        if bench.status(self.name).trip:
            bench.clear(self.name, "rehearsal goes on")
        for name in self.partners():
            if name not in bench.leases or bench.status(name).state == "held":
                bench.lease(name)
            if bench.status(name).trip:
                bench.clear(name, "rehearsal goes on")

    def _prepare(self, action: str) -> None:
        steps = self.rehearsal.prepare
        if steps is None:
            loads = [n for n, m in self.cls.actions().items() if m.spec.loads_sample]
            steps = [Step(loads[0], self.arguments(loads[0]))] if loads else []
        new = self.new_sample()
        for step in steps:
            # what is done before the sample comes in is done without one
            held = self.bench.status(self.name).sample
            self._step(step, action, new if self._brings(step) else held)

    def _step(self, step: Step, action: str, sample: str | None) -> None:
        arguments = dict(step.arguments)
        if not step.instrument:
            arguments = {**self.arguments(step.action), **arguments}
        name = step.instrument or self.name
        command = self.bench.begin(self.bench.command(name, step.action, arguments, sample))
        outcome = self.bench.outcome(command, self.rehearsal.longest_s)
        if outcome is None or outcome.state != "done":
            told = "no outcome" if outcome is None else f"{outcome.state}: {outcome.reason}"
            raise CannotPrepare(action or "work", f"{name}.{step.action} is {told}")

    def _brings(self, step: Step) -> bool:
        others = {name: cls for name, (cls, _) in self.rehearsal.companions().items()}
        method = others.get(step.instrument, self.cls).actions().get(step.action)
        return method is not None and method.spec.loads_sample

    def _loads(self, action: str) -> bool:
        method = self.cls.actions().get(action)
        return method is not None and method.spec.loads_sample

    def _tracks_samples(self) -> bool:
        classes = [self.cls, *(cls for cls, _ in self.rehearsal.companions().values())]
        served = [place.cls for place in self.bench.places.values()]
        return any(m.spec.loads_sample for c in [*classes, *served] for m in c.actions().values())

    # --- a life after a death ----------------------------------------------------------------

    def restart(self, **change: Any) -> None:
        """Start the adapter again on its folder."""
        self.served(**change)

    def kill_and_restart(self) -> None:
        """End the adapter as a power cut does, and start it again."""
        self.bench.kill()
        self.restart()

    def recall(self, name: str, make: Callable[[], Any]) -> Any:
        """Return something that is made once."""
        if name not in self._memory:
            self._memory[name] = make()
        return self._memory[name]


class Inspector:
    """A process with a connection of its own; see `conformance.inspector`.

    Args:
        stand: whose class it has.
        plain: the class itself, without notes.

    Raises:
        BenchFailed: it does not start, or no object can be made.
    """

    def __init__(self, stand: Stand, *, plain: bool = False) -> None:
        self._bench = stand.bench
        command = [
            sys.executable, "-m", "twinloop.instruments.conformance.inspector",
            "--record", str(stand.own_record.folder),
            "--factor", str(stand.rehearsal.clock_factor),
            "--settings", json.dumps(stand.bench.places[stand.name].settings, default=str),
            *(["--plain"] if plain else []),
        ]  # fmt: skip
        self._log_path = stand.bench.folder / "inspector.log"
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )
        self._lines: SimpleQueue[dict[str, Any]] = SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        hello = self._await(60.0)
        if hello is None or hello["error"]:
            detail = "no word of it" if hello is None else str(hello["error"])
            self.close()
            raise BenchFailed("a second process with the class", detail, self.log())
        self.touched: list[str] = hello["touched"]
        self.pid = int(hello["pid"])

    def do(self, what: str, within_s: float = 30.0) -> dict[str, Any]:
        """Do one operation; `error` says what went wrong."""
        told = self.ask(what)
        return told(within_s)

    def ask(self, what: str) -> Callable[[float], dict[str, Any]]:
        """Begin an operation; call what is returned for its answer."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(f"{what}\n".encode())

        def answer(within_s: float) -> dict[str, Any]:
            found = self._await(within_s)
            lost = {"told": None, "error": f"no answer within {within_s:g} s", "took_s": within_s}
            return lost if found is None else found

        return answer

    def log(self) -> str:
        """Return its last words."""
        return "\n".join(self._log_path.read_text(encoding="utf-8").splitlines()[-8:])

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _await(self, within_s: float) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = []

        def has_come() -> bool:
            with contextlib.suppress(Empty):
                found.append(self._lines.get_nowait())
            return bool(found) or (self._process.poll() is not None and self._lines.empty())

        self._bench.wait(has_come, within_s)
        return found[0] if found else None

    def _read(self) -> None:
        stream = self._process.stdout
        lines: Iterable[bytes] = stream if stream is not None else ()
        with contextlib.suppress(ValueError, OSError):
            for line in lines:
                with contextlib.suppress(json.JSONDecodeError):
                    self._lines.put(json.loads(line))
