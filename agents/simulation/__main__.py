"""Run seeds of the fault simulation: `python -m twinloop.agents.simulation --seed 17 [--runs 200]`."""

import argparse
import sys
from collections import Counter

from twinloop.agents.simulation.bakery import Scenario
from twinloop.agents.simulation.check import run_world


def main() -> int:
    """Run the seeds; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m twinloop.agents.simulation")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds")
    parser.add_argument("--loses-ledger", action="store_true", help="the adapter's disk is lost")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    virtual_s = 0.0
    broken = 0
    for seed in range(options.seed, options.seed + options.runs):
        scenario = Scenario(parallel=1 + seed % 2, loses_ledger=options.loses_ledger)
        report = run_world(seed, scenario)
        counts.update(report.counts)
        virtual_s += report.virtual_s
        if report.violations:
            broken += 1
            sys.stdout.write(f"{report}\n")
    sys.stdout.write(
        f"{options.runs} seeds, {virtual_s:.0f} virtual s, {dict(counts)}, {broken} broken\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
