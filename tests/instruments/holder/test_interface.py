"""What instruments that hold a sample share: take brings one in, give lets it out, both by key."""

import pytest

from twinloop.errors import ArgumentError
from twinloop.instruments.holder import SampleHolder
from twinloop.instruments.interface import Instrument, OnSilence, Recovery

ACTIONS = SampleHolder.actions()


def test_it_takes_and_gives_and_nothing_else():
    assert set(ACTIONS) == {"take", "give"}
    assert SampleHolder.readouts() == {}


def test_a_take_brings_a_sample_in_and_a_give_lets_it_out():
    moves = {name: (m.spec.loads_sample, m.spec.unloads_sample) for name, m in ACTIONS.items()}
    assert moves == {"take": (True, False), "give": (False, True)}
    assert all(method.spec.moves_sample for method in ACTIONS.values())


@pytest.mark.parametrize("name", ["take", "give"])
def test_a_move_is_never_repeated_blindly_and_is_finished_in_silence(name):
    assert ACTIONS[name].spec.recovery is Recovery.RECONCILABLE
    assert ACTIONS[name].spec.on_silence is OnSilence.FINISH


@pytest.mark.parametrize("name", ["take", "give"])
def test_the_sample_is_that_of_the_command_and_no_argument(name):
    assert ACTIONS[name].spec.check({}, name) == {}
    with pytest.raises(ArgumentError, match=f"{name}.sample"):
        ACTIONS[name].spec.check({"sample": "s1"}, name)


@pytest.mark.parametrize("missing", ["take", "give"])
def test_an_implementation_cannot_leave_one_out(missing):
    async def move(self):
        """Do it."""

    there = {name: ACTIONS[name].implement(move) for name in ACTIONS if name != missing}
    plain = {"connect": Instrument.disconnect, "safe_state": Instrument.disconnect}
    half = type("Half", (SampleHolder,), {**there, **plain, "__module__": __name__})
    with pytest.raises(TypeError, match=missing):
        half()


def test_an_implementation_inherits_what_the_contract_says_of_the_sample():
    class Stage(SampleHolder, kind="stage"):
        @SampleHolder.take.implement
        async def take(self):
            """Take it."""

        @SampleHolder.give.implement
        async def give(self):
            """Give it."""

        def connect(self): ...
        def safe_state(self): ...

    actions = Stage.actions()
    assert actions["take"].spec.loads_sample
    assert actions["give"].spec.unloads_sample
    assert actions["give"].spec.recovery is Recovery.RECONCILABLE
    assert Stage().kind == "stage"


def test_the_schema_says_which_action_lets_the_sample_out():
    described = SampleHolder.describe()["actions"]
    assert described["give"]["unloads_sample"] is True
    # the digest of contracts that let nothing out is what it was
    assert "unloads_sample" not in described["take"]
