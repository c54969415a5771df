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
