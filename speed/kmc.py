"""KMC events per CPU second, plain and with multi-hop walks, by lattice size and temperature.

An event is what the kernel does in one step: an arrival, a hop, or (multi-hop) a walk of a free
adatom. The gain of multi-hop is told as CPU seconds of the same growth, not as events.
"""

import argparse
import time

from measure import median, write_result

from twinloop.simulators.kmc import Film, GrowthParameters

FLUX_ML_PER_S = 0.2


def grow(
    size: int, temperature_K: float, multi_hop: int, dose_ML: float, seed: int
) -> tuple[float, int]:
    """Return CPU seconds and events of one growth."""
    film = Film.flat(size=size, parameters=GrowthParameters(multi_hop=multi_hop), seed=seed)
    began_s = time.process_time()
    done = film.advance(
        temperature_K=temperature_K,
        flux_ML_per_s=FLUX_ML_PER_S,
        duration_s=dose_ML / FLUX_ML_PER_S,
    )
    return time.process_time() - began_s, done.events


def main() -> None:
    """Measure and write `results/kmc.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    grow(32, 620.0, 1, 0.1, 0)
    grow(32, 620.0, 4, 0.1, 0)
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    for seed in range(options.rounds):
        for size, dose_ML in ((64, 1.0), (96, 1.0), (256, 0.1)):
            cpu_s, events = grow(size, 700.0, 1, dose_ML, seed)
            rates.setdefault(f"L = {size}", []).append(events / cpu_s)
        for temperature_K in (620.0, 700.0, 750.0):
            for multi_hop in (1, 4):
                cpu_s, _ = grow(64, temperature_K, multi_hop, 1.0, seed)
                name = f"{temperature_K:g} K, M = {multi_hop}"
                costs.setdefault(name, []).append(cpu_s)
    write_result(
        "kmc",
        {
            "conditions": f"{FLUX_ML_PER_S} ML/s, E_s 1.30 eV, E_n 0.25 eV, E_ES 0.05 eV",
            "events per CPU second, M = 1, 700 K": {k: median(v) for k, v in rates.items()},
            "CPU seconds of 1 ML at L = 64": {k: median(v) for k, v in costs.items()},
        },
    )


if __name__ == "__main__":
    main()
