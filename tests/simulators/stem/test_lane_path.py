"""The CPU's kernels against plain Fourier transforms in double precision, which share no code."""

import numpy as np
import pytest
import torch

from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.grid import Grid
from twinloop.simulators.stem.lane_path import Band, LanePath
from twinloop.simulators.stem.multislice import Multislice
from twinloop.simulators.stem.potential import project
from twinloop.simulators.structure import AtomicStructure

ATOMS = AtomicStructure.of(
    [42, 16, 16, 42],
    [[2.0, 2.5, 2.2], [4.1, 3.0, 3.3], [4.0, 3.1, 6.4], [2.2, 2.4, 8.7]],
    (7.0, 6.0, 10.0),
)


def paths(shape, twist=(0.0, 0.0)):
    """Return the same way in the kernels and in double precision."""
    grid = Grid(shape, (7.0, 6.0))
    return [
        Multislice(project(ATOMS, grid=grid, compute=Compute(precision=precision)), 100.0).twisted(
            twist
        )
        for precision in ("single", "double")
    ]


def waves(n, grid, limit):
    rng = np.random.default_rng(5)
    shape = (n, *grid.shape)
    found = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * limit
    return torch.from_numpy(found / np.sqrt((np.abs(found[0]) ** 2).sum()))


# a full set of lanes, one more, and fewer; a twist makes the band lopsided
@pytest.mark.parametrize(
    ("n", "shape", "twist"),
    [(8, (72, 60), (0.0, 0.0)), (9, (60, 72), (0.0, 0.0)), (3, (80, 60), (0.5, 0.25))],
)
def test_waves_leave_the_kernels_as_they_leave_plain_transforms(n, shape, twist):
    fast, plain = paths(shape, twist)
    assert LanePath.serves(fast.grid, fast.compute)
    assert not LanePath.serves(plain.grid, plain.compute)
    entering = waves(n, fast.grid, fast.grid.band(twist))
    expected = plain.transmit(entering)
    found = fast.transmit(entering.to(torch.complex64))
    assert float((found - expected).abs().max() / expected.abs().max()) < 5e-6


def test_waves_beyond_the_band_limit_are_not_cut():
    fast, plain = paths((72, 60))
    entering = waves(2, fast.grid, np.ones(fast.grid.shape))
    # from the first slice on, so that no vacuum limits them before
    for path in (fast, plain):
        path.potential = project(
            AtomicStructure.of([6], [[2.0, 2.0, 0.5]], (7.0, 6.0, 1.0)),
            grid=path.grid, compute=path.compute,
        )  # fmt: skip
        path._slices = path._made()
    assert fast.potential.lead == 0
    expected = plain.transmit(entering)
    found = fast.transmit(entering.to(torch.complex64))
    assert float((found - expected).abs().max() / expected.abs().max()) < 5e-6


def test_a_grid_of_other_sizes_takes_plain_transforms():
    fast, plain = paths((70, 60))
    assert not LanePath.serves(fast.grid, fast.compute)
    entering = waves(2, fast.grid, fast.grid.band())
    found = fast.transmit(entering.to(torch.complex64))
    assert torch.allclose(found.to(torch.complex128), plain.transmit(entering), atol=1e-5)


def test_a_gpu_is_never_given_the_kernels_of_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not LanePath.serves(Grid((72, 60), (7.0, 6.0)), Compute("cuda"))


def test_a_band_names_its_columns_from_0_up_and_then_the_negative_ones():
    limit = np.zeros((4, 8))
    limit[0, [0, 1, 2, 6, 7]] = 1.0
    band = Band.of(limit)
    assert band.columns.tolist() == [0, 1, 2, 6, 7]
    assert band.positive == 3
    inside = torch.zeros((1, 4, 8))
    inside[0, 1, 7] = 1.0
    assert band.holds(inside)
    inside[0, 1, 4] = 1.0
    assert not band.holds(inside)
