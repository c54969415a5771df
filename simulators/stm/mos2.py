"""A monolayer of MoS2: the three-band model of molybdenum alone, the eleven-band model with sulphur.

Three bands (dz2, dxy, dx2-y2 on molybdenum) describe the edges of the gap at K, not the picture: the
sulphur above is hidden in the orbitals, so a map of this model shows the molybdenum lattice. The
eleven bands have the sulphur's p orbitals; a tip sees the upper sulphur plane, and a sulphur
vacancy is an atom's three orbitals left out. Left out of both: spin-orbit coupling (0.15 eV at
the valence band), relaxation and charging of defects. The sulphur vacancy's levels are then those
of the model, not fitted ones.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.tight_binding import Crystal, Hop, TightBinding

__all__ = ["mos2", "mos2_crystal", "three_band_matrix", "without_sulphur"]

THREE_BAND_LATTICE_A = 3.190
THREE_BAND_EV = {
    "e1": 1.046,
    "e2": 2.104,
    "t0": -0.184,
    "t1": 0.401,
    "t2": 0.507,
    "t11": 0.218,
    "t12": 0.338,
    "t22": 0.057,
}
"""Nearest-neighbour parameters of MoS2, GGA [eV].

Source: Liu, Shan, Yao, Yao & Xiao, Phys. Rev. B 88, 085433 (2013), doi:10.1103/PhysRevB.88.085433,
table II."""

LATTICE_A, PLANE_A = 3.160, 1.586
"""Lattice constant and distance of the sulphur planes from the molybdenum plane [A] (Cappelluti et
al., Phys. Rev. B 88, 075409 (2013), doi:10.1103/PhysRevB.88.075409)."""

ONSITE_EV = {"dz2": -1.094, "dxz": -0.050, "dyz": -0.050, "dx2-y2": -1.511, "dxy": -1.511}
SULPHUR_EV = {"px": -3.559, "py": -3.559, "pz": -6.886}
BONDS_EV = {"pd": (3.689, -1.241), "dd": (-0.895, 0.252, 0.228), "pp": (1.225, -0.467)}
"""On-site energies and two-centre integrals (sigma, pi, delta) of the eleven-band model [eV].

Source: Silva-Guillen, San-Jose & Roldan, Appl. Sci. 6, 284 (2016), doi:10.3390/app6100284,
MoS2."""

MOLYBDENUM, SULPHUR = 42, 16
D_SHAPES = ("dz2", "dxz", "dyz", "dx2-y2", "dxy")
P_SHAPES = ("px", "py", "pz")


def mos2_crystal(*, bands: int = 11, is_rectangular: bool = False) -> Crystal:
    """Return the unit cell of MoS2, zigzag rows along x; z = 0 is the upper sulphur plane.

    Args:
        bands: 3 or 11.
        is_rectangular: the cell a by sqrt(3) a of two formula units, rather than that of one.

    Raises:
        ArgumentError: another number of bands.
    """
    if bands not in {3, 11}:
        raise ArgumentError("bands", bands, "3 or 11")
    crystal = _three_bands() if bands == 3 else _eleven_bands()
    return crystal.rectangular() if is_rectangular else crystal


def mos2(repeats: tuple[int, int], *, bands: int = 11, is_rectangular: bool = True) -> TightBinding:
    """Return a periodic box of MoS2.

    Args:
        repeats: cells along x (3.16 A each) and along y (5.47 A each when rectangular).
        bands: 3 or 11.
        is_rectangular: edges along x and y.
    """
    return TightBinding.of(mos2_crystal(bands=bands, is_rectangular=is_rectangular), repeats)


def without_sulphur(sheet: TightBinding, near_A: Sequence[tuple[float, float]]) -> TightBinding:
    """Return the sheet less the upper sulphur atoms nearest to these points.

    Args:
        sheet: of eleven bands.
        near_A: (x, y) of each vacancy [A].

    Raises:
        ArgumentError: a sheet without sulphur.
    """
    crystal = sheet.crystal
    is_top = (crystal.species == SULPHUR) & (crystal.places_A[:, 2] == 0.0)
    if not is_top.any():
        raise ArgumentError("sheet", f"{crystal.m} orbitals a cell", "a sheet of eleven bands")
    for x_A, y_A in near_A:
        places_A = sheet.positions_A[:, :2]
        apart = np.linalg.solve(sheet.cell_A.T, (places_A - np.array([x_A, y_A])).T).T
        far_A = np.linalg.norm((apart - np.rint(apart)) @ sheet.cell_A, axis=1)
        far_A[~is_top[sheet.kinds]] = np.inf
        sheet = sheet.without(np.flatnonzero(far_A < far_A.min() + 1e-6))
    return sheet


def three_band_matrix(k_per_A: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return the three-band H(k) in its closed form, order dz2, dxy, dx2-y2, shape (3, 3) [eV].

    Source: Liu et al. 2013 (`THREE_BAND_EV`), the nearest-neighbour Hamiltonian.

    Args:
        k_per_A: shape (2,) [1/A].
    """
    p = THREE_BAND_EV
    u = 0.5 * k_per_A[0] * THREE_BAND_LATTICE_A
    v = 0.5 * np.sqrt(3.0) * k_per_A[1] * THREE_BAND_LATTICE_A
    h0 = 2 * p["t0"] * (np.cos(2 * u) + 2 * np.cos(u) * np.cos(v)) + p["e1"]
    h1 = -2 * np.sqrt(3) * p["t2"] * np.sin(u) * np.sin(v) + 2j * p["t1"] * (
        np.sin(2 * u) + np.sin(u) * np.cos(v)
    )
    h2 = 2 * p["t2"] * (np.cos(2 * u) - np.cos(u) * np.cos(v)) + 2j * np.sqrt(3) * p["t1"] * np.cos(
        u
    ) * np.sin(v)
    both = np.cos(u) * np.cos(v)
    h11 = 2 * p["t11"] * np.cos(2 * u) + (p["t11"] + 3 * p["t22"]) * both + p["e2"]
    h22 = 2 * p["t22"] * np.cos(2 * u) + (3 * p["t11"] + p["t22"]) * both + p["e2"]
    h12 = np.sqrt(3) * (p["t22"] - p["t11"]) * np.sin(u) * np.sin(v) + 4j * p["t12"] * np.sin(u) * (
        np.cos(u) - np.cos(v)
    )
    return np.array([[h0, h1, h2], [np.conj(h1), h11, h12], [np.conj(h2), np.conj(h12), h22]])


def _three_bands() -> Crystal:
    """Read the hoppings off H(k): its Fourier sum over a grid is exact for so short a range."""
    vectors_A = THREE_BAND_LATTICE_A * np.array([[1.0, 0.0], [0.5, np.sqrt(3.0) / 2.0]])
    reciprocal = 2.0 * np.pi * np.linalg.inv(vectors_A).T
    parts = np.arange(4) / 4.0
    grid = np.array([[u, v] for u in parts for v in parts])
    matrices = np.array([three_band_matrix(point @ reciprocal) for point in grid])
    hops = []
    for one, two in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1)):
        phases = np.exp(-2j * np.pi * (grid @ np.array([one, two])))
        block = np.mean(phases[:, None, None] * matrices, axis=0).real
        hops += [
            Hop(i, j, one, two, float(block[i, j]))
            for i in range(3)
            for j in range(3)
            if abs(block[i, j]) > 1e-12
        ]
    return Crystal(
        vectors_A,
        np.tile([0.0, 0.0, -PLANE_A], (3, 1)),
        ("dz2", "dxy", "dx2-y2"),
        np.full(3, MOLYBDENUM, dtype=np.int64),
        np.zeros(3, dtype=np.int64),
        np.array([THREE_BAND_EV["e1"], THREE_BAND_EV["e2"], THREE_BAND_EV["e2"]]),
        tuple(hops),
    )


def _eleven_bands() -> Crystal:
    """Join d orbitals of molybdenum and p orbitals of both sulphur planes by two-centre integrals."""
    vectors_A = LATTICE_A * np.array([[1.0, 0.0], [0.5, np.sqrt(3.0) / 2.0]])
    side_A = vectors_A.sum(axis=0) / 3.0
    atoms_A = np.array([[0.0, 0.0, -PLANE_A], [*side_A, 0.0], [*side_A, -2.0 * PLANE_A]])
    shapes = (D_SHAPES, P_SHAPES, P_SHAPES)
    first = (0, 5, 8)
    hops = []
    for i, j, one, two in _neighbours(vectors_A, atoms_A):
        apart_A = atoms_A[j] - atoms_A[i]
        apart_A[:2] += np.array([one, two]) @ vectors_A
        block = _two_centre(shapes[i], shapes[j], apart_A / np.linalg.norm(apart_A))
        hops += [
            Hop(first[i] + a, first[j] + b, one, two, float(block[a, b]))
            for a in range(block.shape[0])
            for b in range(block.shape[1])
            if abs(block[a, b]) > 1e-12
        ]
    owner = np.repeat(np.arange(3), [5, 3, 3])
    onsite = [ONSITE_EV[s] for s in D_SHAPES] + 2 * [SULPHUR_EV[s] for s in P_SHAPES]
    return Crystal(
        vectors_A,
        atoms_A[owner],
        D_SHAPES + P_SHAPES + P_SHAPES,
        np.array([MOLYBDENUM, SULPHUR, SULPHUR], dtype=np.int64)[owner],
        owner.astype(np.int64),
        np.array(onsite),
        tuple(hops),
    )


def _neighbours(
    vectors_A: NDArray[np.float64], atoms_A: NDArray[np.float64]
) -> list[tuple[int, int, int, int]]:
    """Return pairs of atoms within the lattice constant: Mo-S, Mo-Mo, S-S in and across planes."""
    found = []
    for i, here_A in enumerate(atoms_A):
        for j, there_A in enumerate(atoms_A):
            for one in (-1, 0, 1):
                for two in (-1, 0, 1):
                    apart_A = there_A - here_A
                    apart_A[:2] += np.array([one, two]) @ vectors_A
                    if 0.1 < np.linalg.norm(apart_A) < 1.02 * LATTICE_A:
                        found.append((i, j, one, two))
    return found


def _two_centre(
    left: Sequence[str], right: Sequence[str], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the Slater-Koster block of two atoms, shape (left, right) [eV].

    p orbitals are unit vectors and d orbitals traceless symmetric unit tensors, so sigma, pi and
    delta are projections on the bond; the reverse order of p and d turns the bond around.
    """
    if left[0][0] == "d" and right[0][0] == "p":
        return _two_centre(right, left, -direction).T
    sigma, pi, delta = _projections(direction)
    if left[0][0] == "p" and right[0][0] == "p":
        along = np.outer(direction, direction)
        v_sigma, v_pi = BONDS_EV["pp"]
        return np.asarray(v_sigma * along + v_pi * (np.eye(3) - along))
    if left[0][0] == "p":
        v_sigma, v_pi = BONDS_EV["pd"]
        across = _across(direction)
        return v_sigma * np.outer(direction, sigma) + v_pi * across.T @ pi
    v_sigma, v_pi, v_delta = BONDS_EV["dd"]
    return np.asarray(v_sigma * np.outer(sigma, sigma) + v_pi * pi.T @ pi + v_delta * delta)


def _across(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two unit vectors across a direction, shape (2, 3)."""
    helper = np.eye(3)[int(np.abs(direction).argmin())]
    first = np.cross(direction, helper)
    first /= np.linalg.norm(first)
    return np.array([first, np.cross(direction, first)])


def _projections(
    direction: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the bond's sigma (5,) and pi (2, 5) components and the delta projector (5, 5)."""
    x, y, z = np.eye(3)
    basis = np.array(
        [
            (2 * np.outer(z, z) - np.outer(x, x) - np.outer(y, y)) / np.sqrt(6),
            (np.outer(x, z) + np.outer(z, x)) / np.sqrt(2),
            (np.outer(y, z) + np.outer(z, y)) / np.sqrt(2),
            (np.outer(x, x) - np.outer(y, y)) / np.sqrt(2),
            (np.outer(x, y) + np.outer(y, x)) / np.sqrt(2),
        ]
    )
    along = (3 * np.outer(direction, direction) - np.eye(3)) / np.sqrt(6)
    sides = [
        (np.outer(direction, e) + np.outer(e, direction)) / np.sqrt(2) for e in _across(direction)
    ]
    sigma = np.einsum("mij,ij->m", basis, along)
    pi = np.array([np.einsum("mij,ij->m", basis, side) for side in sides])
    return sigma, pi, np.eye(5) - np.outer(sigma, sigma) - pi.T @ pi
