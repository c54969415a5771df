"""What one task costs, side by side: our whole path, raw pyzmq, Ray actor calls.

Two worker processes, four tasks outstanding, refilled on completion, start-up left out (the protocol
of the peers' comparison). "Whole path" is the production code: protocol and stepper, campaign core,
pool, mailbox, hub process, worker process and back, each result an event; `journal` says whether
events go to the SQLite journal on disk (full synchronous, group commit) or nowhere.
Efficiency = N d / (2 makespan) for tasks that last d. Rounds alternate between the systems.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import zmq
from measure import median, write_result

from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.conductor_core import ConductorCore
from twinloop.agents.campaign.pool import SendTask
from twinloop.agents.campaign.state import CampaignState
from twinloop.agents.campaign.testing import Bread, Dough, brief
from twinloop.agents.runtime.compute import ComputeSpec
from twinloop.ids import new_incarnation
from twinloop.log.interface import EventLog
from twinloop.log.memory import MemoryLog
from twinloop.log.sqlite import SqliteLog
from twinloop.protocols.interface import Trial, protocol, together
from twinloop.wire.loop import AgentLoop
from twinloop.wire.mailbox import Mailbox

OUTSTANDING = 4
N_WORKERS = 2


class Noop:
    """Stands for an analyst that gives its argument back."""

    @staticmethod
    def echo(*, n: int) -> Any:
        """Return n."""

    @classmethod
    def quantities(cls) -> dict[str, Callable[..., Any]]:
        """Return the quantities by name."""
        return {"echo": cls.echo, "sleep": cls.echo}


class NoLog(MemoryLog):
    """A journal that keeps nothing: the path without it."""

    def append(self, entry: Any) -> int:  # noqa: ARG002
        """Forget the entry."""
        return 0

    def commit(self) -> None:
        """Do nothing."""


def task_brief(n_tasks: int, duration_s: float) -> Brief:
    """Return a campaign of one trial with `n_tasks` computations, four at a time."""

    @protocol(version=1)
    async def many(trial: Trial[Dough], worker: Noop) -> Bread:  # noqa: ARG001
        async def branch() -> None:
            for n in range(n_tasks // OUTSTANDING):
                if duration_s:
                    await worker.sleep(duration_s=duration_s)  # type: ignore[attr-defined]
                else:
                    await worker.echo(n=n)

        await together(*(branch() for _ in range(OUTSTANDING)))
        return Bread(height=1.0, crust=0.0)

    target = "sleep" if duration_s else "noop"
    made = brief(1, protocol=many)
    return dataclasses.replace(made, adapters={}, targets={"worker": target})


@contextmanager
def our_processes() -> Iterator[str]:
    """Start a hub and two workers as processes; yield the hub's endpoint."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def start(module: str, *arguments: str) -> None:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)

        announced = folder / "hub.txt"
        start("twinloop.agents.hub.process", "--announce", str(announced))
        while not announced.exists():
            subprocess.run(["sleep", "0.05"], check=True)
        hub = announced.read_text().strip()
        for n in range(N_WORKERS):
            spec = ComputeSpec(
                name=f"w{n}", targets={"noop": {"kind": "noop"}, "sleep": {"kind": "sleep"}}
            )
            start("twinloop.agents.runtime.worker", "--hub", hub, "--spec", spec.model_dump_json())
        yield hub


def through_twinloop(hub: str, n_tasks: int, duration_s: float, *, journal: bool) -> float:
    """Return the makespan of `n_tasks` [s]."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        log: EventLog = (
            SqliteLog(Path(folder) / "journal.db", "speed") if journal else NoLog("speed")
        )
        core = ConductorCore(task_brief(n_tasks, duration_s), CampaignState(), new_incarnation())
        with Mailbox(hub, "conductor", "conductor", core.incarnation, watch=True) as mailbox:

            def perform(effect: object) -> None:
                if isinstance(effect, SendTask):
                    mailbox.send(effect.to, effect.task, effect.arrays)

            loop = AgentLoop(core, mailbox, log, perform)
            while len(mailbox.presence) < N_WORKERS:
                mailbox.poll(0.1)
            for present in mailbox.presence.values():
                if present.role == "worker":
                    core.pool.here(present.name, present.about["targets"], 0.0)
            began_s = time.perf_counter()
            loop.run()
            lasted_s = time.perf_counter() - began_s
        log.close()
    return lasted_s


RAW_WORKER = """
import json, sys, threading, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.argv[1])
socket.send(b"{}")
while True:
    task = json.loads(socket.recv())
    if task["s"]:
        threading.Event().wait(task["s"])
    socket.send(json.dumps({"n": task["n"], "r": 1}).encode())
"""


@contextmanager
def raw_workers() -> Iterator[tuple[zmq.Socket[bytes], list[bytes]]]:
    """Start two processes with one DEALER each; yield our ROUTER and their identities."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    processes = [
        subprocess.Popen([sys.executable, "-c", RAW_WORKER, f"tcp://127.0.0.1:{port}"])
        for _ in range(N_WORKERS)
    ]
    names = [router.recv_multipart()[0] for _ in processes]
    try:
        yield router, names
    finally:
        for process in processes:
            process.kill()
            process.wait()
        context.destroy(linger=0)


def through_raw(
    router: "zmq.Socket[bytes]", names: list[bytes], n_tasks: int, duration_s: float
) -> float:
    """Return the makespan [s]: the floor, with nothing but JSON on sockets."""

    def send(name: bytes, n: int) -> None:
        router.send_multipart([name, json.dumps({"n": n, "s": duration_s}).encode()])

    began_s = time.perf_counter()
    sent = done = 0
    for n in range(OUTSTANDING):
        send(names[n % N_WORKERS], n)
        sent += 1
    while done < n_tasks:
        name, body = router.recv_multipart()
        json.loads(body)
        done += 1
        if sent < n_tasks:
            send(name, sent)
            sent += 1
    return time.perf_counter() - began_s


def through_ray(actors: list[Any], n_tasks: int, duration_s: float) -> float:
    """Return the makespan of actor calls [s]."""
    import ray

    began_s = time.perf_counter()
    sent = done = 0
    open_calls: dict[Any, Any] = {}
    for n in range(OUTSTANDING):
        actor = actors[n % N_WORKERS]
        open_calls[actor.run.remote(n, duration_s)] = actor
        sent += 1
    while done < n_tasks:
        ready, _ = ray.wait(list(open_calls), num_returns=1)
        for call in ready:
            ray.get(call)
            actor = open_calls.pop(call)
            done += 1
            if sent < n_tasks:
                open_calls[actor.run.remote(sent, duration_s)] = actor
                sent += 1
    return time.perf_counter() - began_s


def ray_actors() -> list[Any]:
    """Start a local cluster with two actors."""
    import ray

    ray.init(num_cpus=N_WORKERS, include_dashboard=False, log_to_driver=False)

    @ray.remote
    class Worker:
        def run(self, n: int, duration_s: float) -> int:
            if duration_s:
                import threading

                threading.Event().wait(duration_s)
            return n

    actors = [Worker.remote() for _ in range(N_WORKERS)]
    ray.get([a.run.remote(0, 0.0) for a in actors])
    return actors


def main() -> None:
    """Measure and write `results/overhead.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=4000)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {}
    efficiency: dict[str, dict[str, list[float]]] = {}
    with our_processes() as hub, raw_workers() as (router, names):
        actors = ray_actors()
        systems: dict[str, Callable[[int, float], float]] = {
            "raw pyzmq": lambda n, d: through_raw(router, names, n, d),
            "twinloop, no journal": lambda n, d: through_twinloop(hub, n, d, journal=False),
            "twinloop, journal": lambda n, d: through_twinloop(hub, n, d, journal=True),
            "ray actor calls": lambda n, d: through_ray(actors, n, d),
        }
        for _ in range(options.rounds):
            for name, run in systems.items():
                rates.setdefault(name, []).append(options.tasks / run(options.tasks, 0.0))
            for duration_s, n in ((0.001, 1000), (0.01, 400), (0.1, 80)):
                for name, run in systems.items():
                    share = n * duration_s / (N_WORKERS * run(n, duration_s))
                    efficiency.setdefault(name, {}).setdefault(
                        f"{duration_s * 1000:g} ms", []
                    ).append(share)
    tasks_per_s = {name: median(found) for name, found in rates.items()}
    ray_per_s = tasks_per_s["ray actor calls"]
    write_result(
        "overhead",
        {
            "no-op tasks per second": tasks_per_s,
            "ratio to ray actor calls": {
                n: median([v / ray_per_s]) for n, v in tasks_per_s.items()
            },
            "efficiency": {
                name: {d: median(v) for d, v in found.items()} for name, found in efficiency.items()
            },
            "rounds": {name: [round(v, 1) for v in found] for name, found in rates.items()},
        },
    )


if __name__ == "__main__":
    main()
