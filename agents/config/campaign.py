"""A campaign as the runtime uses it: everything found, converted, completed and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twinloop.agents.campaign.core import Plan
from twinloop.agents.campaign.goal import Goal
from twinloop.agents.config.campaign_file import (
    Budget,
    CampaignFile,
    Placement,
    TheorySection,
    Workers,
)
from twinloop.agents.config.laboratory import Laboratory
from twinloop.planners.space import Space
from twinloop.protocols.interface import Protocol

__all__ = ["Campaign"]

_AHEAD = 4
"""Simulations asked for each worker before it runs out of work: a plan takes as long as some."""


@dataclass(frozen=True)
class Campaign:
    """A campaign that can be run.

    Args:
        path: the file that it was read from.
        file: that file, as its model, before names and units were looked up.
        protocol: what one trial does.
        space: the search space, in the units of the Point.
        goal: what counts, in the units of the Outcome.
        planner: `{"name": ..., every option}`; `twinloop.planners.registry.resolve` takes it.
        laboratory: the laboratory.
        instruments: instrument of the laboratory for each instrument parameter of the protocol.
        analysts: class of each analyst parameter of the protocol.
    """

    path: Path
    file: CampaignFile
    protocol: Protocol[Any]
    space: Space
    goal: Goal
    planner: Mapping[str, Any]
    laboratory: Laboratory
    instruments: Mapping[str, str]
    analysts: Mapping[str, type]

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return self.file.campaign

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.file.seed

    @property
    def budget(self) -> Budget:
        """When to end."""
        return self.file.budget

    @property
    def workers(self) -> Workers:
        """Shares of the compute agents."""
        return self.file.workers

    @property
    def placement(self) -> Placement:
        """Where compute agents live."""
        return self.file.placement

    @property
    def theory(self) -> TheorySection | None:
        """Theory in the loop; its observables are complete."""
        return self.file.theory

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where planners and analysts compute."""
        return self.file.device

    def plan(self) -> Plan:
        """Return what the campaign core needs to know."""
        hours = self.budget.lab_h
        return Plan(
            campaign=self.name,
            instruments=dict(self.instruments),
            experiments=self.budget.experiments,
            lab_s=float("inf") if hours is None else hours * 3600.0,
            parallel=self.file.parallel,
            ahead=self.file.ahead,
            stop_on_unknown=self.file.on_unknown == "stop",
            simulations_ahead=_AHEAD * self.theory.simulator.workers if self.theory else 0,
            simulations=self.theory.simulator.at_most if self.theory else 0,
        )

    def resolved(self) -> dict[str, Any]:
        """Return the campaign as one complete campaign file: JSON, every default written out.

        Numbers stand in the units of the fields, and the laboratory stands in `lab`. Written to the
        run folder it can be read again by `load_campaign`, and gives the same.
        """
        file = self.file.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {
            **file,
            "lab": self.laboratory.to_json(),
            "search": {
                d.name: {"low": d.low, "high": d.high, "scale": d.scale}
                for d in self.space.dimensions
            },
            "goal": _goal_json(self.goal),
            "planner": dict(self.planner),
        }


def _goal_json(goal: Goal) -> dict[str, Any]:
    bounds = {
        c.field: {
            side: bound
            for side, bound in (("at_least", c.at_least), ("at_most", c.at_most))
            if bound is not None
        }
        for c in goal.constraints
    }
    direction = "maximise" if goal.is_maximised else "minimise"
    return {direction: goal.field, "subject_to": bounds, "noise_sd": goal.noise_sd}
