"""A twin with a stage: recipes, aborts, safe states, deaths, faults, samples on their way."""

import asyncio
import contextlib
import errno
import itertools
import json
import os
import threading
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import Field

from twinloop.clocks import VirtualClock
from twinloop.errors import ArgumentError
from twinloop.instruments.holder.interface import SampleHolder
from twinloop.instruments.interface import (
    Done,
    NotDone,
    NotTouched,
    OnSilence,
    Partial,
    Recovery,
    Running,
    Unknown,
    action,
    readout,
)
from twinloop.instruments.rules import rules_of
from twinloop.instruments.standin import stage_twin
from twinloop.instruments.standin import vessel as vessels
from twinloop.instruments.standin.stage_twin import Recipe, StageRun, StageTwin, TwinFault
from twinloop.instruments.standin.testing import command_for
from twinloop.instruments.standin.testing_disk import Killed, MortalDisk
from twinloop.instruments.standin.twin import OperationCut
from twinloop.instruments.standin.vessel import Vessel
from twinloop.log import durable
from twinloop.results import Array, Result
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.specimen import Specimen

SLICE_S = 2.0
Points = Annotated[int, Field(ge=1, le=100)]


class Trace(Result):
    counts: Array
    points: int


class Probe(SampleHolder, kind="probe"):
    """An instrument that counts, and may burn a hole."""

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH)
    async def measure(self, *, points: Points, mode: Literal["fast", "slow"] = "fast") -> Trace:
        """Count at each point."""
        raise NotImplementedError

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.SAFE_STATE)
    async def burn(self, *, points: Points) -> None:
        """Burn holes, for good."""
        raise NotImplementedError


class ProbeTwin(StageTwin, Probe):
    """Counts at random around the electrons that the sample has had."""

    FAULTS = ("dark", "bent")

    def first_state(self):
        return {"beam": "off", "offset": float(np.random.default_rng(self.seed).normal())}

    def stock(self, sample):
        if self.specimen != "grid":
            raise ArgumentError("specimen", self.specimen, "grid")
        return Specimen(sample, self.seed, FilmStructure.flat(4))

    def on_mounted(self, specimen):
        return specimen.with_event("mounted", self.kind, specimen.history[-1].key)

    def on_safe_state(self):
        self.state["beam"] = "off"

    @Probe.measure.implement
    async def measure(self, *, points, mode="fast"):
        return _trace(await self.perform("measure", self._measure, points=points, mode=mode))

    @Probe.burn.implement
    async def burn(self, *, points):
        await self.perform("burn", self._burn, points=points)

    @measure.reconcile
    async def what_was_measured(self, command):
        return self.verdict_of(command, _trace)

    @burn.reconcile
    async def what_was_burnt(self, command):
        return self.verdict_of(command, lambda _: None)

    def _measure(self, run: StageRun, *, points: int, mode: str) -> Recipe:
        self.on_stage()
        rng = self.random("measure")
        self.state["beam"] = "on"
        counts = []
        for n in range(points):
            counts.append(0 if self.has_fault("dark") else int(rng.poisson(1000)))
            run.numbers = {"points": n + 1}
            yield SLICE_S if mode == "fast" else 1000.0
        if self.has_fault("bent"):
            raise ZeroDivisionError("the arm")
        run.arrays = {"counts": np.array(counts)}

    def _burn(self, run: StageRun, *, points: int) -> Recipe:
        self.state["beam"] = "on"
        for n in range(points):
            yield SLICE_S
            run.is_touched = True
            run.numbers = {"holes": n + 1.0}
            dose = self.on_stage().dose_e_per_A2 + 1.0
            self.change(self.on_stage().with_event("burn", self.kind, run.key))
            object.__setattr__(self._specimen, "dose_e_per_A2", dose)
            if self.has_fault("bent"):
                raise NotTouched("the shutter was shut, I believe")


def _trace(progress):
    return Trace(counts=progress.arrays["counts"], points=int(progress.numbers["points"]))


class Place:
    """A folder with twins, of which each life is an object of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, VirtualClock()
        self.open: list[ProbeTwin] = []

    def twin(self, name="stm", **settings) -> ProbeTwin:
        given = {"folder": str(self.folder / name), "vessel": str(self.folder / "vessel")}
        twin = ProbeTwin(**(given | settings))
        twin.attach(self.clock)
        twin.connect()
        self.open.append(twin)
        return twin

    @property
    def vessel(self) -> Vessel:
        return Vessel(self.folder / "vessel")

    def close(self):
        for twin in self.open:
            twin.disconnect()


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    """These tests do not cut the power; those that do bring a disk of their own."""
    monkeypatch.setattr(durable, "sync_file", lambda _: None)


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def stm(place):
    return loaded(place.twin(specimen="grid"))


def loaded(twin, sample="s1"):
    do(twin, "take", sample)
    return twin


def do(twin, name, sample="s1", **arguments):
    return obey(twin, command_for(twin, name, sample, **arguments))


def obey(twin, command):
    return asyncio.run(_obey(twin, command))


async def _obey(twin, command):
    twin.begin(command)
    return await getattr(twin, command.action)(**command.arguments)


def verdict_of(twin, command):
    reconciler = type(twin).actions()[command.action].reconciler
    return asyncio.run(reconciler(twin, command))


def interrupted(twin, command, *, after_slices, how):
    """Run a command; after so many slices, do `how` with the task; return what came of it."""

    async def play():
        task = asyncio.create_task(_obey(twin, command))
        due_s = twin.clock.now_s() + after_slices * SLICE_S
        while twin.clock.now_s() < due_s:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0)
        how(task)
        return await task

    return asyncio.run(play())


def abort(task):
    task.cancel()


def events(specimen):
    return [event.what for event in specimen.history]


# --- runs ---------------------------------------------------------------------------------------


def test_a_recipe_lasts_as_long_as_its_slices_and_returns_what_it_measured(place, stm):
    began_s = place.clock.now_s()
    trace = do(stm, "measure", points=3)
    assert place.clock.now_s() - began_s == 3 * SLICE_S
    assert trace.points == 3
    assert trace.counts.shape == (3,)


def test_a_key_is_performed_once_and_answered_for_ever(place, stm):
    command = command_for(stm, "measure", "s1", points=3)
    first = obey(stm, command)
    for life in (stm, place.twin()):
        began_s = place.clock.now_s()
        np.testing.assert_array_equal(obey(life, command).counts, first.counts)
        assert place.clock.now_s() == began_s
        found = verdict_of(life, command)
        assert isinstance(found, Done)
        np.testing.assert_array_equal(found.result.counts, first.counts)
    assert stm.truth()["runs"] == 1


def test_a_key_that_was_never_begun_is_not_done(stm):
    assert isinstance(verdict_of(stm, command_for(stm, "measure", "s1", points=1)), NotDone)


def test_without_a_sample_nothing_is_measured(place):
    twin = place.twin()
    command = command_for(twin, "measure", "s1", points=1)
    with pytest.raises(NotTouched, match="no sample is on the stage"):
        obey(twin, command)
    assert isinstance(verdict_of(twin, command), NotDone)
    with pytest.raises(NotTouched, match="no sample"):
        obey(twin, command)


def test_while_it_runs_it_says_so(stm):
    command = command_for(stm, "measure", "s1", points=5)
    seen = []

    async def play():
        task = asyncio.create_task(_obey(stm, command))
        while stm.clock.now_s() < 302.0:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0)
        seen.append(stm.verdict_of(command, _trace))
        await task

    asyncio.run(play())
    assert isinstance(seen[0], Running)
    assert not stm.is_busy()


def test_a_recipe_that_breaks_leaves_its_reason_to_whoever_asks(place, stm):
    stm.inject("bent")
    command = command_for(stm, "measure", "s1", points=1)
    with pytest.raises(ZeroDivisionError):
        obey(stm, command)
    for life in (stm, place.twin()):
        found = verdict_of(life, command)
        assert isinstance(found, Unknown)
        assert "ZeroDivisionError: the arm" in found.reason


def test_who_has_touched_something_cannot_say_that_nothing_has_happened(stm):
    stm.inject("bent")
    command = command_for(stm, "burn", "s1", points=3)
    with pytest.raises(OperationCut, match="the shutter was shut"):
        obey(stm, command)
    assert verdict_of(stm, command).what == {"holes": 1.0}


def test_readouts_are_answered_while_a_slice_is_computed(stm):
    answered, command = threading.Event(), command_for(stm, "measure", "s1", points=1)

    def slow(run):
        run.numbers = {"answered": float(answered.wait(10.0))}
        yield 0.0

    async def play():
        stm.begin(command)
        task = asyncio.create_task(stm.perform("measure", slow))
        await asyncio.sleep(0)
        answered.set()
        return await task

    assert asyncio.run(play()).numbers == {"answered": 1.0}


# --- aborts and safe states ---------------------------------------------------------------------


def test_an_abort_before_anything_has_happened_is_not_done(stm):
    command = command_for(stm, "measure", "s1", points=9)
    with pytest.raises(asyncio.CancelledError):
        interrupted(stm, command, after_slices=4, how=abort)
    assert isinstance(verdict_of(stm, command), NotDone)


def test_an_abort_waits_for_the_slice_that_is_being_computed(stm):
    """What the slice does last is part of what happened."""
    begun, asked = threading.Event(), threading.Event()
    command = command_for(stm, "burn", "s1", points=1)

    def slow(run):
        begun.set()
        assert asked.wait(10.0)
        run.is_touched, run.numbers = True, {"holes": 1.0}
        yield 0.0

    async def play():
        stm.begin(command)
        task = asyncio.create_task(stm.perform("burn", slow))
        await asyncio.to_thread(begun.wait, 10.0)
        task.cancel()
        asyncio.get_running_loop().call_soon(task.cancel)  # and once more, by an impatient person
        asyncio.get_running_loop().call_later(0.05, asked.set)
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(play())
    assert verdict_of(stm, command).what == {"holes": 1.0}


def test_an_abort_in_the_middle_is_partial_and_says_how_far_it_came(place, stm):
    command = command_for(stm, "burn", "s1", points=9)
    with pytest.raises(asyncio.CancelledError):
        interrupted(stm, command, after_slices=4, how=abort)
    for life in (stm, place.twin()):
        found = verdict_of(life, command)
        assert isinstance(found, Partial)
        # the fourth was under way
        assert found.what == {"holes": 3.0}
        assert events(life.on_stage()).count("burn") == 3
        assert life.on_stage().dose_e_per_A2 == 3.0
        with pytest.raises(OperationCut, match="aborted"):
            obey(life, command)


@pytest.mark.parametrize("process", ["own", "watchdog"])
def test_a_safe_state_cuts_a_run_in_whichever_process_it_is_asked_for(place, stm, process):
    asked = stm if process == "own" else place.twin()
    command = command_for(stm, "burn", "s1", points=9)
    with pytest.raises(OperationCut, match="a safe state"):
        interrupted(stm, command, after_slices=3, how=lambda _: asked.safe_state())
    kept = json.loads((stm.home / "state.json").read_text("utf-8"))
    assert kept["state"]["beam"] == "off"
    assert stm.state["beam"] == "off"
    assert isinstance(verdict_of(stm, command), Partial)
    # it is held, not broken
    assert do(stm, "measure", points=2).points == 2
    assert place.twin().state["beam"] == "on"


def test_a_run_that_touched_nothing_is_not_done_after_a_safe_state(stm):
    command = command_for(stm, "measure", "s1", points=9)
    with pytest.raises(NotTouched, match="a safe state"):
        interrupted(stm, command, after_slices=3, how=lambda _: stm.safe_state())
    assert isinstance(verdict_of(stm, command), NotDone)


def test_a_watchdog_makes_an_idle_instrument_safe(place, stm):
    do(stm, "measure", points=1)
    assert stm.state["beam"] == "on"
    place.twin().safe_state()
    assert stm.state["beam"] == "off"


def test_a_watchdog_makes_safe_what_a_dead_process_has_left(place, stm):
    do(stm, "measure", points=1)
    watchdog = place.twin()
    watchdog.safe_state()
    assert place.twin().state["beam"] == "off"
    # and once: what is switched on afterwards stays so
    after = place.twin()
    do(after, "measure", points=1)
    assert place.twin().state["beam"] == "on"


def test_a_safe_state_that_follows_an_abort_is_reached(stm):
    command = command_for(stm, "measure", "s1", points=9)

    def both(task):
        stm.safe_state()
        task.cancel()

    with pytest.raises((asyncio.CancelledError, NotTouched)):
        interrupted(stm, command, after_slices=3, how=both)
    assert stm.state["beam"] == "off"


class SlowClock(VirtualClock):
    """One real second is 10 laboratory seconds."""

    factor = 10.0


def test_a_safe_state_does_not_wait_for_a_long_slice(place):
    place.clock = SlowClock()
    stm = loaded(place.twin(specimen="grid"))
    began_s = place.clock.now_s()
    command = command_for(stm, "measure", "s1", points=1, mode="slow")
    watchdog = place.twin()
    with pytest.raises(NotTouched, match="a safe state"):
        interrupted(stm, command, after_slices=20, how=lambda _: watchdog.safe_state())
    # asked after 40 s of a slice of 1000 s; half a real second is 5 laboratory seconds
    assert place.clock.now_s() - began_s <= 40 + 2 * stage_twin.LOOK_REAL_S * SlowClock.factor


def test_a_slice_lasts_what_it_says_on_every_clock(place):
    place.clock = SlowClock()
    stm = loaded(place.twin(specimen="grid"))
    began_s = place.clock.now_s()
    do(stm, "measure", points=1, mode="slow")
    assert place.clock.now_s() - began_s == pytest.approx(1000.0)


# --- deaths -------------------------------------------------------------------------------------


def test_a_process_that_is_killed_leaves_the_same_instrument(place, stm):
    do(stm, "burn", points=2)
    stm.state["offset"] = 3.25
    stm.inject("dark")
    do(stm, "measure", points=1)
    again = place.twin()
    assert again.state == stm.state
    assert again.state["offset"] == 3.25
    assert again.has_fault("dark")
    assert again.truth()["runs"] == 2
    assert again.on_stage().history == stm.on_stage().history


def test_what_a_killed_run_has_done_is_partial(place, stm):
    command = command_for(stm, "measure", "s1", points=9)
    after = []

    def kill(_):
        # another life looks at the folder while nothing of this one is closed
        after.append(verdict_of_now(place.twin(), command))

    interrupted(stm, command, after_slices=3, how=kill)
    assert isinstance(after[0], Partial)


def verdict_of_now(twin, command):
    return twin.verdict_of(command, _trace)


def test_the_next_life_draws_the_numbers_that_this_one_would_have(place, stm):
    do(stm, "measure", points=4)
    second = place.twin()
    here = do(second, "measure", points=4).counts
    other = Place(place.folder / "other")
    twin = loaded(other.twin(specimen="grid"))
    do(twin, "measure", points=4)
    np.testing.assert_array_equal(do(twin, "measure", points=4).counts, here)
    other.close()


# --- random numbers -----------------------------------------------------------------------------


def counts_of(place, name, *, seed=0, sample="s1", runs=1):
    twin = loaded(place.twin(name, specimen="grid", seed=seed), sample)
    return [do(twin, "measure", sample, points=6).counts.tolist() for _ in range(runs)]


def test_random_numbers_do_not_know_the_time(place, monkeypatch):
    first = counts_of(place, "a", runs=2)
    place.clock.advance(12_345.0)
    for clock in ("time", "monotonic", "perf_counter"):
        plain = getattr(time, clock)
        monkeypatch.setattr(time, clock, lambda plain=plain: plain() + 9e4)
    assert counts_of(place, "b", runs=2) == first


def test_random_numbers_depend_on_seed_sample_and_how_often_they_were_asked_for(place):
    (one, two) = counts_of(place, "a", runs=2)
    assert one != two
    assert counts_of(place, "b", seed=1)[0] != one
    assert counts_of(place, "c", sample="s2")[0] != one


# --- faults -------------------------------------------------------------------------------------


def test_a_fault_that_it_does_not_have_is_refused_by_name(stm):
    with pytest.raises(ArgumentError, match=r"fault of probe.*'on_fire'.*dark.*bent"):
        stm.inject("on_fire")
    with pytest.raises(ArgumentError, match="on_fire"):
        ProbeTwin(faults=(TwinFault(name="on_fire", run=1),)).connect()


def test_a_fault_may_be_there_before_the_first_run(place):
    twin = place.twin(specimen="grid")
    twin.inject("dark")
    assert twin.has_fault("dark")
    loaded(twin)
    assert do(twin, "measure", points=2).counts.tolist() == [0, 0]
    twin.repair("dark")
    assert min(do(twin, "measure", points=2).counts) > 0


def test_a_planned_fault_comes_at_its_run_and_stays_in_later_lives(place):
    planned = {"specimen": "grid", "faults": [{"name": "dark", "run": 2}]}
    twin = loaded(place.twin(**planned))
    assert do(twin, "measure", points=1).counts[0] > 0
    second = place.twin(**planned)
    assert second.truth()["faults"] == []
    assert do(second, "measure", points=1).counts[0] == 0
    assert place.twin(**planned).truth()["faults"] == ["dark"]


# --- take and give ------------------------------------------------------------------------------


def test_a_sample_goes_from_one_twin_to_another_with_its_history(place, stm):
    do(stm, "burn", points=2)
    do(stm, "give")
    assert place.vessel.held() == ["s1"]
    stem = place.twin("stem")
    began_s = place.clock.now_s()
    do(stem, "take")
    assert place.clock.now_s() - began_s == StageTwin.TAKE_S
    assert stm.truth()["specimen"] is None
    expected = ["take", "mounted", "burn", "burn", "give", "take", "mounted"]
    assert events(stem.on_stage()) == expected
    assert stem.on_stage().dose_e_per_A2 == 2.0
    assert events(place.twin("stem").on_stage()) == expected


def test_a_taken_sample_is_not_taken_twice(place, stm):
    do(stm, "give")
    loaded(place.twin("stem"))
    with pytest.raises(NotTouched, match="holds nothing"):
        do(place.twin("xrd"), "take")


def test_what_a_failed_trial_has_left_on_the_stage_goes_into_the_vessel_first(place, stm):
    began_s = place.clock.now_s()
    do(stm, "take", "s2")
    assert place.clock.now_s() - began_s == StageTwin.GIVE_S + StageTwin.TAKE_S
    assert (stm.on_stage().name, place.vessel.held()) == ("s2", ["s1"])
    assert events(loaded(place.twin("stem")).on_stage())[-3:] == ["give", "take", "mounted"]


@pytest.mark.parametrize("has_vessel", [True, False], ids=["vessel", "autoloader"])
def test_who_dies_after_putting_back_says_that_the_old_sample_has_left(
    place, monkeypatch, has_vessel
):
    """Told that nothing happened, the ledger would go on naming a sample that is not there."""
    vessel = str(place.folder / "vessel") if has_vessel else None
    twin = loaded(place.twin(specimen="grid", vessel=vessel))
    command = command_for(twin, "take", "s2")

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(type(twin), "stock", die)
        patch.setattr(type(twin), "_close", die)  # nothing is written by who is dead
        with pytest.raises(Killed):
            obey(twin, command)
    after = place.twin(specimen="grid", vessel=vessel)
    assert verdict_of(after, command).what == {"put_back": 1.0, "taken": 0.0}
    assert after.truth()["specimen"] is None
    assert place.vessel.held() == (["s1"] if has_vessel else [])
    do(after, "take", "s3")
    assert after.on_stage().name == "s3"
    assert isinstance(verdict_of(after, command), Partial), "what was found out once stands"
    assert isinstance(verdict_of(place.twin(vessel=vessel), command), Partial)


@pytest.mark.parametrize("has_vessel", [True, False], ids=["vessel", "autoloader"])
@pytest.mark.parametrize("is_behind", [True, False], ids=["behind", "before"])
def test_a_take_is_partial_from_the_put_back_on(place, has_vessel, is_behind):
    vessel = str(place.folder / "vessel") if has_vessel else None
    twin = loaded(place.twin(specimen="grid", vessel=vessel))
    command = command_for(twin, "take", "s2")
    slices = StageTwin.GIVE_S / SLICE_S * (1.5 if is_behind else 0.1)
    with pytest.raises(asyncio.CancelledError):
        interrupted(twin, command, after_slices=slices, how=abort)
    found = verdict_of(twin, command)
    if is_behind:
        assert found.what == {"put_back": 1.0, "taken": 0.0}
        assert twin.truth()["specimen"] is None
    else:
        assert isinstance(found, NotDone)
        assert twin.on_stage().name == "s1"


def test_who_dies_before_the_autoloader_has_put_back_has_its_sample(place, monkeypatch):
    twin = loaded(place.twin(specimen="grid", vessel=None))
    command = command_for(twin, "take", "s2")

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        patch.setattr(type(twin), "_close", die)
        with pytest.raises(Killed):
            obey(twin, command)
    after = place.twin(specimen="grid", vessel=None)
    assert isinstance(verdict_of(after, command), NotDone)
    assert after.on_stage().name == "s1"


def test_what_is_not_there_is_refused_and_the_stage_stays_as_it_is(place):
    twin = place.twin("xrd")
    place.vessel  # noqa: B018 - made at first use
    command = command_for(twin, "take", "s2")
    with pytest.raises(NotTouched, match="holds nothing"):
        obey(twin, command)
    assert isinstance(verdict_of(twin, command), NotDone)


def test_a_take_that_was_refused_has_not_happened_though_its_sample_is_there_later(place, stm):
    other = place.twin("xrd")
    command = command_for(other, "take", "s1")
    with pytest.raises(NotTouched):
        obey(other, command)
    do(stm, "give")
    loaded(other, "s1")
    for life in (other, place.twin("xrd")):
        assert isinstance(verdict_of(life, command), NotDone)


def test_a_ledger_that_was_lost_learns_of_the_sample_on_the_stage(place, stm):
    """It believes that the stage is empty: it refuses a give, and the stage takes no other sample."""
    began_s, before = place.clock.now_s(), stm.on_stage().history
    command = command_for(stm, "take", "s1")
    obey(stm, command)
    assert isinstance(verdict_of(stm, command), Done)
    assert stm.on_stage().history == before
    assert place.clock.now_s() == began_s
    do(stm, "give")
    assert place.vessel.held() == ["s1"]


def test_who_is_at_another_vessel_now_does_not_claim_to_know(place, stm, monkeypatch):
    command = command_for(stm, "give", "s1")

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(stm._book, "end", die)
        with pytest.raises(Killed):
            obey(stm, command)
    moved = place.twin(vessel=str(place.folder / "another"))
    assert isinstance(verdict_of(moved, command), Unknown)
    assert isinstance(verdict_of(place.twin(), command), Done)
    # and what has been found out once stands
    assert isinstance(verdict_of(moved, command), Done)


def test_an_empty_stage_gives_nothing(place):
    command = command_for(place.twin(), "give", "s1")
    with pytest.raises(NotTouched, match="no sample is on the stage"):
        obey(place.open[0], command)


def test_without_a_vessel_nothing_is_given(place):
    twin = loaded(place.twin(specimen="grid", vessel=None))
    with pytest.raises(NotTouched, match="no transfer vessel is at this instrument"):
        do(twin, "give")
    assert twin.on_stage().name == "s1"


def test_a_give_that_a_full_vessel_refuses_leaves_no_trace_in_the_history(place, stm, monkeypatch):
    monkeypatch.setattr(vessels, "CAPACITY", 0)
    before = stm.on_stage().history
    command = command_for(stm, "give", "s1")
    with pytest.raises(NotTouched, match="0 at most"):
        obey(stm, command)
    assert isinstance(verdict_of(stm, command), NotDone)
    assert stm.on_stage().history == before
    assert place.twin().on_stage().history == before


@pytest.mark.parametrize("name", ["take", "give"])
def test_a_move_that_is_aborted_while_it_lasts_has_not_happened(place, stm, name):
    if name == "take":
        do(stm, "give")
    command = command_for(stm, name, "s1")
    with pytest.raises(asyncio.CancelledError):
        interrupted(stm, command, after_slices=0.1, how=abort)
    assert isinstance(verdict_of(stm, command), NotDone)
    assert place.vessel.held() == (["s1"] if name == "take" else [])
    do(stm, name)
    assert place.vessel.held() == ([] if name == "take" else ["s1"])


def test_a_sample_that_somebody_else_takes_meanwhile_is_not_made_up(place, stm):
    do(stm, "give")
    late, early = place.twin("late"), place.twin("early")

    def overtake(_):
        early.begin(command_for(early, "take", "s1"))
        early._open()
        place.vessel.take("c/early/1", "s1", early._stage)

    with pytest.raises(NotTouched, match="holds nothing"):
        interrupted(late, command_for(late, "take", "s1"), after_slices=0.1, how=overtake)
    assert late.truth()["specimen"] is None


def test_a_sample_stays_itself(stm):
    with pytest.raises(ArgumentError, match="s1, which is on the stage"):
        stm.change(Specimen("s2", 1, FilmStructure.flat(4)))
    do(stm, "give")
    with pytest.raises(NotTouched, match="no sample"):
        stm.change(Specimen("s1", 1, FilmStructure.flat(4)))


# --- the autoloader -----------------------------------------------------------------------------


def test_an_autoloader_mounts_what_the_vessel_does_not_hold(stm):
    assert stm.on_stage().name == "s1"
    assert events(stm.on_stage()) == ["take", "mounted"]


def test_an_autoloader_leaves_what_the_vessel_holds_to_the_vessel(place, stm):
    do(stm, "burn", points=1)
    do(stm, "give")
    stem = loaded(place.twin("stem", specimen="grid"))
    assert stem.on_stage().dose_e_per_A2 == 1.0
    assert place.vessel.held() == []


def test_an_autoloader_without_that_sort_says_so(place):
    with pytest.raises(ArgumentError, match="'gold'"):
        do(place.twin(specimen="gold"), "take")


def test_what_an_autoloader_mounted_is_known_by_key_when_it_has_gone(place, stm):
    """The verdict of a take that died at its end must not change with where the sample is now."""
    with pytest.MonkeyPatch.context() as patch:
        disk = MortalDisk(patch, vessels)
        seen = set()
        for operation in itertools.count():
            name = f"x{operation}"
            twin = place.twin(name, specimen="grid")
            command = command_for(twin, "take", name)
            disk.die_at(operation)
            with contextlib.suppress(Killed):
                obey(twin, command)
            has_died = disk.live_again()
            after = place.twin(name, specimen="grid")
            found = verdict_of(after, command)
            is_there = after.truth()["specimen"] is not None
            assert isinstance(found, Done if is_there else NotDone), operation
            seen.add(is_there)
            if is_there:
                do(after, "give", name)
                assert isinstance(verdict_of(after, command), Done)
                assert isinstance(verdict_of(place.twin(name), command), Done)
            if not has_died:
                break
    assert seen == {True, False}


# --- every point at which a move may die --------------------------------------------------------


@pytest.mark.parametrize("has_power_cut", [False, True], ids=["killed", "power"])
@pytest.mark.parametrize("name", ["take", "give"])
def test_who_dies_in_a_move_finds_the_sample_at_one_place_and_knows_whether_it_moved(
    place, monkeypatch, name, has_power_cut
):
    disk, seen = MortalDisk(monkeypatch, vessels), set()
    for operation in itertools.count():
        home = Place(place.folder / str(operation))
        source = loaded(home.twin("a", specimen="grid"))
        if name == "take":
            do(source, "give")
        mover = home.twin("b") if name == "take" else home.twin("a")
        command = command_for(mover, name, "s1")
        obey_until(disk, mover, command, operation, has_power_cut=has_power_cut)
        has_died = disk.live_again()
        after = home.twin("b" if name == "take" else "a")
        has_moved = isinstance(verdict_of(after, command), Done)
        seen.add(has_moved)
        on_stage = after.truth()["specimen"] is not None
        is_held = home.vessel.held() == ["s1"]
        assert on_stage is not is_held
        assert has_moved is (on_stage if name == "take" else is_held), operation
        assert home.vessel.has_happened(str(command.key)) is has_moved
        if not has_moved:
            do(after, name)
        # history says what happened, no more and no less
        do(after, "give") if name == "take" else None
        last = loaded(home.twin("c"))
        once = ["take", "mounted", "give"]
        assert events(last.on_stage()) == once * (2 if name == "take" else 1) + once[:2]
        assert isinstance(verdict_of(after, command), Done if has_moved else NotDone)
        home.close()
        if not has_died:
            assert has_moved
            break
    assert seen == {True, False}


def obey_until(disk, twin, command, operation, *, has_power_cut):
    disk.die_at(operation, has_power_cut=has_power_cut)
    with contextlib.suppress(Killed):
        obey(twin, command)


def test_a_disk_that_refuses_in_the_middle_of_a_take_leaves_no_twin_in_error(
    place, stm, monkeypatch
):
    do(stm, "give")
    stem = place.twin("stem")
    stem.truth()
    command = command_for(stem, "take", "s1")
    write = vessels.write_whole

    def full(path, data):
        if b'"taken"' in bytes(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(vessels, "write_whole", full)
        with pytest.raises(OSError, match="No space"):
            obey(stem, command)
    assert isinstance(verdict_of(stem, command), Done)
    assert events(stem.on_stage())[-2:] == ["take", "mounted"]
    do(stem, "give")
    assert place.vessel.held() == ["s1"]


# --- folders ------------------------------------------------------------------------------------


def test_a_twin_that_is_not_connected_says_so():
    with pytest.raises(ArgumentError, match="connect"):
        _ = ProbeTwin().home


def test_without_a_folder_it_lives_beside_the_vessel_and_goes_with_its_process(place):
    """The system's temporary folder may lie on another disk, from which no sample can be moved."""
    twin = loaded(place.twin(folder=None, specimen="grid"))
    assert (place.folder / "vessel").resolve() in twin.home.parents
    do(twin, "give")
    home = twin.home
    twin.disconnect()
    assert not home.exists()
    assert place.vessel.held() == ["s1"]


def test_a_vessel_on_another_disk_is_refused_when_it_connects(place, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ArgumentError, match=r"vessel.*file system of.*cross-device"):
        place.twin()


def test_it_stays_where_it_is_when_the_process_goes_elsewhere(place, monkeypatch):
    monkeypatch.chdir(place.folder)
    twin = loaded(place.twin(folder="stm", vessel="vessel", specimen="grid"))
    (place.folder / "elsewhere").mkdir()
    monkeypatch.chdir(place.folder / "elsewhere")
    do(twin, "measure", points=1)
    assert place.twin().on_stage().name == "s1"
    assert list((place.folder / "elsewhere").iterdir()) == []


# --- the contract -------------------------------------------------------------------------------


def test_the_adapter_accepts_it():
    rules = rules_of(ProbeTwin)
    assert rules.is_twin
    assert rules.kind == "probe"
    assert rules.actions["take"].spec.loads_sample
    assert rules.actions["give"].spec.unloads_sample
    assert all(rules.actions[name].has_reconcile for name in ("take", "give", "measure"))


class Guarded(SampleHolder, kind="guarded"):
    """A contract that lets a sample in only where it is safe."""

    @readout
    async def is_back(self) -> bool:
        """Return True."""
        return True

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        interlocks=("is_back",),
        loads_sample=True,
    )
    async def take(self) -> None:
        """Take it."""


def test_an_interlock_of_the_contract_cannot_be_lost_on_the_way():
    with pytest.raises(ArgumentError, match=r"interlocks.*is_back.*@Guarded.take.implement"):

        class Careless(StageTwin, Guarded):
            """Inherits `take` of every twin with a stage, which knows of no interlock."""

    class Careful(StageTwin, Guarded):
        """Says it again."""

        @Guarded.take.implement
        async def take(self):
            await self.perform("take", self._take)

        @take.reconcile
        async def what_was_taken(self, command):
            return self.verdict_of(command, lambda _: None)

    assert Careful.actions()["take"].interlocks == ("is_back",)
