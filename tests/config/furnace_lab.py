"""A small laboratory for tests of the configuration: one furnace, as contract, twin and machine."""

from abc import abstractmethod
from typing import Annotated, ClassVar

from twinloop.instruments.interface import Instrument, Limit, OnSilence, Recovery, action
from twinloop.protocols.interface import Outcome, Point, Trial, protocol
from twinloop.units import Kelvin, MonolayersPerSecond, Seconds

Hold_K = Annotated[Kelvin, Limit(293, 1423)]


class Furnace(Instrument, kind="furnace"):
    """Anneal one sample at a time."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH)
    @abstractmethod
    async def anneal(self, *, hold_K: Hold_K) -> Kelvin:
        """Hold a temperature."""


class FurnaceTwin(Furnace):
    """Computes what a furnace would do."""

    is_twin: ClassVar[bool] = True
    ambient_K: Kelvin = 293.0

    def connect(self) -> None:
        """Nothing to open."""

    def safe_state(self) -> None:
        """Nothing to switch off."""

    @Furnace.anneal.implement
    async def anneal(self, *, hold_K: Hold_K) -> Kelvin:
        """Hold a temperature."""
        return hold_K


class RealFurnace(FurnaceTwin):
    """Stands for hardware."""

    is_twin: ClassVar[bool] = False
    port: str = "COM1"


class Gauge(Instrument, kind="gauge"):
    """Another kind, which the protocol does not use."""

    is_twin: ClassVar[bool] = True

    def connect(self) -> None:
        """Nothing to open."""

    def safe_state(self) -> None:
        """Nothing to switch off."""


class Recipe(Point):
    hold_K: Annotated[Kelvin, Limit(250, 2000)]
    flux_ML_per_s: MonolayersPerSecond
    ramp_s: Seconds


class Sample(Outcome):
    quality: float
    peak_K: Kelvin
    label: str = ""


class Worded(Point):
    hold_K: Kelvin
    gas: str


@protocol(version=3)
async def bake(trial: Trial[Recipe], furnace: Furnace) -> Sample:
    """Bake a sample."""
    peak_K = await furnace.anneal(hold_K=trial.point.hold_K)
    return Sample(quality=1.0, peak_K=peak_K)


@protocol(version=1)
async def worded(trial: Trial[Worded], furnace: Furnace) -> Sample:
    """Search something that is no number."""
    return Sample(quality=1.0, peak_K=await furnace.anneal(hold_K=trial.point.hold_K))


@protocol(version=1)
async def stray(trial: Trial[Recipe], furnace: Furnace, helper: dict) -> Sample:
    """Ask for something that is neither instrument nor analyst."""
    return Sample(quality=1.0, peak_K=await furnace.anneal(hold_K=trial.point.hold_K))
