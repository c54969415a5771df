"""One line for each change, and none where nothing changed."""

import pytest

from twinloop.agents.view import log_lines

PICTURE = {
    "goal": "roughness_ML",
    "observations": 2,
    "experiments": 24,
    "failed": 0,
    "life": 1,
    "best": {"trial": "t0001", "value": 0.41, "point": {"substrate_K": 650.0}},
    "values": [0.6, 0.41],
    "trials": [{"trial": "t0002", "point": {"substrate_K": 700.0}, "steps_done": 2}],
    "theory": {"simulated": 20, "simulating": 4, "progress": [], "weight": 0.8, "holds": None},
    "leases": ["mbe"],
    "workers": {"planner": 1},
}


def change(**news):
    return log_lines(PICTURE, {**PICTURE, **news})


def test_the_same_picture_is_no_news():
    assert log_lines(PICTURE, dict(PICTURE)) == []


def test_the_first_picture_tells_where_the_campaign_stands_not_its_past():
    lines = log_lines(None, PICTURE)
    assert lines[0] == "campaign: 2 of 24 experiments, life 1 of the conductor"
    assert "t0002 started: substrate 700 K" in lines
    assert "best so far: roughness 0.41 ML in t0001 at substrate 650 K" in lines
    assert not any("ended" in line for line in lines)


def test_an_empty_picture_is_a_picture():
    assert log_lines({}, {}) == []
    assert log_lines(None, {}) == ["campaign: 0 experiments, life 0 of the conductor"]


def test_a_trial_that_ended_is_told_with_its_value():
    lines = change(trials=[], observations=3, values=[0.6, 0.41, 0.5])
    assert lines == ["t0002 ended: roughness 0.5 ML (3 of 24 experiments)"]


def test_a_trial_without_result_is_told_as_such():
    lines = change(trials=[], failed=1)
    assert lines == ["t0002 ended: no result (2 of 24 experiments, 1 without result)"]


def test_a_trial_between_two_pictures_is_not_lost():
    lines = change(observations=3, values=[0.6, 0.41, 0.5])
    assert lines == ["a trial that was over at once ended: roughness 0.5 ML (3 of 24 experiments)"]


def test_a_better_value_is_told_with_its_conditions():
    best = {"trial": "t0002", "value": 0.3, "point": {"substrate_K": 700.0}}
    assert change(best=best) == ["best so far: roughness 0.3 ML in t0002 at substrate 700 K"]


@pytest.mark.parametrize(
    ("news", "line"),
    [
        ({"life": 2}, "the conductor was restarted: life 2 goes on from the journal"),
        ({"leases": []}, "lease on mbe lost"),
        ({"leases": ["mbe", "rheed"]}, "lease on rheed granted"),
        ({"workers": {}}, "worker planner is gone"),
        ({"workers": {"planner": 1, "analyst-0": 0}}, "worker analyst-0 is there"),
        ({"paused": "Ada: lunch"}, "paused by Ada: lunch"),
        ({"silent_s": 3.4}, "nothing heard of the conductor for 3 s"),
        (
            {"instruments": {"mbe": {"state": "tripped", "trip": "too hot"}}},
            "mbe is tripped: too hot; a person has to clear it",
        ),
        (
            {"trials": [{**PICTURE["trials"][0], "is_held": True}]},
            "t0002 is held: nobody can tell an outcome; a person has to decide",
        ),
        (
            {"finished": "budget spent"},
            "finished: budget spent; roughness 0.41 ML in t0001 at substrate 650 K",
        ),
    ],
)
def test_each_change_is_one_line(news, line):
    assert change(**news) == [line]


def told(**news):
    return change(theory={**PICTURE["theory"], **news})


@pytest.mark.parametrize(
    ("news", "line"),
    [
        (
            {"simulated": 21, "simulating": 19, "weight": 0.9},
            "theory is asked for 16 simulations: 21 simulations done, 19 under way, weight 0.9",
        ),
        (
            {"simulating": 8, "holds": 3},
            (
                "theory is asked for 4 simulations: 20 simulations done, 8 under way, weight 0.8, "
                "t0003 waits for it"
            ),
        ),
        (
            {"holds": 3},
            "t0003 waits for theory: 4 simulations under way",
        ),
        (
            {"simulated": 24, "simulating": 0},
            "theory has answered: 24 simulations done, weight 0.8",
        ),
        ({"weight": 0.0}, "theory is switched off: experiments are chosen without it"),
    ],
)
def test_theory_is_told_by_batch(news, line):
    assert told(**news) == [line]


@pytest.mark.parametrize(
    "news", [{"simulated": 21, "simulating": 3}, {"progress": [0.4]}, {"weight": 0.82}]
)
def test_a_single_simulation_is_no_news(news):
    assert told(**news) == []


def test_theory_asked_before_anybody_looked_is_no_news():
    assert not any("theory" in line for line in log_lines(None, PICTURE))


def test_what_lasts_is_told_once():
    held = {**PICTURE, "silent_s": 4.0, "paused": "Ada: lunch"}
    assert log_lines(held, {**held, "silent_s": 4.1}) == []


def test_the_end_of_a_pause_and_of_silence_is_told():
    before = {**PICTURE, "silent_s": 4.0, "paused": "Ada: lunch"}
    assert log_lines(before, {**PICTURE, "silent_s": 0.1}) == [
        "the conductor is heard again",
        "goes on after the pause",
    ]


@pytest.mark.parametrize("odd", [None, 3, "text", [1], {"a": 1}])
@pytest.mark.parametrize("name", sorted(PICTURE))
def test_a_picture_of_another_version_breaks_nothing(name, odd):
    log_lines(PICTURE, {**PICTURE, name: odd})
    log_lines({**PICTURE, name: odd}, PICTURE)
