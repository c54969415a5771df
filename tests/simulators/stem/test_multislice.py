"""Multislice where it can be solved on paper: vacuum, weak phase objects, conservation."""

import numpy as np
import pytest
import torch

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.aberrations import Aberrations
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.detectors import Detector, PixelDetector
from twinloop.simulators.stem.multislice import Multislice, diffract, scan_directly
from twinloop.simulators.stem.potential import Potential, project
from twinloop.simulators.stem.probe import Beams, Probe
from twinloop.simulators.stem.scattering_factors import scattering_factor_A
from twinloop.simulators.structure import AtomicStructure

DOUBLE = Compute(precision="double")
LENGTH_A = 0.037014


def vacuum(depth_A: float, step_A: float) -> Potential:
    empty = AtomicStructure.of([], np.zeros((0, 3)), (20.0, 20.0, depth_A))
    return project(empty, sampling_A=0.1, step_A=step_A, compute=DOUBLE)


def column(compute: Compute = DOUBLE, **options: float) -> Potential:
    numbers = [42, 16, 16, 42]
    places = [[2.0, 2.5, 2.2], [4.1, 3.0, 3.3], [4.0, 3.1, 6.4], [2.2, 2.4, 8.7]]
    atoms = AtomicStructure.of(numbers, places, (7.0, 6.0, 10.0))
    return project(atoms, sampling_A=0.1, compute=compute, **options)


def test_a_gaussian_beam_spreads_in_vacuum_as_optics_says():
    depth_A, waist_A = 200.0, 1.0
    path = Multislice(vacuum(depth_A, 7.0), 100.0)
    x, y = path.grid.frequencies_per_A()
    wave = np.exp(-(np.pi**2) * waist_A**2 * (x**2 + y**2)).astype(complex)
    field = torch.fft.ifft2(path.transmit(torch.from_numpy(wave)[None]))[0]
    intensity = (field.abs() ** 2).numpy()
    place_A = np.fft.fftfreq(path.grid.shape[0], 1.0 / 20.0)
    profile = intensity.sum(axis=1)
    found_A = 2.0 * np.sqrt((profile * place_A**2).sum() / profile.sum())
    # w(z) = w0 sqrt(1 + (z lambda / (pi w0^2))^2), and sigma = w / 2.
    assert found_A == pytest.approx(
        waist_A * np.sqrt(1 + (depth_A * LENGTH_A / np.pi / waist_A**2) ** 2), rel=1e-4
    )


def test_vacuum_brings_an_underfocused_probe_to_its_focus():
    depth_A = 90.0
    path = Multislice(vacuum(depth_A, 4.0), 100.0)
    probe = Probe(100.0, 25.0, Aberrations(defocus_A=depth_A, c3_A=1e5))
    beams = Beams.of(probe, path.grid)
    enters = beams.waves(DOUBLE.put(beams.amplitudes(probe))[None])
    focused = beams.waves(DOUBLE.put(beams.amplitudes(probe.focused(0.0)))[None])
    assert torch.allclose(path.transmit(enters), focused, atol=1e-10)


def test_a_weak_atom_scatters_its_form_factor():
    # First Born approximation: amplitude i sigma V(k) / area, V = 47.878 f; sigma 0.9244e-3.
    atom = AtomicStructure.of([1], [[5.0, 5.0, 0.5]], (10.0, 10.0, 1.0))
    potential = project(atom, sampling_A=0.1, placement="fourier", compute=DOUBLE)
    path = Multislice(potential, 100.0)
    wave = DOUBLE.zeros(1, *path.grid.shape)
    wave[0, 0, 0] = 1.0
    exits = path.transmit(wave)[0].abs().numpy()
    k = path.grid.frequency_per_A()
    seen = (k > 0.05) & (k < 1.5)
    born = 0.92440e-3 * 47.878 * scattering_factor_A(1, k) / 100.0
    assert np.allclose(exits[seen], born[seen], rtol=0.01)


def test_electrons_are_conserved_up_to_the_band_limit():
    probe = Probe(100.0, 25.0, Aberrations(defocus_A=20.0))
    everything = {"all": Detector(0.0, 200.0)}
    counted = scan_directly([column()], probe, np.array([[2.0, 2.5], [0.0, 0.0]]), everything)
    # On the Mo column 1 % leaves the band of this grid, beside it less.
    assert 0.985 < counted["all"][0] < counted["all"][1]
    # A band-limited phase object is unitary only up to what its band cuts off.
    assert counted["all"][1] <= 1.0 + 1e-5
    assert counted["all"][1] > 0.999


def test_nothing_leaves_outside_the_band():
    path = Multislice(column(), 100.0)
    beams = Beams.of(Probe(), path.grid)
    exits = path.transmit(beams.waves(DOUBLE.put(beams.amplitudes(Probe()))[None]))[0].abs()
    outside = torch.from_numpy(path.grid.band() == 0.0)
    assert float(exits[outside].max()) == 0.0
    assert float(exits[~outside].min()) > 0.0


def test_plane_waves_by_shifted_transforms_equal_plane_waves_by_the_long_way():
    path = Multislice(column(), 100.0)
    beams = Beams.of(Probe(100.0, 30.0), path.grid)
    keep = torch.arange(path.grid.points)
    quick = path.transmit_beams(beams, keep)
    unit = torch.eye(beams.n, dtype=torch.complex128)
    long_way = path.transmit(beams.waves(unit)).reshape(beams.n, -1)
    assert torch.allclose(quick, long_way, atol=1e-12)


def test_merged_vacuum_equals_the_steps_it_stands_for():
    potential = column()
    assert len(potential.levels) < potential.steps
    full = torch.zeros((potential.steps, *potential.grid.shape), dtype=torch.float64)
    full[list(potential.levels)] = potential.slices_VA
    stepwise = Potential(
        potential.grid, full, tuple(range(potential.steps)), potential.steps, potential.step_A,
        potential.compute,
    )  # fmt: skip
    spots, ring = np.array([[2.0, 2.5], [1.0, 5.0]]), {"adf": Detector(40.0, 100.0)}
    merged, whole = (scan_directly([p], Probe(), spots, ring)["adf"] for p in (potential, stepwise))
    assert merged == pytest.approx(whole, rel=1e-9)


def test_single_precision_is_good_to_a_millionth_of_the_image():
    spots = np.random.default_rng(2).random((6, 2)) * 6.0
    ring = {"adf": Detector(40.0, 100.0), "bf": Detector(0.0, 20.0)}
    probe = Probe(100.0, 25.0, Aberrations(defocus_A=200.0, c3_A=1e7))
    rough, fine = (scan_directly([column(c)], probe, spots, ring) for c in (Compute(), DOUBLE))
    for name in ring:
        assert np.abs(rough[name] - fine[name]).max() < 5e-6 * fine[name].max()


def test_diffraction_patterns_sum_to_what_a_ring_counts_and_keep_their_axes():
    tilted = Probe(100.0, 20.0, Aberrations(defocus_A=10.0))
    pattern = diffract([column()], tilted, np.array([[2.0, 2.5]]), PixelDetector(64, 125.0))
    whole = scan_directly([column()], tilted, np.array([[2.0, 2.5]]), {"all": Detector(0, 125)})
    assert pattern.shape == (1, 64, 64)
    assert pattern.sum() == pytest.approx(whole["all"][0], abs=2e-3)
    disc = pattern[0, 26:38, 26:38].sum()
    assert disc > 0.7
    # An atom to the right of the probe pulls electrons to the right: columns run along x.
    atom = AtomicStructure.of([42], [[5.3, 5.0, 0.5]], (10.0, 10.0, 1.0))
    one = project(atom, sampling_A=0.1, compute=DOUBLE)
    pulled = diffract([one], tilted.focused(0.0), np.array([[5.0, 5.0]]), PixelDetector(64, 60.0))
    assert pulled[0, :, 32:].sum() > 1.1 * pulled[0, :, :32].sum()
    # Up and down are alike; the pixel rows are not, whose border runs through the axis.
    assert pulled[0, 33:].sum() == pytest.approx(pulled[0, :32].sum(), rel=0.02)


def test_focal_spread_is_the_average_over_defocus():
    probe = Probe(100.0, 25.0, Aberrations(defocus_A=20.0), focal_spread_A=25.0)
    spots, ring = np.array([[2.0, 2.5], [1.0, 4.0]]), {"adf": Detector(40.0, 100.0)}
    spread = scan_directly([column()], probe, spots, ring)["adf"]
    offsets_A = np.linspace(-100.0, 100.0, 81)
    weights = np.exp(-0.5 * (offsets_A / 25.0) ** 2)
    each = [
        scan_directly([column()], Probe(100.0, 25.0).focused(20.0 + o), spots, ring)["adf"]
        for o in offsets_A[::4]
    ]
    assert spread == pytest.approx(np.average(each, axis=0, weights=weights[::4]), rel=2e-3)


def test_waves_of_another_grid_are_refused():
    with pytest.raises(ArgumentError, match="waves"):
        Multislice(column(), 100.0).transmit(DOUBLE.zeros(1, 8, 8))
