"""The stand-in chamber: operations by key, two lanes, one film.

Molecular beam epitaxy and diffraction are two lanes that go on side by side; each does one
operation at a time. Whoever owns the chamber calls `step` for a lane, from one thread, and lets the
returned laboratory time pass; everything else may be called from any thread. What a film becomes
depends on the settings and on the operations alone.

Example:
    >>> from twinloop.instruments.standin.settings import ChamberSettings
    >>> chamber = Chamber(ChamberSettings(size=16))
    >>> chamber.begin(Operation(key="a/t/1/0", name="load", sample="s1")).state
    'running'
    >>> while chamber.step("mbe") is not None:
    ...     pass
    >>> chamber.progress("a/t/1/0").state, chamber.readings().sample
    ('done', 's1')
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from twinloop.errors import ArgumentError
from twinloop.instruments.standin.interface import (
    MachineFault,
    Operation,
    Progress,
    Readings,
    State,
)
from twinloop.instruments.standin.physical_log import EventList, PhysicalLog
from twinloop.instruments.standin.plant import GrowthTrace, Plant
from twinloop.instruments.standin.recipes import RECIPES
from twinloop.instruments.standin.rest import Rest, last_ended
from twinloop.instruments.standin.run import Interrupted, Recipe, Run
from twinloop.instruments.standin.settings import FAULTS, ChamberSettings, what_a_fault_lacks

__all__ = ["LANES", "Chamber", "Lane", "lane_of"]

Lane = Literal["mbe", "rheed"]
LANES: tuple[Lane, ...] = ("mbe", "rheed")
RUNS_KEPT = 512
REPEATABLE = ("heat", "ramp", "heat_cells", "aim")
"""Operations that a key may ask for again when they did not come to their end."""


class Chamber:
    """The physics and the books of one stand-in chamber.

    Args:
        settings: what it is, hidden truth included.
        log: where every effect is written before the chamber goes on; None: in memory.
        folder: where final surfaces, the sealed truth and the state at rest go; None: nowhere.
        history: physical log of earlier lives: their keys are answered, never repeated.
        vessel: folder of the transfer vessel at the chamber; None: what has grown stays in.
    """

    def __init__(
        self,
        settings: ChamberSettings,
        *,
        log: PhysicalLog | None = None,
        folder: Path | None = None,
        history: Sequence[Mapping[str, Any]] = (),
        vessel: Path | None = None,
    ) -> None:
        self._past, growths = _recall(history)
        self.log: PhysicalLog = EventList() if log is None else log
        self._plant = Plant(settings, self.log, folder, growths, vessel)
        self._runs: dict[str, Run] = {}
        self._ended: dict[str, State] = {}
        self._active: dict[Lane, tuple[Run, Recipe] | None] = dict.fromkeys(LANES)
        self._lock = threading.RLock()
        self._rest = None if folder is None else Rest(folder)
        self._last = last_ended(history)
        if self._rest is not None:
            self._claim_again(self._rest.restore(self._plant, self._last))
        self._complete_give(history)

    def begin(self, operation: Operation) -> Progress:
        """Start an operation, or answer for a key that has been seen (see `Machine.begin`)."""
        with self._lock:
            seen = self.progress(operation.key)
            again = operation.name in REPEATABLE and seen.state in {"partial", "lost", "not_done"}
            if seen.state != "unseen" and not again:
                return seen
            reason = self._refusal(operation)
            if reason:
                return Progress("not_done", reason=reason)
            run = Run(operation)
            self._past.pop(operation.key, None)
            self._ended.pop(operation.key, None)
            self._runs[operation.key] = run
            if operation.name != "record":
                recipe = RECIPES[operation.name](self._plant, run)
                self._active[lane_of(operation)] = (run, recipe)
            self._forget_old_runs()
            return self.progress(operation.key)

    def progress(self, key: str, since: int = 0) -> Progress:
        """Say how far an operation is (see `Machine.progress`)."""
        with self._lock:
            run = self._runs.get(key)
            if run is None:
                return self._past.get(key, Progress("unseen"))
            if run.operation.name == "record":
                return self._record(run, since)
            state = self._ended.get(key, "running")
            return Progress(state, run.numbers, run.arrays, run.interrupt)

    def abort(self, key: str, reason: str = "aborted") -> Progress:
        """Ask that an operation be cut short at its next slice."""
        with self._lock:
            run = self._runs.get(key)
            if run is not None and key not in self._ended and run.operation.name != "load":
                run.interrupt = reason
            return self.progress(key)

    def safe_state(self, reason: str) -> None:
        """Close the shutter and let the heater idle, now; the running recipe is cut short."""
        with self._lock:
            active = self._active["mbe"]
            if active is not None and active[0].operation.name != "load":
                active[0].interrupt = f"safe state: {reason}"
            if active is not None or not self._plant.heater_is_idle:
                self.log.append("safe_state", reason=reason)
            self._plant.close_shutter()
            self._plant.idle_heater()

    def readings(self) -> Readings:
        """Return what gauges and contacts say."""
        plant = self._plant
        return Readings(
            thermocouple_K=round(plant.thermocouple_K, 1),
            shutter_is_open=plant.contact_is_open,
            heater_is_idle=plant.heater_is_idle,
            intensity_counts_per_s=plant.last_intensity,
            sample=None if plant.sample is None else plant.sample.name,
            growths=plant.growths,
            is_busy=any(active is not None for active in self._active.values()),
        )

    def step(self, lane: Lane) -> float | None:
        """Do one slice of the lane's operation, of 0.3 s of computing at most.

        Returns:
            Laboratory time that the slice stands for [s]; None when the lane is idle.
        """
        active = self._active[lane]
        if active is None:
            return None
        run, recipe = active
        try:
            if run.interrupt:
                recipe.throw(Interrupted(run.interrupt))
            return next(recipe)
        except StopIteration:
            self._end(lane, run, "done")
        except Interrupted:
            self._end(lane, run, "partial" if run.is_touched else "not_done")
        except MachineFault as err:
            run.interrupt = err.reason
            self._end(lane, run, "not_done")
        return 0.0

    def give_up(self, lane: Lane, reason: str) -> None:
        """Mark the lane's operation as lost: its recipe broke, nobody can tell how far it came."""
        active = self._active[lane]
        if active is not None:
            active[0].interrupt = reason
            self._end(lane, active[0], "lost")

    def inject(self, fault: str) -> None:
        """Let a fault happen at the next growth.

        Raises:
            ArgumentError: an unknown fault, or one that this chamber cannot have.
        """
        name = next((known for known in FAULTS if known == fault), None)
        if name is None:
            raise ArgumentError("fault", fault, f"one of {list(FAULTS)}")
        lacking = what_a_fault_lacks(name, self._plant.settings)
        if lacking:
            raise ArgumentError("fault", fault, f"a chamber with the settings {lacking}")
        self._plant.faults.add(fault)

    def truth(self) -> dict[str, Any]:
        """Return what nobody outside should know; for tests in process."""
        return self._plant.reveal()

    def _end(self, lane: Lane, run: Run, state: State) -> None:
        with self._lock:
            if lane == "mbe" and self._rest is not None:
                if state == "done" or (state == "partial" and run.operation.name not in REPEATABLE):
                    self._last = run.operation.key
                elif state == "lost":
                    self._last = None
                self._rest.save(self._plant, self._last, self._claims())
            self._ended[run.operation.key] = state
            self._active[lane] = None

    def _claims(self) -> dict[str, int]:
        """Return the growth whose trace each `record` has taken."""
        return {key: run.trace.growth for key, run in self._runs.items() if run.trace is not None}

    def _claim_again(self, claims: Mapping[str, int]) -> None:
        """Let the records of an earlier life find the traces that they had taken."""
        traces = {trace.growth: trace for trace in self._plant.traces}
        for key, growth in claims.items():
            if growth in traces:
                self._runs[key] = Run(
                    Operation(key=key, name="record"), is_touched=True, trace=traces[growth]
                )

    def _complete_give(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Find out whether the sample had left when an earlier life died while giving it."""
        vessel, begun = self._plant.vessel, ""
        for event in history:
            begun = event["giving"] if event["kind"] == "giving" else begun
            begun = "" if event.get("key") == begun else begun
        if vessel is None or not begun or not vessel.has_happened(begun):
            return
        sample = self._plant.sample
        self._plant.sample = None
        name = "" if sample is None else sample.name
        self.log.append("sample_given", sample=name, key=begun, state="done", numbers={})
        self._past[begun] = Progress("done")
        self._last = begun
        if self._rest is not None:
            self._rest.save(self._plant, self._last, self._claims())

    def _refusal(self, operation: Operation) -> str:
        """Return why an operation cannot start now; "" when it can."""
        active = self._active[lane_of(operation)]
        if active is not None and operation.name != "record":
            return f"{active[0].operation.name} {active[0].operation.key} is under way"
        sample = self._plant.sample
        is_in = None if sample is None else sample.name
        if operation.name == "load" or (operation.name in REPEATABLE and is_in is None):
            return ""
        if is_in is None:
            return "no sample is in; load one"
        if operation.sample not in {None, is_in}:
            return f"sample {is_in} is in, not {operation.sample}"
        return ""

    def _record(self, run: Run, since: int) -> Progress:
        """Answer for a `record`: it takes the newest trace of its sample that nobody has taken."""
        trace = self._claimed(run)
        if trace is None:
            if run.interrupt:
                return Progress("not_done", reason=run.interrupt)
            return Progress("running", {"samples": 0.0})
        if not trace.has_ended:
            n = len(trace.time_s)
            arrays = {
                "time_s": np.array(trace.time_s[since:n]),
                "intensity": np.array(trace.intensity[since:n]),
            }
            numbers = {"samples": float(n), "growth": float(trace.growth)}
            if trace.frame is not None and since <= trace.frame_at < n:
                arrays["frame"] = trace.frame
                numbers["frame_s"] = trace.time_s[trace.frame_at]
            return Progress("running", numbers, arrays)
        return Progress(
            "done",
            {
                "exposure_s": trace.exposure_s,
                "is_complete": float(trace.is_complete),
                "emission": trace.emission,
                "usual_counts_per_s": trace.usual_counts_per_s,
            },
            {"time_s": np.array(trace.time_s), "intensity": np.array(trace.intensity)},
        )

    def _claimed(self, run: Run) -> GrowthTrace | None:
        sample = run.operation.sample
        if run.trace is None and not run.interrupt:
            for trace in reversed(list(self._plant.traces)):
                if not trace.is_claimed and sample in {None, trace.sample}:
                    trace.is_claimed = True
                    run.trace = trace
                    break
        return run.trace

    def _forget_old_runs(self) -> None:
        """Bound the memory: of old operations only the numbers stay."""
        while len(self._runs) > RUNS_KEPT:
            key = next(iter(self._runs))
            progress = self.progress(key)
            if progress.is_running:
                return
            if progress.arrays:
                progress = Progress("lost", reason="its arrays are no longer kept")
            self._past[key] = progress
            del self._runs[key]
            self._ended.pop(key, None)


def lane_of(operation: Operation) -> Lane:
    """Return the lane that an operation belongs to."""
    return "rheed" if operation.name in {"record", "specular", "expose", "aim"} else "mbe"


def _recall(history: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Progress], int]:
    """Return what earlier lives answer by key, and how many growths they began.

    What was begun and never ended was cut short by the death of the machine: its shutter is closed
    and its film is gone, so the last that was written of it is the least that happened.
    """
    past: dict[str, Progress] = {}
    growths = 0
    for event in history:
        growths += event["kind"] == "growth_started"
        if "key" in event:
            reason = "" if "state" in event else "the machine was restarted in the middle of it"
            past[event["key"]] = Progress(
                event.get("state", "partial"), event.get("numbers", {}), reason=reason
            )
    return past, growths
