"""Grids: fast sizes, frequencies, the band limit."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.grid import Grid, fast_size


@pytest.mark.parametrize(("least", "size"), [(1, 4), (7, 8), (249, 256), (257, 288), (487, 500)])
def test_fast_sizes_are_fourfold_products_of_small_primes(least, size):
    assert fast_size(least) == size


def test_a_grid_samples_at_least_as_finely_as_asked():
    grid = Grid.of((12.34, 5.67), 0.1)
    assert max(grid.sampling_A) <= 0.1
    assert grid.cell_A == (12.34, 5.67)


def test_frequencies_are_those_of_numpy():
    grid = Grid((12, 10), (6.0, 4.0))
    x, y = grid.frequencies_per_A()
    assert np.allclose(x[:, 0], np.fft.fftfreq(12, 0.5))
    assert np.allclose(y[0], np.fft.fftfreq(10, 0.4))


def test_the_band_ends_at_two_thirds_of_nyquist():
    grid = Grid((300, 300), (30.0, 30.0))
    band, length = grid.band(), grid.frequency_per_A()
    nyquist_per_A = 5.0
    assert band[length > 2 / 3 * nyquist_per_A + 1e-9].max() == 0.0
    assert band[length < (2 / 3 - 0.021) * nyquist_per_A].min() == 1.0
    # 100 keV: 0.037014 A times 3.333 1/A.
    assert grid.widest_mrad(0.037014) == pytest.approx(123.4, abs=0.05)


def test_bad_grids_are_refused():
    for wrong in (lambda: Grid((1, 8), (1.0, 1.0)), lambda: Grid((8, 8), (0.0, 1.0))):
        with pytest.raises(ArgumentError, match="grid"):
            wrong()
    with pytest.raises(ArgumentError, match="sampling_A"):
        Grid.of((1.0, 1.0), 0.0)
    with pytest.raises(ArgumentError, match="grid points"):
        fast_size(0)
