import pytest

from twinloop.agents.export.notice import is_simulated, run_notice
from twinloop.agents.export.record import read_run
from twinloop.agents.export.testing import films_seen_by_all
from twinloop.agents.report.testing import RunBuilder


def history_of(run):
    run.commit()
    run.close()
    return read_run(run.folder).history


@pytest.mark.parametrize(
    ("is_twin", "word"), [(True, "SIMULATED TWIN"), (False, "real instrument")]
)
def test_a_run_says_what_all_its_instruments_are(tmp_path, is_twin, word):
    history = history_of(films_seen_by_all(tmp_path / "run", is_twin=is_twin))
    assert word in run_notice(history)
    assert is_simulated(history) is is_twin


def test_one_twin_among_real_instruments_is_named(tmp_path):
    run = films_seen_by_all(tmp_path / "run", is_twin=False)
    run.lease("stem_model", is_twin=True)
    history = history_of(run)
    assert run_notice(history).startswith("PARTLY SIMULATED: stem_model")
    assert is_simulated(history) is True


def test_a_journal_without_leases_does_not_tell(tmp_path):
    run = RunBuilder(tmp_path / "run")
    run.begin()
    history = history_of(run)
    assert "does not tell" in run_notice(history)
    assert is_simulated(history) is None
