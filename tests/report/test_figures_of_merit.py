"""Utilisation, costs, choices, periods: the numbers of the report against hand-made ones."""

import numpy as np
import pytest

from twinloop.agents.campaign.events import Proposed, TrialEnded
from twinloop.agents.report.choice import Choice, choice_of, surprise
from twinloop.agents.report.costs import compute_costs, lab_costs, lab_s
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.film_figures import roughness_ML, sparkline
from twinloop.agents.report.history import read_history
from twinloop.agents.report.timeline import Bar, Lane, busy_s, lanes, trial_rows
from twinloop.agents.report.traces import period_of, picture_of, trace_of
from twinloop.agents.report.words import duration, label, number, unit_of_name, with_sd

POINT = {"substrate_K": 650.0}


def read(run):
    run.close()
    return read_history(Evidence(run.folder))


def proposed(**rest):
    return Proposed(number=0, x=(0.5,), point=POINT, basis=0, pending=(), seed=0, **rest)


def test_overlapping_work_counts_once():
    bars = (Bar(0, 4, "grow", "a"), Bar(2, 6, "grow", "b"), Bar(3, 5, "grow", "c"))
    assert busy_s(bars) == pytest.approx(6.0)
    assert Lane("mbe", "instrument", bars).utilisation(12.0) == pytest.approx(0.5)


def test_no_time_is_no_utilisation():
    assert Lane("mbe", "instrument", (Bar(0, 0, "grow", "a"),)).utilisation(0.0) == 0.0


def test_lanes_hold_instruments_workers_and_the_planner(run):
    run.begin()
    run.lease("mbe")
    run.grow_film(POINT, 0.4, place="planner", cpu_s=0.3, why={})
    found = {lane.name: lane for lane in lanes(read(run))}
    assert list(found) == ["mbe", "rheed", "analyst-0", "planner"]
    assert busy_s(found["mbe"].bars) == pytest.approx(1.5 + 0.8 + 2.01 + 0.6, abs=0.02)
    assert busy_s(found["planner"].bars) == pytest.approx(0.3)


def test_a_command_without_outcome_lasts_to_the_end_of_the_journal(run):
    run.begin()
    trial = run.start(run.propose(POINT))
    run.command(trial, "0", "mbe", "grow")
    other = run.start(run.propose(POINT))
    run.act(other, "0", "rheed.expose", 3.0)
    bar = lanes(read(run))[0].bars[0]
    assert bar.is_open
    assert bar.end_s - bar.start_s == pytest.approx(3.02, abs=1e-6)


def test_trials_side_by_side_take_a_row_each_and_later_ones_reuse_them(run):
    run.begin()
    first, second = (run.start(run.propose(POINT)) for _ in range(2))
    run.act(first, "0", "mbe.grow", 1.0)
    run.end(first, {}, None)
    third = run.start(run.propose(POINT))
    rows = trial_rows(read(run))
    assert [[t.id for t, _ in row] for row in rows] == [[first, third], [second]]


def test_laboratory_time_is_the_sum_over_actions(run):
    run.begin()
    run.grow_film(POINT, 0.4)
    history = read(run)
    by_action = {cost.what: cost.spent_s for cost in lab_costs(history)}
    assert by_action["grow"] == pytest.approx(40.0)
    assert lab_s(history) == pytest.approx(20 * (1.5 + 0.8 + 2.0 + 0.1 + 0.6 + 0.2))


def test_computing_is_billed_by_quantity_and_openings_apart_from_proposals(run):
    run.begin()
    run.grow_film(POINT, 0.4)
    run.grow_film(POINT, 0.5, place="planner", cpu_s=1.5, why={"mean": 0.4, "sd": 0.1})
    bill = {(c.who, c.what): (c.n, c.spent_s) for c in compute_costs(read(run))}
    assert bill["analyst", "rate_ML_per_s"] == (2, pytest.approx(0.3))
    assert bill["planner", "proposals"] == (1, 1.5)
    assert bill["planner", "opening"] == (1, 0.0)


@pytest.mark.parametrize(
    ("why", "memo", "expected"),
    [
        ({"initial": 1.0}, {}, Choice.OPENING),
        ({"rung": "opening"}, {}, Choice.OPENING),
        ({"mean": 0.4, "sd": 0.1, "rung": "planner"}, {}, Choice.MODEL),
        ({"mean": 0.4, "sd": 0.1, "rung": "cold", "fell": "x"}, {}, Choice.FALLBACK),
        ({"fallback": "no worker"}, {}, Choice.FALLBACK),
        ({}, {"rung": "sobol"}, Choice.FALLBACK),
        ({"rung": "planner"}, {}, Choice.OTHER),
    ],
)
def test_who_chose_is_read_from_the_planners_words(why, memo, expected):
    assert choice_of(proposed(why=why, memo=memo)) is expected


def test_surprise_is_in_standard_deviations_of_model_and_measurement():
    ended = TrialEnded(trial="t", number=0, state="done", y=0.9, y_sd=0.3)
    assert surprise(proposed(why={"mean": 0.4, "sd": 0.4}), ended) == pytest.approx(1.0)
    assert surprise(proposed(), ended) is None


def test_a_period_comes_from_the_analyst_or_from_the_rate_it_gave(run):
    run.begin()
    run.grow_film(POINT, 0.4)
    history = read(run)
    period = period_of(history.trials["t0000"])
    assert period.period_s == pytest.approx(5.0)
    assert period.source == "analyst.rate_ML_per_s"


@pytest.mark.parametrize(
    ("result", "sd_s"),
    [
        ({"period_s": 4.0, "period_sd_s": 0.1, "rate_ML_per_s": 0.25}, 0.1),
        ({"period_s": 4.0, "period_s_sd": 0.1}, 0.1),
        ({"period_s": 4.0, "rate_ML_per_s": 0.25, "rate_sd_ML_per_s": 0.025}, 0.4),
        ({"period_s": 4.0}, 0.0),
    ],
)
def test_a_period_named_as_such_comes_first_and_brings_its_deviation(run, result, sd_s):
    run.begin()
    trial = run.start(run.propose(POINT))
    run.compute(trial, "0", "analyst.oscillation", {**result, "maxima": 3})
    period = period_of(read(run).trials[trial])
    assert (period.period_s, period.sd_s) == (4.0, pytest.approx(sd_s))
    assert (period.source, period.n_maxima) == ("analyst.oscillation.period_s", 3)


def test_the_gauge_of_an_instrument_is_no_analysis(run):
    run.begin()
    trial = run.start(run.propose(POINT))
    run.act(trial, "0", "mbe.grow", 1.0, result={"rate_ML_per_s": 0.2})
    assert period_of(read(run).trials[trial]) is None


def test_traces_and_pictures_are_found_by_shape_whatever_their_names(run):
    run.begin()
    trial = run.start(run.propose(POINT))
    arrays = {"scan.time_ms": np.arange(5.0), "scan.counts": np.arange(5, dtype=np.int32) ** 2}
    run.act(trial, "0", "pl.scan", 1.0, arrays=arrays)
    run.act(trial, "1", "camera.snap", 1.0, arrays={"result": np.eye(9, dtype=np.uint8)})
    found, evidence = read(run).trials[trial], Evidence(run.folder)
    trace = trace_of(found, evidence)
    assert (trace.source, trace.name, trace.time_name) == ("pl.scan", "counts", "time_ms")
    assert trace.values.tolist() == [0, 1, 4, 9, 16]
    source, pixels = picture_of(found, evidence)
    assert source == "camera.snap"
    assert np.array_equal(pixels, np.eye(9))


def test_samples_that_are_no_numbers_are_left_out_of_a_trace(run):
    run.begin()
    arrays = {"time_s": np.arange(4.0), "intensity": np.array([1.0, np.nan, 3.0, np.inf])}
    trial = run.start(run.propose(POINT))
    run.act(trial, "0", "rheed.record", 1.0, arrays=arrays)
    trace = trace_of(read(run).trials[trial], Evidence(run.folder))
    assert trace.values.tolist() == [1.0, 3.0]
    assert "<polyline" in sparkline(trace)


def test_roughness_is_the_root_mean_square_deviation():
    heights = np.array([[3, 5], [3, 5]])
    assert roughness_ML(heights) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("value", "sd", "words"),
    [
        (0.71342, 0.0213, "0.713 ± 0.021"),
        (1234.4, 100.0, "1234 ± 100"),
        (-3.0, 0.0, "−3"),  # noqa: RUF001
        (2.0, float("nan"), "2"),
        (None, 1.0, "–"),  # noqa: RUF001
    ],
)
def test_numbers_are_written_to_the_second_digit_of_their_deviation(value, sd, words):
    assert with_sd(value, sd) == words


def test_units_come_from_names():
    assert unit_of_name("flux_ML_per_s") == ("flux", "ML/s")
    assert label("substrate_K") == "substrate [K]"
    assert label("quality") == "quality"
    assert label("A") == "A"


def test_times_and_numbers_read_well():
    assert [duration(s) for s in (0.25, 75, 3725, 200_000)] == [
        "0.25 s", "1 min 15 s", "1 h 2 min", "2 d 7 h",
    ]  # fmt: skip
    assert [number(v) for v in (12345.6, float("inf"), None)] == ["12346", "–", "–"]  # noqa: RUF001
