from dataclasses import replace

import numpy as np
import pytest

from twinloop.planners.plain_bo import expected_warnings
from twinloop.planners.testing import example_theory
from twinloop.planners.theory import calibration
from twinloop.planners.theory.calibration import calibrate, measured
from twinloop.planners.theory.emulator import fit_emulator


def calibrated(known, seed=1, start=()):
    with expected_warnings():
        emulator = fit_emulator(known, known.theory, None)
        found = measured(known, known.theory, emulator.scatter.numpy())
        return calibrate(found, emulator, known.theory, seed, start)


def test_without_an_experiment_the_posterior_is_the_prior():
    found = calibrated(example_theory(0)).summary(example_theory(0).theory)
    assert found["mean"] == pytest.approx([0.5, 0.5], abs=0.03)
    assert found["sd"] == pytest.approx([0.15, 0.15], rel=0.15)


@pytest.mark.parametrize("truth", [(0.6, 0.4), (0.3, 0.65), (0.8, 0.5)])
def test_the_truth_is_found_within_what_is_claimed(truth):
    known = example_theory(8, m=128, truth={"place_1": truth[0], "place_2": truth[1]})
    found = calibrated(known).summary(known.theory)
    off = (np.array(found["mean"]) - truth) / np.array(found["sd"])
    assert np.all(np.abs(off) < 3.0)
    assert np.all(np.array(found["sd"]) < 0.04)


def test_a_trace_alone_tells_a_parameter_that_the_objective_hides():
    """Far from the bump the objective is flat; the trace is linear in the first place."""
    x = np.array([[0.02, 0.98], [0.98, 0.02]])
    known = example_theory(2, m=128, x=x, truth={"place_1": 0.62, "place_2": 0.5})
    with_trace = calibrated(known).summary(known.theory)
    blind = example_theory(2, m=128, x=x, truth={"place_1": 0.62, "place_2": 0.5})
    blind.features["trace"][:] = np.nan
    without = calibrated(blind).summary(blind.theory)
    assert with_trace["mean"][0] == pytest.approx(0.62, abs=0.05)
    assert with_trace["sd"][0] < 0.5 * without["sd"][0]


def test_a_linear_theory_gives_the_posterior_of_the_textbook():
    """Normal prior, linear theory, normal noise: the posterior is known in closed form."""
    x = np.array([[0.02, 0.98], [0.5, 0.02], [0.98, 0.02], [0.3, 0.97]])
    known = example_theory(4, m=200, x=x)
    known.y_sd[:] = 50.0  # the objective says nothing: what is left is linear
    found = calibrated(known)
    emulator_scatter = 0.01
    spread = known.simulations.values[:, 1].std(ddof=1)
    noise = np.hypot(max(0.02, emulator_scatter), found.tau[1] * spread)
    precision = 1 / 0.15**2 + 4 / noise**2
    data = known.features["trace"][:, 0] - 0.5 * x[:, 0]
    mean = (0.5 / 0.15**2 + data.sum() / noise**2) / precision
    summary = found.summary(known.theory)
    assert summary["mean"][0] == pytest.approx(mean, abs=2.0 / np.sqrt(precision))
    # Student-t tails and the emulator's error may widen it
    assert 0.7 < summary["sd"][0] * np.sqrt(precision) < 2.5


def test_the_same_seed_gives_the_same_bits_and_a_start_the_same_answer():
    known = example_theory(5, m=96)
    one, two = calibrated(known), calibrated(known)
    assert np.array_equal(one.z, two.z)
    warm = calibrated(known, start=list(one.mode))
    assert warm.z.mean(axis=0) == pytest.approx(one.z.mean(axis=0), abs=0.15)


def test_a_bound_of_a_parameter_is_kept():
    known = example_theory(3, m=64)
    priors = dict(known.theory.priors)
    object.__setattr__(priors["place_2"], "at_least", 0.45)
    found = calibrated(known)
    assert np.all(0.5 + 0.15 * found.z[:, 1] >= 0.45 - 1e-12)


def with_a_third(unit):
    """What `example_theory` tells, and a third observable in its own unit that says nothing."""
    x = np.array([[0.02, 0.98], [0.98, 0.02], [0.5, 0.02]])
    known = example_theory(3, m=96, x=x, truth={"place_1": 0.62, "place_2": 0.5})
    rng = np.random.default_rng(0)
    simulated, seen = known.simulations.x.mean(axis=1), x.mean(axis=1)
    third = unit * (simulated + 0.01 * rng.standard_normal(96))
    measured_there = unit * (seen + 0.02 * rng.standard_normal(3))
    features = {**known.features, "third": np.stack([measured_there, [0.02 * unit] * 3], axis=1)}
    values = np.column_stack([known.simulations.values, third])
    return replace(
        known,
        theory=replace(known.theory, observables=("quality", "trace", "third")),
        simulations=replace(known.simulations, values=values),
        features=features,
    )


def test_an_observable_in_a_large_unit_does_not_hide_what_another_one_tells():
    posteriors = [calibrated(with_a_third(unit)) for unit in (1.0, 1000.0)]
    means, sds = (
        np.array([getattr(p.z, name)(axis=0) for p in posteriors]) for name in ("mean", "std")
    )
    assert means[0] == pytest.approx(means[1], abs=0.1)
    assert sds[0] == pytest.approx(sds[1], rel=0.15)
    assert sds[1][0] < 0.4  # of the prior's: the trace tells the first place


def test_many_draws_are_taken_in_parts_and_none_is_lost(monkeypatch):
    known = example_theory(5, m=48)
    whole = calibrated(known)
    monkeypatch.setattr(calibration, "_BLOCK", 5 * 48 * 2 * 7)
    parts = calibrated(known)
    assert parts.z.mean(axis=0) == pytest.approx(whole.z.mean(axis=0), abs=1e-6)
    assert parts.tau == pytest.approx(whole.tau, rel=1e-6)
