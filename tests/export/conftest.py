import pytest

from twinloop.agents.export.testing import films_seen_by_all


@pytest.fixture
def run(tmp_path):
    builder = films_seen_by_all(tmp_path / "run")
    yield builder
    builder.close()


@pytest.fixture
def seen(run):
    """Return the folder of a run that is over."""
    run.close()
    return run.folder
