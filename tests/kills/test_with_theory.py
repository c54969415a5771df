"""Kills while theory is asked, fitted and grown: nothing is lost, and the next proposal is the same."""

import os
import signal
from collections.abc import Callable

import pytest

from twinloop.agents.campaign.reading import replay
from twinloop.agents.kills.audit import audit
from twinloop.agents.kills.campaign_run import CampaignRun

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PLANNER = {"name": "theory_bo", "design": 24, "first": 24, "batch": 4}


def simulated(run: CampaignRun, least: int) -> Callable[[], bool]:
    return lambda: len(run.events("simulated")) >= least


def keeps_its_promises(run: CampaignRun, experiments: int) -> None:
    """Look at what lies on disk when all is over."""
    assert audit(run.folder) == []
    assert len(run.effects("growth_started")) == experiments
    assert [e.state for e in run.events("trial_ended")] == ["done"] * experiments
    wanted = {(b.batch, row) for b in run.events("simulations_proposed")
              for row in range(len(b.wanted))}  # fmt: skip
    answered = [(s.batch, s.row) for s in run.events("simulated")]
    assert len(answered) == len(set(answered))
    assert set(answered) == wanted
    proposed = run.events("proposed")
    assert {p.why.get("expert") for p in proposed} <= {"theory", "plain"}
    assert not [p.why for p in proposed if "fallback" in p.why or "fell" in p.why]
    assert [r.difference for r in replay(run.folder)] == [0.0] * experiments


def test_a_conductor_killed_while_theory_is_asked_and_in_a_growth(
    begin: Callable[..., CampaignRun],
) -> None:
    run = begin(experiments=3, planner=PLANNER, with_theory=True)
    run.until(simulated(run, 5), "the first predictions")
    run.kill("conductor")
    run.until(lambda: len(run.events("conductor_started")) == 2, "the second life")
    run.until_in_a_growth()
    run.kill("conductor")
    run.until_finished(120.0)
    keeps_its_promises(run, 3)


def test_every_actor_of_theory_is_killed_and_then_everything(
    begin: Callable[..., CampaignRun],
) -> None:
    run = begin(experiments=3, planner=PLANNER, with_theory=True, in_process=False)
    run.until(simulated(run, 5), "the first predictions", 90.0)
    # planner, simulator and analyst, whatever they are at
    for pid in run.pids("worker"):
        os.kill(pid, signal.SIGKILL)
    run.until(lambda: run.events("proposed"), "a first experiment", 120.0)
    for pid in run.pids("worker"):
        os.kill(pid, signal.SIGKILL)
    run.until(lambda: len(run.events("trial_ended")) >= 1, "a first result", 120.0)
    run.signal("conductor", signal.SIGSTOP)
    run.until(lambda: not run.growth_under_way(0.0), "a machine at rest")
    run.kill_everything()
    run.until(lambda: not run.processes(), "the end of every process", 10.0)
    run.resume()
    run.until_finished(180.0)
    keeps_its_promises(run, 3)
