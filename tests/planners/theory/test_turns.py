import pytest

from twinloop.planners.theory.turns import Turns


def shared_out(weight, n, *, is_promising=True):
    """How many of n experiments are the plain planner's."""
    turns, plain = Turns(), 0
    for _ in range(n):
        turns = turns.due(weight, is_promising=is_promising)
        if turns.is_plain:
            turns, plain = turns.paid(), plain + 1
        turns = Turns.from_json(turns.to_json())
    return plain


@pytest.mark.parametrize(
    ("weight", "n", "plain"),
    [(0.9, 100, 10), (0.8, 100, 20), (0.25, 100, 75), (0.9, 8, 0), (1.0, 50, 0), (0.0, 5, 5)],
)
def test_the_plain_planner_has_the_part_that_theory_does_not_deserve(weight, n, plain):
    assert abs(shared_out(weight, n) - plain) <= (1 if n == 100 else 0)


def test_where_theory_promises_nothing_every_other_experiment_is_plain():
    assert shared_out(0.9, 10, is_promising=False) == 5
    # a theory that is doubted more does not gain by it
    assert abs(shared_out(0.2, 100, is_promising=False) - 80) <= 1


def test_nothing_is_paid_in_advance():
    assert Turns(owed=0.3).paid() == Turns(owed=0.0)


def test_a_run_of_before_starts_with_nothing_owed():
    assert Turns.from_json({}) == Turns()
