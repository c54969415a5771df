"""Tunnelling microscopy in CPU seconds: sites of the kernel polynomial method, points of a scan.

The kernel polynomial method runs over graphene boxes of 1e4 to 1e6 sites, four start vectors, 64
moments; a site is one orbital of one start vector through one sparse product. The exponent is that
of a power law through all sizes (1: linear), and the memory is the peak of the process. Scans run
the feedback loop at 20 kHz through 512 x 512 pixels, there and back, or a part of the lines; a
point is one pixel of one way.

    python speed/stm.py [--lines 24]
"""

import argparse
import platform
import resource
import time

import numpy as np
import scipy.sparse
from measure import median, write_result

from twinloop.simulators.stm import (
    CurrentField,
    CurrentNoise,
    FeedbackLoop,
    Film,
    Scanner,
    ScanWindow,
    Sheet,
    eigenstates,
    expand,
    graphene,
)

EDGES = (50, 89, 158, 281, 500)
STARTS, MOMENTS, REPEATS = 4, 64, 3
PIXELS, LINE_S = 512, 0.5


def kernel_polynomial() -> dict[str, object]:
    """Return seconds by size, sites per second, and the exponent."""
    by_size: dict[int, float] = {}
    for edge in EDGES:
        sheet = graphene((edge, edge))
        matrix = sheet.hamiltonian()
        starts = scipy.sparse.eye_array(STARTS, sheet.n, format="csr")
        expand(matrix, starts, moments=8)
        spent_s = []
        for _ in range(REPEATS):
            began_s = time.process_time()
            expand(matrix, starts, moments=MOMENTS)
            spent_s.append(time.process_time() - began_s)
        by_size[sheet.n] = median(spent_s)
    exponent = np.polyfit(np.log(list(by_size)), np.log(list(by_size.values())), 1)[0]
    products = STARTS * MOMENTS / 2
    return {
        "cpu_s_by_sites": {str(n): spent for n, spent in by_size.items()},
        "sites_per_cpu_s": {str(n): median([n * products / s]) for n, s in by_size.items()},
        "exponent": round(float(exponent), 3),
        "moments": MOMENTS,
        "start_vectors": STARTS,
        "peak_memory_MB": peak_memory_MB(),
    }


def peak_memory_MB() -> float:
    """Return the highest resident memory of this process so far [MB]."""
    scale = 1e-6 if platform.system() == "Darwin" else 1e-3
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale, 0)


def states() -> dict[str, float]:
    """Return seconds of the states and of the table of a sheet."""
    found = {}
    for name, box in (
        ("dense_799_orbitals", graphene((20, 10)).without([400])),
        ("window_3839_orbitals", graphene((40, 24)).without([1800])),
    ):
        spent_s = []
        for _ in range(REPEATS):
            began_s = time.process_time()
            eigenstates(box, window_eV=(-0.6, 0.6))
            spent_s.append(time.process_time() - began_s)
        found[f"{name}_cpu_s"] = median(spent_s)
    sheet = Sheet.of(graphene((21, 12)), window_eV=(-0.6, 0.6))
    spent_s = []
    for _ in range(REPEATS):
        began_s = time.process_time()
        sheet.field(bias_V=0.4)
        spent_s.append(time.process_time() - began_s)
    found["table_of_5_nm_sheet_cpu_s"] = median(spent_s)
    return found


def scan(field: CurrentField, size_A: float, lines: int) -> dict[str, float]:
    """Return points per second of a scan in time and of a noiseless topograph."""
    window = ScanWindow(
        size_A / 2, size_A / 2, size_A, size_A, pixels=PIXELS, lines=PIXELS, line_s=LINE_S
    )
    scanner = Scanner(field, FeedbackLoop(), np.random.default_rng(1), noise=CurrentNoise())
    scanner.approach(0.0, 0.0)
    scanner.line(window, 0)
    began_s = time.process_time()
    for index in range(lines):
        scanner.line(window, index)
    scanned_s = time.process_time() - began_s
    x_A, y_A = window.mesh_A()
    field.topograph_A(x_A[:1], y_A[:1], setpoint_nA=0.1)
    began_s = time.process_time()
    field.topograph_A(x_A[:lines], y_A[:lines], setpoint_nA=0.1)
    drawn_s = time.process_time() - began_s
    return {
        "scan_points_per_cpu_s": median([2 * PIXELS * lines / scanned_s]),
        "loop_steps_per_cpu_s": median([2 * lines * LINE_S * 20000.0 / scanned_s]),
        "topograph_points_per_cpu_s": median([PIXELS * lines / drawn_s]),
    }


def main() -> None:
    """Measure all and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=24, help="of the 512 lines of a scan")
    given = parser.parse_args()
    polynomial = kernel_polynomial()
    heights = np.random.default_rng(1).integers(0, 3, (128, 128)).astype(np.float64)
    film = Film(heights).field(bias_V=1.0)
    sheet = Sheet.of(graphene((21, 12)), window_eV=(-0.6, 0.6)).field(bias_V=0.4)
    write_result(
        "stm",
        {
            "kernel_polynomial": polynomial,
            "states": states(),
            "film": scan(film, 500.0, given.lines),
            "sheet": scan(sheet, 50.0, given.lines),
            "pixels": PIXELS,
            "line_s": LINE_S,
            "peak_memory_MB": peak_memory_MB(),
        },
    )


if __name__ == "__main__":
    main()
