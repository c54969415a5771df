import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from twinloop.errors import PlanningFailed
from twinloop.planners.interface import EXPERIMENT, Known, Simulations
from twinloop.planners.known import simulations_seed
from twinloop.planners.plain_bo import PlainBO
from twinloop.planners.testing import CHECKS, example_known, example_theory
from twinloop.planners.theory.design import prior_design
from twinloop.planners.theory.turns import Turns
from twinloop.planners.theory_bo import TheoryBO


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check):
    check(TheoryBO)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", [TheoryBO, PlainBO])
def test_on_a_gpu_it_keeps_the_contract(kind, check):
    needs_cuda()
    check(partial(kind, device="cuda"))


def test_on_a_gpu_it_thinks_what_it_thinks_on_a_cpu():
    needs_cuda()
    known = replace(example_theory(20, m=128), seed=simulations_seed(3, 1))
    here, there = (TheoryBO(holds=0, device=name).ask(known) for name in ("cpu", "cuda"))
    assert there.x == pytest.approx(here.x, abs=0.02)
    for name in ("mean", "theory_mean", "theory_sd", "emulator_sd"):
        assert there.why[name] == pytest.approx(here.why[name], abs=0.01)
    assert there.memo["calibration"]["mean"] == pytest.approx(
        here.memo["calibration"]["mean"], abs=0.01
    )
    planned = TheoryBO(device="cuda").ask_simulations(known)
    assert planned.simulations
    assert planned.why["rung"] == "planner"
    grid = np.random.default_rng(0).random((40, 2))
    beliefs = [
        TheoryBO(device=name).belief(replace(known, memo=here.memo), grid)
        for name in ("cpu", "cuda")
    ]
    assert beliefs[1]["mean"] == pytest.approx(beliefs[0]["mean"], abs=0.02)


def needs_cuda():
    TheoryBO().prepare()
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and torch finds none here")


def test_without_theory_it_is_plain_bo():
    for known in (example_known(2), example_known(9, pending=2)):
        assert np.array_equal(TheoryBO().ask(known).x, PlainBO().ask(known).x)


def test_theory_is_asked_before_the_machine():
    known = example_theory(0, m=0)
    first = TheoryBO(first=30).opening(known)
    assert first.source == "bump"
    assert len(first.simulations) == 30
    assert {r.why for r in first.simulations} == {"design"}
    thetas = np.array([list(r.theta.values()) for r in first.simulations])
    # an even spread over the prior, a little wider
    assert thetas.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.03)
    assert thetas.std(axis=0) == pytest.approx([0.18, 0.18], rel=0.15)


def opened_alone(known, number):
    """The point of this number that the plain planner opens a campaign of the same seed with."""
    alone = Known.of(known.space, proposal=number, campaign_seed=known.campaign_seed)
    return PlainBO().ask(alone).x


def lead(known_of, n, planner=None):
    """Lead a campaign of n experiments on the closed form; simulations are answered at once."""
    planner, x, memo, asked = planner or TheoryBO(holds=0), np.zeros((0, 2)), {}, []
    while len(x) < n:
        proposal = planner.ask(replace(known_of(x), memo=memo))
        asked.append(proposal)
        memo = proposal.memo
        x = np.vstack([x, proposal.x])
    return x, asked


def test_good_theory_finds_the_best_place_within_a_few_experiments():
    truth = {"place_1": 0.7, "place_2": 0.35}
    x, asked = lead(lambda x: example_theory(len(x), m=256, x=x, truth=truth), 5)
    assert min(np.linalg.norm(row - list(truth.values())) for row in x) < 0.1
    assert all(p.why["expert"] == "theory" for p in asked)
    assert asked[-1].why["theory_weight"] > 0.8


def test_a_missing_loss_is_learned():
    """The best place of exp(-8 |x - c|^2 - x_2) lies 1 / 16 below c in the second knob."""
    truth = {"place_1": 0.5, "place_2": 0.6}
    x, asked = lead(lambda x: example_theory(len(x), m=256, x=x, truth=truth, missing_loss=1.0), 7)
    best = np.array([0.5, 0.6 - 1 / 16])
    assert min(np.linalg.norm(row - best) for row in x) < 0.12
    said = asked[-1].why
    assert said["bare_theory_mean"] - said["mean"] == pytest.approx(1.0 - np.exp(-0.54), abs=0.12)
    assert said["loss"] > 0.2


def mirrored(x):
    truth = {"place_1": 0.75, "place_2": 0.75}
    return example_theory(len(x), m=256, x=x, truth=truth, is_mirrored=True)


def test_a_theory_that_misleads_is_switched_off_and_the_plain_planner_goes_on():
    x, asked = lead(mirrored, 12)
    assert asked[-1].why["theory_weight"] < 0.5
    assert asked[-1].why["expert"] == "plain"
    # with all the same experiments
    memo = asked[-2].memo
    plain = PlainBO().propose(
        replace(mirrored(x[:11]), memo={"hyperparameters": memo["hyperparameters"]})
    )
    assert plain.x == pytest.approx(asked[-1].x, abs=0.02)


def test_the_plain_planner_makes_its_own_opening_before_it_trusts_where_theory_looked():
    """What theory chose lies where it looked: the plain planner opens as it would have alone."""
    x, asked = lead(mirrored, 12)
    known = mirrored(x)
    opening = [opened_alone(known, n) for n in range(6)]
    own = [p.x for p in asked if p.why["expert"] == "plain" and p.why.get("initial")]
    assert len(own) == 6
    assert np.array_equal(own, opening)
    assert asked[-1].memo["turns"]["opened"] == 6


def test_a_theory_that_promises_what_nobody_could_measure_shares_the_experiments():
    known = example_theory(5, m=96)
    turns = []
    for gain in (0.02 * 0.24, 0.02 * 0.26):  # of a noise of 0.02
        thought = thought_at(known, [0.6, 0.4])
        thought = replace(thought, choice=replace(thought.choice, gain=gain))
        assert thought.noise[0] == pytest.approx(0.02)
        turns.append(TheoryBO(holds=0)._choose(known, known.theory, thought).memo["turns"]["owed"])
    weight = thought.guard.weight
    assert turns == pytest.approx([0.5, 1.0 - weight])


def test_the_plain_planner_has_its_turn_when_a_whole_experiment_is_owed():
    known = example_theory(3, m=96)
    owing = replace(known, memo={"turns": {"owed": 0.95, "opened": 2}})
    thought = thought_at(known, [0.6, 0.4])
    answer = TheoryBO()._choose(owing, known.theory, thought)
    assert answer.why["expert"] == "plain"
    assert np.array_equal(answer.x, opened_alone(known, 2))
    left = 0.95 - thought.guard.weight
    assert answer.memo["turns"] == {"owed": pytest.approx(left, abs=1e-6), "opened": 3}
    # the guard judges theory there too
    assert answer.memo["guard"]["waiting"][-1][0] == pytest.approx(list(answer.x))


def test_where_simulations_are_worth_more_the_experiment_waits_and_not_for_ever():
    known = example_theory(1, m=30, x=np.array([[0.5, 0.5]]))
    planner = TheoryBO(holds=1)
    first = planner.ask(known)
    assert first.source == "bump"
    assert first.why["simulation_gain_per_h"] > first.why["gain_per_h"]
    assert len(first.simulations) == 12
    then = planner.ask(replace(known, memo=first.memo))
    assert then.source == EXPERIMENT


def test_a_dear_simulation_is_not_waited_for():
    known = example_theory(1, m=60, x=np.array([[0.5, 0.5]]))
    dear = replace(known.theory, simulation_h=100.0)
    assert TheoryBO(holds=5).ask(replace(known, theory=dear)).source == EXPERIMENT
    planned = TheoryBO(design=48, first=48).ask_simulations(replace(known, theory=dear))
    assert planned.simulations == ()


def test_no_more_simulations_are_asked_for_than_the_budget_leaves():
    known = example_theory(1, m=30, x=np.array([[0.5, 0.5]]))
    two = replace(known, theory=replace(known.theory, left=2))
    assert len(TheoryBO().ask(two).simulations) == 2
    none = replace(known, theory=replace(known.theory, left=0))
    assert TheoryBO().ask(none).source == EXPERIMENT
    assert TheoryBO().ask_simulations(none).simulations == ()
    nothing_yet = example_theory(0, m=0)
    nothing_yet = replace(nothing_yet, theory=replace(nothing_yet.theory, left=0))
    assert TheoryBO().opening(nothing_yet) is None


def design_answered(rows, number_of=96):
    """What is known when of a design these rows have their answer."""
    empty = example_theory(0, m=0)
    wanted = prior_design(empty, range(number_of))
    x = np.array([wanted[row].x for row in rows]).reshape(-1, 2)
    theta = np.array([list(wanted[row].theta.values()) for row in rows]).reshape(-1, 2)
    simulations = Simulations(
        x, theta, np.zeros((len(rows), 2)), np.zeros(len(rows), bool), x[:0], theta[:0]
    )
    return replace(empty, simulations=simulations), wanted


def rows_of(requests, wanted):
    return [next(n for n, w in enumerate(wanted) if np.array_equal(w.x, r.x)) for r in requests]


def test_a_simulation_of_the_design_that_failed_is_not_asked_for_again():
    planner = TheoryBO(first=24, design=40)
    memo = planner.opening(example_theory(0, m=0)).memo
    known, wanted = design_answered([row for row in range(24) if row != 3] + [90])
    answer = planner.ask_simulations(replace(known, memo=memo))
    assert rows_of(answer.simulations, wanted) == list(range(24, 36))
    rest = planner.ask_simulations(replace(known, memo=answer.memo))
    assert rows_of(rest.simulations, wanted) == list(range(36, 40))


def test_where_most_simulations_fail_the_design_goes_on_for_a_while():
    known, wanted = design_answered([1, 2])
    planner, memo, asked = TheoryBO(design=24, first=24, batch=16), {"designed": 24}, []
    while True:
        answer = planner.ask_simulations(replace(known, memo=memo))
        if not answer.simulations:
            break
        memo = answer.memo
        asked += rows_of(answer.simulations, wanted)
    assert asked == list(range(24, 48))


@pytest.mark.parametrize("left", [1, 23])
def test_simulations_too_few_to_be_of_use_are_not_bought(left):
    known = example_theory(0, m=0)
    few = replace(known, theory=replace(known.theory, left=left))
    assert TheoryBO().opening(few) is None
    assert TheoryBO().ask_simulations(few).simulations == ()


@pytest.mark.parametrize(
    ("n", "unit", "shift"), [(0, 1e-9, 0.0), (4, 1e-9, 0.0), (4, 1e4, 0.0), (4, 1.0, -300.0)]
)
def test_unit_and_zero_of_the_objective_change_nothing(n, unit, shift):
    known = example_theory(n, m=64)
    values = known.simulations.values * unit + [shift, 0.0]
    other = replace(
        known,
        y=known.y * unit + shift,
        y_sd=known.y_sd * unit,
        features={"trace": known.features["trace"] * unit},
        simulations=replace(known.simulations, values=values),
    )
    here, there = (TheoryBO(holds=0).ask(k) for k in (known, other))
    assert there.x == pytest.approx(here.x, abs=0.03)
    for name in ("mean", "theory_mean", "plain_mean"):
        assert (there.why[name] - shift) / unit == pytest.approx(here.why[name], abs=0.03)
    for name in ("theory_sd", "plain_sd", "gain_per_h", "discrepancy_sd"):
        assert there.why[name] / unit == pytest.approx(here.why[name], rel=0.2)


def test_what_is_remembered_of_nine_observables_and_eight_experiments_under_way_stays_small():
    known = example_theory(3, m=32, pending=np.random.default_rng(2).random((8, 2)))
    names = tuple(f"trace_{k}" for k in range(8))
    trace = known.simulations.values[:, 1:]
    rng = np.random.default_rng(3)
    scattered = [trace + 0.01 * rng.standard_normal(trace.shape) for _ in names]
    known = replace(
        known,
        theory=replace(known.theory, observables=("quality", *names)),
        simulations=replace(
            known.simulations, values=np.hstack([known.simulations.values[:, :1], *scattered])
        ),
        features=dict.fromkeys(names, known.features["trace"]),
    )
    memo = TheoryBO(holds=0).ask(replace(known, pending=known.pending[:7])).memo
    # each of the eight was foreseen as this one was
    (said,) = memo["guard"]["waiting"]
    waiting = [[x.tolist(), *said[1:]] for x in known.pending]
    memo = {**memo, "guard": {**memo["guard"], "waiting": waiting}}
    answer = TheoryBO(holds=0).ask(replace(known, memo=memo))
    assert answer.why["rung"] == "planner"
    assert [w[0] for w in answer.memo["guard"]["waiting"]][:-1] == known.pending.tolist()
    assert len(json.dumps(answer.memo)) < 24_000


@pytest.mark.parametrize("m", [0, 10])
def test_a_theory_that_gives_nothing_leaves_the_plain_planner_and_no_second_wait(m):
    known = example_theory(0, m=0)
    memo = TheoryBO().opening(known).memo
    known = replace(example_theory(0, m=m), memo=memo)
    assert TheoryBO().opening(known) is None
    answer = TheoryBO().ask(known)
    assert (answer.source, answer.why["expert"]) == (EXPERIMENT, "plain")
    only_hints = example_theory(2, m=64)
    only_hints.simulations.exceeded[:] = True
    assert TheoryBO().ask(only_hints).why["expert"] == "plain"


def test_with_constraints_the_plain_planner_chooses():
    known = example_theory(8, m=64, slack=np.linspace(-1.0, 1.0, 8)[:, None])
    answer = TheoryBO().ask(known)
    assert answer.why["expert"] == "plain"
    assert "probability_feasible" in answer.why


def test_an_answer_that_falls_down_the_ladder_keeps_the_judgement_on_theory():
    class Failing(TheoryBO, name="failing"):
        def propose(self, _known):
            raise PlanningFailed("failing", "the fit gave nothing")

    known = replace(example_theory(3, m=64), memo={"guard": {"is_off": True}, "mode": [0.0]})
    answer = Failing().ask(known)
    assert answer.why["rung"] == "sobol"
    assert answer.memo["guard"] == {"is_off": True}
    assert "mode" not in answer.memo


def test_a_small_objective_may_be_wanted():
    known = example_theory(6, m=128)
    turned = replace(
        known,
        y=-known.y,
        theory=replace(known.theory, is_maximised=False),
    )
    best = TheoryBO(holds=0).ask(known)
    # theory and experiment say the same numbers, and what is small is sought: far from the bump
    worst = TheoryBO(holds=0).ask(turned)
    assert np.linalg.norm(best.x - (0.6, 0.4)) < 0.3
    assert np.linalg.norm(worst.x - (0.6, 0.4)) > 0.4


def test_simulations_are_asked_near_what_is_believed_and_not_twice():
    known = example_theory(6, m=96)
    planned = TheoryBO().ask_simulations(replace(known, seed=simulations_seed(3, 1)))
    theta = np.array([list(r.theta.values()) for r in planned.simulations])
    assert np.all(np.abs(theta.mean(axis=0) - (0.6, 0.4)) < 0.1)
    gains = [r.gain_per_h for r in planned.simulations]
    assert np.all(np.diff(gains) <= 1e-9 * np.abs(gains[:-1]))
    x = np.array([r.x for r in planned.simulations])
    inputs = np.hstack([x, theta])
    apart = np.linalg.norm(inputs[:, None] - inputs[None], axis=2)[~np.eye(len(x), dtype=bool)]
    assert apart.min() > 1e-3


def test_simulations_of_parameters_that_are_out_of_the_question_are_withdrawn():
    known = example_theory(6, m=96)
    pending = replace(
        known.simulations,
        pending_x=np.full((2, 2), 0.5),
        pending_theta=np.array([[0.6, 0.4], [0.05, 0.95]]),
    )
    answer = TheoryBO(holds=0).ask(replace(known, simulations=pending))
    assert answer.withdrawn == (1,)


def test_the_same_known_gives_the_same_bits_across_the_wire():
    known = example_theory(5, m=64)
    here = TheoryBO().ask(known)
    there = TheoryBO().ask(Known.from_wire(*known.to_wire()))
    assert here == there
    assert len(str(here.memo)) < 8000


def test_belief_is_the_bump_with_its_uncertainty():
    known = example_theory(6, m=96)
    memo = TheoryBO(holds=0).ask(known).memo
    grid = np.array([[0.6, 0.4], [0.05, 0.95]])
    found = TheoryBO().belief(replace(known, memo=memo), grid)
    assert found["theory_mean"][0] == pytest.approx(1.0, abs=0.12)
    assert found["mean"][1] < 0.2
    assert np.all(found["sd"] > 0)


def test_a_theory_that_is_doubted_goes_on_learning():
    known = example_theory(6, m=64)
    stale = TheoryBO(holds=0).ask(example_theory(2, m=64)).memo
    doubted = {**stale, "guard": {**stale["guard"], "log_odds": -2.5}}
    answer = TheoryBO().ask(replace(known, memo=doubted))
    assert answer.why["expert"] == "plain"
    # the point is the plain planner's, the judgement and the calibration are of now
    assert answer.memo["guard"]["scored"] == 6
    assert answer.memo["calibration"] != stale["calibration"]
    assert answer.memo["turns"]["opened"] == 1
    assert np.array_equal(answer.x, opened_alone(known, 0))


def thought_at(known, x, log_odds=2.0):
    """What is thought of `known`, with another best experiment of theory, and odds for theory."""
    planner = TheoryBO()
    planner.prepare()
    thought = planner._think(known, known.theory)
    guard = replace(thought.guard, log_odds=log_odds, is_off=False)
    return replace(thought, choice=replace(thought.choice, x=np.array(x)), guard=guard)


def test_a_theory_that_promises_nothing_gives_way_to_what_plain_bo_would_try():
    known = example_theory(8, m=96)
    nothing = thought_at(known, [0.0, 1.0])  # where quality is nothing, and both know it
    found, plain = TheoryBO()._rival(known, nothing, Turns()).x, PlainBO().propose(known).x
    # two searches from random starts
    assert found == pytest.approx(plain, abs=0.02)


def test_a_theory_that_promises_more_than_plain_bo_is_followed():
    known = example_theory(8, m=96, x=np.random.default_rng(2).random((8, 2)) * 0.4)
    planner = TheoryBO()
    assert planner._rival(known, thought_at(known, [0.6, 0.4]), Turns()) is None


def test_until_plain_bo_has_a_model_theory_chooses():
    known = example_theory(3, m=96)
    assert TheoryBO()._rival(known, thought_at(known, [0.0, 1.0]), Turns()) is None
