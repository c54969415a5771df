"""Scans in time: what the loop keeps, where it rings, what the machine adds."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.feedback import FeedbackLoop, stability_border
from twinloop.simulators.stm.graphene import graphene
from twinloop.simulators.stm.motion import Axis, Drift
from twinloop.simulators.stm.scan import CurrentNoise, Scanner, ScanWindow
from twinloop.simulators.stm.surface import Film, Sheet
from twinloop.simulators.stm.tip import Tip

FLAT = Film(np.zeros((8, 8))).field(bias_V=1.0)


def rng(seed=1):
    return np.random.default_rng(seed)


def stepped(height_ML=1.0):
    heights = np.zeros((32, 8))
    heights[:16] = height_ML
    return Film(heights).field(bias_V=1.0)


def ringing(loop, factor):
    """Return growth per step and frequency of the loop after a nudge of 0.1 pm."""
    scanner = Scanner(FLAT, loop.times(factor), rng())
    scanner.approach(0.0, 0.0, settle_s=0.0)
    scanner.nudge(1e-3)
    z_A = scanner.watch(1600)
    z_A = z_A - z_A[-200:].mean()
    envelope = [np.abs(z_A[i : i + 100]).max() for i in range(0, 1600, 100)]
    spectrum = np.abs(np.fft.rfft(z_A[100:] * np.hanning(1500)))
    frequency_Hz = np.fft.rfftfreq(1500, 1 / loop.rate_Hz)[spectrum[2:].argmax() + 2]
    return envelope, frequency_Hz


@pytest.mark.parametrize(
    "loop",
    [
        FeedbackLoop(),
        FeedbackLoop(proportional_A=0.05, integral_A_per_s=100.0, dead_steps=0),
        FeedbackLoop(proportional_A=0.01, integral_A_per_s=2000.0, dead_steps=2),
    ],
    ids=["integral", "mostly proportional", "dead time"],
)
def test_the_loop_rings_at_the_gain_and_frequency_of_control_theory(loop):
    slope_per_A = float(FLAT.slopes_per_A([0.0, 0.0, 8.8]))
    border = stability_border(loop, slope_per_A=slope_per_A)
    calm, _ = ringing(loop, 0.97 * border.gain)
    wild, frequency_Hz = ringing(loop, 1.03 * border.gain)
    assert calm[12] < calm[2]
    assert wild[12] > wild[2] * 1.2 or wild[12] > 0.01
    _, at_border_Hz = ringing(loop, border.gain)
    assert at_border_Hz == pytest.approx(border.ringing_Hz, rel=0.03)
    assert frequency_Hz > 0


def test_a_slow_scan_shows_a_step_at_its_height():
    scanner = Scanner(stepped(), FeedbackLoop(), rng())
    window = ScanWindow(64.0, 16.0, 100.0, 8.0, pixels=100, lines=2, line_s=0.5)
    line = list(scanner.frame(window))[1]
    for sweep in (line.trace, line.retrace):
        upper, lower = np.median(sweep.height_A[10:40]), np.median(sweep.height_A[60:90])
        assert upper - lower == pytest.approx(2.8, abs=0.02)
    assert np.abs(line.trace.error).mean() < 0.1
    assert line.climbed_A > 2 * 2.5


def test_a_scan_too_fast_for_its_loop_lags_behind_the_step_on_both_ways():
    loop = FeedbackLoop(integral_A_per_s=30.0)
    scanner = Scanner(stepped(), loop, rng())
    window = ScanWindow(64.0, 16.0, 100.0, 8.0, pixels=100, lines=1, line_s=0.05)
    line = next(iter(scanner.frame(window)))
    middle = 0.5 * (line.trace.height_A.max() + line.trace.height_A.min())
    there = np.flatnonzero(line.trace.height_A < middle)[0]
    back = np.flatnonzero(line.retrace.height_A > middle)[-1]
    assert there > back + 3
    assert np.abs(line.trace.error).max() > 0.5


def test_an_open_loop_holds_its_height_and_maps_the_current():
    loop = FeedbackLoop()
    scanner = Scanner(stepped(0.2), loop, rng())
    scanner.approach(20.0, 16.0)
    scanner.set_loop(replace(loop, is_closed=False))
    window = ScanWindow(64.0, 16.0, 100.0, 8.0, pixels=100, lines=1, line_s=0.2)
    before = scanner.line(window, 0)
    assert np.ptp(before.trace.height_A) < 1e-6
    x_A, y_A = window.mesh_A()
    z_A = np.full(100, before.trace.height_A[0])
    expected = scanner.field.currents_nA(np.column_stack([x_A[0], y_A[0], z_A]))
    assert before.trace.current_nA[5:95] == pytest.approx(expected[5:95], rel=0.03)
    scanner.shift_height(-1.0)
    after = scanner.line(window, 0)
    ratio = np.median(after.trace.current_nA / before.trace.current_nA)
    assert np.log(ratio) == pytest.approx(2 * scanner.field.decay_per_A, rel=0.05)


def test_drift_moves_the_picture_and_the_height():
    drift = Drift((0.5, 0.0, 0.2), 0.0)
    scanner = Scanner(stepped(), FeedbackLoop(), rng(), drift=drift)
    window = ScanWindow(64.0, 16.0, 100.0, 8.0, pixels=200, lines=8, line_s=0.5)
    lines = list(scanner.frame(window))

    def edge(sweep):
        return np.abs(np.diff(sweep.height_A)).argmax() * 0.5

    passed_s = lines[-1].start_s - lines[0].start_s
    moved_A = edge(lines[-1].trace) - edge(lines[0].trace)
    assert moved_A == pytest.approx(0.5 * passed_s, abs=1.0)
    risen_A = lines[-1].trace.height_A[20] - lines[0].trace.height_A[20]
    assert risen_A == pytest.approx(0.2 * passed_s, rel=0.05)


def test_hysteresis_parts_trace_and_retrace():
    def shift_A(axis):
        scanner = Scanner(stepped(), FeedbackLoop(), rng(), axes=(axis, Axis(0.0, 0.0)))
        window = ScanWindow(64.0, 16.0, 100.0, 8.0, pixels=200, lines=2, line_s=0.5)
        line = list(scanner.frame(window))[1]
        edges = [np.abs(np.diff(s.height_A)).argmax() for s in (line.trace, line.retrace)]
        return 0.5 * (edges[0] - edges[1])

    assert abs(shift_A(Axis(0.0, 0.0))) <= 1.0
    # The command must go farther on both ways: the edge shows late.
    assert shift_A(Axis(0.0, 0.1, range_A=100.0)) > 3.0


def test_noise_is_seeded_and_leaves_the_height_near_its_truth():
    window = ScanWindow(16.0, 16.0, 8.0, 8.0, pixels=64, lines=2, line_s=0.1)
    images = [
        np.array([
            line.trace.height_A
            for line in Scanner(FLAT, FeedbackLoop(), rng(seed), noise=CurrentNoise()).frame(window)
        ])
        for seed in (3, 3, 4)
    ]  # fmt: skip
    quiet = np.array(
        [line.trace.height_A for line in Scanner(FLAT, FeedbackLoop(), rng()).frame(window)]
    )
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert 1e-4 < np.std(images[0] - quiet) < 0.1


def test_a_dirty_tip_is_a_restless_one():
    window = ScanWindow(16.0, 16.0, 8.0, 8.0, pixels=64, lines=2, line_s=0.1)

    def spread(noise):
        scanner = Scanner(FLAT, FeedbackLoop(), rng(5), noise=noise)
        return np.std([line.trace.error for line in scanner.frame(window)])

    assert spread(CurrentNoise().with_dirt(1.0)) > 3 * spread(CurrentNoise())


def test_a_scan_can_be_left_between_lines_and_the_clock_goes_on():
    scanner = Scanner(FLAT, FeedbackLoop(), rng())
    window = ScanWindow(16.0, 16.0, 8.0, 8.0, pixels=16, lines=100, line_s=0.05)
    lines = []
    for line in scanner.frame(window):
        lines.append(line)
        if line.index == 2:
            break
    assert [line.index for line in lines] == [0, 1, 2]
    assert all(b.start_s >= a.start_s + a.duration_s for a, b in pairwise(lines))
    assert scanner.clock_s == pytest.approx(lines[-1].start_s + lines[-1].duration_s)
    assert lines[0].duration_s == pytest.approx(0.1, rel=0.05)


def test_a_wall_met_with_too_little_gain_is_a_crash_in_the_record():
    window = ScanWindow(64.0, 16.0, 100.0, 8.0, pixels=100, lines=1, line_s=0.05, angle_deg=180.0)
    lowest_A = []
    for gain_A_per_s, line_s in ((20.0, 0.05), (1000.0, 1.0)):
        scanner = Scanner(stepped(5.0), FeedbackLoop(integral_A_per_s=gain_A_per_s), rng())
        scanner.approach(114.0, 16.0)
        lowest_A.append(scanner.line(replace(window, line_s=line_s), 0).lowest_A)
    assert lowest_A[0] < 0.0
    assert lowest_A[1] > 2.5


def test_a_spectrum_is_taken_where_the_tip_stands():
    whole = graphene((13, 8))
    sheet = Sheet.of(whole.without([whole.nearest(16.0, 17.0)]), window_eV=(-0.6, 0.6))
    biases_V = np.linspace(-0.5, 0.5, 41)
    scanner = Scanner(sheet.field(bias_V=0.5), FeedbackLoop(), rng(), noise=CurrentNoise())
    at_zero = []
    for x_A, y_A in ((16.0, 17.0), (2.0, 2.0)):
        scanner.approach(x_A, y_A)
        found = scanner.spectrum(sheet, biases_V, tip=Tip())
        exact = sheet.conductances_nA_per_V(scanner.place_A, biases_V)[0]
        error = found.conductance_nA_per_V - exact
        assert 0.0 < np.abs(error).max() < 0.05 * exact.max()
        at_zero.append(found.conductance_nA_per_V[20])
    # The vacancy's state at the Fermi level is there, and not far from it.
    assert at_zero[0] > 3 * at_zero[1]


def test_calls_that_make_no_sense_are_refused():
    scanner = Scanner(FLAT, FeedbackLoop(), rng())
    window = ScanWindow(16.0, 16.0, 8.0, 8.0, pixels=16, lines=4)
    with pytest.raises(ArgumentError, match="index"):
        scanner.line(window, 4)
    with pytest.raises(ArgumentError, match="is_closed"):
        scanner.shift_height(1.0)
    with pytest.raises(ArgumentError, match="speed"):
        scanner.move_to(1.0, 1.0, speed_A_per_s=0.0)
    with pytest.raises(ArgumentError, match="pixels"):
        ScanWindow(0.0, 0.0, 10.0, 10.0, pixels=0)
