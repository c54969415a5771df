"""States of a Hamiltonian and the local density of states, by diagonalisation.

Dense for boxes of a thousand orbitals or so; for larger ones the states inside an energy window by
shift-and-invert Lanczos; beyond 1e5 orbitals see `kernel_polynomial`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.tight_binding import Crystal, TightBinding

__all__ = [
    "Lineshape",
    "States",
    "band_structure",
    "eigenstates",
    "lineshape",
    "local_density",
    "wave_mesh",
]

DENSE_LIMIT = 1500
"""Orbitals up to which `eigenstates` diagonalises the whole matrix."""

Lineshape = Literal["gaussian", "lorentzian"]


@dataclass(frozen=True, eq=False, slots=True)
class States:
    """Eigenstates of one wave vector, in the order of energy.

    Args:
        energies_eV: shape (s,), float64 [eV].
        vectors: shape (n, s), float64 or complex128; columns are normalised.
        k_per_A: wave vector of the box, shape (2,) [1/A].
        weight: of this wave vector among those of a sum; they add up to 1.

    Example:
        >>> from twinloop.simulators.stm.graphene import graphene
        >>> states = eigenstates(graphene((3, 3)))
        >>> states.energies_eV.shape, states.vectors.shape
        ((36,), (36, 36))
    """

    energies_eV: NDArray[np.float64]
    vectors: NDArray[Any]
    k_per_A: NDArray[np.float64]
    weight: float = 1.0


def eigenstates(
    box: TightBinding,
    *,
    window_eV: tuple[float, float] | None = None,
    k_per_A: ArrayLike = (0.0, 0.0),
    weight: float = 1.0,
) -> States:
    """Return the eigenstates of a box, all or those of an energy window.

    Args:
        box: any.
        window_eV: lowest and highest energy [eV]; None: all states, by dense diagonalisation.
        k_per_A: wave vector of the box [1/A].
        weight: of this wave vector in a sum.

    Raises:
        ArgumentError: a window that is empty.
    """
    wave = np.asarray(k_per_A, dtype=np.float64)
    matrix = box.hamiltonian(wave)
    if window_eV is None or box.n <= DENSE_LIMIT:
        energies_eV, vectors = scipy.linalg.eigh(matrix.toarray(), overwrite_a=True)
        if window_eV is None:
            return States(energies_eV, vectors, wave, weight)
    else:
        energies_eV, vectors = _inside(matrix, window_eV)
    low_eV, high_eV = window_eV
    if not low_eV < high_eV:
        raise ArgumentError("window_eV", window_eV, "a low and a higher energy [eV]")
    keep = (energies_eV >= low_eV) & (energies_eV <= high_eV)
    return States(energies_eV[keep], np.ascontiguousarray(vectors[:, keep]), wave, weight)


def wave_mesh(box: TightBinding, counts: tuple[int, int]) -> list[NDArray[np.float64]]:
    """Return wave vectors spread evenly over the box's zone, half a step off its middle [1/A].

    A picture averaged over them has less of the box's own standing waves.

    Source: Monkhorst & Pack, Phys. Rev. B 13, 5188 (1976), doi:10.1103/PhysRevB.13.5188.

    Args:
        box: any.
        counts: how many along each reciprocal vector, >= 1; (1, 1) is half a step off, too.

    Raises:
        ArgumentError: a count below 1.
    """
    if min(counts) < 1:
        raise ArgumentError("counts", counts, "two numbers >= 1")
    reciprocal = 2.0 * np.pi * np.linalg.inv(box.cell_A).T
    return [
        (i + 0.5) / counts[0] * reciprocal[0] + (j + 0.5) / counts[1] * reciprocal[1]
        for i in range(counts[0])
        for j in range(counts[1])
    ]


def lineshape(
    energies_eV: NDArray[np.float64], *, width_eV: float, shape: Lineshape
) -> NDArray[np.float64]:
    """Return a normalised line around 0 at each energy [1/eV].

    Args:
        energies_eV: any shape [eV].
        width_eV: standard deviation of the Gaussian, half width of the Lorentzian [eV], > 0.
        shape: "gaussian" or "lorentzian".

    Raises:
        ArgumentError: a width that is not positive.
    """
    if not width_eV > 0:
        raise ArgumentError("width_eV", width_eV, "a number > 0 eV")
    scaled = energies_eV / width_eV
    line: NDArray[np.float64]
    if shape == "gaussian":
        line = np.exp(-0.5 * scaled**2) / (np.sqrt(2.0 * np.pi) * width_eV)
    else:
        line = 1.0 / (np.pi * width_eV * (1.0 + scaled**2))
    return line


def local_density(
    states: Sequence[States],
    energies_eV: NDArray[np.float64],
    *,
    width_eV: float,
    shape: Lineshape = "gaussian",
    orbitals: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Return the local density of states, sum_n |c_in|^2 L(E - E_n), one spin.

    Args:
        states: of one or several wave vectors.
        energies_eV: shape (e,) [eV].
        width_eV: of the line (`lineshape`) [eV].
        shape: of the line.
        orbitals: which, shape (o,); None: all.

    Returns:
        Shape (o, e), float64 [1/eV for each orbital].
    """
    total = np.zeros(0)
    for one in states:
        chosen = one.vectors if orbitals is None else one.vectors[np.asarray(orbitals)]
        lines = lineshape(
            energies_eV[None, :] - one.energies_eV[:, None], width_eV=width_eV, shape=shape
        )
        part = one.weight * (np.abs(chosen) ** 2 @ lines)
        total = part if total.size == 0 else total + part
    return total


def band_structure(crystal: Crystal, path_per_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bands along a path of wave vectors.

    Args:
        crystal: any.
        path_per_A: shape (p, 2) [1/A].

    Returns:
        Energies in rising order, shape (p, m), float64 [eV].
    """
    bands = [np.linalg.eigvalsh(crystal.bloch(k_per_A)) for k_per_A in path_per_A]
    return np.array(bands)


def _inside(matrix: Any, window_eV: tuple[float, float]) -> tuple[Any, Any]:
    """Return all states of a window, and perhaps some beside it, by shift-and-invert Lanczos."""
    low_eV, high_eV = window_eV
    # A shift a little off the middle: at an exact eigenvalue (graphene's 0) there is no inverse.
    middle_eV = 0.5 * (low_eV + high_eV) + 1.37e-4 * (high_eV - low_eV)
    half_eV = max(high_eV - middle_eV, middle_eV - low_eV)
    n = matrix.shape[0]
    order = min(n - 2, 40)
    start = np.random.default_rng(0).standard_normal(n)
    while True:
        energies_eV, vectors = scipy.sparse.linalg.eigsh(
            matrix.tocsc(), k=order, sigma=middle_eV, which="LM", v0=start
        )
        if np.abs(energies_eV - middle_eV).max() > half_eV or order >= n - 2:
            rise = np.argsort(energies_eV)
            return energies_eV[rise], vectors[:, rise]
        order = min(n - 2, 2 * order)
