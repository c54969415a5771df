"""The wheel holds what the tree holds, and works where only the light base is installed."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from email import message_from_string
from importlib.metadata import Distribution, distribution
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from twinloop.clocks import RealWireClock

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

HEAVY = ("ray", "torch", "numba", "scipy", "botorch", "gpytorch", "ase", "matplotlib", "psutil")
CONTROL_PC = (
    "twinloop.instruments.interface",
    "twinloop.instruments.mbe",
    "twinloop.instruments.rheed",
    "twinloop.instruments.server",
    "twinloop.instruments.serving",
    "twinloop.instruments.watchdog",
    "twinloop.instruments.testing",
    "twinloop.wire.mailbox",
    "twinloop.log.sqlite",
    "twinloop.agents.hub.process",
)


def run(*command: object, cwd: Path | None = None) -> str:
    result = subprocess.run(
        [str(word) for word in command],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}},
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def tree_files(repository: Path) -> list[str]:
    """Return every file that git tracks or would track."""
    listed = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=repository)
    return [name for name in listed.split("\0") if name and (repository / name).exists()]


@pytest.fixture(scope="module")
def wheel(repository, tmp_path_factory):
    """Build from a copy of the tree, so that nothing of an editable install gets in."""
    source = tmp_path_factory.mktemp("source")
    for name in tree_files(repository):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repository / name, target, follow_symlinks=False)
    place = tmp_path_factory.mktemp("wheel")
    build = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *build, "-w", place, source)
    return next(place.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel, repository):
    rooms = {p.name for p in (repository / "src" / "twinloop").iterdir() if p.is_symlink()}
    expected = {
        f"twinloop/{name.removeprefix('src/twinloop/')}"
        for name in tree_files(repository)
        if name.partition("/")[0] in rooms
        or (name.startswith("src/twinloop/") and not (repository / name).is_symlink())
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert "twinloop/configs/campaigns/mbe_growth.yaml" in found


def base_requirements(wheel: Path) -> list[Distribution]:
    """Return what the wheel needs without extras, and what that needs, as installed here."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    found: dict[str, Distribution] = {}
    missing = [r for r in message_from_string(text).get_all("Requires-Dist") or () if r]
    while missing:
        wanted = Requirement(missing.pop())
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        found[name] = distribution(name)
        missing += found[name].requires or ()
    return list(found.values())


def link(installed: Distribution, site: Path) -> None:
    for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(installed.locate_file(top))))


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """Make an environment with the wheel and its base requirements only."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for installed in base_requirements(wheel):
        link(installed, site)
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel
    )
    return folder


@pytest.mark.parametrize("module", HEAVY)
def test_the_bare_environment_is_bare(bare, module):
    code = f"import importlib.util; print(importlib.util.find_spec({module!r}))"
    assert run(bare / "bin" / "python", "-I", "-c", code).strip() == "None"


@pytest.mark.parametrize("module", CONTROL_PC)
def test_a_control_pc_imports_what_it_needs_in_a_bare_environment(bare, module):
    run(bare / "bin" / "python", "-I", "-W", "error", "-c", f"import {module}")


@pytest.mark.parametrize("words", [(), ("instrument", "serve"), ("config", "check")])
def test_the_command_line_helps_in_a_bare_environment(bare, words):
    assert "Usage" in run(bare / "bin" / "twinloop", *words, "--help")


def test_a_command_that_needs_more_says_what_to_install(bare, tmp_path):
    command = [bare / "bin" / "twinloop", "run", "quick", "--folder", tmp_path / "run"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith("install it with: pip install 'twinloop[all]'")
    assert "Traceback" not in result.stderr


LAB = """\
lab: bench
instruments:
  furnace: {served: pc, class: "twinloop.instruments.testing:Furnace", settings: {folder: line}}
adapters:
  pc: {start: none}
"""
SERVE = """
python -m twinloop.agents.hub.process --endpoint tcp://127.0.0.1:0 --announce hub.txt &
hub=$!
until [ -s hub.txt ]; do kill -0 $hub; sleep 0.1; done
twinloop instrument serve lab.yaml pc --hub "$(cat hub.txt)" --folder ledger &
adapter=$!
until [ -s ledger/ready.txt ]; do kill -0 $adapter; sleep 0.1; done
twinloop instrument list --hub "$(cat hub.txt)"
kill $adapter; wait $adapter; kill $hub
"""


def test_an_instrument_is_served_from_a_bare_environment(bare, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{bare / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    assert re.search(
        r"^furnace +furnace +idle .* pc ",
        run("bash", "-eu", "-c", SERVE, cwd=tmp_path),
        re.MULTILINE,
    )


def test_an_adapter_holds_less_than_60_MB(bare, tmp_path):
    python, hub_file = str(bare / "bin" / "python"), tmp_path / "hub.txt"
    hub = subprocess.Popen(
        [python, "-m", "twinloop.agents.hub.process", "--endpoint", "tcp://127.0.0.1:0",
         "--announce", str(hub_file)], cwd=tmp_path,
    )  # fmt: skip
    wait_for(lambda: hub_file.exists() and hub_file.read_text().strip())
    furnace = {"class": "twinloop.instruments.testing:Furnace", "settings": {"folder": "line"}}
    spec = {"agent": "pc", "hub": hub_file.read_text().strip(), "folder": str(tmp_path / "a")}
    (tmp_path / "spec.json").write_text(json.dumps({**spec, "instruments": {"furnace": furnace}}))
    adapter = subprocess.Popen(
        [python, "-m", "twinloop.instruments.server", "--spec", str(tmp_path / "spec.json"),
         "--exit-with-stdin"], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for((tmp_path / "a" / "ready.txt").exists)
        processes = [psutil.Process(adapter.pid), *psutil.Process(adapter.pid).children()]
        held_MB = [process.memory_info().rss / 1e6 for process in processes]
    finally:
        adapter.stdin.close()
        adapter.wait(30)
        hub.terminate()
        hub.wait(30)
    assert len(held_MB) == 2, "the adapter and its watchdog"
    assert max(held_MB) < 60.0


def wait_for(is_true):
    clock = RealWireClock()
    end_s = clock.now_s() + 60.0
    while not is_true():
        assert clock.now_s() < end_s
        threading.Event().wait(0.02)
