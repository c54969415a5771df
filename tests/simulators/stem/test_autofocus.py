"""Autofocus from noisy images: a hidden setting comes back within a nanometre."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem import specimens
from twinloop.simulators.stem.aberrations import Aberrations
from twinloop.simulators.stem.autofocus import (
    fit_aberrations,
    focus_by_sharpness,
    refocused,
    sharpest,
)
from twinloop.simulators.stem.detectors import Detector
from twinloop.simulators.stem.gram import Gram
from twinloop.simulators.stem.phonons import snapshots
from twinloop.simulators.stem.potential import project
from twinloop.simulators.stem.probe import Probe

NANOMETRE_A = 10.0
RINGS = {"abf": Detector(12.0, 25.0), "adf": Detector(40.0, 100.0)}
START = Probe(100.0, 25.0, Aberrations(c3_A=5e4))
SHEET = specimens.mos2(across=(3, 2))
PIXELS = np.stack(np.meshgrid(np.arange(0, 9.4, 0.25), np.arange(0, 10.9, 0.25)), -1).reshape(-1, 2)
ELECTRONS = 1.0e4 * 0.25**2


def gram(n: int = 0) -> Gram:
    return Gram.of([project(s, sampling_A=0.12) for s in snapshots(SHEET, n, seed=5)], START, RINGS)


def noisy(hidden: Probe, n: int, seed: int) -> dict[str, np.ndarray]:
    """Return images of another specimen than the one believed in: its atoms shake."""
    rng = np.random.default_rng(seed)
    images = gram(n).spectrum(hidden).at(PIXELS).double().numpy()
    return dict(zip(RINGS, rng.poisson(images * ELECTRONS).astype(float), strict=True))


@pytest.mark.parametrize("hidden_A", [-60.0, -33.0, 8.0, 71.0, 190.0])
def test_a_hidden_defocus_comes_back_within_a_nanometre(hidden_A):
    images = noisy(START.focused(hidden_A), n=2, seed=int(hidden_A) % 7)
    fit = fit_aberrations(gram(), START, images, PIXELS)
    assert abs(fit.aberrations.defocus_A - hidden_A) < NANOMETRE_A
    assert refocused(START, fit).aberrations.c3_A == pytest.approx(5e4)


def test_defocus_and_astigmatism_come_back_together():
    hidden = Probe(100.0, 25.0, Aberrations(defocus_A=60.0, astigmatism_A=40.0, c3_A=5e4))
    images = noisy(hidden, n=0, seed=1)
    fit = fit_aberrations(gram(), START, images, PIXELS, vary=("C10", "C12a", "C12b"))
    assert abs(fit.aberrations.defocus_A - 60.0) < NANOMETRE_A
    assert abs(fit.aberrations.astigmatism_A - 40.0) < NANOMETRE_A


def test_the_sharpest_image_is_where_a_scan_of_defocus_has_its_peak():
    inner = gram()
    fit = sharpest(inner, START, "adf")
    tried_A = np.arange(-100.0, 101.0, 2.0)
    cell = np.stack(
        np.meshgrid(*(np.arange(24) * edge / 24 for edge in SHEET.cell_A[:2])), -1
    ).reshape(-1, 2)
    contrast = []
    for defocus_A in tried_A:
        image = inner.spectrum(START.focused(float(defocus_A))).at(cell)[1].double()
        contrast.append(float(image.var(correction=0) / image.mean() ** 2))
    assert abs(fit.aberrations.defocus_A - tried_A[int(np.argmax(contrast))]) <= 2.0
    assert -fit.loss == pytest.approx(max(contrast), rel=0.01)


@pytest.mark.parametrize("hidden_A", [-52.0, 17.0, 66.0])
def test_sharpness_finds_the_focus_without_a_structure(hidden_A):
    inner, rng = gram(), np.random.default_rng(3)

    def acquire(setting_A: float) -> np.ndarray:
        image = inner.spectrum(START.focused(hidden_A + setting_A)).at(PIXELS)[1]
        return rng.poisson(image.double().numpy() * ELECTRONS).astype(float)

    setting_A = focus_by_sharpness(acquire, (-150.0, 150.0))
    sharp_A = sharpest(inner, START, "adf").aberrations.defocus_A
    assert abs(hidden_A + setting_A - sharp_A) < NANOMETRE_A


def test_questions_without_an_answer_are_refused():
    inner, images = gram(), {"adf": np.ones(PIXELS.shape[0])}
    for wrong, name in (
        (lambda: fit_aberrations(inner, START, {"eels": images["adf"]}, PIXELS), "images"),
        (lambda: fit_aberrations(inner, START, {"adf": np.ones(3)}, PIXELS), "images"),
        (lambda: fit_aberrations(inner, START, images, PIXELS), "constant"),
        (lambda: sharpest(inner, START, "eels"), "detector"),
        (lambda: sharpest(inner, START, "adf", vary=("C99",)), "vary"),
        (lambda: sharpest(inner, START, "adf", defocus_range_A=(1.0, 0.0)), "defocus_range_A"),
        (lambda: focus_by_sharpness(lambda _: np.arange(2.0), images=5), "images"),
        (lambda: focus_by_sharpness(lambda _: np.arange(2.0), (-900.0, 900.0)), "images"),
        (lambda: focus_by_sharpness(lambda _: np.ones(2), (-90.0, 90.0)), "constant"),
        (lambda: focus_by_sharpness(lambda _: np.arange(2.0), (90.0, -90.0)), "defocus_range_A"),
        (lambda: focus_by_sharpness(lambda _: np.arange(2.0), width_A=0.0), "width_A"),
    ):
        with pytest.raises(ArgumentError, match=name):
            wrong()
