"""Seconds of one suggestion on the CPU and on a GPU, side by side, and how far the answers differ.

The theory is a closed form, so that only the planner is measured. Wall time, because a GPU's own time
is not CPU time; torch takes as many CPU threads as are given, 1 as in a campaign unless told.
Where torch finds no CUDA device it measures nothing; `python speed/device.py cpu` compares the CPU with
itself, to see how much is chance.
"""

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
import torch
from measure import write_result

from twinloop.planners.interface import Known, Planner
from twinloop.planners.plain_bo import PlainBO
from twinloop.planners.testing import example_theory
from twinloop.planners.theory_bo import TheoryBO

SIZES = ((10, 300, 7), (30, 300, 7), (100, 300, 7), (200, 700, 7))
REPEATS = 3
TRUTH = {"place_1": 0.7, "place_2": 0.35}


def known_of(n: int, m: int, q: int) -> Known:
    """Return n experiments and m simulations of q observables."""
    rng = np.random.default_rng([n, m])
    x = np.clip(np.array(list(TRUTH.values())) + 0.2 * rng.standard_normal((n, 2)), 0.0, 1.0)
    known = example_theory(n, m=m, truth=TRUTH, x=x)
    names = tuple(f"trace_{k}" for k in range(q - 1))
    simulated, seen = known.simulations.values, known.features["trace"]
    others = [simulated[:, [1]] + 0.01 * rng.standard_normal((m, 1)) for _ in names]
    return replace(
        known,
        theory=replace(known.theory, observables=("quality", *names)),
        simulations=replace(known.simulations, values=np.hstack([simulated[:, :1], *others])),
        features={
            name: np.column_stack([seen[:, 0] + 0.02 * rng.standard_normal(n), seen[:, 1]])
            for name in names
        },
    )


def asked(planner: Planner, known: Known) -> tuple[float, np.ndarray, dict, dict]:
    """Return seconds, point, reasons and memo of one suggestion."""
    began_s = time.perf_counter()
    answer = planner.ask(known)
    return time.perf_counter() - began_s, answer.x, dict(answer.why), dict(answer.memo)


def compared(kind: type[Planner], known: Known, device: str) -> dict[str, object]:
    """Return figures of both devices, in turns, after one suggestion each that is not counted."""
    planners = {"cpu": kind(device="cpu"), device: kind(device=device)}
    if kind is TheoryBO:
        planners = {name: kind(device=name, holds=0) for name in planners}
    first = {name: asked(planner, known) for name, planner in planners.items()}
    taken: dict[str, list[float]] = {name: [] for name in planners}
    for k in range(REPEATS):
        for name, planner in planners.items():
            later = replace(known, seed=known.seed + k, memo=first[name][3])
            taken[name].append(asked(planner, later)[0])
    cpu_s, device_s = (statistics.median(taken[name]) for name in ("cpu", device))
    return {
        "cpu [s]": round(cpu_s, 3),
        f"{device} [s]": round(device_s, 3),
        "ratio": round(device_s / cpu_s, 2),
        "points apart": float(np.linalg.norm(first["cpu"][1] - first[device][1]).round(4)),
        "means apart": float(round(abs(first["cpu"][2]["mean"] - first[device][2]["mean"]), 5)),
        "rungs": sorted({str(said[2]["rung"]) for said in first.values()}),
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("device", choices=("cpu", "cuda"), nargs="?", default="cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, default=len(SIZES))
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device here: nothing is measured, results/device.json stays")
        return
    torch.set_num_threads(given.threads)
    figures = {}
    for n, m, q in SIZES[: given.sizes]:
        known = known_of(n, m, q)
        name = f"{n} experiments, {m} simulations, {q} observables"
        figures[name] = {
            kind.name: compared(kind, known, given.device) for kind in (TheoryBO, PlainBO)
        }
        print(name, figures[name], flush=True)
    what = torch.cuda.get_device_name() if given.device == "cuda" else "none"
    found = {"device": what, "torch threads": given.threads, "suggestion": figures}
    write_result("device", found)


if __name__ == "__main__":
    main()
