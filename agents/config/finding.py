"""Find the files that a configuration names: beside it, by path, or shipped with twinloop."""

from importlib.resources import files
from pathlib import Path

from twinloop.errors import ArgumentError
from twinloop.plugins import one_of

__all__ = ["find_file", "shipped", "shipped_file"]


def shipped_file(kind: str, name: str) -> Path | None:
    """Return a file that ships with twinloop, such as ("labs", "standin"); None if there is none."""
    folder = _folder(kind)
    found = folder / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    # Only the name of a file: nothing outside the folder.
    return found if found.parent == folder and found.is_file() else None


def shipped(kind: str) -> list[str]:
    """Return the names of the files of a kind ("labs", "campaigns") that ship with twinloop."""
    return sorted(path.stem for path in _folder(kind).glob("*.yaml"))


def find_file(kind: str, name: str, beside: Path) -> Path:
    """Return the file that a configuration names.

    Args:
        kind: "campaigns", "labs" or "standins".
        name: a path relative to `beside`, or a shipped name.
        beside: folder of the file that names it.

    Raises:
        ArgumentError: neither there nor shipped.
    """
    path = beside / name
    if path.is_file():
        return path
    found = shipped_file(kind, name)
    if found is None:
        allowed = f"a file relative to {beside}, or a shipped name: {one_of(shipped(kind), name)}"
        raise ArgumentError(kind, name, allowed)
    return found


def _folder(kind: str) -> Path:
    return Path(str(files("twinloop.configs"))) / kind
