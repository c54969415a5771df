"""Which instrument is asked, in which order, and when it is given back."""

import pytest

from twinloop.agents.campaign.stepper import Stepper, StepRecord
from twinloop.errors import ArgumentError
from twinloop.messages import ArrayRef
from twinloop.protocols.grow_and_look import Judged, Looked, grow_and_look
from twinloop.protocols.interface import Trial, protocol

ARRAY = ArrayRef(name="a", dtype="<f8", shape=(4,), nbytes=32, digest="0" * 64)
BELIEF = {
    f"{name}{end}": value
    for name, value in {
        "merit": 0.5,
        "roughness_ML": 0.3,
        "interface_ML": 0.2,
        "thickness_ML": 6.0,
    }.items()
    for end in ("", "_sd")
}
ANSWERS = {
    "mbe.grow": {"growth_s": 20.0, "rate_ML_per_s": 0.3, "dose_ML": 6.0, "substrate_K": 690.0},
    "rheed.record": {"time_s": ARRAY, "intensity": ARRAY, "exposure_s": 0.05, "is_complete": True},
    "rheed.specular": {"intensity": 9000.0, "intensity_sd": 90.0},
    "rheed_analyst.film_quality": {
        "final_intensity": 0.6,
        "final_intensity_sd": 0.01,
        "coverage_ML": 6.1,
        "coverage_sd_ML": 0.1,
    },
    "stm.scan": dict.fromkeys(("z_forward_A", "z_backward_A", "x_A", "y_A"), ARRAY),
    "stm_analyst.film": {"roughness_ML": 0.31, "film_roughness_sd_ML": 0.02},
    "xrd.scan": {"two_theta_deg": ARRAY, "counts": ARRAY, "count_s": 4.0},
    "xrd_analyst.film": {"thickness_ML": 6.05, "thickness_sd_ML": 0.05},
    "stem.scan": {"counts": ARRAY, "pixel_A": 0.195, "dark_counts": 10.0},
    "stem_analyst.film": {
        "thickness_ML": 6.02,
        "thickness_sd_ML": 0.04,
        "width_ML": 0.2,
        "width_sd_ML": 0.05,
    },
    "film_analyst.film": BELIEF,
}


class Said(dict):
    """A result whose fields are attributes, as the stepper makes them of a record."""

    __getattr__ = dict.__getitem__

    def model_dump(self):
        return dict(self)


def run(stm, xrd, stem):
    """Return what was asked, in order, and the outcome."""
    point = Looked(
        substrate_K=690.0, flux_ML_per_s=0.3, dose_ML=6.0, anneal_s=10.0,
        look_stm=stm, look_xrd=xrd, look_stem=stem,
    )  # fmt: skip
    stepper = Stepper(grow_and_look, Trial(id="t1", point=point, sample="s1", seed=3))
    asked = []
    while stepper.progress().waiting:
        request = stepper.progress().waiting[0]
        step = request.step
        asked.append((step.name, dict(step.arguments)))
        answer = ANSWERS.get(step.name)
        stepper.feed(
            StepRecord(
                request.path, request.digest, step.name, "done",
                Said(answer) if isinstance(answer, dict) else answer, (), "", float(len(asked)),
            )
        )  # fmt: skip
    progress = stepper.progress()
    assert progress.error is None, progress.error
    return asked, progress.outcome


def judged(asked):
    """Return what the analyst of films was asked, in order: without any look, then with all."""
    return [arguments for name, arguments in asked if name == "film_analyst.film"]


def names(asked, *methods):
    return [name for name, _ in asked if name.rpartition(".")[2] in methods]


def test_without_a_look_the_film_stays_where_it_grew():
    asked, outcome = run(0.0, 0.2, 0.49)
    assert names(asked, "give", "take") == []
    released = [a["instruments"] for name, a in asked if name == "trial.release"]
    assert released == [["stm", "xrd", "stem"], ["mbe", "rheed"]]
    assert isinstance(outcome, Judged)
    (told,) = judged(asked)
    assert told["stm_roughness_ML"] is None
    assert told["rheed"] == 0.6
    assert (outcome.merit_blind, outcome.merit_blind_sd) == (outcome.merit, outcome.merit_sd)


def test_with_all_looks_the_film_goes_from_the_clean_to_the_destructive():
    asked, _ = run(1.0, 0.5, 1.0)
    assert names(asked, "give", "take") == [
        "mbe.give", "stm.take", "stm.give", "xrd.take", "xrd.give", "stem.take", "stem.give",
    ]  # fmt: skip
    released = [a["instruments"] for name, a in asked if name == "trial.release"]
    assert released == [["mbe", "rheed"], ["stm"], ["xrd"], ["stem"]]
    blind, told = judged(asked)
    seen_in_growth = {"rheed", "rheed_sd", "coverage_ML", "coverage_ML_sd", "substrate_K", "hot_s"}
    assert {name for name, value in blind.items() if value is not None} == seen_in_growth
    assert (told["stm_roughness_ML"], told["xrd_thickness_ML"]) == (0.31, 6.05)
    assert (told["stem_interface_ML"], told["stem_interface_ML_sd"]) == (0.2, 0.05)
    assert told["hot_s"] == 30.0


@pytest.mark.parametrize(
    ("looks", "chain"),
    [
        ((1.0, 0.0, 0.0), ["mbe.give", "stm.take", "stm.give"]),
        ((0.0, 1.0, 0.0), ["mbe.give", "xrd.take", "xrd.give"]),
        ((0.0, 0.0, 1.0), ["mbe.give", "stem.take", "stem.give"]),
        ((1.0, 0.0, 1.0), ["mbe.give", "stm.take", "stm.give", "stem.take", "stem.give"]),
    ],
)
def test_only_what_is_asked_gets_the_film(looks, chain):
    asked, _ = run(*looks)
    assert names(asked, "give", "take") == chain


def test_the_tip_is_back_before_the_film_is_given():
    asked, _ = run(1.0, 0.0, 0.0)
    order = [name for name, _ in asked]
    assert order.index("stm.approach") < order.index("stm.scan") < order.index("stm.retract")
    assert order.index("stm.retract") < order.index("stm.give")


def test_the_protocol_says_which_field_takes_which_instrument():
    assert grow_and_look.looks == {"look_stm": "stm", "look_xrd": "xrd", "look_stem": "stem"}


@pytest.mark.parametrize(
    ("looks", "words"), [({"look_afm": "stm"}, "look_afm"), ({"look_stm": "afm"}, "looks.look_stm")]
)
def test_a_look_of_no_field_or_no_instrument_is_refused(looks, words):
    with pytest.raises(ArgumentError, match=words):
        protocol(version=1, looks=looks)(grow_and_look.function)
