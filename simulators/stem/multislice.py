"""Multislice: psi <- F^-1{P F(t psi)}, slice by slice, for many waves at once.

Waves are kept in reciprocal space, scaled so that the squares of a probe sum to 1. Steps without
atoms are merged into one propagation; a plane wave meets its first slice by a shift of that slice's
transform, without any transform of its own.

Source: Cowley & Moodie, Acta Cryst. 10, 609 (1957), doi:10.1107/S0365110X57002194; Kirkland,
Advanced Computing in Electron Microscopy (Springer, 2010), doi:10.1007/978-1-4419-6533-2, chapter 6.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.detectors import Detector, PixelDetector
from twinloop.simulators.stem.electrons import interaction_rad_per_VA, wavelength_A
from twinloop.simulators.stem.grid import UNTWISTED, Twist
from twinloop.simulators.stem.lane_path import Band, LanePath
from twinloop.simulators.stem.lanes import LANES, Reals
from twinloop.simulators.stem.potential import Potential
from twinloop.simulators.stem.probe import Beams, Probe

__all__ = ["Multislice", "diffract", "pixel_counts", "scan_directly"]

FEWEST_LANES = 3
"""Of `LANES`, below which plain transforms are faster."""


class Multislice:
    """The way through one potential at one energy.

    Args:
        potential: from `project`.
        energy_keV: of the electrons [keV].
        twist: see `twisted`.
        slices: of another path through the same potential, so that they are not made twice.

    Example:
        >>> from twinloop.simulators.stem.potential import project
        >>> from twinloop.simulators.structure import AtomicStructure
        >>> atom = AtomicStructure.of([6], [[1.0, 1.0, 1.0]], (4.0, 4.0, 2.0))
        >>> path = Multislice(project(atom, sampling_A=0.1), 100.0)
        >>> wave = torch.zeros(1, 40, 40, dtype=torch.complex64)
        >>> wave[0, 0, 0] = 1.0
        >>> bool((path.transmit(wave).abs() ** 2).sum() > 0.99)
        True
    """

    def __init__(
        self,
        potential: Potential,
        energy_keV: float,
        twist: Twist = UNTWISTED,
        slices: "_Slices | None" = None,
    ) -> None:
        self.potential = potential
        self.energy_keV = energy_keV
        self.grid = potential.grid
        self.compute = potential.compute
        self._wavelength_A = wavelength_A(energy_keV)
        self.twist = twist
        self._propagators: dict[int, Tensor] = {}
        self._lane_propagators: dict[int, Reals] = {}
        self._band = Band.of(self.grid.band(twist))
        self._slices = slices or self._made()

    def twisted(self, twist: Twist) -> "Multislice":
        """Return the way of waves whose phase turns from cell to cell, so many turns along x and y.

        The potential repeats with its cell; by Bloch's theorem each twist goes its own way, and the
        waves below are the part that repeats.
        """
        return Multislice(self.potential, self.energy_keV, twist, self._slices)

    def transmit(self, waves: Tensor) -> Tensor:
        """Return what leaves the specimen, shape (n, nx, ny).

        Args:
            waves: what enters, in reciprocal space, shape (n, nx, ny), complex.

        Raises:
            ArgumentError: waves on another grid.
        """
        if tuple(waves.shape[1:]) != self.grid.shape:
            raise ArgumentError("waves", tuple(waves.shape), f"the shape (n, {self.grid.shape})")
        out = self.compute.empty(*waves.shape)
        batch = self._batch(waves.shape[0])
        spare = self.compute.empty(batch, *self.grid.shape)
        with torch.no_grad():
            for start in range(0, waves.shape[0], batch):
                part = out[start : start + batch]
                part.copy_(waves[start : start + batch])
                if self.potential.lead:
                    part *= self._propagator(self.potential.lead)
                self._through(part, spare[: part.shape[0]], 0)
        return out

    def transmit_beams(self, beams: Beams, keep: Tensor) -> Tensor:
        """Return what leaves the specimen for each plane wave, shape (n_beams, n_keep).

        Args:
            beams: the plane waves, of amplitude 1.
            keep: flat indices of the spatial frequencies wanted, shape (n_keep,), int64.
        """
        out = self.compute.empty(beams.n, keep.shape[0])
        batch = self._batch(beams.n)
        waves, spare = (self.compute.empty(batch, *self.grid.shape) for _ in range(2))
        lead = self._lead_phases(beams)
        shifted = _Shifted(self._first())
        after = self._propagator(self.potential.follow[0]) if self.potential.levels else None
        with torch.no_grad():
            for start in range(0, beams.n, batch):
                orders = beams.orders[start : start + batch]
                part = waves[: orders.shape[0]]
                for wave, (x, y), phase in zip(part, orders, lead[start:], strict=False):
                    torch.mul(shifted.by(int(x), int(y)), phase, out=wave)
                if after is not None:
                    part *= after
                    self._through(part, spare[: part.shape[0]], 1)
                torch.index_select(
                    part.reshape(part.shape[0], -1), 1, keep, out=out[start : start + batch]
                )
        return out

    def _batch(self, n: int) -> int:
        """Return how many of n waves to take at once: whole sets of lanes, where there are any."""
        batch = self.compute.batch(self.grid.points)
        if self._slices.lanes is not None:
            batch = max(1, batch // LANES) * LANES
        return max(1, min(batch, n))

    def _through(self, waves: Tensor, spare: Tensor, first: int) -> None:
        """Take waves from in front of slice `first` to the exit, in place."""
        follow = self.potential.follow[first:]
        lanes = self._slices.lanes
        # Empty lanes cost as much as full ones.
        is_worth_it = bool(follow) and waves.shape[0] >= FEWEST_LANES
        if lanes is not None and is_worth_it and self._band.holds(waves):
            behind = [self._lane_propagator(lanes, steps) for steps in follow]
            lanes.through(waves, behind, first, self._band)
            return
        for transmission, steps in zip(self._slices.each[first:], follow, strict=True):
            torch.fft.ifft2(waves, norm="forward", out=spare)
            spare *= transmission
            torch.fft.fft2(spare, norm="forward", out=waves)
            waves *= self._propagator(steps)

    def _made(self) -> "_Slices":
        """Return exp(i sigma v) of each slice, band limited."""
        sigma, band = interaction_rad_per_VA(self.energy_keV), self.compute.put(self.grid.band())
        each = []
        for slice_VA in self.potential.slices_VA:
            phase = sigma * slice_VA
            whole = torch.polar(torch.ones_like(phase), phase)
            each.append(torch.fft.ifft2(torch.fft.fft2(whole) * band))
        is_served = LanePath.serves(self.grid, self.compute)
        return _Slices(each, LanePath(self.grid, each) if is_served else None)

    def _lane_propagator(self, lanes: LanePath, steps: int) -> Reals:
        if steps not in self._lane_propagators:
            whole = self._propagator(steps)
            self._lane_propagators[steps] = lanes.propagator(whole, self._band)
        return self._lane_propagators[steps]

    def _propagator(self, steps: int) -> Tensor:
        """Return the Fresnel propagator over so many steps; each step limits the band."""
        if steps not in self._propagators:
            depth_A = steps * self.potential.step_A
            square = self.grid.frequency_per_A(self.twist) ** 2
            turned = self.compute.turn(-np.pi * self._wavelength_A * depth_A * square)
            self._propagators[steps] = turned * self.compute.put(
                self.grid.band(self.twist) ** steps
            )
        return self._propagators[steps]

    def _first(self) -> Tensor:
        """Return the transform of the first slice; of nothing at all, where there is none."""
        if self._slices.each:
            first: Tensor = torch.fft.fft2(self._slices.each[0], norm="forward")
            return first
        origin = self.compute.zeros(*self.grid.shape)
        origin[0, 0] = 1.0
        return origin

    def _lead_phases(self, beams: Beams) -> Tensor:
        """Return what the empty steps in front of the atoms do to each plane wave."""
        if not self.potential.lead:
            return torch.ones(beams.n, dtype=self.compute.complex, device=self.compute.device)
        x, y = (torch.from_numpy(beams.orders[:, k] % self.grid.shape[k]) for k in (0, 1))
        return self._propagator(self.potential.lead)[
            x.to(self.compute.device), y.to(self.compute.device)
        ]


class _Slices(NamedTuple):
    """Transmissions of the slices, as they are and in the order of the CPU's kernels."""

    each: list[Tensor]
    lanes: LanePath | None


class _Shifted:
    """Cyclic shifts of one array, as views of four copies of it side by side."""

    def __init__(self, array: Tensor) -> None:
        self._nx, self._ny = array.shape
        self._tiled = array.repeat(2, 2)

    def by(self, x: int, y: int) -> Tensor:
        top, left = -x % self._nx, -y % self._ny
        return self._tiled[top : top + self._nx, left : left + self._ny]


def scan_directly(
    potentials: Sequence[Potential],
    probe: Probe,
    positions_A: NDArray[np.float64],
    detectors: Mapping[str, Detector],
) -> dict[str, NDArray[np.float64]]:
    """Return what each detector counts at each position, by one multislice run a position.

    The cheapest way to a few pixels, and the reference for the other ways. The source's size is
    ignored: it mixes neighbouring positions.

    Args:
        potentials: one, or the snapshots of frozen phonons, which are averaged.
        probe: its focal spread is averaged over nine values of defocus.
        positions_A: x and y, shape (n, 2) [A].
        detectors: by name.

    Returns:
        Part of the incident electrons, shape (n,), by detector.

    Raises:
        ArgumentError: no potential, positions of another shape, or a detector or an aperture beyond
            the band limit.
    """
    _check_potentials(potentials)
    grid = potentials[0].grid
    weights = np.stack([d.on(grid, probe.energy_keV).ravel() for d in detectors.values()], axis=1)
    total = np.zeros((positions_A.shape[0], len(detectors)))
    for start, share, exits in _exits(potentials, probe, positions_A):
        compute = potentials[0].compute
        hits = _intensity(exits) @ compute.put(weights)
        total[start : start + hits.shape[0]] += share * hits.double().cpu().numpy()
    return {name: total[:, k] for k, name in enumerate(detectors)}


def diffract(
    potentials: Sequence[Potential],
    probe: Probe,
    positions_A: NDArray[np.float64],
    detector: PixelDetector,
) -> NDArray[np.float64]:
    """Return the diffraction pattern at each position, shape (n, rows, columns) [1].

    Arguments and errors as in `scan_directly`; each pattern sums to the part of the electrons that
    the camera caught.
    """
    _check_potentials(potentials)
    bins = detector.bins(potentials[0].grid, probe.energy_keV)
    total = np.zeros((positions_A.shape[0], detector.pixels, detector.pixels))
    for start, share, exits in _exits(potentials, probe, positions_A):
        seen = pixel_counts(_intensity(exits), bins, detector.pixels)
        total[start : start + exits.shape[0]] += share * seen
    return total


def pixel_counts(intensity: Tensor, bins: NDArray[np.int64], pixels: int) -> NDArray[np.float64]:
    """Return intensities by pixel of a camera, shape (n, pixels, pixels).

    Args:
        intensity: by spatial frequency, shape (n, n_frequencies).
        bins: from `PixelDetector.bins`.
        pixels: along one edge of the camera.
    """
    # What misses the camera falls into one more bin, which is dropped.
    place = torch.from_numpy(np.where(bins < 0, pixels**2, bins).ravel()).to(intensity.device)
    spots = torch.zeros(
        (intensity.shape[0], pixels**2 + 1), dtype=intensity.dtype, device=intensity.device
    )
    spots.index_add_(1, place, intensity)
    counts: NDArray[np.float64] = spots[:, :-1].double().cpu().numpy()
    return counts.reshape(-1, pixels, pixels)


def _check_potentials(potentials: Sequence[Potential]) -> None:
    if not potentials:
        raise ArgumentError("potentials", "none", "at least one")


def _exits(
    potentials: Sequence[Potential], probe: Probe, positions_A: NDArray[np.float64]
) -> Iterator[tuple[int, float, Tensor]]:
    """Yield first position, weight and exit waves, over snapshots, focal spread and batches."""
    compute = potentials[0].compute
    beams = Beams.of(probe, potentials[0].grid)
    batch = compute.batch(potentials[0].grid.points)
    foci = probe.foci()
    for potential in potentials:
        path = Multislice(potential, probe.energy_keV)
        for focused, share in foci:
            amplitudes = compute.put(beams.amplitudes(focused))
            for start in range(0, positions_A.shape[0], batch):
                shifts = beams.shifts(positions_A[start : start + batch], compute)
                exits = path.transmit(beams.waves(shifts * amplitudes))
                yield start, share / len(potentials), exits


def _intensity(waves: Tensor) -> Tensor:
    """Return |psi|^2 by spatial frequency, shape (n, nx ny)."""
    flat = waves.reshape(waves.shape[0], -1)
    return flat.real**2 + flat.imag**2
