"""Thickness, spacing, roughness and lattice constants, judged on films whose truth is known."""

import numpy as np
import pytest
from ase.build import bulk

from twinloop.analysts.interface import find_analyst
from twinloop.analysts.xrd import XRDAnalyst
from twinloop.errors import ArgumentError
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.xrd.film import Optics, expected_counts_per_s
from twinloop.simulators.xrd.film_trials import film_trial
from twinloop.simulators.xrd.grown_film import planes_of_film
from twinloop.simulators.xrd.powder import powder_pattern

ANALYST = XRDAnalyst()
SD_OF = {
    "thickness_ML": "thickness_sd_ML",
    "thickness_A": "thickness_sd_A",
    "spacing_A": "spacing_sd_A",
    "aluminium": "aluminium_sd",
    "roughness_ML": "roughness_sd_ML",
}


def covered(seeds):
    """Which of the 90 % intervals hold the truth, shape (films, 5)."""
    held = []
    for seed in seeds:
        trial = film_trial(seed)
        found = ANALYST.compute(
            "film",
            two_theta_deg=trial.two_theta_deg,
            counts=trial.counts,
            count_s=trial.count_s,
        )
        held.append(
            [
                abs(getattr(found, name) - trial.truth[name]) < 1.645 * getattr(found, sd)
                for name, sd in SD_OF.items()
            ]
        )
    return np.array(held)


def scan(film, *, count_s=5.0, seed=0, zero_deg=0.0):
    angles = np.arange(25.0, 39.0, 0.05)
    rates = expected_counts_per_s(planes_of_film(film), angles - zero_deg, Optics())
    counts = np.random.default_rng(seed).poisson(count_s * rates)
    return {"two_theta_deg": angles, "counts": counts, "count_s": count_s}


@pytest.mark.parametrize("thickness_ML", [4, 15, 38])
def test_a_flat_film_is_read_to_a_part_of_a_layer(thickness_ML):
    film = FilmStructure.flat(8, thickness_ML, aluminium=0.9)
    found = ANALYST.compute("film", **scan(film, zero_deg=0.03))
    assert found.thickness_ML == pytest.approx(thickness_ML, abs=2.5 * found.thickness_sd_ML)
    assert found.thickness_sd_ML < 0.5
    assert found.zero_deg == pytest.approx(0.03, abs=0.01)
    assert found.misfit == pytest.approx(1.0, abs=0.35)


def test_a_few_films_lie_within_their_intervals():
    # 18 of 20 expected; the answers of one film hang together, hence the wide margin
    assert covered(range(1000, 1004)).sum() >= 14


@pytest.mark.physics
@pytest.mark.timeout(1800)
def test_ninety_percent_intervals_hold_85_to_95_percent_of_truths():
    part = dict(zip(SD_OF, covered(range(5000, 5240)).mean(axis=0), strict=True))
    assert all(0.85 <= value <= 0.95 for value in part.values()), part


def test_more_counts_make_a_surer_answer():
    film = FilmStructure.flat(8, 20, aluminium=1.0)
    short, long = (ANALYST.compute("film", **scan(film, count_s=t)) for t in (1.0, 60.0))
    assert long.thickness_sd_ML < 0.5 * short.thickness_sd_ML


def test_a_film_of_the_substrates_own_material_has_no_thickness_that_anyone_could_read():
    film = FilmStructure.flat(8, 12, aluminium=0.0)
    assert ANALYST.compute("film", **scan(film, seed=1)).thickness_sd_ML > 4.0


def test_a_blinded_counter_shows_as_a_misfit():
    film = FilmStructure.flat(8, 25, aluminium=1.0)
    arguments = scan(film, count_s=10.0)
    rate = arguments["counts"] / 10.0
    blind = np.rint(10.0 * rate / (1.0 + rate * 5e-3))
    assert ANALYST.compute("film", **{**arguments, "counts": blind}).misfit > 3.0


def test_a_known_dead_time_is_corrected():
    film = FilmStructure.flat(8, 25, aluminium=1.0)
    arguments = scan(film, count_s=10.0)
    rate = arguments["counts"] / 10.0
    seen = np.rint(10.0 * rate / (1.0 + rate * 2e-3))
    found = XRDAnalyst(dead_time_s=2e-3).compute("film", **{**arguments, "counts": seen})
    misled = ANALYST.compute("film", **{**arguments, "counts": seen})
    assert found.thickness_ML == pytest.approx(25.0, abs=3 * found.thickness_sd_ML)
    assert found.misfit < min(1.5, 0.6 * misled.misfit)


def test_saturated_points_are_left_out_and_counted():
    film = FilmStructure.flat(8, 25, aluminium=1.0)
    arguments = scan(film, count_s=10.0)
    is_blind = np.abs(arguments["two_theta_deg"] - 30.5) < 0.3
    live_s = np.where(is_blind, 0.1, 10.0)
    counts = np.where(is_blind, 7, arguments["counts"])
    found = ANALYST.compute("film", **{**arguments, "counts": counts}, live_s=live_s)
    assert found.saturated == is_blind.sum()
    assert found.thickness_ML == pytest.approx(25.0, abs=3 * found.thickness_sd_ML)
    assert found.misfit == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize(
    "live_s", [np.full(280, 11.0), np.full(280, -1.0), np.ones(3), np.full(280, 0.01)]
)
def test_a_live_time_that_cannot_be_or_that_leaves_nothing_is_refused(live_s):
    arguments = scan(FilmStructure.flat(8, 25, aluminium=1.0), count_s=10.0)
    with pytest.raises(ArgumentError, match=r"live_s|saturated"):
        ANALYST.compute("film", **arguments, live_s=live_s)


def test_lattice_constants_of_a_powder_lie_within_their_intervals():
    angles, off = np.arange(20.0, 100.0, 0.02), []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a_A = 5.431 * (1 + 0.005 * rng.standard_normal())
        pattern = powder_pattern(bulk("Si", a=a_A), angles, zero_deg=0.03 * rng.standard_normal())
        expected = 10 ** rng.uniform(2.5, 4.0) * pattern / pattern.max() + 20.0
        found = XRDAnalyst(ka2_ratio=0.5).compute(
            "cubic_lattice", two_theta_deg=angles, counts=rng.poisson(expected)
        )
        assert found.lattice == "diamond"
        off.append((found.a_A - a_A) / found.a_sd_A)
    assert np.mean(np.abs(off) < 1.645) >= 0.75
    assert np.std(off) < 1.6


def test_a_pattern_that_no_cubic_lattice_explains_is_answered_with_a_large_deviation():
    angles = np.arange(20.0, 90.0, 0.02)
    pattern = powder_pattern(bulk("Mg"), angles)
    counts = np.rint(1000 * pattern / pattern.max() + 10)
    found = ANALYST.compute("cubic_lattice", two_theta_deg=angles, counts=counts)
    assert found.lattice == ""
    assert found.a_sd_A >= 1.0


def test_the_top_of_a_rocking_curve_is_found_and_a_flat_one_is_not_believed():
    omega = np.arange(-0.8, 0.8, 0.01)
    rng = np.random.default_rng(3)
    clear = rng.poisson(3000 * np.exp(-0.5 * ((omega - 0.21) / 0.03) ** 2) + 5)
    found = ANALYST.compute("rocking_curve", omega_deg=omega, counts=clear)
    assert found.centre_deg == pytest.approx(0.21, abs=3 * found.centre_sd_deg)
    assert found.width_deg == pytest.approx(2.355 * 0.03, rel=0.2)
    flat = ANALYST.compute("rocking_curve", omega_deg=omega, counts=rng.poisson(5, omega.size))
    assert flat.centre_sd_deg > 1.0


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="equal shapes"):
        ANALYST.compute("film", two_theta_deg=np.arange(30.0), counts=np.arange(29))


def test_the_analyst_has_a_name():
    assert find_analyst("xrd") is XRDAnalyst
