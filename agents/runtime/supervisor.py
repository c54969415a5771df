"""The supervisor: a thin parent that keeps hub, conductor and demonstration instruments alive.

It imports neither ray nor torch and decides little, so that it lives: children that die are started
again with back-off; what a dead child leaves behind is ended; when the conductor says that the
campaign is over, all others are ended in order. When it is killed itself, its children see their
pipe close and end, and the janitor ends who does not.
"""

import importlib.util
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from twinloop.agents.runtime import janitor
from twinloop.agents.runtime.keeper import ChildSpec, Keeper, News, python_module
from twinloop.agents.runtime.processes import adopt_orphans, reap_orphans, sweep
from twinloop.agents.runtime.run_folder import RunFolder

__all__ = [
    "EXIT_FINISHED",
    "EXIT_GAVE_UP",
    "EXIT_STOPPED",
    "Crew",
    "Supervisor",
    "resume_campaign",
    "run_campaign",
    "stopped_by_signals",
]

_LOG = logging.getLogger(__name__)
EXIT_FINISHED, EXIT_GAVE_UP, EXIT_STOPPED = 0, 1, 3
_POLL_S = 0.05
_LEFTOVERS_S = 10.0
_REPORT_S = 300.0
_VIEW_ENDS_S = 2.0


@dataclass(frozen=True)
class Crew:
    """The children of a run.

    Args:
        children: in the order in which they are started.
        leader: the child whose end on purpose is the end of the run.
        ranks: names in the order in which they are ended, a rank at a time.
    """

    children: tuple[ChildSpec, ...]
    leader: str
    ranks: tuple[tuple[str, ...], ...]


class Supervisor:
    """One life of a run: from the start of its children to the end of the last.

    Args:
        folder: the run folder, locked by the caller.
        crew: the children.
        tell: takes what a person should read, a line at a time.
    """

    def __init__(self, folder: RunFolder, crew: Crew, tell: Callable[[str], None]) -> None:
        self._folder, self._crew, self._tell = folder, crew, tell
        self._keeper = Keeper(folder.run, folder.logs)
        self._stop = threading.Event()
        self._hurry = threading.Event()

    def run(self) -> int:
        """Keep the children alive until the end; return the leader's exit status, or why not.

        `EXIT_STOPPED` after `stop`, `EXIT_GAVE_UP` when a child would not live.
        """
        adopt_orphans()
        for child in (_janitor(self._folder), *self._crew.children):
            self._keeper.add(child)
        try:
            return self._watch()
        finally:
            self._end_all()

    def stop(self) -> None:
        """End the run in good order, leaving it to be resumed; a second time: at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _watch(self) -> int:
        while not self._stop.wait(_POLL_S):
            for news in self._keeper.poll():
                code = self._take(news)
                if code is not None:
                    return code
            reap_orphans()
        self._tell("stopping: trials under way are left so that they can be resumed")
        return EXIT_STOPPED

    def _take(self, news: News) -> int | None:
        _LOG.info("%s %s: %s", news.name, news.what, news.detail)
        if news.what == "finished" and news.name == self._crew.leader:
            if news.code not in {EXIT_FINISHED, EXIT_STOPPED}:
                log = self._folder.logs / f"{news.name}.log"
                self._tell(f"{news.name} cannot lead this run; the end of {log} says why")
            return news.code
        if news.what == "died":
            self._tell(f"{news.name} (pid {news.pid}) died: {news.detail}")
        if news.what == "given up":
            log = self._folder.logs / f"{news.name}.log"
            self._tell(f"{news.name} does not stay alive: {news.detail}; see {log}")
            return None if news.name == janitor.NAME else EXIT_GAVE_UP
        return None

    def _end_all(self) -> None:
        for rank in self._crew.ranks:
            self._keeper.end(rank, grace_s=0.0 if self._hurry.is_set() else None)
        for left in sweep(self._folder.run, spare=(janitor.NAME,)):
            self._tell(f"{left.name} (pid {left.pid}) does not end: end it by hand")
        self._keeper.end()
        self._folder.remove_ray_tmp()
        reap_orphans()


def run_campaign(config_path: Path | str, folder: Path | str, view: bool = True) -> int:
    """Run a campaign in a new run folder, in front of a person; return the exit status.

    Args:
        config_path: the campaign file, or the name of a shipped one.
        folder: the run folder to make.
        view: show a live view where there is a terminal.

    Raises:
        ConfigError: a configuration that cannot be run, or a folder that holds a run already;
            nothing was started.
    """
    from twinloop.agents.config.interface import load_campaign

    campaign = load_campaign(config_path)
    run = RunFolder.create(Path(folder), campaign.resolved(), str(campaign.path))
    return _supervise(run, view)


def resume_campaign(folder: Path | str, view: bool = True) -> int:
    """Take up a run where it was left; return the exit status.

    Args:
        folder: the run folder.
        view: show a live view where there is a terminal.

    Raises:
        ConfigError: no run folder.
        RunFolderBusy: another process has it in use.
    """
    run = RunFolder.open(Path(folder))
    reason = _why_finished(run)
    if reason is not None:
        _tell(f"{run.path} is finished: {reason}")
        _report(run)
        return EXIT_FINISHED
    return _supervise(run, view)


def _why_finished(folder: RunFolder) -> str | None:
    """Return why there is nothing left to lead, read from the journal alone."""
    from twinloop.log.sqlite import open_readonly

    path = folder.path / "journal.db"
    if not path.exists():
        return None
    log = open_readonly(path)
    try:
        found = log.find("finished")
    finally:
        log.close()
    return None if found is None else str(found.entry.body.get("reason", ""))


def _supervise(folder: RunFolder, view: bool) -> int:
    from twinloop.agents.config.interface import load_campaign
    from twinloop.agents.runtime.crew import crew_of

    lock = folder.lock()
    lock.acquire()
    try:
        # what a killed supervisor left is about to end: it must not meet its own successor
        sweep(folder.run, grace_s=_LEFTOVERS_S)
        folder.remove_ray_tmp()
        hub = folder.hub_endpoint()
        crew = crew_of(load_campaign(folder.config_file), folder, hub)
        supervisor = Supervisor(folder, crew, _tell)
        _tell(f"run folder {folder.path}")
        with stopped_by_signals(supervisor), _live_view(hub, view):
            code = supervisor.run()
        folder.hub_file.unlink(missing_ok=True)
    finally:
        lock.release()
    if code == EXIT_FINISHED:
        _report(folder)
    else:
        _tell(f"continue with: twinloop resume {folder.path}")
    return code


def _janitor(folder: RunFolder) -> ChildSpec:
    command = python_module("twinloop.agents.runtime.janitor", "--folder", str(folder.path))
    return ChildSpec(janitor.NAME, command, grace_s=2 * janitor.GRACE_S, sweep_family=False)


def _report(folder: RunFolder) -> None:
    """Have the report written by a process of its own: drawing needs heavy libraries."""
    command = python_module("twinloop.agents.report", str(folder.path))
    try:
        done = subprocess.run(
            command, timeout=_REPORT_S, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        _tell(f"no report after {_REPORT_S:g} s; make it with: twinloop report {folder.path}")
        return
    if done.returncode:
        _tell(f"no report: {done.stderr.strip()[-500:]}")
        return
    _tell(f"report: {done.stdout.strip() or folder.path / 'report.html'}")


@contextmanager
def stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """Have Ctrl-C and its kin end the run in good order."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        supervisor.stop()

    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before: Mapping[int, object] = {n: signal.signal(n, stop) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def _live_view(hub: str, is_wanted: bool) -> Iterator[None]:
    if not is_wanted or importlib.util.find_spec("twinloop.agents.view") is None:
        yield
        return
    from twinloop.agents.view import live_view

    is_over = threading.Event()
    thread = threading.Thread(target=live_view, args=(hub, is_over), name="view", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(_VIEW_ENDS_S)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
