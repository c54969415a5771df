import numpy as np
import pytest

from twinloop.simulators.stem.aberrations import Aberrations
from twinloop.simulators.stem.column import DEFOCUS_WALK_A, SETTLING_S, Column


def test_a_perfect_microscope_does_what_its_panels_say():
    column = Column.drawn(np.random.default_rng(0), size=0.0)
    asked = column.aberrations(50.0, 1e4, 20.0, 30.0)
    wanted = Aberrations(defocus_A=50.0, c3_A=1e4, astigmatism_A=20.0, astigmatism_deg=30.0)
    np.testing.assert_allclose(asked.vector(), wanted.vector(), atol=1e-9)
    assert column.scan_errors().scale_x == 1.0
    assert column.after(1e4, np.random.default_rng(1), size=0.0) == column


def test_the_lens_adds_what_it_has_to_what_is_asked():
    column = Column(defocus_A=-30.0, astigmatism_along_A=12.0)
    corrected = column.aberrations(30.0, 0.0, 12.0, 90.0)
    # astigmatism turned by 90 degrees cancels
    np.testing.assert_allclose(corrected.vector(), 0.0, atol=1e-9)


def test_defocus_wanders_as_the_root_of_time():
    rng = np.random.default_rng(2)
    found = [Column().after(400.0, rng).defocus_A for _ in range(1000)]
    assert np.std(found) == pytest.approx(DEFOCUS_WALK_A * 20.0, rel=0.09)


def test_the_stage_creeps_after_a_move_and_comes_to_rest():
    column = Column(creep_x_A_per_s=0.5)
    rng = np.random.default_rng(0)
    later = column.after(10 * SETTLING_S, rng, size=0.0)
    assert later.miss_x_A == pytest.approx(0.5 * SETTLING_S, rel=1e-3)
    assert abs(later.creep_x_A_per_s) < 1e-4


def test_two_steps_of_time_are_one_long_one_where_nothing_is_random():
    column = Column(drift_x_A_per_s=0.1, creep_y_A_per_s=0.3)
    rng = np.random.default_rng(0)
    twice = column.after(20.0, rng, size=0.0).after(40.0, rng, size=0.0)
    once = column.after(60.0, rng, size=0.0)
    for name, value in once.to_json().items():
        assert twice.to_json()[name] == pytest.approx(value, abs=1e-9), name
