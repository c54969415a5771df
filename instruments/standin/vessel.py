"""The transfer vessel between twins: a folder in which a sample is at exactly one place.

A sample on its way is one file, `held/SAMPLE.npz`; on a stage it is one file of that stage. Giving and
taking are one rename each, so at no moment, whoever is killed, are there two of a sample or none.
A receipt is written before the rename and names the file that will be renamed: whether it is still
there, or there already, says afterwards whether the command of that key has happened. A file on a
stage carries the digest of the key that named it last, so its receipt is found without a search.

    vessel/held/s1.npz               s1 is in the vessel
    vessel/receipts/DIGEST.json      one for each give and each take
    STAGE/s1.DIGEST.npz              s1 is on that stage

All folders lie on one file system, where a rename is atomic. Receipts name files as seen from the
vessel, so that a run folder may be moved as a whole.
"""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinloop.errors import ArgumentError, LabError
from twinloop.ids import canonical_json, digest_of
from twinloop.log.durable import sync_folder, write_whole
from twinloop.simulators.specimen import Specimen

__all__ = ["Stage", "Vessel", "VesselRefused"]

CAPACITY = 500
"""Samples that a vessel holds, with the rack beside it."""


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
            ArgumentError: another sample is on it.
            OSError: the disk refused; what was kept is as it was.
        """
        there = self.sample()
        if there not in {None, specimen.name}:
            raise ArgumentError(f"stage {self.folder}", specimen.name, f"{there}, which is on it")
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
        self._folder = folder.resolve()
        self._held, self._receipts = self._folder / "held", self._folder / "receipts"
        for part in (self._held, self._receipts):
            part.mkdir(parents=True, exist_ok=True)

    def check_reach(self, folder: Path) -> None:
        """Try whether a sample can move between the vessel and a folder that exists.

        Raises:
            ArgumentError: it cannot.
        """
        probe = folder / f"reach.{os.getpid()}.{os.urandom(4).hex()}"
        arrived = self._held / probe.name
        try:
            probe.touch()
            os.replace(probe, arrived)  # noqa: PTH105 - the same on Windows and POSIX
        except OSError as err:
            allowed = f"a folder on the file system of {folder}: samples move by a rename ({err})"
            raise ArgumentError("vessel", str(self._folder), allowed) from err
        finally:
            probe.unlink(missing_ok=True)
            arrived.unlink(missing_ok=True)

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
        # the file will get another name, and a take is known by this one until then
        self.settle(stage)
        source, sample = stage.file(), stage.sample()
        held = self.held()
        if source is None or sample is None:
            raise VesselRefused("none", "nothing is on the stage", "a sample on the stage")
        # Windows and macOS know one file "s1" and "S1"
        if sample.casefold() in {name.casefold() for name in held}:
            raise VesselRefused(sample, "one of that name is in", "one sample of a name")
        if len(held) >= CAPACITY:
            allowed = f"{CAPACITY} at most; files that nobody needs may go from {self._held}"
            raise VesselRefused(sample, f"{len(held)} samples are in", allowed)
        self._withdraw(stage)
        # A name of its own: the receipt of this give can be told from that of any other.
        leaving = stage.place(sample, key)
        os.replace(source, leaving)  # noqa: PTH105 - the same on Windows and POSIX
        # a receipt on the disk for a name that is not would say that the sample has left
        sync_folder(stage.folder)
        self._receive(key, "give", leaving)
        self._move(sample, leaving, self._held / f"{sample}.npz")

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
            if sample not in self.held():
                inside = ", ".join(self.held()) or "nothing"
                found = f"{self._folder} holds {inside}"
                raise VesselRefused(sample, found, "a sample that another has given")
            stage.folder.mkdir(parents=True, exist_ok=True)
            self._receive(key, "take", target)
            self._move(sample, source, target)
            self._receive(key, "taken", target)
        specimen = stage.read()
        if specimen is None or specimen.name != sample:
            raise VesselRefused(sample, "it has gone on since", "a take that is still the last")
        return specimen

    def has_happened(self, key: str) -> bool:
        """Return whether the give or take of this command key has moved its sample."""
        receipt = self._receipt(_digest(key))
        if receipt is None:
            return False
        is_there = self._file_of(receipt).is_file()
        return receipt["what"] == "taken" or (
            is_there if receipt["what"] == "take" else not is_there
        )

    def settle(self, stage: Stage) -> str | None:
        """Complete the receipts of a stage whose instrument died; called before anything else.

        A take that has moved its sample gets its last receipt, since the file will go on.

        Returns:
            Key of the take that brought what is on the stage; None: no take of this vessel, or the
            file has another name since.
        """
        file, receipt = self._receipt_on(stage)
        if file is None or receipt is None or receipt["what"] == "give":
            return None
        key = str(receipt["key"])
        if receipt["what"] == "take":
            self._receive(key, "taken", file)
        return key

    def clear(self, stage: Stage) -> None:
        """Forget what was written on a stage of a sample that never left it."""
        self._withdraw(stage)
        stage.clear()

    def _withdraw(self, stage: Stage) -> None:
        """Forget a give that came as far as its receipt: its file is still on the stage."""
        _, receipt = self._receipt_on(stage)
        if receipt is not None and receipt["what"] == "give":
            self._path(_digest(str(receipt["key"]))).unlink()
            sync_folder(self._receipts)

    def _receipt_on(self, stage: Stage) -> tuple[Path | None, dict[str, Any] | None]:
        """Return the file on a stage, and the receipt of the key that named it, if there is one."""
        file = stage.file()
        if file is None:
            return None, None
        receipt = self._receipt(file.name.rsplit(".", 2)[1])
        is_of_file = receipt is not None and self._file_of(receipt).resolve() == file.resolve()
        return file, receipt if is_of_file else None

    def _receipt(self, digest: str) -> dict[str, Any] | None:
        try:
            text = self._path(digest).read_text("utf-8")
        except FileNotFoundError:
            return None
        receipt: dict[str, Any] = json.loads(text)
        return receipt

    def _path(self, digest: str) -> Path:
        return self._receipts / f"{digest}.json"

    def _file_of(self, receipt: dict[str, Any]) -> Path:
        return self._folder / str(receipt["file"])

    def _receive(self, key: str, what: str, file: Path) -> None:
        seen = os.path.relpath(file.resolve(), self._folder)
        body = {"key": key, "what": what, "file": seen}
        write_whole(self._path(_digest(key)), canonical_json(body))

    def _move(self, sample: str, source: Path, target: Path) -> None:
        try:
            os.replace(source, target)  # noqa: PTH105 - the same on Windows and POSIX
        except OSError as err:
            if err.errno != errno.EXDEV:
                raise
            found = f"{target.parent} is on another file system than {source.parent}"
            raise VesselRefused(sample, found, "vessel and stages on one file system") from err
        sync_folder(target.parent)
        sync_folder(source.parent)


def _digest(key: str) -> str:
    return digest_of(key.encode())[:24]
