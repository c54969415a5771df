"""The log on disk: one SQLite file in WAL mode, written by one connection, synced at each commit.

A killed process loses nothing that `commit` has returned for. A full or failing disk breaks the log
for this process on purpose: memory may be ahead of the disk, so the process must start again.
"""

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twinloop.clocks import utc_now
from twinloop.errors import JournalCorrupt
from twinloop.log.chain import body_bytes, first_hash, link
from twinloop.log.interface import DuplicateKey, Entry, LogBusy, LogFailed, Stored

__all__ = ["LogReader", "SqliteLog", "open_readonly", "versions"]

_FORMAT = 1
_SAFE_SQLITE = (3, 51, 3)
_BUSY_TIMEOUT_S = 2.0
_WAL_LIMIT_BYTES = 16 * 1024 * 1024
_COLUMNS = "seq, at, kind, v, key, refs, body, hash"
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, v INTEGER NOT NULL,
    key TEXT UNIQUE, refs TEXT NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL
);
CREATE TABLE refs (digest TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (digest, seq))
    WITHOUT ROWID;
"""


def versions() -> dict[str, str]:
    """Return what a report should say about the SQLite in use.

    Source: sqlite.org/wal.html#walresetbug. Two connections that write and checkpoint at the same
    moment can corrupt the file before 3.51.3; here only one connection ever writes.
    """
    found = {"sqlite": sqlite3.sqlite_version}
    if sqlite3.sqlite_version_info < _SAFE_SQLITE:
        found["sqlite_warning"] = (
            f"sqlite {sqlite3.sqlite_version} is older than 3.51.3 (WAL-reset bug); "
            "safe here while one process writes; never open the file for writing elsewhere"
        )
    return found


def open_readonly(path: Path) -> "LogReader":
    """Open a log that another process may be writing.

    Raises:
        LogFailed: no log there, or not one of ours.
    """
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S
        )
    except sqlite3.Error as err:
        raise LogFailed(str(path), "open", str(err)) from err
    try:
        return LogReader(path, connection)
    except LogFailed:
        connection.close()
        raise


class LogReader:
    """Reads a log; what `SqliteLog` and `open_readonly` share.

    Raises:
        LogFailed: the file is not a log, or of a newer format.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._db = path, connection
        try:
            meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        except sqlite3.Error as err:
            raise LogFailed(str(path), "open", str(err)) from err
        if meta.get("format") != str(_FORMAT):
            raise LogFailed(str(path), "open", f"format {meta.get('format')}, readable {_FORMAT}")
        self._log_id = str(meta["log_id"])

    @property
    def log_id(self) -> str:
        """Return the identity of the log."""
        return self._log_id

    @property
    def last_seq(self) -> int:
        """Return the number of the last event, 0 for an empty log."""
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def read(self, after: int = 0) -> Iterator[Stored]:
        """Yield the events with `seq > after`, in order."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq",  # noqa: S608 - constant
            (after,),
        )
        return map(_stored, rows)

    def find(self, key: str) -> Stored | None:
        """Return the event of this key, or None."""
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM events WHERE key = ?",  # noqa: S608 - constant
            (key,),
        ).fetchone()
        return None if row is None else _stored(row)

    def referring(self, digest: str) -> list[int]:
        """Return the numbers of the events that need this array."""
        rows = self._db.execute("SELECT seq FROM refs WHERE digest = ? ORDER BY seq", (digest,))
        return [int(row[0]) for row in rows]

    def verify(self) -> int:
        """Check numbers, hash chain and refs, and return the number of events.

        Raises:
            JournalCorrupt: the first event that does not fit.
        """
        before, expected = first_hash(self._log_id), 1
        try:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM events ORDER BY seq"  # noqa: S608 - constant
            )
            for seq, at, kind, v, key, refs, body, digest in rows:
                if seq != expected:
                    raise JournalCorrupt(str(self.path), expected, f"missing; next is {seq}")
                before = link(before, seq, at, kind, v, key, refs, bytes(body))
                if before != digest:
                    raise JournalCorrupt(str(self.path), seq, "hash differs")
                expected += 1
            self._verify_refs()
        except (sqlite3.DatabaseError, TypeError, UnicodeError) as err:
            raise JournalCorrupt(str(self.path), expected, f"unreadable: {err}") from err
        return expected - 1

    def _verify_refs(self) -> None:
        listed = set(self._db.execute("SELECT seq, digest FROM refs"))
        written = {
            (seq, digest)
            for seq, refs in self._db.execute("SELECT seq, refs FROM events WHERE refs != ''")
            for digest in refs.split(" ")
        }
        if listed != written:
            seq = min(listed ^ written)[0]
            raise JournalCorrupt(str(self.path), seq, "table of array digests differs")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


class SqliteLog(LogReader):
    """The writer of a log file, made if it is not there.

    Args:
        path: the file; its folder exists.
        log_id: identity for a new log; an existing one keeps its own.
        stamp: gives the time stamps.

    Raises:
        LogFailed: not a log, or the disk refuses.
        LogBusy: another connection holds the write lock.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> log = SqliteLog(Path(folder.name) / "journal.sqlite", log_id="demo")
        >>> log.append(Entry("commanded", 1, key="c/1/grow/0"))
        1
        >>> log.close(); folder.cleanup()
    """

    def __init__(self, path: Path, log_id: str, stamp: Callable[[], str] = utc_now) -> None:
        self._stamp = stamp
        self._broken = ""
        self._n_pending = 0
        connection = _connect(path)
        try:
            _prepare(connection, path, log_id)
            super().__init__(path, connection)
            row = connection.execute(
                "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        except sqlite3.Error as err:
            connection.close()
            raise _refusal(path, "open", err) from err
        except LogFailed:
            connection.close()
            raise
        self._seq = row[0] if row else 0
        self._head = bytes(row[1]) if row else first_hash(self._log_id)

    @property
    def last_seq(self) -> int:
        """Return the number of the last appended event, 0 for an empty log."""
        return self._seq

    @property
    def has_pending(self) -> bool:
        """Return True while something appended awaits `commit`."""
        return self._n_pending > 0

    def append(self, entry: Entry) -> int:
        """Add an event to the open group and return its number; not durable yet.

        Raises:
            DuplicateKey: the key is taken; nothing was appended.
            ArgumentError: the body is not JSON.
            LogFailed: the disk refused; the log accepts nothing more.
            LogBusy: another connection has written.
        """
        self._check_usable("append")
        body = body_bytes(entry)
        seq, at, refs = self._seq + 1, self._stamp(), " ".join(entry.refs)
        digest = link(self._head, seq, at, entry.kind, entry.v, entry.key, refs, body)
        row = (seq, at, entry.kind, entry.v, entry.key, refs, body, digest)
        try:
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            for ref in dict.fromkeys(entry.refs):
                self._db.execute("INSERT INTO refs VALUES (?, ?)", (ref, seq))
        except sqlite3.IntegrityError as err:
            raise self._collision(entry, err) from err
        except sqlite3.Error as err:
            self._broken = str(err)
            raise _refusal(self.path, "append", err) from err
        self._seq, self._head, self._n_pending = seq, digest, self._n_pending + 1
        return seq

    def commit(self) -> None:
        """Return when all that was appended is on the disk.

        Raises:
            LogFailed: the disk refused; the log accepts nothing more.
        """
        self._check_usable("commit")
        if not self._db.in_transaction:
            return
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as err:
            self._broken = str(err)
            raise _refusal(self.path, "commit", err) from err
        self._n_pending = 0

    def close(self) -> None:
        """Commit, if the log is not broken, and let go of the file."""
        try:
            if not self._broken:
                self.commit()
        finally:
            super().close()

    def _check_usable(self, operation: str) -> None:
        if self._broken:
            raise LogFailed(str(self.path), operation, f"after an earlier failure: {self._broken}")

    def _collision(self, entry: Entry, err: sqlite3.IntegrityError) -> DuplicateKey | LogBusy:
        if "events.key" in str(err) and entry.key is not None:
            found = self.find(entry.key)
            if found is not None and found.seq <= self._seq:
                return DuplicateKey(entry.key, found.seq)
        self._broken = str(err)
        return LogBusy(str(self.path), f"event {self._seq + 1} exists already")


def _connect(path: Path) -> sqlite3.Connection:
    try:
        # one thread at a time uses it, not always the one that opened it
        return sqlite3.connect(
            path, isolation_level=None, timeout=_BUSY_TIMEOUT_S, check_same_thread=False
        )
    except sqlite3.Error as err:
        raise LogFailed(str(path), "open", str(err)) from err


def _prepare(db: sqlite3.Connection, path: Path, log_id: str) -> None:
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise LogFailed(str(path), "open", f"journal mode is {mode}: not a local disk?")
    for pragma in (
        "synchronous = FULL",
        "mmap_size = 0",
        f"journal_size_limit = {_WAL_LIMIT_BYTES}",
    ):
        db.execute(f"PRAGMA {pragma}")
    if sys.platform == "darwin":
        db.execute("PRAGMA fullfsync = ON")
        db.execute("PRAGMA checkpoint_fullfsync = ON")
    if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
    db.executemany("INSERT INTO meta VALUES (?, ?)", [("format", str(_FORMAT)), ("log_id", log_id)])
    db.execute("COMMIT")


def _refusal(path: Path, operation: str, err: sqlite3.Error) -> LogFailed | LogBusy:
    if getattr(err, "sqlite_errorcode", None) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return LogBusy(str(path), f"{operation}: {err}")
    return LogFailed(str(path), operation, str(err))


def _stored(row: tuple[Any, ...]) -> Stored:
    seq, at, kind, v, key, refs, body, digest = row
    entry = Entry(kind, v, json.loads(body), key, tuple(refs.split(" ")) if refs else ())
    return Stored(seq, at, entry, digest.hex())
