"""An operation of the stand-in chamber under way: what was asked, what has come of it."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from twinloop.errors import LabError
from twinloop.instruments.standin.interface import Operation
from twinloop.instruments.standin.plant import GrowthTrace

__all__ = ["Interrupted", "Recipe", "Run"]

Recipe = Generator[float, None, None]
"""Does one slice of physics at each step, and yields the laboratory time that it stands for [s]."""


class Interrupted(LabError):
    """The operation is cut short, here and now."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the operation was cut short: {reason}")


@dataclass(slots=True)
class Run:
    """An operation under way.

    Args:
        operation: what was asked.
        numbers: result, or what happened so far; replaced, never changed in place.
        arrays: result.
        is_touched: something irreversible has happened.
        interrupt: reason why it is to be cut short.
        trace: of a `record`, the growth that it takes.
    """

    operation: Operation
    numbers: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    is_touched: bool = False
    interrupt: str = ""
    trace: GrowthTrace | None = None

    def is_cancelled(self) -> bool:
        """True when the physics should stop at its next look."""
        return bool(self.interrupt)

    def facts(self, state: str) -> dict[str, Any]:
        """Return what the physical log keeps so that a restarted machine can answer."""
        return {"key": self.operation.key, "state": state, "numbers": self.numbers}
