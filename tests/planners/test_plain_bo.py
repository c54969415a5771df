import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.planners.interface import Known
from twinloop.planners.plain_bo import PlainBO
from twinloop.planners.sobol import SobolPlanner
from twinloop.planners.testing import CHECKS, example_known

UNIT = {"a": (0, 1), "b": (0, 1)}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check):
    check(PlainBO)


OTHER_PROCESS = """
import json, sys
from twinloop.planners.plain_bo import PlainBO
from twinloop.planners.registry import resolve
from twinloop.planners.testing import example_known

planner = resolve("plain_bo")
opening = planner.opening(example_known(3, pending=2))
heavy = sorted({"torch", "botorch", "scipy", "ray"} & set(sys.modules))
asked = planner.ask(example_known(9, pending=2))
print(json.dumps({"heavy": heavy, "opening": opening.x.tolist(), "asked": [asked.to_wire()[0], asked.memo],
                  "bits": asked.x.tobytes().hex()}))
"""


def test_another_process_opens_without_torch_and_proposes_the_same_bits():
    # Two threads there: `ask` must take one, or sums would be taken in another order.
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    there = json.loads(done.stdout)
    here = PlainBO().ask(example_known(9, pending=2))
    assert there["heavy"] == []
    assert there["opening"] == PlainBO().opening(example_known(3, pending=2)).x.tolist()
    assert there["bits"] == here.x.tobytes().hex()
    assert there["asked"] == [here.to_wire()[0], here.memo]


@cache
def answer(n):
    return PlainBO().ask(example_known(n))


def hill(point, top):
    return float(np.exp(-12.0 * ((point["a"] - top[0]) ** 2 + (point["b"] - top[1]) ** 2)))


def regret(planner, top, seed, budget=13):
    noise = np.random.default_rng(seed)
    for _ in range(budget):
        point = planner.ask()
        planner.tell(point, y=hill(point, top) + 0.01 * noise.standard_normal(), y_sd=0.01)
    known = planner.told()
    best = known.space.to_point(known.x[known.y[:, 0].argmax()])
    return 1.0 - hill(best, top)


def test_it_finds_the_top_of_a_hill_where_an_even_spread_does_not():
    tops = [(0.23, 0.71), (0.81, 0.12)]
    pairs = [
        (
            regret(PlainBO(space=UNIT, seed=seed), top, seed),
            regret(SobolPlanner(space=UNIT, seed=seed), top, seed),
        )
        for seed, top in enumerate(tops)
    ]
    assert all(model < spread / 5 for model, spread in pairs), pairs
    assert np.median([model for model, _ in pairs]) < 0.02, pairs


def test_pending_points_push_the_next_one_away():
    known = example_known(12)
    alone = answer(12)
    waiting = np.vstack([alone.x, alone.x + np.array([0.01, 0.0]), alone.x - np.array([0.0, 0.01])])
    beside = PlainBO().ask(replace(known, pending=waiting))
    assert beside.why["rung"] == "planner"
    assert np.linalg.norm(beside.x - alone.x) > 0.02
    assert beside.why["log_expected_improvement"] < alone.why["log_expected_improvement"]


def test_the_order_of_results_matters_only_to_rounding():
    known = example_known(12)
    order = np.random.default_rng(0).permutation(12)
    shuffled = replace(known, x=known.x[order], y=known.y[order], y_sd=known.y_sd[order])
    one, other = answer(12), PlainBO().ask(shuffled)
    assert other.x == pytest.approx(one.x, abs=0.01)


def test_a_warm_start_reaches_the_same_answer():
    known = example_known(12)
    cold = answer(12)
    warm = PlainBO().ask(replace(known, memo=answer(8).memo))
    assert warm.x == pytest.approx(cold.x, abs=1e-3)
    assert warm.why["mean"] == pytest.approx(cold.why["mean"], abs=1e-3)
    assert warm != cold  # the memo was read


def test_a_memo_of_another_shape_is_left_out():
    known = example_known(8)
    strange = {"hyperparameters": {"y": {"covar_module.raw_lengthscale": [1.0, 2.0, 3.0]}}}
    assert PlainBO().ask(replace(known, memo=strange)).x == pytest.approx(answer(8).x, abs=1e-9)


def ridge(n=14, *, feasible_from):
    """Return results that grow with `a`, feasible where a <= feasible_from (1 - a in slack)."""
    x = np.random.default_rng(5).random((n, 2))
    slack = feasible_from - x[:, :1]
    return Known.of(
        UNIT, x, x[:, :1], y_sd=np.full((n, 1), 0.01),
        slack=1000.0 * slack, slack_sd=np.full((n, 1), 5.0), proposal=n,
    )  # fmt: skip


def test_a_constraint_holds_the_search_back_at_its_edge():
    free = PlainBO().ask(
        replace(ridge(feasible_from=0.6), slack=np.zeros((14, 0)), slack_sd=np.zeros((14, 0)))
    )
    held = PlainBO().ask(ridge(feasible_from=0.6))
    assert free.x[0] > 0.9
    assert 0.5 < held.x[0] < 0.65
    assert 0.0 < held.why["probability_feasible"] < 1.0


def test_until_something_is_feasible_the_chance_of_it_is_what_counts():
    known = ridge(feasible_from=-0.05)
    found = PlainBO().ask(known)
    assert "log_probability_of_feasibility" in found.why
    assert found.x[0] < known.x[:, 0].min()


def test_noise_that_nobody_measured_is_inferred():
    known = example_known(8)
    inferred = PlainBO().ask(replace(known, y_sd=np.zeros((8, 1))))
    assert "likelihood.noise_covar.raw_noise" in inferred.memo["hyperparameters"]["y"]
    measured = answer(8)
    assert "likelihood.noise_covar.raw_noise" not in measured.memo["hyperparameters"]["y"]


def test_results_that_are_all_equal_are_no_failure():
    known = replace(example_known(7), y=np.ones((7, 1)))
    assert PlainBO().ask(known).why["rung"] == "planner"


def test_a_fit_that_fails_warm_is_made_cold_and_one_that_fails_cold_leaves_sobol(monkeypatch):
    import botorch.fit
    from botorch.exceptions.errors import ModelFittingError

    fit, failures = botorch.fit.fit_gpytorch_mll, iter([True, False, True])

    def sometimes(*arguments, **options):
        if next(failures):
            raise ModelFittingError("All attempts to fit the model have failed.")
        return fit(*arguments, **options)

    monkeypatch.setattr(botorch.fit, "fit_gpytorch_mll", sometimes)
    known = example_known(8)
    warm = replace(known, memo={"hyperparameters": {"y": {}}})
    cold = PlainBO().ask(warm)
    assert (cold.memo["rung"], "ModelFittingError" in cold.why["fell"]) == ("cold", True)
    assert PlainBO().ask(known).memo == {"rung": "sobol"}


def test_a_device_that_is_not_there_is_refused_before_any_proposal():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ArgumentError, match="torch finds no CUDA device"):
        PlainBO(device="cuda").prepare()


@pytest.mark.parametrize("unit", [1e-10, 1e9])
def test_the_unit_of_the_objective_changes_nothing(unit):
    """BoTorch alone standardises nothing that varies by less than 1e-8: a roughness in metres."""
    known = example_known(9)
    other = replace(known, y=unit * known.y, y_sd=unit * known.y_sd)
    here, there = PlainBO().ask(known), PlainBO().ask(other)
    assert there.x == pytest.approx(here.x, abs=0.02)
    assert there.why["mean"] / unit == pytest.approx(here.why["mean"], rel=0.02)
    gain = "log_expected_improvement"
    assert there.why[gain] - np.log(unit) == pytest.approx(here.why[gain], abs=0.1)
    PlainBO().prepare()
    x = known.x[:3]
    for found, expected in zip(
        PlainBO().moments(other, x), PlainBO().moments(known, x), strict=True
    ):
        assert found / unit == pytest.approx(expected, rel=0.05)
