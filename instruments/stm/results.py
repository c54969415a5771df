"""Results of the microscope, made of what a run left behind: numbers and arrays."""

import numpy as np

from twinloop.instruments.standin.interface import Progress
from twinloop.instruments.standin.telling import result_of
from twinloop.instruments.stm.interface import (
    Approached,
    Grid,
    Manipulated,
    Pulsed,
    Scan,
    Spectrum,
)

__all__ = [
    "approached_of",
    "grid_of",
    "manipulated_of",
    "pulsed_of",
    "scan_of",
    "spectrum_of",
]


def approached_of(done: Progress) -> Approached:
    """Return the result of an approach."""
    return result_of(Approached, done)


def scan_of(done: Progress) -> Scan:
    """Return the result of a scan; one that was cut has no check line."""
    return result_of(
        Scan,
        done,
        mode="constant_height" if done.numbers["is_constant_height"] else "constant_current",
        check_z_A=done.arrays.get("check_z_A", np.zeros(0, np.float32)),
    )


def spectrum_of(done: Progress) -> Spectrum:
    """Return the result of one spectrum: the only place of its grid."""
    a = done.arrays
    return result_of(
        Spectrum,
        done,
        current_nA=a["current_nA"][0, 0].astype(np.float64),
        dIdV_nS=a["dIdV_nS"][0, 0].astype(np.float64),
        x_A=float(a["x_A"][0]),
        y_A=float(a["y_A"][0]),
    )


def grid_of(done: Progress) -> Grid:
    """Return the result of a grid of spectra."""
    return result_of(Grid, done)


def pulsed_of(done: Progress) -> Pulsed:
    """Return the result of a bias pulse."""
    return result_of(Pulsed, done)


def manipulated_of(done: Progress) -> Manipulated:
    """Return the result of a drag."""
    return result_of(Manipulated, done)
