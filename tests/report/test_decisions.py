"""What the planner said of theory, batch by batch: the numbers against hand-made ones."""

import pytest

from twinloop.agents.campaign.events import SimulationWanted
from twinloop.agents.report.batches import batches_of
from twinloop.agents.report.costs import compute_costs
from twinloop.agents.report.decisions import carried, decisions, has_theory, off_since, scores
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import read_history
from twinloop.agents.report.incidents import incidents
from twinloop.agents.report.testing_theory import TheoryRun
from twinloop.agents.report.timeline import busy_s, lanes

POINT = {"substrate_K": 650.0}
WANTED = SimulationWanted(x=(0.5,), point=POINT, theta={"a": 1.0}, seed=1, gain_per_h=0.3)


def read(run):
    run.close()
    return read_history(Evidence(run.folder))


def calibration(sd, prior_sd=2.0):
    return {
        "names": ["a"], "mean": [0.0], "sd": [sd], "prior_mean": [0.0], "prior_sd": [prior_sd],
    }  # fmt: skip


def propose(run, sd, weight=0.8, expert="theory", **rest):
    why = {"expert": expert, "theory_weight": weight, **rest}
    memo = {"calibration": calibration(sd)}
    return run.propose(POINT, why=why, memo=memo, basis=run.n_events, place="planner")


def observe(run, number, y=0.5):
    trial = run.start(number)
    run.act(trial, "0", "mbe.grow", 1.0)
    run.end(trial, {"quality": y}, y, y_sd=0.02)


def test_a_campaign_without_theory_has_none(run):
    run.begin()
    run.grow_film(POINT, 0.4)
    assert not has_theory(read(run))


def test_a_batch_beside_a_proposal_is_one_decision_and_one_alone_is_another(run):
    run.begin()
    basis = run.n_events
    why = {"expert": "theory", "theory_weight": 0.8}
    run.want([WANTED], basis=basis, proposal=0, why=why, cpu_s=0.0)
    run.propose(POINT, basis=basis, why=why)
    run.want([WANTED], basis=run.n_events, why=why)
    found = decisions(read(run))
    assert [d.event.kind for d in found] == ["proposed", "simulations_proposed"]


def test_a_decision_stands_where_its_knowledge_ends_not_where_it_was_journalled(run):
    run.begin()
    first = propose(run, 1.0)
    second = propose(run, 0.9)
    observe(run, first)
    late = run.n_events
    observe(run, second)
    run.propose(POINT, basis=late, why={"expert": "theory", "theory_weight": 0.9})
    found = decisions(read(run))
    assert [d.n_known for d in found] == [0, 0, 1]
    assert [d.at for d in found] == [0.0, 0.5, 1.0]


def test_a_batch_of_the_first_design_is_no_thought(run):
    run.begin()
    run.want([WANTED], basis=run.n_events, why={"expert": "design", "simulations": 0.0})
    propose(run, 1.0)
    assert [(d.event.kind, d.at) for d in decisions(read(run))] == [("proposed", 0.0)]


def test_a_calibration_that_is_only_handed_on_says_nothing_new(run):
    run.begin()
    for sd in (1.0, 1.0, 0.5):
        propose(run, sd)
    found = [d.theta for d in decisions(read(run))]
    assert found[1] is None
    assert [found[0].width(), found[2].width()] == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize(
    "odd", [None, 3, {"names": "a"}, {**calibration(1.0), "sd": [1.0, 2.0]}, calibration(1.0, 0.0)]
)
def test_a_calibration_of_another_shape_is_none(run, odd):
    run.begin()
    why = {"expert": "theory", "theory_weight": 0.8}
    run.propose(POINT, why=why, memo={"calibration": odd}, basis=run.n_events)
    assert [d.theta for d in decisions(read(run))] == [None]


@pytest.mark.parametrize(
    ("weights", "off"),
    [((0.8, 0.9, 0.7), None), ((0.8, 0.0, 0.0), 1), ((0.8, 0.0, 0.6), None), ((0.0,), 0)],
)
def test_theory_is_off_since_its_last_weight_above_zero(run, weights, off):
    run.begin()
    for weight in weights:
        observe(run, propose(run, 1.0, weight=weight))
    assert off_since(read(run)) == off


def test_who_chose_is_counted_over_experiments_that_began(run):
    run.begin()
    for expert in ("theory", "plain", "theory"):
        observe(run, propose(run, 1.0, expert=expert))
    propose(run, 1.0, expert="theory")
    assert carried(read(run)) == (2, 3)


def test_scores_are_those_of_the_newest_decision(run):
    run.begin()
    for n in range(3):
        memo = {"scores": {"theory": [None, 1.0, 0.5][:n], "plain": [None, -1.0, 0.2][:n]}}
        why = {"expert": "theory", "theory_weight": 0.8}
        observe(run, run.propose(POINT, why=why, memo=memo, basis=run.n_events))
    assert scores(read(run)) == [(None, None), (1.0, -1.0)]


def test_scores_are_found_where_the_guard_keeps_them(run):
    run.begin()
    memo = {"guard": {"theory": [0.3], "plain": [0.1], "log_odds": 1.4}}
    run.propose(POINT, why={"theory_weight": 0.8}, memo=memo, basis=run.n_events)
    assert scores(read(run)) == [(0.3, 0.1)]


def test_scores_that_a_memo_no_longer_holds_are_those_of_an_earlier_one(run):
    run.begin()
    for scored in (1, 2, 3, 5):
        said = [0.1 * k for k in range(scored)][-2:]
        memo = {"guard": {"theory": said, "plain": said, "scored": scored}}
        run.propose(POINT, why={"theory_weight": 0.8}, memo=memo, basis=run.n_events)
    found = [pair[0] for pair in scores(read(run))]
    assert found == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_a_batch_is_credited_with_what_shrank_until_its_answers_were_known(run):
    run.begin()
    first = propose(run, 1.0, emulator_sd=0.4)
    why = {"expert": "theory", "theory_weight": 0.8, "gain_per_h": 0.1, "emulator_sd": 0.3}
    memo = {"calibration": calibration(0.8)}
    batch = run.want([WANTED, WANTED], basis=run.n_events, why=why, memo=memo)
    run.simulate(batch, 0)
    # this one knows half of the answers: it is not yet what the batch bought
    propose(run, 0.7, emulator_sd=0.2)
    observe(run, first)
    run.simulate(batch, 1, exceeded=True)
    propose(run, 0.4, emulator_sd=0.1)
    (found,) = batches_of(read(run))
    assert found.width_change == pytest.approx(0.5)
    assert found.sds("emulator_sd") == (0.3, 0.1)
    assert found.n_experiments == 1
    assert (found.n("done"), found.n_exceeded, found.n_open) == (2, 1, 0)
    assert (found.gain_per_h, found.experiment_gain_per_h) == (0.3, 0.1)
    assert found.wall_s == pytest.approx(0.8)


def test_a_batch_under_way_has_bought_nothing_yet(run):
    run.begin()
    batch = run.want([WANTED, WANTED], basis=run.n_events)
    run.simulate(batch, 0)
    propose(run, 0.5)
    (found,) = batches_of(read(run))
    assert (found.after, found.width_change, found.n_open) == (None, None, 1)


def test_simulators_have_lanes_and_planning_of_batches_is_the_planners(run):
    run.begin()
    batch = run.want([WANTED] * 3, basis=run.n_events, cpu_s=0.2, after_s=0.3)
    for row in range(2):
        run.simulate(batch, row, after_s=0.5)
    run.simulate(batch, 2, state="cancelled")
    found = {lane.name: lane for lane in lanes(read(run))}
    assert [(lane.name, lane.kind) for lane in found.values()] == [
        ("planner", "worker"),
        ("theory-0", "simulator"),
    ]
    assert busy_s(found["theory-0"].bars) == pytest.approx(0.8)
    assert busy_s(found["planner"].bars) == pytest.approx(0.2)
    assert found["theory-0"].bars[1].what == "kmc_growth"


def test_a_worker_that_also_simulates_keeps_one_lane(run):
    run.begin()
    trial = run.start(run.propose(POINT))
    run.compute(trial, "0", "analyst.rate", 0.2)
    batch = run.want([WANTED], basis=run.n_events, cpu_s=0.0)
    run.simulate(batch, 0, place="analyst-0")
    assert [(lane.name, len(lane.bars)) for lane in lanes(read(run))] == [("analyst-0", 2)]


def test_simulations_and_their_choice_are_billed(run):
    run.begin()
    batch = run.want([WANTED] * 4, basis=run.n_events, cpu_s=0.2)
    run.want([WANTED], basis=run.n_events, cpu_s=0.0, proposal=0)
    run.simulate(batch, 0)
    run.simulate(batch, 1)
    run.simulate(batch, 2, state="failed")
    run.simulate(batch, 3, state="cancelled")
    bill = {(c.who, c.what): (c.n, round(c.spent_s, 6)) for c in compute_costs(read(run))}
    assert bill == {
        ("planner", "choice of simulations"): (1, 0.2),
        ("kmc_growth", "simulations"): (2, 0.8),
        ("kmc_growth", "failed simulations"): (1, 0.4),
    }


def test_failed_simulations_and_choices_are_one_incident_a_batch(tmp_path):
    run = TheoryRun(tmp_path)
    run.whole()
    run.ask(0, why={"fallback": "planner timed out"})
    found = [(i.kind, i.where) for i in incidents(read(run))]
    assert found == [("failed", "batch 0"), ("fallback", "batch 4")]
