"""Find what a configuration names: an installed entry point, `module:Name`, or a shipped file."""

import importlib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from twinloop.agents.config.problems import one_of
from twinloop.errors import ArgumentError

__all__ = ["find_file", "find_object", "installed", "shipped", "shipped_file"]


def installed(group: str) -> list[str]:
    """Return the names that installed packages offer in `twinloop.<group>`, sorted."""
    return sorted({entry.name for entry in entry_points(group=f"twinloop.{group}")})


def find_object(group: str, name: str) -> object:
    """Return the object called `name` in `twinloop.<group>`, or the one at "module:Name".

    Raises:
        ArgumentError: there is none; it lists what there is.

    Example:
        >>> find_object("planners", "twinloop.planners.sobol:SobolPlanner").__name__
        'SobolPlanner'
    """
    path = name
    if ":" not in name:
        entries = list(entry_points(group=f"twinloop.{group}", name=name))
        if not entries:
            allowed = f"{one_of(installed(group), name)}, or module:Name of your own"
            raise ArgumentError(group, name, allowed)
        path = entries[0].value
    module, _, attribute = path.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as err:  # a module of somebody else may raise anything while it is imported
        reason = f"{type(err).__name__}: {err}"
        allowed = f"{', '.join(installed(group))}, or module:Name that can be imported ({reason})"
        raise ArgumentError(group, name, allowed) from err
    return found


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
