"""The deviations that `rheed_frames` states, against the truth of more than a hundred films each.

A symmetric interval of +- 1.645 deviations must cover 85 to 95 % of the truths. Truth of a period is
the rate at which atoms came and stayed; of a lattice constant what was put in, the camera being off
by what its calibration allows; of a terrace size the correlation length of the heights' parity; of an
amplitude |<(-1)^h>|^2 of the heights themselves, at one whole layer and half a layer beside it. For
damping and recovery, which are what a model makes of a trace, it is what the same fit finds without
noise: those rows judge the noise, not the model.
"""

import numpy as np
import pytest

from twinloop.analysts.rheed_frames import RHEEDFramesAnalyst
from twinloop.simulators import rheed
from twinloop.simulators.kmc import Film, GrowthParameters

pytestmark = [pytest.mark.physics, pytest.mark.timeout(600)]

ANALYST = RHEEDFramesAnalyst()
MATERIAL = GrowthParameters(multi_hop=8)
DOSE_ML, PER_ML = 4, 50


def coverage(found, sd, truth):
    return float(np.mean(np.abs(np.array(found) - truth) < 1.645 * np.array(sd)))


def trace_of(rng, seed):
    """Return a growth of 4 ML and a pause: times, noise-free intensities, noise, rates, pause."""
    substrate_K, flux = rng.uniform(640, 730), rng.uniform(0.2, 0.8)
    film = Film.flat(size=48, parameters=MATERIAL, seed=seed)
    step_s = 1.0 / PER_ML / flux
    hold_s = rng.uniform(5.0, 20.0)
    before, pause = max(10, round(2.0 / step_s)), int(hold_s / step_s)
    clean = [1.0] * before
    for i in range(DOSE_ML * PER_ML + pause):
        on = flux if i < DOSE_ML * PER_ML else 0.0
        film.advance(temperature_K=substrate_K, flux_ML_per_s=on, duration_s=step_s)
        clean.append(rheed.antiphase_intensity(film.heights))
    times_s = np.arange(1 - before, DOSE_ML * PER_ML + pause + 1) * step_s
    noise = np.hypot(0.03 * np.sqrt(0.05 / max(step_s, 0.05)), 0.008)
    true_rate = film.coverage_ML * flux / DOSE_ML
    return times_s, np.array(clean), noise, flux, true_rate, hold_s


def height_of_first_maximum(coverage_ML, clean):
    """Return half of what |<(-1)^h>|^2 at one layer is above its mean half a layer beside it."""
    below, top, above = np.interp([0.5, 1.0, 1.5], coverage_ML, clean)
    return 0.5 * (top - 0.5 * (below + above))


def beats_shares(films):
    """Return which share of truths the intervals cover, and how many cases there were, by quantity."""
    rng = np.random.default_rng(2027)
    rows = {name: [] for name in ("period", "amplitude", "damping", "constant", "gain", "end")}
    for seed in range(films):
        times_s, clean, noise, flux, true_rate, hold_s = trace_of(rng, 9000 + seed)
        noisy = clean + noise * rng.standard_normal(clean.size)
        grown = times_s <= DOSE_ML / flux + 1e-9
        gauge = flux * (1.0 + 0.03 * rng.standard_normal())
        seen, truth = (
            ANALYST.compute("beats", time_s=times_s[grown], intensity=y[grown], rate_ML_per_s=gauge)
            for y in (noisy, clean)
        )
        if seen.amplitude > 0 and truth.amplitude > 0:
            rows["period"].append((seen.period_s, seen.period_sd_s, 1.0 / true_rate))
            direct = height_of_first_maximum(times_s * true_rate, clean)
            rows["amplitude"].append((seen.amplitude, seen.amplitude_sd, direct))
            rows["damping"].append(
                (seen.damping_per_ML, seen.damping_sd_per_ML, truth.damping_per_ML)
            )
        start_s = DOSE_ML / flux
        seen, truth = (
            ANALYST.compute(
                "recovery", time_s=times_s, intensity=y, start_s=start_s, end_s=start_s + hold_s
            )
            for y in (noisy, clean)
        )
        if seen.constant_sd_s < seen.constant_s and truth.constant_sd_s < truth.constant_s:
            rows["constant"].append((seen.constant_s, seen.constant_sd_s, truth.constant_s))
            rows["gain"].append((seen.gain, seen.gain_sd, truth.gain))
            rows["end"].append((seen.end, seen.end_sd, truth.end))
    return {name: (coverage(*np.array(cases).T), len(cases)) for name, cases in rows.items()}


def test_beats_and_recoveries_are_covered():
    found = beats_shares(200)
    assert found["period"][1] >= 100
    assert found["constant"][1] >= 100
    # one binomial deviation of so many cases is 2 to 3 %
    assert all(0.82 <= share <= 0.97 for share, _ in found.values()), found


def parity_length_A(heights, lattice_A):
    """Return where the correlation of the parity of the heights has fallen to 1 / e [A]."""
    parity = 1.0 - 2.0 * (heights & 1)
    power = np.abs(np.fft.fft2(parity - parity.mean())) ** 2
    both = np.fft.ifft2(power).real
    falling = 0.5 * (both[0, :48] + both[:48, 0]) / both[0, 0]
    k = int(np.argmax(falling < np.exp(-1)))
    return lattice_A * (k - 1 + (falling[k - 1] - np.exp(-1)) / (falling[k - 1] - falling[k]))


def streak_shares(films):
    """Return the same for frames, and the largest relative error of a lattice constant."""
    rng = np.random.default_rng(2028)
    lattice, terrace = [], []
    for seed in range(films):
        substrate_K, flux, dose = rng.uniform(600, 760), rng.uniform(0.2, 1), rng.uniform(0.2, 4)
        film = Film.flat(size=96, parameters=MATERIAL, seed=7000 + seed)
        film.advance(temperature_K=substrate_K, flux_ML_per_s=flux, duration_s=dose / flux)
        lattice_A = rng.uniform(3.7, 4.4)
        expected = rheed.frame(
            film.heights,
            shape=(160, 192),
            pixel_deg=0.02 * (1.0 + 0.002 * rng.standard_normal()),
            lattice_A=lattice_A,
        )
        frame = rheed.expose(
            expected,
            exposure_s=float(rng.choice([0.2, 1.0, 3.0])),
            gain=0.02,
            rng=rng,
            electrons_per_s=5e5,
            dark_counts=40.0,
        )
        found = ANALYST.compute("streaks", frame=frame)
        lattice.append((found.lattice_A, found.lattice_sd_A, lattice_A))
        truth_A = parity_length_A(film.heights, lattice_A)
        terrace.append((found.terrace_A, found.terrace_sd_A, truth_A))
    shares = {
        "lattice": (coverage(*np.array(lattice).T), films),
        "terrace": (coverage(*np.array(terrace).T), films),
    }
    found_A, _, truth_A = np.array(lattice).T
    return shares, float(np.abs(found_A / truth_A - 1.0).max())


def test_lattice_constants_and_terrace_sizes_are_covered():
    shares, worst = streak_shares(240)
    assert all(0.83 <= share <= 0.97 for share, _ in shares.values()), shares
    assert worst < 0.01
