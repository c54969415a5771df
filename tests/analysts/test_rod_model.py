"""The analyst's own model against the simulator's, which shares no line with it."""

import numpy as np
import pytest

from twinloop.analysts import rod_model
from twinloop.analysts.rod_model import FilmShape, RodModel, coherent_spacing_A, layer_parts
from twinloop.simulators.film_structure import FilmStructure, film_monolayer_A
from twinloop.simulators.xrd.film import Optics, expected_counts_per_s
from twinloop.simulators.xrd.grown_film import planes_of_film
from twinloop.simulators.xrd.scattering_factors import scattering_factors


@pytest.mark.parametrize(
    ("number", "atom"),
    [(31, rod_model.GALLIUM), (13, rod_model.ALUMINIUM), (33, rod_model.ARSENIC)],
)
def test_atoms_scatter_as_the_simulators_tables_say(number, atom):
    q = np.linspace(1.8, 5.0, 30)
    ours = rod_model._f(atom, (q / (4 * np.pi)) ** 2)
    assert ours == pytest.approx(scattering_factors([number], q)[0], abs=1e-6)


@pytest.mark.parametrize("aluminium", [0.0, 0.3, 1.0])
def test_the_spacing_is_the_simulators(aluminium):
    theirs = film_monolayer_A(np.array([aluminium]))[0]
    assert coherent_spacing_A(aluminium) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("span_deg", [(26.0, 31.0), (32.3, 38.0), (60.0, 65.0)])
@pytest.mark.parametrize("mixing_ML", [0.0, 0.9])
def test_scans_have_the_simulators_shape(span_deg, mixing_ML):
    angles = np.arange(*span_deg, 0.05)
    truth = FilmStructure.flat(4, 14, aluminium=0.7)
    truth = FilmStructure(truth.heights_ML, truth.aluminium, mixing_ML)
    theirs = expected_counts_per_s(planes_of_film(truth), angles, Optics(1e7, 0.0))
    film = FilmShape(14.0, 0.0, mixing_ML, 0.7, coherent_spacing_A(0.7))
    ours = RodModel(angles, 1.540593, 0.0015).intensity(film)
    scale = theirs.sum() / ours.sum()
    assert scale * ours == pytest.approx(theirs, rel=0.03, abs=0.01 * theirs.max())


@pytest.mark.parametrize("thickness_ML", [0.4, 7.3, 20.0])
@pytest.mark.parametrize("blur_ML", [0.0, 0.5, 1.7])
def test_layers_hold_the_material_that_was_asked_for(thickness_ML, blur_ML):
    parts = layer_parts(thickness_ML, blur_ML)
    # where the blur reaches below the substrate's surface some is lost, as it is nowhere else
    lost = 0.0 if thickness_ML > 4 * blur_ML else 0.6
    assert parts.sum() == pytest.approx(thickness_ML, abs=1e-3 + lost)
    assert (np.diff(parts) <= 1e-12).all()
    assert parts.max() <= 1.0 + 1e-12


def test_without_blur_a_film_is_full_layers_and_a_part():
    assert layer_parts(3.25, 0.0)[:5] == pytest.approx([1, 1, 1, 0.25, 0], abs=1e-3)
