"""Two good furnaces on which defects are planted: one whose heater really ramps, one with a setter."""

import json
from pathlib import Path
from typing import Annotated

from twinloop.instruments.interface import Limit, OnSilence, Recovery, action, readout
from twinloop.instruments.testing import Furnace, FurnaceLine
from twinloop.instruments.testing_rehearsal import FurnaceRehearsal
from twinloop.units import Kelvin

__all__ = ["Heater", "RampedFurnace", "RampedRehearsal"]

ROOM_K, RATE_K_PER_S = 293.0, 1.0
Target_K = Annotated[Kelvin, Limit(293, 1423, rate_per_s=RATE_K_PER_S)]


class Heater:
    """A controller that walks from one temperature to another, whoever looks.

    Args:
        folder: where it keeps what it was told.
        line: gives the time.
    """

    def __init__(self, folder: Path, line: FurnaceLine) -> None:
        self._file, self._line = folder / "heater.json", line

    def walk(self, to_K: float, rate_K_per_s: float) -> None:
        """Walk to a temperature from where it is now."""
        told = {
            "from_K": self.now_K(),
            "to_K": to_K,
            "rate": rate_K_per_s,
            "at_s": self._line.wall_s(),
        }
        draft = self._file.with_suffix(".tmp")
        draft.write_text(json.dumps(told), encoding="utf-8")
        draft.replace(self._file)

    def now_K(self) -> float:
        """Return the temperature now."""
        try:
            told = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ROOM_K
        way_K = told["to_K"] - told["from_K"]
        walked_K = min(abs(way_K), told["rate"] * (self._line.wall_s() - told["at_s"]))
        return float(told["from_K"] + (walked_K if way_K > 0 else -walked_K))


class RampedFurnace(Furnace):
    """A furnace whose thermocouple shows what its heater does."""

    rate_K_per_s: float = RATE_K_PER_S

    @property
    def heater(self) -> Heater:
        """Return the heater on the line."""
        return Heater(Path(self.folder), self.line)

    def safe_state(self) -> None:
        """Heater off; the twin of a furnace cools at once."""
        super().safe_state()
        self.heater.walk(ROOM_K, 1e9)

    @readout
    async def temperature_K(self) -> Annotated[Kelvin, Limit(0, 2000)]:
        """Return the temperature."""
        return self.heater.now_K()

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE, silence_s=0.5)
    async def heat(self, *, target_K: Target_K) -> Kelvin:
        """Walk to a temperature and leave it there."""
        self.line.note("heat", key=str(self.command.key), target_K=target_K)
        self.heater.walk(target_K, self.rate_K_per_s)
        while abs(self.heater.now_K() - target_K) > 1e-6:
            await self.clock.sleep(self.poll_s)
        return self.heater.now_K()


class RampedRehearsal(FurnaceRehearsal):
    """As the furnace's, with the rate of its heater."""

    instrument = RampedFurnace
    examples = {**FurnaceRehearsal.examples, "heat": {"target_K": 294.5}}  # noqa: RUF012 - declared
    follows = {"heat.target_K": "temperature_K"}  # noqa: RUF012 - declared
    safe = {"temperature_K": (250.0, 293.5)}  # noqa: RUF012 - declared
