"""The spool keeps arrays by key, durably, until they are acknowledged."""

from pathlib import Path

import numpy as np
import pytest

from twinloop.ids import CommandKey
from twinloop.instruments.spool import DiskSpool, MemorySpool, Spool, SpoolFailed

KEY, OTHER = CommandKey("c", "t", "grow", 1), CommandKey("c", "../..", "grow/1", 2)
ARRAYS = {"trace": np.arange(10, dtype=np.float32), "frame": np.ones((3, 4), dtype=np.uint16)}


@pytest.fixture(params=["disk", "memory"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    return DiskSpool(tmp_path / "spool") if request.param == "disk" else MemorySpool()


def test_what_is_stored_is_loaded(spool: Spool) -> None:
    refs = spool.store(KEY, ARRAYS)
    assert [ref.name for ref in refs] == ["trace", "frame"]
    assert np.frombuffer(spool.load(KEY, refs[0]), np.float32).tolist() == list(range(10))
    assert spool.used_bytes == 40 + 24


def test_storing_twice_counts_once(spool: Spool) -> None:
    assert spool.store(KEY, ARRAYS) == spool.store(KEY, ARRAYS)
    assert spool.used_bytes == 64


def test_dropping_frees(spool: Spool) -> None:
    (ref, _) = spool.store(KEY, ARRAYS)
    spool.store(OTHER, ARRAYS)
    spool.drop(KEY)
    spool.drop(KEY)
    assert spool.used_bytes == 64
    with pytest.raises(SpoolFailed):
        spool.load(KEY, ref)


def test_only_what_is_needed_is_retained(spool: Spool) -> None:
    spool.store(KEY, ARRAYS)
    (ref, _) = spool.store(OTHER, ARRAYS)
    spool.retain({OTHER})
    assert spool.used_bytes == 64
    assert spool.load(OTHER, ref)


def test_a_disk_spool_outlives_its_process(tmp_path: Path) -> None:
    (ref, _) = DiskSpool(tmp_path).store(KEY, ARRAYS)
    again = DiskSpool(tmp_path)
    assert again.used_bytes == 64
    assert again.load(KEY, ref)


def test_damage_is_found(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path)
    (ref, _) = spool.store(KEY, ARRAYS)
    (path,) = tmp_path.rglob(ref.digest)
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    with pytest.raises(SpoolFailed, match="damaged"):
        spool.load(KEY, ref)


def test_no_key_names_a_place_outside(tmp_path: Path) -> None:
    home = tmp_path / "a" / "spool"
    home.parent.mkdir()
    DiskSpool(home).store(CommandKey("..", "..", "/etc", 1), ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert [p.name for p in home.parent.iterdir()] == ["spool"]


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path / "spool")
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolFailed):
        spool.store(KEY, ARRAYS)
