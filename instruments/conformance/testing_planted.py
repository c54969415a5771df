"""How a defect is planted: a class in the list, with the clause that it breaks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from twinloop.instruments.interface import Instrument, Verdict
from twinloop.instruments.testing import Annealed, Furnace

__all__ = ["ANNEAL", "ASK", "DEFECTS", "Defect", "planted"]


@dataclass(frozen=True, slots=True)
class Defect:
    """One planted defect.

    Args:
        cls: the class that has it.
        clause: that must be found broken.
        action: that it is about; "" for the whole instrument.
    """

    cls: type[Instrument]
    clause: str
    action: str = ""


DEFECTS: list[Defect] = []


def planted(clause: str, action_name: str = "") -> Callable[[type[Furnace]], type[Furnace]]:
    """Take a class into the list."""

    def take(cls: type[Furnace]) -> type[Furnace]:
        DEFECTS.append(Defect(cls, clause, action_name))
        return cls

    return take


ANNEAL: Callable[..., Awaitable[Annealed]] = Furnace.anneal.function
ASK = cast("Callable[..., Awaitable[Verdict]]", Furnace.anneal.reconciler)
