"""Frames of a message: the limits, and what a hostile or broken peer may send."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinloop.errors import FrameError, MessageRejected
from twinloop.messages import (
    Beat,
    EmergencyStop,
    TaskResult,
    View,
    encode_message,
)
from twinloop.wire.arrays import as_bytes, describe
from twinloop.wire.envelope import (
    MAX_ARRAY_FRAMES,
    MAX_HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    pack,
    unpack,
)


def with_arrays(*arrays):
    refs = tuple(describe(f"a{i}", array, inline=True) for i, array in enumerate(arrays))
    return TaskResult(task="t", state="done", result={"y": [1.5, None]}, arrays=refs)


TRACE = np.arange(12, dtype=np.float32).reshape(3, 4)
COUNTS = np.arange(5, dtype=np.uint16)
FRAMES = [bytes(f) for f in pack(with_arrays(TRACE, COUNTS), (TRACE, COUNTS))]


def test_message_and_arrays_come_back():
    message, arrays = unpack(FRAMES)
    assert message == with_arrays(TRACE, COUNTS)
    assert [a.tolist() for a in arrays] == [TRACE.tolist(), COUNTS.tolist()]


def test_arrays_in_the_depot_need_no_frame():
    message = TaskResult(task="t", state="done", arrays=(describe("x", TRACE),))
    assert unpack(pack(message)) == (message, ())


@settings(max_examples=300)
@given(frame=st.integers(0, 2), place=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_in_any_array_is_refused_and_in_the_header_never_silently_taken(
    frame, place, bit
):
    frames = [bytearray(f) for f in FRAMES]
    frames[frame][place % len(frames[frame])] ^= 1 << bit
    try:
        message, arrays = unpack(frames)
    except MessageRejected:
        return
    # a header bit may turn one valid message into another; the arrays are still the described ones
    assert frame == 0
    assert message != with_arrays(TRACE, COUNTS)
    assert [bytes(as_bytes(a)) for a in arrays] == FRAMES[1:]


@settings(max_examples=300)
@given(data=st.data())
def test_mutated_frames_are_refused_or_harmless_and_nothing_else_is_raised(data):
    frames = [bytearray(f) for f in FRAMES]
    for _ in range(data.draw(st.integers(1, 4))):
        target = frames[data.draw(st.integers(0, len(frames) - 1))] if frames else None
        match data.draw(st.sampled_from(["cut", "insert", "drop", "double", "swap", "noise"])):
            case "cut" if target:
                del target[data.draw(st.integers(0, len(target))) :]
            case "insert" if target is not None:
                target[data.draw(st.integers(0, len(target))) : 0] = data.draw(
                    st.binary(max_size=20)
                )
            case "drop" if frames:
                del frames[data.draw(st.integers(0, len(frames) - 1))]
            case "double" if frames:
                frames.append(frames[data.draw(st.integers(0, len(frames) - 1))][:])
            case "swap":
                frames.reverse()
            case "noise":
                frames.append(bytearray(data.draw(st.binary(max_size=64))))
    try:
        message, arrays = unpack(frames)
    except MessageRejected:
        return
    assert len(arrays) == len([r for r in message.arrays if r.inline])


@given(header=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_noise_as_header_is_refused(header):
    with pytest.raises(MessageRejected):
        unpack([header])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
KINDS = [
    "hello",
    "beat",
    "command",
    "outcome",
    "task",
    "task_result",
    "lease_request",
    "view",
    "pickle",
]
FIELDS = [
    "name",
    "n",
    "key",
    "arrays",
    "arguments",
    "result",
    "state",
    "epoch",
    "__class__",
    "about",
    "content",
]


@settings(max_examples=300)
@given(
    kind=st.sampled_from(KINDS), fields=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6)
)
def test_json_of_any_kind_with_any_fields_is_refused_or_round_trips(kind, fields):
    try:
        message, _ = unpack([json.dumps({"kind": kind, **fields}).encode()])
    except MessageRejected:
        return
    assert unpack(pack(message)) == (message, ())


def reason_of(frames):
    with pytest.raises(MessageRejected) as caught:
        unpack(frames)
    return caught.value.reason


BEAT = encode_message(Beat(n=1))


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "frames"),
        ([BEAT] * (MAX_ARRAY_FRAMES + 2), "frames"),
        ([BEAT, b"x"], "frame count"),
        ([FRAMES[0], FRAMES[1]], "frame count"),
        ([FRAMES[0], FRAMES[2], FRAMES[1]], "frame"),
        ([BEAT + b" " * MAX_HEADER_BYTES], "header size"),
        ([BEAT, bytes(MAX_MESSAGE_BYTES)], "size"),
        ([BEAT] + [bytes(10_000)] * 7, "size"),
        ([b'{"kind":"beat","n":1,"n2":1}'], "header"),
        ([b'{"kind":"beat","n":NaN}'], "header"),
        ([b'{"kind":"beat","n":-1}'], "header"),
        ([b'{"n":1}'], "header"),
        ([b"\xff\xfe"], "header"),
        ([b'{"kind":"view","campaign":"c","content":{"x":Infinity}}'], "header"),
        ([b'{"kind":"view","campaign":"c","content":{"x":NaN}}'], "header"),
        ([b'{"kind":"hello","name":"../x","role":"worker","incarnation":"a"}'], "header"),
        ([b'{"kind":"hello","name":"CON","role":"worker","incarnation":"a"}'], "header"),
        ([b"[" * 8000 + b"]" * 8000], "depth"),
        ([b'{"a":' * 2000 + b"1" + b"}" * 2000], "depth"),
    ],
)
def test_each_broken_rule_has_its_reason(frames, reason):
    assert reason_of(frames) == reason


def nested(depth):
    value = 1.0
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_is_allowed_as_deep_as_a_message_allows_it_and_no_deeper():
    deepest = {"a": nested(7)}
    message = View(campaign="c", content=deepest)
    assert unpack(pack(message))[0].content == deepest
    too_deep = json.dumps({"kind": "view", "campaign": "c", "content": {"a": nested(8)}}).encode()
    assert reason_of([too_deep]) in {"header", "depth"}


def test_brackets_inside_strings_are_not_depth():
    message = EmergencyStop(reason='[{"' * 300 + "\\")
    assert unpack(pack(message)) == (message, ())


def test_an_endless_string_of_quotes_is_looked_at_once():
    # 16 KiB; with a quadratic scan this alone would trip the time limit of the test run
    header = b'{{{{{{{{{{{"' + b'\\"' * ((MAX_HEADER_BYTES - 20) // 2)
    for _ in range(200):
        assert reason_of([header]) == "depth"


@pytest.mark.parametrize("n_bytes", [MAX_MESSAGE_BYTES, 10 * MAX_MESSAGE_BYTES])
def test_a_sender_learns_that_its_array_belongs_into_the_depot(n_bytes):
    array = np.zeros(n_bytes, np.uint8)
    with pytest.raises(MessageRejected, match="depot"):
        pack(with_arrays(array), (array,))


def test_a_sender_cannot_send_other_arrays_than_it_describes():
    with pytest.raises(FrameError):
        pack(with_arrays(TRACE), (TRACE.T,))
    with pytest.raises(FrameError):
        pack(with_arrays(TRACE), (COUNTS,))
    with pytest.raises(MessageRejected):
        pack(with_arrays(TRACE), ())


def test_the_largest_message_passes():
    message = with_arrays(TRACE)
    array = np.zeros(MAX_MESSAGE_BYTES - len(encode_message(message)) - 400, np.uint8)
    frames = pack(with_arrays(array), (array,))
    assert unpack([bytes(f) for f in frames])[1][0].size == array.size


def test_numbers_of_a_command_are_finite_or_the_command_does_not_exist():
    head = '{"kind":"command","key":["c","t","s",0],"instrument":"mbe","action":"grow","epoch":1,"ledger":"l","not_after_s":1,'
    assert unpack([(head + '"arguments":{"T":1}}').encode()])[0].key == ("c", "t", "s", 0)
    for bad in ('{"T":NaN}', '{"T":-Infinity}', '{"T":1e999}'):
        assert reason_of([(head + f'"arguments":{bad}}}').encode()]) == "header"
