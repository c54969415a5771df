import sqlite3

import pytest

from twinloop.agents.export.record import read_run
from twinloop.agents.report.history import JOURNAL
from twinloop.errors import ArgumentError, ConfigError, LabError


def answers(record, trial=0):
    return {a.name: a for a in record.answers(record.trials[trial])}


def test_a_run_is_read_whole(seen):
    record = read_run(seen)
    assert (record.problems, record.notes) == ([], [])
    assert record.campaign == "demo"
    assert record.run_id == "5f4bfda201020304"
    assert [t.id for t in record.trials] == ["t0000", "t0001"]


def test_answers_stand_in_the_order_in_which_they_were_asked(seen):
    names = list(answers(read_run(seen)))
    assert names[:3] == ["mbe_load_0", "mbe_heat_1", "mbe_grow_2_0_0"]
    assert (
        names.index("stm_scan_5") < names.index("stm_analyst_film_6") < names.index("xrd_align_7")
    )


def test_numbers_are_told_from_arrays(seen):
    found = answers(read_run(seen))
    assert found["mbe_heat_1"].numbers == {"result": 679.5}
    assert found["rheed_record_2_1_0"].numbers == {"exposure_s": 0.25, "is_complete": True}
    assert found["rheed_expose_4"].numbers == {}


def test_a_command_has_the_lease_of_its_instrument(seen):
    record = read_run(seen)
    step = answers(record)["stm_scan_5"].step
    assert record.lease(step.commanded).schema_digest == "03" * 32


def test_times_are_those_of_the_journal(seen):
    record = read_run(seen)
    begun = record.at("campaign_started")
    assert begun.startswith("2026-01-17T10:22:00")
    assert record.at("no such event") == ""
    assert record.seconds("no such event") is None


def test_a_folder_without_a_journal_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match="twinloop run"):
        read_run(tmp_path)


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    (tmp_path / JOURNAL).write_bytes(b"not a database" * 100)
    with pytest.raises(LabError, match=r"journal\.db"):
        read_run(tmp_path)


def test_a_changed_event_is_told_and_the_rest_is_read(seen):
    with sqlite3.connect(seen / JOURNAL) as db:
        db.execute("UPDATE events SET body = replace(body, '0.4', '0.9') WHERE kind='trial_ended'")
    db.close()
    record = read_run(seen)
    assert any("does not fit the chain" in p for p in record.problems)
    assert len(record.trials) == 2


def test_an_event_that_cannot_be_read_ends_the_reading(seen):
    with sqlite3.connect(seen / JOURNAL) as db:
        last = db.execute("SELECT max(seq) FROM events WHERE kind = 'commanded'").fetchone()[0]
        db.execute("UPDATE events SET body = x'7b22' WHERE seq = ?", (last,))
    db.close()
    record = read_run(seen)
    assert any(f"after event {last - 1}" in p for p in record.problems)
    assert [t.id for t in record.trials] == ["t0000", "t0001"]


@pytest.mark.parametrize(("trial", "found"), [("t0001", "t0001"), ("1", "t0001"), ("0", "t0000")])
def test_a_trial_is_selected_by_name_or_number(seen, trial, found):
    record = read_run(seen)
    record.select(trial, None)
    assert [t.id for t in record.trials] == [found]


def test_a_sample_is_selected(seen):
    record = read_run(seen)
    record.select(None, "demo-0001")
    assert [t.id for t in record.trials] == ["t0001"]


@pytest.mark.parametrize(("trial", "sample"), [("t0009", None), (None, "nobody"), ("x", None)])
def test_what_is_not_there_cannot_be_selected(seen, trial, sample):
    with pytest.raises(ArgumentError, match=r"t0000|demo-0000"):
        read_run(seen).select(trial, sample)
