import numpy as np
import pytest

from twinloop.planners.plain_bo import expected_warnings
from twinloop.planners.testing import example_theory
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
    noise = np.hypot(max(0.02, emulator_scatter), found.tau[1])
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
