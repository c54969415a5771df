"""From the records of a study to its table: one row for each scenario and arm."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twinloop.agents.bench.run import Setting
from twinloop.agents.bench.settings import BenchFile
from twinloop.agents.bench.statistics import (
    Interval,
    holm,
    median_interval,
    paired_p,
    ratio_intervals,
)

__all__ = ["Row", "compare", "count_of", "regret_after", "world_gaps"]

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One arm in one scenario, over the seeds that both it and the baseline have.

    Args:
        scenario, arm: which.
        budget: experiments of a run.
        counts: experiments to the first success by seed; the budget and one more where there is none.
        n_censored: runs without a success.
        median: of the counts.
        of_medians, of_pairs: ratio to the baseline; None for the baseline itself.
        p, p_holm: Wilcoxon's, and corrected over the scenarios.
        at_most: ratio that is aimed at.
        hours, cost_h: medians to the first success; of all that was used where there is none [h].
        simulations: median number to then.
        regret_10, regret_20: median simple regret after so many experiments [1]; of a run that ended
            before, at its end.
        ask_cpu_s: median CPU time of a proposal [s].
        simulation_cpu_s: median CPU time of all simulations of a run [s].
        n_fallen: proposals that came from neither opening nor planner.
        off: after how many experiments theory was switched off, in each run in which it was.
    """

    scenario: str
    arm: str
    budget: int
    counts: Mapping[int, int]
    n_censored: int
    median: Interval
    of_medians: Interval | None
    of_pairs: Interval | None
    p: float | None
    p_holm: float | None
    at_most: float | None
    hours: float
    cost_h: float
    simulations: float
    regret_10: float
    regret_20: float
    ask_cpu_s: float
    simulation_cpu_s: float
    n_fallen: int
    off: tuple[int, ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the ratio of medians is what is aimed at: "" where nothing is.

        A run without a success counts as one experiment more than it had, so a ratio may be larger
        than it looks where the arm's median is one, never where only the baseline's is.
        """
        if self.at_most is None or self.of_medians is None:
            return ""
        if self.of_medians.value > self.at_most:
            return "missed"
        if self.median.value > self.budget:
            return "not known: most runs had no success"
        return "met" if self.of_medians.high <= self.at_most else "met, interval reaches beyond"


def count_of(record: Record, budget: int) -> int:
    """Return experiments to the first success; one more than the budget where there is none."""
    return budget + 1 if record["first"] is None else int(record["first"]["experiments"])


def regret_after(record: Record, k: int) -> float:
    """Return how far the true value at the best observed of `k` is from the best possible.

    Of a run that ended before, it is that of its end; nan where nothing was measured.
    """
    if not record["measured"]:
        return float("nan")
    seen = int(np.argmax(record["measured"][:k]))
    return float(record["best"] - record["expected"][seen])


def compare(file: BenchFile, kept: Mapping[str, Record], cache: Path) -> list[Row]:
    """Return the rows of the table, from the records that there are."""
    rows: list[Row] = []
    for scenario in file.scenarios:
        base = _records(file, scenario, file.baseline, kept, cache)
        for arm in file.arms:
            records = _records(file, scenario, arm, kept, cache)
            seeds = [seed for seed in records if seed in base]
            if seeds:
                rows.append(_row(file, scenario, arm, records, base, seeds))
    return _corrected(rows)


def world_gaps(
    file: BenchFile, kept: Mapping[str, Record], cache: Path
) -> list[tuple[str, str, int, Interval]]:
    """Return scenario, arm, seeds and median difference, real less emulated, of experiments."""
    found = []
    worlds = {w: file.model_copy(update={"world": w}) for w in ("real", "emulated")}
    for scenario in file.scenarios:
        for arm in file.arms:
            real, emulated = (
                _records(worlds[w], scenario, arm, kept, cache) for w in ("real", "emulated")
            )
            seeds = [seed for seed in real if seed in emulated]
            n = file.budget.experiments
            gaps = [count_of(real[s], n) - count_of(emulated[s], n) for s in seeds]
            if gaps:
                found.append((scenario, arm, len(seeds), median_interval(gaps)))
    return found


def _records(
    file: BenchFile, scenario: str, arm: str, kept: Mapping[str, Record], cache: Path
) -> dict[int, Record]:
    seeds = range(file.first_seed, file.first_seed + file.seeds)
    keys = {seed: Setting(file, scenario, arm, seed, cache).key for seed in seeds}
    return {seed: kept[key] for seed, key in keys.items() if key in kept}


def _row(
    file: BenchFile,
    scenario: str,
    arm: str,
    records: Mapping[int, Record],
    base: Mapping[int, Record],
    seeds: Sequence[int],
) -> Row:
    budget = file.budget.experiments
    counts = {seed: count_of(records[seed], budget) for seed in seeds}
    reference = [count_of(base[seed], budget) for seed in seeds]
    values = list(counts.values())
    of_medians = of_pairs = p = None
    if arm != file.baseline:
        of_medians, of_pairs = ratio_intervals(values, reference)
        p = paired_p(values, reference)
    chosen = [records[seed] for seed in seeds]
    costs = file.costs
    ends = [
        r["first"]
        or {
            "virtual_h": r["virtual_h"],
            "cost_h": r["experiments"] * costs.experiment_h + r["simulations"] * costs.simulation_h,
            "simulations": r["simulations"],
        }
        for r in chosen
    ]
    return Row(
        scenario=scenario,
        arm=arm,
        budget=budget,
        counts=counts,
        n_censored=sum(r["first"] is None for r in chosen),
        median=median_interval(values),
        of_medians=of_medians,
        of_pairs=of_pairs,
        p=p,
        p_holm=None,
        at_most=None if arm == file.baseline else file.scenarios[scenario].at_most,
        hours=_median(e["virtual_h"] for e in ends),
        cost_h=_median(e["cost_h"] for e in ends),
        simulations=_median(e["simulations"] for e in ends),
        regret_10=_median(regret_after(r, 10) for r in chosen),
        regret_20=_median(regret_after(r, 20) for r in chosen),
        ask_cpu_s=_median(s for r in chosen for s in r["ask_cpu_s"]),
        simulation_cpu_s=_median(r["simulation_cpu_s"] for r in chosen),
        n_fallen=sum(
            n
            for r in chosen
            for rung, n in r["rungs"].items()
            if rung not in {"opening", "planner"}
        ),
        off=tuple(n for r in chosen if (n := _switched_off(r)) is not None),
    )


def _switched_off(record: Record) -> int | None:
    """Return how many experiments had been proposed when theory first had no weight at all."""
    weights = record["theory_weight"]
    return next((n for n, weight in enumerate(weights) if weight == 0.0), None)


def _median(values: Iterable[float]) -> float:
    there = [v for v in values if not math.isnan(v)]
    return float(np.median(there)) if there else float("nan")


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with p values corrected over the scenarios, each arm for itself."""
    by_arm: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.p is not None:
            by_arm.setdefault(row.arm, []).append(i)
    found = list(rows)
    for places in by_arm.values():
        corrected = holm([rows[i].p or 0.0 for i in places])
        for i, p in zip(places, corrected, strict=True):
            found[i] = replace(rows[i], p_holm=p)
    return found
