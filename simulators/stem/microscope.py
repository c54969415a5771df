"""A microscope as a thing: its hidden column, what its panels ask for, and the sample's answer.

What the twin of the instrument computes with, useful alone: which probe there is, where on the specimen
it stands, what each detector sees there, how it counts.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from twinloop.simulators.stem.acquisition import Counting, Raster, ScanPath
from twinloop.simulators.stem.column import Column
from twinloop.simulators.stem.convolution import (
    ConvolutionModel,
    Illumination,
    haadf_cross_section_A2,
)
from twinloop.simulators.stem.image_models import ImageModel, MultisliceModel, window
from twinloop.simulators.structure import AtomicStructure

__all__ = ["CAMERA_PIXELS", "COUNTERS", "FAULTS", "ELECTRONS_PER_nC", "Microscope", "Panel", "View"]

ELECTRONS_PER_nC = 1e-9 / 1.602176634e-19

COUNTERS = {"haadf": Counting(), "abf": Counting(gain_counts=2.0), "bf": Counting(gain_counts=2.0)}

CARBON = np.array([6], dtype=np.int64)
CARBON_PER_A3 = 0.1
"""Atoms of amorphous carbon of 2 g/cm^3 [1/A^3]."""

FAULTS = ("beam_off", "stage_drift", "defocus_jump", "detector_saturated")

DRIFT_FAULT_A_PER_S = 7.0
JUMP_A = 300.0
GAIN_FAULT = 1000.0
"""Of the faults: a loose holder, a lens that has jumped, a photomultiplier at its highest gain."""

BLOCKS = 16
"""In which a scan is measured."""

STRETCH_A2 = 15_000.0
BORDER_A = 40.0
"""A stretch of a scan whose field, with a border, has this area is computed at once: some 0.3 s [A^2]."""

CAMERA_PIXELS = 64
CAMERA_HALF_A = 15.0
WIDEST_mrad = 80.0
"""Of a pattern: pixels of the camera, half edge of the window around the probe, scattering kept."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What the panels ask for; see `instruments.stem.interface.STEM.set_optics`."""

    convergence_mrad: float = 30.0
    defocus_A: float = 0.0
    c3_A: float = 0.0
    astigmatism_A: float = 0.0
    astigmatism_deg: float = 0.0
    current_nA: float = 0.03
    inner_mrad: float = 80.0
    outer_mrad: float = 200.0

    def ring_mrad(self, detector: str) -> tuple[float, float]:
        """Return inner and outer angle of a detector [mrad]."""
        return {
            "haadf": (self.inner_mrad, self.outer_mrad),
            "abf": (0.5 * self.convergence_mrad, self.convergence_mrad),
            "bf": (0.0, 0.5 * self.convergence_mrad),
        }[detector]


@dataclass(frozen=True, slots=True)
class Microscope:
    """A microscope at one moment.

    Args:
        column: what it hides.
        panel: what it is asked for.
        beam_keV: energy of the electrons [keV].
        stage_A: place of the specimen at which the stage is said to stand, x and y [A].
        device: on which multislice runs.
        phonons: snapshots of thermal motion that multislice averages; 0: still atoms.
        seed: of the snapshots; the specimen's, so that each look meets the same ones.
        faults: that it has, by name; see `broken`.

    Example:
        >>> Microscope(stage_A=(5.0, 5.0)).place_A((1.0, 0.0))
        (6.0, 5.0)
    """

    column: Column = field(default_factory=Column)
    panel: Panel = field(default_factory=Panel)
    beam_keV: float = 80.0
    stage_A: tuple[float, float] = (0.0, 0.0)
    device: str = "cpu"
    phonons: int = 0
    seed: int = 0
    faults: frozenset[str] = frozenset()

    def illumination(self) -> Illumination:
        """Return the probe as it is."""
        panel = self.panel
        return Illumination(
            energy_keV=self.beam_keV,
            semiangle_mrad=panel.convergence_mrad,
            aberrations=self.column.aberrations(
                panel.defocus_A, panel.c3_A, panel.astigmatism_A, panel.astigmatism_deg
            ),
            source_sigma_A=self.column.source_sigma_A,
            focal_spread_A=self.column.focal_spread_A,
        )

    def place_A(self, shift_A: tuple[float, float]) -> tuple[float, float]:
        """Return where on the specimen a beam shift points [A]."""
        miss = (self.column.miss_x_A, self.column.miss_y_A)
        x, y = (float(self.stage_A[i] + miss[i] + shift_A[i]) for i in (0, 1))
        return x, y

    def electrons(self, seconds: float) -> float:
        """Return how many electrons the meter believes that the beam sends in a time."""
        return self.panel.current_nA * ELECTRONS_PER_nC * seconds

    def image_model(
        self, name: str, atoms: AtomicStructure, detector: str, path: ScanPath, limit_s: float
    ) -> ImageModel:
        """Return what each detector sees of a specimen along a path.

        Args:
            name: "convolution" or "multislice".
            atoms: the specimen.
            detector: haadf, abf or bf.
            path: the places that will be asked for.
            limit_s: CPU seconds that multislice may take.

        Raises:
            ArgumentError: a detector that the model does not have, or a field too large for it.
        """
        ring = self.panel.ring_mrad(detector)
        if name == "convolution":
            return ConvolutionModel(atoms, self.illumination(), *ring, detector)
        x_A, y_A = path.places_A(0, path.raster.shape[0])
        return MultisliceModel(
            atoms,
            self.illumination(),
            ring,
            (float(x_A.min()), float(x_A.max())),
            (float(y_A.min()), float(y_A.max())),
            device=self.device,
            phonons=self.phonons,
            seed=self.seed,
            limit_s=limit_s,
        )

    def haze(self, detector: str) -> float:
        """Return what the carbon on the sample adds to a dark field; nothing elsewhere [1]."""
        if detector != "haadf":
            return 0.0
        section_A2 = haadf_cross_section_A2(
            CARBON, self.beam_keV, self.panel.inner_mrad, self.panel.outer_mrad
        )
        return float(section_A2[0]) * CARBON_PER_A3 * self.column.contamination_A

    @staticmethod
    def blocks(raster: Raster) -> Iterator[tuple[int, int]]:
        """Yield first and last line (not included) of the blocks of a scan: it may end after each."""
        rows = raster.shape[0]
        size = math.ceil(rows / BLOCKS)
        for first in range(0, rows, size):
            yield first, min(first + size, rows)

    def stills(self, atoms: AtomicStructure) -> list[AtomicStructure]:
        """Return the snapshots of a specimen whose patterns are to be averaged, at least one."""
        from twinloop.simulators.stem.phonons import pinned_snapshots

        return pinned_snapshots(atoms, self.phonons, self.seed)

    def pattern(
        self, atoms: AtomicStructure, place_A: tuple[float, float], half_mrad: float
    ) -> NDArray[np.float64]:
        """Return the diffraction pattern at a place, by multislice, of atoms that stand still.

        Args:
            atoms: the specimen, or one of its `stills`.
            place_A: x and y on it [A].
            half_mrad: half width of the camera [mrad].

        Returns:
            Part of the beam in each pixel, shape (`CAMERA_PIXELS`, `CAMERA_PIXELS`), rows along y.
        """
        from twinloop.simulators.stem.detectors import Detector, PixelDetector
        from twinloop.simulators.stem.electrons import wavelength_A
        from twinloop.simulators.stem.imager import Imager, Recipe
        from twinloop.simulators.stem.probe import Probe

        x_A, y_A = ((middle - CAMERA_HALF_A, middle + CAMERA_HALF_A) for middle in place_A)
        cut, corner_A = window(atoms, x_A, y_A)
        seen = self.illumination()
        probe = Probe(seen.energy_keV, seen.semiangle_mrad, seen.aberrations)
        widest_mrad = max(1.1 * math.sqrt(2.0) * half_mrad, WIDEST_mrad)
        sampling_A = 1e3 * wavelength_A(seen.energy_keV) / (3.0 * widest_mrad)
        recipe = Recipe(sampling_A=sampling_A, device=self.device)
        imager = Imager(cut, probe, {"disk": Detector(0.0, half_mrad)}, recipe)
        place = np.array([[place_A[0] - corner_A[0], place_A[1] - corner_A[1]]])
        camera = PixelDetector(CAMERA_PIXELS, half_mrad)
        seen_there: NDArray[np.float64] = imager.diffraction(probe, place, camera)[0]
        return seen_there

    def density_per_A2(
        self, atoms: AtomicStructure, place_A: tuple[float, float], field_A: float
    ) -> dict[int, float]:
        """Return the projected density of each element in a square around a place [1/A^2]."""
        edges = atoms.cell_A[:2]
        chosen, area_A2 = atoms.numbers, float(edges[0] * edges[1])
        if bool((edges > field_A).all()):
            away = (atoms.positions_A[:, :2] - np.array(place_A) + 0.5 * edges) % edges
            inside = (np.abs(away - 0.5 * edges) <= 0.5 * field_A).all(axis=1)
            chosen, area_A2 = atoms.numbers[inside], field_A**2
        kinds, counts = np.unique(chosen, return_counts=True)
        return {int(z): float(n) / area_A2 for z, n in zip(kinds, counts, strict=True)}

    def scan_numbers(self, raster: Raster, detector: str) -> dict[str, float]:
        """Return what the microscope knows of a scan before it begins; `DETECTORS` by index."""
        counter, dwell_us = COUNTERS[detector], 1e6 * raster.dwell_s
        return {
            "pixel_A": raster.pixel_A,
            "rotation_deg": raster.rotation_deg,
            "detector": float(list(COUNTERS).index(detector)),
            "dark_counts": counter.dark_counts(dwell_us),
            "dark_sd_counts": counter.dark_sd_counts(dwell_us),
            "counts_per_electron": counter.gain_counts * counter.efficiency,
            "saturation_counts": counter.saturation_counts(dwell_us),
            "electrons_per_pixel": self.electrons(raster.dwell_s),
            "current_nA": self.panel.current_nA,
            "dwell_us": dwell_us,
            "line_s": raster.duration_s / raster.shape[0],
            "defocus_A": self.panel.defocus_A,
        }

    def counter(self, detector: str) -> Counting:
        """Return how a detector counts now."""
        counter = COUNTERS[detector]
        if "detector_saturated" in self.faults:
            return replace(counter, gain_counts=GAIN_FAULT * counter.gain_counts)
        return counter

    def broken(self, faults: Collection[str]) -> "Microscope":
        """Return it with faults by name, in addition to those that it has."""
        column = self.column
        if "defocus_jump" in faults:
            column = replace(column, defocus_A=column.defocus_A + JUMP_A)
        if "stage_drift" in faults:
            column = replace(
                column,
                drift_x_A_per_s=column.drift_x_A_per_s + DRIFT_FAULT_A_PER_S,
                drift_y_A_per_s=column.drift_y_A_per_s - 0.5 * DRIFT_FAULT_A_PER_S,
            )
        return replace(self, column=column, faults=self.faults | frozenset(faults))


class View:
    """What a detector sees along a path, line by line, computed in stretches of bounded size.

    Args:
        model: of the image.
        path: where the beam goes.

    Example:
        >>> from twinloop.simulators.stem.acquisition import ScanErrors
        >>> atom = AtomicStructure.of([14], [[5.0, 5.0, 1.0]], (10.0, 10.0, 2.0))
        >>> model = ConvolutionModel(atom, Illumination(), 80.0, 200.0)
        >>> path = ScanPath.draw(Raster((4, 4), 0.5, 1e-6), ScanErrors())
        >>> View(model, path).lines(0, 2).shape
        (2, 4)
    """

    def __init__(self, model: ImageModel, path: ScanPath) -> None:
        self._model, self._path = model, path
        self._first, self._light = 0, np.zeros((0, path.raster.shape[1]))

    def lines(self, first: int, last: int) -> NDArray[np.float64]:
        """Return the part of the beam at each pixel of some lines, shape (last - first, columns)."""
        if not self._first <= first <= last <= self._first + self._light.shape[0]:
            raster = self._path.raster
            across_A = raster.shape[1] * raster.pixel_A + BORDER_A
            tall = int((STRETCH_A2 / across_A - BORDER_A) / raster.pixel_A)
            end = min(max(last, first + tall), raster.shape[0])
            self._first = first
            self._light = self._model.intensity(*self._path.places_A(first, end))
        light: NDArray[np.float64] = self._light[first - self._first : last - self._first]
        return light
