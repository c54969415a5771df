"""What a journal tells, in order, and what it says of itself."""

import pytest

from twinloop.agents.campaign.events import Decided, Discarded, Paused
from twinloop.agents.report.aims import aim_of
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import History, history_of, read_history
from twinloop.agents.report.incidents import incidents
from twinloop.log.interface import Entry, Stored

POINT = {"substrate_K": 650.0}


def read(run) -> History:
    run.close()
    return read_history(Evidence(run.folder))


def kinds(history):
    return [incident.kind for incident in incidents(history)]


def test_trials_keep_their_proposal_steps_and_end(run):
    run.begin()
    run.grow_film(POINT, 0.4)
    history = read(run)
    trial = history.trials["t0000"]
    assert trial.point == POINT
    assert [step.commanded.action for step in trial.steps] == [
        "load", "heat", "grow", "record", "anneal", "expose",
    ]  # fmt: skip
    assert all(step.settled is not None for step in trial.steps)
    assert trial.y == pytest.approx(0.4)
    assert history.check == "intact"


def test_a_good_campaign_has_no_incidents(run):
    run.begin()
    run.lease("mbe")
    run.grow_film(POINT, 0.4)
    run.finish()
    assert incidents(read(run)) == []


def test_restarts_failures_retries_and_fallbacks_are_incidents(run):
    run.begin()
    run.lease("mbe")
    trial = run.start(run.propose(POINT, why={"fallback": "planner timed out"}))
    first = run.command(trial, "0", "mbe", "load")
    run.settle(first, "mbe", state="failed", reason="busy", may_retry=True)
    run.live()
    run.lease("mbe", epoch=2)
    second = run.command(trial, "0", "mbe", "load", attempt=1)
    run.settle(second, "mbe", state="unknown", reason="the adapter's disk is gone")
    run.write(Decided(key=second, state="done", person="Ada", reason="I looked"))
    run.compute(trial, "1", "analyst.rate", None, state="failed", reason="no oscillation")
    run.end(trial, {}, None, reason="StepFailed")
    run.write(Discarded(number=run.propose(POINT), reason="repeats a pending point"))
    run.write(Paused(person="Ada", reason="lunch"))
    assert sorted(kinds(read(run))) == sorted(
        ["fallback", "retried", "restart", "lease", "unknown", "decided", "failed", "failed",
         "discarded", "paused"]
    )  # fmt: skip


def test_another_ledger_is_an_incident_of_its_own(run):
    run.begin()
    run.lease("mbe")
    run.lease("mbe", epoch=1, ledger="l2")
    assert kinds(read(run)) == ["new ledger"]


def test_a_command_without_outcome_is_an_incident_only_after_the_end(run):
    run.begin()
    run.command(run.start(run.propose(POINT)), "0", "mbe", "load")
    run.commit()
    assert kinds(read_history(Evidence(run.folder))) == []
    run.finish()
    assert kinds(read(run)) == ["open"]


def test_an_event_of_a_later_version_is_noted_and_the_rest_is_kept():
    unknown = Entry("teleported", 3, {"to": "Mars"})
    finished = Entry("finished", 1, {"at_s": 4.0, "reason": "done"})
    stored = [
        Stored(n, "2026-01-17T10:00:00+00:00", e, "00") for n, e in enumerate((unknown, finished))
    ]
    history = history_of(stored)
    assert history.finished is not None
    assert "'teleported', v3" in history.unreadable[0]
    assert kinds(history) == ["journal"]


def test_the_best_is_the_largest_feasible_value(run):
    run.begin()
    for y, slack in ((0.9, -0.1), (0.5, 0.1), (0.4, 0.2)):
        run.end(run.start(run.propose(POINT)), {"quality": y}, y, slack=(slack,))
    assert read(run).best.id == "t0001"


def test_the_aim_is_read_from_the_configuration():
    goal = {"minimise": "roughness_ML", "maximise": None, "subject_to": {"rate": {"at_least": 0.1}}}
    aim = aim_of({"goal": goal}, [])
    assert (aim.objective, aim.is_maximised, dict(aim.bounds)) == (
        "roughness_ML",
        False,
        {"rate": "≥ 0.1"},
    )
    assert aim_of({"campaign": {"goal": goal}}, []) == aim


def test_the_aim_is_guessed_from_an_observation_where_no_configuration_tells_it(run):
    run.config = {}
    run.begin()
    run.end(run.start(run.propose(POINT)), {"other": 7.0, "roughness_ML": 0.4}, -0.4)
    aim = read(run).aim
    assert (aim.objective, aim.is_maximised) == ("roughness_ML", False)


def test_conditions_stand_in_the_order_of_the_configuration_file(run):
    run.begin()
    run.propose({"anneal_s": 1.0, "substrate_K": 2.0, "extra": 3.0})
    text = '{"search": {"substrate_K": {"low": 1}, "anneal_s": {"low": 0}}}'
    (run.folder / "config.json").write_text(text, "utf-8")
    assert read(run).knobs == ["substrate_K", "anneal_s", "extra"]
