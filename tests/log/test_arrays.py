"""Arrays on disk: whole and durable under their digest, or not there."""

import errno

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.log import arrays, durable
from twinloop.log.arrays import ArrayStore, ArrayUnavailable
from twinloop.wire.arrays import as_bytes, describe

TRACE = np.arange(6.0).reshape(2, 3)


def test_an_array_comes_back_after_a_new_start(tmp_path):
    ref = ArrayStore(tmp_path / "a").put("trace", TRACE)
    again = ArrayStore(tmp_path / "a")
    assert again.has(ref.digest)
    assert np.array_equal(again.load(ref), TRACE)
    assert again.read(ref.digest) == bytes(as_bytes(TRACE))
    assert again.digests() == [ref.digest]
    assert again.used_bytes() == 48


def test_the_file_lies_under_its_digest(tmp_path):
    store = ArrayStore(tmp_path)
    ref = store.put("trace", TRACE)
    assert (tmp_path / ref.digest[:2] / ref.digest).read_bytes() == TRACE.tobytes()
    assert store.path(ref.digest) == tmp_path / ref.digest[:2] / ref.digest


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "../../etc/passwd",
        "/etc/passwd",
        "AB" * 32,
        "ab" * 31,
        "ab" * 32 + "\n",
        "CON",
        "\0" * 64,
    ],
)
def test_nothing_but_a_digest_becomes_a_path(tmp_path, digest):
    with pytest.raises(ArgumentError):
        ArrayStore(tmp_path).path(digest)


def test_damaged_and_missing_arrays_are_told_apart_from_good_ones(tmp_path):
    store = ArrayStore(tmp_path)
    ref = store.put("trace", TRACE)
    store.path(ref.digest).write_bytes(b"\0" * 48)
    with pytest.raises(ArrayUnavailable, match="changed"):
        store.load(ref)
    store.remove(ref.digest)
    store.remove(ref.digest)
    assert not store.has(ref.digest)
    with pytest.raises(ArrayUnavailable, match="cannot be read"):
        store.load(ref)


def failing(*_):
    raise OSError(errno.ENOSPC, "no space left on device")


def test_when_the_sync_fails_there_is_no_array(tmp_path, monkeypatch):
    store = ArrayStore(tmp_path)
    # the folder is there, so that the first sync is that of the file
    store.make_room(describe("trace", TRACE).digest)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync_file", failing)
        with pytest.raises(OSError, match="no space"):
            store.put("trace", TRACE)
    assert store.digests() == []
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert store.has(store.put("trace", TRACE).digest)


def test_an_array_counts_as_there_only_after_the_name_is_synced_too(tmp_path, monkeypatch):
    ref = ArrayStore(tmp_path).put("trace", TRACE)
    store = ArrayStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(arrays, "sync_folder", failing)
        with pytest.raises(OSError, match="no space"):
            store.has(ref.digest)
    synced = []
    monkeypatch.setattr(arrays, "sync_folder", synced.append)
    assert store.has(ref.digest)
    assert synced == [tmp_path / ref.digest[:2], tmp_path]
    assert store.has(ref.digest)
    assert len(synced) == 2
