"""What runs on a control PC runs on Windows: its imports are there, and its sockets are TCP on loopback.

The imports are read from the source of every module that a served adapter can load, following them from the
adapter's server, its watchdog, the conformance suite and the command line; the sockets are read from a running
adapter, its watchdog and its hub.
"""

import ast
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from twinloop.clocks import RealWireClock
from twinloop.instruments.serving import READY
from twinloop.instruments.spec import AdapterSpec, class_path
from twinloop.instruments.testing import Furnace

ENTRANCES = (
    "twinloop.instruments.server",
    "twinloop.instruments.serving",
    "twinloop.instruments.watchdog",
    "twinloop.instruments.conformance.suite",
    "twinloop.agents.hub.process",
    "twinloop.agents.cli.instrument_commands",
    "twinloop.agents.cli.check_command",
    "twinloop.agents.cli.new_command",
)
# Modules of the standard library that Windows does not have (docs.python.org: Availability: Unix).
POSIX_ONLY = {
    "crypt", "curses", "dbm.gnu", "dbm.ndbm", "fcntl", "grp", "nis", "ossaudiodev", "posix", "pty",
    "pwd", "readline", "resource", "spwd", "syslog", "termios", "tty",
}  # fmt: skip
# Functions and signals of modules that both have, which Windows lacks.
POSIX_NAMES = {
    "os": {
        "fork",
        "forkpty",
        "getuid",
        "geteuid",
        "getpgid",
        "killpg",
        "mkfifo",
        "setsid",
        "wait3",
    },
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "pause", "alarm"},
    "socket": {"AF_UNIX", "socketpair"},
    "asyncio": {"add_signal_handler", "open_unix_connection", "start_unix_server"},
}
# A branch that Windows does not take may use what it has not.
GUARDS = ("sys.platform", "os.name", "hasattr")
CLOCK = RealWireClock()
LIMIT_S = 40.0


def source_of(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def is_guarded(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    while node in parents:
        node = parents[node]
        if isinstance(node, ast.If) and any(word in ast.unparse(node.test) for word in GUARDS):
            return True
    return False


def read(module: str, path: Path) -> tuple[set[str], list[str]]:
    """Return what a module imports, and what of it Windows does not have."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    imported, wrong = set(), []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        imported |= set(names)
        where = f"{module}, line {getattr(node, 'lineno', 0)}"
        wrong += [
            f"{where}: {name}" for name in names
            if (name in POSIX_ONLY or name.partition(".")[0] in POSIX_ONLY)
            and not is_guarded(node, parents)
        ]  # fmt: skip
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            lacking = POSIX_NAMES.get(node.value.id, set())
            if node.attr in lacking and not is_guarded(node, parents):
                wrong.append(f"{where}: {node.value.id}.{node.attr}")
        if isinstance(node, ast.Constant) and str(node.value).startswith("ipc://"):
            wrong.append(f"{where}: an ipc endpoint")
    return imported, wrong


def test_no_import_of_a_control_pc_is_missing_on_windows() -> None:
    wrong, seen, left = [], set(), list(ENTRANCES)
    while left:
        module = left.pop()
        if module in seen or not module.startswith("twinloop"):
            continue
        seen.add(module)
        try:
            path = source_of(module)
        except (ImportError, ValueError):
            continue  # a name in a module, not a module
        if path is None:
            continue
        imported, found = read(module, path)
        wrong += found
        # the twins' physics, and what only a campaign's machine runs, are not of a control PC
        left += [
            name for name in imported
            if not name.startswith(("twinloop.simulators", "twinloop.agents.runtime"))
        ]  # fmt: skip
    assert "twinloop.wire.mailbox" in seen
    assert "twinloop.log.sqlite" in seen
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("import fcntl", "fcntl"),
        ("from termios import tcgetattr", "termios"),
        ("import os\nos.fork()", "os.fork"),
        ("import signal\nsignal.SIGKILL", "signal.SIGKILL"),
        ("x = 'ipc:///tmp/x'", "ipc"),
    ],
)
def test_the_reader_finds_what_windows_lacks(line: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(line, encoding="utf-8")
    assert told in read("wrong", path)[1][0]
    guarded = "import sys\nif sys.platform != 'win32':"
    path.write_text(f"{guarded}\n" + "\n".join(f"    {part}" for part in line.splitlines()))
    assert "ipc" in line or not read("wrong", path)[1]


@pytest.mark.system
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the sockets in /proc")
def test_every_socket_of_an_adapter_is_tcp_on_loopback(tmp_path: Path) -> None:
    hub_command = [sys.executable, "-m", "twinloop.agents.hub.process"]
    announce = tmp_path / "hub.txt"
    hub = subprocess.Popen(
        [*hub_command, "--endpoint", "tcp://127.0.0.1:0", "--announce", str(announce)]
    )
    wait_for(lambda: announce.exists() and announce.read_text().strip())
    furnace = {"class": class_path(Furnace), "settings": {"folder": str(tmp_path / "line")}}
    spec = AdapterSpec.model_validate(
        {
            "agent": "pc",
            "hub": announce.read_text().strip(),
            "folder": tmp_path / "adapter",
            "instruments": {"furnace": furnace},
            "stop_endpoint": "tcp://127.0.0.1:0",
        }
    )
    spec.write(tmp_path / "spec.json")
    command = [sys.executable, "-m", "twinloop.instruments.server", "--exit-with-stdin", "--spec"]
    adapter = subprocess.Popen(
        [*command, str(tmp_path / "spec.json")], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        wait_for((tmp_path / "adapter" / READY).exists)
        processes = [hub.pid, adapter.pid, *(p.pid for p in psutil.Process(adapter.pid).children())]
        assert len(processes) == 3
        tcp, others = sockets_of(processes)
        assert {address for _, address in tcp} == {"127.0.0.1"}
        assert {pid for pid, _ in tcp} == {hub.pid, adapter.pid}, "the watchdog needs no socket"
        assert not others
    finally:
        if adapter.stdin is not None:
            adapter.stdin.close()
        adapter.wait(LIMIT_S)
        hub.terminate()
        hub.wait(LIMIT_S)


def wait_for(is_true) -> None:
    end_s = CLOCK.now_s() + LIMIT_S
    while not is_true():
        assert CLOCK.now_s() < end_s
        threading.Event().wait(0.02)


def sockets_of(pids: list[int]) -> tuple[list[tuple[int, str]], list[str]]:
    """Return (pid, local address) of each TCP socket, and every bound socket of another family."""
    tcp, others = [], []
    for pid in pids:
        for found in psutil.Process(pid).net_connections(kind="all"):
            if found.family.name in {"AF_INET", "AF_INET6"} and found.type.name == "SOCK_STREAM":
                tcp.append((pid, found.laddr.ip))
            elif found.family.name == "AF_UNIX" and not found.laddr:
                continue  # a pair that wakes an event loop; on Windows Python makes it of TCP
            else:
                others.append(f"{os.fspath(str(found))}")
    return tcp, others
