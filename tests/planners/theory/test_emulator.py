from dataclasses import replace

import numpy as np
import pytest
import torch

from twinloop.planners.plain_bo import expected_warnings
from twinloop.planners.testing import example_theory
from twinloop.planners.theory.emulator import Remembered, fit_emulator


def emulator(m, remembered=None):
    known = example_theory(m=m)
    with expected_warnings():
        return fit_emulator(known, known.theory, remembered)


def truth(x, theta):
    return np.exp(-8.0 * ((x - theta) ** 2).sum(axis=1))


def places(n=300):
    rng = np.random.default_rng(9)
    return rng.random((n, 2)), 0.5 + 0.15 * rng.standard_normal((n, 2))


def test_it_predicts_the_closed_form_better_the_more_it_has_seen():
    x, theta = places()
    errors = []
    for m in (32, 128):
        made = emulator(m)
        found = made.mean(made.coordinates.of_theta(x, theta), 0).numpy()
        errors.append(float(np.sqrt(np.mean((found - truth(x, theta)) ** 2))))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.06


def test_its_own_error_covers_what_it_gets_wrong():
    x, theta = places()
    made = emulator(64)
    inputs = made.coordinates.of_theta(x, theta)
    off = (made.mean(inputs, 0).numpy() - truth(x, theta)) / made.sd(inputs, 0).numpy()
    # a calibrated normal: 68 % within one, 95 % within two
    assert np.mean(np.abs(off) < 1.0) > 0.5
    assert np.mean(np.abs(off) < 3.0) > 0.93


def test_the_measured_error_is_that_of_leaving_one_out():
    """Against a second implementation: refit the weights without each prediction in turn."""
    known = example_theory(m=24)
    with expected_warnings():
        made = fit_emulator(known, known.theory, None)
    inputs = made._inputs
    values = torch.as_tensor(known.simulations.values[:, 0])
    standard = (values - made._mean[0]) / made._sd[0]
    errors = []
    for row in range(24):
        rest = [r for r in range(24) if r != row]
        k = made._one_kernel(inputs[rest], inputs[rest], 0) + made._noise[0] * torch.eye(23)
        weights = torch.linalg.solve(k, standard[rest])
        own = made._one_kernel(inputs[row : row + 1], inputs[rest], 0)
        errors.append(float((standard[row] - own @ weights) * made._sd[0]))
    assert float(made.loo_rmse[0]) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-6)


def test_hyperparameters_are_kept_until_there_is_half_as_much_again():
    first = emulator(32).remembered
    assert emulator(40, first).remembered == first
    assert emulator(64, first).remembered.rows == 64
    assert Remembered.from_json(first.to_json()) == first


def test_predictions_over_their_cost_bound_are_left_out():
    known = example_theory(m=40)
    known.simulations.exceeded[:10] = True
    with expected_warnings():
        assert fit_emulator(known, known.theory, None).m == 30


def test_of_very_many_predictions_the_even_design_stays():
    """A campaign refines where it is; elsewhere theory must not forget what it said."""
    known = example_theory(m=120)
    rng = np.random.default_rng(4)
    near = np.clip(0.6 + 0.05 * rng.standard_normal((900, 4)), 0.0, 1.0)
    x, theta = near[:, :2], near[:, 2:]
    values = np.stack([truth(x, theta), theta[:, 0] + 0.5 * x[:, 0]], axis=1)
    simulations = replace(
        known.simulations,
        x=np.vstack([known.simulations.x, x]),
        theta=np.vstack([known.simulations.theta, theta]),
        values=np.vstack([known.simulations.values, values]),
        exceeded=np.zeros(1020, dtype=bool),
    )
    many = replace(known, simulations=simulations)
    first = emulator(120)
    with expected_warnings():
        found = fit_emulator(many, many.theory, replace(first.remembered, rows=1000))
    assert found.m == 700
    at, there = places()
    off = [
        made.mean(made.coordinates.of_theta(at, there), 0).numpy() - truth(at, there)
        for made in (first, found)
    ]
    errors = np.sqrt(np.mean(np.square(off), axis=1))
    assert errors[1] < 1.3 * errors[0]
    # what theory ever said is the yardstick, not what is looked at now
    assert found.worst(is_maximised=True) == many.simulations.values[:, 0].min()
    assert found.spread == pytest.approx(many.simulations.values.std(axis=0, ddof=1))


@pytest.mark.parametrize("unit", [1e-12, 1e9])
def test_the_unit_of_an_observable_changes_nothing(unit):
    known = example_theory(m=48)
    scaled = replace(known, simulations=replace(
        known.simulations, values=unit * known.simulations.values
    ))  # fmt: skip
    with expected_warnings():
        one, other = (fit_emulator(k, k.theory, None) for k in (known, scaled))
    x, theta = places(20)
    inputs = one.coordinates.of_theta(x, theta)
    for found, expected in (
        (other.mean(inputs, 0), one.mean(inputs, 0)),
        (other.sd(inputs, 0), one.sd(inputs, 0)),
    ):
        assert found.numpy() / unit == pytest.approx(expected.numpy(), rel=0.02, abs=1e-3)


def test_an_observable_that_never_varies_is_predicted():
    known = example_theory(m=48)
    known.simulations.values[:, 1] = 300.0
    with expected_warnings():
        made = fit_emulator(known, known.theory, None)
    x, theta = places(5)
    assert made.mean(made.coordinates.of_theta(x, theta), 1).numpy() == pytest.approx(300.0)
