"""A twin with a stage, that computes where it is served: what STEM, STM and XRD twins share.

A subclass derives from the contract of its kind and from this, and writes each action as a recipe, a
generator that does one slice of physics and yields the laboratory time that the slice stands for:

    class XRDTwin(StageTwin, XRD):
        FAULTS = ("tube_off",)

        @XRD.scan.implement
        async def scan(self, *, start_deg: Angle_deg, stop_deg: Angle_deg, ...) -> Scan:
            return _scan_of(await self.perform("scan", self._scan, start_deg=start_deg, ...))

        def _scan(self, run: StageRun, *, start_deg: float, ...) -> Recipe:
            specimen, rng = self.on_stage(), self.random("scan")
            for ...:
                run.numbers = {...}              # what has happened so far; replaced, never changed
                yield 0.5                        # here an abort or a safe state cuts it short
            run.arrays = {"counts": counts}

        @scan.reconcile
        async def what_was_scanned(self, command: Command) -> Verdict:
            return self.verdict_of(command, _scan_of)

A slice is computed in a thread beside the event loop, so that readouts are answered meanwhile; an abort
waits for its end: let it take 0.3 s at most. `run.is_touched = True` says that something has happened
that cannot be taken back. What the instrument is, besides its settings, stands in `self.state` (plain
JSON: where the tip is, how it is aligned) and on the stage; both are kept on disk after every run, so
that a twin whose process was killed is the same instrument afterwards. Every random number depends on
the seed, the sample, what it is for and how often that was asked; never on wall time.

Source of the pattern: `instruments/standin/recipes.py`, where a machine process does the same.
"""

import asyncio
import contextlib
import json
import os
import tempfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from twinloop.errors import ArgumentError
from twinloop.ids import canonical_json, seed_of
from twinloop.instruments.holder.interface import SampleHolder
from twinloop.instruments.interface import ActionMethod, Command, NotTouched, Verdict
from twinloop.instruments.standin.interface import Progress, State, verdict
from twinloop.instruments.standin.run_book import RunBook
from twinloop.instruments.standin.twin import OperationCut
from twinloop.instruments.standin.vessel import Stage, Vessel, VesselRefused
from twinloop.log.durable import write_whole
from twinloop.results import Array
from twinloop.simulators.specimen import Specimen

__all__ = ["Recipe", "StageRun", "StageTwin", "TwinFault"]

Recipe = Generator[float, None, None]

SAFE_STATE = "safe_state"
MOVES = frozenset({"take", "give"})
PUT_BACK = {"put_back": 1.0, "taken": 0.0}
"""What is told of a take that was cut short when the old sample had left and the new one was not in."""
LOOK_REAL_S = 0.5
"""Longest time until a run sees a safe state that another process has asked for [s, real]."""


class TwinFault(BaseModel):
    """A fault that comes by itself.

    Args:
        name: one of the twin's named faults.
        run: number of the run (take and give not counted) at which it comes, from 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    run: int = Field(ge=1)


@dataclass(slots=True)
class StageRun:
    """One run under way.

    Args:
        key: of the command.
        name: of the action.
        numbers: result, or what has happened so far.
        arrays: result, or what was measured so far.
        is_touched: something has happened that cannot be taken back.
    """

    key: str
    name: str
    numbers: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    is_touched: bool = False


class _Cut(Exception):
    """A safe state cuts the recipe short."""


async def _computed(slices: Recipe) -> float | None:
    """Compute the next slice in a thread; return how long it lasts, None behind the last one."""
    work = asyncio.create_task(asyncio.to_thread(next, slices, None))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        # nothing goes on behind the back of who aborts; how the recipe itself ended comes first
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({work})
        if not work.cancelled() and (err := work.exception()) is not None:
            raise err from None
        raise


class StageTwin(SampleHolder):
    """An instrument with a stage for one sample.

    Args:
        seed: of every random number of the instrument.
        folder: where its state, its sample and its results are kept, on the file system of the
            vessel; None: in a folder that goes with the process.
        vessel: folder of the transfer vessel; None: no other instrument gives it samples.
        specimen: what an autoloader mounts when the vessel does not hold the sample that is to be
            taken (see the twin's `stock`); None: nothing. A run gives such a twin no vessel of its own
            accord: a sample whose `give` was forgotten would be mounted a second time, as new.
        faults: that come by themselves.
    """

    is_twin: ClassVar[bool] = True
    FAULTS: ClassVar[tuple[str, ...]] = ()
    TAKE_S: ClassVar[float] = 300.0
    GIVE_S: ClassVar[float] = 120.0

    seed: int = Field(default=0, ge=0, lt=2**63)
    folder: str | None = None
    vessel: str | None = None
    specimen: str | None = None
    faults: tuple[TwinFault, ...] = ()

    _home: Path | None = PrivateAttr(default=None)
    _is_open: bool = PrivateAttr(default=False)
    _temporary: "tempfile.TemporaryDirectory[str] | None" = PrivateAttr(default=None)
    _specimen: Specimen | None = PrivateAttr(default=None)
    _asked: "Counter[str]" = PrivateAttr(default_factory=Counter)
    _present: set[str] = PrivateAttr(default_factory=set)
    _runs: int = PrivateAttr(default=0)
    _running: set[str] = PrivateAttr(default_factory=set)
    _state: dict[str, Any] = PrivateAttr(default_factory=dict)
    _heeded: bytes = PrivateAttr(default=b"")

    def __init_subclass__(cls, **settings: Any) -> None:
        """Refuse a twin that drops an interlock which the contract of its kind demands."""
        super().__init_subclass__(**settings)
        for name, method in cls.actions().items():
            for base in cls.__mro__:
                declared = vars(base).get(name)
                asked = declared.interlocks if isinstance(declared, ActionMethod) else ()
                if not set(asked) <= set(method.interlocks):
                    allowed = f"{asked}, as {base.__name__} says: write @{base.__name__}.{name}."
                    raise ArgumentError(
                        f"{cls.__name__}.{name}: interlocks",
                        method.interlocks,
                        f"{allowed}implement",
                    )

    # --- what a twin of a kind adds ------------------------------------------------------------

    @abstractmethod
    def stock(self, sample: str) -> Specimen:
        """Return a fresh specimen of the sort that the setting `specimen` names.

        Raises:
            ArgumentError: a sort that it does not have.
        """

    def first_state(self) -> dict[str, Any]:
        """Return the state of a new instrument, as JSON; drawn from the seed."""
        return {}

    def on_mounted(self, specimen: Specimen) -> Specimen:
        """Return the specimen as it is once it is mounted; unchanged by default.

        A process that dies in a take leaves this to its next life, where no command is under way.
        """
        return specimen

    def on_safe_state(self) -> None:
        """Bring `self.state` to what is safe (beam blanked, tip back); nothing by default."""

    # --- the instrument ------------------------------------------------------------------------

    def connect(self) -> None:
        """Find the folder; adapter and watchdog call this, and nothing moves.

        Raises:
            ArgumentError: a fault that it does not have, or a vessel that its samples cannot reach.
        """
        for fault in self.faults:
            self._check_fault(fault.name)
        if self._home is not None:
            return
        vessel = None if self.vessel is None else Vessel(Path(self.vessel))
        if self.folder is None:
            # beside the vessel: a temporary folder of the system may lie on another disk
            self._temporary = tempfile.TemporaryDirectory(
                prefix=f"twinloop-{type(self).kind}-", dir=self.vessel
            )
            home = Path(self._temporary.name).resolve()
        else:
            home = Path(self.folder).resolve()
            home.mkdir(parents=True, exist_ok=True)
        if vessel is not None:
            vessel.check_reach(home)
        self._home = home

    def disconnect(self) -> None:
        """Let go of the folder."""
        self._home, self._is_open = None, False
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def safe_state(self) -> None:
        """Cut short what runs, in whichever process it runs, and make the instrument safe."""
        write_whole(self.home / SAFE_STATE, os.urandom(8))
        if self._is_open:
            self._heed()

    def is_busy(self) -> bool:
        """Return False: what it does ends with its process."""
        return False

    @property
    def home(self) -> Path:
        """The folder.

        Raises:
            ArgumentError: `connect` has not been called.
        """
        if self._home is None:
            raise ArgumentError(f"{type(self).__name__}.home", None, "a call of connect() first")
        return self._home

    @property
    def state(self) -> dict[str, Any]:
        """What the instrument is now, as JSON; kept after every run."""
        self._open()
        return self._state

    def on_stage(self) -> Specimen:
        """Return the specimen on the stage.

        Raises:
            NotTouched: there is none.
        """
        self._open()
        if self._specimen is None:
            raise NotTouched(f"{type(self).kind}: no sample is on the stage; take one")
        return self._specimen

    def change(self, specimen: Specimen) -> None:
        """Replace the specimen on the stage by what it has become; kept at the end of the run.

        Raises:
            NotTouched: there is none.
            ArgumentError: another sample.
        """
        if specimen.name != (there := self.on_stage().name):
            raise ArgumentError("specimen", specimen.name, f"{there}, which is on the stage")
        self._specimen = specimen

    def random(self, what: str) -> np.random.Generator:
        """Return the random numbers of the next run of that name on this sample."""
        self._open()
        name = "" if self._specimen is None else self._specimen.name
        self._asked[f"{name}/{what}"] += 1
        return np.random.default_rng(seed_of(self.seed, name, what, self._asked[f"{name}/{what}"]))

    def has_fault(self, name: str) -> bool:
        """Return whether a fault is present."""
        self._open()
        return name in self._present

    def inject(self, fault: str) -> None:
        """Let a fault be present from now on; for tests in process."""
        self._check_fault(fault)
        self._open()
        self._present.add(fault)

    def repair(self, fault: str) -> None:
        """Take a fault away; for tests in process, and for recipes that mend it."""
        self._open()
        self._present.discard(fault)

    def truth(self) -> dict[str, Any]:
        """Return what the twin hides; for tests in process, never served."""
        self._open()
        return {
            "state": dict(self._state),
            "specimen": self._specimen,
            "faults": sorted(self._present),
            "runs": self._runs,
        }

    async def perform(self, name: str, recipe: Callable[..., Recipe], **arguments: Any) -> Progress:
        """Run a recipe to its end, once for each command key.

        Raises:
            NotTouched: it was refused before anything happened.
            OperationCut: a safe state cut it short.
        """
        self._open()
        key = str(self.command.key)
        seen = self._book.find(key)
        if seen.state != "unseen":
            return self._finished(name, seen)
        if name not in MOVES:
            self._count_run()
        run = StageRun(key, name)
        slices = recipe(run, **arguments)
        self._book.begin(key, name)
        self._running.add(key)
        state: State = "lost"
        reason = "its recipe broke; nobody can tell how far it came"
        try:
            await self._pass(slices)
            state, reason = "done", ""
        except NotTouched as err:
            state, reason = "partial" if run.is_touched else "not_done", str(err)
            if run.is_touched:
                raise self._cut(name, state, reason) from err
            raise
        except (asyncio.CancelledError, _Cut) as err:
            slices.close()
            state = "partial" if run.is_touched else "not_done"
            reason = "a safe state" if isinstance(err, _Cut) else "aborted"
            if isinstance(err, _Cut):
                self._make_safe()
                raise self._cut(name, state, reason) from err
            raise
        except Exception as err:
            reason = (
                f"its recipe broke ({type(err).__name__}: {err}); nobody can tell how far it came"
            )
            raise
        finally:
            self._running.discard(key)
            # where a move broke off, the disk knows better where the sample is
            self._is_open = state == "done" or name not in MOVES
            self._close(run, state, reason)
        return Progress("done", run.numbers, run.arrays)

    def verdict_of(self, command: Command, result: Callable[[Progress], Any]) -> Verdict:
        """Return what became of a command, for the adapter; ask the vessel about take and give."""
        self._open()
        key = str(command.key)
        if key in self._running:
            return verdict(Progress("running"), result)
        progress = self._book.find(key)
        is_open = progress.state in {"partial", "lost"} and progress.numbers != PUT_BACK
        if command.action in MOVES and is_open:
            progress = self._where_it_went(command)
        return verdict(progress, result)

    def _where_it_went(self, command: Command) -> Progress:
        """Find out whether a move that broke off has happened, and keep the answer."""
        key = str(command.key)
        if self._vessel is not None and self._vessel.has_happened(key):
            progress = Progress("done")
        elif command.action == "give" and self._specimen is None:
            reason = "nothing is on the stage, and this vessel knows nothing of the give"
            return Progress("lost", reason=reason)
        elif command.action == "take" and self._has_put_back(key):
            progress = Progress("partial", PUT_BACK, reason="it broke off behind the put-back")
        else:
            progress = Progress("not_done", reason="it broke off before the sample moved")
        self._book.end(key, command.action, progress.state, progress.numbers, {}, progress.reason)
        return progress

    def _has_put_back(self, key: str) -> bool:
        """Return whether a take that broke off has cleared the stage."""
        is_told = self._specimen is None and "put_back" in self._book.find(key).numbers
        return is_told or (
            self._vessel is not None and self._vessel.has_happened(f"{key}/put-back")
        )

    # --- take and give -------------------------------------------------------------------------

    @SampleHolder.take.implement
    async def take(self) -> None:
        """Take the named sample out of the transfer vessel, onto the stage."""
        await self.perform("take", self._take)

    @SampleHolder.give.implement
    async def give(self) -> None:
        """Put the sample on the stage into the transfer vessel."""
        await self.perform("give", self._give)

    @take.reconcile
    async def what_was_taken(self, command: Command) -> Verdict:
        """Ask vessel and stage by command key."""
        return self.verdict_of(command, lambda _: None)

    @give.reconcile
    async def what_was_given(self, command: Command) -> Verdict:
        """Ask the vessel by command key."""
        return self.verdict_of(command, lambda _: None)

    def _take(self, run: StageRun) -> Recipe:
        name = self.command.sample
        if name is None:
            raise NotTouched("take: the command names no sample")
        if self._specimen is not None and self._specimen.name == name:
            # nothing to do; a ledger that was lost, or could not ask, knows of it again
            return
        self._refuse_taking(name)
        if self._specimen is not None:
            yield self.GIVE_S
            self._put_back(run)
        yield self.TAKE_S
        self._refuse_taking(name)
        if self._vessel is not None and name in self._vessel.held():
            taken = self._move(lambda vessel: vessel.take(run.key, name, self._stage))
        else:
            taken = self.stock(name)
        run.is_touched, run.numbers = True, {}
        mounted = self.on_mounted(taken.with_event("take", type(self).kind, run.key))
        self._stage.write(mounted, run.key)
        self._specimen = mounted

    def _refuse_taking(self, name: str) -> None:
        is_held = self._vessel is not None and name in self._vessel.held()
        if not is_held and self.specimen is None:
            held = ", ".join(self._vessel.held()) if self._vessel is not None else ""
            raise NotTouched(f"take {name}: the transfer vessel holds {held or 'nothing'}")

    def _put_back(self, run: StageRun) -> None:
        """Clear the stage of what a trial that failed has left on it."""
        left = self.on_stage()
        if self._vessel is None:
            # back to the autoloader, which mounts a fresh one when it is asked again; it keeps no
            # book, so this one says first what is about to happen
            self._book.end(run.key, run.name, "partial", {"put_back": 1.0}, {}, "it broke off")
            file = self._stage.file()
            if file is not None:
                file.unlink()
        else:
            key = f"{run.key}/put-back"
            self._stage.write(left.with_event("give", type(self).kind, key), key)
            self._move(lambda vessel: vessel.give(key, self._stage))
        self._specimen = None
        run.is_touched, run.numbers = True, dict(PUT_BACK)

    def _give(self, run: StageRun) -> Recipe:
        specimen = self.on_stage()
        if self._vessel is None:
            raise NotTouched(f"give {specimen.name}: no transfer vessel is at this instrument")
        yield self.GIVE_S
        self._stage.write(specimen.with_event("give", type(self).kind, run.key), run.key)
        self._move(lambda vessel: vessel.give(run.key, self._stage))
        run.is_touched = True
        self._specimen = None

    def _move(self, step: Callable[[Vessel], Any]) -> Any:
        try:
            return step(self._vessel)  # type: ignore[arg-type]
        except VesselRefused as err:
            raise NotTouched(str(err)) from err

    # --- private -------------------------------------------------------------------------------

    async def _pass(self, slices: Recipe) -> None:
        """Do slice after slice, and let the time of each pass."""
        before, longest_s = self._heeded, LOOK_REAL_S * self.clock.factor
        while (pause_s := await _computed(slices)) is not None:
            left_s = pause_s
            while True:
                await self.clock.sleep(min(left_s, longest_s))
                if self._safe_mark() != before:
                    raise _Cut
                left_s -= longest_s
                if not left_s > 0:
                    break

    def _heed(self) -> None:
        """Do what a safe state asks for that came from elsewhere, or while nothing was running."""
        if not self._running and self._safe_mark() != self._heeded:
            self._make_safe()
            self._save()

    def _make_safe(self) -> None:
        self._heeded = self._safe_mark()
        self.on_safe_state()

    def _safe_mark(self) -> bytes:
        try:
            return (self.home / SAFE_STATE).read_bytes()
        except FileNotFoundError:
            return b""

    def _finished(self, name: str, progress: Progress) -> Progress:
        if progress.state == "done":
            return progress
        if progress.state == "not_done":
            raise NotTouched(f"{name}: {progress.reason or 'it was refused'}")
        raise OperationCut(name, progress.state, progress.reason or "no reason given")

    def _cut(self, name: str, state: State, reason: str) -> Exception:
        return (
            NotTouched(f"{name}: {reason}")
            if state == "not_done"
            else OperationCut(name, state, reason)
        )

    def _close(self, run: StageRun, state: State, reason: str) -> None:
        """Keep what has become of instrument and sample, then the result that tells of it."""
        if self._specimen is not None and run.name not in MOVES:
            self._stage.write(self._specimen, run.key)
        self._save()
        self._book.end(run.key, run.name, state, run.numbers, run.arrays, reason)

    def _count_run(self) -> None:
        self._runs += 1
        for fault in self.faults:
            if fault.run == self._runs:
                self._present.add(fault.name)

    def _check_fault(self, name: str) -> None:
        if name not in self.FAULTS:
            raise ArgumentError(f"fault of {type(self).kind}", name, f"one of {list(self.FAULTS)}")

    def _open(self) -> None:
        """Take up what an earlier life of this instrument has left; once, before anything moves."""
        if self._is_open:
            self._heed()
            return
        self._stage = Stage(self.home / "stage")
        self._book = RunBook(self.home / "runs")
        self._vessel = None if self.vessel is None else Vessel(Path(self.vessel))
        kept = self._kept()
        self._asked = Counter(kept.get("asked", {}))
        self._present, self._runs = set(kept.get("present", [])), int(kept.get("runs", 0))
        self._state = kept.get("state") or self.first_state()
        self._heeded = bytes.fromhex(kept.get("heeded", ""))
        self._is_open = True
        try:
            self._specimen = self._found()
            self._heed()
        except BaseException:
            self._is_open = False
            raise

    def _found(self) -> Specimen | None:
        """Return what is on the stage, after the end of a move that an earlier life broke off."""
        brought = None if self._vessel is None else self._vessel.settle(self._stage)
        specimen = kept = self._stage.read()
        if specimen is None or kept is None:
            return None
        while self._vessel is not None and specimen.history:
            last = specimen.history[-1]
            if last.what != "give" or self._vessel.has_happened(last.key):
                break
            specimen = replace(specimen, history=specimen.history[:-1])
        takes = [event.key for event in specimen.history if event.what == "take"]
        if brought is not None and brought not in takes:
            specimen = self.on_mounted(specimen.with_event("take", type(self).kind, brought))
            takes.append(brought)
        if specimen is not kept:
            self._stage.write(specimen, brought or "")
        if takes and self._book.find(takes[-1]).state in {"partial", "lost"}:
            self._book.end(takes[-1], "take", "done", {}, {})
        return specimen

    def _kept(self) -> dict[str, Any]:
        path = self.home / "state.json"
        if not path.is_file():
            return {}
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return kept

    def _save(self) -> None:
        body = {
            "asked": dict(self._asked),
            "present": sorted(self._present),
            "runs": self._runs,
            "state": self._state,
            "heeded": self._heeded.hex(),
        }
        write_whole(self.home / "state.json", canonical_json(body))
