import numpy as np
import pytest

from twinloop.errors import BindRefused, Disconnected, FrameError, MessageRejected
from twinloop.instruments.standin.client import ChamberClient, machine_endpoint
from twinloop.instruments.standin.interface import Operation, Progress
from twinloop.instruments.standin.wire import (
    Request,
    decode_reply,
    decode_request,
    encode_reply,
    progress_of,
    reply_of,
)


def test_a_progress_arrives_as_it_was_sent():
    sent = Progress("done", {"exposure_s": 0.5}, {"frame": np.arange(6, dtype=np.uint16)}, "why")
    head, *frames = (bytes(frame) for frame in encode_reply(*reply_of(sent)))
    found = progress_of(decode_reply(head), frames)
    assert (found.state, found.numbers, found.reason) == (sent.state, sent.numbers, sent.reason)
    np.testing.assert_array_equal(found.arrays["frame"], sent.arrays["frame"])


def test_a_damaged_frame_is_refused():
    sent = Progress("done", {}, {"frame": np.arange(6, dtype=np.uint16)})
    head, frame = (bytes(frame) for frame in encode_reply(*reply_of(sent)))
    with pytest.raises(FrameError):
        progress_of(decode_reply(head), [b"x" + frame[1:]])
    with pytest.raises(MessageRejected):
        progress_of(decode_reply(head), [])


def test_a_request_arrives_as_it_was_sent():
    sent = Request(ask="begin", operation=Operation(key="k", name="load", sample="s"))
    assert decode_request(sent.model_dump_json().encode()) == sent


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ask":"explode"}', b'{"ask":"abort","more":1}'])
def test_what_is_no_request_is_refused(body):
    with pytest.raises(MessageRejected):
        decode_request(body)


def test_a_machine_on_another_host_is_refused():
    with pytest.raises(BindRefused):
        ChamberClient("tcp://192.0.2.1:5601")


def test_an_announcement_that_never_comes_says_what_to_do(tmp_path):
    with pytest.raises(Disconnected, match="start the machine"):
        machine_endpoint(str(tmp_path / "machine.json"), wait_s=0.0)


def test_an_announcement_names_the_endpoint(tmp_path):
    path = tmp_path / "machine.json"
    path.write_text('{"endpoint": "tcp://127.0.0.1:5601", "pid": 1}')
    assert machine_endpoint(str(path)) == "tcp://127.0.0.1:5601"
