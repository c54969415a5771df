"""Run folders made of events, for tests of the report and for trying its looks.

Example:
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> run = RunBuilder(Path(folder.name))
    >>> run.begin()
    >>> run.grow_film({"substrate_K": 650.0}, quality=0.4)
    't0000'
    >>> run.close()
    >>> folder.cleanup()
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.campaign.events import (
    CampaignStarted,
    Commanded,
    Computed,
    ConductorStarted,
    Event,
    Finished,
    Leased,
    Proposed,
    Settled,
    Simulated,
    SimulationsProposed,
    SimulationWanted,
    TrialEnded,
    TrialStarted,
    entry_of,
)
from twinloop.agents.report.history import JOURNAL
from twinloop.ids import CommandKey, digest_of
from twinloop.log.arrays import ArrayStore
from twinloop.log.sqlite import SqliteLog
from twinloop.messages import ArrayRef

__all__ = ["RunBuilder", "oscillations"]

CONFIG: dict[str, Any] = {
    "campaign": "demo",
    "protocol": "grow_film",
    "seed": 7,
    "search": {
        "substrate_K": {"low": 620, "high": 800, "scale": "linear"},
        "flux_ML_per_s": {"low": 0.03, "high": 1.5, "scale": "log"},
    },
    "goal": {"maximise": "quality"},
    "budget": {"experiments": 24, "lab_h": 48},
}
Arrays = Mapping[str, NDArray[Any]]


class RunBuilder:
    """Writes a run folder event by event, with times of its own.

    Args:
        folder: the run folder.
        config: the configuration as run.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None) -> None:
        self.folder, self.config = folder, dict(CONFIG if config is None else config)
        self.campaign = str(self.config.get("campaign", "demo"))
        self.at_s = self.lab_s = 0.0
        self.n_proposed = self.n_batches = self.n_lives = self.n_events = 0
        self._is_closed = False
        self._store = ArrayStore(folder / "arrays")
        self._log = SqliteLog(folder / JOURNAL, "journal-1", self._stamp)

    def write(self, event: Event, *, after_s: float = 0.0) -> None:
        """Append an event so many seconds after the one before."""
        self.at_s += after_s
        self.n_events += 1
        self._log.append(entry_of(event.model_copy(update={"at_s": self.at_s})))

    def begin(self, planner: str = "plain_bo", clock_factor: float = 20.0) -> None:
        """Start the campaign and its first conductor."""
        self.write(
            CampaignStarted(
                campaign=self.campaign,
                seed=7,
                config=self.config,
                protocol="grow_film",
                protocol_version=1,
                protocol_digest="ab" * 32,
                planner=planner,
                planner_version=1,
                versions={"twinloop": "0.1.0"},
                clock_factor=clock_factor,
            )
        )
        self.live()

    def live(self) -> None:
        """Start a conductor: the first or, after a kill, the next."""
        self.n_lives += 1
        incarnation = f"life{self.n_lives}"
        self.write(ConductorStarted(incarnation=incarnation, life=self.n_lives), after_s=0.4)

    def lease(
        self, instrument: str, *, epoch: int = 1, ledger: str = "l1", is_twin: bool = True
    ) -> None:
        """Let an adapter grant its lease."""
        self.write(
            Leased(
                instrument=instrument,
                adapter="chamber",
                epoch=epoch,
                ledger=ledger,
                clock_factor=20.0 if is_twin else 1.0,
                is_twin=is_twin,
                schema_digest="cd" * 32,
            )
        )

    def propose(self, point: Mapping[str, float], **rest: Any) -> int:
        """Propose a point and return its number."""
        number, self.n_proposed = self.n_proposed, self.n_proposed + 1
        why = {"rung": "opening", "initial": 1.0}
        rest = {"why": why, "place": "conductor", "basis": 0, "pending": (), **rest}
        rest = {"x": (0.5,) * len(point), **rest}
        after_s = rest.pop("after_s", 0.0)
        event = Proposed(number=number, point=dict(point), seed=number, **rest)
        self.write(event, after_s=after_s)
        return number

    def want(self, wanted: Sequence[SimulationWanted], **rest: Any) -> int:
        """Ask theory for a batch of simulations and return its number."""
        batch, self.n_batches = self.n_batches, self.n_batches + 1
        rest = {"simulator": "kmc_growth", "place": "planner", "basis": 0, "cpu_s": 0.2, **rest}
        after_s = rest.pop("after_s", 0.0)
        event = SimulationsProposed(batch=batch, wanted=tuple(wanted), seed=batch, **rest)
        self.write(event, after_s=after_s)
        return batch

    def simulate(self, batch: int, row: int, *, after_s: float = 0.0, **rest: Any) -> None:
        """Let theory answer a simulation."""
        rest = {"state": "done", "place": "theory-0", "wall_s": 0.4, "cpu_s": 0.4, **rest}
        if rest["state"] == "cancelled":
            rest |= {"place": "", "wall_s": 0.0, "cpu_s": 0.0}
        self.write(Simulated(batch=batch, row=row, **rest), after_s=after_s)

    def start(self, number: int) -> str:
        """Begin the trial of a proposal and return its name."""
        trial = f"t{number:04d}"
        sample = f"{self.campaign}-{number:04d}"
        self.write(TrialStarted(trial=trial, number=number, sample=sample), after_s=0.01)
        return trial

    def command(
        self, trial: str, step: str, instrument: str, action: str, attempt: int = 0
    ) -> CommandKey:
        """Command an instrument."""
        key = CommandKey(self.campaign, trial, step, attempt)
        self.write(
            Commanded(
                key=key,
                instrument=instrument,
                target=instrument,
                action=action,
                arguments={},
                digest="ef" * 32,
                sample=trial,
                ledger="l1",
            ),
            after_s=0.01,
        )
        return key

    def settle(self, key: CommandKey, instrument: str, lasting_s: float = 1.0, **rest: Any) -> None:
        """Give a command its outcome; `arrays` may hold arrays by name."""
        refs = self.keep(rest.pop("arrays", {}))
        times = {"started_lab_s": self.lab_s, "ended_lab_s": self.lab_s + 20 * lasting_s}
        self.lab_s += 20 * lasting_s
        state = rest.pop("state", "done")
        event = Settled(
            key=key, instrument=instrument, state=state, arrays=refs, **{**times, **rest}
        )
        self.write(event, after_s=lasting_s)

    def act(self, trial: str, step: str, name: str, lasting_s: float, **rest: Any) -> None:
        """Command an instrument and settle it: `name` is "instrument.action"."""
        instrument, _, action = name.partition(".")
        key = self.command(trial, step, instrument, action)
        self.settle(key, instrument, lasting_s, **rest)

    def compute(self, trial: str, step: str, name: str, result: Any, **rest: Any) -> None:
        """Let an analyst answer."""
        rest = {"place": "analyst-0", "wall_s": 0.2, "cpu_s": 0.15, "state": "done", **rest}
        self.write(
            Computed(trial=trial, path=step, name=name, digest="01" * 32, result=result, **rest),
            after_s=0.25,
        )

    def end(self, trial: str, outcome: Mapping[str, Any], y: float | None, **rest: Any) -> None:
        """End a trial."""
        number = int(trial.lstrip("t"))
        state = rest.pop("state", "failed" if y is None else "done")
        self.write(
            TrialEnded(trial=trial, number=number, state=state, outcome=dict(outcome), y=y, **rest)
        )

    def grow_film(
        self,
        point: Mapping[str, float],
        quality: float,
        *,
        trace: Arrays | None = None,
        frame: NDArray[Any] | None = None,
        heights: NDArray[np.int32] | None = None,
        **proposal: Any,
    ) -> str:
        """Run a whole trial of the protocol `grow_film` and return its name."""
        number = self.propose(point, **proposal)
        trial = self.start(number)
        self.act(trial, "0", "mbe.load", 1.5)
        self.act(trial, "1", "mbe.heat", 0.8, result=650.0)
        grow = self.command(trial, "2.0.0", "mbe", "grow")
        record = self.command(trial, "2.1.0", "rheed", "record")
        self.settle(grow, "mbe", 2.0, result={"growth_s": 20.0, "rate_ML_per_s": 0.2})
        arrays = oscillations() if trace is None else trace
        self.settle(record, "rheed", 0.1, result={"exposure_s": 0.1}, arrays=arrays)
        self.act(trial, "3", "mbe.anneal", 0.6)
        picture = np.full((12, 16), 900, np.uint16) if frame is None else frame
        self.act(trial, "4", "rheed.expose", 0.2, arrays={"result": picture})
        self.compute(trial, "5", "analyst.rate_ML_per_s", 0.2)
        if heights is not None:
            films = self.folder / "machine" / "films"
            films.mkdir(parents=True, exist_ok=True)
            np.save(films / f"{self.campaign}-{number:04d}.npy", heights)
        outcome = {"quality": quality, "quality_sd": 0.02, "rate_ML_per_s": 0.2}
        self.end(trial, outcome, quality, y_sd=0.02)
        return trial

    def seal(self, truth: Mapping[str, Any]) -> None:
        """Leave a stand-in machine's truth in the folder."""
        (self.folder / "machine" / "films").mkdir(parents=True, exist_ok=True)
        text = json.dumps({"note": "sealed", "truth": dict(truth)})
        (self.folder / "machine" / "truth.json").write_text(text, "utf-8")

    def finish(self, reason: str = "all experiments are done") -> None:
        """End the campaign."""
        self.write(Finished(reason=reason))

    def keep(self, arrays: Arrays) -> tuple[ArrayRef, ...]:
        """Store arrays by name and return their descriptions."""
        return tuple(self._store.put(name, array) for name, array in arrays.items())

    def array_files(self) -> Sequence[Path]:
        """Return the files of all arrays."""
        return sorted(path for path in self._store.folder.rglob("*") if path.is_file())

    def commit(self) -> None:
        """Make everything durable."""
        self._log.commit()

    def close(self) -> None:
        """Make everything durable and let go of the journal; once more does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._log.close()

    def _stamp(self) -> str:
        begun = datetime(2026, 1, 17, 10, 22, tzinfo=UTC)
        return (begun + timedelta(seconds=self.at_s)).isoformat()


def oscillations(
    period_s: float = 5.0, n_periods: float = 4.0, noise: float = 0.01, damping: float = 0.12
) -> dict[str, NDArray[np.float64]]:
    """Return a plain RHEED trace: damped cosine, one period for each monolayer.

    Args:
        period_s: of the oscillation [s].
        n_periods: how long after the opening.
        noise: standard deviation of a sample, drawn by a fixed seed.
        damping: loss of amplitude in one period, as an exponent.
    """
    time_s = np.arange(-2.0, period_s * n_periods, period_s / 50)
    phase = np.clip(time_s, 0, None) / period_s
    swing = 0.5 * (1 + np.cos(2 * math.pi * phase)) * np.exp(-damping * phase)
    seed = int(digest_of(np.array([period_s, n_periods]).tobytes())[:8], 16)
    random = np.random.default_rng(seed).normal(0, noise, time_s.size)
    return {"time_s": time_s, "intensity": 0.1 + 0.9 * swing + random}
