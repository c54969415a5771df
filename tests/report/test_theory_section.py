"""The section on theory: there for theory alone, sealed until the end, whole whatever is missing."""

import re

import pytest

from twinloop.agents.report import belief, theory_section, write_report
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import read_history
from twinloop.agents.report.testing_theory import THETA, TheoryRun
from twinloop.agents.report.theory_figures import (
    draw_foresight,
    draw_theta,
    draw_weight,
    draw_worth,
)
from twinloop.planners.simulations import Prior, Theory

POINT = {"substrate_K": 650.0}


class Silent:
    def belief(self, _known, _x):
        raise RuntimeError("no idea <yet>")


@pytest.fixture(autouse=True)
def _silent_planner(monkeypatch):
    """The real planner takes seconds, and is tested beside its own source."""
    monkeypatch.setattr(belief, "resolve", lambda _: Silent())
    monkeypatch.setattr(belief, "theory_of", lambda _: theory())


def theory():
    priors = {name: Prior(**THETA[name]) for name in sorted(THETA)}
    return Theory("kmc_growth", "", priors, ("quality",))


def page(run):
    run.close()
    return write_report(run.folder).read_text("utf-8")


def words_of(text):
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    run = TheoryRun(tmp_path_factory.mktemp("theory"))
    run.whole()
    run.close()
    return read_history(Evidence(run.folder))


@pytest.mark.usefixtures("without_figures")
def test_a_campaign_without_theory_has_no_such_section(run):
    run.begin()
    run.grow_film(POINT, 0.4)
    assert "Theory in the loop" not in page(run)


def test_a_whole_campaign_tells_its_story(tmp_path):
    run = TheoryRun(tmp_path)
    run.whole()
    text = page(run)
    words = words_of(text)
    assert "could not be made" not in words
    for told in (
        "Theory carried the choice in 6 of 6 experiments.",
        "began at 0.8 and ended at 0.97",
        "26 simulations answered.",
        "bond energy [eV] 0.250 ± 0.030",
        "13 of 14 done, 1 failed",
        "8 of 8 done, 1 at its bound",
        "5 of 8 done, 3 withdrawn",
        "In all 30 simulations asked for: 26 done, 1 of them stopped at the bound",
        "t0001 waited",
        "beside t0003",
        "No map: the planner gave no belief (RuntimeError: no idea &lt;yet&gt;).",
        "theory-0",
    ):
        assert told in words
    order = [text.index(f"<h2>{name}") for name in ("Course", "Theory in", "Films")]
    assert order == sorted(order)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("without_figures")
def test_theory_that_was_switched_off_is_said_with_the_experiment(tmp_path):
    run = TheoryRun(tmp_path, weights=(0.8, 0.6, 0.3, 0.1, 0.0, 0.0))
    run.whole()
    words = words_of(page(run))
    assert "Theory carried the choice in 2 of 6 experiments." in words
    assert "Theory was switched off at experiment 4:" in words


def test_the_truth_of_the_parameters_stays_sealed_until_the_end(tmp_path):
    run = TheoryRun(tmp_path)
    run.begin(planner="theory_bo")
    for number in range(3):
        run.experiment(number)
    run.seal({"bond_energy_eV": 0.2713})
    run.commit()
    before = write_report(run.folder).read_text("utf-8")
    assert "stays sealed until the campaign has ended" in words_of(before)
    assert "0.2713" not in before
    assert "posterior off by" not in before
    run.finish()
    after = page(run)
    assert "0.2713" in words_of(after[: after.index("Films</h2>")])
    # the line in the figure, and the head of the column
    assert ">hidden truth<" in after
    assert "posterior off by" in after


@pytest.mark.usefixtures("without_figures")
def test_a_campaign_that_has_just_asked_theory_has_a_section(tmp_path):
    run = TheoryRun(tmp_path)
    run.begin(planner="theory_bo")
    run.ask(4, holds=0, proposal=0, why={"expert": "design", "simulations": 0.0})
    words = words_of(page(run))
    assert "0 of 4 done, 4 under way" in words
    assert "No simulator has answered yet." in words
    assert "The planner left no calibration of theory." in words
    assert "could not be made" not in words


def test_each_figure_shows_what_it_is_for(history):
    theta = draw_theta(history, {"bond_energy_eV": 0.27})
    assert "bond energy [eV]" in theta
    assert theta.count("hidden truth") == 1
    assert "hidden truth" not in draw_theta(history, {})
    weight = draw_weight(history)
    assert "theory chose" in weight
    assert "theory switched off" not in weight
    foresight = draw_foresight(history)
    assert foresight.count("<title>") == 6
    assert "expected without theory" in foresight
    worth = draw_worth(history)
    assert all(name in worth for name in ("the best simulation", "emulator", "discrepancy"))


def test_figures_are_left_out_where_nothing_was_said(run):
    run.begin()
    run.propose(POINT, why={"theory_weight": float("1e-3")}, basis=run.n_events)
    run.close()
    found = read_history(Evidence(run.folder))
    assert draw_theta(found, {}) == draw_foresight(found) == draw_worth(found) == ""
    assert draw_weight(found) != ""
    assert "0.001" in theory_section.in_the_loop(found, Evidence(run.folder))


@pytest.mark.usefixtures("without_figures")
def test_the_head_counts_simulations_and_the_table_keeps_to_the_point(tmp_path):
    run = TheoryRun(tmp_path)
    run.whole()
    words = words_of(page(run))
    assert "26 simulations of theory; 12.1 s of CPU time" in words
    assert "expert theory; theory weight 0.8" in words
    assert "emulator sd" not in words
