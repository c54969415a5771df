"""The command line: light, helpful, and with errors as text."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinloop import __version__
from twinloop.agents.campaign.events import (
    CampaignStarted,
    Commanded,
    ConductorStarted,
    Event,
    Proposed,
    Settled,
    TrialEnded,
    TrialStarted,
    entry_of,
)
from twinloop.agents.cli.main import app
from twinloop.ids import CommandKey
from twinloop.log.sqlite import SqliteLog

COMMANDS = [
    ["run"], ["resume"], ["status"], ["report"], ["explain"], ["pause"], ["unpause"], ["stop"],
    ["decide"], ["config", "check"], ["config", "schema"], ["instrument", "list"],
    ["instrument", "clear"], ["instrument", "serve"], ["instrument", "check"],
]  # fmt: skip


def call(*words: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_says_what_a_command_does_and_shows_an_example(command: list[str]) -> None:
    status, out, _ = call(*command, "--help")
    assert status == 0
    assert f"\n  Example:\n    twinloop {' '.join(command)} " in out or (
        f"\n  Example:\n    twinloop {' '.join(command)}\n" in out
    )
    assert max(len(line) for line in out.splitlines()) <= 100


def test_the_help_lists_every_command() -> None:
    status, out, _ = call("--help")
    assert status == 0
    for command in {words[0] for words in COMMANDS}:
        assert f"\n  {command} " in out


def test_the_version_is_that_of_the_package() -> None:
    assert call("--version") == (0, f"twinloop {__version__}\n", "")


def test_the_command_line_starts_without_heavy_modules() -> None:
    code = """
import sys
import twinloop.agents.cli.main
heavy = {"numpy", "pydantic", "yaml", "zmq", "pint", "torch", "ray", "psutil"} & set(sys.modules)
sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_correct_campaign_is_described() -> None:
    status, out, err = call("config", "check", "mbe_growth")
    assert status == 0
    assert "flux_ML_per_s        0.03 to 1.5 ML/s (log)" in out
    assert "MBETwin, served by chamber, started here" in out
    assert "Nothing is wrong. Run it with: twinloop run mbe_growth" in out
    assert "no stop_endpoint" in err


def test_the_complete_configuration_is_printed_as_json() -> None:
    status, out, _ = call("config", "check", "mbe_growth", "--json")
    assert status == 0
    assert json.loads(out)["lab"]["instruments"]["mbe"]["class"] == "mbe_twin"


def test_a_wrong_campaign_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("campaign: c\nprotocol: grow_film\nlab: nolab\n", encoding="utf-8")
    for command in (["config", "check"], ["run"]):
        status, out, err = call(*command, "c.yaml")
        assert status == 2
        assert out == ""
        assert "c.yaml:3: lab: found 'nolab', allowed:" in err
        assert "c.yaml: budget: found nothing" in err
        assert "nothing was started" in err
        assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize("of", ["campaign", "laboratory"])
def test_the_schema_is_printed(of: str) -> None:
    status, out, _ = call("config", "schema", of)
    assert status == 0
    assert json.loads(out)["additionalProperties"] is False


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for command in (["status"], ["report"], ["resume"], ["explain"]):
        words = [*command, tmp_path, *(["t0001"] if command == ["explain"] else [])]
        status, _, err = call(*words)
        assert status == 2
        assert "a folder made by 'twinloop run'" in err


def test_a_campaign_that_does_not_run_cannot_be_paused(tmp_path: Path) -> None:
    status, _, err = call("pause", tmp_path)
    assert status == 1
    assert "twinloop resume" in err


def test_a_module_beside_the_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    (tmp_path / "my_planner.py").write_text(
        "from twinloop.planners.sobol import SobolPlanner\n"
        "class Mine(SobolPlanner, name='mine'):\n    step: float = 0.5\n",
        encoding="utf-8",
    )
    status, out, _ = call("config", "check", "quick", "--json")
    (tmp_path / "c.json").write_text(
        json.dumps({**json.loads(out), "planner": "my_planner:Mine"}), encoding="utf-8"
    )
    status, out, err = call("config", "check", "c.json")
    assert (status, err.count("note")) == (0, 1)
    assert "planner     my_planner:Mine, n_initial 0, step 0.5" in out


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run of two trials: one ended, one with an outcome that nobody can tell."""
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    log = SqliteLog(tmp_path / "journal.db", "journal-test")
    for event in _events():
        log.append(entry_of(event))
    log.commit()
    log.close()
    return tmp_path


def _events() -> list[Event]:
    key = CommandKey("c", "t0001", "1", 0)
    trials = [
        event
        for n in (0, 1)
        for event in (
            Proposed(
                number=n, x=(0.5,), point={"hold_K": 650.0}, basis=2, seed=11,
                pending=tuple(range(n)), why={"log_expected_improvement": -1.25}, place="planner",
            ),
            TrialStarted(trial=f"t{n:04d}", number=n, sample=f"c-{n:04d}"),
        )
    ]  # fmt: skip
    return [
        CampaignStarted(
            campaign="c", seed=1, config={}, protocol="p", protocol_version=1, protocol_digest="d",
            planner="sobol", planner_version=1, versions={}, clock_factor=1.0,
        ),
        ConductorStarted(incarnation="i", life=1, versions={}),
        *trials,
        TrialEnded(trial="t0000", number=0, state="done", outcome={"quality": 0.75}, y=0.75),
        Commanded(
            key=key, instrument="furnace", target="furnace", action="anneal",
            arguments={"hold_K": 650.0}, digest="d", sample="c-0001", ledger="l",
        ),
        Settled(key=key, instrument="furnace", state="unknown", reason="power cut"),
    ]  # fmt: skip


def test_status_tells_the_best_and_what_waits_for_a_person(run_folder: Path) -> None:
    status, out, _ = call("status", run_folder)
    assert status == 0
    assert "best          t0000: quality 0.75" in out
    assert "c/t0001/1/0: look at the sample" in out
    status, out, _ = call("status", run_folder, "--json")
    assert json.loads(out)["unknown"] == ["c/t0001/1/0"]


def test_explain_prints_basis_pending_and_acquisition_value(run_folder: Path) -> None:
    status, out, _ = call("explain", run_folder, "1")
    assert status == 0
    assert "basis         the journal up to event 2" in out
    assert "pending       t0000" in out
    assert "why           log_expected_improvement: -1.25" in out
    assert "furnace.anneal" in out
    assert "ended         not yet" in out
    assert "outcome       quality 0.75" in call("explain", run_folder, "t0000")[1]


def test_an_unknown_trial_is_told_with_those_there_are(run_folder: Path) -> None:
    status, _, err = call("explain", run_folder, "t0009")
    assert status == 1
    assert "t0000 to t0001" in err


def test_only_an_outcome_that_waits_can_be_decided(run_folder: Path) -> None:
    status, _, err = call("decide", run_folder, "c/t0000/1/0", "done", "--reason", "seen")
    assert status == 1
    assert "one of c/t0001/1/0" in err
