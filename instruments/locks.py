"""One process at a time: a lock that dies with its owner, on any operating system."""

import sqlite3
from pathlib import Path

from twinloop.errors import LabError

__all__ = ["FolderLock", "LockTaken"]


class LockTaken(LabError):
    """Another process holds the lock."""

    def __init__(self, path: str, detail: str = "") -> None:
        self.path, self.detail = path, detail
        super().__init__(
            f"{path} is held by another process {detail}; end that one first, "
            "or give this adapter a folder of its own"
        )


class FolderLock:
    """A lock file, held by a transaction that the operating system ends with the process.

    Args:
        path: the file; its folder exists.
        wait_s: how long to wait for another owner to end [s].

    Raises:
        LockTaken: it did not.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lock = FolderLock(Path(folder) / "adapter.lock")
        ...     FolderLock.is_held(Path(folder) / "adapter.lock")
        ...     lock.release()
        ...     FolderLock.is_held(Path(folder) / "adapter.lock")
        True
        False
    """

    def __init__(self, path: Path, wait_s: float = 0.0) -> None:
        self._db = sqlite3.connect(
            path, isolation_level=None, timeout=wait_s, check_same_thread=False
        )
        try:
            self._db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as err:
            self._db.close()
            raise LockTaken(str(path), str(err)) from err

    @classmethod
    def is_held(cls, path: Path) -> bool:
        """Return True while some process holds the lock."""
        try:
            cls(path).release()
        except LockTaken:
            return True
        return False

    def release(self) -> None:
        """Let go."""
        self._db.close()
