"""A film through several instruments: found, drawn, told, whatever is missing or damaged."""

import numpy as np
import pytest

from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import read_history
from twinloop.agents.report.views import looks_of, seen_most
from twinloop.agents.report.views_figure import draw_views, level
from twinloop.agents.report.views_section import through_instruments

RNG = np.random.default_rng(3)
STM = {
    "z_forward_A": RNG.normal(size=(16, 24)).astype(np.float32),
    "x_A": np.linspace(-12, 11, 24),
    "y_A": np.linspace(-8, 7, 16),
}
XRD = {"two_theta_deg": np.linspace(28, 35, 50), "counts": RNG.poisson(100, 50)}
STEM = {
    "counts": RNG.poisson(50, (20, 20)).astype(np.float32),
    "x_A": np.arange(20.0),
    "y_A": np.arange(20.0),
}


def look(run, trial, *instruments):
    arrays = {"stm.scan": STM, "xrd.scan": XRD, "stem.scan": STEM}
    for n, name in enumerate(instruments):
        run.act(trial, str(20 + n), name, 1.0, arrays=arrays[name])


@pytest.fixture
def seen(run):
    """Three films: one of RHEED alone, one seen by all instruments, one by two."""
    for number, instruments in enumerate(
        [(), ("stm.scan", "xrd.scan", "stem.scan"), ("xrd.scan",)]
    ):
        proposed = run.propose({"substrate_K": 650.0 + number})
        trial = run.start(proposed)
        run.act(
            trial, "4", "rheed.expose", 0.2, arrays={"result": np.full((12, 16), 900, np.uint16)}
        )
        look(run, trial, *instruments)
        run.end(trial, {"merit": 0.5 + 0.1 * number, "merit_sd": 0.02}, 0.5 + 0.1 * number)
    run.commit()
    evidence = Evidence(run.folder)
    return read_history(evidence), evidence


def test_each_instrument_shows_its_view_in_the_order_of_the_looks(seen):
    history, evidence = seen
    views = looks_of(list(history.trials.values())[1], evidence)
    assert [(v.instrument, v.look) for v in views] == [
        ("rheed", "screen"),
        ("stm", "topograph"),
        ("xrd", "scan"),
        ("stem", "micrograph"),
    ]
    assert views[1].axis == pytest.approx([24.0, 16.0])


def test_the_film_seen_by_most_comes_first_and_one_instrument_is_no_comparison(seen):
    history, evidence = seen
    assert [len(views) for views in seen_most(history, evidence).values()] == [4, 2]


def test_the_section_tells_what_was_found_and_for_how_long(seen):
    page = through_instruments(*seen)
    assert "rheed, stm, xrd, stem" in page
    assert "merit" in page
    assert "0.600 ± 0.020" in page
    assert "laboratory time" in page
    assert page.count("<svg") == 1


def test_without_several_instruments_there_is_no_section(run):
    run.grow_film({"substrate_K": 650.0}, 0.5)
    run.commit()
    evidence = Evidence(run.folder)
    assert through_instruments(read_history(evidence), evidence) == ""


def test_a_missing_image_leaves_the_others(seen, run):
    history, _ = seen
    trial = list(history.trials.values())[1]
    image = next(r for e in trial.results for r in e.arrays if r.name == "z_forward_A")
    (run.folder / "arrays" / image.digest[:2] / image.digest).unlink()
    views = looks_of(trial, Evidence(run.folder))
    assert [v.instrument for v in views] == ["rheed", "xrd", "stem"]


def test_levelling_takes_a_plane_away_and_nothing_else():
    rows, columns = np.mgrid[:9, :12].astype(float)
    bump = np.zeros((9, 12))
    bump[4, 6] = 1.0
    flat = level(3.0 + 0.2 * rows - 0.1 * columns + bump)
    np.testing.assert_allclose(flat, level(bump), atol=1e-12)
    assert flat[4, 6] == flat.max()


def test_an_unfinished_image_with_missing_lines_is_drawn(seen):
    history, evidence = seen
    views = looks_of(list(history.trials.values())[1], evidence)
    views[1].values[8:] = np.nan
    assert "<svg" in draw_views({"film": views})


def test_a_cross_section_is_shown_with_the_film_on_top(seen):
    history, evidence = seen
    stem = looks_of(list(history.trials.values())[1], evidence)[3]
    # y_A rises with the row, so the last row of the array is the highest
    np.testing.assert_array_equal(stem.values, STEM["counts"][::-1])


def test_counts_are_labelled_by_powers_that_a_page_can_show(seen):
    history, evidence = seen
    views = looks_of(list(history.trials.values())[1], evidence)
    svg = draw_views({"film": views})
    assert "mathdefault" not in svg
    assert "10²" in svg


def test_the_looks_that_were_decided_are_told_with_their_reasons(run):
    run.config["planner"] = {"name": "looking_bo", "look_h": {"look_stm": 0.9, "look_stem": 2.6}}
    run.begin("looking_bo")
    why = {
        "log_gain_per_h": -2.0, "log_gain_per_h_unlooked": -2.0 - np.log(3.0), "cost_h": 5.0,
        "bias": 0.12, "bias_sd": 0.05,
    }  # fmt: skip
    point = {"substrate_K": 650.0, "look_stm": 0.0, "look_stem": 1.0}
    trial = run.start(run.propose(point, why=why))
    look(run, trial, "stm.scan", "stem.scan")
    run.end(
        trial, {"merit": 0.5, "merit_sd": 0.02, "merit_blind": 0.62, "merit_blind_sd": 0.1}, 0.5
    )
    run.commit()
    evidence = Evidence(run.folder)
    page = through_instruments(read_history(evidence), evidence)
    for told in ("stem", "5.0 h", "3 x", "0.120 ± 0.050", "0.62 ± 0.10", "0.500 ± 0.020"):
        assert told in page, told
