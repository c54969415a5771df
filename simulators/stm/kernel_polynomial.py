"""Local density of states of large boxes by the kernel polynomial method.

The density is expanded in Chebyshev polynomials of the scaled Hamiltonian; its moments
<start| T_m(H) |start> cost one sparse product for two of them, so time and memory grow linearly
with the orbitals. A start vector may be one orbital, or the tails of all orbitals at a tip
(`tersoff_hamann.tails`), which gives the density at the tip itself.

The truncation broadens a level. With Jackson's kernel to nearly a Gaussian of standard deviation
pi h / M in the middle of the band, h half its width, M moments; with the Lorentz kernel to nearly a
Lorentzian of half width lambda h / M.

Source: Weisse, Wellein, Alvermann & Fehske, Rev. Mod. Phys. 78, 275 (2006),
doi:10.1103/RevModPhys.78.275, section II: moments two at a time, kernels of Jackson and Lorentz and
their widths, stochastic trace.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.compiled import compiled
from twinloop.simulators.stm.tight_binding import TightBinding

__all__ = ["Expansion", "expand", "expand_orbitals", "expand_trace"]

Kernel = Literal["jackson", "lorentz"]

LAMBDA = 4.0
"""Resolution parameter of the Lorentz kernel (Weisse et al. 2006: 3 to 5)."""

MARGIN = 1.01
"""The scaled spectrum stays inside (-1, 1) by this factor."""

BLOCK_BYTES = 128_000_000
"""Memory for the two blocks of vectors of a batch [B]."""


@dataclass(frozen=True, eq=False, slots=True)
class Expansion:
    """Chebyshev moments of some start vectors.

    Args:
        moments: shape (starts, M), float64.
        centre_eV: of the scaled spectrum [eV].
        half_eV: energy that 1 stands for [eV].

    Example:
        >>> from twinloop.simulators.stm.graphene import graphene
        >>> found = expand_orbitals(graphene((30, 18)), [0, 1], moments=128)
        >>> found.density(np.linspace(-3.0, 3.0, 7)).shape
        (2, 7)
    """

    moments: NDArray[np.float64]
    centre_eV: float
    half_eV: float

    def density(
        self, energies_eV: NDArray[np.float64], *, kernel: Kernel = "jackson"
    ) -> NDArray[np.float64]:
        """Return the density of each start vector, shape (starts, e) [1/eV], one spin.

        Args:
            energies_eV: shape (e,); 0 outside the scaled spectrum [eV].
            kernel: "jackson" (sharper) or "lorentz" (a Green function's line).
        """
        x = (energies_eV - self.centre_eV) / self.half_eV
        inside = np.abs(x) < 1.0
        angles = np.arccos(np.clip(x, -1.0, 1.0))
        order = self.moments.shape[1]
        damped = self.moments * _damping(order, kernel)
        damped[:, 1:] *= 2.0
        series = damped @ np.cos(np.arange(order)[:, None] * angles[None, :])
        root = np.sqrt(np.where(inside, 1.0 - x * x, 1.0))
        density: NDArray[np.float64] = np.where(
            inside[None, :], series / (np.pi * root * self.half_eV), 0.0
        )
        return density

    def width_eV(self, energies_eV: NDArray[np.float64], *, kernel: Kernel) -> NDArray[np.float64]:
        """Return the width of a level at each energy: sd (jackson) or half width (lorentz) [eV]."""
        x = np.clip((energies_eV - self.centre_eV) / self.half_eV, -1.0, 1.0)
        order = self.moments.shape[1]
        scale = LAMBDA if kernel == "lorentz" else np.pi
        width: NDArray[np.float64] = scale * self.half_eV * np.sqrt(1.0 - x * x) / order
        return width


def expand(matrix: Any, starts: Any, *, moments: int) -> Expansion:
    """Return the moments of start vectors.

    Args:
        matrix: sparse Hermitian, shape (n, n), float64 or complex128 [eV].
        starts: array or sparse matrix, shape (s, n); one density each.
        moments: how many, M; even, >= 2.

    Raises:
        ArgumentError: an odd or too small number of moments, or vectors of another length.
    """
    if moments < 2 or moments % 2:
        raise ArgumentError("moments", moments, "an even number >= 2")
    if starts.ndim != 2 or starts.shape[1] != matrix.shape[0]:
        raise ArgumentError("starts", starts.shape, f"the shape (s, {matrix.shape[0]})")
    centre_eV, half_eV = _bounds(matrix)
    found = np.empty((starts.shape[0], moments))
    for rows in _batches(starts.shape[0], matrix.shape[0], matrix.dtype.itemsize):
        block = starts[rows]
        dense = block.toarray() if scipy.sparse.issparse(block) else block
        found[rows] = _moments(matrix, np.asarray(dense), moments, centre_eV, half_eV)
    return Expansion(found, centre_eV, half_eV)


def expand_orbitals(
    box: TightBinding, orbitals: ArrayLike, *, moments: int, k_per_A: ArrayLike = (0.0, 0.0)
) -> Expansion:
    """Return the moments of single orbitals: their local density of states.

    Args:
        box: any.
        orbitals: which, shape (o,).
        moments: how many, even.
        k_per_A: wave vector of the box [1/A].
    """
    chosen = np.asarray(orbitals, dtype=np.int64)
    ones = np.ones(chosen.size)
    starts = scipy.sparse.csr_matrix(
        (ones, (np.arange(chosen.size), chosen)), shape=(chosen.size, box.n)
    )
    return expand(box.hamiltonian(k_per_A), starts, moments=moments)


def expand_trace(
    box: TightBinding, *, moments: int, vectors: int, rng: np.random.Generator
) -> Expansion:
    """Return the mean moments of random vectors: the total density per orbital, as one start.

    Its relative error falls as 1 / sqrt(vectors * n).

    Args:
        box: any.
        moments: how many, even.
        vectors: random vectors of signs.
        rng: the source of chance.
    """
    signs = rng.choice(np.array([-1.0, 1.0]), size=(vectors, box.n)) / np.sqrt(box.n)
    found = expand(box.hamiltonian(), signs, moments=moments)
    return Expansion(found.moments.mean(axis=0)[None, :], found.centre_eV, found.half_eV)


def _damping(order: int, kernel: Kernel) -> NDArray[np.float64]:
    """Return the factor of each moment, shape (order,) [1]."""
    m = np.arange(order)
    factors: NDArray[np.float64]
    if kernel == "jackson":
        turn = np.pi / (order + 1)
        factors = ((order - m + 1) * np.cos(turn * m) + np.sin(turn * m) / np.tan(turn)) / (
            order + 1
        )
    else:
        factors = np.sinh(LAMBDA * (1.0 - m / order)) / np.sinh(LAMBDA)
    return factors


def _bounds(matrix: Any) -> tuple[float, float]:
    """Return centre and half width that hold the spectrum for certain (Gershgorin) [eV]."""
    diagonal = matrix.diagonal().real
    reach = np.asarray(abs(matrix).sum(axis=1)).ravel() - np.abs(diagonal)
    low, high = float((diagonal - reach).min()), float((diagonal + reach).max())
    return 0.5 * (low + high), max(0.5 * MARGIN * (high - low), 1e-9)


def _batches(starts: int, n: int, item_bytes: int) -> Iterator[slice]:
    """Yield slices of start vectors whose two blocks stay below `BLOCK_BYTES`."""
    size = int(np.clip(BLOCK_BYTES // (2 * n * item_bytes), 1, 16))
    for first in range(0, starts, size):
        yield slice(first, min(first + size, starts))


def _moments(
    matrix: Any, block: NDArray[Any], order: int, centre_eV: float, half_eV: float
) -> NDArray[np.float64]:
    """Run the recursion for one batch, shape (b, n) to (b, order)."""
    kind = np.result_type(matrix.dtype, block.dtype)
    now = np.ascontiguousarray(block.T, dtype=kind)
    after = np.zeros_like(now)
    values = matrix.data.astype(kind)
    found = np.empty((now.shape[1], order))
    half = 0.5
    for m in range(0, order, 2):
        squares, products = _step(
            matrix.indptr, matrix.indices, values, centre_eV, 2.0 * half / half_eV, now, after
        )
        found[:, m], found[:, m + 1] = squares, products
        # The first product makes T_1 = x T_0; from then on 2 x T_m - T_(m-1), in place.
        now, after, half = after, now, 1.0
    found[:, 2::2] = 2.0 * found[:, 2::2] - found[:, :1]
    found[:, 3::2] = 2.0 * found[:, 3::2] - found[:, 1:2]
    return found


@compiled
def _step(
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[Any],
    centre: float,
    factor: float,
    now: NDArray[Any],
    after: NDArray[Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put factor * (H - centre) now - after into `after`; return <now|now> and <after|now>."""
    n, b = now.shape
    squares, products = np.zeros(b), np.zeros(b)
    row = np.empty(b, dtype=now.dtype)
    for i in range(n):
        for c in range(b):
            row[c] = -centre * now[i, c]
        for e in range(starts[i], starts[i + 1]):
            value, column = values[e], columns[e]
            for c in range(b):
                row[c] += value * now[column, c]
        for c in range(b):
            made = factor * row[c] - after[i, c]
            after[i, c] = made
            here = np.conj(now[i, c])
            squares[c] += (here * now[i, c]).real
            products[c] += (here * made).real
    return squares, products
