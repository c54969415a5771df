import pytest

from twinloop.errors import LimitViolation
from twinloop.instruments.interface import OnSilence, Recovery
from twinloop.instruments.mbe import MBE

ACTIONS = MBE.actions()


def test_the_contract_names_its_actions_and_readouts():
    assert set(ACTIONS) >= {"load", "heat", "grow", "anneal", "give"}
    assert set(MBE.readouts()) == {"thermocouple_K", "shutter_is_open", "heater_is_idle"}
    assert MBE.kind == "mbe"


def test_only_loading_brings_a_sample_in_and_only_giving_takes_it_out():
    assert [name for name, method in ACTIONS.items() if method.loads_sample] == ["load"]
    assert [name for name, method in ACTIONS.items() if method.unloads_sample] == ["give"]


def test_a_growth_is_never_repeated_blindly_and_is_finished_in_silence():
    grow = ACTIONS["grow"].spec
    assert grow.recovery is Recovery.RECONCILABLE
    assert grow.on_silence is OnSilence.FINISH


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        ("heat", {"substrate_K": 1001.0}),
        ("heat", {"substrate_K": 299.0}),
        ("grow", {"flux_ML_per_s": 0.009, "dose_ML": 4.0}),
        ("grow", {"flux_ML_per_s": 0.2, "dose_ML": 20.1}),
        ("anneal", {"hold_s": -1.0}),
    ],
)
def test_what_lies_outside_the_types_is_refused(action, arguments):
    with pytest.raises(LimitViolation):
        ACTIONS[action].spec.check(arguments, f"mbe.{action}")


def test_an_implementation_cannot_leave_an_action_out():
    class Half(MBE):
        def connect(self): ...
        def safe_state(self): ...

    with pytest.raises(TypeError, match="abstract"):
        Half()
