"""The campaign core: a pure fold and pure decisions, tried on random histories."""

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinloop.agents.campaign.book import Steppers
from twinloop.agents.campaign.core import Issue, Plan, Propose, StartTrial, decide, waiting
from twinloop.agents.campaign.events import (
    Commanded,
    Computed,
    Discarded,
    Finished,
    Leased,
    Proposed,
    Settled,
    TrialEnded,
    TrialStarted,
    entry_of,
    event_of,
)
from twinloop.agents.campaign.state import CampaignState, ImpossibleEvent, apply
from twinloop.agents.campaign.stepper import Progress
from twinloop.agents.campaign.testing import brief
from twinloop.log.memory import MemoryLog

D = "0" * 64


def story(choices, experiments=4, parallel=2):
    """Drive the pure core with random answers; yield each state with its decisions."""
    the_brief = brief(experiments, parallel=parallel)
    steppers = Steppers(the_brief)
    state = apply(CampaignState(), the_brief.first)
    usable = frozenset({"oven"})

    def progress(trial):
        return steppers.progress(state, trial)

    for choice in choices:
        decisions = decide(state, the_brief.plan, usable, progress)
        yield state, decisions, the_brief.plan, usable, progress
        open_commands = [c for t in state.trials.values() for c in t.open.values()]
        events = [e for d in decisions if (e := event_for(d, state)) is not None]
        events += [settled(c, choice) for c in open_commands]
        if not events:
            return
        state = apply(state, events[choice % len(events)])


def settled(command, choice):
    failed = choice % 7 == 0
    result = None
    if command.action == "bake" and not failed:
        result = {"peak_K": command.arguments["bake_K"], "lasted_s": 1.0}
    return Settled(
        key=command.key,
        instrument="oven",
        state="unknown" if choice % 11 == 0 else "failed" if failed else "done",
        may_retry=failed and choice % 2 == 0 and command.key.attempt < 5,
        result=result,
    )


def event_for(decision, state):
    match decision:
        case Propose():
            number = decision.number
            point = {"bake_K": 400.0 + number, "bake_s": 60.0}
            return Proposed(
                number=number, x=(0.1, 0.2), point=point, basis=state.seq, pending=(), seed=1
            )
        case StartTrial():
            name = f"t{decision.number:04d}"
            return TrialStarted(trial=name, number=decision.number, sample=f"s-{name}")
        case Issue():
            step = decision.request.step
            return Commanded(
                key=decision.key, instrument=decision.instrument, target=step.target,
                action=step.method, arguments=dict(step.arguments),
                digest=decision.request.digest, sample="s", ledger="l",
            )  # fmt: skip
        case _ if hasattr(decision, "request"):
            request = decision.request
            result = ["oven"] if request.step.verb == "release" else 0.5
            return Computed(
                trial=decision.trial, path=request.path, name=request.step.name,
                digest=request.digest, state="done", result=result,
            )  # fmt: skip
        case _ if hasattr(decision, "progress"):
            trial = state.trials[decision.trial]
            y = 1.0 if decision.progress.outcome is not None else None
            return TrialEnded(
                trial=trial.id,
                number=trial.number,
                state="failed" if y is None else "done",
                y=y,
            )
        case _:
            return Finished(reason=decision.reason)


histories = st.lists(st.integers(0, 10_000), max_size=80)


@settings(max_examples=40, deadline=None)
@given(histories)
def test_deciding_changes_nothing_and_repeats_itself(choices):
    for state, decisions, plan, usable, progress in story(choices):
        before = deepcopy(state)
        assert decide(state, plan, usable, progress) == decisions
        assert state == before


@settings(max_examples=40, deadline=None)
@given(histories)
def test_only_the_owner_of_an_instrument_may_command_it_and_once_a_step(choices):
    for state, decisions, *_ in story(choices):
        issued = [d for d in decisions if isinstance(d, Issue)]
        assert len({d.trial for d in issued}) <= 1
        for decision in issued:
            trial = state.trials[decision.trial]
            assert not trial.is_held
            assert decision.key.step not in trial.open
            assert "oven" not in trial.released
            assert decision.key.attempt == trial.attempts.get(decision.key.step, 0) + 1


@settings(max_examples=40, deadline=None)
@given(histories)
def test_the_budget_is_never_exceeded(choices):
    for state, decisions, plan, *_ in story(choices):
        n_new = sum(isinstance(d, Propose) for d in decisions)
        assert len(state.proposed) + n_new <= plan.experiments
        assert len(state.ready) <= plan.ahead + 1


@settings(max_examples=40, deadline=None)
@given(histories)
def test_whoever_has_nothing_to_decide_can_say_what_it_waits_for(choices):
    for state, decisions, plan, usable, progress in story(choices):
        if not decisions and state.started is not None:
            assert waiting(state, plan, usable, progress)


@settings(max_examples=25, deadline=None)
@given(histories)
def test_events_survive_the_disk(choices):
    log = MemoryLog("journal")
    last = CampaignState()
    for state, *_ in story(choices):
        last = state
    for proposed in last.proposed:
        log.append(entry_of(proposed))
    assert [event_of(s) for s in log.read()] == list(last.proposed)


def test_nothing_is_commanded_without_a_usable_instrument():
    the_brief = brief(1)
    state = apply(CampaignState(), the_brief.first)
    for event in (
        Proposed(number=0, x=(0, 0), point={"bake_K": 400.0, "bake_s": 60.0}, basis=1,
                 pending=(), seed=1),
        TrialStarted(trial="t0000", number=0, sample="s"),
    ):  # fmt: skip
        state = apply(state, event)
    steppers = Steppers(the_brief)

    def progress(trial):
        return steppers.progress(state, trial)

    assert not any(isinstance(d, Issue) for d in decide(state, the_brief.plan, set(), progress))
    assert any(isinstance(d, Issue) for d in decide(state, the_brief.plan, {"oven"}, progress))
    assert "no lease on oven" in waiting(state, the_brief.plan, set(), progress)[0]


def test_a_discarded_proposal_does_not_count_against_the_budget():
    plan = Plan("c", experiments=1, ahead=1)
    state = apply(CampaignState(), brief(1).first)
    state = apply(state, Proposed(number=0, x=(0.0,), point={}, basis=1, pending=(), seed=1))
    state = apply(state, Discarded(number=0, reason="stale"))
    assert Propose(1) in decide(state, plan, set(), lambda _: Progress())


def test_the_laboratory_hours_are_a_budget_too():
    plan = Plan("c", experiments=100, lab_s=3600.0)
    state = apply(CampaignState(), brief(1).first)
    spent = CampaignState(seq=state.seq, started=state.started, lab_s=3600.0)
    decisions = decide(spent, plan, set(), lambda _: Progress())
    assert "1 laboratory hours" in decisions[0].reason


@pytest.mark.parametrize(
    "event",
    [
        Proposed(number=3, x=(0.0,), point={}, basis=0, pending=(), seed=1),
        Settled(key=("c", "t0000", "0", 1), instrument="oven", state="done"),
    ],
)
def test_an_event_that_cannot_follow_is_refused(event):
    with pytest.raises(ImpossibleEvent, match="cannot follow"):
        apply(apply(CampaignState(), brief(1).first), event)


def test_a_lease_is_remembered_by_its_newest_epoch():
    lease = {"instrument": "oven", "adapter": "a", "ledger": "l", "clock_factor": 1.0,
             "is_twin": True, "schema_digest": D}  # fmt: skip
    state = CampaignState()
    for epoch in (1, 2):
        state = apply(state, Leased(epoch=epoch, **lease))
    assert state.leases["oven"].epoch == 2


def test_what_runs_together_costs_laboratory_time_once():
    state = apply(CampaignState(), brief(1).first)
    state = apply(state, Proposed(number=0, x=(0.0,), point={}, basis=1, pending=(), seed=1))
    state = apply(state, TrialStarted(trial="t0000", number=0, sample="s"))
    for path, began_s, ended_s in (("0", 0, 10), ("1.0.0", 10, 40), ("1.1.0", 10, 45)):
        key = ("bread", "t0000", path, 1)
        command = {"target": "oven", "action": "load", "arguments": {}, "digest": "d",
                   "sample": "s", "ledger": "l"}  # fmt: skip
        state = apply(state, Commanded(key=key, instrument="oven", **command))
        state = apply(
            state,
            Settled(key=key, instrument="oven", state="done", started_lab_s=began_s,
                    ended_lab_s=ended_s),
        )  # fmt: skip
    assert state.lab_s == 10 + 35
