import pytest

from twinloop.errors import ArgumentError, LimitViolation
from twinloop.instruments.interface import Recovery
from twinloop.instruments.stm.interface import STM

ACTIONS = STM.actions()
FRAME = {"width_A": 100.0, "height_A": 100.0}


def test_the_contract_names_its_actions_and_readouts():
    assert set(ACTIONS) == {
        "take", "give", "approach", "retract", "set_feedback", "scan", "spectrum", "spectra",
        "pulse", "manipulate", "move_coarse",
    }  # fmt: skip
    assert {"z_A", "current_nA", "is_approached", "is_retracted", "setpoint_nA"} <= set(
        STM.readouts()
    )
    assert STM.kind == "stm"


def test_moving_an_atom_is_the_only_action_that_a_person_has_to_settle():
    unsafe = [n for n, method in ACTIONS.items() if method.recovery is Recovery.UNSAFE]
    assert unsafe == ["manipulate"]


def test_nothing_scans_before_the_approach_and_no_sample_moves_under_a_near_tip():
    for name in ("scan", "spectrum", "spectra", "pulse", "manipulate"):
        assert ACTIONS[name].interlocks == ("is_approached",)
    for name in ("take", "give", "approach", "move_coarse"):
        assert ACTIONS[name].interlocks == ("is_retracted",)


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        ("scan", FRAME | {"width_A": 5001.0}),
        ("scan", FRAME | {"bias_V": 3.1}),
        ("scan", FRAME | {"line_time_s": 0.001}),
        ("set_feedback", {"setpoint_nA": 6.0, "bias_V": 1.0}),
        ("pulse", {"bias_V": 11.0}),
        (
            "manipulate",
            {"from_x_A": 0.0, "from_y_A": 0.0, "to_x_A": 1.0, "to_y_A": 0.0, "bias_V": 0.5},
        ),
    ],
)
def test_what_lies_outside_the_types_is_refused(action, arguments):
    with pytest.raises(LimitViolation):
        ACTIONS[action].spec.check(arguments, f"stm.{action}")


@pytest.mark.parametrize(
    "arguments", [{"mode": "constant_tip"}, {"pixels_x": 2048}, {"pixels_y": 3}, {"slow_axis": 1}]
)
def test_words_and_pixels_are_checked_as_well(arguments):
    with pytest.raises(ArgumentError):
        ACTIONS["scan"].spec.check(FRAME | arguments, "stm.scan")
