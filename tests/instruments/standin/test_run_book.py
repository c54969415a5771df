"""What a twin remembers of its runs: by key, across deaths, bounded on the disk."""

import os

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.instruments.standin import run_book
from twinloop.instruments.standin.run_book import RunBook
from twinloop.log import durable


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    """These tests do not cut the power."""
    monkeypatch.setattr(durable, "sync_file", lambda _: None)


@pytest.fixture
def book(tmp_path):
    return RunBook(tmp_path / "runs")


def end(book, key, state="done", **arrays):
    book.begin(key, "scan")
    book.end(key, "scan", state, {"lines": 4.0}, arrays, "why")


def test_a_key_that_it_has_not_seen_is_unseen(book):
    assert book.find("c/t/0/1").state == "unseen"


def test_a_run_that_was_never_closed_is_partial_in_the_next_life(book, tmp_path):
    book.begin("c/t/0/1", "scan")
    found = RunBook(tmp_path / "runs").find("c/t/0/1")
    assert found.state == "partial"
    assert "restarted" in found.reason
    assert found.numbers == {}


def test_a_result_is_there_in_the_next_life_as_it_was(book, tmp_path):
    z_A = np.arange(6, dtype=np.float32).reshape(2, 3)
    end(book, "c/t/0/1", z_A=z_A)
    found = RunBook(tmp_path / "runs").find("c/t/0/1")
    assert (found.state, found.numbers, found.reason) == ("done", {"lines": 4.0}, "why")
    np.testing.assert_array_equal(found.arrays["z_A"], z_A)
    assert found.arrays["z_A"].dtype == np.float32


@pytest.mark.parametrize("state", ["partial", "not_done", "lost"])
def test_every_end_is_kept(book, state):
    end(book, "k", state)
    assert book.find("k").state == state


def test_keys_that_differ_in_their_attempt_are_two_runs(book):
    end(book, "c/t/0/1", "not_done")
    end(book, "c/t/0/2")
    assert [book.find(f"c/t/0/{n}").state for n in (1, 2)] == ["not_done", "done"]


def many(book, count, first=0):
    """Close so many runs, one second apart."""
    for n in range(first, first + count):
        end(book, f"k{n}", z=np.zeros(3))
        os.utime(book._path(f"k{n}"), (n, n))
        book._thin()


def test_arrays_of_the_newest_runs_are_kept_and_of_the_oldest_dropped(book, monkeypatch):
    monkeypatch.setattr(run_book, "RUNS_KEPT", 5)
    many(book, 40)
    states = [book.find(f"k{n}").state for n in range(40)]
    assert states == ["lost"] * 35 + ["done"] * 5
    assert [bool(book.find(f"k{n}").arrays) for n in range(40)] == [False] * 35 + [True] * 5


def test_numbers_of_an_old_run_stay_and_its_reason_says_what_is_gone(book, monkeypatch):
    monkeypatch.setattr(run_book, "RUNS_KEPT", 1)
    many(book, 3)
    old = book.find("k0")
    assert old.numbers == {"lines": 4.0}
    assert "no longer kept" in old.reason


def test_an_old_run_without_arrays_has_lost_nothing(book, monkeypatch):
    monkeypatch.setattr(run_book, "RUNS_KEPT", 1)
    end(book, "take")
    os.utime(book._path("take"), (0, 0))
    many(book, 3, first=1)
    assert book.find("take").state == "done"


def test_an_old_run_that_was_not_done_stays_so(book, monkeypatch):
    monkeypatch.setattr(run_book, "RUNS_KEPT", 1)
    end(book, "refused", "not_done")
    os.utime(book._path("refused"), (0, 0))
    many(book, 3, first=1)
    assert book.find("refused").state == "not_done"


def test_to_close_a_run_costs_the_same_however_many_there_were(book, monkeypatch):
    monkeypatch.setattr(run_book, "RUNS_KEPT", 4)
    many(book, 30)
    read = []
    monkeypatch.setattr(
        run_book, "_read", lambda path, plain=run_book._read: read.append(path) or plain(path)
    )
    many(book, 5, first=30)
    assert len(read) <= 5


def test_a_death_between_both_names_of_an_old_run_is_mended(book, monkeypatch, tmp_path):
    monkeypatch.setattr(run_book, "RUNS_KEPT", 2)
    many(book, 2)

    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", die)
        with pytest.raises(Killed):
            many(book, 1, first=2)
    again = RunBook(tmp_path / "runs")
    assert again.find("k0").state == "done"
    many(again, 1, first=3)
    assert [again.find(f"k{n}").state for n in range(4)] == ["lost", "lost", "done", "done"]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", b"[]"])
def test_a_damaged_record_is_lost_and_named_and_stops_nothing(book, monkeypatch, damage):
    end(book, "k", z=np.zeros(3))
    book._path("k").write_bytes(damage)
    found = book.find("k")
    assert found.state == "lost"
    assert book._path("k").name in found.reason
    monkeypatch.setattr(run_book, "RUNS_KEPT", 1)
    os.utime(book._path("k"), (0, 0))
    many(book, 3, first=1)
    assert book.find("k3").state == "done"


def test_nothing_is_pickled(book):
    with pytest.raises(ArgumentError, match=r"scan\.z: .*no pickle"):
        book.end("k", "scan", "done", {}, {"z": np.array([{}], dtype=object)})
