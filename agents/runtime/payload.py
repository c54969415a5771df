"""Arrays of a task and of its result: in the message, bundled in it, or in the depot.

A message takes few array frames, and a planner's question has many small arrays. `bundle` lays them
end to end in one frame: the message then holds an inline array called "$bundle", and after it the
descriptions (not inline) of what lies in it, in that order. `unbundle` undoes it. What is too large
for a message lies in the depot, and travels as its description alone.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import FrameError
from twinloop.messages import ArrayRef, Task, TaskResult
from twinloop.wire.arrays import as_bytes, describe, rebuild
from twinloop.wire.envelope import MAX_ARRAY_FRAMES

__all__ = ["BUNDLE", "INLINE_BYTES", "ArrayCache", "bundle", "fits_inline", "gather", "unbundle"]

BUNDLE = "$bundle"
INLINE_BYTES = 32 * 1024

Array = NDArray[Any]


def fits_inline(arrays: Sequence[Array]) -> bool:
    """Return True when these arrays may travel as frames of one message."""
    return len(arrays) <= MAX_ARRAY_FRAMES and sum(a.nbytes for a in arrays) <= INLINE_BYTES


def bundle(task: Task, arrays: Sequence[Array]) -> tuple[Task, tuple[Array, ...]]:
    """Return the task with its inline arrays laid into one frame.

    Args:
        task: its inline descriptions name `arrays`, in their order.
        arrays: the content.

    Raises:
        FrameError: another number of arrays than the task describes.
    """
    inline = [ref for ref in task.arrays if ref.inline]
    if len(inline) != len(arrays):
        raise FrameError(BUNDLE, "count", len(arrays), len(inline))
    if len(arrays) <= 1:
        return task, tuple(arrays)
    joined = np.frombuffer(b"".join(as_bytes(a) for a in arrays), dtype=np.uint8)
    stored = [ref for ref in task.arrays if not ref.inline]
    laid = [ref.model_copy(update={"inline": False}) for ref in inline]
    refs = (*stored, describe(BUNDLE, joined, inline=True), *laid)
    return task.model_copy(update={"arrays": refs}), (joined,)


def unbundle(
    refs: Sequence[ArrayRef], arrays: Sequence[Array]
) -> tuple[dict[str, Array], list[ArrayRef]]:
    """Return the arrays that came with a message, by name, and what lies in the depot.

    Args:
        refs: descriptions, as in the message.
        arrays: content of the inline ones, in their order.

    Raises:
        FrameError: the bundle does not hold what is said to be in it.
    """
    frames = iter(arrays)
    here: dict[str, Array] = {}
    elsewhere: list[ArrayRef] = []
    joined: memoryview | None = None
    for ref in refs:
        if ref.inline:
            frame = next(frames)
            if ref.name == BUNDLE:
                joined = memoryview(frame.tobytes())
            else:
                here[ref.name] = frame
        elif joined is None:
            elsewhere.append(ref)
        else:
            here[ref.name] = rebuild(ref, joined[: ref.nbytes])
            joined = joined[ref.nbytes :]
    if joined:
        raise FrameError(BUNDLE, "length", f"{len(joined)} bytes left over", "none")
    return here, elsewhere


def gather(
    result: TaskResult, arrays: Sequence[Array], load: Callable[[ArrayRef], Array]
) -> tuple[TaskResult, tuple[Array, ...]]:
    """Return a result as if all its arrays had come with the message.

    Args:
        result: of a task.
        arrays: the inline ones, in their order.
        load: gives one that lies in the depot.
    """
    inline = iter(arrays)
    content = tuple(next(inline) if ref.inline else load(ref) for ref in result.arrays)
    refs = tuple(ref.model_copy(update={"inline": True}) for ref in result.arrays)
    return result.model_copy(update={"arrays": refs}), content


class ArrayCache:
    """The arrays used last, by digest; one thread uses it.

    Args:
        limit_bytes: the least recently used go when all together are larger.

    Example:
        >>> cache = ArrayCache(limit_bytes=100)
        >>> cache.keep("a", np.zeros(10)); cache.keep("b", np.ones(10))
        >>> cache.find("a") is None, cache.find("b").sum()
        (True, np.float64(10.0))
    """

    def __init__(self, limit_bytes: int = 64 * 1024 * 1024) -> None:
        self._limit_bytes = limit_bytes
        self._arrays: OrderedDict[str, Array] = OrderedDict()
        self._n_bytes = 0

    def find(self, digest: str) -> Array | None:
        """Return an array that is kept."""
        found = self._arrays.get(digest)
        if found is not None:
            self._arrays.move_to_end(digest)
        return found

    def keep(self, digest: str, array: Array) -> None:
        """Keep an array, and let go of others for it."""
        if digest in self._arrays:
            return
        self._arrays[digest] = array
        self._n_bytes += array.nbytes
        while self._n_bytes > self._limit_bytes:
            _, old = self._arrays.popitem(last=False)
            self._n_bytes -= old.nbytes
