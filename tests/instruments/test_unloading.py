"""What the ledger says of the sample when an action lets it out, however that ends."""

from typing import Any

import pytest

from twinloop.ids import CommandKey
from twinloop.instruments.adapter_core import AdapterCore
from twinloop.instruments.adapter_effects import (
    Cancelled,
    Raised,
    Reconcile,
    Reconciled,
    ReconcileFailed,
    Returned,
    StartAction,
)
from twinloop.instruments.holder.interface import SampleHolder
from twinloop.instruments.interface import Instrument, NotDone, OnSilence, Recovery, action
from twinloop.instruments.rules import AdapterSettings, rules_of
from twinloop.log.memory import MemoryLog
from twinloop.messages import Command, LeaseGranted, LeaseRequest, Outcome
from twinloop.wire.effects import Append, Send, Sync


class Microscope(SampleHolder, kind="microscope"):
    """Holds one sample and looks at it."""

    def connect(self) -> None: ...
    def safe_state(self) -> None: ...

    @SampleHolder.take.implement
    async def take(self) -> None:
        """Take it."""

    @SampleHolder.give.implement
    async def give(self) -> None:
        """Give it."""

    @take.reconcile
    async def what_was_taken(self, _: Command) -> NotDone:
        """Say no."""
        return NotDone()

    @give.reconcile
    async def what_was_given(self, _: Command) -> NotDone:
        """Say no."""
        return NotDone()

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.HOLD)
    async def look(self) -> None:
        """Look."""


class Camera(Instrument, kind="camera"):
    """Sees the same sample."""

    def connect(self) -> None: ...
    def safe_state(self) -> None: ...

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.HOLD)
    async def expose(self) -> None:
        """Expose."""


RULES = {"stm": rules_of(Microscope), "camera": rules_of(Camera)}


class Bench:
    """One adapter's core on a log in memory, with s1 on the stage."""

    def __init__(self) -> None:
        self.log, self.sent = MemoryLog("ledger-1"), []
        self.restart()
        for name in RULES:
            request = LeaseRequest(
                instrument=name, campaign="c", depot="tcp://127.0.0.1:9", ttl_s=10
            )
            self.run(self.core.receive("conductor", request, 0.0))
        self.report(Returned(self.ask("take").key))

    def restart(self) -> None:
        self.log.crash()
        settings = AdapterSettings(max_ask_errors=1)
        self.core = AdapterCore(self.log.read(), "ledger-1", RULES, settings)
        self.effects = self.run(self.core.start(0.0))

    def run(self, effects: list[Any]) -> list[Any]:
        for effect in effects:
            if isinstance(effect, Append):
                self.log.append(effect.entry)
            elif isinstance(effect, Sync):
                self.log.commit()
            elif isinstance(effect, Send):
                self.sent.append(effect.message)
        self.effects = effects
        return effects

    def report(self, event: Any) -> None:
        self.run(self.core.device(event, 0.0))

    def ask(self, name: str, sample: str | None = "s1", instrument: str = "stm") -> Command:
        """Send a command with a key of its own."""
        n = sum(isinstance(m, Outcome) for m in self.sent) + len(self.core.ledger.records)
        granted = [
            m for m in self.sent if isinstance(m, LeaseGranted) and m.instrument == instrument
        ]
        command = Command(
            key=CommandKey("c", "t", f"{name}-{n}", 1),
            instrument=instrument,
            action=name,
            sample=sample,
            epoch=granted[-1].epoch,
            ledger="ledger-1",
            not_after_s=1e12,
        )
        self.run(self.core.receive("conductor", command, 0.0))
        return command

    def final(self, command: Command) -> Any:
        return self.core.ledger.records[command.key].final

    @property
    def has_started(self) -> bool:
        return any(isinstance(effect, StartAction) for effect in self.effects)

    @property
    def sample(self) -> str | None:
        return self.core.ledger.sample


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_was_taken_is_in(bench):
    assert bench.sample == "s1"


def test_while_it_is_being_given_nobody_can_say_where_it_is(bench):
    bench.ask("give")
    assert bench.has_started
    assert bench.sample is None


def test_what_was_given_is_out(bench):
    bench.report(Returned(bench.ask("give").key))
    assert bench.sample is None
    again = bench.ask("take", "s2")
    assert bench.has_started
    bench.report(Returned(again.key))
    assert bench.sample == "s2"


def test_after_a_give_that_certainly_failed_the_sample_is_still_in(bench):
    command = bench.ask("give")
    bench.report(Raised(command.key, is_touched=False, reason="the vessel is full"))
    assert bench.final(command).state == "failed"
    assert bench.sample == "s1"
    bench.ask("look")
    assert bench.has_started


@pytest.mark.parametrize("verdict", ["done", "not_done", "partial", "unknown"])
@pytest.mark.parametrize("end", ["raised", "cancelled", "the adapter died"])
def test_the_instrument_s_answer_says_where_the_sample_is(bench, end, verdict):
    command = bench.ask("give")
    if end == "raised":
        bench.report(Raised(command.key, is_touched=True, reason="the arm is stuck"))
    elif end == "cancelled":
        bench.report(Cancelled(command.key))
    else:
        bench.restart()
    assert [e.command.key for e in bench.effects if isinstance(e, Reconcile)] == [command.key]
    assert bench.sample is None
    bench.report(Reconciled(command.key, verdict))
    assert bench.sample == ("s1" if verdict == "not_done" else None)


def test_an_instrument_that_cannot_be_asked_leaves_nobody_who_knows(bench):
    command = bench.ask("give")
    bench.report(Raised(command.key, is_touched=True, reason="the arm is stuck"))
    bench.report(ReconcileFailed(command.key, "no answer"))
    assert bench.final(command).state == "unknown"
    assert bench.sample is None


@pytest.mark.parametrize("ends_as", ["done", "failed", "unknown"])
def test_the_next_life_of_the_adapter_says_the_same(bench, ends_as):
    command = bench.ask("give")
    event = {
        "done": Returned(command.key),
        "failed": Raised(command.key, is_touched=False, reason="full"),
        "unknown": Raised(command.key, is_touched=True, reason="stuck"),
    }[ends_as]
    bench.report(event)
    if ends_as == "unknown":
        bench.report(Reconciled(command.key, "unknown"))
    before = bench.sample
    bench.restart()
    assert bench.sample == before == ("s1" if ends_as == "failed" else None)


@pytest.mark.parametrize(("instrument", "name"), [("stm", "look"), ("camera", "expose")])
def test_a_command_for_a_sample_that_has_been_given_is_refused(bench, instrument, name):
    bench.report(Returned(bench.ask("give").key))
    refused = bench.ask(name, "s1", instrument)
    assert not bench.has_started
    assert bench.final(refused).state == "failed"
    assert "the instrument holds none" in bench.final(refused).reason


def test_it_is_not_given_twice(bench):
    bench.report(Returned(bench.ask("give").key))
    refused = bench.ask("give")
    assert not bench.has_started
    assert "holds none" in bench.final(refused).reason


def test_a_sample_that_is_not_in_cannot_be_given(bench):
    refused = bench.ask("give", "s2")
    assert not bench.has_started
    assert bench.final(refused).state == "failed"
    assert bench.sample == "s1"


@pytest.mark.parametrize(("instrument", "name"), [("stm", "look"), ("camera", "expose")])
def test_nothing_else_starts_while_it_is_being_given(bench, instrument, name):
    bench.ask("give")
    refused = bench.ask(name, "s1", instrument)
    assert not bench.has_started
    assert bench.final(refused).state == "failed"


def test_nothing_is_given_while_another_instrument_looks_at_it(bench):
    looking = bench.ask("expose", "s1", "camera")
    refused = bench.ask("give")
    assert not bench.has_started
    assert bench.final(refused).may_retry
    assert f"no give while {looking.key} is under way" in bench.final(refused).reason
    assert bench.sample == "s1"
    bench.report(Returned(looking.key))
    bench.ask("give")
    assert bench.has_started
