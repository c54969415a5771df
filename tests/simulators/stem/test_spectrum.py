"""Images as Fourier sums: values known on paper, blur against a convolution."""

import numpy as np
import pytest
import torch

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.spectrum import ImageSpectrum

DOUBLE = Compute(precision="double")
X_PER_A, Y_PER_A = np.arange(3) / 8.0, np.arange(-2, 3) / 5.0


def random_spectrum() -> ImageSpectrum:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(2, 3, 5)) + 1j * rng.normal(size=(2, 3, 5))
    return ImageSpectrum(torch.from_numpy(values), X_PER_A, Y_PER_A, DOUBLE)


def test_a_grid_and_its_positions_agree_and_rows_run_along_y():
    spectrum = random_spectrum()
    x_A, y_A = np.linspace(0.0, 9.0, 7), np.linspace(-3.0, 4.0, 4)
    grid = spectrum.on_grid(x_A, y_A).numpy()
    places = np.stack(np.meshgrid(x_A, y_A), axis=-1).reshape(-1, 2)
    assert grid.shape == (2, 4, 7)
    assert np.allclose(spectrum.at(places).numpy().reshape(2, 4, 7), grid)
    q = np.stack(np.meshgrid(X_PER_A, Y_PER_A, indexing="ij"), axis=-1)
    by_hand = spectrum.values[1].numpy() * np.exp(2j * np.pi * (q @ np.array([x_A[3], y_A[2]])))
    assert grid[1, 2, 3] == pytest.approx(by_hand.sum().real)


def test_the_image_repeats_with_the_cell():
    spectrum, places = random_spectrum(), np.array([[1.2, 3.4]])
    assert torch.allclose(spectrum.at(places), spectrum.at(places + np.array([80.0, -50.0])))


def test_blur_is_a_convolution_with_a_gaussian():
    spectrum, sigma_A = random_spectrum(), 0.6
    offsets_A = np.random.default_rng(6).normal(0.0, sigma_A, (40000, 2))
    expected = spectrum.at(np.array([[1.0, 2.0]]) + offsets_A).mean(dim=1)
    found = spectrum.blurred(sigma_A).at(np.array([[1.0, 2.0]]))[:, 0]
    assert torch.allclose(found, expected, atol=0.06)
    assert not torch.allclose(found, spectrum.at(np.array([[1.0, 2.0]]))[:, 0], atol=0.3)
    assert spectrum.blurred(0.0) is spectrum


def test_bad_positions_and_widths_are_refused():
    with pytest.raises(ArgumentError, match="positions_A"):
        random_spectrum().at(np.zeros(3))
    with pytest.raises(ArgumentError, match="sigma_A"):
        random_spectrum().blurred(-1.0)
