import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem import convolution, specimens
from twinloop.simulators.stem.aberrations import Aberrations, phase_basis
from twinloop.simulators.stem.convolution import (
    ConvolutionModel,
    Illumination,
    haadf_cross_section_A2,
)
from twinloop.simulators.stem.electrons import wavelength_A
from twinloop.simulators.structure import AtomicStructure

SHARP = Illumination(source_sigma_A=0.0, focal_spread_A=0.0)


def atom(number=14, x_A=5.03, y_A=5.07, rms_A=0.0, edge_A=60.0):
    return AtomicStructure.of([number], [[x_A, y_A, 0.0]], (edge_A, edge_A, 2.0), rms_A)


def grid(field_A, pixels, middle_A=(0.0, 0.0)):
    steps = (np.arange(pixels) - 0.5 * (pixels - 1)) * field_A / pixels
    return np.meshgrid(middle_A[0] + steps, middle_A[1] + steps)


def plane_wave_probe(illumination, dx_A, dy_A):
    """|probe|^2 at distances from its middle, normalised to unit integral, wave by wave."""
    electrons_A = wavelength_A(illumination.energy_keV)
    reach = 1e-3 * illumination.semiangle_mrad / electrons_A
    k = np.linspace(-reach, reach, 401)
    kx, ky = (a.ravel() for a in np.meshgrid(k, k))
    inside = np.hypot(kx, ky) <= reach
    kx, ky = kx[inside], ky[inside]
    wave = (
        np.exp(-1j * (phase_basis(kx, ky, electrons_A) @ illumination.aberrations.vector()))
        * (k[1] - k[0]) ** 2
    )
    psi = np.array(
        [
            np.sum(wave * np.exp(2j * np.pi * (kx * x + ky * y)))
            for x, y in zip(dx_A, dy_A, strict=True)
        ]
    )
    return np.abs(psi) ** 2 / (np.pi * reach**2)


@pytest.mark.parametrize(
    "aberrations",
    [
        Aberrations(),
        Aberrations(defocus_A=60.0),
        Aberrations(astigmatism_A=40.0, astigmatism_deg=30.0, coma_A=400.0, coma_deg=70.0),
    ],
)
def test_an_atom_looks_like_the_probe_that_plane_waves_add_up_to(aberrations):
    illumination = Illumination(aberrations=aberrations, source_sigma_A=0.0, focal_spread_A=0.0)
    model = ConvolutionModel(atom(), illumination, 80.0, 200.0)
    x_A, y_A = np.linspace(3.4, 6.7, 25), np.full(25, 5.4)
    section_A2 = haadf_cross_section_A2(np.array([14]), 80.0, 80.0, 200.0)[0]
    expected = section_A2 * plane_wave_probe(illumination, x_A - 5.03, y_A - 5.07)
    found = model.intensity(x_A, y_A)
    np.testing.assert_allclose(found, expected, atol=0.01 * expected.max())


def test_source_and_thermal_motion_widen_an_atom_as_gaussians_do():
    x_A, y_A = grid(8.0, 161, (30.0, 30.0))
    squares = []
    for illumination, rms_A in (
        (SHARP, 0.0),
        (Illumination(source_sigma_A=0.4, focal_spread_A=0.0), 0.3),
    ):
        image = ConvolutionModel(atom(14, 30.0, 30.0, rms_A), illumination, 80.0, 200.0).intensity(
            x_A, y_A
        )
        # The tails of the sharp probe fall slowly: both are weighed alike, and the Gaussian is small.
        kernel = np.abs(np.fft.fft2(image))
        squares.append(kernel[0, 3] / kernel[0, 0])
    q_per_A = 3 / (161 * 8.0 / 161)
    assert squares[1] / squares[0] == pytest.approx(
        np.exp(-2 * np.pi**2 * (0.4**2 + 0.3**2) * q_per_A**2), rel=0.02
    )


def test_the_mean_of_an_image_is_the_cross_section_of_what_is_there():
    sheet = specimens.graphene(across=(10, 6))
    model = ConvolutionModel(sheet, Illumination(), 80.0, 200.0)
    edges = sheet.cell_A
    x_A, y_A = np.meshgrid(
        np.arange(64) * edges[0] / 64 - 100.0, np.arange(64) * edges[1] / 64 + 50.0
    )
    expected = (
        sheet.n
        * haadf_cross_section_A2(np.array([6]), 80.0, 80.0, 200.0)[0]
        / (edges[0] * edges[1])
    )
    assert model.intensity(x_A, y_A).mean() == pytest.approx(expected, rel=2e-3)


def test_heavier_atoms_are_brighter_as_z_to_1_7():
    peaks = [
        ConvolutionModel(atom(z), SHARP, 80.0, 200.0).intensity(np.array([5.03]), np.array([5.07]))[
            0
        ]
        for z in (16, 42)
    ]
    assert peaks[1] / peaks[0] == pytest.approx((42 / 16) ** 1.7)


def test_the_absolute_cross_section_is_of_the_size_that_rutherford_gives():
    # unscreened: gamma^2 Z^2 lambda^4 / (4 pi^3 a_0^2) (1 / inner^2 - 1 / outer^2), zinc at 100 keV
    gamma, electrons_A = 1.195695, 0.0370144
    bare = (
        (gamma * 30) ** 2
        * electrons_A**4
        / (4 * np.pi**3 * 0.529177**2)
        * (1 / 0.08**2 - 1 / 0.2**2)
    )
    found = haadf_cross_section_A2(np.array([30]), 100.0, 80.0, 200.0)[0]
    assert 0.7 * bare < found < bare


def test_the_specimen_repeats():
    sheet = specimens.mos2(across=(3, 2))
    model = ConvolutionModel(sheet, Illumination(), 80.0, 200.0)
    x_A, y_A = grid(6.0, 24)
    np.testing.assert_allclose(
        model.intensity(x_A, y_A),
        model.intensity(x_A + 4 * sheet.cell_A[0], y_A - 7 * sheet.cell_A[1]),
        rtol=1e-6,
    )


def test_blocks_are_a_matter_of_memory_not_of_the_image(monkeypatch):
    sheet = specimens.graphene(across=(4, 3), vacancies=(5,))
    model = ConvolutionModel(sheet, Illumination(), 80.0, 200.0)
    x_A, y_A = grid(30.0, 48)
    whole = model.intensity(x_A, y_A)
    monkeypatch.setattr(convolution, "POINTS_AT_ONCE", 60_000)
    np.testing.assert_allclose(model.intensity(x_A, y_A), whole, atol=2e-3 * whole.max())


@pytest.mark.parametrize("detector", ["abf", "bf"])
def test_interference_is_refused_with_the_reason(detector):
    with pytest.raises(ArgumentError, match="incoherent"):
        ConvolutionModel(atom(), SHARP, 15.0, 30.0, detector)


def test_angles_out_of_order_are_refused():
    with pytest.raises(ArgumentError, match="inner < outer"):
        ConvolutionModel(atom(), SHARP, 200.0, 80.0)


@pytest.mark.physics
def test_it_agrees_with_multislice_in_pattern_and_not_in_contrast():
    from twinloop.simulators.stem.detectors import Detector
    from twinloop.simulators.stem.imager import Imager, Recipe
    from twinloop.simulators.stem.probe import Probe

    sheet = specimens.mos2(across=(4, 2))
    probe = Probe(80.0, 30.0, source_sigma_A=0.3, focal_spread_A=0.0)
    imager = Imager(sheet, probe, {"haadf": Detector(80.0, 160.0)}, Recipe(sampling_A=0.08))
    x_A = np.arange(64) * sheet.cell_A[0] / 64
    y_A = np.arange(64) * sheet.cell_A[1] / 64
    exact = imager.image(probe, x_A, y_A)["haadf"]
    model = ConvolutionModel(
        sheet, Illumination(source_sigma_A=0.3, focal_spread_A=0.0), 80.0, 160.0
    )
    rough = model.intensity(*np.meshgrid(x_A, y_A))
    assert np.corrcoef(exact.ravel(), rough.ravel())[0, 1] > 0.99
    scaled = rough * exact.mean() / rough.mean()
    assert 0.01 < np.median(np.abs(scaled - exact) / exact) < 0.15
    # the absolute scale comes from Rutherford scattering of zinc; atoms at rest scatter less far
    assert 1.0 < rough.mean() / exact.mean() < 1.6
