"""A growth costs at most what it was given, and says when that was not enough."""

import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.growth_budget import GrowthBudget
from twinloop.simulators.kmc import Film, GrowthParameters

MATERIAL = GrowthParameters(multi_hop=4)


def grow(
    max_events: int, *, temperature_K: float = 800.0, slices: int = 10
) -> tuple[Film, GrowthBudget, list[bool]]:
    film = Film.flat(size=16, parameters=MATERIAL, seed=1)
    budget = GrowthBudget(max_events=max_events)
    said = []
    for i in range(slices):
        step = budget.advance(
            film, temperature_K=temperature_K, flux_ML_per_s=1.0, duration_s=4.0 / slices,
            remaining_s=4.0 * (slices - i) / slices,
        )  # fmt: skip
        assert step.elapsed_s == 4.0 / slices
        said.append(step.budget_exceeded)
    return film, budget, said


def test_within_its_budget_a_growth_is_what_the_film_makes_of_it():
    film, budget, said = grow(10**9)
    plain = Film.flat(size=16, parameters=MATERIAL, seed=1)
    for _ in range(10):
        plain.advance(temperature_K=800.0, flux_ML_per_s=1.0, duration_s=0.4)
    assert (film.heights == plain.heights).all()
    assert budget.spent == plain.events
    assert said == [False] * 10
    assert not budget.is_exceeded


@pytest.mark.parametrize("temperature_K", [800.0, 1200.0])
def test_beyond_its_budget_a_growth_ends_in_time_with_its_dose_and_says_so(temperature_K):
    film, budget, said = grow(3000, temperature_K=temperature_K)
    arrivals = film.deposited_ML * 256
    assert film.time_s == pytest.approx(4.0)
    assert arrivals == pytest.approx(1024, abs=4 * 32)
    assert film.events <= 1.5 * 3000 + arrivals
    assert said[-1]
    assert said == sorted(said)
    assert budget.is_exceeded


def test_a_coarse_end_still_lets_atoms_move():
    coarse, _, _ = grow(3000)
    frozen = Film.flat(size=16, parameters=MATERIAL, seed=1)
    frozen.advance(temperature_K=800.0, flux_ML_per_s=1.0, duration_s=4.0, slowdown=float("inf"))
    assert coarse.heights.std() < 0.8 * frozen.heights.std()


def test_a_stored_budget_goes_on():
    _, budget, _ = grow(3000, slices=2)
    again = GrowthBudget(max_events=budget.max_events, spent=budget.spent)
    assert again.is_exceeded


def test_a_cancelled_slice_is_not_finished_coarsely():
    film = Film.flat(size=16, parameters=MATERIAL, seed=1)
    step = GrowthBudget(max_events=10).advance(
        film, temperature_K=800.0, flux_ML_per_s=1.0, duration_s=4.0, remaining_s=4.0,
        cancel=lambda: True,
    )  # fmt: skip
    assert step.cancelled
    assert film.time_s == 0.0


def test_an_empty_budget_is_refused():
    with pytest.raises(ArgumentError, match="max_events"):
        GrowthBudget(max_events=0)
