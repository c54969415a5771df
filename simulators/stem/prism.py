"""PRISM: what becomes of every plane wave, so that any probe is a sum.

With interpolation factor 1 it equals multislice. With factor f only every f-th beam along each axis
is computed; a probe then lives in a window of 1/f of the cell, and is right as long as the window
holds it, before and behind the specimen.

Source: Ophus, Adv. Struct. Chem. Imaging 3, 13 (2017), doi:10.1186/s40679-017-0046-1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.detectors import Detector, PixelDetector
from twinloop.simulators.stem.grid import Grid
from twinloop.simulators.stem.multislice import Multislice, pixel_counts
from twinloop.simulators.stem.potential import Potential
from twinloop.simulators.stem.probe import Beams, Probe

__all__ = ["ScatteringMatrix"]


@dataclass(frozen=True, eq=False, slots=True)
class ScatteringMatrix:
    """Every plane wave behind one specimen; `ScatteringMatrix.of` makes it.

    Args:
        beams: the plane waves.
        factor: interpolation factor, >= 1.
        fine: the coarsest grid that holds the band limit; the matrix is sampled on it.
        waves: factor 1: in reciprocal space, shape (n_beams, n_points of fine); else in real space,
            shape (n_beams, nx, ny) of fine.
        compute: device and precision.

    Example:
        >>> from twinloop.simulators.stem.potential import project
        >>> from twinloop.simulators.structure import AtomicStructure
        >>> atom = AtomicStructure.of([6], [[2.0, 2.0, 1.0]], (4.0, 4.0, 2.0))
        >>> probe = Probe(energy_keV=100.0, semiangle_mrad=25.0)
        >>> matrix = ScatteringMatrix.of(project(atom, sampling_A=0.1), probe)
        >>> spots = matrix.at(probe, np.array([[2.0, 2.0]]), {"all": Detector(0.0, 120.0)})
        >>> bool(0.99 < spots["all"][0] < 1.0)
        True
    """

    beams: Beams
    factor: int
    fine: Grid
    waves: Tensor
    compute: Compute

    @classmethod
    def of(cls, potential: Potential, probe: Probe, factor: int = 1) -> "ScatteringMatrix":
        """Return the scattering matrix of a potential.

        Args:
            potential: from `project`.
            probe: gives the energy and the widest aperture that later probes may have.
            factor: interpolation factor.

        Raises:
            ArgumentError: a factor below 1 or so large that the aperture has no beams left beside
                the axis, or an aperture outside the band limit.
        """
        beams = Beams.of(probe, potential.grid, factor)
        if probe.wavelength_A * factor * 1e3 / min(potential.grid.cell_A) >= probe.semiangle_mrad:
            raise ArgumentError("interpolation", factor, "smaller: only the axial beam is left")
        fine, keep = _fine(potential.grid, factor)
        compute = potential.compute
        flat = torch.from_numpy(keep).to(compute.device)
        waves = Multislice(potential, probe.energy_keV).transmit_beams(beams, flat)
        if factor > 1:
            waves = waves.reshape(-1, *fine.shape)
            batch = compute.batch(fine.points)
            for start in range(0, beams.n, batch):
                part = waves[start : start + batch]
                part.copy_(torch.fft.ifft2(part, norm="forward"))
        return cls(beams, factor, fine, waves, compute)

    def at(
        self, probe: Probe, positions_A: NDArray[np.float64], detectors: Mapping[str, Detector]
    ) -> dict[str, NDArray[np.float64]]:
        """Return what each detector counts at each position, shape (n,), by detector [1].

        The source's size is ignored; the focal spread is averaged over nine values of defocus.

        Args:
            probe: of this energy, not wider than the matrix.
            positions_A: x and y, shape (n, 2) [A].
            detectors: by name.
        """
        window = self.window()
        weights = self.compute.put(
            np.stack([d.on(window, probe.energy_keV).ravel() for d in detectors.values()], axis=1)
        )
        total = np.zeros((positions_A.shape[0], len(detectors)))
        for start, share, intensity in self._intensities(probe, positions_A):
            hits = (intensity @ weights).double().cpu().numpy()
            total[start : start + hits.shape[0]] += share * hits
        return {name: total[:, k] for k, name in enumerate(detectors)}

    def diffract(
        self, probe: Probe, positions_A: NDArray[np.float64], detector: PixelDetector
    ) -> NDArray[np.float64]:
        """Return the diffraction pattern at each position, shape (n, rows, columns) [1].

        Arguments as in `at`; the cheap way to the many patterns of a 4D scan.
        """
        bins = detector.bins(self.window(), probe.energy_keV)
        total = np.zeros((positions_A.shape[0], detector.pixels, detector.pixels))
        for start, share, intensity in self._intensities(probe, positions_A):
            seen = pixel_counts(intensity, bins, detector.pixels)
            total[start : start + seen.shape[0]] += share * seen
        return total

    def _intensities(
        self, probe: Probe, positions_A: NDArray[np.float64]
    ) -> Iterator[tuple[int, float, Tensor]]:
        """Yield first position, weight and |psi(k)|^2, over the focal spread and batches."""
        batch = self.compute.batch(self.window().points + self.beams.n)
        for focused, share in probe.foci():
            amplitudes = self.compute.put(self.beams.amplitudes(focused, self.factor))
            for start in range(0, positions_A.shape[0], batch):
                part = positions_A[start : start + batch]
                exits = self._exits(amplitudes * self.beams.shifts(part, self.compute), part)
                yield start, share, exits.real**2 + exits.imag**2

    def window(self) -> Grid:
        """Return the grid that a probe lives on: a part of the cell, 1/factor along each axis."""
        (nx, ny), (a, b) = self.fine.shape, self.fine.cell_A
        return Grid((nx // self.factor, ny // self.factor), (a / self.factor, b / self.factor))

    def _exits(self, coefficients: Tensor, positions_A: NDArray[np.float64]) -> Tensor:
        """Return the exit waves in reciprocal space, shape (n, n_points of the window)."""
        if self.factor == 1:
            return coefficients @ self.waves
        window = self.window()
        corner = np.rint(positions_A / np.array(self.fine.sampling_A)).astype(np.int64)
        corner -= np.array(window.shape) // 2
        out = self.compute.empty(positions_A.shape[0], *window.shape)
        for k, (x, y) in enumerate(corner):
            columns = torch.from_numpy((x + np.arange(window.shape[0])) % self.fine.shape[0])
            rows = torch.from_numpy((y + np.arange(window.shape[1])) % self.fine.shape[1])
            seen = self.waves[
                :, columns.to(self.compute.device)[:, None], rows.to(self.compute.device)
            ]
            out[k] = torch.tensordot(coefficients[k], seen, dims=1)
        exits: Tensor = torch.fft.fft2(out, norm="forward")
        return exits.reshape(positions_A.shape[0], -1)


def _fine(grid: Grid, factor: int) -> tuple[Grid, NDArray[np.int64]]:
    """Return the coarsest grid that holds the band, divisible by the factor, and its frequencies.

    Raises:
        ArgumentError: a factor that leaves no such grid.
    """
    band = grid.band() > 0.0
    shape = []
    for axis in (0, 1):
        reach = int(np.abs(grid.orders()[axis][band.any(axis=1 - axis)]).max())
        shape.append(-(-(2 * reach + 1) // (2 * factor)) * 2 * factor)
    if shape[0] > grid.shape[0] or shape[1] > grid.shape[1]:
        raise ArgumentError("interpolation", factor, "smaller: the grid is not divisible by it")
    fine = Grid((shape[0], shape[1]), grid.cell_A)
    x, y = fine.orders()
    return fine, ((x % grid.shape[0])[:, None] * grid.shape[1] + y % grid.shape[1]).ravel()
