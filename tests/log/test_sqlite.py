"""The log on disk: what a file goes through."""

import sqlite3
import subprocess
import sys

import pytest

from twinloop.errors import JournalCorrupt
from twinloop.log.interface import Entry, LogBusy, LogFailed
from twinloop.log.sqlite import SqliteLog, open_readonly, versions

DIGEST = "ab" * 32


def filled(path, n=5):
    log = SqliteLog(path, "lab")
    for i in range(n):
        log.append(Entry("step", 1, {"i": i}, key=f"k{i}", refs=(DIGEST,)))
    log.close()
    return path


def test_a_log_goes_on_where_an_earlier_life_stopped(tmp_path):
    path = filled(tmp_path / "log")
    log = SqliteLog(path, "lab")
    assert log.append(Entry("more", 1)) == 6
    assert log.verify() == 6
    log.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET body = '{\"i\":9}' WHERE seq = 3",
        "UPDATE events SET at = at || '0' WHERE seq = 3",
        "UPDATE events SET kind = 'stop' WHERE seq = 3",
        "UPDATE events SET v = 2 WHERE seq = 3",
        "UPDATE events SET key = 'other' WHERE seq = 3",
        "UPDATE events SET refs = '' WHERE seq = 3",
        "UPDATE events SET hash = zeroblob(32) WHERE seq = 3",
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM refs WHERE seq = 3",
        "INSERT INTO refs SELECT 'cd', 3",
    ],
)
def test_each_change_behind_our_back_is_found_at_its_event(tmp_path, damage):
    path = filled(tmp_path / "log")
    with sqlite3.connect(path) as db:
        db.execute(damage)
    db.close()
    log = SqliteLog(path, "lab")
    with pytest.raises(JournalCorrupt) as caught:
        log.verify()
    assert caught.value.seq == 3
    log.close()


def test_a_swap_of_two_events_is_found(tmp_path):
    path = filled(tmp_path / "log")
    with sqlite3.connect(path) as db:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            db.execute("UPDATE events SET seq = ? WHERE seq = ?", (new, old))
            db.execute("UPDATE refs SET seq = ? WHERE seq = ?", (new, old))
    db.close()
    reader = open_readonly(path)
    with pytest.raises(JournalCorrupt):
        reader.verify()
    reader.close()


def test_a_full_disk_breaks_the_log_and_a_new_life_sees_only_what_was_committed(tmp_path):
    log = SqliteLog(tmp_path / "log", "lab")
    log.append(Entry("kept", 1))
    log.commit()
    pages = log._db.execute("PRAGMA page_count").fetchone()[0]
    log._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LogFailed):
        [log.append(Entry("lost", 1, {"i": "x" * 2000})) for _ in range(100)]
    with pytest.raises(LogFailed):
        log.append(Entry("after", 1))
    with pytest.raises(LogFailed):
        log.commit()
    log.close()
    again = SqliteLog(tmp_path / "log", "lab")
    assert [s.entry.kind for s in again.read()] == ["kept"]
    assert again.verify() == 1
    again.close()


def test_a_second_writer_is_refused_while_a_group_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr("twinloop.log.sqlite._BUSY_TIMEOUT_S", 0.0)
    one, two = SqliteLog(tmp_path / "log", "lab"), SqliteLog(tmp_path / "log", "lab")
    one.append(Entry("a", 1))
    with pytest.raises(LogBusy):
        two.append(Entry("b", 1))
    one.close()
    two.close()


def test_a_writer_that_was_overtaken_notices_and_writes_nothing(tmp_path):
    one, two = SqliteLog(tmp_path / "log", "lab"), SqliteLog(tmp_path / "log", "lab")
    one.append(Entry("a", 1))
    one.commit()
    with pytest.raises(LogBusy):
        two.append(Entry("b", 1))
    two.close()
    assert one.verify() == 1
    one.close()


def test_a_reader_sees_commits_of_a_living_writer_and_cannot_write(tmp_path):
    log = SqliteLog(tmp_path / "log", "lab")
    reader = open_readonly(tmp_path / "log")
    log.append(Entry("a", 1))
    assert reader.last_seq == 0
    log.commit()
    assert [s.entry.kind for s in reader.read()] == ["a"]
    with pytest.raises(sqlite3.OperationalError):
        reader._db.execute("DELETE FROM events")
    reader.close()
    log.close()


@pytest.mark.parametrize("content", [None, b"", b"not a database at all" * 100])
def test_what_is_no_log_is_refused_by_name(tmp_path, content):
    path = tmp_path / "log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LogFailed) as caught:
        open_readonly(path)
    assert caught.value.path == str(path)


def test_a_log_of_a_newer_format_is_refused(tmp_path):
    path = filled(tmp_path / "log")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '99' WHERE name = 'format'")
    db.close()
    with pytest.raises(LogFailed):
        SqliteLog(path, "lab")


def test_the_file_is_written_through_at_each_commit(tmp_path):
    log = SqliteLog(tmp_path / "log", "lab")
    pragma = {
        n: log._db.execute(f"PRAGMA {n}").fetchone()[0]
        for n in ("synchronous", "journal_mode", "mmap_size")
    }
    assert pragma == {"synchronous": 2, "journal_mode": "wal", "mmap_size": 0}
    log.close()


def test_versions_warn_of_the_wal_reset_bug_only_where_it_is(monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    assert "sqlite_warning" in versions()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert "sqlite_warning" not in versions()


WRITER = """
import sys
from pathlib import Path
from twinloop.log.sqlite import SqliteLog
from twinloop.log.interface import Entry
log = SqliteLog(Path(sys.argv[1]), "lab")
while True:
    for _ in range(3):
        seq = log.append(Entry("step", 1, {"x": "y" * 300}, refs=("ab" * 32,)))
    log.commit()
    sys.stdout.write(f"{seq}\\n")
    sys.stdout.flush()
"""


@pytest.mark.system
def test_kill_9_loses_no_committed_event(tmp_path):
    path, promised, n_lives = tmp_path / "log", 0, 12
    for life in range(n_lives):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
        # each life is killed at another point; in the first ones the file is only being made
        lines = [writer.stdout.readline() for _ in range(life * 3)]
        writer.kill()
        lines += writer.stdout.read().splitlines()
        writer.stdout.close()
        writer.wait()
        promised = max([promised, *(int(line) for line in lines if line.strip())])
        if path.exists():
            log = SqliteLog(path, "lab")
            assert log.verify() >= promised
            assert log._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            log.close()
    assert promised > 100
