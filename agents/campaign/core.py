"""The campaign core: what to do next, decided from the state alone.

`decide(state, plan, progress)` returns decisions and touches nothing; the conductor turns each into
an event and a message, applies the event and asks again, until nothing is left to decide.
`waiting` names every reason for which the campaign waits.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from twinloop.agents.campaign.state import CampaignState, SimulationId, TrialState
from twinloop.agents.campaign.stepper import Progress, StepRequest
from twinloop.ids import CommandKey

__all__ = [
    "MAX_ATTEMPTS",
    "MAX_HELD",
    "Ask",
    "Compute",
    "Decision",
    "EndTrial",
    "Finish",
    "Issue",
    "Plan",
    "Propose",
    "ProposeSimulations",
    "Release",
    "Simulate",
    "StartTrial",
    "Withdraw",
    "decide",
    "may_propose",
    "waiting",
]

MAX_ATTEMPTS = 12
"""Commands at one step, some minutes apart at last, before a passing refusal becomes a failure."""

MAX_HELD = 3
"""Trials that wait for a person before no other is started: each has cost a sample."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the core needs of the configuration.

    Args:
        campaign: its name.
        instruments: instrument of the laboratory for each parameter of the protocol.
        experiments: how many trials at most.
        lab_s: how much laboratory time at most [s].
        parallel: trials under way at the same time.
        tail: trials beyond them that have given all instruments back and are only computed.
        ahead: proposals kept ready behind them.
        stop_on_unknown: finish instead of asking a person.
        simulations_ahead: simulations that are asked for before simulation agents run out of work;
            0: no theory.
        simulations: how many at most.
    """

    campaign: str
    instruments: Mapping[str, str] = field(default_factory=dict)
    experiments: int = 1
    lab_s: float = float("inf")
    parallel: int = 1
    tail: int = 4
    ahead: int = 1
    stop_on_unknown: bool = False
    simulations_ahead: int = 0
    simulations: int = 0


@dataclass(frozen=True, slots=True)
class Propose:
    """Get proposal `number` from the planner."""

    number: int


@dataclass(frozen=True, slots=True)
class ProposeSimulations:
    """Get batch `batch` of simulations from the planner."""

    batch: int


@dataclass(frozen=True, slots=True)
class Simulate:
    """Have theory predict."""

    simulation: SimulationId


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Give up a simulation that nobody wants any more."""

    simulation: SimulationId
    reason: str


@dataclass(frozen=True, slots=True)
class StartTrial:
    """Begin the trial of a ready proposal."""

    number: int


@dataclass(frozen=True, slots=True)
class Issue:
    """Command an instrument: a physical effect."""

    trial: str
    key: CommandKey
    instrument: str
    request: StepRequest


@dataclass(frozen=True, slots=True)
class Ask:
    """Read an instrument."""

    trial: str
    instrument: str
    request: StepRequest


@dataclass(frozen=True, slots=True)
class Compute:
    """Have a quantity computed."""

    trial: str
    request: StepRequest


@dataclass(frozen=True, slots=True)
class Release:
    """Give instruments back before the trial ends."""

    trial: str
    request: StepRequest


@dataclass(frozen=True, slots=True)
class EndTrial:
    """The protocol has ended, one way or another."""

    trial: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Finish:
    """The campaign is over."""

    reason: str


Decision = (
    Propose
    | ProposeSimulations
    | Simulate
    | Withdraw
    | StartTrial
    | Issue
    | Ask
    | Compute
    | Release
    | EndTrial
    | Finish
)
ProgressOf = Callable[[TrialState], Progress]


def _owner(state: CampaignState, target: str) -> str | None:
    """Return the trial that may use an instrument: the oldest that is not held and kept it."""
    return next(
        (t.id for t in state.trials.values() if not t.is_held and target not in t.released), None
    )


def may_propose(state: CampaignState, plan: Plan) -> bool:
    """Return True while the budget allows another trial."""
    tried = len(state.proposed) - state.discarded
    return tried < plan.experiments and state.lab_s < plan.lab_s


def decide(
    state: CampaignState, plan: Plan, usable: AbstractSet[str], progress: ProgressOf
) -> tuple[Decision, ...]:
    """Return what to do now; `usable` names the instruments that are leased and not tripped.

    A decision stands until an event answers it: the same state gives the same decisions, and who
    carries them out must know which are under way already.
    """
    if state.started is None or state.finished is not None:
        return ()
    decisions: list[Decision] = []
    for trial in state.trials.values():
        decisions += _for_trial(state, plan, usable, trial, progress(trial))
    if plan.stop_on_unknown and any(t.is_held for t in state.trials.values()):
        return (*decisions, Finish("an outcome is unknown, and the campaign is told to stop then"))
    if state.paused is not None:
        return tuple(decisions)
    decisions += _of_theory(state, plan)
    has_room = _has_room(state, plan)
    if state.ready and has_room:
        decisions.append(StartTrial(state.ready[0]))
    wanted = max(plan.ahead, 1 if has_room else 0)
    if len(state.ready) < wanted and may_propose(state, plan) and state.held is None:
        decisions.append(Propose(len(state.proposed)))
    if _wants_simulations(state, plan):
        # after the experiment: its proposal brings simulations of its own
        decisions.append(ProposeSimulations(len(state.batches)))
    if not state.trials and not state.ready and not may_propose(state, plan):
        decisions.append(Finish(_spent(state, plan)))
    return tuple(decisions)


def _of_theory(state: CampaignState, plan: Plan) -> list[Decision]:
    """Return what theory is to do: only while an experiment can still profit from it."""
    if not plan.simulations_ahead:
        return []
    if not may_propose(state, plan) and not state.ready:
        return [Withdraw(s, "no experiment is left that it could serve") for s in state.simulating]
    decisions: list[Decision] = [
        Withdraw(s, "the planner wants it no more") if s in state.withdrawn else Simulate(s)
        for s in state.simulating
    ]
    return decisions


def _wants_simulations(state: CampaignState, plan: Plan) -> bool:
    """Return True when simulation agents will soon have nothing to do that is worth it."""
    return (
        may_propose(state, plan)
        and len(state.simulating) < plan.simulations_ahead
        and state.asked < plan.simulations
        and state.idle_at != len(state.ended)
    )


def _has_room(state: CampaignState, plan: Plan) -> bool:
    """Return True when another trial may start: films that are only judged now are in nobody's way."""
    active = [t for t in state.trials.values() if not t.is_held]
    if len(state.trials) - len(active) >= MAX_HELD:
        return False
    all_given_back = {
        t.id for t in active if plan.instruments and t.released >= set(plan.instruments)
    }
    return (
        len(active) - len(all_given_back) < plan.parallel
        and len(active) < plan.parallel + plan.tail
    )


def _spent(state: CampaignState, plan: Plan) -> str:
    if state.lab_s >= plan.lab_s:
        return f"the budget of {plan.lab_s / 3600:g} laboratory hours is spent"
    return f"the budget of {plan.experiments} experiments is spent"


def _for_trial(
    state: CampaignState,
    plan: Plan,
    usable: AbstractSet[str],
    trial: TrialState,
    progress: Progress,
) -> list[Decision]:
    if progress.outcome is not None or progress.error is not None:
        if trial.open or trial.is_held:
            return []  # what is under way on a machine is settled before the trial is
        return [EndTrial(trial.id, progress)]
    decisions: list[Decision] = []
    for request in progress.waiting:
        decision = _for_request(state, plan, usable, trial, request)
        if decision is not None:
            decisions.append(decision)
    return decisions


def _for_request(
    state: CampaignState,
    plan: Plan,
    usable: AbstractSet[str],
    trial: TrialState,
    request: StepRequest,
) -> Decision | None:
    step = request.step
    if step.verb == "compute":
        return Compute(trial.id, request)
    if step.verb == "release":
        return Release(trial.id, request)
    if trial.is_held or _owner(state, step.target) != trial.id:
        return None
    instrument = plan.instruments.get(step.target, step.target)
    if step.verb == "read":
        return Ask(trial.id, instrument, request)
    if request.path in trial.open or instrument not in usable:
        return None
    attempt = trial.attempts.get(request.path, 0) + 1
    key = CommandKey(plan.campaign, trial.id, request.path, attempt)
    return Issue(trial.id, key, instrument, request)


def waiting(
    state: CampaignState, plan: Plan, usable: AbstractSet[str], progress: ProgressOf
) -> tuple[str, ...]:
    """Return every reason for which something waits, for people."""
    if state.finished is not None:
        return (f"finished: {state.finished}",)
    reasons = [f"paused by {state.paused}"] if state.paused is not None else []
    for trial in state.trials.values():
        reasons += [
            f"{trial.id} waits for a person: {s.key} is unknown ({s.reason})"
            for s in trial.unknown.values()
        ]
        found = progress(trial)
        if found.error is not None:
            reasons += [
                f"{trial.id} ends when {c.key} is settled: {found.error}"
                for c in trial.open.values()
            ]
        for request in found.waiting:
            step = request.step
            what = f"{trial.id} waits for {step.name}"
            instrument = plan.instruments.get(step.target, step.target)
            if request.path in trial.open:
                reasons.append(f"{what}: commanded as {trial.open[request.path].key}")
            elif step.verb in {"act", "read"} and _owner(state, step.target) != trial.id:
                reasons.append(f"{what}: {instrument} belongs to {_owner(state, step.target)}")
            elif step.verb == "act" and instrument not in usable:
                reasons.append(f"{what}: no lease on {instrument}")
            else:
                reasons.append(what)
    n_held = sum(t.is_held for t in state.trials.values())
    if n_held >= MAX_HELD:
        reasons.append(f"no trial is started while {n_held} wait for a person: twinloop decide")
    if state.held is not None:
        reasons.append(
            f"experiment {state.held} waits for {len(state.simulating)} simulations, which are "
            "worth more for their cost"
        )
    elif len(state.ready) < plan.ahead and may_propose(state, plan):
        reasons.append(f"proposal {len(state.proposed)} is asked of the planner")
    return tuple(reasons)
