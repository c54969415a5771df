"""A controlled heater against the closed loop that control theory writes down."""

import numpy as np
import pytest
from scipy import signal

from twinloop.errors import ArgumentError
from twinloop.simulators.temperature_loop import (
    Gains,
    TemperatureLoop,
    ThermalBody,
    closed_loop,
    poles_per_s,
)

BODY = ThermalBody()
LIVELY = Gains(
    proportional_per_K=0.01, integral_per_K_s=0.006, derivative_s_per_K=0.002, sample_s=0.002
)


def readings(loop, *, duration_s, step_s=0.1):
    found = []
    for _ in range(round(duration_s / step_s)):
        loop.advance(step_s)
        found.append(loop.reading_K)
    return np.array(found)


@pytest.mark.parametrize(
    "gains", [LIVELY, Gains(sample_s=0.002), Gains(derivative_s_per_K=0.0, sample_s=0.002)]
)
def test_a_small_step_answers_as_the_analytic_closed_loop(gains):
    loop = TemperatureLoop(BODY, gains, start_K=800.0)
    loop.ask(801.0)
    found = readings(loop, duration_s=30.0) - 800.0
    times_s = np.arange(301) * 0.1
    _, expected = signal.step(signal.TransferFunction(*closed_loop(BODY, gains)), T=times_s)
    assert np.abs(found - expected[1:]).max() < 0.002
    # the comparison must see an overshoot, not only an approach
    assert expected.max() > 1.02


def test_a_loop_at_the_border_of_stability_rings_and_one_beyond_it_is_refused():
    lag, slow, full = BODY.element_lag_s, BODY.body_lag_s, BODY.full_power_K
    k_p = 0.01
    # Routh: (tau_e + tau_b) (1 + K k_p) = tau_e tau_b K k_i
    border = (lag + slow) * (1 + full * k_p) / (lag * slow * full)
    below = Gains(
        proportional_per_K=k_p,
        integral_per_K_s=0.999 * border,
        derivative_s_per_K=0,
        sample_s=0.002,
    )
    assert abs(poles_per_s(BODY, below).real).min() < 1e-3
    loop = TemperatureLoop(BODY, below, start_K=800.0)
    loop.ask(800.5)
    found = readings(loop, duration_s=60.0) - 800.5
    early, late = found[100:200], found[-100:]
    assert np.ptp(late) == pytest.approx(np.ptp(early), rel=0.15)
    above = Gains(proportional_per_K=k_p, integral_per_K_s=1.05 * border, derivative_s_per_K=0)
    with pytest.raises(ArgumentError, match="stable"):
        TemperatureLoop(BODY, above, start_K=800.0)


def test_the_set_point_walks_no_faster_than_asked_and_the_body_lags_behind_it():
    loop = TemperatureLoop(BODY, Gains(), start_K=500.0)
    loop.ask(700.0, rate_K_per_s=5.0)
    points = []
    for _ in range(300):
        loop.advance(0.1)
        points.append(loop.set_point_K)
    assert np.diff([500.0, *points]).max() == pytest.approx(0.5)
    loop = TemperatureLoop(BODY, Gains(sample_s=0.002), start_K=500.0)
    loop.ask(1000.0, rate_K_per_s=5.0)
    found = readings(loop, duration_s=60.0)
    # a loop with one integrator follows a ramp late by rate / (K k_i)
    late_K = 500.0 + 5.0 * 60.0 - found[-1]
    assert late_K == pytest.approx(5.0 / (BODY.full_power_K * Gains().integral_per_K_s), rel=0.02)


def test_a_long_saturation_does_not_wind_the_integral_up():
    loop = TemperatureLoop(BODY, Gains(), start_K=400.0)
    loop.ask(1100.0)
    found = readings(loop, duration_s=120.0)
    assert found.max() < 1100.0 + 25.0
    assert found[-1] == pytest.approx(1100.0, abs=0.5)


def test_the_body_is_hotter_than_the_reading_by_the_offset():
    loop = TemperatureLoop(BODY, Gains(), start_K=700.0, offset_K=12.0)
    loop.ask(750.0)
    loop.advance(80.0)
    assert (loop.reading_K, loop.body_K) == (
        pytest.approx(750.0, abs=0.05),
        pytest.approx(762.0, abs=0.05),
    )
    assert loop.power == pytest.approx(BODY.power_at(762.0), rel=1e-3)


def test_a_broken_element_lets_the_body_cool_to_its_surroundings():
    loop = TemperatureLoop(BODY, Gains(), start_K=900.0)
    loop.is_broken = True
    loop.advance(6.0)
    # two lags in series from the stationary state: (t_b e^-t/t_b - t_e e^-t/t_e) / (t_b - t_e)
    left = (6.0 * np.exp(-1.0) - 1.5 * np.exp(-4.0)) / 4.5
    assert loop.body_K == pytest.approx(300.0 + 600.0 * left, rel=1e-6)
    loop.advance(200.0)
    assert loop.body_K == pytest.approx(300.0, abs=1e-3)


def test_no_time_changes_nothing():
    loop = TemperatureLoop(BODY, Gains(), start_K=600.0)
    loop.ask(900.0)
    loop.advance(0.0)
    assert (loop.reading_K, loop.set_point_K) == (600.0, 600.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ThermalBody(body_lag_s=2.0, element_lag_s=2.0),
        lambda: ThermalBody(full_power_K=0.0),
        lambda: Gains(proportional_per_K=-1.0),
        lambda: Gains(sample_s=0.0),
    ],
)
def test_what_no_heater_is_is_refused(call):
    with pytest.raises(ArgumentError):
        call()
