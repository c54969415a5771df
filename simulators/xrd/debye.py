"""Scattering of a cluster at all orientations: the Debye sum over every pair of atoms.

    I(q) = sum_i f_i^2 + 2 sum_(i<j) f_i f_j exp(-q^2 (u_i^2 + u_j^2) / 2) sin(q r_ij) / (q r_ij)

A histogram of distances would be off by percents at high q. Here each distance is spread smoothly
over eight points of a grid and the spreading is divided out afterwards, as non-uniform Fourier
transforms do: every distance counts exactly where it lies, the sum is right to 1e-8 of its largest
value, and it costs the same for ten points of q as for a thousand. `direct_sums` adds the sines
themselves, and a test keeps the two equal.

Source: Debye, Ann. Phys. 351, 809 (1915), doi:10.1002/andp.19153510606; Barnett, Magland & af Klinteberg,
SIAM J. Sci. Comput. 41, C479 (2019), doi:10.1137/18M120885X, equations 1.8 and 4.5 (the kernel and its
error).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.compiled import compiled
from twinloop.simulators.xrd.scattering_factors import form_factors

__all__ = ["debye_intensity", "direct_sums", "pair_sums"]

WIDTH, DEGREE, OVERSAMPLING = 8, 8, 4.0
"""Points over which a distance is spread, degree of the polynomials that do it, and how much finer
the grid of distances is than the highest q asks for: error exp(-pi 8 sqrt(1 - 1/4)) = 4e-10."""

BETA = 0.98 * np.pi * WIDTH * (1.0 - 0.5 / OVERSAMPLING)
"""Shape of the kernel exp(beta (sqrt(1 - x^2) - 1)) [1]."""

STRIDE = 32


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
        >>> round(float(pair[0]))  # all twelve electrons scatter in phase
        144
    """
    q = np.asarray(q_per_A, dtype=np.float64).reshape(-1)
    kinds, which = np.unique(np.asarray(numbers, dtype=np.int64), return_inverse=True)
    rms = np.broadcast_to(np.asarray(rms_A, dtype=np.float64), kinds.shape)
    f = form_factors(kinds, q)
    places = np.asarray(positions_A, dtype=np.float64)
    if places.shape != (which.size, 3) or which.size == 0:
        raise ArgumentError("positions_A", places.shape, f"the shape ({which.size}, 3), 1 or more")
    groups = [np.ascontiguousarray(places[which == kind]) for kind in range(kinds.size)]
    counts = np.array([group.shape[0] for group in groups], dtype=np.float64)
    total: NDArray[np.float64] = counts @ f**2
    pairs = [(a, b) for a in range(len(groups)) for b in range(a, len(groups))]
    sums = _all_sums([(groups[a], None if a == b else groups[b]) for a, b in pairs], q)
    for (a, b), of_pair in zip(pairs, sums, strict=True):
        damped = np.exp(-0.5 * q**2 * (rms[a] ** 2 + rms[b] ** 2))
        total = total + 2.0 * f[a] * f[b] * damped * of_pair
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
    return _all_sums([(first_A, second_A)], np.asarray(q_per_A, dtype=np.float64).reshape(-1))[0]


def direct_sums(
    first_A: NDArray[np.float64], second_A: NDArray[np.float64] | None, q_per_A: ArrayLike
) -> NDArray[np.float64]:
    """Return the same as `pair_sums`, sine by sine: slow, and right to the last digits.

    Args:
        first_A: positions, shape (n, 3) [A].
        second_A: positions of the partners, shape (m, 3) [A]; None: pairs within `first_A`.
        q_per_A: momentum transfer, > 0, shape (n_q,) [1/A].
    """
    q = np.asarray(q_per_A, dtype=np.float64).reshape(-1)
    one, two, is_same = _both(first_A, second_A)
    sums: NDArray[np.float64] = _sum_sines(one, two, is_same, q) / q
    return sums


def _all_sums(
    pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64] | None]],
    q: NDArray[np.float64],
) -> list[NDArray[np.float64]]:
    """Return `pair_sums` of several pairs of groups on one grid of distances."""
    if q.size == 0 or not bool((q >= 0).all()):
        raise ArgumentError("q_per_A", q, "one number or more, >= 0 1/A")
    groups = [_both(first, second) for first, second in pairs]
    corners = np.concatenate([part for one, two, _ in groups for part in (one, two)])
    longest_A = float(np.linalg.norm(np.ptp(corners, axis=0)))
    step_A = float(np.pi / (OVERSAMPLING * max(float(q.max()), 1e-9)))
    size = int(np.ceil(longest_A / step_A)) + 2 * WIDTH
    heights = np.array([_spread(*group, step_A, _polynomials(), size) for group in groups])
    if not bool(np.isfinite(heights).all()):
        raise ArgumentError("positions_A", "two atoms at one place", "atoms apart from each other")
    places_A = np.asarray((np.arange(size) - WIDTH) * step_A, dtype=np.float64)
    spreading = _spreading(q * step_A)
    above = np.where(q > 0, q, 1.0)
    return [
        np.where(q > 0, sines / (spreading * above), _count(*group))
        for group, sines in zip(groups, _sines(heights, places_A, q), strict=True)
    ]


def _both(
    first_A: NDArray[np.float64], second_A: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    one = np.ascontiguousarray(first_A, dtype=np.float64)
    two = one if second_A is None else np.ascontiguousarray(second_A, dtype=np.float64)
    return one, two, second_A is None


def _count(one: NDArray[np.float64], two: NDArray[np.float64], is_same: bool) -> float:
    n, m = one.shape[0], two.shape[0]
    return n * (n - 1) / 2 if is_same else float(n * m)


@cache
def _polynomials() -> NDArray[np.float64]:
    """Return the kernel on each of its unit intervals as a polynomial, shape (degree + 1, width).

    Coefficients stand from the highest power down; the argument runs from 0 to 1.
    """
    nodes = 0.5 + 0.5 * np.cos(np.pi * (np.arange(2 * DEGREE) + 0.5) / (2 * DEGREE))
    columns = [np.polyfit(nodes, _kernel(k - 0.5 * WIDTH + nodes), DEGREE) for k in range(WIDTH)]
    return np.ascontiguousarray(np.column_stack(columns))


def _kernel(away: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the spreading of a distance that far away, in steps of the grid [1]."""
    inside = np.maximum(1.0 - (2.0 * away / WIDTH) ** 2, 0.0)
    height: NDArray[np.float64] = np.exp(BETA * (np.sqrt(inside) - 1.0))
    return height


def _spreading(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Fourier transform of the kernel at q times the step, shape (n_q,) [1]."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    away = 0.5 * WIDTH * nodes
    total: NDArray[np.float64] = np.cos(np.outer(phase, away)) @ (
        0.5 * WIDTH * weights * _kernel(away)
    )
    return total


def _sines(
    heights: NDArray[np.float64], places_A: NDArray[np.float64], q: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return sum heights sin(q places) of several sets of heights, shape (n_sets, n_q)."""
    step = (q[-1] - q[0]) / max(q.size - 1, 1)
    is_even = bool(np.allclose(q, q[0] + step * np.arange(q.size), rtol=0.0, atol=1e-7 * step))
    if q.size < 3 * STRIDE or not is_even:
        total: NDArray[np.float64] = heights @ np.sin(np.outer(places_A, q))
        return total
    # exp(i (a + b) r) = exp(i a r) exp(i b r): on an even grid few exponentials serve all points
    rows = -(-q.size // STRIDE)
    coarse = np.exp(1j * np.outer(q[0] + step * STRIDE * np.arange(rows), places_A))
    fine = np.exp(1j * np.outer(places_A, step * np.arange(STRIDE)))
    waves = (heights[:, None, :] * coarse) @ fine
    sines: NDArray[np.float64] = waves.imag.reshape(heights.shape[0], -1)[:, : q.size]
    return sines


@compiled
def _sum_sines(
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    is_same: bool,
    q: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return sum sin(q r) / r, shape (n_q,)."""
    total = np.zeros(q.size)
    for i in range(one.shape[0]):
        for j in range(i + 1 if is_same else 0, two.shape[0]):
            x, y, z = two[j, 0] - one[i, 0], two[j, 1] - one[i, 1], two[j, 2] - one[i, 2]
            r = np.sqrt(x * x + y * y + z * z)
            for k in range(q.size):
                total[k] += np.sin(q[k] * r) / r
    return total


@compiled
def _spread(
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    is_same: bool,
    step: float,
    polynomials: NDArray[np.float64],
    size: int,
) -> NDArray[np.float64]:
    """Return 1 / r of every pair, spread over the grid (k - 8) step, k = 0, ..., size - 1."""
    heights = np.zeros(size)
    # a block of pairs at a time: loops over it are what the processor does several at once
    first, inside, weight = np.zeros(64, np.int64), np.zeros(64), np.zeros(64)
    part, parts = np.zeros(64), np.zeros((64, 8))
    for i in range(one.shape[0]):
        start = i + 1 if is_same else 0
        for low in range(start, two.shape[0], 64):
            block = min(64, two.shape[0] - low)
            for p in range(block):
                x = two[low + p, 0] - one[i, 0]
                y = two[low + p, 1] - one[i, 1]
                z = two[low + p, 2] - one[i, 2]
                r = np.sqrt(x * x + y * y + z * z)
                weight[p] = 1.0 / r if r > 0.0 else np.nan
                at = r / step - 4.0
                first[p] = int(np.ceil(at))
                inside[p] = first[p] - at
            for lane in range(8):
                for p in range(block):
                    part[p] = polynomials[0, lane]
                for power in range(1, polynomials.shape[0]):
                    factor = polynomials[power, lane]
                    for p in range(block):
                        part[p] = part[p] * inside[p] + factor
                for p in range(block):
                    parts[p, lane] = weight[p] * part[p]
            for p in range(block):
                for lane in range(8):
                    heights[first[p] + 8 + lane] += parts[p, lane]
    return heights
