"""Each sort of mistake: the error names file, line, key, what was found and what is allowed."""

from pathlib import Path
from typing import NamedTuple

import pytest

from twinloop.agents.config.interface import check


class Mistake(NamedTuple):
    """Replace `old` by `new` in `file`; then `key` is wrong, in a line that contains `new`."""

    file: str
    old: str
    new: str
    key: str
    found: str
    allowed: str
    names_line: bool = True


MISTAKES = {
    "misspelled key": Mistake(
        "campaign.yaml", "planner:", "planer:", "planer", "the unknown key 'planer'", "'planner'?"
    ),
    "misspelled key deep inside": Mistake(
        "campaign.yaml", "high: 120", "hihg: 120", "search.ramp_s.hihg",
        "the unknown key 'hihg'", "'high'? (one of low, high, scale)",
    ),
    "wrong dimension": Mistake(
        "campaign.yaml", "low: 10,", "low: 5 bar,", "search.ramp_s.low", "'5 bar'",
        "a number in s, or a quantity such as '1.5 s'",
    ),
    "unknown unit": Mistake(
        "campaign.yaml", "low: 10,", "low: 5 parsnips,", "search.ramp_s.low", "'5 parsnips'",
        "'parsnips' is not defined",
    ),
    "list for a number": Mistake(
        "campaign.yaml", "low: 10,", "low: [10],", "search.ramp_s.low", "['10']".replace("'", ""),
        "a number, or a quantity with a unit",
    ),
    "infinite number": Mistake(
        "campaign.yaml", "high: 120", "high: 1e999", "search.ramp_s.high", "inf", "finite"
    ),
    "bounds the wrong way": Mistake(
        "campaign.yaml", "low: 500", "low: 900", "search.hold_K", "low 900, high 800 K", "low < high"
    ),
    "outside the limit of the type": Mistake(
        "campaign.yaml", "high: 800", "high: 2500", "search.hold_K.high", "2500.0", "250 to 2000 K"
    ),
    "log scale from zero": Mistake(
        "campaign.yaml", "low: 0.05", "low: 0", "search.flux_ML_per_s.low", "0.0", "a number > 0"
    ),
    "unknown scale": Mistake(
        "campaign.yaml", "scale: log", "scale: lag", "search.flux_ML_per_s.scale", "'lag'",
        "'log'? (one of linear, log)",
    ),
    "field that the point has not": Mistake(
        "campaign.yaml", "  ramp_s:", "  ramp_s: {low: 1, high: 2}\n  ramps_s:", "search.ramps_s",
        "the unknown field 'ramps_s'", "a field of Recipe: 'ramp_s'?",
    ),
    "field of the point left out": Mistake(
        "campaign.yaml", "  ramp_s: {low: 10, high: 120}\n", "", "search.ramp_s", "nothing",
        "because Recipe has this field", names_line=False,
    ),
    "goal that the outcome has not": Mistake(
        "campaign.yaml", "maximise: quality", "maximise: qualty", "goal.maximise", "'qualty'",
        "a number of Sample: 'quality'?",
    ),
    "goal that is no number": Mistake(
        "campaign.yaml", "maximise: quality", "maximise: label", "goal.maximise", "'label'",
        "one of quality, peak_K",
    ),
    "two goals": Mistake(
        "campaign.yaml", "  maximise: quality", "  maximise: quality\n  minimise: peak_K", "goal",
        "'minimise': 'peak_K'", "exactly one of maximise, minimise", names_line=False,
    ),
    "constraint without a bound": Mistake(
        "campaign.yaml", "{at_most: 900}", "{}", "goal.subject_to.peak_K", "{}",
        "at_least, at_most, or both",
    ),
    "constraint on nothing": Mistake(
        "campaign.yaml", "    peak_K:", "    peek_K:", "goal.subject_to.peek_K",
        "the unknown field 'peek_K'", "'peak_K'?",
    ),
    "unknown planner": Mistake(
        "campaign.yaml", "name: sobol", "name: sobel", "planner.name", "'sobel'", "'sobol'?"
    ),
    "unknown option of the planner": Mistake(
        "campaign.yaml", "name: sobol", "name: sobol, n_inital: 3", "planner.n_inital", "3",
        "n_initial",
    ),
    "no experiments": Mistake(
        "campaign.yaml", "experiments: 12", "experiments: 0", "budget.experiments", "0",
        "greater than or equal to 1 (physical experiments in all)",
    ),
    "text for a number": Mistake(
        "campaign.yaml", "experiments: 12", "experiments: twelve", "budget.experiments", "'twelve'",
        "a valid integer",
    ),
    "time in kelvin": Mistake(
        "campaign.yaml", "lab_h: 48", "lab_h: 48 K", "budget.lab_h", "'48 K'", "a number in h"
    ),
    "missing key": Mistake(
        "campaign.yaml", "budget: {experiments: 12, lab_h: 48}\n", "", "budget", "nothing",
        "when to end", names_line=False,
    ),
    "name that no folder can have": Mistake(
        "campaign.yaml", "campaign: bake", "campaign: ../bake", "campaign", "'../bake'",
        "1 to 64 of A-Z",
    ),
    "key twice": Mistake(
        "campaign.yaml", "seed: 7", "seed: 7\nseed: 8", "seed",
        "'seed' a second time (first in line 4)", "each key once",
    ),
    "protocol that is not there": Mistake(
        "campaign.yaml", "furnace_lab:bake", "furnace_lab:fry", "protocol", "'furnace_lab:fry'",
        "module:Name that can be imported",
    ),
    "protocol that is none": Mistake(
        "campaign.yaml", "furnace_lab:bake", "furnace_lab:Recipe", "protocol",
        "'furnace_lab:Recipe'", "a function under @protocol",
    ),
    "parameter that nobody can inject": Mistake(
        "campaign.yaml", "furnace_lab:bake", "furnace_lab:stray", "protocol", "helper: dict",
        "an Analyst class",
    ),
    "laboratory that is not there": Mistake(
        "campaign.yaml", "lab: lab.yaml", "lab: standing", "lab", "'standing'", "'standin'?"
    ),
    "sort of answer that does not exist": Mistake(
        "campaign.yaml", "seed: 7", "on_unknown: ask_humans", "on_unknown", "'ask_humans'",
        "'ask_human'? (one of ask_human, stop)",
    ),
    "theory without a spread": Mistake(
        "campaign.yaml", "seed: 7",
        "theory: {simulator: {name: kmc_growth}, theta: {barrier_eV: {mean: 1.3, sd: 0}}}",
        "theory.theta.barrier_eV.sd", "0", "greater than 0 (standard deviation",
    ),
    "simulator that is not there": Mistake(
        "campaign.yaml", "seed: 7",
        "theory: {simulator: {name: kmc_groth}, theta: {barrier_eV: {mean: 1.3, sd: 1}}}",
        "theory.simulator.name", "'kmc_groth'", "'kmc_growth'?",
    ),
    "two places for workers": Mistake(
        "campaign.yaml", "seed: 7", "placement: {in_process: true, address: 'ray://host:1'}",
        "placement", "'in_process': True", "either in_process: true or an address",
    ),
    "fast clock on a machine": Mistake(
        "lab.yaml", "FurnaceTwin", "RealFurnace", "clock_factor", "10.0",
        "1, because furnace is no twin", names_line=False,
    ),
    "adapter that is not there": Mistake(
        "lab.yaml", "served: oven", "served: ovn", "instruments.furnace.served", "'ovn'", "'oven'?"
    ),
    "neither twin nor served": Mistake(
        "lab.yaml", 'served: oven, class: "furnace_lab:FurnaceTwin", ', "", "instruments.furnace",
        "{'settings':", "{twin: CLASS} or {served: ADAPTER, class: CLASS}", names_line=False,
    ),
    "machine as a twin on Ray": Mistake(
        "lab.yaml", 'served: oven, class: "furnace_lab:FurnaceTwin"',
        'twin: "furnace_lab:Furnace"', "instruments.furnace.twin", "'furnace_lab:Furnace'",
        "a twin (is_twin = True)",
    ),
    "contract for an adapter started here": Mistake(
        "lab.yaml", 'FurnaceTwin", settings: {ambient_K: 300}', 'Furnace"',
        "instruments.furnace.class", "'furnace_lab:Furnace'", "the supervisor starts this adapter",
    ),
    "share of Ray for a served instrument": Mistake(
        "lab.yaml", "settings:", "num_cpus: 2, settings:", "instruments.furnace", "'num_cpus': 2",
        "only for a twin on Ray",
    ),
    "class that is no instrument": Mistake(
        "lab.yaml", "furnace_lab:FurnaceTwin", "furnace_lab:Recipe", "instruments.furnace.class",
        "'furnace_lab:Recipe'", "a class derived from Instrument",
    ),
    "setting that the class has not": Mistake(
        "lab.yaml", "ambient_K", "ambiant_K", "instruments.furnace.settings.ambiant_K",
        "the unknown key 'ambiant_K'", "'ambient_K'?",
    ),
    "setting of another dimension": Mistake(
        "lab.yaml", "ambient_K: 300", "ambient_K: 3 m", "instruments.furnace.settings.ambient_K",
        "'3 m'", "a number in K",
    ),
    "instrument of another kind": Mistake(
        "lab.yaml", 'furnace_lab:FurnaceTwin", settings: {ambient_K: 300}', 'furnace_lab:Gauge"',
        "protocol", "furnace of bench, a Gauge", "a Furnace of that name", names_line=False,
    ),
    "name of our own agents": Mistake(
        "lab.yaml", "oven", "conductor", "adapters.conductor", "'conductor'", "a name other than"
    ),
    "stop endpoint that the whole network reaches": Mistake(
        "lab.yaml", "127.0.0.1", "0.0.0.0", "adapters.oven.stop_endpoint", "'tcp://0.0.0.0:5701'",
        "where it takes an emergency stop",
    ),
    "stand-in machine that is not there": Mistake(
        "lab.yaml", "start: demo,", "start: demo, machine: nowhere.yaml,", "adapters.oven.machine",
        "'nowhere.yaml'", "growth_chamber",
    ),
    "stand-in machine of somebody else's adapter": Mistake(
        "lab.yaml", "start: demo,", "machine: nowhere.yaml,", "adapters.oven",
        "'machine': 'nowhere.yaml'", "machine only with start: demo",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_file_line_key_found_and_allowed(bench: Path, name: str) -> None:
    mistake = MISTAKES[name]
    path = bench / mistake.file
    text = path.read_text(encoding="utf-8")
    wrong = text.replace(mistake.old, mistake.new)
    assert wrong != text
    path.write_text(wrong, encoding="utf-8")
    problems = {problem.key: problem for problem in check(bench / "campaign.yaml").problems}
    assert mistake.key in problems, problems
    problem = problems[mistake.key]
    is_of_the_campaign = mistake.key == "protocol"
    assert Path(problem.file).name == ("campaign.yaml" if is_of_the_campaign else mistake.file)
    told = str(problem)
    _, _, after = told.partition(f"{mistake.key}: found ")
    found, _, allowed = after.partition(", allowed: ")
    assert mistake.found in found
    assert mistake.allowed in allowed
    if mistake.names_line:
        line = wrong.splitlines()[(problem.line or 0) - 1]
        assert mistake.new.splitlines()[-1].strip() in line
        assert f"{mistake.file}:{problem.line}: " in told


def test_every_problem_is_told_at_once(bench: Path) -> None:
    campaign = (bench / "campaign.yaml").read_text(encoding="utf-8")
    campaign = campaign.replace("low: 500", "low: 900").replace("quality", "beauty")
    campaign = campaign.replace("sobol", "sobel")
    (bench / "campaign.yaml").write_text(campaign, encoding="utf-8")
    lab = (bench / "lab.yaml").read_text(encoding="utf-8").replace("served: oven", "served: ovn")
    (bench / "lab.yaml").write_text(lab, encoding="utf-8")
    keys = {problem.key for problem in check(bench / "campaign.yaml").problems}
    assert keys == {"search.hold_K", "goal.maximise", "planner.name", "instruments.furnace.served"}


def test_a_misspelled_key_is_told_once_not_also_as_missing(bench: Path) -> None:
    path = bench / "campaign.yaml"
    text = path.read_text(encoding="utf-8").replace("planner:", "planer:")
    path.write_text(text.replace("high: 120", "hihg: 120"), encoding="utf-8")
    keys = {problem.key for problem in check(path).problems}
    assert keys == {"planer", "search.ramp_s.hihg"}


def test_a_mistake_of_the_file_hides_no_mistake_of_the_laboratory(bench: Path) -> None:
    for file, old in (("campaign.yaml", "seed:"), ("lab.yaml", "clock_factor:")):
        text = (bench / file).read_text(encoding="utf-8")
        (bench / file).write_text(text.replace(old, f"x{old}"), encoding="utf-8")
    keys = {problem.key for problem in check(bench / "campaign.yaml").problems}
    assert keys == {"xseed", "xclock_factor"}


def test_a_field_of_the_point_that_is_no_number_cannot_be_searched(bench: Path) -> None:
    path = bench / "campaign.yaml"
    text = path.read_text(encoding="utf-8").replace("furnace_lab:bake", "furnace_lab:worded")
    path.write_text(text, encoding="utf-8")
    problems = {p.key: str(p) for p in check(path).problems}
    assert "numbers only in Worded" in problems["search.gas"]


def test_a_file_that_is_not_there_is_told_with_the_shipped_names() -> None:
    (problem,) = check("mbe_grwth").problems
    assert "mbe_growth" in problem.allowed
    assert problem.file == "mbe_grwth"
