"""What tunnelling images and spectra say: terraces, islands, roughness, defects, gaps, artefacts.

Lengths come out in angstrom by the maker's calibration unless a lattice in the image corrects it
(`lattice`, `defects`). Heights of films are counted in layers, so the calibration of z does not enter.
A number stands with its standard deviation; where a deviation is large against the number an interval
of 90 % stands beside it. How often those intervals hold the truth is measured by
`docs/validation/stm_analyst.py` on images of the twin.
"""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinloop.analysts.interface import Analyst, quantity
from twinloop.analysts.stm_artefacts import find_ghost, find_twins, line_jumps_A
from twinloop.analysts.stm_drift import drift_of_check
from twinloop.analysts.stm_lattice import distortion, find_defects, fit_lattice
from twinloop.analysts.stm_levelling import as_image, flatten_lines, level_terraces
from twinloop.analysts.stm_results import (
    Artefacts,
    BoundState,
    DefectImage,
    DiracPoint,
    DriftSeen,
    FilmImage,
    Gap,
    LatticeImage,
)
from twinloop.analysts.stm_spectra import as_spectrum, fit_dirac_point, fit_edges, fit_peak
from twinloop.analysts.stm_terraces import (
    averaged,
    density_spread,
    frame_pitch_A,
    height_of_step_A,
    islands_seen,
    read_terraces,
    roughness_seen,
)
from twinloop.results import Array

__all__ = [
    "Artefacts",
    "BoundState",
    "DefectImage",
    "DiracPoint",
    "DriftSeen",
    "FilmImage",
    "Gap",
    "LatticeImage",
    "STMAnalyst",
]

NINETY = 1.645
"""Standard deviations on either side that hold 90 % of a normal distribution."""

ISLAND_FANO = 0.2
"""Variance of the number of islands in a window over its mean: nuclei keep apart, so it is far below
1; so chosen that intervals for whole films hold the truth as often as they should."""

COVERAGE_EDGE_A = 1.5
"""By how much a step's place in an image is uncertain, all steps alike [A]."""

SLOW_AXIS_SHARE = 1.1
"""Deviation of a place across lines over that along them, noise and calibration aside [1]."""

LATTICE_CONTRAST = 3.0
"""Contrast of the weakest wave from which an image shows a lattice; noise alone reaches 2.5 [1]."""

GHOST_SLOPE = 0.2
"""Loneliness of a second image that one more deviation of strength makes up for [1]."""

LIFTING, TOUCHING = 2.0, 0.1
"""Over its limit, how much a loop rings that lifts a tip from the surface, and the share of samples at
the preamplifier's limit that a touch alone does not explain [1]."""

TERRACED = 0.25
"""Concentration from which an image shows terraces [1]."""


class STMAnalyst(Analyst, name="stm"):
    """Reads topographs and tunnelling spectra.

    Args:
        step_A: height of a layer of the film [A]; GaAs(001): 2.8267.
        spacing_A: lattice constant of the sheet [A]; graphene: 2.4595 (bonds of 1.42 A).
        calibration_sd: relative uncertainty of the scanner's own calibration [1].
        place_sd_A: of a defect's place beside noise: creep and the figure's own lean [A].
        defect_sigmas: by how many deviations a defect stands out.
        defect_least_A: and by how many angstrom [A].
        ghost_loneliness: from which no second image is one [1].
        ghost_sigmas: strength up to which none is; above it the loneliness that is allowed rises by
            `GHOST_SLOPE` for each deviation.
        ringing_limit: fast error of the loop from which it oscillates [1].
        jump_limit_A: between two lines, from which the tip has touched if the current saturated [A].
        saturated_share: of samples at the preamplifier's limit that is too much [1].

    Example:
        >>> import numpy as np
        >>> x = np.arange(64) * 2.0
        >>> z = 2.8267 * ((x[None, :] % 64.0) > 31.0) + 0.02 * x[None, :] + 0.0 * x[:, None]
        >>> seen = STMAnalyst().compute("film", z_forward_A=z, z_backward_A=z, x_A=x, y_A=x)
        >>> round(seen.roughness_ML, 1), seen.is_terraced
        (0.5, True)
    """

    step_A: float = Field(default=2.8267, gt=0)
    spacing_A: float = Field(default=2.4595, gt=0)
    calibration_sd: float = Field(default=0.02, gt=0)
    place_sd_A: float = Field(default=0.06, gt=0)
    defect_sigmas: float = Field(default=6.0, gt=0)
    defect_least_A: float = Field(default=0.12, gt=0)
    ghost_loneliness: float = Field(default=0.5, gt=0)
    ghost_sigmas: float = Field(default=1.0, gt=0)
    ringing_limit: float = Field(default=0.3, gt=0)
    jump_limit_A: float = Field(default=3.0, gt=0)
    saturated_share: float = Field(default=0.002, gt=0)

    @quantity
    def film(
        self,
        *,
        z_forward_A: Array,
        z_backward_A: Array,
        x_A: Array,
        y_A: Array,
        film_area_A2: float = math.inf,
    ) -> FilmImage:
        """Return what one image says of a film.

        Args:
            z_forward_A: shape (lines, pixels) [A].
            z_backward_A: the same shape, in the same order of x [A].
            x_A: of the pixels [A].
            y_A: of the lines [A].
            film_area_A2: area of the film of which this is a part [A^2].
        """
        terraces = read_terraces(z_forward_A, z_backward_A, x_A, y_A, self.step_A)
        rough_ML, rough_sd_ML = roughness_seen(terraces)
        away2 = (terraces.levels - terraces.levels.mean()) ** 2.0
        seen_ML = max(terraces.roughness_ML, 0.05)
        spread = density_spread(terraces, away2, film_area_A2) / (2.0 * seen_ML)
        spread_ML = spread * max(rough_ML / seen_ML, 1.0)
        log_n, log_sd, counted = islands_seen(terraces)
        lines, pixels = terraces.levels.shape
        # the first line and column are the border of the counting frame
        area_nm2 = terraces.area_A2 / 100.0 * (1.0 - 1.0 / lines) * (1.0 - 1.0 / pixels)
        # areas scale with both axes' calibration
        own_sd = math.hypot(log_sd, 2.0**0.5 * self.calibration_sd)
        part = min(terraces.area_A2 / film_area_A2, 1.0) if film_area_A2 > 0 else 0.0
        count = math.expm1(log_n)
        sampling = math.sqrt(ISLAND_FANO * (1.0 - part) / max(count, 0.5))
        whole_sd = math.hypot(own_sd, sampling)
        layers, layer_sds = self._coverages(terraces.levels, terraces.pitch_A)
        height_A, height_sd_A = height_of_step_A(terraces)
        return FilmImage(
            roughness_ML=rough_ML,
            roughness_sd_ML=rough_sd_ML,
            roughness_A=rough_ML * self.step_A,
            roughness_sd_A=rough_sd_ML * self.step_A,
            film_roughness_sd_ML=math.hypot(rough_sd_ML, spread_ML),
            islands_per_nm2=count / area_nm2,
            islands_sd_per_nm2=(count + 1.0) * own_sd / area_nm2,
            islands_low_per_nm2=max(math.expm1(log_n - NINETY * own_sd), 0.0) / area_nm2,
            islands_high_per_nm2=math.expm1(log_n + NINETY * own_sd) / area_nm2,
            film_islands_low_per_nm2=max(math.expm1(log_n - NINETY * whole_sd), 0.0) / area_nm2,
            film_islands_high_per_nm2=math.expm1(log_n + NINETY * whole_sd) / area_nm2,
            islands_counted=counted,
            coverage_by_layer=layers,
            coverage_sd_by_layer=layer_sds,
            steps_per_A=terraces.steps_per_A,
            steps_sd_per_A=0.2 * terraces.steps_per_A,
            step_height_A=height_A,
            step_height_sd_A=height_sd_A,
            concentration=terraces.levelled.concentration,
            noise_A=terraces.noise_A,
            is_terraced=terraces.levelled.concentration >= TERRACED,
        )

    @quantity
    def lattice(
        self, *, z_forward_A: Array, z_backward_A: Array, x_A: Array, y_A: Array
    ) -> LatticeImage:
        """Return the lattice of an atomically resolved image.

        Args:
            z_forward_A: shape (lines, pixels) [A].
            z_backward_A: the same shape [A].
            x_A: of the pixels [A].
            y_A: of the lines [A].
        """
        z, pitch_A = self._flat(z_forward_A, z_backward_A, x_A, y_A)
        fit = fit_lattice(z, pitch_A, self.spacing_A)
        if fit.contrast < LATTICE_CONTRAST:
            return LatticeImage(
                spacing_A=self.spacing_A,
                spacing_sd_A=self.spacing_A * 0.15,
                x_scale=1.0,
                y_scale=1.0,
                scale_sd=self.calibration_sd,
                shear=0.0,
                angle_deg=0.0,
                contrast=fit.contrast,
                is_lattice=False,
            )
        matrix, angle_deg = distortion(fit, self.spacing_A)
        scale_sd = self._scale_sd(z.shape, pitch_A)
        return LatticeImage(
            spacing_A=self.spacing_A / math.sqrt(float(matrix[0, 0] * matrix[1, 1])),
            spacing_sd_A=self.spacing_A * scale_sd,
            x_scale=float(matrix[0, 0]),
            y_scale=float(matrix[1, 1]),
            scale_sd=scale_sd,
            shear=float(matrix[0, 1]),
            angle_deg=angle_deg,
            contrast=fit.contrast,
            is_lattice=True,
        )

    @quantity
    def defects(
        self, *, z_forward_A: Array, z_backward_A: Array, x_A: Array, y_A: Array
    ) -> DefectImage:
        """Return vacancies and dopants of an atomically resolved image.

        Args:
            z_forward_A: shape (lines, pixels) [A].
            z_backward_A: the same shape [A].
            x_A: of the pixels [A].
            y_A: of the lines [A].
        """
        z, pitch_A = self._flat(z_forward_A, z_backward_A, x_A, y_A)
        fit = fit_lattice(z, pitch_A, self.spacing_A)
        found = find_defects(
            z, pitch_A, fit, sigmas=self.defect_sigmas, least_A=self.defect_least_A
        )
        matrix = np.eye(2)
        is_calibrated = False
        if fit.contrast >= LATTICE_CONTRAST:
            wanted, _ = distortion(fit, self.spacing_A)
            is_calibrated = bool(np.abs(wanted - np.eye(2)).max() < 5.0 * self.calibration_sd)
            matrix = wanted if is_calibrated else matrix
        scale_sd = self._scale_sd(z.shape, pitch_A) if is_calibrated else self.calibration_sd
        places = found.places_A @ matrix.T
        far = np.abs(places).sum(axis=1, keepdims=True)
        # along the fast axis lag and hysteresis come to it
        own_sd = self.place_sd_A * np.array([[1.0, SLOW_AXIS_SHARE]])
        spread = np.hypot(own_sd, scale_sd * far)
        area_nm2 = z.size * pitch_A[0] * pitch_A[1] / 100.0
        count = len(places)
        half_A = 0.5 * np.array([z.shape[1] * pitch_A[1], z.shape[0] * pitch_A[0]])
        twins = find_twins(places, half_A)
        return DefectImage(
            places_A=places,
            places_sd_A=spread,
            heights_A=found.heights_A,
            per_nm2=count / area_nm2,
            per_nm2_sd=math.sqrt(max(count, 1)) / area_nm2,
            threshold_A=found.threshold_A,
            scatter_A=found.scatter_A,
            is_calibrated=is_calibrated,
            twins=twins.pairs,
            twin_x_A=twins.x_A,
            twin_y_A=twins.y_A,
            is_double_tip=twins.is_double_tip,
        )

    @quantity
    def drift(
        self,
        *,
        z_forward_A: Array,
        check_z_A: Array,
        x_A: Array,
        y_A: Array,
        line_start_s: Array,
        check_line: int,
        check_start_s: float,
    ) -> DriftSeen:
        """Return the drift, from the line that was scanned once more at the end of the frame.

        Args:
            z_forward_A: shape (lines, pixels) [A].
            check_z_A: the line again, shape (pixels,) [A].
            x_A: of the pixels [A].
            y_A: of the lines [A].
            line_start_s: of each line, shape (lines,) [s].
            check_line: which line it is.
            check_start_s: when it was scanned again [s].
        """
        z = as_image("z_forward_A", z_forward_A)
        pitch_A = frame_pitch_A(x_A, y_A, z.shape)
        is_down = float(np.asarray(y_A)[-1]) < float(np.asarray(y_A)[0])
        found = drift_of_check(z, np.asarray(check_z_A, np.float64), int(check_line))
        passed_s = check_start_s - float(np.asarray(line_start_s)[int(check_line)])
        if found is None or passed_s <= 0.0:
            return DriftSeen(
                x_A_per_s=0.0, y_A_per_s=0.0, sd_A_per_s=1.0, likeness=0.0, is_seen=False
            )
        columns, rows, likeness, spread = found
        y_A_moved = rows * pitch_A[0] * (-1.0 if is_down else 1.0)
        sd_A = math.hypot(0.6 * max(pitch_A), spread * pitch_A[0])
        return DriftSeen(
            x_A_per_s=columns * pitch_A[1] / passed_s,
            y_A_per_s=y_A_moved / passed_s,
            sd_A_per_s=sd_A / passed_s,
            likeness=likeness,
            is_seen=likeness > 0.8,
        )

    @quantity
    def gap(self, *, bias_V: Array, dIdV_nS: Array) -> Gap:
        """Return the gap of a spectrum.

        Args:
            bias_V: shape (n,) [V].
            dIdV_nS: shape (n,) [nS].
        """
        valence, conduction = fit_edges(*as_spectrum(bias_V, dIdV_nS))
        return Gap(
            valence_V=valence.place_V,
            valence_sd_V=valence.place_sd_V,
            conduction_V=conduction.place_V,
            conduction_sd_V=conduction.place_sd_V,
            gap_V=conduction.place_V - valence.place_V,
            gap_sd_V=math.hypot(conduction.place_sd_V, valence.place_sd_V),
            is_sure=valence.is_sure and conduction.is_sure,
        )

    @quantity
    def dirac_point(self, *, bias_V: Array, dIdV_nS: Array) -> DiracPoint:
        """Return the Dirac point of a spectrum over undisturbed graphene.

        Args:
            bias_V: shape (n,) [V].
            dIdV_nS: shape (n,) [nS].
        """
        found = fit_dirac_point(*as_spectrum(bias_V, dIdV_nS))
        return DiracPoint(dirac_V=found.place_V, dirac_sd_V=found.place_sd_V, is_sure=found.is_sure)

    @quantity
    def bound_state(
        self, *, bias_V: Array, dIdV_nS: Array, near_V: float = 0.0, reach_V: float = 0.3
    ) -> BoundState:
        """Return a bound state, such as the zero mode of a vacancy.

        Args:
            bias_V: shape (n,) [V].
            dIdV_nS: shape (n,) [nS].
            near_V: where it is expected [V].
            reach_V: and how far from there [V].
        """
        found = fit_peak(*as_spectrum(bias_V, dIdV_nS), near_V, reach_V)
        return BoundState(
            place_V=found.place_V,
            place_sd_V=found.place_sd_V,
            width_V=found.width_V,
            height_nS=found.height,
            height_sd_nS=found.height_sd,
            is_sure=found.is_sure,
        )

    @quantity
    def artefacts(
        self,
        *,
        z_forward_A: Array,
        z_backward_A: Array,
        x_A: Array,
        y_A: Array,
        ringing: float = 0.0,
        saturations: int = 0,
    ) -> Artefacts:
        """Return what speaks against an image of a film.

        Args:
            z_forward_A: shape (lines, pixels) [A].
            z_backward_A: the same shape [A].
            x_A: of the pixels [A].
            y_A: of the lines [A].
            ringing: fast error of the loop, as the scan says [1].
            saturations: samples at the preamplifier's limit, as the scan says.
        """
        forward = as_image("z_forward_A", z_forward_A)
        backward = as_image("z_backward_A", z_backward_A)
        pitch_A = frame_pitch_A(x_A, y_A, forward.shape)
        jumps = line_jumps_A(forward)
        largest_A = float(np.abs(jumps).max())
        z, _, _ = averaged(forward, backward)
        ghost = find_ghost(level_terraces(z, self.step_A).u, pitch_A)
        share = saturations / (2.0 * forward.size)
        # One cause, one verdict: a ringing loop jumps, a touching tip saturates for a line or two and
        # lets the loop ring while it lifts.
        is_crashed = (
            largest_A > self.jump_limit_A
            and saturations > 0
            and ringing < LIFTING * self.ringing_limit
        )
        is_oscillating = ringing > self.ringing_limit and not is_crashed
        is_saturated = not is_oscillating and share > (
            TOUCHING if is_crashed else self.saturated_share
        )
        return Artefacts(
            ghost_x_A=ghost.x_A,
            ghost_y_A=ghost.y_A,
            ghost_loneliness=ghost.loneliness,
            ghost_strength=ghost.strength,
            largest_jump_A=largest_A,
            is_double_tip=(
                ghost.loneliness < self.ghost_loneliness
                and ghost.loneliness < GHOST_SLOPE * (ghost.strength - self.ghost_sigmas)
                and not (is_oscillating or is_crashed or is_saturated)
            ),
            is_oscillating=is_oscillating,
            is_crashed=is_crashed,
            is_saturated=is_saturated,
        )

    def _flat(
        self, z_forward_A: Array, z_backward_A: Array, x_A: Array, y_A: Array
    ) -> tuple[NDArray[np.float64], tuple[float, float]]:
        """Return the mean of both directions, level, lines upwards, and its pitch."""
        forward = as_image("z_forward_A", z_forward_A)
        pitch_A = frame_pitch_A(x_A, y_A, forward.shape)
        z, _, _ = averaged(
            flatten_lines(forward), flatten_lines(as_image("z_backward_A", z_backward_A))
        )
        is_down = float(np.asarray(y_A)[-1]) < float(np.asarray(y_A)[0])
        return (z[::-1] if is_down else z), pitch_A

    def _scale_sd(self, shape: tuple[int, ...], pitch_A: tuple[float, float]) -> float:
        """Return the relative deviation of a scale that a lattice gave: a share of one period."""
        side_A = min(shape[0] * pitch_A[0], shape[1] * pitch_A[1])
        return 0.05 * self.spacing_A / side_A

    @staticmethod
    def _coverages(levels: NDArray[np.int64], pitch_A: tuple[float, float]) -> tuple[Array, Array]:
        """Return the share of the area at each layer or higher, and its deviation."""
        highest = max(int(levels.max()), 1)
        is_up = levels[None] >= np.arange(1, highest + 1)[:, None, None]
        shares = is_up.mean(axis=(1, 2))
        across = np.abs(np.diff(is_up.astype(np.int8), axis=1)).mean(axis=(1, 2)) / pitch_A[0]
        along = np.abs(np.diff(is_up.astype(np.int8), axis=2)).mean(axis=(1, 2)) / pitch_A[1]
        return shares, COVERAGE_EDGE_A * (across + along) * np.pi / 4.0 + 1e-3
