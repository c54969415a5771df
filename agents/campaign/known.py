"""What a planner may know, made from the journal alone.

`known_at(state, ...)` is a pure function of the folded journal, so a proposal can be computed again
from the prefix that it names as its basis.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.campaign.events import Simulated
from twinloop.agents.campaign.state import CampaignState
from twinloop.planners.known import Known, Simulations, Theory, simulations_seed
from twinloop.planners.space import Space

__all__ = ["known_at", "known_of_theory"]


def known_at(
    state: CampaignState, space: Space, number: int, theory: Theory | None = None
) -> Known:
    """Return what proposal `number` may depend on, at this prefix of the journal.

    Observations stand in journal order; pending are the proposals that are ready or under way.
    The memo is that of the last proposal of the prefix, of an experiment or of simulations.
    """
    observed = state.observations
    x = np.array([state.proposed[t.number].x for t in observed]).reshape(-1, space.d)
    pending = np.array(
        [state.proposed[n].x for n in state.pending if n != number], dtype=np.float64
    ).reshape(-1, space.d)
    k = max((len(t.slack) for t in observed), default=0)
    current = None if theory is None else _now(theory, state)
    return Known.of(
        space,
        x,
        np.array([[t.y] for t in observed], dtype=np.float64).reshape(-1, 1),
        y_sd=np.array([[t.y_sd] for t in observed]).reshape(-1, 1),
        slack=np.array([t.slack for t in observed]).reshape(len(observed), k),
        slack_sd=np.array([t.slack_sd for t in observed]).reshape(len(observed), k),
        pending=pending,
        simulations=None if current is None else _simulations(state, space, current),
        theory=current,
        features=_blind(state) if current is None else _features(state, current),
        basis=state.seq,
        proposal=number,
        campaign_seed=state.started.seed if state.started else 0,
        memo=state.memo,
    )


def known_of_theory(state: CampaignState, space: Space, batch: int, theory: Theory) -> Known:
    """Return what batch `batch` of simulations may depend on, at this prefix of the journal."""
    known = known_at(state, space, len(state.proposed), theory)
    return replace(known, seed=simulations_seed(known.campaign_seed, batch))


def _now(theory: Theory, state: CampaignState) -> Theory:
    """Return the theory with what an experiment costs by now, what is left, and the code that predicts."""
    code = next((s.code for s in reversed(state.simulated) if s.state == "done"), theory.code)
    left = max(0, theory.left - state.asked)
    experiment_h = theory.experiment_h
    over_s = state.lab_s - sum(trial.lab_s for trial in state.trials.values())
    if state.ended and over_s > 0:
        experiment_h = over_s / len(state.ended) / 3600.0
    return replace(theory, code=code, left=left, experiment_h=experiment_h)


def _simulations(state: CampaignState, space: Space, theory: Theory) -> Simulations:
    """Return the predictions of the present code, in journal order, and what is asked for."""
    rows = [(s, _values(s, theory)) for s in state.simulated if s.code == theory.code]
    found = [(s, values) for s, values in rows if values is not None]
    wanted = [state.batches[s.batch].wanted[s.row] for s, _ in found]
    waiting = [state.batches[batch].wanted[row] for batch, row in state.simulating]
    t, q = len(theory.names), len(theory.observables)
    return Simulations(
        x=np.array([w.x for w in wanted]).reshape(-1, space.d),
        theta=np.array([[w.theta[n] for n in theory.names] for w in wanted]).reshape(-1, t),
        values=np.array([values for _, values in found]).reshape(-1, q),
        exceeded=np.array([s.exceeded for s, _ in found], dtype=bool),
        pending_x=np.array([w.x for w in waiting]).reshape(-1, space.d),
        pending_theta=np.array([[w.theta[n] for n in theory.names] for w in waiting]).reshape(
            -1, t
        ),
    )


def _values(event: Simulated, theory: Theory) -> list[float] | None:
    values = [event.values.get(name, nan) for name in theory.observables]
    return values if event.state == "done" and all(map(isfinite, values)) else None


def _features(state: CampaignState, theory: Theory) -> dict[str, NDArray[Any]]:
    """Return what experiments measured of the observables beside the objective."""
    return {
        name: np.array([_measured(t.outcome, name) for t in state.observations]).reshape(-1, 2)
        for name in theory.observables[1:]
    }


def _blind(state: CampaignState) -> dict[str, NDArray[Any]]:
    """Return what each trial would have said of the objective without any look, larger is better.

    It is the field OBJECTIVE_blind of an Outcome, where a protocol has one.
    """
    goal = state.started.config.get("goal", {}) if state.started else {}
    objective = goal.get("maximise") or goal.get("minimise") or ""
    name, sign = f"{objective}_blind", 1.0 if goal.get("maximise") else -1.0
    if not any(name in t.outcome for t in state.observations):
        return {}
    rows = [_measured(t.outcome, name) for t in state.observations]
    return {"blind": np.array([(sign * value, sd) for value, sd in rows])}


def _measured(outcome: Mapping[str, Any], name: str) -> tuple[float, float]:
    value, sd = outcome.get(name), outcome.get(f"{name}_sd")
    sd = 0.0 if sd is None else sd
    if not isinstance(value, int | float) or not isinstance(sd, int | float):
        return nan, nan
    return float(value), float(sd)
