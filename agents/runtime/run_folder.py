"""The run folder: where a campaign lives on disk, and who may write there.

RUN/
  lock.json        who owns the folder now: host, boot, pid
  run.json         id of the run, when it began, from which file and folder, endpoint of its hub
  config.json      the configuration as run, nothing left to defaults
  versions.json    Python, packages, platform
  seeds.json       the seeds
  hub.txt          endpoint of the hub, while it runs
  ray_tmp.txt      Ray's temporary folder, while there is one
  pids.json        helper processes of Ray, for people
  logs/            what each process prints
  machines/        state of stand-in machines; adapters/: their ledgers and spools
"""

import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Protocol

import psutil

from twinloop.clocks import utc_now
from twinloop.errors import ConfigError, ConfigProblem, RunFolderBusy

__all__ = [
    "FolderLock",
    "Host",
    "Owner",
    "RunFolder",
    "ThisHost",
    "free_endpoint",
    "installed_versions",
]

_RAY_PREFIX = "tl-"
# a boot and a process are told apart by stamps that a clock correction may move a little
_SAME_MOMENT_S = 2.0
# below the ports that Linux, macOS and Windows give to whoever asks for any: between the choice of a
# port and its use by a process that is still starting, nobody is given it by chance
_PORTS = range(20_000, 32_768)
_TRIED_PORTS = 100


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a run folder.

    Args:
        host: name of the machine.
        boot: identity of its present boot.
        pid: of the supervisor.
        born_s: when that process began; a pid alone may have been given to another since [s].
        since: when the folder was taken, ISO 8601.
    """

    host: str
    boot: str
    pid: int
    born_s: float
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (boot {self.boot[:8]}), since {self.since}"


class Host(Protocol):
    """What the lock asks the operating system."""

    def me(self) -> Owner:
        """Return this process as an owner."""
        ...

    def is_alive(self, owner: Owner) -> bool:
        """Return True while the process of that owner lives; asked of this boot's owners only."""
        ...


class ThisHost:
    """The real one."""

    def me(self) -> Owner:
        """Return this process as an owner."""
        process = psutil.Process()
        return Owner(socket.gethostname(), _boot(), process.pid, process.create_time(), utc_now())

    def is_alive(self, owner: Owner) -> bool:
        """Return True while the process of that owner lives."""
        try:
            process = psutil.Process(owner.pid)
            is_same = abs(process.create_time() - owner.born_s) < _SAME_MOMENT_S
            return is_same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            # it is there, of another user
            return True


class FolderLock:
    """At most one supervisor in a run folder.

    Args:
        folder: the run folder.
        host: the operating system; the real one when None.
    """

    def __init__(self, folder: Path, host: Host | None = None) -> None:
        self._folder = folder
        self._file = folder / "lock.json"
        self._host = host or ThisHost()
        self._me: Owner | None = None

    def acquire(self) -> Owner:
        """Take the folder; an owner that is dead, or of an earlier boot, is succeeded.

        Raises:
            RunFolderBusy: its owner lives, or is on another host, where nobody here can tell.
        """
        me = self._host.me()
        with _alone(self._folder / ".lock-guard"):
            owner = self.owner()
            if owner is not None and self._is_in_force(owner, me):
                raise RunFolderBusy(str(self._folder), str(owner), str(me))
            _write_whole(self._file, asdict(me))
        self._me = me
        return me

    def release(self) -> None:
        """Let go of the folder, if it is ours."""
        with _alone(self._folder / ".lock-guard"):
            if self._me is not None and self.owner() == self._me:
                self._file.unlink()
        self._me = None

    def owner(self) -> Owner | None:
        """Return who the lock file names, None where there is none that can be read."""
        try:
            return Owner(**json.loads(self._file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            # a torn file cannot be ours: it is written whole or not at all
            return None

    def _is_in_force(self, owner: Owner, me: Owner) -> bool:
        if owner.host != me.host:
            return True
        return owner.boot == me.boot and self._host.is_alive(owner)


class RunFolder:
    """Paths of a run folder, and the small files in it.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.machines = self.path / "machines"
        self.vessel = self.machines / "vessel"
        self.adapters = self.path / "adapters"
        self.hub_file = self.path / "hub.txt"
        self.config_file = self.path / "config.json"
        self._ray_file = self.path / "ray_tmp.txt"

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], source: str) -> "RunFolder":
        """Make a new run folder.

        Args:
            path: where; it must not hold a run already.
            config: the resolved configuration; its `seed` goes to `seeds.json` as well.
            source: the file it was read from.

        Raises:
            ConfigError: there is a run in it already.
        """
        folder = cls(path)
        if (folder.path / "run.json").exists():
            problem = ConfigProblem(
                source, "--folder", str(path), "a new folder; 'twinloop resume' continues a run"
            )
            raise ConfigError([problem])
        folder.logs.mkdir(parents=True, exist_ok=True)
        _write_whole(folder.config_file, config)
        _write_whole(folder.path / "versions.json", installed_versions())
        _write_whole(folder.path / "seeds.json", {"campaign": config.get("seed")})
        # last: a folder with this file is complete
        run = {
            "run": secrets.token_hex(8),
            "began": utc_now(),
            "source": source,
            "cwd": str(Path.cwd()),
            "hub": free_endpoint(),
        }
        _write_whole(folder.path / "run.json", run)
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Return a run folder that exists.

        Raises:
            ConfigError: it is none.
        """
        folder = cls(path)
        if not (folder.path / "run.json").exists():
            raise ConfigError(
                [ConfigProblem(str(path), "run.json", None, "a folder made by 'twinloop run'")]
            )
        return folder

    @property
    def run(self) -> str:
        """Return the id of the run."""
        return str(self._about()["run"])

    @property
    def cwd(self) -> Path | None:
        """Return the folder the run was started in, if it is still there.

        What a configuration names as `module:Name` may lie in it.
        """
        cwd = Path(self._about()["cwd"])
        return cwd if cwd.is_dir() else None

    def hub_endpoint(self) -> str:
        """Return where the hub of this run listens, each time it runs, as long as that is free.

        An adapter beside its machine dials the same endpoint again after a resume.
        """
        about = self._about()
        if not _is_free(about["hub"]):
            about["hub"] = free_endpoint()
            _write_whole(self.path / "run.json", about)
        return str(about["hub"])

    def config(self) -> dict[str, Any]:
        """Return the configuration as run."""
        found: dict[str, Any] = json.loads(self.config_file.read_text(encoding="utf-8"))
        return found

    def _about(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        return found

    def lock(self) -> FolderLock:
        """Return the folder's lock."""
        return FolderLock(self.path)

    def make_ray_tmp(self) -> Path:
        """Make a new short private folder for Ray, and write down its name.

        Ray puts sockets there, whose whole path must stay under 107 bytes.
        """
        root = Path(tempfile.gettempdir())
        if len(str(root)) > 8 and Path("/tmp").is_dir():  # noqa: S108 (only its length matters)
            root = Path("/tmp")  # noqa: S108 (what is made in it is private)
        path = root / f"{_RAY_PREFIX}{secrets.token_hex(4)}"
        # the name first: a folder that nobody has written down would stay for ever
        with self._ray_file.open("a", encoding="utf-8") as names:
            names.write(f"{path}\n")
        path.mkdir(mode=0o700)
        return path

    def remove_ray_tmp(self) -> list[Path]:
        """Remove Ray's temporary folders of this run, and return those that were there."""
        try:
            names = self._ray_file.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return []
        removed = []
        for path in (Path(name) for name in names if name):
            # the file may be older than the machine's memory of it: touch only what looks like ours
            if path.name.startswith(_RAY_PREFIX) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
        self._ray_file.unlink(missing_ok=True)
        return removed

    def write_pids(self, pids: Mapping[str, int]) -> None:
        """Write down the helper processes of Ray, for people; ending them goes by their mark."""
        _write_whole(self.path / "pids.json", dict(pids))


def free_endpoint() -> str:
    """Return a loopback endpoint that nobody listens at now, and that nobody is given unasked."""
    for port in secrets.SystemRandom().sample(_PORTS, _TRIED_PORTS):
        endpoint = f"tcp://127.0.0.1:{port}"
        if _is_free(endpoint):
            return endpoint
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def installed_versions() -> dict[str, Any]:
    """Return Python, platform and every installed package with its version."""
    packages = {d.metadata["Name"]: d.version for d in distributions()}
    return {
        "python": sys.version,
        "platform": sys.platform,
        "cpus": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda item: str(item[0]).lower())),
    }


def _is_free(endpoint: str) -> bool:
    with socket.socket() as probe:
        if sys.platform != "win32":
            # else the remains of our own last connections hold the port for minutes
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(endpoint.rpartition(":")[2])))
        except OSError:
            return False
        return True


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"booted-{round(psutil.boot_time() / _SAME_MOMENT_S)}"


def _write_whole(path: Path, content: Any) -> None:
    """Write a JSON file so that a reader sees all of it or none."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def _alone(guard: Path) -> Iterator[None]:
    """Hold a lock of the operating system, which ends with the process, for a few lines."""
    with guard.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if sys.platform == "win32":
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
