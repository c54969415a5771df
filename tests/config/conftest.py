from pathlib import Path

import pytest

CAMPAIGN = """\
campaign: bake
protocol: furnace_lab:bake
lab: lab.yaml
seed: 7
search:
  hold_K: {low: 500, high: 800}
  flux_ML_per_s: {low: 0.05, high: 0.5, scale: log}
  ramp_s: {low: 10, high: 120}
goal:
  maximise: quality
  subject_to:
    peak_K: {at_most: 900}
planner: {name: sobol}
budget: {experiments: 12, lab_h: 48}
"""

LAB = """\
lab: bench
clock_factor: 10
instruments:
  furnace: {served: oven, class: "furnace_lab:FurnaceTwin", settings: {ambient_K: 300}}
adapters:
  oven: {start: demo, stop_endpoint: "tcp://127.0.0.1:5701"}
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A folder with a campaign and its laboratory, both correct."""
    monkeypatch.syspath_prepend(str(request.config.rootpath / "tests" / "config"))
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN, encoding="utf-8")
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    return tmp_path
