"""The offline checker finds each kind of damage in a history that is otherwise whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinloop.agents.kills.audit import Evidence, audit, violations
from twinloop.errors import JournalCorrupt
from twinloop.log.arrays import ArrayStore
from twinloop.log.interface import Entry
from twinloop.log.sqlite import SqliteLog

LOAD, GROW = ["c", "t0000", "0", 1], ["c", "t0000", "2", 1]
GROWN = {"dose_ML": 3.5, "growth_s": 50.0}
Bodies = dict[str, list[dict[str, Any]]]


def whole() -> Bodies:
    """Return a trial of one film, as journal, ledger and machine would write it."""

    def settled(key: list[Any], result: Any) -> dict[str, Any]:
        return {"key": key, "state": "done", "result": result, "arrays": []}

    return {
        "journal": [
            {"kind": "proposed", "number": 0},
            {"kind": "commanded", "key": LOAD, "action": "load", "sample": "s"},
            {"kind": "settled", **settled(LOAD, None)},
            {"kind": "commanded", "key": GROW, "action": "grow", "sample": "s"},
            {"kind": "settled", **settled(GROW, GROWN)},
            {"kind": "trial_ended", "number": 0},
            {"kind": "finished"},
        ],
        "ledger": [
            entry
            for key, result in ((LOAD, None), (GROW, GROWN))
            for entry in (
                {"kind": "intent", "command": {"key": key}},
                {"kind": "done", "key": key, "result": result},
                {"kind": "acked", "key": key},
            )
        ],
        "effects": [
            {"kind": "sample_loaded", "key": "c/t0000/0/1", "sample": "s"},
            {"kind": "growth_started", "key": "c/t0000/2/1", "sample": "s"},
            {"kind": "growth_ended", "key": "c/t0000/2/1", "state": "done", "numbers": GROWN},
        ],
    }


def evidence(bodies: Bodies) -> Evidence:
    def entries(name: str) -> tuple[Entry, ...]:
        return tuple(
            Entry(b["kind"], 1, {k: v for k, v in b.items() if k != "kind"}) for b in bodies[name]
        )

    return Evidence(entries("journal"), entries("ledger"), tuple(bodies["effects"]))


def grown_again(bodies: Bodies) -> None:
    bodies["effects"].append(bodies["effects"][1])


def grown_under_another_attempt(bodies: Bodies) -> None:
    key = ["c", "t0000", "2", 2]
    bodies["journal"].insert(5, {**bodies["journal"][3], "key": key})
    bodies["journal"].insert(6, {**bodies["journal"][4], "key": key, "state": "partial"})
    bodies["ledger"].append({"kind": "intent", "command": {"key": key}})
    bodies["effects"].append({**bodies["effects"][1], "key": "c/t0000/2/2"})


def grown_uncommanded(bodies: Bodies) -> None:
    del bodies["journal"][3:5]
    del bodies["ledger"][-1]


def grown_without_intent(bodies: Bodies) -> None:
    del bodies["ledger"][3]


def grown_and_called_a_failure(bodies: Bodies) -> None:
    bodies["journal"][4] |= {"state": "failed", "result": None}
    bodies["ledger"][4] |= {"kind": "failed", "result": None}


def grown_on_another_sample(bodies: Bodies) -> None:
    bodies["effects"][0]["sample"] = "other"


def forgotten_by_the_journal(bodies: Bodies) -> None:
    del bodies["journal"][4]
    del bodies["journal"][-1]


def another_result_than_acknowledged(bodies: Bodies) -> None:
    bodies["ledger"][4]["result"] = {"dose_ML": 1.0}


def another_result_than_counted(bodies: Bodies) -> None:
    bodies["effects"][2]["numbers"] = {"dose_ML": 1.0}


def done_and_never_grown_to_its_end(bodies: Bodies) -> None:
    del bodies["effects"][2]


def finished_too_early(bodies: Bodies) -> None:
    del bodies["journal"][5]


def test_a_whole_history_is_accepted() -> None:
    assert violations(evidence(whole())) == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (grown_again, "growth_started 2 times under c/t0000/2/1"),
        (grown_under_another_attempt, "one step, begun more than once"),
        (grown_uncommanded, "growth_started under c/t0000/2/1: in no journal"),
        (grown_without_intent, "growth_started under c/t0000/2/1: no INTENT"),
        (grown_and_called_a_failure, "settled as failed without effect"),
        (grown_on_another_sample, "growth_started under c/t0000/2/1: on s, loaded was other"),
        (forgotten_by_the_journal, "c/t0000/2/1: acknowledged, and the journal or the ledger"),
        (another_result_than_acknowledged, "keeps another outcome than was acknowledged"),
        (another_result_than_counted, "c/t0000/2/1: the journal has"),
        (done_and_never_grown_to_its_end, "the machine did not grow it to its end"),
        (finished_too_early, "proposal 0: finished without an end of it"),
    ],
)
def test_each_damage_is_found(damage: Callable[[Bodies], None], words: str) -> None:
    bodies = whole()
    damage(bodies)
    found = violations(evidence(bodies))
    assert any(words in violation for violation in found), found


def write(folder: Path, *entries: Entry) -> None:
    log = SqliteLog(folder / "journal.db", "journal")
    for entry in entries:
        log.append(entry)
    log.close()


def test_a_missing_array_and_a_changed_one_are_found(tmp_path: Path) -> None:
    store = ArrayStore(tmp_path / "arrays")
    refs = [store.put(name, np.arange(n)) for name, n in (("a", 3), ("b", 4), ("c", 5))]
    described = [ref.model_dump(mode="json") for ref in refs]
    write(tmp_path, Entry("computed", 1, {"arrays": described}))
    assert audit(tmp_path) == []
    store.path(refs[0].digest).unlink()
    store.path(refs[1].digest).write_bytes(b"\0" * refs[1].nbytes)
    assert [refs[0].digest[:16] in v or refs[1].digest[:16] in v for v in audit(tmp_path)] == [
        True,
        True,
    ]


def test_a_changed_journal_is_found(tmp_path: Path) -> None:
    import sqlite3

    write(tmp_path, Entry("finished", 1, {}))
    with sqlite3.connect(tmp_path / "journal.db") as database:
        database.execute("UPDATE events SET body = '{\"a\":1}'")
    database.close()
    with pytest.raises(JournalCorrupt):
        audit(tmp_path)
