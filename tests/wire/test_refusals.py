"""A refused endpoint leaves nothing open."""

import gc
import warnings

import pytest

from twinloop.errors import BindRefused
from twinloop.wire.mailbox import Mailbox
from twinloop.wire.streams import StreamSubscriber

FAR = "tcp://192.0.2.1:5555"


@pytest.mark.parametrize(
    "make", [lambda: Mailbox(FAR, "a", "viewer"), lambda: StreamSubscriber(FAR, "x")]
)
def test_a_refused_endpoint_leaves_no_socket_open(make):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(BindRefused):
            make()
        gc.collect()
    assert not [w for w in seen if issubclass(w.category, ResourceWarning)]
