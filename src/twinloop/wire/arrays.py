"""Arrays as raw bytes: described in the header, checked before they are used.

Bytes are little endian and C-contiguous on every wire and disk. The description is not believed:
type, shape, length and digest must agree with the bytes before an array exists.
"""

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import FrameError
from twinloop.ids import digest_of
from twinloop.messages import ArrayRef

__all__ = ["DTYPES", "as_bytes", "check_bytes", "checksum_of", "describe", "rebuild"]

DTYPES = frozenset(
    {"|b1", "|i1", "|u1", "<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8"}
    | {"<c8", "<c16"}
)
_MAX_BYTES = 2**48


def as_bytes(array: NDArray[Any]) -> memoryview:
    """Return the little-endian C-contiguous bytes of an array, without a copy where it can.

    Raises:
        FrameError: an array of objects, strings, dates or records.
    """
    return _flat(_as_wire("", array)).data


def checksum_of(data: bytes | bytearray | memoryview) -> str:
    """Return a CRC-32, padded with zeros to the length of a digest.

    It finds a transport fault at a third of a digest's cost, and is no identity: for streams, whose
    elements are looked at and not kept.

    Example:
        >>> checksum_of(b"123456789")[-8:]
        'cbf43926'
    """
    return f"{zlib.crc32(data):064x}"


def describe(
    name: str,
    array: NDArray[Any],
    *,
    inline: bool = False,
    digest: Callable[[memoryview], str] = digest_of,
) -> ArrayRef:
    """Return the description of an array.

    Args:
        name: what the sender calls it.
        array: any numeric array.
        inline: True when the bytes will travel as a frame of the message.
        digest: of the bytes; `checksum_of` for an element of a stream.

    Raises:
        FrameError: an array of objects, strings, dates or records.

    Example:
        >>> ref = describe("trace", np.zeros((2, 3), dtype=np.float32))
        >>> ref.dtype, ref.shape, ref.nbytes
        ('<f4', (2, 3), 24)
    """
    ready = _as_wire(name, array)
    return ArrayRef(
        name=name,
        digest=digest(_flat(ready).data),
        dtype=ready.dtype.str,
        shape=ready.shape,
        nbytes=ready.nbytes,
        inline=inline,
    )


def check_bytes(ref: ArrayRef, n_bytes: int) -> None:
    """Check that a description is possible and fits a length, before anything is allocated.

    Raises:
        FrameError: an unknown type, or a shape or length that do not agree.
    """
    if ref.dtype not in DTYPES:
        raise FrameError(ref.name, "dtype", ref.dtype, "one of " + " ".join(sorted(DTYPES)))
    itemsize = np.dtype(ref.dtype).itemsize
    # an empty array with huge other sides needs no byte, and numpy still cannot make it
    if math.prod(max(1, side) for side in ref.shape) * itemsize > _MAX_BYTES:
        raise FrameError(ref.name, "shape", ref.shape, f"at most {_MAX_BYTES} bytes")
    needed = math.prod(ref.shape) * itemsize
    if needed != ref.nbytes:
        raise FrameError(ref.name, "shape", f"{ref.shape} of {needed} bytes", f"{ref.nbytes} bytes")
    if n_bytes != ref.nbytes:
        raise FrameError(ref.name, "length", n_bytes, ref.nbytes)


def rebuild(
    ref: ArrayRef,
    frame: bytes | bytearray | memoryview,
    digest: Callable[[memoryview], str] = digest_of,
) -> NDArray[Any]:
    """Return the array that the bytes hold: a read-only view of them where they are `bytes`.

    Args:
        ref: its description.
        frame: its bytes.
        digest: the one that `describe` was given.

    Raises:
        FrameError: the bytes are not those that the description names.
    """
    check_bytes(ref, len(frame))
    found = digest(memoryview(frame))
    if found != ref.digest:
        raise FrameError(ref.name, "digest", found, ref.digest)
    array = np.frombuffer(frame, dtype=ref.dtype).reshape(ref.shape)
    array.flags.writeable = False
    return array


def _as_wire(name: str, array: NDArray[Any]) -> NDArray[Any]:
    ready = np.asarray(array)
    # records and dates would pass as bytes, but mean nothing to the other side
    if ready.dtype.kind not in "biufc":
        raise FrameError(name, "dtype", ready.dtype, "a number or bool")
    ready = np.asarray(ready, dtype=ready.dtype.newbyteorder("<"), order="C")
    if ready.dtype.str not in DTYPES:
        raise FrameError(name, "dtype", ready.dtype.str, "one of " + " ".join(sorted(DTYPES)))
    return ready


def _flat(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)
