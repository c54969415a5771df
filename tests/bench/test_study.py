"""All runs of a study: resume, shared baselines, errors that are told."""

import json
import math
from dataclasses import replace

import pytest

from twinloop.agents.bench import study
from twinloop.agents.bench.comparison import compare, count_of, regret_after
from twinloop.agents.bench.report import write_report
from twinloop.agents.bench.statistics import Interval
from twinloop.agents.bench.study import RunsFailed, kept_runs, make_runs, settings_of
from twinloop.agents.bench.testing import tiny_setting


class Now:
    """Runs at once, in this process."""

    def __init__(self, *_, **__):
        pass

    def submit(self, call, *arguments):
        from concurrent.futures import Future

        future = Future()
        try:
            future.set_result(call(*arguments))
        except RuntimeError as err:
            future.set_exception(err)
        return future

    def shutdown(self, **_):
        pass


@pytest.fixture
def made(monkeypatch):
    """Replace processes and runs; return the settings that were run."""
    made = []

    def run_one(setting):
        made.append(setting)
        count = 2 if setting.arm == "theory" else 8
        return record_of(setting, count)

    monkeypatch.setattr(study, "ProcessPoolExecutor", Now)
    monkeypatch.setattr(study, "run_one", run_one)
    return made


def record_of(setting, count):
    first = None
    if count:
        first = {
            "experiments": count, "simulations": 3, "virtual_h": float(count), "cost_h": count + 0.1
        }  # fmt: skip
    return {
        "key": setting.key, "scenario": setting.scenario, "arm": setting.arm, "seed": setting.seed,
        "first": first, "experiments": 40, "simulations": 3, "virtual_h": 40.0, "wall_s": 1.0,
        "best": 1.0, "measured": [0.3, 0.9, 0.5], "expected": [0.4, 0.7, 0.8], "ask_cpu_s": [0.1],
        "simulation_cpu_s": 0.3, "rungs": {"planner": 39, "sobol": 1},
        "theory_weight": [0.8, 0.3, 0.0, 0.0] if setting.arm == "theory" else [None] * 4,
    }  # fmt: skip


def file_of(**changes):
    return tiny_setting(seeds=6, **changes).file


def test_a_baseline_that_sees_the_same_world_is_run_once(tmp_path):
    scenarios = tiny_setting().file.scenarios
    file = file_of(scenarios={**scenarios, "lacking": scenarios["good"].model_copy(
        update={"lacks": ["bond_energy_eV"]})})  # fmt: skip
    settings = settings_of(file, tmp_path)
    plain = [(s.scenario, s.seed) for s in settings if s.arm == "plain"]
    assert {scenario for scenario, _ in plain} == {"good", "wrong"}
    assert len(plain) == 2 * 6
    assert len(settings) == 5 * 6


def test_a_study_goes_on_where_it_was(made, tmp_path):
    settings = settings_of(file_of(), tmp_path)
    told = []
    make_runs(tmp_path, settings[:3], 1, told.append)
    # a kill in the middle of a line
    with (tmp_path / "runs.jsonl").open("a") as stream:
        stream.write('{"key": "cut')
    make_runs(tmp_path, settings, 1, told.append)
    assert made == settings
    assert set(kept_runs(tmp_path)) == {s.key for s in settings}
    assert "24 runs, 3 of them done before" in told


def test_a_run_that_fails_is_told_and_made_again(made, monkeypatch, tmp_path):
    settings = settings_of(file_of(), tmp_path)[:3]

    def fails(setting):
        if setting.seed == 0 and setting.arm == "theory":
            raise RuntimeError("no")
        return record_of(setting, 4)

    monkeypatch.setattr(study, "run_one", fails)
    with pytest.raises(RunsFailed, match=r"good/theory/0"):
        make_runs(tmp_path, settings, 1, lambda _: None)
    assert "RuntimeError: no" in (tmp_path / "failed.txt").read_text()
    assert len(kept_runs(tmp_path)) == 2


def test_the_table_compares_seed_by_seed(made, tmp_path):
    file = file_of()
    make_runs(tmp_path, settings_of(file, tmp_path), 1, lambda _: None)
    rows = {(r.scenario, r.arm): r for r in compare(file, kept_runs(tmp_path), tmp_path)}
    good = rows["good", "theory"]
    assert good.median.value == 2
    assert good.of_medians.value == good.of_pairs.value == 0.25
    # six pairs, all on one side: 2 / 2**6, and two scenarios
    assert (good.p, good.p_holm) == (pytest.approx(0.03125), pytest.approx(0.0625))
    assert (good.verdict, good.n_fallen) == ("met", 6)
    # a ratio of two medians beyond the budget is no measurement
    none = Interval(good.budget + 1.0, 3.0, good.budget + 1.0)
    assert "not known" in replace(good, median=none, at_most=1.1).verdict
    assert rows["good", "plain"].of_medians is None
    # two experiments were chosen with theory before it had no weight
    assert good.off == (2,) * 6
    assert rows["good", "plain"].off == ()


def test_no_success_counts_as_more_than_the_budget(made, tmp_path, monkeypatch):
    assert count_of({"first": None}, 40) == 41
    monkeypatch.setattr(study, "run_one", lambda s: record_of(s, 0 if s.arm == "plain" else 5))
    file = file_of()
    make_runs(tmp_path, settings_of(file, tmp_path), 1, lambda _: None)
    files = write_report(file, tmp_path, tmp_path, tmp_path / "published")
    page = (tmp_path / "published" / "tiny.md").read_text()
    assert "| good | plain | 6 | > 40 | 6 |" in page
    assert "Hardware" in page
    assert "in 6 of 6, after 2 experiments" in page
    assert "nan" not in page
    assert all(path.stat().st_size > 0 for path in files)
    lines = (tmp_path / "tiny.csv").read_text().splitlines()
    assert "good,plain,0,41,1" in lines
    assert "good,theory,0,5,0" in lines


def test_a_line_is_complete_json(made, tmp_path):
    make_runs(tmp_path, settings_of(file_of(), tmp_path)[:2], 1, lambda _: None)
    for line in (tmp_path / "runs.jsonl").read_text().splitlines():
        json.loads(line)


def test_regret_is_that_of_the_best_observed_and_stays_when_a_run_has_ended():
    record = record_of(tiny_setting(), 8)
    assert regret_after(record, 1) == pytest.approx(0.6)
    # the second was measured best; the third is better, but nobody could see it
    assert regret_after(record, 2) == regret_after(record, 20) == pytest.approx(0.3)
    assert math.isnan(regret_after({**record, "measured": []}, 10))
