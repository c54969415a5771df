"""Find what a configuration names: an installed entry point, or `module:Name`.

Instruments, planners, simulators, analysts and protocols are found in the same way, under the entry
point groups `twinloop.instruments`, `twinloop.planners` and so on. An author needs no list of ours.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import TypeVar

from twinloop.errors import ArgumentError

__all__ = ["find_class", "find_object", "installed", "one_of"]

T = TypeVar("T")


def installed(group: str) -> list[str]:
    """Return the names that installed packages offer in `twinloop.<group>`, sorted."""
    return sorted({entry.name for entry in entry_points(group=f"twinloop.{group}")})


def one_of(names: Iterable[str], found: object = None) -> str:
    """Return the allowed names in words, the likely one first.

    Example:
        >>> one_of(["mbe", "rheed"], "rhed")
        "'rheed'? (one of mbe, rheed)"
    """
    known = list(names)
    listed = f"one of {', '.join(known)}" if known else "nothing here"
    close = difflib.get_close_matches(found, known, n=1) if isinstance(found, str) else []
    return f"{close[0]!r}? ({listed})" if close else listed


def find_object(
    group: str, name: str, also: Mapping[str, object] | None = None, key: str = ""
) -> object:
    """Return the object called `name` in `twinloop.<group>`, or the one at "module:Name".

    Args:
        group: "planners", "analysts" ...
        name: what the configuration says.
        also: what is known by name without being installed, such as a class of this session.
        key: what errors call the name; the group when left out.

    Raises:
        ArgumentError: there is none; it lists what there is.

    Example:
        >>> find_object("planners", "twinloop.planners.sobol:SobolPlanner").__name__
        'SobolPlanner'
    """
    known = dict(also or {})
    if name in known:
        return known[name]
    path = name
    if ":" not in name:
        entries = list(entry_points(group=f"twinloop.{group}", name=name))
        if not entries:
            names = sorted({*installed(group), *known})
            raise ArgumentError(
                key or group, name, f"{one_of(names, name)}, or module:Name of your own"
            )
        path = entries[0].value
    module, _, attribute = path.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as err:  # a module of somebody else may raise anything while it is imported
        reason = f"{type(err).__name__}: {err}"
        allowed = f"{', '.join(installed(group))}, or module:Name that can be imported ({reason})"
        raise ArgumentError(key or group, name, allowed) from err
    return found


def find_class(
    group: str,
    name: str,
    base: type[T],
    also: Mapping[str, type[T]] | None = None,
    key: str = "",
) -> type[T]:
    """Return the class that `find_object` finds.

    Raises:
        ArgumentError: there is none, or it is no subclass of `base`.
    """
    found = find_object(group, name, also, key)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ArgumentError(key or group, name, f"a class derived from {base.__name__}")
    return found
