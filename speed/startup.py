"""How long things take until they are of use: command line, first command of a campaign, Ray.

The campaign is `quick` with Ray as placement; times are read from its journal and log, so they say
what a person waits for.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import yaml
from measure import median, write_result

from twinloop.agents.campaign.reading import history


def seconds(command: list[str]) -> float:
    """Return how long a command takes [s]."""
    began_s = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began_s


def one_campaign(folder: Path) -> dict[str, float]:
    """Run a short campaign; return when what happened, seconds after the command was given."""
    shipped = files("twinloop.configs").joinpath("campaigns", "quick.yaml").read_text()
    config = yaml.safe_load(shipped) | {"placement": {"in_process": False}}
    path = folder / "quick_ray.yaml"
    path.write_text(json.dumps(config))
    run = folder / "run"
    began = time.time()
    command = [sys.executable, "-m", "twinloop.agents.cli", "run", str(path), "--no-view"]
    whole_s = seconds([*command, "--folder", str(run)])
    found = {"whole campaign of 6 experiments": whole_s}
    from datetime import datetime

    for stored, event in history(run):
        at_s = datetime.fromisoformat(stored.at).timestamp() - began
        if event.kind == "conductor_started":
            found.setdefault("conductor leads", at_s)
        elif event.kind == "commanded":
            found.setdefault("first command to an instrument", at_s)
        elif event.kind == "computed" and event.place.startswith("analyst"):
            found.setdefault("first answer of a Ray actor", at_s)
    return found


def main() -> None:
    """Measure and write `results/startup.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        help_s = seconds([sys.executable, "-m", "twinloop.agents.cli", "--help"])
        found.setdefault("twinloop --help", []).append(help_s)
        imports = "import twinloop.instruments.server"
        found.setdefault("import of the adapter server", []).append(
            seconds([sys.executable, "-c", imports])
        )
        with tempfile.TemporaryDirectory() as folder:
            for name, value in one_campaign(Path(folder)).items():
                found.setdefault(name, []).append(value)
    write_result("startup", {"seconds": {k: median(v) for k, v in found.items()}})


if __name__ == "__main__":
    main()
