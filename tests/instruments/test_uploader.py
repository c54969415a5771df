"""Uploads from the spool: what goes wrong with one must not end the next."""

import queue
from typing import Any

import numpy as np
import pytest

from twinloop.ids import CommandKey
from twinloop.instruments import uploader as uploader_module
from twinloop.instruments.adapter_effects import Upload
from twinloop.instruments.spool import MemorySpool
from twinloop.instruments.uploader import Uploader

LIMIT_S = 20.0


class Depot:
    """Takes everything, but breaks at its first connection."""

    n_made = 0

    def __init__(self, endpoint: str) -> None:
        type(self).n_made += 1
        self.endpoint = endpoint
        if type(self).n_made == 1:
            raise OSError("too many open files")

    def put_bytes(self, *_: Any) -> None: ...

    def cancel(self) -> None: ...

    def close(self) -> None: ...


def test_an_unforeseen_error_of_one_upload_does_not_end_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploader_module, "DepotClient", Depot)
    monkeypatch.setattr(Depot, "n_made", 0)
    spool, said = MemorySpool(), queue.Queue[tuple[str, CommandKey]]()
    key = CommandKey("c", "t", "expose", 1)
    refs = spool.store(key, {"frame": np.zeros(4)})
    uploader = Uploader(
        spool, lambda k, _: said.put(("done", k)), lambda k, _: said.put(("failed", k))
    )
    try:
        for word in ("failed", "done"):
            uploader.submit(Upload(key, refs, "tcp://127.0.0.1:1"))
            assert said.get(timeout=LIMIT_S) == (word, key)
    finally:
        uploader.stop()
