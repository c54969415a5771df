"""Specimens for a microscope: reference specimens by name, and lamellae cut out of films."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.ids import seed_of
from twinloop.simulators.specimen import Specimen
from twinloop.simulators.stem import specimens
from twinloop.simulators.structure import AtomicStructure

__all__ = ["SORTS", "cut_lamella", "origin_of", "reference_specimen"]

SORTS = ("graphene_defects", "mos2", "srtio3", "mos2_bilayer")

SHEET = (24, 14)
VACANCIES, DOPANTS = 6, 4
SILICON, SULPHUR = 14, 16
MOS2 = (18, 10)
LOST_SULPHUR = 8
SRTIO3 = (16, 16)
SRTIO3_A = 120.0

LAMELLA_SITES = 64
LAMELLA_DEEP = 24
SUBSTRATE_LAYERS = 40
LAMELLA_VACUUM_A = 60.0
"""Of a lamella: widest along the surface and along the beam [sites], substrate left [ML], vacuum [A]."""

STRIPE_A = 4.0
SURFACE_ABOVE_A = 25.0
"""Of the middle of the first field of view on a lamella [A]."""


def reference_specimen(sort: str | None, name: str, seed: int) -> Specimen:
    """Return a fresh specimen of a sort, its defects drawn from the seed.

    Args:
        sort: one of `SORTS`: graphene with vacancies and silicon dopants, MoS2 with sulphur
            vacancies, SrTiO3 along [001], 12 nm thick, a tilted bilayer of MoS2.
        name: of the specimen.
        seed: of its defects.

    Raises:
        ArgumentError: another sort.

    Example:
        >>> reference_specimen("srtio3", "s1", 0).atoms.n
        39680
    """
    rng = np.random.default_rng(seed_of(seed, "stock", name))
    atoms: AtomicStructure
    if sort == "graphene_defects":
        chosen = [int(i) for i in rng.permutation(specimens.graphene(across=SHEET).n)]
        dopants = dict.fromkeys(chosen[VACANCIES : VACANCIES + DOPANTS], SILICON)
        atoms = specimens.graphene(
            across=SHEET, vacancies=tuple(chosen[:VACANCIES]), dopants=dopants
        )
    elif sort == "mos2":
        whole = specimens.mos2(across=MOS2)
        atoms = whole.without(
            rng.permutation(np.flatnonzero(whole.numbers == SULPHUR))[:LOST_SULPHUR]
        )
    elif sort == "srtio3":
        atoms = specimens.srtio3(across=SRTIO3, thickness_A=SRTIO3_A)
    elif sort == "mos2_bilayer":
        atoms = specimens.mos2_tilted_bilayer(across=MOS2)
    else:
        raise ArgumentError("specimen", sort, f"one of {', '.join(SORTS)}")
    return Specimen(name, seed_of(seed, "specimen", name), atoms)


def cut_lamella(specimen: Specimen, where: str, key: str) -> Specimen:
    """Return what is left of a film when a lamella has been cut out of it: the lamella.

    It is seen along [1-10]: x along the surface, y along the growth direction. Where it was cut
    depends on the specimen alone.

    Args:
        specimen: a film.
        where: the instrument, for the history.
        key: of the command, for the history.

    Raises:
        ArgumentError: a specimen that is no film.
    """
    film = specimen.film
    side = film.heights_ML.shape[0]
    row, column = (int(i) for i in specimen.random("lamella").integers(side, size=2))
    lamella = film.section(
        row=row,
        column=column,
        width_sites=min(side, LAMELLA_SITES),
        depth_sites=min(side, LAMELLA_DEEP),
        substrate_layers=SUBSTRATE_LAYERS,
        seed=seed_of(specimen.seed, "lamella sites"),
        vacuum_A=LAMELLA_VACUUM_A,
    )
    return replace(specimen, structure=lamella).with_event(
        "cut_lamella",
        where,
        key,
        row=float(row),
        column=float(column),
        coverage_ML=film.coverage_ML,
    )


def origin_of(specimen: Specimen) -> tuple[float, float]:
    """Return where on a specimen the stage stands when it has just been mounted [A].

    In the middle of a reference specimen; on a lamella so that the surface of the film lies above the
    middle of the field: whoever mounts it looks for that.
    """
    atoms = specimen.atoms
    x_A, y_A = (float(0.5 * edge) for edge in atoms.cell_A[:2])
    if any(event.what == "cut_lamella" for event in specimen.history):
        y_A = float(np.median(_tops_A(atoms))) - SURFACE_ABOVE_A
    return x_A, y_A


def _tops_A(atoms: AtomicStructure) -> NDArray[np.float64]:
    """Return the height of the topmost atom in each stripe of 4 A along x [A]."""
    stripe = (atoms.positions_A[:, 0] // STRIPE_A).astype(np.int64)
    tops = np.full(int(stripe.max()) + 1, -np.inf)
    np.maximum.at(tops, stripe, atoms.positions_A[:, 1])
    found: NDArray[np.float64] = tops[np.isfinite(tops)]
    return found
