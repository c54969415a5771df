"""Processes of a run: how they are marked, found again and ended.

Every process that a run starts inherits two environment variables: the run's id, and its family
(the child of the supervisor it descends from, and so on: "conductor/ray"). Parentage is lost when a
parent dies; the mark is not. So whoever must end the processes of a dead parent asks for its mark,
and needs neither a list of pids that may be out of date nor luck.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

import psutil

__all__ = [
    "FAMILY",
    "RUN",
    "MarkedProcess",
    "ProcessTable",
    "SystemTable",
    "adopt_orphans",
    "end_with_stdin",
    "forget_child",
    "is_of_family",
    "marked_environment",
    "note_child",
    "reap_orphans",
    "sweep",
]

RUN = "TWINLOOP_RUN"
FAMILY = "TWINLOOP_FAMILY"
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class MarkedProcess:
    """A process that carries the mark of a run.

    Args:
        pid: its number.
        born_s: when it began, as the operating system tells it; pid and this name one process.
        run: id of the run.
        family: what it descends from.
        name: of the program.
    """

    pid: int
    born_s: float
    run: str
    family: str
    name: str


class ProcessTable(Protocol):
    """What `sweep` sees of the operating system."""

    def marked(self, run: str) -> list[MarkedProcess]:
        """Return the living processes of a run."""
        ...

    def kill(self, process: MarkedProcess) -> None:
        """Kill it, unless it is gone already."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def time_s(self) -> float:
        """Return the present time, monotonic [s]."""
        ...


class SystemTable:
    """The real process table: of this user, without this process and its ancestors."""

    def marked(self, run: str) -> list[MarkedProcess]:
        """Return the living processes of a run."""
        spared = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
        found = []
        for process in psutil.process_iter():
            if process.pid in spared:
                continue
            try:
                marks = process.environ()
                if marks.get(RUN) != run or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                born_s, name = process.create_time(), process.name()
            except (psutil.Error, OSError):
                # of another user, or gone while we looked
                continue
            found.append(MarkedProcess(process.pid, born_s, run, marks.get(FAMILY, ""), name))
        return found

    def kill(self, process: MarkedProcess) -> None:
        """Kill it, unless it is gone or its pid now names another."""
        try:
            found = psutil.Process(process.pid)
            if found.create_time() == process.born_s:
                found.kill()
        except psutil.Error:
            return

    def wait(self, seconds: float) -> None:
        """Let real time pass, and take leave of orphans that have ended."""
        threading.Event().wait(seconds)
        reap_orphans()

    def time_s(self) -> float:
        """Return the present time [s]."""
        return time.monotonic()


def is_of_family(family: str, root: str) -> bool:
    """Return True when `family` is `root` or descends from it.

    Example:
        >>> is_of_family("conductor/ray", "conductor"), is_of_family("conductor2", "conductor")
        (True, False)
    """
    return family == root or family.startswith(f"{root}/")


def sweep(
    run: str,
    family: str | None = None,
    *,
    grace_s: float = 0.0,
    within_s: float = 5.0,
    spare: Collection[str] = (),
    table: ProcessTable | None = None,
) -> list[MarkedProcess]:
    """End every process of a run, or of one family of it.

    Args:
        run: id of the run.
        family: only this family; None for all.
        grace_s: how long they may end by themselves first [s].
        within_s: how long to go on killing what is still there [s].
        spare: families to leave alone.
        table: the processes; the real ones when None.

    Returns:
        The processes that would not die; empty when all is well.
    """
    system = table or SystemTable()
    # by the clock: looking at a full process table takes longer than waiting does
    begun_s = system.time_s()
    while True:
        there = [
            p
            for p in system.marked(run)
            if (family is None or is_of_family(p.family, family))
            and not any(is_of_family(p.family, spared) for spared in spare)
        ]
        spent_s = system.time_s() - begun_s
        if not there or spent_s > grace_s + within_s:
            return there
        if spent_s >= grace_s:
            for process in there:
                system.kill(process)
        system.wait(_LOOK_AGAIN_S)


def marked_environment(run: str, name: str) -> dict[str, str]:
    """Return the environment of a child: this one, with its mark.

    Args:
        run: id of the run.
        name: of the child; its family is that of this process and this name.
    """
    parent = os.environ.get(FAMILY) if os.environ.get(RUN) == run else None
    family = f"{parent}/{name}" if parent else name
    return {**os.environ, RUN: run, FAMILY: family}


def adopt_orphans() -> bool:
    """Become the parent of descendants whose parent dies (Linux); return whether that worked."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    _STATE.is_reaper = libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    return _STATE.is_reaper


def reap_orphans() -> list[int]:
    """Take leave of adopted children that have ended, and return their pids.

    Children noted with `note_child` are left to whoever started them: the first to ask learns the
    exit status, nobody after it.
    """
    if not _STATE.is_reaper:
        return []
    ended = []
    for child in psutil.Process().children():
        if child.pid in _STATE.own:
            continue
        try:
            is_dead = child.status() == psutil.STATUS_ZOMBIE
            if is_dead and os.waitpid(child.pid, os.WNOHANG)[0] == child.pid:
                ended.append(child.pid)
        except (psutil.Error, ChildProcessError):
            continue
    return ended


def note_child(pid: int) -> None:
    """Say that somebody waits for this child."""
    _STATE.own.add(pid)


def forget_child(pid: int) -> None:
    """Say that this child has been waited for."""
    _STATE.own.discard(pid)


@dataclass
class _State:
    """Of this process: whether it adopts orphans, and which children are not orphans."""

    is_reaper: bool = False
    own: set[int] = field(default_factory=set)


_STATE = _State()


def end_with_stdin(on_end: Callable[[], None], grace_s: float) -> threading.Thread:
    """Call `on_end` when standard input closes, as it does when the parent dies or wants our end.

    Args:
        on_end: asks this process to end in good order; called in another thread.
        grace_s: after this long the process ends anyway [s].

    Returns:
        The watching thread; it does not keep the process alive.
    """

    def watch() -> None:
        # not sys.stdin: a thread that holds its lock at the end aborts the interpreter
        while os.read(0, 4096):
            continue
        on_end()
        threading.Event().wait(grace_s)
        os._exit(1)

    # Ctrl-C reaches the whole group; who holds the pipe decides the order in which we end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    thread = threading.Thread(target=watch, name="end-with-stdin", daemon=True)
    thread.start()
    return thread
