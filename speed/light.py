"""How light an adapter is: seconds until it is ready, and memory, in a bare environment.

    python speed/light.py

Builds the wheel, makes an environment with the wheel and its base requirements alone (pip needs an index, or a
cache), serves the furnace of `twinloop.instruments.testing` from there a few times, and measures from the start of
the process to `ready.txt`, which stands for: ledger open, device connected, watchdog connected. In turns with it: an
interpreter that imports numpy, pydantic and pyzmq and nothing else, the floor of any adapter on these packages.
"""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
from measure import median, write_result

from twinloop.clocks import RealWireClock

ROUNDS = 7
CLOCK = RealWireClock()
FLOOR = "import numpy, pydantic.main, zmq"


def wait_for(is_true: object) -> None:
    """Return when it is true."""
    while not is_true():
        threading.Event().wait(0.002)


def bare(folder: Path) -> Path:
    """Return the interpreter of an environment with the wheel alone."""
    quiet = ["--quiet", "--disable-pip-version-check"]
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder / "wheel",
    ]
    subprocess.run([*map(str, build), "."], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "bare")], check=True)
    python = folder / "bare" / "bin" / "python"
    (wheel,) = (folder / "wheel").glob("*.whl")
    install = [python, "-m", "pip", "install", *quiet, "-c", "constraints.txt", wheel]
    subprocess.run([str(word) for word in install], check=True)
    return python


def ready_s(python: Path, folder: Path, hub: str, n: int) -> tuple[float, list[float]]:
    """Return seconds until ready, and the memory of adapter and watchdog [MB]."""
    furnace = {"class": "twinloop.instruments.testing:Furnace"}
    furnace["settings"] = {"folder": str(folder / "line")}
    home = folder / f"adapter-{n}"
    spec = {"agent": f"pc{n}", "hub": hub, "folder": str(home), "instruments": {"furnace": furnace}}
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [
        str(python),
        "-m",
        "twinloop.instruments.server",
        "--spec",
        str(folder / "spec.json"),
    ]
    began_s = CLOCK.now_s()
    adapter = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for((home / "ready.txt").exists)
    taken_s = CLOCK.now_s() - began_s
    processes = [psutil.Process(adapter.pid), *psutil.Process(adapter.pid).children()]
    held_MB = [process.memory_info().rss / 1e6 for process in processes]
    adapter.terminate()
    adapter.wait(20)
    return taken_s, held_MB


def main() -> None:
    """Measure, and write the result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = bare(folder)
        packages = subprocess.run(
            [str(python), "-m", "pip", "list", "--format=freeze"],
            check=True, capture_output=True, text=True,
        ).stdout.split()  # fmt: skip
        announce = folder / "hub.txt"
        hub = subprocess.Popen(
            [str(python), "-m", "twinloop.agents.hub.process", "--endpoint", "tcp://127.0.0.1:0",
             "--announce", str(announce)]
        )  # fmt: skip
        wait_for(lambda: announce.exists() and announce.read_text().strip())
        taken, floor, held = [], [], []
        for n in range(ROUNDS + 1):
            seconds, memory = ready_s(python, folder, announce.read_text().strip(), n)
            began_s = CLOCK.now_s()
            subprocess.run([str(python), "-c", FLOOR], check=True)
            if n:  # the first round compiles and fills the caches of the disk
                taken.append(seconds)
                floor.append(CLOCK.now_s() - began_s)
                held.append(memory)
        hub.terminate()
    write_result(
        "light",
        {
            "aim": "ready in less than 1 s, less than 60 MB",
            "ready_s": {"median": median(taken), "max": round(max(taken), 3)},
            "floor_s": {"code": FLOOR, "median": median(floor)},
            "ready_over_floor": round(median(taken) / median(floor), 2),
            "adapter_MB": median([one[0] for one in held]),
            "watchdog_MB": median([one[1] for one in held]),
            "packages": len(packages),
            "heavy_ones": [p for p in packages if p.partition("=")[0] in {"ray", "torch", "scipy"}],
        },
    )


if __name__ == "__main__":
    main()
