"""The whole run is killed, stopped or frozen; `twinloop resume` takes it up, and nothing is lost."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from twinloop.agents.campaign.leases import LeaseKeeper
from twinloop.agents.campaign.reading import replay
from twinloop.agents.kills.audit import audit
from twinloop.agents.kills.campaign_run import CampaignRun

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

Begin = Callable[..., CampaignRun]
PROMISED_S = 10.0
LEASE_S = LeaseKeeper({}, "any", "", "any")._ttl_s


def assert_complete(run: CampaignRun, experiments: int, lives: int = 2) -> None:
    """Every film was grown once and observed; so many conductors led the campaign."""
    assert audit(run.folder) == []
    assert len(run.effects("growth_started")) == experiments
    assert len(run.effects("sample_loaded")) == experiments
    assert [e.state for e in run.events("trial_ended")] == ["done"] * experiments
    assert [e.life for e in run.events("conductor_started")] == list(range(1, lives + 1))
    assert [r.difference for r in replay(run.folder)] == [0.0] * experiments


def until_nothing_is_left(run: CampaignRun) -> None:
    run.until(lambda: not run.processes(), "the end of every process", PROMISED_S)
    run.until(lambda: not run.ray_folders(), "the end of Ray's folders", PROMISED_S)


def test_everything_but_the_machine_is_killed_in_a_growth(begin: Begin) -> None:
    run = begin(experiments=2)
    key = run.until_in_a_growth()
    run.kill_everything(but="machine")
    until_nothing_is_left(run)
    grown = [e for e in run.effects("growth_ended") if e["key"] == key]
    assert [e["state"] for e in grown] == ["done"], "a growth once begun goes to its end"
    run.resume()
    run.until_finished()
    assert_complete(run, 2)


def test_everything_is_killed_between_two_operations(begin: Begin) -> None:
    run = begin(experiments=2)
    run.until_in_a_growth()
    run.signal("conductor", signal.SIGSTOP)
    run.until(lambda: run.effects("growth_ended"), "the end of the growth")
    run.until_all_is_told()
    run.kill_everything()
    run.resume()
    run.until_finished()
    assert_complete(run, 2)


def test_everything_is_killed_in_a_growth(begin: Begin) -> None:
    run = begin(experiments=2)
    key = run.until_in_a_growth()
    run.kill_everything()
    until_nothing_is_left(run)
    # with the machine itself the film is gone: that is said, and it is not grown again
    run.resume()
    run.until_finished()
    assert audit(run.folder) == []
    assert [e.state for e in run.events("trial_ended")] == ["failed", "done"]
    outcome = next(e for e in run.events("settled") if str(e.key) == key)
    assert outcome.state == "partial"
    assert [e["key"] for e in run.effects("growth_started")].count(key) == 1
    assert len(run.effects("growth_started")) == 2


def test_the_supervisor_is_killed_and_nothing_is_left_but_the_film(begin: Begin) -> None:
    run = begin(experiments=2)
    run.until_in_a_growth()
    run.kill("supervisor")
    until_nothing_is_left(run)
    run.resume()
    run.until_finished()
    assert_complete(run, 2)


def test_a_resume_right_after_the_supervisor_was_killed_waits_for_what_it_left(
    begin: Begin,
) -> None:
    run = begin(experiments=2)
    run.until_in_a_growth()
    run.kill("supervisor")
    assert run.supervisor is not None
    run.supervisor.wait()
    run.resume()
    run.until_finished()
    assert_complete(run, 2)


def test_ctrl_c_ends_the_run_in_order_and_a_resume_finishes_it(begin: Begin) -> None:
    run = begin(experiments=2)
    run.until_in_a_growth()
    end_by(run, signal.SIGINT)
    run.resume()
    assert run.until_over() == 0
    assert not run.processes()
    assert (run.folder / "report.html").exists()
    assert_complete(run, 2)
    # what is finished is finished: a resume starts nothing
    events, films = run.events(), run.effects("sample_loaded")
    assert run.ask("resume", str(run.folder), "--no-view", within_s=60.0).returncode == 0
    assert (run.events(), run.effects("sample_loaded")) == (events, films)


def test_a_term_signal_ends_the_run_in_order_and_a_resume_finishes_it(begin: Begin) -> None:
    run = begin(experiments=2)
    run.until_in_a_growth()
    end_by(run, signal.SIGTERM)
    run.resume()
    run.until_finished()
    assert_complete(run, 2)


def end_by(run: CampaignRun, number: signal.Signals) -> None:
    """End the run as a terminal does: by a signal to the whole group."""
    assert run.supervisor is not None
    os.killpg(run.supervisor.pid, number)
    assert run.until_over(PROMISED_S) == 3
    assert not run.processes()
    assert not run.ray_folders()
    assert f"continue with: twinloop resume {run.folder}" in (run.home / "output.txt").read_text()


def test_who_was_frozen_for_longer_than_a_lease_goes_on(begin: Begin) -> None:
    run = begin(experiments=4)
    for program in ("conductor", "adapter", "hub", "machine"):
        n_grown = len(run.effects("growth_ended"))
        run.until_in_a_growth()
        frozen_s = time.monotonic()
        run.signal(program, signal.SIGSTOP)
        run.until(partial(is_past, frozen_s + LEASE_S + 1.0), "the end of a lease")
        run.signal(program, signal.SIGCONT)
        run.until(lambda n=n_grown: len(run.effects("growth_ended")) > n, "the next film")
    run.until_finished()
    assert_complete(run, 4, lives=1)
    assert len(run.effects("machine_started")) == 1


def is_past(moment_s: float) -> bool:
    return time.monotonic() > moment_s


def test_a_folder_in_use_is_refused_and_the_error_names_who_uses_it(begin: Begin) -> None:
    run = begin(experiments=4)  # long enough for two commands to be refused meanwhile
    run.until_in_a_growth()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        # frozen or not, it is the owner as long as it lives
        pid = run.signal("supervisor", number)
        second = run.ask("resume", str(run.folder), "--no-view")
        assert second.returncode == 1
        assert f"is in use by process {pid} on {os.uname().nodename}" in second.stderr
    run.until_finished()
    assert_complete(run, 4, lives=1)


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    refused = CampaignRun(tmp_path / "other", {}).ask("resume", str(tmp_path), "--no-view")
    assert refused.returncode == 2
    assert "a folder made by 'twinloop run'" in refused.stderr
