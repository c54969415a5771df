"""NeXus groups and fields on top of h5py: classes, units, links.

h5py is imported when a file is made, never before: exporting is an extra.
"""

import importlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import LabError

__all__ = ["ExportNeeds", "Tree", "clean_text", "needed"]

_COMPRESSED_FROM_BYTES = 4096


class ExportNeeds(LabError):
    """A package that exporting needs is not installed."""

    def __init__(self, package: str, what: str) -> None:
        self.package, self.what = package, what
        super().__init__(
            f"exporting {what} needs {package}, which is not installed; "
            "install it with: pip install 'twinloop[export]', or choose another --format"
        )


def needed(package: str, what: str) -> Any:
    """Return a package of the extra `export`.

    Raises:
        ExportNeeds: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as err:
        raise ExportNeeds(package.partition(".")[0], what) from err


class Tree:
    """A group of a NeXus file.

    Args:
        node: group of h5py.
    """

    def __init__(self, node: Any) -> None:
        self.node = node

    @property
    def path(self) -> str:
        """Return where it is in the file."""
        return str(self.node.name)

    def __contains__(self, name: str) -> bool:
        return name in self.node

    def group(self, name: str, nx_class: str, **attributes: object) -> "Tree":
        """Make a group of a NeXus class, or return the one that is there."""
        made = Tree(self.node.require_group(name))
        made.tell(NX_class=nx_class, **attributes)
        return made

    def tell(self, **attributes: object) -> None:
        """Write attributes; None leaves one out."""
        for name, value in attributes.items():
            if value is not None:
                self.node.attrs[name] = clean_text(value) if isinstance(value, str) else value

    def put(self, name: str, value: object, *, units: str = "", **attributes: object) -> Any:
        """Write a field: a number, a text, or what JSON can say; None leaves it out.

        Returns:
            The dataset of h5py, None for nothing.
        """
        if value is None:
            return None
        return self._make(self._free(name), _storable(value), units, attributes, {})

    def put_array(
        self, name: str, array: NDArray[Any], *, units: str = "", **attributes: object
    ) -> Any:
        """Write an array, compressed where that is worth it; false and true become 0 and 1."""
        layout: dict[str, Any] = {}
        if array.nbytes >= _COMPRESSED_FROM_BYTES:
            layout = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        stored = array.view(np.uint8) if array.dtype == np.bool_ else array
        return self._make(name, stored, units, attributes, layout)

    def link(self, name: str, target: Any) -> None:
        """Let a name stand for what is elsewhere in the file, as NeXus links: `target` says where."""
        node = target.node if isinstance(target, Tree) else target
        if "target" not in node.attrs:
            node.attrs["target"] = node.name
        self.node[name] = node

    def _free(self, name: str) -> str:
        """Return a name that a field of this group can have: a planner may name a figure "gain/h"."""
        wanted = name.replace("/", "_").replace("\x00", "")
        wanted = "_" if wanted.strip(".") == "" else wanted
        return wanted if wanted not in self.node else self._free(f"{wanted}_")

    def _make(
        self, name: str, value: Any, units: str, attributes: Mapping[str, Any], layout: Any
    ) -> Any:
        made = self.node.create_dataset(name, data=value, **layout)
        if units:
            made.attrs["units"] = units
        for key, text in attributes.items():
            if text is not None and text != "":
                made.attrs[key] = clean_text(text) if isinstance(text, str) else text
        return made


def clean_text(text: str) -> str:
    """Return a text that UTF-8 and C can hold: a device's words may have anything in them."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return _listed(value) if isinstance(value, list | tuple | Mapping) else value


def _listed(value: Any) -> Any:
    """Return numbers as an array, anything else as JSON text."""
    is_list = not isinstance(value, Mapping) and bool(value)
    if is_list and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return np.array(value, np.float64 if any(abs(v) >= 2**63 for v in value) else None)
    return json.dumps(value, sort_keys=True)
