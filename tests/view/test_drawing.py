"""What stands in the drawing, whatever the picture and the terminal."""

import io

import numpy as np
import pytest
from rich.console import Console

from twinloop.agents.view import StreamWindow, render
from twinloop.agents.view.sparkline import chart, sparkline

PICTURE = {
    "campaign": "mbe_growth",
    "goal": "quality",
    "observations": 12,
    "experiments": 24,
    "failed": 1,
    "life": 2,
    "at_s": 83.0,
    "lab_s": 1600.0,
    "best": {"trial": "t0009", "value": 0.713, "point": {"substrate_K": 690.0}},
    "values": [0.1, 0.3, 0.713, 0.6],
    "trials": [
        {"trial": "t0013", "point": {"flux_ML_per_s": 0.25}, "steps_done": 2, "is_held": True}
    ],
    "theory": {
        "simulated": 42,
        "simulating": 2,
        "progress": [0.8, 0.25],
        "weight": 0.9312,
        "holds": 14,
    },
    "waiting": ["t0013: mbe.grow under way"],
    "leases": ["mbe"],
    "workers": {"planner": 1, "analyst-0": 0},
    "instruments": {"mbe": {"state": "busy", "action": "grow", "sample": "s13", "trip": None}},
}


def drawn(content, streams=None, width=100):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=False, legacy_windows=False)
    console.print(render(content, streams or {}, width))
    return file.getvalue()


def window(values=(0.1, 0.9, 0.4)):
    found = StreamWindow()
    found.take("c/t0013/2.1.0/0", {}, [np.arange(float(len(values))), np.array(values)])
    return found


def test_everything_a_person_asks_for_is_there():
    text = drawn(PICTURE)
    for words in (
        "mbe_growth",
        "12 of 24 experiments, 1 without result",
        "quality 0.713 in t0009 at substrate 690 K",
        "t0013  flux 0.25 ML/s",
        "held for a person",
        "t0013: mbe.grow under way",
        "busy grow  s13",
        "planner (1 task), analyst-0 (idle)",
        "life 2",
        "laboratory 26 min 40 s",
        "0.1 to 0.713",
        "42 simulations done, 2 under way (80%, 25%), weight 0.93, t0014 waits for it",
    ):
        assert words in text


def test_a_stream_is_drawn_under_the_trial_it_belongs_to():
    text = drawn(PICTURE, {"rheed.intensity": window()})
    assert "rheed.intensity of t0013" in text
    assert "now 0.4" in text
    assert "█" in text


def test_before_the_first_news_it_says_for_whom_it_waits():
    assert "waiting for the conductor" in drawn({})


def test_a_silent_conductor_is_said_to_be_silent():
    assert "no news of the conductor for 5 s" in drawn({**PICTURE, "silent_s": 5.2})
    assert "no news" not in drawn({**PICTURE, "silent_s": 0.4})


@pytest.mark.parametrize("theory", [None, {}])
def test_a_campaign_without_theory_has_no_line_for_it(theory):
    assert "theory" not in drawn({**PICTURE, "theory": theory})


def test_theory_that_was_switched_off_is_said_to_be():
    text = drawn({**PICTURE, "theory": {"simulated": 1, "simulating": 0, "weight": 0.0}})
    assert "1 simulation done, switched off" in text
    assert "waits for it" not in text


@pytest.mark.parametrize("odd", [None, 3, "text", [1], {"a": 1}, True, float("nan")])
@pytest.mark.parametrize("name", ["simulated", "simulating", "progress", "weight", "holds"])
def test_theory_of_another_version_is_drawn_as_far_as_it_goes(name, odd):
    theory = {**PICTURE["theory"], name: odd}
    assert "simulation" in drawn({**PICTURE, "theory": theory})


def test_an_instrument_without_lease_or_answer_is_shown_as_such():
    text = drawn({**PICTURE, "leases": ["rheed"]})
    assert "no lease" in text
    assert "leased" in text


@pytest.mark.parametrize("width", [10, 40, 61, 200])
def test_no_line_is_longer_than_the_terminal_or_the_narrowest_drawing(width):
    text = drawn(PICTURE, {"rheed.intensity": window(np.sin(np.arange(5000.0)))}, width)
    assert max(map(len, text.splitlines())) <= max(width, 40)


@pytest.mark.parametrize("odd", [None, 3, "text", [1], {"a": 1}])
@pytest.mark.parametrize("name", sorted(PICTURE))
def test_a_picture_of_another_version_is_drawn_as_far_as_it_goes(name, odd):
    assert "╭" in drawn({**PICTURE, name: odd})


def test_text_from_outside_is_not_read_as_markup():
    assert "[bold]x[/]" in drawn({**PICTURE, "waiting": ["[bold]x[/]"]})


def test_a_sparkline_runs_from_its_lowest_to_its_highest():
    assert sparkline([2, 1, 5], 10) == "▃▁█"
    assert sparkline([1.0] * 3, 10) == "▁▁▁"
    assert sparkline([], 10) == ""
    assert len(sparkline(list(range(1000)), 33)) == 33


def test_a_chart_fills_its_lines_from_the_bottom():
    assert chart([0.0, 1.0, 2.0], 10, 2) == ["  █", " ██"]
    assert chart([-1.0, 0.0], 10, 1) == [" █"]
    assert chart([], 10, 3) == []


def test_a_new_command_begins_a_new_window():
    found = window()
    found.take("c/t0014/2.1.0/0", {"time_s": 0.1, "intensity": 7.0}, n_lost=2)
    assert (found.trial, found.values, found.times, found.n_lost) == ("t0014", [7.0], [0.1], 2)


def test_samples_that_are_no_numbers_are_left_out():
    found = StreamWindow()
    found.take("k", {}, [np.array([0.0, 1.0]), np.array([np.nan, 2.0])])
    found.take("k", {"text": "x"})
    assert found.values == [2.0]
    assert found.trial == ""
