"""Validate spots of RHEED against rheedium and a sum over atoms; write `rheed.json`, `rheed.md`.

    python docs/validation/rheed.py

rheedium (an optional test dependency) solves for where the Ewald sphere cuts each rod and adds the
atoms of a crystal there. Its crystal is the topmost layer of the height map, its truncation factor is
switched off; its atomic form factor and our stand-in for one are divided out.
"""

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.lattice_constants import MESH_A, MONOLAYER_A
from twinloop.simulators import rheed

HERE = Path(__file__).parent
ENERGY_KEV, INCIDENCE_DEG = 15.0, 2.4
LATTICE_A, STEP_A = MESH_A, MONOLAYER_A
GOLD = 79

FLAT = np.zeros((1, 1), dtype=np.int32)
ISLANDS = np.array([[0, 1, 1, 0], [0, 1, 2, 0], [0, 0, 1, 0], [1, 0, 0, 0]], dtype=np.int32)
EVEN = np.array([[0, 1, 1, 0], [2, 1, 0, 0], [0, 0, 1, 2], [0, 1, 1, 0]], dtype=np.int32)

Row = dict[str, Any]
Spots = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def reference(heights: NDArray[np.int32], azimuth_deg: float, orders: int) -> Spots:
    """Return exit angle, angle aside [deg], momentum (n, 3) [1/A] and |F|^2 of rheedium's spots."""
    import jax

    jax.config.update("jax_enable_x64", val=True)
    from rheedium.simul import atomic_scattering_factor, ewald_simulator
    from rheedium.types import create_crystal_structure

    size = heights.shape[0]
    places = atoms(heights)
    cell = np.array([size * LATTICE_A, size * LATTICE_A, 1000.0])
    numbers = np.full((places.shape[0], 1), float(GOLD))
    parts = (np.hstack([places / cell, numbers]), np.hstack([places, numbers]), cell, [90.0] * 3)
    pattern = ewald_simulator(
        create_crystal_structure(*map(jax.numpy.asarray, parts)),
        energy_kev=ENERGY_KEV,
        theta_deg=INCIDENCE_DEG,
        phi_deg=-azimuth_deg,
        hmax=orders * size,
        kmax=orders * size,
        temperature=0.0,
        ctr_power=0.0,
        roughness_power=0.0,
    )
    is_there = np.asarray(pattern.G_indices) >= 0
    k_out = np.asarray(pattern.k_out)[is_there]
    k = np.linalg.norm(k_out, axis=1)
    turn, glancing = np.radians(-azimuth_deg), np.radians(INCIDENCE_DEG)
    level = np.array([np.cos(turn), np.sin(turn), 0.0])
    q = k_out - k[:, None] * (np.cos(glancing) * level - np.sin(glancing) * np.eye(3)[2])
    factors = atomic_scattering_factor(GOLD, jax.numpy.asarray(q), temperature=0.0)
    f2 = np.asarray(pattern.intensities)[is_there] / np.square(np.asarray(factors))
    up_deg = np.degrees(np.arcsin(k_out[:, 2] / k))
    aside = k_out[:, 1] * np.cos(turn) - k_out[:, 0] * np.sin(turn)
    keep = (up_deg > 0.8) & (k_out @ level > 0)
    return up_deg[keep], np.degrees(np.arcsin(aside / k))[keep], q[keep], f2[keep]


def atoms(heights: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the topmost atom of each column, shape (n, 3) [A]."""
    first, second = np.indices(heights.shape)
    return np.column_stack(
        [first.ravel() * LATTICE_A, second.ravel() * LATTICE_A, heights.ravel() * STEP_A]
    ).astype(np.float64)


def ours(
    heights: NDArray[np.int32],
    azimuth_deg: float,
    spots: Spots,
    *,
    pixel_deg: float,
    up_deg: float,
    aside_deg: float,
    size: int,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which spots lie on our screen, and angle, angle aside [deg], height of each there."""
    screen = rheed.frame(
        np.tile(heights, (size // heights.shape[0],) * 2),
        energy_keV=ENERGY_KEV,
        incidence_deg=INCIDENCE_DEG,
        lattice_A=LATTICE_A,
        step_height_A=STEP_A,
        azimuth_deg=azimuth_deg,
        shape=(round(up_deg / pixel_deg), 2 * round(aside_deg / pixel_deg)),
        pixel_deg=pixel_deg,
        blur_px=0.6,
        background=0.0,
    )
    rows, columns = screen.shape
    ups = np.arange(rows - 0.5, 0.0, -1.0) * pixel_deg
    asides = np.arange(-(columns // 2), columns - columns // 2) * pixel_deg
    on = (spots[0] < up_deg - 0.2) & (np.abs(spots[1]) < aside_deg - 0.1)
    seen = []
    for up, aside in zip(spots[0][on], spots[1][on], strict=True):
        down, across = np.abs(ups - up) < 0.12, np.abs(asides - aside) < 0.08
        patch = screen[np.ix_(down, across)]
        along, beside = patch.sum(axis=1), patch.sum(axis=0)
        top = int(along.argmax())
        place = float(beside @ asides[across] / beside.sum())
        seen.append((ups[down][top], place, along[top]))
    return on, np.array(seen)


def row(what: str, source: str, found: float, target: str, *, passed: bool) -> Row:
    """Return one line of the table."""
    return {
        "what": what,
        "reference": source,
        "found": float(f"{found:.3g}"),
        "target": target,
        "passed": bool(passed),
    }


def places(azimuth_deg: float) -> list[Row]:
    """Return how far spots of a flat surface are from rheedium's."""
    spots = reference(FLAT, azimuth_deg, 4)
    on, seen = ours(FLAT, azimuth_deg, spots, pixel_deg=0.02, up_deg=14.0, aside_deg=4.5, size=128)
    where = f"azimuth {azimuth_deg:g} deg, {on.sum()} spots in Laue zones to 14 deg"
    up = float(np.abs(seen[:, 0] - spots[0][on]).max())
    aside = float(np.abs(seen[:, 1] - spots[1][on]).max())
    return [
        row(f"exit angle of a spot [deg], {where}", "rheedium", up, "< 0.03", passed=up < 0.03),
        row(f"angle aside [deg], {where}", "rheedium", aside, "< 0.01", passed=aside < 0.01),
    ]


def shares(name: str, heights: NDArray[np.int32], azimuth_deg: float) -> list[Row]:
    """Return how far intensities of spots are from rheedium's, of the highest."""
    spots = reference(heights, azimuth_deg, 2)
    on, seen = ours(
        heights, azimuth_deg, spots, pixel_deg=0.006, up_deg=7.2, aside_deg=1.6, size=256
    )
    q, theirs = spots[2][on], spots[3][on]
    found = seen[:, 2] * np.exp(rheed.FORM_FACTOR_A2 * np.sum(q[:, :2] ** 2, axis=1))
    plain = np.abs(np.exp(1j * q @ atoms(heights).T).sum(axis=1)) ** 2
    rows = []
    for source, judge in (("rheedium", theirs), ("sum over atoms", plain)):
        off = float(np.abs(found / found.max() - judge / judge.max()).max())
        what = f"intensity of {on.sum()} spots, {name}, azimuth {azimuth_deg:g} deg, of the highest"
        rows.append(row(what, source, off, "< 0.03", passed=off < 0.03))
    return rows


def markdown(rows: list[Row], against: str) -> str:
    """Return the table as a page's part."""
    lines = [f"Against {against}; `python docs/validation/rheed.py` makes it anew.", ""]
    lines += ["| what | reference | found | target | passed |", "|---|---|---|---|---|"]
    for one in rows:
        passed = "yes" if one["passed"] else "NO"
        cells = (one["what"], one["reference"], f"{one['found']:.3g}", one["target"], passed)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all and write both files."""
    warnings.simplefilter("ignore")
    from rheedium.tools import wavelength_ang

    off = abs(rheed.wavelength_A(ENERGY_KEV) / float(wavelength_ang(ENERGY_KEV)) - 1)
    rows = [row("wavelength at 15 keV, relative", "rheedium", off, "< 1e-5", passed=off < 1e-5)]
    for azimuth_deg in (0.0, 45.0, 90.0):
        rows += places(azimuth_deg)
    for azimuth_deg in (0.0, 90.0):
        rows += shares("islands alike from both sides", EVEN, azimuth_deg)
        rows += shares("islands without symmetry", ISLANDS, azimuth_deg)
    against = f"rheedium {version('rheedium')}"
    text = json.dumps({"against": against, "rows": rows}, indent=2) + "\n"
    (HERE / "rheed.json").write_text(text, encoding="utf-8")
    (HERE / "rheed.md").write_text(markdown(rows, against), encoding="utf-8")
    if not all(one["passed"] for one in rows):
        sys.exit("some rows miss their target")


if __name__ == "__main__":
    main()
