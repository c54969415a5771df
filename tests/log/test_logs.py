"""What holds for the log on disk and for the one in memory alike."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twinloop.errors import ArgumentError
from twinloop.log.interface import DuplicateKey, Entry
from twinloop.log.memory import MemoryLog
from twinloop.log.sqlite import SqliteLog

STAMP = "2026-01-01T00:00:00+00:00"
DIGEST = "ab" * 32


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    if request.param == "memory":
        made = MemoryLog("lab", stamp=lambda: STAMP)
    else:
        made = SqliteLog(tmp_path / "log.sqlite", log_id="lab", stamp=lambda: STAMP)
    yield made
    made.close()


def test_events_are_numbered_from_one_and_read_back_as_written(log):
    entries = [Entry("a", 1, {"x": [1, 2.5, None]}), Entry("b", 2, {"ä": "µ"}, "k", (DIGEST,))]
    assert [log.append(e) for e in entries] == [1, 2]
    assert [s.entry for s in log.read()] == entries
    assert [s.seq for s in log.read(after=1)] == [2]
    assert log.last_seq == 2


def test_a_key_stands_once_and_the_second_writer_learns_where(log):
    log.append(Entry("a", 1))
    log.append(Entry("a", 1, key="k"))
    with pytest.raises(DuplicateKey) as caught:
        log.append(Entry("b", 1, key="k"))
    assert (caught.value.key, caught.value.seq) == ("k", 2)
    assert log.append(Entry("b", 1, key="other")) == 3
    assert log.verify() == 3


def test_a_duplicate_key_does_not_disturb_the_open_group(log):
    log.append(Entry("a", 1, key="k"))
    with pytest.raises(DuplicateKey):
        log.append(Entry("b", 1, key="k"))
    log.commit()
    assert [s.entry.kind for s in log.read()] == ["a"]


def test_an_event_is_found_by_its_key_before_and_after_commit(log):
    log.append(Entry("a", 1, {"n": 1}, key="k"))
    assert log.find("k").entry.body == {"n": 1}
    log.commit()
    assert log.find("k").seq == 1
    assert log.find("absent") is None


def test_pending_ends_with_commit(log):
    assert not log.has_pending
    log.append(Entry("a", 1))
    assert log.has_pending
    log.commit()
    assert not log.has_pending


def test_references_to_arrays_are_listed(log):
    log.append(Entry("a", 1, refs=(DIGEST, "cd" * 32, DIGEST)))
    log.append(Entry("a", 1, refs=(DIGEST,)))
    assert log.referring(DIGEST) == [1, 2]
    assert log.referring("cd" * 32) == [1]
    assert log.verify() == 2


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a", 1, {"x": float("nan")}),
        Entry("a", 1, {"x": float("inf")}),
        Entry("a", 1, {"x": object()}),
        Entry("a", 1, {"x": "\ud800"}),
        Entry("a", 1, refs=("../../etc",)),
        Entry("", 1),
        Entry("a", 0),
    ],
)
def test_what_is_not_a_json_event_is_refused_and_leaves_no_trace(log, entry):
    with pytest.raises(ArgumentError):
        log.append(entry)
    assert log.last_seq == 0
    assert log.append(Entry("a", 1)) == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcé\n", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
ENTRIES = st.builds(
    Entry,
    kind=st.text('ab\x1f\n"é', min_size=1, max_size=4),
    v=st.integers(1, 9),
    body=st.dictionaries(st.text("xyz", max_size=2), JSON, max_size=3),
    key=st.none() | st.text("k0123", max_size=3),
    refs=st.lists(st.sampled_from([DIGEST, "cd" * 32]), max_size=2).map(tuple),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(entries=st.lists(ENTRIES, max_size=8))
def test_memory_and_disk_give_the_same_events_and_hashes(tmp_path, entries):
    path = tmp_path / "log.sqlite"
    for old in tmp_path.iterdir():
        old.unlink()
    disk, memory = SqliteLog(path, "lab", stamp=lambda: STAMP), MemoryLog("lab", lambda: STAMP)
    outcomes = []
    for log in (disk, memory):
        told = []
        for entry in entries:
            try:
                told.append(log.append(entry))
            except DuplicateKey as err:
                told.append(("duplicate", err.seq))
        log.commit()
        outcomes.append((told, list(log.read()), log.verify()))
    disk.close()
    assert outcomes[0] == outcomes[1]
    again = SqliteLog(path, "another id is ignored")
    assert list(again.read()) == outcomes[0][1]
    assert again.log_id == "lab"
    again.close()


def test_a_crash_in_memory_forgets_exactly_what_was_not_committed():
    log = MemoryLog("lab")
    log.append(Entry("a", 1, key="kept"))
    log.commit()
    log.append(Entry("b", 1, key="lost"))
    log.crash()
    assert log.find("lost") is None
    assert log.append(Entry("c", 1, key="lost")) == 2
    assert log.verify() == 2


def test_the_chain_depends_on_the_identity_of_the_log():
    hashes = set()
    for log_id in ("one", "two"):
        log = MemoryLog(log_id, stamp=lambda: STAMP)
        log.append(Entry("a", 1))
        hashes.add(next(log.read()).hash)
    assert len(hashes) == 2
