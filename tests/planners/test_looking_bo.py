import numpy as np
import pytest

from twinloop.planners.interface import Known, Space
from twinloop.planners.looking_bo import LookingBO
from twinloop.planners.testing import check_planner

SPACE = Space.of(
    {"a_K": (0.0, 1.0), "look_stm": (0.0, 1.0), "b_K": (0.0, 1.0), "look_xrd": (0.0, 1.0)}
)
LOOKS_H = {"look_stm": 2.0, "look_xrd": 0.2}


def known_of(n: int, sd_of, *, spread: float = 0.3, pending=()) -> Known:
    """Return trials of a bump at (0.4, 0.6); `sd_of` the two flags gives what a trial states."""
    rng = np.random.default_rng(5)
    x = rng.random((n, 4))
    x[:, [1, 3]] = np.arange(2 * n).reshape(n, 2) // 2 % 2  # all sets but in turn
    x[:, 3] = np.arange(n) // 2 % 2
    x[:, 1] = np.arange(n) % 2
    sd = np.array([sd_of(*flags) for flags in x[:, [1, 3]] >= 0.5])
    y = np.exp(-((x[:, 0] - 0.4) ** 2 + (x[:, 2] - 0.6) ** 2) / spread) + sd * rng.normal(size=n)
    return Known.of(
        SPACE, x, y[:, None], y_sd=sd[:, None], proposal=n, pending=np.array(pending).reshape(-1, 4)
    )


def test_it_keeps_the_contract_of_planners():
    check_planner(LookingBO)


def test_the_first_trials_look_at_everything_nothing_and_one_thing_each():
    planner = LookingBO(look_h=LOOKS_H)
    looks = []
    for number in range(4):
        proposal = planner.opening(Known.of(SPACE, proposal=number))
        looks.append(tuple(proposal.x[[1, 3]]))
    assert looks == [(1, 1), (0, 0), (1, 0), (0, 1)]


def test_a_look_that_tells_nothing_new_is_left():
    planner = LookingBO(look_h=LOOKS_H)
    proposal = planner.ask(known_of(12, lambda *_: 0.05))
    assert tuple(proposal.x[[1, 3]]) == (0, 0)
    assert proposal.why["cost_h"] == pytest.approx(1.0)


def test_a_look_that_alone_tells_something_is_done():
    planner = LookingBO(look_h=LOOKS_H, base_h=1.0)
    proposal = planner.ask(known_of(12, lambda stm, _: 0.02 if stm else 5.0))
    assert proposal.x[1] == 1.0
    assert proposal.why["noise_sd"] < 0.05


def test_of_two_equal_looks_the_cheap_one_is_done():
    planner = LookingBO(look_h=LOOKS_H, base_h=1.0)
    proposal = planner.ask(known_of(12, lambda stm, xrd: 0.02 if stm or xrd else 5.0))
    assert tuple(proposal.x[[1, 3]]) == (0, 1)


def test_dearer_hours_make_it_look_less():
    seen = known_of(16, lambda stm, _: 0.05 if stm else 0.2)
    cheap = LookingBO(look_h={"look_stm": 0.01, "look_xrd": 0.01}).ask(seen)
    dear = LookingBO(look_h={"look_stm": 500.0, "look_xrd": 0.01}).ask(seen)
    assert (cheap.x[1], dear.x[1]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("options", "space", "word"),
    [
        ({"look_h": {"look_stem": 1.0}}, SPACE, "not searched"),
        ({"look_h": {"a_K": 1.0}}, Space.of({"a_K": (0, 2), "b_K": (0, 1)}), "0 to 1"),
        ({"look_h": {"a_K": 1.0}}, Space.of({"a_K": (0, 1)}), "nothing but looks"),
    ],
)
def test_what_does_not_fit_the_search_is_told_before_anything_starts(options, space, word):
    assert word in LookingBO(**options).complaint(space, 0)


def test_what_fits_is_not_complained_about():
    assert LookingBO(look_h=LOOKS_H).complaint(SPACE, 1) == ""


def biased(n_looked: int, *, with_blind: bool) -> Known:
    """Return trials whose cheap result overstates what lies on the right, without a word of it."""
    rng = np.random.default_rng(8)
    n = 14
    x = np.column_stack([rng.random(n), np.zeros(n), rng.random(n), np.zeros(n)])
    x[:n_looked, 1] = 1.0
    truth = 1.0 - (x[:, 0] - 0.3) ** 2
    bias = 1.6 * x[:, 0] ** 2
    is_looked = x[:, 1] >= 0.5
    sd = np.where(is_looked, 0.01, 0.3)
    blind = np.column_stack([truth + bias, np.full(n, 0.3)])
    return Known.of(
        SPACE,
        x,
        np.where(is_looked, truth, truth + bias)[:, None],
        y_sd=sd[:, None],
        features={"blind": blind} if with_blind else {},
        proposal=n,
    )


def believed_best(known: Known) -> float:
    along = np.linspace(0.0, 1.0, 41)
    net = np.column_stack([along, np.zeros(41), np.full(41, 0.5), np.zeros(41)])
    planner = LookingBO(look_h=LOOKS_H)
    return float(along[np.argmax(planner.belief(known, net)["mean"])])


def test_films_looked_at_correct_those_that_were_not():
    known = biased(5, with_blind=True)
    untold = Known.of(SPACE, known.x[5:], known.y[5:], y_sd=known.y_sd[5:], proposal=9)
    # what was said is best on the far right, the truth at 0.3
    assert known.x[np.argmax(known.features["blind"][:, 0]), 0] > 0.7
    assert believed_best(known) == pytest.approx(0.3, abs=0.2)
    # who has nothing but what was said without a look cannot tell where
    planner, net = LookingBO(look_h=LOOKS_H), np.random.default_rng(1).random((64, 4))
    sd, sd_untold = (planner.belief(k, net)["sd"].mean() for k in (known, untold))
    assert sd < 0.5 * sd_untold


def test_what_was_said_without_a_look_is_not_confused_with_what_is_true():
    known = biased(5, with_blind=True)
    proposal = LookingBO(look_h=LOOKS_H).ask(known)
    assert proposal.why["bias_sd"] < 0.3
    assert proposal.why["rung"] == "planner"
    assert proposal.why["log_gain_per_h"] >= proposal.why["log_gain_per_h_unlooked"]


def test_where_results_state_no_deviation_it_still_plans():
    known = known_of(9, lambda *_: 0.05)
    bare = Known.of(SPACE, known.x, known.y, proposal=9)
    assert LookingBO(look_h=LOOKS_H).ask(bare).why["rung"] == "planner"
