"""The adapter's side of its watchdog: whatever the watchdog does, nobody here waits for it."""

import threading
from queue import Full, Queue

from twinloop.instruments.guard import Guard


class _Pipe:
    """A pipe whose reader is stopped: the first write never returns until it is let go."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.let_go = threading.Event()

    def write(self, line: bytes) -> None:
        self.let_go.wait(20.0)
        self.written.append(line)

    def close(self) -> None:
        """Do nothing."""


class _Process:
    def __init__(self, pipe: _Pipe) -> None:
        self.stdin, self.stdout = pipe, None
        self.was_killed = False

    def poll(self) -> None:
        return None

    def kill(self) -> None:
        self.was_killed = True

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002
        return 0


def guard_of(process: _Process) -> Guard:
    guard = Guard.__new__(Guard)
    guard._process = process  # type: ignore[assignment]
    guard._lines = Queue(4)
    guard._writer = threading.Thread(target=guard._write_all, daemon=True)
    guard._writer.start()
    return guard


def test_beats_to_a_stopped_watchdog_never_block() -> None:
    pipe = _Pipe()
    guard = guard_of(_Process(pipe))
    for _ in range(100):
        guard.beat()
    guard.make_safe("mbe")
    assert pipe.written == []
    pipe.let_go.set()


def test_a_stopped_watchdog_is_killed_when_it_is_dismissed() -> None:
    pipe = _Pipe()
    process = _Process(pipe)
    guard = guard_of(process)
    for _ in range(10):
        guard.beat()
    guard.dismiss()
    assert process.was_killed
    pipe.let_go.set()


def test_the_last_word_arrives_before_the_pipe_closes() -> None:
    pipe = _Pipe()
    pipe.let_go.set()
    process = _Process(pipe)
    guard = guard_of(process)
    guard.beat()
    guard.dismiss()
    assert pipe.written[-1] == b"bye\n"
    assert not process.was_killed


def test_the_queue_of_a_guard_is_bounded() -> None:
    pipe = _Pipe()
    guard = guard_of(_Process(pipe))
    for _ in range(10):
        guard.beat()
    try:
        guard._lines.put_nowait(b"x")
    except Full:
        pipe.let_go.set()
        return
    raise AssertionError("the queue grows")
