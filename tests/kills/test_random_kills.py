"""Random processes killed at random moments: nothing acknowledged is lost, nothing is grown twice.

A real campaign: `python -m twinloop.agents.kills --seed N` runs one schedule by hand.
"""

from pathlib import Path

import pytest

from twinloop.agents.kills.random_kills import Tally, kill_at_random

pytestmark = pytest.mark.system
SOAK_KILLS, SOAK_SCHEDULES = 25, 40


def assert_promises_are_kept(tally: Tally, experiments: int) -> None:
    assert tally.violations == ()
    assert tally.growths <= experiments
    assert tally.observations + len(tally.failed) == experiments
    lost_with_the_machine = tally.kills.get("machine", 0) + tally.kills.get("everything", 0)
    assert len(tally.failed) <= lost_with_the_machine, tally.failed


@pytest.mark.timeout(150)
def test_a_short_schedule_of_kills(tmp_path: Path) -> None:
    # enough films that the schedule does not outlast the campaign on a fast machine
    tally = kill_at_random(tmp_path, seed=11, kills=5, experiments=8)
    assert sum(tally.kills.values()) >= 3
    assert_promises_are_kept(tally, 8)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(SOAK_SCHEDULES))
def test_a_long_schedule_of_kills(tmp_path: Path, seed: int) -> None:
    tally = kill_at_random(tmp_path, seed=seed, kills=SOAK_KILLS, experiments=12)
    assert_promises_are_kept(tally, 12)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(10))
def test_a_long_schedule_of_kills_with_ray(tmp_path: Path, seed: int) -> None:
    tally = kill_at_random(tmp_path, seed=seed, kills=12, experiments=8, with_ray=True)
    assert_promises_are_kept(tally, 8)
