"""Array frames: what is described is checked before it is used."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twinloop.errors import FrameError
from twinloop.wire.arrays import DTYPES, as_bytes, checksum_of, describe, rebuild

ARRAYS = hnp.arrays(
    dtype=st.sampled_from([*sorted(DTYPES), ">f4", ">i8", ">c16", ">u2"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@given(array=ARRAYS)
def test_every_numeric_array_comes_back_bit_for_bit(array):
    ref = describe("x", array)
    back = rebuild(ref, bytes(as_bytes(array)))
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("<")
    assert back.tobytes() == array.astype(back.dtype).tobytes()


def test_views_in_any_order_travel_as_what_they_show():
    base = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    for view in (base.T, base[::-1], base[:, ::2], np.asfortranarray(base)):
        assert np.array_equal(rebuild(describe("x", view), bytes(as_bytes(view))), view)


def test_bytes_on_the_wire_are_little_endian_and_the_digest_is_blake2b_of_them():
    array = np.array([1, 258], dtype=">u2")
    assert bytes(as_bytes(array)) == b"\x01\x00\x02\x01"
    expected = hashlib.blake2b(b"\x01\x00\x02\x01", digest_size=32).hexdigest()
    assert describe("x", array).digest == expected


def test_a_received_array_is_a_read_only_view_without_a_copy():
    array = np.arange(5.0)
    frame = bytes(as_bytes(array))
    back = rebuild(describe("x", array), frame)
    assert not back.flags.writeable
    assert (
        back.__array_interface__["data"][0]
        == np.frombuffer(frame, "u1").__array_interface__["data"][0]
    )


def test_sending_a_contiguous_array_copies_nothing():
    array = np.arange(5.0)
    assert np.shares_memory(np.frombuffer(as_bytes(array), "u1"), array)


@given(array=ARRAYS.filter(lambda a: a.nbytes > 0), place=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_always_noticed(array, place, bit):
    frame = bytearray(as_bytes(array))
    frame[place % len(frame)] ^= 1 << bit
    with pytest.raises(FrameError) as caught:
        rebuild(describe("x", array), bytes(frame))
    assert caught.value.field == "digest"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dtype": "<f8"}, "shape"),
        ({"dtype": "<f9"}, "dtype"),
        ({"dtype": "<c16"}, "shape"),
        ({"dtype": "|b8"}, "dtype"),
        ({"shape": (7,)}, "shape"),
        ({"shape": (2**62, 4)}, "shape"),
        ({"shape": (0, 10**40), "nbytes": 0}, "shape"),
        ({"nbytes": 28}, "shape"),
        ({"nbytes": 28, "shape": (7,)}, "length"),
        ({"digest": "0" * 64}, "digest"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_with_its_field(changes, field):
    array = np.arange(6, dtype=np.float32)
    ref = describe("x", array).model_copy(update=changes)
    with pytest.raises(FrameError) as caught:
        rebuild(ref, bytes(as_bytes(array)))
    assert caught.value.field == field


@given(shape=st.lists(st.integers(0, 10**30) | st.integers(0, 3), max_size=8), n=st.integers(0, 64))
@example(shape=[0, 3_036_988_439, 3_037_012_561], n=0)
@example(shape=[0, 2**62], n=0)
def test_no_shape_makes_rebuild_allocate_or_crash(shape, n):
    ref = describe("x", np.zeros(n, "u1")).model_copy(update={"shape": tuple(shape)})
    if math.prod(max(1, side) for side in shape) <= 2**48 and math.prod(shape) == n:
        assert rebuild(ref, bytes(n)).shape == tuple(shape)
        return
    with pytest.raises(FrameError) as caught:
        rebuild(ref, bytes(n))
    assert caught.value.field == "shape"


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array(["2026-01-01"], dtype="M8[s]"),
        np.zeros(2, dtype=[("a", "f4")]),
        np.zeros(2, dtype="g"),
    ],
)
def test_only_numbers_travel(array):
    with pytest.raises(FrameError):
        describe("x", array)
    with pytest.raises(FrameError):
        as_bytes(array)


@pytest.mark.parametrize("place", [0, 17, 31])
def test_a_checksum_notices_a_flipped_bit_and_is_no_digest(place):
    array = np.arange(16, dtype="<u2")
    ref = describe("frame", array, digest=checksum_of)
    np.testing.assert_array_equal(rebuild(ref, array.tobytes(), checksum_of), array)
    torn = bytearray(array.tobytes())
    torn[place] ^= 4
    with pytest.raises(FrameError) as caught:
        rebuild(ref, bytes(torn), checksum_of)
    assert caught.value.field == "digest"
    with pytest.raises(FrameError):
        rebuild(ref, array.tobytes())
