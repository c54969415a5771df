"""A campaign under seeded faults keeps its promises; a broken one is caught."""

import dataclasses

import pytest

from twinloop.agents.campaign import book, commanding
from twinloop.agents.campaign.conductor_core import ConductorCore
from twinloop.agents.campaign.errands import Errands
from twinloop.agents.campaign.pool import Pool
from twinloop.agents.simulation.bakery import Bakery, Scenario
from twinloop.agents.simulation.check import run_world
from twinloop.instruments import adapter_core
from twinloop.instruments.simulated import AdapterSim, SimMachine
from twinloop.messages import OutcomeAck
from twinloop.wire.effects import Send, Sync
from twinloop.wire.loop import EffectRunner

CHUNK = 20


def scenario(seed, **changes):
    return Scenario(parallel=1 + seed % 2, **changes)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, 200, CHUNK))
def test_nothing_is_lost_and_nothing_is_grown_twice(first):
    for seed in range(first, first + CHUNK):
        report = run_world(seed, scenario(seed))
        assert not report.violations, str(report)


@pytest.mark.timeout(120)
def test_a_lost_ledger_holds_the_sample_and_never_repeats():
    for seed in range(500, 515):
        report = run_world(seed, scenario(seed, loses_ledger=True))
        assert not report.violations, str(report)


def test_a_seed_is_a_history():
    first, second = run_world(3, scenario(3)), run_world(3, scenario(3))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != run_world(4, scenario(4)).fingerprint


def test_the_faults_that_are_meant_to_happen_do_happen():
    counts = run_world(0, scenario(0)).counts
    for fault in ("crashes", "pauses", "partitions", "lost", "doubled", "cut off"):
        assert counts[fault] > 0, fault


def broken_within(n_seeds, make=Bakery, first=0, **changes):
    """Return the violations of the first seed that is caught."""
    for seed in range(first, first + n_seeds):
        report = run_world(seed, bakery=make(seed, scenario(seed, **changes)))
        if report.violations:
            return report.violations
    return ()


class _Eager(EffectRunner):
    """Runs what stands behind a gate without waiting for the disk."""

    def add(self, effects):
        super().add([e for e in effects if not isinstance(e, Sync)])


@pytest.mark.timeout(120)
def test_a_conductor_that_does_not_wait_for_the_disk_is_caught():
    class Careless(Bakery):
        runner = _Eager

    assert broken_within(40, Careless)


@pytest.mark.timeout(120)
def test_an_adapter_that_starts_before_intent_is_durable_is_caught(monkeypatch):
    original = AdapterSim._perform

    def perform(self, effect, now_s):
        if not isinstance(effect, Sync):
            original(self, effect, now_s)

    monkeypatch.setattr(AdapterSim, "_perform", perform)
    assert broken_within(40)


@pytest.mark.timeout(120)
def test_a_machine_that_lies_about_what_it_did_is_caught(monkeypatch):
    monkeypatch.setattr(SimMachine, "state_of", lambda *_: "not_done")
    assert any("begun" in v for v in broken_within(40))


@pytest.mark.timeout(120)
def test_an_adapter_that_forgets_its_keys_is_caught(monkeypatch):
    original = adapter_core.AdapterCore._command

    def command(self, sender, message):
        self._desk.ledger.records.pop(message.key, None)
        original(self, sender, message)

    monkeypatch.setattr(adapter_core.AdapterCore, "_command", command)
    with pytest.raises(Exception):  # noqa: B017, PT011 (a duplicate key, or a violation)
        assert not broken_within(40)


@pytest.mark.timeout(120)
def test_a_conductor_that_acknowledges_what_it_did_not_write_down_is_caught(monkeypatch):
    original = commanding.Commanding.on_outcome

    def on_outcome(self, sender, message):
        ack = Send(sender, OutcomeAck(key=message.key))
        self._book.turn.free.append(ack)
        original(self, sender, message)

    monkeypatch.setattr(commanding.Commanding, "on_outcome", on_outcome)
    assert broken_within(40)


@pytest.mark.timeout(120)
def test_a_pool_that_forgets_the_tasks_of_a_lost_worker_is_caught(monkeypatch):
    def gone(self, name, now_s):
        self._workers.pop(name, None)
        return []

    monkeypatch.setattr(Pool, "gone", gone)
    assert any("not finished" in v for v in broken_within(40))


@pytest.mark.timeout(120)
def test_a_new_attempt_after_an_unknown_outcome_is_caught(monkeypatch):
    original = commanding.Commanding._settle_unknown

    def settle(self, command, ledger):
        original(self, command, ledger)
        trial = self._book.state.trials[command.key.trial]
        trial.unknown.pop(command.key.step)

    monkeypatch.setattr(commanding.Commanding, "_settle_unknown", settle)
    assert broken_within(40, first=500, loses_ledger=True)


@pytest.mark.timeout(120)
def test_a_conductor_that_forgets_its_journal_is_caught(monkeypatch):
    original = ConductorCore.start

    def start(self, now_s):
        self._book.state = book.CampaignState()
        return original(self, now_s)

    monkeypatch.setattr(ConductorCore, "start", start)
    with pytest.raises(Exception):  # noqa: B017, PT011 (a duplicate key, or a violation)
        assert not broken_within(5)


@pytest.mark.timeout(200)
def test_with_theory_each_simulation_is_answered_once_and_the_campaign_ends():
    states = []
    for seed in range(1000, 1060):
        bakery = Bakery(seed, scenario(seed, has_theory=True))
        report = run_world(seed, bakery=bakery)
        assert not report.violations, str(report)
        states += [s.entry.body["state"] for s in bakery.conductor.log.read()
                   if s.entry.kind == "simulated"]  # fmt: skip
    assert states.count("done") > 200
    assert states.count("cancelled") > 20


@pytest.mark.timeout(120)
def test_a_conductor_that_mixes_simulations_up_is_caught(monkeypatch):
    original = Errands.simulate

    def simulate(self, simulation):
        # the inputs of a batch's first row for all of its rows
        batch, row = simulation
        wanted = self._book.state.batches[batch].wanted
        if row and wanted[row].x != wanted[0].x:
            mixed = list(wanted)
            mixed[row] = wanted[0]
            event = self._book.state.batches[batch].model_copy(update={"wanted": tuple(mixed)})
            batches = list(self._book.state.batches)
            batches[batch] = event
            self._book.state = dataclasses.replace(self._book.state, batches=tuple(batches))
        original(self, simulation)

    monkeypatch.setattr(Errands, "simulate", simulate)
    assert broken_within(20, first=1000, has_theory=True)
