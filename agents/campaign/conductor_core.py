"""The conductor's decisions: from messages to events, from decisions to messages. No I/O.

Every input ends in a turn (`Book`): events are applied, `decide` is asked until nothing new is left,
and the effects come out in an order that no crash can exploit. `Commanding` talks to instruments,
`Errands` to compute agents, `LeaseKeeper` holds the leases.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from twinloop.agents.campaign.book import Book, Steppers
from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.commanding import Commanding
from twinloop.agents.campaign.core import (
    Ask,
    Compute,
    Decision,
    EndTrial,
    Finish,
    Issue,
    Propose,
    ProposeSimulations,
    Release,
    Simulate,
    StartTrial,
    Withdraw,
    decide,
    may_propose,
    waiting,
)
from twinloop.agents.campaign.errands import Errands
from twinloop.agents.campaign.events import (
    ConductorStarted,
    Decided,
    Finished,
    Paused,
    Resumed,
    TrialEnded,
    TrialStarted,
    code_of,
)
from twinloop.agents.campaign.leases import LeaseKeeper
from twinloop.agents.campaign.pool import Pool
from twinloop.agents.campaign.state import CampaignState, TrialState
from twinloop.agents.campaign.stepper import Progress
from twinloop.errors import ArgumentError
from twinloop.ids import canonical_json
from twinloop.messages import (
    Control,
    LeaseGranted,
    LeaseRefused,
    LeaseRenewed,
    Message,
    Outcome,
    Presence,
    ReadoutReply,
    TaskPartial,
    TaskResult,
    View,
)
from twinloop.wire.effects import Exit, Send
from twinloop.wire.envelope import MAX_HEADER_BYTES

__all__ = ["STOPPED", "ConductorCore"]

STOPPED = 3
"""Exit status of a conductor that a person stopped: not to be started again."""

_VIEW_S = 0.5
_SELF = "the conductor"
# a picture of the campaign has to fit into one message
_SHOWN = 20
_LONGEST_REASON = 300
_VIEW_BYTES = MAX_HEADER_BYTES - 1024
_FAILURES = 5


class ConductorCore:
    """Leads one campaign; see `AgentCore` for how it is driven.

    Args:
        brief: what to lead.
        state: the fold of the journal so far.
        incarnation: identity of this life.
        depot: endpoint of the depot.
        versions: of this life's code, for the journal.
        problems: what is wrong with the placement, for people.
    """

    def __init__(
        self,
        brief: Brief,
        state: CampaignState,
        incarnation: str,
        depot: str = "",
        versions: Mapping[str, str] | None = None,
        problems: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.brief, self.incarnation = brief, incarnation
        self.pool = Pool()
        self._depot = depot
        self.leases = LeaseKeeper(brief.adapters, brief.plan.campaign, depot, incarnation)
        self._book = Book(state)
        self._commands = Commanding(self._book, brief, self.leases)
        self._errands = Errands(self._book, brief, self.pool, depot)
        self._steppers = Steppers(brief)
        self._versions, self._problems = dict(versions or {}), problems
        self._viewers: set[str] = set()
        self._view_s = 0.0
        self.is_over = False

    @property
    def state(self) -> CampaignState:
        """The fold of the journal, this life's events included."""
        return self._book.state

    # --- inputs ------------------------------------------------------------------------------

    def start(self, now_s: float) -> list[object]:
        """Take the campaign up where the journal ends."""
        self._book.begin(now_s)
        if self.state.finished is not None:
            self._leave(0, self.state.finished)
            return self._finish_turn()
        if self.state.started is None:
            self._book.record(self.brief.first)
        life = ConductorStarted(
            incarnation=self.incarnation,
            life=self.state.life + 1,
            versions=self._versions,
            code=code_of(self.brief.first),
            notes=tuple(_changes(self.state.code, code_of(self.brief.first))),
        )
        self._book.record(life)
        self._book.turn.free += self.leases.tick(now_s)
        return self._finish_turn()

    def receive(
        self,
        sender: str,
        message: Message,
        now_s: float,
        arrays: Sequence[NDArray[Any]] = (),
    ) -> list[object]:
        """Take a message; `arrays` are its inline arrays in order."""
        self._book.now_s = now_s
        match message:
            case TaskResult():
                self._errands.on_result(sender, message, arrays)
            case TaskPartial():
                self._errands.on_partial(message)
            case Outcome():
                self._commands.on_outcome(sender, message)
            case LeaseRenewed() if sender == self.brief.adapters.get(message.instrument):
                self.leases.renewed(message, now_s)
            case LeaseGranted():
                self._commands.on_granted(sender, message)
            case LeaseRefused() if sender == self.brief.adapters.get(message.instrument):
                self.leases.refused(message)
            case ReadoutReply():
                self._errands.on_reading(sender, message)
            case Presence():
                self._on_presence(message)
            case Control():
                self._on_control(sender, message)
            case _:
                pass
        return self._finish_turn()

    def tick(self, now_s: float) -> list[object]:
        """Renew leases, tell again what has not been answered, show what goes on."""
        self._book.now_s = now_s
        self._book.turn.free += self.leases.tick(now_s)
        self._book.turn.free += self.pool.tick(now_s)
        self._commands.tick()
        self._errands.tick()
        if self._viewers and now_s >= self._view_s + _VIEW_S:
            self._view_s = now_s
            self._show(*self._viewers)
        return self._finish_turn()

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called."""
        parts = (self.leases, self.pool, self._commands, self._errands)
        times = [part.wake_at_s for part in parts if part.wake_at_s is not None]
        if self._viewers:
            times.append(self._view_s + _VIEW_S)
        return min(times, default=None)

    # --- what people see -----------------------------------------------------------------------

    def waiting(self) -> tuple[str, ...]:
        """Return every reason for which the campaign waits."""
        state = self.state
        reasons = waiting(state, self.brief.plan, self.leases.usable, self._progress)
        trips = [f"{n} is tripped: {why}; clear it" for n, why in self.leases.trips.items()]
        refusals = [f"no lease on {n}: {why}" for n, why in self.leases.refusals.items()]
        silent = [
            f"no lease on {n}: its adapter {self.brief.adapters[n]} does not answer; "
            "is it running? (twinloop instrument list)"
            for n in self.leases.unanswered
        ]
        if state.finished is not None:
            return reasons
        others = (*self._commands.waiting(), *self._errands.waiting())
        if self.pool.lacking():
            others += tuple(self._problems())
        return (*reasons, *trips, *refusals, *silent, *others)

    def view(self) -> dict[str, Any]:
        """Return a picture of the campaign for people."""
        state = self.state
        feasible = [t for t in state.observations if all(slack >= 0 for slack in t.slack)]
        best = max(feasible, key=lambda t: t.y or 0.0, default=None)
        return {
            "observations": len(state.observations),
            "experiments": self.brief.plan.experiments,
            "failed": sum(1 for t in state.ended if t.y is None),
            "goal": self.brief.goal.field,
            "best": None
            if best is None
            else {
                "trial": best.trial,
                "value": best.outcome.get(self.brief.goal.field),
                "point": self._point_of(best.number),
            },
            "values": [t.outcome.get(self.brief.goal.field) for t in state.observations[-200:]],
            "trials": [
                {
                    "trial": t.id,
                    "point": self._point_of(t.number),
                    "steps_done": len(t.records),
                    "is_held": t.is_held,
                }
                for t in list(state.trials.values())[:_SHOWN]
            ],
            "theory": self._theory_view(),
            "waiting": [reason[:_LONGEST_REASON] for reason in self.waiting()[:_SHOWN]],
            "notes": list(state.notes[-_SHOWN:]),
            "leases": sorted(self.leases.usable),
            "workers": self.pool.workers,
            "depot": self._depot,
            "at_s": self._book.at_s,
            "lab_s": state.lab_s,
            "paused": state.paused,
            "finished": state.finished,
            "life": state.life,
        }

    def _theory_view(self) -> dict[str, Any] | None:
        state = self.state
        if self.brief.theory is None:
            return None
        found = [(e.basis, e.why) for e in state.proposed[-1:] if "theory_weight" in e.why]
        found += [(e.basis, e.why) for e in state.batches[-1:] if "theory_weight" in e.why]
        why = max(found, key=lambda pair: pair[0])[1] if found else {}
        return {
            "simulated": sum(s.state == "done" for s in state.simulated),
            "simulating": len(state.simulating),
            "progress": sorted(self._errands.progress.values(), reverse=True)[:_SHOWN],
            "weight": why.get("theory_weight"),
            "holds": state.held,
        }

    def _point_of(self, number: int) -> dict[str, float]:
        # the journal sorts names; people know the order of the configuration
        point = self.state.proposed[number].point
        return {name: point[name] for name in self.brief.space.names}

    # --- turns -----------------------------------------------------------------------------------

    def _progress(self, trial: TrialState) -> Progress:
        return self._steppers.progress(self.state, trial)

    def _finish_turn(self) -> list[object]:
        while self._carry_out():
            pass
        return self._book.close_turn()

    def _carry_out(self) -> bool:
        """Carry out the decisions that are not under way; True when an event came of it."""
        state = self.state
        for decision in decide(state, self.brief.plan, self.leases.usable, self._progress):
            self._carry(decision)
            if self.state.seq != state.seq:
                return True
        return False

    def _carry(self, decision: Decision) -> None:
        match decision:
            case Compute():
                self._errands.compute(decision)
            case Issue():
                self._commands.issue(decision)
            case Propose():
                self._errands.propose(decision.number)
            case ProposeSimulations():
                self._errands.propose_simulations(decision.batch)
            case Simulate():
                self._errands.simulate(decision.simulation)
            case Withdraw():
                self._errands.withdraw(decision.simulation, decision.reason)
            case StartTrial():
                name = f"t{decision.number:04d}"
                sample = f"{self.brief.plan.campaign}-{decision.number:04d}"
                self._book.record(TrialStarted(trial=name, number=decision.number, sample=sample))
            case Ask():
                self._errands.read(decision)
            case Release():
                given = decision.request.step.arguments["instruments"]
                self._errands.computed(decision.trial, decision.request, result=given)
            case EndTrial():
                self._end(decision)
            case Finish():
                self._book.record(Finished(reason=decision.reason))
                self._leave(0, decision.reason)

    def _leave(self, code: int, reason: str) -> None:
        self.is_over = True
        self._show(*self._viewers)
        self._book.turn.gated += [*self.leases.release(), Exit(code, reason)]

    def _on_presence(self, message: Presence) -> None:
        if message.role == "worker":
            if message.is_here:
                targets = message.about.get("targets", [])
                self._book.turn.free += self.pool.here(message.name, targets, self._book.now_s)
            else:
                self._book.turn.free += self.pool.gone(message.name, self._book.now_s)
            self._errands.give_up()
        elif message.role == "viewer":
            (self._viewers.add if message.is_here else self._viewers.discard)(message.name)
        elif message.role == "adapter" and message.is_here:
            self._book.turn.free += self.leases.tick(self._book.now_s)

    # --- ends, people ----------------------------------------------------------------------------

    def _end(self, decision: EndTrial) -> None:
        progress = decision.progress
        trial = self.state.trials[decision.trial]
        score, reason, outcome = None, str(progress.error), {}
        if progress.outcome is not None:
            outcome = progress.outcome.model_dump(mode="json")
            try:
                score = self.brief.goal.score(outcome)
            except ArgumentError as err:
                # what no planner can use would end each life of the conductor anew
                reason = f"its outcome cannot be judged: {err}"
        if score is not None:
            event = TrialEnded(
                trial=trial.id,
                number=trial.number,
                state="done",
                outcome=outcome,
                y=score.y,
                y_sd=score.y_sd,
                slack=score.slack,
                slack_sd=score.slack_sd,
            )
        else:
            event = TrialEnded(
                trial=trial.id,
                number=trial.number,
                state="parked" if progress.is_parked else "failed",
                outcome=outcome,
                reason=reason[:2000],
            )
        self._steppers.forget(trial.id)
        self._errands.forget(trial.id)
        self._commands.forget(trial.id)
        self._book.record(event)
        self._pause_when_all_fails(event)

    def _pause_when_all_fails(self, last: TrialEnded) -> None:
        """Pause after failures in a row: what fails them all would soon have spent the budget."""
        state = self.state
        ended = state.ended[-_FAILURES:]
        is_left = bool(state.ready) or may_propose(state, self.brief.plan)
        if len(ended) < _FAILURES or any(t.y is not None for t in ended) or not is_left:
            return
        if state.paused is None:
            reason = (
                f"the last {_FAILURES} trials failed, at last: {last.reason[:300]}; "
                "see to it, then: twinloop unpause"
            )
            self._book.record(Paused(person=_SELF, reason=reason))

    def _on_control(self, sender: str, message: Control) -> None:
        person = message.person or sender
        reason = str(message.arguments.get("reason", ""))
        match message.action:
            case "pause" if self.state.paused is None:
                self._book.record(Paused(person=person, reason=reason))
            case "resume" if self.state.paused is not None:
                self._book.record(Resumed(person=person, reason=reason))
            case "decide":
                self._decide(person, reason, message.arguments)
            case "stop":
                self._leave(STOPPED, f"stopped by {person}")
            case _:
                pass
        self._show(sender)

    def _decide(self, person: str, reason: str, arguments: Mapping[str, Any]) -> None:
        for trial in list(self.state.trials.values()):
            for settled in trial.unknown.values():
                state = arguments.get("state")
                if str(settled.key) != arguments.get("key") or state not in {
                    "done",
                    "failed",
                    "unknown",
                }:
                    continue
                self._book.record(
                    Decided(
                        key=settled.key,
                        state=state,
                        result=arguments.get("result"),
                        person=person,
                        reason=reason,
                    )
                )
                return

    def _show(self, *viewers: str) -> None:
        view = View(campaign=self.brief.first.campaign, content=_fitting(self.view()))
        self._book.turn.free += [Send(viewer, view) for viewer in sorted(viewers)]


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield what another life of the campaign was led by, for people."""
    for name, found in now.items():
        if before.get(name, found) != found:
            yield (
                f"{name} is {found}, was {before[name]}: trials under way go on where their records "
                "fit it, and are parked where they do not"
            )


def _fitting(content: dict[str, Any]) -> dict[str, Any]:
    """Return a picture small enough for one message: its lists are shortened, the longest first."""
    while len(canonical_json(content)) > _VIEW_BYTES:
        lists = {name: value for name, value in content.items() if isinstance(value, list)}
        longest = max(lists, key=lambda name: len(canonical_json(lists[name])), default="")
        if not longest or not lists[longest]:
            return {"notes": ["the picture of the campaign is too large for a message"]}
        kept = len(lists[longest]) // 2
        # of what happened the latest counts, of what is waited for the first
        cut = lists[longest][-kept:] if longest == "values" and kept else lists[longest][:kept]
        content = {**content, longest: cut}
    return content
