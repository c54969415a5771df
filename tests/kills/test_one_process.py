"""Each process of a campaign is killed in the middle of a growth; the campaign goes on by itself.

What really happened is counted in the log that the stand-in machine writes itself.
"""

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from twinloop.agents.campaign.reading import replay
from twinloop.agents.kills.audit import audit
from twinloop.agents.kills.campaign_run import CampaignRun

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

Begin = Callable[..., CampaignRun]


def settled(run: CampaignRun, key: str) -> Any:
    return next(e for e in run.events("settled") if str(e.key) == key)


def is_open(run: CampaignRun, key: str) -> bool:
    return key not in {str(e.key) for e in run.events("settled")}


def assert_complete(run: CampaignRun, experiments: int) -> None:
    """Every film was grown once and observed, and nothing that was written down is broken."""
    assert audit(run.folder) == []
    assert len(run.effects("growth_started")) == experiments
    assert len(run.effects("sample_loaded")) == experiments
    ended = run.events("trial_ended")
    assert [e.state for e in ended] == ["done"] * experiments
    assert [r.difference for r in replay(run.folder)] == [0.0] * experiments


def test_the_conductor(begin: Begin) -> None:
    run = begin(experiments=2)
    key = run.until_in_a_growth()
    pid = run.kill("conductor")
    assert is_open(run, key)
    run.until_finished()
    assert_complete(run, 2)
    assert len(run.events("conductor_started")) == 2
    assert settled(run, key).state == "done"
    assert run.told(key)[key].count("intent") == 1, "answered, not executed again"
    assert f"conductor (pid {pid}) died: signal 9" in (run.home / "output.txt").read_text()


def test_the_hub_the_watchdog_and_the_janitor(begin: Begin) -> None:
    run = begin(experiments=3)
    for n, program in enumerate(("hub", "watchdog", "janitor")):
        run.until(lambda n=n: len(run.effects("growth_ended")) == n, "the growths before")
        run.until_in_a_growth()
        pid = run.kill(program)
        run.until(partial(is_another, run, program, pid), f"another {program}")
    run.until_finished()
    assert_complete(run, 3)
    assert len(run.events("conductor_started")) == 1, "nobody else was restarted"
    assert len(run.effects("machine_started")) == 1


def is_another(run: CampaignRun, program: str, pid: int) -> bool:
    return bool(set(run.pids(program)) - {pid})


def test_the_adapter(begin: Begin) -> None:
    run = begin(experiments=2)
    key = run.until_in_a_growth()
    run.kill("adapter")
    assert run.told(key)[key] == ["intent", "accepted"]
    run.until_finished()
    assert_complete(run, 2)
    assert run.told(key)[key] == ["intent", "accepted", "done", "acked"]
    # the machine's own numbers, of one growth from its beginning to its end
    grown = next(e for e in run.effects("growth_ended") if e["key"] == key)
    assert grown["state"] == "done"
    assert settled(run, key).result == grown["numbers"]


def test_the_machine_loses_the_film_that_was_growing_and_says_so(begin: Begin) -> None:
    run = begin(experiments=2)
    key = run.until_in_a_growth()
    run.kill("machine")
    run.until_finished()
    assert audit(run.folder) == []
    cut = settled(run, key)
    assert cut.state == "partial"
    assert 0.5 <= cut.result["dose_at_least_ML"] < 3.4
    assert [e.state for e in run.events("trial_ended")] == ["failed", "done"]
    started = [e["key"] for e in run.effects("growth_started")]
    assert len(started) == len(set(started)) == 2


def test_the_machine_between_two_operations_loses_nothing(begin: Begin) -> None:
    run = begin(experiments=2)
    run.until_in_a_growth()
    # a conductor that is held sends no next command
    run.signal("conductor", signal.SIGSTOP)
    run.until(lambda: run.effects("growth_ended"), "the end of the growth")
    run.until_all_is_told()
    run.kill("machine")
    run.signal("conductor", signal.SIGCONT)
    run.until(lambda: len(run.effects("anneal_ended")) == 2, "the second film at rest")
    # now the detector is about to look at it, or does: a look is simply repeated
    run.kill("machine")
    run.until_finished()
    assert_complete(run, 2)
    assert len(run.effects("machine_started")) == 3
