import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem import specimens
from twinloop.simulators.stem.convolution import ConvolutionModel, Illumination
from twinloop.simulators.stem.image_models import MultisliceModel, window

SHEET = specimens.graphene(across=(12, 7))
LIGHT = Illumination(energy_keV=60.0, semiangle_mrad=20.0, focal_spread_A=0.0)


def test_a_window_holds_the_atoms_of_the_repeating_specimen_at_their_places():
    cut, corner = window(SHEET, (-7.0, 5.0), (20.0, 33.0))
    assert corner == (-7.0, 20.0)
    np.testing.assert_allclose(cut.cell_A[:2], [12.0, 13.0])
    density = SHEET.n / (SHEET.cell_A[0] * SHEET.cell_A[1])
    assert cut.n == pytest.approx(density * 12.0 * 13.0, rel=0.08)
    home = (cut.positions_A[:, :2] + corner) % SHEET.cell_A[:2]
    away = np.abs(home[:, None] - SHEET.positions_A[None, :, :2]).sum(axis=2).min(axis=1)
    assert away.max() < 1e-6


def test_a_specimen_smaller_than_the_window_stays_periodic():
    small = specimens.graphene(across=(2, 1))
    cut, corner = window(small, (0.0, 30.0), (0.0, 30.0))
    assert cut is small
    assert corner == (0.0, 0.0)


def test_what_would_take_too_long_is_refused_before_it_begins():
    with pytest.raises(ArgumentError, match="convolution"):
        MultisliceModel(
            specimens.graphene(across=(40, 24)),
            Illumination(),
            (80.0, 200.0),
            (0.0, 80.0),
            (0.0, 80.0),
        )


def test_multislice_sees_the_vacancy_that_convolution_sees():
    holed = SHEET.without([60])
    x0, y0 = (float(v) for v in SHEET.positions_A[60, :2])
    span = np.linspace(-2.0, 2.0, 15)
    x_A, y_A = np.meshgrid(x0 + span, y0 + span)
    exact = MultisliceModel(holed, LIGHT, (60.0, 120.0), (x0 - 2, x0 + 2), (y0 - 2, y0 + 2))
    rough = ConvolutionModel(holed, LIGHT, 60.0, 120.0)
    seen = [model.intensity(x_A, y_A) for model in (exact, rough)]
    assert np.corrcoef(seen[0].ravel(), seen[1].ravel())[0, 1] > 0.97
    assert seen[0][7, 7] < 0.5 * seen[0].max()


def test_phonons_are_the_same_for_every_window_and_brighten_a_dark_field():
    thick = specimens.srtio3(across=(3, 3), thickness_A=60.0)
    light = Illumination(energy_keV=100.0, semiangle_mrad=15.0, focal_spread_A=0.0)
    x_A, y_A = np.array([[5.0, 5.95]]), np.array([[5.0, 5.95]])

    def seen(low_A, **words):
        span = (low_A, low_A + 2.0)
        return MultisliceModel(thick, light, (60.0, 90.0), span, span, **words).intensity(x_A, y_A)

    still, warm, again, other = (
        seen(4.5),
        seen(4.5, phonons=2, seed=3),
        seen(4.6, phonons=2, seed=3),
        seen(4.5, phonons=2, seed=4),
    )
    # the window is another one, so is where its cut disturbs the image
    assert again == pytest.approx(warm, rel=0.01)
    assert np.abs(other / warm - 1.0).max() > 0.03
    assert (warm > 1.1 * still).all()
