"""Compute agents as Ray actors, seen from the conductor: a host process that it keeps alive.

Ray's driver lives in that process (`twinloop.agents.runtime.ray_host`), not in the conductor: the
driver library ends its process when the control store is gone for long, and importing it costs
seconds. When raylet, control store or host die, the host's whole family is ended, its temporary
folder removed, and a new one with a new local cluster is started: one way for all of them.
"""

import importlib.util
import json
import threading
from collections.abc import Mapping
from typing import Any

from twinloop.agents.runtime.compute import ComputeSpec
from twinloop.agents.runtime.keeper import ChildSpec, Keeper, News, python_module
from twinloop.agents.runtime.placement import Placed, Roster, keep_in_thread
from twinloop.agents.runtime.run_folder import RunFolder

__all__ = ["RayPlacement", "ray_is_installed"]

_HOST = "ray"
_GRACE_S = 4.0
_STOP_S = 12.0


def ray_is_installed() -> bool:
    """Return True when a `RayPlacement` can work here."""
    return importlib.util.find_spec("ray") is not None


class RayPlacement:
    """Agents on an embedded local Ray cluster, or on an existing one by its address.

    Args:
        folder: the run folder; it names the cluster's temporary folder, and its helper processes.
        address: of an existing cluster; None for an embedded one.
        num_cpus: share of the embedded cluster; the machine's logical CPUs when None.
        silent_s: after how long a control store that does not answer counts as dead [s].
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        address: str | None = None,
        num_cpus: float | None = None,
        silent_s: float = 20.0,
    ) -> None:
        self._folder, self._address, self._num_cpus = folder, address, num_cpus
        self._silent_s = silent_s
        self._roster = Roster()
        self._keeper = Keeper(folder.run, folder.logs)
        self._hub = ""
        self._sent: set[str] = set()
        self._is_up = threading.Event()
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_ready(self) -> bool:
        """Return True while the cluster is up."""
        return self._is_up.is_set()

    def start(self, hub: str) -> None:
        """Start the cluster in the background."""
        self._hub = hub
        self._keeper.add(
            ChildSpec(
                _HOST,
                # the command is made at each start: its temporary folder is new each time
                self._command,
                grace_s=_GRACE_S,
                greeting=self._greeting,
                on_line=self._heard,
            )
        )
        self._thread = keep_in_thread(self._keeper, self._is_stopping, self._look)

    def place(self, spec: ComputeSpec) -> None:
        """Have the cluster run an agent as soon as it is up."""
        self._roster.add(spec)

    def running(self) -> dict[str, Placed]:
        """Return how each agent is."""
        return self._roster.placed()

    def problems(self) -> tuple[str, ...]:
        """Return what went wrong."""
        return self._roster.problems()

    def stop(self) -> None:
        """End the cluster and remove its temporary folder."""
        self._is_stopping.set()
        self._is_up.clear()
        if self._thread is not None:
            self._thread.join(_STOP_S)
        self._folder.remove_ray_tmp()

    def _command(self) -> tuple[str, ...]:
        self._folder.remove_ray_tmp()
        command = python_module(
            "twinloop.agents.runtime.ray_host", "--hub", self._hub, "--silent", str(self._silent_s)
        )
        if self._address is not None:
            command += ("--address", self._address)
        else:
            command += ("--tmp", str(self._folder.make_ray_tmp()))
        return command if self._num_cpus is None else (*command, "--cpus", str(self._num_cpus))

    def _greeting(self) -> list[str]:
        specs = self._roster.specs()
        self._sent = {spec.name for spec in specs}
        return [spec.model_dump_json() for spec in specs]

    def _look(self, news: list[News]) -> None:
        for item in news:
            if item.what != "started":
                self._is_up.clear()
                self._roster.complain(f"the Ray host ended with {item.detail}")
                self._roster.wait_all("a new Ray cluster is being made")
        for spec in self._roster.specs():
            if spec.name not in self._sent and self._keeper.say(_HOST, spec.model_dump_json()):
                self._sent.add(spec.name)

    def _heard(self, line: str) -> None:
        """Take what the host says: one JSON object a line."""
        try:
            said: Mapping[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            # it was killed in the middle of a word
            return
        match said.get("say"):
            case "up":
                self._is_up.set()
            case "agents":
                for name, placed in said["agents"].items():
                    self._roster.set(name, Placed(**placed))
            case "pids":
                self._folder.write_pids(said["pids"])
            case "problem":
                self._roster.complain(said["text"])
