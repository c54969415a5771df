"""The part of a stream that is on the screen: the samples of the present command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["StreamWindow"]

_MOST_SAMPLES = 20_000


@dataclass(slots=True)
class StreamWindow:
    """Samples of one stream since its key last changed.

    Args:
        key: command that they belong to, as text.
        times, values: newest last.
        n_lost: elements that did not arrive.

    Example:
        >>> window = StreamWindow()
        >>> window.take("c/t1/2/0", {"time_s": 0.1, "intensity": 0.9})
        >>> window.take("c/t1/2/0", {}, [np.array([0.2, 0.3]), np.array([0.5, 0.4])])
        >>> window.values
        [0.9, 0.5, 0.4]
    """

    key: str = ""
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    n_lost: int = 0

    @property
    def trial(self) -> str:
        """Return the trial of the key, "" where the key is none of ours."""
        parts = self.key.split("/")
        return parts[1] if len(parts) == 4 else ""

    def take(
        self,
        key: str,
        about: Mapping[str, Any],
        arrays: Sequence[NDArray[Any]] = (),
        n_lost: int = 0,
    ) -> None:
        """Add an element; a new key begins a new window.

        Args:
            key: what it belongs to.
            about: numbers of its last sample, a time among them or not.
            arrays: times and values of all its samples, each of shape (n,); without them the
                numbers count as one sample.
            n_lost: elements missed before it.
        """
        if key != self.key:
            self.key, self.n_lost = key, 0
            self.times.clear()
            self.values.clear()
        self.n_lost += n_lost
        times, values = _samples(about, arrays)
        for time, value in zip(times, values, strict=True):
            if np.isfinite(value) and np.isfinite(time):
                self.times.append(time)
                self.values.append(value)
        del self.times[:-_MOST_SAMPLES], self.values[:-_MOST_SAMPLES]


def _samples(
    about: Mapping[str, Any], arrays: Sequence[NDArray[Any]]
) -> tuple[list[float], list[float]]:
    if len(arrays) >= 2 and arrays[0].ndim == 1 and arrays[0].shape == arrays[1].shape:
        return arrays[0].astype(float).tolist(), arrays[1].astype(float).tolist()
    numbers = {name: v for name, v in about.items() if isinstance(v, int | float)}
    times = [v for name, v in numbers.items() if name.startswith("time")]
    values = [v for name, v in numbers.items() if not name.startswith("time")]
    if not values:
        return [], []
    return [float(times[0]) if times else 0.0], [float(values[0])]
