"""The contract of a scanning transmission electron microscope.

The sample is thin, the beam goes through it, and every electron costs: it may knock out an atom.
Hence a scan opens the beam, visits its pixels and blanks the beam again, as one action; it states
the dose that it gave; and it is refused when it would give more than it was allowed.

    await stem.set_optics(convergence_mrad=30.0, defocus_A=0.0, current_nA=0.03)
    image = await stem.scan(detector="haadf", field_A=50.0, pixels=256, dwell_us=10.0)

Coordinates: x runs along a line of the scan (columns of the image), y from line to line (rows), both
in the scale that the scan coils are calibrated for; `centre_x_A` and `centre_y_A` shift the beam from
where the stage stands. Which pixels are visited is said in one of three ways, which combine: the
whole field; `region`, a rectangle of it; a subset, either `fraction` of the pixels drawn with
`subset_seed`, or the pixels that `only` lists by number (row * columns + column of what is scanned).

While a scan goes on, new lines appear on the stream "line": `row` and `rows` as numbers, the counts
of the lines as the array `counts`.
"""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from twinloop.instruments.holder.interface import SampleHolder
from twinloop.instruments.interface import Limit, OnSilence, Recovery, action, readout
from twinloop.results import Array, Result
from twinloop.units import (
    Angstroms,
    Counts,
    Degrees,
    Dimensionless,
    ElectronsPerSquareAngstrom,
    KiloElectronVolts,
    Microseconds,
    Milliradians,
    Nanoamperes,
    Seconds,
)

__all__ = [
    "C3_A",
    "DETECTORS",
    "MODELS",
    "STEM",
    "Azimuth_deg",
    "Convergence_mrad",
    "Current_nA",
    "Defocus_A",
    "DetectorName",
    "Diffraction",
    "Dose_e_per_A2",
    "Dwell_us",
    "Field_A",
    "Fraction",
    "GridPoints",
    "Inner_mrad",
    "Live_s",
    "Micrograph",
    "Optics",
    "Outer_mrad",
    "PixelNumbers",
    "Pixels",
    "Region",
    "Seed",
    "Shift_A",
    "Spectrum",
    "Stage_A",
    "Step_A",
    "Twofold_A",
]

Convergence_mrad = Annotated[Milliradians, Limit(5, 45)]
Defocus_A = Annotated[Angstroms, Limit(-5000, 5000)]
C3_A = Annotated[Angstroms, Limit(-1e6, 1.5e7)]
Twofold_A = Annotated[Angstroms, Limit(0, 2000)]
Azimuth_deg = Annotated[Degrees, Limit(-180, 180)]
Current_nA = Annotated[Nanoamperes, Limit(0.001, 1.0)]
Inner_mrad = Annotated[Milliradians, Limit(20, 200)]
Outer_mrad = Annotated[Milliradians, Limit(40, 250)]
Field_A = Annotated[Angstroms, Limit(5, 1000)]
Shift_A = Annotated[Angstroms, Limit(-2000, 2000)]
Step_A = Annotated[Angstroms, Limit(0, 100)]
Stage_A = Annotated[Angstroms, Limit(-1e6, 1e6)]
Dwell_us = Annotated[Microseconds, Limit(0.1, 10_000)]
Live_s = Annotated[Seconds, Limit(0.01, 600)]
Fraction = Annotated[Dimensionless, Limit(0.001, 1.0)]
Dose_e_per_A2 = Annotated[ElectronsPerSquareAngstrom, Limit(0, 1e10)]
Pixels = Annotated[int, Field(ge=16, le=2048)]
GridPoints = Annotated[int, Field(ge=1, le=16)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Whole = Annotated[int, Field(ge=0)]
Region = tuple[Whole, Whole, Pixels, Pixels]
"""First row, first column, rows, columns of the field's pixels."""
PixelNumbers = Annotated[tuple[Whole, ...], Field(min_length=1, max_length=6000)]
"""Pixels by number, row * columns + column of what is scanned; a command carries 64 KiB."""

DetectorName = Literal["haadf", "abf", "bf"]
DETECTORS: tuple[DetectorName, ...] = ("haadf", "abf", "bf")
MODELS = ("instrument", "convolution", "multislice")
"""What a result may say of its origin: a real microscope, or the model of a twin."""


class Optics(Result):
    """What the microscope is set to, as its panels show it.

    Args:
        energy_keV: of the electrons [keV].
        convergence_mrad: half angle of the probe [mrad].
        defocus_A: > 0 is underfocus [A].
        c3_A: spherical aberration [A].
        astigmatism_A, astigmatism_deg: twofold, and its azimuth.
        current_nA: that the meter reads [nA].
        inner_mrad, outer_mrad: of the annular dark-field detector [mrad].
    """

    energy_keV: KiloElectronVolts
    convergence_mrad: Milliradians
    defocus_A: Angstroms
    c3_A: Angstroms
    astigmatism_A: Angstroms
    astigmatism_deg: Degrees
    current_nA: Nanoamperes
    inner_mrad: Milliradians
    outer_mrad: Milliradians


class Micrograph(Result):
    """One scan.

    Args:
        counts: what the detector's electronics counted at each pixel, its dark level included, 0
            where no electron was sent; shape (rows, columns), float32 [counts].
        is_acquired: whether a pixel was visited, shape (rows, columns), bool.
        x_A: of the columns, from the middle of the field, by the calibration, shape (columns,) [A].
        y_A: of the rows, shape (rows,) [A].
        pixel_A: distance of neighbouring pixels by the calibration [A].
        rotation_deg: of the scan.
        detector: haadf, abf or bf.
        dark_counts: mean counts of a pixel without beam, from a dark reference [counts].
        dark_sd_counts: their standard deviation [counts].
        counts_per_electron: gain of the detector [counts].
        saturation_counts: a pixel never shows more [counts].
        electrons_per_pixel: that the beam sent to each visited pixel: current times dwell time.
        dose_e_per_A2: electrons for each area of a visited pixel [e/A^2].
        sample_dose_e_per_A2: sum of the doses of everything done to this sample, as if all of it had
            met the same place [e/A^2]; whether atoms are missing, the images say.
        current_nA: that the meter read before the scan [nA].
        dwell_us: on each pixel [us].
        line_s: from the start of a line to the start of the next [s].
        defocus_A: of the panel [A].
        model: `instrument`, or the model of a twin: `multislice`, or `convolution`, which is
            approximate: good for positions and for looking, off by several percent in contrast.
        is_complete: False when it was cut short.
    """

    counts: Array
    is_acquired: Array
    x_A: Array
    y_A: Array
    pixel_A: Angstroms
    rotation_deg: Degrees
    detector: DetectorName
    dark_counts: Counts
    dark_sd_counts: Counts
    counts_per_electron: Counts
    saturation_counts: Counts
    electrons_per_pixel: Dimensionless
    dose_e_per_A2: ElectronsPerSquareAngstrom
    sample_dose_e_per_A2: ElectronsPerSquareAngstrom
    current_nA: Nanoamperes
    dwell_us: Microseconds
    line_s: Seconds
    defocus_A: Angstroms
    model: str
    is_complete: bool


class Diffraction(Result):
    """Diffraction patterns of a point, or of a small square grid of points (4D-STEM).

    Args:
        patterns: shape (points, rows, columns), float32 [electrons]; row by row of the grid.
        x_A, y_A: of the points, from where the stage stands, shape (points,) [A].
        angle_mrad: of rows and columns, shape (rows,) [mrad]; rows along y, columns along x.
        pixel_mrad: that a pixel of the camera sees [mrad].
        exposure_us: of each pattern [us].
        electrons: that the beam sent to each point.
        dose_e_per_A2: to the area of a grid cell, or of the probe where there is one point.
        model: see `Micrograph`.
    """

    patterns: Array
    x_A: Array
    y_A: Array
    angle_mrad: Array
    pixel_mrad: Milliradians
    exposure_us: Microseconds
    electrons: Dimensionless
    dose_e_per_A2: ElectronsPerSquareAngstrom
    model: str


class Spectrum(Result):
    """Characteristic X-rays of one point (EDX).

    Args:
        energy_keV: middle of each channel, shape (channels,) [keV].
        counts: shape (channels,), float32.
        live_s: how long the detector counted [s].
        fwhm_keV: resolution of the detector at Mn K alpha, 5.895 keV, by its maker [keV].
        electrons: that the beam sent.
        model: of a twin: `approximate`; else `instrument`.
    """

    energy_keV: Array
    counts: Array
    live_s: Seconds
    fwhm_keV: KiloElectronVolts
    electrons: Dimensionless
    model: str


class STEM(SampleHolder, kind="stem"):
    """Scans a fine electron probe over a thin sample."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH)
    @abstractmethod
    async def set_optics(
        self,
        *,
        convergence_mrad: Convergence_mrad = 30.0,
        defocus_A: Defocus_A = 0.0,
        c3_A: C3_A = 0.0,
        astigmatism_A: Twofold_A = 0.0,
        astigmatism_deg: Azimuth_deg = 0.0,
        current_nA: Current_nA = 0.03,
        inner_mrad: Inner_mrad = 80.0,
        outer_mrad: Outer_mrad = 200.0,
    ) -> Optics:
        """Set probe, current and dark-field detector, all of them; return what the panels show.

        What the panels show is what was asked: the lens has aberrations of its own, which these
        values add to and which images reveal.
        """

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        interlocks=("stage_is_still",),
    )
    @abstractmethod
    async def scan(
        self,
        *,
        detector: DetectorName = "haadf",
        field_A: Field_A = 50.0,
        pixels: Pixels = 256,
        dwell_us: Dwell_us = 10.0,
        centre_x_A: Shift_A = 0.0,
        centre_y_A: Shift_A = 0.0,
        rotation_deg: Azimuth_deg = 0.0,
        region: Region | None = None,
        fraction: Fraction = 1.0,
        subset_seed: Seed = 0,
        only: PixelNumbers | None = None,
        max_dose_e_per_A2: Dose_e_per_A2 = 1e7,
    ) -> Micrograph:
        """Open the beam, visit the pixels, blank the beam; return the image.

        Raises:
            NotTouched: it would exceed `max_dose_e_per_A2`; a region or a pixel number outside the
                field; a field or a detector that this microscope does not have.
        """

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        interlocks=("stage_is_still",),
    )
    @abstractmethod
    async def diffract(
        self,
        *,
        centre_x_A: Shift_A = 0.0,
        centre_y_A: Shift_A = 0.0,
        points: GridPoints = 1,
        step_A: Step_A = 1.0,
        exposure_us: Dwell_us = 1000.0,
        max_dose_e_per_A2: Dose_e_per_A2 = 1e9,
    ) -> Diffraction:
        """Take the diffraction pattern of a point, or of points x points around it.

        Raises:
            NotTouched: it would exceed `max_dose_e_per_A2`.
        """

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        interlocks=("stage_is_still",),
    )
    @abstractmethod
    async def spectrum(
        self,
        *,
        centre_x_A: Shift_A = 0.0,
        centre_y_A: Shift_A = 0.0,
        field_A: Field_A = 20.0,
        live_s: Live_s = 10.0,
        max_dose_e_per_A2: Dose_e_per_A2 = 1e9,
    ) -> Spectrum:
        """Count characteristic X-rays while the beam scans a small square around a point.

        Raises:
            NotTouched: it would exceed `max_dose_e_per_A2`.
        """

    @action(
        recovery=Recovery.IDEMPOTENT,
        on_silence=OnSilence.FINISH,
        interlocks=("beam_is_blanked",),
    )
    @abstractmethod
    async def move_stage(self, *, x_A: Stage_A, y_A: Stage_A) -> None:
        """Bring the stage to a place, and wait until it is still; the beam must be blanked.

        The stage misses the place by several angstrom, and drifts for a while.
        """

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE, silence_s=30)
    @abstractmethod
    async def blank(self, *, is_blanked: bool = True) -> None:
        """Blank the beam, or let it rest on the sample, where it gives dose until it is blanked."""

    @readout
    @abstractmethod
    async def beam_is_blanked(self) -> bool:
        """Return whether the beam is blanked."""

    @readout
    @abstractmethod
    async def stage_is_still(self) -> bool:
        """Return whether the stage stands."""

    @readout
    @abstractmethod
    async def defocus_A(self) -> Angstroms:
        """Return the defocus of the panel [A]."""

    @readout
    @abstractmethod
    async def stage_x_A(self) -> Angstroms:
        """Return where the stage's encoder says that it stands, along x [A]."""

    @readout
    @abstractmethod
    async def stage_y_A(self) -> Angstroms:
        """Return the same along y [A]."""

    @readout
    @abstractmethod
    async def current_nA(self) -> Nanoamperes:
        """Return the probe current that the meter reads [nA]."""

    @readout
    @abstractmethod
    async def energy_keV(self) -> KiloElectronVolts:
        """Return the energy of the electrons [keV]."""

    @readout
    @abstractmethod
    async def sample_dose_e_per_A2(self) -> ElectronsPerSquareAngstrom:
        """Return the sum of the doses that the sample on the stage has had [e/A^2]; 0 without one."""
