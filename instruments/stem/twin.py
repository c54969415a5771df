"""The twin of a scanning transmission electron microscope.

It scans what is on its stage: one of the reference specimens, or a lamella that is cut out of a film
when the film is mounted, after which the film is no more. Two models of the image are offered by
name, `convolution` (fast, approximate) and `multislice`; see `simulators/stem`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PrivateAttr

from twinloop.errors import ArgumentError
from twinloop.ids import seed_of
from twinloop.instruments.interface import Command, NotTouched, Verdict, readout
from twinloop.instruments.standin.beam_stage import BeamStageTwin
from twinloop.instruments.standin.stage_twin import Recipe, StageRun
from twinloop.instruments.stem.interface import (
    C3_A,
    MODELS,
    STEM,
    Azimuth_deg,
    Convergence_mrad,
    Current_nA,
    Defocus_A,
    DetectorName,
    Diffraction,
    Dose_e_per_A2,
    Dwell_us,
    Field_A,
    Fraction,
    GridPoints,
    Inner_mrad,
    Live_s,
    Micrograph,
    Optics,
    Outer_mrad,
    PixelNumbers,
    Pixels,
    Region,
    Seed,
    Shift_A,
    Spectrum,
    Stage_A,
    Step_A,
    Twofold_A,
)
from twinloop.instruments.stem.results import (
    complaint_of,
    diffraction_of,
    how_far,
    micrograph_of,
    spectrum_of,
)
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.specimen import Specimen
from twinloop.simulators.stem.acquisition import Raster, ScanPath, visited_pixels
from twinloop.simulators.stem.column import Column
from twinloop.simulators.stem.exposure import Exposure
from twinloop.simulators.stem.microscope import (
    CAMERA_PIXELS,
    FAULTS,
    Microscope,
    Panel,
    View,
)
from twinloop.simulators.stem.stock import cut_lamella, origin_of, reference_specimen
from twinloop.simulators.stem.xrays import XRayDetector, expected_spectrum
from twinloop.simulators.structure import AtomicStructure
from twinloop.units import Angstroms, ElectronsPerSquareAngstrom, KiloElectronVolts, Nanoamperes

__all__ = ["STEMTwin"]

FLYBACK_S = 60e-6
HOP_S = 5e-6
FIRST_LINE_S = 0.2
"""To unblank and let the coils settle before the first line [s]."""

MOVE_S = 20.0
OPTICS_S = 2.0
BLANK_S = 0.01
XRAY_SLICE_S = 5.0

CAMERA_HALF = 1.6
"""Half width of the diffraction camera over the probe's half angle [1]."""


class STEMTwin(BeamStageTwin, STEM):
    """A probe-corrected microscope with a stage for one sample.

    Args:
        model: of the images: "convolution" or "multislice".
        device: on which multislice runs, "cpu" or "cuda".
        phonons: snapshots of thermal motion that multislice averages, the same ones for each look at a
            sample; each costs as much again. 0: atoms that stand still, too dark in thick samples.
        beam_keV: energy of the electrons [keV].
        misalignment: size of what is hidden (aberrations, drift, calibration errors): 1 as usual, 0
            perfect.
        multislice_limit_s: CPU seconds that a scan may take before it is refused [s].
        specimen: what the autoloader mounts; see `simulators.stem.stock.SORTS`.

    Example:
        >>> STEMTwin(seed=1, specimen="mos2").model
        'convolution'
    """

    FAULTS: ClassVar[tuple[str, ...]] = FAULTS

    model: Literal["convolution", "multislice"] = "convolution"
    device: str = "cpu"
    phonons: int = Field(default=4, ge=0, le=64)
    beam_keV: float = Field(default=80.0, ge=30.0, le=300.0)
    misalignment: float = Field(default=1.0, ge=0.0, le=3.0)
    multislice_limit_s: float = Field(default=120.0, gt=0.0)

    _path: ScanPath | None = PrivateAttr(default=None)

    def first_state(self) -> dict[str, Any]:
        """Return the microscope as its seed makes it."""
        rng = np.random.default_rng(seed_of(self.seed, "stem", "column"))
        return {
            "optics": {},
            "column": Column.drawn(rng, self.misalignment).to_json(),
            "is_blanked": True,
            "is_still": True,
            "stage_A": [0.0, 0.0],
            "origin_A": [0.0, 0.0],
            "resting_since_s": None,
        }

    def stock(self, sample: str) -> Specimen:
        """Return a fresh reference specimen.

        Raises:
            ArgumentError: a sort that it does not have.
        """
        return reference_specimen(self.specimen, sample, self.seed)

    def on_mounted(self, specimen: Specimen) -> Specimen:
        """Cut a lamella out of a film; leave a thin specimen as it is."""
        self._keep(replace(self._column(), contamination_A=0.0))
        if isinstance(specimen.structure, FilmStructure):
            specimen = cut_lamella(specimen, self.kind, str(self.command.key))
        self.state["origin_A"] = list(origin_of(specimen))
        return specimen

    def truth(self) -> dict[str, Any]:
        """Return what the twin hides, the path of its last scan too; for tests in process."""
        return {**super().truth(), "path": self._path}

    def on_safe_state(self) -> None:
        """Blank the beam."""
        self._rest_ends()
        self.state["is_blanked"] = self.state["is_still"] = True

    # Idempotent actions are done again under the same key: they have no entry in the run book.

    @STEM.set_optics.implement
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
        """Set probe, current and dark-field detector; return what the panels show.

        Raises:
            NotTouched: an inner angle that is not below the outer one.
        """
        if inner_mrad >= outer_mrad:
            raise NotTouched(f"set_optics: inner {inner_mrad:g} is not below {outer_mrad:g} mrad")
        asked = {
            "convergence_mrad": convergence_mrad,
            "defocus_A": defocus_A,
            "c3_A": c3_A,
            "astigmatism_A": astigmatism_A,
            "astigmatism_deg": astigmatism_deg,
            "current_nA": current_nA,
            "inner_mrad": inner_mrad,
            "outer_mrad": outer_mrad,
        }
        if Panel(**asked) != self._panel():
            await self.clock.sleep(OPTICS_S)
            self.age(OPTICS_S)
            self.state["optics"] = asked
            self._save()
        return Optics(energy_keV=self.beam_keV, **asked)

    @STEM.move_stage.implement
    async def move_stage(self, *, x_A: Stage_A, y_A: Stage_A) -> None:
        """Bring the stage to a place, and wait until it is still."""
        if self.state["stage_A"] == [x_A, y_A]:
            return
        self.state["is_still"] = False
        try:
            await self.clock.sleep(MOVE_S)
            self.age(MOVE_S)
            self._keep(self._column().moved(self.random("move"), self.misalignment))
            self.state["stage_A"] = [x_A, y_A]
        finally:
            self.state["is_still"] = True
            self._save()

    @STEM.blank.implement
    async def blank(self, *, is_blanked: bool = True) -> None:
        """Blank the beam, or let it rest on the sample."""
        await self.clock.sleep(BLANK_S)
        self._rest_ends()
        self.state["is_blanked"] = is_blanked
        self.state["resting_since_s"] = None if is_blanked else self.clock.now_s()
        self._save()

    @STEM.scan.implement
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
        """Open the beam, visit the pixels, blank the beam; return the image."""

        def raster() -> Raster:
            shape = (pixels, pixels) if region is None else (region[2], region[3])
            return Raster.of_field(
                field_A,
                pixels,
                region=region,
                dwell_s=1e-6 * dwell_us,
                flyback_s=FLYBACK_S,
                hop_s=HOP_S,
                centre_A=self._microscope().place_A((centre_x_A, centre_y_A)),
                rotation_deg=rotation_deg,
                visited=visited_pixels(shape, fraction, subset_seed, only),
            )

        return micrograph_of(
            await self.perform(
                "scan", self._scan, detector=detector, make=raster, limit=max_dose_e_per_A2
            )
        )

    @scan.reconcile
    async def what_was_scanned(self, command: Command) -> Verdict:
        """Ask the microscope by command key."""
        return self.verdict_of(command, micrograph_of)

    @scan.confirm
    async def image_is_plausible(self, command: Command, result: Micrograph) -> str | None:
        """Complain of an image without electrons, and of one with too many."""
        return complaint_of(result, str(command.key))

    def _scan(self, run: StageRun, *, detector: DetectorName, make: Any, limit: float) -> Recipe:
        self._rest_ends()
        specimen, rng, scope = self.on_stage(), self.random("scan"), self._microscope()
        try:
            raster: Raster = make()
            path = self._path = ScanPath.draw(raster, scope.column.scan_errors(), rng)
            view = self._view(scope, specimen.atoms, detector, path)
        except ArgumentError as err:
            raise NotTouched(f"scan: {err}") from err
        believed = scope.electrons(raster.dwell_s)
        dose = self.check_dose("scan", believed / raster.pixel_A**2, limit)
        common = scope.scan_numbers(raster, detector)
        common |= {"model": float(MODELS.index(self.model))}
        electrons = self._sent(scope, believed)
        exposure = Exposure.of(specimen.atoms, path, electrons, self.beam_keV)
        counter, haze = scope.counter(detector), scope.haze(detector)
        rows = raster.shape[0]
        counts = np.zeros(raster.shape, dtype=np.float32)
        visited = np.ones(raster.shape, bool) if raster.visited is None else raster.visited
        left, lost, done = specimen.atoms, np.zeros(0, dtype=np.int64), 0
        pixels = raster.counts_of_lines()

        def told(lines: int) -> dict[str, float]:
            given = dose if lines else 0.0
            return {
                **common,
                **how_far("lines", lines, rows, float(pixels[:lines].sum() / pixels.sum())),
                "is_complete": float(lines == rows),
                "dose_e_per_A2": given,
                "sample_dose_e_per_A2": specimen.dose_e_per_A2 + given,
            }

        self._unblank(run)
        try:
            self.note(run, told(0))
            yield FIRST_LINE_S
            for first, last in scope.blocks(raster):
                light = view.lines(first, last) + haze
                block = counter.counts(light, electrons, common["dwell_us"], rng)
                counts[first:last] = np.where(visited[first:last], block, 0.0)
                gone = np.union1d(lost, exposure.lost(specimen.atoms.numbers, first, last, rng))
                if gone.size > lost.size:
                    lost, left = gone, specimen.atoms.without(gone)
                    view = self._view(scope, left, detector, path)
                done = last
                self.note(run, told(done), float(pixels[:done].sum()) * raster.dwell_s, lost)
                shown = {"row": float(first), "rows": float(rows)}
                self.emit("line", shown, {"counts": counts[first:last].copy()})
                yield raster.span_s(first, last)
        finally:
            self.state["is_blanked"] = True
            run.numbers = told(done)
            beam_s = float(pixels[:done].sum()) * raster.dwell_s
            self.expose(run, replace(specimen, structure=left), beam_s, lost.size)
            self.age(FIRST_LINE_S + raster.span_s(0, done) - beam_s)
            x_A, y_A = raster.axes_A()
            run.arrays = {
                "counts": counts,
                "is_acquired": visited & (np.arange(rows) < done)[:, None],
                "x_A": x_A,
                "y_A": y_A,
            }

    @STEM.diffract.implement
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
        """Take the diffraction pattern of a point, or of points x points around it."""
        steps = (np.arange(points) - 0.5 * (points - 1)) * step_A
        return diffraction_of(
            await self.perform(
                "diffract",
                self._diffract,
                x_A=centre_x_A + np.tile(steps, points),
                y_A=centre_y_A + np.repeat(steps, points),
                step_A=step_A if points > 1 else 0.0,
                exposure_us=exposure_us,
                limit=max_dose_e_per_A2,
            )
        )

    @diffract.reconcile
    async def what_was_diffracted(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, diffraction_of)

    @diffract.confirm
    async def pattern_is_plausible(self, command: Command, result: Diffraction) -> str | None:
        """Complain of patterns without electrons."""
        if float(result.patterns.sum()) > 0:
            return None
        return f"no electron reached the camera ({command.key}): the beam is off"

    def _diffract(
        self,
        run: StageRun,
        *,
        x_A: Sequence[float],
        y_A: Sequence[float],
        step_A: float,
        exposure_us: float,
        limit: float,
    ) -> Recipe:
        self._rest_ends()
        specimen, rng, scope = self.on_stage(), self.random("diffract"), self._microscope()
        believed, exposure_s = scope.electrons(1e-6 * exposure_us), 1e-6 * exposure_us
        area_A2 = max(step_A, scope.illumination().finest_A) ** 2
        dose = self.check_dose("diffract", believed / area_A2, limit)
        half_mrad = CAMERA_HALF * scope.panel.convergence_mrad
        pixel_mrad = 2.0 * half_mrad / CAMERA_PIXELS
        common = {"pixel_mrad": pixel_mrad, "exposure_us": exposure_us, "electrons": believed}
        patterns = np.zeros((len(x_A), CAMERA_PIXELS, CAMERA_PIXELS), dtype=np.float32)
        done, sent = 0, self._sent(scope, believed)

        def told(points: int) -> dict[str, float]:
            far = how_far("points", points, len(x_A), points / len(x_A))
            return {**common, **far, "dose_e_per_A2": dose if points else 0.0}

        stills = scope.stills(specimen.atoms)
        self._unblank(run)
        try:
            self.note(run, told(0))
            for shift_A in zip(x_A, y_A, strict=True):
                place_A, light = scope.place_A(shift_A), np.zeros(patterns.shape[1:])
                for still in stills:
                    light += scope.pattern(still, place_A, half_mrad) / len(stills)
                    yield 0.0
                patterns[done] = rng.poisson(sent * light)
                done += 1
                self.note(run, told(done), done * exposure_s)
                yield exposure_s
        finally:
            self.state["is_blanked"] = True
            run.numbers = told(done)
            self.expose(run, specimen, done * exposure_s)
            run.arrays = {
                "patterns": patterns,
                "x_A": np.asarray(x_A),
                "y_A": np.asarray(y_A),
                "angle_mrad": (np.arange(CAMERA_PIXELS) - 0.5 * (CAMERA_PIXELS - 1)) * pixel_mrad,
            }

    @STEM.spectrum.implement
    async def spectrum(
        self,
        *,
        centre_x_A: Shift_A = 0.0,
        centre_y_A: Shift_A = 0.0,
        field_A: Field_A = 20.0,
        live_s: Live_s = 10.0,
        max_dose_e_per_A2: Dose_e_per_A2 = 1e9,
    ) -> Spectrum:
        """Count characteristic X-rays while the beam scans a small square around a point."""
        return spectrum_of(
            await self.perform(
                "spectrum",
                self._spectrum,
                shift_A=(centre_x_A, centre_y_A),
                field_A=field_A,
                live_s=live_s,
                limit=max_dose_e_per_A2,
            )
        )

    @spectrum.reconcile
    async def what_was_counted(self, command: Command) -> Verdict:
        """Ask the microscope by command key."""
        return self.verdict_of(command, spectrum_of)

    @spectrum.confirm
    async def spectrum_is_plausible(self, command: Command, result: Spectrum) -> str | None:
        """Complain of a spectrum without a photon."""
        if float(result.counts.sum()) > 0:
            return None
        return f"no photon was counted ({command.key}): the beam is off, or nothing is there"

    def _spectrum(
        self,
        run: StageRun,
        *,
        shift_A: tuple[float, float],
        field_A: float,
        live_s: float,
        limit: float,
    ) -> Recipe:
        self._rest_ends()
        specimen, rng, scope = self.on_stage(), self.random("spectrum"), self._microscope()
        detector, believed = XRayDetector(), scope.electrons(live_s)
        dose = self.check_dose("spectrum", believed / field_A**2, limit)
        place_A = scope.place_A(shift_A)
        density = scope.density_per_A2(specimen.atoms, place_A, field_A)
        sent = self._sent(scope, believed)
        expected = expected_spectrum(density, sent, self.beam_keV, detector)
        counts = np.zeros(detector.channels, dtype=np.float32)
        slices, done = max(1, math.ceil(live_s / XRAY_SLICE_S)), 0

        def told(part: float) -> dict[str, float]:
            return {
                "fwhm_keV": detector.fwhm_keV,
                "electrons": believed * part,
                "live_s": live_s * part,
                "fraction_done": part,
                "dose_e_per_A2": dose * part,
            }

        self._unblank(run)
        try:
            self.note(run, told(0.0))
            for _ in range(slices):
                counts += rng.poisson(expected / slices).astype(np.float32)
                done += 1
                self.note(run, told(done / slices), live_s * done / slices)
                yield live_s / slices
        finally:
            self.state["is_blanked"] = True
            run.numbers = told(done / slices)
            self.expose(run, specimen, live_s * done / slices)
            run.arrays = {"energy_keV": detector.energies_keV(), "counts": counts}

    @readout
    async def beam_is_blanked(self) -> bool:
        """Return whether the beam is blanked."""
        return bool(self.state["is_blanked"])

    @readout
    async def stage_is_still(self) -> bool:
        """Return whether the stage stands."""
        return bool(self.state["is_still"])

    @readout
    async def defocus_A(self) -> Angstroms:
        """Return the defocus of the panel [A]."""
        return self._panel().defocus_A

    @readout
    async def stage_x_A(self) -> Angstroms:
        """Return where the stage's encoder says that it stands, along x [A]."""
        return float(self.state["stage_A"][0])

    @readout
    async def stage_y_A(self) -> Angstroms:
        """Return the same along y [A]."""
        return float(self.state["stage_A"][1])

    @readout
    async def current_nA(self) -> Nanoamperes:
        """Return the probe current that the meter reads [nA]."""
        return self._panel().current_nA

    @readout
    async def energy_keV(self) -> KiloElectronVolts:
        """Return the energy of the electrons [keV]."""
        return self.beam_keV

    @readout
    async def sample_dose_e_per_A2(self) -> ElectronsPerSquareAngstrom:
        """Return the sum of the doses that the sample on the stage has had [e/A^2]; 0 without one."""
        # `state` takes up what an earlier life has left on the stage
        return self._specimen.dose_e_per_A2 if self.state and self._specimen else 0.0

    def _panel(self) -> Panel:
        return Panel(**self.state["optics"])

    def _column(self) -> Column:
        return Column.of_json(self.state["column"])

    def _keep(self, column: Column) -> None:
        self.state["column"] = column.to_json()

    def _microscope(self) -> Microscope:
        """Return the microscope as it is now, faults included."""
        places = zip(self.state["origin_A"], self.state["stage_A"], strict=True)
        x_A, y_A = (origin + stage for origin, stage in places)
        # The sample's own: each look at it, by whichever microscope, meets the same snapshots.
        seed = 0 if self._specimen is None else seed_of(self._specimen.seed, "phonons")
        scope = Microscope(
            self._column(),
            self._panel(),
            self.beam_keV,
            (x_A, y_A),
            self.device,
            self.phonons,
            seed,
        )
        return scope.broken(self._present)

    def _view(
        self, scope: Microscope, atoms: AtomicStructure, detector: DetectorName, path: ScanPath
    ) -> View:
        """Return what the detector sees along a path."""
        limit_s = self.multislice_limit_s
        return View(scope.image_model(self.model, atoms, detector, path, limit_s), path)

    def _sent(self, scope: Microscope, believed: float) -> float:
        """Return how many electrons the beam really sends."""
        return 0.0 if self.has_fault("beam_off") else believed * scope.column.current_factor

    def age(self, seconds: float, beam_s: float = 0.0) -> None:
        """Let laboratory time pass for lens and stage, some of it with the beam on the sample."""
        column = self._column().after(seconds, self.random("age"), self.misalignment)
        self._keep(column.irradiated(beam_s * self._panel().current_nA))

    def _unblank(self, run: StageRun) -> None:
        """Open the beam for a run, which blanks it at its end."""
        run.is_touched = True
        # Before: the beam of a microscope whose computer dies is blanked.
        self._save()
        self.state["is_blanked"], self.state["resting_since_s"] = False, None

    def _rest_ends(self) -> None:
        """Give the sample the dose of a beam that has rested on it until now."""
        since, self.state["resting_since_s"] = self.state["resting_since_s"], None
        if not self.state["is_blanked"]:
            self.state["resting_since_s"] = self.clock.now_s()
        if since is None or self._specimen is None:
            return
        rested_s = max(0.0, self.clock.now_s() - since)
        scope = self._microscope()
        dose = scope.electrons(rested_s) / scope.illumination().finest_A ** 2
        self.change(replace(self._specimen, dose_e_per_A2=self._specimen.dose_e_per_A2 + dose))
