"""What lies beside the journal in a run folder: arrays, versions, a stand-in's sealed files.

Nothing here has to be there. What is missing or damaged is noted in `problems` and left out.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import FrameError
from twinloop.messages import ArrayRef
from twinloop.wire.arrays import rebuild

__all__ = ["Evidence"]

_MOST_BYTES = 256 * 1024 * 1024
_TRUTH = "truth.json"


class Evidence:
    """The files of a run folder, read without changing anything.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []

    def array(self, ref: ArrayRef) -> NDArray[Any] | None:
        """Return an array that an event names, its digest checked; None where it is not whole."""
        path = self.folder / "arrays" / ref.digest[:2] / ref.digest
        if ref.nbytes > _MOST_BYTES:
            self._note(f"array {ref.name!r} has {ref.nbytes} bytes, too many for a report")
            return None
        try:
            return rebuild(ref, path.read_bytes())
        except OSError as err:
            self._note(f"array {ref.name!r} ({ref.digest[:12]}…) cannot be read: {err.strerror}")
        except FrameError as err:
            self._note(f"array {ref.name!r} ({ref.digest[:12]}…) is damaged: {err}")
        return None

    def heights(self, sample: str) -> NDArray[np.int64] | None:
        """Return the final heights of a film from a stand-in's own file, shape (L, L) [ML]."""
        for machine in self._machines():
            path = machine / "films" / f"{sample}.npy"
            if not sample or path.parent.resolve() != path.resolve().parent or not path.is_file():
                continue
            try:
                found = np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError) as err:
                self._note(f"film {sample} of the stand-in cannot be read: {err}")
                continue
            if found.ndim == 2 and found.size and found.dtype.kind in "iu":
                heights: NDArray[np.int64] = found.astype(np.int64)
                return heights
            self._note(f"film {sample} of the stand-in has shape {found.shape}, {found.dtype}")
        return None

    def truths(self) -> dict[str, Mapping[str, Any]]:
        """Return the hidden truth of each stand-in machine, by its folder's name."""
        found: dict[str, Mapping[str, Any]] = {}
        for machine in self._machines():
            body = self._json(machine / _TRUTH)
            if isinstance(body, dict):
                truth = body.get("truth", body)
                found[machine.name] = truth if isinstance(truth, dict) else body
        return found

    @property
    def has_machine(self) -> bool:
        """Return True where a stand-in machine keeps its files in the folder."""
        return any(True for _ in self._machines())

    def json(self, name: str) -> Mapping[str, Any]:
        """Return a JSON object of the folder, {} where there is none."""
        body = self._json(self.folder / name)
        return body if isinstance(body, dict) else {}

    def _machines(self) -> Iterator[Path]:
        folders = [self.folder / "machine", *sorted((self.folder / "machines").glob("*"))]
        return (f for f in folders if (f / _TRUTH).is_file() or (f / "films").is_dir())

    def _json(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as err:
            self._note(f"{path.name} cannot be read: {err}")
            return None

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
