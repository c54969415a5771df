"""The next proposal after a kill is the one of the uninterrupted run on the same journal prefix."""

from collections.abc import Callable

import pytest

from twinloop.agents.campaign.known import known_at
from twinloop.agents.campaign.reading import history, replay
from twinloop.agents.campaign.state import CampaignState, apply
from twinloop.agents.kills.audit import audit
from twinloop.agents.kills.campaign_run import CampaignRun
from twinloop.planners.known import Known
from twinloop.planners.registry import resolve
from twinloop.planners.space import Space

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

MODEL = {"name": "plain_bo", "n_initial": 2}


def test_a_conductor_killed_while_a_proposal_is_computed(
    begin: Callable[..., CampaignRun],
) -> None:
    run = begin(experiments=5, planner=MODEL)
    # an opening point needs no worker; only the model's are computed by one
    run.until(lambda: is_asked(run), "a proposal that takes its time")
    n_proposed = len(run.events("proposed"))
    run.kill("conductor")
    assert len(run.events("proposed")) == n_proposed, "it was still being computed"
    run.until_finished(90.0)
    assert audit(run.folder) == []
    assert len(run.effects("growth_started")) == 5
    proposed = run.events("proposed")
    assert not any("fallback" in p.why for p in proposed)
    assert proposed[n_proposed].why["rung"] != "opening"
    assert [r.difference for r in replay(run.folder)] == [0.0] * 5
    config = run.events("campaign_started")[0].config
    planner = resolve(dict(config["planner"]))
    for proposal in proposed[n_proposed:]:
        undisturbed = known_without_the_kill(run, proposal.basis, proposal.number)
        assert planner.ask(undisturbed).x.tolist() == list(proposal.x)


def is_asked(run: CampaignRun) -> bool:
    """Return True while a proposal is being computed: none is ready, and more are wanted."""
    n_proposed = len(run.events("proposed"))
    return MODEL["n_initial"] <= n_proposed == len(run.events("trial_started")) < 5


def known_without_the_kill(run: CampaignRun, basis: int, number: int) -> Known:
    """Fold a prefix of the journal without what a second life of the conductor added to it."""
    state = CampaignState()
    for stored, event in history(run.folder):
        if stored.seq <= basis and event.kind not in {"conductor_started", "leased"}:
            state = apply(state, event)
    config = run.events("campaign_started")[0].config
    space = Space.of({k: (v["low"], v["high"], v["scale"]) for k, v in config["search"].items()})
    return known_at(state, space, number)
