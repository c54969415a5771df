"""The conductor's decisions, driven by hand: an adapter and a worker that answer at once."""

from dataclasses import replace

import numpy as np
import pytest

from twinloop.agents.campaign.conductor_core import STOPPED, ConductorCore
from twinloop.agents.campaign.events import Settled, TrialEnded, event_of
from twinloop.agents.campaign.pool import SendTask
from twinloop.agents.campaign.state import CampaignState, apply
from twinloop.agents.campaign.testing import Bread, Dough, Oven, Ruler, brief
from twinloop.log.memory import MemoryLog
from twinloop.messages import (
    Command,
    Control,
    LeaseGranted,
    LeaseRefused,
    LeaseRequest,
    Outcome,
    OutcomeAck,
    Presence,
    TaskResult,
    View,
)
from twinloop.planners.known import Proposal
from twinloop.protocols.interface import Outcome as ProtocolOutcome
from twinloop.protocols.interface import Step, Trial, protocol
from twinloop.wire.arrays import describe
from twinloop.wire.effects import Append, Exit, Send, Sync
from twinloop.wire.envelope import pack

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
            sender, message, *content = self.queue.pop(0)
            self.perform(self.core.receive(sender, message, self.now_s, *content))

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


class Refusing(Bench):
    """An adapter that refuses, as one that is tripped or full does, until told to work."""

    refuses = True

    def execute(self, command, state="done", **fields):
        if self.refuses:
            return super().execute(command, "failed", may_retry=True, reason="spool is full")
        return super().execute(command, state, **fields)


def test_an_adapter_that_refuses_for_a_minute_costs_no_trial():
    bench = _with_worker(Refusing(brief(3)))
    while bench.now_s < 60.0:
        bench.pass_time()
    assert any("spool is full" in reason for reason in bench.core.waiting())
    bench.refuses = False
    finish(bench, turns=300)
    assert len(fold(bench.log).observations) == 3


def test_what_fails_every_trial_pauses_the_campaign_before_it_has_spent_the_budget():
    class Broken(Bench):
        def execute(self, command, _state="done", **fields):
            return super().execute(command, "failed", **{**fields, "reason": "the door is open"})

    bench = _with_worker(Broken(brief(40)))
    bench.pass_time(40)
    state = fold(bench.log)
    assert len(state.ended) == 5
    assert "the door is open" in state.paused
    bench.say("ann", Control(action="resume", person="ann"))
    bench.pass_time(40)
    assert len(fold(bench.log).ended) == 6, "a person looked, one more is tried"
    assert fold(bench.log).paused is not None


def test_no_trial_is_started_while_three_wait_for_a_person():
    class Forgetful(Bench):
        def execute(self, command, _state="done", **fields):
            return super().execute(command, "unknown", **{**fields, "reason": "nobody can tell"})

    bench = _with_worker(Forgetful(brief(40)))
    bench.pass_time(40)
    assert len(fold(bench.log).trials) == 3
    assert any("twinloop decide" in reason for reason in bench.core.waiting())


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_passing_failure_of_an_analyst_costs_no_film(state):
    class Away(Bench):
        is_away = True

        def answer(self, effect):
            if not self.is_away:
                return super().answer(effect)
            reply = TaskResult(
                task=effect.task.task, state=state, reason="no depot", may_retry=state == "failed"
            )
            return self.queue.append(("w", reply))

    bench = _with_worker(Away(brief(1)))
    bench.pass_time(20)
    assert fold(bench.log).ended == ()
    assert any("is tried again" in reason for reason in bench.core.waiting())
    assert len(bench.tasks) < 20, "it backs off"
    bench.is_away = False
    finish(bench, turns=300)
    assert len(fold(bench.log).observations) == 1


def test_a_planner_that_is_passingly_away_is_asked_again_and_then_done_without():
    class Away(Bench):
        def answer(self, effect):
            if effect.task.target != "planner":
                return super().answer(effect)
            reply = TaskResult(
                task=effect.task.task, state="failed", reason="no depot", may_retry=True
            )
            return self.queue.append(("w", reply))

    bench = Away(replace(brief(1), opening=lambda _: None))
    finish(_with_worker(bench), turns=300)
    assert len(fold(bench.log).observations) == 1
    assert len([t for t in bench.tasks if t.target == "planner"]) == 3


@pytest.mark.parametrize(
    ("spoil", "memo", "is_used"),
    [
        ({}, b'{"kept": 1}', True),
        ({"why": {"list": [1, 2]}}, b"{}", False),
        ({"withdrawn": None}, b"{}", False),
        ({}, b"null", False),
    ],
)
def test_a_planner_whose_answer_cannot_be_journalled_is_done_without(spoil, memo, is_used):
    class Odd(Bench):
        def answer(self, effect):
            if effect.task.target != "planner":
                return super().answer(effect)
            result, content = Proposal(x=np.full(2, 0.5)).to_wire()
            content["memo"] = np.frombuffer(memo, np.uint8)
            reply = TaskResult(
                task=effect.task.task,
                state="done",
                result={**result, **spoil},
                arrays=tuple(describe(name, a, inline=True) for name, a in content.items()),
            )
            return self.queue.append(("w", reply, tuple(content.values())))

    bench = finish(_with_worker(Odd(replace(brief(1), opening=lambda _: None))))
    assert bench.exit.code == 0
    proposed = fold(bench.log).proposed[-1]
    assert ("fallback" not in proposed.why) == is_used
    assert proposed.memo == ({"kept": 1} if is_used else {})


def test_a_planner_that_raises_in_its_opening_is_done_without():
    def opening(_known):
        raise ZeroDivisionError("an author's mistake")

    bench = finish(_with_worker(Bench(replace(brief(2), opening=opening))))
    assert bench.exit.code == 0
    assert "an author's mistake" in fold(bench.log).proposed[0].why["fallback"]


def _protocol_with(arguments):
    @protocol(version=1)
    async def odd(trial: Trial[Dough], oven: Oven, ruler: Ruler) -> Bread:
        await oven.load()
        return Bread(height=await ruler.height(**arguments), crust=0.0)

    return odd


def _deep(n):
    return 1.0 if n == 0 else [_deep(n - 1)]


@pytest.mark.parametrize("value", [[0.5] * 9000, _deep(12)])
def test_a_question_that_no_message_holds_fails_its_step_and_not_the_conductor(value):
    bench = _with_worker(Bench(brief(1, protocol=_protocol_with({"peak_K": value}))))
    finish(bench)
    assert bench.exit.code == 0
    assert "ruler.height" in fold(bench.log).ended[0].reason


def test_a_command_that_no_message_holds_fails_its_step_and_is_never_told():
    @protocol(version=1)
    async def odd(trial: Trial[Dough], oven: Oven) -> Bread:
        await Step("act", "oven", "load", {"recipe": "x" * 20000})
        return Bread(height=1.0, crust=0.0)

    bench = finish(_with_worker(Bench(brief(1, protocol=odd))))
    assert bench.exit.code == 0
    assert bench.commands == []
    assert "cannot be sent" in fold(bench.log).ended[0].reason


class Doubtful(ProtocolOutcome):
    height: float | None
    height_sd: float | None = None


@pytest.mark.parametrize(("height", "height_sd"), [(None, None), (1.0, -0.5)])
def test_an_outcome_that_cannot_be_judged_is_a_failed_trial(height, height_sd):
    @protocol(version=1)
    async def odd(trial: Trial[Dough], oven: Oven) -> Doubtful:
        await oven.load()
        return Doubtful(height=height, height_sd=height_sd)

    bench = finish(_with_worker(Bench(brief(2, protocol=odd))))
    assert bench.exit.code == 0
    assert [t.state for t in fold(bench.log).ended] == ["failed", "failed"]
    assert "cannot be judged" in fold(bench.log).ended[0].reason


def test_the_view_fits_a_message_however_much_there_is_to_say():
    bench = Bench(brief(60, parallel=30), acts=False)
    bench.pass_time(3)
    state = bench.core.state
    why = "é" * 1000
    command = next(iter(next(iter(state.trials.values())).open.values()))
    unknown = Settled(key=command.key, instrument="oven", state="unknown", reason=why)
    ended = tuple(
        TrialEnded(trial=f"t{n:04d}", number=0, state="done", y=0.1, outcome={"height": n / 7.0})
        for n in range(300)
    )
    trials = {
        t.id: replace(t, unknown={f"{n}": unknown for n in range(20)})
        for t in state.trials.values()
    }
    bench.core._book.state = replace(state, ended=ended, trials=trials, notes=(why,) * 20)
    bench.core._show("v")
    view = bench.core._book.turn.free[-1].message
    pack(view)
    assert view.content["waiting"]
    assert view.content["values"][-1] == 299 / 7.0


def test_another_protocol_is_noted_and_parks_only_what_does_not_fit():
    first = Bench(brief(3), acts=False)
    first.pass_time()

    @protocol(version=2)
    async def bake_bread(trial: Trial[Dough], oven: Oven, ruler: Ruler) -> Bread:
        await oven.load()
        await trial.release(oven)
        return Bread(height=await ruler.height(peak_K=400.0), crust=0.0)

    again = finish(_with_worker(Bench(brief(3, protocol=bake_bread), first.log)))
    state = fold(again.log)
    assert [t.state for t in state.ended] == ["done", "done", "done"]
    assert any("version 2" in note and "version 1" in note for note in state.notes)
    same = Bench(brief(3, protocol=bake_bread), MemoryLog("other"))
    assert fold(same.log).notes == ()


def test_words_of_others_about_a_lease_or_a_reading_are_ignored():
    bench = Bench(brief(1), acts=False)
    bench.pass_time()
    refused = LeaseRefused(instrument="oven", campaign="bread", reason="go away", epoch=1)
    bench.say("mallory", refused)
    assert bench.core.leases.usable == {"oven"}
    bench.say("bakery", refused)
    assert bench.core.leases.usable == frozenset()


def test_who_holds_an_instrument_and_whose_adapter_is_silent_is_said():
    class Silent(Bench):
        def deliver(self, message):
            if not isinstance(message, LeaseRequest):
                super().deliver(message)

    bench = Silent(brief(1))
    bench.pass_time()
    assert any("bakery does not answer" in reason for reason in bench.core.waiting())
    assert any("trial" in r or "t0000" in r for r in bench.core.waiting())
    bench.say("bakery", LeaseRefused(instrument="oven", campaign="bread",
                                     reason="oven is held by another", holder="bob (cake)"))  # fmt: skip
    assert any("bob (cake)" in reason for reason in bench.core.waiting())


def test_that_nobody_can_compute_is_said():
    bench = Bench(brief(1))
    bench.pass_time(10)
    assert any("no compute agent for ruler" in reason for reason in bench.core.waiting())
    bench.worker()
    assert not any("no compute agent" in reason for reason in bench.core.waiting())
