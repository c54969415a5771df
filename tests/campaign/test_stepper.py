"""The stepper: recorded results drive a protocol, and re-entry is checked."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.agents.campaign.stepper import Stepper, StepRecord
from twinloop.agents.campaign.testing import Bread, Dough, Oven, Ruler, bake_bread
from twinloop.errors import ArgumentError, LimitViolation, StepFailed, StepPartial, StepUnknown
from twinloop.protocols.interface import ForeignAwait, Trial, protocol, together

ANSWERS = {
    "oven.load": None,
    "oven.bake": {"peak_K": 450.0, "lasted_s": 1800.0},
    "trial.release": ["oven"],
    "ruler.height": 1.0,
    "ruler.crust": 0.5,
}


def trial(bake_K=450.0, bake_s=1800.0):
    return Trial(id="t1", point=Dough(bake_K=bake_K, bake_s=bake_s), sample="s1", seed=3)


def answer(request, *, state="done", result=None, at_s=0.0):
    return StepRecord(
        request.path, request.digest, request.step.name, state, result, (), "because", at_s
    )


def run(protocol_, choose=lambda waiting: waiting[0], the_trial=None):
    """Answer every step, in the order that `choose` picks; return the stepper and the records."""
    stepper, records = Stepper(protocol_, the_trial or trial()), []
    while stepper.progress().waiting:
        request = choose(stepper.progress().waiting)
        record = answer(request, result=ANSWERS[request.step.name], at_s=len(records) + 1.0)
        records.append(record)
        stepper.feed(record)
    return stepper, records


def test_a_protocol_runs_to_its_outcome():
    stepper, records = run(bake_bread)
    assert stepper.progress().outcome == Bread(height=1.0, crust=0.5)
    assert [r.path for r in records] == ["0", "1", "2", "3.0.0", "3.1.0"]


def test_branches_of_together_are_open_at_the_same_time():
    stepper, _ = Stepper(bake_bread, trial()), None
    for _ in range(3):
        request = stepper.progress().waiting[0]
        stepper.feed(answer(request, result=ANSWERS[request.step.name]))
    assert [r.path for r in stepper.progress().waiting] == ["3.0.0", "3.1.0"]


@given(st.integers(0, 5), st.randoms())
def test_a_replay_of_any_prefix_goes_on_like_the_first_run(n_kept, random):
    first, records = run(bake_bread, choose=random.choice)
    again = Stepper(bake_bread, trial())
    for record in records[:n_kept]:
        again.feed(record)
    for record in records[n_kept:]:
        assert record.path in {r.path for r in again.progress().waiting}
        again.feed(record)
    assert again.progress() == first.progress()


def test_a_changed_argument_parks_the_trial():
    _, records = run(bake_bread)
    again = Stepper(bake_bread, trial(bake_K=451.0))
    again.feed(records[0])
    again.feed(records[1])
    progress = again.progress()
    assert progress.is_parked
    assert "oven.bake" in str(progress.error)


def test_a_step_that_is_gone_parks_the_trial():
    @protocol(version=2)
    async def shorter(trial: Trial[Dough], oven: Oven) -> Bread:
        await oven.load()
        return Bread(height=0.0, crust=0.0)

    _, records = run(bake_bread)
    again = Stepper(shorter, trial())
    again.feed(records[0])
    assert again.progress().outcome is not None
    stepper = Stepper(shorter, trial())
    stepper.feed(records[1])
    assert stepper.progress().is_parked


def test_awaiting_anything_else_is_an_error_at_that_line():
    @protocol(version=1)
    async def sleepy(trial: Trial[Dough], oven: Oven) -> Bread:
        await asyncio.sleep(0)
        return Bread(height=0.0, crust=0.0)

    error = Stepper(sleepy, trial()).progress().error
    assert isinstance(error, ForeignAwait)


def test_a_foreign_await_can_be_found_in_the_traceback():
    @protocol(version=1)
    async def sleepy(trial: Trial[Dough], oven: Oven) -> Bread:
        await asyncio.sleep(0)  # this line
        return Bread(height=0.0, crust=0.0)

    error = Stepper(sleepy, trial()).progress().error
    frames = []
    tb = error.__traceback__
    while tb is not None:
        frames.append(tb.tb_frame.f_code.co_name)
        tb = tb.tb_next
    assert "sleepy" in frames


@pytest.mark.parametrize(
    ("state", "error"),
    [("failed", StepFailed), ("partial", StepPartial), ("unknown", StepUnknown)],
)
def test_a_protocol_may_catch_what_became_of_a_step(state, error):
    @protocol(version=1)
    async def careful(trial: Trial[Dough], oven: Oven) -> Bread:
        try:
            await oven.load()
        except error:
            return Bread(height=-1.0, crust=0.0)
        return Bread(height=0.0, crust=0.0)

    stepper = Stepper(careful, trial())
    stepper.feed(answer(stepper.progress().waiting[0], state=state))
    assert stepper.progress().outcome == Bread(height=-1.0, crust=0.0)


def test_an_uncaught_failure_ends_the_trial_with_it():
    stepper = Stepper(bake_bread, trial())
    stepper.feed(answer(stepper.progress().waiting[0], state="failed"))
    assert isinstance(stepper.progress().error, StepFailed)
    assert not stepper.progress().is_parked


def test_limits_are_checked_before_a_step_is_asked_for():
    stepper = Stepper(bake_bread, trial(bake_K=900.0))
    stepper.feed(answer(stepper.progress().waiting[0]))
    assert isinstance(stepper.progress().error, LimitViolation)


def test_the_error_of_an_author_ends_the_trial_and_says_which():
    @protocol(version=1)
    async def broken(trial: Trial[Dough], oven: Oven) -> Bread:
        raise ZeroDivisionError("oops")

    assert "ZeroDivisionError: oops" in str(Stepper(broken, trial()).progress().error)


def test_time_and_random_numbers_are_the_same_after_a_crash():
    seen = []

    @protocol(version=1)
    async def curious(trial: Trial[Dough], oven: Oven) -> Bread:
        await oven.load()
        seen.append((trial.now, trial.rng.random()))
        return Bread(height=0.0, crust=0.0)

    for _ in range(2):
        run(curious)
    assert seen[0] == seen[1]
    assert seen[0][0] == 1.0


def test_the_first_error_of_a_together_comes_after_all_branches_ended():
    @protocol(version=1)
    async def both(trial: Trial[Dough], ruler: Ruler) -> Bread:
        try:
            await together(ruler.height(peak_K=1.0), ruler.crust(lasted_s=1.0))
        except StepFailed as err:
            return Bread(height=-1.0 if "height" in str(err) else -2.0, crust=0.0)
        return Bread(height=0.0, crust=0.0)

    stepper = Stepper(both, trial())
    height, crust = stepper.progress().waiting
    stepper.feed(answer(crust, state="failed"))
    assert stepper.progress().waiting == (height,)
    stepper.feed(answer(height, state="failed"))
    assert stepper.progress().outcome == Bread(height=-1.0, crust=0.0)


@pytest.mark.parametrize("value", [float("nan"), object(), np.zeros(3)])
def test_an_argument_that_cannot_travel_is_an_error_of_the_protocol(value):
    @protocol(version=1)
    async def passes_it_on(trial: Trial[Dough], oven: Oven, ruler: Ruler) -> Bread:
        await oven.load()
        return Bread(height=await ruler.height(peak_K=value), crust=0.0)

    stepper = Stepper(passes_it_on, trial())
    stepper.feed(answer(stepper.progress().waiting[0]))
    assert isinstance(stepper.progress().error, ArgumentError)
    assert "ruler.height" in str(stepper.progress().error)


def test_a_parked_protocol_that_awaits_on_its_way_out_is_let_go():
    @protocol(version=1)
    async def tidies_up(trial: Trial[Dough], oven: Oven) -> Bread:
        try:
            await oven.load()
        finally:
            await oven.load()
        return Bread(height=1.0, crust=0.0)

    stepper = Stepper(tidies_up, trial())
    record = answer(stepper.progress().waiting[0])
    stepper.feed(replace(record, digest="of another version"))
    assert stepper.progress().is_parked


def test_a_result_that_names_an_array_it_did_not_bring_is_partial():
    stepper = Stepper(bake_bread, trial())
    stepper.feed(answer(stepper.progress().waiting[0]))
    request = stepper.progress().waiting[0]
    stepper.feed(answer(request, result={"peak_K": {"$array": "lost"}, "lasted_s": 1.0}))
    assert isinstance(stepper.progress().error, StepPartial)
    assert "'lost'" in str(stepper.progress().error)
