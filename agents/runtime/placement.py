"""Where compute agents run: threads, plain processes, or Ray actors; one contract.

A placement only puts agents somewhere and puts them there again when they die. Everything they say
goes through the hub, like everybody's words: who is present decides who gets work, not a placement.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from twinloop.agents.runtime.compute import ComputeSpec
from twinloop.agents.runtime.keeper import ChildSpec, Keeper, News, python_module
from twinloop.agents.runtime.restart import GiveUp, RestartPolicy
from twinloop.agents.runtime.twin_agent import Agent, make_agent, run_in_thread
from twinloop.errors import ArgumentError
from twinloop.wire.effects import Exit
from twinloop.wire.mailbox_core import EXIT_REFUSED, EXIT_REPLACED

__all__ = ["InProcessPlacement", "Placed", "PlacedState", "Placement", "SubprocessPlacement"]

_LOG = logging.getLogger(__name__)
_POLL_S = 0.1
_STOP_S = 5.0
PlacedState: TypeAlias = Literal["waiting", "running", "ended", "given up"]


@dataclass(frozen=True, slots=True)
class Placed:
    """How an agent is.

    Args:
        state: `waiting` to be started (again), `running`, `ended` on purpose, or `given up`.
        pid: of its process, while it runs and that is known.
        n_starts: how often it was started.
        detail: for people.
    """

    state: PlacedState
    pid: int | None = None
    n_starts: int = 0
    detail: str = ""


class Placement(Protocol):
    """Puts compute agents somewhere. No call blocks, but for `stop`; any thread may call."""

    @property
    def is_ready(self) -> bool:
        """Return True when agents are started as soon as they are placed."""
        ...

    def start(self, hub: str) -> None:
        """Begin, in the background.

        Args:
            hub: endpoint of the hub that the agents dial.
        """
        ...

    def place(self, spec: ComputeSpec) -> None:
        """Have an agent run from now on; the same specification again changes nothing.

        Raises:
            ArgumentError: another agent of that name is placed already.
        """
        ...

    def running(self) -> dict[str, Placed]:
        """Return how each placed agent is."""
        ...

    def problems(self) -> tuple[str, ...]:
        """Return what a person should know, the latest last; at most 100 lines."""
        ...

    def stop(self) -> None:
        """End all agents, within some seconds."""
        ...


class Roster:
    """What is placed, how it is, and what went wrong; thread-safe.

    Example:
        >>> roster = Roster()
        >>> roster.add(ComputeSpec(name="w", targets={}))
        True
        >>> roster.add(ComputeSpec(name="w", targets={}))
        False
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._specs: dict[str, ComputeSpec] = {}
        self._placed: dict[str, Placed] = {}
        self._problems: list[str] = []

    def add(self, spec: ComputeSpec) -> bool:
        """Note a specification; False when it is known.

        Raises:
            ArgumentError: another one of that name is known.
        """
        with self._lock:
            known = self._specs.get(spec.name)
            if known is not None and known != spec:
                raise ArgumentError("name", spec.name, "a name that is not placed yet")
            self._specs[spec.name] = spec
            self._placed.setdefault(spec.name, Placed("waiting"))
            return known is None

    def specs(self) -> list[ComputeSpec]:
        """Return all specifications, in the order they came."""
        with self._lock:
            return list(self._specs.values())

    def set(self, name: str, placed: Placed) -> None:
        """Note how an agent is."""
        with self._lock:
            self._placed[name] = placed

    def wait_all(self, detail: str) -> None:
        """Note that every agent has to be started again."""
        with self._lock:
            for name, placed in self._placed.items():
                if placed.state == "running":
                    self._placed[name] = replace(placed, state="waiting", pid=None, detail=detail)

    def placed(self) -> dict[str, Placed]:
        """Return how each agent is."""
        with self._lock:
            return dict(self._placed)

    def complain(self, problem: str) -> None:
        """Note a problem."""
        _LOG.warning("%s", problem)
        with self._lock:
            self._problems = [*self._problems[-99:], problem]

    def problems(self) -> tuple[str, ...]:
        """Return the last problems."""
        with self._lock:
            return tuple(self._problems)


class InProcessPlacement:
    """Agents as threads of this process: unit tests, and the simplest thing that works.

    An agent that breaks is started again, with back-off; one that was replaced is not.
    """

    def __init__(self) -> None:
        self._roster = Roster()
        self._hub: str | None = None
        self._agents: dict[str, Agent] = {}
        self._policies: dict[str, RestartPolicy] = {}
        self._threads: list[threading.Thread] = []
        self._is_stopping = threading.Event()

    @property
    def is_ready(self) -> bool:
        """Return True after `start`."""
        return self._hub is not None

    def start(self, hub: str) -> None:
        """Run what was placed."""
        self._hub = hub
        for spec in self._roster.specs():
            self._run(spec, 1)

    def place(self, spec: ComputeSpec) -> None:
        """Run an agent in a thread."""
        if self._roster.add(spec) and self._hub is not None:
            self._run(spec, 1)

    def running(self) -> dict[str, Placed]:
        """Return how each agent is."""
        return self._roster.placed()

    def problems(self) -> tuple[str, ...]:
        """Return what went wrong."""
        return self._roster.problems()

    def stop(self) -> None:
        """End all threads."""
        self._is_stopping.set()
        for agent in list(self._agents.values()):
            agent.stop()
        for thread in self._threads:
            thread.join(_STOP_S)

    def _run(self, spec: ComputeSpec, n_starts: int) -> None:
        agent = make_agent(spec, self._hub or "")
        self._agents[spec.name] = agent
        self._roster.set(spec.name, Placed("running", None, n_starts))
        self._threads = [t for t in self._threads if t.is_alive()]
        self._threads.append(run_in_thread(agent, lambda end: self._ended(spec, end, n_starts)))

    def _ended(self, spec: ComputeSpec, end: Exit, n_starts: int) -> None:
        if self._is_stopping.is_set() or end.code in {0, EXIT_REPLACED, EXIT_REFUSED}:
            self._roster.set(spec.name, Placed("ended", None, n_starts, end.reason))
            return
        policy = self._policies.setdefault(spec.name, RestartPolicy())
        verdict = policy.died(time.monotonic())
        self._roster.complain(f"{spec.name}: {end.reason}")
        if isinstance(verdict, GiveUp):
            self._roster.set(spec.name, Placed("given up", None, n_starts, verdict.reason))
        elif not self._is_stopping.wait(verdict.wait_s):
            self._run(spec, n_starts + 1)


class SubprocessPlacement:
    """Each agent a plain Python process: what there is when Ray is not installed.

    Args:
        run: id of the run, the mark of the processes.
        logs: folder for what they print.
    """

    is_ready = True

    def __init__(self, run: str, logs: Path | None = None) -> None:
        self._roster = Roster()
        self._keeper = Keeper(run, logs)
        self._hub = ""
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, hub: str) -> None:
        """Watch over the processes in a thread."""
        self._hub = hub
        self._thread = keep_in_thread(self._keeper, self._is_stopping, self._look)

    def place(self, spec: ComputeSpec) -> None:
        """Have the watching thread start a process."""
        self._roster.add(spec)

    def running(self) -> dict[str, Placed]:
        """Return how each agent is."""
        return self._roster.placed()

    def problems(self) -> tuple[str, ...]:
        """Return what went wrong."""
        return self._roster.problems()

    def stop(self) -> None:
        """End all processes."""
        self._is_stopping.set()
        if self._thread is not None:
            self._thread.join(2 * _STOP_S)

    def _look(self, news: list[News]) -> None:
        kept = set(self._keeper.names())
        for spec in self._roster.specs():
            if spec.name not in kept:
                self._keeper.add(self._child(spec))
        for item in news:
            self._note(item)

    def _child(self, spec: ComputeSpec) -> ChildSpec:
        command = python_module(
            "twinloop.agents.runtime.worker", "--hub", self._hub, "--spec", spec.model_dump_json()
        )
        return ChildSpec(spec.name, command, final=frozenset({0, EXIT_REPLACED, EXIT_REFUSED}))

    def _note(self, news: News) -> None:
        n_starts = self._keeper.n_starts(news.name)
        match news.what:
            case "started":
                placed = Placed("running", news.pid, n_starts)
            case "died":
                placed = Placed("waiting", None, n_starts, news.detail)
            case "finished":
                placed = Placed("ended", None, n_starts, news.detail)
            case _:
                placed = Placed("given up", None, n_starts, news.detail)
        self._roster.set(news.name, placed)
        if news.what in {"died", "given up"}:
            self._roster.complain(f"{news.name} ended with {news.detail}")


def keep_in_thread(
    keeper: Keeper, is_stopping: threading.Event, look: Callable[[list[News]], None]
) -> threading.Thread:
    """Poll a keeper in a thread of its own until `is_stopping`, then end its children.

    Args:
        keeper: used by that thread alone from now on.
        is_stopping: ends the thread.
        look: takes the news of each poll, in that thread; it may add children.
    """

    def keep() -> None:
        while not is_stopping.wait(_POLL_S):
            look(keeper.poll())
        keeper.end()

    thread = threading.Thread(target=keep, name="placement", daemon=True)
    thread.start()
    return thread
