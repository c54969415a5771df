"""Reading a journal: status, explanation, and the proof by replay."""

import json

import pytest

from twinloop.agents.campaign.events import (
    CampaignStarted,
    Proposed,
    TrialEnded,
    TrialStarted,
    entry_of,
)
from twinloop.agents.campaign.known import known_at
from twinloop.agents.campaign.reading import explain, fold, replay, status
from twinloop.agents.campaign.state import CampaignState, apply
from twinloop.errors import ArgumentError
from twinloop.log.sqlite import SqliteLog
from twinloop.planners.registry import resolve
from twinloop.planners.space import Space

SEARCH = {"a_K": {"low": 0.0, "high": 1.0, "scale": "linear"}}
PLANNER = {"name": "plain_bo", "n_initial": 3}


@pytest.fixture
def folder(tmp_path):
    """A run of five experiments on a known function, proposed by the real planner."""
    log = SqliteLog(tmp_path / "journal.db", "journal-test")
    planner, space = resolve(dict(PLANNER)), Space.of({"a_K": (0.0, 1.0)})
    config = {"planner": PLANNER, "search": SEARCH}
    log.append(
        entry_of(
            CampaignStarted(
                campaign="c", seed=5, config=config, protocol="p", protocol_version=1,
                protocol_digest="d", planner="plain_bo", planner_version=1, versions={},
                clock_factor=1.0,
            )
        )
    )  # fmt: skip
    for number in range(5):
        state = fold(log.read())
        known = known_at(state, space, number)
        proposal = planner.ask(known)
        name = f"t{number:04d}"
        x = tuple(float(v) for v in proposal.x)
        for event in (
            Proposed(
                number=number, x=x, point=space.to_point(proposal.x), basis=known.basis,
                pending=state.pending, seed=known.seed, why=dict(proposal.why),
                memo=dict(proposal.memo),
            ),
            TrialStarted(trial=name, number=number, sample=name),
            TrialEnded(trial=name, number=number, state="done", y=-((x[0] - 0.3) ** 2), y_sd=0.01,
                       outcome={"y": 1.0}),
        ):  # fmt: skip
            log.append(entry_of(event))
    log.close()
    return tmp_path


def test_every_proposal_is_computed_again_bit_by_bit(folder):
    found = replay(folder)
    assert len(found) == 5
    assert max(r.difference for r in found) == 0.0


def test_a_changed_observation_changes_the_next_proposal(folder):
    log = SqliteLog(folder / "journal.db", "journal-test")
    state = fold(log.read())
    log.close()
    space = Space.of({"a_K": (0.0, 1.0)})
    ended = list(state.ended)
    ended[0] = ended[0].model_copy(update={"y": 5.0})
    planner = resolve(dict(PLANNER))
    from dataclasses import replace

    one = planner.ask(known_at(state, space, 5)).x
    other = planner.ask(known_at(replace(state, ended=tuple(ended)), space, 5)).x
    assert one[0] != other[0]


def test_the_status_says_what_a_person_wants_to_know(folder):
    found = status(folder)
    assert (found["campaign"], found["observations"], found["lives"]) == ("c", 5, 0)
    assert json.dumps(found)


@pytest.mark.parametrize("name", ["t0003", "3", "t3"])
def test_an_explanation_names_basis_pending_and_reasons(folder, name):
    found = explain(folder, name)
    assert found.proposed.number == 3
    assert found.proposed.basis > 0
    assert "log_expected_improvement" in found.proposed.why
    assert found.ended.state == "done"


@pytest.mark.parametrize("name", ["t0005", "x", "-1"])
def test_an_unknown_trial_is_told_which_there_are(folder, name):
    with pytest.raises(ArgumentError, match="t0000 to t0004"):
        explain(folder, name)


def test_what_trials_would_have_said_without_a_look_is_known_larger_is_better():
    def known_of(goal, **outcome):
        state = CampaignState()
        events = (
            CampaignStarted(
                campaign="c", seed=5, config={"search": SEARCH, "goal": goal}, protocol="p",
                protocol_version=1, protocol_digest="d", planner="looking_bo", planner_version=1,
                versions={}, clock_factor=1.0,
            ),
            Proposed(number=0, x=(0.5,), point={"a_K": 0.5}, basis=1, pending=(), seed=1, why={}, memo={}),
            TrialStarted(trial="t0000", number=0, sample="t0000"),
            TrialEnded(trial="t0000", number=0, state="done", y=0.4, y_sd=0.01, outcome=outcome),
        )  # fmt: skip
        for event in events:
            state = apply(state, event)
        return known_at(state, Space.of({"a_K": (0.0, 1.0)}), 1)

    found = {"loss": 0.4, "loss_blind": 0.7, "loss_blind_sd": 0.2}
    minimised = known_of({"minimise": "loss"}, **found)
    assert minimised.features["blind"].tolist() == [[-0.7, 0.2]]
    assert known_of({"maximise": "loss"}, **found).features["blind"].tolist() == [[0.7, 0.2]]
    assert known_of({"maximise": "loss"}, loss=0.4).features == {}
