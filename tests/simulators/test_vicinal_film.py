"""A staircase without end: the edge of the lattice is a place like any other."""

import dataclasses

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.kmc import Film, GrowthParameters, square_rise

MATERIAL = GrowthParameters(multi_hop=4, desorption_energy_eV=1.9)
STEPS = 3


def grown(*, parameters=MATERIAL, seed=3, substrate_K=700.0):
    film = Film.vicinal(size=24, steps=STEPS, parameters=parameters, seed=seed)
    film.advance(temperature_K=substrate_K, flux_ML_per_s=1.0, duration_s=1.3)
    return film


def counted_by_hand(heights):
    beside = [np.roll(heights, shift, 0) for shift in (1, -1)]
    west, east = np.roll(heights, 1, 1), np.roll(heights, -1, 1)
    west[:, 0] -= STEPS
    east[:, -1] += STEPS
    bonds = np.sum([n >= heights for n in (*beside, west, east)], axis=0)
    return np.bincount(bonds.ravel(), minlength=6)


@pytest.mark.parametrize("multi_hop", [1, 8])
@pytest.mark.parametrize("funnelling", [False, True])
def test_atoms_are_kept_and_the_lists_agree_with_a_count_by_hand(multi_hop, funnelling):
    parameters = dataclasses.replace(MATERIAL, multi_hop=multi_hop, funnelling=funnelling)
    film = grown(parameters=parameters, substrate_K=780.0)
    fresh = Film.vicinal(size=24, steps=STEPS, parameters=parameters, seed=0).heights
    assert (film.heights - fresh).mean() == pytest.approx(film.coverage_ML, abs=1e-12)
    assert film.class_counts.tolist() == counted_by_hand(film.heights).tolist()


def test_a_fresh_staircase_has_even_terraces_and_no_free_atom():
    film = Film.vicinal(size=24, steps=STEPS, parameters=MATERIAL, seed=1)
    assert film.heights[5].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    # the lower side of a step lacks no neighbour; its edge atoms lack one
    assert film.class_counts.tolist() == [0, 0, 0, 3 * 24, 24 * 24 - 3 * 24, 0]


def test_where_the_edge_of_the_lattice_lies_does_not_matter():
    """Mean and scatter of the step density are those of every column, edge columns included."""
    rough = np.zeros(24)
    for seed in range(40):
        heights = grown(seed=seed).heights
        east = np.roll(heights, -1, 1)
        east[:, -1] += STEPS
        # average over the terraces: only the place within a terrace may matter
        rough += (east != heights).mean(axis=0)
    by_terrace = (rough / 40).reshape(STEPS, 8)
    error = by_terrace.std(axis=0, ddof=1).mean() / np.sqrt(STEPS)
    assert abs(by_terrace[-1].mean() - by_terrace.mean()) < 4 * error
    assert by_terrace.mean() > 0.05


def test_no_steps_are_the_flat_film_to_the_bit():
    films = [
        Film.flat(size=16, parameters=MATERIAL, seed=5),
        Film.vicinal(size=16, steps=0, parameters=MATERIAL, seed=5),
    ]
    for film in films:
        film.advance(temperature_K=700.0, flux_ML_per_s=1.0, duration_s=1.0)
    assert np.array_equal(films[0].heights, films[1].heights)


def test_a_restored_staircase_goes_on_bit_for_bit():
    film = grown()
    restored = Film.restore(film.snapshot(), parameters=MATERIAL, steps=STEPS)
    for other in (film, restored):
        other.advance(temperature_K=720.0, flux_ML_per_s=0.5, duration_s=1.0)
    assert np.array_equal(film.heights, restored.heights)
    with pytest.raises(ArgumentError, match="snapshot"):
        Film.restore(film.snapshot(), parameters=MATERIAL)


def test_the_rise_seen_forward_is_the_fall_seen_back():
    rise = square_rise(6, 2).reshape(6, 6, 4)
    assert (rise[:, -1, 3] == 2).all()
    assert (rise[:, 0, 2] == -2).all()
    assert int(np.abs(rise).sum()) == 4 * 6


@pytest.mark.parametrize("steps", [-1, 9])
def test_too_many_steps_are_refused(steps):
    with pytest.raises(ArgumentError, match="steps"):
        Film.vicinal(size=24, steps=steps, parameters=MATERIAL, seed=1)
    inert = GrowthParameters(inert_substrate=True)
    with pytest.raises(ArgumentError, match="inert"):
        Film.vicinal(size=24, steps=2, parameters=inert, seed=1)
