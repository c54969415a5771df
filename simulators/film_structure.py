"""A film of (Al,Ga)As on GaAs(001): what the growth simulation's heights are, as atoms.

The growth simulation knows columns of a square mesh and their heights in monolayers. Here a column
is one cation site of the (001) surface: mesh a / sqrt(2) = 3.9975 A, monolayer a / 2 = 2.8267 A. Layer
n <= 0 is the GaAs substrate; layers above it are Al(x)Ga(1-x)As, grown coherently: the mesh is the
substrate's, the layer distance follows from elasticity. Successive cation layers of zincblende are
shifted by half a mesh; the growth simulation stacks them straight, and the atoms made here follow
the crystal.

Source: lattice and elastic constants: `twinloop.lattice_constants`; tetragonal distortion of a coherent film:
Hornstra & Bartels, J. Cryst. Growth 44, 513 (1978), doi:10.1016/0022-0248(78)90292-0.
"""

from dataclasses import dataclass
from math import erf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.lattice_constants import (
    ALAS_A,
    ALAS_C12_OVER_C11,
    GAAS_A,
    GAAS_C12_OVER_C11,
    MESH_A,
    MONOLAYER_A,
)
from twinloop.simulators.structure import AtomicStructure

__all__ = [
    "ALAS_A",
    "GAAS_A",
    "MESH_A",
    "MONOLAYER_A",
    "FilmStructure",
    "film_monolayer_A",
]

GALLIUM, ALUMINIUM, ARSENIC = 31, 13, 33
RMS_A = {GALLIUM: 0.090, ALUMINIUM: 0.090, ARSENIC: 0.083}
"""Thermal displacement along one axis at 300 K [A], B = 8 pi^2 u^2 of GaAs: 0.64 A^2 for Ga, 0.54 A^2
for As; aluminium is given gallium's.

Source: values of the size that Reid, Acta Cryst. A39, 1 (1983), doi:10.1107/S0108767383000021, computes
for zincblende III-V crystals at room temperature."""


def film_monolayer_A(aluminium: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of cation layers in a coherent film [A], of the same shape.

    c = a_f (1 + 2 (C12 / C11) (a_f - a_s) / a_f) / 2 with Vegard's law for a_f and C12 / C11.

    Args:
        aluminium: share of aluminium on the cation sites, 0 to 1, any shape.
    """
    free_A = GAAS_A + (ALAS_A - GAAS_A) * aluminium
    ratio = GAAS_C12_OVER_C11 + (ALAS_C12_OVER_C11 - GAAS_C12_OVER_C11) * aluminium
    spacing: NDArray[np.float64] = 0.5 * (free_A + 2.0 * ratio * (free_A - GAAS_A))
    return spacing


@dataclass(frozen=True, eq=False, slots=True)
class FilmStructure:
    """What has grown, by column and layer.

    Args:
        heights_ML: height of each column above the substrate's surface, shape (L, L), int32 [ML].
        aluminium: share of aluminium that arrived while layer k = 1, 2, ... formed, shape (n,), 0 to 1;
            layers above the last have its share.
        mixing_ML: interdiffusion length across the interface, standard deviation [ML].

    Raises:
        ArgumentError: heights that are not square or no whole numbers, no layer, a share outside 0 to
            1, or a length below 0 or without end.

    Example:
        >>> film = FilmStructure(np.full((4, 4), 3, np.int32), np.array([1.0]))
        >>> film.coverage_ML, film.roughness_ML, film.layer_coverages().tolist()
        (3.0, 0.0, [1.0, 1.0, 1.0])
    """

    heights_ML: NDArray[np.int32]
    aluminium: NDArray[np.float64]
    mixing_ML: float = 0.0

    def __post_init__(self) -> None:
        shape = self.heights_ML.shape
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            raise ArgumentError("film.heights_ML", shape, "the shape (L, L)")
        if not np.issubdtype(self.heights_ML.dtype, np.integer):
            raise ArgumentError("film.heights_ML", self.heights_ML.dtype, "whole monolayers, int32")
        shares = self.aluminium
        if shares.ndim != 1 or not shares.size or not bool(((shares >= 0) & (shares <= 1)).all()):
            raise ArgumentError("film.aluminium", shares, "one share of 0 to 1 or more")
        if not 0 <= self.mixing_ML < float("inf"):
            raise ArgumentError("film.mixing_ML", self.mixing_ML, "a finite number >= 0 ML")

    @classmethod
    def flat(cls, size: int, height_ML: int = 0, aluminium: float = 1.0) -> "FilmStructure":
        """Return a film without a step: a substrate, where the height is 0."""
        heights = np.full((size, size), height_ML, dtype=np.int32)
        return cls(heights, np.full(max(height_ML, 1), aluminium))

    @property
    def coverage_ML(self) -> float:
        """Mean height [ML]."""
        return float(self.heights_ML.mean())

    @property
    def roughness_ML(self) -> float:
        """Root mean square deviation of the heights from their mean [ML]."""
        return float(self.heights_ML.std())

    def layer_coverages(self) -> NDArray[np.float64]:
        """Return which part of each layer k = 1, 2, ... is there, shape (highest,) [1]."""
        highest = max(int(self.heights_ML.max()), 1)
        steps = np.arange(1, highest + 1)
        parts: NDArray[np.float64] = (self.heights_ML[None] >= steps[:, None, None]).mean((1, 2))
        return parts

    def layer_aluminium(self, first: int, last: int) -> NDArray[np.float64]:
        """Return the share of aluminium in layers `first` to `last`, interdiffusion included.

        Args:
            first: lowest layer; 0 and below are the substrate.
            last: highest layer, included.

        Returns:
            Shape (last - first + 1,), 0 to 1.
        """
        layers = np.arange(first, last + 1)
        if self.mixing_ML == 0:
            return self._sharp(layers)
        # Diffusion does not cross the free surface: it mirrors there. Shares of layers that no column
        # has reached are of no film.
        grown = int(self.heights_ML.max())
        reach = int(np.ceil(5 * self.mixing_ML)) + 2
        source = np.arange(min(first, 0) - reach, max(last, grown) + reach + 1)
        folded = np.where(source > grown, 2 * grown + 1 - source, source)
        sharp = self._sharp(folded)
        scale = self.mixing_ML * sqrt(2.0)
        edges = (source[None, :] - layers[:, None] + np.array([-0.5, 0.5])[:, None, None]) / scale
        weights = 0.5 * np.diff(np.vectorize(erf)(edges), axis=0)[0]
        mixed: NDArray[np.float64] = weights @ sharp
        return np.clip(mixed, 0.0, 1.0)

    def _sharp(self, layers: NDArray[np.int64]) -> NDArray[np.float64]:
        held = self.aluminium[np.clip(layers - 1, 0, self.aluminium.size - 1)]
        sharp: NDArray[np.float64] = np.where(layers >= 1, held, 0.0)
        return sharp

    def layer_heights_A(self, first: int, last: int) -> NDArray[np.float64]:
        """Return the height of the cation plane of each layer above that of layer 0 [A].

        Args:
            first: lowest layer; 0 and below are the substrate.
            last: highest layer, included.
        """
        layers = np.arange(first, last + 1, dtype=np.float64)
        if last < 1:
            return layers * MONOLAYER_A
        grown = np.cumsum(film_monolayer_A(self.layer_aluminium(1, last)))
        levels: NDArray[np.float64] = np.concatenate([np.arange(first, 1) * MONOLAYER_A, grown])
        asked: NDArray[np.float64] = levels[levels.size - layers.size :]
        return asked

    def section(
        self,
        *,
        row: int,
        column: int,
        width_sites: int,
        depth_sites: int,
        substrate_layers: int,
        seed: int,
        vacuum_A: float = 6.0,
    ) -> AtomicStructure:
        """Return the atoms of a lamella: a cross-section seen along [1-10].

        x runs along the surface, y along the growth direction, z along the beam. Which cation sites
        hold aluminium is drawn with the layer's share.

        Args:
            row: first row of the lamella (beam direction); rows wrap.
            column: first column (along x); columns wrap.
            width_sites: columns, so that the width is that many times `MESH_A`.
            depth_sites: rows, the thickness of the lamella.
            substrate_layers: layers of substrate below the film, layer 0 included.
            seed: of the drawn sites.
            vacuum_A: empty space above the highest atom and below the lowest [A].

        Raises:
            ArgumentError: no site, no layer of substrate, or no atom where it is cut.
        """
        sizes = {
            "width_sites": width_sites,
            "depth_sites": depth_sites,
            "substrate_layers": substrate_layers,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ArgumentError(f"section.{name}", size, "a whole number >= 1")
        rng = np.random.default_rng(seed)
        side = self.heights_ML.shape[0]
        rows = (row + np.arange(depth_sites)) % side
        columns = (column + np.arange(width_sites)) % side
        heights = self.heights_ML[np.ix_(rows, columns)]
        first, last = 1 - substrate_layers, max(int(heights.max()), 1)
        levels_A, shares = self.layer_heights_A(first, last), self.layer_aluminium(first, last)
        numbers: list[NDArray[Any]] = []
        places: list[NDArray[Any]] = []
        for layer, level_A, share in zip(range(first, last + 1), levels_A, shares, strict=True):
            deep, along = np.nonzero(heights >= layer)
            shift = 0.5 * (layer % 2)
            x_A, z_A = (along + shift) * MESH_A, (deep + shift) * MESH_A
            kinds = np.where(rng.random(x_A.size) < share, ALUMINIUM, GALLIUM)
            numbers += [kinds, np.full(x_A.size, ARSENIC)]
            places.append(np.column_stack([x_A, np.full_like(x_A, level_A), z_A]))
            up_A = level_A + 0.25 * GAAS_A
            places.append(np.column_stack([x_A + 0.5 * MESH_A, np.full_like(x_A, up_A), z_A]))
        all_numbers, positions = np.concatenate(numbers), np.concatenate(places)
        if not all_numbers.size:
            raise ArgumentError(
                "section.substrate_layers", substrate_layers, f"more: the holes end at {first} ML"
            )
        positions[:, 1] += vacuum_A - positions[:, 1].min()
        cell = np.array(
            [width_sites * MESH_A, positions[:, 1].max() + vacuum_A, depth_sites * MESH_A]
        )
        positions[:, 0] %= cell[0]
        positions[:, 2] %= cell[2]
        rms = np.array([RMS_A[int(z)] for z in all_numbers])
        return AtomicStructure.of(all_numbers, positions, cell, rms)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_arrays` reads."""
        return {
            "heights_ML": self.heights_ML,
            "aluminium": self.aluminium,
            "mixing_ML": np.array(self.mixing_ML),
        }

    @classmethod
    def from_arrays(cls, arrays: Any) -> "FilmStructure":
        """Return the film of `to_arrays`."""
        return cls(
            np.asarray(arrays["heights_ML"], np.int32),
            np.asarray(arrays["aluminium"], np.float64),
            float(arrays["mixing_ML"]),
        )
