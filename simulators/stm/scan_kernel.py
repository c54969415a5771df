"""Compiled loops of the microscope: the current at a point, a topograph, a line through the loop.

One file, because a compiled kernel may call only kernels of its own file. The surface is either a
table of ln I over a periodic box (a sheet with its waves) or the heights of top atoms on a square
mesh (a film); both go by the same arguments:

is_film: 0 or 1. table: ln |I / nA|, shape (levels, P1, P2). tops: height of the top atom at each
mesh site, shape (n1, n2) [A]. numbers: for a table z of its first level [A], spacing of levels [A],
and the matrix (2, 2) that turns x, y into parts of the box's edges; for a film lattice constant
[A], kappa [1/A], ln of the prefactor [nA A], reach [sites]. apexes: shape (a, 4): x, y, z of each
apex atom's centre from the tip's position [A], and ln of its weight.
"""

import numpy as np
from numpy.typing import NDArray

from twinloop.simulators.compiled import compiled, inlined

__all__ = ["log_currents", "run_line", "solve_heights"]

F8 = NDArray[np.float64]

AMPLITUDE, INTEGRAL, HEIGHT, SPEED, PLACE = 0, 1, 2, 3, 4
"""Places in the loop's state: amplifier [nA], integral [A], piezo [A], its speed [A/s], ring."""


@inlined
def _in_table(x_A: float, y_A: float, z_A: float, table: F8, numbers: F8) -> tuple[float, float]:
    """Return ln I and its slope in z: cubic in the plane (Catmull-Rom) and between levels."""
    levels, p1, p2 = table.shape
    u = (numbers[2] * x_A + numbers[3] * y_A) * p1
    v = (numbers[4] * x_A + numbers[5] * y_A) * p2
    iu, iv = int(np.floor(u)), int(np.floor(v))
    a, b = u - iu, v - iv
    wa = (
        a * (-0.5 + a * (1.0 - 0.5 * a)),
        1.0 + a * a * (-2.5 + 1.5 * a),
        a * (0.5 + a * (2.0 - 1.5 * a)),
        a * a * (-0.5 + 0.5 * a),
    )
    wb = (
        b * (-0.5 + b * (1.0 - 0.5 * b)),
        1.0 + b * b * (-2.5 + 1.5 * b),
        b * (0.5 + b * (2.0 - 1.5 * b)),
        b * b * (-0.5 + 0.5 * b),
    )
    level = (z_A - numbers[0]) / numbers[1]
    inside = min(max(level, 0.0), levels - 1.0)
    first = min(max(int(inside) - 1, 0), levels - 4)
    t = inside - first
    value, slope = 0.0, 0.0
    ju = ((iu - 1) % p1, iu % p1, (iu + 1) % p1, (iu + 2) % p1)
    jv = ((iv - 1) % p2, iv % p2, (iv + 1) % p2, (iv + 2) % p2)
    for k in range(4):
        plane = 0.0
        for i in range(4):
            row = table[first + k, ju[i]]
            part = 0.0
            for j in range(4):
                part += wb[j] * row[jv[j]]
            plane += wa[i] * part
        # Lagrange's polynomial through four levels, and its derivative
        weight, change = 1.0, 0.0
        for other in range(4):
            if other != k:
                change = (change * (t - other) + weight) / (k - other)
                weight = weight * (t - other) / (k - other)
        value += weight * plane
        slope += change * plane
    slope /= numbers[1]
    return value + slope * (level - inside) * numbers[1], slope


@inlined
def _over_film(x_A: float, y_A: float, z_A: float, tops: F8, numbers: F8) -> tuple[float, float]:
    """Return ln I and its slope in z: one Yukawa tail for each top atom within reach."""
    n1, n2 = tops.shape
    lattice_A, kappa = numbers[0], numbers[1]
    reach = int(numbers[3])
    i0, j0 = int(np.floor(x_A / lattice_A + 0.5)), int(np.floor(y_A / lattice_A + 0.5))
    total, change = 1e-300, 0.0
    row, first = (i0 - reach) % n1, (j0 - reach) % n2
    for i in range(i0 - reach, i0 + reach + 1):
        dx = x_A - i * lattice_A
        column = first
        for j in range(j0 - reach, j0 + reach + 1):
            dy = y_A - j * lattice_A
            dz = z_A - tops[row, column]
            inverse = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz + 1e-18)
            tail = np.exp(-2.0 * kappa / inverse) * inverse
            total += tail
            change -= tail * (2.0 * kappa + inverse) * dz * inverse
            column += 1
            if column == n2:
                column = 0
        row += 1
        if row == n1:
            row = 0
    return np.log(total) + numbers[2], change / total


@inlined
def _log_current(
    x_A: float, y_A: float, z_A: float, is_film: int, table: F8, tops: F8, numbers: F8, apexes: F8
) -> tuple[float, float]:
    """Return ln of the sum over apex atoms, and its slope in z."""
    total, change = 0.0, 0.0
    for a in range(apexes.shape[0]):
        xa, ya, za = x_A + apexes[a, 0], y_A + apexes[a, 1], z_A + apexes[a, 2]
        if is_film:
            value, slope = _over_film(xa, ya, za, tops, numbers)
        else:
            value, slope = _in_table(xa, ya, za, table, numbers)
        part = np.exp(value + apexes[a, 3])
        total += part
        change += part * slope
    total = max(total, 1e-290)
    return np.log(total), change / total


@compiled
def log_currents(points_A: F8, is_film: int, table: F8, tops: F8, numbers: F8, apexes: F8) -> F8:
    """Return ln |I / nA| and its slope in z [1/A] at points (p, 3) [A], shape (p, 2)."""
    found = np.empty((points_A.shape[0], 2))
    for p in range(points_A.shape[0]):
        value, slope = _log_current(
            points_A[p, 0], points_A[p, 1], points_A[p, 2], is_film, table, tops, numbers, apexes
        )
        found[p, 0] = value
        found[p, 1] = slope
    return found


@compiled
def solve_heights(
    points_A: F8,
    log_setpoint: float,
    lowest_A: float,
    is_film: int,
    table: F8,
    tops: F8,
    numbers: F8,
    apexes: F8,
) -> F8:
    """Return z where ln I is the set point, from above, by Newton's rule, shape (p,) [A].

    points_A: x, y and a first z above the answer, shape (p, 3) [A]; lowest_A: where it gives up.
    """
    heights_A = np.empty(points_A.shape[0])
    for p in range(points_A.shape[0]):
        x_A, y_A, z_A = points_A[p, 0], points_A[p, 1], points_A[p, 2]
        for _ in range(60):
            value, slope = _log_current(x_A, y_A, z_A, is_film, table, tops, numbers, apexes)
            step_A = (log_setpoint - value) / min(slope, -0.05)
            step_A = min(max(step_A, -1.0), 1.0)
            z_A = max(z_A + step_A, lowest_A)
            if abs(step_A) < 1e-9:
                break
        heights_A[p] = z_A
    return heights_A


@compiled
def run_line(
    path_A: F8,
    noise: F8,
    state: F8,
    ring: F8,
    loop: F8,
    piezo: F8,
    is_film: int,
    table: F8,
    tops: F8,
    numbers: F8,
    apexes: F8,
) -> F8:
    """Carry the tip along a path through the feedback loop; return what it recorded.

    path_A: x, y and the offset of z at the borders of pixels, shape (n + 1, 3) [A].
    noise: current [nA] and height [A] of each step of the controller, shape (n * steps, 2).
    state, ring: of the loop, changed in place (see the constants above; ring holds the commands
    that are still on their way).
    loop: ln of the set point, proportional gain [A], integral gain per step [A], is closed, lowest
    and highest piezo [A], floor of |I| [nA], full scale [nA], part of a sub-step by which the
    amplifier follows, sub-steps, sub-step [s], recorded height (0: command, 1: piezo).
    piezo: exact step of the resonator, rows z and speed, columns z, speed, command, shape (2, 3).

    Returns, shape (n, 4): mean height [A], mean current [nA], mean error of ln I, lowest distance
    of the tip over the surface's top atoms [A].
    """
    n = path_A.shape[0] - 1
    steps = noise.shape[0] // n
    found = np.zeros((n, 4))
    substeps = int(loop[9])
    last = 0
    for p in range(n):
        lowest_A = 1e9
        for s in range(steps):
            part = (s + 0.5) / steps
            x_A = path_A[p, 0] + part * (path_A[p + 1, 0] - path_A[p, 0])
            y_A = path_A[p, 1] + part * (path_A[p + 1, 1] - path_A[p, 1])
            offset_A = path_A[p, 2] + part * (path_A[p + 1, 2] - path_A[p, 2])
            offset_A += noise[p * steps + s, 1]
            seen_nA = min(max(state[AMPLITUDE] + noise[p * steps + s, 0], -loop[7]), loop[7])
            error = np.log(max(abs(seen_nA), loop[6])) - loop[0]
            command_A = state[INTEGRAL]
            if loop[3] > 0.0:
                integral_A = state[INTEGRAL] + loop[2] * error
                state[INTEGRAL] = min(max(integral_A, loop[4]), loop[5])
                command_A = min(max(state[INTEGRAL] + loop[1] * error, loop[4]), loop[5])
            place = int(state[PLACE])
            ring[place] = command_A
            place = (place + 1) % ring.shape[0]
            state[PLACE] = place
            reached_A = ring[place]
            start_A = state[HEIGHT]
            value, slope = _log_current(
                x_A, y_A, start_A + offset_A, is_film, table, tops, numbers, apexes
            )
            before_nA = np.exp(value)
            for _ in range(substeps):
                z_A, speed = state[HEIGHT], state[SPEED]
                state[HEIGHT] = piezo[0, 0] * z_A + piezo[0, 1] * speed + piezo[0, 2] * reached_A
                state[SPEED] = piezo[1, 0] * z_A + piezo[1, 1] * speed + piezo[1, 2] * reached_A
                # The tip moves little within a step: ln I is taken as linear in z.
                after_nA = np.exp(min(value + slope * (state[HEIGHT] - start_A), 50.0))
                state[AMPLITUDE] += loop[8] * (0.5 * (before_nA + after_nA) - state[AMPLITUDE])
                before_nA = after_nA
            gap_A = start_A + offset_A
            if is_film:
                i = int(np.floor(x_A / numbers[0] + 0.5)) % tops.shape[0]
                j = int(np.floor(y_A / numbers[0] + 0.5)) % tops.shape[1]
                gap_A -= tops[i, j]
            lowest_A = min(lowest_A, gap_A)
            found[p, 0] += command_A if loop[11] == 0.0 else state[HEIGHT]
            found[p, 1] += seen_nA
            found[p, 2] += error
            last = s + 1
        for c in range(3):
            found[p, c] /= last
        found[p, 3] = lowest_A
    return found
