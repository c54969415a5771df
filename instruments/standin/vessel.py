"""The transfer vessel between twins: a folder in which a sample is at exactly one place.

A sample on its way is one file, `held/SAMPLE.npz`; on a stage it is one file of that stage. Giving and
taking are one rename each, so at no moment, whoever is killed, are there two of a sample or none.
A receipt is written before the rename and names the file that will be renamed: whether it is still
there, or there already, says afterwards whether the command of that key has happened.

    vessel/held/s1.npz               s1 is in the vessel
    vessel/receipts/DIGEST.json      one for each give and each take
    STAGE/s1.DIGEST.npz              s1 is on that stage

All folders lie on one file system, where a rename is atomic.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from twinloop.errors import LabError
from twinloop.ids import canonical_json, digest_of
from twinloop.log.durable import sync_folder, write_whole
from twinloop.simulators.specimen import Specimen

__all__ = ["Stage", "Vessel", "VesselRefused"]

CAPACITY = 12
"""Samples that a vessel holds."""


class VesselRefused(LabError):
    """The vessel cannot take or give this sample; nothing has happened."""

    def __init__(self, sample: str, found: str, allowed: str) -> None:
        self.sample, self.found, self.allowed = sample, found, allowed
        super().__init__(f"transfer vessel, sample {sample}: {found}; allowed: {allowed}")


@dataclass(frozen=True, slots=True)
class Stage:
    """The place of one sample in one instrument.

    Args:
        folder: of the instrument; made when it is not there.

    Example:
        >>> import tempfile
        >>> Stage(Path(tempfile.mkdtemp()) / "stm").sample() is None
        True
    """

    folder: Path

    def file(self) -> Path | None:
        """Return the file of the sample that is on it."""
        return next((p for p in sorted(self.folder.glob("*.npz"))), None)

    def sample(self) -> str | None:
        """Return the name of the sample that is on it."""
        file = self.file()
        return None if file is None else file.name.rsplit(".", 2)[0]

    def read(self) -> Specimen | None:
        """Return the sample that is on it."""
        file = self.file()
        return None if file is None else Specimen.from_bytes(file.read_bytes())

    def write(self, specimen: Specimen, key: str) -> None:
        """Keep the sample as it is now: a new one, mounted by `key`, or one that has changed.

        Raises:
            OSError: the disk refused; what was kept is as it was.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.file() or self.place(specimen.name, key), specimen.to_bytes())

    def clear(self) -> None:
        """Forget what was written here of a sample that never left."""
        for file in self.folder.glob("*.npz"):
            file.unlink()

    def place(self, sample: str, key: str) -> Path:
        """Return the file in which a sample lies that this command key brings."""
        return self.folder / f"{sample}.{_digest(key)}.npz"


class Vessel:
    """A transfer vessel; every twin that names the same folder shares it.

    Args:
        folder: of the vessel; made when it is not there.

    Example:
        >>> import tempfile, numpy as np
        >>> from twinloop.simulators.film_structure import FilmStructure
        >>> here = Path(tempfile.mkdtemp())
        >>> vessel, chamber, stm = Vessel(here / "v"), Stage(here / "mbe"), Stage(here / "stm")
        >>> chamber.write(Specimen("s1", 7, FilmStructure.flat(4)), "run/t1/0/0")
        >>> vessel.give("run/t1/4/0", chamber)
        >>> vessel.held(), chamber.sample()
        (['s1'], None)
        >>> vessel.take("run/t1/5/0", "s1", stm).name, vessel.held(), stm.sample()
        ('s1', [], 's1')
        >>> vessel.has_happened("run/t1/4/0"), vessel.has_happened("run/t1/5/0")
        (True, True)
    """

    def __init__(self, folder: Path) -> None:
        self._held, self._receipts = folder / "held", folder / "receipts"
        for part in (self._held, self._receipts):
            part.mkdir(parents=True, exist_ok=True)

    def held(self) -> list[str]:
        """Return the names of the samples in it."""
        return sorted(path.stem for path in self._held.glob("*.npz"))

    def give(self, key: str, stage: Stage) -> None:
        """Move what is on a stage into the vessel, once for each command key.

        Raises:
            VesselRefused: nothing is on the stage, a sample of that name is in already, or the
                vessel is full; nothing has happened.
            OSError: the disk refused; ask `has_happened`.
        """
        if self.has_happened(key):
            return
        source, sample = stage.file(), stage.sample()
        held = self.held()
        if source is None or sample is None:
            raise VesselRefused("none", "nothing is on the stage", "a sample on the stage")
        if sample in held:
            raise VesselRefused(sample, "one of that name is in", "one sample of a name")
        if len(held) >= CAPACITY:
            raise VesselRefused(sample, f"{len(held)} samples are in", f"{CAPACITY} at most")
        self._withdraw(source)
        # A name of its own: the receipt of this give can be told from that of any other.
        leaving = stage.place(sample, key)
        os.replace(source, leaving)  # noqa: PTH105 - the same on Windows and POSIX
        self._receive(key, "give", leaving)
        self._move(leaving, self._held / f"{sample}.npz")

    def take(self, key: str, sample: str, stage: Stage) -> Specimen:
        """Move a sample from the vessel to a stage, once for each command key; return it.

        Raises:
            VesselRefused: another sample is on the stage, or the vessel does not hold this one;
                nothing has happened.
            OSError: the disk refused; ask `has_happened`.
        """
        there = stage.sample()
        source, target = self._held / f"{sample}.npz", stage.place(sample, key)
        if not self.has_happened(key):
            if there is not None:
                raise VesselRefused(sample, f"{there} is on the stage", "an empty stage")
            if not source.is_file():
                inside = ", ".join(self.held()) or "nothing"
                raise VesselRefused(sample, f"it holds {inside}", "a sample that another has given")
            stage.folder.mkdir(parents=True, exist_ok=True)
            self._receive(key, "take", target)
            self._move(source, target)
            self._receive(key, "taken", target)
        specimen = stage.read()
        if specimen is None or specimen.name != sample:
            raise VesselRefused(sample, "it has gone on since", "a take that is still the last")
        return specimen

    def has_happened(self, key: str) -> bool:
        """Return whether the give or take of this command key has moved its sample."""
        receipt = self._receipts / f"{_digest(key)}.json"
        if not receipt.is_file():
            return False
        body = json.loads(receipt.read_text("utf-8"))
        is_there = Path(body["file"]).is_file()
        return body["what"] == "taken" or (is_there if body["what"] == "take" else not is_there)

    def settle(self, stage: Stage) -> None:
        """Complete the receipts of a stage whose instrument died; called before anything else.

        A take that has moved its sample gets its last receipt, since the file will go on.
        """
        file = stage.file()
        if file is None:
            return
        for receipt in self._receipts.glob("*.json"):
            body = json.loads(receipt.read_text("utf-8"))
            if body["what"] == "take" and Path(body["file"]) == file:
                self._receive(body["key"], "taken", file)

    def _withdraw(self, source: Path) -> None:
        """Forget gives that came as far as their receipt: this file is still here."""
        for receipt in self._receipts.glob("*.json"):
            body = json.loads(receipt.read_text("utf-8"))
            if body["what"] == "give" and Path(body["file"]) == source:
                receipt.unlink()

    def _receive(self, key: str, what: str, file: Path) -> None:
        body = {"key": key, "what": what, "file": str(file)}
        write_whole(self._receipts / f"{_digest(key)}.json", canonical_json(body))

    @staticmethod
    def _move(source: Path, target: Path) -> None:
        os.replace(source, target)  # noqa: PTH105 - the same on Windows and POSIX
        sync_folder(target.parent)
        sync_folder(source.parent)


def _digest(key: str) -> str:
    return digest_of(key.encode())[:24]
