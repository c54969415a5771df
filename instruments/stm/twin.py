"""The twin of a scanning tunnelling microscope: Tersoff and Hamann's current behind the contract.

`TunnellingStage` holds what it hides and what it does (`instruments/standin/tunnelling_stage.py`); the
physics is `simulators.stm`. Sheets (graphene, MoS2) have electrons and spectra, a grown film has heights
and an ohmic current.
"""

import math

import numpy as np

from twinloop.instruments.interface import Command, Verdict, readout
from twinloop.instruments.standin.tunnelling_records import Frame, Ramp
from twinloop.instruments.standin.tunnelling_stage import TunnellingStage
from twinloop.instruments.stm import plausibility
from twinloop.instruments.stm.interface import (
    STM,
    Approached,
    Bias_V,
    Coarse_A,
    Grid,
    GridPoints,
    Integral_A_per_s,
    LineTime_s,
    Lockin_Hz,
    Manipulated,
    ManipulationBias_V,
    ManipulationCurrent_nA,
    Mode,
    Modulation_V,
    Pixels,
    Place_A,
    Points,
    PointTime_s,
    Proportional_A,
    Pulse_s,
    Pulse_V,
    Pulsed,
    Scan,
    Setpoint_nA,
    Side_A,
    SlowAxis,
    Spectrum,
    Turn_deg,
)
from twinloop.instruments.stm.results import (
    approached_of,
    grid_of,
    manipulated_of,
    pulsed_of,
    scan_of,
    spectrum_of,
)
from twinloop.units import Angstroms, Nanoamperes, Volts

__all__ = ["STMTwin"]


class STMTwin(TunnellingStage, STM):
    """A microscope at low temperature with one tip.

    Args:
        specimen: "graphene" (vacancies and nitrogen), "clean_graphene", "mos2" (sulphur vacancies)
            or "flat_film": what is mounted when the vessel does not hold the sample.

    Example:
        >>> twin = STMTwin(specimen="graphene", seed=3)
        >>> sorted(twin.actions())[:4]
        ['approach', 'give', 'manipulate', 'move_coarse']
    """

    # --- readouts ------------------------------------------------------------------------------

    @readout
    async def z_A(self) -> Angstroms:
        """Return the extension of the z piezo [A]; 0 when the tip is back."""
        return float(self.state["z_A"]) if self.state["is_approached"] else 0.0

    @readout
    async def current_nA(self) -> Nanoamperes:
        """Return the current after the preamplifier [nA]."""
        if not self.state["is_approached"]:
            return 0.0
        return math.copysign(float(self.state["setpoint_nA"]), float(self.state["bias_V"]))

    @readout
    async def setpoint_nA(self) -> Nanoamperes:
        """Return the current that the loop is to hold [nA]."""
        return float(self.state["setpoint_nA"])

    @readout
    async def bias_V(self) -> Volts:
        """Return the bias of the sample [V]."""
        return float(self.state["bias_V"])

    @readout
    async def is_approached(self) -> bool:
        """Return whether the tip is in tunnelling distance."""
        return bool(self.state["is_approached"])

    @readout
    async def is_retracted(self) -> bool:
        """Return whether the tip is back."""
        return not self.state["is_approached"]

    # --- actions -------------------------------------------------------------------------------

    @STM.take.implement
    async def take(self) -> None:
        """Take the named sample out of the transfer vessel, onto the stage."""
        await self.perform("take", self._take)

    @STM.give.implement
    async def give(self) -> None:
        """Put the sample on the stage into the transfer vessel; the tip must be back."""
        await self.perform("give", self._give)

    @STM.approach.implement
    async def approach(self) -> Approached:
        """Step towards the sample until the loop holds the setpoint; minutes."""
        return approached_of(await self.perform("approach", self._approach))

    @STM.retract.implement
    async def retract(self) -> None:
        """Bring the tip back from the sample, by piezo and by coarse motor."""
        await self.perform("retract", self._retract)

    @STM.set_feedback.implement
    async def set_feedback(
        self,
        *,
        setpoint_nA: Setpoint_nA,
        bias_V: Bias_V,
        proportional_A: Proportional_A = 0.0,
        integral_A_per_s: Integral_A_per_s = 2000.0,
    ) -> None:
        """Set what the loop holds, and how fast."""
        await self.perform(
            "set_feedback",
            self._set_feedback,
            setpoint_nA=setpoint_nA,
            bias_V=bias_V,
            proportional_A=proportional_A,
            integral_A_per_s=integral_A_per_s,
        )

    @STM.scan.implement
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
        """Image a frame, line by line, each there and back."""
        frame = Frame(
            width_A, height_A, int(pixels_x), int(pixels_y), centre_x_A, centre_y_A, angle_deg,
            line_time_s, bias_V, mode, slow_axis,
        )  # fmt: skip
        return scan_of(await self.perform("scan", self._scan, frame=frame))

    @STM.spectrum.implement
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
        ramp = Ramp(start_V, stop_V, int(points), modulation_V, lockin_Hz, point_time_s)
        places = np.array([[[x_A, y_A]]])
        return spectrum_of(await self.perform("spectrum", self._spectra, places=places, ramp=ramp))

    @STM.spectra.implement
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
        ramp = Ramp(start_V, stop_V, int(points), modulation_V, lockin_Hz, point_time_s)
        x_A = width_A * ((np.arange(int(columns)) + 0.5) / int(columns) - 0.5)
        y_A = height_A * ((np.arange(int(rows)) + 0.5) / int(rows) - 0.5)
        places = np.stack(np.meshgrid(x_A + centre_x_A, y_A + centre_y_A), axis=-1)
        done = await self.perform("spectra", self._spectra, places=places, ramp=ramp)
        return grid_of(done)

    @STM.pulse.implement
    async def pulse(
        self,
        *,
        bias_V: Pulse_V,
        duration_s: Pulse_s = 0.05,
        x_A: Place_A = 0.0,
        y_A: Place_A = 0.0,
    ) -> Pulsed:
        """Condition the tip by a bias pulse at a place; what the tip is afterwards is chance."""
        done = await self.perform(
            "pulse", self._pulse, bias_V=bias_V, duration_s=duration_s, x_A=x_A, y_A=y_A
        )
        return pulsed_of(done)

    @STM.manipulate.implement
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
        """Drag an atom along a line, with the tip close above it."""
        ends = np.array([[from_x_A, from_y_A], [to_x_A, to_y_A]])
        done = await self.perform(
            "manipulate", self._manipulate, ends_A=ends, current_nA=current_nA, bias_V=bias_V
        )
        return manipulated_of(done)

    @STM.move_coarse.implement
    async def move_coarse(self, *, dx_A: Coarse_A, dy_A: Coarse_A) -> None:
        """Move to another part of the sample by the coarse motors, to a tenth of the way or so."""
        await self.perform("move_coarse", self._move_coarse, way_A=(dx_A, dy_A))

    # --- what became of them -------------------------------------------------------------------

    @take.reconcile
    async def what_was_taken(self, command: Command) -> Verdict:
        """Ask vessel and stage by command key."""
        return self.verdict_of(command, lambda _: None)

    @give.reconcile
    async def what_was_given(self, command: Command) -> Verdict:
        """Ask the vessel by command key."""
        return self.verdict_of(command, lambda _: None)

    @approach.reconcile
    async def what_was_approached(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, approached_of)

    @scan.reconcile
    async def what_was_scanned(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, scan_of)

    @spectrum.reconcile
    async def what_was_ramped(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, spectrum_of)

    @spectra.reconcile
    async def what_was_mapped(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, grid_of)

    @pulse.reconcile
    async def what_was_pulsed(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, pulsed_of)

    @move_coarse.reconcile
    async def what_was_moved(self, command: Command) -> Verdict:
        """Ask by command key."""
        return self.verdict_of(command, lambda _: None)

    @scan.confirm
    async def scan_is_plausible(self, command: Command, result: Scan) -> str | None:  # noqa: ARG002
        """Complain about a scan that the electronics themselves speak against."""
        return plausibility.complaint_about(result)
