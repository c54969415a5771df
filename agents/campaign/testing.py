"""A small laboratory for tests and fault simulation: an oven, a ruler, a protocol.

Each trial loads a sample, bakes it, measures it. The oven's `bake` is what must never happen twice.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any

from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.core import Plan
from twinloop.agents.campaign.events import CampaignStarted
from twinloop.agents.campaign.goal import Goal
from twinloop.instruments.interface import Instrument, OnSilence, Recovery, action
from twinloop.limits import Limit
from twinloop.planners.interface import Known, Proposal, Theory, sobol
from twinloop.planners.simulations import Prior
from twinloop.planners.space import Space
from twinloop.protocols.interface import Outcome, Point, Protocol, Trial, protocol, together
from twinloop.results import Result
from twinloop.units import Kelvin, Seconds

__all__ = ["THEORY", "Baked", "Bread", "Dough", "Oven", "Ruler", "bake_bread", "brief"]

THEORY = Theory("loaf", "", {"best_K": Prior(450.0, 20.0)}, ("height", "crust"))
"""What is believed of the oven: at which temperature bread rises best."""

Bake_K = Annotated[Kelvin, Limit(300, 600)]
Bake_s = Annotated[Seconds, Limit(0, 3600)]


class Baked(Result):
    """What a bake reports."""

    peak_K: Kelvin
    lasted_s: Seconds


class Oven(Instrument, kind="oven"):
    """The contract of an oven."""

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH, loads_sample=True)
    @abstractmethod
    async def load(self) -> None:
        """Put the sample in."""

    @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH)
    @abstractmethod
    async def bake(self, *, bake_K: Bake_K, bake_s: Bake_s) -> Baked:
        """Heat, hold, cool."""


class Ruler:
    """A stand-in for an analyst: quantities that a compute agent gives."""

    @staticmethod
    def height(*, peak_K: float) -> Any:
        """Return a height that is best at 450 K."""
        return 1.0 - ((peak_K - 450.0) / 150.0) ** 2

    @staticmethod
    def crust(*, lasted_s: float) -> Any:
        """Return a crust that grows with time."""
        return lasted_s / 3600.0

    @classmethod
    def quantities(cls) -> dict[str, Callable[..., Any]]:
        """Return the quantities by name."""
        return {"height": cls.height, "crust": cls.crust}


class Dough(Point):
    """What a trial tries."""

    bake_K: Kelvin
    bake_s: Seconds


class Bread(Outcome):
    """What a trial finds."""

    height: float
    crust: float


@protocol(version=1)
async def bake_bread(trial: Trial[Dough], oven: Oven, ruler: Ruler) -> Bread:
    """Load, bake, give the oven back, measure twice at once."""
    await oven.load()
    baked = await oven.bake(bake_K=trial.point.bake_K, bake_s=trial.point.bake_s)
    await trial.release(oven)
    height, crust = await together(
        ruler.height(peak_K=baked.peak_K),
        ruler.crust(lasted_s=baked.lasted_s),
    )
    return Bread(height=height, crust=crust)


def _opening(known: Known) -> Proposal | None:
    return Proposal(x=sobol(known), why={"initial": 1.0}) if known.n < 3 else None


def brief(
    experiments: int = 4,
    *,
    parallel: int = 1,
    protocol: Protocol[Any] = bake_bread,
    seed: int = 7,
    campaign: str = "bread",
    theory: Theory | None = None,
) -> Brief:
    """Return a campaign of the small laboratory: three Sobol points, then a planner."""
    return Brief(
        plan=Plan(
            campaign,
            {"oven": "oven"},
            experiments=experiments,
            parallel=parallel,
            simulations_ahead=4 if theory else 0,
            simulations=30,
        ),
        protocol=protocol,
        space=Space.of({"bake_K": (300.0, 600.0), "bake_s": (60.0, 3600.0)}),
        goal=Goal("height"),
        opening=_opening,
        fallback=lambda known: Proposal(x=sobol(known), why={"fallback": 1.0}),
        first=CampaignStarted(
            campaign=campaign,
            seed=seed,
            config={},
            protocol=protocol.name,
            protocol_version=protocol.version,
            protocol_digest=protocol.source_digest,
            planner="sobol",
            planner_version=1,
            versions={},
            clock_factor=1.0,
        ),
        adapters={"oven": "bakery"},
        targets={"ruler": "ruler"},
        theory=theory,
    )
