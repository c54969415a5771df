"""The spool: arrays of results on the adapter's own disk until the campaign's journal has them.

An array is fsynced before its result is written to the ledger, and dropped only after the outcome is
acknowledged. The limit stops new actions, never an array of an action that has happened.
"""

import os
import shutil
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from twinloop.errors import LabError
from twinloop.ids import CommandKey, canonical_json, digest_of
from twinloop.messages import ArrayRef
from twinloop.results import Array
from twinloop.wire.arrays import as_bytes, describe

__all__ = ["DiskSpool", "MemorySpool", "Spool", "SpoolFailed"]

_KEY_DIGITS = 32


class SpoolFailed(LabError):
    """The spool could not keep or give an array."""

    def __init__(self, key: str, detail: str) -> None:
        self.key, self.detail = key, detail
        super().__init__(f"spool, arrays of {key}: {detail}; free or mend the adapter's disk")


class Spool(Protocol):
    """Keeps arrays by command key; any thread may use it."""

    @property
    def used_bytes(self) -> int:
        """Return how much it holds [byte]."""
        ...

    def store(self, key: CommandKey, arrays: Mapping[str, Array]) -> tuple[ArrayRef, ...]:
        """Keep arrays durably and return their descriptions.

        Raises:
            SpoolFailed: the disk refuses.
        """
        ...

    def load(self, key: CommandKey, ref: ArrayRef) -> bytes:
        """Return the bytes of an array.

        Raises:
            SpoolFailed: it is not there, or damaged.
        """
        ...

    def drop(self, key: CommandKey) -> None:
        """Let go of the arrays of a key."""
        ...

    def retain(self, keys: Collection[CommandKey]) -> None:
        """Let go of all but these: what a crash has left behind."""
        ...


class DiskSpool:
    """One folder for each key, one file for each array, named by its digest.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._used_bytes = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())

    @property
    def used_bytes(self) -> int:
        """Return how much lies in the folder [byte]."""
        return self._used_bytes

    def store(self, key: CommandKey, arrays: Mapping[str, Array]) -> tuple[ArrayRef, ...]:
        """Write, fsync and name arrays; an array that is there already is left alone.

        Raises:
            SpoolFailed: the disk refuses.
            FrameError: not a numeric array.
        """
        refs = tuple(describe(name, array) for name, array in arrays.items())
        home = self._home(key)
        try:
            with self._lock:
                if refs:
                    home.mkdir(exist_ok=True)
                for ref, array in zip(refs, arrays.values(), strict=True):
                    self._write(home / ref.digest, as_bytes(array))
                if refs:
                    _sync_folder(home)
                    _sync_folder(self._folder)
        except OSError as err:
            raise SpoolFailed(str(key), str(err)) from err
        return refs

    def load(self, key: CommandKey, ref: ArrayRef) -> bytes:
        """Read an array back and check it.

        Raises:
            SpoolFailed: it is not there, or damaged.
        """
        try:
            data = (self._home(key) / ref.digest).read_bytes()
        except OSError as err:
            raise SpoolFailed(str(key), str(err)) from err
        if digest_of(data) != ref.digest:
            raise SpoolFailed(str(key), f"array {ref.name!r} is damaged")
        return data

    def drop(self, key: CommandKey) -> None:
        """Delete the folder of a key."""
        self._delete(self._home(key))

    def retain(self, keys: Collection[CommandKey]) -> None:
        """Delete the folders of all other keys."""
        kept = {self._home(key).name for key in keys}
        for home in list(self._folder.iterdir()):
            if home.name not in kept:
                self._delete(home)

    def _home(self, key: CommandKey) -> Path:
        # a key is a word of a peer: only its digest names a folder
        return self._folder / digest_of(canonical_json(list(key)))[:_KEY_DIGITS]

    def _write(self, path: Path, data: memoryview) -> None:
        if path.exists():
            return
        draft = path.with_suffix(".tmp")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        self._used_bytes += len(data)

    def _delete(self, home: Path) -> None:
        with self._lock:
            if not home.is_dir():
                return
            n_bytes = sum(f.stat().st_size for f in home.iterdir())
            shutil.rmtree(home, ignore_errors=True)
            self._used_bytes -= n_bytes


class MemorySpool:
    """The same without a disk: for twins inside Ray, and for tests.

    Example:
        >>> import numpy as np
        >>> spool, key = MemorySpool(), CommandKey("c", "t", "expose", 1)
        >>> (ref,) = spool.store(key, {"frame": np.zeros(4, np.float32)})
        >>> len(spool.load(key, ref)), spool.used_bytes
        (16, 16)
    """

    def __init__(self) -> None:
        self._kept: dict[CommandKey, dict[str, bytes]] = {}
        self._lock = threading.Lock()
        self._used_bytes = 0

    @property
    def used_bytes(self) -> int:
        """Return how much it holds [byte]."""
        return self._used_bytes

    def store(self, key: CommandKey, arrays: Mapping[str, Array]) -> tuple[ArrayRef, ...]:
        """Keep arrays and return their descriptions."""
        refs = tuple(describe(name, array) for name, array in arrays.items())
        with self._lock:
            for ref, array in zip(refs, arrays.values(), strict=True):
                home = self._kept.setdefault(key, {})
                if ref.digest not in home:
                    home[ref.digest] = bytes(as_bytes(array))
                    self._used_bytes += ref.nbytes
        return refs

    def load(self, key: CommandKey, ref: ArrayRef) -> bytes:
        """Return the bytes of an array.

        Raises:
            SpoolFailed: it is not there.
        """
        data = self._kept.get(key, {}).get(ref.digest)
        if data is None:
            raise SpoolFailed(str(key), f"array {ref.name!r} is not there")
        return data

    def drop(self, key: CommandKey) -> None:
        """Forget the arrays of a key."""
        with self._lock:
            self._used_bytes -= sum(map(len, self._kept.pop(key, {}).values()))

    def retain(self, keys: Collection[CommandKey]) -> None:
        """Forget all others."""
        for key in set(self._kept) - set(keys):
            self.drop(key)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        # Windows opens no folders; its file systems journal the names themselves
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
