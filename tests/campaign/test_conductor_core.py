"""The conductor's decisions, driven by hand: an adapter and a worker that answer at once."""

import pytest

from twinloop.agents.campaign.conductor_core import STOPPED, ConductorCore
from twinloop.agents.campaign.events import event_of
from twinloop.agents.campaign.pool import SendTask
from twinloop.agents.campaign.state import CampaignState, apply
from twinloop.agents.campaign.testing import Ruler, brief
from twinloop.log.memory import MemoryLog
from twinloop.messages import (
    Command,
    Control,
    LeaseGranted,
    LeaseRequest,
    Outcome,
    OutcomeAck,
    Presence,
    TaskResult,
    View,
)
from twinloop.wire.effects import Append, Exit, Send, Sync

D = "0" * 64


class Bench:
    """A conductor core with a log, an adapter that executes at once, and one worker."""

    def __init__(self, the_brief, log=None, *, ledger="ledger-1", acts=True):
        self.log = log or MemoryLog("bench")
        self.brief, self.ledger, self.acts = the_brief, ledger, acts
        self.now_s, self.baked, self.acked, self.exit = 0.0, [], [], None
        self.commands, self.views, self.tasks = [], [], []
        self.core = ConductorCore(the_brief, fold(self.log), "life", "tcp://127.0.0.1:1")
        self.queue = []
        self.run(self.core.start(0.0))

    def run(self, effects):
        self.perform(effects)
        while self.queue and self.exit is None:
            sender, message = self.queue.pop(0)
            self.perform(self.core.receive(sender, message, self.now_s))

    def say(self, sender, message):
        self.queue.append((sender, message))
        self.run([])

    def pass_time(self, n=1):
        for _ in range(n):
            self.now_s = max(self.now_s, self.core.wake_at_s or self.now_s)
            self.run(self.core.tick(self.now_s))

    def perform(self, effects):
        for effect in effects:
            if self.exit is not None:
                return
            match effect:
                case Append():
                    self.log.append(effect.entry)
                case Sync():
                    self.log.commit()
                case Exit():
                    self.exit = effect
                case SendTask():
                    self.tasks.append(effect.task)
                    self.answer(effect)
                case Send():
                    self.deliver(effect.message)

    def deliver(self, message):
        match message:
            case LeaseRequest():
                self.queue.append(("bakery", self.grant()))
            case Command():
                assert not self.log.has_pending, "a command was sent before its event was durable"
                self.commands.append(message)
                if self.acts:
                    self.queue.append(("bakery", self.execute(message)))
            case OutcomeAck():
                assert not self.log.has_pending, "acknowledged before it was durable"
                self.acked.append(message.key)
            case View():
                self.views.append(message.content)

    def grant(self, epoch=1):
        return LeaseGranted(
            instrument="oven", campaign="bread", epoch=epoch, ledger=self.ledger,
            adapter_now_s=5.0, ttl_s=3.0, clock_factor=1.0, is_twin=True, schema_digest=D,
        )  # fmt: skip

    def execute(self, command, state="done", **fields):
        result = None
        if command.action == "bake" and state == "done":
            self.baked.append(command.key)
            result = {"peak_K": command.arguments["bake_K"], "lasted_s": 60.0}
        return Outcome(
            key=command.key, instrument="oven", ledger=command.ledger, state=state, result=result,
            started_lab_s=0.0, ended_lab_s=60.0, **fields,
        )  # fmt: skip

    def answer(self, effect):
        task = effect.task
        if task.target == "ruler":
            value = Ruler.quantities()[task.method](**task.arguments)
            reply = TaskResult(task=task.task, state="done", result=value)
        else:
            reply = TaskResult(task=task.task, state="failed", reason="no planner here")
        self.queue.append(("w", reply))

    def worker(self):
        about = {"targets": ["ruler", "planner"]}
        self.say(
            "hub",
            Presence(name="w", role="worker", incarnation="x", is_here=True, about=about),
        )

    def kinds(self):
        return [stored.entry.kind for stored in self.log.read()]


def fold(log):
    state = CampaignState()
    for stored in log.read():
        state = apply(state, event_of(stored))
    return state


def finish(bench, turns=60):
    for _ in range(turns):
        if bench.exit is not None:
            return bench
        bench.pass_time()
    return bench


def test_a_campaign_runs_to_the_end_of_its_budget():
    bench = Bench(brief(4))
    bench.worker()
    finish(bench)
    assert bench.exit.code == 0
    state = fold(bench.log)
    assert len(state.observations) == 4
    assert len(bench.baked) == 4
    assert "budget of 4" in state.finished
    assert set(bench.acked) >= set(bench.baked)


def test_the_core_state_is_the_fold_of_its_journal():
    bench = Bench(brief(3))
    bench.worker()
    finish(bench)
    assert fold(bench.log) == bench.core.state


@pytest.mark.parametrize("n_events", range(1, 34, 3))
def test_a_new_life_on_any_prefix_ends_with_the_same_proposals(n_events):
    whole = finish(_with_worker(Bench(brief(3))))
    log = MemoryLog("bench")
    for stored in list(whole.log.read())[:n_events]:
        log.append(stored.entry)
    log.commit()
    again = finish(_with_worker(Bench(brief(3), log)))
    assert again.exit.code == 0
    assert [p.x for p in fold(log).proposed] == [p.x for p in fold(whole.log).proposed]
    assert fold(log).life == 1 + sum(1 for s in list(whole.log.read())[:n_events]
                                     if s.entry.kind == "conductor_started")  # fmt: skip


def _with_worker(bench):
    bench.worker()
    return bench


def test_a_command_without_an_answer_is_told_again_under_the_same_key():
    bench = Bench(brief(1), acts=False)
    bench.pass_time(20)
    assert len(bench.commands) > 2
    assert len({c.key for c in bench.commands}) == 1


def test_after_a_restart_an_open_command_keeps_its_key():
    first = Bench(brief(1), acts=False)
    first.pass_time()
    again = Bench(brief(1), first.log)
    again.worker()
    finish(again)
    assert again.commands[0].key == first.commands[0].key
    assert len(again.baked) == 1


def test_another_ledger_makes_an_open_command_unknown_and_holds_the_trial():
    first = Bench(brief(2), acts=False)
    first.pass_time()
    again = Bench(brief(2), first.log, ledger="ledger-2")
    again.worker()
    finish(again)
    state = fold(again.log)
    assert [t.is_held for t in state.trials.values()] == [True]
    assert len(state.observations) == 1  # the campaign went on with another sample
    assert any("waits for a person" in reason for reason in again.core.waiting())


def test_a_person_settles_an_unknown_outcome():
    first = Bench(brief(1), acts=False)
    first.pass_time()
    again = Bench(brief(1), first.log, ledger="ledger-2")
    again.worker()
    key = next(iter(next(iter(fold(again.log).trials.values())).unknown.values())).key
    arguments = {"key": str(key), "state": "done", "reason": "I looked"}
    again.say("ann", Control(action="decide", arguments=arguments, person="ann"))
    finish(again)
    assert len(fold(again.log).observations) == 1


def test_a_ledger_that_comes_back_settles_what_was_unknown():
    first = Bench(brief(1), acts=False)
    first.pass_time()
    command = first.commands[-1]
    again = Bench(brief(1), first.log, ledger="ledger-2")
    again.worker()
    again.pass_time()
    again.ledger = "ledger-1"
    again.say("bakery", again.grant(epoch=9))
    again.say("bakery", again.execute(command))
    finish(again)
    assert len(fold(again.log).observations) == 1
    assert command.key in again.acked


@pytest.mark.parametrize("state", ["failed", "not_done"])
def test_a_refusal_that_may_be_retried_becomes_a_new_attempt(state):
    bench = Bench(brief(1), acts=False)
    bench.worker()
    bench.pass_time()
    command = bench.commands[-1]
    bench.say("bakery", bench.execute(command, state=state, may_retry=True, reason="busy"))
    bench.acts = True
    finish(bench)
    assert len(fold(bench.log).observations) == 1
    keys = [str(c.key) for c in bench.commands if c.action == "load"]
    assert keys[0].endswith("/1")
    assert keys[-1].endswith("/2")


def test_a_definite_failure_ends_the_trial_and_the_campaign_goes_on():
    bench = Bench(brief(2), acts=False)
    bench.worker()
    bench.pass_time()
    bench.say("bakery", bench.execute(bench.commands[-1], state="failed", reason="no dough"))
    bench.acts = True
    finish(bench)
    state = fold(bench.log)
    assert [t.state for t in state.ended] == ["failed", "done"]
    assert "no dough" in state.ended[0].reason


def test_an_outcome_twice_is_journalled_once_and_acknowledged_twice():
    bench = Bench(brief(1), acts=False)
    bench.pass_time()
    outcome = bench.execute(bench.commands[-1])
    bench.say("bakery", outcome)
    bench.say("bakery", outcome)
    assert bench.kinds().count("settled") == 1
    assert len(bench.acked) == 2


def test_an_outcome_from_somebody_else_is_ignored():
    bench = Bench(brief(1), acts=False)
    bench.pass_time()
    bench.say("mallory", bench.execute(bench.commands[-1]))
    assert bench.acked == []
    assert "settled" not in bench.kinds()


def test_a_pause_starts_nothing_new_and_a_resume_goes_on():
    bench = Bench(brief(12))
    bench.say("ann", Control(action="pause", person="ann"))
    n_started = bench.kinds().count("trial_started")
    bench.worker()
    bench.pass_time(10)
    assert bench.kinds().count("trial_started") == n_started
    assert bench.core.waiting()[0] == "paused by ann: "
    bench.say("ann", Control(action="resume", person="ann"))
    finish(bench)
    assert bench.exit.code == 0


def test_a_stop_leaves_a_campaign_that_can_be_resumed():
    bench = Bench(brief(3), acts=False)
    bench.pass_time()
    bench.say("ann", Control(action="stop", person="ann"))
    assert bench.exit.code == STOPPED
    assert fold(bench.log).finished is None
    again = finish(_with_worker(Bench(brief(3), bench.log)))
    assert len(fold(again.log).observations) == 3


def test_a_tripped_instrument_gets_no_command():
    class Tripped(Bench):
        def grant(self, epoch=1):
            return super().grant(epoch).model_copy(update={"trip": "the door is open"})

    bench = _with_worker(Tripped(brief(1)))
    bench.pass_time(5)
    assert bench.commands == []
    assert any("the door is open" in reason for reason in bench.core.waiting())


def test_the_view_names_the_best_and_what_is_waited_for():
    bench = Bench(brief(2))
    bench.worker()
    finish(bench)
    view = bench.core.view()
    assert view["observations"] == 2
    assert view["best"]["value"] == max(view["values"])
    assert bench.core.waiting()[0].startswith("finished")


def test_a_failing_planner_is_replaced_by_the_fallback_and_says_so():
    bench = Bench(brief(9))
    bench.worker()
    finish(bench)
    whys = [p.why for p in fold(bench.log).proposed]
    assert "no planner here" in whys[-1]["fallback"]


def test_parallel_trials_share_one_oven_and_never_mix_their_samples():
    bench = Bench(brief(6, parallel=3))
    bench.worker()
    finish(bench)
    assert len(fold(bench.log).observations) == 6
    bakes = [c for c in bench.commands if c.action in {"load", "bake"}]
    for load, bake in zip(bakes[::2], bakes[1::2], strict=True):
        assert (load.action, bake.action, load.sample) == ("load", "bake", bake.sample)


def test_the_next_trial_starts_while_the_last_one_is_only_judged():
    bench = Bench(brief(4))  # no worker yet: nothing is judged
    bench.pass_time(10)
    assert len([c for c in bench.commands if c.action == "bake"]) == 4
    assert fold(bench.log).observations == ()
    bench.worker()
    finish(bench)
    assert len(fold(bench.log).observations) == 4


def test_films_that_nobody_judges_do_not_pile_up():
    bench = Bench(brief(20))
    bench.pass_time(40)
    plan = bench.brief.plan
    assert len(fold(bench.log).trials) == plan.parallel + plan.tail
