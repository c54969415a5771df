"""Drift from one line that was scanned twice: where in the frame the second pass fits best."""

import numpy as np
from numpy.typing import NDArray

from twinloop.analysts.stm_levelling import lines_apart_px

__all__ = ["drift_of_check"]

F8 = NDArray[np.float64]

AS_GOOD = 0.03
"""Lines that fit worse than the best by less tell nothing apart: of these the nearest is taken [1]."""


def drift_of_check(z: F8, check: F8, check_line: int) -> tuple[float, float, float, float] | None:
    """Return how far the sample has moved since the line's first pass, and how well it fits.

    A feature that has moved along a line by +d is seen d later; one that has moved to higher lines
    brings what was in lower ones under the check line.

    Args:
        z: the frame, in the order of acquisition, shape (lines, pixels) [A].
        check: the line again, shape (pixels,) [A]; empty where there is none.
        check_line: which line.

    Returns:
        Columns [px], rows [px], correlation (0 to 1), and over how many rows the fit is as good, as a
        standard deviation [px]; None without a check line.
    """
    if check.size != z.shape[1] or not 0 <= check_line < z.shape[0]:
        return None
    reach_rows, reach = max(4, z.shape[0] // 6), max(4, z.shape[1] // 6)
    low, high = max(0, check_line - reach_rows), min(z.shape[0], check_line + reach_rows + 1)
    flat_check = _level(check)
    found = [lines_apart_px(_level(z[row]), flat_check, reach) for row in range(low, high)]
    likeness = np.array([fit for _, fit in found])
    as_good = np.flatnonzero(likeness >= likeness.max() - AS_GOOD)
    spread = float(as_good.std())
    best = int(np.argmax(likeness))
    if spread > 1.0:
        # along a straight step, or in a lattice, many lines look alike
        best = int(as_good[np.argmin(np.abs(as_good - (check_line - low)))])
        return found[best][0], float(check_line - low - best), float(likeness[best]), spread
    rows = float(check_line - (low + best))
    if 0 < best < likeness.size - 1:
        one, two, three = likeness[best - 1 : best + 2]
        bend = one - 2.0 * two + three
        rows -= 0.5 * (one - three) / bend if bend < 0 else 0.0
    return found[best][0], rows, float(likeness[best]), spread


def _level(line: F8) -> F8:
    places = np.arange(line.size) - 0.5 * (line.size - 1)
    level = line - line.mean()
    flat: F8 = level - float(level @ places) / float(places @ places) * places
    return flat
