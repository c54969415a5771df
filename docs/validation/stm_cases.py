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
SITES, PIXELS, SHEET_PIXELS = 96, 64, 80

CELLS = (20, 12)
"""Of graphene. The first number is no multiple of 3, as in `tunnelling.GRAPHENE_CELLS`: a box of 3 n
cells along the zigzag rows holds the waves of K at the Fermi level, which mix with a vacancy's state."""

KINDS = ("vacancy", "nitrogen", "boron")
DOPANTS = {"nitrogen": 7, "boron": 5}
FAULTS = (
    "tip_crash", "double_tip", "feedback_oscillation", "preamp_saturated", "double_tip_sheet",
)  # fmt: skip
"""Of the twin; the last one is the second with graphene under the tip."""

EDGE_A = 4.0
"""Defects nearer to the frame's edge than this do not count: half of their figure is outside [A]."""


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
        kinds: of them, one of `KINDS` each.
        ideal_A: the height of constant current where the tip truly was, without noise, for the same
            tip, shape (lines, pixels) [A].
        events: of the tip in this image.
    """

    scan: Scan
    defects_A: NDArray[np.float64]
    kinds: tuple[str, ...]
    ideal_A: NDArray[np.float64]
    events: tuple[str, ...]


@dataclass(frozen=True)
class FaultCase:
    """An image by a microscope with a fault.

    Args:
        scan: what the microscope gave.
        fault: one of `FAULTS`.
        events: of the tip in this image.
    """

    scan: Scan
    fault: str
    events: tuple[str, ...]


def act(twin: STMTwin, action: str, sample: str = "s1", **arguments: Any) -> Any:
    """Perform one action of a twin and return its result."""
    twin.begin(command_for(twin, action, sample, **arguments))
    return asyncio.run(getattr(twin, action)(**arguments))


def twin_with(specimen: str | Specimen, seed: int, folder: Path, **feedback: float) -> STMTwin:
    """Return a twin with a specimen on its stage and the tip approached with these settings."""
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
    if feedback:
        act(twin, "set_feedback", **feedback)
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


def fault_case(case: int) -> FaultCase:
    """Return an image with a fault: of a film, or of graphene where the tip has become double."""
    fault = FAULTS[case % len(FAULTS)]
    rng = np.random.default_rng(seed_of("stm_analyst", "fault", case))
    with tempfile.TemporaryDirectory() as folder:
        if fault == "double_tip_sheet":
            bias_V, side_A, pixels = 0.8, float(rng.uniform(60.0, 70.0)), 112
            twin = twin_with("graphene", case, Path(folder), setpoint_nA=0.1, bias_V=bias_V)
            fault = "double_tip"
        else:
            bias_V, side_A, pixels = 1.0, float(rng.uniform(110.0, 190.0)), PIXELS
            heights, _ = grown_heights(case // len(FAULTS))
            film = FilmStructure(heights, np.array([0.3]))
            twin = twin_with(Specimen("s1", case, film), case, Path(folder))
        twin.inject(fault)
        scan: Scan = act(
            twin, "scan", width_A=side_A, height_A=side_A, bias_V=bias_V,
            pixels_x=pixels, pixels_y=pixels, line_time_s=0.25,
        )  # fmt: skip
        frame = twin.truth()["frame"]
        twin.disconnect()
    return FaultCase(scan, FAULTS[case % len(FAULTS)], tuple(what for _, what in frame["events"]))


def heights_inside(
    heights: NDArray[np.int32], x_A: NDArray[np.float32], y_A: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Return the heights of the columns whose middle lies in the frame as it truly was."""
    rows, columns = (_sites(y_A.mean(axis=1)), _sites(x_A.mean(axis=0)))
    side = heights.shape[0]
    return heights[np.ix_(rows % side, columns % side)]


def defect_case(case: int) -> DefectCase:
    """Return an image of graphene with a vacancy, a nitrogen and a boron atom in its box.

    Empty states are imaged in even cases, filled ones in odd cases.
    """
    rng = np.random.default_rng(seed_of("stm_analyst", "graphene", case))
    structure, kinds, places = graphene_with_defects(rng)
    bias_V = float(rng.uniform(0.6, 0.9)) * (1.0 if case % 2 == 0 else -1.0)
    side_A = float(rng.uniform(40.0, 46.0))
    with tempfile.TemporaryDirectory() as folder:
        twin = twin_with(
            Specimen("s1", case, structure), case, Path(folder), setpoint_nA=0.1, bias_V=bias_V
        )
        scan: Scan = act(
            twin, "scan", width_A=side_A, height_A=side_A, bias_V=bias_V,
            pixels_x=SHEET_PIXELS, pixels_y=SHEET_PIXELS, line_time_s=0.25,
        )  # fmt: skip
        frame = twin.truth()["frame"]
        twin.disconnect()
    x_A, y_A = (frame[name].astype(np.float64) for name in ("x_A", "y_A"))
    middle = np.array([_middle(x_A), _middle(y_A)])
    box_A = structure.cell_A[:2]
    everywhere = np.concatenate(
        [
            places + np.array([i, j]) * box_A - middle + np.floor(middle / box_A) * box_A
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
        ]
    )
    reach = 0.5 * np.array([np.ptp(x_A.mean(axis=0)), np.ptp(y_A.mean(axis=1))])
    inside = np.flatnonzero((np.abs(everywhere) < reach - EDGE_A).all(axis=1))
    return DefectCase(
        scan,
        everywhere[inside],
        tuple(kinds[i % len(kinds)] for i in inside),
        frame["field"].topograph_A(x_A, y_A, setpoint_nA=0.1),
        tuple(what for _, what in frame["events"]),
    )


def graphene_with_defects(
    rng: np.random.Generator,
) -> tuple[AtomicStructure, tuple[str, ...], NDArray[np.float64]]:
    """Return a box of graphene with a defect of each kind, their kinds and places (n, 2) [A]."""
    box = graphene(CELLS)
    edges_A = np.diag(box.cell_A)
    apart = np.array([[0.0, 0.0], [0.5, 0.1], [0.25, 0.55]]) + rng.uniform(-0.06, 0.06, (3, 2))
    parts = (rng.uniform(0.0, 1.0, 2) + apart) % 1.0
    sites = [box.nearest(float(x), float(y)) for x, y in parts * edges_A]
    kinds = tuple(KINDS[i] for i in rng.permutation(3))
    numbers = np.full(box.n, 6)
    for site, kind in zip(sites, kinds, strict=True):
        numbers[site] = DOPANTS.get(kind, 6)
    positions_A = box.positions_A + np.array([0.0, 0.0, 10.0])
    whole = AtomicStructure.of(numbers, positions_A, np.append(edges_A, 20.0))
    missing = sites[kinds.index("vacancy")]
    return whole.without([missing]), kinds, box.positions_A[sites, :2]


def _middle(image: NDArray[np.float64]) -> float:
    rows, columns = image.shape
    inner = image[rows // 2 - 1 : rows // 2 + 1, columns // 2 - 1 : columns // 2 + 1]
    return float(inner.mean())


def _sites(places_A: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the numbers of the columns between the outer borders of the first and last pixel."""
    half_A = 0.5 * float(np.ptp(places_A)) / (places_A.size - 1)
    low = int(np.ceil((float(places_A.min()) - half_A) / MESH_A))
    high = int(np.ceil((float(places_A.max()) + half_A) / MESH_A))
    return np.arange(low, high)
