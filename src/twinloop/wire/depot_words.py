"""What is said on the depot's own port: each message is one JSON header and, at times, bytes.

- put: `Have` -> `Offset` | `Durable`; `Chunk` + bytes -> `Offset` ... -> `Durable`;
- get: `Get` -> `Piece` + bytes;
- either may be answered `DepotError`;
- a question carries a number, `ask`, that its answer repeats;
- streams: `Subscribe` (said again while wanted); `Publish` + frames -> `Publish` + frames to each
  subscriber, never stored, lost when a queue is full.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

from twinloop.errors import MessageRejected
from twinloop.messages import ArrayRef, Digest, JsonObject

__all__ = [
    "CHUNK_BYTES",
    "MAX_DEPOT_FRAMES",
    "Chunk",
    "DepotError",
    "Durable",
    "Get",
    "Have",
    "Offset",
    "Piece",
    "Publish",
    "Subscribe",
    "Word",
    "decode_word",
    "encode_word",
]

CHUNK_BYTES = 1024 * 1024
MAX_DEPOT_FRAMES = 9
_MAX_HEADER_BYTES = 16 * 1024
StreamName = Annotated[str, Field(min_length=1, max_length=128)]


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Have(_Word):
    """I have this array; from where do you want it?"""

    kind: Literal["have"] = "have"
    ask: NonNegativeInt
    digest: Digest
    nbytes: NonNegativeInt


class Offset(_Word):
    """Bytes up to here are kept; go on."""

    kind: Literal["offset"] = "offset"
    ask: NonNegativeInt
    digest: Digest
    offset: NonNegativeInt


class Durable(_Word):
    """The array is on the disk, whole, and its digest is right."""

    kind: Literal["durable"] = "durable"
    ask: NonNegativeInt
    digest: Digest


class Chunk(_Word):
    """One frame of bytes of the array, from `offset`, of `nbytes` in all."""

    kind: Literal["chunk"] = "chunk"
    ask: NonNegativeInt
    digest: Digest
    offset: NonNegativeInt
    nbytes: NonNegativeInt


class Get(_Word):
    """Give me bytes from `offset`, at most one chunk."""

    kind: Literal["get"] = "get"
    ask: NonNegativeInt
    digest: Digest
    offset: NonNegativeInt


class Piece(_Word):
    """One frame of bytes of the array, from `offset`, of `nbytes` in all."""

    kind: Literal["piece"] = "piece"
    ask: NonNegativeInt
    digest: Digest
    offset: NonNegativeInt
    nbytes: NonNegativeInt


class DepotError(_Word):
    """It cannot be done: `damaged` bytes, `absent` array, `full` or failing `disk`."""

    kind: Literal["error"] = "error"
    ask: NonNegativeInt
    digest: Digest
    code: Literal["damaged", "absent", "full", "disk", "too_large"]
    detail: Annotated[str, Field(max_length=1000)] = ""


class Subscribe(_Word):
    """Send me what is published under this name; forgotten after some seconds of silence."""

    kind: Literal["subscribe"] = "subscribe"
    stream: StreamName


class Publish(_Word):
    """One element of a stream.

    Args:
        stream: name of the stream.
        key: what it belongs to (a command key), as text.
        n: number of the element; a gap tells how many were lost.
        about: JSON.
        arrays: the frames that follow, in order.
    """

    kind: Literal["publish"] = "publish"
    stream: StreamName
    key: Annotated[str, Field(max_length=256)] = ""
    n: NonNegativeInt
    about: JsonObject = {}
    arrays: Annotated[tuple[ArrayRef, ...], Field(max_length=MAX_DEPOT_FRAMES - 1)] = ()


Word = Annotated[
    Have | Offset | Durable | Chunk | Get | Piece | DepotError | Subscribe | Publish,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Word)


def encode_word(word: _Word) -> bytes:
    """Return the header bytes."""
    return word.model_dump_json().encode()


def decode_word(header: bytes) -> Word:
    """Return what header bytes stand for.

    Raises:
        MessageRejected: too long, not JSON, an unknown kind or field.
    """
    if len(header) > _MAX_HEADER_BYTES:
        raise MessageRejected("header size", f"{len(header)} bytes, allowed {_MAX_HEADER_BYTES}")
    try:
        word: Word = _ADAPTER.validate_json(header)
    except ValidationError as err:
        raise MessageRejected("header", str(err)[:500]) from err
    return word
