import pytest

from twinloop.agents.report import sections
from twinloop.agents.report.testing import RunBuilder


@pytest.fixture
def run(tmp_path):
    builder = RunBuilder(tmp_path / "run")
    yield builder
    builder.close()


@pytest.fixture
def without_figures(monkeypatch):
    """Leave the figures out where a test is about words: they take most of the time."""
    for name in dir(sections):
        if name.startswith("draw_"):
            monkeypatch.setattr(sections, name, lambda *_: "<svg></svg>")
