"""The door to the engine: one specimen, any probe, images and diffraction patterns.

The first image runs multislice once for every plane wave of the aperture and every snapshot; the
inner products of what comes out are kept (`gram`). From then on each setting of the lens, each scan
and each set of positions costs milliseconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.compute import Compute, Precision
from twinloop.simulators.stem.detectors import Detector, PixelDetector
from twinloop.simulators.stem.gram import Gram
from twinloop.simulators.stem.grid import Grid
from twinloop.simulators.stem.multislice import diffract, scan_directly
from twinloop.simulators.stem.phonons import snapshots
from twinloop.simulators.stem.potential import Placement, Potential, project
from twinloop.simulators.stem.prism import ScatteringMatrix
from twinloop.simulators.stem.probe import Beams, Probe
from twinloop.simulators.stem.scattering_factors import Parametrisation, scattering_factor_A
from twinloop.simulators.structure import AtomicStructure

__all__ = ["Imager", "Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How finely, how warm and where a specimen is computed.

    Args:
        sampling_A: largest distance of grid points; scattering beyond lambda / (3 sampling) is lost
            [A].
        step_A: largest thickness of a slice [A].
        phonons: snapshots to average; 0: the atoms stand still.
        repeats: the structure is one cell of a perfect crystal, which repeats so often along x and
            y before the probe meets its own image; its images cost 1 / (number of cells) of those
            of all the cells together. Only for atoms that stand still.
        seed: of the snapshots.
        parametrisation: of the atoms' potentials.
        placement: how atoms enter the grid.
        memory_GB: what the inner products may need; more is refused before anything is computed [GB].
        device: "cpu" or "cuda".
        precision: "single" or "double".

    Example:
        >>> Recipe(sampling_A=0.1).device
        'cpu'
    """

    sampling_A: float = 0.08
    step_A: float = 1.0
    phonons: int = 0
    seed: int = 0
    repeats: tuple[int, int] = (1, 1)
    parametrisation: Parametrisation = Parametrisation.LOBATO
    placement: Placement = Placement.GRID
    memory_GB: float = 8.0
    device: str = "cpu"
    precision: Precision = "single"


class Imager:
    """Images of one specimen.

    Args:
        structure: the specimen; it repeats along x and y, electrons enter at z = 0.
        widest: gives the energy and the largest aperture that later probes may have.
        detectors: by name.
        recipe: how it is computed.
        still: snapshots of thermal motion to average, instead of those that the recipe asks for; in
            the same cell.

    Raises:
        ArgumentError: too little memory allowed, no detector, a detector or an aperture beyond the band limit, an element
            without scattering factor, a device that this machine lacks, or phonons in a crystal
            that repeats; all before anything is computed.

    Example:
        >>> from twinloop.simulators.stem import specimens
        >>> probe = Probe(energy_keV=60.0, semiangle_mrad=30.0)
        >>> sheet = specimens.graphene(across=(2, 1))
        >>> imager = Imager(sheet, probe, {"adf": Detector(60.0, 120.0)}, Recipe(sampling_A=0.12))
        >>> x_A = y_A = np.linspace(0.0, 4.0, 16)
        >>> imager.image(probe.focused(10.0), x_A, y_A)["adf"].shape
        (16, 16)
    """

    def __init__(
        self,
        structure: AtomicStructure,
        widest: Probe,
        detectors: Mapping[str, Detector],
        recipe: Recipe | None = None,
        still: Sequence[AtomicStructure] = (),
    ) -> None:
        self.structure, self.widest, self.detectors = structure, widest, dict(detectors)
        self.recipe = recipe or Recipe()
        self.compute = Compute(self.recipe.device, self.recipe.precision)
        if (self.recipe.phonons or still) and self.recipe.repeats != (1, 1):
            found = (self.recipe.phonons or len(still), self.recipe.repeats)
            raise ArgumentError(
                "phonons, repeats", found, "one of the two: snapshots do not repeat"
            )
        drawn = [] if still else snapshots(structure, self.recipe.phonons, self.recipe.seed)
        self.snapshots = [*still, *drawn]
        edges = (float(structure.cell_A[0]), float(structure.cell_A[1]))
        self.grid = Grid.of(edges, self.recipe.sampling_A)
        self.beams = Beams.of(widest, self.grid.repeated(self.recipe.repeats))
        self._gram: Gram | None = None
        if not detectors:
            raise ArgumentError("detectors", "none", "at least one")
        for detector in detectors.values():
            detector.on(self.grid, widest.energy_keV)
        if self.memory_GB > self.recipe.memory_GB:
            raise ArgumentError(
                "structure.cell_A",
                f"{self.grid.cell_A} A, which takes {self.memory_GB:.1f} GB",
                f"at most {self.recipe.memory_GB:g} GB: a smaller cell or aperture, a coarser "
                "sampling, or prism.ScatteringMatrix with an interpolation factor",
            )
        for number in np.unique(structure.numbers):
            scattering_factor_A(int(number), np.zeros(1), self.recipe.parametrisation)

    @property
    def gram(self) -> Gram:
        """The inner products that all images come from; computed once, when first asked for."""
        if self._gram is None:
            self._gram = Gram.of(
                self.potentials(), self.widest, self.detectors, self.recipe.repeats
            )
        return self._gram

    @property
    def is_ready(self) -> bool:
        """Whether the inner products are there, so that an image costs milliseconds."""
        return self._gram is not None

    @property
    def memory_GB(self) -> float:
        """What the inner products need at their peak, about, whatever the scan [GB]."""
        cells = self.recipe.repeats[0] * self.recipe.repeats[1]
        number = 8 if self.recipe.precision == "single" else 16
        together = self.beams.n / cells
        band = float((self.grid.band() > 0.0).sum())
        pairs = 0.5 * self.beams.n * together
        held = together * band + 2.0 * together**2 + pairs * (2 * len(self.detectors) + 4)
        return number * held / 1e9

    def potentials(self) -> Iterator[Potential]:
        """Yield the potential of each snapshot."""
        for snapshot in self.snapshots:
            yield project(
                snapshot,
                grid=self.grid,
                step_A=self.recipe.step_A,
                parametrisation=self.recipe.parametrisation,
                placement=self.recipe.placement,
                compute=self.compute,
            )

    def image(
        self, probe: Probe, x_A: NDArray[np.float64], y_A: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return an image by each detector: part of the incident electrons that it counts.

        Args:
            probe: as it is now.
            x_A: of the columns, shape (n_x,) [A].
            y_A: of the rows, shape (n_y,) [A].

        Returns:
            By detector, shape (n_y, n_x), rows along y.

        Raises:
            ArgumentError: a probe of another energy than `widest`, or wider.
        """
        return self._named(self.gram.spectrum(probe).on_grid(x_A, y_A))

    def at(self, probe: Probe, positions_A: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return what each detector counts at any positions: a region, a subset, a bent scan line.

        Few positions on a specimen that was not imaged yet are computed one by one, which is
        cheaper; the two ways differ by rounding.

        Args:
            probe: as it is now.
            positions_A: x and y, shape (n, 2) [A].

        Returns:
            By detector, shape (n,).

        Raises:
            ArgumentError: a probe of another energy than `widest`, or wider.
        """
        runs = positions_A.shape[0] * len(probe.foci())
        if not self.is_ready and probe.source_sigma_A == 0.0 and 4 * runs < self.beams.n:
            self.beams.aperture(probe)
            return scan_directly(self._whole(), probe, positions_A, self.detectors)
        return self._named(self.gram.spectrum(probe).at(positions_A))

    def diffraction(
        self, probe: Probe, positions_A: NDArray[np.float64], detector: PixelDetector
    ) -> NDArray[np.float64]:
        """Return the diffraction pattern at each position, shape (n, rows, columns) [1].

        Rows run along y. Few positions cost one multislice run each, many share the runs of a
        scattering matrix; the source's size is ignored.

        Raises:
            ArgumentError: a probe of another energy than `widest`, or wider.
        """
        self.beams.aperture(probe)
        whole = self._whole()
        if positions_A.shape[0] * len(probe.foci()) < self.beams.n:
            return diffract(whole, probe, positions_A, detector)
        total = np.zeros((positions_A.shape[0], detector.pixels, detector.pixels))
        for potential in whole:
            matrix = ScatteringMatrix.of(potential, probe)
            total += matrix.diffract(probe, positions_A, detector) / len(whole)
        return total

    def _whole(self) -> list[Potential]:
        return [potential.repeated(self.recipe.repeats) for potential in self.potentials()]

    def _named(self, images: Tensor) -> dict[str, NDArray[np.float64]]:
        arrays = images.detach().cpu().double().numpy()
        return dict(zip(self.gram.names, arrays, strict=True))
