"""The page as a whole: valid, self-contained, complete, and whole whatever is missing."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from twinloop.agents.report import write_report
from twinloop.agents.report.__main__ import main
from twinloop.agents.report.history import JOURNAL
from twinloop.agents.report.testing import CONFIG, RunBuilder, oscillations
from twinloop.errors import LabError

POINTS = [{"substrate_K": 640.0 + 20 * n, "flux_ML_per_s": 0.1 + 0.1 * n} for n in range(5)]
VOID = {"meta", "br", "img", "hr", "link", "input", "col", "wbr"}


class Checker(HTMLParser):
    """Collects tags that do not close in order, and everything that would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.fetched, self.words = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self._look(attrs)

    def handle_startendtag(self, _, attrs):
        self._look(attrs)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        self.words.append(data)

    def _look(self, attrs):
        for name, value in attrs:
            is_reference = name in {"src", "href", "xlink:href", "action", "poster", "srcset"}
            if is_reference and not (value or "").startswith(("#", "data:")):
                self.fetched.append(f"{name}={value}")


def check(page):
    """Return the visible words of a page after checking that it stands on its own."""
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.faults == []
    assert checker.open == []
    assert checker.fetched == []
    assert "<script" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page
    assert not re.search(r"https?://", page)
    assert "could not be made" not in page
    return " ".join(checker.words)


def report(run):
    run.close()
    return write_report(run.folder).read_text("utf-8")


def grow(run, n=5, **rest):
    for i in range(n):
        why = {"log_expected_improvement": -2.5, "mean": 0.5, "sd": 0.1, "rung": "planner"}
        chosen = {"why": why, "place": "planner", "cpu_s": 1.5} if i > 1 else {}
        run.grow_film(POINTS[i], 0.3 + 0.1 * i, **chosen, **rest)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = RunBuilder(tmp_path_factory.mktemp("whole"))
    run.begin()
    run.lease("mbe")
    grow(run)
    run.finish()
    return run.folder, report(run)


def test_the_page_of_a_whole_campaign_is_valid_and_needs_nothing_else(whole):
    words = check(whole[1])
    for trial in ("t0000", "t0001", "t0002", "t0003", "t0004"):
        assert trial in words
    assert "0.700 ± 0.020" in words
    assert "Laboratory clock × 20" in words  # noqa: RUF001
    assert "log expected improvement −2.5" in words  # noqa: RUF001


def test_identities_of_figures_are_unique_in_the_page(whole):
    ids = re.findall(r'\bid="([^"]*)"', whole[1])
    assert ids
    assert len(ids) == len(set(ids))


def test_every_reference_inside_a_figure_finds_its_target(whole):
    ids = set(re.findall(r'\bid="([^"]*)"', whole[1]))
    used = set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', whole[1]))
    assert used
    assert {a or b for a, b in used} <= ids


def test_each_point_of_the_objective_carries_its_own_conditions(whole):
    page = whole[1]
    course = page[page.index("objective-figure_1") : page.index("expected-figure_1")]
    tips = re.findall(r"<title>(t\d+): [^<]*</title><[^>]* x=\"([\d.]+)\"", course)
    in_order = [trial for trial, _ in sorted(tips, key=lambda tip: float(tip[1]))]
    assert in_order == ["t0000", "t0001", "t0002", "t0003", "t0004"]


def test_colours_and_fonts_are_those_of_the_page(whole):
    figures = whole[1][whole[1].index("<figure>") :]
    assert "var(--ink)" in figures
    assert "#0102" not in figures
    assert "#0103" not in figures
    assert "DejaVu" not in figures


def test_the_figures_do_not_change_from_one_report_to_the_next(whole):
    folder, first = whole
    second = write_report(folder).read_text("utf-8")
    made = re.compile(r"Made by twinloop at [^<]*")
    assert made.sub("", first) == made.sub("", second)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_campaign_that_has_just_begun_has_a_report(run, n):
    run.begin()
    grow(run, n)
    words = check(report(run))
    assert "not finished" in words
    assert ("No observation yet" in words) is (n == 0)


@pytest.mark.usefixtures("without_figures")
def test_a_journal_without_any_event_has_a_report(run):
    words = check(report(run))
    assert "The journal does not say what was asked for." in words


def test_a_campaign_killed_in_the_middle_of_a_growth_shows_what_it_waits_for(run):
    run.begin()
    grow(run, 2)
    trial = run.start(run.propose(POINTS[2]))
    run.act(trial, "0", "mbe.load", 1.0)
    run.command(trial, "1", "mbe", "grow")
    words = check(report(run))
    assert "1 trial under way" in words
    assert "waits for mbe.grow" in words
    assert "t0002" in words


def test_a_minimised_goal_is_shown_in_its_own_sense(tmp_path):
    config = {**CONFIG, "goal": {"minimise": "roughness_ML"}}
    run = RunBuilder(tmp_path, config)
    run.begin()
    for n, roughness in enumerate((0.9, 0.4, 0.7)):
        trial = run.start(run.propose(POINTS[n]))
        run.end(trial, {"roughness_ML": roughness}, -roughness, y_sd=0.05)
    words = check(report(run))
    assert "Lowest roughness measured, in t0001" in words
    assert "0.400 ± 0.050 ML" in words


@pytest.mark.usefixtures("without_figures")
def test_an_infeasible_best_is_not_called_the_best(tmp_path):
    config = {
        **CONFIG,
        "goal": {"maximise": "quality", "subject_to": {"rate_ML_per_s": {"at_least": 0.1}}},
    }
    run = RunBuilder(tmp_path, config)
    run.begin()
    for n, (quality, rate) in enumerate(((0.9, 0.05), (0.6, 0.2))):
        trial = run.start(run.propose(POINTS[n]))
        outcome = {"quality": quality, "rate_ML_per_s": rate}
        run.end(trial, outcome, quality, y_sd=0.02, slack=(rate - 0.1,), slack_sd=(0.0,))
    words = check(report(run))
    assert "Highest quality measured, in t0001" in words
    assert "1 of 2 observations broke them" in words


@pytest.mark.usefixtures("without_figures")
def test_a_campaign_without_a_feasible_point_says_so(tmp_path):
    config = {
        **CONFIG,
        "goal": {"maximise": "quality", "subject_to": {"rate_ML_per_s": {"at_least": 0.1}}},
    }
    run = RunBuilder(tmp_path, config)
    run.begin()
    trial = run.start(run.propose(POINTS[0]))
    run.end(trial, {"quality": 0.9, "rate_ML_per_s": 0.05}, 0.9, slack=(-0.05,))
    assert "No experiment keeps the constraints (rate ≥ 0.1)" in check(report(run))


def test_another_protocol_with_other_fields_and_no_arrays_has_a_report(tmp_path):
    run = RunBuilder(tmp_path, {"campaign": "weld", "search": {"current_A": {"low": 1, "high": 9}}})
    run.begin(planner="random", clock_factor=1.0)
    run.lease("robot", is_twin=False)
    for n, strength in enumerate((3.0, 5.0, 4.0)):
        trial = run.start(run.propose({"current_A": 2.0 + n}, why={}))
        run.act(trial, "0", "robot.weld", 3.0, result={"ok": True})
        run.end(trial, {"strength_MPa": strength, "comment": "<fine> & $dandy$"}, strength)
    run.finish()
    words = check(report(run))
    assert "Real instruments: robot." in words
    assert "Laboratory time is real time." in words
    assert "No trace and no picture has been stored." in words
    assert "no stand-in machine that could reveal it" in words


@pytest.mark.usefixtures("without_figures")
def test_a_real_and_a_simulated_instrument_are_told_apart(run):
    run.begin()
    run.lease("mbe", is_twin=False)
    run.lease("rheed")
    assert "Real: mbe. Simulated: rheed." in check(report(run))


@pytest.mark.usefixtures("without_figures")
def test_text_from_outside_is_never_markup(tmp_path):
    nasty = '<img src="http://evil/x">&"\''
    run = RunBuilder(tmp_path, {**CONFIG, "campaign": "demo", "note": nasty})
    run.begin()
    trial = run.start(run.propose(POINTS[0], why={nasty: 1.0, "fallback": nasty}))
    run.end(trial, {nasty: 1.0}, None, reason=nasty)
    run.close()
    page = write_report(run.folder).read_text("utf-8")
    assert "<img" not in page
    assert "&lt;img" in page


@pytest.mark.usefixtures("without_figures")
def test_surfaces_and_truth_stay_sealed_until_the_campaign_has_ended(run):
    heights = np.arange(256, dtype=np.int32).reshape(16, 16) % 5
    run.begin()
    run.seal({"surface_barrier_eV": 1.325})
    grow(run, 2, heights=heights)
    run.commit()
    before = check(write_report(run.folder).read_text("utf-8"))
    assert "stays sealed until the campaign has ended" in before
    assert "1.325" not in before
    run.finish()
    after = check(report(run))
    assert "Revealed after the campaign" in after
    assert "1.325" in after


def test_missing_and_damaged_arrays_are_named_and_left_out(run):
    run.begin()
    grow(run, 2)
    frame, trace = oscillations(period_s=7.0), np.full((9, 9), 5, np.uint16)
    run.grow_film(POINTS[2], 0.9, trace=frame, frame=trace)
    files = run.array_files()
    files[0].unlink()
    files[1].write_bytes(b"short")
    files[2].write_bytes(files[2].read_bytes()[:-1] + b"\x00")
    words = check(report(run))
    assert "cannot be read" in words
    assert "is damaged" in words


def test_traces_of_no_length_and_without_number_do_no_harm(run):
    run.begin()
    nothing = {"time_s": np.zeros(2), "intensity": np.full(2, np.nan)}
    run.grow_film(POINTS[0], 0.5, trace=nothing, frame=np.zeros((8, 8), np.uint16))
    run.grow_film(POINTS[1], 0.6, trace={"time_s": np.array([0.0, 1.0]), "intensity": np.ones(2)})
    check(report(run))


@pytest.mark.usefixtures("without_figures")
def test_a_journal_damaged_on_the_disk_is_shown_as_far_as_it_can_be_read(run):
    run.begin()
    grow(run, 3)
    run.close()
    path = run.folder / JOURNAL
    data = bytearray(path.read_bytes())
    at = data.rindex(b'"quality":0.5')
    data[at : at + 13] = b'"quality":0.9'
    path.write_bytes(data)
    words = check(write_report(run.folder).read_text("utf-8"))
    assert "hash differs" in words
    assert "t0002" in words


@pytest.mark.usefixtures("without_figures")
def test_files_of_other_programs_in_the_folder_do_no_harm(run):
    run.begin()
    grow(run, 1)
    (run.folder / "config.json").write_text("{torn", "utf-8")
    (run.folder / "versions.json").write_text("[1]", "utf-8")
    films = run.folder / "machine" / "films"
    films.mkdir(parents=True)
    (films / "demo-0000.npy").write_bytes(b"\x93NUMPY no")
    run.finish()
    words = check(report(run))
    assert "config.json cannot be read" in words
    assert "film demo-0000 of the stand-in cannot be read" in words


def test_a_folder_without_a_journal_is_an_error_that_names_it(tmp_path):
    with pytest.raises(LabError, match=JOURNAL):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_where_it_is_told_and_says_where(run, tmp_path, capsys):
    run.begin()
    run.close()
    out = tmp_path / "elsewhere.html"
    assert main([str(run.folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    check(out.read_text("utf-8"))


def test_the_command_ends_with_a_reason_where_there_is_no_run(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 2
    assert "no report:" in capsys.readouterr().err
