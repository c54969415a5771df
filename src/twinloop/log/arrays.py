"""Arrays on disk by their digest: under the depot of a campaign and the spool of an adapter.

A file is the raw little-endian C-contiguous bytes; type and shape are in the `ArrayRef` of the
event that needs it. A file under its digest is whole and durable, or it is not there.
"""

import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from twinloop.errors import ArgumentError, LabError
from twinloop.ids import digest_of
from twinloop.log.durable import sync_folder, write_whole
from twinloop.messages import ArrayRef
from twinloop.wire.arrays import as_bytes, describe, rebuild

__all__ = ["ArrayStore", "ArrayUnavailable"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


class ArrayUnavailable(LabError):
    """An array that should be there is missing, or its bytes are no longer what they were."""

    def __init__(self, digest: str, where: str, detail: str) -> None:
        self.digest, self.where, self.detail = digest, where, detail
        super().__init__(
            f"array {digest[:16]}... in {where}: {detail}; "
            "put it there again, or restore the folder from a copy"
        )


class ArrayStore:
    """A folder of arrays; safe to use from several threads.

    Args:
        folder: made if it is not there.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = ArrayStore(Path(folder.name) / "arrays")
        >>> ref = store.put("trace", np.arange(3.0))
        >>> store.has(ref.digest), store.load(ref).tolist()
        (True, [0.0, 1.0, 2.0])
        >>> folder.cleanup()
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._durable: set[str] = set()
        if not folder.is_dir():
            folder.mkdir(parents=True)
            sync_folder(folder.parent)

    def path(self, digest: str) -> Path:
        """Return where the array is or would be.

        Raises:
            ArgumentError: not a digest; nothing else ever becomes a path.
        """
        if not _DIGEST.fullmatch(digest):
            raise ArgumentError("digest", digest, "a BLAKE2b-256 digest, 64 hex digits")
        return self.folder / digest[:2] / digest

    def has(self, digest: str) -> bool:
        """Return True when the array is there, durably."""
        if digest in self._durable:
            return True
        path = self.path(digest)
        if not path.is_file():
            return False
        # an earlier life may have died between the rename and the sync of the folder
        sync_folder(path.parent)
        sync_folder(self.folder)
        self._durable.add(digest)
        return True

    def put(self, name: str, array: NDArray[Any]) -> ArrayRef:
        """Keep an array durably and return its description.

        Raises:
            OSError: the disk refused.
            FrameError: not a numeric array.
        """
        ref = describe(name, array)
        if not self.has(ref.digest):
            write_whole(self.make_room(ref.digest), as_bytes(array))
            self._durable.add(ref.digest)
        return ref

    def make_room(self, digest: str) -> Path:
        """Return the path of an array, its folder made and durable."""
        path = self.path(digest)
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            sync_folder(self.folder)
        return path

    def read(self, digest: str) -> bytes:
        """Return the bytes of an array, checked.

        Raises:
            ArrayUnavailable: not there, or damaged.
        """
        try:
            data = self.path(digest).read_bytes()
        except OSError as err:
            raise ArrayUnavailable(digest, str(self.folder), f"cannot be read: {err}") from err
        if digest_of(data) != digest:
            raise ArrayUnavailable(digest, str(self.folder), "its bytes have changed")
        return data

    def load(self, ref: ArrayRef) -> NDArray[Any]:
        """Return an array, read-only.

        Raises:
            ArrayUnavailable: not there, or damaged.
            FrameError: the description does not fit.
        """
        return rebuild(ref, self.read(ref.digest))

    def remove(self, digest: str) -> None:
        """Delete an array; nothing happens when it is not there."""
        self._durable.discard(digest)
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> list[str]:
        """Return what is there."""
        return sorted(p.name for p in self.folder.glob("??/*") if _DIGEST.fullmatch(p.name))

    def used_bytes(self) -> int:
        """Return the size of all arrays [byte]."""
        return sum(self.path(digest).stat().st_size for digest in self.digests())
