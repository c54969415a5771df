"""Tips as values, and the chances of what happens to them."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.tip import Tip, TipEvent, TipRules


def test_changes_come_as_a_poisson_process():
    rules = TipRules(rest_per_s=0.01, current_per_s_nA=0.02, step_per_A=0.001)
    rng = np.random.default_rng(1)
    piece = {"duration_s": 5.0, "current_nA": 1.0, "climbed_A": 50.0}
    mean = rules.expected(**piece)
    assert mean == pytest.approx(0.05 + 0.1 + 0.05)
    count = sum(rules.after(Tip(), rng=rng, **piece) is not None for _ in range(4000))
    assert count / 4000 == pytest.approx(1 - np.exp(-mean), abs=0.02)


def test_more_current_and_more_steps_cost_more_tips():
    rules = TipRules()
    calm = rules.expected(duration_s=1.0, current_nA=0.1, climbed_A=1.0)
    assert rules.expected(duration_s=1.0, current_nA=10.0, climbed_A=1.0) > calm
    assert rules.expected(duration_s=1.0, current_nA=0.1, climbed_A=100.0) > calm


def test_events_leave_the_tip_before_as_it_was():
    rules, tip, rng = TipRules(), Tip(radius_A=1.0), np.random.default_rng(2)
    changes = [
        rules.changed(tip, rng),
        rules.crashed(tip, depth_A=3.0, rng=rng),
        rules.conditioned(tip, pulse_V=6.0, rng=rng),
    ]
    assert tip == Tip(radius_A=1.0)
    assert all(change.tip != tip for change in changes)


def test_a_crash_blunts_dirties_and_splits():
    rng = np.random.default_rng(3)
    change = TipRules().crashed(Tip(), depth_A=4.0, rng=rng)
    assert change.event is TipEvent.CRASHED
    assert not change.tip.is_single
    assert change.tip.radius_A > 1.0
    assert change.tip.work_function_eV < Tip().work_function_eV
    assert change.tip.contamination > 0.0


def test_strong_pulses_clean_more_often_than_they_spoil_and_weak_ones_do_nothing():
    rules, rng = TipRules(), np.random.default_rng(4)
    bad = rules.crashed(Tip(), depth_A=4.0, rng=rng).tip
    strong = [rules.conditioned(bad, pulse_V=-8.0, rng=rng) for _ in range(400)]
    clean = sum(c.tip.is_single and c.tip.contamination == 0.0 for c in strong)
    worse = sum(c.event is TipEvent.MADE_WORSE for c in strong)
    assert clean / 400 == pytest.approx(0.65, abs=0.08)
    assert worse / 400 == pytest.approx(0.35, abs=0.08)
    weak = [rules.conditioned(bad, pulse_V=0.5, rng=rng) for _ in range(200)]
    assert sum(c.tip != bad for c in weak) <= 4


def test_the_same_seed_gives_the_same_tip():
    tips = [TipRules().changed(Tip(), np.random.default_rng(7)).tip for _ in range(2)]
    assert tips[0] == tips[1]


def test_a_blunt_tip_gives_back_what_its_radius_takes():
    rows = Tip(((0.0, 0.0, 0.0, 1.0), (3.0, 0.0, 0.5, 2.0)), radius_A=2.0).table(1.1)
    assert rows[:, 2] == pytest.approx([2.0, 2.5])
    assert rows[:, 3] == pytest.approx([2 * 1.1 * 2.0, np.log(2.0) + 2 * 1.1 * 2.0])


@pytest.mark.parametrize(
    "bad",
    [
        {"apexes": ()},
        {"apexes": ((0.0, 0.0, 0.0, 0.0),)},
        {"radius_A": -1.0},
        {"work_function_eV": 0.0},
        {"contamination": 1.5},
    ],
)
def test_tips_that_cannot_be_are_refused(bad):
    with pytest.raises(ArgumentError):
        Tip(**bad)
