"""The adapter process on real sockets: kill -9 in the middle of an action, signals, trips, spool."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest
import zmq

from twinloop.agents.campaign.depot import DepotServer
from twinloop.agents.hub.process import Hub
from twinloop.clocks import RealWireClock, ScaledLabClock
from twinloop.instruments.adapter_server import AdapterServer, ThreadAdapter, serve_in_thread
from twinloop.instruments.ledger import LedgerState
from twinloop.instruments.locks import FolderLock
from twinloop.instruments.serving import READY
from twinloop.instruments.spec import AdapterSpec, InstrumentSpec, class_path
from twinloop.instruments.spool import MemorySpool
from twinloop.instruments.testing import Furnace, FurnaceLine, furnace_command
from twinloop.instruments.watchdog_notes import WATCHDOG_LOCK, read_notes
from twinloop.log.interface import LogFailed
from twinloop.log.memory import MemoryLog
from twinloop.log.sqlite import open_readonly
from twinloop.messages import (
    Abort,
    Accepted,
    Clear,
    Command,
    EmergencyStop,
    InstrumentStatus,
    LeaseGranted,
    LeaseRefused,
    LeaseRenew,
    LeaseRequest,
    Message,
    Outcome,
    OutcomeAck,
    Query,
    ReadoutReply,
    ReadoutRequest,
    StatusRequest,
)
from twinloop.wire.envelope import pack, unpack
from twinloop.wire.mailbox import Mailbox
from twinloop.wire.streams import StreamSubscriber

pytestmark = pytest.mark.system
CLOCK = RealWireClock()
LIMIT_S = 30.0
M = TypeVar("M")


class Lab:
    """Hub, depot, an adapter process on a furnace, and a conductor driven by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = Hub("tcp://127.0.0.1:0")
        threading.Thread(target=self.hub.run, daemon=True).start()
        self.depot = DepotServer(folder / "arrays", keep_free_bytes=0)
        self.depot.start()
        self.line = FurnaceLine(folder / "furnace")
        self.mailbox = Mailbox(self.hub.endpoint, "conductor", "conductor")
        self.adapter: subprocess.Popen[bytes] | None = None
        self.grant: LeaseGranted | None = None
        self.heard: list[tuple[str, Message]] = []

    def spec(self, **change: Any) -> AdapterSpec:
        settings = {"folder": str(self.folder / "furnace")}
        return AdapterSpec.model_validate(
            {
                "agent": "chamber",
                "hub": self.hub.endpoint,
                "folder": self.folder / "adapter",
                "instruments": {
                    "furnace": InstrumentSpec(cls=class_path(Furnace), settings=settings)
                },
                "telemetry_s": 0.1,
                **change,
            }
        )

    def start(self, **change: Any) -> None:
        path = self.folder / "spec.json"
        self.spec(**change).write(path)
        ready = self.folder / "adapter" / READY
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "twinloop.instruments.server", "--spec", str(path)]
        self.adapter = subprocess.Popen(command, stdin=subprocess.PIPE)
        self.until(ready.exists)

    def kill(self) -> None:
        assert self.adapter is not None
        self.adapter.kill()
        self.end()

    def end(self) -> int:
        assert self.adapter is not None
        if self.adapter.stdin:
            self.adapter.stdin.close()
        return self.adapter.wait(LIMIT_S)

    def say(self, message: Message) -> None:
        self.mailbox.send("chamber", message)

    def ask(
        self, message: Message, answer: type[M], accept: Callable[[M], bool] = lambda _: True
    ) -> M:
        """Say it until it is answered."""
        end_s, again_s = CLOCK.now_s() + LIMIT_S, 0.0
        while CLOCK.now_s() < end_s:
            if CLOCK.now_s() >= again_s and self.mailbox.is_registered:
                self.say(message)
                again_s = CLOCK.now_s() + 0.5
            for _, found, _ in self.mailbox.poll(0.05):
                self.heard.append(("chamber", found))
                if isinstance(found, answer) and accept(found):
                    return found
        raise AssertionError(f"no {answer.__name__}; heard {self.heard[-5:]}")

    def lease(self, life: str = "a") -> LeaseGranted:
        request = LeaseRequest(
            instrument="furnace", campaign="c", depot=self.depot.endpoint, ttl_s=5, incarnation=life
        )
        self.grant = self.ask(request, LeaseGranted)
        return self.grant

    def command(self, step: str, action_name: str, **arguments: Any) -> Command:
        assert self.grant is not None
        return furnace_command(
            step, action_name, epoch=self.grant.epoch, ledger=self.grant.ledger, **arguments
        )

    def outcome(self, command: Command) -> Outcome:
        """Command, renewing meanwhile, until the outcome comes; acknowledge it."""
        assert self.grant is not None
        renew = LeaseRenew(instrument="furnace", epoch=self.grant.epoch)
        self.say(renew)
        found = self.ask(command, Outcome, lambda o: o.key == command.key and o.state != "running")
        self.say(OutcomeAck(key=command.key))
        return found

    def load(self, sample: str = "s1") -> None:
        assert self.outcome(self.command(f"load-{sample}", "load", sample=sample)).state == "done"

    def until(self, is_true: Callable[[], bool]) -> None:
        end_s = CLOCK.now_s() + LIMIT_S
        while not is_true():
            assert CLOCK.now_s() < end_s, "it did not happen"
            assert self.adapter is None or self.adapter.poll() is None or is_true()
            self.mailbox.poll(0.02)

    def status(self) -> InstrumentStatus:
        return self.ask(StatusRequest(instrument="furnace"), InstrumentStatus)

    def ledger(self) -> LedgerState:
        reader = open_readonly(self.folder / "adapter" / "ledger.sqlite")
        try:
            return LedgerState.of(reader.read())
        finally:
            reader.close()

    def close(self) -> None:
        if self.adapter is not None and self.adapter.poll() is None:
            # a watchdog outlives its adapter on purpose, and would guard a furnace that is gone
            watchdogs = psutil.Process(self.adapter.pid).children()
            self.kill()
            for watchdog in watchdogs:
                watchdog.kill()
        self.mailbox.close()
        self.depot.stop()
        self.hub.stop()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


def test_an_action_is_done_once_and_its_arrays_reach_the_depot(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    command = lab.command("1", "anneal", hold_K=900.0, hold_s=0.1)
    outcome = lab.outcome(command)
    assert outcome.state == "done"
    assert outcome.result["peak_K"] == 900.0
    trace = lab.depot.load(outcome.arrays[0])
    assert trace.dtype == np.float32
    assert trace[-1] == 900.0
    for _ in range(3):
        assert lab.outcome(command) == outcome
    assert lab.line.count("run", str(command.key)) == 1
    spool = lab.folder / "adapter" / "spool"
    lab.until(lambda: not list(spool.iterdir()))
    assert (lab.folder / "adapter" / "telemetry.jsonl").exists()


def test_an_adapter_killed_in_the_middle_asks_and_never_repeats(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    command = lab.command("1", "anneal", hold_K=900.0, hold_s=4.0)
    lab.ask(command, Accepted)
    lab.until(lambda: lab.line.count("run", str(command.key)) == 1)
    lab.kill()
    lab.start()
    first_epoch = lab.grant.epoch if lab.grant else 0
    assert lab.lease().epoch > first_epoch
    assert lab.outcome(lab.command("1", "anneal", hold_K=900.0, hold_s=4.0)).state == "done"
    assert lab.line.count("run", str(command.key)) == 1
    assert lab.line.count("off") == 0, "what declares finish is not cut short by the watchdog"


def test_intent_that_never_reached_the_furnace_is_failed_and_not_done(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    command = lab.command("1", "anneal", hold_K=900.0, hold_s=60.0)
    lab.ask(command, Accepted)
    lab.until(lambda: lab.line.count("run", str(command.key)) == 1)
    lab.kill()
    for file in (lab.folder / "furnace").glob("run-*.json"):
        file.unlink()
    lab.start()
    lab.lease()
    outcome = lab.outcome(lab.command("1", "anneal", hold_K=900.0, hold_s=60.0))
    assert (outcome.state, outcome.may_retry) == ("failed", True)
    assert lab.line.count("run", str(command.key)) == 1


def test_a_dead_adapter_is_made_safe_when_the_state_it_left_asks_for_it(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    assert lab.outcome(lab.command("1", "heat", target_K=500.0)).state == "done"
    assert lab.line.count("off") == 0
    lab.kill()
    adapter, lab.adapter = lab.adapter, None
    lab.until(lambda: lab.line.count("off") == 1)
    lab.adapter = adapter
    process = lab.line.effects()[-1]["why"].split()[-1]
    assert int(process) != os.getpid()
    lab.start()
    granted = lab.lease()
    assert granted.trip is None, "held, not latched"
    lab.until(lambda: not read_notes(lab.folder / "adapter"))
    assert lab.outcome(lab.command("2", "heat", target_K=400.0)).state == "done"


def test_a_safe_state_that_the_watchdog_cannot_reach_is_a_latched_trip(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    lab.outcome(lab.command("1", "heat", target_K=500.0))
    lab.line.inject("stuck-relay")
    lab.kill()
    adapter, lab.adapter = lab.adapter, None
    lab.until(lambda: bool(read_notes(lab.folder / "adapter")))
    lab.adapter = adapter
    lab.line.mend("stuck-relay")
    lab.start()
    granted = lab.lease()
    assert granted.trip is not None
    assert "relay" in granted.trip


def test_sigterm_leaves_the_furnace_safe_and_the_action_settled(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    command = lab.command("1", "anneal", hold_K=900.0, hold_s=60.0)
    lab.ask(command, Accepted)
    lab.until(lambda: lab.line.count("run", str(command.key)) == 1)
    assert lab.adapter is not None
    lab.adapter.send_signal(signal.SIGTERM)
    assert lab.end() == 0
    assert lab.line.count("off") >= 1
    final = lab.ledger().records[command.key].final
    assert final is not None
    assert final.state == "partial"
    lab.adapter = None
    assert not FolderLock.is_held(lab.folder / "adapter" / WATCHDOG_LOCK)


def test_an_adapter_whose_parent_is_gone_ends_in_the_safe_state(lab: Lab) -> None:
    path = lab.folder / "spec.json"
    lab.spec().write(path)
    command = [sys.executable, "-m", "twinloop.instruments.server", "--spec", str(path)]
    lab.adapter = subprocess.Popen([*command, "--exit-with-stdin"], stdin=subprocess.PIPE)
    lab.until((lab.folder / "adapter" / READY).exists)
    assert lab.end() == 0
    assert lab.line.count("off") >= 1


def test_a_hung_adapter_is_made_safe_and_holds_when_it_wakes(lab: Lab) -> None:
    lab.start(beat_limit_s=1.0)
    lab.lease()
    lab.load()
    lab.outcome(lab.command("1", "heat", target_K=500.0))
    n_off = lab.line.count("off")
    assert lab.adapter is not None
    os.kill(lab.adapter.pid, signal.SIGSTOP)
    lab.until(lambda: lab.line.count("off") > n_off)
    os.kill(lab.adapter.pid, signal.SIGCONT)
    lab.until(lambda: lab.ledger().left_by == {})
    lab.until(lambda: not read_notes(lab.folder / "adapter"))
    lab.lease("b")
    assert lab.outcome(lab.command("2", "heat", target_K=400.0)).state == "done"


def test_a_killed_watchdog_is_replaced(lab: Lab) -> None:
    lab.start()
    log = lab.folder / "adapter"
    pid = _watchdog_of(lab)
    os.kill(pid, signal.SIGKILL)
    lab.until(lambda: _watchdog_of(lab) not in {0, pid})
    lab.until(lambda: FolderLock.is_held(log / WATCHDOG_LOCK))


def test_an_aborted_action_is_partial(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    command = lab.command("1", "anneal", hold_K=900.0, hold_s=60.0)
    lab.ask(command, Accepted)
    lab.until(lambda: lab.line.count("run", str(command.key)) == 1)
    abort = Abort(key=command.key, instrument="furnace", epoch=command.epoch)
    outcome = lab.ask(abort, Outcome, lambda o: o.key == command.key and o.state != "running")
    assert (outcome.state, outcome.result) == ("partial", {"peak_K": 900.0})


def test_a_broken_limit_of_a_readout_trips_until_a_person_clears_it(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    lab.line.inject("hot")
    lab.until(lambda: lab.line.count("off") >= 1)
    status = lab.ask(
        StatusRequest(instrument="furnace"), InstrumentStatus, lambda s: s.state == "tripped"
    )
    assert "9999" in (status.trip or "")
    refused = lab.outcome(lab.command("1", "anneal", hold_K=900.0, hold_s=0.1))
    assert refused.state == "failed"
    lab.line.mend("hot")
    with Mailbox(lab.hub.endpoint, "ada", "person") as person:
        end_s, cleared = CLOCK.now_s() + LIMIT_S, False
        while not cleared and CLOCK.now_s() < end_s:
            person.send("chamber", Clear(instrument="furnace", person="Ada", reason="looked"))
            letters = person.poll(0.3)
            cleared = any(getattr(m, "state", "") == "idle" for _, m, _ in letters)
    assert cleared
    again = lab.command("1", "anneal", hold_K=900.0, hold_s=0.1, attempt=2)
    assert lab.outcome(again).state == "done"


def test_a_machine_that_lies_is_unknown_and_trips(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    lab.line.inject("lies")
    outcome = lab.outcome(lab.command("1", "anneal", hold_K=900.0, hold_s=0.1))
    assert outcome.state == "unknown"
    assert "lies" in outcome.reason
    assert lab.status().state == "tripped"


def test_an_open_interlock_and_a_refusing_device_are_certain_failures(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    lab.line.inject("lid-open")
    outcome = lab.outcome(lab.command("1", "anneal", hold_K=900.0, hold_s=0.1))
    assert outcome.state == "failed"
    assert "lid_is_closed" in outcome.reason
    lab.line.mend("lid-open")
    lab.line.inject("refuses")
    outcome = lab.outcome(lab.command("2", "anneal", hold_K=900.0, hold_s=0.1))
    assert outcome.reason == "the furnace says no"
    assert lab.line.count("run") == 1, "only the load"


def test_a_noisy_line_is_asked_and_the_result_is_not_lost(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    lab.line.inject("noise")
    command = lab.command("1", "anneal", hold_K=900.0, hold_s=0.3)
    assert lab.outcome(command).state == "done"
    assert lab.line.count("run", str(command.key)) == 1


def test_outcomes_wait_in_the_spool_while_the_depot_is_away(lab: Lab) -> None:
    lab.start(spool_limit_bytes=1200, spool_reserve_bytes=1000)
    lab.lease()
    lab.load()
    lab.depot.stop()
    command = lab.command("1", "anneal", hold_K=900.0, hold_s=0.05)
    query = Query(key=command.key, instrument="furnace", ledger=command.ledger)
    lab.ask(command, Accepted)
    lab.until(lambda: bool(list((lab.folder / "adapter" / "spool").iterdir())))
    assert lab.ask(query, Outcome, lambda o: o.key == command.key).state == "running"
    full = lab.outcome(lab.command("2", "anneal", hold_K=900.0, hold_s=0.05))
    assert "spool" in full.reason
    assert lab.line.count("run", str(full.key)) == 0
    lab.depot = DepotServer(lab.folder / "arrays", keep_free_bytes=0)
    lab.depot.start()
    lab.lease("b")
    assert lab.outcome(command).state == "done"
    lab.until(lambda: not list((lab.folder / "adapter" / "spool").iterdir()))
    again = lab.command("2", "anneal", hold_K=900.0, hold_s=0.05, attempt=2)
    assert lab.outcome(again).state == "done"


def test_a_command_of_an_old_epoch_does_nothing(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    stale = lab.command("1", "anneal", hold_K=900.0, hold_s=0.1)
    lab.lease("b")
    refused = lab.ask(stale, LeaseRefused)
    assert refused.epoch == stale.epoch
    assert lab.line.count("run", str(stale.key)) == 0


def test_a_captured_session_played_again_executes_nothing(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    session = [lab.command(str(n), "anneal", hold_K=900.0, hold_s=0.05) for n in range(3)]
    for command in session:
        assert lab.outcome(command).state == "done"
    before = len(lab.line.effects())
    lab.kill()
    lab.start()
    for _ in range(2):
        for command in session:
            lab.say(command)
            lab.say(Query(key=command.key, instrument="furnace", ledger=command.ledger))
    lab.lease("b")
    for command in session:
        assert lab.outcome(command).state == "done"
    assert len(lab.line.effects()) == before


def test_readouts_and_streams_reach_who_asks(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    request = ReadoutRequest(request="r1", instrument="furnace", readout="temperature_K")
    assert lab.ask(request, ReadoutReply).result == 293.0
    with StreamSubscriber(lab.depot.endpoint, "furnace.temperature") as subscriber:
        subscriber.poll(0.2)
        command = lab.command("1", "anneal", hold_K=900.0, hold_s=1.0)
        lab.ask(command, Accepted)
        elements = subscriber.poll(LIMIT_S)
    assert elements[0].key == str(command.key)
    assert elements[0].about == {"temperature_K": 900.0}


def test_an_emergency_stop_needs_no_hub(lab: Lab) -> None:
    door = f"tcp://127.0.0.1:{_free_port()}"
    lab.start(stop_endpoint=door)
    lab.lease()
    lab.load()
    lab.hub.stop()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(door)
    try:
        socket.send_multipart(pack(EmergencyStop(reason="smoke")))
        assert socket.poll(int(LIMIT_S * 1000))
        message, _ = unpack(socket.recv_multipart())
    finally:
        socket.close(linger=0)
        context.term()
    assert isinstance(message, InstrumentStatus)
    assert message.state == "tripped"
    lab.until(lambda: lab.line.count("off") >= 1)


def test_a_hanging_driver_does_not_stand_before_the_safe_state(lab: Lab) -> None:
    lab.start()
    lab.lease()
    lab.load()
    lab.line.inject("blocks")
    command = lab.command("1", "anneal", hold_K=900.0, hold_s=3600.0)
    lab.ask(command, Accepted)
    lab.until(lambda: lab.line.count("hangs") == 1)
    lab.say(EmergencyStop(reason="smoke"))
    lab.until(lambda: lab.line.count("off") >= 1)
    assert lab.line.state_of(str(command.key)) == "partial"
    assert lab.status().state == "tripped"


class FullDisk(MemoryLog):
    """A ledger whose disk is full from some moment on."""

    is_full = False

    def commit(self) -> None:
        if self.is_full:
            raise LogFailed("ledger", "commit", "no space left")
        super().commit()


def test_a_ledger_that_cannot_be_written_ends_the_adapter_in_the_safe_state(lab: Lab) -> None:
    log = FullDisk("ledger-1")
    server = AdapterServer(
        {"furnace": Furnace(folder=str(lab.folder / "furnace"))},
        agent="chamber",
        hub=lab.hub.endpoint,
        log=log,
        spool=MemorySpool(),
        clock=ScaledLabClock(),
    )
    adapter = ThreadAdapter(server)
    lab.lease()
    lab.load()
    log.is_full = True
    command = lab.command("1", "anneal", hold_K=900.0, hold_s=3600.0)
    end_s = CLOCK.now_s() + LIMIT_S
    while adapter.ended is None and CLOCK.now_s() < end_s:
        lab.say(command)
        lab.mailbox.poll(0.05)
    assert adapter.ended is not None
    assert adapter.ended.code == 5
    assert lab.line.count("run", str(command.key)) == 0
    assert lab.line.count("off") == 1


def test_a_second_adapter_on_the_same_folder_does_not_start(lab: Lab) -> None:
    lab.start()
    path = lab.folder / "spec.json"
    second = subprocess.run(
        [sys.executable, "-m", "twinloop.instruments.server", "--spec", str(path)],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert second.returncode == 2
    assert b"held by another process" in second.stderr
    assert lab.line.count("off") == 0
    assert _watchdog_of(lab) != 0


@pytest.mark.parametrize("word", [b"", b"bye\n", b"beat\n"])
def test_a_watchdog_that_is_given_no_life_touches_no_device(lab: Lab, word: bytes) -> None:
    path = lab.folder / "spec.json"
    lab.spec().write(path)
    lab.spec().folder.mkdir()
    lab.line.inject("no-line")
    command = [sys.executable, "-m", "twinloop.instruments.watchdog", "--spec", str(path)]
    ended = subprocess.run(command, input=word, capture_output=True, timeout=LIMIT_S, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"")
    told = subprocess.run(
        command, input=b"life a\n", capture_output=True, timeout=LIMIT_S, check=False
    )
    assert told.returncode == 2
    assert b"nobody answers" in told.stdout


def test_a_twin_is_served_from_a_thread_without_a_disk(lab: Lab) -> None:
    twin = Furnace(folder=str(lab.folder / "furnace"))
    with serve_in_thread({"furnace": twin}, agent="chamber", hub=lab.hub.endpoint) as adapter:
        lab.lease()
        lab.load()
        outcome = lab.outcome(lab.command("1", "anneal", hold_K=900.0, hold_s=0.05))
        assert outcome.state == "done"
        assert lab.depot.load(outcome.arrays[0]).shape == (64,)
    assert adapter.ended is not None
    assert adapter.ended.code == 0
    assert lab.line.count("off") >= 1


def _watchdog_of(lab: Lab) -> int:
    assert lab.adapter is not None
    children = psutil.Process(lab.adapter.pid).children()
    return children[0].pid if children else 0


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
