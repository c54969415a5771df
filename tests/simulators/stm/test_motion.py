"""Creep, hysteresis, drift and coloured noise against their defining laws."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.motion import Axis, Drift, coloured_noise


def test_creep_adds_its_part_in_every_decade_of_time():
    axis = Axis(creep=0.02, hysteresis=0.0)
    state = axis.rest(0.0)
    step_s = 0.05
    place_A = axis.follow(state, np.full(4000, 100.0), step_s=step_s)
    times_s = step_s * np.arange(1, 4001)
    inside = (times_s > 0.5) & (times_s < 150.0)
    slope_A = np.polyfit(np.log10(times_s[inside]), place_A[inside], 1)[0]
    # Croft et al. 2001: z(t) = z0 (1 + gamma log10(t / t0)).
    assert slope_A == pytest.approx(0.02 * 100.0, rel=0.1)


def test_creep_does_not_depend_on_how_time_is_cut():
    axis = Axis(creep=0.02, hysteresis=0.0)
    coarse, fine = axis.rest(), axis.rest()
    once = axis.follow(coarse, np.array([100.0]), step_s=1.0)
    often = axis.follow(fine, np.full(100, 100.0), step_s=0.01)
    assert once[-1] == pytest.approx(often[-1], abs=1e-9)


def test_a_large_loop_is_as_wide_as_the_axis_says():
    axis = Axis(creep=0.0, hysteresis=0.1, range_A=1000.0)
    state = axis.rest()
    up = np.linspace(0.0, 1000.0, 401)
    for command in (up, up[::-1]):
        axis.follow(state, command, step_s=0.01)
    rising = axis.follow(state, up, step_s=0.01)
    falling = axis.follow(state, up[::-1], step_s=0.01)[::-1]
    assert np.max(falling - rising) == pytest.approx(0.1 * 1000.0, rel=0.02)


def test_hysteresis_knows_no_rate_and_forgets_small_loops():
    axis = Axis(creep=0.0, hysteresis=0.1, range_A=1000.0)
    up = np.linspace(0.0, 600.0, 301)
    slow, fast = (axis.follow(axis.rest(), up, step_s=s) for s in (1.0, 1e-4))
    assert np.array_equal(slow, fast)
    # Madelung's rule: a small loop inside is closed and leaves the large one as it was.
    with_loop = np.concatenate([up, up[::-1][:50], up[-50:]])
    state = axis.rest()
    assert axis.follow(state, with_loop, step_s=0.1)[-1] == pytest.approx(fast[-1], abs=1e-9)


def test_an_ideal_axis_goes_where_it_is_sent():
    command = np.array([0.0, 50.0, -20.0])
    axis = Axis(0.0, 0.0)
    assert axis.follow(axis.rest(), command, step_s=0.1) == pytest.approx(command)


def test_a_random_walk_spreads_with_the_root_of_time():
    rng = np.random.default_rng(2)
    ends = np.array([
        Drift((0.0, 0.0, 0.0), 0.3).advance(np.full(16, 1.0), rng)[-1] for _ in range(600)
    ])  # fmt: skip
    assert ends.std() == pytest.approx(0.3 * np.sqrt(16.0), rel=0.06)


def test_drift_goes_on_where_it_stood():
    drift = Drift((0.1, 0.0, -0.2), 0.0)
    rng = np.random.default_rng(0)
    drift.advance(np.full(5, 2.0), rng)
    assert drift.advance(np.full(1, 1.0), rng)[-1] == pytest.approx([1.1, 0.0, -2.2])


def test_noise_has_the_spectrum_it_was_asked_for():
    rng = np.random.default_rng(4)
    rate_Hz, n = 2000.0, 1 << 14
    power = np.zeros(n // 2 + 1)
    for _ in range(40):
        noise = coloured_noise(n, rate_Hz=rate_Hz, density=0.01, corner_Hz=100.0, rng=rng)
        power += np.abs(np.fft.rfft(noise * np.hanning(n))) ** 2
    power *= 2 / (rate_Hz * np.sum(np.hanning(n) ** 2) * 40)
    frequencies_Hz = np.fft.rfftfreq(n, 1 / rate_Hz)
    for low_Hz, high_Hz in ((3, 6), (20, 40), (100, 200), (500, 900)):
        band = (frequencies_Hz > low_Hz) & (frequencies_Hz < high_Hz)
        expected = 0.01**2 * np.mean(1 + 100.0 / frequencies_Hz[band])
        assert power[band].mean() == pytest.approx(expected, rel=0.12)


def test_settings_outside_their_range_are_refused():
    with pytest.raises(ArgumentError, match="creep"):
        Axis(creep=2.0)
    with pytest.raises(ArgumentError, match="range_A"):
        Axis(range_A=0.0)
    with pytest.raises(ArgumentError, match="n:"):
        coloured_noise(0, rate_Hz=1.0, density=1.0, corner_Hz=0.0, rng=np.random.default_rng(0))
