"""Which atom of a specimen gets which dose in a scan, and which of them it loses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twinloop.simulators.specimen import Specimen
from twinloop.simulators.stem.acquisition import ScanPath
from twinloop.simulators.stem.damage import displacement_cross_section_A2, loss_probability
from twinloop.simulators.structure import AtomicStructure

__all__ = ["Exposure", "irradiated"]

SMEAR_A = 0.7
"""Half width of the square over which the dose of the visited pixels is averaged: about a probe [A]."""


@dataclass(frozen=True, eq=False, slots=True)
class Exposure:
    """The meetings of a scan with atoms that it can displace, in the order of its lines.

    An atom that repeats inside the field meets the beam once in each image.

    Args:
        atoms: index of the atom, shape (m,).
        rows: line of the scan at which it is met, shape (m,).
        dose_e_per_A2: that it gets there, shape (m,) [e/A^2].
        energy_keV: of the electrons [keV].

    Example:
        >>> from twinloop.simulators.stem.acquisition import Raster, ScanErrors
        >>> atom = AtomicStructure.of([6], [[1.0, 1.0, 0.0]], (2.0, 2.0, 1.0))
        >>> path = ScanPath.draw(Raster((4, 4), 0.5, 1e-6), ScanErrors())
        >>> Exposure.of(atom, path, 250.0, 200.0).dose_e_per_A2.tolist()
        [1000.0]
    """

    atoms: NDArray[np.int64]
    rows: NDArray[np.int64]
    dose_e_per_A2: NDArray[np.float64]
    energy_keV: float

    @classmethod
    def of(
        cls,
        structure: AtomicStructure,
        path: ScanPath,
        electrons_per_pixel: float,
        energy_keV: float,
    ) -> "Exposure":
        """Return the meetings of a path with a specimen that repeats along x and y."""
        mortal = np.array(
            [
                z
                for z in np.unique(structure.numbers)
                if displacement_cross_section_A2(int(z), energy_keV)
            ],
            dtype=np.int64,
        )
        chosen = np.flatnonzero(np.isin(structure.numbers, mortal))
        atoms, x_A, y_A = _images_in(structure, chosen, path)
        rows, columns = path.raster.shape
        pixels = np.rint(path.pixels_of(x_A, y_A)).astype(np.int64)
        inside = ((pixels >= 0) & (pixels < np.array([rows, columns]))).all(axis=1)
        share = np.ones(int(inside.sum()))
        visited = path.raster.visited
        if visited is not None:
            reach = int(SMEAR_A / path.raster.pixel_A)
            share = _local_mean(visited, reach)[pixels[inside, 0], pixels[inside, 1]]
        dose = electrons_per_pixel / path.raster.pixel_A**2 * share
        return cls(atoms[inside], pixels[inside, 0], dose, energy_keV)

    def lost(
        self, numbers: NDArray[np.int64], first: int, last: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return the atoms that the lines from `first` to `last` (not included) have knocked out.

        Args:
            numbers: atomic numbers of the whole structure, shape (n,).
            first: line.
            last: line, not included.
            rng: random numbers.
        """
        met = (self.rows >= first) & (self.rows < last)
        atoms = self.atoms[met]
        chance = loss_probability(numbers[atoms], self.dose_e_per_A2[met], self.energy_keV)
        lost: NDArray[np.int64] = np.unique(atoms[rng.random(atoms.size) < chance])
        return lost


def irradiated(
    specimen: Specimen, what: str, where: str, key: str, told: Mapping[str, float], lost: int = 0
) -> Specimen:
    """Return a specimen after a run: its dose, and the event in its history.

    Args:
        specimen: its structure less the atoms that are gone.
        what: the action.
        where: the instrument.
        key: of the command.
        told: of the run: `dose_e_per_A2`, and how far it came.
        lost: atoms that it has knocked out.
    """
    dose = told["dose_e_per_A2"]
    changed = replace(specimen, dose_e_per_A2=specimen.dose_e_per_A2 + dose)
    numbers = {"dose_e_per_A2": dose, "atoms_lost": float(lost)}
    if "fraction_done" in told:
        numbers["fraction_done"] = told["fraction_done"]
    return changed.with_event(what, where, key, **numbers)


def _images_in(
    structure: AtomicStructure, chosen: NDArray[np.int64], path: ScanPath
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return indices and places of the atoms' images in the box around a scan."""
    rows = path.raster.shape[0]
    x_A, y_A = path.places_A(0, rows)
    edges = structure.cell_A[:2]
    lows = np.array([x_A.min(), y_A.min()]) - 1.0
    highs = np.array([x_A.max(), y_A.max()]) + 1.0
    home = structure.positions_A[chosen, :2] % edges
    first, last = np.floor(lows / edges).astype(int), np.floor(highs / edges).astype(int)
    steps = [np.arange(first[i], last[i] + 1) * edges[i] for i in (0, 1)]
    shifts = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2)
    places = (home[None] + shifts[:, None]).reshape(-1, 2)
    inside = ((places >= lows) & (places <= highs)).all(axis=1)
    atoms = np.tile(chosen, shifts.shape[0])[inside]
    return atoms, places[inside, 0], places[inside, 1]


def _local_mean(visited: NDArray[np.bool_], reach: int) -> NDArray[np.float64]:
    """Return the share of visited pixels in the square around each pixel, same shape."""
    side = 2 * reach + 1
    padded = np.pad(visited.astype(np.float64), ((reach + 1, reach), (reach + 1, reach)))
    sums = padded.cumsum(axis=0).cumsum(axis=1)
    box = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    mean: NDArray[np.float64] = box / side**2
    return mean
