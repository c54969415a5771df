"""What stands under and around the tip of the twin of a tunnelling microscope.

Specimens become surfaces that carry current (`surface_of`), the hidden state of a microscope becomes a
scanner with its loop, axes, drift and noise (`scanner_of`), a dragged atom becomes another specimen
(`dragged`). The physics is that of `simulators.stm`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.film_structure import MESH_A, MONOLAYER_A, FilmStructure
from twinloop.simulators.stm import (
    Axis,
    Broadening,
    CurrentField,
    CurrentNoise,
    Drag,
    DragRules,
    Drift,
    FeedbackLoop,
    Film,
    Scanner,
    Sheet,
    TightBinding,
    Tip,
    TipRules,
    dope,
    drag_adatom,
    drag_vacancy,
    graphene,
    mos2,
    without_sulphur,
)
from twinloop.simulators.structure import AtomicStructure

__all__ = [
    "FULL_SCALE_NA",
    "RULES",
    "SPECIMENS",
    "PiezoAxis",
    "box_of",
    "dragged",
    "is_graphene",
    "scanner_of",
    "stock_of",
    "surface_of",
    "tip_of",
    "tip_state",
]

F8 = NDArray[np.float64]

FULL_SCALE_NA = 100.0
"""Of the preamplifier [nA]."""

SPECIMENS = ("graphene", "clean_graphene", "mos2", "flat_film")

# A box of 3 n cells along x would hold the waves of K at 0 eV, which mix with a vacancy's state.
GRAPHENE_CELLS, MOS2_CELLS, FILM_SITES = (20, 12), (8, 5), 64

GRAPHENE_WINDOW_EV, MOS2_WINDOW_EV = (-1.2, 1.2), (-2.4, 1.6)
MOS2_FERMI_EV = 0.6

TEMPERATURE_K = 4.2

RULES = TipRules(step_per_A=2.0e-7)
"""How often tips change: here a good tip, that changes in a few of a hundred images of a film."""

CARBON, NITROGEN, BORON, MOLYBDENUM, SULPHUR = 6, 7, 5, 42, 16
DOPANTS = {NITROGEN: "N", BORON: "B"}

NEAR_A = 0.6
"""Distance from a lattice site at which an atom still counts as its own [A]."""

VACUUM_A = 20.0


@dataclass(frozen=True, slots=True)
class PiezoAxis(Axis):
    """One axis as the maker calibrated it, with the error he made, over one place of the sample.

    Args:
        scale: true over commanded displacement for small ones [1].
        origin_A: of the scanner on the specimen [A].
        every: commands of which one is followed exactly, those between by straight lines.
        trail: where the axis went in the last calls, kept for the truth.
    """

    scale: float = 1.0
    origin_A: float = 0.0
    every: int = 1
    trail: list[F8] = field(default_factory=list)

    def follow(self, state: Any, command_A: F8, *, step_s: float) -> F8:
        """Return where the axis really is after each command, shape (n,) [A]."""
        n = command_A.size
        marks = np.unique(np.append(np.arange(0, n, self.every), n - 1))
        every_s = step_s * max(1, self.every)
        went = Axis.follow(self, state, np.ascontiguousarray(command_A[marks]), step_s=every_s)
        # The maker calibrated small displacements, in which no play operator turns.
        small = 1.0 - float(self.shares.sum())
        true_A = self.origin_A + self.scale * np.interp(np.arange(n), marks, went) / small
        self.trail.append(true_A)
        del self.trail[:-2]
        return true_A


def stock_of(kind: str, rng: np.random.Generator) -> AtomicStructure | FilmStructure:
    """Return a fresh specimen of a sort.

    Args:
        kind: one of `SPECIMENS`.
        rng: draws where its defects are.

    Raises:
        ArgumentError: another sort.
    """
    if kind == "flat_film":
        return FilmStructure.flat(FILM_SITES)
    if kind == "mos2":
        box = mos2(MOS2_CELLS)
        edges_A = np.diag(box.cell_A)
        places = rng.uniform(0.1, 0.9, (2, 2)) * edges_A
        return _structure_of(without_sulphur(box, [(float(x), float(y)) for x, y in places]))
    if kind not in SPECIMENS:
        raise ArgumentError("stm.specimen", kind, f"one of {list(SPECIMENS)}")
    box = graphene(GRAPHENE_CELLS)
    if kind == "clean_graphene":
        return _structure_of(box)
    # Three defects that keep apart, so that each is one.
    corners = np.array([[0.25, 0.25], [0.72, 0.35], [0.4, 0.75]]) + rng.uniform(-0.08, 0.08, (3, 2))
    places = rng.permutation(corners) * np.diag(box.cell_A)
    missing = [box.nearest(float(x), float(y)) for x, y in places[:2]]
    structure = _structure_of(box)
    nitrogen = box.nearest(float(places[2, 0]), float(places[2, 1]))
    numbers = structure.numbers.copy()
    numbers[nitrogen] = NITROGEN
    doped = AtomicStructure.of(numbers, structure.positions_A, structure.cell_A, structure.rms_A)
    return doped.without(missing)


def is_graphene(structure: AtomicStructure | FilmStructure) -> bool:
    """Return whether a specimen is a sheet of carbon."""
    return isinstance(structure, AtomicStructure) and CARBON in structure.numbers


def surface_of(structure: AtomicStructure | FilmStructure) -> Film | Sheet:
    """Return what carries the current; a sheet costs the diagonalisation of its electrons.

    Raises:
        ArgumentError: atoms whose electrons no model here knows.
    """
    if isinstance(structure, FilmStructure):
        # x runs along the columns of the film's heights, y along its rows
        heights = np.ascontiguousarray(structure.heights_ML.T, dtype=np.float64)
        return Film(heights, lattice_A=MESH_A, step_A=MONOLAYER_A)
    box = box_of(structure)
    broadening = Broadening(temperature_K=TEMPERATURE_K)
    if is_graphene(structure):
        return Sheet.of(
            box, window_eV=GRAPHENE_WINDOW_EV, broadening=broadening, background_per_eV=2e-4
        )
    return Sheet.of(
        box,
        window_eV=MOS2_WINDOW_EV,
        fermi_eV=MOS2_FERMI_EV,
        broadening=broadening,
        background_per_eV=2e-4,
    )


def box_of(structure: AtomicStructure) -> TightBinding:
    """Return the electrons' box of a sheet, with its vacancies and dopants.

    Raises:
        ArgumentError: no sheet of graphene or MoS2 whose edges fit whole cells.
    """
    kinds = {int(z) for z in np.unique(structure.numbers)}
    if kinds <= {CARBON, NITROGEN, BORON}:
        whole = _fitting(structure, "graphene")
        return _with_defects(whole, structure)
    if kinds <= {MOLYBDENUM, SULPHUR}:
        return _with_defects(_fitting(structure, "mos2"), structure)
    raise ArgumentError(
        "elements on the stage", sorted(kinds), "a film, graphene (C, N, B) or MoS2"
    )


def tip_of(state: Mapping[str, Any]) -> Tip:
    """Return the tip that a state holds as JSON."""
    apexes = tuple((float(x), float(y), float(z), float(w)) for x, y, z, w in state["apexes"])
    return Tip(apexes, state["radius_A"], state["work_function_eV"], float(state["contamination"]))


def tip_state(tip: Tip) -> dict[str, Any]:
    """Return a tip as JSON."""
    return {
        "apexes": [list(map(float, apex)) for apex in tip.apexes],
        "radius_A": float(tip.radius_A),
        "work_function_eV": float(tip.work_function_eV),
        "contamination": float(tip.contamination),
    }


def scanner_of(
    state: Mapping[str, Any],
    current: CurrentField,
    rng: np.random.Generator,
    *,
    every: int = 1,
    is_level: bool = False,
) -> Scanner:
    """Return the scanner of a microscope's state.

    Args:
        state: of the twin.
        current: between its tip and the surface.
        rng: of this run.
        every: samples of the electronics in one pixel.
        is_level: the tilt has been levelled (constant height).
    """
    tip = tip_of(state["tip"])
    scales = [1.0 + error for error in state["calibration"][:2]]
    axes = tuple(
        PiezoAxis(
            creep=state["creep"],
            hysteresis=state["hysteresis"],
            scale=scale,
            origin_A=origin_A,
            every=every,
        )
        for scale, origin_A in zip(scales, state["origin_A"], strict=True)
    )
    loop = FeedbackLoop(
        setpoint_nA=state["setpoint_nA"],
        proportional_A=state["proportional_A"],
        integral_A_per_s=state["integral_A_per_s"],
        resonance_Hz=state["resonance_Hz"],
        quality=state["quality"],
        full_scale_nA=FULL_SCALE_NA,
    )
    noise = CurrentNoise(
        current_nA_per_sqrt_Hz=state["current_noise_nA"],
        height_A_per_sqrt_Hz=state["height_noise_A"],
    ).with_dirt(tip.contamination)
    drift = Drift(
        (0.0, 0.0, 0.0), state["walk_A_per_sqrt_s"], np.array(state["offset_A"], dtype=np.float64)
    )
    tilt = (0.0, 0.0) if is_level else (float(state["tilt"][0]), float(state["tilt"][1]))
    return Scanner(current, loop, rng, axes=(axes[0], axes[1]), drift=drift, noise=noise, tilt=tilt)


def dragged(
    structure: AtomicStructure | FilmStructure,
    path_A: F8,
    current_nA: float,
    rng: np.random.Generator,
) -> tuple[AtomicStructure | FilmStructure, Drag] | None:
    """Return the specimen after a drag along a path; None where nothing could be taken hold of.

    Args:
        structure: before.
        path_A: of the tip over the specimen, shape (p, 2) [A].
        current_nA: held on the way [nA].
        rng: the source of chance.
    """
    rules = DragRules()
    if isinstance(structure, FilmStructure):
        surface = surface_of(structure)
        site = tuple(round(float(v) / MESH_A) for v in path_A[0])
        if not isinstance(surface, Film):
            return None
        try:
            film, drag = drag_adatom(
                surface, (site[0], site[1]), path_A, current_nA=current_nA, rules=rules, rng=rng
            )
        except ArgumentError:
            return None
        heights = np.ascontiguousarray(np.rint(film.heights_ML).astype(np.int32).T)
        return FilmStructure(heights, structure.aluminium, structure.mixing_ML), drag
    if not is_graphene(structure):
        return None
    box = box_of(structure)
    hole = _nearest_hole(box, path_A[0])
    if hole is None:
        return None
    moved, drag = drag_vacancy(
        box, hole[0], path_A + hole[1], current_nA=current_nA, rules=rules, rng=rng
    )
    return _structure_of(moved, _numbers_of(moved)), drag


def _nearest_hole(box: TightBinding, place_A: F8) -> tuple[tuple[int, int, int], F8] | None:
    """Return the missing atom within reach of a place, and what shifts the place into its box."""
    holes = np.argwhere(~box.is_present)
    if holes.size == 0:
        return None
    places = holes[:, 1:] @ box.crystal.vectors_A + box.crystal.places_A[holes[:, 0], :2]
    edges_A = np.diag(box.cell_A)
    turns = np.rint((places - place_A) / edges_A)
    far = np.linalg.norm(places - place_A - turns * edges_A, axis=1)
    best = int(np.argmin(far))
    if far[best] > 2.0:
        return None
    orbital, one, two = (int(v) for v in holes[best])
    shift: F8 = turns[best] * edges_A
    return (int(box.crystal.atoms[orbital]), one, two), shift


def _fitting(structure: AtomicStructure, kind: str) -> TightBinding:
    make = graphene if kind == "graphene" else mos2
    cell_A = np.diag(make((1, 1)).cell_A)
    cells = np.rint(structure.cell_A[:2] / cell_A).astype(int)
    if cells.min() < 1 or np.abs(cells * cell_A - structure.cell_A[:2]).max() > NEAR_A:
        raise ArgumentError(
            "box on the stage", structure.cell_A[:2].tolist(), f"whole cells of {kind}, {cell_A} A"
        )
    return make((int(cells[0]), int(cells[1])))


def _with_defects(box: TightBinding, structure: AtomicStructure) -> TightBinding:
    """Return the box less the atoms that the structure misses, with its dopants."""
    from scipy.spatial import cKDTree

    edges_A = np.diag(box.cell_A)
    top_A = float(structure.positions_A[:, 2].max())
    # z = 0 is the topmost plane of nuclei in the box; planes more than 0.6 A apart are told apart
    there = structure.positions_A - np.array([0.0, 0.0, top_A])
    there[:, :2] %= edges_A
    tall = np.append(edges_A, 1.0e3)
    tree = cKDTree(_lifted(there) % tall, boxsize=tall)
    wanted = box.positions_A.copy()
    wanted[:, :2] %= edges_A
    far, nearest = tree.query(_lifted(wanted) % tall)
    is_missing = far > NEAR_A
    numbers = structure.numbers[np.minimum(nearest, structure.n - 1)]
    for number, element in DOPANTS.items():
        sites = np.flatnonzero(~is_missing & (numbers == number))
        if sites.size:
            box = dope(box, [int(s) for s in sites], element)
    return box.without(np.flatnonzero(is_missing))


def _lifted(places_A: F8) -> F8:
    """Return places with z made positive, for a periodic tree."""
    lifted: F8 = places_A + np.array([0.0, 0.0, 500.0])
    return lifted


def _numbers_of(box: TightBinding) -> NDArray[np.int64]:
    """Return the atomic number at each present orbital; a shifted one is a dopant's."""
    numbers = box.crystal.species[box.kinds].copy()
    shift_eV = box.shift_eV[box.is_present]
    numbers[shift_eV < 0.0] = NITROGEN
    numbers[shift_eV > 0.0] = BORON
    return np.asarray(numbers, dtype=np.int64)


def _structure_of(box: TightBinding, numbers: NDArray[np.int64] | None = None) -> AtomicStructure:
    """Return the atoms of a box; orbitals of one atom lie in one place."""
    kinds = box.crystal.species[box.kinds] if numbers is None else numbers
    places, first = np.unique(np.round(box.positions_A, 6), axis=0, return_index=True)
    order = np.argsort(first)
    positions_A = places[order]
    positions_A[:, 2] += 0.5 * VACUUM_A
    cell_A = np.append(np.diag(box.cell_A), VACUUM_A)
    return AtomicStructure.of(kinds[first[order]], positions_A, cell_A)
