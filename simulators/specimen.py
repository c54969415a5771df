"""A sample as it is: its identity, its structure, its history. The hidden truth of every twin.

A specimen is grown in one twin, put into a transfer vessel, taken out by another, and is still the
same. Only twins read it (an import contract keeps it from everybody else); what instruments measure
of it is all that a campaign knows.

Example:
    >>> film = FilmStructure(np.zeros((4, 4), np.int32), np.array([1.0]))
    >>> grown = Specimen("s1", 7, film).with_event("grow", "mbe", "run/t0001/2/0", dose_ML=4.0)
    >>> again = Specimen.from_bytes(grown.to_bytes())
    >>> again.name, again.history[0].what, again.history[0].numbers["dose_ML"]
    ('s1', 'grow', 4.0)
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.ids import seed_of
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.structure import AtomicStructure

__all__ = ["Event", "Specimen", "Structure"]

Structure = FilmStructure | AtomicStructure
_KINDS: dict[str, type[FilmStructure] | type[AtomicStructure]] = {
    "film": FilmStructure,
    "atoms": AtomicStructure,
}
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy, zipfile and json raise for bytes that are no specimen, or no longer one."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened to a specimen.

    Args:
        what: the action ("grow").
        where: the instrument.
        key: of the command.
        numbers: what is to be remembered of it, in the units of the names.
    """

    what: str
    where: str
    key: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Specimen:
    """One sample.

    Args:
        name: its identity, the same in every instrument.
        seed: of whatever is drawn for it: which site holds which atom, where a tip meets it.
        structure: what it is now.
        history: what has happened to it, in order.
        dose_e_per_A2: electrons that it has had from a microscope [e/A^2].
    """

    name: str
    seed: int
    structure: Structure
    history: tuple[Event, ...] = ()
    dose_e_per_A2: float = 0.0

    @property
    def film(self) -> FilmStructure:
        """The structure of a film.

        Raises:
            ArgumentError: it is no film.
        """
        if not isinstance(self.structure, FilmStructure):
            raise ArgumentError(f"sample {self.name}", "atoms in a box", "a grown film")
        return self.structure

    @property
    def atoms(self) -> AtomicStructure:
        """The atoms of a specimen that is no film.

        Raises:
            ArgumentError: it is a film: cut a lamella of it (`FilmStructure.section`).
        """
        if not isinstance(self.structure, AtomicStructure):
            raise ArgumentError(f"sample {self.name}", "a grown film", "atoms in a box")
        return self.structure

    def with_event(self, what: str, where: str, key: str, **numbers: float) -> "Specimen":
        """Return the specimen with one more event in its history."""
        return replace(self, history=(*self.history, Event(what, where, key, numbers)))

    def random(self, *what: Any) -> np.random.Generator:
        """Return random numbers that belong to this specimen and to `what`."""
        return np.random.default_rng(seed_of(self.seed, *what))

    def to_bytes(self) -> bytes:
        """Return the specimen as the bytes of an npz file, without pickle.

        Raises:
            ArgumentError: an array of objects, which numpy would pickle.
        """
        kind = next(k for k, cls in _KINDS.items() if isinstance(self.structure, cls))
        about = {
            "name": self.name,
            "seed": self.seed,
            "kind": kind,
            "dose_e_per_A2": self.dose_e_per_A2,
            "history": [asdict(event) for event in self.history],
        }
        text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        file = io.BytesIO()
        arrays: dict[str, NDArray[Any]] = self.structure.to_arrays()
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise ArgumentError(f"sample {self.name}.{name}", array.dtype, "numbers")
        np.savez_compressed(file, about=text, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Specimen":
        """Return the specimen that `to_bytes` wrote.

        Raises:
            ArgumentError: bytes that are no specimen.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as kept:
                about = json.loads(kept["about"].tobytes())
                structure = _KINDS[about["kind"]].from_arrays(kept)
            history = tuple(Event(**event) for event in about["history"])
            return cls(about["name"], about["seed"], structure, history, about["dose_e_per_A2"])
        except _DAMAGE as err:
            raise ArgumentError("specimen", f"{len(data)} bytes", f"an npz file ({err})") from err
