"""What an X-ray scan says: thickness, spacing and roughness of a film; the lattice of a powder.

The film is told from the whole shape of a theta-2theta scan about the substrate's (002) or (004)
peak, by the likelihood of its counts under `rod_model`. The spacing of the Laue fringes gives the
thickness, their place the layer spacing, their decay the roughness. A scan may be explained by
several thicknesses, a fringe apart: each of the best explanations is fitted, and the answer is their
mean and spread, weighted by how probable they are.

How wide an interval must be was judged on simulated films whose truth is known (tests/analysts).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinloop.analysts.interface import Analyst, quantity
from twinloop.analysts.poisson_fit import PoissonFit, deviance, fit_poisson
from twinloop.analysts.powder_peaks import find_peaks, fit_cubic
from twinloop.analysts.rod_model import (
    SPACING_A,
    FilmShape,
    RodModel,
    coherent_spacing_A,
    layer_parts,
    momentum_per_A,
)
from twinloop.errors import ArgumentError
from twinloop.results import Array, Result

__all__ = ["CubicLattice", "FilmScan", "RockingCurve", "XRDAnalyst"]

STARTS, MODES = 3, 4
"""Explanations that are tried for each composition of the grid, and that are fitted in full."""

TRIAL_STEPS = 4

GRID_ML = np.arange(1.0, 61.0)
GRID_ALUMINIUM = (0.1, 0.25, 0.5, 0.9)
START_BLUR_ML, START_MIXING_ML = 0.6, 0.4

CALIBRATION = np.array([1.0, 1.0, 0.9, 1.1, 1.0])
"""Factors on the deviations of thickness [ML], [A], spacing, aluminium share and roughness, so that
90 % intervals hold 90 % of truths: found on `simulators.xrd.film_trials` 0 to 239, judged on others
(a posterior is not quite normal, and more than the best fits explain a scan)."""

SAME = 0.35
"""Difference in thickness [ML], log blur and log mixing below which two fits are one."""

UNSEEN, UNSEEN_LOGIT, UNSEEN_LOGIT_SD = 0.05, -12.0, 0.01
"""Probability, beforehand, that a film is of the substrate's own material, which does not show; and
the logit of its aluminium share."""

MIN_POINTS = 20
LEAST_READY = 0.1
"""Part of the counting time for which a counter must have been ready: below it nearly every photon was
missed, and what is left tells more of the counter than of the film [1]."""

MASK_SD = 7.0
"""Half width of the part around a substrate peak that is left out, in resolutions [1]."""


class FilmScan(Result):
    """What a theta-2theta scan says of a film of (Al,Ga)As on GaAs(001).

    Args:
        thickness_ML, thickness_sd_ML: amount of material [ML].
        thickness_A, thickness_sd_A: the same as a length [A].
        spacing_A, spacing_sd_A: of the film's cation layers, along the normal [A].
        strain, strain_sd: of that spacing against the substrate's [1].
        aluminium, aluminium_sd: share of the cation sites [1].
        roughness_ML, roughness_sd_ML: root mean square of the heights [ML].
        zero_deg: what the scale of the angles shows too much, from the substrate's peak [deg].
        misfit: chi squared for each degree of freedom; far above 1, the model does not hold [1].
        saturated: how many points were left out because the counter was hardly ever ready there.
    """

    thickness_ML: float
    thickness_sd_ML: float
    thickness_A: float
    thickness_sd_A: float
    spacing_A: float
    spacing_sd_A: float
    strain: float
    strain_sd: float
    aluminium: float
    aluminium_sd: float
    roughness_ML: float
    roughness_sd_ML: float
    zero_deg: float
    misfit: float
    saturated: int = 0


class CubicLattice(Result):
    """What a powder pattern says of a cubic crystal.

    Args:
        a_A, a_sd_A: lattice constant [A].
        zero_deg: what the scale of the angles shows too much [deg].
        lattice: "primitive", "body-centred", "face-centred", "diamond"; "" if none fits, and then
            the deviation is as large as the constant.
        peaks: how many lines it explains.
    """

    a_A: float
    a_sd_A: float
    zero_deg: float
    lattice: str
    peaks: int


class RockingCurve(Result):
    """Where a rocking curve has its maximum.

    Args:
        centre_deg, centre_sd_deg: of the rocking angle [deg].
        width_deg: full width at half maximum [deg].
        peak_counts: above the background [counts].
    """

    centre_deg: float
    centre_sd_deg: float
    width_deg: float
    peak_counts: float


class XRDAnalyst(Analyst, name="xrd"):
    """Reads theta-2theta scans of films, and powder patterns.

    Args:
        wavelength_A: of the beam [A].
        resolution_per_A: standard deviation of the momentum transfer [1/A].
        dead_time_s: of a detector (nonparalysable) that does not tell its live time [s].
        spacing_sd: how far a film's layer spacing may be from that of a coherent film, relative [1].
        thickness_mean_ML: what a film is expected to have [ML].
        thickness_sd_ML: how uncertain that is [ML].
        ka2_ratio: intensity of K alpha 2 over that of K alpha 1, in powder patterns [1].

    Example:
        >>> angles = np.arange(26.0, 38.0, 0.1)
        >>> film = FilmShape(20.0, 0.5, 0.3, 1.0, coherent_spacing_A(1.0))
        >>> counts = np.rint(RodModel(angles, 1.540593, 0.0015).intensity(film) + 20.0)
        >>> found = XRDAnalyst().compute("film", two_theta_deg=angles, counts=counts)
        >>> abs(found.thickness_ML - 20.0) < 2 * found.thickness_sd_ML < 1.0
        True
    """

    wavelength_A: float = Field(default=1.540593, gt=0)
    resolution_per_A: float = Field(default=0.0015, gt=0)
    dead_time_s: float = Field(default=0.0, ge=0)
    spacing_sd: float = Field(default=0.0015, gt=0)
    thickness_mean_ML: float = Field(default=20.0, gt=0)
    thickness_sd_ML: float = Field(default=20.0, gt=0)
    ka2_ratio: float = Field(default=0.0, ge=0)

    @quantity
    def film(
        self,
        *,
        two_theta_deg: Array,
        counts: Array,
        count_s: float = 1.0,
        live_s: Array | None = None,
    ) -> FilmScan:
        """Return thickness, spacing, composition and roughness of a film.

        Args:
            two_theta_deg: rising, shape (n,), n >= 20 [deg]; a substrate peak should be inside.
            counts: shape (n,) [counts].
            count_s: counting time of a point [s]; needed for the dead time only.
            live_s: part of it in which the counter was ready, shape (n,) [s]; the counts that a
                nonparalysable counter gets in its live time are Poisson's in their likelihood, however
                loaded it was. None: `dead_time_s` must do.

        Raises:
            ArgumentError: a live time outside 0 to `count_s`, or a scan of saturated points only.
        """
        scan = _Scan(two_theta_deg, counts, count_s, self, live_s)
        tried = sorted(
            (scan.fit(start, TRIAL_STEPS) for start in scan.starts()), key=lambda fit: fit.cost
        )
        fits = [scan.fit(fit.values) for fit in tried[:MODES]]
        likely = min(fits, key=lambda fit: fit.cost)
        fits.append(scan.fit(_mirrored(likely.values)))
        return scan.summary(fits, scan.fit_unseen(likely.values))

    @quantity
    def cubic_lattice(self, *, two_theta_deg: Array, counts: Array) -> CubicLattice:
        """Return the lattice constant of a cubic powder.

        Args:
            two_theta_deg: rising, shape (n,) [deg].
            counts: shape (n,) [counts].
        """
        angles, seen = _checked(two_theta_deg, counts)
        peaks = find_peaks(angles, seen, ka2_ratio=self.ka2_ratio)
        found = fit_cubic(peaks, self.wavelength_A, (float(angles[0]), float(angles[-1])))
        if not found.lattice:
            return CubicLattice(a_A=5.0, a_sd_A=5.0, zero_deg=0.0, lattice="", peaks=len(peaks))
        return CubicLattice(
            a_A=found.a_A,
            a_sd_A=found.a_sd_A,
            zero_deg=found.zero_deg,
            lattice=found.lattice,
            peaks=found.peaks,
        )

    @quantity
    def rocking_curve(self, *, omega_deg: Array, counts: Array) -> RockingCurve:
        """Return centre and width of a rocking curve; a flat one has a deviation as wide as it is.

        Args:
            omega_deg: rising, shape (n,), n >= 20 [deg].
            counts: shape (n,) [counts].
        """
        angles, seen = _checked(omega_deg, counts)
        clear = np.maximum(seen - np.percentile(seen, 20), 0.0)
        # what stands above half of the maximum carries the place; the feet carry only noise
        clear = np.where(clear > 0.3 * clear.max(), clear, 0.0)
        total, span = float(clear.sum()), float(angles[-1] - angles[0])
        if clear.max() < 5.0 * math.sqrt(max(float(np.median(seen)), 1.0)):
            middle = 0.5 * float(angles[0] + angles[-1])
            return RockingCurve(
                centre_deg=middle, centre_sd_deg=span, width_deg=span, peak_counts=0.0
            )
        centre = float(clear @ angles) / total
        spread = math.sqrt(float(clear @ (angles - centre) ** 2) / total)
        step = float(np.median(np.diff(angles)))
        wide = float(np.count_nonzero(clear > 0.5 * clear.max()))
        return RockingCurve(
            centre_deg=centre,
            centre_sd_deg=math.hypot(spread / math.sqrt(total), 0.3 * step),
            width_deg=wide * step,
            peak_counts=float(clear.max()),
        )


def _checked(angles_deg: Array, counts: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return angles and counts as float64.

    Raises:
        ArgumentError: shapes that do not fit, fewer than 20 points, angles that do not rise, or
            negative counts.
    """
    angles, seen = np.asarray(angles_deg, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if angles.ndim != 1 or angles.shape != seen.shape or angles.size < 20:
        found = (angles.shape, seen.shape)
        raise ArgumentError("scan", found, "equal shapes (n,), 20 points or more")
    if not (bool((np.diff(angles) > 0).all()) and bool((seen >= 0).all())):
        raise ArgumentError("scan", "angles or counts", "rising angles, counts >= 0")
    return angles, seen


def _ready(live_s: Array | None, count_s: float, size: int) -> NDArray[np.float64]:
    """Return for which part of the counting time the counter was ready, shape (n,) [1].

    Raises:
        ArgumentError: another shape, or a time outside 0 to `count_s`.
    """
    if live_s is None:
        return np.ones(size)
    ready: NDArray[np.float64] = np.asarray(live_s, dtype=np.float64) / count_s
    if ready.shape != (size,) or not bool(((ready >= 0) & (ready <= 1 + 1e-9)).all()):
        raise ArgumentError("live_s", live_s, f"{size} times of 0 to {count_s:g} s")
    return ready


class _Known(NamedTuple):
    """A parameter's place, and what is known of it beforehand."""

    mean: float
    sd: float


class _Scan:
    """One scan, and the fits of its film.

    Parameters are: log scale, log background, thickness [ML], log blur [ML], log mixing [ML], logit
    of the aluminium share, relative deviation of the spacing, zero [deg].
    """

    def __init__(
        self,
        two_theta_deg: Array,
        counts: Array,
        count_s: float,
        settings: XRDAnalyst,
        live_s: Array | None = None,
    ) -> None:
        angles, seen = _checked(two_theta_deg, counts)
        ready = _ready(live_s, count_s, seen.size)
        self._dead = settings.dead_time_s / count_s if live_s is None else 0.0
        true = seen / np.maximum(ready - np.clip(seen * self._dead, 0.0, 0.9), 1e-6)
        q = momentum_per_A(angles, settings.wavelength_A)
        order = np.rint(q * SPACING_A / (2.0 * np.pi))
        away = np.abs(q - 2.0 * np.pi * order / SPACING_A)
        is_peak = (away < MASK_SD * settings.resolution_per_A) & (order > 0)
        self.zero = _zero(angles[is_peak], true[is_peak], settings.wavelength_A)
        is_blind = ready < LEAST_READY
        self.saturated = int(np.count_nonzero(is_blind & ~is_peak))
        self._keep = ~is_peak & ~is_blind
        if np.count_nonzero(self._keep) < MIN_POINTS:
            found = f"{self.saturated} of {seen.size} points saturated"
            raise ArgumentError("scan", found, f"{MIN_POINTS} points beside peaks that are not")
        self._ready = ready[self._keep]
        self._counts, self._true = seen[self._keep], true[self._keep]
        away_deg = angles[self._keep]
        self._model = RodModel(away_deg, settings.wavelength_A, settings.resolution_per_A)
        self._sharp = RodModel(away_deg, settings.wavelength_A, 0.0)
        self._settings = settings
        self._scale = 1.0

    def starts(self) -> list[NDArray[np.float64]]:
        """Return first parameters of the best explanations on a coarse grid."""
        found = []
        for thickness_ML in GRID_ML.tolist():
            for aluminium in GRID_ALUMINIUM:
                spacing_A = coherent_spacing_A(aluminium)
                film = FilmShape(thickness_ML, START_BLUR_ML, START_MIXING_ML, aluminium, spacing_A)
                shape = self._sharp.intensity(film, self.zero.mean)
                scale, floor = _linear(self._true, shape)
                cost = deviance(self._true, scale * shape + floor)
                found.append((cost, thickness_ML, aluminium, scale, floor))
        found.sort()
        chosen: list[tuple[float, float, float, float, float]] = []
        for one in found:
            rivals = [other for other in chosen if other[2] == one[2]]
            if len(rivals) < STARTS and all(abs(one[1] - other[1]) > 1.5 for other in rivals):
                chosen.append(one)
        self._scale, self._floor = chosen[0][3], chosen[0][4]
        return [
            np.array(
                [
                    math.log(scale / self._scale), math.log(floor / self._floor), thickness_ML,
                    math.log(START_BLUR_ML), math.log(START_MIXING_ML),
                    math.log(aluminium / (1.0 - aluminium)), 0.0, self.zero.mean,
                ]
            )
            for _, thickness_ML, aluminium, scale, floor in chosen
        ]  # fmt: skip

    def fit(self, start: NDArray[np.float64], steps: int = 30) -> PoissonFit:
        """Return the most probable film near a start, after so many steps at most."""
        means, sds = self._known()
        return fit_poisson(self._expected, self._counts, start, means, sds, steps=steps)

    def fit_unseen(self, values: NDArray[np.float64]) -> PoissonFit:
        """Return a film without contrast: a scan like a bare substrate's may be any amount of it."""
        start = values.copy()
        start[2], start[5], start[6] = self._settings.thickness_mean_ML, UNSEEN_LOGIT, 0.0
        means, sds = self._known(is_unseen=True)
        return fit_poisson(self._expected, self._counts, start, means, sds)

    def _known(self, *, is_unseen: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means and deviations of the parameters beforehand."""
        known = [
            _Known(0.0, 3.0),
            _Known(0.0, 3.0),
            _Known(self._settings.thickness_mean_ML, self._settings.thickness_sd_ML),
            _Known(math.log(0.5), 1.2),
            _Known(math.log(0.35), 1.2),
            _Known(UNSEEN_LOGIT, UNSEEN_LOGIT_SD) if is_unseen else _Known(0.0, 1.8),
            _Known(0.0, self._settings.spacing_sd),
            self.zero,
        ]
        means, sds = np.array(known).T
        return means, sds

    def _expected(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        scale, floor = self._scale * _exp(values[0]), self._floor * _exp(values[1])
        shape = self._model.intensity(_film(values), float(values[7]))
        true = scale * shape + floor
        return self._ready * true / (1.0 + true * self._dead)

    def summary(self, seen: Sequence[PoissonFit], unseen: PoissonFit) -> FilmScan:
        """Return means and deviations over all fits, weighted by their probability."""
        ranked = sorted(seen, key=lambda fit: fit.cost)
        best = ranked[0]
        fits = [fit for k, fit in enumerate(ranked) if not any(_same(fit, o) for o in ranked[:k])]
        fits.append(unseen)
        logs = [0.5 * (np.linalg.slogdet(fit.covariance)[1] - fit.cost) for fit in fits]
        logs[-1] += math.log(UNSEEN * self._known()[1][5] / UNSEEN_LOGIT_SD)
        weights = np.exp(np.array(logs) - max(logs))
        weights /= weights.sum()
        told = [_told(fit) for fit in fits]
        values = np.array([value for value, _ in told])
        inside = np.array([sd for _, sd in told]) ** 2 * max(best.misfit, 1.0)
        mean = weights @ values
        sd = CALIBRATION * np.sqrt(weights @ (inside + (values - mean) ** 2))
        names = ("thickness_ML", "thickness_A", "spacing_A", "aluminium", "roughness_ML")
        numbers = dict(zip(names, mean.tolist(), strict=True))
        for name, one in zip(names, sd.tolist(), strict=True):
            stem, _, unit = name.rpartition("_")
            numbers[f"{stem}_sd_{unit}" if stem else f"{name}_sd"] = one
        return FilmScan(
            **numbers,
            strain=numbers["spacing_A"] / SPACING_A - 1.0,
            strain_sd=numbers["spacing_sd_A"] / SPACING_A,
            zero_deg=float(best.values[7]),
            misfit=best.misfit,
            saturated=self.saturated,
        )


def _same(one: PoissonFit, other: PoissonFit) -> bool:
    """Return whether two fits ended in one place: thickness [ML], log blur and mixing alike."""
    apart = np.abs(np.abs(one.values[2:5]) - np.abs(other.values[2:5]))
    return bool((apart < SAME).all())


def _mirrored(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the film upside down: a rough top for a mixed interface, which looks much the same."""
    turned = values.copy()
    turned[3], turned[4] = values[4], values[3]
    return turned


def _film(values: NDArray[np.float64]) -> FilmShape:
    aluminium = 1.0 / (1.0 + _exp(-values[5]))
    return FilmShape(
        thickness_ML=min(abs(float(values[2])), 200.0),
        blur_ML=min(_exp(values[3]), 8.0),
        mixing_ML=min(_exp(values[4]), 8.0),
        aluminium=aluminium,
        spacing_A=coherent_spacing_A(aluminium) * (1.0 + float(values[6])),
    )


def _told(fit: PoissonFit) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return thickness [ML], [A], spacing [A], share, roughness [ML]; and their deviations."""

    def tell(values: NDArray[np.float64]) -> NDArray[np.float64]:
        film = _film(values)
        parts = layer_parts(film.thickness_ML, film.blur_ML)
        steps = np.arange(1, parts.size + 1)
        variance = float(np.sum((2 * steps - 1) * parts)) - film.thickness_ML**2
        length_A = film.thickness_ML * film.spacing_A
        roughness = math.sqrt(max(variance, 1e-12))
        return np.array([film.thickness_ML, length_A, film.spacing_A, film.aluminium, roughness])

    here = tell(fit.values)
    steps = 1e-4 * np.sqrt(np.diag(fit.covariance))
    slopes = np.column_stack(
        [
            (tell(fit.values + step) - here) / step.max()
            for step in np.diag(np.maximum(steps, 1e-12))
        ]
    )
    return here, np.sqrt(np.diag(slopes @ fit.covariance @ slopes.T))


def _zero(angles: NDArray[np.float64], counts: NDArray[np.float64], wavelength_A: float) -> _Known:
    """Return where the substrate's peaks are minus where they should be [deg]."""
    if angles.size < 3:
        return _Known(0.0, 0.03)
    clear = np.maximum(counts - np.median(counts), 0.0)
    total = float(clear.sum())
    if total < 50:
        return _Known(0.0, 0.03)
    q = momentum_per_A(angles, wavelength_A)
    order = np.rint(q * SPACING_A / (2.0 * np.pi))
    sine = order * wavelength_A / (2.0 * SPACING_A)
    off = angles - 2.0 * np.degrees(np.arcsin(sine))
    mean = float(clear @ off) / total
    spread = math.sqrt(float(clear @ (off - mean) ** 2) / total)
    # a step of the scan, not the counts alone, says how well a narrow peak is placed
    step = float(np.median(np.diff(angles)))
    return _Known(mean, math.hypot(spread / math.sqrt(total), 0.1 * step))


def _linear(counts: NDArray[np.float64], shape: NDArray[np.float64]) -> tuple[float, float]:
    """Return scale and background, both positive, that fit best (weighted least squares)."""
    weight = 1.0 / np.maximum(counts, 1.0)
    basis = np.column_stack([shape, np.ones_like(shape)])
    normal = basis.T @ (weight[:, None] * basis)
    found = np.linalg.lstsq(normal, basis.T @ (weight * counts), rcond=None)[0]
    top = max(float(counts.sum()), 1.0)
    scale = max(float(found[0]), 1e-3 * top / float(shape.sum()))
    return scale, max(float(found[1]), 1e-3 * top / shape.size)


def _exp(value: float) -> float:
    return math.exp(min(max(float(value), -30.0), 30.0))
