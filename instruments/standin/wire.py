"""What twin and machine process say to each other: JSON and raw array frames, request and reply.

A request is [number, JSON]; its reply is [the same number, JSON, one frame for each array]. Every
request may be repeated: operations carry keys, the others change nothing or the same thing again.
"""

from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from twinloop.errors import MessageRejected
from twinloop.instruments.standin.interface import Operation, Progress, Readings, State
from twinloop.messages import ArrayRef
from twinloop.wire.arrays import as_bytes, describe, rebuild

__all__ = [
    "MAX_FRAME_BYTES",
    "Reply",
    "Request",
    "decode_reply",
    "decode_request",
    "encode_reply",
    "progress_of",
    "reply_of",
]

MAX_FRAME_BYTES = 16 * 2**20


class Request(BaseModel):
    """One question to the machine; the fields beside `ask` that it needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ask: Literal["begin", "progress", "abort", "safe_state", "readings"]
    operation: Operation | None = None
    key: str = ""
    since: NonNegativeInt = 0
    reason: str = ""


class Reply(BaseModel):
    """The machine's answer; `error` says why there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    error: str = ""
    state: State | None = None
    numbers: dict[str, float] = {}
    arrays: tuple[ArrayRef, ...] = ()
    reason: str = ""
    readings: Readings | None = None


def reply_of(progress: Progress) -> tuple[Reply, list[NDArray[Any]]]:
    """Return the reply that carries a progress, and its arrays in order."""
    refs = tuple(describe(name, array, inline=True) for name, array in progress.arrays.items())
    reply = Reply(
        state=progress.state, numbers=dict(progress.numbers), arrays=refs, reason=progress.reason
    )
    return reply, list(progress.arrays.values())


def progress_of(reply: Reply, frames: list[bytes]) -> Progress:
    """Return the progress that a reply carries.

    Raises:
        MessageRejected: frames that do not fit their description, or no progress in it.
    """
    if reply.state is None or len(frames) != len(reply.arrays):
        raise MessageRejected("machine", f"{len(frames)} frames for {len(reply.arrays)} arrays")
    pairs = zip(reply.arrays, frames, strict=True)
    arrays = {ref.name: rebuild(ref, frame) for ref, frame in pairs}
    return Progress(reply.state, reply.numbers, arrays, reply.reason)


def encode_reply(reply: Reply, arrays: list[NDArray[Any]]) -> list[bytes | memoryview]:
    """Return the frames of a reply, without its number."""
    return [reply.model_dump_json().encode(), *(as_bytes(array) for array in arrays)]


def decode_reply(frame: bytes) -> Reply:
    """Return the reply in a frame.

    Raises:
        MessageRejected: not a reply.
    """
    try:
        return Reply.model_validate_json(frame)
    except ValidationError as err:
        raise MessageRejected("machine", str(err)[:500]) from err


def decode_request(frame: bytes) -> Request:
    """Return the request in a frame.

    Raises:
        MessageRejected: not a request.
    """
    try:
        return Request.model_validate_json(frame)
    except ValidationError as err:
        raise MessageRejected("machine", str(err)[:500]) from err
