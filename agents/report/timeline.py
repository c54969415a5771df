"""Who was at work when: bars for instruments, workers and trials, and how busy each was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twinloop.agents.campaign.events import Proposed, SimulationsProposed
from twinloop.agents.report.history import History, TrialHistory

__all__ = ["Bar", "Lane", "busy_s", "lanes", "simulation_bars", "trial_rows"]

PLANNING = "planning"


@dataclass(frozen=True, slots=True)
class Bar:
    """One piece of work.

    Args:
        start_s, end_s: seconds the campaign has been led [s].
        what: action, quantity, simulator or "planning".
        trial: trial, proposal or simulation it belongs to.
        is_open: its end is not known; it is drawn to the end of the journal.
    """

    start_s: float
    end_s: float
    what: str
    trial: str
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Lane:
    """One instrument, worker or simulator.

    Args:
        name: of the instrument, or of the worker.
        kind: instrument, worker, or simulator for a worker that does nothing but simulate.
        bars: its work, in the order of the journal.
    """

    name: str
    kind: str
    bars: tuple[Bar, ...]

    def utilisation(self, span_s: float) -> float:
        """Return the busy share of a time span, 0 to 1."""
        return min(busy_s(self.bars) / span_s, 1.0) if span_s > 0 else 0.0


def lanes(history: History) -> list[Lane]:
    """Return instruments, then workers, then simulators; instruments by their first work."""
    instruments: dict[str, list[Bar]] = {event.instrument: [] for event in history.leases}
    for trial in history.trials.values():
        for step in trial.steps:
            end_s = step.settled.at_s if step.settled else history.end_s
            command = step.commanded
            bar = Bar(command.at_s, end_s, command.action, trial.id, step.settled is None)
            instruments.setdefault(command.instrument, []).append(bar)
    workers: dict[str, list[Bar]] = {}
    for trial in history.trials.values():
        for event in trial.computed:
            if event.place and event.place not in instruments:
                what = event.name.rpartition(".")[2]
                bar = Bar(max(event.at_s - event.wall_s, 0.0), event.at_s, what, trial.id)
                workers.setdefault(event.place, []).append(bar)
    _planning(history, workers)
    simulating = simulation_bars(history)
    pool = [name for name in simulating if name not in workers]
    for name in simulating.keys() - set(pool):
        workers[name] += simulating[name]
    return [
        *_of_kind("instrument", instruments, instruments),
        *_of_kind("worker", workers, sorted(workers)),
        *_of_kind("simulator", simulating, sorted(pool)),
    ]


def _of_kind(kind: str, bars: Mapping[str, list[Bar]], names: Iterable[str]) -> list[Lane]:
    return [Lane(name, kind, tuple(bars[name])) for name in names]


def _planning(history: History, workers: dict[str, list[Bar]]) -> None:
    events: list[tuple[Proposed | SimulationsProposed, str]] = [
        *((event, f"proposal {event.number}") for event in history.proposed.values()),
        *((event, f"batch {event.batch}") for event in history.batches.values()),
    ]
    for event, name in events:
        # an opening that the conductor draws itself takes no time worth a lane, and what a batch
        # beside a proposal cost is told by the proposal
        if event.place and event.cpu_s > 0:
            start_s = max(event.at_s - event.cpu_s, 0.0)
            bar = Bar(start_s, event.at_s, PLANNING, name)
            workers.setdefault(event.place, []).append(bar)


def simulation_bars(history: History) -> dict[str, list[Bar]]:
    """Return the simulations of each place that answered some; how long others ran nobody noted."""
    found: dict[str, list[Bar]] = {}
    for event in history.simulated:
        if event.place:
            batch = history.batches.get(event.batch)
            what = batch.simulator.rpartition(":")[2] if batch else "simulation"
            start_s = max(event.at_s - event.wall_s, 0.0)
            bar = Bar(start_s, event.at_s, what, f"simulation {event.batch}.{event.row}")
            found.setdefault(event.place, []).append(bar)
    return found


def busy_s(bars: Iterable[Bar]) -> float:
    """Return how long at least one of the bars lasts, overlaps counted once [s].

    Example:
        >>> busy_s([Bar(0, 4, "grow", "t0"), Bar(3, 5, "grow", "t1"), Bar(7, 8, "load", "t1")])
        6.0
    """
    total_s, reached_s = 0.0, float("-inf")
    for bar in sorted(bars, key=lambda bar: bar.start_s):
        total_s += max(bar.end_s - max(bar.start_s, reached_s), 0.0)
        reached_s = max(reached_s, bar.end_s)
    return total_s


def trial_rows(history: History) -> list[list[tuple[TrialHistory, Bar]]]:
    """Return the trials as bars in as few rows as they need side by side."""
    rows: list[list[tuple[TrialHistory, Bar]]] = []
    for trial in history.trials.values():
        if trial.started is None:
            continue
        end_s = trial.ended.at_s if trial.ended else history.end_s
        bar = Bar(trial.started.at_s, end_s, "trial", trial.id, trial.ended is None)
        row = next((row for row in rows if row[-1][1].end_s <= bar.start_s), None)
        if row is None:
            rows.append(row := [])
        row.append((trial, bar))
    return rows
