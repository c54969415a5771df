"""The adapter's decisions, one rule a test: what is answered, what is written first, what is run."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from twinloop.errors import ArgumentError, JournalCorrupt
from twinloop.ids import CommandKey
from twinloop.instruments.adapter_core import AdapterCore
from twinloop.instruments.adapter_effects import (
    CancelAction,
    Cancelled,
    DropSpool,
    LimitBroken,
    Raised,
    ReadOut,
    ReadOutDone,
    Reconcile,
    Reconciled,
    ReconcileFailed,
    Returned,
    RunSafeState,
    SafeStateDone,
    SafeStateFailed,
    StartAction,
    Upload,
)
from twinloop.instruments.interface import Instrument, OnSilence, Recovery, action
from twinloop.instruments.rules import AdapterSettings, rules_of
from twinloop.instruments.testing import Furnace, furnace_command
from twinloop.instruments.watchdog_notes import WatchdogNote
from twinloop.log.interface import Entry
from twinloop.log.memory import MemoryLog
from twinloop.messages import (
    Abort,
    Accepted,
    ArrayRef,
    Clear,
    Command,
    EmergencyStop,
    InstrumentStatus,
    LeaseGranted,
    LeaseRefused,
    LeaseRelease,
    LeaseRenew,
    LeaseRenewed,
    LeaseRequest,
    Message,
    Outcome,
    OutcomeAck,
    Query,
    ReadoutReply,
    ReadoutRequest,
    StatusRequest,
)
from twinloop.wire.effects import Append, Exit, Send, Sync

REF = ArrayRef(name="trace", digest="a" * 64, dtype="<f4", shape=(3,), nbytes=12)
DEPOT = "tcp://127.0.0.1:9"


class Bench:
    """One core on a memory log, driven by hand; remembers effects and what was sent."""

    def __init__(self, **settings: Any) -> None:
        self.log, self.settings = MemoryLog("ledger-1"), AdapterSettings(**settings)
        self.now_s, self.sent, self.effects = 0.0, [], []
        self.notes: tuple[WatchdogNote, ...] = ()
        self.core: AdapterCore
        self.restart()

    def restart(self) -> None:
        self.log.crash()
        self.core = AdapterCore(
            self.log.read(),
            "ledger-1",
            {"furnace": rules_of(Furnace), "oven": rules_of(Furnace)},
            self.settings,
            self.notes,
        )
        self.run(self.core.start(self.now_s))

    def run(self, effects: list[Any]) -> list[Any]:
        self.effects, self.sent = effects, []
        for effect in effects:
            if isinstance(effect, Append):
                self.log.append(effect.entry)
            elif isinstance(effect, Sync):
                self.log.commit()
            elif isinstance(effect, Send):
                self.sent.append((effect.to, effect.message))
        return effects

    def say(self, message: Message, sender: str = "conductor") -> list[Any]:
        return self.run(self.core.receive(sender, message, self.now_s))

    def report(self, event: Any) -> list[Any]:
        return self.run(self.core.device(event, self.now_s))

    def tick(self, after_s: float) -> list[Any]:
        self.now_s += after_s
        return self.run(self.core.tick(self.now_s))

    def lease(
        self,
        instrument: str = "furnace",
        campaign: str = "c",
        sender: str = "conductor",
        **extra: Any,
    ) -> Message:
        request = LeaseRequest(
            instrument=instrument, campaign=campaign, depot=DEPOT, ttl_s=10, **extra
        )
        self.say(request, sender)
        return next(m for _, m in self.sent if isinstance(m, LeaseGranted | LeaseRefused))

    def command(self, step: str, action_name: str, **extra: Any) -> Command:
        extra = {"epoch": self.core.ledger.epoch, "ledger": "ledger-1", **extra}
        return furnace_command(step, action_name, **extra)

    def load(self) -> None:
        self.lease()
        self.say(self.command("load", "load"))
        self.report(Returned(CommandKey("c", "t", "load", 1)))

    def only(self, kind: type) -> Any:
        found = [m for _, m in self.sent if isinstance(m, kind)]
        assert len(found) == 1, self.sent
        return found[0]

    def kinds(self) -> list[str]:
        return [stored.entry.kind for stored in self.log.read()]


def of(effects: list[Any], kind: type) -> list[Any]:
    return [e for e in effects if isinstance(e, kind)]


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.load()
    return bench


def test_intent_is_durable_before_the_device_is_touched(bench: Bench) -> None:
    effects = bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1))
    gate, start = (
        effects.index(Sync()),
        next(i for i, e in enumerate(effects) if isinstance(e, StartAction)),
    )
    written = [e.entry.kind for e in effects[:gate] if isinstance(e, Append)]
    assert "intent" in written
    assert gate < start
    assert bench.only(Accepted).key == ("c", "t", "1", 1)


def test_a_repeated_command_is_answered_and_not_executed(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    again = bench.say(command)
    assert not of(again, StartAction)
    assert bench.only(Accepted)
    bench.report(Returned(command.key, {"peak_K": 900.0}))
    assert not of(bench.say(command), StartAction)
    assert bench.only(Outcome).result == {"peak_K": 900.0}


def test_another_command_under_a_used_key_is_unknown_and_not_executed(bench: Bench) -> None:
    bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1))
    effects = bench.say(bench.command("1", "anneal", hold_K=901, hold_s=1))
    assert not of(effects, StartAction)
    assert bench.only(Outcome).state == "unknown"


def test_an_outcome_is_durable_before_it_is_told(bench: Bench) -> None:
    bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1))
    effects = bench.report(Returned(CommandKey("c", "t", "1", 1), {"peak_K": 900.0}))
    kinds = [type(e).__name__ for e in effects]
    assert kinds == ["Append", "Sync", "Send"]
    assert bench.only(Outcome).state == "done"


def test_an_outcome_with_arrays_is_told_only_when_the_depot_has_them(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    effects = bench.report(Returned(command.key, {"trace": {"$array": "trace"}}, (REF,)))
    assert of(effects, Upload) == [Upload(command.key, (REF,), DEPOT)]
    assert not bench.sent
    bench.say(Query(key=command.key, instrument="furnace", ledger="ledger-1"))
    assert bench.only(Outcome).state == "running"
    bench.say(command)
    assert bench.only(Accepted)
    bench.run(bench.core.uploaded(command.key, DEPOT, bench.now_s))
    assert bench.only(Outcome).arrays == (REF,)


def test_a_failed_upload_is_tried_again(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    bench.report(Returned(command.key, None, (REF,)))
    bench.run(bench.core.upload_failed(command.key, DEPOT, bench.now_s))
    assert not of(bench.tick(0.1), Upload)
    assert of(bench.tick(0.5), Upload)


def test_arrays_follow_the_campaign_to_its_new_depot(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    bench.report(Returned(command.key, None, (REF,)))
    request = LeaseRequest(instrument="furnace", campaign="c", depot="tcp://127.0.0.1:8", ttl_s=9)
    assert [u.depot for u in of(bench.say(request), Upload)] == ["tcp://127.0.0.1:8"]
    assert not of(bench.run(bench.core.uploaded(command.key, DEPOT, bench.now_s)), Send)
    bench.run(bench.core.uploaded(command.key, "tcp://127.0.0.1:8", bench.now_s))
    assert bench.only(Outcome).state == "done"


def test_an_outcome_is_told_again_with_growing_pauses_until_acknowledged(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    bench.say(OutcomeAck(key=CommandKey("c", "t", "load", 1)))
    bench.report(Returned(command.key))
    pauses_s = []
    for _ in range(5):
        wake_s = min(t for t in [bench.core.wake_at_s] if t is not None)
        while not of(bench.tick(max(0.0, wake_s - bench.now_s)), Send):
            wake_s = bench.core.wake_at_s
        pauses_s.append(bench.now_s)
        assert bench.only(Outcome).key == command.key
    gaps_s = [b - a for a, b in itertools.pairwise(pauses_s)]
    assert gaps_s == sorted(gaps_s)
    assert gaps_s[-1] > gaps_s[0]
    effects = bench.say(OutcomeAck(key=command.key))
    assert effects[-2:] == [Sync(), DropSpool(command.key)]
    assert not of(bench.tick(100.0), Send)


def test_only_the_home_of_a_campaign_acknowledges_its_outcomes(bench: Bench) -> None:
    assert not bench.say(OutcomeAck(key=CommandKey("c", "t", "load", 1)), "stranger")
    assert bench.say(OutcomeAck(key=CommandKey("c", "t", "load", 1)))


# --- leases ------------------------------------------------------------------------------------


def test_the_epoch_is_durable_before_the_lease_is_granted() -> None:
    bench = Bench()
    bench.lease()
    kinds = [type(e).__name__ for e in bench.effects]
    assert kinds.index("Append") < kinds.index("Sync") < kinds.index("Send")


def test_only_one_holder_at_a_time_and_epochs_only_grow() -> None:
    bench = Bench()
    first = bench.lease()
    assert isinstance(first, LeaseGranted)
    refused = bench.lease(sender="other", campaign="d")
    assert isinstance(refused, LeaseRefused)
    assert "conductor" in refused.holder
    bench.now_s += 11
    second = bench.lease(sender="other", campaign="d")
    assert isinstance(second, LeaseGranted)
    bench.restart()
    third = bench.lease()
    assert isinstance(third, LeaseGranted)
    assert first.epoch < second.epoch < third.epoch


def test_the_same_life_asking_again_keeps_its_epoch_and_another_life_gets_a_new_one() -> None:
    bench = Bench()
    epochs = [bench.lease(incarnation=life).epoch for life in ("a", "a", "b", "b")]
    assert epochs == [1, 1, 2, 2]
    assert bench.lease().epoch < bench.lease().epoch


def test_a_lease_can_be_given_back_to_another() -> None:
    bench = Bench()
    bench.lease()
    bench.say(LeaseRelease(instrument="furnace", epoch=1))
    assert isinstance(bench.lease(sender="other", campaign="d"), LeaseGranted)


def test_a_renewal_tells_the_adapters_clock_and_an_old_epoch_is_refused(bench: Bench) -> None:
    bench.now_s = 5.0
    bench.say(LeaseRenew(instrument="furnace", epoch=1))
    assert bench.only(LeaseRenewed).adapter_now_s == 5.0
    bench.lease()
    bench.say(LeaseRenew(instrument="furnace", epoch=1))
    assert bench.only(LeaseRefused).epoch == 1


@pytest.mark.parametrize(
    ("sender", "change"),
    [
        ("conductor", {"epoch": 0}),
        ("conductor", {"epoch": 99}),
        ("zombie", {}),
    ],
)
def test_a_command_outside_the_lease_is_refused_and_leaves_its_key_open(
    bench: Bench, sender: str, change: dict[str, Any]
) -> None:
    stale = bench.command("1", "anneal", hold_K=900, hold_s=1, **change)
    n_before = bench.log.last_seq
    effects = bench.say(stale, sender)
    assert [type(e).__name__ for e in effects] == ["Send"]
    assert bench.only(LeaseRefused)
    assert bench.log.last_seq == n_before
    fresh = bench.command("1", "anneal", hold_K=900, hold_s=1)
    assert of(bench.say(fresh), StartAction)


def test_a_command_of_another_campaign_is_refused(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    foreign = command.model_copy(update={"key": CommandKey("d", "t", "1", 1)})
    assert not of(bench.say(foreign), StartAction)
    assert bench.only(LeaseRefused)


def test_no_lease_outlives_the_process_that_granted_it(bench: Bench) -> None:
    late = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.restart()
    assert not of(bench.say(late), StartAction)
    assert bench.only(LeaseRefused)


def test_a_command_under_another_ledger_is_unknown_and_never_starts(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1, ledger="ledger-0")
    assert not of(bench.say(command), StartAction)
    assert bench.only(Outcome).state == "unknown"
    mine = bench.command("1", "anneal", hold_K=900, hold_s=1)
    assert not of(bench.say(mine), StartAction)
    assert bench.only(Outcome).state == "unknown"


# --- checks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action_name", "change", "word", "may_retry"),
    [
        ("melt", {}, "no action", False),
        ("anneal", {"hold_K": 2000, "hold_s": 1}, "allowed 293 to 1423", False),
        ("anneal", {"hold_K": 900}, "hold_s", False),
        ("anneal", {"hold_K": 900, "hold_s": 1, "sample": "s2"}, "s2", False),
        ("anneal", {"hold_K": 900, "hold_s": 1, "sample": None}, "none", False),
        ("anneal", {"hold_K": 900, "hold_s": 1, "not_after_s": -1.0}, "latest start", True),
        ("load", {"sample": None}, "names none", False),
    ],
)
def test_a_command_that_fails_a_check_is_failed_for_good(
    bench: Bench, action_name: str, change: dict[str, Any], word: str, may_retry: bool
) -> None:
    command = bench.command("1", action_name, **change)
    effects = bench.say(command)
    assert not of(effects, StartAction)
    assert [type(e).__name__ for e in effects] == ["Append", "Sync", "Send"]
    outcome = bench.only(Outcome)
    assert (outcome.state, outcome.may_retry) == ("failed", may_retry)
    assert word in outcome.reason
    bench.restart()
    bench.lease()
    bench.say(command.model_copy(update={"epoch": bench.core.ledger.epoch, "not_after_s": 1e9}))
    assert bench.only(Outcome) == outcome


def test_one_action_at_a_time_on_an_instrument_and_two_on_two(bench: Bench) -> None:
    bench.lease("oven")
    bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1, epoch=1))
    bench.say(bench.command("2", "anneal", hold_K=900, hold_s=1, epoch=1))
    assert "busy" in bench.only(Outcome).reason
    other = bench.command("3", "anneal", hold_K=900, hold_s=1, epoch=2)
    assert of(bench.say(other.model_copy(update={"instrument": "oven"})), StartAction)


def test_no_sample_is_loaded_while_anything_runs(bench: Bench) -> None:
    bench.lease("oven")
    bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1, epoch=1))
    load = bench.command("2", "load", sample="s2", epoch=2)
    assert not of(bench.say(load.model_copy(update={"instrument": "oven"})), StartAction)
    assert bench.only(Outcome).may_retry


def test_a_full_spool_refuses_before_the_start() -> None:
    bench = Bench(spool_limit_bytes=100, spool_reserve_bytes=10)
    bench.core.observe(0.0, 90)
    bench.load()
    assert bench.core.ledger.sample == "s1"
    bench.core.observe(0.0, 91)
    assert not of(bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1)), StartAction)
    assert "spool holds 91 bytes" in bench.only(Outcome).reason
    bench.core.observe(0.0, 10)
    again = bench.command("1", "anneal", hold_K=900, hold_s=1, attempt=2)
    assert of(bench.say(again), StartAction)


@pytest.mark.parametrize(
    ("ending", "sample"),
    [
        (Returned(CommandKey("c", "t", "l", 1)), "s2"),
        (Raised(CommandKey("c", "t", "l", 1), is_touched=False, reason="no"), "s1"),
    ],
)
def test_the_sample_is_what_the_last_certain_load_brought(
    bench: Bench, ending: Any, sample: str
) -> None:
    bench.say(bench.command("l", "load", sample="s2"))
    assert bench.core.ledger.sample is None
    bench.report(ending)
    assert bench.core.ledger.sample == sample
    bench.restart()
    assert bench.core.ledger.sample == sample


def test_nobody_knows_the_sample_after_a_load_that_nobody_can_tell(bench: Bench) -> None:
    key = CommandKey("c", "t", "l", 1)
    bench.say(bench.command("l", "load", sample="s2"))
    bench.report(Raised(key, is_touched=True, reason="noise"))
    bench.report(Reconciled(key, "unknown"))
    assert bench.core.ledger.sample is None


# --- queries -----------------------------------------------------------------------------------


def test_a_query_of_an_unknown_key_closes_it_before_it_says_so(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    effects = bench.say(Query(key=command.key, instrument="furnace", ledger="ledger-1"))
    assert [type(e).__name__ for e in effects] == ["Append", "Sync", "Send"]
    assert bench.only(Outcome).state == "not_done"
    assert not of(bench.say(command), StartAction), "it was still on its way"
    assert bench.only(Outcome).state == "not_done"


def test_a_query_of_a_stranger_closes_nothing(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(Query(key=command.key, instrument="furnace", ledger="ledger-1"), "stranger")
    assert bench.only(LeaseRefused)
    assert of(bench.say(command), StartAction)


def test_a_query_under_another_ledger_is_unknown(bench: Bench) -> None:
    key = CommandKey("c", "t", "1", 1)
    bench.say(Query(key=key, instrument="furnace", ledger="ledger-0"))
    assert bench.only(Outcome).state == "unknown"


def test_a_query_of_a_running_key_says_running(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    bench.say(Query(key=command.key, instrument="furnace", ledger="ledger-1"))
    assert bench.only(Outcome).state == "running"


# --- recovery ----------------------------------------------------------------------------------


def test_an_exception_before_any_touch_is_failed(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    bench.report(Raised(command.key, is_touched=False, reason="lid open"))
    assert bench.only(Outcome).state == "failed"


@pytest.mark.parametrize(
    ("verdict", "state"),
    [("done", "done"), ("partial", "partial"), ("not_done", "failed"), ("unknown", "unknown")],
)
def test_an_exception_after_a_touch_is_settled_by_the_instrument(
    bench: Bench, verdict: Any, state: str
) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    effects = bench.report(Raised(command.key, is_touched=True, reason="noise"))
    assert of(effects, Reconcile) == [Reconcile(command)]
    bench.report(Reconciled(command.key, verdict, {"peak_K": 1.0}))
    assert bench.only(Outcome).state == state


def test_a_device_that_is_still_at_it_is_asked_again_later(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    bench.report(Raised(command.key, is_touched=True, reason="noise"))
    bench.report(Reconciled(command.key, "running"))
    assert not of(bench.tick(0.1), Reconcile)
    assert of(bench.tick(0.5), Reconcile)


def test_an_instrument_that_cannot_be_asked_ends_as_unknown(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    bench.report(Raised(command.key, is_touched=True, reason="noise"))
    for _ in range(9):
        assert not of(bench.report(ReconcileFailed(command.key, "no answer")), Append)
        assert of(bench.tick(0.6), Reconcile)
    bench.report(ReconcileFailed(command.key, "no answer"))
    assert bench.only(Outcome).state == "unknown"


def test_an_idempotent_action_is_repeated_a_few_times_and_then_unknown(bench: Bench) -> None:
    command = bench.command("1", "heat", target_K=500)
    bench.say(command)
    for _ in range(2):
        effects = bench.report(Raised(command.key, is_touched=True, reason="noise"))
        assert [type(e).__name__ for e in effects] == ["Append", "Sync", "StartAction"]
    bench.report(Raised(command.key, is_touched=True, reason="noise"))
    assert bench.only(Outcome).state == "unknown"


def test_an_unsafe_action_that_raised_is_asked_about_and_never_repeated(bench: Bench) -> None:
    command = bench.command("1", "quench")
    bench.say(command)
    bench.report(Raised(command.key, is_touched=True, reason="noise"))
    effects = bench.report(Reconciled(command.key, "unknown", reason="water tells nothing"))
    assert not of(effects, StartAction)
    assert bench.only(Outcome).reason == "water tells nothing"


def test_a_complaint_of_the_read_back_is_unknown_and_trips(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    effects = bench.report(Returned(command.key, {"peak_K": 1.0}, complaint="it lies"))
    assert of(effects, RunSafeState)
    assert bench.only(Outcome).state == "unknown"
    assert bench.core.ledger.trips == {"furnace": "it lies"}


def test_intent_without_an_end_is_asked_about_before_any_lease(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    bench.restart()
    assert of(bench.effects, Reconcile) == [Reconcile(command)]
    assert not of(bench.effects, StartAction)
    assert isinstance(bench.lease(), LeaseRefused)
    assert bench.core.status("furnace").state == "reconciling"
    assert isinstance(bench.lease("oven"), LeaseGranted)
    bench.report(Reconciled(command.key, "running"))
    assert isinstance(bench.lease(), LeaseGranted)
    assert bench.core.status("furnace").state == "busy"
    bench.tick(0.5)
    bench.report(Reconciled(command.key, "done", {"peak_K": 900.0}))
    assert bench.only(Outcome).state == "done"


def test_an_idempotent_action_of_an_earlier_life_waits_for_its_campaign(bench: Bench) -> None:
    command = bench.command("1", "heat", target_K=500)
    bench.say(command)
    bench.restart()
    assert not of(bench.effects, StartAction)
    assert not of(bench.tick(0.1), StartAction)
    bench.lease()
    assert of(bench.effects, StartAction) == [StartAction(command)]


def test_an_idempotent_action_is_not_repeated_for_another_campaign(bench: Bench) -> None:
    bench.say(bench.command("1", "heat", target_K=500))
    bench.restart()
    bench.now_s += 100
    bench.lease(campaign="d")
    assert not of(bench.effects, StartAction)
    assert bench.core.ledger.records[CommandKey("c", "t", "1", 1)].final.state == "unknown"


def test_an_action_that_is_served_no_longer_is_unknown() -> None:
    bench = Bench()
    bench.load()
    bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1))
    core = AdapterCore(bench.log.read(), "ledger-1", {"oven": rules_of(Furnace)})
    core.start(0.0)
    assert core.ledger.records[CommandKey("c", "t", "1", 1)].final.state == "unknown"


def test_unacknowledged_outcomes_are_told_again_after_a_restart(bench: Bench) -> None:
    bench.restart()
    assert bench.only(Outcome).key == CommandKey("c", "t", "load", 1)


# --- abort, silence, trips ---------------------------------------------------------------------


def test_an_abort_cancels_asks_and_ends_as_partial(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    abort = Abort(key=command.key, instrument="furnace", epoch=1)
    assert bench.say(abort) == [CancelAction("furnace", command.key)]
    assert of(bench.report(Cancelled(command.key)), Reconcile)
    bench.report(Reconciled(command.key, "partial", {"peak_K": 500.0}))
    assert bench.only(Outcome).state == "partial"


def test_an_abort_of_a_stranger_or_of_an_old_epoch_is_refused(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    for sender, epoch in (("stranger", 1), ("conductor", 0)):
        bench.say(Abort(key=command.key, instrument="furnace", epoch=epoch), sender)
        assert bench.only(LeaseRefused)


def test_an_abort_of_a_command_on_its_way_closes_it(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(Abort(key=command.key, instrument="furnace", epoch=1))
    assert bench.only(Outcome).state == "not_done"
    assert not of(bench.say(command), StartAction)


def test_an_aborted_idempotent_action_is_not_repeated(bench: Bench) -> None:
    command = bench.command("1", "heat", target_K=500)
    bench.say(command)
    bench.say(Abort(key=command.key, instrument="furnace", epoch=1))
    assert not of(bench.report(Cancelled(command.key)), StartAction)
    assert bench.only(Outcome).state == "partial"


def test_an_adopted_action_is_aborted_through_the_safe_state(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    bench.restart()
    bench.report(Reconciled(command.key, "running"))
    epoch = bench.lease().epoch
    effects = bench.say(Abort(key=command.key, instrument="furnace", epoch=epoch))
    assert of(effects, RunSafeState)


def test_silence_during_an_action_that_finishes_starts_nothing_and_stops_nothing(
    bench: Bench,
) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    assert not of(bench.tick(0.6), RunSafeState)
    bench.report(Returned(command.key))
    assert bench.core.status("furnace").state == "held"
    bench.say(bench.command("2", "anneal", hold_K=900, hold_s=1))
    assert "silence" in bench.only(LeaseRefused).reason
    bench.say(LeaseRenew(instrument="furnace", epoch=1))
    assert bench.core.status("furnace").state == "idle"
    assert of(bench.say(bench.command("2", "anneal", hold_K=900, hold_s=1)), StartAction)


def test_silence_in_the_state_an_action_left_behind_runs_the_safe_state_once(bench: Bench) -> None:
    command = bench.command("1", "heat", target_K=500)
    bench.say(command)
    bench.report(Returned(command.key, 500.0))
    assert not of(bench.tick(0.4), RunSafeState)
    assert bench.core.wake_at_s == pytest.approx(0.5)
    assert of(bench.tick(0.2), RunSafeState)
    bench.report(SafeStateDone("furnace"))
    assert not of(bench.tick(10.0), RunSafeState)
    assert bench.core.ledger.trips == {}
    assert "safe_state" in bench.kinds()


def test_renewals_keep_silence_away(bench: Bench) -> None:
    bench.say(bench.command("1", "heat", target_K=500))
    for _ in range(5):
        assert not of(bench.tick(0.4), RunSafeState)
        bench.say(LeaseRenew(instrument="furnace", epoch=1))


def test_an_action_cancelled_by_silence_is_repeated_when_its_holder_is_back(bench: Bench) -> None:
    command = bench.command("1", "heat", target_K=500)
    bench.say(command)
    assert of(bench.tick(0.6), CancelAction)
    bench.report(Cancelled(command.key))
    bench.report(SafeStateDone("furnace"))
    assert of(bench.say(LeaseRenew(instrument="furnace", epoch=1)), StartAction)


def test_silence_counts_from_the_start_after_a_crash(bench: Bench) -> None:
    command = bench.command("1", "heat", target_K=500)
    bench.say(command)
    bench.report(Returned(command.key, 500.0))
    bench.restart()
    assert not of(bench.tick(0.4), RunSafeState)
    assert of(bench.tick(0.2), RunSafeState)


@pytest.mark.parametrize("instrument", ["furnace", None])
def test_an_emergency_stop_of_anybody_is_latched_over_restarts(
    bench: Bench, instrument: str | None
) -> None:
    bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1))
    effects = bench.say(EmergencyStop(instrument=instrument, reason="smoke"), "anybody")
    kinds = [type(e).__name__ for e in effects]
    assert kinds.index("RunSafeState") < kinds.index("Sync"), "no disk stands before safety"
    assert of(effects, CancelAction)
    bench.restart()
    assert "smoke" in bench.core.ledger.trips["furnace"]
    bench.report(Reconciled(CommandKey("c", "t", "1", 1), "partial", {}))
    granted = bench.lease()
    assert granted.trip is not None
    bench.say(bench.command("2", "anneal", hold_K=900, hold_s=1))
    refused = bench.only(Outcome)
    assert "tripped" in refused.reason
    assert refused.may_retry, "the film that waits for the furnace is not to blame"


@pytest.mark.parametrize(
    ("sender", "person", "reason", "is_cleared"),
    [
        ("cli", "Ada", "looked at it", True),
        ("cli", "", "looked at it", False),
        ("cli", "Ada", " ", False),
        ("conductor", "Ada", "looked at it", False),
    ],
)
def test_only_a_person_with_a_reason_clears_a_trip(
    bench: Bench, sender: str, person: str, reason: str, is_cleared: bool
) -> None:
    bench.report(LimitBroken("furnace", "9999 K"))
    bench.report(SafeStateDone("furnace"))
    bench.say(Clear(instrument="furnace", person=person, reason=reason), sender)
    assert bench.only(InstrumentStatus).state == ("idle" if is_cleared else "tripped")
    bench.restart()
    assert ("furnace" not in bench.core.ledger.trips) is is_cleared


def test_a_safe_state_that_fails_is_a_trip(bench: Bench) -> None:
    bench.report(SafeStateFailed("furnace", "stuck relay"))
    assert "stuck relay" in bench.core.ledger.trips["furnace"]


def test_a_tripped_action_that_may_be_repeated_is_not(bench: Bench) -> None:
    command = bench.command("1", "heat", target_K=500)
    bench.say(command)
    bench.report(LimitBroken("furnace", "9999 K"))
    assert not of(bench.report(Cancelled(command.key)), StartAction)
    assert bench.core.ledger.records[command.key].final.state == "partial"


def test_what_the_watchdog_did_is_held_and_what_it_failed_to_do_is_latched(bench: Bench) -> None:
    bench.say(bench.command("1", "heat", target_K=500))
    bench.notes = (
        WatchdogNote("furnace", "the adapter died"),
        WatchdogNote("oven", "the adapter died", error="stuck relay"),
    )
    bench.restart()
    assert "furnace" not in bench.core.ledger.trips
    assert "stuck relay" in bench.core.ledger.trips["oven"]


def test_a_watchdog_that_acted_on_a_live_adapter_holds_the_instrument(bench: Bench) -> None:
    note = WatchdogNote("furnace", "no beat")
    bench.run(bench.core.watchdog_acted([note], bench.now_s))
    bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1))
    assert bench.only(LeaseRefused)


# --- end, words --------------------------------------------------------------------------------


def test_the_end_waits_for_safe_states_and_for_what_was_cancelled(bench: Bench) -> None:
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    effects = bench.run(bench.core.shutdown("SIGTERM", bench.now_s))
    assert len(of(effects, RunSafeState)) == 2
    assert not of(effects, Exit)
    assert not of(bench.report(SafeStateDone("furnace")), Exit)
    assert not of(bench.report(SafeStateDone("oven")), Exit)
    assert not of(bench.report(Cancelled(command.key)), Exit)
    effects = bench.report(Reconciled(command.key, "partial", {}))
    assert effects[-1] == Exit(0, "SIGTERM")


def _busy_bench(finish_s: float) -> tuple[Bench, Command]:
    bench = Bench(finish_s=finish_s)
    bench.load()
    command = bench.command("1", "anneal", hold_K=900, hold_s=1)
    bench.say(command)
    return bench, command


def test_what_declares_finish_is_finished_before_the_end() -> None:
    bench, command = _busy_bench(finish_s=3.0)
    effects = bench.run(bench.core.shutdown("SIGTERM", bench.now_s))
    assert not of(effects, CancelAction)
    assert not of(effects, RunSafeState), "not even the idle one: it may look at the same sample"
    assert not of(bench.tick(1.0), RunSafeState)
    effects = bench.report(Returned(command.key, {"peak_K": 900.0}))
    assert len(of(effects, RunSafeState)) == 2
    assert bench.core.ledger.records[command.key].final.state == "done"
    bench.report(SafeStateDone("furnace"))
    assert bench.report(SafeStateDone("oven"))[-1] == Exit(0, "SIGTERM")


def test_what_does_not_finish_in_time_is_cut_short_before_the_end() -> None:
    bench, command = _busy_bench(finish_s=3.0)
    bench.run(bench.core.shutdown("SIGTERM", bench.now_s))
    bench.tick(2.9)
    assert bench.core.wake_at_s == pytest.approx(3.0)
    effects = bench.tick(0.1)
    assert of(effects, CancelAction)[0].key == command.key
    assert len(of(effects, RunSafeState)) == 2
    assert of(bench.tick(9.0), Exit)[0].code == 1


def test_what_asks_for_a_safe_state_is_not_finished_at_the_end() -> None:
    bench = Bench(finish_s=3.0)
    bench.load()
    command = bench.command("1", "heat", target_K=500.0)
    bench.say(command)
    effects = bench.run(bench.core.shutdown("SIGTERM", bench.now_s))
    assert of(effects, CancelAction)[0].key == command.key
    assert len(of(effects, RunSafeState)) == 2, "each of both once"


def test_the_end_does_not_wait_for_ever(bench: Bench) -> None:
    bench.run(bench.core.shutdown("SIGTERM", bench.now_s))
    assert of(bench.tick(9.0), Exit)[0].code == 1


def test_a_command_during_the_end_is_not_decided(bench: Bench) -> None:
    bench.run(bench.core.shutdown("SIGTERM", bench.now_s))
    bench.say(bench.command("1", "anneal", hold_K=900, hold_s=1))
    assert "ends" in bench.only(LeaseRefused).reason
    assert CommandKey("c", "t", "1", 1) not in bench.core.ledger.records


def test_readouts_need_no_lease() -> None:
    bench = Bench()
    request = ReadoutRequest(request="r", instrument="furnace", readout="temperature_K")
    assert of(bench.say(request, "anybody"), ReadOut)
    bench.report(ReadOutDone("anybody", "r", 293.0))
    assert bench.only(ReadoutReply).result == 293.0
    bench.say(request.model_copy(update={"readout": "mood"}), "anybody")
    assert bench.only(ReadoutReply).state == "failed"


def test_status_of_all_instruments(bench: Bench) -> None:
    bench.say(StatusRequest())
    assert [m.instrument for _, m in bench.sent] == ["furnace", "oven"]
    assert bench.sent[0][1].sample == "s1"


def test_a_ledger_of_another_version_is_refused() -> None:
    with pytest.raises(JournalCorrupt):
        AdapterCore([Entry("intent", 2, {})], "l", {})
    with pytest.raises(JournalCorrupt):
        AdapterCore([Entry("wished", 1, {})], "l", {})


def test_rules_refuse_a_reconcilable_action_that_cannot_be_asked() -> None:
    def make(**options: Any) -> Callable[[], Any]:
        class Lamp(Instrument, kind="lamp"):
            def connect(self) -> None: ...
            def safe_state(self) -> None: ...
            @action(on_silence=OnSilence.FINISH, **options)
            async def shine(self) -> None: ...

        return lambda: rules_of(Lamp)

    with pytest.raises(ArgumentError, match="reconcile"):
        make(recovery=Recovery.RECONCILABLE)()
    with pytest.raises(ArgumentError, match="interlocks"):
        make(recovery=Recovery.UNSAFE, interlocks=("door",))()
    assert make(recovery=Recovery.UNSAFE)().kind == "lamp"
