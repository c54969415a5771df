"""Theory in the pure core and in the conductor's decisions: batches, holds, withdrawals, bad answers."""

from dataclasses import replace

import numpy as np
import pytest

from twinloop.agents.campaign.conductor_core import ConductorCore
from twinloop.agents.campaign.core import Plan, ProposeSimulations, Simulate, Withdraw, decide
from twinloop.agents.campaign.events import (
    Commanded,
    Proposed,
    Settled,
    Simulated,
    SimulationsProposed,
    SimulationWanted,
    TrialEnded,
    TrialStarted,
)
from twinloop.agents.campaign.known import known_at, known_of_theory
from twinloop.agents.campaign.pool import SendTask
from twinloop.agents.campaign.state import CampaignState, ImpossibleEvent, apply
from twinloop.agents.campaign.testing import THEORY, brief
from twinloop.ids import CommandKey
from twinloop.messages import (
    CancelTask,
    Command,
    LeaseGranted,
    LeaseRequest,
    Outcome,
    Presence,
    TaskPartial,
    TaskResult,
)
from twinloop.planners.known import Known, Proposal, SimulationRequest
from twinloop.wire.arrays import describe
from twinloop.wire.effects import Send

PLAN = Plan("bread", {"oven": "oven"}, experiments=2, simulations_ahead=2, simulations=10)


def wanted(n):
    one = SimulationWanted(
        x=(0.5, 0.5), point={"bake_K": 450.0, "bake_s": 1830.0}, theta={"best_K": 450.0}, seed=1
    )
    return (one,) * n


def batch(number, n=2, **changes):
    given = {"batch": number, "simulator": "loaf", "wanted": wanted(n), "basis": 1, "seed": 1}
    return SimulationsProposed(**{**given, **changes})


def done(number, row, **values):
    values = values or {"height": 1.0, "crust": 0.2}
    return Simulated(batch=number, row=row, state="done", values=values, code="loaf v1")


def proposed(number):
    return Proposed(
        number=number, x=(0.5, 0.5), point={"bake_K": 450.0, "bake_s": 1830.0}, basis=1,
        pending=(), seed=1,
    )  # fmt: skip


def state_after(*events):
    state = apply(CampaignState(), brief().first)
    for event in events:
        state = apply(state, event)
    return state


def kinds(state, plan=PLAN):
    return list(decide(state, plan, frozenset(), lambda _: pytest.fail("no trial")))


def test_simulation_agents_are_kept_in_work_ahead_of_time():
    assert ProposeSimulations(0) in kinds(state_after())
    assert ProposeSimulations(1) not in kinds(state_after(batch(0, 2)))
    assert ProposeSimulations(1) in kinds(state_after(batch(0, 2), done(0, 1)))
    assert Simulate((0, 0)) in kinds(state_after(batch(0, 2), done(0, 1)))


def test_when_nothing_is_worth_simulating_the_next_result_is_waited_for():
    nothing = state_after(batch(0, 0))
    assert ProposeSimulations(1) not in kinds(nothing)
    ended = TrialEnded(trial="t0000", number=0, state="failed")
    began = TrialStarted(trial="t0000", number=0, sample="s")
    after = state_after(batch(0, 0), proposed(0), began, ended)
    assert ProposeSimulations(1) in kinds(after)
    # also where it came before the answer, which did not know it
    story = (proposed(0), began, ended)
    assert ProposeSimulations(1) in kinds(state_after(*story, batch(0, 0, ended=0)))
    assert ProposeSimulations(1) not in kinds(state_after(*story, batch(0, 0, ended=1)))


def test_the_number_of_simulations_is_bounded():
    assert ProposeSimulations(1) not in kinds(
        state_after(batch(0, 1), done(0, 0)), replace(PLAN, simulations=1)
    )


def test_an_experiment_waits_for_its_batch_and_for_no_other():
    held = state_after(batch(0, 1), batch(1, 1, holds=0))
    assert held.held == 0
    assert not [d for d in kinds(held) if type(d).__name__ == "Propose"]
    freed = state_after(batch(0, 1), batch(1, 1, holds=0), done(1, 0))
    assert freed.held is None
    assert [d.number for d in kinds(freed) if type(d).__name__ == "Propose"] == [0]


def test_simulations_end_with_the_last_experiment_that_they_could_serve():
    story = [batch(0, 1), proposed(0), proposed(1)]
    for n in (0, 1):
        story.append(TrialStarted(trial=f"t000{n}", number=n, sample="s"))
        story.append(TrialEnded(trial=f"t000{n}", number=n, state="failed"))
    assert Withdraw((0, 0), "no experiment is left that it could serve") in kinds(
        state_after(*story)
    )
    # one is still to be made: the last proposal may be thought over again
    assert Simulate((0, 0)) in kinds(state_after(*story[:2]))


def test_what_the_planner_withdrew_is_given_up():
    state = state_after(batch(0, 2), batch(1, 1, withdrawn=((0, 1),)))
    assert Withdraw((0, 1), "the planner wants it no more") in kinds(state)
    assert Simulate((0, 0)) in kinds(state)


@pytest.mark.parametrize("event", [batch(1), done(0, 0), Simulated(batch=3, row=0, state="failed")])
def test_an_event_out_of_order_is_refused(event):
    with pytest.raises(ImpossibleEvent):
        state_after(event)


def test_a_simulation_is_answered_once():
    with pytest.raises(ImpossibleEvent):
        state_after(batch(0, 1), done(0, 0), done(0, 0))


def test_what_is_known_of_theory_comes_from_the_journal_alone():
    state = state_after(
        batch(0, 4, memo={"a": 1}),
        done(0, 2, height=0.7, crust=0.1),
        done(0, 0, height=0.5),  # an observable is missing: no prediction
        Simulated(batch=0, row=1, state="failed", reason="it broke"),
    )
    known = known_of_theory(state, brief().space, 1, THEORY)
    assert known.simulations.values.tolist() == [[0.7, 0.1]]
    assert known.simulations.theta.tolist() == [[450.0]]
    assert known.simulations.pending_x.tolist() == [[0.5, 0.5]]
    assert known.memo == {"a": 1}
    assert known.theory.code == "loaf v1"
    assert known.seed != known_at(state, brief().space, 0, THEORY).seed


def test_predictions_of_an_older_code_are_left_out():
    newer = done(0, 1).model_copy(update={"code": "loaf v2"})
    state = state_after(batch(0, 2), done(0, 0), newer)
    assert known_of_theory(state, brief().space, 1, THEORY).simulations.m == 1


class Led:
    """A conductor with a planner and a simulator that answer when they are told to."""

    def __init__(self, **plan):
        made = brief(experiments=3)
        self.brief = replace(
            made, plan=replace(PLAN, experiments=3, **plan), theory=THEORY, opening=lambda _: None
        )
        self.tasks, self.sent, self.now_s = [], [], 0.0
        self.core = ConductorCore(self.brief, CampaignState(), "life", "tcp://127.0.0.1:1")
        self.perform(self.core.start(0.0))

    def perform(self, effects):
        for effect in effects:
            if isinstance(effect, SendTask):
                self.tasks.append(effect)
            elif isinstance(effect, Send):
                self.sent.append(effect.message)
                if isinstance(effect.message, LeaseRequest):
                    self.say("bakery", LeaseGranted(
                        instrument="oven", campaign="bread", epoch=1, ledger="l", adapter_now_s=0.0,
                        ttl_s=3.0, clock_factor=1.0, is_twin=True, schema_digest="0" * 64,
                    ))  # fmt: skip

    def say(self, sender, message, arrays=()):
        self.perform(self.core.receive(sender, message, self.now_s, arrays))

    def here(self, name, *targets):
        self.say("hub", Presence(
            name=name, role="worker", incarnation=name, is_here=True, about={"targets": list(targets)}
        ))  # fmt: skip

    def gone(self, name):
        self.say("hub", Presence(name=name, role="worker", incarnation=name, is_here=False))

    def take(self, target, method=None):
        """Return the oldest unanswered task for a target."""
        return self.take_all(target, method).task

    def take_all(self, target, method=None):
        """Return it with its arrays."""
        for n, effect in enumerate(self.tasks):
            if effect.task.target == target and method in {None, effect.task.method}:
                return self.tasks.pop(n)
        raise AssertionError([(t.task.target, t.task.method) for t in self.tasks])

    def answer(self, task, proposal):
        header, content = proposal.to_wire()
        refs = tuple(describe(name, array, inline=True) for name, array in content.items())
        result = TaskResult(task=task.task, state="done", result=header, arrays=refs)
        self.say("planner", result, tuple(content.values()))

    def plan_nothing(self):
        """Answer a plan of simulations under way: nothing more is worth it."""
        task = self.take("planner", "simulate")
        memo = self.core.state.memo
        self.answer(task, Proposal(x=np.full(2, 0.5), memo=memo))

    def simulated(self, task, scalars, **changes):
        result = {"scalars": scalars, "budget_exceeded": False, "code": "loaf v1"}
        self.say("sim", TaskResult(task=task.task, state="done", result=result, **changes))


def requests(n):
    return tuple(
        SimulationRequest(np.full(2, 0.1 * (k + 1)), {"best_K": 450.0 + k}, 1.0, "refine")
        for k in range(n)
    )


def held(n=1, **memo):
    return Proposal(x=np.full(2, 0.5), source="loaf", simulations=requests(n), memo=memo)


def experiment(**memo):
    return Proposal(x=np.full(2, 0.25), memo=memo)


def test_an_answer_that_holds_is_followed_by_its_simulations_and_asked_again():
    led = Led()
    led.here("planner", "planner")
    led.here("sim", "simulator")
    led.answer(led.take("planner", "ask"), held(2, seen=1))
    assert led.core.state.held == 0
    for _ in range(2):
        led.simulated(led.take("simulator"), {"height": 1.0, "crust": 0.1})
    led.plan_nothing()
    again = led.take_all("planner", "ask")
    assert known_of(again).memo == {"seen": 1}
    led.answer(again.task, experiment())
    assert [p.number for p in led.core.state.proposed] == [0]


@pytest.mark.parametrize("scalars", ["high", {"height": "high"}, {"height": None}])
def test_an_answer_that_is_no_prediction_has_failed(scalars):
    led = Led()
    led.here("planner", "planner")
    led.here("sim", "simulator")
    led.answer(led.take("planner", "ask"), held(1))
    led.simulated(led.take("simulator"), scalars)
    only = led.core.state.simulated[0]
    assert only.state == "failed"
    assert "cannot be kept" in only.reason
    assert led.core.state.held is None
    led.plan_nothing()
    led.take("planner", "ask")


def test_an_answer_that_comes_twice_counts_once():
    led = Led()
    led.here("planner", "planner")
    led.here("sim", "simulator")
    led.answer(led.take("planner", "ask"), held(1))
    task = led.take("simulator")
    for _ in range(2):
        led.simulated(task, {"height": 1.0, "crust": 0.1})
    assert len(led.core.state.simulated) == 1


def test_an_experiment_does_not_wait_for_a_simulator_that_never_comes():
    led = Led()
    led.here("planner", "planner")
    led.answer(led.take("planner", "ask"), held(2))
    assert any("waits for 2 simulations" in reason for reason in led.core.waiting())
    for _ in range(200):
        led.now_s = max(led.core.wake_at_s or 0.0, led.now_s + 0.5)
        led.perform(led.core.tick(led.now_s))
        if led.core.state.held is None:
            break
    assert {s.state for s in led.core.state.simulated} == {"cancelled"}
    assert "no simulation agent was present" in led.core.state.simulated[0].reason
    led.take("planner", "ask")


def test_withdrawn_simulations_are_cancelled_at_their_agent():
    led = Led()
    led.here("planner", "planner")
    led.here("sim", "simulator")
    led.answer(led.take("planner", "ask"), held(2))
    first = led.take("simulator")
    led.say("sim", TaskPartial(task=first.task, n=0, result={"done": 0.4}))
    assert led.core.view()["theory"]["progress"] == [0.4]
    led.simulated(led.take("simulator"), {"height": 1.0, "crust": 0.1})
    batch_task = led.take("planner", "simulate")
    led.answer(batch_task, Proposal(x=np.full(2, 0.5), simulations=requests(1), withdrawn=(0,)))
    assert CancelTask(task=first.task) in led.sent
    assert [s.state for s in led.core.state.simulated] == ["done", "cancelled"]


def test_an_answer_that_fails_forgets_nothing():
    led = Led()
    led.here("planner", "planner")
    led.here("sim", "simulator")
    led.answer(led.take("planner", "ask"), held(1, guard={"is_off": True}))
    led.simulated(led.take("simulator"), {"height": 1.0, "crust": 0.1})
    led.plan_nothing()
    task = led.take("planner", "ask")
    led.say("planner", TaskResult(task=task.task, state="failed", reason="it broke"))
    assert "fallback" in led.core.state.proposed[0].why
    assert led.core.state.memo == {"guard": {"is_off": True}}


def test_a_plan_that_was_overtaken_by_a_proposal_is_dropped():
    """It was made without that proposal's memo, and would overwrite it."""
    led, late = led_with_a_plan_under_way()
    led.core._errands._brief = replace(led.brief, opening=lambda _: experiment(n=2))
    led.core._errands.propose(2)  # needs no planner
    led.answer(late.task, Proposal(x=np.full(2, 0.5), simulations=requests(1), memo={"n": 1}))
    assert led.core.state.batches == ()
    assert led.core.state.memo == {"n": 2}


def test_a_proposal_waits_for_a_plan_under_way_and_then_knows_what_it_asks_for():
    """Asked for beside it, it would ask for the same simulations once more."""
    led, plan = led_with_a_plan_under_way()
    finish_trial(led)
    assert not [t for t in led.tasks if t.task.method == "ask"]
    led.answer(plan.task, Proposal(x=np.full(2, 0.5), simulations=requests(4), memo={"n": 1}))
    told = known_of(led.take_all("planner", "ask"))
    assert len(told.simulations.pending_x) == 4
    assert (told.theory.left, told.memo) == (THEORY.left - 4, {"n": 1})


def test_a_plan_that_fails_does_not_keep_the_proposal_waiting():
    led, plan = led_with_a_plan_under_way()
    finish_trial(led)
    led.say("planner", TaskResult(task=plan.task.task, state="cancelled"))
    led.answer(led.take("planner", "ask"), replace(experiment(), simulations=requests(4)))
    assert [len(b.wanted) for b in led.core.state.batches] == [4]
    # and nothing is left of the question that was to be asked again
    for _ in range(9):
        led.now_s = max(led.core.wake_at_s or 0.0, led.now_s + 1.0)
        led.perform(led.core.tick(led.now_s))
    assert not [reason for reason in led.core.waiting() if "tried again" in reason]


def test_whatever_a_planner_asks_for_no_more_is_simulated_than_allowed():
    led = Led(simulations=5)
    led.core._errands._brief = replace(led.brief, theory=replace(THEORY, left=5))
    led.here("planner", "planner")
    led.here("sim", "simulator")
    led.answer(led.take("planner", "ask"), held(8))
    assert [len(b.wanted) for b in led.core.state.batches] == [5]
    for _ in range(5):
        led.simulated(led.take("simulator"), {"height": 1.0, "crust": 0.1})
    # an experiment that waits for what is not to be had would wait for ever
    led.answer(led.take("planner", "ask"), held(1))
    assert len(led.core.state.batches) == 1
    assert "at_most" in led.core.state.proposed[0].why["fallback"]


def test_a_simulation_that_was_cancelled_may_be_asked_for_again():
    events = [batch(0, 4), Simulated(batch=0, row=1, state="cancelled"), done(0, 0)]
    state = state_after(*events, Simulated(batch=0, row=2, state="failed"))
    assert known_of_theory(state, brief().space, 1, replace(THEORY, left=5)).theory.left == 2
    assert ProposeSimulations(1) in kinds(state, replace(PLAN, simulations=4))


def test_nothing_is_worth_simulating_counts_for_the_results_that_were_known():
    led, plan = led_with_a_plan_under_way()
    finish_trial(led)
    assert len(led.core.state.ended) == 1
    led.answer(plan.task, Proposal(x=np.full(2, 0.5)))
    assert led.core.state.idle_at == 0  # the result came while the planner thought


def test_a_journal_of_before_does_not_say_how_many_trials_had_ended():
    assert state_after(batch(0, 0)).idle_at == 0
    assert state_after(batch(0, 0, ended=3)).idle_at == 3


@pytest.mark.parametrize("target", ["simulator", "planner"])
def test_a_question_that_agents_die_of_is_answered_without_them(target):
    led = Led()
    led.here("planner", "planner")
    led.here("sim", "simulator")
    if target == "simulator":
        led.answer(led.take("planner", "ask"), held(1))
    name = {"simulator": "sim", "planner": "planner"}[target]
    for _ in range(3):
        led.take(target)
        assert not led.core.state.proposed
        assert not led.core.state.simulated
        led.gone(name)
        led.now_s += 60.0  # slowly enough for a restart policy to go on for ever
        led.here(name, target)
    if target == "simulator":
        (only,) = led.core.state.simulated
        assert (only.state, "3 workers were lost" in only.reason) == ("failed", True)
        led.plan_nothing()
        led.take("planner", "ask")
    else:
        assert "3 workers were lost" in led.core.state.proposed[0].why["fallback"]


def test_what_agents_die_of_is_taken_from_the_agent_that_has_just_got_it():
    """With two simulators the pool gives it to the other one at once: that one must not die too."""
    led = Led()
    for name, target in (("planner", "planner"), ("a", "simulator"), ("b", "simulator")):
        led.here(name, target)
    led.answer(led.take("planner", "ask"), held(1))
    poison = led.take_all("simulator")
    for deaths in range(3):
        assert CancelTask(task=poison.task.task) not in led.sent, deaths
        led.gone(poison.to)
        led.here(poison.to, "simulator")
        poison = led.take_all("simulator")
    assert led.core.state.simulated[0].state == "failed"
    assert CancelTask(task=poison.task.task) in led.sent


def test_an_experiment_does_not_wait_for_ever_for_a_simulation_that_hangs():
    led = Led()
    led.here("planner", "planner")
    led.here("sim", "simulator")
    led.answer(led.take("planner", "ask"), held(2))
    led.now_s += 1000.0
    led.simulated(led.take("simulator"), {"height": 1.0, "crust": 0.1}, wall_s=80.0)
    led.plan_nothing()
    hanging, heard_s = led.take("simulator"), led.now_s
    led.now_s += 700.0
    led.perform(led.core.tick(led.now_s))
    assert led.core.state.held == 0
    led.say("sim", TaskPartial(task=hanging.task, n=0, result={"done": 0.1}))
    for _ in range(2000):
        if led.core.state.held is None:
            break
        led.now_s = max(led.core.wake_at_s or 0.0, led.now_s + 0.5)
        led.perform(led.core.tick(led.now_s))
    # ten times the longest prediction after the last sign of life
    assert led.now_s - heard_s == pytest.approx(700.0 + 800.0, abs=10.0)
    assert "sign of life for 80" in led.core.state.simulated[-1].reason
    assert CancelTask(task=hanging.task) in led.sent
    led.take("planner", "ask")


def test_an_experiment_costs_what_those_that_are_over_have_lasted():
    """Four at a time of one hour each: one of them is over, and it lasted one hour."""
    events = []
    for n in range(4):
        key = CommandKey("bread", f"t000{n}", "0", 1)
        events += [
            proposed(n),
            TrialStarted(trial=key.trial, number=n, sample="s"),
            Commanded(
                key=key, instrument="oven", target="oven", action="bake", arguments={}, digest="d",
                sample="s", ledger="l",
            ),
            Settled(
                key=key, instrument="oven", state="done", started_lab_s=0.0, ended_lab_s=3600.0
            ),
        ]  # fmt: skip
    over = TrialEnded(trial="t0000", number=0, state="done", outcome={"height": 1.0}, y=1.0)
    state = state_after(*events, over)
    assert known_at(state, brief().space, 4, THEORY).theory.experiment_h == pytest.approx(1.0)


def test_a_quantity_without_a_standard_deviation_is_measured_all_the_same():
    outcome = {"height": 1.0, "crust": 0.1, "crust_sd": None}
    began = TrialStarted(trial="t0000", number=0, sample="s")
    over = TrialEnded(trial="t0000", number=0, state="done", outcome=outcome, y=1.0)
    known = known_at(state_after(proposed(0), began, over), brief().space, 1, THEORY)
    assert known.features["crust"].tolist() == [[0.1, 0.0]]


def test_rows_that_are_not_there_are_not_withdrawn():
    led = Led()
    led.here("planner", "planner")
    led.here("sim", "simulator")
    led.answer(led.take("planner", "ask"), replace(experiment(), withdrawn=(-1, 0, 5)))
    assert led.core.state.batches[0].withdrawn == ()
    assert "fallback" not in led.core.state.proposed[0].why


def led_with_a_plan_under_way():
    """A trial is under way, the next proposal is ready, and the planner plans simulations."""
    led = Led()
    led.here("planner", "planner")
    led.here("sim", "simulator")
    led.here("w", "ruler")
    led.answer(led.take("planner", "ask"), experiment(n=0))
    led.answer(led.take("planner", "ask"), experiment(n=1))
    return led, led.take_all("planner", "simulate")


def finish_trial(led):
    for action, result in (("load", None), ("bake", {"peak_K": 450.0, "lasted_s": 1800.0})):
        command = [m for m in led.sent if isinstance(m, Command) and m.action == action][-1]
        led.say("bakery", Outcome(
            key=command.key, instrument="oven", ledger="l", state="done", result=result,
            started_lab_s=0.0, ended_lab_s=10.0,
        ))  # fmt: skip
    for _ in range(2):
        led.say("w", TaskResult(task=led.take("ruler").task, state="done", result=0.5))


def known_of(effect):
    names = [ref.name for ref in effect.task.arrays]
    return Known.from_wire(effect.task.arguments, dict(zip(names, effect.arrays, strict=True)))
