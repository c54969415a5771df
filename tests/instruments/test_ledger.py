"""The ledger: one slot decides whether a key may start, and the fold knows what the log knows."""

import pytest

from twinloop.errors import JournalCorrupt
from twinloop.ids import CommandKey
from twinloop.instruments import ledger
from twinloop.instruments.ledger import Final, Home, LedgerState
from twinloop.instruments.testing import furnace_command
from twinloop.log.interface import DuplicateKey, Entry
from twinloop.log.memory import MemoryLog
from twinloop.messages import ArrayRef

COMMAND = furnace_command("1", "anneal", epoch=1, ledger="l", hold_K=900.0, hold_s=1.0)
REF = ArrayRef(name="trace", digest="a" * 64, dtype="<f4", shape=(3,), nbytes=12)
FINAL = Final("done", {"peak_K": 900.0}, (REF,), "", started_lab_s=1.0, ended_lab_s=2.0)


def intent(key: CommandKey = COMMAND.key) -> Entry:
    command = COMMAND.model_copy(update={"key": key})
    return ledger.intent(command, "conductor", loads_sample=False, sample_before=None)


def test_the_log_itself_refuses_a_second_start_of_a_key() -> None:
    log = MemoryLog("l")
    log.append(intent())
    with pytest.raises(DuplicateKey):
        log.append(intent())
    with pytest.raises(DuplicateKey):
        log.append(ledger.closed(COMMAND.key, "furnace", Final("not_done")))


def test_keys_that_read_alike_are_different_keys() -> None:
    log = MemoryLog("l")
    log.append(intent(CommandKey("c", "t/1", "x", 1)))
    log.append(intent(CommandKey("c", "t", "1/x", 1)))
    assert len(LedgerState.of(log.read()).open) == 2


def test_the_fold_knows_how_a_command_ended_and_which_arrays_it_needs() -> None:
    log = MemoryLog("l")
    log.append(ledger.leased("furnace", "c", "conductor", "tcp://127.0.0.1:9", 4, "life"))
    log.append(intent())
    state = LedgerState.of(log.read())
    assert state.epoch == 4
    assert state.homes == {"c": Home("conductor", "tcp://127.0.0.1:9")}
    assert state.open_on("furnace") is state.policy_of("furnace")
    log.append(ledger.ended(state.records[COMMAND.key], FINAL, sample=None, sets_sample=False))
    state = LedgerState.of(log.read())
    record = state.records[COMMAND.key]
    assert record.command == COMMAND
    assert record.final == FINAL
    assert state.open_on("furnace") is None
    assert state.policy_of("furnace") is record
    assert log.referring(REF.digest) == [3]
    assert list(state.unacked) == [COMMAND.key]
    log.append(ledger.acked(COMMAND.key))
    assert not LedgerState.of(log.read()).unacked


def test_a_safe_state_leaves_nothing_behind() -> None:
    state = LedgerState.of([intent()])
    state.apply(ledger.safe_state("furnace", "watchdog", "the adapter died"))
    assert state.left_by == {}


def test_the_first_reason_of_a_trip_stands_until_it_is_cleared() -> None:
    state = LedgerState.of([ledger.tripped("furnace", "hot"), ledger.tripped("furnace", "late")])
    assert state.trips == {"furnace": "hot"}
    state.apply(ledger.cleared("furnace", "Ada", "looked"))
    assert state.trips == {}


def test_the_newest_trip_is_remembered_with_who_cleared_it() -> None:
    state = LedgerState()
    state.apply(ledger.tripped("furnace", "hot"), "2026-01-02T10:00:00+00:00")
    state.apply(ledger.tripped("furnace", "hotter"), "2026-01-02T10:00:01+00:00")
    assert state.past_trips["furnace"].words() == "2026-01-02T10:00:00+00:00: hot; not cleared"
    state.apply(ledger.cleared("furnace", "Ada", "valve freed"), "2026-01-02T11:00:00+00:00")
    state.apply(ledger.cleared("furnace", "Bob", "again"), "2026-01-02T12:00:00+00:00")
    told = state.past_trips["furnace"].words()
    assert told.endswith("hot; cleared 2026-01-02T11:00:00+00:00 by Ada: valve freed")
    assert not state.trips


def test_a_digest_is_of_what_is_asked_and_of_no_lease_or_deadline() -> None:
    later = COMMAND.model_copy(update={"epoch": 9, "not_after_s": 5.0})
    hotter = COMMAND.model_copy(update={"arguments": {"hold_K": 901.0, "hold_s": 1.0}})
    assert ledger.command_digest(later) == ledger.command_digest(COMMAND)
    assert ledger.command_digest(hotter) != ledger.command_digest(COMMAND)


@pytest.mark.parametrize(
    "entry",
    [
        Entry("acked", 1, {"key": ["c", "t", "never", 1]}),
        Entry("intent", 1, {"command": {}}),
        Entry("leased", 1, {}),
        Entry("wished", 1, {}),
        Entry("tripped", 2, {"instrument": "furnace", "reason": "hot"}),
    ],
)
def test_an_entry_that_fits_nothing_is_corruption(entry: Entry) -> None:
    with pytest.raises(JournalCorrupt):
        LedgerState.of([entry])
