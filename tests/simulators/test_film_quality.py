"""The objective, against figures worked out by hand."""

import pytest

from twinloop.simulators import film_quality as fq


def test_the_film_part_is_the_mean_of_two_amplitudes():
    assert fq.film_part(final_intensity=0.81, intensity_2ML=0.64) == pytest.approx(0.72)
    assert fq.film_part(final_intensity=-0.01, intensity_2ML=0.64) == 0.0


def test_time_costs_a_factor_e_every_five_minutes():
    assert fq.throughput_part(growth_s=200.0, anneal_s=100.0) == pytest.approx(0.367879, rel=1e-5)


def test_interdiffusion_follows_arrhenius():
    # exp(41.2) / s at infinite temperature; 3.0 eV / k_B = 34813.6 K: exp(41.2 - 46.418) at 750 K.
    part = fq.interdiffusion_part(temperature_K=750.0, time_s=10.0, log_interdiffusion_rate=41.2)
    assert part == pytest.approx(0.9473, abs=2e-4)
    hotter = fq.interdiffusion_part(temperature_K=800.0, time_s=10.0, log_interdiffusion_rate=41.2)
    assert hotter < 0.65


def test_a_dose_beside_the_target_costs_the_same_on_either_side():
    assert fq.dose_part(coverage_ML=4.0) == 1.0
    assert fq.dose_part(coverage_ML=4.6) == pytest.approx(0.60653, rel=1e-4)
    assert fq.dose_part(coverage_ML=3.4) == pytest.approx(0.60653, rel=1e-4)


def test_a_theory_without_interdiffusion_is_too_kind_to_heat():
    arguments = {
        "final_intensity": 0.9, "intensity_2ML": 0.6, "growth_s": 10.0, "anneal_s": 10.0,
        "temperature_K": 800.0, "coverage_ML": 4.0,
    }  # fmt: skip
    blind = fq.film_quality(**arguments, log_interdiffusion_rate=None)
    seeing = fq.film_quality(**arguments, log_interdiffusion_rate=41.2)
    assert blind == pytest.approx(0.9**0.5 * 0.6**0.5 * 0.93551, rel=1e-4)
    assert seeing < 0.5 * blind
