"""Images by the twin of the tunnelling microscope with the truth beside them, for `stm_analyst.py`.

A case is one sample, one microscope (its hidden state drawn from the seed) and one image; the same number
gives the same case. What the twin hides is read in process, as tests may.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.clocks import VirtualClock
from twinloop.ids import seed_of
from twinloop.instruments.standin.testing import command_for
from twinloop.instruments.standin.vessel import Stage, Vessel
from twinloop.instruments.stm.interface import Scan
from twinloop.instruments.stm.twin import STMTwin
from twinloop.simulators.film_structure import MESH_A, FilmStructure
from twinloop.simulators.kmc import Film, GrowthParameters
from twinloop.simulators.specimen import Specimen
from twinloop.simulators.stm import graphene
from twinloop.simulators.structure import AtomicStructure

TEMPERATURES_K = (580.0, 620.0, 660.0, 700.0, 740.0)
SITES, PIXELS = 96, 64
CELLS = (15, 9)


@dataclass(frozen=True)
class FilmCase:
    """An image of a film.

    Args:
        scan: what the microscope gave.
        inside: heights of the columns in the frame, shape (rows, columns) [ML].
        film: heights of the whole film [ML].
        temperature_K: at which it grew [K].
        events: of the tip in this image.
    """

    scan: Scan
    inside: NDArray[np.int32]
    film: NDArray[np.int32]
    temperature_K: float
    events: tuple[str, ...]


@dataclass(frozen=True)
class DefectCase:
    """An image of graphene.

    Args:
        scan: what the microscope gave.
        defects_A: where vacancies and dopants truly were, from the middle of the frame and as the
            tip was there in the middle of the scan, shape (n, 2) [A].
        events: of the tip in this image.
    """

    scan: Scan
    defects_A: NDArray[np.float64]
    events: tuple[str, ...]


def act(twin: STMTwin, action: str, sample: str = "s1", **arguments: Any) -> Any:
    """Perform one action of a twin and return its result."""
    twin.begin(command_for(twin, action, sample, **arguments))
    return asyncio.run(getattr(twin, action)(**arguments))


def twin_with(specimen: str | Specimen, seed: int, folder: Path) -> STMTwin:
    """Return a twin with a specimen on its stage and the tip approached."""
    if isinstance(specimen, str):
        twin = STMTwin(specimen=specimen, seed=seed, folder=str(folder / "stm"))
    else:
        chamber, vessel = Stage(folder / "mbe"), Vessel(folder / "vessel")
        chamber.write(specimen, "grown/0/0/0")
        vessel.give("grown/0/1/0", chamber)
        twin = STMTwin(seed=seed, vessel=str(folder / "vessel"), folder=str(folder / "stm"))
    twin.attach(VirtualClock())
    twin.connect()
    act(twin, "take")
    act(twin, "approach")
    return twin


def grown_heights(case: int) -> tuple[NDArray[np.int32], float]:
    """Return the heights of a film grown by the growth code, and its temperature."""
    rng = np.random.default_rng(seed_of("stm_analyst", "film", case))
    temperature_K = TEMPERATURES_K[case % len(TEMPERATURES_K)] + float(rng.uniform(-20.0, 20.0))
    flux = float(np.exp(rng.uniform(np.log(0.1), np.log(1.0))))
    dose_ML = float(rng.choice([0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.1, 1.5, 2.0, 2.4, 3.2, 4.2]))
    parameters = GrowthParameters(
        surface_barrier_eV=1.30 + 0.05 * float(rng.standard_normal()),
        bond_energy_eV=0.25,
        step_barrier_eV=0.05,
        multi_hop=8,
    )
    film = Film.flat(size=SITES, parameters=parameters, seed=int(rng.integers(2**31)))
    film.advance(
        temperature_K=temperature_K,
        flux_ML_per_s=flux,
        duration_s=dose_ML / flux,
        max_events=3_000_000,
    )
    if rng.random() < 0.5:
        film.advance(
            temperature_K=temperature_K,
            flux_ML_per_s=0.0,
            duration_s=float(rng.uniform(1.0, 20.0)),
            max_events=500_000,
        )
    return film.heights, temperature_K


def film_case(case: int) -> FilmCase:
    """Return the image of a grown film."""
    heights, temperature_K = grown_heights(case)
    rng = np.random.default_rng(seed_of("stm_analyst", "scan", case))
    side_A = float(rng.uniform(110.0, 190.0))
    specimen = Specimen("s1", case, FilmStructure(heights, np.array([0.3])))
    with tempfile.TemporaryDirectory() as folder:
        twin = twin_with(specimen, case, Path(folder))
        scan: Scan = act(
            twin, "scan", width_A=side_A, height_A=side_A, pixels_x=PIXELS, pixels_y=PIXELS,
            line_time_s=0.25,
        )  # fmt: skip
        truth = twin.truth()["frame"]
        twin.disconnect()
    return FilmCase(
        scan,
        heights_inside(heights, truth["x_A"], truth["y_A"]),
        heights,
        temperature_K,
        tuple(what for _, what in truth["events"]),
    )


def heights_inside(
    heights: NDArray[np.int32], x_A: NDArray[np.float32], y_A: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Return the heights of the columns whose middle lies in the frame as it truly was."""
    rows, columns = (_sites(y_A.mean(axis=1)), _sites(x_A.mean(axis=0)))
    side = heights.shape[0]
    return heights[np.ix_(rows % side, columns % side)]


def defect_case(case: int) -> DefectCase:
    """Return an image of graphene with a vacancy and a nitrogen atom in its box."""
    rng = np.random.default_rng(seed_of("stm_analyst", "graphene", case))
    specimen = Specimen("s1", case, graphene_with_defects(rng))
    with tempfile.TemporaryDirectory() as folder:
        twin = twin_with(specimen, case, Path(folder))
        act(twin, "set_feedback", setpoint_nA=0.1, bias_V=0.8)
        side_A = float(rng.uniform(30.0, 36.0))
        scan: Scan = act(
            twin, "scan", width_A=side_A, height_A=side_A, bias_V=float(rng.uniform(0.6, 0.9)),
            pixels_x=PIXELS, pixels_y=PIXELS, line_time_s=0.25,
        )  # fmt: skip
        truth = twin.truth()
        twin.disconnect()
    x_A, y_A = truth["frame"]["x_A"], truth["frame"]["y_A"]
    middle = np.array([_middle(x_A), _middle(y_A)])
    places = _defect_places_A(truth["specimen"].atoms)
    box_A = truth["specimen"].atoms.cell_A[:2]
    images = [
        places + np.array([i, j]) * box_A - middle + np.floor(middle / box_A) * box_A
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    everywhere = np.concatenate(images)
    reach = 0.5 * np.array([np.ptp(x_A.mean(axis=0)), np.ptp(y_A.mean(axis=1))])
    inside = (np.abs(everywhere) < reach - 4.0).all(axis=1)
    return DefectCase(scan, everywhere[inside], tuple(w for _, w in truth["frame"]["events"]))


def graphene_with_defects(rng: np.random.Generator) -> AtomicStructure:
    """Return a box of graphene with one vacancy and one nitrogen atom, half a box apart or so."""
    box = graphene(CELLS)
    edges_A = np.diag(box.cell_A)
    first = rng.uniform(0.0, 1.0, 2)
    second = first + 0.5 + rng.uniform(-0.1, 0.1, 2)
    missing, nitrogen = (
        box.nearest(float(x), float(y)) for x, y in (first % 1.0 * edges_A, second % 1.0 * edges_A)
    )
    numbers = np.full(box.n, 6)
    numbers[nitrogen] = 7
    places = box.positions_A + np.array([0.0, 0.0, 10.0])
    cell_A = np.append(edges_A, 20.0)
    return AtomicStructure.of(numbers, places, cell_A).without([missing])


def _middle(image: NDArray[np.float32]) -> float:
    rows, columns = image.shape
    return float(
        image[rows // 2 - 1 : rows // 2 + 1, columns // 2 - 1 : columns // 2 + 1]
        .astype(np.float64)
        .mean()
    )


def _sites(places_A: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the numbers of the columns between the outer borders of the first and last pixel."""
    half_A = 0.5 * float(np.ptp(places_A)) / (places_A.size - 1)
    low = int(np.ceil((float(places_A.min()) - half_A) / MESH_A))
    high = int(np.ceil((float(places_A.max()) + half_A) / MESH_A))
    return np.arange(low, high)


def _defect_places_A(atoms: Any) -> NDArray[np.float64]:
    """Return where atoms are missing or not carbon, shape (n, 2) [A]."""
    ideal = graphene(CELLS).positions_A[:, :2]
    there = atoms.positions_A[:, :2]
    far = np.linalg.norm(ideal[:, None] - there[None], axis=2).min(axis=1)
    return np.concatenate([ideal[far > 0.5], there[atoms.numbers != 6]])
