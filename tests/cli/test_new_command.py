"""The package that `twinloop instrument new` writes works from its first minute."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinloop.agents.cli.main import app
from twinloop.agents.cli.new_command import write_package
from twinloop.errors import ArgumentError


def test_every_file_is_written_under_the_new_name(tmp_path: Path) -> None:
    folder = tmp_path / "spin_coater"
    written = {p.relative_to(folder).as_posix() for p in write_package("spin_coater", folder)}
    assert {"pyproject.toml", "spin_coater/twin.py", "tests/test_spin_coater.py"} <= written
    for path in folder.rglob("*"):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        assert "$" not in text, path
        assert "heat_stage" not in text, path
    about = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    entries = about["project"]["entry-points"]["twinloop.instruments"]
    assert entries["spin_coater_twin"] == "spin_coater.twin:SpinCoaterTwin"


@pytest.mark.parametrize("name", ["Heat-Stage", "2stage", "class", "twinloop", "", "a/b"])
def test_a_name_that_is_no_module_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="small letters"):
        write_package(name, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ArgumentError, match="empty"):
        write_package("stage", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["instrument", "new", "stage"])
    assert told.exit_code == 0, told.output
    assert "twinloop instrument check stage.twin:StageTwin" in told.output
    again = CliRunner().invoke(app, ["instrument", "new", "stage"])
    assert again.exit_code == 1
    assert "empty" in again.output


@pytest.mark.system
def test_its_own_tests_hold(tmp_path: Path) -> None:
    write_package("stage", tmp_path / "stage")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "stage")}
    # the conformance suite on it runs in the tutorial; the device's own tests run here
    tests = [sys.executable, "-m", "pytest", "-q", "tests", "-k", "not conforms"]
    done = subprocess.run(
        [*tests, "-p", "no:cacheprovider"], cwd=tmp_path / "stage", env=environment, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.soak  # mypy reads all of twinloop anew for it
def test_its_types_hold(tmp_path: Path) -> None:
    write_package("stage", tmp_path / "stage")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "stage"], cwd=tmp_path / "stage", check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
