import numpy as np
import pytest

from twinloop.simulators.stem import specimens
from twinloop.simulators.stem.acquisition import Raster, ScanErrors, ScanPath
from twinloop.simulators.stem.column import Column
from twinloop.simulators.stem.convolution import ConvolutionModel, Illumination
from twinloop.simulators.stem.microscope import Microscope, Panel, View

SHEET = specimens.mos2(across=(4, 2))


def test_the_panel_gives_each_detector_its_ring():
    panel = Panel(convergence_mrad=24.0, inner_mrad=70.0, outer_mrad=180.0)
    assert panel.ring_mrad("haadf") == (70.0, 180.0)
    assert panel.ring_mrad("abf") == (12.0, 24.0)
    assert panel.ring_mrad("bf") == (0.0, 12.0)


def test_the_beam_stands_where_stage_shift_and_miss_add_up_to():
    scope = Microscope(Column(miss_x_A=2.0, miss_y_A=-1.0), stage_A=(10.0, 20.0))
    assert scope.place_A((0.5, 0.5)) == (12.5, 19.5)


def test_blocks_are_all_lines_once_in_order():
    lines = [
        line
        for first, last in Microscope.blocks(Raster((53, 8), 0.5, 1e-6))
        for line in range(first, last)
    ]
    assert lines == list(range(53))


def test_a_view_shows_what_the_model_gives_however_it_is_cut():
    model = ConvolutionModel(SHEET, Illumination(), 80.0, 200.0)
    path = ScanPath.draw(Raster((32, 24), 0.4, 1e-6), ScanErrors())
    whole = model.intensity(*path.places_A(0, 32))
    view = View(model, path)
    pieces = np.concatenate([view.lines(first, first + 8) for first in range(0, 32, 8)])
    np.testing.assert_allclose(pieces, whole, rtol=1e-6)
    late = View(model, path).lines(20, 28)
    np.testing.assert_allclose(late, whole[20:28], atol=2e-3 * whole.max())


def test_carbon_on_the_sample_adds_a_haze_to_dark_field_only():
    clean, dirty = (Microscope(Column(contamination_A=t)) for t in (0.0, 20.0))
    assert clean.haze("haadf") == 0.0
    assert dirty.haze("haadf") > 0.0
    assert dirty.haze("bf") == 0.0


def test_faults_are_what_their_names_say():
    scope = Microscope()
    assert scope.broken({"defocus_jump"}).column.defocus_A == pytest.approx(300.0)
    assert scope.broken({"stage_drift"}).column.drift_x_A_per_s > 5.0
    saturated = scope.broken({"detector_saturated"}).counter("haadf")
    assert saturated.gain_counts > 100 * scope.counter("haadf").gain_counts
    assert scope.broken(()) == scope


def test_a_square_holds_the_density_of_the_sheet():
    # MoS2: one Mo and two S in a cell of 3.16 x 2.737 A
    sheet = specimens.mos2(across=(14, 8))
    found = Microscope().density_per_A2(sheet, (11.0, 13.0), 24.0)
    assert found[42] == pytest.approx(1 / (3.16 * 2.737), rel=0.12)
    # a row of atoms more or less at the edges of the square
    assert found[16] == pytest.approx(2 * found[42], rel=0.15)


def test_a_pattern_of_a_thin_sheet_is_the_bright_disk_of_the_aperture():
    pattern = Microscope().pattern(SHEET, (3.0, 3.0), 48.0)
    assert pattern.shape == (64, 64)
    assert 0.9 < pattern.sum() <= 1.0
    angle = (np.arange(64) - 31.5) * 96.0 / 64
    disk = np.hypot(*np.meshgrid(angle, angle)) < 30.0
    assert pattern[disk].sum() > 0.9 * pattern.sum()
