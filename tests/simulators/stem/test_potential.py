"""Projected potentials whose integral or shape is known on paper."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.grid import Grid
from twinloop.simulators.stem.potential import Placement, project
from twinloop.simulators.stem.scattering_factors import scattering_factor_A
from twinloop.simulators.structure import AtomicStructure

DOUBLE = Compute(precision="double")


def atom(x_A: float, y_A: float, z_A: float = 1.0, number: int = 42) -> AtomicStructure:
    return AtomicStructure.of([number], [[x_A, y_A, z_A]], (8.0, 6.0, 4.0))


@pytest.mark.parametrize("placement", Placement)
def test_a_potential_integrates_to_the_forward_scattering(placement):
    # 2 pi a_0 e = 47.878 V A^2 for f = 1 A.
    potential = project(atom(1.234, 2.345), sampling_A=0.1, placement=placement, compute=DOUBLE)
    dx, dy = potential.grid.sampling_A
    whole = float(potential.slices_VA.sum()) * dx * dy
    assert whole == pytest.approx(47.878 * scattering_factor_A(42, np.zeros(1))[0], rel=1e-5)


def test_exact_placement_moves_with_the_atom():
    grid = Grid((80, 60), (8.0, 6.0))
    here, there = (
        project(atom(*place), grid=grid, placement=Placement.FOURIER, compute=DOUBLE).slices_VA[0]
        for place in ((1.03, 2.06), (1.53, 4.46))
    )
    assert np.allclose(np.roll(here.numpy(), (5, 24), (0, 1)), there.numpy(), atol=1e-9)


def test_both_placements_meet_as_the_grid_gets_finer():
    def apart(sampling_A: float) -> float:
        blurred = []
        for placement in Placement:
            p = project(atom(1.03, 2.06), sampling_A=sampling_A, placement=placement)
            spectrum = np.fft.fft2(p.slices_VA[0].numpy())
            blurred.append(spectrum[p.grid.frequency_per_A() < 2.0] * np.prod(p.grid.sampling_A))
        return float(np.abs(blurred[0] - blurred[1]).max() / np.abs(blurred[1]).max())

    coarse, fine = apart(0.1), apart(0.05)
    assert fine < 0.35 * coarse < 0.1


def test_slices_hold_the_atoms_of_their_depth_and_empty_ones_are_left_out():
    pair = AtomicStructure.of([6, 42, 8], [[1, 1, 2.5], [2, 2, 7.5], [3, 3, 7.6]], (8, 6, 10))
    potential = project(pair, sampling_A=0.2, step_A=1.0)
    assert potential.levels == (2, 7)
    assert (potential.steps, potential.lead, potential.follow) == (10, 2, (5, 3))
    sums = potential.slices_VA.sum(dim=(1, 2))
    forward = [scattering_factor_A(z, np.zeros(1))[0] for z in (6, 42, 8)]
    assert float(sums[1] / sums[0]) == pytest.approx((forward[1] + forward[2]) / forward[0])


def test_atoms_outside_the_cell_wrap_across_and_stay_in_depth():
    inside = project(atom(1.0, 2.0, 0.1), sampling_A=0.2)
    outside = project(atom(9.0, -4.0, -0.1), sampling_A=0.2)
    assert outside.levels == inside.levels == (0,)
    assert np.allclose(inside.slices_VA, outside.slices_VA, atol=1e-3)
    assert project(atom(1.0, 2.0, 4.2), sampling_A=0.2).levels == (3,)


def test_what_cannot_be_projected_is_refused():
    grid = Grid((80, 60), (8.0, 6.0))
    with pytest.raises(ArgumentError, match="one of the two"):
        project(atom(1, 1))
    with pytest.raises(ArgumentError, match="one of the two"):
        project(atom(1, 1), grid=grid, sampling_A=0.1)
    with pytest.raises(ArgumentError, match="edges"):
        project(atom(1, 1), grid=Grid((80, 60), (8.0, 7.0)))
    with pytest.raises(ArgumentError, match="step_A"):
        project(atom(1, 1), grid=grid, step_A=0.0)
    with pytest.raises(ArgumentError, match="placement"):
        project(atom(1, 1), grid=grid, placement="nearest")
    with pytest.raises(ArgumentError, match="parametrisation"):
        project(atom(1, 1), grid=grid, parametrisation="hydrogen")
    with pytest.raises(ArgumentError, match="numbers"):
        project(atom(1, 1, number=110), grid=grid)
