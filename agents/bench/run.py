"""One run: one planner in one world of one seed, judged as it goes on."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinloop.agents.bench.growths import Growths, code_of_growths
from twinloop.agents.bench.judge import EmulatedJudge, Judge, RealJudge
from twinloop.agents.bench.reference import Reference, find_reference, path_of_reference
from twinloop.agents.bench.settings import BenchFile
from twinloop.agents.bench.sources import source_digest
from twinloop.agents.bench.task import OBJECTIVE, OBSERVABLES, measure_film
from twinloop.agents.bench.truth import EmulatedFilms, Films, RealFilms, World, drawn_truth
from twinloop.agents.bench.virtual_lab import ADAPTER, INSTRUMENT, LAB_S, Predict, VirtualLab
from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.core import Plan
from twinloop.agents.campaign.events import CampaignStarted, TrialEnded
from twinloop.agents.campaign.goal import Goal
from twinloop.agents.campaign.state import CampaignState
from twinloop.agents.campaign.theory import theory_with
from twinloop.agents.runtime.targets import build_target
from twinloop.ids import canonical_json, digest_of, seed_of
from twinloop.planners.interface import Known, Proposal, sobol
from twinloop.planners.registry import find_planner, resolve
from twinloop.planners.simulations import Theory
from twinloop.simulators.kmc_growth import KMCGrowth

__all__ = ["Setting", "brief_of_run", "lead", "make_reference", "reference_file", "run_one"]

_AHEAD = 4
"""Simulations asked for each worker ahead of time, as in a real campaign."""


@dataclass(frozen=True)
class Setting:
    """What one run is: plain data, so that it crosses to another process.

    Args:
        file: the benchmark.
        scenario: name of the scenario.
        arm: name of the arm.
        seed: of truth, noise and planner.
        cache: folder of growths and references.
    """

    file: BenchFile
    scenario: str
    arm: str
    seed: int
    cache: Path

    @property
    def uses_theory(self) -> bool:
        """Return True where the planner is given a theory."""
        return find_planner(self.planner["name"]).uses_theory

    @property
    def theory(self) -> Theory | None:
        """The theory of the scenario, as a campaign would have it; None for a planner without."""
        if not self.uses_theory:
            return None
        lacks = self.file.scenarios[self.scenario].lacks
        return theory_with(
            KMCGrowth,
            {name: p for name, p in self.file.prior.items() if name not in lacks},
            OBSERVABLES,
            simulation_h=self.file.costs.simulation_h,
            experiment_h=self.file.costs.experiment_h,
            at_most=self.file.budget.simulations,
        )

    @property
    def planner(self) -> dict[str, Any]:
        """The planner, as a campaign file names it."""
        return dict(self.file.arms[self.arm])

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the result depends on; a scenario counts as far as the planner sees it."""
        file = self.file.model_dump(mode="json")
        ignored = {"benchmark", "seeds", "first_seed", "baseline", "arms", "scenarios"}
        chosen = {k: v for k, v in file.items() if k not in ignored}
        scenario = self.file.scenarios[self.scenario]
        if not self.uses_theory:
            chosen["budget"] = {**chosen["budget"], "simulations": 0}
            del chosen["workers"]
        planner = find_planner(self.planner["name"])
        return {
            **chosen,
            "mirror_K": scenario.mirror_K,
            "lacks": sorted(scenario.lacks) if self.uses_theory else [],
            "coordinates": dict(KMCGrowth.coordinates) if self.uses_theory else {},
            "planner": {**self.planner, "name": f"{planner.__module__}:{planner.__name__}"},
            "planner_version": planner.version,
            "planner_source": source_digest(planner.__module__),
            "seed": self.seed,
            "code": code_of_growths(),
        }

    @property
    def key(self) -> str:
        """Digest of the identity."""
        return digest_of(canonical_json(self.identity))[:24]


def make_reference(setting: Setting) -> tuple[float, float]:
    """Look for the best of a truth and keep it; return the best and its standard error."""
    growths = Growths(setting.cache, setting.file.simulator)
    found = _reference(setting, growths)
    growths.close()
    return found.best, found.best_sd


def reference_file(setting: Setting) -> Path:
    """Return where the reference of a setting's truth is kept."""
    file = setting.file
    theta = drawn_truth(file.prior, setting.seed)
    return path_of_reference(setting.cache, theta, file.space, code_of_growths(), file.effort)


def _reference(setting: Setting, growths: Growths) -> Reference:
    file = setting.file
    theta = drawn_truth(file.prior, setting.seed)
    return find_reference(setting.cache, growths, theta, file.space, file.effort, setting.seed)


def run_one(setting: Setting) -> dict[str, Any]:
    """Make one run and return its record (JSON)."""
    file = setting.file
    growths = Growths(setting.cache, file.simulator)
    reference = _reference(setting, growths)
    thermocouple = file.scenarios[setting.scenario].thermocouple
    films: Films = RealFilms(growths, reference.theta, setting.seed)
    judge: Judge = RealJudge(
        reference, growths, file.space, thermocouple, file.within, file.replicates, setting.seed
    )
    if file.world == "emulated":
        surrogate = reference.surrogate()
        films = EmulatedFilms(surrogate, setting.seed)
        judge = EmulatedJudge(surrogate, thermocouple)
    world = World(films, file.measurement, setting.seed, thermocouple)
    try:
        return lead(setting, world, judge, growths.grow, growths.code)
    finally:
        growths.close()


def brief_of_run(setting: Setting) -> Brief:
    """Return what the conductor leads: as for a real campaign, with the theory of the scenario."""
    file = setting.file
    planner = resolve(setting.planner)
    theory = setting.theory
    campaign = f"bench.{setting.seed}"
    return Brief(
        plan=Plan(
            campaign=campaign,
            instruments={"film_lab": INSTRUMENT},
            experiments=file.budget.experiments,
            ahead=file.ahead,
            simulations_ahead=_AHEAD * file.workers if theory else 0,
            simulations=file.budget.simulations,
        ),
        protocol=measure_film,
        space=file.space,
        goal=Goal(OBJECTIVE, noise_sd=file.noise.quality_sd),
        opening=planner.opening,
        fallback=_fallback,
        first=CampaignStarted(
            campaign=campaign,
            # the same for each arm: common random numbers for planners, too
            seed=seed_of(setting.seed, "campaign"),
            config={},
            protocol=measure_film.name,
            protocol_version=measure_film.version,
            protocol_digest=measure_film.source_digest,
            planner=planner.name,
            planner_version=planner.version,
            versions={},
            clock_factor=LAB_S,
        ),
        adapters={INSTRUMENT: ADAPTER},
        theory=theory,
    )


def _fallback(known: Known) -> Proposal:
    return Proposal(x=sobol(known), why={"fallback": "sobol"})


def lead(
    setting: Setting, world: World, judge: Judge, predict: Predict, code: str
) -> dict[str, Any]:
    """Lead one campaign to its end and return its record.

    Args:
        setting: what is run.
        world: what experiments show.
        judge: knows the truth.
        predict: theory.
        code: identity of the theory.
    """
    file, began_s = setting.file, time.monotonic()
    options = {k: v for k, v in setting.planner.items() if k != "name"}
    target = build_target({"kind": "planner", "class": setting.planner["name"], "options": options})
    lab = VirtualLab(
        brief_of_run(setting), target, world.measure, predict, code,
        file.workers, file.costs.experiment_h, file.costs.simulation_h,
    )  # fmt: skip
    watch = _Watch(setting, judge, lab)
    lab.run(watch.is_enough)
    return {**watch.record(), "wall_s": time.monotonic() - began_s}


class _Watch:
    """Looks at each experiment that ended, and remembers when the first was good enough."""

    def __init__(self, setting: Setting, judge: Judge, lab: VirtualLab) -> None:
        self._setting, self._judge, self._lab = setting, judge, lab
        self._threshold = (1.0 - setting.file.within) * judge.best
        self._expected: list[float] = []
        self._measured: list[float] = []
        self._first: dict[str, Any] | None = None

    def is_enough(self, trial: TrialEnded) -> bool:
        """Judge an experiment; True when the run may end."""
        if trial.y is None:
            self._expected.append(0.0)
            self._measured.append(float("-inf"))
            return False
        state = self._lab.state
        self._expected.append(self._judge.expected(state.proposed[trial.number].point))
        self._measured.append(trial.y)
        n = len(self._expected)
        if self._first is None and self._expected[-1] >= self._threshold:
            costs = self._setting.file.costs
            simulated = sum(s.state == "done" for s in state.simulated)
            self._first = {
                "experiments": n,
                "simulations": simulated,
                "virtual_h": self._lab.now_h,
                "cost_h": n * costs.experiment_h + simulated * costs.simulation_h,
            }
        return self._first is not None and n >= self._setting.file.budget.at_least

    def record(self) -> dict[str, Any]:
        """Return what the run came to."""
        setting, state = self._setting, self._lab.state
        asks = {m: [a.cpu_s for a in self._lab.asks if a.method == m] for m in ("ask", "simulate")}
        return {
            "key": setting.key,
            "scenario": setting.scenario,
            "arm": setting.arm,
            "seed": setting.seed,
            "world": setting.file.world,
            "best": self._judge.best,
            "first": self._first,
            "experiments": len(self._expected),
            "simulations": sum(s.state == "done" for s in state.simulated),
            "virtual_h": self._lab.now_h,
            "expected": self._expected,
            "measured": self._measured,
            "points": [state.proposed[t.number].point for t in state.ended],
            "ask_cpu_s": asks["ask"],
            "simulate_cpu_s": asks["simulate"],
            "simulation_cpu_s": self._lab.simulation_cpu_s,
            "rungs": _rungs(state),
            "theory_weight": [
                state.proposed[t.number].why.get("theory_weight") for t in state.ended
            ],
        }


def _rungs(state: CampaignState) -> Mapping[str, int]:
    """Return how many experiments were proposed by whom: anything but opening and planner is a failure."""
    return dict(
        Counter(
            "fallback" if "fallback" in p.why else str(p.why.get("rung", "?"))
            for p in (state.proposed[t.number] for t in state.ended)
        )
    )
