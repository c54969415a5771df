"""Numbers as blocks of text."""

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["chart", "sparkline"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_STEPS = len(_BLOCKS) - 1


def sparkline(values: Sequence[float], width: int) -> str:
    """Return values as one line of blocks, the lowest still visible.

    Example:
        >>> sparkline([0, 1, 2, 3], 8)
        '▁▃▆█'
    """
    means = _condensed(values, width)
    if not means:
        return ""
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_BLOCKS[1 + round((v - low) / span * (_STEPS - 1))] for v in means)


def chart(values: Sequence[float], width: int, height: int) -> list[str]:
    """Return values as an area of so many lines, from zero or their minimum to their maximum.

    Args:
        values: oldest first.
        width: characters in a line.
        height: lines.
    """
    means = _condensed(values, width)
    if not means or height < 1:
        return []
    low, high = min(0.0, *means), max(means)
    span = (high - low) or 1.0
    levels = [round((v - low) / span * height * _STEPS) for v in means]
    return [
        "".join(_BLOCKS[min(max(level - row * _STEPS, 0), _STEPS)] for level in levels)
        for row in range(height - 1, -1, -1)
    ]


def _condensed(values: Sequence[float], width: int) -> list[float]:
    """Return at most `width` means of neighbours."""
    n = len(values)
    if n <= width or width < 1:
        return list(values)[: max(width, 0)]
    edges = [i * n // width for i in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
