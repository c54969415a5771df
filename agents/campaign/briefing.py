"""From a run folder's configuration to what a conductor leads."""

from dataclasses import replace
from typing import Any

from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.core import Plan
from twinloop.agents.campaign.events import CampaignStarted
from twinloop.agents.campaign.theory import theory_of
from twinloop.agents.config.interface import Campaign
from twinloop.planners.interface import Known, Proposal, sobol
from twinloop.planners.registry import resolve

__all__ = ["brief_of", "uses_theory"]

_NAME_PART = 40


def _fallback(known: Known) -> Proposal:
    """Return a Sobol point: what is left when no worker can propose."""
    return Proposal(x=sobol(known), why={"fallback": "sobol"})


def _plan(campaign: Campaign, run: str, *, has_theory: bool) -> Plan:
    plan = replace(campaign.plan(), campaign=f"{campaign.name[:_NAME_PART]}.{run[:8]}")
    return plan if has_theory else replace(plan, simulations_ahead=0)


def brief_of(campaign: Campaign, versions: dict[str, str], run: str) -> Brief:
    """Return what to lead.

    Args:
        campaign: the configuration, checked.
        versions: of the code, for the journal.
        run: id of the run. It is part of every command key and sample name: an adapter that lives
            for years must never answer a new run with the results of an old one of the same name.
    """
    planner = resolve(dict(campaign.planner))
    lab = campaign.laboratory
    adapters = {name: lab.instruments[name].host for name in campaign.instruments.values()}
    resolved: dict[str, Any] = campaign.resolved()
    return Brief(
        plan=_plan(campaign, run, has_theory=type(planner).uses_theory),
        protocol=campaign.protocol,
        space=campaign.space,
        goal=campaign.goal,
        opening=planner.opening,
        fallback=_fallback,
        first=CampaignStarted(
            campaign=campaign.name,
            seed=campaign.seed,
            config=resolved,
            protocol=campaign.protocol.name,
            protocol_version=campaign.protocol.version,
            protocol_digest=campaign.protocol.source_digest,
            planner=planner.name,
            planner_version=planner.version,
            versions=versions,
            clock_factor=lab.clock_factor,
        ),
        adapters=adapters,
        targets={name: name for name in campaign.analysts},
        theory=theory_of(resolved) if type(planner).uses_theory else None,
    )


def uses_theory(campaign: Campaign) -> bool:
    """Return True where the planner learns from theory, and there is one."""
    return campaign.theory is not None and type(resolve(dict(campaign.planner))).uses_theory
