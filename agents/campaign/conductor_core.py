"""The conductor's decisions: from messages to events, from decisions to messages. No I/O.

Every input ends in a turn: events are applied, `decide` is asked until nothing new is left, and the
effects come out in one order: appends first, then what need not wait for the disk, then the gate,
then what must (commands with a physical effect, acknowledgements to an adapter).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from twinloop.agents.campaign.core import (
    MAX_ATTEMPTS,
    Ask,
    Compute,
    Decision,
    EndTrial,
    Finish,
    Issue,
    Plan,
    Propose,
    Release,
    StartTrial,
    decide,
    waiting,
)
from twinloop.agents.campaign.events import (
    CampaignStarted,
    Commanded,
    Computed,
    ConductorStarted,
    Decided,
    Event,
    Finished,
    Leased,
    Paused,
    Proposed,
    Resumed,
    Settled,
    TrialEnded,
    TrialStarted,
    entry_of,
)
from twinloop.agents.campaign.goal import Goal
from twinloop.agents.campaign.known import known_at
from twinloop.agents.campaign.leases import LeaseKeeper
from twinloop.agents.campaign.pool import Pool
from twinloop.agents.campaign.state import CampaignState, TrialState, apply
from twinloop.agents.campaign.stepper import Progress, Stepper, StepRequest
from twinloop.ids import CommandKey
from twinloop.messages import (
    Accepted,
    Command,
    Control,
    LeaseGranted,
    LeaseRefused,
    LeaseRenewed,
    Message,
    Outcome,
    OutcomeAck,
    Presence,
    ReadoutReply,
    ReadoutRequest,
    Task,
    TaskResult,
    View,
)
from twinloop.planners.known import Known, Proposal
from twinloop.planners.space import Space
from twinloop.protocols.interface import Protocol, Trial, plain, trial_seed
from twinloop.wire.arrays import describe
from twinloop.wire.effects import Append, Exit, Send, Sync

__all__ = ["STOPPED", "Brief", "ConductorCore"]

STOPPED = 3
"""Exit status of a conductor that a person stopped: not to be started again."""

_RETRY_S = 2.0
_BACK_OFF_S = 1.0
_VIEW_S = 0.5
_TASK_PREFIX = "proposal"

Opening = Callable[[Known], Proposal | None]


@dataclass(frozen=True)
class Brief:
    """What a conductor is to lead.

    Args:
        plan: budget, parallelism, instruments by parameter.
        protocol: what a trial does.
        space: the search space.
        goal: what counts.
        opening: proposals that need no model; pure.
        fallback: a proposal when no worker can give one; pure.
        first: the event that starts the campaign.
        adapters: adapter of each instrument.
        targets: compute target of each analyst parameter.
    """

    plan: Plan
    protocol: Protocol[Any]
    space: Space
    goal: Goal
    opening: Opening
    fallback: Callable[[Known], Proposal]
    first: CampaignStarted
    adapters: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    """A proposal asked for: what may be known, and which proposals are under way."""

    known: Known
    pending: tuple[int, ...]


class _Steppers:
    """Suspended coroutines of the trials: a cache; each can be made again from the records."""

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._live: dict[str, Stepper] = {}

    def progress(self, state: CampaignState, trial: TrialState) -> Progress:
        stepper = self._live.get(trial.id)
        if stepper is None or stepper.fed > len(trial.records):
            stepper = self._live[trial.id] = self._make(state, trial)
        for record in trial.records[stepper.fed :]:
            stepper.feed(record)
        return stepper.progress()

    def forget(self, trial: str) -> None:
        stepper = self._live.pop(trial, None)
        if stepper is not None:
            stepper.close()

    def _make(self, state: CampaignState, trial: TrialState) -> Stepper:
        protocol = self._brief.protocol
        point = protocol.point_type.model_validate(state.proposed[trial.number].point)
        seed = trial_seed(self._brief.first.seed, trial.id)
        return Stepper(protocol, Trial(id=trial.id, point=point, sample=trial.sample, seed=seed))


@dataclass
class _Turn:
    """What one input leads to."""

    appends: list[object] = field(default_factory=list)
    free: list[object] = field(default_factory=list)
    gated: list[object] = field(default_factory=list)

    def effects(self) -> list[object]:
        gate: list[object] = [Sync()] if self.gated else []
        return [*self.appends, *self.free, *gate, *self.gated]


class ConductorCore:
    """Leads one campaign; see `AgentCore` for how it is driven.

    Args:
        brief: what to lead.
        state: the fold of the journal so far.
        incarnation: identity of this life.
        depot: endpoint of the depot.
        versions: of this life's code, for the journal.
    """

    def __init__(
        self,
        brief: Brief,
        state: CampaignState,
        incarnation: str,
        depot: str = "",
        versions: Mapping[str, str] | None = None,
    ) -> None:
        self.brief, self.state = brief, state
        self.pool = Pool()
        self.leases = LeaseKeeper(brief.adapters, brief.plan.campaign, depot, incarnation)
        self.incarnation, self._depot = incarnation, depot
        self._versions = dict(versions or {})
        self._steppers = _Steppers(brief)
        self._turn = _Turn()
        self._now_s = self._born_s = 0.0
        self._asking: dict[str, _Asked] = {}
        self._computing: dict[str, tuple[str, StepRequest]] = {}
        self._reading: dict[str, tuple[str, str, StepRequest, float]] = {}
        self._told: dict[CommandKey, float] = {}
        self._accepted: set[CommandKey] = set()
        self._not_before: dict[tuple[str, str], float] = {}
        self._viewers: set[str] = set()
        self._view_s = 0.0
        self.is_over = False

    # --- inputs ------------------------------------------------------------------------------

    def start(self, now_s: float) -> list[object]:
        """Take the campaign up where the journal ends."""
        self._now_s, self._born_s = now_s, now_s - self.state.at_s
        if self.state.finished is not None:
            self._leave(0, self.state.finished)
            return self._finish_turn()
        if self.state.started is None:
            self._record(self.brief.first)
        life = ConductorStarted(
            incarnation=self.incarnation, life=self.state.life + 1, versions=self._versions
        )
        self._record(life)
        self._turn.free += self.leases.tick(now_s)
        return self._finish_turn()

    def receive(
        self,
        sender: str,
        message: Message,
        now_s: float,
        arrays: Sequence[NDArray[Any]] = (),
    ) -> list[object]:
        """Take a message; `arrays` are its inline arrays in order."""
        self._now_s = now_s
        match message:
            case Presence():
                self._on_presence(message)
            case LeaseGranted():
                self._on_granted(sender, message)
            case LeaseRefused():
                self.leases.refused(message)
            case LeaseRenewed():
                self.leases.renewed(message, now_s)
            case Accepted():
                self._accepted.add(message.key)
            case Outcome():
                self._on_outcome(sender, message)
            case TaskResult():
                self._on_result(sender, message, arrays)
            case ReadoutReply():
                self._on_reading(message)
            case Control():
                self._on_control(sender, message)
            case _:
                pass
        return self._finish_turn()

    def tick(self, now_s: float) -> list[object]:
        """Renew leases, tell again what has not been answered, show what goes on."""
        self._now_s = now_s
        self._turn.free += self.leases.tick(now_s)
        self._turn.free += self.pool.tick(now_s)
        self._tell_again()
        for request, (instrument, trial, step, told_s) in list(self._reading.items()):
            if now_s - told_s >= _RETRY_S:
                self._read(request, instrument, trial, step)
        if self._viewers and now_s >= self._view_s + _VIEW_S:
            self._view_s = now_s
            self._show(*self._viewers)
        return self._finish_turn()

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called."""
        times = [t for t in (self.leases.wake_at_s, self.pool.wake_at_s) if t is not None]
        times += [told_s + _RETRY_S for told_s in self._told.values()]
        times += [told_s + _RETRY_S for _, _, _, told_s in self._reading.values()]
        times += [t for t in self._not_before.values() if t > self._now_s]
        if self._viewers:
            times.append(self._view_s + _VIEW_S)
        return min(times, default=None)

    # --- what people see -----------------------------------------------------------------------

    def waiting(self) -> tuple[str, ...]:
        """Return every reason for which the campaign waits."""
        state = self.state
        reasons = waiting(
            state, self.brief.plan, self.leases.usable, lambda t: self._steppers.progress(state, t)
        )
        trips = [f"{n} is tripped: {why}; clear it" for n, why in self.leases.trips.items()]
        refusals = [f"no lease on {n}: {why}" for n, why in self.leases.refusals.items()]
        return (*reasons, *trips, *refusals)

    def view(self) -> dict[str, Any]:
        """Return a picture of the campaign for people."""
        state = self.state
        best = max(state.observations, key=lambda t: t.y or 0.0, default=None)
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
                "point": state.proposed[best.number].point,
            },
            "values": [t.outcome.get(self.brief.goal.field) for t in state.observations[-200:]],
            "trials": [
                {
                    "trial": t.id,
                    "point": state.proposed[t.number].point,
                    "steps_done": len(t.records),
                    "is_held": t.is_held,
                }
                for t in state.trials.values()
            ],
            "waiting": list(self.waiting())[:20],
            "leases": sorted(self.leases.usable),
            "workers": self.pool.workers,
            "at_s": self._at_s(),
            "lab_s": state.lab_s,
            "paused": state.paused,
            "finished": state.finished,
            "life": state.life,
        }

    # --- events and turns ------------------------------------------------------------------------

    def _at_s(self) -> float:
        return max(self.state.at_s, self._now_s - self._born_s)

    def _record(self, event: Event) -> None:
        stamped = event.model_copy(update={"at_s": self._at_s()})
        self._turn.appends.append(Append(entry_of(stamped)))
        self.state = apply(self.state, stamped)

    def _finish_turn(self) -> list[object]:
        while self._carry_out():
            pass
        turn, self._turn = self._turn, _Turn()
        return turn.effects()

    def _carry_out(self) -> bool:
        """Carry out the decisions that are not under way; True when an event came of it."""
        seq = self.state.seq
        state = self.state
        decisions = decide(
            state, self.brief.plan, self.leases.usable, lambda t: self._steppers.progress(state, t)
        )
        for decision in decisions:
            self._carry(decision)
            if self.state.seq != seq:
                return True
        return False

    def _carry(self, decision: Decision) -> None:
        match decision:
            case Propose():
                self._propose(decision.number)
            case StartTrial():
                name = f"t{decision.number:04d}"
                sample = f"{self.brief.plan.campaign}-{decision.number:04d}"
                self._record(TrialStarted(trial=name, number=decision.number, sample=sample))
            case Issue():
                self._issue(decision)
            case Ask():
                request = f"read/{decision.trial}/{decision.request.path}"
                if request not in self._reading:
                    self._read(request, decision.instrument, decision.trial, decision.request)
            case Compute():
                self._compute(decision)
            case Release():
                self._computed(
                    decision.trial,
                    decision.request,
                    result=decision.request.step.arguments["instruments"],
                )
            case EndTrial():
                self._end(decision)
            case Finish():
                self._record(Finished(reason=decision.reason))
                self._leave(0, decision.reason)

    def _leave(self, code: int, reason: str) -> None:
        self.is_over = True
        self._show(*self._viewers)
        self._turn.gated += [*self.leases.release(), Exit(code, reason)]

    # --- proposals -------------------------------------------------------------------------------

    def _propose(self, number: int) -> None:
        if any(asked.known.proposal == number for asked in self._asking.values()):
            return
        known = known_at(self.state, self.brief.space, number)
        asked = _Asked(known, self.state.pending)
        opening = self.brief.opening(known)
        if opening is not None:
            self._proposed(asked, opening, "conductor", 0.0)
            return
        task_id = f"{_TASK_PREFIX}/{number}@{known.basis}"
        header, arrays = known.to_wire()
        self._asking[task_id] = asked
        self._submit(task_id, "planner", "ask", header, arrays, known.seed, priority=10)

    def _proposed(self, asked: _Asked, proposal: Proposal, place: str, cpu_s: float) -> None:
        known = asked.known
        point = self.brief.space.to_point(proposal.x)
        self._record(
            Proposed(
                number=known.proposal,
                x=tuple(float(v) for v in proposal.x),
                point=point,
                source=proposal.source,
                theta=None if proposal.theta is None else dict(proposal.theta),
                basis=known.basis,
                pending=asked.pending,
                seed=known.seed,
                why=dict(proposal.why),
                memo=dict(proposal.memo),
                place=place,
                cpu_s=cpu_s,
            )
        )

    def _on_proposal(
        self, asked: _Asked, result: TaskResult, arrays: Mapping[str, NDArray[Any]], place: str
    ) -> None:
        known = asked.known
        if known.proposal != len(self.state.proposed):
            return
        if result.state == "done":
            proposal = Proposal.from_wire(result.result, arrays)
        else:
            proposal = self.brief.fallback(known)
            why = {**proposal.why, "fallback": result.reason[:500]}
            proposal = Proposal(x=proposal.x, why=why, memo=proposal.memo)
        self._proposed(asked, proposal, place, result.cpu_s)

    # --- computations and readouts ---------------------------------------------------------------

    def _submit(
        self,
        task_id: str,
        target: str,
        method: str,
        arguments: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        seed: int,
        priority: int = 0,
        stored: Sequence[Any] = (),
    ) -> None:
        inline = tuple(describe(name, array, inline=True) for name, array in arrays.items())
        task = Task(
            task=task_id,
            target=target,
            method=method,
            arguments=dict(arguments),
            arrays=(*inline, *stored),
            depot=self._depot,
            seed=seed,
            campaign=self.brief.plan.campaign,
            priority=priority,
        )
        self._turn.free += self.pool.submit(task, tuple(arrays.values()), self._now_s)

    def _compute(self, decision: Compute) -> None:
        task_id = f"{decision.trial}/{decision.request.path}"
        if task_id in self._computing:
            return
        step = decision.request.step
        self._computing[task_id] = (decision.trial, decision.request)
        stored = [
            value.model_copy(update={"name": name, "inline": False})
            for name, value in step.arguments.items()
            if hasattr(value, "digest")
        ]
        arguments = {k: plain(v) for k, v in step.arguments.items() if not hasattr(v, "digest")}
        target = self.brief.targets.get(step.target, step.target)
        seed = trial_seed(self.brief.first.seed, task_id)
        self._submit(task_id, target, step.method, arguments, {}, seed, stored=stored)

    def _computed(
        self, trial: str, request: StepRequest, *, result: Any = None, **rest: Any
    ) -> None:
        state = rest.pop("state", "done")
        self._record(
            Computed(
                trial=trial,
                path=request.path,
                name=request.step.name,
                digest=request.digest,
                state=state,
                result=result,
                **rest,
            )
        )

    def _on_result(self, sender: str, message: TaskResult, arrays: Sequence[NDArray[Any]]) -> None:
        task, sends = self.pool.result(sender, message, self._now_s)
        self._turn.free += sends
        if task is None:
            return
        asked = self._asking.pop(message.task, None)
        if asked is not None:
            names = [ref.name for ref in message.arrays if ref.inline]
            self._on_proposal(asked, message, dict(zip(names, arrays, strict=False)), sender)
            return
        wanted = self._computing.pop(message.task, None)
        if wanted is None or wanted[0] not in self.state.trials:
            return
        self._computed(
            *wanted,
            result=message.result,
            state="done" if message.state == "done" else "failed",
            arrays=tuple(ref for ref in message.arrays if not ref.inline),
            reason=message.reason,
            place=sender,
            wall_s=message.wall_s,
            cpu_s=message.cpu_s,
        )

    def _read(self, request: str, instrument: str, trial: str, step: StepRequest) -> None:
        self._reading[request] = (instrument, trial, step, self._now_s)
        message = ReadoutRequest(request=request, instrument=instrument, readout=step.step.method)
        self._turn.free.append(Send(self.brief.adapters[instrument], message))

    def _on_reading(self, message: ReadoutReply) -> None:
        wanted = self._reading.pop(message.request, None)
        if wanted is None or wanted[1] not in self.state.trials:
            return
        instrument, trial, request, _ = wanted
        self._computed(
            trial,
            request,
            result=message.result,
            state=message.state,
            reason=message.reason,
            place=instrument,
        )

    # --- instruments -----------------------------------------------------------------------------

    def _on_presence(self, message: Presence) -> None:
        if message.role == "worker":
            if message.is_here:
                targets = message.about.get("targets", [])
                self._turn.free += self.pool.here(message.name, targets, self._now_s)
            else:
                self._turn.free += self.pool.gone(message.name, self._now_s)
        elif message.role == "viewer":
            (self._viewers.add if message.is_here else self._viewers.discard)(message.name)
        elif message.role == "adapter" and message.is_here:
            self._turn.free += self.leases.tick(self._now_s)

    def _on_granted(self, sender: str, message: LeaseGranted) -> None:
        if sender != self.brief.adapters.get(message.instrument):
            return
        if not self.leases.granted(message, self._now_s):
            return
        self._record(
            Leased(
                instrument=message.instrument,
                adapter=sender,
                epoch=message.epoch,
                ledger=message.ledger,
                clock_factor=message.clock_factor,
                is_twin=message.is_twin,
                schema_digest=message.schema_digest,
            )
        )
        for trial in list(self.state.trials.values()):
            for command in trial.open.values():
                if command.instrument != message.instrument:
                    continue
                if command.ledger != message.ledger:
                    self._settle_unknown(command, message.ledger)
                else:
                    self._tell(command)

    def _settle_unknown(self, command: Commanded, ledger: str) -> None:
        reason = (
            f"it was sent under ledger {command.ledger}, the adapter now has ledger {ledger}: "
            "its memory is gone"
        )
        self._told.pop(command.key, None)
        self._record(
            Settled(key=command.key, instrument=command.instrument, state="unknown", reason=reason)
        )

    def _issue(self, decision: Issue) -> None:
        place = (decision.trial, decision.request.path)
        if self._now_s < self._not_before.get(place, 0.0):
            return
        self._not_before.pop(place, None)
        lease = self.leases.get(decision.instrument)
        if lease is None:
            return
        step = decision.request.step
        command = Commanded(
            key=decision.key,
            instrument=decision.instrument,
            target=step.target,
            action=step.method,
            arguments=plain(dict(step.arguments)),
            digest=decision.request.digest,
            sample=self.state.trials[decision.trial].sample,
            ledger=lease.ledger,
        )
        self._record(command)
        self._tell(command)

    def _tell(self, command: Commanded) -> None:
        """Send a command, new or again: the adapter answers a key that it knows."""
        lease = self.leases.get(command.instrument)
        if lease is None or lease.ledger != command.ledger:
            return
        self._told[command.key] = self._now_s
        message = Command(
            key=command.key,
            instrument=command.instrument,
            action=command.action,
            arguments=command.arguments,
            sample=command.sample,
            epoch=lease.epoch,
            ledger=lease.ledger,
            not_after_s=self.leases.not_after_s(command.instrument, self._now_s),
        )
        self._turn.gated.append(Send(self.brief.adapters[command.instrument], message))

    def _tell_again(self) -> None:
        for trial in self.state.trials.values():
            for command in trial.open.values():
                told_s = self._told.get(command.key)
                if told_s is None or self._now_s - told_s >= _RETRY_S:
                    # moved on even without a lease, or the loop would wake for it at once again
                    self._told[command.key] = self._now_s
                    self._tell(command)

    def _on_outcome(self, sender: str, message: Outcome) -> None:
        if sender != self.brief.adapters.get(message.instrument):
            return
        if message.state in {"running", "not_done"}:
            return
        trial = self.state.trials.get(message.key.trial)
        command = trial.open.get(message.key.step) if trial else None
        if command is not None and command.key == message.key:
            if message.ledger != command.ledger:
                return
            self._settle(command, message)
        if self._is_settled(message.key):
            ack = OutcomeAck(key=message.key)
            self._turn.gated.append(Send(sender, ack))

    def _is_settled(self, key: CommandKey) -> bool:
        """Return True when the journal holds the outcome of this attempt, or of a later one."""
        if key.campaign != self.brief.plan.campaign:
            return False
        trial = self.state.trials.get(key.trial)
        if trial is None:
            return any(t.trial == key.trial for t in self.state.ended)
        command = trial.commands.get(key.step)
        is_open = key.step in trial.open and trial.open[key.step].key == key
        return command is not None and not is_open and command.key.attempt >= key.attempt

    def _settle(self, command: Commanded, message: Outcome) -> None:
        may_retry = (
            message.state == "failed" and message.may_retry and command.key.attempt < MAX_ATTEMPTS
        )
        if may_retry:
            place = (command.key.trial, command.key.step)
            self._not_before[place] = self._now_s + _BACK_OFF_S
        self._told.pop(command.key, None)
        self._accepted.discard(command.key)
        self._record(
            Settled(
                key=command.key,
                instrument=command.instrument,
                state=message.state,
                result=message.result,
                arrays=message.arrays,
                reason=message.reason,
                may_retry=may_retry,
                started_lab_s=message.started_lab_s,
                ended_lab_s=message.ended_lab_s,
            )
        )

    # --- ends, people ----------------------------------------------------------------------------

    def _end(self, decision: EndTrial) -> None:
        progress = decision.progress
        trial = self.state.trials[decision.trial]
        if progress.outcome is not None:
            outcome = progress.outcome.model_dump(mode="json")
            score = self.brief.goal.score(outcome)
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
                reason=str(progress.error),
            )
        self._steppers.forget(trial.id)
        for task in [t for t, (of, _) in self._computing.items() if of == trial.id]:
            del self._computing[task]
            self._turn.free += self.pool.cancel(task)
        self._record(event)

    def _on_control(self, sender: str, message: Control) -> None:
        person = message.person or sender
        reason = str(message.arguments.get("reason", ""))
        match message.action:
            case "pause" if self.state.paused is None:
                self._record(Paused(person=person, reason=reason))
            case "resume" if self.state.paused is not None:
                self._record(Resumed(person=person, reason=reason))
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
                self._record(
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
        content = self.view()
        view = View(campaign=self.brief.plan.campaign, content=content)
        self._turn.free += [Send(viewer, view) for viewer in sorted(viewers)]
