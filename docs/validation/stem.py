"""Validate the STEM engine against abTEM; write the table of `stem.json` and `stem.md` beside this.

    python docs/validation/stem.py [--device cuda]
    python docs/validation/stem.py --reference tests/simulators/stem/abtem_reference.json

Each case gives the same atoms, grid, slices, aperture and positions to both. The reference is abTEM's
multislice (`Probe.scan`), or its scattering matrix where a case says so; ours is the Gram form with
interpolation factor 1 in complex64. The error of a detector is max |I - I_ref| / max I_ref over the
positions. The second command keeps abTEM's intensities of a few cases, so that a test can compare
with them where abTEM is not installed. Needs abTEM, an optional test dependency.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.simulators.stem import specimens
from twinloop.simulators.stem.aberrations import Aberrations
from twinloop.simulators.stem.detectors import Detector
from twinloop.simulators.stem.imager import Imager, Recipe
from twinloop.simulators.stem.phonons import snapshots
from twinloop.simulators.stem.potential import Placement
from twinloop.simulators.stem.probe import Probe
from twinloop.simulators.structure import AtomicStructure

TARGET = 1.0e-4
POSITIONS = 48
KEPT = ("MoS2", "MoS2, all aberrations", "MoS2 bilayer, tilted by 50 mrad")
FIELDS = "case, detector, reference, error, target, passed"

AT_60_KEV = {
    "bf": Detector(0.0, 15.0),
    "abf": Detector(15.0, 30.0),
    "adf": Detector(45.0, 90.0),
    "haadf": Detector(90.0, 180.0),
}
AT_100_KEV = {
    "bf": Detector(0.0, 12.0),
    "abf": Detector(12.0, 25.0),
    "adf": Detector(37.0, 75.0),
    "haadf": Detector(75.0, 140.0),
}
AT_200_KEV = {
    "bf": Detector(0.0, 10.0),
    "abf": Detector(10.0, 20.0),
    "adf": Detector(30.0, 60.0),
    "haadf": Detector(60.0, 115.0),
}


@dataclass(frozen=True)
class Case:
    """One specimen under one probe.

    `reference`: "multislice" or "scattering matrix" of abTEM.
    """

    name: str
    structure: Callable[[], AtomicStructure]
    probe: Probe
    detectors: dict[str, Detector]
    recipe: Recipe = field(default_factory=Recipe)
    reference: str = "multislice"


def mos2() -> AtomicStructure:
    """Return the monolayer."""
    return specimens.mos2(across=(4, 2))


def graphene() -> AtomicStructure:
    """Return the sheet with a double vacancy, a single one, and two Si atoms."""
    return specimens.graphene(across=(6, 4), vacancies=(20, 21, 70), dopants={45: 14, 50: 14})


def strontium_titanate() -> AtomicStructure:
    """Return 51 cells, 20 nm."""
    return specimens.srtio3(across=(3, 3), thickness_A=200.0)


def one_column() -> AtomicStructure:
    """Return one cell across, 20 nm."""
    return specimens.srtio3(across=(1, 1), thickness_A=200.0)


def thin_strontium_titanate() -> AtomicStructure:
    """Return 10 cells, 4 nm."""
    return specimens.srtio3(across=(3, 3), thickness_A=39.05)


def at_100_keV(semiangle_mrad: float = 25.0, *, soft: bool = True, **words: float) -> Probe:
    """Return a probe of 100 keV with these aberrations."""
    return Probe(100.0, semiangle_mrad, Aberrations(**words), soft=soft)


SHEET = Recipe(sampling_A=0.08, step_A=1.0)
CRYSTAL = Recipe(sampling_A=0.07, step_A=1.9525)
EVERYTHING = {
    "defocus_A": 40.0, "astigmatism_A": 30.0, "astigmatism_deg": 20.0, "coma_A": 500.0,
    "coma_deg": 40.0, "trefoil_A": 300.0, "trefoil_deg": 10.0, "c3_A": 1.0e5, "c5_A": 1.0e7,
}  # fmt: skip

CASES = (
    Case("MoS2", mos2, at_100_keV(), AT_100_KEV, SHEET),
    Case(
        "graphene, 3 C missing, 2 Si, 60 keV", graphene, Probe(60.0, 30.0), AT_60_KEV,
        Recipe(sampling_A=0.085, step_A=1.0),
    ),
    Case("SrTiO3, 20 nm, 200 keV", strontium_titanate, Probe(200.0, 20.0), AT_200_KEV, CRYSTAL),
    Case(
        "SrTiO3, 20 nm, 200 keV, by Bloch's theorem from one cell", one_column, Probe(200.0, 20.0),
        AT_200_KEV, replace(CRYSTAL, repeats=(3, 3)),
    ),
    Case(
        "MoS2 bilayer, tilted by 50 mrad", specimens.mos2_tilted_bilayer, at_100_keV(), AT_100_KEV,
        SHEET,
    ),
    *(
        Case(f"MoS2, defocus {d:+.0f} A", mos2, at_100_keV(defocus_A=d), AT_100_KEV, SHEET)
        for d in (-200.0, -50.0, 50.0, 100.0, 300.0)
    ),
    Case(
        "MoS2, C3 1 mm at Scherzer defocus, 10 mrad", mos2,
        at_100_keV(10.0, c3_A=1.0e7, defocus_A=700.0), AT_100_KEV, SHEET,
    ),
    Case(
        "MoS2, C3 0.1 mm, 25 mrad", mos2, at_100_keV(c3_A=1.0e6, defocus_A=250.0), AT_100_KEV,
        SHEET,
    ),
    Case("MoS2, all aberrations", mos2, at_100_keV(**EVERYTHING), AT_100_KEV, SHEET),
    Case(
        "MoS2, 8 frozen phonons", mos2, at_100_keV(defocus_A=20.0), AT_100_KEV,
        Recipe(sampling_A=0.08, step_A=1.0, phonons=8, seed=1),
    ),
    Case(
        "SrTiO3, 4 nm, 3 frozen phonons, 200 keV", thin_strontium_titanate, Probe(200.0, 20.0),
        AT_200_KEV, Recipe(sampling_A=0.07, step_A=1.9525, phonons=3, seed=2),
    ),
    Case(
        "MoS2, hard aperture", mos2, at_100_keV(soft=False, defocus_A=40.0), AT_100_KEV, SHEET,
    ),
    Case(
        "MoS2, hard aperture", mos2, at_100_keV(soft=False, defocus_A=40.0), AT_100_KEV, SHEET,
        "scattering matrix",
    ),
    Case(
        "MoS2, Kirkland potentials", mos2, at_100_keV(), AT_100_KEV,
        Recipe(sampling_A=0.08, step_A=1.0, parametrisation="kirkland"),
    ),
)  # fmt: skip


def positions_of(structure: AtomicStructure) -> NDArray[np.float64]:
    """Return random places in the cell and the columns of its first atoms, shape (n, 2) [A]."""
    rng = np.random.default_rng(0)
    anywhere = rng.random((POSITIONS - 8, 2)) * structure.cell_A[:2]
    return np.concatenate([anywhere, structure.positions_A[:8, :2]])


def ours(case: Case, device: str = "cpu") -> dict[str, NDArray[np.float64]]:
    """Return our intensities by detector, always through the Gram form."""
    structure = case.structure()
    imager = Imager(structure, case.probe, case.detectors, replace(case.recipe, device=device))
    images = imager.gram.spectrum(case.probe).at(positions_of(structure)).cpu().double().numpy()
    return dict(zip(imager.gram.names, images, strict=True))


def theirs(case: Case) -> dict[str, NDArray[np.float64]]:
    """Return abTEM's intensities by detector, averaged over the same snapshots."""
    structure, recipe = case.structure(), case.recipe
    total: dict[str, Any] = dict.fromkeys(case.detectors, 0.0)
    shaken = snapshots(structure, recipe.phonons, recipe.seed)
    for snapshot in shaken:
        measured = _abtem_scan(case, snapshot, positions_of(structure))
        for name, image in zip(case.detectors, measured, strict=True):
            total[name] = total[name] + image / len(shaken)
    return total


def _abtem_scan(
    case: Case, structure: AtomicStructure, positions_A: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    import abtem

    abtem.config.set({"diagnostics.progress_bar": False})
    recipe, probe, words = case.recipe, case.probe, case.probe.aberrations
    grid = Imager(structure, probe, case.detectors, recipe).grid.repeated(recipe.repeats)
    depth_A = float(structure.cell_A[2])
    potential = abtem.Potential(
        structure.to_ase().repeat((*recipe.repeats, 1)),
        gpts=grid.shape,
        slice_thickness=depth_A / np.ceil(round(depth_A / recipe.step_A, 9)),
        parametrization=str(recipe.parametrisation),
        projection="infinite",
    )
    lens = {
        "defocus": words.defocus_A, "Cs": words.c3_A, "C50": words.c5_A,
        "C12": words.astigmatism_A, "phi12": np.radians(words.astigmatism_deg),
        "C21": words.coma_A, "phi21": np.radians(words.coma_deg),
        "C23": words.trefoil_A, "phi23": np.radians(words.trefoil_deg),
    }  # fmt: skip
    beam = {"energy": 1e3 * probe.energy_keV, "semiangle_cutoff": probe.semiangle_mrad}
    scan = abtem.CustomScan(positions_A)
    rings = [abtem.AnnularDetector(d.inner_mrad, d.outer_mrad) for d in case.detectors.values()]
    if case.reference == "multislice":
        source = abtem.Probe(**beam, soft=probe.soft, **lens)
        source.grid.match(potential)
        found = source.scan(potential, scan=scan, detectors=rings, lazy=False)
    else:
        matrix = abtem.SMatrix(potential=potential, **beam)
        ctf = abtem.CTF(**beam, soft=probe.soft, **lens)
        found = matrix.scan(scan=scan, detectors=rings, ctf=ctf, lazy=False)
    return [np.asarray(image.array, dtype=np.float64) for image in found]


def compare(case: Case, device: str = "cpu") -> dict[str, float]:
    """Return the error of each detector."""
    mine, reference = ours(case, device), theirs(case)
    return {
        name: float(np.abs(mine[name] - reference[name]).max() / reference[name].max())
        for name in case.detectors
    }


def placement_gaps(device: str) -> dict[str, float]:
    """Return how far exact placement of the atoms is from abTEM's, by sampling; no target."""
    found = {}
    for sampling_A in (0.08, 0.04):
        recipe = Recipe(sampling_A=sampling_A, step_A=1.0)
        on_grid = Case("", mos2, at_100_keV(), AT_100_KEV, recipe)
        exact = replace(on_grid, recipe=replace(recipe, placement=Placement.FOURIER))
        reference, mine = ours(on_grid, device), ours(exact, device)
        found[f"{sampling_A} A"] = max(
            float(np.abs(mine[name] - reference[name]).max() / reference[name].max())
            for name in reference
        )
    return found


def rows(device: str) -> list[dict[str, Any]]:
    """Return the table."""
    found = []
    for case in CASES:
        for name, error in compare(case, device).items():
            values = (case.name, name, case.reference, error, TARGET, error < TARGET)
            found.append(dict(zip(FIELDS.split(", "), values, strict=True)))
        worst = max(row["error"] for row in found[-len(case.detectors) :])
        sys.stdout.write(f"{case.name} ({case.reference}): {worst:.1e}\n")
    return found


def kept_reference() -> str:
    """Return abTEM's intensities of the kept cases as JSON, seven figures each."""
    cases = {
        case.name: {
            name: [float(f"{value:.7g}") for value in image] for name, image in theirs(case).items()
        }
        for case in CASES
        if case.name in KEPT
    }
    return json.dumps({"made by": f"abTEM {version('abtem')}", "cases": cases}) + "\n"


def markdown(table: list[dict[str, Any]], against: str, gaps: dict[str, float]) -> str:
    """Return the table as a page, one line a case, one column a detector."""
    columns = list(AT_100_KEV)
    lines = [
        f"Maximum relative error, max |I - I_ref| / max I_ref, against {against}; target < 1e-4.",
        "",
        f"| case | reference | {' | '.join(columns)} | passed |",
        f"|---|---|{'---|' * len(columns)}---|",
    ]
    for start in range(0, len(table), len(columns)):
        part = table[start : start + len(columns)]
        errors = " | ".join(f"{row['error']:.1e}" for row in part)
        passed = "yes" if all(row["passed"] for row in part) else "NO"
        lines.append(f"| {part[0]['case']} | {part[0]['reference']} | {errors} | {passed} |")
    said = ", ".join(f"{gap:.1e} at a sampling of {name}" for name, gap in gaps.items())
    lines += [
        "",
        f"Exact instead of gridded atoms (`Placement.FOURIER`) change the MoS2 images by {said}.",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Run every case and write both files."""
    import torch

    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--reference", type=Path, help="write abTEM's intensities of a few cases")
    given = parser.parse_args()
    device: str = given.device
    torch.set_num_threads(1)
    if given.reference is not None:
        given.reference.write_text(kept_reference(), encoding="utf-8")
        return
    table = rows(device)
    gaps = placement_gaps(device)
    against = f"abTEM {version('abtem')}"
    what = torch.cuda.get_device_name() if device != "cpu" else "cpu"
    head = {"against": against, "device": what, "torch": torch.__version__, "positions": POSITIONS}
    suffix = "" if device == "cpu" else f"_{device}"
    here = Path(__file__).parent
    text = json.dumps({**head, "rows": table, "exact placement": gaps}, indent=2) + "\n"
    (here / f"stem{suffix}.json").write_text(text, encoding="utf-8")
    (here / f"stem{suffix}.md").write_text(markdown(table, against, gaps), encoding="utf-8")
    if not all(row["passed"] for row in table):
        sys.exit("some errors exceed their target")


if __name__ == "__main__":
    main()
