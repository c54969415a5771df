"""What each batch of simulations cost, and what was known better after it."""

from dataclasses import dataclass

from twinloop.agents.campaign.events import Simulated, SimulationsProposed
from twinloop.agents.report.decisions import Decision, Theta, decisions, figure_of
from twinloop.agents.report.history import History

__all__ = ["Batch", "batches_of"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch with its answers.

    Args:
        event: what was asked.
        answers: what came back.
        before: the last decision that spoke of theory up to the one that asked; None: none had.
        after: the first one that knew all its answers; None: there is none yet.
        n_experiments: observations that came in between those two: they taught as well.
        theta_before, theta_after: newest belief about the parameters at both.
    """

    event: SimulationsProposed
    answers: tuple[Simulated, ...]
    before: Decision | None
    after: Decision | None
    theta_before: Theta | None
    theta_after: Theta | None

    @property
    def n_asked(self) -> int:
        """Simulations of the batch."""
        return len(self.event.wanted)

    @property
    def n_open(self) -> int:
        """Simulations without an answer."""
        return self.n_asked - len(self.answers)

    @property
    def n_exceeded(self) -> int:
        """Simulations that reached the simulator's bound on their cost: a hint, no prediction."""
        return sum(answer.exceeded for answer in self.answers)

    @property
    def n_experiments(self) -> int:
        """Observations that came in between the decisions before and after."""
        if self.after is None:
            return 0
        return self.after.n_known - (self.before.n_known if self.before else 0)

    @property
    def wall_s(self) -> float:
        """Time that the answered simulations took, summed [s]."""
        return sum(answer.wall_s for answer in self.answers)

    @property
    def gain_per_h(self) -> float | None:
        """What the best simulation was expected to be worth for an hour; None where nobody said."""
        return max((w.gain_per_h for w in self.event.wanted if w.gain_per_h), default=None)

    @property
    def experiment_gain_per_h(self) -> float | None:
        """What the experiment was expected to be worth for an hour at that moment."""
        return figure_of(self.event.why, "gain_per_h")

    @property
    def width_change(self) -> float | None:
        """Factor on the posterior's standard deviations, geometric mean over the parameters."""
        if self.theta_after is None:
            return None
        before = self.theta_before.width() if self.theta_before else 1.0
        return self.theta_after.width() / before if before > 0 else None

    def n(self, state: str) -> int:
        """Return how many answers have this state."""
        return sum(answer.state == state for answer in self.answers)

    def sds(self, name: str) -> tuple[float | None, float | None]:
        """Return a figure at the decisions before and after."""
        return (
            self.before.figure(name) if self.before else None,
            self.after.figure(name) if self.after else None,
        )


def batches_of(history: History) -> list[Batch]:
    """Return the batches that asked for something, in their order."""
    every = decisions(history)
    found = []
    for event in history.batches.values():
        if not event.wanted:
            continue
        answers = tuple(s for s in history.simulated if s.batch == event.batch)
        before = next((d for d in reversed(every) if d.event.basis <= event.basis), None)
        after = None
        if len(answers) == len(event.wanted):
            last = max(history.seqs.get(s.log_key(), 0) for s in answers)
            after = next((d for d in every if d.event.basis >= last and d.theta is not None), None)
        found.append(
            Batch(
                event,
                answers,
                before,
                after,
                _newest(every, before),
                after.theta if after else None,
            )
        )
    return found


def _newest(every: list[Decision], until: Decision | None) -> Theta | None:
    """Return the belief about the parameters that was newest at a decision."""
    newest = None
    for decision in every if until is not None else ():
        newest = decision.theta or newest
        if decision is until:
            break
    return newest
