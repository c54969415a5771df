"""Seconds of a STEM image beside abTEM's, on one thread: the first one, and one of a new lens setting.

Both compute the same specimens on the same grid and slices, for the same annular detector, at the
fewest positions that hold the whole image (Nyquist), and read the other's image afterwards to see
that it is the same one. abTEM as its manual recommends: FFTW_MEASURE plans made beforehand, one
thread, no dask workers, PRISM or multislice, whichever is faster (multislice is timed on a part of
the positions). Its scattering matrix is kept for the new lens setting. CPU time; wall time on a GPU.
What either compiles when it runs for the first time is not counted: the median of three is taken here,
and abTEM is given small tasks before.

    python speed/stem.py [--device cuda]

Where abTEM is not installed, only our own figures are measured, and the result says so.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import write_result

from twinloop.simulators.stem import specimens
from twinloop.simulators.stem.detectors import Detector, standard_detectors
from twinloop.simulators.stem.imager import Imager, Recipe
from twinloop.simulators.stem.phonons import snapshots
from twinloop.simulators.stem.probe import Probe
from twinloop.simulators.structure import AtomicStructure

REPEATS, SETTINGS = 3, 9
MULTISLICE_POSITIONS = 96
SCAN = 512


@dataclass(frozen=True)
class Task:
    """A specimen to image; its slices are the thickest that keep its atomic planes apart.

    `structure`: what we are given; `whole`: what abTEM is given, the same repeated. The scan covers
    the edges of `structure`, because the image repeats with it.
    """

    name: str
    structure: AtomicStructure
    whole: AtomicStructure
    probe: Probe
    ring: Detector
    recipe: Recipe

    def raster(self, probe: Probe) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and rows at the Nyquist distance lambda / (4 alpha) [A]."""
        pitch_A = probe.wavelength_A / (4e-3 * probe.semiangle_mrad)
        x, y = (
            np.arange(n) * edge / n
            for edge in self.structure.cell_A[:2]
            for n in [int(np.ceil(edge / pitch_A))]
        )
        return x, y


def tasks(device: str) -> list[Task]:
    sheet = specimens.mos2(across=(8, 4)).without([5, 40])
    crystal = specimens.srtio3(across=(3, 3), thickness_A=200.0)
    return [
        Task(
            "MoS2 with two vacancies, 25 x 22 A, 100 keV, 25 mrad",
            sheet, sheet, Probe(100.0, 25.0), Detector(75.0, 135.0),
            Recipe(sampling_A=0.088, step_A=1.44, device=device),
        ),
        Task(
            "SrTiO3, 3 x 3 cells, 199 A thick, 200 keV, 20 mrad",
            specimens.srtio3(across=(1, 1), thickness_A=200.0), crystal, Probe(200.0, 20.0),
            Detector(60.0, 110.0),
            Recipe(sampling_A=0.075, step_A=1.9525, repeats=(3, 3), device=device),
        ),
        Task(
            "the same with a frozen phonon",
            crystal, crystal, Probe(200.0, 20.0), Detector(60.0, 110.0),
            Recipe(sampling_A=0.075, step_A=1.9525, phonons=1, device=device),
        ),
    ]  # fmt: skip


def clock_s(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], Any], device: str = "cpu") -> tuple[float, Any]:
    began_s = clock_s(device)
    answer = work()
    return clock_s(device) - began_s, answer


def ours(task: Task, probe: Probe) -> tuple[dict[str, float], np.ndarray]:
    """Return seconds of the first image and of a new setting, and the first image."""
    device, raster = task.recipe.device, task.raster(probe)

    def first() -> tuple[Imager, np.ndarray]:
        imager = Imager(task.structure, probe, {"ring": task.ring}, task.recipe)
        return imager, imager.image(probe, *raster)["ring"]

    if device != "cpu":
        first()
    runs = [timed(first, device) for _ in range(REPEATS)]
    imager, image = runs[-1][1]
    again_s = [
        timed(lambda k=k: imager.image(probe.focused(5.0 * k), *raster), device)[0]
        for k in range(SETTINGS)
    ]
    return {
        "first [s]": statistics.median(run[0] for run in runs),
        "new [s]": statistics.median(again_s),
    }, image


def theirs(task: Task, probe: Probe, grid: tuple[int, int]) -> tuple[dict[str, Any], np.ndarray]:
    """Return the same of abTEM, and which of its two ways is the faster."""
    import abtem
    import dask

    dask.config.set(scheduler="single-threaded")
    abtem.config.set({"fftw.threads": 1, "diagnostics.progress_bar": False})
    abtem.config.set({"fftw.planning_effort": "FFTW_MEASURE"})
    snapshot = snapshots(task.whole, task.recipe.phonons, task.recipe.seed)[0]
    depth_A = float(snapshot.cell_A[2])
    x_A, y_A = task.raster(probe)
    beam = {"energy": 1e3 * probe.energy_keV, "semiangle_cutoff": probe.semiangle_mrad}
    ring = abtem.AnnularDetector(task.ring.inner_mrad, task.ring.outer_mrad)
    corner = tuple(task.structure.cell_A[:2])
    scan = abtem.GridScan((0, 0), corner, gpts=(x_A.size, y_A.size), endpoint=False)

    def potential() -> Any:
        return abtem.Potential(
            snapshot.to_ase(), gpts=grid, parametrization="lobato", projection="infinite",
            slice_thickness=depth_A / np.ceil(round(depth_A / task.recipe.step_A, 9)),
        )  # fmt: skip

    def matrix(semiangle_mrad: float = probe.semiangle_mrad) -> Any:
        chosen = {**beam, "semiangle_cutoff": semiangle_mrad}
        return abtem.SMatrix(potential=potential(), **chosen).build(lazy=False)

    def reduced(built: Any, defocus_A: float) -> Any:
        ctf = abtem.CTF(**beam, defocus=defocus_A, soft=True)
        found = built.reduce(scan=scan, detectors=ring, ctf=ctf)
        return found.compute(progress_bar=False) if hasattr(found, "compute") else found

    def multislice(scanned: Any) -> Any:
        source = abtem.Probe(**beam, soft=True)
        built = potential()
        source.grid.match(built)
        return source.scan(built, scan=scanned, detectors=ring, lazy=False)

    few = np.random.default_rng(0).random((MULTISLICE_POSITIONS, 2)) * snapshot.cell_A[:2]
    matrix(3.0)
    multislice(abtem.CustomScan(few[:8]))
    build_s, built = timed(matrix)
    image_s, image = timed(lambda: reduced(built, 0.0))
    new_s, _ = timed(lambda: reduced(built, 5.0))
    part_s, _ = timed(lambda: multislice(abtem.CustomScan(few)))
    ways_s = {
        "PRISM": build_s + image_s,
        "multislice": part_s * x_A.size * y_A.size / MULTISLICE_POSITIONS,
    }
    faster = min(ways_s, key=lambda name: ways_s[name])
    rounded = {f"{name} [s]": round(took_s, 2) for name, took_s in ways_s.items()}
    return {
        **rounded, "faster": faster, "first [s]": ways_s[faster], "new [s]": min(new_s, ways_s[faster]),
    }, np.asarray(image.array).T  # fmt: skip


def compared(task: Task, *, with_abtem: bool) -> dict[str, Any]:
    probe = task.probe
    imager = Imager(task.structure, probe, {"ring": task.ring}, task.recipe)
    x_A, y_A = task.raster(probe)
    grid = imager.grid.repeated(task.recipe.repeats)
    mine, image = ours(task, probe)
    found: dict[str, Any] = {
        "grid": list(grid.shape),
        "beams": imager.beams.n,
        "positions": int(x_A.size * y_A.size),
        "ours": {name: float(f"{value:.4g}") for name, value in mine.items()},
    }
    if with_abtem:
        other, reference = theirs(task, probe, grid.shape)
        found["abTEM"] = {k: round(v, 2) if isinstance(v, float) else v for k, v in other.items()}
        found["ratio, first image"] = round(other["first [s]"] / mine["first [s]"], 1)
        found["ratio, new setting"] = round(other["new [s]"] / mine["new [s]"])
        apart = np.abs(image - reference).max() / reference.max()
        found["images apart"] = float(f"{apart:.1e}")
    return found


def scan_512() -> dict[str, float]:
    """Return what a 512 x 512 scan of four detectors at bent positions adds to the memory [MB]."""
    task = tasks("cpu")[0]
    rings = standard_detectors(25.0)
    at_rest = _peak_MB()
    imager = Imager(task.structure, task.probe, rings, task.recipe)
    _ = imager.gram
    ready = _peak_MB()
    x, y = np.meshgrid(*(np.linspace(0.0, edge, SCAN) for edge in task.structure.cell_A[:2]))
    bent = np.stack([x + 0.05 * np.sin(y), y + 0.002 * x], axis=-1).reshape(-1, 2)
    took_s, images = timed(lambda: imager.at(task.probe, bent))
    return {
        "before [MB]": at_rest,
        "peak, first image [MB]": ready,
        "peak, scan [MB]": _peak_MB(),
        "images [MB]": round(sum(image.nbytes for image in images.values()) / 1e6, 1),
        "scan [CPU s]": round(took_s, 2),
    }


def _peak_MB() -> float:
    # ru_maxrss would count what the parent held when it started this process.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return round(int(line.split()[1]) / 1024.0, 1)
    return float("nan")


def _scan_in_a_fresh_process() -> dict[str, float]:
    child = [sys.executable, sys.argv[0], "--scan"]
    said = subprocess.run(child, check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(said.splitlines()[-1])
    return figures


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--scan", action="store_true", help="only the memory of a 512 x 512 scan")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.scan:
        print(json.dumps(scan_512()))
        return
    if given.device == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device here: nothing is measured")
        return
    has_abtem = importlib.util.find_spec("abtem") is not None
    figures = {}
    for task in tasks(given.device):
        figures[task.name] = compared(task, with_abtem=has_abtem and given.device == "cpu")
        print(task.name, figures[task.name], flush=True)
    against = f"abTEM {version('abtem')}" if has_abtem else "nothing: abTEM is not installed"
    what = torch.cuda.get_device_name() if given.device == "cuda" else "cpu, 1 thread"
    write_result(
        "stem" if given.device == "cpu" else f"stem_{given.device}",
        {
            "device": what,
            "against": against if given.device == "cpu" else "nothing: abTEM is timed on the CPU",
            "images": figures,
            f"{SCAN} x {SCAN} scan, four detectors": _scan_in_a_fresh_process(),
        },
    )


if __name__ == "__main__":
    main()
