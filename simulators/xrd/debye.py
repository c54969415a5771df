"""Scattering of a cluster at all orientations: the Debye sum over every pair of atoms, exactly.

    I(q) = sum_i f_i^2 + 2 sum_(i<j) f_i f_j exp(-q^2 (u_i^2 + u_j^2) / 2) sin(q r_ij) / (q r_ij)

No histogram of distances is made, because bins of 0.01 A are off by percents at high q. On an even
grid of q the sine obeys sin((k + 1) x) = 2 cos(x) sin(k x) - sin((k - 1) x), which costs two
operations a pair and point; it starts afresh every 64 points, so that rounding stays below 1e-9.

Source: Debye, Ann. Phys. 351, 809 (1915), doi:10.1002/andp.19153510606. The recurrence is
Chebyshev's.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.compiled import compiled
from twinloop.simulators.xrd.scattering_factors import form_factors

__all__ = ["debye_intensity", "pair_sums"]

BLOCK = 64
"""Pairs that go through the recurrence together, and points after which it starts afresh."""

LANES = 8


def debye_intensity(
    numbers: ArrayLike, positions_A: ArrayLike, q_per_A: ArrayLike, *, rms_A: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """Return the orientation average of the intensity of a cluster, shape (n_q,) [electrons^2].

    Args:
        numbers: atomic numbers, shape (n,).
        positions_A: shape (n, 3) [A].
        q_per_A: momentum transfer, any grid (an even one is faster), >= 0, shape (n_q,) [1/A].
        rms_A: thermal displacement along one axis, one for all or one an element in the order of
            rising atomic number [A]; atoms move independently.

    Raises:
        ArgumentError: shapes that do not fit, or a momentum transfer that is negative.

    Example:
        >>> pair = debye_intensity([6, 6], [[0, 0, 0], [0, 0, 1.4]], [0.0])
        >>> round(float(pair[0]), 1)  # all twelve electrons scatter in phase
        144.0
    """
    q = np.asarray(q_per_A, dtype=np.float64).reshape(-1)
    kinds, which = np.unique(np.asarray(numbers, dtype=np.int64), return_inverse=True)
    rms = np.broadcast_to(np.asarray(rms_A, dtype=np.float64), kinds.shape)
    f = form_factors(kinds, q)
    groups = _groups(which, kinds.size, positions_A)
    counts = np.array([group.shape[0] for group in groups], dtype=np.float64)
    total: NDArray[np.float64] = counts @ f**2
    for a, first in enumerate(groups):
        for b in range(a, len(groups)):
            damped = np.exp(-0.5 * q**2 * (rms[a] ** 2 + rms[b] ** 2))
            sums = pair_sums(first, None if a == b else groups[b], q)
            total = total + 2.0 * f[a] * f[b] * damped * sums
    return total


def pair_sums(
    first_A: NDArray[np.float64], second_A: NDArray[np.float64] | None, q_per_A: ArrayLike
) -> NDArray[np.float64]:
    """Return sum sin(q r) / (q r) over pairs of atoms, each pair once, shape (n_q,) [1].

    Args:
        first_A: positions, shape (n, 3) [A].
        second_A: positions of the partners, shape (m, 3) [A]; None: pairs within `first_A`.
        q_per_A: momentum transfer, >= 0, shape (n_q,) [1/A].

    Raises:
        ArgumentError: a momentum transfer that is negative, or two atoms at one place.
    """
    q = np.asarray(q_per_A, dtype=np.float64).reshape(-1)
    if q.size == 0 or not bool((q >= 0).all()):
        raise ArgumentError("q_per_A", q, "one number or more, >= 0 1/A")
    one = np.ascontiguousarray(first_A, dtype=np.float64)
    two = one if second_A is None else np.ascontiguousarray(second_A, dtype=np.float64)
    is_same = second_A is None
    n_pairs = one.shape[0] * (one.shape[0] - 1) / 2 if is_same else one.shape[0] * two.shape[0]
    steps = np.diff(q)
    is_even = q.size > 2 and bool(np.allclose(steps, steps[0], rtol=1e-9, atol=1e-12))
    if is_even and steps[0] > 0:
        # the mean step, not the first: rounding of the grid must not add up over its length
        found = _even_sums(one, two, is_same, q[0], (q[-1] - q[0]) / (q.size - 1), q.size)
    else:
        found = _sums(one, two, is_same, q)
    if not bool(np.isfinite(found).all()):
        raise ArgumentError("positions_A", "two atoms at one place", "atoms apart from each other")
    with np.errstate(invalid="ignore", divide="ignore"):
        sums: NDArray[np.float64] = np.where(q > 0, found / q, n_pairs)
    return sums


def _groups(which: Any, n: int, positions_A: ArrayLike) -> list[NDArray[np.float64]]:
    """Return the positions by element."""
    places = np.asarray(positions_A, dtype=np.float64)
    if places.shape != (which.size, 3) or which.size == 0:
        raise ArgumentError("positions_A", places.shape, f"the shape ({which.size}, 3), 1 or more")
    return [np.ascontiguousarray(places[which == kind]) for kind in range(n)]


@compiled
def _sums(
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    is_same: bool,
    q: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return sum sin(q r) / r on any grid."""
    total = np.zeros(q.size)
    for i in range(one.shape[0]):
        for j in range(i + 1 if is_same else 0, two.shape[0]):
            x, y, z = two[j, 0] - one[i, 0], two[j, 1] - one[i, 1], two[j, 2] - one[i, 2]
            r = np.sqrt(x * x + y * y + z * z)
            if r == 0.0:
                return np.full(q.size, np.nan)
            for k in range(q.size):
                total[k] += np.sin(q[k] * r) / r
    return total


@compiled
def _even_sums(
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    is_same: bool,
    start: float,
    step: float,
    size: int,
) -> NDArray[np.float64]:
    """Return sum sin(q r) / r on the grid start + step k."""
    # a sum a lane: neighbouring pairs are added side by side, which the processor does at once
    lanes = np.zeros((size, 8))
    r = np.ones(64)
    weight = np.zeros(64)
    before, now, twice = np.zeros(64), np.zeros(64), np.zeros(64)
    filled = 0
    n = one.shape[0]
    for i in range(n):
        for j in range(i + 1 if is_same else 0, two.shape[0]):
            x, y, z = two[j, 0] - one[i, 0], two[j, 1] - one[i, 1], two[j, 2] - one[i, 2]
            distance = np.sqrt(x * x + y * y + z * z)
            if distance == 0.0:
                return np.full(size, np.nan)
            r[filled], weight[filled] = distance, 1.0 / distance
            filled += 1
            is_last = i >= n - (2 if is_same else 1) and j == two.shape[0] - 1
            if filled < 64 and not is_last:
                continue
            for p in range(filled, 64):
                weight[p] = 0.0
            filled = 0
            for p in range(64):
                twice[p] = 2.0 * np.cos(step * r[p])
            for k in range(size):
                if k % 64 == 0:
                    for p in range(64):
                        before[p] = weight[p] * np.sin((start + step * (k - 1)) * r[p])
                        now[p] = weight[p] * np.sin((start + step * k) * r[p])
                for p in range(0, 64, 8):
                    for lane in range(8):
                        at = p + lane
                        lanes[k, lane] += now[at]
                        following = twice[at] * now[at] - before[at]
                        before[at] = now[at]
                        now[at] = following
    return lanes.sum(axis=1)
