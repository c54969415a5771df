"""KMC events per CPU second, and what multi-hop walks of free adatoms save and spoil.

An event is what the kernel does in one step: an arrival, a hop, or (multi-hop) a walk of a free
adatom. The gain of multi-hop is told as CPU seconds of the same growth, not as events; its error as
the difference of the final intensity and of the quality from plain kinetic Monte Carlo, each a mean
over seeds with its standard error.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

from measure import median, write_result

from twinloop.simulators.film_quality import LOG_INTERDIFFUSION_RATE
from twinloop.simulators.kmc import Film, GrowthParameters
from twinloop.simulators.kmc_growth import KMCGrowth

RATE_FLUX_ML_PER_S = 0.2
RATE_K = 700.0
LATTICES = ((64, 1.0), (256, 0.1))
"""Size [sites] and dose [ML] of the growths that tell the rate of events."""

FILM_SIZE = 64
FLUX_ML_PER_S, DOSE_ML, ANNEAL_S = 0.3, 4.0, 10.0
SUBSTRATE_K = (700.0, 745.0, 790.0)
MULTI_HOPS = (1, 4, 8, 16)
NO_LIMIT = 10**9
"""Events of one growth: none of those here is finished coarsely."""

THETA = {
    "surface_barrier_eV": 1.30,
    "bond_energy_eV": 0.25,
    "step_barrier_eV": 0.05,
    "thermocouple_offset_K": 0.0,
    "log_flux_factor": 0.0,
    "log_interdiffusion_rate": LOG_INTERDIFFUSION_RATE,
}
SEEN = ("final_intensity", "quality")


def rate(size: int, dose_ML: float, seed: int) -> float:
    """Return plain events per CPU second [1/s]."""
    film = Film.flat(size=size, parameters=GrowthParameters(), seed=seed)
    began_s = time.process_time()
    done = film.advance(
        temperature_K=RATE_K,
        flux_ML_per_s=RATE_FLUX_ML_PER_S,
        duration_s=dose_ML / RATE_FLUX_ML_PER_S,
    )
    return done.events / (time.process_time() - began_s)


def grow(substrate_K: float, multi_hop: int, seed: int) -> tuple[float, dict[str, float]]:
    """Return CPU seconds of a growth with its anneal, and what it predicts."""
    x = {
        "substrate_K": substrate_K,
        "flux_ML_per_s": FLUX_ML_PER_S,
        "dose_ML": DOSE_ML,
        "anneal_s": ANNEAL_S,
    }
    simulator = KMCGrowth(size=FILM_SIZE, multi_hop=multi_hop, max_events=NO_LIMIT)
    began_s = time.process_time()
    said = simulator.simulate(x, THETA, seed)
    return time.process_time() - began_s, {name: said.scalars[name] for name in SEEN}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    return statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5


def compare(substrate_K: float, films: int) -> dict[str, dict[str, object]]:
    """Return cost and result of each multi-hop at a temperature, and how far plain KMC is."""
    cpu_s: dict[int, list[float]] = {hops: [] for hops in MULTI_HOPS}
    seen: dict[int, list[dict[str, float]]] = {hops: [] for hops in MULTI_HOPS}
    for film in range(films):
        # interleaved, so that another load on the machine burdens all of them alike
        for hops in MULTI_HOPS:
            cost_s, found = grow(substrate_K, hops, 1000 * hops + film)
            cpu_s[hops].append(cost_s)
            seen[hops].append(found)
    table: dict[str, dict[str, object]] = {}
    for hops in MULTI_HOPS:
        row: dict[str, object] = {"CPU s": median(cpu_s[hops])}
        row["plain costs times as much"] = round(median(cpu_s[1]) / median(cpu_s[hops]), 2)
        for name in SEEN:
            mean, error = mean_and_error([found[name] for found in seen[hops]])
            plain, plain_error = mean_and_error([found[name] for found in seen[1]])
            row[name] = f"{mean:.3f} +- {error:.3f}"
            if hops > 1:
                off = f"{mean - plain:+.3f} +- {(error**2 + plain_error**2) ** 0.5:.3f}"
                row[f"{name}, minus plain"] = off
        table[f"M = {hops}"] = row
    return table


def main() -> None:
    """Measure and write `results/kmc.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of the rate of events")
    parser.add_argument("--films", type=int, default=24, help="of each temperature and multi-hop")
    options = parser.parse_args()
    grow(620.0, 1, 0)  # compiles
    grow(620.0, 4, 0)
    rates: dict[str, list[float]] = {}
    for seed in range(options.rounds):
        for size, dose_ML in LATTICES:
            rates.setdefault(f"L = {size}", []).append(rate(size, dose_ML, seed))
    write_result(
        "kmc",
        {
            "material": "E_s 1.30 eV, E_n 0.25 eV, E_ES 0.05 eV",
            f"events per CPU second, M = 1, {RATE_K:g} K, {RATE_FLUX_ML_PER_S} ML/s": {
                name: median(values) for name, values in rates.items()
            },
            f"a film of {DOSE_ML:g} ML at {FLUX_ML_PER_S} ML/s, annealed {ANNEAL_S:g} s, "
            f"L = {FILM_SIZE}, {options.films} films each": {
                f"{substrate_K:g} K": compare(substrate_K, options.films)
                for substrate_K in SUBSTRATE_K
            },
        },
    )


if __name__ == "__main__":
    main()
