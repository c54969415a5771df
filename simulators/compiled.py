"""Compile a numeric kernel: the one place that names numba.

Every kernel releases the interpreter lock, because a plain one silences the heartbeat thread of
its process. The compiled code is cached on disk; a kernel therefore calls only kernels of its own
file (the cache looks at the time stamp of that file alone).
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

__all__ = ["compiled", "inlined"]

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` compiled by numba in nopython mode, without the interpreter lock.

    Args:
        function: plain Python over numbers and numpy arrays.
    """
    kernel: Callable[P, R] = numba.njit(nogil=True, cache=True)(function)
    return kernel


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` compiled into every kernel that calls it, for the parts of an inner loop.

    A call that passes many arrays costs more than what such a part does.

    Args:
        function: plain Python over numbers and numpy arrays.
    """
    kernel: Callable[P, R] = numba.njit(nogil=True, cache=True, forceinline=True)(function)
    return kernel
