"""The process that holds Ray's driver: the one file that imports ray.

`python -m twinloop.agents.runtime.ray_host --hub ENDPOINT --tmp FOLDER`. Its standard input brings
one `ComputeSpec` a line; it ends when that closes. On its standard output it says, one JSON object
a line: `up`; `agents`, how each is; `pids`, the helper processes; `problem`. It decides little: when
the cluster is not well it ends, and whoever started it makes a new one.
"""

import argparse
import json
import logging
import math
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import psutil

from twinloop.agents.runtime.compute import ComputeSpec
from twinloop.agents.runtime.placement import Placed
from twinloop.agents.runtime.restart import GiveUp, RestartPolicy
from twinloop.agents.runtime.twin_agent import make_agent, run_in_thread
from twinloop.wire.effects import Exit
from twinloop.wire.mailbox_core import EXIT_REFUSED, EXIT_REPLACED

__all__ = ["ComputeActor", "main"]

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2
_SILENT_S = 20.0
_PROBES = 4
_PLACED_WITHIN_S = 30.0
_ORDERLY_END_S = 3.5
_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_VITAL = ("raylet", "gcs_server")
EXIT_UNWELL = 4


class ComputeActor:
    """A compute agent inside an actor; it works from the moment it is made.

    Args:
        spec: `ComputeSpec` as JSON.
        hub: endpoint of the hub.
    """

    def __init__(self, spec: str, hub: str) -> None:
        self._end: Exit | None = None
        self._has_ended = threading.Event()
        self._agent = make_agent(ComputeSpec.model_validate_json(spec), hub)
        run_in_thread(self._agent, self._ended)

    def pid(self) -> int:
        """Return the pid of the actor's process."""
        return os.getpid()

    def wait(self) -> tuple[int, str]:
        """Return status and reason of the agent's end, when it ends."""
        self._has_ended.wait()
        return (self._end.code, self._end.reason) if self._end is not None else (0, "")

    def _ended(self, end: Exit) -> None:
        self._end = end
        self._has_ended.set()


class _Actor:
    """An actor, the calls that are out to it, and what is known of it."""

    def __init__(self, spec: ComputeSpec) -> None:
        self.spec = spec
        self.handle: Any = None
        self.pid_call: Any = None
        self.wait_call: Any = None
        self.asked_s = time.monotonic()
        self.policy = RestartPolicy()
        self.placed = Placed("waiting")
        self.is_late = False


class RayHost:
    """A cluster, its actors, and an eye on both.

    Args:
        hub: endpoint of the hub that the actors dial.
        say: takes what the conductor should know.
        silent_s: after how long a control store that does not answer counts as dead [s].
    """

    def __init__(self, hub: str, say: "Speaker", silent_s: float = _SILENT_S) -> None:
        self._hub, self._say, self._silent_s = hub, say, silent_s
        self._actors: dict[str, _Actor] = {}
        self._helpers: dict[str, psutil.Process] = {}
        self._said: dict[str, Placed] = {}
        self._heard_s = time.monotonic()

    def begin(self, tmp: Path | None, address: str | None, num_cpus: float | None) -> None:
        """Make a local cluster, or connect to an existing one."""
        _quieten()
        if tmp is not None:
            _use_token(tmp / "token")
        # ray reads its variables when it is imported
        import ray

        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
        if tmp is None:
            ray.init(address=address, **options)
        else:
            is_up = threading.Event()
            threading.Thread(target=_watch_the_start, args=(is_up,), daemon=True).start()
            ray.init(
                include_dashboard=False,
                num_cpus=math.ceil(num_cpus or os.cpu_count() or 1),
                object_store_memory=_OBJECT_STORE_BYTES,
                # Ray opens the folder it is given to everybody: one level deeper stays private
                _temp_dir=str(tmp / "r"),
                _node_ip_address=_loopback(),
                **options,
            )
            is_up.set()
            self._helpers = {p.name(): p for p in psutil.Process().children() if p.name() in _VITAL}
        threading.Thread(target=self._probe, name="ray-probe", daemon=True).start()
        self._say("up")
        self._say("pids", pids=self._pids())

    def add(self, spec: ComputeSpec) -> None:
        """Have Ray make an actor."""
        if spec.name not in self._actors:
            self._actors[spec.name] = _Actor(spec)
            self._make(self._actors[spec.name])

    def look(self) -> str | None:
        """Look after everything once; return why the cluster is not well, if so."""
        for name, process in self._helpers.items():
            if _is_dead(process):
                return f"{name} (pid {process.pid}) is dead"
        if time.monotonic() - self._heard_s > self._silent_s:
            return f"the control store has not answered for {self._silent_s:g} s"
        for actor in self._actors.values():
            self._look_after(actor)
        placed = {name: actor.placed for name, actor in self._actors.items()}
        if placed != self._said:
            self._said = placed
            self._say("agents", agents={name: asdict(p) for name, p in placed.items()})
            self._say("pids", pids=self._pids())
        return None

    def end(self) -> None:
        """End the cluster in good order."""
        import ray

        ray.shutdown()

    def _make(self, actor: _Actor) -> None:
        import ray

        spec = actor.spec
        maker = ray.remote(ComputeActor).options(
            num_cpus=spec.num_cpus,
            num_gpus=spec.num_gpus,
            max_restarts=-1,
            # Ray must never repeat a call by itself: what a call did before it died is not known
            max_task_retries=0,
            max_concurrency=2,
        )
        actor.handle = maker.remote(spec.model_dump_json(), self._hub)
        actor.asked_s = time.monotonic()
        self._call(actor)

    @staticmethod
    def _call(actor: _Actor) -> None:
        actor.pid_call = actor.handle.pid.remote()
        actor.wait_call = None

    def _look_after(self, actor: _Actor) -> None:
        import ray

        if actor.placed.state in {"ended", "given up"}:
            return
        call = actor.pid_call if actor.wait_call is None else actor.wait_call
        ready, _ = ray.wait([call], timeout=0)
        if not ready:
            self._complain_when_late(actor)
            return
        try:
            answer = ray.get(call)
        except ray.exceptions.RayError as err:
            self._died(actor, err)
            return
        if actor.wait_call is None:
            actor.wait_call = actor.handle.wait.remote()
            n_starts = actor.placed.n_starts + 1
            actor.placed = Placed("running", int(answer), n_starts)
        else:
            self._agent_ended(actor, *answer)

    def _complain_when_late(self, actor: _Actor) -> None:
        late_s = time.monotonic() - actor.asked_s
        if actor.wait_call is None and late_s > _PLACED_WITHIN_S and not actor.is_late:
            actor.is_late = True
            spec = actor.spec
            self._say(
                "problem",
                text=f"{spec.name} is not running after {late_s:.0f} s: it asks for "
                f"{spec.num_cpus:g} CPUs and {spec.num_gpus:g} GPUs of this cluster",
            )

    def _died(self, actor: _Actor, err: Exception) -> None:
        """Note that an actor's process died; Ray makes another, unless it could not be made."""
        import ray

        is_lost = isinstance(err, ray.exceptions.ActorDiedError)
        if is_lost or actor.placed.state == "running":
            first_line = str(err).strip().partition("\n")[0][:300]
            self._say("problem", text=f"{actor.spec.name} died: {first_line}")
            if self._is_given_up(actor, first_line):
                ray.kill(actor.handle, no_restart=True)
                return
        if is_lost:
            self._make(actor)
        else:
            self._call(actor)

    def _is_given_up(self, actor: _Actor, reason: str) -> bool:
        """Note a death; return True when it was one too many."""
        n_starts = actor.placed.n_starts
        verdict = actor.policy.died(time.monotonic())
        if isinstance(verdict, GiveUp):
            actor.placed = Placed("given up", None, n_starts, f"{reason}; {verdict.reason}")
            return True
        actor.placed = Placed("waiting", None, n_starts, reason)
        actor.asked_s = time.monotonic()
        return False

    def _agent_ended(self, actor: _Actor, code: int, reason: str) -> None:
        """Note that the agent in a living actor has ended."""
        import ray

        ray.kill(actor.handle, no_restart=True)
        if code in {0, EXIT_REPLACED, EXIT_REFUSED}:
            actor.placed = Placed("ended", None, actor.placed.n_starts, reason)
            return
        self._say("problem", text=f"{actor.spec.name}: {reason}")
        if not self._is_given_up(actor, reason):
            self._make(actor)

    def _probe(self) -> None:
        """Ask the control store for the nodes, again and again; a stopped one never answers."""
        import ray

        while True:
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
            if any(node["Alive"] for node in nodes):
                self._heard_s = time.monotonic()
            threading.Event().wait(self._silent_s / _PROBES)

    def _pids(self) -> dict[str, int]:
        return {
            f"{process.name()} {process.pid}": process.pid
            for process in psutil.Process().children(recursive=True)
            if process.is_running()
        }


class Speaker:
    """Says one JSON object a line on what was standard output."""

    def __init__(self) -> None:
        # Ray and its workers print where they like: that goes to the log, this stays ours
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)

    def __call__(self, say: str, **content: object) -> None:
        """Say it, unless nobody listens any more."""
        try:
            self._stream.write(json.dumps({"say": say, **content}) + "\n")
            self._stream.flush()
        except OSError:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold a cluster until standard input closes, and return the exit status."""
    parser = argparse.ArgumentParser(prog="twinloop ray host", description=__doc__)
    parser.add_argument("--hub", required=True, help="endpoint of the hub")
    parser.add_argument("--tmp", type=Path, help="Ray's temporary folder: short, private")
    parser.add_argument("--address", help="of an existing cluster")
    parser.add_argument("--cpus", type=float, help="of the local cluster")
    parser.add_argument(
        "--silent", type=float, default=_SILENT_S, help="when it counts as dead [s]"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    specs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(specs,), daemon=True).start()
    host = RayHost(options.hub, Speaker(), options.silent)
    begun_s = time.monotonic()
    host.begin(options.tmp, options.address, options.cpus)
    _LOG.info("Ray is up after %.1f s", time.monotonic() - begun_s)
    return _serve(host, specs)


def _serve(host: RayHost, specs: "queue.SimpleQueue[str | None]") -> int:
    while True:
        try:
            line = specs.get(timeout=_POLL_S)
        except queue.Empty:
            line = ""
        if line is None:
            host.end()
            return 0
        if line:
            host.add(ComputeSpec.model_validate_json(line))
        trouble = host.look()
        if trouble is not None:
            _leave(trouble)


def _leave(trouble: str) -> NoReturn:
    """End at once: an orderly shutdown would talk to what is dead; the rest goes by its mark."""
    _LOG.error("Ray is not well: %s", trouble)
    logging.shutdown()
    os._exit(EXIT_UNWELL)


def _watch_the_start(is_up: threading.Event) -> None:
    """End this process when a part of the cluster dies before it is up; Ray waits half a minute."""
    seen: dict[int, psutil.Process] = {}
    while not is_up.wait(_POLL_S):
        for process in psutil.Process().children():
            if process.pid not in seen and _is_vital(process):
                seen[process.pid] = process
        dead = [pid for pid, process in seen.items() if _is_dead(process)]
        if dead and not is_up.is_set():
            _leave(f"pid {dead[0]} died while Ray was starting")


def _is_vital(process: psutil.Process) -> bool:
    try:
        return process.name() in _VITAL
    except psutil.NoSuchProcess:
        return False


def _is_dead(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _read(specs: "queue.SimpleQueue[str | None]") -> None:
    rest = b""
    # not sys.stdin: a thread that holds its lock at the end aborts the interpreter
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            specs.put(line.decode())
    specs.put(None)
    # an orderly end that hangs must not outlive whoever closed the pipe
    threading.Event().wait(_ORDERLY_END_S)
    os._exit(EXIT_UNWELL)


def _loopback() -> str | None:
    # Ray takes 127.0.0.1 for "find an address that others can reach"; any other loopback address
    # is kept, but only Linux has more than one without being told
    return "127.0.0.2" if sys.platform.startswith("linux") else None


def _use_token(file: Path) -> None:
    # Ray listens on every interface: only who can read this file may speak with it
    file.touch(mode=0o600)
    file.write_text(secrets.token_hex(32), encoding="ascii")
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file)}


def _quieten() -> None:
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        # a process title must not be written over the environment: our mark is read from there
        "SPT_NOENV": "1",
    }


if __name__ == "__main__":
    # under its own name, so that Ray passes the actor's class by name and not by value
    from twinloop.agents.runtime.ray_host import main as run

    sys.exit(run())
