"""Pairs of atoms per CPU second of the Debye sum, beside DebyeCalculator; the cost of a film's scan.

Both codes do the same cluster on the same 1,000 points of q, in turns, on one thread; ours in float64
and within 1e-8 of the sum of sines for each atom, theirs in its default float32 on its default grid.
Without DebyeCalculator (an optional test dependency) only our figures are measured.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase.cluster import Octahedron
from measure import median, write_result

from twinloop.analysts.xrd import XRDAnalyst
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.xrd.debye import debye_intensity, direct_sums
from twinloop.simulators.xrd.film import Optics, expected_counts_per_s
from twinloop.simulators.xrd.film_trials import film_trial
from twinloop.simulators.xrd.grown_film import planes_of_film

EDGES = (7, 13, 19)
"""Atoms along the edge of the octahedra."""

Q_PER_A = 0.5 + 0.0195 * np.arange(1000)
SCAN_DEG = np.arange(25.0, 39.0, 0.05)


def cpu_s(work: Callable[[], Any]) -> float:
    """Return CPU seconds of one call."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def their_sum(atoms: Any) -> Callable[[], Any] | None:
    """Return DebyeCalculator's sum of a cluster, or None."""
    if find_spec("debyecalculator") is None:
        return None
    import torch
    from debyecalculator import DebyeCalculator

    torch.set_num_threads(1)
    calculator = DebyeCalculator(qmin=0.5, qmax=20.0, qstep=0.0195, device="cpu")
    return lambda: calculator.iq(atoms)


def clusters(rounds: int) -> dict[str, Any]:
    """Return both rates by cluster."""
    table: dict[str, Any] = {}
    for edge in EDGES:
        atoms = Octahedron("Au", edge, 1)
        pairs = len(atoms) * (len(atoms) - 1) / 2
        theirs = their_sum(atoms)
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(rounds):
            # in turns, so that another load on the machine burdens both alike
            times["ours"].append(
                cpu_s(partial(debye_intensity, atoms.numbers, atoms.positions, Q_PER_A))
            )
            if theirs is not None:
                times["theirs"].append(cpu_s(theirs))
        found: dict[str, Any] = {
            "pairs": int(pairs),
            "pairs per CPU second": median([pairs / t for t in times["ours"]]),
        }
        if theirs is not None:
            found["DebyeCalculator, pairs per CPU second"] = median(
                [pairs / t for t in times["theirs"]]
            )
            ratio = [t / o for t, o in zip(times["theirs"], times["ours"], strict=True)]
            found["DebyeCalculator costs times as much"] = median(ratio)
        table[f"{len(atoms)} atoms"] = found
    return table


def scan_of(film: FilmStructure) -> Any:
    """Return the rates of a scan, from the heights of the film on."""
    return expected_counts_per_s(planes_of_film(film), SCAN_DEG, Optics())


def scans(rounds: int) -> dict[str, Any]:
    """Return CPU seconds of one scan of 280 points, and of reading it."""
    table: dict[str, Any] = {}
    for height_ML in (10, 40, 100):
        sample = partial(scan_of, FilmStructure.flat(64, height_ML))
        times = [cpu_s(sample) for _ in range(rounds)]
        table[f"scan of {height_ML} ML, CPU s"] = median(times)
    trial, analyst = film_trial(3), XRDAnalyst()
    arguments = {"two_theta_deg": trial.two_theta_deg, "counts": trial.counts}
    reading = [cpu_s(lambda: analyst.compute("film", **arguments)) for _ in range(rounds)]
    table["reading a film of a scan, CPU s"] = median(reading)
    return table


def main() -> None:
    """Measure and write `results/xrd.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    small = Octahedron("Au", 5, 1)
    debye_intensity(small.numbers, small.positions, Q_PER_A)  # compiles
    direct_sums(small.positions, None, Q_PER_A[:10])
    if (warm := their_sum(small)) is not None:
        warm()
    pairs = len(small) * (len(small) - 1) / 2
    plain = cpu_s(lambda: direct_sums(small.positions, None, Q_PER_A))
    write_result(
        "xrd",
        {
            "Debye sum, 1000 points of q to 20 1/A": clusters(options.rounds),
            "sine by sine, pairs per CPU second": median([pairs / plain]),
            "film on a substrate, 280 points": scans(options.rounds),
        },
    )


if __name__ == "__main__":
    main()
