"""A growth chamber for tests: both twins, a clock, commands with fresh keys, a kept stream."""

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twinloop.clocks import LabClock, VirtualClock
from twinloop.ids import CommandKey
from twinloop.instruments.interface import Instrument
from twinloop.instruments.mbe.interface import Grown
from twinloop.instruments.mbe.twin import MBETwin
from twinloop.instruments.rheed.interface import Trace
from twinloop.instruments.rheed.twin import RHEEDTwin
from twinloop.instruments.standin.local import forget_chamber
from twinloop.instruments.standin.settings import (
    CellSettings,
    CellsSettings,
    ChamberSettings,
    HeaterSettings,
    LoopSettings,
)
from twinloop.messages import Command
from twinloop.results import Array

__all__ = ["Bench", "command_for", "small_alloy_chamber"]

_STEPS = itertools.count()


def small_alloy_chamber(seed: int = 1, **more: Any) -> ChamberSettings:
    """Return a small chamber with two cells and a controlled heater, quick to settle.

    Args:
        seed: of the chamber.
        more: other settings.
    """
    coarse = CellSettings().loop.model_copy(update={"sample_s": 0.2})
    cells = CellsSettings(
        gallium=CellSettings(rate_K_per_s=20.0, standby_K=1050.0, loop=coarse),
        aluminium=CellSettings(rate_K_per_s=20.0, standby_K=1150.0, loop=coarse),
    )
    heater = HeaterSettings(loop=LoopSettings(sample_s=0.2))
    made = {"size": 16, "load_s": 1.0, "heater": heater, "cells": cells, "seed": seed}
    return ChamberSettings(**{**made, **more})


def command_for(twin: Instrument, action: str, sample: str, **arguments: float) -> Command:
    """Return a command with a key that no other command has."""
    return Command(
        key=CommandKey("bench", sample, str(next(_STEPS)), 0),
        instrument=twin.kind,
        action=action,
        arguments=arguments,
        sample=sample,
        epoch=1,
        ledger="bench",
        not_after_s=1e12,
    )


class Bench:
    """Both twins of one chamber, connected.

    Args:
        settings: of a chamber in this process; None with `machine`.
        machine: endpoint of a machine process.
        clock: laboratory clock; None: virtual.
        name: of the chamber in this process.
        vessel: folder of its transfer vessel; None: there is none.

    Example:
        >>> bench = Bench(ChamberSettings(size=16))
        >>> bench.run(bench.prepare("s1", substrate_K=650.0))
        >>> bench.mbe.truth()["sample"]
        's1'
        >>> bench.close()
    """

    def __init__(
        self,
        settings: ChamberSettings | None = None,
        *,
        machine: str | None = None,
        clock: LabClock | None = None,
        name: str = "bench",
        vessel: Path | None = None,
    ) -> None:
        forget_chamber(name)
        self.name = name
        self.clock: LabClock = VirtualClock() if clock is None else clock
        where = None if vessel is None else str(vessel)
        self.mbe = MBETwin(machine=machine, chamber=name, settings=settings, vessel=where)
        self.rheed = RHEEDTwin(machine=machine, chamber=name)
        self.stream: list[tuple[Mapping[str, float], Mapping[str, Array]]] = []
        self.mbe.attach(self.clock)
        self.rheed.attach(
            self.clock, lambda _, numbers, arrays: self.stream.append((numbers, arrays))
        )
        self.mbe.connect()
        self.rheed.connect()

    def close(self) -> None:
        """Let go of the machine."""
        self.mbe.disconnect()
        self.rheed.disconnect()
        forget_chamber(self.name)

    def run(self, coroutine: Any) -> Any:
        """Run one coroutine to its end."""
        return asyncio.run(coroutine)

    async def act(self, twin: Instrument, action: str, sample: str, **arguments: float) -> Any:
        """Perform one action with a key of its own."""
        return await self.obey(twin, command_for(twin, action, sample, **arguments))

    async def obey(self, twin: Instrument, command: Command) -> Any:
        """Perform a command."""
        twin.begin(command)
        return await getattr(twin, command.action)(**command.arguments)

    async def prepare(self, sample: str, *, substrate_K: float) -> None:
        """Bring a sample in and heat it."""
        await self.act(self.mbe, "load", sample)
        await self.act(self.mbe, "heat", sample, substrate_K=substrate_K)

    async def grow(
        self, sample: str, *, flux_ML_per_s: float, dose_ML: float
    ) -> tuple[Grown, Trace]:
        """Grow and record."""
        grown, trace = await asyncio.gather(
            self.act(self.mbe, "grow", sample, flux_ML_per_s=flux_ML_per_s, dose_ML=dose_ML),
            self.act(self.rheed, "record", sample, wait_s=600.0),
        )
        return grown, trace

    async def until_grown(self, coverage_ML: float) -> None:
        """Let others run until the film in this process has a coverage [ML]."""
        while self.mbe.truth()["coverage_ML"] < coverage_ML:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0)
