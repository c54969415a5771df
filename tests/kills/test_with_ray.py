"""Compute agents as Ray actors: the actor, Ray's own processes and everything at once are killed."""

import signal
from collections.abc import Callable
from functools import partial

import pytest

from twinloop.agents.campaign.reading import replay
from twinloop.agents.kills.audit import audit
from twinloop.agents.kills.campaign_run import CampaignRun

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

PROMISED_S = 10.0


def until_ray_works(run: CampaignRun, n_judged: int) -> None:
    run.until(lambda: len(run.events("trial_ended")) >= n_judged, "a film that was judged", 60.0)


def test_actor_raylet_and_control_store_are_killed_and_instruments_do_not_notice(
    begin: Callable[..., CampaignRun],
) -> None:
    # a planner with a model: without Ray it proposes nothing, so growths do not outpace the kills
    run = begin(experiments=6, in_process=False, planner={"name": "plain_bo", "n_initial": 2})
    until_ray_works(run, 1)
    first_folder = run.ray_folders()
    for n, program in enumerate(("worker", "raylet", "gcs_server"), 2):
        pid = run.kill(program)
        run.until(partial(is_another, run, program, pid), f"another {program}", 60.0)
        until_ray_works(run, n)
    assert first_folder != run.ray_folders(), "a new cluster, in a new folder"
    run.until_finished(90.0)
    assert audit(run.folder) == []
    assert len(run.effects("growth_started")) == 6
    assert [e.state for e in run.events("trial_ended")] == ["done"] * 6
    assert len(run.events("conductor_started")) == 1
    assert len([e for e in run.events("leased") if e.instrument == "mbe"]) == 1
    run.until(lambda: not run.ray_folders(), "the end of Ray's folders", PROMISED_S)


def is_another(run: CampaignRun, program: str, pid: int) -> bool:
    return bool(set(run.pids(program)) - {pid})


def test_conductor_then_everything_is_killed_with_a_model_on_ray(
    begin: Callable[..., CampaignRun],
) -> None:
    # more than a machine can grow before Ray is up and the first films are judged
    run = begin(experiments=9, in_process=False, planner={"name": "plain_bo", "n_initial": 2})
    until_ray_works(run, 1)
    old = set(run.pids("raylet"))
    run.until_in_a_growth()
    run.kill("conductor")
    run.until(lambda: set(run.pids("raylet")) - old, "a cluster of the next conductor", 60.0)
    assert not old & set(run.pids("raylet")), "the old cluster was ended"
    until_ray_works(run, 2)
    run.signal("conductor", signal.SIGSTOP)
    run.until(lambda: not run.growth_under_way(0.0), "a machine at rest")
    run.kill_everything()
    run.until(lambda: not run.processes(), "the end of every process", PROMISED_S)
    run.resume()
    run.until_finished(120.0)
    assert not run.ray_folders()
    assert audit(run.folder) == []
    assert len(run.effects("growth_started")) == 9
    assert [e.state for e in run.events("trial_ended")] == ["done"] * 9
    assert [r.difference for r in replay(run.folder)] == [0.0] * 9
