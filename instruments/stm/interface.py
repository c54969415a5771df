"""The contract of scanning tunnelling microscopes: a tip, a loop that holds it, a stage.

A tip is brought near once and then scans, as in every laboratory:

    await stm.take()
    await stm.approach()
    await stm.set_feedback(setpoint_nA=0.1, bias_V=1.0)
    seen = await stm.scan(width_A=200.0, height_A=200.0, pixels_x=128, pixels_y=128)
    await stm.retract()                      # give and coarse moves demand it
    await stm.give()

Lengths on the surface are in angstrom, in the frame of the scanner: its origin is the middle of the
range, x is the fast axis of a scan of angle 0. Axes are what the scanner's maker calibrated, not what
the piezo really did. `bias_V` is the sample's, against the tip: at a positive one electrons enter
empty states of the sample. While a scan goes on, each line appears on the stream "line".

What a scan cannot tell on the spot (a double tip, a tip that has changed, drift) is the analyst's to
find; what the electronics know (the preamplifier saturated, the loop rang, a line that was scanned twice has
moved) is in the result.
"""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from twinloop.instruments.holder.interface import SampleHolder
from twinloop.instruments.interface import Limit, OnSilence, Recovery, action, readout
from twinloop.results import Array, Result
from twinloop.units import (
    Angstroms,
    Degrees,
    Dimensionless,
    Hertz,
    Nanoamperes,
    Seconds,
    Unit,
    Volts,
)

__all__ = [
    "STM",
    "AngstromsPerSecond",
    "Approached",
    "Bias_V",
    "Coarse_A",
    "Grid",
    "GridPoints",
    "Integral_A_per_s",
    "LineTime_s",
    "Lockin_Hz",
    "Manipulated",
    "ManipulationBias_V",
    "ManipulationCurrent_nA",
    "Mode",
    "Modulation_V",
    "Pixels",
    "Place_A",
    "PointTime_s",
    "Points",
    "Proportional_A",
    "Pulse_V",
    "Pulse_s",
    "Pulsed",
    "Scan",
    "Setpoint_nA",
    "Side_A",
    "SlowAxis",
    "Spectrum",
    "Turn_deg",
]

AngstromsPerSecond = Annotated[float, Unit("A/s", "angstrom / second")]

Mode = Literal["constant_current", "constant_height"]
SlowAxis = Literal["up", "down"]

Setpoint_nA = Annotated[Nanoamperes, Limit(0.005, 5.0)]
Bias_V = Annotated[Volts, Limit(-3.0, 3.0)]
Proportional_A = Annotated[Angstroms, Limit(0.0, 2.0)]
Integral_A_per_s = Annotated[AngstromsPerSecond, Limit(1.0, 1.0e5)]
Place_A = Annotated[Angstroms, Limit(-5000.0, 5000.0)]
Side_A = Annotated[Angstroms, Limit(5.0, 5000.0)]
Pixels = Annotated[int, Field(ge=8, le=1024)]
LineTime_s = Annotated[Seconds, Limit(0.02, 5.0)]
Turn_deg = Annotated[Degrees, Limit(-180.0, 180.0)]
Points = Annotated[int, Field(ge=5, le=1001)]
GridPoints = Annotated[int, Field(ge=1, le=64)]
Modulation_V = Annotated[Volts, Limit(0.0005, 0.1)]
Lockin_Hz = Annotated[Hertz, Limit(100.0, 5000.0)]
PointTime_s = Annotated[Seconds, Limit(0.005, 2.0)]
Pulse_V = Annotated[Volts, Limit(-10.0, 10.0)]
Pulse_s = Annotated[Seconds, Limit(0.001, 1.0)]
ManipulationBias_V = Annotated[Volts, Limit(-0.1, 0.1)]
ManipulationCurrent_nA = Annotated[Nanoamperes, Limit(1.0, 100.0)]
Coarse_A = Annotated[Angstroms, Limit(-1.0e6, 1.0e6)]


class Approached(Result):
    """The tip tunnels.

    Args:
        z_A: extension of the z piezo at which the loop holds the tip, 0 in the middle [A].
        steps: of the coarse motor.
        duration_s: laboratory time that it took [s].
    """

    z_A: Angstroms
    steps: int
    duration_s: Seconds


class Scan(Result):
    """One image: topography and current, forward and backward.

    Args:
        z_forward_A: height of the tip while it went forward, shape (lines, pixels), float32 [A]; in
            constant height the height at which it was held.
        z_backward_A: the same on the way back, in the order of `x_A`.
        current_forward_nA, current_backward_nA: after the preamplifier, same shape, float32 [nA].
        x_A: along a line, from the centre, by the maker's calibration, shape (pixels,) [A].
        y_A: of each line, from the centre, in the order of acquisition, shape (lines,) [A].
        line_start_s: of each line, since the tip was approached, shape (lines,) [s].
        line_time_s: of one line, there and back [s].
        centre_x_A, centre_y_A, angle_deg: of the frame in the scanner's range.
        mode, bias_V, setpoint_nA: how it was taken.
        saturations: samples at which the preamplifier was at its limit.
        ringing: root mean square of what changes from sample to sample in the loop's error
            ln(I / setpoint): 0.02 to 0.1 in a quiet loop, near 1 in one that oscillates [1].
        check_z_A: the line `check_line` once more, forward, at the end of the frame, shape (pixels,),
            float32 [A]: where it fits best tells the drift; empty in a scan that was cut short.
        check_line: which, counted from 0.
        check_start_s: since the tip was approached [s].
        is_complete: False when it was cut short.
    """

    z_forward_A: Array
    z_backward_A: Array
    current_forward_nA: Array
    current_backward_nA: Array
    x_A: Array
    y_A: Array
    line_start_s: Array
    line_time_s: Seconds
    centre_x_A: Angstroms
    centre_y_A: Angstroms
    angle_deg: Degrees
    mode: str
    bias_V: Volts
    setpoint_nA: Nanoamperes
    saturations: int
    ringing: Dimensionless
    check_z_A: Array
    check_line: int
    check_start_s: Seconds
    is_complete: bool


class Spectrum(Result):
    """Current and differential conductance at one point, with the loop open.

    Args:
        bias_V: shape (points,), float64 [V].
        current_nA: shape (points,), float64 [nA].
        dIdV_nS: of the lock-in amplifier, in phase, shape (points,), float64 [nS].
        x_A, y_A: where, in the scanner's frame [A].
        setpoint_nA, bias_set_V: at which the loop was opened.
        modulation_V: amplitude (peak) of the lock-in's sine [V].
        drift_A: extension of the z piezo after the loop closed again less that before [A].
        saturations: points at which the preamplifier was at its limit.
        is_complete: False when it was cut short.
    """

    bias_V: Array
    current_nA: Array
    dIdV_nS: Array
    x_A: Angstroms
    y_A: Angstroms
    setpoint_nA: Nanoamperes
    bias_set_V: Volts
    modulation_V: Volts
    drift_A: Angstroms
    saturations: int
    is_complete: bool


class Grid(Result):
    """Spectra on a grid of points.

    Args:
        bias_V: shape (points,), float64 [V].
        current_nA: shape (rows, columns, points), float32 [nA].
        dIdV_nS: same shape, float32 [nS].
        z_A: where the loop held the tip before each, shape (rows, columns), float32 [A].
        x_A: of the columns, from the centre, shape (columns,) [A].
        y_A: of the rows, shape (rows,) [A].
        modulation_V: amplitude (peak) of the lock-in's sine [V].
        saturations: points at which the preamplifier was at its limit.
        is_complete: False when it was cut short; rows not reached are missing.
    """

    bias_V: Array
    current_nA: Array
    dIdV_nS: Array
    z_A: Array
    x_A: Array
    y_A: Array
    modulation_V: Volts
    saturations: int
    is_complete: bool


class Pulsed(Result):
    """A bias pulse.

    Args:
        z_before_A, z_after_A: extension of the z piezo at the setpoint [A]: a jump says that the tip
            or the surface below has changed.
        charge_nC: that flowed [nC].
    """

    z_before_A: Angstroms
    z_after_A: Angstroms
    charge_nC: float


class Manipulated(Result):
    """An atom that was dragged, or was not.

    Args:
        z_A: height of the tip along the path, shape (points,), float32 [A]: an atom that follows
            makes a sawtooth of one lattice constant.
        path_A: distance along the path, shape (points,) [A].
        jumps: teeth of that sawtooth.
    """

    z_A: Array
    path_A: Array
    jumps: int


class STM(SampleHolder, kind="stm"):
    """Tip, feedback loop, piezo scanner and coarse motors over one sample."""

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        interlocks=("is_retracted",),
        loads_sample=True,
    )
    @abstractmethod
    async def take(self) -> None:
        """Take the named sample out of the transfer vessel, onto the stage."""

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        interlocks=("is_retracted",),
        unloads_sample=True,
    )
    @abstractmethod
    async def give(self) -> None:
        """Put the sample on the stage into the transfer vessel; the tip must be back."""

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.SAFE_STATE,
        silence_s=30,
        interlocks=("is_retracted",),
    )
    @abstractmethod
    async def approach(self) -> Approached:
        """Step towards the sample until the loop holds the setpoint; minutes."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH)
    @abstractmethod
    async def retract(self) -> None:
        """Bring the tip back from the sample, by piezo and by coarse motor."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH)
    @abstractmethod
    async def set_feedback(
        self,
        *,
        setpoint_nA: Setpoint_nA,
        bias_V: Bias_V,
        proportional_A: Proportional_A = 0.0,
        integral_A_per_s: Integral_A_per_s = 2000.0,
    ) -> None:
        """Set what the loop holds, and how fast.

        The loop moves the tip by proportional_A e + integral_A_per_s * (integral of e dt), with
        e = ln(I / setpoint).

        Raises:
            NotTouched: a bias of less than 1 mV, at which nothing tunnels.
        """

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        interlocks=("is_approached",),
    )
    @abstractmethod
    async def scan(
        self,
        *,
        width_A: Side_A,
        height_A: Side_A,
        pixels_x: Pixels = 128,
        pixels_y: Pixels = 128,
        centre_x_A: Place_A = 0.0,
        centre_y_A: Place_A = 0.0,
        angle_deg: Turn_deg = 0.0,
        line_time_s: LineTime_s = 0.5,
        bias_V: Bias_V = 1.0,
        mode: Mode = "constant_current",
        slow_axis: SlowAxis = "up",
    ) -> Scan:
        """Image a frame, line by line, each there and back.

        The bias stays what it was before, after the scan. In constant height the loop is opened in
        the middle of the frame and the tip moves in the plane that was levelled there.

        Raises:
            NotTouched: a frame that is not inside the scanner's range, or no bias.
        """

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        interlocks=("is_approached",),
    )
    @abstractmethod
    async def spectrum(
        self,
        *,
        x_A: Place_A = 0.0,
        y_A: Place_A = 0.0,
        start_V: Bias_V = -1.0,
        stop_V: Bias_V = 1.0,
        points: Points = 101,
        modulation_V: Modulation_V = 0.01,
        lockin_Hz: Lockin_Hz = 800.0,
        point_time_s: PointTime_s = 0.05,
    ) -> Spectrum:
        """Open the loop at a point, ramp the bias, record current and dI/dV, close the loop."""

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        interlocks=("is_approached",),
    )
    @abstractmethod
    async def spectra(
        self,
        *,
        width_A: Side_A,
        height_A: Side_A,
        columns: GridPoints = 8,
        rows: GridPoints = 8,
        centre_x_A: Place_A = 0.0,
        centre_y_A: Place_A = 0.0,
        start_V: Bias_V = -1.0,
        stop_V: Bias_V = 1.0,
        points: Points = 51,
        modulation_V: Modulation_V = 0.01,
        lockin_Hz: Lockin_Hz = 800.0,
        point_time_s: PointTime_s = 0.02,
    ) -> Grid:
        """Take a spectrum at each point of a grid, row by row."""

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        interlocks=("is_approached",),
    )
    @abstractmethod
    async def pulse(
        self,
        *,
        bias_V: Pulse_V,
        duration_s: Pulse_s = 0.05,
        x_A: Place_A = 0.0,
        y_A: Place_A = 0.0,
    ) -> Pulsed:
        """Condition the tip by a bias pulse at a place; what the tip is afterwards is chance."""

    @action(
        recovery=Recovery.UNSAFE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        interlocks=("is_approached",),
    )
    @abstractmethod
    async def manipulate(
        self,
        *,
        from_x_A: Place_A,
        from_y_A: Place_A,
        to_x_A: Place_A,
        to_y_A: Place_A,
        current_nA: ManipulationCurrent_nA = 20.0,
        bias_V: ManipulationBias_V = 0.01,
    ) -> Manipulated:
        """Drag an atom along a line, with the tip close above it.

        It cannot be taken back, and no instrument can say afterwards by command key whether it
        happened: a second try would drag another atom. When its effect is not known, the sample is
        suspect and a person looks.
        """

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        interlocks=("is_retracted",),
    )
    @abstractmethod
    async def move_coarse(self, *, dx_A: Coarse_A, dy_A: Coarse_A) -> None:
        """Move to another part of the sample by the coarse motors, to a tenth of the way or so."""

    @readout
    @abstractmethod
    async def z_A(self) -> Angstroms:
        """Return the extension of the z piezo [A]; 0 when the tip is back."""

    @readout
    @abstractmethod
    async def current_nA(self) -> Nanoamperes:
        """Return the current after the preamplifier [nA]."""

    @readout
    @abstractmethod
    async def setpoint_nA(self) -> Nanoamperes:
        """Return the current that the loop is to hold [nA]."""

    @readout
    @abstractmethod
    async def bias_V(self) -> Volts:
        """Return the bias of the sample [V]."""

    @readout
    @abstractmethod
    async def is_approached(self) -> bool:
        """Return whether the tip is in tunnelling distance."""

    @readout
    @abstractmethod
    async def is_retracted(self) -> bool:
        """Return whether the tip is so far back that the sample may be moved."""
