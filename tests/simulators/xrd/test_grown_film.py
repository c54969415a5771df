"""The planes of a grown film against its atoms, one by one."""

import numpy as np
import pytest

from twinloop.simulators.film_structure import (
    ALAS_A,
    GAAS_A,
    MONOLAYER_A,
    FilmStructure,
)
from twinloop.simulators.xrd.film import FilmOnSubstrate, PlaneStack
from twinloop.simulators.xrd.grown_film import planes_of_film
from twinloop.simulators.xrd.scattering_factors import debye_waller, scattering_factors


def rough_film(size=48, mixing_ML=0.0, aluminium=1.0):
    heights = np.random.default_rng(5).integers(9, 13, size=(size, size)).astype(np.int32)
    return FilmStructure(heights, np.array([aluminium]), mixing_ML)


@pytest.mark.parametrize("mixing_ML", [0.0, 0.8])
def test_planes_scatter_as_the_sum_over_all_atoms_of_the_film(mixing_ML):
    film = rough_film(mixing_ML=mixing_ML)
    depth = 8
    atoms = film.section(
        row=0, column=0, width_sites=48, depth_sites=48, substrate_layers=depth, seed=1
    )
    q = np.linspace(1.9, 4.8, 60)
    kinds, which = np.unique(atoms.numbers, return_inverse=True)
    rms = np.array([atoms.rms_A[which == kind][0] for kind in range(kinds.size)])
    f = scattering_factors(kinds, q) * debye_waller(q, rms)
    up_A = atoms.positions_A[:, 1] - atoms.positions_A[:, 1].min()
    total = np.zeros(q.size, dtype=complex)
    for kind in range(kinds.size):
        total += f[kind] * np.exp(1j * np.outer(q, up_A[which == kind])).sum(axis=1)
    total /= 48 * 48
    planes = planes_of_film(film, substrate_layers=depth).film
    planes = PlaneStack.of(
        planes.z_A - planes.z_A.min(), planes.numbers, planes.occupancy, planes.rms_A
    )
    # which site holds aluminium is drawn, hence the tolerance where the film is mixed
    found = planes.amplitude(q)
    assert np.abs(found - total).max() < (0.02 if mixing_ML == 0 else 0.05) * np.abs(total).max()


def test_layers_told_one_by_one_are_the_bulk_that_they_replace():
    q = np.linspace(1.9, 2.15, 40)
    film = FilmStructure.flat(4, 10)
    few, many = (planes_of_film(film, substrate_layers=n) for n in (0, 30))
    assert many.reflectivity(q) == pytest.approx(few.reflectivity(q), rel=2e-3)


def test_a_film_of_gallium_arsenide_is_not_seen():
    q = np.linspace(1.9, 2.15, 40)
    bare, grown = (planes_of_film(FilmStructure.flat(4, n, aluminium=0.0)) for n in (0, 25))
    assert grown.reflectivity(q) == pytest.approx(bare.reflectivity(q), rel=2e-3)


def test_aluminium_arsenide_stands_as_far_below_the_substrate_as_elasticity_says():
    # (004): -2 C12 / C11 times the mismatch on top of the mismatch; Hornstra & Bartels 1978.
    mismatch = (ALAS_A - GAAS_A) / GAAS_A
    strain = mismatch * (1 + 2 * 534 / 1250)
    n = 400
    q = np.linspace(4.40, 4.47, 20001)
    film = planes_of_film(FilmStructure.flat(4, n)).film
    peak = q[np.abs(film.amplitude(q)).argmax()]
    assert peak == pytest.approx(4 * np.pi / (MONOLAYER_A * (1 + strain)), rel=1e-4)


def test_the_002_of_the_film_outshines_that_of_the_substrate():
    # gallium and arsenic nearly cancel, aluminium and arsenic do not
    q = np.array([2 * np.pi / MONOLAYER_A])
    layer = planes_of_film(FilmStructure.flat(4, 1, aluminium=1.0)).film
    cell = planes_of_film(FilmStructure.flat(4, 1)).cell
    assert abs(layer.amplitude(q)[0]) > 5 * abs(cell.amplitude(q)[0])


def test_absorption_is_that_of_gallium_arsenide():
    # about 350 1/cm at 8.05 keV: mu/rho of Ga 62 and As 73 cm^2/g (NIST), density 5.32 g/cm^3
    sample: FilmOnSubstrate = planes_of_film(FilmStructure.flat(4, 1))
    assert 1e8 * sample.absorption_per_A == pytest.approx(350, rel=0.1)
