"""Electron scattering factors of neutral atoms, from published parametrisations.

Source: Lobato & Van Dyck, Acta Cryst. A70, 636 (2014), doi:10.1107/S205327331401643X, equation 15
and table 1 (`lobato.csv`, Z = 1 to 103, up to 12 1/A); Kirkland, Advanced Computing in Electron
Microscopy, 2nd ed. (Springer, 2010), doi:10.1007/978-1-4419-6533-2, appendix C (`kirkland.csv`,
Z = 1 to 103; rounded to ten decimal places).
"""

import csv
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["Parametrisation", "scattering_factor_A"]


class Parametrisation(StrEnum):
    """Which table the scattering factors come from."""

    LOBATO = "lobato"
    KIRKLAND = "kirkland"


def scattering_factor_A(
    number: int,
    frequency_per_A: NDArray[np.float64],
    parametrisation: Parametrisation = Parametrisation.LOBATO,
) -> NDArray[np.float64]:
    """Return f(k) of a neutral atom in the first Born approximation, without relativity [A].

    Args:
        number: atomic number.
        frequency_per_A: k = 2 sin(theta) / lambda, any shape, >= 0 [1/A].
        parametrisation: the table.

    Raises:
        ArgumentError: an element that the table lacks, or an unknown table.

    Example:
        >>> scattering_factor_A(6, np.zeros(1)).round(2)
        array([2.51])
    """
    if parametrisation not in _FORMULAE:
        raise ArgumentError("parametrisation", parametrisation, f"one of {', '.join(_FORMULAE)}")
    table = _table(parametrisation)
    if number not in table:
        raise ArgumentError("structure.numbers", number, f"1 to {max(table)} ({parametrisation})")
    return _FORMULAE[parametrisation](table[number], frequency_per_A**2)


@cache
def _table(parametrisation: Parametrisation) -> dict[int, NDArray[np.float64]]:
    place = files("twinloop.simulators.stem").joinpath(f"{parametrisation}.csv")
    with place.open(encoding="utf-8") as lines:
        rows = list(csv.reader(lines))[1:]
    return {int(row[0]): np.array(row[1:], dtype=np.float64) for row in rows}


def _lobato(row: NDArray[np.float64], k2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum a (2 + b k^2) / (1 + b k^2)^2 over five terms."""
    total = np.zeros_like(k2)
    for a, b in zip(row[:5], row[5:], strict=True):
        total += a * (2.0 + b * k2) / (1.0 + b * k2) ** 2
    return total


def _kirkland(row: NDArray[np.float64], k2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum a / (k^2 + b) + c exp(-d k^2) over three terms."""
    total = np.zeros_like(k2)
    for a, b, c, d in row.reshape(4, 3).T:
        total += a / (k2 + b) + c * np.exp(-d * k2)
    return total


_FORMULAE: dict[
    Parametrisation,
    Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
] = {Parametrisation.LOBATO: _lobato, Parametrisation.KIRKLAND: _kirkland}
