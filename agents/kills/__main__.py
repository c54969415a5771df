"""Kill at random, and say what came of it; exit status 1 when a promise was broken."""

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from twinloop.agents.kills.random_kills import kill_at_random


def main() -> int:
    """Run schedules of kills, one after another."""
    parser = argparse.ArgumentParser(prog="python -m twinloop.agents.kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule")
    parser.add_argument("--schedules", type=int, default=1, help="how many, of following seeds")
    parser.add_argument("--kills", type=int, default=6, help="in each")
    parser.add_argument("--experiments", type=int, default=4, help="films in each")
    parser.add_argument("--ray", action="store_true", help="compute agents as Ray actors")
    given = parser.parse_args()
    n_broken = 0
    for seed in range(given.seed, given.seed + given.schedules):
        with tempfile.TemporaryDirectory(prefix="kills-") as home:
            tally = kill_at_random(
                Path(home),
                seed,
                kills=given.kills,
                experiments=given.experiments,
                with_ray=given.ray,
            )
        n_broken += len(tally.violations)
        sys.stdout.write(json.dumps({"seed": seed, **dataclasses.asdict(tally)}) + "\n")
        sys.stdout.flush()
    return 1 if n_broken else 0


if __name__ == "__main__":
    sys.exit(main())
