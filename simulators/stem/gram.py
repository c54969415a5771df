"""The Gram form of PRISM: every probe's image of one specimen from one set of inner products.

A probe at r leaves the specimen as psi_r(k) = sum_b c_b exp(-2 pi i b . r) S_b(k), S_b what becomes
of plane wave b. So a detector D counts

    I(r) = sum_bb' c_b* c_b' M_bb' exp(2 pi i (b - b') . r),    M_bb' = sum_k D(k) S_b*(k) S_b'(k).

M holds all that the specimen does. A new setting of the lens changes only c: one product and one sum
over pairs of beams, differentiable in the aberrations. Frozen phonons average M. A Gaussian spread
of defocus multiplies each pair by exp(-(pi lambda Delta (b^2 - b'^2))^2 / 2), exactly.

Source: Ophus, Adv. Struct. Chem. Imaging 3, 13 (2017), doi:10.1186/s40679-017-0046-1 (PRISM, the
S_b); images as sums over pairs of beams: Allen, Findlay, Oxley & Rossouw, Ultramicroscopy 96, 47
(2003), doi:10.1016/S0304-3991(02)00380-7 (from Bloch waves).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.detectors import Detector
from twinloop.simulators.stem.grid import Grid, Twist
from twinloop.simulators.stem.multislice import Multislice
from twinloop.simulators.stem.potential import Potential
from twinloop.simulators.stem.probe import Beams, Probe
from twinloop.simulators.stem.spectrum import ImageSpectrum

__all__ = ["Gram"]

ROW_BLOCKS = 8
"""Bands of rows of M: each is multiplied only up to the diagonal, M is Hermitian."""


@dataclass(frozen=True, eq=False, slots=True)
class Gram:
    """Inner products of scattered plane waves, by detector; `Gram.of` makes it.

    Args:
        beams: the plane waves.
        names: of the detectors.
        pairs: M_bb' for b >= b', twice off the diagonal, shape (n_detectors, n_pairs), complex.
        lattice: how pairs and image frequencies belong together.
        cell: the grid of the potentials; images repeat with it.
        compute: device and precision.

    Example:
        >>> from twinloop.simulators.stem.potential import project
        >>> from twinloop.simulators.structure import AtomicStructure
        >>> atom = AtomicStructure.of([6], [[2.0, 2.0, 1.0]], (4.0, 4.0, 2.0))
        >>> probe = Probe(energy_keV=100.0, semiangle_mrad=25.0)
        >>> gram = Gram.of([project(atom, sampling_A=0.1)], probe, {"adf": Detector(40.0, 100.0)})
        >>> spots = gram.spectrum(probe.focused(20.0)).at(np.array([[2.0, 2.0], [0.0, 0.0]]))
        >>> bool(spots[0, 0] > spots[0, 1])
        True
    """

    beams: Beams
    names: tuple[str, ...]
    pairs: Tensor
    lattice: "PairLattice"
    cell: Grid
    compute: Compute

    @classmethod
    def of(
        cls,
        potentials: Iterable[Potential],
        probe: Probe,
        detectors: Mapping[str, Detector],
        repeats: tuple[int, int] = (1, 1),
    ) -> "Gram":
        """Return the inner products of a specimen, averaged over its snapshots.

        Args:
            potentials: of one structure, or of its frozen phonons; taken one by one.
            probe: gives the energy and the widest aperture that later probes may have.
            detectors: by name.
            repeats: the potential is one cell of a perfect crystal, which repeats so often along x
                and y before the probe meets its own image. The same answer as for all the cells
                together, in a fraction 1 / (number of cells) of the time (Bloch's theorem).

        Raises:
            ArgumentError: no potential, no detector, snapshots on different grids, a detector
                outside the band limit, an aperture outside it, or a crystal of no cells.
        """
        if not detectors:
            raise ArgumentError("detectors", "none", "at least one")
        sums: _Sums | None = None
        n = 0
        for potential in potentials:
            if sums is None:
                sums = _Sums(potential, probe, detectors, repeats)
            if potential.grid != sums.cell:
                raise ArgumentError("potentials", potential.grid, f"one grid: {sums.cell}")
            sums.add(potential)
            n += 1
        if sums is None:
            raise ArgumentError("potentials", "none", "at least one")
        return cls(
            sums.beams, tuple(detectors), sums.pairs / n, sums.lattice, sums.cell, sums.compute
        )

    def coefficients(self, probe: Probe, vector: Tensor | None = None) -> Tensor:
        """Return the amplitude of each beam, shape (n_beams,), complex.

        Args:
            probe: its aperture, and its aberrations unless `vector` is given.
            vector: aberrations in the order of `aberrations.COEFFICIENTS`, shape (9,), float64,
                maybe with a gradient [A].
        """
        if vector is None:
            return self.compute.put(self.beams.amplitudes(probe))
        device = self.compute.device
        chi = torch.from_numpy(self.beams.basis()).to(device) @ vector.to(device)
        size = torch.from_numpy(self.beams.aperture(probe)).to(device)
        return torch.polar(size, -chi).to(self.compute.complex)

    def spectrum(self, probe: Probe, vector: Tensor | None = None) -> ImageSpectrum:
        """Return the images of every detector, in the order of `names`.

        Arguments as in `coefficients`.

        Raises:
            ArgumentError: a probe of another energy, or wider than the widest.
        """
        c = self.coefficients(probe, vector)
        lattice = self.lattice
        product = c.conj()[lattice.first] * c[lattice.second]
        if probe.focal_spread_A:
            product = product * self._focal_damping(probe)
        flat = torch.zeros(
            (len(self.names), lattice.size), dtype=self.compute.complex, device=self.compute.device
        )
        flat = flat.index_add(1, lattice.target, self.pairs * product)
        x, y = lattice.frequencies_per_A(self.cell)
        values = flat.reshape(len(self.names), x.size, y.size)
        return ImageSpectrum(values, x, y, self.compute).blurred(probe.source_sigma_A)

    def _focal_damping(self, probe: Probe) -> Tensor:
        square = (self.beams.frequencies_per_A**2).sum(axis=1)
        turn = np.pi * probe.wavelength_A * probe.focal_spread_A * square
        each = torch.from_numpy(turn).to(self.compute.device)
        apart = each[self.lattice.first] - each[self.lattice.second]
        return torch.exp(-0.5 * apart**2).to(self.compute.real)


class PairLattice(NamedTuple):
    """Pairs of beams b >= b' that interfere, and the image frequency b - b' of each.

    `first`, `second`, `target`: shape (n_pairs,), int64; `reach`: largest b - b' along x and y, in
    orders of the potential's cell.
    """

    first: Tensor
    second: Tensor
    target: Tensor
    reach: tuple[int, int]

    @classmethod
    def of(cls, beams: Beams, twists: list["_Twisted"], compute: Compute) -> "PairLattice":
        """Return the pairs of each twist, one after the other."""
        # Orders ascend lexicographically, so that b >= b' fills one half plane of frequencies.
        lower = [twisted.members[np.array(np.tril_indices(twisted.beams.n))] for twisted in twists]
        first, second = np.concatenate(lower, axis=1)
        place = np.zeros_like(beams.orders)
        for twisted in twists:
            place[twisted.members] = twisted.beams.orders
        x, y = (place[first] - place[second]).T
        reach = (int(x.max()), int(np.abs(y).max()))
        target = x * (2 * reach[1] + 1) + y + reach[1]
        index = [torch.from_numpy(a).to(compute.device) for a in (first, second, target)]
        return cls(index[0], index[1], index[2], reach)

    @property
    def size(self) -> int:
        """How many image frequencies."""
        return (self.reach[0] + 1) * (2 * self.reach[1] + 1)

    def frequencies_per_A(self, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the image frequencies along x and y [1/A]; `grid`: of the potential."""
        x, y = self.reach
        return np.arange(x + 1) / grid.cell_A[0], np.arange(-y, y + 1) / grid.cell_A[1]


class _Twisted(NamedTuple):
    """Beams that turn alike from cell to cell; only they interfere behind a crystal.

    `members`: which of all beams; `beams`: the same as orders of one cell.
    """

    twist: Twist
    members: NDArray[np.int64]
    beams: Beams

    @classmethod
    def each(cls, beams: Beams, cell: Grid, repeats: tuple[int, int]) -> list["_Twisted"]:
        """Return the beams of a crystal of so many cells, by twist."""
        rest = beams.orders % np.array(repeats)
        kinds, kind = np.unique(rest, axis=0, return_inverse=True)
        found = []
        for k, (x, y) in enumerate(kinds):
            members = np.flatnonzero(kind.reshape(-1) == k)
            orders = (beams.orders[members] - kinds[k]) // np.array(repeats)
            twist = (float(x / repeats[0]), float(y / repeats[1]))
            found.append(cls(twist, members, Beams(cell, orders, beams.energy_keV)))
        return found


class _Region(NamedTuple):
    """Spatial frequencies that count alike: columns of S, root weights, and who counts them."""

    columns: slice
    scale: Tensor | None
    shares: tuple[float, ...]


class _Sums:
    """The running sum over snapshots."""

    def __init__(
        self,
        potential: Potential,
        probe: Probe,
        detectors: Mapping[str, Detector],
        repeats: tuple[int, int],
    ) -> None:
        self.cell, self.compute = potential.grid, potential.compute
        self.beams = Beams.of(probe, self.cell.repeated(repeats))
        self._twists = _Twisted.each(self.beams, self.cell, repeats)
        self._detectors = tuple(detectors.values())
        self.lattice = PairLattice.of(self.beams, self._twists, self.compute)
        self.pairs = self.compute.zeros(len(detectors), self.lattice.first.shape[0])

    def add(self, potential: Potential) -> None:
        """Add the inner products of one snapshot."""
        path = Multislice(potential, self.beams.energy_keV)
        start = 0
        for twisted in self._twists:
            end = start + twisted.beams.n * (twisted.beams.n + 1) // 2
            self._add_twist(path.twisted(twisted.twist), twisted, self.pairs[:, start:end])
            start = end

    def _add_twist(self, path: Multislice, twisted: _Twisted, pairs: Tensor) -> None:
        on_grid = [d.on(self.cell, path.energy_keV, twisted.twist) for d in self._detectors]
        weights = np.stack(on_grid) * (self.cell.band(twisted.twist) > 0.0)
        keep, regions = _regions(weights.reshape(len(on_grid), -1), self.compute)
        scattered = path.transmit_beams(twisted.beams, keep)
        n = twisted.beams.n
        row, column = torch.tril_indices(n, n, device=self.compute.device)
        twice = 1.0 + (row != column).to(self.compute.real)
        for region in regions:
            part = scattered[:, region.columns]
            if region.scale is not None:
                part = part * region.scale
            # S S^H is the conjugate of M; BLAS conjugates its second factor without a copy.
            product = _lower_product(part)[row, column].conj() * twice
            for k, share in enumerate(region.shares):
                if share:
                    pairs[k].add_(product, alpha=share)


def _regions(weights: NDArray[np.float64], compute: Compute) -> tuple[Tensor, list[_Region]]:
    """Return the frequencies to keep, sorted so that each region is one block of columns."""
    seen = np.flatnonzero(weights.any(axis=0))
    kinds, kind = np.unique(weights[:, seen].T, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    if kinds.shape[0] <= 2 ** weights.shape[0]:
        order = np.argsort(kind, kind="stable")
        ends = np.cumsum(np.bincount(kind))
        starts = np.concatenate([[0], ends[:-1]])
        found = [
            _Region(slice(int(a), int(b)), None, tuple(map(float, shares)))
            for a, b, shares in zip(starts, ends, kinds, strict=True)
        ]
        return torch.from_numpy(seen[order]).to(compute.device), found
    found = [
        _Region(
            slice(0, seen.size),
            compute.put(np.sqrt(row[seen])),
            tuple(float(k == mine) for k in range(weights.shape[0])),
        )
        for mine, row in enumerate(weights)
    ]
    return torch.from_numpy(seen).to(compute.device), found


def _lower_product(rows: Tensor) -> Tensor:
    """Return A A^H; only the lower triangle is right."""
    n = rows.shape[0]
    out = torch.zeros((n, n), dtype=rows.dtype, device=rows.device)
    edges = np.linspace(0, n, min(ROW_BLOCKS, n) + 1).astype(int)
    for start, end in pairwise(edges):
        torch.matmul(rows[start:end], rows[:end].mH, out=out[start:end, :end])
    return out
