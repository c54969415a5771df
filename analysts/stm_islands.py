"""Islands of a surface: patches that stand at least one layer above what is around them.

An island of layer k is a patch of columns of height k or more, that touch at sides or corners. The
island density is that of the layer with the most of them: nuclei of the layer that grows, whatever the
coverage. An area that is part of a surface cuts islands at its edge; those that touch the first line
or the first column are left out and those at the other two edges are counted whole. So areas side by
side, each with the last line and column of its neighbour as its own first ones, count each island once,
and the area that counts is less by one line and one column.

Source: Gundersen, J. Microsc. 111, 219 (1977) (unbiased counting frame).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Islands", "count_islands", "step_length"]


@dataclass(frozen=True, slots=True)
class Islands:
    """The islands of one area.

    Args:
        count: of the layer with the most.
        layer: that layer, in the heights' own numbers.
        share: of the area that stands at this layer or higher [1].
        mean_cells: mean size of a counted island [cells]; 0 without any.
    """

    count: int
    layer: int
    share: float
    mean_cells: float


def count_islands(levels: NDArray[np.integer], *, smallest_cells: float = 1.0) -> Islands:
    """Return the islands of an area.

    Args:
        levels: height of each cell in layers, shape (rows, columns).
        smallest_cells: patches below this are not counted [cells].

    Example:
        >>> levels = np.zeros((8, 8), dtype=np.int64)
        >>> levels[2:4, 2:4] = levels[6:, 6:] = 1
        >>> levels[0, 0] = levels[5, 1] = 1
        >>> count_islands(levels).count, count_islands(levels, smallest_cells=2).count
        (3, 2)
    """
    low, high = int(levels.min()), int(levels.max())
    best = Islands(0, high, float((levels >= high).mean()), 0.0)
    for layer in range(low + 1, high + 1):
        is_up = levels >= layer
        sizes = _sizes(is_up)
        counted = sizes[sizes >= smallest_cells]
        if counted.size > best.count:
            best = Islands(int(counted.size), layer, float(is_up.mean()), float(counted.mean()))
    return best


def step_length(levels: NDArray[np.integer], pitch: tuple[float, float]) -> float:
    """Return the length of steps for each unit of area, each layer of a higher step counted.

    Edges run along the mesh there, so a step at 45 degrees counts sqrt(2) times its length; the mean
    over directions is 4/pi, which is taken off.

    Args:
        levels: height of each cell in layers, shape (rows, columns).
        pitch: of rows and columns, any unit.

    Returns:
        Length over area [1/unit].
    """
    across = np.abs(np.diff(levels, axis=0)).mean() / pitch[0]
    along = np.abs(np.diff(levels, axis=1)).mean() / pitch[1]
    return float(np.pi / 4.0 * (across + along))


def _sizes(is_up: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the sizes of the patches that the counting frame takes [cells]."""
    from scipy import ndimage

    labels, n = ndimage.label(is_up, np.ones((3, 3), dtype=np.int64))
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    sizes[0] = 0
    sizes[np.unique(np.concatenate([labels[0], labels[:, 0]]))] = 0
    return sizes[sizes > 0].astype(np.int64)
