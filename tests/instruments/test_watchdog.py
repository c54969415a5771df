"""What the watchdog of a dead or silent adapter does, and what it leaves alone."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinloop.instruments import ledger
from twinloop.instruments.locks import FolderLock, LockTaken
from twinloop.instruments.spec import AdapterSpec, InstrumentSpec, class_path
from twinloop.instruments.testing import Furnace, furnace_command
from twinloop.instruments.watchdog import Watchdog, waits_of
from twinloop.instruments.watchdog_notes import ADAPTER_LOCK, LIFE, drop_notes, read_notes
from twinloop.log.sqlite import SqliteLog

LIMIT_S = 20.0
CLASSES = {"furnace": Furnace, "oven": Furnace}


class Pipe:
    """The adapter's end of the pipe; closing it is the adapter's death."""

    def __init__(self) -> None:
        self._lines: queue.Queue[bytes | None] = queue.Queue()

    def say(self, word: str) -> None:
        self._lines.put(word.encode() + b"\n")

    def close(self) -> None:
        self._lines.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (line := self._lines.get()) is not None:
            yield line


class Post:
    """One watchdog in threads of this process."""

    def __init__(self, folder: Path, beat_limit_s: float = 1e6) -> None:
        self.folder, self.pipe = folder, Pipe()
        self.furnace = Furnace(folder=str(folder / "furnace"))
        self.furnace.connect()
        spec = AdapterSpec(
            agent="chamber",
            hub="tcp://127.0.0.1:1",
            folder=folder,
            instruments={"furnace": InstrumentSpec(cls=class_path(Furnace))},
            beat_limit_s=beat_limit_s,
        )
        self.watchdog = Watchdog(spec, "life-1", {"furnace": self.furnace})
        self.status: list[int] = []
        threading.Thread(target=self.watchdog.listen, args=(self.pipe,), daemon=True).start()
        self._thread = threading.Thread(
            target=lambda: self.status.append(self.watchdog.run()), daemon=True
        )

    def write_ledger(self, action_name: str, **arguments: float) -> None:
        command = furnace_command("1", action_name, epoch=1, ledger="l", **arguments)
        log = SqliteLog(self.folder / "ledger.sqlite", "l")
        log.append(ledger.intent(command, "conductor", loads_sample=False, sample_before=None))
        log.close()

    def run(self) -> None:
        self._thread.start()

    def end(self) -> int:
        self._thread.join(LIMIT_S)
        return self.status[0]

    @property
    def n_off(self) -> int:
        return self.furnace.line.count("off")


def folded(*names: tuple[str, str]) -> ledger.LedgerState:
    state = ledger.LedgerState()
    for instrument, action_name in names:
        command = furnace_command(instrument, action_name, epoch=1, ledger="l")
        command = command.model_copy(update={"instrument": instrument})
        state.apply(ledger.intent(command, "c", loads_sample=False, sample_before=None))
    return state


def test_each_instrument_waits_as_its_last_action_declares() -> None:
    state = folded(("furnace", "anneal"), ("oven", "heat"))
    assert waits_of(state, CLASSES, 60.0) == {"furnace": 60.0, "oven": 0.0}
    assert waits_of(folded(("furnace", "quench")), CLASSES, 60.0)["furnace"] == 60.0


def test_an_idle_neighbour_is_not_made_safe_under_a_running_action() -> None:
    assert waits_of(folded(("furnace", "anneal")), CLASSES, 60.0)["oven"] == 60.0
    assert waits_of(folded(("furnace", "heat")), CLASSES, 60.0)["oven"] == 0.0
    assert waits_of(folded(), CLASSES, 60.0) == {"furnace": 0.0, "oven": 0.0}


def test_everything_is_made_safe_when_the_ledger_cannot_be_read() -> None:
    assert waits_of(None, CLASSES, 60.0) == {"furnace": 0.0, "oven": 0.0}


def test_a_tripped_instrument_does_not_wait() -> None:
    state = folded(("furnace", "anneal"))
    state.apply(ledger.tripped("furnace", "hot"))
    assert waits_of(state, CLASSES, 60.0)["furnace"] == 0.0


def test_a_dismissed_watchdog_does_nothing(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.run()
    post.pipe.say("beat")
    post.pipe.say("bye")
    post.pipe.close()
    assert post.end() == 0
    assert post.n_off == 0


def test_the_death_of_the_adapter_makes_safe_and_leaves_a_note(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.write_ledger("heat", target_K=500.0)
    post.run()
    post.pipe.close()
    assert post.end() == 0
    assert post.n_off == 1
    (note,) = read_notes(tmp_path)
    assert (note.instrument, note.error) == ("furnace", None)
    drop_notes(tmp_path)
    assert read_notes(tmp_path) == []


def test_a_safe_state_that_fails_is_tried_over_a_new_connection_and_noted(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.furnace.line.inject("stuck-relay")
    post.run()
    post.pipe.close()
    post.end()
    (note,) = read_notes(tmp_path)
    assert "relay" in (note.error or "")


def test_a_finishing_action_is_left_alone_until_the_adapter_is_back(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.write_ledger("anneal", hold_K=900.0, hold_s=1.0)
    (tmp_path / LIFE).write_text("life-1")
    post.run()
    post.pipe.close()
    lock = FolderLock(tmp_path / ADAPTER_LOCK)
    (tmp_path / LIFE).write_text("life-2")
    assert post.end() == 0
    assert post.n_off == 0
    lock.release()


def test_the_lock_of_the_dying_adapter_itself_does_not_count_as_its_return(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.write_ledger("heat", target_K=500.0)
    (tmp_path / LIFE).write_text("life-1")
    lock = FolderLock(tmp_path / ADAPTER_LOCK)
    post.run()
    post.pipe.close()
    assert post.end() == 0
    assert post.n_off == 1
    lock.release()


def test_a_silent_adapter_is_made_safe(tmp_path: Path) -> None:
    post = Post(tmp_path, beat_limit_s=0.2)
    post.write_ledger("heat", target_K=500.0)
    post.run()
    post.pipe.say("beat")
    assert post.end() == 0
    assert [n.reason for n in read_notes(tmp_path)] == ["the adapter is silent"]


def test_an_asked_for_safe_state_runs_at_once(tmp_path: Path) -> None:
    post = Post(tmp_path)
    post.run()
    post.pipe.say("safe furnace")
    post.pipe.say("safe nobody")
    tick = threading.Event()
    for _ in range(1000):
        if post.n_off:
            break
        tick.wait(0.01)
    assert post.n_off == 1
    post.pipe.say("bye")
    assert post.end() == 0


def test_one_process_holds_a_folder(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "x.lock")
    with pytest.raises(LockTaken):
        FolderLock(tmp_path / "x.lock")
    lock.release()
    FolderLock(tmp_path / "x.lock").release()
