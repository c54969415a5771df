"""The twin of a tunnelling microscope at work: its hidden state, its recipes, its faults.

`STMTwin` puts the contract of the kind over it. What is hidden is drawn from the seed and lives in
`state`: the tip's apex and dirt, the calibration error of each piezo axis, creep and hysteresis, drift
that dies away after an approach, tilt, noise, the resonance of the tube. Drift passes while the
microscope works; it stands still between two actions, so that the same commands give the same images
whatever the pace of the clock.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from twinloop.errors import ArgumentError
from twinloop.ids import seed_of
from twinloop.instruments.interface import NotTouched
from twinloop.instruments.standin import tunnelling
from twinloop.instruments.standin.stage_twin import Recipe, StageRun, StageTwin
from twinloop.instruments.standin.tunnelling_records import (
    Frame,
    FrameRecord,
    Ramp,
    SpectraRecord,
    ohmic_spectrum,
)
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.specimen import Specimen
from twinloop.simulators.stm import Broadening, FeedbackLoop, Film, Tip, stability_border

__all__ = ["TunnellingStage"]

F8 = NDArray[np.float64]

RANGE_A = 10000.0
"""Range of the scanner along x and y [A]."""

SETTLING_S = 900.0
"""After an approach the fast part of the drift falls to 1/e in this time of work [s]."""

APPROACH_S, RETRACT_S, COARSE_S = 180.0, 20.0, 60.0

LEAST_BIAS_V = 1.0e-3

FIELDS_KEPT = 6
"""Currents over a surface that are kept for the next run, one for each bias and tip."""

CRASH_GAP_A, DOUBLE_DEPTH_A = 1.5, 0.2
OSCILLATION = 1.06
"""Gain of the fault "feedback_oscillation" over the border of stability [1]."""

FAULT_DRIFT_A_PER_S = 0.6
CLIP_SHARE = 1.02
"""Full scale of a preamplifier on the wrong range, over the setpoint [1]."""

DRAG_A_PER_S = 4.0
TOOTH_A = 0.3
"""Height of the sawtooth that an atom makes under the tip when it hops [A] (Bartels, Meyer & Rieder,
Phys. Rev. Lett. 79, 697 (1997): 0.1 to 0.4 A for pulling)."""


class TunnellingStage(StageTwin):
    """Recipes of a tunnelling microscope; subclassed by `STMTwin` only."""

    FAULTS: ClassVar[tuple[str, ...]] = (
        "tip_crash",
        "double_tip",
        "feedback_oscillation",
        "drift",
        "preamp_saturated",
    )

    _surfaces: dict[int, Any] = PrivateAttr(default_factory=dict)
    _fields: dict[tuple[Any, ...], Any] = PrivateAttr(default_factory=dict)
    _seen: dict[str, Any] = PrivateAttr(default_factory=dict)

    # --- the twin ------------------------------------------------------------------------------

    def first_state(self) -> dict[str, Any]:
        """Draw what this microscope is."""
        rng = np.random.default_rng(seed_of(self.seed, "stm"))
        return {
            "tip": {
                "apexes": [[0.0, 0.0, 0.0, 1.0]],
                "radius_A": float(rng.uniform(0.0, 1.5)),
                "work_function_eV": float(rng.uniform(4.2, 4.5)),
                "contamination": float(rng.uniform(0.0, 0.1)),
            },
            "calibration": rng.normal(0.0, [0.015, 0.015, 0.02]).tolist(),
            "creep": float(rng.uniform(0.003, 0.01)),
            "hysteresis": float(rng.uniform(0.001, 0.004)),
            "drift_A_per_s": rng.normal(0.0, [0.004, 0.004, 0.002]).tolist(),
            "settling_A_per_s": [0.0, 0.0, 0.0],
            "walk_A_per_sqrt_s": float(rng.uniform(0.005, 0.015)),
            "tilt": rng.normal(0.0, 0.01, 2).tolist(),
            "current_noise_nA": float(rng.uniform(3e-6, 8e-6)),
            "height_noise_A": float(rng.uniform(1e-4, 3e-4)),
            "resonance_Hz": float(rng.uniform(3500.0, 5500.0)),
            "quality": float(rng.uniform(8.0, 16.0)),
            "origin_A": [0.0, 0.0],
            "offset_A": [0.0, 0.0, 0.0],
            "place_A": [0.0, 0.0],
            "is_approached": False,
            "since_approach_s": 0.0,
            "z_A": 0.0,
            "setpoint_nA": 0.1,
            "bias_V": 1.0,
            "proportional_A": 0.0,
            "integral_A_per_s": 2000.0,
            "tip_events": 0,
        }

    def stock(self, sample: str) -> Specimen:
        """Return a fresh sheet or a flat film."""
        seed = seed_of(self.seed, "stock", sample)
        structure = tunnelling.stock_of(str(self.specimen), np.random.default_rng(seed))
        return Specimen(sample, seed, structure)

    def on_mounted(self, specimen: Specimen) -> Specimen:
        """Put the tip over another place of the sample each time it is mounted."""
        self.state["origin_A"] = self.random("mount").uniform(0.0, 1000.0, 2).tolist()
        self._touch_down(is_approached=False)
        return specimen

    def on_safe_state(self) -> None:
        """Bring the tip back."""
        self._touch_down(is_approached=False)

    def truth(self) -> dict[str, Any]:
        """Return what the twin hides, and the frame of the last scan as it truly was.

        `frame` holds x_A and y_A, where each pixel of the forward image truly lay on the specimen,
        shape (lines, pixels) [A], `field`, the current between surface and tip at the beginning, and
        `events`, what happened to the tip and in which line.
        """
        return {**super().truth(), "frame": dict(self._seen)}

    # --- recipes -------------------------------------------------------------------------------

    def _approach(self, run: StageRun) -> Recipe:
        self.on_stage()
        if self.state["is_approached"]:
            raise NotTouched("approach: the tip is there already")
        rng = self.random("approach")
        duration_s = APPROACH_S * float(rng.uniform(0.7, 1.5))
        yield duration_s
        self._touch_down(is_approached=True)
        self.state["settling_A_per_s"] = rng.normal(0.0, [0.02, 0.02, 0.01]).tolist()
        with self._microscope(rng, float(self.state["bias_V"])) as micro:
            micro.approach(0.0, 0.0)
            self._take_place(micro)
        run.is_touched = True
        run.numbers = {
            "z_A": float(self.state["z_A"]),
            "steps": float(round(duration_s * 3.0)),
            "duration_s": duration_s,
        }

    def _retract(self, run: StageRun) -> Recipe:
        run.is_touched = True
        yield RETRACT_S
        self._touch_down(is_approached=False)

    def _set_feedback(self, run: StageRun, **settings: float) -> Recipe:
        if abs(settings["bias_V"]) < LEAST_BIAS_V:
            raise NotTouched("set_feedback: nothing tunnels at a bias of less than 1 mV")
        yield 0.1
        run.is_touched = True
        self.state.update(settings)
        self.repair("feedback_oscillation")

    def _move_coarse(self, run: StageRun, *, way_A: tuple[float, float]) -> Recipe:
        self.on_stage()
        if self.state["is_approached"]:
            raise NotTouched("move_coarse: the tip is at the sample; retract it first")
        yield COARSE_S
        run.is_touched = True
        went_A = np.array(way_A) * self.random("coarse").normal(1.0, 0.1, 2)
        self.state["origin_A"] = (np.array(self.state["origin_A"]) + went_A).tolist()

    def _scan(self, run: StageRun, *, frame: "Frame") -> Recipe:
        self._refuse_scan(frame)
        rng = self.random("scan")
        events: list[tuple[int, str]] = []
        self._start_double_tip(events)
        record = FrameRecord(
            frame, float(self.state["setpoint_nA"]), float(self.state["since_approach_s"])
        )
        self._seen = {"x_A": record.true_x_A, "y_A": record.true_y_A, "events": events}
        crash_at = (
            int(rng.uniform(0.2, 0.8) * frame.pixels_y) if self.has_fault("tip_crash") else -1
        )
        with self._microscope(
            rng, frame.bias_V, every=frame.samples, is_level=frame.is_constant_height
        ) as micro:
            self._seen["field"] = micro.field
            self._prepare(micro, frame)
            for n in range(frame.pixels_y):
                self._let_drift(micro)
                if n == crash_at:
                    self._press(micro)
                line = micro.line(frame.window, frame.index(n))
                if n == crash_at:
                    self._lift(micro, frame)
                    self.repair("tip_crash")
                self._wear(micro, line, frame, events, n)
                record.put(n, line, micro, 1.0 + self.state["calibration"][2])
                self._take_place(micro, frame.line_time_s)
                run.is_touched = True
                run.numbers, run.arrays = record.so_far(n + 1)
                self.emit("line", *record.last(n))
                yield frame.line_time_s
            self._let_drift(micro)
            check = micro.line(frame.window, frame.index(record.check_line))
            record.check(check, 1.0 + self.state["calibration"][2], self.state["since_approach_s"])
            self._take_place(micro, frame.line_time_s)
            yield frame.line_time_s
            run.numbers, run.arrays = record.so_far(frame.pixels_y, is_complete=True)

    def _spectra(self, run: StageRun, *, places: F8, ramp: "Ramp") -> Recipe:
        specimen = self.on_stage()
        self._refuse_far("spectrum", places.reshape(-1, 2))
        if not ramp.start_V != ramp.stop_V:
            raise NotTouched("spectrum: start_V and stop_V are the same")
        bias_V = float(self.state["bias_V"])
        rng = self.random("spectra")
        rows, columns = places.shape[:2]
        kept = SpectraRecord(places, ramp, float(self.state["setpoint_nA"]), bias_V)
        is_film = isinstance(specimen.structure, FilmStructure)
        surface = self._surface()
        if not is_film:
            surface = replace(
                surface,
                broadening=Broadening(
                    temperature_K=tunnelling.TEMPERATURE_K,
                    modulation_V=ramp.modulation_V / math.sqrt(2.0),
                ),
            )
            low_V, high_V = surface.window_eV
            if not (low_V <= ramp.biases_V.min() and ramp.biases_V.max() <= high_V):
                raise NotTouched(f"spectrum: this sheet is known from {low_V:g} to {high_V:g} V")
        with self._microscope(rng, bias_V) as micro:
            micro.approach(*map(float, places[0, 0]))
            for row in range(rows):
                for column in range(columns):
                    self._let_drift(micro)
                    micro.move_to(*map(float, places[row, column]))
                    before_A = float(micro.place_A[2])
                    if is_film:
                        seen = ohmic_spectrum(
                            micro, ramp, float(self.state["setpoint_nA"]), bias_V, rng
                        )
                    else:
                        spectrum = micro.spectrum(
                            surface, ramp.biases_V, tip=self._tip(), dwell_s=ramp.point_time_s
                        )
                        seen = (spectrum.current_nA, spectrum.conductance_nA_per_V)
                    micro.move_to(*map(float, places[row, column] + 0.01))
                    kept.put(row, column, seen, before_A, float(micro.place_A[2]) - before_A)
                    self._take_place(micro, ramp.duration_s)
                    run.is_touched = True
                    for points, part_s in ramp.parts:
                        run.numbers, run.arrays = kept.so_far(row * columns + column, points)
                        yield part_s
                run.numbers, run.arrays = kept.so_far((row + 1) * columns, 0)
                self.emit("row", {"row": float(row)}, {"dIdV_nS": kept.dIdV_nS[row]})

    def _pulse(
        self, run: StageRun, *, bias_V: float, duration_s: float, x_A: float, y_A: float
    ) -> Recipe:
        self.on_stage()
        self._refuse_far("pulse", np.array([[x_A, y_A]]))
        rng = self.random("pulse")
        with self._microscope(rng, float(self.state["bias_V"])) as micro:
            micro.approach(x_A, y_A)
            before_A = float(micro.place_A[2])
            yield 1.0
            run.is_touched = True
            change = tunnelling.RULES.conditioned(self._tip(), pulse_V=bias_V, rng=rng)
            length_A = float(rng.normal(0.0, 3.0 * change.severity))
            self._change_tip(change.tip, micro, float(self.state["bias_V"]), length_A)
            micro.move_to(x_A + 0.01, y_A)
            self._take_place(micro, duration_s + 1.0)
            run.numbers = {
                "z_before_A": before_A,
                "z_after_A": float(micro.place_A[2]) + length_A,
                "charge_nC": abs(bias_V) / 0.1 * float(self.state["setpoint_nA"]) * duration_s,
            }
        yield duration_s

    def _manipulate(self, run: StageRun, *, ends_A: F8, current_nA: float, bias_V: float) -> Recipe:
        specimen = self.on_stage()
        self._refuse_far("manipulate", ends_A)
        if abs(bias_V) < LEAST_BIAS_V:
            raise NotTouched("manipulate: nothing tunnels at a bias of less than 1 mV")
        rng = self.random("manipulate")
        length_A = float(np.linalg.norm(ends_A[1] - ends_A[0]))
        points = max(8, int(length_A / 0.2))
        parts = np.linspace(0.0, 1.0, points)
        run.is_touched = True
        yield 2.0
        command = ends_A[0] + parts[:, None] * (ends_A[1] - ends_A[0])
        true = self._true_places(command)
        found = tunnelling.dragged(specimen.structure, true, current_nA, rng)
        trace = float(self.state["height_noise_A"]) * 100.0 * rng.standard_normal(points)
        hops = 0
        if found is not None:
            structure, drag = found
            hops = drag.hops
            trace += TOOTH_A * ((parts * hops) % 1.0)
            self.change(
                replace(specimen, structure=structure).with_event(
                    "manipulate", self.kind, run.key, hops=float(hops)
                )
            )
        yield length_A / DRAG_A_PER_S
        jumps = int(np.count_nonzero(np.diff(trace) < -0.5 * TOOTH_A))
        run.numbers = {"jumps": float(jumps), "hops": float(hops)} if jumps else {"jumps": 0.0}
        run.arrays = {
            "z_A": trace.astype(np.float32),
            "path_A": (parts * length_A).astype(np.float32),
        }

    # --- private -------------------------------------------------------------------------------

    def _touch_down(self, *, is_approached: bool) -> None:
        self.state.update(
            is_approached=is_approached,
            since_approach_s=0.0,
            offset_A=[0.0, 0.0, 0.0],
            place_A=[0.0, 0.0],
            z_A=0.0,
        )

    def _refuse_far(self, what: str, places_A: F8) -> None:
        if not self.state["is_approached"]:
            raise NotTouched(f"{what}: the tip is back; approach first")
        if float(np.abs(places_A).max()) > 0.5 * RANGE_A:
            raise NotTouched(f"{what}: outside the scanner's range of {RANGE_A:g} A")

    def _refuse_scan(self, frame: "Frame") -> None:
        self.on_stage()
        borders = frame.window.places_A(0), frame.window.places_A(frame.pixels_y - 1)
        self._refuse_far("scan", np.concatenate(borders))
        if abs(frame.bias_V) < LEAST_BIAS_V:
            raise NotTouched("scan: nothing tunnels at a bias of less than 1 mV")
        try:
            self._field(frame.bias_V)
        except ArgumentError as err:
            raise NotTouched(f"scan: {err}") from err

    def _tip(self) -> Tip:
        return tunnelling.tip_of(self.state["tip"])

    def _surface(self) -> Any:
        structure = self.on_stage().structure
        if id(structure) not in self._surfaces:
            try:
                made = tunnelling.surface_of(structure)
            except ArgumentError as err:
                raise NotTouched(f"nothing tunnels here: {err}") from err
            # the structure is kept, so that its id stays its own
            self._surfaces, self._fields = {id(structure): (structure, made)}, {}
        return self._surfaces[id(structure)][1]

    def _field(self, bias_V: float) -> Any:
        surface, tip = self._surface(), self._tip()
        key = (round(bias_V, 6), tip)
        if key not in self._fields:
            while len(self._fields) >= FIELDS_KEPT:
                self._fields.pop(next(iter(self._fields)))
            self._fields[key] = surface.field(bias_V=bias_V, tip=tip)
        return self._fields[key]

    @contextmanager
    def _microscope(
        self, rng: np.random.Generator, bias_V: float, *, every: int = 1, is_level: bool = False
    ) -> Iterator[Any]:
        """Lend the scanner of this state, with the faults of loop and preamplifier."""
        micro = tunnelling.scanner_of(
            self.state, self._field(bias_V), rng, every=every, is_level=is_level
        )
        loop: FeedbackLoop = micro.loop
        if self.has_fault("preamp_saturated"):
            loop = replace(loop, full_scale_nA=CLIP_SHARE * loop.setpoint_nA)
        if self.has_fault("feedback_oscillation"):
            border = stability_border(loop, slope_per_A=-2.0 * micro.field.decay_per_A)
            loop = loop.times(OSCILLATION * border.gain)
        micro.set_loop(loop)
        yield micro

    def _let_drift(self, micro: Any) -> None:
        """Give the drift its velocity of now: what settles after an approach dies away."""
        fading = math.exp(-float(self.state["since_approach_s"]) / SETTLING_S)
        velocity = np.array(self.state["drift_A_per_s"])
        velocity = velocity + fading * np.array(self.state["settling_A_per_s"])
        if self.has_fault("drift"):
            velocity = velocity + FAULT_DRIFT_A_PER_S * np.array([0.8, 0.6, 0.05])
        micro.drift.velocity_A_per_s = tuple(map(float, velocity))

    def _take_place(self, micro: Any, passed_s: float = 0.0) -> None:
        """Keep in the state where the run has brought the tip."""
        self.state["offset_A"] = micro.drift.offset_A.tolist()
        self.state["place_A"] = micro.place_A[:2].tolist()
        self.state["z_A"] = float(micro.place_A[2])
        self.state["since_approach_s"] += passed_s

    def _true_places(self, command_A: F8) -> F8:
        """Return where the tip is over the specimen when it is sent to places, creep aside."""
        scale = 1.0 + np.array(self.state["calibration"][:2])
        true: F8 = (
            np.array(self.state["origin_A"])
            + scale * command_A
            - np.array(self.state["offset_A"][:2])
        )
        return true

    def _start_double_tip(self, events: list[tuple[int, str]]) -> None:
        """Let the tip have become a double one, once."""
        if not self.has_fault("double_tip"):
            return
        rng = self.random("double_tip")
        angle, far_A = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(14.0, 28.0)
        second = [far_A * math.cos(angle), far_A * math.sin(angle), DOUBLE_DEPTH_A, 1.0]
        self.state["tip"] |= {"apexes": [[0.0, 0.0, 0.0, 1.0], second]}
        self.state["tip_events"] += 1
        events.append((0, "double_tip"))
        self.repair("double_tip")

    def _prepare(self, micro: Any, frame: "Frame") -> None:
        """Bring the tip to the first line, or to the middle and open the loop there."""
        start = frame.window.places_A(frame.index(0))[0]
        if not frame.is_constant_height:
            micro.approach(float(start[0]), float(start[1]), settle_s=0.2)
            return
        micro.approach(frame.centre_x_A, frame.centre_y_A, settle_s=0.2)
        micro.set_loop(replace(micro.loop, is_closed=False))
        micro.move_to(float(start[0]), float(start[1]))

    def _press(self, micro: Any) -> None:
        """Let the loop fail for one line: the tip goes into the surface."""
        gap_A = float(micro.place_A[2]) - self._usual_A()
        micro.set_loop(replace(micro.loop, is_closed=False))
        micro.shift_height(CRASH_GAP_A - gap_A)

    def _lift(self, micro: Any, frame: "Frame") -> None:
        """Let the loop, where it was closed, hold the tip again."""
        if not frame.is_constant_height:
            micro.set_loop(replace(micro.loop, is_closed=True))

    def _usual_A(self) -> float:
        surface = self._surface()
        if not isinstance(surface, Film):
            return 0.0
        return float(np.median(surface.heights_ML)) * surface.step_A

    def _wear(
        self, micro: Any, line: Any, frame: "Frame", events: list[tuple[int, str]], n: int
    ) -> None:
        """Let a line change the tip: by chance, or because it touched."""
        rules = tunnelling.RULES
        rng = self.random("wear")
        if line.lowest_A < rules.contact_A:
            change = rules.crashed(
                self._tip(), depth_A=rules.contact_A - line.lowest_A + 1.0, rng=rng
            )
            length_A = float(-rng.uniform(4.0, 12.0))
        else:
            found = rules.after(
                self._tip(),
                duration_s=line.duration_s,
                current_nA=float(np.abs(line.trace.current_nA).mean()),
                climbed_A=line.climbed_A,
                rng=rng,
            )
            if found is None:
                return
            change, length_A = found, float(rng.normal(0.0, 0.5 + found.severity))
        self._change_tip(change.tip, micro, frame.bias_V, length_A)
        events.append((n, change.event.value))

    def _change_tip(self, tip: Tip, micro: Any, bias_V: float, length_A: float) -> None:
        """Give the microscope another tip, longer by `length_A` or shorter."""
        self.state["tip"] = tunnelling.tip_state(tip)
        self.state["tip_events"] += 1
        micro.field = self._field(bias_V)
        micro.noise = replace(
            micro.noise, height_A_per_sqrt_Hz=float(self.state["height_noise_A"])
        ).with_dirt(tip.contamination)
        micro.drift.offset_A = micro.drift.offset_A + np.array([0.0, 0.0, length_A])
