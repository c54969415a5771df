"""A message and its arrays as frames, and back, with every limit of the wire.

The frames are `[header, array, ...]`: the header is JSON, the arrays are the inline `ArrayRef`s of
the message in their order. A name of sender or receiver before them belongs to mailbox and hub.
"""

import re
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from twinloop.errors import FrameError, MessageRejected
from twinloop.messages import ArrayRef, Message, decode_message, encode_message
from twinloop.wire.arrays import as_bytes, check_bytes, rebuild

__all__ = [
    "MAX_ARRAY_FRAMES",
    "MAX_HEADER_BYTES",
    "MAX_MESSAGE_BYTES",
    "check_frames",
    "pack",
    "unpack",
]

MAX_MESSAGE_BYTES = 64 * 1024
MAX_HEADER_BYTES = 16 * 1024
MAX_ARRAY_FRAMES = 8
# 8 levels inside a JSON value of a message, the value itself, and the message around it
_MAX_BRACKETS = 10
# the closing quote is optional, so that an endless string costs one pass and not one for each quote
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")

Frame = bytes | bytearray | memoryview


def check_frames(frames: Sequence[Frame]) -> None:
    """Check number and sizes of `[header, array, ...]` without reading them.

    Raises:
        MessageRejected: `frames`, `header size` or `size`.
    """
    n_frames = len(frames)
    if not 1 <= n_frames <= 1 + MAX_ARRAY_FRAMES:
        raise MessageRejected("frames", f"{n_frames} frames, allowed 1 to {1 + MAX_ARRAY_FRAMES}")
    if len(frames[0]) > MAX_HEADER_BYTES:
        raise MessageRejected("header size", f"{len(frames[0])} bytes, allowed {MAX_HEADER_BYTES}")
    n_bytes = sum(map(len, frames))
    if n_bytes > MAX_MESSAGE_BYTES:
        raise MessageRejected(
            "size", f"{n_bytes} bytes, allowed {MAX_MESSAGE_BYTES}; put arrays in the depot"
        )


def pack(message: Message, arrays: Sequence[NDArray[Any]] = ()) -> list[Frame]:
    """Return the frames of a message.

    Args:
        message: what to send.
        arrays: content of its inline arrays, in their order.

    Raises:
        MessageRejected: too large, too deep or too many; nothing would get through.
        FrameError: the arrays are not those that the message describes.
    """
    header = encode_message(message)
    inline = _inline(message)
    _check_count(len(inline), len(arrays))
    frames: list[Frame] = [header]
    for ref, array in zip(inline, arrays, strict=True):
        data = as_bytes(array)
        check_bytes(ref, len(data))
        if array.shape != ref.shape:
            raise FrameError(ref.name, "shape", array.shape, ref.shape)
        frames.append(data)
    check_frames(frames)
    _check_depth(header)
    return frames


def unpack(frames: Sequence[Frame]) -> tuple[Message, tuple[NDArray[Any], ...]]:
    """Return the message and its inline arrays.

    Raises:
        MessageRejected: a broken limit, an unknown kind or field, a header that is not JSON.
        FrameError: an array that is not what the header describes.
    """
    check_frames(frames)
    header = bytes(frames[0])
    _check_depth(header)
    message = decode_message(header)
    inline = _inline(message)
    _check_count(len(inline), len(frames) - 1)
    arrays = tuple(rebuild(ref, frame) for ref, frame in zip(inline, frames[1:], strict=True))
    return message, arrays


def _inline(message: Message) -> list[ArrayRef]:
    return [ref for ref in getattr(message, "arrays", ()) if ref.inline]


def _check_count(n_described: int, n_frames: int) -> None:
    if n_described != n_frames:
        raise MessageRejected(
            "frame count", f"{n_frames} array frames, the header describes {n_described}"
        )


def _check_depth(header: bytes) -> None:
    if header.count(b"[") + header.count(b"{") <= _MAX_BRACKETS:
        return
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", header)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > _MAX_BRACKETS:
        raise MessageRejected("depth", f"nested {deepest} deep, allowed {_MAX_BRACKETS}")
