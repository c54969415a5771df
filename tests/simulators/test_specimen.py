"""A sample as bytes: it comes back as it was, without pickle, and damage is noticed."""

import io
import json

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.specimen import Event, Specimen
from twinloop.simulators.structure import AtomicStructure


def film():
    heights = np.arange(16, dtype=np.int32).reshape(4, 4) % 3
    return FilmStructure(heights, np.array([0.25, 1.0]), 0.5)


def grown():
    specimen = Specimen("c-0001", 7, film(), dose_e_per_A2=12.5)
    return specimen.with_event("grow", "mbe", "c/t1/2/0", dose_ML=2.5, substrate_K=850.0)


def atoms():
    return AtomicStructure.of([31, 33], [[0, 0, 0], [1, 2, 3]], (3.0, 4.0, 5.0), [0.09, 0.08])


def test_a_film_comes_back_as_it_was():
    specimen = grown().with_event("give", "mbe", "c/t1/3/0")
    again = Specimen.from_bytes(specimen.to_bytes())
    assert (again.name, again.seed, again.dose_e_per_A2) == ("c-0001", 7, 12.5)
    assert again.history == specimen.history
    assert again.history[0] == Event(
        "grow", "mbe", "c/t1/2/0", {"dose_ML": 2.5, "substrate_K": 850.0}
    )
    np.testing.assert_array_equal(again.film.heights_ML, film().heights_ML)
    assert again.film.heights_ML.dtype == np.int32
    np.testing.assert_array_equal(again.film.aluminium, [0.25, 1.0])
    assert again.film.mixing_ML == 0.5


def test_atoms_come_back_as_they_were():
    again = Specimen.from_bytes(Specimen("gold", 2**63 - 1, atoms()).to_bytes())
    assert again.seed == 2**63 - 1
    for name, array in atoms().to_arrays().items():
        np.testing.assert_array_equal(getattr(again.atoms, name), array)


def test_the_same_specimen_is_the_same_bytes():
    assert grown().to_bytes() == grown().to_bytes()


def test_a_film_is_not_taken_for_atoms_nor_atoms_for_a_film():
    with pytest.raises(ArgumentError, match="found 'a grown film', allowed: atoms"):
        _ = grown().atoms
    with pytest.raises(ArgumentError, match="found 'atoms in a box', allowed: a grown"):
        _ = Specimen("gold", 1, atoms()).film


def test_an_event_leaves_the_specimen_before_it_as_it_was():
    before = grown()
    after = before.with_event("take", "stm", "c/t1/4/0")
    assert len(before.history) == 1
    assert [event.what for event in after.history] == ["grow", "take"]


def test_random_numbers_belong_to_the_specimen_and_to_their_purpose():
    first = grown().random("sites").random(4)
    np.testing.assert_array_equal(first, grown().random("sites").random(4))
    assert (first != grown().random("tip").random(4)).all()
    assert (first != Specimen("c-0001", 8, film()).random("sites").random(4)).all()


def test_nothing_is_pickled():
    """An object array would be, if numpy were allowed to."""
    broken = film()
    object.__setattr__(broken, "aluminium", np.array([1.0, "x"], dtype=object))
    with pytest.raises(ArgumentError, match=r"sample s\.aluminium"):
        Specimen("s", 1, broken).to_bytes()


ABOUT = {"name": "s", "seed": 1, "kind": "film", "dose_e_per_A2": 0.0, "history": []}
ABOUT_BYTES = np.frombuffer(json.dumps(ABOUT).encode(), dtype=np.uint8)


class Speaks:
    """Says something when it is unpickled."""

    def __reduce__(self):
        return print, ("somebody read a pickle",)


def test_pickled_bytes_are_refused_unread(capsys):
    for place in ("about", "aluminium"):
        file = io.BytesIO()
        spoilt = {place: np.array([Speaks()], dtype=object)}
        np.savez(file, **({"about": ABOUT_BYTES} | film().to_arrays() | spoilt))
        with pytest.raises(ArgumentError, match="npz file"):
            Specimen.from_bytes(file.getvalue())
    assert capsys.readouterr().out == ""


def npz_of(about, **arrays):
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    np.savez(file, about=text, **(film().to_arrays() | arrays))
    return file.getvalue()


@pytest.mark.parametrize(
    "about",
    [
        ABOUT | {"kind": "liquid"},
        {k: v for k, v in ABOUT.items() if k != "history"},
        {k: v for k, v in ABOUT.items() if k != "name"},
        ABOUT | {"history": [{"what": "grow"}]},
        ABOUT | {"history": [{"what": "g", "where": "m", "key": "k", "surprise": 1}]},
        [],
    ],
)
def test_a_file_that_tells_of_no_specimen_is_refused(about):
    assert Specimen.from_bytes(npz_of(ABOUT)).name == "s"
    with pytest.raises(ArgumentError):
        Specimen.from_bytes(npz_of(about))


def test_a_file_with_an_impossible_structure_is_refused():
    with pytest.raises(ArgumentError):
        Specimen.from_bytes(npz_of(ABOUT, aluminium=np.array([2.0])))


def test_a_file_that_was_cut_is_refused_wherever_it_was_cut():
    whole = grown().to_bytes()
    for length in range(0, len(whole), 7):
        with pytest.raises(ArgumentError):
            Specimen.from_bytes(whole[:length])


def test_a_damaged_byte_is_noticed_or_changes_nothing():
    """Checksums of the container cover the contents; what they leave out carries no meaning."""
    specimen = grown()
    whole = bytearray(specimen.to_bytes())
    rng = np.random.default_rng(11)
    for place in range(0, len(whole), 3):
        damaged = whole.copy()
        damaged[place] ^= int(rng.integers(1, 256))
        try:
            again = Specimen.from_bytes(bytes(damaged))
        except ArgumentError:
            continue
        assert again.history == specimen.history
        assert (again.name, again.seed) == (specimen.name, specimen.seed)
        np.testing.assert_array_equal(again.film.heights_ML, specimen.film.heights_ML)
        np.testing.assert_array_equal(again.film.aluminium, specimen.film.aluminium)


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive at all", b"\x93NUMPY" + bytes(200)])
def test_bytes_of_something_else_are_refused(data):
    with pytest.raises(ArgumentError, match="specimen"):
        Specimen.from_bytes(data)


def test_a_lone_array_is_refused():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    with pytest.raises(ArgumentError):
        Specimen.from_bytes(file.getvalue())
