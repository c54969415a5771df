"""Whoever is killed while a film is passed on, it is afterwards at exactly one place."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from twinloop.agents.kills.audit import audit
from twinloop.agents.kills.campaign_run import CampaignRun

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

CAMPAIGN: dict[str, Any] = {
    "campaign": "passing",
    "protocol": "twinloop.agents.kills.pass_on:pass_on",
    "seed": 5,
    "lab": {
        "lab": "passing",
        "clock_factor": 200,
        "instruments": {
            "mbe": {"served": "chamber", "class": "mbe_twin"},
            "first": {"served": "first", "class": "xrd_twin"},
            "second": {"served": "second", "class": "xrd_twin"},
        },
        "adapters": {
            "chamber": {"start": "demo", "machine": "growth_chamber"},
            "first": {"start": "demo"},
            "second": {"start": "demo"},
        },
    },
    "search": {"flux_ML_per_s": {"low": 0.5, "high": 1.0}},
    "goal": {"maximise": "rate_ML_per_s", "noise_sd": 0.02},
    "planner": "sobol",
    "parallel": 2,
    "budget": {"experiments": 3},
    "placement": {"in_process": True},
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[CampaignRun]:
    started = CampaignRun(tmp_path / "run", CAMPAIGN)
    started.start()
    yield started
    started.close()


def under_way(run: CampaignRun, instrument: str, action: str) -> str | None:
    """Return the key of an action that is commanded and not settled."""
    over = {str(e.key) for e in run.events("settled")}
    keys = [
        str(e.key)
        for e in run.events("commanded")
        if (e.instrument, e.action) == (instrument, action) and str(e.key) not in over
    ]
    return keys[0] if keys else None


def kill_adapter(run: CampaignRun, name: str) -> None:
    for process in run.processes():
        words = psutil.Process(process.pid).cmdline()
        if "twinloop.instruments.server" in words and any(f"adapters/{name}/" in w for w in words):
            os.kill(process.pid, signal.SIGKILL)
            return
    pytest.fail(f"no adapter {name} among {run.processes()}")


def places(run: CampaignRun) -> dict[str, list[str]]:
    """Return where each sample lies, by its name."""
    found: dict[str, list[str]] = {}
    machines = run.folder / "machines"
    for path in machines.glob("*/stage/*.npz"):
        found.setdefault(path.name.rsplit(".", 2)[0], []).append(path.parent.parent.name)
    for path in machines.glob("vessel/held/*.npz"):
        found.setdefault(path.stem, []).append("vessel")
    return found


def assert_all_came_through(run: CampaignRun) -> None:
    assert audit(run.folder) == []
    assert [e.state for e in run.events("trial_ended")] == ["done"] * 3
    assert list(places(run).values()) == [["vessel"]] * 3
    moved = [e for e in run.events("settled") if e.state == "done"]
    commanded = {str(e.key): (e.instrument, e.action) for e in run.events("commanded")}
    moves = [commanded[str(e.key)] for e in moved if commanded[str(e.key)][1] in {"give", "take"}]
    for step in [("mbe", "give"), ("first", "take"), ("first", "give"), ("second", "take")]:
        assert moves.count(step) == 3


def test_the_taker_the_giver_and_the_chamber_are_killed(run: CampaignRun) -> None:
    for adapter, instrument, action in (
        ("first", "first", "take"),
        ("first", "first", "give"),
        ("second", "second", "take"),
        ("chamber", "mbe", "give"),
    ):
        run.until(
            lambda i=instrument, a=action: under_way(run, i, a), f"{instrument}.{action} under way"
        )
        kill_adapter(run, adapter)
    run.until_finished(90.0)
    assert_all_came_through(run)


def test_everything_is_killed_while_samples_are_on_their_way(run: CampaignRun) -> None:
    run.until(lambda: under_way(run, "first", "take"), "a take under way")
    run.kill_everything()
    run.resume()
    run.until(lambda: under_way(run, "second", "take"), "the second take under way")
    run.kill_everything()
    run.resume()
    run.until_finished(90.0)
    assert_all_came_through(run)
