"""What share of a campaign with theory somebody waited, and for whom.

The shipped campaign is run as `make run` does; the shares are read from its journal. A simulation
agent waits for the planner while it has nothing to do and the planner thinks.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import median, write_result

from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import read_history
from twinloop.agents.report.waiting import pool_of, waits_of


def one_campaign(folder: Path, config: str) -> dict[str, float]:
    """Run a campaign; return its shares."""
    command = [sys.executable, "-m", "twinloop.agents.cli", "run", config, "--no-view"]
    began_s = time.perf_counter()
    subprocess.run([*command, "--folder", str(folder)], check=True, capture_output=True)
    whole_s = time.perf_counter() - began_s
    history = read_history(Evidence(folder))
    pool, waits = pool_of(history), waits_of(history)
    return {
        "whole command [s]": whole_s,
        "experiments": float(len(history.observations)),
        "simulations": float(sum(s.state == "done" for s in history.simulated)),
        "share of the run: machine waited for the planner": waits.share(waits.planner_s),
        "share of the run: machine waited for simulations": waits.share(waits.simulations_s),
        "share of the run: machine waited for something else": waits.share(waits.rest_s),
        "share of the run: a simulation agent was busy": pool.utilisation,
        "share of the run: a simulation agent waited for the planner": pool.share(pool.waited_s),
    }


def main() -> None:
    """Measure and write `results/campaign.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--config", default="mbe_growth")
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, value in one_campaign(Path(folder) / "run", options.config).items():
                found.setdefault(name, []).append(value)
    write_result("campaign", {options.config: {k: median(v) for k, v in found.items()}})


if __name__ == "__main__":
    main()
