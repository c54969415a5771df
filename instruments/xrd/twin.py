"""The twin of a diffractometer: kinematic diffraction of the sample on its stage.

Hidden are the zero error of the detector's scale, the tilt of each mounted sample, how far the tube
has aged, and the dead time. A film reflects like the crystal below it, so that its rocking curve is
as narrow as the beam is parallel; a powder does not mind a tilt.

Source: nonparalysable dead time: Knoll, Radiation Detection and Measurement, 4th ed. (Wiley, 2010),
section 4.VII, m = n / (1 + n tau), and that counts then scatter less than Poisson's; control
reflections: Giacovazzo et al., Fundamentals of Crystallography, 3rd ed. (Oxford, 2011), chapter 5.
"""

import math
from collections.abc import Callable, Generator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinloop.errors import ArgumentError
from twinloop.ids import seed_of
from twinloop.instruments.interface import Command, NotTouched, Verdict, readout
from twinloop.instruments.standin.interface import Progress
from twinloop.instruments.standin.stage_twin import Recipe, StageRun, StageTwin
from twinloop.instruments.xrd.interface import (
    MAX_POINTS,
    XRD,
    Alignment,
    Angle_deg,
    Count_s,
    Rocking,
    Scan,
    Span_deg,
    Step_deg,
)
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.specimen import Specimen
from twinloop.simulators.structure import AtomicStructure
from twinloop.units import Degrees

__all__ = ["XRDTwin"]

Rates = Callable[[NDArray[np.float64]], NDArray[np.float64]]

CU_KA1_A = 1.540593
ROCKING_SD_DEG = 0.03
"""Divergence of the beam, as the rocking curve of a perfect crystal shows it [deg]."""

TILT_SD_DEG, SLIP_DEG = 0.15, 0.6
"""Tilt of a mounted sample, and how far a loose one slips [deg]."""

ZERO_SD_DEG = 0.02
TUBE_LIFE_H, TUBE_AGE_H = 3000.0, 1500.0
"""Time in which the tube's output falls to 1 / e, and the most that a tube has run already [h]."""

SLEW_DEG_PER_S, POINT_S, WARM_UP_S = 2.0, 0.2, 900.0
"""Speed of the goniometer [deg/s]; what a point costs besides counting, and a cold start [s]."""

DARK_COUNTS_PER_S = 0.02
LATCHED = 3000.0
"""Times the dead time of a counter that has been blinded [1]."""

LIGHT_LOAD, FEW_COUNTS = 0.01, 1000.0
"""Photons that come in one dead time below which counts are Poisson's, within 2 % of the variance; and
counts below which a loaded counter is followed photon by photon."""

BLIND = 10.0
"""Times its stated dead time that a counter may miss for each count until it is taken as blind [1]."""

CONTROL_S, CONTROL_LOSS = 1.0, 0.05
"""Time of a control count [s], and the loss beyond three deviations of the counts that is complained of
[1]: with the counts of GaAs (002) a turn by 0.013 deg from where the sample was aligned."""

STREAM_POINTS = 10
CLEAR = 6.0
ALIGN_STEP_DEG = 0.01


class XRDTwin(StageTwin, XRD):
    """Counts photons that a film or a powder scatters.

    Args:
        beam_counts_per_s: full beam of a new tube [1/s].
        background_counts_per_s: scattered by air and slits, with the tube on [1/s].
        powder_counts_per_s: the strongest line of a powder [1/s].
        resolution_per_A: standard deviation of the momentum transfer [1/A].
        dead_time_s: of the counter, as its maker states it [s].
        peaks_deg: reflections that every sample here has; a scan across one that shows none is
            complained of [deg].

    Example:
        >>> twin = XRDTwin(specimen="alas_20ML")
        >>> twin.stock("s1").film.coverage_ML
        20.0
    """

    FAULTS: ClassVar[tuple[str, ...]] = ("tube_off", "misaligned", "detector_saturated")

    beam_counts_per_s: float = Field(default=2.0e7, gt=0)
    background_counts_per_s: float = Field(default=0.5, ge=0)
    powder_counts_per_s: float = Field(default=2000.0, gt=0)
    resolution_per_A: float = Field(default=0.0015, gt=0)
    dead_time_s: float = Field(default=1.0e-6, ge=0)
    peaks_deg: tuple[float, ...] = (31.63, 66.05)

    def first_state(self) -> dict[str, Any]:
        """Return a diffractometer with its zero error and the age of its tube."""
        rng = np.random.default_rng(seed_of(self.seed, "xrd"))
        return {
            "zero_deg": float(ZERO_SD_DEG * rng.standard_normal()),
            "tube_h": float(rng.uniform(0.0, TUBE_AGE_H)),
            "tilt_deg": 0.0,
            "omega_offset_deg": 0.0,
            "control_deg": None,
            "control_per_s": 0.0,
            "two_theta_deg": 20.0,
            "tube_is_on": True,
            "shutter_is_open": False,
        }

    def stock(self, sample: str) -> Specimen:
        """Return a film or a powder of the sort that the setting `specimen` names."""
        return Specimen(sample, seed_of(self.seed, "stock", sample), _stock(self.specimen or ""))

    def on_mounted(self, specimen: Specimen) -> Specimen:
        """Tilt what is mounted."""
        self._state["tilt_deg"] = float(TILT_SD_DEG * self.random("mount").standard_normal())
        self._state["control_deg"] = None
        return specimen

    def on_safe_state(self) -> None:
        """Close the shutter; the tube stays on, because switching it wears it out."""
        self._state["shutter_is_open"] = False

    @XRD.scan.implement
    async def scan(
        self,
        *,
        start_deg: Angle_deg,
        stop_deg: Angle_deg,
        step_deg: Step_deg = 0.05,
        count_s: Count_s = 1.0,
    ) -> Scan:
        """Count at detector angles from start to stop, the sample at half of each."""
        return _scan(
            await self.perform(
                "scan",
                self._scan,
                start_deg=start_deg,
                stop_deg=stop_deg,
                step_deg=step_deg,
                count_s=count_s,
            )
        )

    @XRD.rock.implement
    async def rock(
        self,
        *,
        two_theta_deg: Angle_deg,
        span_deg: Span_deg = 1.0,
        step_deg: Step_deg = 0.01,
        count_s: Count_s = 0.5,
    ) -> Rocking:
        """Turn the sample through a reflection, the detector at rest."""
        return _rocking(
            await self.perform(
                "rock",
                self._rock,
                two_theta_deg=two_theta_deg,
                span_deg=span_deg,
                step_deg=step_deg,
                count_s=count_s,
            )
        )

    @XRD.align.implement
    async def align(
        self, *, two_theta_deg: Angle_deg, span_deg: Span_deg = 1.6, count_s: Count_s = 0.5
    ) -> Alignment:
        """Rock through a reflection and turn the sample to where most is reflected."""
        return _alignment(
            await self.perform(
                "align",
                self._align,
                two_theta_deg=two_theta_deg,
                span_deg=span_deg,
                count_s=count_s,
            )
        )

    @XRD.warm_up.implement
    async def warm_up(self) -> None:
        """Switch the tube on, slowly; nothing where it is on."""
        await self.perform("warm_up", self._warm_up)

    @readout
    async def tube_is_on(self) -> bool:
        """Return whether the generator says that the tube has its voltage."""
        return bool(self.state["tube_is_on"])

    @readout
    async def shutter_is_open(self) -> bool:
        """Return whether the shutter's contact says that it is open."""
        return bool(self.state["shutter_is_open"])

    @readout
    async def two_theta_deg(self) -> Degrees:
        """Return what the detector's scale shows [deg]."""
        return float(self.state["two_theta_deg"])

    @scan.confirm
    async def counts_are_plausible(self, command: Command, result: Scan) -> str | None:
        """Complain of a dead beam, a blind counter, a peak that is not there, a sample that slipped."""
        counts = np.asarray(result.counts, dtype=np.float64)
        if not await self.tube_is_on():
            return f"the tube tripped during the scan ({command.key}): warm_up, and scan again"
        missed_s = _missed_s(result)
        if missed_s > BLIND * self.dead_time_s:
            return (
                f"the counter misses {missed_s:.2g} s for each count, {self.dead_time_s:.2g} s is usual "
                f"({command.key}): it is saturated; let it rest, and scan again"
            )
        angles = np.asarray(result.two_theta_deg)
        crossed = [p for p in self.peaks_deg if angles[0] + 1.0 < p < angles[-1] - 1.0]
        for peak_deg in crossed:
            away = np.abs(angles - peak_deg)
            usual = float(np.median(counts[(away > 0.4) & (away < 1.0)]))
            if counts[away < 0.3].max() < usual + CLEAR * math.sqrt(usual + 1.0) + CLEAR:
                return (
                    f"no substrate peak stands out at {peak_deg:g} deg ({command.key}): "
                    "align the sample, and scan again"
                )
        return self._of_the_control(command, result)

    def _of_the_control(self, command: Command, result: Scan) -> str | None:
        """Return what the control reflection says of a sample that has moved; None: nothing."""
        if result.control is None:
            return None
        aligned = self.state["control_per_s"] * CONTROL_S
        before, after = np.asarray(result.control, dtype=np.float64).tolist()
        for when, found, usual in (("before", before, aligned), ("after", after, before)):
            spread = math.sqrt(max(usual, 1.0) + max(found, 1.0))
            if usual - found > CONTROL_LOSS * usual + 0.5 * CLEAR * spread:
                return (
                    f"the control reflection gave {found:.0f} counts {when} the scan, {usual:.0f} "
                    f"until then ({command.key}): the sample has moved; align it, and scan again"
                )
        return None

    @scan.reconcile
    async def what_was_scanned(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, _scan)

    @rock.reconcile
    async def what_was_rocked(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, _rocking)

    @align.reconcile
    async def what_was_aligned(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, _alignment)

    def _scan(
        self, run: StageRun, *, start_deg: float, stop_deg: float, step_deg: float, count_s: float
    ) -> Recipe:
        size = math.floor((stop_deg - start_deg) / step_deg + 1e-6) + 1
        _check_size("scan", size)
        angles = start_deg + step_deg * np.arange(size)
        rates = self._rates()(angles - self.state["zero_deg"])
        noise, control = self.random("control"), [0.0, 0.0]
        is_aligned = self.state.get("control_deg") is not None
        if is_aligned:
            control[0] = yield from self._look_at_control(noise)
        yield from self._slew(start_deg)
        tilts = np.full(size, self.state["omega_offset_deg"])
        places = {"two_theta_deg": angles}
        yield from self._count(run, "scan", places, rates, tilts, count_s)
        if is_aligned:
            control[1] = yield from self._look_at_control(noise)
            run.arrays = {**run.arrays, "control": np.array(control, dtype=np.int64)}

    def _look_at_control(self, rng: np.random.Generator) -> Generator[float, None, float]:
        """Return the counts at the reflection of the last alignment."""
        place_deg = float(self.state["control_deg"])
        yield from self._slew(place_deg)
        rate = float(self._rates()(np.array([place_deg - self.state["zero_deg"]]))[0])
        rate *= self._part_of_film(self.state["omega_offset_deg"])
        counts, _ = self._counted(rng, rate, CONTROL_S)
        yield CONTROL_S + POINT_S
        return float(counts)

    def _slew(self, two_theta_deg: float) -> Recipe:
        """Drive the detector to an angle."""
        yield abs(two_theta_deg - self.state["two_theta_deg"]) / SLEW_DEG_PER_S
        self.state["two_theta_deg"] = two_theta_deg

    def _rock(
        self,
        run: StageRun,
        *,
        two_theta_deg: float,
        span_deg: float,
        step_deg: float,
        count_s: float,
    ) -> Recipe:
        size = 2 * math.floor(0.5 * span_deg / step_deg + 1e-6) + 1
        _check_size("rock", size)
        turns = step_deg * (np.arange(size) - size // 2)
        place = np.array([two_theta_deg - self.state["zero_deg"]])
        rates = np.full(size, self._rates()(place)[0])
        yield from self._slew(two_theta_deg)
        omega = np.asarray(self.state["omega_offset_deg"] + turns, dtype=np.float64)
        yield from self._count(run, "rock", {"omega_deg": omega}, rates, omega, count_s)

    def _align(
        self, run: StageRun, *, two_theta_deg: float, span_deg: float, count_s: float
    ) -> Recipe:
        yield from self._rock(
            run,
            two_theta_deg=two_theta_deg,
            span_deg=span_deg,
            step_deg=ALIGN_STEP_DEG,
            count_s=count_s,
        )
        omega, counts = run.arrays["omega_deg"], run.arrays["counts"].astype(np.float64)
        floor = float(np.median(counts))
        if counts.max() < floor + CLEAR * math.sqrt(floor + 1.0):
            # nothing was turned for good: whoever asks again does no harm
            run.is_touched = False
            raise NotTouched(
                f"align: nothing stands out within {span_deg:g} deg of the rocking curve at "
                f"{two_theta_deg:g} deg; take another reflection, or a wider span"
            )
        clear = np.where(counts > 0.5 * (floor + counts.max()), counts - floor, 0.0)
        centre = float(clear @ omega / clear.sum())
        self.state["omega_offset_deg"] = centre
        self.state["control_deg"] = two_theta_deg
        self.state["control_per_s"] = float(counts.max()) / count_s
        run.numbers = {
            "omega_offset_deg": centre,
            "width_deg": ALIGN_STEP_DEG * float(np.count_nonzero(clear)),
            "peak_counts": float(counts.max()),
        }

    def _warm_up(self, run: StageRun) -> Recipe:
        if self.state["tube_is_on"]:
            return
        yield WARM_UP_S
        self.repair("tube_off")
        self.state["tube_is_on"] = True
        run.numbers = {"warm_up_s": WARM_UP_S}

    def _count(
        self,
        run: StageRun,
        name: str,
        places: Mapping[str, NDArray[Any]],
        rates: NDArray[np.float64],
        omega_deg: NDArray[np.float64],
        count_s: float,
    ) -> Recipe:
        """Count point by point; a fault comes in the middle."""
        rng, size = self.random(name), rates.size
        (axis, angles), counts = next(iter(places.items())), np.zeros(size, dtype=np.int64)
        live_s = np.zeros(size)
        self.state["shutter_is_open"] = True
        try:
            for k in range(size):
                if k == size // 3:
                    self._let_faults_come()
                rate = float(rates[k]) * self._part_of_film(float(omega_deg[k]))
                counts[k], live_s[k] = self._counted(rng, rate, count_s)
                if axis == "two_theta_deg":
                    self.state["two_theta_deg"] = float(angles[k])
                yield count_s + POINT_S
                self.state["tube_h"] += (count_s + POINT_S) / 3600.0
                run.numbers = {"points": float(k + 1), "count_s": count_s}
                if (k + 1) % STREAM_POINTS == 0 or k + 1 == size:
                    first = k - k % STREAM_POINTS
                    run.is_touched = True
                    run.arrays = {
                        axis: angles[: k + 1],
                        "counts": counts[: k + 1].copy(),
                        "live_s": live_s[: k + 1].copy(),
                    }
                    self._show(name, axis, angles[first : k + 1], counts[first : k + 1], count_s)
        finally:
            self.state["shutter_is_open"] = False

    def _show(
        self,
        name: str,
        axis: str,
        angles: NDArray[np.float64],
        counts: NDArray[np.int64],
        count_s: float,
    ) -> None:
        numbers = {axis: float(angles[-1]), "counts_per_s": float(counts[-1]) / count_s}
        self.emit(name, numbers, {axis: angles, "counts": counts.copy()})

    def _let_faults_come(self) -> None:
        if self.has_fault("tube_off"):
            self.state["tube_is_on"] = False
        if self.has_fault("misaligned"):
            # a loose sample slips once; who aligns anew has it where it lies now
            self.state["tilt_deg"] += SLIP_DEG
            self.repair("misaligned")

    def _part_of_film(self, omega_deg: float) -> float:
        """Return which part a turned film reflects of what it could [1]; a powder always all."""
        if not isinstance(self.on_stage().structure, FilmStructure):
            return 1.0
        return math.exp(-0.5 * ((omega_deg - self.state["tilt_deg"]) / ROCKING_SD_DEG) ** 2)

    def _counted(
        self, rng: np.random.Generator, diffracted: float, count_s: float
    ) -> tuple[int, float]:
        """Return counts, and how long the counter was ready for one [s]."""
        true = DARK_COUNTS_PER_S
        if self.state["tube_is_on"]:
            beam = math.exp(-self.state["tube_h"] / TUBE_LIFE_H)
            true += beam * (diffracted + self.background_counts_per_s)
        dead_s = self.dead_time_s * (LATCHED if self.has_fault("detector_saturated") else 1.0)
        counts = _nonparalysable(rng, true, count_s, dead_s)
        return counts, max(count_s - counts * dead_s, 0.0)

    def _rates(self) -> Rates:
        """Return what the sample diffracts at true detector angles, aligned, a new tube [1/s]."""
        structure = self.on_stage().structure
        if isinstance(structure, FilmStructure):
            return _film_rates(structure, self.beam_counts_per_s, self.resolution_per_A)
        return _powder_rates(structure, self.powder_counts_per_s)


def _nonparalysable(
    rng: np.random.Generator, true_per_s: float, count_s: float, dead_s: float
) -> int:
    """Return how many of the photons that come are counted."""
    load = true_per_s * dead_s
    mean = true_per_s / (1.0 + load) * count_s
    if load < LIGHT_LOAD:
        return int(rng.poisson(mean))
    if mean > FEW_COUNTS:
        return max(round(mean + math.sqrt(mean) / (1.0 + load) * float(rng.standard_normal())), 0)
    gaps_s = rng.exponential(1.0 / true_per_s, size=int(mean + 10.0 * math.sqrt(mean) + 20.0))
    gaps_s[1:] += dead_s
    return int(np.searchsorted(np.cumsum(gaps_s), count_s))


def _missed_s(scan: Scan) -> float:
    """Return the time for which a counter was blind after a count, on average [s]; 0: it knows none."""
    total = float(np.sum(scan.counts))
    if scan.live_s is None or total == 0:
        return 0.0
    return float(np.sum(scan.count_s - np.asarray(scan.live_s))) / total


def _check_size(name: str, size: int) -> None:
    if not 2 <= size <= MAX_POINTS:
        raise NotTouched(f"{name}: {size} points, allowed 2 to {MAX_POINTS}")


def _film_rates(film: FilmStructure, beam_counts_per_s: float, resolution_per_A: float) -> Rates:
    from twinloop.simulators.xrd.film import Optics, expected_counts_per_s
    from twinloop.simulators.xrd.grown_film import planes_of_film

    sample = planes_of_film(film)
    optics = Optics(beam_counts_per_s, 0.0, resolution_per_A)
    return lambda angles: expected_counts_per_s(sample, angles, optics)


def _powder_rates(structure: AtomicStructure, top_counts_per_s: float) -> Rates:
    from twinloop.simulators.xrd.powder import Profile, powder_pattern

    lines = ((CU_KA1_A, 1.0),)
    around = np.arange(10.0, 120.0, 0.01)
    top = float(powder_pattern(structure, around, profile=Profile(), lines=lines).max())
    scale = top_counts_per_s / max(top, 1e-300)
    return lambda angles: scale * powder_pattern(structure, angles, lines=lines)


def _stock(sort: str) -> FilmStructure | AtomicStructure:
    films = {"gaas": (0, 0.0), "alas_20ML": (20, 1.0), "algaas_12ML": (12, 0.4)}
    if sort in films:
        height_ML, aluminium = films[sort]
        return FilmStructure.flat(32, height_ML, aluminium)
    if sort == "si_powder":
        corners = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]]) / 4.0
        places = 5.431 * np.concatenate([corners, corners + 0.25])
        return AtomicStructure.of([14] * 8, places, (5.431, 5.431, 5.431), 0.076)
    raise ArgumentError("specimen", sort, f"one of {[*sorted(films), 'si_powder']}")


def _scan(progress: Progress) -> Scan:
    return Scan(
        two_theta_deg=progress.arrays["two_theta_deg"],
        counts=progress.arrays["counts"],
        count_s=progress.numbers["count_s"],
        live_s=progress.arrays.get("live_s"),
        control=progress.arrays.get("control"),
    )


def _rocking(progress: Progress) -> Rocking:
    return Rocking(
        omega_deg=progress.arrays["omega_deg"],
        counts=progress.arrays["counts"],
        count_s=progress.numbers["count_s"],
    )


def _alignment(progress: Progress) -> Alignment:
    return Alignment(**progress.numbers)
