import pytest

from twinloop.agents.report import sections, simulations_section, theory_section
from twinloop.agents.report.testing import RunBuilder


@pytest.fixture
def run(tmp_path):
    builder = RunBuilder(tmp_path / "run")
    yield builder
    builder.close()


@pytest.fixture
def without_figures(monkeypatch):
    """Leave the figures out where a test is about words: they take most of the time."""
    for module in (sections, theory_section, simulations_section):
        for name in dir(module):
            if name.startswith("draw_"):
                monkeypatch.setattr(module, name, lambda *_: "<svg></svg>")
