"""What a conductor is to lead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twinloop.agents.campaign.core import Plan
from twinloop.agents.campaign.events import CampaignStarted
from twinloop.agents.campaign.goal import Goal
from twinloop.planners.known import Known, Proposal, Theory
from twinloop.planners.space import Space
from twinloop.protocols.interface import Protocol

__all__ = ["Brief", "Opening"]

Opening = Callable[[Known], Proposal | None]


@dataclass(frozen=True)
class Brief:
    """What a conductor is to lead.

    Args:
        plan: budget, parallelism, instruments by parameter.
        protocol: what a trial does.
        space: the search space.
        goal: what counts.
        opening: proposals that need no model; pure.
        fallback: a proposal when no worker can give one; pure.
        first: the event that starts the campaign.
        adapters: adapter of each instrument.
        targets: compute target of each analyst parameter.
        theory: the theory in the loop; None: none.
    """

    plan: Plan
    protocol: Protocol[Any]
    space: Space
    goal: Goal
    opening: Opening
    fallback: Callable[[Known], Proposal]
    first: CampaignStarted
    adapters: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    theory: Theory | None = None
