"""Sobol points, scrambled, each by its number: an even spread that needs no model.

Point n of a sequence is computed from (seed, n) alone, so a conductor can give the first points of
a campaign before any worker is up, and give them again after a crash. It is written here rather
than taken from a library because importing one costs a second that an instrument would wait, and
because the points must not change with that library's version.
"""

from functools import lru_cache

import numpy as np

from twinloop.errors import ArgumentError
from twinloop.ids import seed_of
from twinloop.planners.known import Known
from twinloop.planners.space import Floats

__all__ = ["MAX_DIMENSIONS", "sobol", "sobol_point"]

_BITS = 32

# One row for each dimension after the first: the inner coefficients of its primitive polynomial as
# an integer, and its initial direction numbers.
# Source: Joe & Kuo, SIAM J. Sci. Comput. 30, 2635 (2008), set "new-joe-kuo-6", dimensions 2 to 32.
# fmt: off
_DIRECTIONS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (0, (1,)), (1, (1, 3)), (1, (1, 3, 1)), (2, (1, 1, 1)), (1, (1, 1, 3, 3)), (4, (1, 3, 5, 13)),
    (2, (1, 1, 5, 5, 17)), (4, (1, 1, 5, 5, 5)), (7, (1, 1, 7, 11, 19)), (11, (1, 1, 5, 1, 1)),
    (13, (1, 1, 1, 3, 11)), (14, (1, 3, 5, 5, 31)), (1, (1, 3, 3, 9, 7, 49)),
    (13, (1, 1, 1, 15, 21, 21)), (16, (1, 3, 1, 13, 27, 49)), (19, (1, 1, 1, 15, 7, 5)),
    (22, (1, 3, 1, 15, 13, 25)), (25, (1, 1, 5, 5, 19, 61)), (1, (1, 3, 7, 11, 23, 15, 103)),
    (4, (1, 3, 7, 13, 13, 15, 69)), (7, (1, 1, 3, 13, 7, 35, 63)), (8, (1, 3, 5, 9, 1, 25, 53)),
    (14, (1, 3, 1, 13, 9, 35, 107)), (19, (1, 3, 1, 5, 27, 61, 31)), (21, (1, 1, 5, 11, 19, 41, 61)),
    (28, (1, 3, 5, 3, 3, 13, 69)), (31, (1, 1, 7, 13, 1, 19, 1)), (32, (1, 3, 7, 5, 13, 19, 59)),
    (37, (1, 1, 3, 9, 25, 29, 41)), (41, (1, 3, 5, 13, 23, 1, 55)), (42, (1, 3, 7, 3, 13, 59, 17)),
)
# fmt: on
MAX_DIMENSIONS = len(_DIRECTIONS) + 1


def sobol(known: Known) -> Floats:
    """Return the point of the campaign's own Sobol sequence that this proposal's number stands for.

    Args:
        known: gives the dimension, the seed of the campaign (one sequence) and the number.

    Returns:
        A point inside the unit cube, shape (d,).
    """
    return sobol_point(known.d, known.proposal, seed=known.campaign_seed)


def sobol_point(d: int, index: int, *, seed: int | None) -> Floats:
    """Return point `index` of the Sobol sequence in `d` dimensions.

    Scrambled by a random linear matrix and a digital shift, which keep the net property.
    Source: Matousek, J. Complexity 14, 527 (1998); order of the points: Antonov & Saleev,
    USSR Comput. Math. Math. Phys. 19, 252 (1979).

    Args:
        d: dimensions, 1 to 32.
        index: number of the point, from 0, below 2**32.
        seed: which scrambling; None for the plain sequence.

    Returns:
        A point strictly inside the unit cube (the plain one: from 0), shape (d,).

    Raises:
        ArgumentError: a dimension or an index out of range.

    Example:
        >>> sobol_point(2, 1, seed=None)
        array([0.5, 0.5])
    """
    if not 1 <= d <= MAX_DIMENSIONS:
        raise ArgumentError("d", d, f"1 to {MAX_DIMENSIONS} dimensions")
    if not 0 <= index < 2**_BITS:
        raise ArgumentError("index", index, "0 to 2**32 - 1")
    columns, shift = _net(d, seed)
    gray = index ^ (index >> 1)
    digits = shift.copy()
    for bit in range(gray.bit_length()):
        if gray >> bit & 1:
            digits ^= columns[:, bit]
    centre = 0.0 if seed is None else 0.5
    return (digits.astype(np.float64) + centre) / 2.0**_BITS


@lru_cache(maxsize=64)
def _net(d: int, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the generating columns, shape (d, 32), and the shift, shape (d,), as uint64."""
    columns = np.array([_plain_columns(j) for j in range(d)], dtype=np.uint64)
    if seed is None:
        return columns, np.zeros(d, dtype=np.uint64)
    # Only the raw stream of a bit generator is promised to stay the same between numpy versions.
    stream = np.random.PCG64(seed_of(seed, "sobol"))
    scrambled = np.zeros_like(columns)
    shift = np.zeros(d, dtype=np.uint64)
    for j in range(d):
        raw = [int(word) for word in stream.random_raw(_BITS + 1)]
        shift[j] = raw[_BITS] >> _BITS
        rows = [_matrix_row(raw[row], row) for row in range(_BITS)]
        for bit in range(_BITS):
            scrambled[j, bit] = _product(rows, int(columns[j, bit]))
    return scrambled, shift


def _plain_columns(j: int) -> list[int]:
    """Return the 32 direction numbers of dimension `j`, as binary fractions times 2**32."""
    if j == 0:
        return [1 << (_BITS - 1 - bit) for bit in range(_BITS)]
    inner, m = _DIRECTIONS[j - 1]
    degree = len(m)
    columns = [m[bit] << (_BITS - 1 - bit) for bit in range(degree)]
    for bit in range(degree, _BITS):
        new = columns[bit - degree] ^ (columns[bit - degree] >> degree)
        for k in range(1, degree):
            if inner >> (degree - 1 - k) & 1:
                new ^= columns[bit - k]
        columns.append(new)
    return columns


def _matrix_row(word: int, row: int) -> int:
    """Return row `row` of a lower triangular matrix with ones on its diagonal, digit 0 highest."""
    diagonal = 1 << (_BITS - 1 - row)
    above = (word >> _BITS) & ((1 << _BITS) - (diagonal << 1))
    return above | diagonal


def _product(rows: list[int], digits: int) -> int:
    """Return matrix times vector over the field of two elements."""
    result = 0
    for row in rows:
        result = (result << 1) | ((row & digits).bit_count() & 1)
    return result
