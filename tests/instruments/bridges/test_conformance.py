"""The examples of the pages of the bridges keep the contract of an instrument."""
# ruff: noqa: RUF012 - a rehearsal is declared by plain class attributes

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twinloop.instruments.conformance.interface import Rehearsal, Report, check_instrument

PAGES = Path(__file__).parents[3] / "docs" / "how-to"
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)

QUICK = ("S", "L1", "L2", "K1")
"""Clauses for which one adapter process is enough: some of these packages take long to import."""


class SupplyRehearsal(Rehearsal):
    """A volt at a time."""

    examples = {"ramp": {"voltage_V": 1.0}}
    safe = {"output_is_on": False}

    def settings(self) -> dict[str, Any]:
        return {"resource": "ASRL1::INSTR", "visa_library": f"{Path.cwd() / 'supply.yaml'}@sim"}


class BeamlineRehearsal(Rehearsal):
    """A few points."""

    examples = {
        "move": {"x_mm": 1.0},
        "scan": {"start_mm": -1.0, "stop_mm": 1.0, "n_points": 3},
    }
    lasting = {"scan": {"start_mm": -1.0, "stop_mm": 1.0, "n_points": 200}}

    def settings(self) -> dict[str, Any]:
        return {"documents": str(self.folder / "documents")}


class PumpRehearsal(Rehearsal):
    """A drop, and some that take seconds."""

    examples = {"dispense": {"volume_mL": 0.01, "rate_mL_per_min": 60.0}}
    lasting = {"dispense": {"volume_mL": 5.0, "rate_mL_per_min": 60.0}}

    def settings(self) -> dict[str, Any]:
        return {"port": "COM3"}


EXAMPLES = {
    "visa": ("our_supply:Supply", SupplyRehearsal, "pyvisa_sim"),
    "bluesky": ("our_beamline:Beamline", BeamlineRehearsal, "bluesky"),
    "python-object": ("our_pump:Pump", PumpRehearsal, "twinloop"),
}
Check = Callable[..., Report]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Write the modules of a page where this process and an adapter find them, and check."""
    lab = tmp_path / "lab"
    lab.mkdir()
    monkeypatch.chdir(lab)
    monkeypatch.syspath_prepend(str(lab))
    monkeypatch.setenv("PYTHONPATH", str(lab))

    def checked(page: str, only: tuple[str, ...] = ()) -> Report:
        path, rehearsal, package = EXAMPLES[page]
        pytest.importorskip(package, reason=f"{package} is not installed")
        blocks = dict(BLOCK.findall((PAGES / f"bridge-{page}.md").read_text("utf-8")))
        for name, text in blocks.items():
            (lab / name).write_text(text, encoding="utf-8")
            monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
        module, _, name = path.partition(":")
        cls = getattr(importlib.import_module(module), name)
        return check_instrument(cls, rehearsal, only=only, folder=tmp_path / "bench")

    return checked


@pytest.mark.system
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", EXAMPLES)
def test_an_example_keeps_types_limits_and_keys(check: Check, page: str) -> None:
    report = check(page, QUICK)
    assert not report.failed, report.text()
    assert {report.verdict_of(clause) for clause in ("S1", "L1", "L2", "K1")} == {"passed"}


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", EXAMPLES)
def test_an_example_keeps_every_clause(check: Check, page: str) -> None:
    report = check(page)
    assert not report.failed, report.text()
