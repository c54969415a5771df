"""Hidden truths, the surrogate and the search for the best."""

import numpy as np
import pytest

from twinloop.agents.bench.gaussian_process import GaussianProcess, _loss
from twinloop.agents.bench.growths import Growths
from twinloop.agents.bench.reference import Search, find_reference, load_reference
from twinloop.agents.bench.surrogate import known_part, learned_values
from twinloop.agents.bench.testing import tiny_setting
from twinloop.agents.bench.truth import Thermocouple, drawn_truth
from twinloop.planners.simulations import Prior

THETA = {
    "surface_barrier_eV": 1.30,
    "bond_energy_eV": 0.25,
    "step_barrier_eV": 0.05,
    "thermocouple_offset_K": 5.0,
    "log_flux_factor": 0.03,
    "log_interdiffusion_rate": 41.2,
}
SPACE = tiny_setting().file.space


def test_truths_stay_where_they_make_sense():
    prior = {"a": Prior(0.05, 0.03, 0.0), "b": Prior(1.0, 0.1)}
    drawn = [drawn_truth(prior, seed) for seed in range(200)]
    a = np.array([d["a"] for d in drawn])
    assert a.min() >= 0
    assert np.mean([d["b"] for d in drawn]) == pytest.approx(1.0, abs=0.03)
    assert drawn[3] == drawn_truth(prior, 3)


def test_a_reversed_thermocouple_turns_the_range_round():
    mirror = Thermocouple(710.0)
    assert mirror.knobs({"substrate_K": 620.0, "dose_ML": 4.0}) == {
        "substrate_K": 800.0,
        "dose_ML": 4.0,
    }
    assert Thermocouple().knobs({"substrate_K": 620.0}) == {"substrate_K": 620.0}


def test_growths_are_computed_once(tmp_path, monkeypatch):
    growths = Growths(tmp_path, {"size": 16})
    x = {"substrate_K": 700.0, "flux_ML_per_s": 1.0, "dose_ML": 4.0, "anneal_s": 1.0}
    first = growths.grow(x, THETA, 1)
    monkeypatch.setattr(type(growths._simulator), "simulate", None)
    assert Growths(tmp_path, {"size": 16}).grow(x, THETA, 1) == first
    # a film whose mixing and time are known leaves only its flatness to be learned
    part = known_part(SPACE, THETA, SPACE.to_cube(x)[None])[0]
    assert learned_values(first.values)[0] * part == pytest.approx(
        first.values["quality"], rel=0.15
    )


def test_a_theory_may_lack_parameters(tmp_path):
    growths = Growths(tmp_path, {"size": 16})
    x = {"substrate_K": 700.0, "flux_ML_per_s": 1.0, "dose_ML": 4.0, "anneal_s": 1.0}
    for name in ("step_barrier_eV", "log_interdiffusion_rate"):
        theta = {k: v for k, v in THETA.items() if k != name}
        assert growths.grow(x, theta, 1).values["quality"] > 0


def test_the_gradient_of_the_likelihood_is_right():
    rng = np.random.default_rng(0)
    x, counts = rng.random((12, 3)), rng.integers(1, 4, 12).astype(float)
    z, at = rng.standard_normal(12), np.array([-0.3, 0.2, 0.1, 0.2, -1.0])
    _, gradient = _loss(at, x, z, counts)
    for j in range(5):
        step = np.eye(5)[j] * 1e-6
        slope = (_loss(at + step, x, z, counts)[0] - _loss(at - step, x, z, counts)[0]) / 2e-6
        assert gradient[j] == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_a_process_learns_a_function_and_its_noise():
    rng = np.random.default_rng(1)
    x = rng.random((150, 2))
    y = np.sin(4 * x[:, 0]) + 0.5 * x[:, 1] + 0.1 * rng.standard_normal(150)
    process = GaussianProcess.fitted(x, y, np.ones(150))
    at = rng.random((50, 2))
    mean, sd = process.predict(at)
    assert process.noise_sd == pytest.approx(0.1, rel=0.3)
    assert np.abs(mean - np.sin(4 * at[:, 0]) - 0.5 * at[:, 1]).max() < 0.15
    assert np.all(sd < 0.15)


def test_the_search_keeps_what_it_finds(tmp_path):
    growths = Growths(tmp_path, {"size": 16, "multi_hop": 8, "max_events": 20_000})
    search = Search(spread=16, rounds=1, points=4, finalists=3, replicates=2, fresh=4)
    found = find_reference(tmp_path, growths, THETA, SPACE, search, seed=1)
    again = load_reference(tmp_path, THETA, SPACE, growths.code, search)
    assert again is not None
    assert (again.best, again.best_sd) == (found.best, found.best_sd)
    np.testing.assert_array_equal(again.x, found.x)
    assert 0 < found.best < 1
    mean, _ = again.surrogate().predict("quality", found.x)
    assert np.all(np.isfinite(mean))
