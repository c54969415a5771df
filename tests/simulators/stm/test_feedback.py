"""The stability border against closed forms and against the roots of the closed loop."""

import numpy as np
import pytest
import scipy.linalg

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.feedback import FeedbackLoop, open_loop, stability_border

SLOPE_PER_A = -2.1


@pytest.mark.parametrize("dead_steps", [0, 1, 3])
def test_an_integrator_with_dead_time_rings_where_levin_and_may_say(dead_steps):
    # With instant piezo and amplifier the loop is z^d (z - 1) + K = 0, which leaves the unit circle
    # at K = 2 sin(pi / (2 (2 d + 1))) (Levin & May 1976), at rate / (2 (2 d + 1)).
    rate_Hz = 1000.0
    loop = FeedbackLoop(
        integral_A_per_s=1.0, rate_Hz=rate_Hz, resonance_Hz=5e5, quality=0.7, bandwidth_Hz=5e5,
        dead_steps=dead_steps,
    )  # fmt: skip
    border = stability_border(loop, slope_per_A=SLOPE_PER_A)
    gain = border.gain * -SLOPE_PER_A / rate_Hz
    assert gain == pytest.approx(2 * np.sin(np.pi / (2 * (2 * dead_steps + 1))), rel=0.01)
    assert border.ringing_Hz == pytest.approx(rate_Hz / (2 * (2 * dead_steps + 1)), rel=0.01)


def test_a_slow_integrator_with_a_resonance_rings_at_the_resonance():
    # Continuous time: K / s w0^2 / (s^2 + w0 s / Q + w0^2) leaves at w0, K = w0 / Q.
    loop = FeedbackLoop(
        integral_A_per_s=1.0, rate_Hz=5e5, resonance_Hz=1000.0, quality=20.0, bandwidth_Hz=2e5,
        dead_steps=0,
    )  # fmt: skip
    border = stability_border(loop, slope_per_A=SLOPE_PER_A)
    assert border.ringing_Hz == pytest.approx(1000.0, rel=0.01)
    assert border.gain * -SLOPE_PER_A == pytest.approx(2 * np.pi * 1000.0 / 20.0, rel=0.03)


def spectral_radius(loop):
    """Return the largest root of the whole closed loop, built as one matrix."""
    turn, cut, d = 2 * np.pi * loop.resonance_Hz, 2 * np.pi * loop.bandwidth_Hz, loop.dead_steps
    motion = np.zeros((4, 4))
    motion[0, 1] = 1
    motion[1] = [-(turn**2), -turn / loop.quality, 0, turn**2]
    motion[2] = [cut, 0, -cut, 0]
    step = scipy.linalg.expm(motion / loop.rate_Hz)
    # State: z, speed, amplified, integral, then the commands on their way.
    n = 4 + d
    whole = np.zeros((n, n))
    whole[:3, :3] = step[:3, :3]
    ki, kp = loop.integral_A_per_s / loop.rate_Hz, loop.proportional_A
    whole[3, 2], whole[3, 3] = ki * SLOPE_PER_A, 1.0
    command = np.zeros(n)
    command[2], command[3] = (ki + kp) * SLOPE_PER_A, 1.0
    if d == 0:
        whole[:3] += np.outer(step[:3, 3], command)
    else:
        whole[:3, 4 + d - 1] = step[:3, 3]
        whole[4] = command
        for i in range(1, d):
            whole[4 + i, 4 + i - 1] = 1.0
    return np.abs(np.linalg.eigvals(whole)).max()


@pytest.mark.parametrize(
    "loop",
    [
        FeedbackLoop(),
        FeedbackLoop(proportional_A=0.05, integral_A_per_s=100.0, dead_steps=0),
        FeedbackLoop(proportional_A=0.01, integral_A_per_s=2000.0, dead_steps=3, quality=40.0),
        FeedbackLoop(integral_A_per_s=300.0, resonance_Hz=9000.0, bandwidth_Hz=500.0),
    ],
)
def test_at_the_border_a_root_of_the_closed_loop_is_on_the_unit_circle(loop):
    border = stability_border(loop, slope_per_A=SLOPE_PER_A)
    assert spectral_radius(loop.times(border.gain)) == pytest.approx(1.0, abs=1e-9)
    assert spectral_radius(loop.times(0.98 * border.gain)) < 1.0
    assert spectral_radius(loop.times(1.02 * border.gain)) > 1.0


def test_gains_scale_the_open_loop_and_the_border():
    loop, frequencies_Hz = FeedbackLoop(), np.array([100.0, 1000.0])
    once = open_loop(loop, frequencies_Hz, slope_per_A=SLOPE_PER_A)
    twice = open_loop(loop.times(2.0), frequencies_Hz, slope_per_A=SLOPE_PER_A)
    assert twice == pytest.approx(2 * once)
    borders = [stability_border(one, slope_per_A=SLOPE_PER_A) for one in (loop, loop.times(2.0))]
    assert borders[0].gain == pytest.approx(2 * borders[1].gain)


def test_a_resonator_rests_where_it_is_commanded_and_rings_at_its_frequency():
    loop = FeedbackLoop(resonance_Hz=1000.0, quality=50.0)
    step = loop.piezo_step(1e-5)
    assert step[0, 0] + step[0, 2] == pytest.approx(1.0, abs=1e-12)
    roots = np.linalg.eigvals(step[:, :2])
    assert np.abs(np.angle(roots)) / (2 * np.pi * 1e-5) == pytest.approx([1000.0] * 2, rel=1e-3)
    assert np.abs(roots) == pytest.approx(np.exp([-np.pi * 1000.0 / 50.0 * 1e-5] * 2), rel=1e-9)


@pytest.mark.parametrize(
    "bad",
    [{"setpoint_nA": 0.0}, {"integral_A_per_s": -1.0}, {"dead_steps": -1}, {"quality": np.nan}],
)
def test_settings_outside_their_range_are_refused(bad):
    with pytest.raises(ArgumentError):
        FeedbackLoop(**bad)


def test_a_border_needs_a_gain_and_a_falling_current():
    with pytest.raises(ArgumentError, match="gain"):
        stability_border(FeedbackLoop(integral_A_per_s=0.0), slope_per_A=SLOPE_PER_A)
    with pytest.raises(ArgumentError, match="slope_per_A"):
        stability_border(FeedbackLoop(), slope_per_A=1.0)
