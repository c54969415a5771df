"""What every measurement shares: medians, the machine's name, the JSON result."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from twinloop.clocks import utc_now


def median(values: Sequence[float]) -> float:
    """Return the median, rounded to four figures."""
    return float(f"{statistics.median(values):.4g}")


def machine() -> dict[str, Any]:
    """Return what the figures were measured on; ratios travel, absolute figures do not."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [ln for ln in info.read_text().splitlines() if ln.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "platform": platform.system(),
        "versions": {n: _version(n) for n in ("pyzmq", "ray", "numpy", "numba", "torch")},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_result(name: str, found: dict[str, Any]) -> None:
    """Write `speed/results/NAME.json` and print it."""
    folder = Path("speed/results")
    folder.mkdir(parents=True, exist_ok=True)
    command = f"python {' '.join([sys.argv[0].removeprefix('./'), *sys.argv[1:]])}"
    result = {"command": command, "measured": utc_now()[:19], "machine": machine(), **found}
    text = json.dumps(result, indent=2) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    print(text)
