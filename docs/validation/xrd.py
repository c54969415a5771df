"""Validate X-ray diffraction; write `xrd.json`, `xrd.md` and the pictures of `docs/images/xrd`.

    python docs/validation/xrd.py [--films 240]

Powders are compared with pymatgen, clusters with DebyeCalculator, both optional test dependencies;
the rod of a film with a sum over its atoms and with Laue's interference function; the analyst with
the truth of simulated films.
"""

import argparse
import json
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.cluster import Octahedron
from ase.data import chemical_symbols
from ase.spacegroup import crystal as build_crystal
from numpy.typing import NDArray

from twinloop.analysts.rod_model import FilmShape, RodModel
from twinloop.analysts.xrd import FilmScan, XRDAnalyst
from twinloop.simulators.film_structure import MONOLAYER_A, FilmStructure
from twinloop.simulators.xrd.crystal import Crystal
from twinloop.simulators.xrd.debye import debye_intensity
from twinloop.simulators.xrd.film_trials import FilmTrial, film_trial
from twinloop.simulators.xrd.grown_film import planes_of_film
from twinloop.simulators.xrd.powder import powder_pattern, reflections, structure_factors
from twinloop.simulators.xrd.scattering_factors import (
    CU_KA1_A,
    debye_waller,
    scattering_factors,
)

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images" / "xrd"
FIRST_SEED = 5000
"""Of the films that judge the analyst; its deviations were calibrated on others."""

FIELDS = {
    "thickness_ML": "thickness_sd_ML",
    "thickness_A": "thickness_sd_A",
    "spacing_A": "spacing_sd_A",
    "aluminium": "aluminium_sd",
    "roughness_ML": "roughness_sd_ML",
}
Row = dict[str, Any]


def row(what: str, reference: str, found: float, target: str, *, passed: bool) -> Row:
    """Return one line of the table."""
    return {
        "what": what,
        "reference": reference,
        "found": float(f"{found:.3g}"),
        "target": target,
        "passed": bool(passed),
    }


def crystals() -> dict[str, Atoms]:
    """Return the four powders."""
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return {
        "Si": bulk("Si", cubic=True, a=5.431),
        "SrTiO3": Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True),
        "MoS2": build_crystal(
            ["Mo", "S"],
            [(1 / 3, 2 / 3, 0.25), (1 / 3, 2 / 3, 0.621)],
            spacegroup=194,
            cellpar=[3.161, 3.161, 12.295, 90, 90, 120],
        ),
        "GaAs": bulk("GaAs", "zincblende", a=5.65325),
    }


def their_factors(numbers: NDArray[np.int64], q_per_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return f0 as pymatgen tabulates it."""
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS

    s2 = (q_per_A / (4 * np.pi)) ** 2
    rows = []
    for z in numbers.tolist():
        pairs = ATOMIC_SCATTERING_PARAMS[chemical_symbols[z]]
        rows.append(z - 41.78214 * s2 * sum(a * np.exp(-b * s2) for a, b in pairs))
    return np.array(rows)


def powders() -> tuple[list[Row], dict[str, tuple[NDArray[Any], NDArray[Any]]]]:
    """Return rows, and pymatgen's angles and intensities for the picture."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from pymatgen.io.ase import AseAtomsAdaptor

    rows, patterns = [], {}
    for name, atoms in crystals().items():
        theirs = XRDCalculator(wavelength=CU_KA1_A).get_pattern(
            AseAtomsAdaptor.get_structure(atoms), two_theta_range=(5, 120)
        )
        angles, strengths = np.array(theirs.x), np.array(theirs.y)
        patterns[name] = (angles, strengths)
        ours = reflections(atoms, two_theta_deg=(5, 120))
        reference = f"pymatgen, {angles.size} lines to 120 deg"
        is_same = ours.two_theta_deg.size == angles.size
        off = float(np.abs(ours.two_theta_deg - angles).max()) if is_same else np.inf
        rows.append(
            row(f"{name}: angle of a line [deg]", reference, off, "< 0.02", passed=off < 0.02)
        )
        scaled = 100 * ours.intensity / ours.intensity.max()
        strong = strengths > 1.0
        worst = float(np.abs(scaled / strengths - 1)[strong].max())
        rows.append(
            row(
                f"{name}: intensity of lines above 1 %, relative",
                reference,
                worst,
                "< 0.05",
                passed=worst < 0.05,
            )
        )
        alike = reflections(atoms, two_theta_deg=(5, 120), factors=their_factors)
        rest = float(np.abs(100 * alike.intensity / alike.intensity.max() / strengths - 1).max())
        rows.append(
            row(
                f"{name}: all intensities, with pymatgen's f0",
                reference,
                rest,
                "< 1e-9",
                passed=rest < 1e-9,
            )
        )
    return rows, patterns


def extinctions() -> list[Row]:
    """Return the largest |F| where a rule says zero."""
    grid = np.array(list(np.ndindex(9, 9, 9))) - 4
    planes = grid[np.abs(grid).sum(axis=1) > 0]
    mixed = (planes % 2).sum(axis=1) % 3 != 0
    odd = planes.sum(axis=1) % 2 == 1
    diamond = mixed | ((planes % 2 == 0).all(axis=1) & (planes.sum(axis=1) % 4 == 2))
    hexagonal = ((planes[:, 0] + 2 * planes[:, 1]) % 3 == 0) & (planes[:, 2] % 2 == 1)
    rows = []
    for name, atoms, gone in (
        ("face-centred Cu, mixed indices", bulk("Cu", cubic=True), mixed),
        ("body-centred Fe, odd sums", bulk("Fe", cubic=True), odd),
        ("diamond Si, mixed and even with a sum of 4n + 2", bulk("Si", cubic=True), diamond),
        ("hexagonal Mg, h + 2k = 3n and l odd", bulk("Mg"), hexagonal),
    ):
        f = np.abs(structure_factors(Crystal.of(atoms), planes))
        worst, least = float(f[gone].max()), float(f[~gone].min())
        passed = worst == 0.0 and least > 0.1
        rows.append(
            row(f"extinct: {name}", f"rule, {gone.sum()} planes", worst, "0", passed=passed)
        )
    return rows


def clusters() -> list[Row]:
    """Return the largest relative deviation of Debye sums."""
    from debyecalculator import DebyeCalculator

    rows = []
    for n in (5, 9, 13):
        atoms = Octahedron("Au", n, 1)
        atoms.numbers[::3] = 29
        judge = DebyeCalculator(
            qmin=0.5, qmax=20.0, qstep=0.02, biso=0.3, device="cpu", pair_sum="direct"
        )
        q, theirs = (np.asarray(part, dtype=np.float64) for part in judge.iq(atoms)[:2])
        ours = debye_intensity(
            atoms.numbers, atoms.positions, q, rms_A=np.sqrt(0.3 / (8 * np.pi**2))
        )
        worst = float(np.abs(0.5 * ours / theirs - 1).max())
        rows.append(
            row(
                f"Debye sum of {len(atoms)} atoms of Au and Cu, q to 20 1/A, relative",
                "DebyeCalculator, direct sum in float32",
                worst,
                "< 1e-3",
                passed=worst < 1e-3,
            )
        )
    return rows


def rods() -> list[Row]:
    """Return how the specular rod compares with atoms and slits."""
    rng = np.random.default_rng(5)
    film = FilmStructure(rng.integers(9, 13, (48, 48)).astype(np.int32), np.array([1.0]))
    atoms = film.section(
        row=0, column=0, width_sites=48, depth_sites=48, substrate_layers=8, seed=1
    )
    q = np.linspace(1.9, 4.8, 200)
    total = np.zeros(q.size, dtype=complex)
    up_A = atoms.positions_A[:, 1] - atoms.positions_A[:, 1].min()
    for kind in np.unique(atoms.numbers):
        here = atoms.numbers == kind
        f = scattering_factors([kind], q)[0] * debye_waller(q, atoms.rms_A[here][0])[0]
        total += f * np.exp(1j * np.outer(q, up_A[here])).sum(axis=1) / 48**2
    seen = planes_of_film(film, substrate_layers=8).film
    first_A = float(seen.z_A.min())
    found = seen.amplitude(q) * np.exp(-1j * q * first_A)
    worst = float(np.abs(found - total).max() / np.abs(total).max())
    rows = [
        row(
            "rough film: amplitude along the rod, of its maximum",
            f"sum over {atoms.n} atoms",
            worst,
            "< 0.01",
            passed=worst < 0.01,
        )
    ]
    for n in (8, 20, 40):
        planes = planes_of_film(FilmStructure.flat(4, n)).film
        fine = np.linspace(1.2, 3.2, 200001)
        one = planes_of_film(FilmStructure.flat(4, 1)).film.amplitude(fine)
        ratio = np.abs(planes.amplitude(fine) / one) ** 2
        spacing_A = float(planes.z_A[2] - planes.z_A[0])
        laue = (np.sin(0.5 * n * spacing_A * fine) / np.sin(0.5 * spacing_A * fine)) ** 2
        rest = float(np.abs(ratio - laue).max() / n**2)
        rows.append(
            row(
                f"flat film of {n} ML: interference function, of its maximum",
                "Laue, sin^2(N q c / 2) / sin^2(q c / 2)",
                rest,
                "< 1e-9",
                passed=rest < 1e-9,
            )
        )
        minima = fine[1:-1][(ratio[1:-1] < ratio[:-2]) & (ratio[1:-1] < ratio[2:])]
        # the main maximum is two periods wide, hence the shortest distance
        period = float(np.diff(minima).min() * n * spacing_A / (2 * np.pi) - 1)
        rows.append(
            row(
                f"flat film of {n} ML: fringe period, relative",
                "2 pi / (N c)",
                abs(period),
                "< 1e-3",
                passed=abs(period) < 1e-3,
            )
        )
    return rows


def read(seed: int) -> tuple[FilmTrial, FilmScan]:
    """Return a trial and what the analyst says of it."""
    trial = film_trial(seed)
    found = XRDAnalyst().compute(
        "film", two_theta_deg=trial.two_theta_deg, counts=trial.counts, count_s=trial.count_s
    )
    return trial, found


def calibration(films: int) -> tuple[list[Row], list[tuple[FilmTrial, FilmScan]]]:
    """Return how often a 90 % interval of the analyst holds the truth, and the scans read."""
    with ProcessPoolExecutor(2) as pool:
        told = list(pool.map(read, range(FIRST_SEED, FIRST_SEED + films), chunksize=5))
    rows = []
    for name, sd_name in FIELDS.items():
        off = np.array([getattr(found, name) - trial.truth[name] for trial, found in told])
        sd = np.array([getattr(found, sd_name) for _, found in told])
        covered = float(np.mean(np.abs(off) < 1.645 * sd))
        rows.append(
            row(
                f"analyst: 90 % interval of {name} holds the truth (median sd {np.median(sd):.3g})",
                f"truth of {films} films of 3 to 40 ML",
                covered,
                "0.85 to 0.95",
                passed=0.85 <= covered <= 0.95,
            )
        )
    return rows, told


def draw_powders(patterns: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
    """Draw our profiles over pymatgen's lines."""
    import matplotlib.pyplot as plt

    angles = np.arange(10.0, 120.0, 0.01)
    figure, axes = plt.subplots(4, 1, figsize=(9, 9), sharex=True)
    for axis, (name, atoms) in zip(axes, crystals().items(), strict=True):
        ours = powder_pattern(atoms, angles, lines=((CU_KA1_A, 1.0),))
        axis.plot(angles, 100 * ours / ours.max(), lw=0.8, color="C0", label="twinloop, profile")
        places, strengths = patterns[name]
        line = reflections(atoms, two_theta_deg=(5, 120))
        top = 100 * line.intensity / line.intensity.max()
        axis.plot(
            line.two_theta_deg, top, "o", ms=4, mfc="none", color="C0", label="twinloop, lines"
        )
        axis.vlines(places, 0, strengths, color="C3", lw=1.0, label="pymatgen, lines")
        axis.set_ylabel(f"{name} [%]")
        axis.set_ylim(0, 112)
    axes[0].legend(ncol=3, fontsize=8)
    axes[-1].set_xlabel("2 theta, Cu K alpha 1 [deg]")
    figure.tight_layout()
    figure.savefig(IMAGES / "powders.png", dpi=110)
    plt.close(figure)


def draw_films(told: list[tuple[FilmTrial, FilmScan]]) -> None:
    """Draw scans of four films, and what the analyst makes of them."""
    import matplotlib.pyplot as plt

    wanted = [("002", 6.0), ("002", 18.0), ("002", 36.0), ("004", 30.0)]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5))
    for axis, (order, thickness_ML) in zip(axes.flat, wanted, strict=True):
        trial, found = min(
            (pair for pair in told if pair[0].order == order),
            key=lambda pair: abs(pair[0].truth["thickness_ML"] - thickness_ML),
        )
        rate = np.maximum(trial.counts, 0.3) / trial.count_s
        axis.semilogy(trial.two_theta_deg, rate, ".", ms=3, color="0.45", label="measured")
        film = FilmShape(
            found.thickness_ML, found.roughness_ML, 0.4, found.aluminium, found.spacing_A
        )
        model = RodModel(trial.two_theta_deg, CU_KA1_A, 0.0015).intensity(film, found.zero_deg)
        q = 4 * np.pi * np.sin(np.radians(trial.two_theta_deg / 2)) / CU_KA1_A
        peak = 2 * np.pi * int(order[-1]) / 2 / MONOLAYER_A
        away = np.abs(q - peak) > 0.011
        basis = np.column_stack([model[away], np.ones(away.sum())])
        counts, guess, scale = trial.counts[away], trial.counts[away] + 1.0, np.zeros(2)
        for _ in range(5):
            # weights of the counts themselves would draw the curve too low
            weight = 1 / np.sqrt(guess)
            scale = np.linalg.lstsq(basis * weight[:, None], counts * weight, rcond=None)[0]
            guess = np.maximum(basis @ scale, 0.1)
        shown = np.where(away, scale[0] * model + scale[1], np.nan) / trial.count_s
        axis.semilogy(trial.two_theta_deg, shown, lw=1.2, color="C3", label="analyst's model")
        truth = trial.truth["thickness_ML"]
        axis.set_title(
            f"({order}), Al {trial.truth['aluminium']:.2f}: {truth:.2f} ML; read "
            f"{found.thickness_ML:.2f} +- {found.thickness_sd_ML:.2f} ML",
            fontsize=10,
        )
        axis.set_xlabel("2 theta [deg]")
        axis.set_ylabel("rate [1/s]")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(IMAGES / "films.png", dpi=110)
    plt.close(figure)


def markdown(rows: list[Row], against: str) -> str:
    """Return the table as a page's part."""
    lines = [f"Against {against}; `python docs/validation/xrd.py` makes it anew.", ""]
    lines += ["| what | reference | found | target | passed |", "|---|---|---|---|---|"]
    for one in rows:
        passed = "yes" if one["passed"] else "NO"
        lines.append(
            f"| {one['what']} | {one['reference']} | {one['found']:.3g} | {one['target']} | {passed} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=240)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    import matplotlib as mpl

    mpl.use("Agg")
    IMAGES.mkdir(parents=True, exist_ok=True)
    lines, patterns = powders()
    calibrated, told = calibration(given.films)
    rows = [*lines, *extinctions(), *clusters(), *rods(), *calibrated]
    draw_powders(patterns)
    draw_films(told)
    against = f"pymatgen {version('pymatgen')}, DebyeCalculator {version('DebyeCalculator')}"
    text = json.dumps({"against": against, "rows": rows}, indent=2) + "\n"
    (HERE / "xrd.json").write_text(text, encoding="utf-8")
    (HERE / "xrd.md").write_text(markdown(rows, against), encoding="utf-8")
    if not all(one["passed"] for one in rows):
        sys.exit("some rows miss their target")


if __name__ == "__main__":
    main()
