"""The desk of a computing thread: fetches the arrays of a task, ships those of its result."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from twinloop.agents.runtime.compute_core import Job
from twinloop.agents.runtime.payload import ArrayCache, fits_inline, unbundle
from twinloop.errors import ArgumentError
from twinloop.messages import ArrayRef, Task
from twinloop.wire.arrays import describe
from twinloop.wire.depot import DepotClient

__all__ = ["Desk"]

Array = NDArray[Any]
Shipped = tuple[tuple[ArrayRef, ...], tuple[Array, ...]]


class Desk:
    """Connections to depots, and the arrays used last; one thread uses it."""

    def __init__(self) -> None:
        self._cache = ArrayCache()
        self._depots: dict[str, DepotClient] = {}

    def fetch(self, job: Job) -> dict[str, Array]:
        """Return the array arguments of a job by name.

        Raises:
            DepotRefused, Disconnected: the depot does not give one.
            FrameError: one is not what the task describes.
        """
        here, elsewhere = unbundle(job.task.arrays, job.arrays)
        for ref in elsewhere:
            # the same bytes may be another array: all empty ones, of whatever shape, are alike
            key = f"{ref.digest} {ref.dtype} {ref.shape}"
            array = self._cache.find(key)
            if array is None:
                array = self._depot(job.task).get(ref)
                self._cache.keep(key, array)
            here[ref.name] = array
        return here

    def ship(self, task: Task, arrays: Mapping[str, Array], *, is_kept: bool) -> Shipped:
        """Return descriptions of result arrays and the content of those that go in the message.

        Args:
            task: whose result they are; it names the depot for the others.
            arrays: by name.
            is_kept: they are for the journal: into the depot, however small.

        Raises:
            ArgumentError: too large for a message, and the task names no depot.
            DepotRefused, Disconnected: the depot does not take one.
        """
        content = tuple(arrays.values())
        if fits_inline(content) and not (is_kept and task.depot):
            return tuple(describe(n, a, inline=True) for n, a in arrays.items()), content
        depot = self._depot(task)
        return tuple(depot.put(name, array) for name, array in arrays.items()), ()

    def cancel(self) -> None:
        """Make a waiting `fetch` or `ship` give up; any thread may call it."""
        for depot in list(self._depots.values()):
            depot.cancel()

    def close(self) -> None:
        """Let go of the connections."""
        for depot in self._depots.values():
            depot.close()

    def _depot(self, task: Task) -> DepotClient:
        if not task.depot:
            raise ArgumentError("depot", task.depot, "an endpoint, for arrays this large")
        if task.depot not in self._depots:
            self._depots[task.depot] = DepotClient(task.depot)
        return self._depots[task.depot]
