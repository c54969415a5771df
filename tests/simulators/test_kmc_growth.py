"""A predicted growth: its keys, its seed, its traces, its bound."""

import itertools

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.film_quality import film_quality, interdiffusion_part
from twinloop.simulators.interface import Cancelled, find_simulator
from twinloop.simulators.kmc_growth import INTENSITY_DOSES_ML, KMCGrowth, intensity_at

X = {"substrate_K": 720.0, "flux_ML_per_s": 0.5, "dose_ML": 4.0, "anneal_s": 2.0}
THETA = {
    "surface_barrier_eV": 1.30,
    "bond_energy_eV": 0.25,
    "step_barrier_eV": 0.05,
    "thermocouple_offset_K": 0.0,
    "log_flux_factor": 0.0,
}
SMALL = KMCGrowth(size=32)


def test_one_seed_gives_one_prediction():
    first, same, other = (SMALL.simulate(X, THETA, seed) for seed in (4, 4, 5))
    assert first.scalars == same.scalars
    assert np.array_equal(first.arrays["trace"], same.arrays["trace"])
    assert first.scalars["final_intensity"] != other.scalars["final_intensity"]


def test_traces_run_over_the_dose_and_the_anneal():
    prediction = SMALL.simulate(X, THETA, 1)
    trace, recovery = prediction.arrays["trace"], prediction.arrays["recovery"]
    assert trace.shape == (81, 2)
    assert (trace[0].tolist(), trace[-1, 0]) == ([0.0, 1.0], 4.0)
    assert recovery[-1].tolist() == [2.0, prediction.scalars["final_intensity"]]
    assert ((trace[:, 1] >= 0) & (trace[:, 1] <= 1)).all()
    assert prediction.scalars["growth_s"] == 8.0


def test_without_an_anneal_the_final_intensity_is_the_trace_s_last():
    prediction = SMALL.simulate({**X, "anneal_s": 0.0}, THETA, 1)
    assert prediction.arrays["recovery"].shape == (0, 2)
    assert prediction.scalars["final_intensity"] == prediction.arrays["trace"][-1, 1]


def test_a_warm_film_oscillates_once_a_layer():
    trace = KMCGrowth(size=64).simulate({**X, "substrate_K": 700.0}, THETA, 2).arrays["trace"]
    layers = [intensity_at(trace, dose_ML) for dose_ML in (0.5, 1.0, 1.5, 2.0, 2.5)]
    rises = [b > a for a, b in itertools.pairwise(layers)]
    assert rises == [True, False, True, False]


def test_a_thermocouple_that_reads_low_is_a_hotter_film():
    reads_low = SMALL.simulate(
        {**X, "substrate_K": 700.0}, {**THETA, "thermocouple_offset_K": 20.0}, 3
    )
    assert reads_low.scalars["events"] == SMALL.simulate(X, THETA, 3).scalars["events"]


def test_a_flux_error_changes_the_coverage_not_the_time():
    prediction = SMALL.simulate(X, {**THETA, "log_flux_factor": np.log(1.25)}, 3)
    assert prediction.scalars["coverage_ML"] == pytest.approx(5.0, abs=4 * np.sqrt(5.0) / 32)
    assert prediction.scalars["growth_s"] == 8.0


def test_the_quality_is_that_of_the_scalars_and_carries_interdiffusion_once():
    theta = {**THETA, "log_interdiffusion_rate": 41.2}
    scalars = SMALL.simulate(X, theta, 3).scalars
    flat = SMALL.simulate(X, THETA, 3).scalars
    left = interdiffusion_part(temperature_K=720.0, time_s=10.0, log_interdiffusion_rate=41.2)
    assert scalars["final_intensity"] == pytest.approx(flat["final_intensity"] * left**2)
    assert scalars["quality"] == pytest.approx(flat["quality"] * left)
    expected = film_quality(
        final_intensity=flat["final_intensity"],
        intensity_2ML=scalars["amplitude_2ML"] ** 2,
        growth_s=8.0, anneal_s=2.0, temperature_K=720.0, coverage_ML=scalars["coverage_ML"],
        log_interdiffusion_rate=41.2,
    )  # fmt: skip
    assert scalars["quality"] == pytest.approx(expected, rel=1e-12)
    assert left < 0.995


def test_all_that_may_be_compared_is_predicted():
    prediction = SMALL.simulate(X, THETA, 3)
    assert set(KMCGrowth.predicts) <= set(prediction.scalars)
    for name, dose_ML in INTENSITY_DOSES_ML.items():
        assert prediction.scalars[name] == intensity_at(prediction.arrays["trace"], dose_ML)


def test_a_theory_without_a_step_barrier_is_one_of_0_eV():
    left_out = {k: v for k, v in THETA.items() if k != "step_barrier_eV"}
    without = SMALL.simulate(X, left_out, 3).scalars
    assert without == SMALL.simulate(X, {**THETA, "step_barrier_eV": 0.0}, 3).scalars
    assert without != SMALL.simulate(X, THETA, 3).scalars


def test_a_listener_hears_of_each_layer_and_each_quarter_of_the_anneal():
    told = []
    prediction = SMALL.simulate(X, THETA, 3, partial=told.append)
    assert [t["done"] for t in told] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.85, 0.9, 0.95, 1.0])
    assert [t["intensity"] for t in told[:4]] == prediction.arrays["trace"][20::20, 1].tolist()
    assert prediction.scalars == SMALL.simulate(X, THETA, 3).scalars


def test_a_growth_beyond_its_budget_says_so():
    tight = KMCGrowth(size=32, max_events=5000)
    prediction = tight.simulate(X, THETA, 1)
    assert prediction.budget_exceeded
    assert prediction.scalars["events"] <= 7500 + 1024 * prediction.scalars["coverage_ML"]
    assert not SMALL.simulate(X, THETA, 1).budget_exceeded


def test_a_cancelled_growth_has_no_result():
    with pytest.raises(Cancelled):
        SMALL.simulate(X, THETA, 1, cancel=lambda: True)


@pytest.mark.parametrize(
    ("x", "theta", "key"),
    [
        ({k: v for k, v in X.items() if k != "dose_ML"}, THETA, "kmc_growth.dose_ML"),
        ({**X, "colour": 1.0}, THETA, "kmc_growth.colour"),
        (X, {**THETA, "bond_energy_eV": float("nan")}, "kmc_growth.bond_energy_eV"),
        ({**X, "flux_ML_per_s": 0.0}, THETA, "kmc_growth.flux_ML_per_s"),
        ({**X, "dose_ML": -1.0}, THETA, "kmc_growth.dose_ML"),
        ({**X, "anneal_s": -1.0}, THETA, "kmc_growth.anneal_s"),
    ],
)
def test_a_bad_key_is_named(x, theta, key):
    with pytest.raises(ArgumentError) as caught:
        SMALL.simulate(x, theta, 1)
    assert caught.value.name == key


def test_intensity_at_a_dose_is_a_mean_over_a_window():
    trace = np.column_stack([np.linspace(0, 4, 81), np.zeros(81)])
    trace[40, 1] = 1.0
    assert intensity_at(trace, 2.0) == pytest.approx(0.2)
    assert intensity_at(trace[::20], 2.5) == pytest.approx(0.5)


def test_it_is_found_by_its_name():
    assert find_simulator("kmc_growth") is KMCGrowth
