"""The folder that an export writes: whole or not at all.

Everything is written into a draft beside the target, which takes the target's name when it is
complete. A disk that fills up half-way leaves what was there before.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twinloop.errors import ArgumentError, LabError
from twinloop.log.durable import sync_folder

__all__ = ["MANIFEST", "ExportFailed", "draft_of"]

MANIFEST = "export.json"
"""The file by which a folder is known as an export."""


class ExportFailed(LabError):
    """The disk refused; nothing of this export is left."""

    def __init__(self, target: Path, why: OSError) -> None:
        self.target, self.why = target, why
        super().__init__(
            f"no export in {target}: {why}; what was there before is untouched; "
            "make room or choose another folder with --to"
        )


@contextmanager
def draft_of(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write into; it becomes the target when the block ends without an error.

    Args:
        target: the folder to make.
        overwrite: replace an export that is there; anything else is never replaced.

    Raises:
        ArgumentError: something is there that may not be replaced.
        ExportFailed: the disk refused.
    """
    _check(target, overwrite=overwrite)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            yield draft
            _take_place(draft, target)
        except OSError as err:
            raise ExportFailed(target, err) from err
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check(target: Path, *, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    is_export = (target / MANIFEST).is_file()
    if is_export and overwrite:
        return
    allowed = (
        "--overwrite to replace this export, or another folder" if is_export else "a new folder"
    )
    raise ArgumentError("--to", str(target), allowed)


def _take_place(draft: Path, target: Path) -> None:
    before = target.with_name(f".{target.name}.{os.getpid()}.before")
    if target.exists():
        target.rename(before)
    try:
        draft.rename(target)
    except OSError:
        if before.exists():
            before.rename(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(before, ignore_errors=True)
