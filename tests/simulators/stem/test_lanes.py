import numpy as np
import pytest

from twinloop.simulators.stem.lane_path import Axis, factors_of
from twinloop.simulators.stem.lanes import LANES, reap, sow


def lanes_of(numbers):
    """Return complex numbers, shape (n, LANES), as a buffer of lanes."""
    return np.stack([numbers.real, numbers.imag], axis=1).astype(np.float32).ravel()


def numbers_of(buffer):
    parts = buffer.reshape(-1, 2, LANES).astype(np.float64)
    return parts[:, 0] + 1j * parts[:, 1]


# every radix, alone and behind every other
@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 60, 90, 120, 160])
def test_a_transform_is_numpys_in_scrambled_order_and_its_inverse_undoes_it(n):
    axis = Axis.of(factors_of(n))
    rng = np.random.default_rng(n)
    signal = rng.standard_normal((n, LANES)) + 1j * rng.standard_normal((n, LANES))
    buffer = lanes_of(signal)
    sow(buffer, axis.radices, axis.turns)
    expected = n * np.fft.ifft(signal, axis=0)
    np.testing.assert_allclose(numbers_of(buffer), expected[axis.order], atol=3e-6 * n)
    reap(buffer, axis.radices, axis.conjugate)
    np.testing.assert_allclose(numbers_of(buffer) / n, signal, atol=3e-6)


def test_the_scrambled_order_names_every_place_once():
    axis = Axis.of(factors_of(120))
    assert sorted(axis.order) == list(range(120))
    assert list(axis.order) != list(range(120))


def test_only_products_of_2_3_and_5_have_stages():
    assert factors_of(14) is None
    assert np.prod(factors_of(360)) == 360
