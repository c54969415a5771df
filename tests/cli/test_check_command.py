"""`twinloop instrument check`: what cannot be checked is said, and nothing is started."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinloop.agents.cli.check_command import _settings
from twinloop.agents.cli.main import app
from twinloop.errors import ArgumentError
from twinloop.instruments.conformance.interface import Finding, Report, Verdict

FURNACE = "twinloop.instruments.testing:Furnace"
REHEARSAL = "twinloop.instruments.conformance.interface:Rehearsal"


def run(*words: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["instrument", "check", *words])
    return found.exit_code, found.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["no.such:Thing"], "No module named 'no'"),
        (["twinloop.errors:LabError"], "derived from Instrument"),
        (["mbe"], "this is the contract of a kind"),
        (["mbe_twn"], "'mbe_twin'?"),
        ([FURNACE, "--settings", "folder"], "KEY=VALUE"),
        ([FURNACE, "--only", "Q9"], "a clause or a group"),
        ([FURNACE, "--rehearsal", "twinloop.errors:LabError"], "derived from Rehearsal"),
        ([FURNACE, "--rehearsal", REHEARSAL], "settings.folder"),
        ([FURNACE, "--settings", "fodler=here"], "no such setting"),
    ],
)
def test_what_cannot_be_checked_says_why(words: list[str], told: str) -> None:
    status, output = run(*words)
    assert status == 2
    assert told in output


def test_a_setting_is_json_where_it_reads_as_such() -> None:
    assert _settings(["a=1.5", "b=COM3", 'c={"d": [1]}', "e=x=y"]) == {
        "a": 1.5, "b": "COM3", "c": {"d": [1]}, "e": "x=y",
    }  # fmt: skip
    with pytest.raises(ArgumentError):
        _settings(["=1"])


@pytest.mark.parametrize(("verdict", "status"), [(Verdict.PASSED, 0), (Verdict.FAILED, 1)])
def test_the_report_is_printed_and_written_and_the_status_follows_it(
    verdict: Verdict, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twinloop.instruments.conformance import suite

    finding = Finding("A1", verdict, "grow", "it was aborted", "an outcome", "none", "await")
    report = Report("lab:Furnace", (finding,), 3.0, ("a note",))
    monkeypatch.setattr(suite, "check_many", lambda *_, **__: {"instrument": report})
    file = tmp_path / "report.json"
    found, output = run(FURNACE, "--json", str(file))
    assert found == status
    assert "A1" in output
    assert ("did:       it was aborted" in output) == bool(status)
    assert ("--only A1" in output) == bool(status)
    assert json.loads(file.read_text("utf-8"))["findings"][0]["happened"] == "none"
