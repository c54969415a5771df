"""A tiny benchmark for tests: films by a formula, a theory that is right, planners that are simple."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twinloop.agents.bench.growths import Grown
from twinloop.agents.bench.run import Setting
from twinloop.agents.bench.settings import Axis, BenchFile, Scenario
from twinloop.agents.bench.task import OBSERVABLES
from twinloop.agents.config.campaign_file import PriorSection
from twinloop.planners.interface import Known, Planner, Proposal, SimulationRequest

__all__ = ["AskTheory", "FormulaFilms", "FormulaJudge", "formula", "predict", "tiny_setting"]

BEST_K = 700.0


def formula(knobs: Mapping[str, float]) -> float:
    """Return a quality that is 1 at 700 K and falls to both sides."""
    return 1.0 - ((knobs["substrate_K"] - BEST_K) / 100.0) ** 2


def _film(knobs: Mapping[str, float]) -> dict[str, float]:
    return dict.fromkeys(OBSERVABLES, formula(knobs))


class FormulaFilms:
    """Films without scatter."""

    def show(self, knobs: Mapping[str, float], _number: int) -> dict[str, float]:
        """Return each observable as the quality."""
        return _film(knobs)


class FormulaJudge:
    """Knows the formula."""

    best = 1.0

    def expected(self, point: Mapping[str, float]) -> float:
        """Return the quality."""
        return formula(point)


def predict(x: Mapping[str, float], _theta: Mapping[str, float], _seed: int) -> Grown:
    """Return what the formula says, as theory does."""
    return Grown(_film(x), is_exceeded=False, cpu_s=0.01)


class AskTheory(Planner, name="ask_theory"):
    """Have places simulated, then make the experiment where theory saw the best of them."""

    uses_theory = True

    n_simulations: int = 16

    def propose(self, known: Known) -> Proposal:
        """Wait for simulations first; then go to the best, a little further each time."""
        rng = np.random.default_rng(known.seed)
        seen = known.simulations
        if not seen.m and known.theory is not None:
            theta = {name: prior.mean for name, prior in known.theory.priors.items()}
            wanted = tuple(
                SimulationRequest(x=x, theta=theta)
                for x in rng.random((self.n_simulations, known.d))
            )
            return Proposal(x=rng.random(known.d), source="kmc_growth", simulations=wanted)
        place = seen.x[np.argsort(-seen.values[:, 0])[known.n % seen.m]]
        return Proposal(x=np.clip(place + 1e-4 * rng.standard_normal(known.d), 0.0, 1.0))


def tiny_setting(arm: str = "plain", seed: int = 0, **changes: Any) -> Setting:
    """Return one run of the tiny benchmark; `changes` are fields of its file."""
    axes = {
        "substrate_K": Axis(low=620.0, high=800.0),
        "flux_ML_per_s": Axis(low=0.03, high=1.5, scale="log"),
        "dose_ML": Axis(low=3.4, high=4.6),
        "anneal_s": Axis(low=0.0, high=30.0),
    }
    content: dict[str, Any] = {
        "benchmark": "tiny",
        "search": axes,
        "truth": {"bond_energy_eV": PriorSection(mean=0.25, sd=0.03)},
        "baseline": "plain",
        "arms": {
            "plain": {"name": "sobol"},
            "theory": {"name": "twinloop.agents.bench.testing:AskTheory"},
        },
        "scenarios": {"good": Scenario(at_most=0.5), "wrong": Scenario(mirror_K=710.0)},
    }
    return Setting(BenchFile(**{**content, **changes}), "good", arm, seed, Path("nowhere"))
