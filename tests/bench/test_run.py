"""One run: the production core under a virtual clock, judged as it goes on."""

from pathlib import Path

import pytest

from twinloop.agents.bench.run import Setting, brief_of_run, lead
from twinloop.agents.bench.settings import Budget, Costs, load_bench
from twinloop.agents.bench.task import OBSERVABLES
from twinloop.agents.bench.testing import (
    FormulaFilms,
    FormulaJudge,
    formula,
    predict,
    tiny_setting,
)
from twinloop.agents.bench.truth import Noise, World
from twinloop.agents.campaign.theory import theory_of
from twinloop.agents.config.interface import load_campaign

NOISE = Noise(0.02, 0.03, 0.035, 0.04)


def run(arm="plain", seed=0, noise=NOISE, **changes):
    setting = tiny_setting(arm, seed, **changes)
    return lead(setting, World(FormulaFilms(), noise, seed), FormulaJudge(), predict, "formula-1")


def test_a_run_counts_to_its_first_success_and_stops():
    record = run(budget=Budget(experiments=60, at_least=2))
    first = next(i for i, p in enumerate(record["points"], 1) if formula(p) >= 0.95)
    assert record["first"]["experiments"] == first
    assert record["experiments"] == max(first, 2)
    assert record["expected"] == [formula(p) for p in record["points"]]
    assert record["rungs"] == {"opening": record["experiments"]}


def test_a_run_goes_on_for_what_is_asked_at_least():
    record = run(budget=Budget(experiments=60, at_least=30))
    assert record["experiments"] == 30
    assert record["first"]["experiments"] < 30


def test_a_run_without_success_uses_its_budget():
    record = run(budget=Budget(experiments=5, at_least=0), within=1e-9)
    assert (record["first"], record["experiments"]) == (None, 5)
    assert record["virtual_h"] == pytest.approx(5.0)


def test_theory_is_asked_before_the_first_experiment():
    record = run("theory", budget=Budget(experiments=20, at_least=1), workers=4,
                 costs=Costs(experiment_h=2.0, simulation_h=0.25))  # fmt: skip
    assert record["simulations"] == 16
    assert record["simulation_cpu_s"] == pytest.approx(0.16)
    first = record["first"]
    assert first["experiments"] == 1
    # four simulators take sixteen simulations in four turns, then the experiment
    assert first["virtual_h"] == pytest.approx(4 * 0.25 + 2.0)
    assert first["cost_h"] == pytest.approx(16 * 0.25 + 2.0)


def test_long_experiments_outlive_leases_and_retries():
    record = run(
        budget=Budget(experiments=3, at_least=3),
        costs=Costs(experiment_h=30.0, simulation_h=0.1),
    )
    assert record["experiments"] == 3
    assert record["virtual_h"] == pytest.approx(90.0)


def test_the_planner_is_told_what_the_scenario_leaves(monkeypatch):
    theory = brief_of_run(tiny_setting("theory")).theory
    assert theory.names == ("bond_energy_eV",)
    assert theory.observables == OBSERVABLES
    assert brief_of_run(tiny_setting("plain")).theory is None


def test_arms_see_the_same_noise_at_the_same_number():
    world = World(FormulaFilms(), NOISE, 3)
    here = {"substrate_K": 700.0}
    there = {"substrate_K": 750.0}
    for number in range(3):
        a, b = world.measure(here, number), world.measure(there, number)
        for name in OBSERVABLES:
            assert a[name] - formula(here) == pytest.approx(b[name] - formula(there))
    assert world.measure(here, 0)["quality"] != world.measure(here, 1)["quality"]
    other = World(FormulaFilms(), NOISE, 4)
    assert other.measure(here, 0)["quality"] != world.measure(here, 0)["quality"]
    assert world.measure(here, 0)["quality_sd"] == 0.035


def test_the_same_run_twice_is_the_same():
    budget = Budget(experiments=6, at_least=6)
    a, b = run(budget=budget), run(budget=budget)
    for name in ("points", "measured", "expected", "key"):
        assert a[name] == b[name]


def test_the_key_depends_on_what_the_planner_sees():
    plain = tiny_setting("plain")
    assert plain.key == tiny_setting("plain", baseline="theory").key
    assert plain.key != tiny_setting("plain", seed=1).key
    assert plain.key != tiny_setting("theory").key
    assert plain.key != tiny_setting("plain", within=0.1).key


def test_the_theory_of_a_run_is_the_one_that_a_campaign_would_have():
    """Without the coordinates of its simulator the emulator needs several times the growths."""
    file = load_bench(Path("theory_in_the_loop"))
    for scenario, missing in (("good", None), ("no_step_barrier", "step_barrier_eV")):
        theory = Setting(file, scenario, "theory", 0, Path("unused")).theory
        campaign = theory_of(load_campaign("mbe_growth").resolved())
        assert dict(theory.coordinates) == dict(campaign.coordinates)
        assert theory.coordinates
        wanted = {name: p for name, p in campaign.priors.items() if name != missing}
        assert theory.priors == wanted
        assert set(theory.observables) == set(campaign.observables)
        assert theory.constants == ({missing: 0.0} if missing else {})
    assert Setting(file, "good", "plain", 0, Path("unused")).theory is None
