"""Results of the microscope, made of what a run left behind: numbers and arrays."""

import numpy as np

from twinloop.instruments.standin.interface import Progress
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
    n = done.numbers
    return Approached(z_A=n["z_A"], steps=int(n["steps"]), duration_s=n["duration_s"])


def scan_of(done: Progress) -> Scan:
    """Return the result of a scan."""
    n, a = done.numbers, done.arrays
    return Scan(
        z_forward_A=a["z_forward_A"],
        z_backward_A=a["z_backward_A"],
        current_forward_nA=a["current_forward_nA"],
        current_backward_nA=a["current_backward_nA"],
        x_A=a["x_A"],
        y_A=a["y_A"],
        line_start_s=a["line_start_s"],
        line_time_s=n["line_time_s"],
        centre_x_A=n["centre_x_A"],
        centre_y_A=n["centre_y_A"],
        angle_deg=n["angle_deg"],
        mode="constant_height" if n["is_constant_height"] else "constant_current",
        bias_V=n["bias_V"],
        setpoint_nA=n["setpoint_nA"],
        saturations=int(n["saturations"]),
        ringing=n["ringing"],
        check_z_A=a.get("check_z_A", np.zeros(0, np.float32)),
        check_line=int(n["check_line"]),
        check_start_s=n["check_start_s"],
        is_complete=bool(n["is_complete"]),
    )


def spectrum_of(done: Progress) -> Spectrum:
    """Return the result of one spectrum."""
    n, a = done.numbers, done.arrays
    return Spectrum(
        bias_V=a["bias_V"],
        current_nA=a["current_nA"][0, 0].astype(np.float64),
        dIdV_nS=a["dIdV_nS"][0, 0].astype(np.float64),
        x_A=float(a["x_A"][0]),
        y_A=float(a["y_A"][0]),
        setpoint_nA=n["setpoint_nA"],
        bias_set_V=n["bias_set_V"],
        modulation_V=n["modulation_V"],
        drift_A=n["drift_A"],
        saturations=int(n["saturations"]),
        is_complete=bool(n["is_complete"]),
    )


def grid_of(done: Progress) -> Grid:
    """Return the result of a grid of spectra."""
    n, a = done.numbers, done.arrays
    return Grid(
        bias_V=a["bias_V"],
        current_nA=a["current_nA"],
        dIdV_nS=a["dIdV_nS"],
        z_A=a["z_A"],
        x_A=a["x_A"],
        y_A=a["y_A"],
        modulation_V=n["modulation_V"],
        saturations=int(n["saturations"]),
        is_complete=bool(n["is_complete"]),
    )


def pulsed_of(done: Progress) -> Pulsed:
    """Return the result of a bias pulse."""
    n = done.numbers
    return Pulsed(z_before_A=n["z_before_A"], z_after_A=n["z_after_A"], charge_nC=n["charge_nC"])


def manipulated_of(done: Progress) -> Manipulated:
    """Return the result of a drag."""
    return Manipulated(
        z_A=done.arrays["z_A"], path_A=done.arrays["path_A"], jumps=int(done.numbers["jumps"])
    )
