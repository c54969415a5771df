"""The Gram form against the direct way, and its derivative against differences."""

import numpy as np
import pytest
import torch

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.aberrations import Aberrations
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.detectors import Detector
from twinloop.simulators.stem.gram import Gram
from twinloop.simulators.stem.multislice import scan_directly
from twinloop.simulators.stem.phonons import snapshots
from twinloop.simulators.stem.potential import Potential, project
from twinloop.simulators.stem.probe import Probe
from twinloop.simulators.structure import AtomicStructure

DOUBLE = Compute(precision="double")
RINGS = {
    "bf": Detector(0.0, 15.0),
    "wide bf": Detector(0.0, 30.0),
    "adf": Detector(40.0, 120.0),
    "smooth": Detector(50.0, 100.0, 10.0),
}
WIDEST = Probe(100.0, 25.0)
ABERRATED = Probe(100.0, 25.0, Aberrations(30.0, 20.0, 40.0, 300.0, 10.0, 200.0, 80.0, 1e5, 1e7))
ATOMS = AtomicStructure.of(
    [42, 16, 16, 42],
    [[2.0, 2.5, 2.2], [4.1, 3.0, 3.3], [4.0, 3.1, 6.4], [2.2, 2.4, 8.7]],
    (7.0, 6.0, 10.0),
    rms_A=0.1,
)
SPOTS_A = np.random.default_rng(3).uniform(-10.0, 10.0, (9, 2))


def potentials(n: int = 0, compute: Compute = DOUBLE) -> list[Potential]:
    return [project(s, sampling_A=0.1, compute=compute) for s in snapshots(ATOMS, n, 1)]


@pytest.mark.parametrize(
    "probe",
    [ABERRATED, Probe(100.0, 18.0, ABERRATED.aberrations), Probe(100.0, 25.0, soft=False)],
    ids=["aberrated", "narrower", "hard"],
)
def test_the_gram_form_equals_multislice(probe):
    gram = Gram.of(potentials(), WIDEST, RINGS)
    direct = scan_directly(potentials(), probe, SPOTS_A, RINGS)
    images = gram.spectrum(probe).at(SPOTS_A).numpy()
    for k, name in enumerate(RINGS):
        assert images[k] == pytest.approx(direct[name], rel=1e-9)


def test_frozen_phonons_average_the_inner_products():
    gram = Gram.of(potentials(3), WIDEST, RINGS)
    direct = scan_directly(potentials(3), ABERRATED, SPOTS_A, RINGS)
    images = gram.spectrum(ABERRATED).at(SPOTS_A).numpy()
    assert images[2] == pytest.approx(direct["adf"], rel=1e-9)
    still = Gram.of(potentials(), WIDEST, RINGS).spectrum(ABERRATED).at(SPOTS_A).numpy()
    assert np.abs(images[2] / still[2] - 1.0).max() > 0.01


def test_single_precision_agrees_with_double_to_a_millionth():
    rough = Gram.of(potentials(0, Compute()), WIDEST, RINGS).spectrum(ABERRATED).at(SPOTS_A)
    fine = Gram.of(potentials(), WIDEST, RINGS).spectrum(ABERRATED).at(SPOTS_A)
    assert float(((rough - fine).abs().amax(1) / fine.amax(1)).max()) < 5e-6


def test_focal_spread_in_closed_form_equals_its_quadrature():
    probe = Probe(100.0, 25.0, Aberrations(defocus_A=20.0), focal_spread_A=20.0)
    closed = Gram.of(potentials(), WIDEST, RINGS).spectrum(probe).at(SPOTS_A).numpy()
    summed = scan_directly(potentials(), probe, SPOTS_A, RINGS)
    for k, name in enumerate(RINGS):
        assert closed[k] == pytest.approx(summed[name], rel=1e-5)


def test_every_electron_is_counted_once_by_rings_that_share_the_plane():
    rings = {"in": Detector(0.0, 40.0), "out": Detector(40.0, 200.0)}
    images = Gram.of(potentials(), WIDEST, rings).spectrum(ABERRATED).at(SPOTS_A).numpy()
    assert (images.sum(axis=0) < 1.0 + 1e-5).all()
    assert (images.sum(axis=0) > 0.985).all()


def test_the_gradient_in_the_aberrations_equals_a_difference():
    gram = Gram.of(potentials(), WIDEST, {"adf": RINGS["adf"]})
    vector = torch.tensor(ABERRATED.aberrations.vector(), requires_grad=True)

    def brightness(v: torch.Tensor) -> torch.Tensor:
        return (gram.spectrum(WIDEST, v).at(SPOTS_A) ** 2).sum()

    same = gram.spectrum(ABERRATED).at(SPOTS_A)
    assert torch.allclose(gram.spectrum(WIDEST, vector).at(SPOTS_A), same, rtol=1e-9)
    (slope,) = torch.autograd.grad(brightness(vector), vector)
    for k in range(vector.shape[0]):
        step = torch.zeros_like(vector)
        step[k] = 1e-4 * max(1.0, abs(float(vector[k].detach())))
        difference = (brightness(vector + step) - brightness(vector - step)) / (2 * step[k])
        assert float(slope[k]) == pytest.approx(float(difference.detach()), rel=1e-4)


def test_a_crystal_of_one_cell_equals_all_its_cells_together():
    cell = potentials()[0]
    whole = Gram.of([cell.repeated((2, 3))], WIDEST, RINGS).spectrum(ABERRATED)
    bloch = Gram.of([cell], WIDEST, RINGS, repeats=(2, 3))
    assert bloch.beams.n > 4 * Gram.of([cell], WIDEST, RINGS).beams.n
    assert bloch.pairs.shape[1] < 0.2 * bloch.beams.n**2 / 2
    found, expected = bloch.spectrum(ABERRATED).at(SPOTS_A), whole.at(SPOTS_A)
    assert torch.allclose(found, expected, rtol=1e-9)
    alone = Gram.of([cell], WIDEST, RINGS).spectrum(ABERRATED).at(SPOTS_A)
    assert not torch.allclose(found, alone, rtol=1e-3)


def test_what_has_no_inner_products_is_refused():
    with pytest.raises(ArgumentError, match="detectors"):
        Gram.of(potentials(), WIDEST, {})
    with pytest.raises(ArgumentError, match="potentials"):
        Gram.of([], WIDEST, RINGS)
    with pytest.raises(ArgumentError, match="one grid"):
        Gram.of([*potentials(), project(ATOMS, sampling_A=0.2, compute=DOUBLE)], WIDEST, RINGS)
    with pytest.raises(ArgumentError, match="repeats"):
        Gram.of(potentials(), WIDEST, RINGS, repeats=(0, 1))
    gram = Gram.of(potentials(), WIDEST, RINGS)
    with pytest.raises(ArgumentError, match="semiangle"):
        gram.spectrum(Probe(100.0, 30.0))
    with pytest.raises(ArgumentError, match="energy"):
        gram.spectrum(Probe(80.0, 20.0))
