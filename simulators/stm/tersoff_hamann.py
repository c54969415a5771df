"""The current between a surface and a tip: wave functions of the sample at the tip's centre.

I(r, V) = G0 / e * integral of rho(r, E) over the window that the bias opens, rho(r, E) the local
density of states of the sample at the centre of a tip whose own wave is spherical. In the vacuum
every orbital ends in the solution of (laplace - kappa^2) psi = 0 of its angular momentum, a
modified spherical Bessel function k_l(kappa r). Such tails have a closed Fourier transform in the
plane, exp(-q z) with q = sqrt(kappa^2 + |k + G|^2), so the waves above a periodic box are one FFT
per state and height, without a cut-off.

It follows that states of large wave vector decay faster: at graphene's K point the current falls
with 2 sqrt(kappa^2 + K^2), not with 2 kappa.

Not modelled: the barrier's change with bias and distance, image charge, tips with p or d waves, the
work function's variation along the surface.

Source: Tersoff & Hamann, Phys. Rev. B 31, 805 (1985), doi:10.1103/PhysRevB.31.805;
tails and derivative rule: Chen, Phys. Rev. B 42, 8841 (1990), doi:10.1103/PhysRevB.42.8841; decay
with wave vector: Tersoff, Phys. Rev. Lett. 57, 440 (1986).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.density_of_states import States
from twinloop.simulators.stm.tight_binding import TightBinding

__all__ = [
    "CONDUCTANCE_NA_PER_V",
    "CONTACT_A",
    "Waves",
    "corrugation_decay_per_A",
    "decay_per_A",
    "tails",
]

CONDUCTANCE_NA_PER_V = 77480.91729
"""Conductance quantum 2 e^2 / h [nA/V] (CODATA 2018)."""

CONTACT_A = 2.5
"""Distance at which an orbital's tail has amplitude 1, so that a level passes about one conductance
quantum [A]: a stand-in for tip-sample contact; it sets the scale of currents, not their ratios."""

MASS_FACTOR_PER_A = 0.512317
"""sqrt(2 m) / hbar in 1 / (A eV^(1/2)) (CODATA 2018)."""

EXPONENT_LIMIT = 30.0
"""Waves that fell by exp(-30) more than the slowest are left out at single points."""


def decay_per_A(work_function_eV: float) -> float:
    """Return kappa = sqrt(2 m phi) / hbar [1/A]; the current falls as exp(-2 kappa z).

    Args:
        work_function_eV: mean barrier of tip and sample [eV], > 0.

    Raises:
        ArgumentError: a barrier that is not positive.
    """
    if not 0.0 < work_function_eV < 100.0:
        raise ArgumentError("work_function_eV", work_function_eV, "a number > 0 eV")
    return float(MASS_FACTOR_PER_A * np.sqrt(work_function_eV))


def corrugation_decay_per_A(*, work_function_eV: float, wave_per_A: float) -> float:
    """Return beta of the corrugation exp(-beta z) that one wave of the lattice leaves [1/A].

    beta = 2 (sqrt(kappa^2 + G^2 / 4) - kappa), about G^2 / (4 kappa) for long waves: what makes a
    close-packed metal look smooth.

    Source: Tersoff & Hamann 1985 (see the module), the section on resolution.

    Args:
        work_function_eV: mean barrier [eV].
        wave_per_A: length of the reciprocal lattice vector G [1/A].
    """
    kappa = decay_per_A(work_function_eV)
    return float(2.0 * (np.hypot(kappa, 0.5 * wave_per_A) - kappa))


@dataclass(frozen=True, eq=False, slots=True)
class Waves:
    """States of a box, continued into the vacuum.

    Args:
        box: whose orbitals the states count.
        states: of one or several wave vectors.
        work_function_eV: mean barrier of tip and sample [eV].

    Example:
        >>> from twinloop.simulators.stm.density_of_states import eigenstates
        >>> from twinloop.simulators.stm.graphene import graphene
        >>> box = graphene((3, 3))
        >>> waves = Waves(box, (eigenstates(box, window_eV=(-0.1, 0.1)),), 4.5)
        >>> waves.amplitudes([[0.0, 0.0, 5.0]])[0].shape
        (4, 1)
    """

    box: TightBinding
    states: tuple[States, ...]
    work_function_eV: float

    def densities(
        self,
        weights: Sequence[NDArray[np.float64]],
        heights_A: NDArray[np.float64],
        grid: tuple[int, int],
    ) -> NDArray[np.float64]:
        """Return sum_n w_n |psi_n|^2 over the whole box at some heights.

        Args:
            weights: for each wave vector, of its states, shape (s,).
            heights_A: of the tip's centre over the topmost nuclei, shape (h,) [A].
            grid: points along the two edges of the box, (P1, P2).

        Returns:
            Shape (h, P1, P2); 1 is the square of an orbital's tail at `CONTACT_A`.
        """
        total = np.zeros((heights_A.size, *grid))
        for states, weight in zip(self.states, weights, strict=True):
            factors, fall_per_A = self._factors(states.k_per_A, grid)
            decays = np.exp(-fall_per_A * heights_A[:, None, None])
            for n in np.flatnonzero(np.abs(weight) > 1e-9):
                wave = self._wave(factors, states, int(n), grid)
                field = scipy.fft.ifft2(wave * decays, overwrite_x=True)
                total += states.weight * weight[n] * (field.real**2 + field.imag**2)
        return total * float(grid[0] * grid[1]) ** 2

    def amplitudes(self, points_A: ArrayLike) -> list[NDArray[np.complex128]]:
        """Return psi_n at single points, for each wave vector shape (s, p).

        Args:
            points_A: shape (p, 3) [A].
        """
        points = np.asarray(points_A, dtype=np.float64).reshape(-1, 3)
        found = []
        for states in self.states:
            grid = self._grid_for(float(points[:, 2].min()))
            factors, fall_per_A = self._factors(states.k_per_A, grid)
            excess = (fall_per_A - fall_per_A.min()) * points[:, 2].min()
            keep = excess < EXPONENT_LIMIT
            wave_per_A = self._wave_vectors(states.k_per_A, grid)[keep]
            turns = wave_per_A @ points[:, :2].T
            plane = np.exp(1j * turns - fall_per_A[keep][:, None] * points[None, :, 2])
            rows = [
                self._wave(factors, states, n, grid)[keep] @ plane
                for n in range(states.energies_eV.size)
            ]
            found.append(np.array(rows, dtype=np.complex128).reshape(-1, points.shape[0]))
        return found

    def _grid_for(self, height_A: float) -> tuple[int, int]:
        """Return a grid of waves that is complete for points at or above this height."""
        kappa = decay_per_A(self.work_function_eV)
        top_per_A = kappa + EXPONENT_LIMIT / max(height_A, 1.0)
        edges_A = np.linalg.norm(self.box.cell_A, axis=1)
        first, second = (int(np.ceil(top_per_A * edge / np.pi * 1.2)) + 3 for edge in edges_A)
        return first, second

    def _wave_vectors(
        self, k_per_A: NDArray[np.float64], grid: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Return k + G of each cell of the transform, shape (P1, P2, 2) [1/A]."""
        reciprocal = 2.0 * np.pi * np.linalg.inv(self.box.cell_A).T
        one = np.fft.fftfreq(grid[0], 1.0 / grid[0])
        two = np.fft.fftfreq(grid[1], 1.0 / grid[1])
        waves: NDArray[np.float64] = (
            one[:, None, None] * reciprocal[0] + two[None, :, None] * reciprocal[1] + k_per_A
        )
        return waves

    def _factors(
        self, k_per_A: NDArray[np.float64], grid: tuple[int, int]
    ) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """Return the transform of each orbital's tail at z = 0 (m, P1, P2), and q (P1, P2)."""
        kappa = decay_per_A(self.work_function_eV)
        wave = self._wave_vectors(k_per_A, grid)
        fall = np.sqrt(kappa**2 + np.sum(wave**2, axis=-1))
        area_A2 = abs(float(np.linalg.det(self.box.cell_A)))
        yukawa = 2.0 * np.pi / (area_A2 * kappa * fall)
        shapes = {name: _shape(name, wave, fall, kappa) for name in set(self.box.crystal.shapes)}
        factors = np.empty((self.box.crystal.m, *grid), dtype=np.complex128)
        for b, name in enumerate(self.box.crystal.shapes):
            x_A, y_A, z_A = self.box.crystal.places_A[b]
            place = np.exp(-1j * (wave[..., 0] * x_A + wave[..., 1] * y_A) + fall * z_A)
            factors[b] = yukawa * shapes[name] * place
        return factors, fall

    def _wave(
        self,
        factors: NDArray[np.complex128],
        states: States,
        n: int,
        grid: tuple[int, int],
    ) -> NDArray[np.complex128]:
        """Return the plane waves of one state at z = 0, shape (P1, P2)."""
        full = self.box.scatter(states.vectors[:, n])
        if states.k_per_A.any():
            one, two = np.indices(self.box.repeats)
            turn = self.box.crystal.vectors_A @ states.k_per_A
            full = full * np.exp(-1j * (one * turn[0] + two * turn[1]))
        sums: Any = scipy.fft.fft2(full)
        rows = np.fft.fftfreq(grid[0], 1.0 / grid[0]).astype(np.int64) % self.box.repeats[0]
        columns = np.fft.fftfreq(grid[1], 1.0 / grid[1]).astype(np.int64) % self.box.repeats[1]
        wave: NDArray[np.complex128] = np.zeros(grid, dtype=np.complex128)
        for factor, part in zip(factors, sums, strict=True):
            wave += factor * part[rows[:, None], columns[None, :]]
        return wave


def tails(
    box: TightBinding, points_A: ArrayLike, *, work_function_eV: float, reach_A: float = 20.0
) -> Any:
    """Return every orbital's tail at points of the vacuum, sparse csr of shape (p, n).

    For boxes too large to diagonalise: as start vectors of `kernel_polynomial.expand` they give the
    density of states at the tip. Orbitals beyond `reach_A` are left out (5e-8 of the amplitude at
    20 A), the nearest image of each counts.

    Args:
        box: wider than twice the reach.
        points_A: shape (p, 3) [A].
        work_function_eV: mean barrier [eV].
        reach_A: in the plane [A].
    """
    kappa = decay_per_A(work_function_eV)
    points = np.asarray(points_A, dtype=np.float64).reshape(-1, 3)
    places_A, kinds, shapes = box.positions_A, box.kinds, box.crystal.shapes
    inverse = np.linalg.inv(box.cell_A.T)
    rows, columns, values = [], [], []
    for p, point in enumerate(points):
        apart = (point[:2] - places_A[:, :2]) @ inverse.T
        flat_A = (apart - np.rint(apart)) @ box.cell_A
        near = np.flatnonzero(np.sum(flat_A**2, axis=1) < reach_A**2)
        vectors_A = np.column_stack([flat_A[near], point[2] - places_A[near, 2]])
        far_A = np.linalg.norm(vectors_A, axis=1)
        angular = np.empty(near.size)
        for b, name in enumerate(shapes):
            mine = kinds[near] == b
            angular[mine] = _harmonic(name, vectors_A[mine] / far_A[mine, None])
        degree = np.array([{"s": 0, "p": 1, "d": 2}[name[0]] for name in shapes])[kinds[near]]
        radial = _bessel(kappa * far_A) / _bessel(np.array([kappa * CONTACT_A]))
        rows.append(np.full(near.size, p))
        columns.append(near)
        values.append(angular * radial[degree, np.arange(near.size)])
    return scipy.sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(points.shape[0], box.n),
    )


def _bessel(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return k_0, k_1 and k_2 (modified spherical Bessel functions), shape (3, ...)."""
    return np.asarray(np.exp(-u) * np.array([1 / u, 1 / u + 1 / u**2, (1 + 3 / u + 3 / u**2) / u]))


def _harmonic(name: str, direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the real harmonic of mean square 1 along unit vectors (j, 3), shape (j,)."""
    x, y, z = direction.T
    shapes: dict[str, NDArray[np.float64]] = {
        "s": np.ones_like(x),
        "px": np.sqrt(3.0) * x,
        "py": np.sqrt(3.0) * y,
        "pz": np.sqrt(3.0) * z,
        "dz2": np.sqrt(5.0) / 2 * (3 * z * z - 1),
        "dxz": np.sqrt(15.0) * x * z,
        "dyz": np.sqrt(15.0) * y * z,
        "dx2-y2": np.sqrt(15.0) / 2 * (x * x - y * y),
        "dxy": np.sqrt(15.0) * x * y,
    }
    return shapes[name]


def _shape(
    name: str, wave: NDArray[np.float64], fall: NDArray[np.float64], kappa: float
) -> NDArray[Any]:
    """Return the transform of k_l(kappa r) Y / k_l(kappa CONTACT_A) over that of k_0(kappa r).

    By Chen's derivative rule: d/dx is i k_x and d/dz is -q; Y has mean square 1 on the sphere.
    """
    x, y, z = 1j * wave[..., 0] / kappa, 1j * wave[..., 1] / kappa, -fall / kappa
    radial = _bessel(np.array([kappa * CONTACT_A]))[:, 0]
    one, three, five, fifteen = 1.0, np.sqrt(3.0), np.sqrt(5.0), np.sqrt(15.0)
    shapes: dict[str, NDArray[Any]] = {
        "s": one * np.ones_like(fall) / radial[0],
        "px": -three * x / radial[1],
        "py": -three * y / radial[1],
        "pz": -three * z / radial[1],
        "dz2": five / 2 * (3 * z * z - 1) / radial[2],
        "dxz": fifteen * x * z / radial[2],
        "dyz": fifteen * y * z / radial[2],
        "dx2-y2": fifteen / 2 * (x * x - y * y) / radial[2],
        "dxy": fifteen * x * y / radial[2],
    }
    return shapes[name]
