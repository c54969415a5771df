"""More furnaces with one defect each: of silences, deaths, safe states and readouts."""

import asyncio
import math
import threading
from typing import Annotated

from twinloop.instruments.conformance.testing_furnaces import RampedFurnace
from twinloop.instruments.conformance.testing_planted import ANNEAL, ASK, planted
from twinloop.instruments.interface import (
    Command,
    Done,
    Limit,
    NotDone,
    NotTouched,
    OnSilence,
    Partial,
    Recovery,
    Verdict,
    action,
    readout,
)
from twinloop.instruments.testing import Annealed, Furnace, Hold_K, Hold_s, LineFault
from twinloop.units import Kelvin

__all__ = ["BareReadoutFurnace"]


# --- the holder dies -------------------------------------------------------------------------------


@planted("D1", "anneal")
class TimidFurnace(Furnace):
    """Ends its run by a timer of its own, although it declares `finish`."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        asyncio.get_running_loop().call_later(2.0, self.safe_state)
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    anneal.reconcile(ASK)


@planted("D2", "quench")
class TidyFurnace(Furnace):
    """Declares `hold`, and tidies up a second after the work."""

    @Furnace.quench.implement
    async def quench(self) -> None:
        """Drop the sample into water."""
        self.line.note("quench", key=str(self.command.key))
        asyncio.get_running_loop().call_later(1.5, self.safe_state)


@planted("D4", "heat")
class SlowSafeFurnace(Furnace):
    """Needs four seconds to switch off."""

    def safe_state(self) -> None:
        """Heater off, after it was thought over."""
        threading.Event().wait(4.0)
        super().safe_state()


@planted("D5", "heat")
class CoolTripFurnace(Furnace):
    """Reads outside of its own limit in the safe state, and trips."""

    @readout
    async def temperature_K(self) -> Annotated[Kelvin, Limit(0, 2000)]:
        """Return the temperature; nonsense after the heater was switched off."""
        effects = self.line.effects()
        return -1.0 if effects and effects[-1]["what"] == "off" else 293.0


# --- the adapter dies ------------------------------------------------------------------------------


@planted("R1", "anneal")
class OptimisticFurnace(Furnace):
    """Says that everything was done."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask by command key."""
        return Done(self._annealed(str(command.key)))


@planted("R2", "anneal")
class AmnesiacFurnace(Furnace):
    """Forgets a run when it has ended."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask by command key."""
        if self.line.state_of(str(command.key)) == "done":
            return NotDone()
        return await ASK(self, command)


@planted("R2", "anneal")
class OtherNumbersFurnace(Furnace):
    """Tells other numbers afterwards than the action returned."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask by command key."""
        found = await ASK(self, command)
        if isinstance(found, Done):
            return Done(found.result.model_copy(update={"peak_K": found.result.peak_K + 10.0}))
        return found


@planted("R3", "anneal")
class HastyFurnace(Furnace):
    """Says PARTIAL while the device is still at it."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask by command key."""
        if self.line.state_of(str(command.key)) == "running":
            return Partial(peak_K=self.line.peak_K(str(command.key)))
        return await ASK(self, command)


@planted("R4", "heat")
class OnceOnlyFurnace(Furnace):
    """Declares that a repetition does no harm, and refuses it."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Hold_K) -> Kelvin:
        """Set a temperature, unless it was set before under this key."""
        if self.line.count("heat", str(self.command.key)):
            raise LineFault("a second time")
        self.line.note("heat", key=str(self.command.key), target_K=target_K)
        return target_K


@planted("R5", "quench")
class RepeatingFurnace(Furnace):
    """Does again what it is only asked about."""

    @Furnace.quench.implement
    async def quench(self) -> None:
        """Drop the sample into water."""
        await Furnace.quench.function(self)

    @quench.reconcile
    async def what_was_quenched(self, command: Command) -> Verdict:
        """Drop it in once more, to be sure."""
        self.line.note("quench", key=str(command.key))
        return Done(None)


@planted("R6", "anneal")
class DenyingFurnace(Furnace):
    """Says that nothing was touched when the line is noisy in the middle."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        try:
            return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)
        except LineFault as err:
            raise NotTouched("a bad line") from err

    anneal.reconcile(ASK)


# --- the safe state --------------------------------------------------------------------------------


@planted("F1")
class SafeOnceFurnace(Furnace):
    """Complains when it is safe already."""

    def safe_state(self) -> None:
        """Heater off, unless it is off."""
        effects = self.line.effects()
        if effects and effects[-1]["what"] == "off":
            raise LineFault("off already")
        super().safe_state()


@planted("F2", "heat")
class OwnerFurnace(Furnace):
    """Can be made safe only by the process that began."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Hold_K) -> Kelvin:
        """Set a temperature."""
        self.line.note("heat", key=str(self.command.key), target_K=target_K)
        self.is_owner = True
        return target_K

    def safe_state(self) -> None:
        """Heater off, if this is the owner."""
        if not vars(self).get("is_owner"):
            raise LineFault("held by another client")
        super().safe_state()


@planted("F5", "heat")
class OrphanFurnace(OwnerFurnace):
    """The same, when the owner has died."""


@planted("F3", "heat")
class HotFurnace(RampedFurnace):
    """Stays hot in the safe state."""

    def safe_state(self) -> None:
        """Say that the heater is off."""
        self.line.cut("nothing else")


@planted("F4", "anneal")
class LockedOutFurnace(Furnace):
    """Cannot go on after a safe state, though nothing is wrong."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while, if it never was made safe."""
        if self.line.count("off"):
            raise NotTouched("locked since the safe state")
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    anneal.reconcile(ASK)


# --- telemetry -------------------------------------------------------------------------------------


@planted("T1")
class SlowReadoutFurnace(Furnace):
    """Measures for three seconds when it is asked."""

    @readout
    async def temperature_K(self) -> Annotated[Kelvin, Limit(0, 2000)]:
        """Return the temperature, later."""
        await self.clock.sleep(3.0)
        return 293.0


@planted("T2")
class BareReadoutFurnace(Furnace):
    """Has a readout without a unit."""

    @readout
    async def pressure(self) -> float:
        """Return the pressure of the tube."""
        return 1.0


@planted("T2")
class WordReadoutFurnace(Furnace):
    """Returns text where a boolean is annotated."""

    @readout
    async def lid_is_closed(self) -> bool:
        """Return what the contact says."""
        return "no"  # type: ignore[return-value]


@planted("T3")
class WrongScaleFurnace(Furnace):
    """Reads millikelvin where kelvin are annotated."""

    @readout
    async def temperature_K(self) -> Annotated[Kelvin, Limit(0, 2000)]:
        """Return the temperature."""
        return 293_000.0


@planted("T3")
class NaNReadoutFurnace(Furnace):
    """Reads NaN."""

    @readout
    async def temperature_K(self) -> Annotated[Kelvin, Limit(0, 2000)]:
        """Return the temperature."""
        return math.nan


@planted("T5", "anneal")
class BlockingFurnace(Furnace):
    """Waits without awaiting."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        key = str(self.command.key)
        self.line.run(key, hold_K, hold_s)
        for _ in range(2):
            threading.Event().wait(0.8)
            await self.clock.sleep(self.poll_s)
        while self.line.state_of(key) == "running":
            await self.clock.sleep(self.poll_s)
        return self._annealed(key)

    anneal.reconcile(ASK)


@planted("T6")
class MovingReadoutFurnace(Furnace):
    """Moves something when it is read."""

    @readout
    async def temperature_K(self) -> Annotated[Kelvin, Limit(0, 2000)]:
        """Return the temperature, and pulse the heater for it."""
        self.line.note("heat", key="c/t/1-heat/1", target_K=300.0)
        return 293.0


@planted("B1", "anneal")
class IdleFurnace(Furnace):
    """Says that it is idle, whatever it does."""

    def is_busy(self) -> bool | None:
        """Return that it is idle."""
        return False
