"""`twinloop export` as it is typed."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinloop.agents.cli.main import app
from twinloop.agents.export.testing import films_seen_by_all

pytest.importorskip("h5py", reason="the extra `export` is not installed")
pytest.importorskip("pyarrow", reason="the extra `export` is not installed")


@pytest.fixture
def seen(tmp_path):
    run = films_seen_by_all(tmp_path / "run")
    run.close()
    return run.folder


def call(*words: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["export", *(str(word) for word in words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_help_shows_an_example() -> None:
    status, out, _ = call("--help")
    assert status == 0
    assert "\n  Example:\n    twinloop export " in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_a_run_is_exported_beside_its_journal(seen: Path) -> None:
    status, out, err = call(seen)
    assert (status, err) == (0, "")
    assert out.startswith(f"{seen / 'export'}: 12 files, ")


def test_an_export_is_not_replaced_unasked(seen: Path) -> None:
    assert call(seen, "--format", "parquet")[0] == 0
    status, _, err = call(seen, "--format", "parquet")
    assert status == 1
    assert "--overwrite" in err
    assert call(seen, "--format", "parquet", "--overwrite")[0] == 0


def test_a_missing_array_is_told_and_the_status_is_one(seen: Path) -> None:
    victim = next(p for p in (seen / "arrays").rglob("*") if p.is_file())
    victim.unlink()
    status, out, err = call(seen, "--format", "nexus")
    assert status == 1
    assert victim.name in err
    assert "files, " in out


def test_a_folder_without_a_run_is_a_wrong_argument(tmp_path: Path) -> None:
    status, _, err = call(tmp_path)
    assert status == 2
    assert "twinloop run" in err


def test_a_file_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    assert call(tmp_path / "run")[0] == 2


@pytest.mark.parametrize(
    "words",
    [["--trial", "t0042"], ["--sample", "nobody"], ["--elements", "gallium"]],
    ids=" ".join,
)
def test_what_is_not_there_is_refused_before_anything_is_written(seen: Path, words) -> None:
    status, _, err = call(seen, *words)
    assert status == 1
    assert words[0] in err
    assert not (seen / "export").exists()


FULL_DISK = """
import resource, sys
from twinloop.agents.cli.main import app
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
app(["export", *sys.argv[1:]])
"""


@pytest.mark.system
def test_a_disk_that_takes_no_more_ends_it_in_an_orderly_way(seen: Path, tmp_path: Path) -> None:
    """A real refusal of the operating system, half-way through the first file."""
    pytest.importorskip("resource", reason="limits of file size are a thing of POSIX")
    words = [sys.executable, "-c", FULL_DISK, str(seen), "--to", str(tmp_path / "out")]
    result = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1, result.stderr
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
