"""What the microscope's own computer can say against an image, before anybody interprets it.

Each check returns a complaint or None. An implementation registers them with `@scan.confirm`; the
analyst looks deeper (`analysts.stm`), and knows double tips.
"""

import numpy as np
from numpy.typing import NDArray

from twinloop.instruments.stm.interface import Scan

__all__ = ["complaint_about", "drift_of_check"]

RINGING = 0.3
"""Fast error of the loop from which it oscillates [1]; quiet loops stay below 0.1."""

SATURATED = 0.002
"""Part of all samples at the preamplifier's limit that noise and steps do not explain [1]."""

JUMP_A = 6.0
"""Jump of a whole line that no step of a surface makes [A]."""

CLEARLY = 0.15
"""By how much a place has to fit better than where the line was, to count as drift [1]."""

DRIFT_SHARE = 0.05
"""Part of a frame's side by which a line may have moved until it is scanned again [1]."""


def complaint_about(scan: Scan) -> str | None:
    """Return what speaks against a scan; None when nothing does."""
    if scan.ringing > RINGING:
        return (
            f"the loop oscillates (fast error {scan.ringing:.2g}, quiet below 0.1): lower the gains"
        )
    forward = np.asarray(scan.z_forward_A)
    share = scan.saturations / max(2 * forward.size, 1)
    jump_A = _largest_jump_A(forward)
    if share > SATURATED and jump_A > 0.5 * JUMP_A:
        return (
            f"the tip has touched the surface: {scan.saturations} samples at the preamplifier's "
            f"limit, lines {jump_A:.1f} A apart: condition the tip, move on"
        )
    if share > SATURATED:
        return (
            f"the preamplifier was at its limit in {share:.1%} of the samples: "
            "check its range and the setpoint"
        )
    if scan.mode == "constant_current" and jump_A > JUMP_A:
        return f"height jumped by {jump_A:.1f} A between two lines: the tip has changed"
    return _complaint_about_drift(scan)


def drift_of_check(scan: Scan) -> tuple[float, float, float] | None:
    """Return how far the check line has moved along x and y [A], and how well it fits (0 to 1).

    None where there is no check line, or where nothing in the line tells places apart.
    """
    check = np.asarray(scan.check_z_A, dtype=np.float64)
    forward = np.asarray(scan.z_forward_A, dtype=np.float64)
    if check.size != forward.shape[1] or forward.shape[0] < 8:
        return None
    row = scan.check_line
    reach_rows = max(4, forward.shape[0] // 6)
    reach_columns = max(4, check.size // 6)
    low = max(0, row - reach_rows)
    rows = forward[low : row + reach_rows + 1]
    likeness = np.array([_likeness(line, check, reach_columns) for line in rows])
    best = int(np.argmax(likeness.max(axis=1)))
    shift = int(np.argmax(likeness[best])) - reach_columns
    pitch_x = float(scan.x_A[1] - scan.x_A[0])
    pitch_y = float(scan.y_A[1] - scan.y_A[0])
    fit = float(likeness[best].max())
    # a lattice, or a line without islands, fits at many places: the first one is as good then
    if fit - float(likeness[row - low, reach_columns]) < CLEARLY:
        return 0.0, 0.0, fit
    return -shift * pitch_x, (low + best - row) * pitch_y, fit


def _complaint_about_drift(scan: Scan) -> str | None:
    moved = drift_of_check(scan)
    if moved is None or moved[2] < 0.93:
        return None
    sides_A = (float(np.ptp(scan.x_A)), float(np.ptp(scan.y_A)))
    if abs(moved[0]) <= DRIFT_SHARE * sides_A[0] and abs(moved[1]) <= DRIFT_SHARE * sides_A[1]:
        return None
    return (
        f"the sample drifted by {moved[0]:.1f}, {moved[1]:.1f} A in half a frame of "
        f"{sides_A[0]:.0f} A: wait, or scan faster"
    )


def _largest_jump_A(z: NDArray[np.float32]) -> float:
    """Return the largest median difference of neighbouring lines beside the usual one [A]."""
    jumps = np.median(np.diff(z.astype(np.float64), axis=0), axis=1)
    return float(np.abs(jumps - np.median(jumps)).max()) if jumps.size else 0.0


def _likeness(
    line: NDArray[np.float64], check: NDArray[np.float64], reach: int
) -> NDArray[np.float64]:
    """Return the correlation for each shift from -reach to reach, shape (2 reach + 1,)."""
    found = np.zeros(2 * reach + 1)
    for i, shift in enumerate(range(-reach, reach + 1)):
        a = _without_slope(line[max(0, -shift) : line.size - max(0, shift)])
        b = _without_slope(check[max(0, shift) : check.size - max(0, -shift)])
        scale = float(np.sqrt((a @ a) * (b @ b)))
        found[i] = float(a @ b) / scale if scale > 0 else 0.0
    return found


def _without_slope(line: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.arange(line.size) - 0.5 * (line.size - 1)
    level = line - line.mean()
    flat: NDArray[np.float64] = level - (level @ places) / (places @ places) * places
    return flat
