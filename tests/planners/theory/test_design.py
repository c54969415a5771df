import numpy as np
import pytest

from twinloop.planners.simulations import Prior
from twinloop.planners.testing import example_theory
from twinloop.planners.theory.design import prior_design, to_theta, to_z

KNOWN = example_theory(0, m=0)


def test_a_batch_is_a_part_of_the_whole_design():
    whole = prior_design(KNOWN, range(40))
    later = prior_design(KNOWN, range(25, 40))
    assert [w.theta for w in later] == [w.theta for w in whole[25:]]
    assert np.array_equal([w.x for w in later], [w.x for w in whole[25:]])


def test_knobs_are_spread_evenly_and_no_two_alike():
    x = np.array([w.x for w in prior_design(KNOWN, range(64))])
    assert len(np.unique(x, axis=0)) == 64
    for column in x.T:
        # a net in base 2: every sixteenth of an axis holds its share
        assert np.histogram(column, bins=16, range=(0, 1))[0].tolist() == [4] * 16


def test_parameters_in_units_of_their_prior_and_back():
    z = np.array([0.3, -1.2])
    theta = to_theta(z, KNOWN.theory)
    assert theta == pytest.approx({"place_1": 0.545, "place_2": 0.32})
    assert to_z(np.array([list(theta.values())]), KNOWN.theory)[0] == pytest.approx(z)


def test_no_simulation_is_asked_for_beyond_the_bounds_of_a_parameter():
    known = example_theory(0, m=0)
    known.theory.priors["place_1"] = Prior(0.5, 0.15, at_least=0.45, at_most=0.6)
    asked = np.array([w.theta["place_1"] for w in prior_design(known, range(64))])
    assert asked.min() >= 0.45
    assert asked.max() <= 0.6
