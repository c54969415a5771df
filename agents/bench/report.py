"""The table and the plot of a study, written from its records alone."""

import csv
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from twinloop import __version__
from twinloop.agents.bench.comparison import Row, compare, world_gaps
from twinloop.agents.bench.growths import code_of_growths
from twinloop.agents.bench.published import publish_data
from twinloop.agents.bench.settings import BenchFile
from twinloop.agents.bench.sources import source_digest
from twinloop.agents.bench.study import kept_runs, settings_of
from twinloop.planners.registry import find_planner

__all__ = ["markdown", "write_report"]

_PACKAGES = ("numpy", "scipy", "numba", "torch", "botorch", "gpytorch")


def write_report(
    file: BenchFile, folder: Path, cache: Path, publish: Path | None = None
) -> list[Path]:
    """Write Markdown, CSV and plot into the folder of a study; return the files.

    Args:
        file: the benchmark.
        folder: of the study.
        cache: as it was given to the runs.
        publish: a folder that gets the three files, too, and the raw data.
    """
    kept = kept_runs(folder)
    rows = compare(file, kept, cache)
    stem = file.benchmark if file.world == "real" else f"{file.benchmark}_{file.world}"
    files = [folder / f"{stem}.{kind}" for kind in ("md", "csv", "png")]
    files[0].write_text(markdown(file, rows, kept, cache), encoding="utf-8")
    _write_csv(files[1], rows, file.budget.experiments)
    _draw(files[2], file, rows)
    if publish is not None:
        publish.mkdir(parents=True, exist_ok=True)
        files += [Path(shutil.copy(path, publish / path.name)) for path in list(files)]
        worlds = [file.model_copy(update={"world": world}) for world in ("real", "emulated")]
        settings = [s for world in worlds for s in settings_of(world, cache)]
        files += publish_data(settings, kept, publish)
    return files


def markdown(
    file: BenchFile, rows: Sequence[Row], kept: Mapping[str, Mapping[str, Any]], cache: Path
) -> str:
    """Return the page of a study."""
    lines = [
        f"# {file.benchmark.replace('_', ' ').capitalize()}: {file.world} films",
        "",
        (
            f"Experiments until the first whose expected quality is within {file.within:.0%} of the best "
            "possible. Medians over truths with bootstrap 95 % intervals; ratios to "
            f"`{file.baseline}` on the same truths, with the same noise."
        ),
        "",
        (
            "| scenario | arm | seeds | experiments | without success | ratio of medians | median of "
            "ratios | p | p (Holm) | aim | verdict |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.scenario} | {r.arm} | {len(r.counts)} | {_counted(r, file)} | {r.n_censored} | "
        f"{r.of_medians or ''} | {r.of_pairs or ''} | {_p(r.p)} | {_p(r.p_holm)} | "
        f"{'' if r.at_most is None else f'<= {r.at_most:g}'} | {r.verdict} |"
        for r in rows
    ]
    lines += [
        "",
        (
            "Medians of what it took to the first success, and of what the planner itself took; a run "
            "that ended before 10 or 20 experiments has the regret of its end:"
        ),
        "",
        (
            "| scenario | arm | virtual time [h] | cost [h] | simulations | regret at 10 | regret at 20 | "
            "CPU of a proposal [s] | CPU of simulations [s] | fallen proposals | theory switched off |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.scenario} | {r.arm} | {r.hours:.1f} | {r.cost_h:.1f} | {r.simulations:.0f} | "
        f"{r.regret_10:.3f} | {r.regret_20:.3f} | {r.ask_cpu_s:.2f} | "
        f"{r.simulation_cpu_s:.0f} | {r.n_fallen} | {_off(r)} |"
        for r in rows
    ]
    gaps = world_gaps(file, kept, cache)
    if gaps:
        lines += [
            "",
            "Real less emulated films, difference of experiments on the same seeds (median):",
            "",
            "| scenario | arm | seeds | difference |",
            "|---|---|---|---|",
            *(f"| {s} | {a} | {n} | {interval} |" for s, a, n, interval in gaps),
        ]
    return "\n".join([*lines, "", "## How it was made", "", *_conditions(file), ""])


def _counted(row: Row, file: BenchFile) -> str:
    """Return the median; what lies beyond the budget is known as that alone."""
    text, limit = str(row.median), file.budget.experiments
    return f"> {limit}" if row.median.value > limit else text


def _off(row: Row) -> str:
    """Return in how many runs theory was switched off, and after how many experiments."""
    if not row.off:
        return ""
    return f"in {len(row.off)} of {len(row.counts)}, after {np.median(row.off):g} experiments"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _conditions(file: BenchFile) -> list[str]:
    last = file.first_seed + file.seeds - 1
    planners = {arm: find_planner(options["name"]) for arm, options in file.arms.items()}
    arms = "; ".join(
        f"{arm}: {p.name} version {p.version}, source {source_digest(p.__module__)}, "
        f"options { {k: v for k, v in file.arms[arm].items() if k != 'name'} }"
        for arm, p in planners.items()
    )
    budget = file.budget
    return [
        f"- Seeds {file.first_seed} to {last}, each a truth drawn from the prior; world: {file.world}.",
        (
            f"- Budget: {budget.experiments} experiments (a run without success counts as "
            f"{budget.experiments + 1}; a run ends at its first success, but not before "
            f"{budget.at_least} experiments), {budget.simulations} simulations, {file.workers} "
            "simulators side by side."
        ),
        (
            f"- Virtual clock: an experiment {file.costs.experiment_h:g} h, a simulation "
            f"{file.costs.simulation_h:g} h; cost is the sum of both."
        ),
        (
            f"- Noise: {file.noise.quality:g} on the quality and {file.noise.intensity:g} on intensities "
            f"besides the scatter from film to film; reported as {file.noise.quality_sd:g} and "
            f"{file.noise.intensity_sd:g}."
        ),
        f"- Judged by the truth's surrogate where it is sure, else by up to {file.replicates} growths.",
        f"- Arms: {arms}.",
        f"- Growths: {code_of_growths()}, {file.simulator}.",
        f"- Versions: twinloop {__version__}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
        + ".",
        f"- Hardware: {_cpu()}, {os.cpu_count()} logical CPUs; one thread in each process.",
        f"- Command: `{_command()}`",
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _write_csv(path: Path, rows: Sequence[Row], budget: int) -> None:
    """Write one line for each run that is in the table."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["scenario", "arm", "seed", "experiments_to_success", "is_censored"])
        for row in rows:
            for seed, count in sorted(row.counts.items()):
                out.writerow([row.scenario, row.arm, seed, count, int(count > budget)])


def _draw(path: Path, file: BenchFile, rows: Sequence[Row]) -> None:
    """Draw for each scenario which part of the runs has had its success by how many experiments."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    scenarios = list(dict.fromkeys(row.scenario for row in rows)) or list(file.scenarios)
    width = 3.2 * len(scenarios)
    figure, axes = plt.subplots(
        1, len(scenarios), figsize=(width, 3.2), sharey=True, squeeze=False, layout="constrained"
    )
    budget = file.budget.experiments
    for axis, scenario in zip(axes[0], scenarios, strict=True):
        for k, row in enumerate(r for r in rows if r.scenario == scenario):
            counts = np.sort([c for c in row.counts.values() if c <= budget])
            n = len(row.counts)
            steps = np.arange(1, len(counts) + 1) / n
            x = np.concatenate([[0], counts, [budget]])
            y = np.concatenate([[0], steps, [steps[-1] if len(steps) else 0.0]])
            axis.step(x, y, where="post", color=f"C{k}", label=f"{row.arm}, {n} seeds")
            axis.plot(counts, steps, ".", color=f"C{k}", markersize=4)
        axis.set(title=scenario, xlabel="experiments", xlim=(0, budget), ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(f"runs within {file.within:.0%} of the best")
    axes[0][0].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
