import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.film_structure import MONOLAYER_A, FilmStructure
from twinloop.simulators.specimen import Specimen
from twinloop.simulators.stem.stock import cut_lamella, origin_of, reference_specimen


@pytest.mark.parametrize(
    ("sort", "elements"),
    [
        ("graphene_defects", {6, 14}),
        ("mos2", {16, 42}),
        ("srtio3", {8, 22, 38}),
        ("mos2_bilayer", {16, 42}),
    ],
)
def test_each_sort_holds_its_elements_and_is_the_same_for_the_same_seed(sort, elements):
    first, again, other = (reference_specimen(sort, "s1", seed) for seed in (1, 1, 2))
    assert set(first.atoms.numbers) == elements
    np.testing.assert_array_equal(first.atoms.positions_A, again.atoms.positions_A)
    assert first.seed != other.seed


def test_another_sort_is_refused():
    with pytest.raises(ArgumentError, match="graphene_defects"):
        reference_specimen("wood", "s1", 0)


def test_cutting_a_lamella_uses_the_film_up_and_says_so():
    film = Specimen("s1", 3, FilmStructure.flat(32, 5))
    lamella = cut_lamella(film, "stem", "run/t1/0/0")
    event = lamella.history[-1]
    assert event.what == "cut_lamella"
    assert event.numbers["coverage_ML"] == 5.0
    assert lamella.name == "s1"
    # 5 layers of AlAs and 40 of GaAs, one cation each 3.9975 A
    kinds = dict(zip(*np.unique(lamella.atoms.numbers, return_counts=True), strict=True))
    assert kinds[13] / kinds[31] == pytest.approx(5 / 40)
    assert kinds[33] == kinds[13] + kinds[31]
    with pytest.raises(ArgumentError, match="grown film"):
        cut_lamella(lamella, "stem", "run/t1/1/0")


def test_whoever_mounts_a_lamella_has_its_surface_in_view():
    lamella = cut_lamella(Specimen("s1", 3, FilmStructure.flat(32, 5)), "stem", "run/t1/0/0")
    surface_A = lamella.atoms.positions_A[:, 1].max()
    assert origin_of(lamella)[1] == pytest.approx(surface_A - 25.0, abs=2 * MONOLAYER_A)
    sheet = reference_specimen("mos2", "s2", 0)
    assert origin_of(sheet)[0] == pytest.approx(0.5 * sheet.atoms.cell_A[0])
