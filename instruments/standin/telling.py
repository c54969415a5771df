"""What a run has told, as the result that the contract promises."""

from typing import TypeVar

from twinloop.instruments.standin.interface import Progress
from twinloop.results import Result

__all__ = ["result_of"]

R = TypeVar("R", bound=Result)


def result_of(kind: type[R], done: Progress, **others: object) -> R:
    """Return a result whose fields are numbers and arrays of the same names.

    Numbers are told as floats; a field that is an int or a bool converts them, and a number that is
    not whole is refused there. What was told beside the fields stays out.

    Args:
        kind: of the result.
        done: numbers and arrays of the run.
        others: fields that were told otherwise, or not at all; they come before what was told.

    Example:
        >>> class Counted(Result):
        ...     steps: int
        ...     is_complete: bool
        ...     mode: str
        >>> told = Progress(state="done", numbers={"steps": 3.0, "is_complete": 1.0, "lines": 8.0})
        >>> result_of(Counted, told, mode="fast")
        Counted(steps=3, is_complete=True, mode='fast')
    """
    told = {**done.numbers, **done.arrays}
    values = {name: told[name] for name in kind.model_fields if name in told}
    return kind(**{**values, **others})
