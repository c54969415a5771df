"""Furnaces with one defect each, to prove that the suite finds them; what an author gets wrong.

Each class is right but for what its docstring says. `DEFECTS` names the clause that must be found
broken, and the action that it is about.
"""

import asyncio
import contextlib
import math
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from twinloop.instruments.conformance import testing_deaths
from twinloop.instruments.conformance.testing_furnaces import RampedFurnace
from twinloop.instruments.conformance.testing_planted import ANNEAL, ASK, DEFECTS, Defect, planted
from twinloop.instruments.interface import (
    Command,
    Limit,
    OnSilence,
    Partial,
    Recovery,
    Unknown,
    Verdict,
    action,
    readout,
)
from twinloop.instruments.locks import FolderLock
from twinloop.instruments.testing import Annealed, Furnace, Hold_K, Hold_s, LineFault
from twinloop.results import Result
from twinloop.units import Kelvin

__all__ = ["DEFECTS", "Defect", "testing_deaths"]


# --- what the class says of itself -----------------------------------------------------------------


@planted("S1")
class ShiftingFurnace(Furnace):
    """Its limit is another one in every process."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(
        self, *, target_K: Annotated[Kelvin, Limit(293, 1000 + os.getpid() % 9973)]
    ) -> Kelvin:
        """Set a temperature."""
        return target_K


@planted("S2")
class UnitlessFurnace(Furnace):
    """Takes a float that has no unit."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target: float) -> Kelvin:  # type: ignore[override]
        """Set a temperature."""
        return target


@planted("S2")
class AnythingFurnace(Furnace):
    """Takes whatever it is given."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target: Any) -> Kelvin:  # type: ignore[override]
        """Set a temperature."""
        return float(target)


@planted("S3")
class UnlimitedFurnace(Furnace):
    """Takes a temperature without a limit."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Kelvin) -> Kelvin:
        """Set a temperature."""
        return target_K


@planted("S3")
class BadDefaultFurnace(Furnace):
    """Its default lies outside its limit."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Hold_K = 2000.0) -> Kelvin:
        """Set a temperature."""
        return target_K


@planted("S4")
class WordlessFurnace(Furnace):
    """Has an action without a word about it."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Hold_K) -> Kelvin:
        return target_K


@planted("S5")
class UnaskableFurnace(Furnace):
    """Is reconcilable, and cannot be asked."""

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Hold_K) -> Kelvin:
        """Set a temperature."""
        return target_K


class Baked(Result):
    """A record whose numbers have no unit."""

    peak: float


@planted("S6")
class UnitlessResultFurnace(Furnace):
    """Returns a number without a unit."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Hold_K) -> Baked:  # type: ignore[override]
        """Set a temperature."""
        return Baked(peak=target_K)


@planted("S7")
class AsyncSafeFurnace(Furnace):
    """Its safe state is a coroutine that nobody awaits."""

    async def safe_state(self) -> None:  # type: ignore[override]
        """Heater off."""
        self.line.cut("never")


# --- connections -----------------------------------------------------------------------------------


@planted("C1")
class EagerFurnace(Furnace):
    """Opens its device when an object is made."""

    def model_post_init(self, _context: Any, /) -> None:
        """Write to the device."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        (Path(self.folder) / "hello.txt").write_text("hello", encoding="utf-8")


@planted("C2")
class ConnectOnceFurnace(Furnace):
    """Cannot be connected where it is connected."""

    def connect(self) -> None:
        """Open the line, once."""
        if self._line is not None:
            raise LineFault("connected already")
        super().connect()


@planted("C3")
class OneClientFurnace(Furnace):
    """Takes one client at a time: its watchdog stays outside."""

    def connect(self) -> None:
        """Open the line, alone."""
        super().connect()
        self.lock = FolderLock(Path(self.folder) / "client.lock")


# --- limits and interlocks -------------------------------------------------------------------------


class _Loose(Limit):
    """A limit that lets everything pass."""

    def check(self, name: str, value: float, unit: str = "", where: str = "") -> float:  # noqa: ARG002
        return min(max(value, self.low), self.high)


@planted("L1", "heat")
class ClampingFurnace(Furnace):
    """Makes something else of what is outside, instead of refusing it."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Annotated[Kelvin, _Loose(293, 1423)]) -> Kelvin:
        """Set a temperature."""
        self.line.note("heat", key=str(self.command.key), target_K=target_K)
        return target_K


Steps = Annotated[int, BeforeValidator(lambda _: 1)]


@planted("L3", "heat")
class LenientFurnace(Furnace):
    """Takes text and booleans for a number."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, steps: Steps = 1) -> None:  # type: ignore[override]
        """Heat in steps."""
        self.line.note("heat", key=str(self.command.key), target_K=float(steps))


@planted("L5", "heat")
class JumpingFurnace(RampedFurnace):
    """Goes at ten times the rate that its limit allows."""

    rate_K_per_s: float = 10.0

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Hold_K) -> Kelvin:
        """Walk to a temperature and leave it there."""
        self.line.note("heat", key=str(self.command.key), target_K=target_K)
        self.heater.walk(target_K + 8.0, self.rate_K_per_s)
        await self.clock.sleep(2.0)
        return target_K


@planted("I2", "anneal")
class BlindFurnace(Furnace):
    """Its lid is always closed, whatever the contact says."""

    @readout
    async def lid_is_closed(self) -> bool:
        """Return that it is closed."""
        return True


# --- work ------------------------------------------------------------------------------------------


@planted("K1", "anneal")
class TwiceFurnace(Furnace):
    """Begins every run twice, to be sure."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        self.line.run(str(self.command.key), hold_K, hold_s)
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    anneal.reconcile(ASK)


@planted("P1", "anneal")
class OtherResultFurnace(Furnace):
    """Returns a number where a record is annotated."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        done = await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)
        return done.peak_K  # type: ignore[return-value]

    anneal.reconcile(ASK)


@planted("P2", "heat")
class NaNFurnace(Furnace):
    """Returns a number that is none."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE)
    async def heat(self, *, target_K: Hold_K) -> Kelvin:
        """Set a temperature."""
        self.line.note("heat", key=str(self.command.key), target_K=target_K)
        return math.nan


@planted("P3", "anneal")
class NaNStreamFurnace(Furnace):
    """Emits NaN while it has nothing to say."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        self.emit("temperature", {"temperature_K": math.nan}, {})
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    anneal.reconcile(ASK)


@planted("T4", "anneal")
class OneQuestionFurnace(Furnace):
    """Has one line, and answers no question while something runs."""

    @readout
    async def setpoint_K(self) -> Kelvin:
        """Return the setpoint, when nothing runs."""
        if self.is_busy():
            raise LineFault("in use")
        return 293.0


# --- stopping --------------------------------------------------------------------------------------


@planted("A1", "anneal")
class DeafFurnace(Furnace):
    """Does not hear an abort."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        key = str(self.command.key)
        self.line.run(key, hold_K, hold_s)
        while self.line.state_of(key) == "running":
            with contextlib.suppress(asyncio.CancelledError):
                await self.clock.sleep(self.poll_s)
        return self._annealed(key)

    anneal.reconcile(ASK)


@planted("A2", "anneal")
class ForgetfulFurnace(Furnace):
    """Knows nothing of a run that was cut short."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask by command key."""
        if self.line.state_of(str(command.key)) == "partial":
            return Unknown("cut short")
        return await ASK(self, command)


@planted("A2", "anneal")
class WordlessPartialFurnace(Furnace):
    """Says PARTIAL, and not how much."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        return await ANNEAL(self, hold_K=hold_K, hold_s=hold_s)

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask by command key."""
        if self.line.state_of(str(command.key)) == "partial":
            return Partial()
        return await ASK(self, command)


@planted("A3", "anneal")
class RunawayFurnace(Furnace):
    """Goes on at the device after an abort."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        key = str(self.command.key)
        self.line.run(key, hold_K, 3.0 * hold_s)
        while self.line.state_of(key) == "running":
            await self.clock.sleep(self.poll_s)
        return self._annealed(key)

    @anneal.reconcile
    async def what_was_annealed(self, command: Command) -> Verdict:
        """Ask by command key."""
        return Partial(peak_K=self.line.peak_K(str(command.key)))


@planted("E1", "anneal")
class ReluctantFurnace(Furnace):
    """Refuses its safe state in the middle of a run."""

    def safe_state(self) -> None:
        """Heater off, when nothing runs."""
        if self.is_busy():
            raise LineFault("busy")
        super().safe_state()

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K, hold_s: Hold_s) -> Annealed:
        """Hold a temperature for a while."""
        key = str(self.command.key)
        self.line.run(key, hold_K, 2.0 * hold_s)
        while self.line.state_of(key) == "running":
            await self.clock.sleep(self.poll_s)
        return self._annealed(key)

    anneal.reconcile(ASK)
