"""Probes in vacuum, where optics textbooks know the answer."""

import numpy as np
import pytest
import torch

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.aberrations import Aberrations
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.grid import Grid
from twinloop.simulators.stem.probe import Beams, Probe

GRID = Grid((256, 240), (25.6, 24.0))
DOUBLE = Compute(precision="double")


def intensity_along_x(probe: Probe, far_A: np.ndarray) -> np.ndarray:
    beams = Beams.of(probe, GRID)
    away = np.stack([far_A, np.zeros_like(far_A)], axis=1)
    waves = beams.shifts(-away, DOUBLE) @ DOUBLE.put(beams.amplitudes(probe))
    return np.abs(waves.numpy()) ** 2


@pytest.mark.parametrize("soft", [True, False])
def test_a_probe_holds_one_electron(soft):
    probe = Probe(100.0, 25.0, Aberrations(defocus_A=80.0, c3_A=1e5), soft=soft)
    beams = Beams.of(probe, GRID)
    assert (np.abs(beams.amplitudes(probe)) ** 2).sum() == pytest.approx(1.0)
    waves = beams.waves(Compute().put(beams.amplitudes(probe))[None])
    assert float((waves.abs() ** 2).sum()) == pytest.approx(1.0, abs=1e-5)


def test_an_unaberrated_probe_is_an_airy_disc():
    # First dark ring at 0.610 lambda / alpha = 0.903 A, half maximum at 0.2572 lambda / alpha.
    probe = Probe(100.0, 25.0, soft=False)
    far_A = np.linspace(0.0, 1.3, 131)
    seen = intensity_along_x(probe, far_A)
    assert far_A[np.argmin(seen)] == pytest.approx(0.610 * 0.037014 / 0.025, abs=0.02)
    half_A = far_A[np.argmin(np.abs(seen / seen[0] - 0.5))]
    assert half_A == pytest.approx(0.2572 * 0.037014 / 0.025, abs=0.012)


def test_moving_the_probe_moves_its_intensity():
    probe = Probe(100.0, 25.0, Aberrations(defocus_A=30.0, coma_A=2000.0))
    beams = Beams.of(probe, GRID)
    amplitudes = DOUBLE.put(beams.amplitudes(probe))
    shifts = beams.shifts(np.array([[0.0, 0.0], [1.0, 2.0]]), DOUBLE)
    fields = torch.fft.ifft2(beams.waves(shifts * amplitudes)).abs().numpy()
    assert np.allclose(np.roll(fields[0], (10, 20), (0, 1)), fields[1], atol=1e-12)


def test_beams_ascend_so_that_pairs_fill_half_a_plane():
    orders = Beams.of(Probe(100.0, 25.0), GRID).orders
    assert (np.lexsort((orders[:, 1], orders[:, 0])) == np.arange(orders.shape[0])).all()


def test_focal_spread_becomes_weighted_foci():
    probe = Probe(100.0, 25.0, Aberrations(defocus_A=10.0), focal_spread_A=30.0)
    foci = probe.foci()
    defocus_A = np.array([p.aberrations.defocus_A for p, _ in foci])
    weights = np.array([w for _, w in foci])
    assert weights.sum() == pytest.approx(1.0)
    assert weights @ defocus_A == pytest.approx(10.0)
    assert weights @ (defocus_A - 10.0) ** 2 == pytest.approx(900.0)
    assert Probe().foci() == [(Probe(), 1.0)]


def test_impossible_probes_are_refused():
    for wrong in (
        lambda: Probe(energy_keV=0.0),
        lambda: Probe(semiangle_mrad=-1.0),
        lambda: Probe(source_sigma_A=-0.1),
        lambda: Probe(focal_spread_A=float("nan")),
        lambda: Beams.of(Probe(100.0, 130.0), GRID),
        lambda: Beams.of(Probe(100.0, 20.0), GRID).aperture(Probe(100.0, 25.0)),
        lambda: Beams.of(Probe(100.0, 20.0), GRID).aperture(Probe(80.0, 15.0)),
    ):
        with pytest.raises(ArgumentError, match="probe"):
            wrong()
    with pytest.raises(ArgumentError, match="interpolation"):
        Beams.of(Probe(), GRID, 0)
