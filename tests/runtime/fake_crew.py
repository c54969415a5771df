"""A supervisor with children that do nothing, and those children; run as a script by the tests.

`fake_crew.py supervise FOLDER [ROLE of the chamber]`, `fake_crew.py child NAME`.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

from twinloop.agents.runtime.keeper import ChildSpec
from twinloop.agents.runtime.restart import RestartPolicy
from twinloop.agents.runtime.run_folder import RunFolder
from twinloop.agents.runtime.supervisor import Crew, Supervisor, stopped_by_signals


def supervise(folder: RunFolder, chamber: str) -> int:
    """Run the supervisor: hub, chamber, a child that is deaf, and a leader."""

    def child(name: str, role: str) -> ChildSpec:
        return ChildSpec(
            name,
            (sys.executable, __file__, role, name),
            cwd=folder.path,
            final=frozenset({0, 3}) if role == "leader" else frozenset(),
            grace_s=2.0,
            # the watchdog of an adapter outlives it
            sweep_family=role != "guarded",
            policy=lambda: RestartPolicy(first_s=0.05, longest_s=0.1),
        )

    children = (
        child("hub", "listener"),
        child("chamber", chamber),
        child("stubborn", "deaf"),
        child("conductor", "leader"),
    )
    ranks = (("conductor",), ("chamber", "stubborn"), ("hub",))
    crew = Crew(children, "conductor", ranks)
    supervisor = Supervisor(folder, crew, _say)
    with stopped_by_signals(supervisor):
        return supervisor.run()


def leave_a_deaf_child(name: str) -> None:
    """Start a process in a session of its own, as Ray does with its helpers."""
    subprocess.Popen([sys.executable, __file__, "deaf", name], start_new_session=True)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def live(role: str, name: str) -> int:
    """Be a child, in the run folder."""
    match role:
        case "broken":
            return 9
        case "deaf":
            threading.Event().wait()
        case "guarded":
            leave_a_deaf_child(name)
        case "leader":
            verdict = Path("verdict")
            if verdict.exists():
                return int(verdict.read_text())
            leave_a_deaf_child(name)
    while os.read(0, 100):
        continue
    with Path("order.txt").open("a") as order:
        order.write(f"{name}\n")
    return 1


if __name__ == "__main__":
    if sys.argv[1] == "supervise":
        sys.exit(supervise(RunFolder.open(Path(sys.argv[2])), (*sys.argv[3:], "listener")[0]))
    sys.exit(live(sys.argv[1], sys.argv[2]))
