"""Keeps children alive: starts them, notices deaths, starts them again, ends them in order.

The one mechanism under the supervisor (hub, conductor, instruments), under the placement of plain
processes and under the placement on Ray. It has no thread: its owner calls `poll` in its own loop.

A child holds one end of a pipe as its standard input. When it closes, the child ends: because it is
asked to, or because its parent died, however it died (`twinloop.agents.runtime.processes`).
"""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, TypeAlias

from twinloop.agents.runtime.processes import (
    FAMILY,
    forget_child,
    marked_environment,
    note_child,
    sweep,
)
from twinloop.agents.runtime.restart import GiveUp, RestartPolicy
from twinloop.errors import ArgumentError

__all__ = ["ChildSpec", "ChildState", "Keeper", "News", "python_module"]

_LOG = logging.getLogger(__name__)
_LOOK_AGAIN_S = 0.02
_KILLED_WITHIN_S = 5.0

ChildState: TypeAlias = Literal["running", "waiting", "finished", "given up"]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A process to keep alive.

    Args:
        name: of the child, unique within its keeper; its log is `NAME.log`.
        argv: the command, or what gives it at each start.
        env: variables besides the inherited ones.
        cwd: folder to start it in; this process's own when None.
        final: exit statuses that are an end on purpose; any other one is a death.
        grace_s: how long it may take to end when its standard input closes [s].
        sweep_family: end what it leaves behind before it is started again.
        greeting: gives the lines to write to its standard input at each start.
        on_line: takes each line of its standard output, in another thread.
        policy: makes its restart policy.
    """

    name: str
    argv: tuple[str, ...] | Callable[[], tuple[str, ...]]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    final: frozenset[int] = frozenset()
    grace_s: float = 5.0
    sweep_family: bool = True
    greeting: Callable[[], Sequence[str]] | None = None
    on_line: Callable[[str], None] | None = None
    policy: Callable[[], RestartPolicy] = RestartPolicy


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened to a child.

    Args:
        name: of the child.
        what: `started`, `died` (it will be started again), `finished` or `given up`.
        detail: for people.
        pid: of the process it happened to.
        code: exit status, where there is one; negative for a signal.
    """

    name: str
    what: Literal["started", "died", "finished", "given up"]
    detail: str
    pid: int
    code: int | None = None


@dataclass
class _Child:
    spec: ChildSpec
    policy: RestartPolicy
    process: subprocess.Popen[bytes] | None = None
    start_at_s: float | None = 0.0
    state: ChildState = "waiting"
    n_starts: int = 0


class Keeper:
    """Children, and what became of them. One thread uses it.

    Args:
        run: id of the run, the mark of every process of it.
        logs: folder for what the children print; None: it is dropped.
        now_s: monotonic seconds.

    Example:
        >>> keeper = Keeper("doc")
        >>> spec = ChildSpec("brief", (sys.executable, "-c", "raise SystemExit(4)"),
        ...                  final=frozenset({4}))
        >>> keeper.add(spec)
        >>> news = []
        >>> while keeper.state("brief") != "finished":
        ...     news += keeper.poll()
        >>> [item.what for item in news]
        ['started', 'finished']
    """

    def __init__(
        self, run: str, logs: Path | None = None, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.run = run
        self._logs, self._now_s = logs, now_s
        self._children: dict[str, _Child] = {}

    def add(self, spec: ChildSpec) -> None:
        """Keep this child alive; the next `poll` starts it.

        Raises:
            ArgumentError: a child of that name is kept already.
        """
        if spec.name in self._children:
            raise ArgumentError("child", spec.name, "a name that is not kept yet")
        self._children[spec.name] = _Child(spec, spec.policy())

    def poll(self) -> list[News]:
        """Notice deaths and start what is due; call it a few times a second."""
        news: list[News] = []
        for child in list(self._children.values()):
            if child.process is not None and child.process.poll() is not None:
                news.append(self._note_end(child))
            if child.start_at_s is not None and child.start_at_s <= self._now_s():
                news.append(self._start(child))
        return news

    def names(self) -> list[str]:
        """Return the names of all children."""
        return list(self._children)

    def state(self, name: str) -> ChildState:
        """Return how a child is."""
        return self._children[name].state

    def pid(self, name: str) -> int | None:
        """Return the pid of a child that runs."""
        process = self._children[name].process
        return process.pid if process is not None else None

    def n_starts(self, name: str) -> int:
        """Return how often a child was started."""
        return self._children[name].n_starts

    def say(self, name: str, line: str) -> bool:
        """Write a line to a child's standard input; False when it does not run or listen."""
        process = self._children[name].process
        if process is None:
            return False
        try:
            _pipe(process).write(line.encode() + b"\n")
            _pipe(process).flush()
        except OSError:
            return False
        return True

    def end(self, names: Sequence[str] | None = None, grace_s: float | None = None) -> None:
        """End children on purpose: ask all of them, wait, then kill, and sweep their families.

        Args:
            names: which; None for all.
            grace_s: how long each may take; its own grace when None [s].
        """
        ending = [self._children[n] for n in (self._children if names is None else names)]
        for child in ending:
            child.start_at_s = None
            if child.process is not None:
                _close(child.process)
        begun_s = self._now_s()
        for child in ending:
            allowed_s = child.spec.grace_s if grace_s is None else grace_s
            self._see_off(child, begun_s + allowed_s)
            if child.spec.sweep_family:
                self._sweep(child)

    def _start(self, child: _Child) -> News:
        spec = child.spec
        child.start_at_s = None
        child.n_starts += 1
        process = self._spawn(spec)
        note_child(process.pid)
        child.process, child.state = process, "running"
        if spec.on_line is not None and process.stdout is not None:
            threading.Thread(
                target=_read_lines, args=(process.stdout, spec.on_line), daemon=True
            ).start()
        for line in spec.greeting() if spec.greeting else ():
            self.say(spec.name, line)
        return News(spec.name, "started", f"pid {process.pid}", process.pid)

    def _spawn(self, spec: ChildSpec) -> "subprocess.Popen[bytes]":
        env = marked_environment(self.run, spec.name) | dict(spec.env)
        log: IO[bytes] | int = subprocess.DEVNULL
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            log = (self._logs / f"{spec.name}.log").open("ab")
        try:
            return subprocess.Popen(
                spec.argv() if callable(spec.argv) else spec.argv,
                env=env,
                cwd=spec.cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if spec.on_line else log,
                stderr=log,
                # Ctrl-C in the terminal is for the supervisor alone; it ends the rest in order
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        finally:
            if not isinstance(log, int):
                log.close()

    def _note_end(self, child: _Child) -> News:
        pid, code = self._take_leave(child)
        if code in child.spec.final:
            child.state = "finished"
            return News(child.spec.name, "finished", f"exit status {code}", pid, code)
        # what it left behind would talk in its name, hold its ports and eat its memory
        if child.spec.sweep_family:
            self._sweep(child)
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        verdict = child.policy.died(self._now_s())
        if isinstance(verdict, GiveUp):
            child.state = "given up"
            return News(child.spec.name, "given up", f"{how}; {verdict.reason}", pid, code)
        child.state, child.start_at_s = "waiting", verdict.at_s
        detail = f"{how}; again in {verdict.wait_s:g} s"
        return News(child.spec.name, "died", detail, pid, code)

    def _see_off(self, child: _Child, until_s: float) -> None:
        process = child.process
        if process is None:
            return
        while process.poll() is None and self._now_s() < until_s:
            threading.Event().wait(_LOOK_AGAIN_S)
        if process.poll() is None:
            _LOG.warning("%s does not end when asked to: killed", child.spec.name)
            process.kill()
            process.wait(_KILLED_WITHIN_S)
        self._take_leave(child)
        child.state = "finished"

    def _take_leave(self, child: _Child) -> tuple[int, int]:
        process = child.process
        if process is None or process.returncode is None:
            raise ArgumentError("child", child.spec.name, "a child that has ended")
        child.process = None
        _close(process)
        forget_child(process.pid)
        return process.pid, process.returncode

    def _sweep(self, child: _Child) -> None:
        family = marked_environment(self.run, child.spec.name)[FAMILY]
        for left in sweep(self.run, family, within_s=_KILLED_WITHIN_S):
            _LOG.error("%s left %s (pid %d), which does not die", family, left.name, left.pid)


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module of this Python.

    Example:
        >>> python_module("twinloop.agents.hub.process", "--help")[1:]
        ('-m', 'twinloop.agents.hub.process', '--help')
    """
    return (sys.executable, "-m", module, *arguments)


def _pipe(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    if process.stdin is None:
        raise ArgumentError("child", process.pid, "a child with a standard input")
    return process.stdin


def _close(process: "subprocess.Popen[bytes]") -> None:
    try:
        _pipe(process).close()
    except OSError:
        return


def _read_lines(stream: IO[bytes], take: Callable[[str], None]) -> None:
    with stream:
        for line in stream:
            take(line.decode(errors="replace").rstrip("\n"))
