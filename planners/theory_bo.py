"""Bayesian optimisation with theory in the loop.

The belief about the next experiment is theory, calibrated by everything that the experiments
measured, less a loss that it may not know, plus a discrepancy of learned scale. The first question is
put to theory, not to the machine: as long as simulations are worth more for their cost, the
experiment waits for them. A guard weighs theory against no theory by what each foresaw, and plain
Bayesian optimisation has its turn in proportion (`theory/turns.py`); in theory's turns the point is
theory's or the one that the plain planner would choose from all the same experiments, whichever both
beliefs together expect more of. A theory that misleads is switched off, and says so; the plain
planner then makes what it has not yet made of its own opening, and goes on.

Source: Kennedy & O'Hagan, J. R. Stat. Soc. B 63, 425 (2001), doi:10.1111/1467-9868.00294; the guard
and the choice between sources are ours (`theory/guard.py`, `theory/agenda.py`).
"""

import importlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PrivateAttr

from twinloop.planners.interface import (
    Known,
    Planner,
    Proposal,
    SimulationRequest,
    Theory,
    sobol,
)
from twinloop.planners.plain_bo import PlainBO, expected_warnings
from twinloop.planners.space import Floats
from twinloop.planners.theory.agenda import (
    Choice,
    best_experiment,
    gains_with_theory,
    gains_without_theory,
    unwanted,
    wanted_simulations,
)
from twinloop.planners.theory.belief import TheoryBelief, believe
from twinloop.planners.theory.calibration import calibrate, measured, remembered_mode
from twinloop.planners.theory.design import prior_design
from twinloop.planners.theory.emulator import Emulator, Remembered, fit_emulator
from twinloop.planners.theory.guard import Forecast, Foresight, Guard, foresee_without_theory
from twinloop.planners.theory.loss import kept
from twinloop.planners.theory.turns import Turns

__all__ = ["TheoryBO"]

_LEAST_SIMULATIONS = 24
_MOST_DESIGNS = 2
"""So many designs are asked for at most, where simulations of the first one fail."""

_LEAST_NOISE = 0.1
"""Before any experiment a measurement is taken to be no sharper than this part of the spread."""

_WORTH = 0.05
"""A simulation below this part of the experiment's gain for its cost is not worth computing."""


_TRUSTED = 0.1
"""Weight from which on theory chooses; below it theory goes on being judged until it is off."""

_PROMISING = 0.25
"""A gain below this part of the noise of a measurement is none that one could see."""


@dataclass(frozen=True)
class _Thought:
    """Everything that one answer rests on."""

    belief: TheoryBelief
    guard: Guard
    choice: Choice
    noise: Floats
    wanted: tuple[SimulationRequest, ...]
    withdrawn: tuple[int, ...]
    memo: dict[str, Any]
    why: dict[str, float | str]

    @property
    def worth(self) -> tuple[SimulationRequest, ...]:
        """The simulations that are worth their cost beside the best experiment."""
        least = _WORTH * float(self.why["gain_per_h"])
        return tuple(w for w in self.wanted if w.gain_per_h > least)

    @property
    def is_promising(self) -> bool:
        """Whether theory expects a gain that one could measure."""
        return self.choice.gain >= _PROMISING * float(self.noise[0])


class TheoryBO(Planner, name="theory_bo"):
    """Choose by calibrated theory plus discrepancy, as far as theory deserves it.

    Without simulations that can be used (a simulator that is broken, or away), and in a campaign with
    constraints, it is `plain_bo`: theory of constraints is not in it yet.

    Args:
        n_initial: Sobol points of the plain planner, where theory does not choose.
        design: simulations of the even first design.
        first: how many of them the first experiment waits for.
        batch: simulations asked for at a time.
        holds: how often an experiment may wait for another batch.
        device: where torch computes; the same seed gives the same bits on one device only.
    """

    version: ClassVar[int] = 3
    uses_theory: ClassVar[bool] = True
    least_simulations: ClassVar[int] = _LEAST_SIMULATIONS
    lasting: ClassVar[tuple[str, ...]] = ("designed", "guard", "held", "turns")

    n_initial: Annotated[int, Field(ge=2)] = 6
    design: Annotated[int, Field(ge=_LEAST_SIMULATIONS)] = 96
    first: Annotated[int, Field(ge=_LEAST_SIMULATIONS)] = 96
    batch: Annotated[int, Field(ge=1, le=64)] = 12
    holds: Annotated[int, Field(ge=0, le=16)] = 1
    device: Literal["cpu", "cuda"] = "cpu"

    _plain: PlainBO | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        """Make the plain planner that is always asked beside."""
        super().model_post_init(context)
        self._plain = PlainBO(n_initial=self.n_initial, device=self.device)

    def prepare(self) -> None:
        """Import torch, botorch and scipy's optimiser."""
        self._without_theory.prepare()
        importlib.import_module("scipy.optimize")

    def initial(self, known: Known) -> Proposal | None:
        """Ask theory before the machine; without theory, open as the plain planner does."""
        theory = known.theory
        if theory is None or known.k:
            return self._without_theory.initial(known)
        asked = known.simulations.m + len(known.simulations.pending_x)
        is_enough = theory.left >= _LEAST_SIMULATIONS
        if "held" in known.memo or asked or known.n or len(known.pending) or not is_enough:
            # once only: a simulator that gives nothing must not keep the machine waiting
            return None
        n = min(self.first, theory.left)
        return Proposal(
            x=np.full(known.d, 0.5),
            source=theory.simulator,
            simulations=prior_design(known, range(n)),
            why={"expert": "design", "simulations": 0.0},
            memo={**known.memo, "held": [known.proposal, 0], "designed": n},
        )

    def propose(self, known: Known) -> Proposal:
        """Think, then let theory or the plain planner choose, by the weight of theory."""
        theory = known.theory
        if theory is None or known.k or self._is_off(known):
            return self._propose_plainly(known)
        if known.simulations.n_usable < _LEAST_SIMULATIONS:
            return self._propose_plainly(known)
        with expected_warnings(), _on(self.device):
            return self._choose(known, theory, self._think(known, theory))

    def simulate(self, known: Known) -> Proposal:
        """Return the rest of the design first, then what could change the next choice."""
        theory = known.theory
        nothing = Proposal(x=np.full(known.d, 0.5), memo=known.memo)
        if theory is None or known.k or not theory.left or self._is_off(known):
            return nothing
        rows = self._design_left(known, theory)
        if rows:
            return Proposal(
                x=nothing.x,
                simulations=prior_design(known, rows),
                why={"expert": "design", "simulations": float(known.simulations.m)},
                memo={**known.memo, "designed": rows.stop},
            )
        if known.simulations.n_usable < _LEAST_SIMULATIONS:
            return nothing
        with expected_warnings(), _on(self.device):
            thought = self._think(known, theory)
        return Proposal(
            x=nothing.x,
            simulations=thought.worth,
            withdrawn=thought.withdrawn,
            why=thought.why,
            memo=thought.memo,
        )

    def _design_left(self, known: Known, theory: Theory) -> range:
        """Return the rows of the design that are asked for next; none where it is complete.

        A row is asked for once: one that failed would fail again. Where so many fail that theory
        cannot be used, the design goes on beyond its end, for a while.
        """
        simulations = known.simulations
        asked = simulations.m + len(simulations.pending_x)
        first = int(known.memo.get("designed", asked))
        expected = simulations.n_usable + len(simulations.pending_x)
        if expected + theory.left < _LEAST_SIMULATIONS:
            return range(0)
        is_short = expected < _LEAST_SIMULATIONS
        end = _MOST_DESIGNS * self.design if is_short else self.design
        return range(first, min(first + min(self.batch, theory.left), end))

    def belief(self, known: Known, x: Floats) -> dict[str, Floats]:
        """Return what is believed of the objective at points, for people to look at.

        Args:
            known: what is known; its memo is that of the last proposal.
            x: where, shape (c, d), unit cube.

        Returns:
            `mean`, `sd`, and where theory is used `theory_mean`, `theory_sd`; `plain_mean`,
            `plain_sd` from two experiments on; shape (c,) each, large is good.
        """
        self.prepare()
        found: dict[str, Floats] = {}
        theory = known.theory
        weight = 0.0
        with expected_warnings(), _on(self.device):
            if known.n >= 2:
                found["plain_mean"], found["plain_sd"] = self._without_theory.moments(known, x)
            if theory is not None and known.simulations.n_usable >= _LEAST_SIMULATIONS:
                belief, guard, _ = self._believe(known, theory)
                found["theory_mean"], found["theory_sd"] = belief.moments(x)
                weight = guard.weight if "plain_mean" in found else 1.0
        parts = [(weight, "theory"), (1.0 - weight, "plain")]
        used = [(w, name) for w, name in parts if w > 0 and f"{name}_mean" in found]
        if used:
            mean = sum(w * found[f"{n}_mean"] for w, n in used)
            square = sum(
                w * (found[f"{n}_sd"] ** 2 + (found[f"{n}_mean"] - mean) ** 2) for w, n in used
            )
            found["mean"], found["sd"] = np.asarray(mean), np.sqrt(np.asarray(square))
        return found

    @property
    def _without_theory(self) -> PlainBO:
        return self._plain or PlainBO(n_initial=self.n_initial, device=self.device)

    def _is_off(self, known: Known) -> bool:
        return bool(known.memo.get("guard", {}).get("is_off", False))

    def _plainly(self, known: Known, turns: Turns) -> Proposal:
        """Return the plain planner's next point: of its own opening, then by all experiments.

        What theory chose counts for its model, not for its opening: it lies where theory looked.
        """
        if known.theory is None or known.k:
            return self._without_theory.initial(known) or self._without_theory.propose(known)
        turns = turns.paid()
        if turns.opened < self.n_initial or known.n < 2:
            own = sobol(replace(known, proposal=turns.opened))
            return Proposal(x=own, why={"initial": 1.0}, memo={"turns": turns.opening().to_json()})
        found = self._without_theory.propose(known)
        return replace(found, memo={**found.memo, "turns": turns.to_json()})

    def _propose_plainly(self, known: Known) -> Proposal:
        """Return the plain planner's point where theory has no say."""
        found = self._plainly(known, _turns(known))
        why: dict[str, float | str] = {**found.why, "expert": "plain"}
        if known.theory is not None:
            why["theory_weight"] = Guard.from_json(known.memo.get("guard", {})).weight
        # what theory remembers stays: the report tells when it was switched off
        return Proposal(x=found.x, why=why, memo={**known.memo, **found.memo})

    def _believe(self, known: Known, theory: Theory) -> tuple[TheoryBelief, Guard, dict[str, Any]]:
        memo = dict(known.memo)
        remembered = memo.get("emulator")
        emulator = fit_emulator(
            known, theory, None if remembered is None else Remembered.from_json(remembered)
        )
        found = measured(known, theory, emulator.scatter.cpu().numpy())
        guard = Guard.from_json(memo.get("guard", {})).judge(found.x, found.values, found.is_there)
        guard = guard.awaiting(known.pending)
        calibration = calibrate(found, emulator, theory, known.seed, remembered_mode(memo))
        belief = believe(known, theory, emulator, calibration)
        memo |= {
            "emulator": emulator.remembered.to_json(),
            "mode": [float(f"{v:.8g}") for v in calibration.mode],
            "calibration": calibration.summary(theory),
            "guard": guard.to_json(),
        }
        return belief, guard, memo

    def _think(self, known: Known, theory: Theory) -> _Thought:
        belief, guard, memo = self._believe(known, theory)
        choice = best_experiment(known, belief, np.random.default_rng([known.seed, 1]))
        emulator = belief.emulator
        why: dict[str, float | str] = {
            "expert": "theory",
            "theory_weight": guard.weight,
            "gain_per_h": choice.gain / theory.experiment_h,
            "emulator_sd": float(belief.emulator_sd(choice.x[None, :])[0]),
            "emulator_loo_rmse": float(emulator.loo_rmse[0]),
            "discrepancy_relative": belief.discrepancy.relative,
            "discrepancy_absolute": belief.discrepancy.absolute,
            "simulations": float(emulator.m),
        }
        wanted = wanted_simulations(
            known,
            theory,
            belief,
            choice,
            min(self.batch, theory.left),
            np.random.default_rng(known.seed),
        )
        why["simulation_gain_per_h"] = max((w.gain_per_h for w in wanted), default=0.0)
        drop = unwanted(known, theory, belief)
        noise = _typical_noise(known, theory, emulator)
        return _Thought(belief, guard, choice, noise, wanted, drop, memo, why)

    def _choose(self, known: Known, theory: Theory, thought: _Thought) -> Proposal:
        """Return the experiment of theory, or the plain one, or simulations that it waits for."""
        why, memo, guard = thought.why, thought.memo, thought.guard
        is_trusted = guard.weight >= _TRUSTED
        waited = memo.get("held", [-1, 0])
        n_held = waited[1] if waited[0] == known.proposal else 0
        is_worth_it = float(why["simulation_gain_per_h"]) > float(why["gain_per_h"])
        turns = _turns(known).due(guard.weight, is_promising=thought.is_promising)
        is_theorys = is_trusted and not turns.is_plain
        if is_theorys and is_worth_it and n_held < self.holds:
            return Proposal(
                x=thought.choice.x,
                source=theory.simulator,
                simulations=thought.wanted,
                withdrawn=thought.withdrawn,
                why=why,
                memo={**memo, "held": [known.proposal, n_held + 1]},
            )
        x, memo = thought.choice.x, {**memo, "turns": turns.to_json()}
        plain = self._rival(known, thought, turns) if is_theorys else self._plainly(known, turns)
        if plain is not None:
            x, memo = plain.x, {**memo, **plain.memo}
            why = {**why, **{k: v for k, v in plain.why.items() if k not in {"mean", "sd"}}}
            why["expert"] = "plain"
        expected = _foresee(known, theory, thought, x)
        why = {**why, **self._expectation(thought.belief, expected, guard.weight, x)}
        return Proposal(
            x=x,
            simulations=() if guard.is_off else thought.worth,
            withdrawn=thought.withdrawn,
            why=why,
            memo={**memo, "guard": guard.expecting(expected).to_json()},
        )

    def _rival(self, known: Known, thought: _Thought, turns: Turns) -> Proposal | None:
        """Return the plain planner's proposal where it is the better one; None: theory's is.

        Once the plain planner has a model of its own, the two points are compared by the gain that
        both beliefs together expect there.
        """
        if known.n < max(self.n_initial, 2):
            return None
        plain = self._without_theory.propose(known)
        x = np.stack([thought.choice.x, plain.x])
        by_theory = gains_with_theory(known, thought.belief, x)
        by_plain = gains_without_theory(
            known, lambda places: self._without_theory.moments(known, places), x
        )
        weight = thought.guard.weight
        gains = weight * by_theory + (1.0 - weight) * by_plain
        if gains[1] <= gains[0]:
            return None
        return replace(plain, memo={**plain.memo, "turns": turns.paid().to_json()})

    def _expectation(
        self, belief: TheoryBelief, expected: Foresight, weight: float, x: Floats
    ) -> dict[str, float | str]:
        """Return what is expected of the objective at the point, for people."""
        mean, sd = (float(v[0]) for v in belief.moments(x[None, :]))
        plain_mean, plain_sd = belief.sign * expected.plain.mean[0], expected.plain.sd(0)
        blend = weight * mean + (1.0 - weight) * plain_mean
        square = weight * (sd**2 + (mean - blend) ** 2)
        square += (1.0 - weight) * (plain_sd**2 + (plain_mean - blend) ** 2)
        import torch

        f = belief.theory(x[None, :])
        discrepancy = belief.discrepancy
        of_theory = discrepancy.relative * (float(f.mean()) - discrepancy.worst)
        return {
            "mean": blend,
            "sd": float(np.sqrt(square)),
            "theory_mean": mean,
            "theory_sd": sd,
            "bare_theory_mean": float(f.mean()),
            "loss": 1.0 - float(kept(x[None, :], torch.as_tensor(belief.loss)).mean()),
            "plain_mean": plain_mean,
            "plain_sd": plain_sd,
            "discrepancy_sd": float(np.hypot(discrepancy.absolute, of_theory)),
        }


def _turns(known: Known) -> Turns:
    return Turns.from_json(known.memo.get("turns", {}))


def _foresee(known: Known, theory: Theory, thought: _Thought, x: Floats) -> Foresight:
    """Return what theory and what the experiments alone expect at a point, noise included."""
    emulator = thought.belief.emulator
    found = measured(known, theory, emulator.scatter.cpu().numpy())
    of_theory = _theory_foresight(thought.belief, emulator, x, thought.noise)
    usual = known.simulations.values[~known.simulations.exceeded]
    plain = foresee_without_theory(found.x, found.values, found.is_there, thought.noise, usual, x)
    return Foresight(tuple(float(v) for v in x), of_theory, plain)


def _theory_foresight(
    belief: TheoryBelief, emulator: Emulator, x: Floats, noise: Floats
) -> Forecast:
    z = belief.z
    inputs = emulator.coordinates.of(np.tile(x, (len(z), 1)), z)
    means = emulator.mean(inputs).cpu().numpy()
    middle = emulator.coordinates.of(x[None, :], z.mean(axis=0)[None, :])
    own = np.array([float(emulator.sd(middle, q)[0]) for q in range(means.shape[1])])
    open_ = belief.calibration.tau[1] * emulator.spread
    # of the objective more is known: its discrepancy, and what that leaves open
    objective, within = belief.samples(x[None, :])
    means[:, 0] = belief.sign * objective[:, 0].cpu().numpy()
    open_[0] = float(within[0])
    off = means - means.mean(axis=0)
    covariance = off.T @ off / len(z) + np.diag(own**2 + open_**2 + noise**2)
    return Forecast.of(means.mean(axis=0), covariance)


def _typical_noise(known: Known, theory: Theory, emulator: Emulator) -> Floats:
    """Return the usual standard deviation of each observable; before any, the simulator's scatter."""
    scatter: Floats = np.maximum(emulator.scatter.cpu().numpy(), _LEAST_NOISE * emulator.spread)
    found = measured(known, theory, emulator.scatter.cpu().numpy())
    if not len(found.sd):
        return scatter
    there = found.is_there
    rows = [
        float(np.median(found.sd[there[:, q], q])) if there[:, q].any() else float(scatter[q])
        for q in range(found.sd.shape[1])
    ]
    usual: Floats = np.maximum(np.array(rows), 1e-6 * emulator.spread)
    return usual


def _on(device: str) -> AbstractContextManager[Any]:
    """Return what puts new tensors on a device; nothing where they are made there anyway."""
    import torch

    # within it each call of torch costs more, and a proposal makes some ten thousand
    return nullcontext() if device == "cpu" else torch.device(device)
