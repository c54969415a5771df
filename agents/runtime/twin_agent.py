"""Twins on the virtual side: an adapter inside a compute actor, its ledger in memory.

The same classes that a stand-in serves from a process of its own. A specification whose targets are
of kind "instrument" gives this agent instead of a `ComputeAgent`; all twins of one agent look at
the same film.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from twinloop.agents.runtime.compute import EXIT_BROKEN, ComputeAgent, ComputeSpec
from twinloop.clocks import ScaledLabClock
from twinloop.errors import ArgumentError, LabError
from twinloop.ids import new_incarnation
from twinloop.instruments.adapter_server import AdapterServer
from twinloop.instruments.interface import Instrument
from twinloop.instruments.rules import AdapterSettings
from twinloop.instruments.spool import MemorySpool
from twinloop.log.memory import MemoryLog
from twinloop.plugins import find_object
from twinloop.wire.effects import Exit

__all__ = ["Agent", "TwinAgent", "make_agent", "run_in_thread"]

_LOG = logging.getLogger(__name__)
_INSTRUMENT = "instrument"


class Agent(Protocol):
    """What a placement runs."""

    spec: ComputeSpec

    def run(self) -> Exit:
        """Serve; return why it ended."""
        ...

    def stop(self) -> None:
        """End `run`; any thread may call it."""
        ...


class TwinAgent:
    """Serves twins until it is told to end.

    Args:
        spec: its targets are the twins: `class`, `options` (the settings) and `clock_factor`.
        hub: endpoint of the hub.

    Raises:
        ArgumentError: targets of several kinds, or several clocks, in one agent.
    """

    def __init__(self, spec: ComputeSpec, hub: str) -> None:
        self.spec, self._hub = spec, hub
        self._clock_factor = _of_all(spec, "clock_factor", 1.0)
        _of_all(spec, "kind", None)
        self._server: AdapterServer | None = None
        self._is_stopping = threading.Event()

    def run(self) -> Exit:
        """Serve; return why it ended.

        Raises:
            ArgumentError: a class that cannot be found, or that is no twin.
        """
        self._server = AdapterServer(
            {name: _twin(name, target) for name, target in self.spec.targets.items()},
            agent=self.spec.name,
            hub=self._hub,
            # what a twin did in an earlier life is gone with its film
            log=MemoryLog(f"memory-{new_incarnation()}"),
            spool=MemorySpool(),
            clock=ScaledLabClock(self._clock_factor),
            settings=AdapterSettings(clock_factor=self._clock_factor),
        )
        if self._is_stopping.is_set():
            self._server.stop("stopped")
        return self._server.run()

    def stop(self) -> None:
        """Make the twins safe and end; any thread may call it."""
        self._is_stopping.set()
        if self._server is not None:
            self._server.stop("stopped")


def make_agent(spec: ComputeSpec, hub: str) -> Agent:
    """Return the agent that a specification stands for, not yet running.

    Raises:
        ArgumentError: twins and other targets in one agent.
    """
    if any(target.get("kind") == _INSTRUMENT for target in spec.targets.values()):
        return TwinAgent(spec, hub)
    return ComputeAgent(spec, hub)


def run_in_thread(agent: Agent, on_end: Callable[[Exit], None]) -> threading.Thread:
    """Run an agent in a thread of its own; `on_end` is told, there, why it ended."""

    def serve() -> None:
        try:
            ended = agent.run()
        except LabError as err:
            ended = Exit(EXIT_BROKEN, str(err))
        except Exception as err:  # noqa: BLE001 (the boundary of the agent)
            _LOG.exception("%s ends", agent.spec.name)
            ended = Exit(EXIT_BROKEN, f"{type(err).__name__}: {err}")
        on_end(ended)

    thread = threading.Thread(target=serve, name=agent.spec.name, daemon=True)
    thread.start()
    return thread


def _of_all(spec: ComputeSpec, key: str, otherwise: Any) -> Any:
    values = {target.get(key, otherwise) for target in spec.targets.values()}
    if len(values) != 1:
        raise ArgumentError(f"{spec.name}.{key}", sorted(map(str, values)), "the same for all")
    return values.pop()


def _twin(name: str, target: dict[str, Any]) -> Instrument:
    found = find_object("instruments", str(target.get("class", "")))
    if not (isinstance(found, type) and issubclass(found, Instrument) and found.is_twin):
        # what a machine does must not be forgotten: it is served with a ledger on a disk
        raise ArgumentError(name, target.get("class"), "a twin")
    return found.model_validate(dict(target.get("options", {})))
