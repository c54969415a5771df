"""The probe: a cone of plane waves with a phase each, and how coherent it is."""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.aberrations import Aberrations, phase_basis
from twinloop.simulators.stem.compute import Compute
from twinloop.simulators.stem.electrons import wavelength_A
from twinloop.simulators.stem.grid import Grid

__all__ = ["Beams", "Probe"]

FOCI = 9
"""Points of the quadrature over the focal spread."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The electron probe as the column delivers it.

    Args:
        energy_keV: of the electrons [keV].
        semiangle_mrad: half opening angle of the cone [mrad].
        aberrations: of the probe-forming lens.
        soft: the aperture's edge falls linearly over one sampling of angles, so that its area does
            not jump with the cell; False: a plane wave is in or out.
        source_sigma_A: standard deviation of the source's Gaussian image, one axis [A].
        focal_spread_A: standard deviation of the Gaussian spread of defocus by the energy width [A].

    Raises:
        ArgumentError: an energy or an angle that is not positive, a negative width.

    Example:
        >>> Probe(energy_keV=100.0, semiangle_mrad=25.0).focused(30.0).aberrations.defocus_A
        30.0
    """

    energy_keV: float = 100.0
    semiangle_mrad: float = 25.0
    aberrations: Aberrations = field(default_factory=Aberrations)
    soft: bool = True
    source_sigma_A: float = 0.0
    focal_spread_A: float = 0.0

    def __post_init__(self) -> None:
        for name in ("energy_keV", "semiangle_mrad"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ArgumentError(f"probe.{name}", getattr(self, name), "a finite number > 0")
        for name in ("source_sigma_A", "focal_spread_A"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ArgumentError(f"probe.{name}", getattr(self, name), "a finite number >= 0")

    @property
    def wavelength_A(self) -> float:
        """Of the electrons [A]."""
        return wavelength_A(self.energy_keV)

    def focused(self, defocus_A: float) -> "Probe":
        """Return the same probe at another defocus [A]."""
        return replace(self, aberrations=replace(self.aberrations, defocus_A=defocus_A))

    def foci(self) -> list[tuple["Probe", float]]:
        """Return the probes of one sharp focus each that make up the focal spread, with weights.

        Nine points of Gauss-Hermite quadrature; one probe where there is no spread.
        """
        if self.focal_spread_A == 0.0:
            return [(self, 1.0)]
        nodes, weights = np.polynomial.hermite.hermgauss(FOCI)
        offsets_A = math.sqrt(2.0) * self.focal_spread_A * nodes
        sharp = replace(self, focal_spread_A=0.0)
        return [
            (sharp.focused(self.aberrations.defocus_A + float(offset)), float(weight))
            for offset, weight in zip(offsets_A, weights / weights.sum(), strict=True)
        ]


@dataclass(frozen=True, eq=False, slots=True)
class Beams:
    """The plane waves that a probe is made of: Fourier components of the cell inside the aperture.

    Args:
        grid: the cell.
        orders: integer frequencies along x and y, shape (n, 2), int64.
        energy_keV: of the electrons [keV].

    Example:
        >>> probe = Probe(100.0, 20.0, soft=False)
        >>> beams = Beams.of(probe, Grid.of((10.0, 10.0), 0.2))
        >>> round(float(sum(abs(beams.amplitudes(probe)) ** 2)), 9)
        1.0
    """

    grid: Grid
    orders: NDArray[np.int64]
    energy_keV: float

    @classmethod
    def of(cls, probe: Probe, grid: Grid, every: int = 1) -> "Beams":
        """Return the beams inside the probe's aperture, its soft edge too.

        Args:
            probe: the widest probe that these beams will form.
            grid: the cell.
            every: PRISM's interpolation factor: take every so many beams along each axis.

        Raises:
            ArgumentError: an aperture that reaches the band limit of the grid, or a factor < 1.
        """
        if every < 1:
            raise ArgumentError("interpolation", every, "a whole number >= 1")
        reach = probe.semiangle_mrad * 1e-3 / probe.wavelength_A
        x, y = (
            np.arange(-n, n + 1) * every
            for n in (math.ceil(reach * edge / every) + 1 for edge in grid.cell_A)
        )
        orders = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        weights = _aperture(orders, grid, probe, every)
        if probe.semiangle_mrad >= grid.widest_mrad(probe.wavelength_A):
            raise ArgumentError(
                "probe.semiangle_mrad",
                probe.semiangle_mrad,
                f"below the grid's {grid.widest_mrad(probe.wavelength_A):.1f} mrad",
            )
        return cls(grid, orders[weights > 0.0], probe.energy_keV)

    @property
    def n(self) -> int:
        """How many."""
        return int(self.orders.shape[0])

    @property
    def frequencies_per_A(self) -> NDArray[np.float64]:
        """Spatial frequencies along x and y, shape (n, 2) [1/A]."""
        found: NDArray[np.float64] = self.orders / np.array(self.grid.cell_A)
        return found

    def aperture(self, probe: Probe, every: int = 1) -> NDArray[np.float64]:
        """Return each beam's real amplitude; the squares sum to 1; shape (n,).

        Raises:
            ArgumentError: a probe of another energy, or wider than these beams.
        """
        if not math.isclose(probe.energy_keV, self.energy_keV):
            raise ArgumentError("probe.energy_keV", probe.energy_keV, f"{self.energy_keV} keV")
        opening = Probe(probe.energy_keV, probe.semiangle_mrad, soft=probe.soft)
        return _normal_aperture(self, opening, every)

    def basis(self) -> NDArray[np.float64]:
        """Return d chi / d coefficient for each beam, shape (n, 9) [rad/A]."""
        return _basis(self)

    def amplitudes(self, probe: Probe, every: int = 1) -> NDArray[np.complex128]:
        """Return the complex amplitude of each beam for a probe at the origin, shape (n,)."""
        chi = self.basis() @ probe.aberrations.vector()
        found: NDArray[np.complex128] = self.aperture(probe, every) * np.exp(-1j * chi)
        return found

    def shifts(self, positions_A: NDArray[np.float64], compute: Compute) -> Tensor:
        """Return exp(-2 pi i b . r): what moves the probe to each position, shape (n_positions, n).

        Args:
            positions_A: x and y, shape (n_positions, 2) [A].
            compute: where to.

        Raises:
            ArgumentError: positions of another shape.
        """
        if positions_A.ndim != 2 or positions_A.shape[1] != 2:
            raise ArgumentError("positions_A", positions_A.shape, "the shape (n, 2)")
        # The product over axes has few distinct factors: far fewer sines than one for each pair.
        parts = []
        for axis in (0, 1):
            values, place = np.unique(self.orders[:, axis], return_inverse=True)
            cycles = np.outer(positions_A[:, axis] / self.grid.cell_A[axis], values)
            turned = compute.turn(-2.0 * np.pi * (cycles - np.rint(cycles)))
            parts.append(turned[:, torch.from_numpy(place).to(compute.device)])
        return torch.mul(parts[0], parts[1])

    def waves(self, coefficients: Tensor) -> Tensor:
        """Return probes in reciprocal space, shape (n_probes, nx, ny).

        Args:
            coefficients: amplitude of each beam, shape (n_probes, n), complex.
        """
        nx, ny = self.grid.shape
        flat = (self.orders[:, 0] % nx) * ny + self.orders[:, 1] % ny
        waves = torch.zeros(
            (coefficients.shape[0], nx * ny), dtype=coefficients.dtype, device=coefficients.device
        )
        waves[:, torch.from_numpy(flat).to(coefficients.device)] = coefficients
        return waves.reshape(-1, nx, ny)


@lru_cache(maxsize=32)
def _normal_aperture(beams: Beams, opening: Probe, every: int) -> NDArray[np.float64]:
    if Beams.of(opening, beams.grid, every).n > beams.n:
        raise ArgumentError(
            "probe.semiangle_mrad", opening.semiangle_mrad, "the angle the beams were made for"
        )
    weights = _aperture(beams.orders, beams.grid, opening, every)
    normal: NDArray[np.float64] = weights / np.sqrt((weights**2).sum())
    return normal


@lru_cache(maxsize=8)
def _basis(beams: Beams) -> NDArray[np.float64]:
    x, y = beams.frequencies_per_A.T
    return phase_basis(x, y, wavelength_A(beams.energy_keV))


def _aperture(
    orders: NDArray[np.int64], grid: Grid, probe: Probe, every: int
) -> NDArray[np.float64]:
    """Return the aperture's transmission at each beam, 0 to 1."""
    angle = orders / np.array(grid.cell_A) * (1e3 * probe.wavelength_A)
    alpha = np.hypot(angle[:, 0], angle[:, 1])
    if not probe.soft:
        hard: NDArray[np.float64] = (alpha <= probe.semiangle_mrad).astype(np.float64)
        return hard
    step = 1e3 * probe.wavelength_A * every / np.array(grid.cell_A)
    azimuth = np.arctan2(angle[:, 1], angle[:, 0])
    width = np.hypot(np.cos(azimuth) * step[0], np.sin(azimuth) * step[1])
    edge: NDArray[np.float64] = np.clip((probe.semiangle_mrad - alpha) / width + 0.5, 0.0, 1.0)
    edge[alpha == 0.0] = 1.0
    return edge
