"""The belief map: asked of the planner, laid out as the search is, left out where there is none."""

import numpy as np
import pytest

from twinloop.agents.report import belief
from twinloop.agents.report.belief import slice_of, space_of
from twinloop.agents.report.belief_figure import draw_belief
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import read_history
from twinloop.agents.report.testing_theory import THEORY_CONFIG, TheoryRun
from twinloop.errors import LabError

SLOPES = {"substrate_K": 3.0, "flux_ML_per_s": 0.1, "anneal_s": 1.0}


class Sloping:
    """Believes in a plane; axes in the order of the proposals."""

    def __init__(self, slopes=SLOPES, **odd):
        self.slopes, self.odd, self.asked = np.array(list(slopes.values())), odd, []

    def belief(self, known, x):
        self.asked.append((known, x))
        return {"mean": x @ self.slopes, "sd": 0.1 + 0.0 * x[:, 0], **self.odd}


@pytest.fixture
def asked(monkeypatch):
    def ask(folder, planner, config=None):
        run = TheoryRun(folder, config)
        run.whole()
        run.close()
        monkeypatch.setattr(belief, "resolve", lambda _: planner)
        monkeypatch.setattr(belief, "theory_of", lambda _: None)
        monkeypatch.setattr(belief, "known_at", known_without_theory(belief.known_at))
        evidence = Evidence(folder)
        history = read_history(evidence)
        return history, evidence

    return ask


def known_without_theory(real):
    return lambda state, space, number, _: real(state, space, number)


def test_the_map_spans_what_matters_most_and_goes_through_the_best(asked, tmp_path):
    planner = Sloping()
    history, evidence = asked(tmp_path, planner)
    found = slice_of(history, evidence)
    best = history.best.proposed.x
    assert [axis.name for axis in found.axes] == ["substrate_K", "anneal_s"]
    assert found.through is history.best
    # columns run along the first axis, rows along the second
    assert found.mean[0, -1] - found.mean[0, 0] == pytest.approx(3.0)
    assert found.mean[-1, 0] - found.mean[0, 0] == pytest.approx(1.0)
    assert found.mean[0, 0] == pytest.approx(0.1 * best[1])
    assert found.distances[history.observations.index(found.through)] == 0.0
    first = history.observations[0].proposed.x
    assert found.distances[0] == pytest.approx(abs(first[1] - best[1]))
    assert found.places[0] == pytest.approx([first[0], first[2]])


def test_the_planner_knows_the_whole_journal(asked, tmp_path):
    planner = Sloping()
    history, evidence = asked(tmp_path, planner)
    slice_of(history, evidence)
    known = planner.asked[-1][0]
    assert (known.n, known.basis) == (6, history.n_events)
    assert known.space.names == tuple(SLOPES)


def test_a_minimised_goal_is_mapped_in_its_own_sense(asked, tmp_path):
    config = {**THEORY_CONFIG, "goal": {"minimise": "quality"}}
    found = slice_of(*asked(tmp_path, Sloping(), config))
    assert found.mean[0, -1] < found.mean[0, 0]
    assert found.sd.min() > 0


def test_the_order_of_the_axes_is_found_though_the_journal_sorts_names(asked, tmp_path):
    history, _ = asked(tmp_path, Sloping())
    assert history.knobs != list(SLOPES)
    assert space_of(history).names == tuple(SLOPES)


def test_points_that_fit_no_order_are_refused(run):
    run.begin()
    run.grow_film({"substrate_K": 640.0, "flux_ML_per_s": 0.2}, 0.4)
    run.close()
    with pytest.raises(LabError, match="fit them"):
        space_of(read_history(Evidence(run.folder)))


@pytest.mark.parametrize("odd", [{"mean": np.zeros(2)}, {"sd": np.full(3, np.nan)}])
def test_an_answer_of_another_shape_is_refused(asked, tmp_path, odd):
    with pytest.raises(LabError, match="belief"):
        slice_of(*asked(tmp_path, Sloping(**odd)))


def test_a_planner_without_belief_is_refused_by_name(asked, tmp_path):
    with pytest.raises(LabError, match="belief"):
        slice_of(*asked(tmp_path, object()))


def test_the_map_shows_physical_values_and_every_experiment(asked, tmp_path):
    history, evidence = asked(tmp_path, Sloping())
    svg = draw_belief(history, slice_of(history, evidence))
    assert svg.count("<title>") == 2 * len(history.observations)
    assert svg.count("data:image/png") >= 2
    for words in ("substrate [K]", "anneal [s]", ">720<", ">30<", "expected quality"):
        assert words in svg


def test_one_condition_is_drawn_as_a_line(asked, tmp_path):
    history, evidence = asked(tmp_path, Sloping())
    found = slice_of(history, evidence)
    one = belief.Slice(
        found.axes[:1], found.mean[0], found.sd[0], found.through, found.places[:, :1],
        found.distances, 1,
    )  # fmt: skip
    svg = draw_belief(history, one)
    assert "± 2 standard deviations" in svg
    assert "data:image/png" not in svg
