"""Global random generators, seeded for the length of a block and then put back.

Libraries draw from the generators of `random`, `numpy.random` and `torch` behind a planner's back.
Inside `seeded` each starts from the proposal's seed, whatever ran before in this process.
"""

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

__all__ = ["seeded", "torch_is_loaded"]


def torch_is_loaded() -> bool:
    """Return whether this process has imported torch; it is never imported from here.

    While another thread is still importing it, it is in the table of modules, and half of it missing.
    """
    torch = sys.modules.get("torch")
    return torch is not None and not getattr(torch.__spec__, "_initializing", False)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every global generator, and give torch one thread, until the block ends.

    One thread, because more cost five to nine times as much wall time on a machine full of workers
    (OpenMP barriers spin), and because sums in another order are other bits.

    Args:
        seed: 0 to 2**63 - 1.

    Example:
        >>> with seeded(7):
        ...     first = random.random()
        >>> with seeded(7):
        ...     random.random() == first
        True
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with ExitStack() as put_back:
        put_back.callback(random.setstate, python_state)
        put_back.callback(np.random.set_state, numpy_state)
        if torch_is_loaded():
            put_back.enter_context(_seeded_torch(seed))
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        yield


@contextmanager
def _seeded_torch(seed: int) -> Iterator[None]:
    # Taken from the table of modules: naming it in an import would load it.
    torch: Any = sys.modules["torch"]
    threads = torch.get_num_threads()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
