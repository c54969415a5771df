"""What a pure core asks its shell to do.

A core decides and touches nothing: each of its inputs returns a list of effects, which the shell
runs in that order. These four are shared by all agents; an agent defines more beside its core.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from twinloop.log.interface import Entry
from twinloop.messages import Message

__all__ = ["Append", "Effect", "Exit", "Send", "Sync"]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message; best effort: it may be lost, doubled, late or out of order.

    Args:
        to: name of the agent, or "hub".
        message: what to say.
        arrays: content of the inline `ArrayRef`s of the message, in their order.
    """

    to: str
    message: Message
    arrays: tuple[NDArray[Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Append:
    """Add an entry to the agent's own log; on disk only after the next `Sync`."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Sync:
    """A gate: all that was appended so far is on disk before the next effect runs."""


@dataclass(frozen=True, slots=True)
class Exit:
    """End the process.

    Args:
        code: exit status; 0 is an end on purpose.
        reason: for people.
    """

    code: int
    reason: str


Effect: TypeAlias = Send | Append | Sync | Exit
