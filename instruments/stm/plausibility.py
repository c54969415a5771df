"""What the microscope's own computer can say against an image, before anybody interprets it.

Each check returns a complaint or None. An implementation registers them with `@scan.confirm`. A complaint
stops the instrument until a person has looked, so only what is plainly wrong counts. A sample that drifts
and a double tip make a poor image of a sound instrument: the analyst finds them (`analysts.stm`).
"""

import numpy as np
from numpy.typing import NDArray

from twinloop.instruments.stm.interface import Scan

__all__ = ["complaint_about"]

RINGING = 0.3
"""Fast error of the loop from which it oscillates [1]; quiet loops stay below 0.1."""

SATURATED = 0.002
"""Part of all samples at the preamplifier's limit that noise and steps do not explain [1]."""

JUMP_A = 6.0
"""Jump of a whole line that no step of a surface makes [A]."""

LIFTING, TOUCHING = 2.0, 0.1
"""Over `RINGING`, how much a loop rings that lifts a tip from the surface, and the share of samples at
the preamplifier's limit that a touch alone does not explain [1]."""


def complaint_about(scan: Scan) -> str | None:
    """Return what speaks against a scan; None when nothing does."""
    forward = np.asarray(scan.z_forward_A)
    share = scan.saturations / max(2 * forward.size, 1)
    jump_A = _largest_jump_A(forward)
    is_touching = SATURATED < share < TOUCHING and jump_A > 0.5 * JUMP_A
    if scan.ringing > RINGING * (LIFTING if is_touching else 1.0):
        return (
            f"the loop oscillates (fast error {scan.ringing:.2g}, quiet below 0.1): lower the gains"
        )
    if is_touching:
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
    return None


def _largest_jump_A(z: NDArray[np.float32]) -> float:
    """Return the largest median difference of neighbouring lines beside the usual one [A]."""
    jumps = np.median(np.diff(z.astype(np.float64), axis=0), axis=1)
    return float(np.abs(jumps - np.median(jumps)).max()) if jumps.size else 0.0
