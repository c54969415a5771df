import numpy as np
import pytest

from twinloop.analysts.oscillation import fit_oscillation


def trace(frequency, damping, *, dose_ML=4.0, per_ML=50, noise=0.02, seed=0, phase=0.0):
    dose = np.arange(1, round(dose_ML * per_ML) + 1) / per_ML
    wave = np.cos(2 * np.pi * frequency * dose + phase)
    relative = 0.3 + 0.3 * np.exp(-dose) + 0.3 * np.exp(-damping * dose) * wave
    return dose, relative + noise * np.random.default_rng(seed).standard_normal(dose.size)


@pytest.mark.parametrize("frequency", [0.85, 0.93, 1.0, 1.08, 1.2])
@pytest.mark.parametrize("damping", [0.0, 0.3, 0.6])
def test_a_known_frequency_is_found_within_two_percent(frequency, damping):
    fit = fit_oscillation(*trace(frequency, damping))
    assert fit.is_sure
    assert fit.frequency == pytest.approx(frequency, rel=0.02)


@pytest.mark.parametrize("frequency", [1.0525, 1.055, 1.0575])
def test_a_frequency_between_the_trial_ones_is_refined(frequency):
    fit = fit_oscillation(*trace(frequency, 0.1, noise=0.001))
    assert fit.frequency == pytest.approx(frequency, rel=0.001)


def test_a_shift_of_phase_does_not_shift_the_frequency():
    fit = fit_oscillation(*trace(1.05, 0.2, phase=0.5))
    assert fit.frequency == pytest.approx(1.05, rel=0.02)


def test_coarse_sampling_is_enough():
    fit = fit_oscillation(*trace(1.07, 0.1, per_ML=13))
    assert fit.frequency == pytest.approx(1.07, rel=0.02)


def test_the_stated_deviation_is_the_scatter():
    found = [fit_oscillation(*trace(1.05, 0.3, noise=0.05, seed=s)) for s in range(30)]
    scatter = np.std([fit.frequency for fit in found], ddof=1)
    stated = np.mean([fit.frequency_sd for fit in found])
    # 30 draws: the scatter is known within 13 %, and the grid of dampings adds a little
    assert 0.6 < stated / scatter < 1.6


def test_the_damping_is_about_right():
    assert fit_oscillation(*trace(1.0, 0.0)).damping == 0.0
    assert fit_oscillation(*trace(1.0, 1.0, noise=0.001)).damping == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_a_trace_without_oscillation_is_not_sure(seed):
    dose, relative = trace(1.0, 0.3, seed=seed)
    flat = 0.5 + 0.02 * np.random.default_rng(seed).standard_normal(dose.size)
    assert not fit_oscillation(dose, flat).is_sure
    assert fit_oscillation(dose, relative).is_sure


def test_a_frequency_outside_the_range_is_not_sure():
    fit = fit_oscillation(*trace(1.5, 0.0))
    assert not fit.is_sure or not 0.75 < fit.frequency < 1.3


def test_too_few_samples_are_not_sure():
    assert not fit_oscillation(np.array([0.5, 1.0, 1.6]), np.array([0.2, 0.9, 0.3])).is_sure
