"""From what an action returns to what can be told: JSON, arrays in the spool, limits of the result."""

import asyncio
from typing import Any, Literal

from twinloop.instruments.spool import Spool
from twinloop.limits import Limit, limit_of
from twinloop.messages import ArrayRef, Command, Outcome
from twinloop.results import Result, encode_result
from twinloop.wire.envelope import pack

__all__ = ["limit_complaint", "store_result"]

_LONGEST_REASON = "x" * 1000


async def store_result(
    command: Command, value: object, state: Literal["done", "partial"], spool: Spool
) -> tuple[Any, tuple[ArrayRef, ...]]:
    """Return JSON and array descriptions of a result; the arrays are in the spool, fsynced.

    Raises:
        ArgumentError: a value that cannot travel.
        MessageRejected: more JSON than a message holds; a long result belongs into an array.
        FrameError: an array that is not numeric.
        SpoolFailed: the disk refuses.
    """
    result, arrays = encode_result(value)
    refs = await asyncio.to_thread(spool.store, command.key, arrays) if arrays else ()
    # an outcome that cannot be sent would be told for ever and never heard
    pack(
        Outcome.model_validate(
            {
                "key": command.key,
                "instrument": command.instrument,
                "ledger": "x" * 64,
                "state": state,
                "result": result,
                "arrays": refs,
                "reason": _LONGEST_REASON,
            }
        )
    )
    return result, refs


def limit_complaint(value: object, annotation: object, where: str) -> str | None:
    """Return a complaint when a returned quantity is outside the limit of its type.

    Example:
        >>> from typing import Annotated
        >>> from twinloop.limits import Limit
        >>> limit_complaint(2000.0, Annotated[float, Limit(0, 1500)], "peak_K")
        'peak_K is 2000, allowed 0 to 1500'
    """
    if isinstance(value, Result):
        for name, field in type(value).model_fields.items():
            for extra in field.metadata:
                complaint = _broken(getattr(value, name), extra, f"{where}.{name}")
                if complaint:
                    return complaint
        return None
    return _broken(value, limit_of(annotation), where)


def _broken(value: object, limit: object, where: str) -> str | None:
    if not isinstance(limit, Limit) or isinstance(value, bool):
        return None
    if not isinstance(value, int | float) or limit.low <= value <= limit.high:
        return None
    return f"{where} is {value:g}, allowed {limit.low:g} to {limit.high:g}"
