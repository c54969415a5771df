"""How strongly an atom scatters X-rays, in electrons: f = f0(q) + f' + i f''.

f0 is a sum of five Gaussians and a constant,

    f0(s) = c + sum_i a_i exp(-b_i s^2),    s = sin(theta) / lambda = q / (4 pi),  s <= 6 1/A

(`form_factors.csv`: neutral atoms, Z = 1 to 98). Near an absorption edge f' and f'' come on top;
`anomalous.csv` holds them at Cu K alpha 1, 8047.8 eV, for a few elements.

Source: f0: Waasmaier & Kirfel, Acta Cryst. A51, 416 (1995), doi:10.1107/S0108767394013292, read from
two independent transcriptions that agree (one digit of nitrogen's constant apart). f', f'':
Chantler, J. Phys. Chem. Ref. Data 29, 597 (2000), doi:10.1063/1.1321055, interpolated in the
logarithm of the energy, relativistic (3/5 Cromer-Liberman) and nuclear Thomson terms included.
"""

import csv
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError

__all__ = [
    "CU_KA1_A",
    "CU_KA2_A",
    "anomalous",
    "debye_waller",
    "form_factors",
    "scattering_factors",
]

CU_KA1_A = 1.540593
CU_KA2_A = 1.544427
"""Wavelengths of Cu K alpha [A].

Source: Holzer et al., Phys. Rev. A 56, 4554 (1997), doi:10.1103/PhysRevA.56.4554."""


def form_factors(numbers: ArrayLike, q_per_A: ArrayLike) -> NDArray[np.float64]:
    """Return f0 of each element at each momentum transfer [electrons].

    Args:
        numbers: atomic numbers, shape (m,).
        q_per_A: momentum transfer 4 pi sin(theta) / lambda, shape (n,) [1/A].

    Returns:
        Shape (m, n).

    Raises:
        ArgumentError: an element that is not tabulated.

    Example:
        >>> form_factors([14], [0.0, 2.0]).round(2)
        array([[14.  , 10.54]])
    """
    table = _form_factor_table()
    s2 = (np.asarray(q_per_A, dtype=np.float64).reshape(-1) / (4.0 * np.pi)) ** 2
    found = []
    for number in np.asarray(numbers, dtype=np.int64).reshape(-1).tolist():
        if number not in table:
            raise ArgumentError("number", number, f"an atomic number, 1 to {max(table)}")
        row = table[number]
        found.append(row[:5] @ np.exp(-np.outer(row[5:10], s2)) + row[10])
    return np.array(found, dtype=np.float64).reshape(-1, s2.size)


def anomalous(numbers: ArrayLike) -> NDArray[np.complex128]:
    """Return f' + i f'' of each element at Cu K alpha 1, shape (m,) [electrons].

    Raises:
        ArgumentError: an element that `anomalous.csv` does not hold.
    """
    table = _anomalous_table()
    wanted = np.asarray(numbers, dtype=np.int64).reshape(-1).tolist()
    for number in wanted:
        if number not in table:
            raise ArgumentError("number", number, f"one of {sorted(table)}")
    return np.array([table[number] for number in wanted], dtype=np.complex128)


def scattering_factors(
    numbers: ArrayLike, q_per_A: ArrayLike, *, is_anomalous: bool = True
) -> NDArray[np.complex128]:
    """Return f0 + f' + i f'' of each element, shape (m, n) [electrons]; see `form_factors`.

    Raises:
        ArgumentError: an element that is not tabulated.
    """
    plain = form_factors(numbers, q_per_A).astype(np.complex128)
    return plain + anomalous(numbers)[:, None] if is_anomalous else plain


def debye_waller(q_per_A: ArrayLike, rms_A: ArrayLike) -> NDArray[np.float64]:
    """Return how far thermal motion lowers an amplitude, exp(-q^2 u^2 / 2) [1].

    Args:
        q_per_A: momentum transfer, shape (n,) [1/A].
        rms_A: root mean square displacement along one axis, shape (m,) [A]; B = 8 pi^2 u^2.

    Returns:
        Shape (m, n).
    """
    q2 = np.asarray(q_per_A, dtype=np.float64).reshape(-1) ** 2
    u2 = np.asarray(rms_A, dtype=np.float64).reshape(-1) ** 2
    lowered: NDArray[np.float64] = np.exp(-0.5 * np.outer(u2, q2))
    return lowered


@cache
def _form_factor_table() -> dict[int, NDArray[np.float64]]:
    """Return a1..a5, b1..b5 [A^2], c by atomic number."""
    return {int(row[0]): np.array(row[2:], dtype=np.float64) for row in _read("form_factors.csv")}


@cache
def _anomalous_table() -> dict[int, complex]:
    return {int(row[0]): complex(float(row[2]), float(row[3])) for row in _read("anomalous.csv")}


def _read(name: str) -> list[list[str]]:
    text = files("twinloop.simulators.xrd").joinpath(name).read_text(encoding="utf-8")
    return list(csv.reader(text.splitlines()))[1:]
