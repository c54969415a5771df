"""A made-up campaign with theory in the loop: 28 simulations, six experiments, a hidden truth.

What the planner says in it is made up as well, but in the shape that `theory_bo` gives it; the
simulations and the measurements follow one formula, so that the real planner can be asked for its
belief.

Example:
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> run = TheoryRun(Path(folder.name))
    >>> run.whole()
    >>> len(list((Path(folder.name) / "machine").iterdir()))
    2
    >>> folder.cleanup()
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twinloop.agents.campaign.events import SimulationWanted
from twinloop.agents.report.testing import CONFIG, RunBuilder
from twinloop.planners.space import Floats, Space

__all__ = ["THEORY_CONFIG", "THETA", "TheoryRun"]

TRUTH = {"bond_energy_eV": 0.27, "thermocouple_offset_K": 9.0}
THETA: dict[str, dict[str, float]] = {
    "bond_energy_eV": {"mean": 0.25, "sd": 0.03},
    "thermocouple_offset_K": {"mean": 0.0, "sd": 12.0},
}
THEORY_CONFIG: dict[str, Any] = {
    **CONFIG,
    "search": {**CONFIG["search"], "anneal_s": {"low": 0, "high": 30, "scale": "linear"}},
    "planner": {"name": "theory_bo"},
    "theory": {
        "simulator": {"name": "kmc_growth", "cost_h": 0.01},
        "theta": THETA,
        "observables": ["quality"],
        "experiment_h": 0.1,
    },
}
_NAMES = tuple(sorted(THETA))
_AXES = ("substrate_K", "flux_ML_per_s", "anneal_s")
_TRIED = (
    (0.62, 0.45, 0.30),
    (0.50, 0.62, 0.55),
    (0.40, 0.40, 0.20),
    (0.46, 0.50, 0.35),
    (0.30, 0.55, 0.40),
    (0.43, 0.47, 0.33),
)
_CODE = "kmc_growth 1 abcdef"


class TheoryRun(RunBuilder):
    """A builder that knows a theory.

    Args:
        folder: the run folder.
        config: the configuration as run.
        weights: weight of theory at each of the six experiments.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any] | None = None,
        weights: tuple[float, ...] = (0.8, 0.83, 0.9, 0.94, 0.93, 0.97),
    ) -> None:
        super().__init__(folder, THEORY_CONFIG if config is None else config)
        ranges = self.config["search"]
        self.space = Space.of(
            {n: (*(ranges[n][e] for e in ("low", "high", "scale")),) for n in _AXES}
        )
        self.weights = weights
        self._random = np.random.default_rng(3)
        self._scores: list[tuple[float, float]] = []
        self._n_known = 0

    def whole(self) -> None:
        """Write the whole campaign: a first design, six experiments with batches beside, the end."""
        self.begin(planner="theory_bo")
        self.lease("mbe")
        self.lease("rheed")
        design = self.ask(14, holds=0, proposal=0, why={"expert": "design", "simulations": 0.0})
        self.answer(design, 14, failed=(5,))
        for number in range(len(_TRIED)):
            self.experiment(number)
        self.seal({**TRUTH, "surface_barrier_eV": 1.325})
        self.finish()

    def experiment(self, number: int) -> None:
        """Make one experiment; beside some of them, ask theory."""
        if number == 1:
            refine = self.ask(8, holds=1, proposal=1, why=self.why(number), memo=self.memo())
            self.answer(refine, 8, exceeded=(6,))
        x, basis = np.array(_TRIED[number]), self.n_events
        if number == 3:
            beside: dict[str, Any] = {"why": self.why(number), "memo": self.memo(), "basis": basis}
            extra = self.ask(8, proposal=3, cpu_s=0.0, after_s=1.1, **beside)
            self.grow(number, x, basis, after_s=0.0)
            self.answer(extra, 5)
            withdrawn = tuple((extra, row) for row in range(5, 8))
            for row in range(5, 8):
                self.simulate(extra, row, state="cancelled", reason="the planner wants it no more")
            why, memo = self.why(number + 1), self.memo()
            self.ask(0, withdrawn=withdrawn, why=why, memo=memo)
            return
        self.grow(number, x, basis, after_s=1.1)

    def ask(self, n: int, **rest: Any) -> int:
        """Ask for so many simulations."""
        wanted = []
        for row in range(n):
            x = self._random.random(len(_AXES))
            theta = {k: self._random.normal(p["mean"], p["sd"]) for k, p in THETA.items()}
            gain = 0.4 / (1 + self._n_known) * 0.9**row if self._n_known else 0.0
            why = "refine" if self._n_known else "design"
            point = self.space.to_point(x)
            wanted.append(
                SimulationWanted(
                    x=tuple(x), point=point, theta=theta, seed=row, gain_per_h=gain, why=why
                )
            )
        self._wanted = wanted
        return self.want(wanted, **{"basis": self.n_events, "after_s": 0.6, **rest})

    def answer(
        self, batch: int, n: int, failed: tuple[int, ...] = (), exceeded: tuple[int, ...] = ()
    ) -> None:
        """Answer the first `n` simulations of the newest batch, on two simulators."""
        for row in range(n):
            rest: dict[str, Any] = {"place": f"theory-{row % 2}", "wall_s": 0.5, "cpu_s": 0.45}
            if row in failed:
                self.simulate(batch, row, after_s=0.3, state="failed", reason="no film", **rest)
                continue
            wanted = self._wanted[row]
            values = {"quality": quality(np.array(wanted.x), wanted.theta)}
            is_bounded = row in exceeded
            rest |= {"values": values, "exceeded": is_bounded, "code": _CODE}
            self.simulate(batch, row, after_s=0.3, **rest)

    def grow(self, number: int, x: Floats, basis: int, after_s: float) -> None:
        """Propose, grow and measure one film."""
        measured = quality(x, TRUTH) + float(self._random.normal(0, 0.02))
        why = self.why(number) | self.expectation(x)
        said: dict[str, Any] = {"why": why, "memo": self.memo(), "basis": basis, "cpu_s": 1.0}
        place = tuple(float(v) for v in x)
        point = self.space.to_point(x)
        self.grow_film(point, measured, x=place, place="planner", after_s=after_s, **said)
        theory, plain = (
            -0.5 * ((measured - float(why[f"{who}_mean"])) / sd) ** 2 - math.log(2.5 * sd)
            for who in ("theory", "plain")
            if (sd := math.hypot(float(why[f"{who}_sd"]), 0.02))
        )
        self._scores.append((theory, plain))
        self._n_known += 1

    def why(self, number: int) -> dict[str, float | str]:
        """Return the figures of a choice, the more certain the more is known."""
        weight, n = self.weights[min(number, len(self.weights) - 1)], self._n_known
        return {
            "expert": "theory" if weight >= 0.5 else "plain",
            "theory_weight": weight,
            "gain_per_h": 0.6 / (1 + n) ** 1.5,
            "simulation_gain_per_h": 0.4 / (1 + n) if n else 0.9,
            "emulator_sd": 0.05 / (1 + n) ** 0.7,
            "discrepancy_sd": 0.03,
            "simulations": 13.0,
        }

    def expectation(self, x: Floats) -> dict[str, float | str]:
        """Return what is expected of the objective at a point."""
        n = self._n_known
        theory, sd = quality(x, self.theta()), 0.12 / (1 + n) ** 0.5
        plain = {"plain_mean": 0.4 + 0.05 * n, "plain_sd": 0.2 / (1 + 0.2 * n)}
        own = {"theory_mean": theory, "theory_sd": sd, "mean": theory, "sd": sd}
        return {**own, **plain}

    def theta(self) -> dict[str, float]:
        """Return the posterior mean: on its way from the prior to the truth."""
        share = 1.0 - 0.6**self._n_known
        return {n: THETA[n]["mean"] + share * (TRUTH[n] - THETA[n]["mean"]) for n in _NAMES}

    def memo(self) -> dict[str, Any]:
        """Return the calibration and the scores so far."""
        mean, n = self.theta(), self._n_known
        sds = [THETA[name]["sd"] / math.sqrt(1 + n + 0.002 * self.n_events) for name in _NAMES]
        return {
            "calibration": {
                "names": list(_NAMES),
                "mean": [mean[name] for name in _NAMES],
                "sd": sds,
                "prior_mean": [THETA[name]["mean"] for name in _NAMES],
                "prior_sd": [THETA[name]["sd"] for name in _NAMES],
            },
            "scores": {
                "theory": [theory for theory, _ in self._scores],
                "plain": [plain for _, plain in self._scores],
            },
        }


def quality(x: Floats, theta: Mapping[str, float]) -> float:
    """Return the quality of a film by the formula of this example."""
    best = 0.55 - (theta["thermocouple_offset_K"] / 180 + 4 * (theta["bond_energy_eV"] - 0.25))
    off = ((x[0] - best) / 0.28) ** 2 + ((x[1] - 0.5) / 0.4) ** 2 + ((x[2] - 0.35) / 0.6) ** 2
    return float(0.85 * np.exp(-0.5 * off))
