"""A film keeps its atoms, its seed and its rates."""

import dataclasses
import threading

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators import kmc_kernel
from twinloop.simulators.kmc import Film, GrowthParameters, square_neighbours

MATERIAL = GrowthParameters(multi_hop=4, desorption_energy_eV=1.9)


def grown(seed: int = 3, parameters: GrowthParameters = MATERIAL, size: int = 24) -> Film:
    film = Film.flat(size=size, parameters=parameters, seed=seed)
    film.advance(temperature_K=700.0, flux_ML_per_s=1.0, duration_s=1.3)
    return film


def counted_by_hand(heights: np.ndarray) -> np.ndarray:
    neighbours = [np.roll(heights, shift, axis) for axis in (0, 1) for shift in (1, -1)]
    bonds = np.sum([n >= heights for n in neighbours], axis=0)
    return np.bincount(bonds.ravel(), minlength=6)


@pytest.mark.parametrize("multi_hop", [1, 8])
@pytest.mark.parametrize("funnelling", [False, True])
def test_atoms_on_the_film_are_those_that_arrived_less_those_that_left(multi_hop, funnelling):
    parameters = dataclasses.replace(MATERIAL, multi_hop=multi_hop, funnelling=funnelling)
    film = Film.flat(size=24, parameters=parameters, seed=3)
    film.advance(temperature_K=800.0, flux_ML_per_s=1.0, duration_s=1.3)
    assert film.desorbed_ML > 0
    assert film.heights.mean() == pytest.approx(film.deposited_ML - film.desorbed_ML, abs=1e-12)
    assert film.coverage_ML == pytest.approx(film.heights.mean(), abs=1e-12)


@pytest.mark.parametrize("multi_hop", [1, 8])
def test_lists_agree_with_a_count_by_hand(multi_hop):
    film = grown(parameters=dataclasses.replace(MATERIAL, multi_hop=multi_hop))
    assert film.class_counts.tolist() == counted_by_hand(film.heights).tolist()


def test_one_seed_gives_one_film_whatever_other_threads_do():
    alone = grown(seed=5).heights
    films: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda s=seed: films.append(grown(seed=s).heights))
        for seed in (5, 5, 6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(np.array_equal(alone, other) for other in films) == 2


def test_a_restored_film_goes_on_bit_for_bit():
    film = grown()
    restored = Film.restore(film.snapshot(), parameters=MATERIAL)
    for other in (film, restored):
        other.advance(temperature_K=720.0, flux_ML_per_s=0.5, duration_s=1.0)
    assert np.array_equal(film.heights, restored.heights)
    assert (film.time_s, film.events) == (restored.time_s, restored.events)
    assert all(np.array_equal(film.snapshot()[k], restored.snapshot()[k]) for k in film.snapshot())


def test_native_calls_do_not_change_the_film(monkeypatch):
    whole = grown()
    monkeypatch.setattr("twinloop.simulators.kmc.EVENTS_PER_CALL", 10**9)
    assert np.array_equal(whole.heights, grown().heights)


def test_a_damaged_snapshot_is_refused():
    snapshot = grown().snapshot()
    snapshot["heights"] = snapshot["heights"] + np.eye(24, dtype=np.int32)
    with pytest.raises(ArgumentError, match="snapshot"):
        Film.restore(snapshot, parameters=MATERIAL)


def test_time_stops_exactly_at_the_end_asked_for():
    film = Film.flat(size=16, parameters=MATERIAL, seed=1)
    for duration_s in (0.1, 0.25, 1e-9):
        step = film.advance(temperature_K=700.0, flux_ML_per_s=1.0, duration_s=duration_s)
        assert step.elapsed_s == duration_s
    assert film.time_s == pytest.approx(0.35 + 1e-9, rel=1e-12)


def test_a_cold_film_without_flux_does_nothing_for_ever():
    film = Film.flat(size=16, parameters=MATERIAL, seed=1)
    step = film.advance(temperature_K=4.0, flux_ML_per_s=0.0, duration_s=1e6)
    assert (step.elapsed_s, step.events) == (1e6, 0)


def test_events_run_out_and_it_is_said():
    film = Film.flat(size=16, parameters=MATERIAL, seed=1)
    step = film.advance(temperature_K=700.0, flux_ML_per_s=1.0, duration_s=10.0, max_events=100)
    assert (step.events, step.budget_exceeded) == (100, True)
    assert 0 < step.elapsed_s < 10.0


def test_a_cancel_flag_stops_within_one_native_call():
    film = Film.flat(size=16, parameters=MATERIAL, seed=1)
    looks = iter([False, False, True])
    step = film.advance(
        temperature_K=900.0, flux_ML_per_s=1.0, duration_s=1e6, cancel=lambda: next(looks)
    )
    assert step.cancelled
    assert step.events == 2 * 200_000


def test_arrivals_are_poisson_with_the_flux():
    counts = []
    for seed in range(200):
        film = Film.flat(size=16, parameters=MATERIAL, seed=seed)
        film.advance(temperature_K=300.0, flux_ML_per_s=0.5, duration_s=1.0)
        counts.append(film.deposited_ML * 256)
    # Mean and variance are 128; four standard errors of each.
    assert np.mean(counts) == pytest.approx(128.0, abs=4 * np.sqrt(128 / 200))
    assert np.var(counts) == pytest.approx(128.0, abs=4 * 128 * np.sqrt(2 / 200))


def test_rates_follow_arrhenius_with_a_bond_energy():
    rates = GrowthParameters().hop_rates_per_s(700.0)
    # By hand: kT = 0.060321 eV; 1e13 exp(-1.30 / kT) = 4.37e3 /s, a bond costs exp(-0.25 / kT).
    assert rates[0] == pytest.approx(4.37e3, rel=5e-3)
    assert rates[1:5] / rates[:4] == pytest.approx([0.015854] * 4, rel=2e-3)
    assert rates[kmc_kernel.INERT] == 0.0


def test_a_free_adatom_leaves_a_tower_at_the_rate_of_its_barrier_and_the_step():
    parameters = GrowthParameters(step_barrier_eV=0.05, inert_substrate=True)
    heights = np.zeros((8, 8), dtype=np.int32)
    heights[4, 4] = 2
    left = 0
    for seed in range(4000):
        film = Film(heights, parameters=parameters, seed=seed)
        film.advance(temperature_K=700.0, flux_ML_per_s=0.0, duration_s=1e-4)
        left += film.heights[4, 4] < 2
    # 4.37e3 /s times exp(-0.05 eV / kT) = 0.4365 over 0.1 ms: 1 - exp(-0.1908) = 0.174.
    assert left / 4000 == pytest.approx(0.1737, abs=4 * 0.006)


def test_desorption_has_its_own_barrier():
    parameters = GrowthParameters(
        surface_barrier_eV=3.0, desorption_energy_eV=1.3, inert_substrate=True
    )
    heights = np.zeros((32, 32), dtype=np.int32)
    heights[::2, ::2] = 1
    film = Film(heights, parameters=parameters, seed=1)
    film.advance(temperature_K=700.0, flux_ML_per_s=0.0, duration_s=2e-4)
    # 256 free adatoms, each gone with 1 - exp(-0.874) = 0.583: 149 +- 8.
    assert film.desorbed_ML * 1024 == pytest.approx(149, abs=32)


def test_funnelling_fills_a_hole_that_random_deposition_leaves_open():
    filled = {}
    for funnelling in (False, True):
        parameters = GrowthParameters(funnelling=funnelling)
        heights = np.ones((8, 8), dtype=np.int32)
        heights[4, 4] = -3
        film = Film(heights, parameters=parameters, seed=2)
        film.advance(temperature_K=100.0, flux_ML_per_s=1.0, duration_s=1.0)
        filled[funnelling] = film.heights[4, 4] + 3
    assert filled[True] >= 3
    assert filled[False] < filled[True]


def test_an_inert_substrate_keeps_its_atoms():
    for inert in (True, False):
        parameters = GrowthParameters(inert_substrate=inert)
        film = Film.flat(size=8, parameters=parameters, seed=1)
        surfaces = []
        # At 1100 K a surface that may move is flat again nine times of ten: look more than once.
        for _ in range(100):
            film.advance(temperature_K=1100.0, flux_ML_per_s=0.0, duration_s=0.01)
            surfaces.append(film.heights)
        assert bool((np.array(surfaces) == 0).all()) is inert


def test_each_site_has_four_neighbours_who_agree():
    table = square_neighbours(5)
    assert all(site in table[k] for site in range(25) for k in table[site])
    assert sorted(table[0].tolist()) == [1, 4, 5, 20]


def test_the_generator_is_xoshiro256_plus_plus():
    # First outputs for the state {1, 2, 3, 4}, from the rust `rand_xoshiro` test vectors.
    state = np.array([1, 2, 3, 4], dtype=np.uint64)
    found = [int(kmc_kernel.next_random(state)) for _ in range(4)]
    assert found == [41943041, 58720359, 3588806011781223, 3591011842654386]


def test_splitmix64_seeds_the_state():
    # First outputs of splitmix64 for seed 0, as published with the reference code.
    state = np.zeros(4, dtype=np.uint64)
    kmc_kernel.seed_random(np.uint64(0), state)
    assert int(state[0]) == 0xE220A8397B1DCDAF
    assert int(state[1]) == 0x6E789E6AA1B965F4


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: GrowthParameters(multi_hop=33), "multi_hop"),
        (lambda: GrowthParameters(step_barrier_eV=-0.1), "step_barrier_eV"),
        (lambda: Film(np.zeros((3, 4), int), parameters=MATERIAL, seed=0), "heights"),
        (
            lambda: Film.flat(size=8, parameters=MATERIAL, seed=0).advance(
                temperature_K=0.0, flux_ML_per_s=1.0, duration_s=1.0
            ),
            "temperature_K",
        ),
    ],
)
def test_a_value_out_of_range_is_named(call, name):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.name == name
