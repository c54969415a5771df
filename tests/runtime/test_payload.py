"""Arrays of a task in one frame, and the cache of those from the depot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.agents.runtime.payload import (
    BUNDLE,
    INLINE_BYTES,
    ArrayCache,
    bundle,
    fits_inline,
    gather,
    unbundle,
)
from twinloop.errors import FrameError
from twinloop.messages import Task, TaskResult
from twinloop.wire.arrays import describe
from twinloop.wire.envelope import pack, unpack

DTYPES = st.sampled_from(["<f8", "<f4", "<i4", "|u1", "|b1"])
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def task_with(arrays: list[np.ndarray], stored: list[np.ndarray] = ()) -> Task:
    refs = [describe(f"a{n}", a, inline=True) for n, a in enumerate(arrays)]
    refs[1:1] = [describe(f"s{n}", a) for n, a in enumerate(stored)]
    return Task(task="t", target="x", method="y", arrays=tuple(refs))


@given(st.lists(st.tuples(DTYPES, SHAPES), max_size=14))
def test_what_is_bundled_comes_out_bit_for_bit(kinds: list[tuple[str, tuple[int, ...]]]) -> None:
    rng = np.random.default_rng(len(kinds))
    arrays = [(rng.random(shape) * 200).astype(dtype) for dtype, shape in kinds]
    stored = [np.arange(5.0)]
    task, frames = bundle(task_with(arrays, stored if arrays else []), arrays)
    message, received = unpack(pack(task, frames))
    assert len(received) <= 1
    here, elsewhere = unbundle(message.arrays, received)
    assert [ref.name for ref in elsewhere] == (["s0"] if arrays else [])
    for n, array in enumerate(arrays):
        found = here[f"a{n}"]
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()
        assert not found.flags.writeable


def test_inline_arrays_without_a_bundle_are_taken_as_they_are() -> None:
    arrays = (np.arange(3.0), np.ones((2, 2)))
    here, elsewhere = unbundle(task_with(list(arrays), [np.zeros(4)]).arrays, arrays)
    assert sorted(here) == ["a0", "a1"]
    assert [ref.name for ref in elsewhere] == ["s0"]


def test_a_bundle_with_bytes_that_nothing_describes_is_refused() -> None:
    task, frames = bundle(
        task_with([np.arange(3.0), np.arange(4.0)]), [np.arange(3.0), np.arange(4.0)]
    )
    with pytest.raises(FrameError, match="left over"):
        unbundle(task.arrays[:-1], frames)


def test_a_bundle_whose_bytes_were_changed_is_refused() -> None:
    arrays = [np.arange(3.0), np.arange(4.0)]
    task, frames = bundle(task_with(arrays), arrays)
    broken = frames[0].copy()
    broken[0] ^= 1
    with pytest.raises(FrameError, match="digest"):
        unbundle(task.arrays, [broken])


def test_another_number_of_arrays_than_described_is_refused() -> None:
    with pytest.raises(FrameError, match="count"):
        bundle(task_with([np.arange(3.0)]), [])


def test_a_message_takes_eight_small_arrays_and_no_more() -> None:
    assert fits_inline([np.zeros(1)] * 8)
    assert not fits_inline([np.zeros(1)] * 9)
    assert not fits_inline([np.zeros(INLINE_BYTES + 1, dtype=np.uint8)])


def test_the_cache_lets_go_of_what_was_not_used_for_longest() -> None:
    cache = ArrayCache(limit_bytes=24)
    for name in "abc":
        cache.keep(name, np.zeros(1))
    cache.find("a")
    cache.keep("d", np.zeros(1))
    assert cache.find("b") is None
    assert cache.find("a") is not None
    cache.keep("d", np.zeros(1))
    assert cache.find("c") is not None


def test_bundles_are_named_so_that_no_argument_can_be_called_alike() -> None:
    assert not BUNDLE.isidentifier()


def test_what_was_too_large_for_its_message_is_gathered_from_the_depot():
    """A planner that remembers more than a message takes is heard all the same."""
    there = {"x": np.arange(2.0), "memo": np.arange(90_000, dtype=np.uint8)}
    refs = tuple(describe(name, a, inline=name == "x") for name, a in there.items())
    result = TaskResult(task="proposal/1@2", state="done", result={}, arrays=refs)
    asked = []

    def load(ref):
        asked.append(ref.name)
        return there[ref.name]

    whole, content = gather(result, (there["x"],), load)
    assert asked == ["memo"]
    assert all(ref.inline for ref in whole.arrays)
    for ref, array in zip(whole.arrays, content, strict=True):
        assert np.array_equal(array, there[ref.name])
