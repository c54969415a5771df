"""The adapter under faults: any order of messages, losses, duplicates, and death between any effects.

A conductor that keeps the rules drives a furnace through a bad network; the adapter dies at any
moment, and everything ever said to it may be said again. What is checked is the machine's own log of
effects and what the conductor was told.
"""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twinloop.ids import CommandKey
from twinloop.instruments.ledger import LedgerState
from twinloop.instruments.rules import AdapterSettings, rules_of
from twinloop.instruments.simulated import AdapterSim, SimMachine
from twinloop.instruments.testing import Furnace
from twinloop.log.memory import MemoryLog
from twinloop.messages import (
    Abort,
    Command,
    LeaseGranted,
    LeaseRefused,
    LeaseRelease,
    LeaseRenew,
    LeaseRequest,
    Message,
    Outcome,
    OutcomeAck,
    Query,
)

RULES = {"furnace": rules_of(Furnace), "oven": rules_of(Furnace)}
ACTIONS: tuple[tuple[str, dict[str, float]], ...] = (
    ("anneal", {"hold_K": 900, "hold_s": 1}),
    ("heat", {"target_K": 500}),
    ("quench", {}),
)
IDEMPOTENT = {"heat"}
DEFINITE_FAILURE = {"failed", "not_done"}


class World:
    """Conductor, network, adapter and machine; every choice comes from one generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now_s = rng, 0.0
        self.machine = SimMachine(
            duration_s=lambda c: 0.05 + 2.0 * (hash_of(c.key) % 7) / 7,
            fails=lambda c: hash_of(c.key) % 5 == 0,
        )
        self.log = MemoryLog("ledger-1", stamp=lambda: "t")
        self.adapter = AdapterSim(
            RULES, self.machine, self.log, self.from_adapter, AdapterSettings(poll_s=0.2)
        )
        self.wire: list[tuple[str, Message]] = []
        self.said: list[Message] = []
        self.grants: dict[str, LeaseGranted] = {}
        self.life = 0
        self.todo = {name: self._plan(name) for name in RULES}
        self.attempts: dict[tuple[str, str], int] = {}
        self.sent: dict[CommandKey, Command] = {}
        self.told: dict[CommandKey, Outcome] = {}
        self.granted_epochs: dict[int, tuple[str, int]] = {}
        self.started_when_tripped: list[CommandKey] = []
        self.adapter.start(0.0)

    def _plan(self, name: str) -> list[tuple[str, str, dict[str, float]]]:
        steps = [(f"{name}-load", "load", {})] if name == "furnace" else []
        return steps + [
            (f"{name}-{n}", *self.rng.choice(ACTIONS)) for n in range(self.rng.randint(1, 4))
        ]

    # --- the conductor ---------------------------------------------------------------------

    def from_adapter(self, to: str, message: Message) -> None:
        assert to == "conductor"
        self.wire.append(("conductor", message))

    def to_adapter(self, message: Message) -> None:
        self.said.append(message)
        self.wire.append(("adapter", message))

    def hear(self, message: Message) -> None:
        match message:
            case LeaseGranted():
                owner = (message.instrument, self.life)
                known = self.granted_epochs.setdefault(message.epoch, owner)
                assert known[0] == message.instrument, "one epoch for two leases"
                standing = self.grants.get(message.instrument)
                if standing is None or message.epoch > standing.epoch:
                    self.grants[message.instrument] = message
            case LeaseRefused():
                standing = self.grants.get(message.instrument)
                if standing is not None and message.epoch in {None, standing.epoch}:
                    del self.grants[message.instrument]
            case Outcome() if message.state != "running":
                self._settle(message)
            case _:
                pass

    def _settle(self, outcome: Outcome) -> None:
        key = outcome.key
        known = self.told.setdefault(key, outcome)
        assert known == outcome, "an outcome was contradicted"
        if outcome.arrays:
            assert any(k == key for k, _ in self.adapter.uploads), "told before it was durable"
        if outcome.state in DEFINITE_FAILURE:
            assert self.machine.n_begun(key) == 0, "told that it never began, and it did"
        if self.rng.random() < 0.8:
            self.to_adapter(OutcomeAck(key=key))

    def act(self) -> None:
        """Do one of the things a conductor does, for one instrument."""
        name = self.rng.choice(list(RULES))
        grant = self.grants.get(name)
        if grant is None:
            self.to_adapter(
                LeaseRequest(
                    instrument=name,
                    campaign="c",
                    depot=f"tcp://127.0.0.1:{1 + self.life}",
                    ttl_s=5,
                    incarnation=f"life-{self.life}",
                )
            )
        elif self.rng.random() < 0.4:
            self.to_adapter(LeaseRenew(instrument=name, epoch=grant.epoch))
        else:
            self._advance(name, grant)

    def _advance(self, name: str, grant: LeaseGranted) -> None:
        step = self.step_of(name)
        if step is None:
            return
        key = self.key_of(step[0])
        if key not in self.sent:
            self.sent[key] = Command.model_validate(
                {
                    "key": key,
                    "instrument": name,
                    "action": step[1],
                    "arguments": step[2],
                    "sample": "s1",
                    "epoch": grant.epoch,
                    "ledger": grant.ledger,
                    "not_after_s": 1e9 if self.rng.random() < 0.9 else self.now_s + 1,
                }
            )
        choice = self.rng.random()
        if choice < 0.15:
            self.to_adapter(Query(key=key, instrument=name, ledger=grant.ledger))
        elif choice < 0.2:
            self.to_adapter(Abort(key=key, instrument=name, epoch=grant.epoch))
        else:
            self.sent[key] = self.sent[key].model_copy(update={"epoch": grant.epoch})
            self.to_adapter(self.sent[key])

    def step_of(self, name: str) -> tuple[str, str, dict[str, float]] | None:
        """Return the first step without a final word; failures are tried again, five times."""
        if name == "oven" and self.step_of("furnace") == ("furnace-load", "load", {}):
            return None
        for step in self.todo[name]:
            told = self.told.get(self.key_of(step[0]))
            if told is not None and told.state in DEFINITE_FAILURE and told.may_retry:
                self.attempts[name, step[0]] = self.attempts.get((name, step[0]), 1) + 1
                told = None
            if told is None:
                return step
        return None

    def key_of(self, step: str) -> CommandKey:
        name = step.partition("-")[0]
        return CommandKey("c", "t", step, self.attempts.get((name, step), 1))

    # --- the world -------------------------------------------------------------------------

    def turn(self) -> None:
        """Let one thing happen."""
        choice = self.rng.random()
        if choice < 0.45 and self.wire:
            self._deliver(self.rng.randrange(len(self.wire)))
        elif choice < 0.65:
            self.act()
        elif choice < 0.85:
            self.pass_time(self.rng.choice([0.01, 0.1, 0.5, 2.0]))
        elif choice < 0.88 and self.wire:
            self.wire.pop(self.rng.randrange(len(self.wire)))
        elif choice < 0.91 and self.said:
            self.wire.append(("adapter", self.rng.choice(self.said)))
        elif choice < 0.94:
            self.adapter.crash_after = self.rng.randrange(6)
        elif choice < 0.97:
            self.rise()
        elif choice < 0.98:
            self.adapter.depot_is_up = not self.adapter.depot_is_up
        else:
            self.life += 1
            self.grants.clear()
        self.check()

    def _deliver(self, index: int) -> None:
        to, message = self.wire.pop(index)
        if to == "adapter":
            self.adapter.receive("conductor", message, self.now_s)
        else:
            self.hear(message)

    def pass_time(self, by_s: float) -> None:
        until_s = self.now_s + by_s
        for _ in range(200):
            next_s = self.adapter.next_s
            if next_s is None or next_s > until_s:
                break
            self.now_s = max(self.now_s, next_s)
            self.adapter.step(self.now_s)
        self.now_s = until_s
        self.adapter.step(self.now_s)

    def rise(self) -> None:
        if self.adapter.core is None:
            self.adapter.start(self.now_s)

    def check(self) -> None:
        """Check what must hold at any moment."""
        for key, command in self.sent.items():
            if command.action not in IDEMPOTENT:
                assert self.machine.n_begun(key) <= 1, f"{key} was done twice"
            assert self.machine.n_begun(key) <= 3
        if self.adapter.core is None:
            return
        state = self.adapter.core.ledger
        assert LedgerState.of(self.log.read()) == state, "a restart would know something else"
        for key in state.unacked:
            final = state.records[key].final
            for ref in final.arrays if final else ():
                self.adapter.spool.load(key, ref)

    def heal(self) -> None:
        """No more faults: everything comes to its end."""
        self.adapter.crash_after, self.adapter.depot_is_up = None, True
        for _ in range(3000):
            self.rise()
            if self.wire:
                self._deliver(0)
            else:
                if self.step_of("furnace") is None and self.step_of("oven") is None:
                    return
                self.act()
                self.pass_time(0.3)
            self.check()
        pytest.fail(f"no end: {self.step_of('furnace')}, {self.step_of('oven')}")


def hash_of(key: CommandKey) -> int:
    return sum(map(ord, f"{key.step}{key.attempt}"))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), n_turns=st.integers(10, 250))
def test_no_key_is_done_twice_and_no_outcome_is_lost_or_contradicted(
    seed: int, n_turns: int
) -> None:
    world = World(random.Random(seed))
    for _ in range(n_turns):
        world.turn()
    world.heal()
    for key, outcome in world.told.items():
        n_begun = world.machine.n_begun(key)
        if outcome.state in DEFINITE_FAILURE:
            assert n_begun == 0
        if outcome.state == "done":
            assert n_begun >= 1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_captured_session_played_again_executes_nothing(seed: int) -> None:
    world = World(random.Random(seed))
    world.heal()
    before = list(world.machine.effects)
    session: list[Any] = list(world.said)
    for message in session:
        world.adapter.receive("conductor", message, world.now_s)
    world.adapter.crash()
    world.adapter.start(world.now_s)
    for message in session:
        world.adapter.receive("conductor", message, world.now_s)
    begun = [e for e in world.machine.effects[len(before) :] if e[0] == "begin"]
    assert begun == []


def test_a_lease_that_was_given_back_is_asked_for_anew() -> None:
    world = World(random.Random(1))
    world.heal()
    epochs = {name: grant.epoch for name, grant in world.grants.items()}
    for name, epoch in epochs.items():
        world.adapter.receive("conductor", LeaseRelease(instrument=name, epoch=epoch), world.now_s)
        world.adapter.receive("conductor", LeaseRenew(instrument=name, epoch=epoch), world.now_s)
    assert all(isinstance(m, LeaseRefused) for _, m in world.wire)
