"""A disk for tests, on which a process dies at an operation of your choice.

It stands between `log.durable`, the standard library and the files. What dies, dies for good: whatever
its `finally` clauses try to write afterwards does not reach a file. When the power fails too, all
renames are undone that no sync of one of their folders has followed.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Killed", "MortalDisk"]


class Killed(BaseException):
    """The process ends here; nothing catches it."""


class Patch(Protocol):
    """What is used of `pytest.MonkeyPatch`."""

    def setattr(self, target: Any, name: str, value: Any) -> None:
        """Replace an attribute until the end of the test."""
        ...


class MortalDisk:
    """Counts what is done to files: renames, deletions, syncs.

    Args:
        patch: the `monkeypatch` of a test.
        modules: modules that have imported `sync_folder` from `log.durable` by name.

    Example:
        >>> import pytest, tempfile
        >>> with pytest.MonkeyPatch.context() as patch:
        ...     disk, file = MortalDisk(patch), Path(tempfile.mkdtemp()) / "a"
        ...     file.touch()
        ...     disk.die_at(0)
        ...     try:
        ...         os.replace(file, file.with_name("b"))
        ...     except Killed:
        ...         file.exists(), disk.live_again()
        (True, True)
    """

    def __init__(self, patch: Patch, *modules: Any) -> None:
        from twinloop.log import durable

        self._left: int | None = None
        self._is_after = self._has_power_cut = self._is_dead = False
        self._unsynced: list[tuple[set[Path], Callable[[], object]]] = []
        self._replace, self._unlink = os.replace, os.unlink
        patch.setattr(os, "replace", self._rename)
        patch.setattr(os, "unlink", self._delete)
        patch.setattr(durable, "sync_file", lambda _: self._do(lambda: None))
        for module in (durable, *modules):
            patch.setattr(module, "sync_folder", self._sync)

    def die_at(
        self, operation: int, *, is_after: bool = False, has_power_cut: bool = False
    ) -> None:
        """Let the process die.

        Args:
            operation: at which, counted from 0 and from now.
            is_after: that one is still done.
            has_power_cut: what is not synced is lost as well.
        """
        self._left, self._is_after, self._has_power_cut = operation, is_after, has_power_cut

    def live_again(self) -> bool:
        """Begin the next life; return whether the last one died."""
        was_dead, self._is_dead, self._left = self._is_dead, False, None
        if was_dead and self._has_power_cut:
            for _, undo in reversed(self._unsynced):
                undo()
        self._unsynced.clear()
        return was_dead

    def _rename(self, source: Any, target: Any, **_: Any) -> None:
        old, new = Path(source), Path(target)
        before = new.read_bytes() if new.exists() else None

        def undo() -> None:
            self._replace(new, old)
            if before is not None:
                new.write_bytes(before)

        self._do(lambda: self._replace(old, new), {old.parent, new.parent}, undo)

    def _delete(self, path: Any, **_: Any) -> None:
        file = Path(path)
        before = file.read_bytes() if file.exists() else None

        def undo() -> None:
            if before is not None:
                file.write_bytes(before)

        self._do(lambda: self._unlink(path), {file.parent}, undo)

    def _sync(self, folder: Path) -> None:
        def forget() -> None:
            self._unsynced = [item for item in self._unsynced if folder not in item[0]]

        self._do(forget)

    def _do(
        self,
        act: Callable[[], object],
        folders: set[Path] | None = None,
        undo: Callable[[], object] | None = None,
    ) -> None:
        is_last = self._left == 0
        self._is_dead = self._is_dead or (is_last and not self._is_after)
        if self._is_dead:
            raise Killed
        act()
        if undo is not None:
            self._unsynced.append((folders or set(), undo))
        if is_last:
            self._is_dead = True
            raise Killed
        self._left = None if self._left is None else self._left - 1
