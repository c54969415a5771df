"""How busy the simulators were, and for what the machine waited: from the journal's times alone.

An experiment waits where no trial holds the instruments (from its start to the last outcome of its
commands) and no proposal lies ready. What of that time falls between the event that the next
proposal rests on and the proposal, the planner thought; what falls between a batch that an
experiment was held for and the last of its answers, theory took; the rest is the start of the
campaign, the analysis of a film, a person's pause.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from twinloop.agents.campaign.events import Proposed, SimulationsProposed
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.timeline import busy_s, simulation_bars

__all__ = ["Pool", "Waits", "pool_of", "waits_of"]

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Pool:
    """The simulators of a campaign.

    Args:
        busy_s: busy time of each that answered, by place; simulations side by side count once [s].
        span_s: time the campaign was led [s].
        lost_s: of it, what failed simulations took [s].
        waited_s: idle time of all together while the planner thought of what to do next [s].
        workers: simulators that were to be there.
    """

    busy_s: dict[str, float]
    span_s: float
    lost_s: float
    waited_s: float = 0.0
    workers: int = 1

    @property
    def n_places(self) -> int:
        """How many simulators there were, or were to be."""
        return max(self.workers, len(self.busy_s))

    @property
    def utilisation(self) -> float:
        """Busy share of all places together, 0 to 1."""
        return min(self.share(sum(self.busy_s.values())), 1.0)

    def share(self, part_s: float) -> float:
        """Return a part of the time of all places together, 0 to 1."""
        whole_s = self.span_s * self.n_places
        return part_s / whole_s if whole_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Waits:
    """What the machine waited for, in seconds the campaign was led [s].

    Args:
        led_s: the whole.
        free_s: no trial held the instruments, and no proposal lay ready.
        planner_s: of it, the planner thought.
        simulations_s: of it, an experiment was held for simulations.
    """

    led_s: float
    free_s: float
    planner_s: float
    simulations_s: float

    @property
    def rest_s(self) -> float:
        """What remains: start, analysis of films, pauses."""
        return max(self.free_s - self.planner_s - self.simulations_s, 0.0)

    def share(self, part_s: float) -> float:
        """Return a part of the time the campaign was led, 0 to 1."""
        return part_s / self.led_s if self.led_s > 0 else 0.0


def pool_of(history: History) -> Pool:
    """Return how busy each place was that answered simulations."""
    bars = dict(sorted(simulation_bars(history).items()))
    busy = {place: busy_s(own) for place, own in bars.items()}
    lost_s = sum(s.wall_s for s in history.simulated if s.state == "failed")
    thinking = [*_thinking(history), *_thinking_of_simulations(history)]
    workers = _workers(history)
    waited_s = _length(thinking) * max(workers - len(bars), 0)
    for own in bars.values():
        idle = _without([(0.0, history.end_s)], [(bar.start_s, bar.end_s) for bar in own])
        waited_s += _length(_within(idle, thinking))
    return Pool(busy, history.end_s, lost_s, waited_s, workers)


def _workers(history: History) -> int:
    section = history.config.get("theory") or {}
    workers = section.get("simulator", {}).get("workers", 1)
    return workers if isinstance(workers, int) else 1


def waits_of(history: History) -> Waits:
    """Return for what the machine waited."""
    begun = [trial for trial in history.trials.values() if trial.started is not None]
    held = [_holding(history, trial) for trial in begun]
    free = _without([(0.0, history.end_s)], [*held, *_ready(history)])
    thinking = _within(free, _thinking(history))
    simulating = _without(_within(free, _simulating(history)), thinking)
    return Waits(history.end_s, _length(free), _length(thinking), _length(simulating))


def _holding(history: History, trial: TrialHistory) -> Span:
    """Return when a trial held instruments: to its last outcome, or on where one is missing."""
    start_s = trial.started.at_s if trial.started else 0.0
    is_open = any(step.settled is None for step in trial.steps)
    if is_open or (trial.ended is None and not trial.steps):
        return start_s, trial.ended.at_s if trial.ended else history.end_s
    ends = [step.settled.at_s for step in trial.steps if step.settled is not None]
    return start_s, max(ends, default=start_s)


def _ready(history: History) -> list[Span]:
    """Return when each proposal lay ready."""
    taken = {t.number: t.started.at_s for t in history.trials.values() if t.started is not None}
    taken |= {event.number: event.at_s for event in history.discarded}
    return [
        (event.at_s, taken.get(event.number, history.end_s)) for event in history.proposed.values()
    ]


def _thinking(history: History) -> list[Span]:
    """Return when the planner thought about an experiment: since the event its answer rests on."""
    events: list[Proposed | SimulationsProposed] = [*history.proposed.values()]
    events += [event for event in history.batches.values() if event.proposal is not None]
    return [(history.times.get(event.basis, event.at_s), event.at_s) for event in events]


def _thinking_of_simulations(history: History) -> list[Span]:
    """Return when the planner thought about simulations alone."""
    alone = [event for event in history.batches.values() if event.proposal is None]
    return [(history.times.get(event.basis, event.at_s), event.at_s) for event in alone]


def _simulating(history: History) -> list[Span]:
    """Return when an experiment was held: from each batch it waited for to the last answer."""
    spans = []
    for batch in history.batches.values():
        if batch.holds is None:
            continue
        answers = [s.at_s for s in history.simulated if s.batch == batch.batch]
        is_whole = len(answers) >= len(batch.wanted)
        spans.append((batch.at_s, max(answers) if is_whole and answers else history.end_s))
    return spans


def _merged(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for start, end in sorted(s for s in spans if s[1] > s[0]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _without(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """Return what of the spans no hole covers."""
    left = _merged(spans)
    for low, high in _merged(holes):
        parts = [((a, min(b, low)), (max(a, high), b)) for a, b in left]
        left = [part for pair in parts for part in pair if part[1] > part[0]]
    return left


def _within(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return what lies in one of the spans and in one of the others."""
    both = [(max(a, c), min(b, d)) for a, b in _merged(spans) for c, d in _merged(others)]
    return _merged(both)


def _length(spans: Iterable[Span]) -> float:
    return sum(end - start for start, end in _merged(spans))
