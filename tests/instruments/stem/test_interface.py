import pytest

from twinloop.errors import ArgumentError, LimitViolation
from twinloop.instruments.interface import OnSilence, Recovery
from twinloop.instruments.stem import STEM

ACTIONS = STEM.actions()


def check(action, **arguments):
    return ACTIONS[action].spec.check(arguments, f"stem.{action}")


def test_the_contract_names_its_actions_and_readouts():
    assert set(ACTIONS) == {
        "take",
        "give",
        "set_optics",
        "scan",
        "diffract",
        "spectrum",
        "move_stage",
        "blank",
    }
    assert set(STEM.readouts()) == {
        "beam_is_blanked",
        "stage_is_still",
        "defocus_A",
        "stage_x_A",
        "stage_y_A",
        "current_nA",
        "energy_keV",
        "sample_dose_e_per_A2",
    }
    assert STEM.kind == "stem"


def test_what_gives_dose_is_asked_about_by_key_and_never_repeated_blindly():
    for name in ("scan", "diffract", "spectrum"):
        assert ACTIONS[name].spec.recovery is Recovery.RECONCILABLE
        assert ACTIONS[name].spec.on_silence is OnSilence.FINISH


def test_the_stage_moves_with_the_beam_blanked_and_the_beam_scans_a_stage_that_stands():
    assert ACTIONS["move_stage"].spec.interlocks == ("beam_is_blanked",)
    for name in ("scan", "diffract", "spectrum"):
        assert ACTIONS[name].spec.interlocks == ("stage_is_still",)


def test_a_beam_that_rests_on_the_sample_is_blanked_when_nobody_speaks():
    spec = ACTIONS["blank"].spec
    assert spec.on_silence is OnSilence.SAFE_STATE
    assert spec.recovery is Recovery.IDEMPOTENT


def test_a_scan_without_arguments_is_a_whole_haadf_frame():
    arguments = check("scan")
    assert arguments["detector"] == "haadf"
    assert arguments["pixels"] == 256
    assert arguments["region"] is None
    assert arguments["fraction"] == 1.0


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        ("scan", {"field_A": 1001.0}),
        ("scan", {"dwell_us": 0.05}),
        ("scan", {"fraction": 0.0}),
        ("scan", {"max_dose_e_per_A2": 1e11}),
        ("set_optics", {"convergence_mrad": 46.0}),
        ("set_optics", {"current_nA": 2.0}),
        ("set_optics", {"defocus_A": -5001.0}),
        ("diffract", {"step_A": 101.0}),
        ("spectrum", {"live_s": 601.0}),
        ("move_stage", {"x_A": 1.1e6, "y_A": 0.0}),
    ],
)
def test_what_lies_outside_the_types_is_refused(action, arguments):
    with pytest.raises(LimitViolation):
        check(action, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"detector": "eels"},
        {"pixels": 4},
        {"pixels": 4096},
        {"region": (0, 0, 8, 64)},
        {"region": (-1, 0, 64, 64)},
        {"only": ()},
        {"only": (-1,)},
        {"subset_seed": -1},
    ],
)
def test_words_and_pixels_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ArgumentError):
        check("scan", **arguments)


def test_an_implementation_cannot_leave_an_action_out():
    class Half(STEM):
        def connect(self): ...
        def safe_state(self): ...

    with pytest.raises(TypeError, match="abstract"):
        Half()
