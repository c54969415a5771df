"""Move a sample from one instrument to another: two steps, each once, each reconciled by its key.

    await move(mbe, stm)

Between the two steps the sample is in the transfer vessel. A crash there, or in the middle of one,
loses nothing: after it the protocol runs again with the recorded results, a step whose outcome is not
known is asked of the instrument by command key, and the sample is where the last certain step left it.
"""

from collections.abc import Awaitable
from typing import Protocol

__all__ = ["Giver", "Taker", "move"]


class Giver(Protocol):
    """An instrument that puts its sample into the transfer vessel."""

    def give(self) -> Awaitable[None]:
        """Put it in."""
        ...


class Taker(Protocol):
    """An instrument that takes the trial's sample out of the transfer vessel."""

    def take(self) -> Awaitable[None]:
        """Take it out."""
        ...


async def move(source: Giver, target: Taker) -> None:
    """Bring the trial's sample from one instrument to another."""
    await source.give()
    await target.take()
