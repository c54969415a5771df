import pytest

from twinloop.agents.export.plots import Plot, plots_of


def axes_of(shapes):
    return {plot.signal: plot.axes for plot in plots_of(shapes)}


def test_an_image_of_another_instrument_finds_its_lengths_by_shape():
    shapes = {"height_nm": (24, 32), "x_nm": (32,), "y_nm": (24,)}
    assert axes_of(shapes) == {"height_nm": ("y_nm", "x_nm")}


def test_a_square_image_does_not_turn_its_axes_round():
    shapes = {"x_A": (8,), "y_A": (8,), "counts": (8, 8)}
    assert axes_of(shapes) == {"counts": ("y_A", "x_A")}


def test_an_image_without_lengths_is_counted_in_pixels():
    assert axes_of({"result": (96, 64)}) == {"result": ("", "")}


def test_a_curve_stands_along_the_one_axis_that_fits():
    assert axes_of({"frequency_Hz": (9,), "gain": (9,)}) == {"gain": ("frequency_Hz",)}


def test_lengths_that_do_not_fit_are_no_axes():
    shapes = {"z_forward_A": (24, 32), "z_backward_A": (24, 32), "x_A": (31,), "y_A": (24,)}
    assert axes_of(shapes)["z_forward_A"] == ("y_A", "")


def test_what_was_cut_short_keeps_the_beginning_of_its_slow_axis():
    shapes = {"z_forward_A": (9, 32), "z_backward_A": (9, 32), "x_A": (40,), "y_A": (24,)}
    assert axes_of(shapes)["z_forward_A"] == ("y_A", "")


def test_a_deviation_is_no_picture_of_its_own():
    assert axes_of({"share_by_layer": (4,), "share_sd_by_layer": (4,)}) == {"share_by_layer": ("",)}


def test_empty_arrays_and_single_numbers_are_no_pictures():
    assert plots_of({"check_z_A": (0,), "one": ()}) == []


def test_of_a_scan_the_forward_height_comes_first():
    shape = (24, 32)
    names = ("current_forward_nA", "z_backward_A", "z_forward_A", "current_backward_nA")
    shapes = {**dict.fromkeys(names, shape), "x_A": (32,), "y_A": (24,), "line_start_s": (24,)}
    first = plots_of(shapes)[0]
    assert first == Plot("z_forward_A", ("y_A", "x_A"), (("line_start_s", 0),))


@pytest.mark.parametrize("name", ["two_theta_deg", "omega_deg", "energy_keV"])
def test_counters_are_known_as_counters(name):
    (plot,) = plots_of({name: (80,), "counts": (80,)})
    assert (plot.axes, plot.is_counted) == ((name,), True)
