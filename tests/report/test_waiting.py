"""For what the machine waited, and how busy the simulators were: against hand-made times."""

import pytest

from twinloop.agents.campaign.events import SimulationWanted
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import read_history
from twinloop.agents.report.waiting import pool_of, waits_of

POINT = {"substrate_K": 650.0}
WANTED = SimulationWanted(x=(0.5,), point=POINT, theta={"a": 1.0}, seed=1)


def read(run):
    run.close()
    return read_history(Evidence(run.folder))


def grow(run, number, lasting_s=4.0):
    trial = run.start(number)
    run.act(trial, "0", "mbe.grow", lasting_s)
    return trial


def test_the_machine_waits_for_the_planner_from_its_basis_to_its_proposal(run):
    run.begin()
    started_s = run.at_s
    number = run.propose(POINT, basis=run.n_events, after_s=2.0)
    run.end(grow(run, number), {"quality": 0.5}, 0.5)
    number = run.propose(POINT, basis=run.n_events, after_s=3.0)
    grow(run, number)
    waits = waits_of(read(run))
    assert waits.planner_s == pytest.approx(5.0)
    assert waits.simulations_s == 0.0
    assert waits.free_s == pytest.approx(started_s + 5.0)
    assert waits.rest_s == pytest.approx(started_s)
    assert waits.share(waits.planner_s) == pytest.approx(5.0 / run.at_s)


def test_planning_beside_a_growth_costs_no_time(run):
    run.begin()
    trial = run.start(run.propose(POINT, basis=run.n_events))
    key = run.command(trial, "0", "mbe", "grow")
    ready = run.propose(POINT, basis=run.n_events, after_s=2.0)
    run.settle(key, "mbe", 3.0)
    run.end(trial, {"quality": 0.5}, 0.5)
    grow(run, ready)
    assert waits_of(read(run)).planner_s == 0.0


def test_a_proposal_that_lies_ready_is_not_waited_for(run):
    run.begin()
    basis = run.n_events
    first = run.propose(POINT, basis=basis, after_s=1.0)
    run.propose(POINT, basis=run.n_events, after_s=5.0)
    grow(run, first)
    assert waits_of(read(run)).planner_s == pytest.approx(1.0)


def test_an_experiment_held_for_simulations_waits_for_them_and_then_for_the_planner(run):
    run.begin()
    batch = run.want([WANTED] * 2, basis=run.n_events, holds=0, proposal=0, after_s=1.0)
    run.simulate(batch, 0, after_s=2.0)
    run.simulate(batch, 1, after_s=4.0)
    grow(run, run.propose(POINT, basis=run.n_events, after_s=0.5))
    waits = waits_of(read(run))
    assert waits.planner_s == pytest.approx(1.5)
    assert waits.simulations_s == pytest.approx(6.0)


def test_the_analysis_of_a_film_is_no_waiting_for_the_planner(run):
    run.begin()
    trial = grow(run, run.propose(POINT, basis=run.n_events))
    run.compute(trial, "1", "analyst.rate", 0.2)
    run.end(trial, {"quality": 0.5}, 0.5)
    grow(run, run.propose(POINT, basis=run.n_events, after_s=1.0))
    waits = waits_of(read(run))
    assert waits.planner_s == pytest.approx(1.0)
    assert waits.rest_s == pytest.approx(0.4 + 0.25)


def test_a_trial_under_way_holds_its_instruments_to_the_end_of_the_journal(run):
    run.begin()
    trial = run.start(run.propose(POINT, basis=run.n_events))
    run.command(trial, "0", "mbe", "grow")
    run.propose(POINT, basis=run.n_events, after_s=9.0)
    assert waits_of(read(run)).free_s == pytest.approx(0.4)


def test_the_pool_is_busy_for_the_answered_simulations_of_each_place(run):
    run.begin()
    batch = run.want([WANTED] * 4, basis=run.n_events)
    run.simulate(batch, 0, place="theory-0", wall_s=2.0, after_s=2.0)
    run.simulate(batch, 1, place="theory-1", wall_s=1.0, after_s=1.0)
    run.simulate(batch, 2, place="theory-0", wall_s=0.5, after_s=1.0, state="failed")
    run.simulate(batch, 3, state="cancelled")
    pool = pool_of(read(run))
    assert pool.busy_s == {"theory-0": pytest.approx(2.5), "theory-1": pytest.approx(1.0)}
    assert pool.utilisation == pytest.approx(3.5 / (2 * run.at_s))
    assert pool.lost_s == pytest.approx(0.5)


def test_a_journal_of_no_length_has_no_utilisation(run):
    pool, waits = pool_of(read(run)), waits_of(read_history(Evidence(run.folder)))
    assert (pool.utilisation, waits.share(waits.free_s)) == (0.0, 0.0)


def test_a_simulator_waits_for_the_planner_while_it_thinks_and_not_while_it_rests(run):
    run.begin()
    batch = run.want([WANTED] * 2, basis=run.n_events)
    run.simulate(batch, 0, place="theory-0", wall_s=2.0, after_s=2.0)
    # two thoughts: about simulations alone, and about an experiment
    more = run.want([WANTED], basis=run.n_events, after_s=3.0)
    run.simulate(more, 0, place="theory-0", wall_s=1.0, after_s=1.0)
    number = run.propose(POINT, basis=run.n_events, after_s=4.0)
    grow(run, number, lasting_s=9.0)
    pool = pool_of(read(run))
    assert pool.waited_s == pytest.approx(3.0 + 4.0)
    assert pool.share(pool.waited_s) == pytest.approx(7.0 / run.at_s)


def test_simulators_that_answered_nothing_count_as_idle(run):
    run.config = {**run.config, "theory": {"simulator": {"workers": 4}}}
    run.begin()
    batch = run.want([WANTED], basis=run.n_events, after_s=1.0)
    run.simulate(batch, 0, after_s=3.0, wall_s=2.0)
    pool = pool_of(read(run))
    assert (len(pool.busy_s), pool.n_places) == (1, 4)
    assert pool.utilisation == pytest.approx(2.0 / (4 * run.at_s))
