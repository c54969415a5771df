"""A ledger that was damaged is not served from."""

import sqlite3
from pathlib import Path

import pytest

from twinloop.errors import JournalCorrupt
from twinloop.instruments.serving import serve
from twinloop.instruments.spec import AdapterSpec
from twinloop.log.interface import Entry
from twinloop.log.sqlite import SqliteLog


def test_a_damaged_ledger_is_refused_before_anything_starts(tmp_path: Path) -> None:
    spec = AdapterSpec(
        agent="bakery",
        hub="tcp://127.0.0.1:5598",
        folder=tmp_path,
        instruments={
            "furnace": {
                "class": "twinloop.instruments.testing:Furnace",
                "settings": {"folder": str(tmp_path / "line")},
            }
        },
    )
    log = SqliteLog(spec.ledger_path, "ledger-test")
    log.append(Entry("ledger_opened", 1, {"digests": {}}))
    log.append(Entry("cleared", 1, {"n": 1}))
    log.close()
    with sqlite3.connect(spec.ledger_path) as db:
        table = next(
            name
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if "body" in [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
        )
        db.execute(f"UPDATE {table} SET body = '{{\"n\":2}}' WHERE seq = 2")  # noqa: S608
    db.close()
    with pytest.raises(JournalCorrupt):
        serve(spec)
