"""A controlled heater against control theory, and its cooling against Stefan and Boltzmann's law."""

import numpy as np
import pytest
from scipy import integrate, signal

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
    _, expected = signal.step(signal.TransferFunction(*closed_loop(BODY, gains, 800.5)), T=times_s)
    # the loss of a body that is 1 K hotter is larger by 3 / 800 of itself
    assert np.abs(found - expected[1:]).max() < 0.002
    # the comparison must see an overshoot, not only an approach
    assert expected.max() > 1.02


def test_a_loop_at_the_border_of_stability_rings_and_one_beyond_it_is_refused():
    lag, slow, full = BODY.element_lag_s, BODY.lag_s(800.0), BODY.gain_K(800.0)
    k_p = 0.01
    # Routh: (tau_e + tau_b) (1 + K k_p) = tau_e tau_b K k_i
    border = (lag + slow) * (1 + full * k_p) / (lag * slow * full)
    below = Gains(
        proportional_per_K=k_p,
        integral_per_K_s=0.999 * border,
        derivative_s_per_K=0,
        sample_s=0.002,
    )
    assert abs(poles_per_s(BODY, below, 800.0).real).min() < 1e-3
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
    # the integrator must raise the power by what a hotter body loses: it is late by rate / (K k_i),
    # with the K of the time k_p / k_i before, for so long the loop remembers
    late_K = 500.0 + 5.0 * 60.0 - found[-1]
    before_K = found[-1] - 5.0 * Gains().proportional_per_K / Gains().integral_per_K_s
    expected_K = 5.0 / (BODY.gain_K(before_K) * Gains().integral_per_K_s)
    assert late_K == pytest.approx(expected_K, rel=0.03)


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


def seconds_to_cool(body, hot_K, cold_K):
    """Return how long a body that gets no heat takes from hot to cold, from its rate dT/dt [s]."""
    around_K, full_K = body.surroundings_K, body.surroundings_K + body.full_power_K

    def primitive(kelvin):
        # of 1 / (T^4 - T_s^4)
        part = np.log((kelvin - around_K) / (kelvin + around_K)) - 2 * np.arctan(kelvin / around_K)
        return part / (4 * around_K**3)

    rate_per_K3_s = body.full_power_K / body.body_lag_s / (full_K**4 - around_K**4)
    return (primitive(hot_K) - primitive(cold_K)) / rate_per_K3_s


@pytest.mark.parametrize("passed_s", [5.0, 50.0, 500.0])
def test_a_broken_element_lets_the_body_cool_by_radiation(passed_s):
    loop = TemperatureLoop(BODY, Gains(), start_K=1000.0)
    loop.is_broken = True
    # the element's own heat is gone after fourteen of its lags
    loop.advance(21.0)
    hot_K = loop.body_K
    loop.advance(passed_s)
    assert seconds_to_cool(BODY, hot_K, loop.body_K) == pytest.approx(passed_s, rel=1e-3)


def test_full_power_warms_as_an_integrator_of_the_equations_says():
    loop = TemperatureLoop(BODY, Gains(), start_K=450.0)
    loop.ask(3000.0)
    found = readings(loop, duration_s=20.0)

    def slopes(_, state):
        element, kelvin = state
        rise = element - (kelvin**4 - 300.0**4) / (1400.0**4 - 300.0**4)
        return (1.0 - element) / 1.5, 1100.0 / 6.0 * rise

    begin = (BODY.power_at(450.0), 450.0)
    times_s = np.arange(1, 201) * 0.1
    exact = integrate.solve_ivp(slopes, (0, 20.0), begin, t_eval=times_s, rtol=1e-9, atol=1e-9)
    assert np.abs(found - exact.y[1]).max() < 0.05
    assert found[-1] == pytest.approx(1400.0, abs=1.0)


def test_the_power_that_holds_a_temperature_goes_with_its_fourth_power():
    cold = ThermalBody(surroundings_K=1.0, full_power_K=1400.0)
    assert cold.power_at(800.0) / cold.power_at(400.0) == pytest.approx(16.0, rel=1e-6)
    # one kelvin more at 850 K: 4 dT / T
    more = cold.power_at(850.5) / cold.power_at(849.5)
    assert more == pytest.approx(1.0 + 4.0 / 850.0, rel=2e-5)
    assert BODY.gain_K(850.0) * (BODY.power_at(850.5) - BODY.power_at(849.5)) == pytest.approx(
        1.0, rel=1e-5
    )


def test_equal_lags_of_element_and_body_are_no_special_case():
    lag_s = BODY.lag_s(900.0)
    bodies = [ThermalBody(element_lag_s=lag_s * (1 + off)) for off in (0.0, 1e-12, 1e-7)]
    found = []
    for body in bodies:
        loop = TemperatureLoop(body, Gains(derivative_s_per_K=0.1), start_K=900.0)
        loop.ask(905.0)
        found.append(readings(loop, duration_s=5.0))
    assert np.ptp(found, axis=0).max() < 1e-5


def test_no_time_changes_nothing():
    loop = TemperatureLoop(BODY, Gains(), start_K=600.0)
    loop.ask(900.0)
    loop.advance(0.0)
    assert (loop.reading_K, loop.set_point_K) == (600.0, 600.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ThermalBody(element_lag_s=0.0),
        lambda: ThermalBody(surroundings_K=0.0),
        lambda: ThermalBody(full_power_K=0.0),
        lambda: Gains(proportional_per_K=-1.0),
        lambda: Gains(sample_s=0.0),
    ],
)
def test_what_no_heater_is_is_refused(call):
    with pytest.raises(ArgumentError):
        call()
