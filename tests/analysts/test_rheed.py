import math

import numpy as np
import pytest

from twinloop.analysts.interface import find_analyst
from twinloop.analysts.rheed import TRACE_DOSES_ML, RHEEDAnalyst, quality_of
from twinloop.errors import ArgumentError
from twinloop.instruments.standin.settings import ChamberSettings, DetectorSettings, Truth
from twinloop.instruments.standin.testing import Bench
from twinloop.simulators import film_quality as theory
from twinloop.simulators.kmc_growth import INTENSITY_DOSES_ML, KMCGrowth

ANALYST = RHEEDAnalyst()
LEVEL = 17_000.0


def trace(period_s, *, end_s=20.0, damping_per_s=0.05, noise=0.02, seed=0):
    """A trace of known period; the substrate stands at LEVEL."""
    time_s = np.arange(-40, round(end_s / 0.1) + 1) * 0.1
    wave = np.exp(-damping_per_s * time_s) * np.cos(2 * np.pi * time_s / period_s)
    relative = np.where(time_s <= 0, 1.0, 0.6 + 0.4 * wave)
    relative += noise * np.random.default_rng(seed).standard_normal(time_s.size)
    return {"time_s": time_s, "intensity": LEVEL * relative}


@pytest.mark.parametrize("period_s", [2.5, 4.0, 5.3])
@pytest.mark.parametrize("gauge_error", [0.93, 1.0, 1.07])
def test_the_period_is_found_whatever_the_gauge_says(period_s, gauge_error):
    found = ANALYST.compute("oscillation", **trace(period_s), rate_ML_per_s=gauge_error / period_s)
    assert found.period_s == pytest.approx(period_s, rel=0.02)
    assert found.rate_ML_per_s == pytest.approx(1.0 / period_s, abs=3 * found.rate_sd_ML_per_s)


def test_without_oscillation_the_gauge_is_believed_as_far_as_it_is_calibrated():
    time_s = np.arange(-40, 200) * 0.1
    noise = np.random.default_rng(1).standard_normal(time_s.size)
    found = ANALYST.compute(
        "oscillation", time_s=time_s, intensity=LEVEL * (0.9 + 0.02 * noise), rate_ML_per_s=0.2
    )
    assert found.rate_ML_per_s == 0.2
    assert found.rate_sd_ML_per_s == pytest.approx(0.016)
    assert found.maxima == 0


def test_maxima_are_counted_and_noise_is_not():
    quiet = ANALYST.compute("oscillation", **trace(5.0, noise=0.001), rate_ML_per_s=0.2)
    loud = ANALYST.compute("oscillation", **trace(5.0, noise=0.06), rate_ML_per_s=0.2)
    # maxima at 5, 10 and 15 s; the one at 20 s ends with the trace
    assert quiet.maxima == loud.maxima == 3


def test_damping_is_larger_where_the_trace_dies_faster():
    slow = ANALYST.compute("oscillation", **trace(5.0, damping_per_s=0.01), rate_ML_per_s=0.2)
    fast = ANALYST.compute("oscillation", **trace(5.0, damping_per_s=0.12), rate_ML_per_s=0.2)
    assert slow.damping_per_ML < 0.2
    assert fast.damping_per_ML > 0.4


def test_the_amplitude_at_two_layers_is_the_root_of_the_intensity():
    found = ANALYST.compute("amplitude_2ML", **trace(5.0, noise=0.005), rate_ML_per_s=0.2)
    expected = math.sqrt(0.6 + 0.4 * math.exp(-0.5))
    assert found.value == pytest.approx(expected, abs=3 * found.value_sd + 0.01)
    assert 0 < found.value_sd < 0.02


def test_analyst_and_simulator_agree_on_a_noiseless_trace():
    assert TRACE_DOSES_ML == INTENSITY_DOSES_ML
    theta = {
        "surface_barrier_eV": 1.3,
        "bond_energy_eV": 0.25,
        "thermocouple_offset_K": 0.0,
        "log_flux_factor": 0.0,
    }
    x = {"substrate_K": 700.0, "flux_ML_per_s": 0.5, "dose_ML": 4.0, "anneal_s": 0.0}
    predicted = KMCGrowth(size=32).simulate(x, theta, seed=1)
    dose_ML, relative = predicted.arrays["trace"].T
    found = ANALYST.compute(
        "trace_intensities",
        time_s=np.concatenate([np.linspace(-2.0, -0.1, 20), dose_ML / 0.5]),
        intensity=LEVEL * np.concatenate([np.ones(20), relative]),
        rate_ML_per_s=0.5,
    ).model_dump()
    for name in INTENSITY_DOSES_ML:
        assert found[name] == pytest.approx(predicted.scalars[name], abs=1e-9)
        assert found[f"{name}_sd"] == 0.0


def test_the_stated_deviation_of_a_trace_intensity_is_its_scatter():
    draws = [
        ANALYST.compute("trace_intensities", **trace(5.0, seed=seed), rate_ML_per_s=0.2)
        for seed in range(60)
    ]
    scatter = np.std([found.intensity_1p5ML for found in draws])
    assert np.mean([found.intensity_1p5ML_sd for found in draws]) == pytest.approx(scatter, rel=0.3)


def test_a_dose_that_was_not_reached_has_no_intensity():
    found = ANALYST.compute("trace_intensities", **trace(5.0, end_s=6.0), rate_ML_per_s=0.2)
    assert (found.intensity_1p5ML, found.intensity_1p5ML_sd) == (0.0, 1.0)
    assert found.intensity_1ML_sd < 0.1


def test_a_later_reading_is_taken_relative_to_the_substrate():
    found = ANALYST.compute(
        "final_intensity", **trace(5.0), specular=0.5 * LEVEL, specular_sd=0.01 * LEVEL
    )
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert found.value_sd == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("final", "second", "coverage", "growth_s", "anneal_s"),
    [(0.8, 0.5, 4.0, 10.0, 10.0), (0.2, 0.9, 3.5, 100.0, 0.0), (-0.01, 0.4, 4.4, 5.0, 30.0)],
)
def test_the_measured_quality_is_the_one_of_theory(final, second, coverage, growth_s, anneal_s):
    at = {"temperature_K": 740.0, "log_interdiffusion_rate": 41.0}
    expected = theory.film_quality(
        final_intensity=final,
        intensity_2ML=second,
        growth_s=growth_s,
        anneal_s=anneal_s,
        coverage_ML=coverage,
        **at,
    )
    kept = theory.interdiffusion_part(time_s=growth_s + anneal_s, **at)
    # the beam shows the loss by interdiffusion as a part of its amplitude
    measured, _ = quality_of(
        final * kept**2, 0.01, second, 0.01, coverage, 0.01, growth_s + anneal_s
    )
    assert measured == pytest.approx(expected)


def test_the_stated_deviation_of_the_quality_is_its_scatter():
    rng = np.random.default_rng(4)
    truth, sds = np.array([0.6, 0.5, 4.3]), np.array([0.03, 0.02, 0.06])
    draws = [
        quality_of(f, sds[0], s, sds[1], c, sds[2], 20.0)[0]
        for f, s, c in truth + sds * rng.standard_normal((4000, 3))
    ]
    _, stated = quality_of(truth[0], sds[0], truth[1], sds[1], truth[2], sds[2], 20.0)
    assert stated == pytest.approx(np.std(draws), rel=0.1)


def test_a_film_without_any_beam_has_no_quality_and_a_finite_deviation():
    quality, sd = quality_of(-0.02, 0.01, 0.0, 0.01, 4.0, 0.05, 20.0)
    assert quality == 0.0
    assert 0 < sd < 0.05


def test_a_trace_that_ends_before_two_layers_is_poor_not_an_error():
    short = trace(5.0, end_s=6.0)
    found = ANALYST.compute(
        "film_quality",
        **short,
        rate_ML_per_s=0.2,
        growth_s=6.0,
        anneal_s=0.0,
        specular=LEVEL,
        specular_sd=100.0,
    )
    assert found.quality == 0.0
    assert found.intensity_2ML_sd == 1.0


def test_a_trace_without_its_substrate_is_refused():
    whole = trace(5.0)
    late = whole["time_s"] > 0
    with pytest.raises(ArgumentError, match="before the opening"):
        ANALYST.compute(
            "oscillation",
            time_s=whole["time_s"][late],
            intensity=whole["intensity"][late],
            rate_ML_per_s=0.2,
        )


def test_the_spot_is_found_above_its_background():
    rows, columns = np.mgrid[0:96, 0:96]
    spot = 5000.0 * np.exp(-((rows - 60) ** 2 + (columns - 48) ** 2) / 2.0)
    frame = np.random.default_rng(0).poisson(300.0 + spot).astype(np.uint16)
    found = ANALYST.compute("spot_intensity", frame=frame)
    box = np.exp(-(np.mgrid[-1:2, -1:2] ** 2).sum(axis=0) / 2.0).mean()
    assert found.value == pytest.approx(5000.0 * box, rel=0.02)
    assert found.value_sd < 20
    empty = ANALYST.compute("spot_intensity", frame=np.full((96, 96), 300, dtype=np.uint16))
    assert empty.value == 0.0


def test_a_frame_that_is_too_small_is_refused():
    with pytest.raises(ArgumentError, match="pixels"):
        ANALYST.compute("spot_intensity", frame=np.zeros((8, 8)))


def test_the_entry_point_names_the_analyst():
    assert find_analyst("rheed") is RHEEDAnalyst


def grown_film(settings, *, substrate_K, flux_ML_per_s, anneal_s):
    bench = Bench(settings)

    async def trial():
        await bench.prepare("s1", substrate_K=substrate_K)
        grown, seen = await bench.grow("s1", flux_ML_per_s=flux_ML_per_s, dose_ML=4.0)
        await bench.act(bench.mbe, "anneal", "s1", hold_s=anneal_s)
        return grown, seen, await bench.act(bench.rheed, "specular", "s1", exposure_s=2.0)

    grown, seen, spot = bench.run(trial())
    truth = bench.mbe.truth()
    bench.close()
    return grown, seen, spot, truth


@pytest.mark.parametrize("flux_ML_per_s", [0.1, 0.4])
def test_the_trace_of_a_grown_film_tells_the_flux_error_that_the_gauge_hides(flux_ML_per_s):
    settings = ChamberSettings(size=48, seed=3, truth=Truth(log_flux_factor=0.09))
    grown, seen, _, truth = grown_film(
        settings, substrate_K=700.0, flux_ML_per_s=flux_ML_per_s, anneal_s=0.0
    )
    found = ANALYST.compute(
        "oscillation",
        time_s=seen.time_s,
        intensity=seen.intensity,
        rate_ML_per_s=grown.rate_ML_per_s,
    )
    coverage = found.rate_ML_per_s * grown.growth_s
    assert coverage == pytest.approx(truth["coverage_ML"], rel=0.03)
    assert abs(grown.dose_ML / truth["coverage_ML"] - 1) > 0.05


def test_the_quality_of_a_grown_film_is_what_the_chamber_knows():
    detector = DetectorSettings(white_noise=0.003, floor_noise=0.001)
    settings = ChamberSettings(size=48, seed=3, detector=detector)
    grown, seen, spot, truth = grown_film(
        settings, substrate_K=720.0, flux_ML_per_s=0.3, anneal_s=5.0
    )
    found = ANALYST.compute(
        "film_quality",
        time_s=seen.time_s,
        intensity=seen.intensity,
        rate_ML_per_s=grown.rate_ML_per_s,
        growth_s=grown.growth_s,
        anneal_s=5.0,
        specular=spot.intensity,
        specular_sd=spot.intensity_sd,
    )
    level = seen.intensity[seen.time_s <= 0].mean()
    near = np.abs(seen.time_s * grown.rate_ML_per_s - 2.0) <= 0.1
    expected = theory.film_quality(
        final_intensity=spot.intensity / level / np.exp(-2.0 * truth["mixing"]),
        intensity_2ML=seen.intensity[near].mean() / level,
        growth_s=grown.growth_s,
        anneal_s=5.0,
        temperature_K=truth["surface_K"],
        coverage_ML=truth["coverage_ML"],
        log_interdiffusion_rate=truth["truth"]["log_interdiffusion_rate"],
    )
    assert found.quality == pytest.approx(expected, rel=0.02)
    assert found.coverage_ML == pytest.approx(truth["coverage_ML"], abs=3 * found.coverage_sd_ML)
