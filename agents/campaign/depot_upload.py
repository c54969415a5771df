"""One array on its way into the depot."""

import hashlib
from pathlib import Path

from twinloop.errors import LabError
from twinloop.log.arrays import ArrayStore
from twinloop.log.durable import sync_file, sync_folder

__all__ = ["Upload", "UploadRefused"]

_READ_BYTES = 1024 * 1024


class UploadRefused(LabError):
    """The bytes that came are not those of the digest; they were thrown away."""

    def __init__(self, digest: str, detail: str) -> None:
        self.digest, self.detail = digest, detail
        super().__init__(f"array {digest[:16]}...: {detail}; send it again from the start")


class Upload:
    """The part of an array that has arrived, in a file that survives this process.

    Args:
        path: of the part; what an earlier life left there is continued.
        digest: what the whole must have.
        nbytes: size of the whole [byte].

    Raises:
        OSError: the disk refused.
    """

    def __init__(self, path: Path, digest: str, nbytes: int) -> None:
        self.path, self.digest, self.nbytes = path, digest, nbytes
        self.size = 0
        self._hash = hashlib.blake2b(digest_size=32)
        with path.open("ab+") as file:
            file.seek(0)
            while block := file.read(_READ_BYTES):
                self._hash.update(block)
                self.size += len(block)
        if self.size > nbytes:
            self._restart()

    def add(self, data: bytes) -> bool:
        """Append bytes and return True when the array is complete.

        Raises:
            UploadRefused: more bytes than announced.
            OSError: the disk refused; look at the file anew.
        """
        if self.size + len(data) > self.nbytes:
            self._restart()
            raise UploadRefused(self.digest, f"more than the announced {self.nbytes} bytes")
        with self.path.open("ab") as file:
            file.write(data)
        self._hash.update(data)
        self.size += len(data)
        return self.size == self.nbytes

    def finish(self, store: ArrayStore) -> None:
        """Check the whole and give it its name, durably.

        Raises:
            UploadRefused: another digest.
            OSError: the disk refused; the part is gone, because after a failed sync nobody knows
                what is on the disk.
        """
        if self._hash.hexdigest() != self.digest:
            self._restart()
            raise UploadRefused(self.digest, "the bytes have another digest")
        target = store.make_room(self.digest)
        try:
            with self.path.open("rb+") as file:
                sync_file(file.fileno())
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        self.path.replace(target)
        sync_folder(target.parent)

    def _restart(self) -> None:
        self.path.unlink(missing_ok=True)
        self.size = 0
        self._hash = hashlib.blake2b(digest_size=32)
