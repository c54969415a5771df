"""The book of one life of a conductor: the state, and what the present turn leads to.

A turn collects its effects in one order: appends first, then what need not wait for the disk, then
the gate, then what must wait (commands with a physical effect, acknowledgements to an adapter).
"""

from dataclasses import dataclass, field

from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.events import Event, entry_of
from twinloop.agents.campaign.state import CampaignState, TrialState, apply
from twinloop.agents.campaign.stepper import Progress, Stepper
from twinloop.protocols.interface import Trial, trial_seed
from twinloop.wire.effects import Append, Sync

__all__ = ["Book", "Steppers", "Turn"]


class Steppers:
    """Suspended coroutines of the trials: a cache; each can be made again from the records."""

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._live: dict[str, Stepper] = {}

    def progress(self, state: CampaignState, trial: TrialState) -> Progress:
        """Return how far a trial is."""
        stepper = self._live.get(trial.id)
        if stepper is None or stepper.fed > len(trial.records):
            stepper = self._live[trial.id] = self._make(state, trial)
        for record in trial.records[stepper.fed :]:
            stepper.feed(record)
        return stepper.progress()

    def forget(self, trial: str) -> None:
        """Let go of the coroutine of a trial that is over."""
        stepper = self._live.pop(trial, None)
        if stepper is not None:
            stepper.close()

    def _make(self, state: CampaignState, trial: TrialState) -> Stepper:
        protocol = self._brief.protocol
        point = protocol.point_type.model_validate(state.proposed[trial.number].point)
        seed = trial_seed(self._brief.first.seed, trial.id)
        return Stepper(protocol, Trial(id=trial.id, point=point, sample=trial.sample, seed=seed))


@dataclass
class Turn:
    """What one input leads to."""

    appends: list[object] = field(default_factory=list)
    free: list[object] = field(default_factory=list)
    gated: list[object] = field(default_factory=list)

    def effects(self) -> list[object]:
        """Return the effects in the order in which they are to be run."""
        gate: list[object] = [Sync()] if self.gated else []
        return [*self.appends, *self.free, *gate, *self.gated]


class Book:
    """The state of the campaign, the time, and the open turn.

    Args:
        state: the fold of the journal so far.
    """

    def __init__(self, state: CampaignState) -> None:
        self.state, self.turn = state, Turn()
        self.now_s = self._born_s = 0.0

    def begin(self, now_s: float) -> None:
        """Start the clock of this life where the last one ended."""
        self.now_s, self._born_s = now_s, now_s - self.state.at_s

    @property
    def at_s(self) -> float:
        """Seconds since the campaign began, over all its lives [s]."""
        return max(self.state.at_s, self.now_s - self._born_s)

    def record(self, event: Event) -> None:
        """Add an event to the journal and to the state."""
        # most events are made without a time; the frequent ones bring it, which saves a copy
        stamped = event if event.at_s else event.model_copy(update={"at_s": self.at_s})
        self.turn.appends.append(Append(entry_of(stamped)))
        self.state = apply(self.state, stamped)

    def close_turn(self) -> list[object]:
        """Return the effects of the turn, and open the next."""
        turn, self.turn = self.turn, Turn()
        return turn.effects()
