import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.errors import ArgumentError
from twinloop.planners.space import Dimension, Space

SPACE = Space.of({"substrate_K": (500, 800), "flux_ML_per_s": (0.05, 0.5, "log")})


def test_a_log_axis_halves_the_factor_and_a_linear_one_the_difference():
    point = SPACE.to_point(np.array([0.5, 0.5]))
    assert point["substrate_K"] == 650.0
    assert point["flux_ML_per_s"] == pytest.approx(math.sqrt(0.05 * 0.5), rel=1e-15)


@given(st.floats(0, 1), st.floats(0, 1))
def test_there_and_back_is_the_same_place(a, b):
    x = np.array([a, b])
    assert SPACE.to_cube(SPACE.to_point(x)) == pytest.approx(x, abs=1e-12)


@given(
    st.floats(1e-6, 1e6),
    st.floats(1.001, 1e6),
    st.floats(0, 1),
    st.sampled_from(["linear", "log"]),
)
def test_no_value_leaves_its_bounds_by_rounding(low, factor, share, scale):
    dimension = Dimension("a", low, low * factor, scale)
    assert dimension.low <= dimension.to_value(share) <= dimension.high


def test_the_value_next_to_a_bound_is_not_beyond_it():
    # These bounds are ones where the formula alone rounds over the edge.
    assert Dimension("a", 0.77, 0.83, "log").to_value(1 - 2**-53) <= 0.83


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_ends_are_the_bounds_also_where_the_formula_rounds(scale):
    dimension = Dimension("a", 0.51, 2.97, scale)
    assert (dimension.to_value(0.0), dimension.to_value(1.0)) == (0.51, 2.97)


def test_the_corners_of_the_cube_are_the_bounds_exactly():
    assert SPACE.to_point(np.zeros(2)) == {"substrate_K": 500.0, "flux_ML_per_s": 0.05}
    assert SPACE.to_point(np.ones(2)) == {"substrate_K": 800.0, "flux_ML_per_s": 0.5}


def test_a_value_outside_is_refused_with_its_bounds_and_unit():
    with pytest.raises(ArgumentError, match=r"a_K: found 12\.0, allowed: 0 to 10 K"):
        Dimension("a_K", 0, 10, unit="K").to_cube(12.0)


def test_rounding_at_a_bound_is_forgiven():
    assert Dimension("a", 0, 10).to_cube(10.0 + 1e-12) == 1.0


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"a": (1, 1)},
        {"a": (2, 1)},
        {"a": (0, 1, "log")},
        {"a": (1, 2, "cubic")},
        {"a": (1, math.inf)},
        {"a": (1,)},
        {"a": (1, 2, "log", 4)},
        {"a": ("low", "high")},
        {"": (1, 2)},
        [("a", 1, 2)],
    ],
)
def test_bounds_that_mean_nothing_are_refused(bounds):
    with pytest.raises(ArgumentError, match="space"):
        Space.of(bounds)


def test_a_name_that_stands_twice_is_refused():
    with pytest.raises(ArgumentError, match="each name once"):
        Space((Dimension("a", 0, 1), Dimension("a", 0, 2)))


@pytest.mark.parametrize("point", [{"substrate_K": 600.0}, {"a": 1.0}])
def test_a_point_must_name_every_dimension_and_no_other(point):
    with pytest.raises(ArgumentError, match="exactly substrate_K, flux_ML_per_s"):
        SPACE.to_cube(point)


@pytest.mark.parametrize("x", [np.array([0.5]), np.array([0.5, 1.1]), np.array([0.5, math.nan])])
def test_a_place_outside_the_cube_has_no_physical_values(x):
    with pytest.raises(ArgumentError):
        SPACE.to_point(x)


def test_json_gives_the_same_space_back():
    assert Space.from_json(SPACE.to_json()) == SPACE
