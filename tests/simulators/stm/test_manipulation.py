"""Dragging atoms: thresholds, conservation, what is lost."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.graphene import graphene
from twinloop.simulators.stm.manipulation import DragRules, drag_adatom, drag_vacancy
from twinloop.simulators.stm.surface import Film

RULES = DragRules(threshold_nA=10.0)


def adatom():
    heights = np.zeros((12, 12))
    heights[3, 5] = 1
    return Film(heights, lattice_A=4.0)


def path(start_A, end_A, points=60):
    return np.linspace(start_A, end_A, points)


def rng(seed=1):
    return np.random.default_rng(seed)


def test_half_of_the_hops_succeed_at_the_threshold():
    assert RULES.probability(10.0) == pytest.approx(0.5)
    # Eigler & Schweizer: 1 nA images, some tens of nA drag.
    assert RULES.probability(1.0) < 1e-3
    assert RULES.probability(-40.0) > 0.99


def test_an_adatom_follows_a_strong_current_to_the_end_of_the_path():
    film, drag = drag_adatom(
        adatom(), (3, 5), path([12.0, 20.0], [36.0, 28.0]), current_nA=60.0, rules=RULES, rng=rng()
    )
    assert not drag.is_lost
    assert drag.moved == (6, 2)
    assert drag.end_A == pytest.approx((36.0, 28.0))
    assert film.heights_ML[9, 7] == 1
    assert film.heights_ML.sum() == 1


def test_an_imaging_current_leaves_the_adatom_behind():
    before = adatom()
    film, drag = drag_adatom(
        before, (3, 5), path([12.0, 20.0], [36.0, 20.0]), current_nA=0.5, rules=RULES, rng=rng()
    )
    assert drag.is_lost
    assert drag.hops == 0
    assert np.array_equal(film.heights_ML, before.heights_ML)


def test_a_wall_stops_an_adatom():
    heights = np.zeros((12, 12))
    heights[3, 5] = 1
    heights[6] = 2
    film, drag = drag_adatom(
        Film(heights, lattice_A=4.0), (3, 5), path([12.0, 20.0], [18.0, 20.0]), current_nA=60.0,
        rules=RULES, rng=rng(),
    )  # fmt: skip
    assert drag.moved[0] <= 2
    assert film.heights_ML.sum() == heights.sum()


def test_what_is_lost_rises_as_the_current_falls():
    ends = {}
    for current_nA in (5.0, 10.0, 30.0):
        lost = 0
        for seed in range(60):
            _, drag = drag_adatom(
                adatom(), (3, 5), path([12.0, 20.0], [44.0, 20.0], 24), current_nA=current_nA,
                rules=RULES, rng=rng(seed),
            )  # fmt: skip
            lost += drag.is_lost
        ends[current_nA] = lost
    assert ends[5.0] > ends[10.0] > ends[30.0]


def test_a_vacancy_keeps_its_sublattice():
    whole = graphene((8, 6))
    present = whole.is_present.copy()
    present[1, 2, 2] = False
    box = whole.without(np.flatnonzero(~present[whole.is_present]))
    start_A = box.crystal.vectors_A.sum(axis=0) * 2 + box.crystal.places_A[1, :2]
    after, drag = drag_vacancy(
        box,
        (1, 2, 2),
        path(start_A, start_A + np.array([7.5, 0.0])),
        current_nA=60.0,
        rules=RULES,
        rng=rng(),
    )
    assert drag.moved == (3, 0)
    assert after.n == box.n
    assert not after.is_present[1, 5, 2]
    assert after.is_present[1, 2, 2]


def test_there_must_be_something_to_drag():
    with pytest.raises(ArgumentError, match="site"):
        drag_adatom(adatom(), (0, 0), np.zeros((1, 2)), current_nA=60.0, rules=RULES, rng=rng())
    with pytest.raises(ArgumentError, match="vacancy"):
        drag_vacancy(
            graphene((3, 3)), (0, 1, 1), np.zeros((1, 2)), current_nA=60.0, rules=RULES, rng=rng()
        )
    with pytest.raises(ArgumentError, match="width"):
        DragRules(width=0.0)
