"""Files that are on the disk when we say so."""

import os
import sys
from pathlib import Path

__all__ = ["sync_file", "sync_folder", "write_whole"]


def sync_file(descriptor: int) -> None:
    """Return when the file's content is on the disk.

    Raises:
        OSError: the disk refused; what was written is not to be trusted, not even after another
            sync that succeeds.
    """
    if sys.platform == "darwin":
        import fcntl

        # fsync on macOS leaves the data in the drive's cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk; Windows does that by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes | bytearray | memoryview) -> None:
    """Write a file so that it is there whole and durable, or not at all.

    The draft beside it is unique to this process; a crash may leave one behind.

    Raises:
        OSError: the disk refused; `path` is as it was.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            sync_file(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
