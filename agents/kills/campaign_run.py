"""A campaign in processes of its own, as a person would start it; to be killed and looked at.

Nothing here reaches into a process: it looks at what lies on disk (journal, ledger, the stand-in
machine's own log) and at the process table, and it sends signals.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import psutil
import yaml

from twinloop.agents.campaign.reading import history
from twinloop.agents.runtime.processes import MarkedProcess, SystemTable, sweep
from twinloop.agents.runtime.run_folder import RunFolder
from twinloop.agents.runtime.supervisor import EXIT_GAVE_UP
from twinloop.errors import LabError
from twinloop.instruments.ledger import EndState
from twinloop.log.interface import LogFailed
from twinloop.log.sqlite import open_readonly

__all__ = ["PROGRAMS", "CampaignRun", "DidNotHappen", "small_campaign"]

T = TypeVar("T")
_LOOK_S = 0.03
_ROUNDS = 5
_TAIL_BYTES = 1500
_COMMAND = "from twinloop.agents.cli.main import app; app()"

PROGRAMS: Mapping[str, str] = {
    "hub": "twinloop.agents.hub.process",
    "conductor": "twinloop.agents.campaign.conductor",
    "janitor": "twinloop.agents.runtime.janitor",
    "machine": "twinloop.instruments.standin.machine",
    "adapter": "twinloop.instruments.server",
    "watchdog": "twinloop.instruments.watchdog",
    "ray_host": "twinloop.agents.runtime.ray_host",
    "raylet": "raylet",
    "gcs_server": "gcs_server",
    "worker": "ray::ComputeActor",
}
"""What the command line of each process of a run holds."""


class DidNotHappen(LabError):
    """Something that was waited for did not come."""

    def __init__(self, what: str, within_s: float, found: str) -> None:
        self.what, self.within_s, self.found = what, within_s, found
        super().__init__(f"{what}: not within {within_s:g} s; found:\n{found}")


def small_campaign(
    experiments: int = 3,
    *,
    planner: str | Mapping[str, Any] = "sobol",
    in_process: bool = True,
    clock_factor: float = 40.0,
    seed: int = 5,
    with_theory: bool = False,
) -> dict[str, Any]:
    """Return a campaign of small films, each growth of which takes a second or two.

    Args:
        experiments: how many films.
        planner: who chooses.
        in_process: compute agents are threads of the conductor, not Ray actors.
        clock_factor: laboratory seconds in one real second.
        seed: of everything random.
        with_theory: a small theory of growth stands beside; `planner` has to use it.
    """
    served = {"served": "chamber"}
    theory = {"theory": _small_theory()} if with_theory else {}
    return {
        **theory,
        "campaign": "kills",
        "protocol": "grow_film",
        "seed": seed,
        "lab": {
            "lab": "kills",
            "clock_factor": clock_factor,
            "instruments": {
                "mbe": {**served, "class": "mbe_twin"},
                "rheed": {**served, "class": "rheed_twin"},
            },
            "adapters": {"chamber": {"start": "demo", "machine": "growth_chamber"}},
        },
        "search": {
            "substrate_K": {"low": 620, "high": 650},
            "flux_ML_per_s": {"low": 0.06, "high": 0.07},
            "dose_ML": {"low": 3.4, "high": 3.6},
            "anneal_s": {"low": 0, "high": 1},
        },
        "goal": {"maximise": "quality", "noise_sd": 0.02},
        "planner": planner,
        "budget": {"experiments": experiments},
        "placement": {"in_process": in_process},
    }


def _small_theory() -> dict[str, Any]:
    return {
        "simulator": {
            "name": "kmc_growth",
            "settings": {"size": 32, "multi_hop": 8},
            "num_cpus": 0.5,
            "cost_h": 0.0005,
            "at_most": 200,
        },
        "theta": {
            "surface_barrier_eV": {"mean": 1.3, "sd": 0.04},
            "bond_energy_eV": {"mean": 0.25, "sd": 0.03, "at_least": 0.1},
            "thermocouple_offset_K": {"mean": 0.0, "sd": 12.0},
            "log_flux_factor": {"mean": 0.0, "sd": 0.08},
        },
        "observables": ["intensity_1ML", "intensity_2ML"],
    }


class CampaignRun:
    """One run folder, and the processes that work in it.

    Args:
        home: a folder for this run alone; the campaign file and the output go there.
        campaign: what to run.
    """

    def __init__(self, home: Path, campaign: Mapping[str, Any]) -> None:
        self.home, self.folder = home, home / "run"
        self._campaign = home / "campaign.yaml"
        home.mkdir(parents=True, exist_ok=True)
        self._campaign.write_text(yaml.safe_dump(dict(campaign)), encoding="utf-8")
        self.supervisor: subprocess.Popen[bytes] | None = None

    # --- a person's commands -------------------------------------------------------------------

    def start(self) -> None:
        """`twinloop run`, in a process group of its own."""
        self._command("run", str(self._campaign), "--folder", str(self.folder), "--no-view")

    def resume(self) -> None:
        """`twinloop resume`."""
        self._command("resume", str(self.folder), "--no-view")

    def ask(self, *words: str, within_s: float = 30.0) -> "subprocess.CompletedProcess[str]":
        """Give another command and return what it said."""
        return subprocess.run(
            [sys.executable, "-c", _COMMAND, *words],
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def close(self) -> None:
        """Kill whatever is left, and remove what it left in the temporary folder."""
        if self.supervisor is not None:
            self.supervisor.kill()
            self.supervisor.wait()
        if (self.folder / "run.json").exists():
            sweep(self.run)
            RunFolder.open(self.folder).remove_ray_tmp()

    # --- what lies on disk -----------------------------------------------------------------------

    @property
    def run(self) -> str:
        """Return the mark of this run's processes."""
        return RunFolder.open(self.folder).run

    def events(self, kind: str | None = None) -> list[Any]:
        """Return what the journal holds now, or the events of one kind."""
        try:
            found = [event for _, event in history(self.folder)]
        except LogFailed:
            return []  # it is not there yet
        return [e for e in found if kind in {None, e.kind}]

    def effects(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return what physically happened so far, or the effects of one kind."""
        path = self.folder / "machines" / "chamber" / "physical.log"
        if not path.is_file():
            return []
        lines = path.read_bytes().split(b"\n")[:-1]
        return [e for e in map(json.loads, lines) if kind in {None, e["kind"]}]

    def told(self, key: str | None = None) -> dict[str, list[str]]:
        """Return what the adapter's ledger says of each command, in order, or of one command."""
        path = self.folder / "adapters" / "chamber" / "ledger.sqlite"
        if not path.is_file():
            return {}
        reader = open_readonly(path)
        try:
            entries = [stored.entry for stored in reader.read()]
        finally:
            reader.close()
        found: dict[str, list[str]] = {}
        for entry in entries:
            is_intent = entry.kind == "intent"
            parts = entry.body["command"]["key"] if is_intent else entry.body.get("key")
            if parts:
                found.setdefault("/".join(map(str, parts)), []).append(entry.kind)
        return {name: kinds for name, kinds in found.items() if key in {None, name}}

    def until_all_is_told(self) -> None:
        """Wait until the adapter holds the end of every command that was given.

        A machine that is killed takes what it has not told yet with it: the film's trace, say.
        """
        ends = set(get_args(EndState))
        self.until(
            lambda: all(ends.intersection(kinds) for kinds in self.told().values()),
            "the end of every operation in the ledger",
        )

    def growth_under_way(self, least_ML: float = 0.5) -> str | None:
        """Return the key of a growth of which so much has arrived, and which has not ended."""
        ended = {e["key"] for e in self.effects("growth_ended")}
        for effect in self.effects("growth_reached"):
            dose_ML = effect["numbers"]["dose_at_least_ML"]
            if effect["key"] not in ended and dose_ML >= least_ML:
                return str(effect["key"])
        return None

    def is_finished(self) -> bool:
        """Return True when the campaign has come to its end."""
        return bool(self.events("finished"))

    def has_ended_in_trouble(self) -> bool:
        """Return True when the supervisor has given up: a child does not stay alive."""
        return self.supervisor is not None and self.supervisor.poll() == EXIT_GAVE_UP

    # --- processes -------------------------------------------------------------------------------

    def processes(self) -> list[MarkedProcess]:
        """Return the living processes of the run, without the supervisor."""
        if not (self.folder / "run.json").exists():
            return []
        return SystemTable().marked(self.run)

    def pids(self, program: str) -> list[int]:
        """Return the pids of one of `PROGRAMS`, the oldest first."""
        if program == "supervisor":
            return [self.supervisor.pid] if self.supervisor is not None else []
        word, found = PROGRAMS[program], []
        for process in sorted(self.processes(), key=lambda p: p.born_s):
            try:
                told = psutil.Process(process.pid).cmdline()
            except psutil.Error:
                continue
            # a raylet is told the command of its workers; a process is what its first words say
            if any(word in part for part in told[:3]):
                found.append(process.pid)
        return found

    def kill(self, program: str) -> int:
        """Kill -9 the oldest process of that program; return its pid."""
        return self.signal(program, signal.SIGKILL)

    def signal(self, program: str, number: int) -> int:
        """Send a signal to the oldest process of that program; return its pid."""
        pid = self.until(lambda: self.pids(program), f"a living {program}", within_s=40.0)[0]
        os.kill(pid, number)
        return pid

    def kill_everything(self, *, but: str = "") -> None:
        """Kill -9 every process of the run at once, `but` the processes of one program.

        What was born while they were killed is killed as well.
        """
        spared = set(self.pids(but)) if but else set()
        table = SystemTable()
        doomed = [p for p in self.processes() if p.pid not in spared]
        if self.supervisor is not None:
            self.supervisor.kill()
        for _ in range(_ROUNDS):
            for process in doomed:
                table.kill(process)
            known = {p.pid for p in doomed} | spared
            doomed = [p for p in self.processes() if p.pid not in known]
            if not doomed:
                break
        if self.supervisor is not None:
            self.supervisor.wait()

    def ray_folders(self) -> list[Path]:
        """Return Ray's temporary folders of this run that are still there."""
        names = self.folder / "ray_tmp.txt"
        listed = names.read_text(encoding="utf-8").split() if names.exists() else []
        return [path for path in map(Path, listed) if path.exists()]

    # --- waiting ---------------------------------------------------------------------------------

    def until(self, what_is: Callable[[], T], what: str, within_s: float = 30.0) -> T:
        """Wait until `what_is` gives something that is true, and return it.

        Raises:
            DidNotHappen: it does not, in time.
        """
        end_s = time.monotonic() + within_s
        while True:
            found = what_is()
            if found:
                return found
            if time.monotonic() >= end_s:
                raise DidNotHappen(what, within_s, self.describe())
            threading.Event().wait(_LOOK_S)

    def until_in_a_growth(self, least_ML: float = 0.5) -> str:
        """Wait for the middle of a growth, and return its key."""
        key = self.until(lambda: self.growth_under_way(least_ML), "the middle of a growth")
        return str(key)

    def until_over(self, within_s: float = 45.0) -> int:
        """Wait for the end of the supervisor, and return its exit status.

        Raises:
            DidNotHappen: it does not end, in time.
        """
        supervisor = self.supervisor
        if supervisor is None:
            raise DidNotHappen("a supervisor", 0.0, "none was started")
        self.until(lambda: supervisor.poll() is not None, "the end of the run", within_s)
        return int(supervisor.returncode)

    def until_finished(self, within_s: float = 45.0) -> None:
        """Wait for the end of the campaign and of all its processes; the report is not waited for.

        Raises:
            DidNotHappen: it does not end, in time.
        """
        self.until(self.is_finished, "the end of the campaign", within_s)
        self.until(lambda: not self.processes(), "the end of all processes", 10.0)
        if self.supervisor is not None:
            self.supervisor.kill()
            self.supervisor.wait()

    def describe(self) -> str:
        """Return the last words of everybody, for a failure."""
        files = [self.home / "output.txt", *sorted(self.folder.glob("logs/*.log"))]
        files += self.folder.glob("adapters/*/watchdog.log")
        tails = [f"--- {file.name}\n{_tail(file)}" for file in files if file.exists()]
        events = [f"{e.at_s:7.2f} {e!r}"[:240] for e in self.events()[-12:]]
        effects = [f"{e}"[:200] for e in self.effects()[-8:]]
        there = [f"{p.pid} {p.family} {p.name}" for p in self.processes()]
        parts = ["--- journal", *events, "--- physical log", *effects, "--- processes", *there]
        return "\n".join([*parts, *tails])

    def _command(self, *words: str) -> None:
        if self.supervisor is not None:
            self.supervisor.wait()
        with (self.home / "output.txt").open("ab") as output:
            self.supervisor = subprocess.Popen(
                _argv(words),
                cwd=self.home,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def _argv(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", _COMMAND, *words]


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        return file.read().decode(errors="replace")
