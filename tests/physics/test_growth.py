"""Growth against what is known without this code: theory, exact enumeration, plain kinetic MC."""

import itertools

import numpy as np
import pytest
from scipy import ndimage, stats

from twinloop.simulators.kmc import BOLTZMANN_EV_PER_K, Film, GrowthParameters
from twinloop.simulators.kmc_growth import KMCGrowth
from twinloop.simulators.rheed import antiphase_intensity

pytestmark = [pytest.mark.physics, pytest.mark.timeout(600)]

PRIOR_MEANS = {
    "surface_barrier_eV": 1.30,
    "bond_energy_eV": 0.25,
    "step_barrier_eV": 0.05,
    "thermocouple_offset_K": 0.0,
    "log_flux_factor": 0.0,
}


def mean_trace(temperature_K: float, flux_ML_per_s: float, runs: int) -> np.ndarray:
    """Return the specular intensity every 0.025 ML up to 5 ML, plain KMC, averaged over runs."""
    traces = []
    for seed in range(runs):
        film = Film.flat(size=128, parameters=GrowthParameters(), seed=seed)
        trace = [1.0]
        for _ in range(200):
            film.advance(
                temperature_K=temperature_K,
                flux_ML_per_s=flux_ML_per_s,
                duration_s=0.025 / flux_ML_per_s,
            )
            trace.append(antiphase_intensity(film.heights))
        traces.append(trace)
    return np.mean(traces, axis=0)


def oscillation_period_ML(trace: np.ndarray) -> float:
    """Return the mean spacing of maxima and of minima, each placed by a parabola."""
    dose_ML = np.arange(trace.size) * 0.025
    slopes = []
    for signal in (trace, -trace):
        places = []
        for i in range(8, trace.size - 8):
            if signal[i] == signal[max(0, i - 14) : i + 15].max():
                curve = np.polyfit(dose_ML[i - 5 : i + 6], signal[i - 5 : i + 6], 2)
                places.append(-0.5 * curve[1] / curve[0])
        slopes.append(np.polyfit(range(len(places)), places, 1)[0])
    return float(np.mean(slopes))


@pytest.mark.parametrize("flux_ML_per_s", [0.2, 0.4, 0.8])
def test_one_oscillation_is_one_monolayer(flux_ML_per_s):
    period_ML = oscillation_period_ML(mean_trace(700.0, flux_ML_per_s, runs=4))
    assert period_ML == pytest.approx(1.0, abs=0.02)


def test_oscillations_are_damped_less_on_a_warmer_substrate():
    second_maximum = [
        np.max(mean_trace(temperature_K, 0.4, runs=3)[70:91])
        for temperature_K in (500.0, 600.0, 640.0, 680.0, 720.0)
    ]
    assert second_maximum[0] < 0.01
    assert all(warmer > 1.3 * colder for colder, warmer in itertools.pairwise(second_maximum))


def test_an_anneal_brings_the_intensity_back():
    film = Film.flat(size=128, parameters=GrowthParameters(multi_hop=8), seed=1)
    film.advance(temperature_K=720.0, flux_ML_per_s=0.5, duration_s=8.0)
    seen = [antiphase_intensity(film.heights)]
    for _ in range(3):
        film.advance(temperature_K=720.0, flux_ML_per_s=0.0, duration_s=10.0)
        seen.append(antiphase_intensity(film.heights))
    assert seen[1] > seen[0] + 0.1
    assert seen[3] > seen[1]


def island_count(heights: np.ndarray) -> int:
    """Return the clusters of at least two covered sites on a periodic lattice."""
    labels, found = ndimage.label(heights > 0)
    parent = list(range(found + 1))

    def root(label: int) -> int:
        while parent[label] != label:
            label = parent[label]
        return label

    for edge, opposite in ((labels[0], labels[-1]), (labels[:, 0], labels[:, -1])):
        for a, b in zip(edge, opposite, strict=True):
            if a and b:
                parent[root(a)] = root(b)
    sizes = np.bincount([root(label) for label in labels.ravel()], minlength=found + 1)[1:]
    return int((sizes >= 2).sum())


def test_irreversible_islands_scale_with_the_cube_root_of_flux_over_diffusion():
    """Rate equations for a critical size of one atom give N ~ (D/F)^(-1/3).

    Source: Amar, Family & Lam, Phys. Rev. B 50, 8781 (1994), doi:10.1103/PhysRevB.50.8781.
    """
    irreversible = GrowthParameters(surface_barrier_eV=0.7, bond_energy_eV=3.0, step_barrier_eV=0.0)
    hop_per_s = irreversible.hop_rates_per_s(500.0)[0]
    ratios, runs, size = np.geomspace(1e4, 1e7, 5), 4, 400
    density = []
    for ratio in ratios:
        flux_ML_per_s = hop_per_s / 4 / ratio
        counts = []
        for seed in range(runs):
            film = Film.flat(size=size, parameters=irreversible, seed=seed)
            film.advance(
                temperature_K=500.0, flux_ML_per_s=flux_ML_per_s, duration_s=0.1 / flux_ML_per_s
            )
            counts.append(island_count(film.heights))
        density.append(np.mean(counts) / size**2)
    exponent = np.polyfit(np.log(ratios), np.log(density), 1)[0]
    assert exponent == pytest.approx(-1 / 3, abs=0.02)


def lateral_bonds(heights: np.ndarray) -> int:
    """Return the lateral bonds of a periodic surface: min(h_i, h_j) over neighbouring columns."""
    return int(
        np.minimum(heights, np.roll(heights, 1, 0)).sum()
        + np.minimum(heights, np.roll(heights, 1, 1)).sum()
    )


@pytest.mark.parametrize("atoms", [2, 3])
def test_every_state_of_a_tiny_lattice_has_its_boltzmann_weight(atoms):
    temperature_K, bond_eV = 600.0, 0.08
    parameters = GrowthParameters(
        surface_barrier_eV=0.5, bond_energy_eV=bond_eV, step_barrier_eV=0.03, inert_substrate=True
    )
    states, weights = [], []
    for sites in itertools.combinations_with_replacement(range(9), atoms):
        heights = np.bincount(sites, minlength=9).reshape(3, 3)
        states.append(heights.tobytes())
        weights.append(
            np.exp(lateral_bonds(heights) * bond_eV / (BOLTZMANN_EV_PER_K * temperature_K))
        )
    place = {state: i for i, state in enumerate(states)}
    start = np.bincount(range(atoms), minlength=9).reshape(3, 3)
    film = Film(start, parameters=parameters, seed=11)
    # A hop of a bound atom takes 4e-9 to 4e-8 s here: samples 1 us apart are independent.
    counts = np.zeros(len(states))
    for _ in range(60_000):
        film.advance(temperature_K=temperature_K, flux_ML_per_s=0.0, duration_s=1e-6)
        counts[place[film.heights.astype(np.int64).tobytes()]] += 1
    expected = np.array(weights) / np.sum(weights) * counts.sum()
    assert expected.min() > 20
    assert stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize("substrate_K", [700.0, 750.0])
def test_multi_hop_moves_agree_with_plain_kinetic_monte_carlo(substrate_K):
    x = {"substrate_K": substrate_K, "flux_ML_per_s": 0.5, "dose_ML": 4.0, "anneal_s": 2.0}
    names = ("final_intensity", "amplitude_2ML", "roughness_ML")
    samples = {
        hops: np.array(
            [
                [prediction.scalars[name] for name in names]
                for prediction in (
                    KMCGrowth(size=64, multi_hop=hops).simulate(x, PRIOR_MEANS, seed)
                    for seed in range(100 * hops, 100 * hops + 40)
                )
            ]
        )
        for hops in (1, 4)
    }
    difference = samples[4].mean(axis=0) - samples[1].mean(axis=0)
    error = np.sqrt(sum(s.var(axis=0, ddof=1) / len(s) for s in samples.values()))
    assert (np.abs(difference) < 3 * error).all()
    # The comparison must be able to see a difference that would matter.
    assert (error < [0.03, 0.02, 0.03]).all()


def free_adatoms(multi_hop: int) -> float:
    """Return the mean number of free adatoms among 150 on 32 x 32 sites, in equilibrium."""
    parameters = GrowthParameters(bond_energy_eV=0.12, inert_substrate=True, multi_hop=multi_hop)
    seen = []
    for seed in range(6):
        start = np.zeros((32, 32), dtype=np.int32)
        start.ravel()[np.random.default_rng(seed).choice(1024, 150, replace=False)] = 1
        film = Film(start, parameters=parameters, seed=seed)
        film.advance(temperature_K=700.0, flux_ML_per_s=0.0, duration_s=0.2)
        for _ in range(600):
            film.advance(temperature_K=700.0, flux_ML_per_s=0.0, duration_s=0.002)
            seen.append(film.class_counts[0])
    return float(np.mean(seen))


def test_multi_hop_moves_leave_free_adatoms_free_for_the_right_time():
    """Walks that always wait for their first hop gave 31 % (M = 4) and 169 % (M = 16) too many."""
    plain = free_adatoms(1)
    assert free_adatoms(4) == pytest.approx(plain, rel=0.10)
    assert free_adatoms(16) == pytest.approx(plain, rel=0.25)
