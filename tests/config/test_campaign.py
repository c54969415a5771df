"""A campaign as it is read: units, defaults, lookups, and what the run folder keeps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from twinloop.agents.campaign.goal import Constraint
from twinloop.agents.config.finding import shipped, shipped_file
from twinloop.agents.config.interface import check, json_schema, load_campaign, load_laboratory
from twinloop.agents.config.problems import Findings
from twinloop.agents.config.reference import reference_page
from twinloop.agents.config.yaml_text import read_yaml
from twinloop.errors import ConfigError


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_quantities_arrive_in_the_unit_of_the_field(bench: Path) -> None:
    path = bench / "campaign.yaml"
    change(path, "hold_K: {low: 500, high: 800}", "hold_K: {low: 226.85 degC, high: '980.33 degF'}")
    change(path, "ramp_s: {low: 10, high: 120}", "ramp_s: {low: 10, high: 2 min}")
    change(path, "flux_ML_per_s: {low: 0.05", "flux_ML_per_s: {low: 3 ML/min")
    change(path, "at_most: 900", "at_most: 626.85 degC")
    change(path, "lab_h: 48", "lab_h: 2 days")
    change(bench / "lab.yaml", "ambient_K: 300", "ambient_K: 26.85 degC")
    campaign = load_campaign(path)
    hold, flux, ramp = campaign.space.dimensions
    assert (hold.low, hold.high, hold.unit) == (pytest.approx(500), pytest.approx(800), "K")
    assert (flux.low, flux.scale, flux.unit) == (pytest.approx(0.05), "log", "ML/s")
    assert (ramp.low, ramp.high) == (10, pytest.approx(120))
    (constraint,) = campaign.goal.constraints
    assert constraint.at_most == pytest.approx(900)
    assert campaign.budget.lab_h == pytest.approx(48)
    settings = campaign.laboratory.instruments["furnace"].settings
    assert settings["ambient_K"] == pytest.approx(300)


def test_a_campaign_is_complete(bench: Path) -> None:
    campaign = load_campaign(bench / "campaign.yaml")
    assert (campaign.name, campaign.seed, campaign.protocol.version) == ("bake", 7, 3)
    assert campaign.instruments == {"furnace": "furnace"}
    assert campaign.planner == {"name": "sobol", "n_initial": 0}
    assert (campaign.goal.field, campaign.goal.is_maximised) == ("quality", True)
    assert campaign.goal.constraints == (Constraint("peak_K", at_most=900.0),)
    furnace = campaign.laboratory.instruments["furnace"]
    assert (furnace.served, furnace.is_twin, furnace.cls.kind) == ("oven", True, "furnace")
    assert campaign.laboratory.served_by("oven") == {"furnace": furnace}
    assert campaign.laboratory.twins_on_ray == {}
    assert campaign.laboratory.clock_factor == 10
    plan = campaign.plan()
    assert (plan.experiments, plan.lab_s, plan.parallel, plan.ahead) == (12, 48 * 3600, 1, 1)
    assert plan.stop_on_unknown is False


def test_the_resolved_campaign_is_a_campaign_file_that_gives_the_same(bench: Path) -> None:
    campaign = load_campaign(bench / "campaign.yaml")
    resolved = campaign.resolved()
    elsewhere = bench / "run" / "config.json"
    elsewhere.parent.mkdir()
    elsewhere.write_text(json.dumps(resolved, allow_nan=False), encoding="utf-8")
    again = load_campaign(elsewhere)
    assert again.resolved() == resolved
    assert again.space == campaign.space
    assert again.goal == campaign.goal
    assert again.laboratory == campaign.laboratory
    assert resolved["parallel"] == 1
    assert resolved["planner"] == {"name": "sobol", "n_initial": 0}
    assert resolved["lab"]["instruments"]["furnace"]["settings"] == {"ambient_K": 300}


def test_a_machine_file_is_found_again_from_the_run_folder(bench: Path) -> None:
    (bench / "oven.yaml").write_text("seed: 1\n", encoding="utf-8")
    change(bench / "lab.yaml", "start: demo,", "start: demo, machine: oven.yaml,")
    campaign = load_campaign(bench / "campaign.yaml")
    elsewhere = bench / "run" / "config.json"
    elsewhere.parent.mkdir()
    elsewhere.write_text(json.dumps(campaign.resolved()), encoding="utf-8")
    machine = load_campaign(elsewhere).laboratory.adapters["oven"].machine
    assert machine is not None
    assert machine.samefile(bench / "oven.yaml")


def test_an_instrument_of_another_name_is_found_by_its_kind(bench: Path) -> None:
    change(bench / "lab.yaml", "  furnace:", "  kiln:")
    assert load_campaign(bench / "campaign.yaml").instruments == {"furnace": "kiln"}


def test_two_instruments_of_a_kind_need_a_name(bench: Path) -> None:
    change(bench / "lab.yaml", "  furnace:", "  a: {twin: 'furnace_lab:FurnaceTwin'}\n  b:")
    with pytest.raises(
        ConfigError, match="found a, b, allowed: one Furnace, or one called 'furnac"
    ):
        load_campaign(bench / "campaign.yaml")


def test_one_line_exchanges_the_served_twin_for_one_on_ray(bench: Path) -> None:
    change(
        bench / "lab.yaml",
        'served: oven, class: "furnace_lab:FurnaceTwin"',
        'twin: "furnace_lab:FurnaceTwin", num_cpus: 2',
    )
    campaign = load_campaign(bench / "campaign.yaml")
    (furnace,) = campaign.laboratory.twins_on_ray.values()
    assert (furnace.served, furnace.num_cpus, furnace.num_gpus) == (None, 2.0, 0.0)


def test_a_machine_of_its_own_pace_may_be_named_by_its_contract(bench: Path) -> None:
    change(bench / "lab.yaml", "clock_factor: 10\n", "")
    change(bench / "lab.yaml", "start: demo, ", "")
    change(bench / "lab.yaml", 'FurnaceTwin", settings: {ambient_K: 300}', 'Furnace"')
    furnace = load_campaign(bench / "campaign.yaml").laboratory.instruments["furnace"]
    assert (furnace.is_twin, dict(furnace.settings)) == (False, {})


def test_what_should_be_known_before_running_is_noted(bench: Path) -> None:
    path = bench / "campaign.yaml"
    change(path, "high: 800", "high: 1500")
    change(path, "name: sobol", "name: sobol, n_initial: 12")
    change(bench / "lab.yaml", ', stop_endpoint: "tcp://127.0.0.1:5701"', "")
    checked = check(path)
    assert checked.campaign is not None
    notes = {note.key: note.text for note in checked.notes}
    assert set(notes) == {"planner.n_initial", "search.hold_K", "adapters.oven"}
    assert "furnace.anneal allows, 293 to 1423 K" in notes["search.hold_K"]
    assert "stop_endpoint" in notes["adapters.oven"]


def headline(tmp_path: Path, old: str, new: str) -> Path:
    """Return the headline campaign with a change."""
    path = tmp_path / "mbe_growth.yaml"
    path.write_text(load_campaign("mbe_growth").path.read_text("utf-8"), "utf-8")
    change(path, old, new)
    return path


def test_plain_bo_is_one_line_away_and_theory_is_then_said_not_to_be_used(tmp_path: Path) -> None:
    checked = check(
        headline(tmp_path, "planner: {name: theory_bo, first: 60, batch: 6}", "planner: plain_bo")
    )
    assert not checked.problems
    assert "not used: plain_bo" in {note.key: note.text for note in checked.notes}["theory"]


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("bond_energy_eV: ", "bond_energy_meV: ", "theory.theta.bond_energy_meV", "bond_energy_eV"),
        ("thermocouple_offset_K: ", "# ", "theory.theta.thermocouple_offset_K", "needs it"),
        ("[intensity_0p75ML", "[thickness_ML", "theory.observables", "a number that both tell"),
        ("name: kmc_growth", "name: kmc_growt", "theory.simulator.name", "kmc_growth"),
        ("size: 64", "edge: 64", "theory.simulator.settings.edge", "size"),
        ("at_most: ", "at_most: 20 #", "theory.simulator.at_most", "24 or more"),
        ("sd: 12.0", "sd: 0.0", "theory.theta.thermocouple_offset_K.sd", "greater than 0"),
    ],
)
def test_a_theory_that_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, key: str, words: str
) -> None:
    problems = {p.key: str(p) for p in check(headline(tmp_path, old, new)).problems}
    assert key in problems
    assert words in problems[key]


@pytest.mark.parametrize("name", shipped("campaigns"))
def test_a_shipped_campaign_has_no_problem(name: str) -> None:
    assert [str(problem) for problem in check(name).problems] == []


@pytest.mark.parametrize("name", shipped("labs"))
def test_a_shipped_laboratory_has_no_problem(name: str) -> None:
    assert set(load_laboratory(name).instruments) >= {"mbe", "rheed"}


def test_the_headline_campaign_searches_the_published_space() -> None:
    campaign = load_campaign("mbe_growth")
    space = {d.name: (d.low, d.high, d.scale) for d in campaign.space.dimensions}
    # Source: PLANNING.md, section 12.
    assert space == {
        "substrate_K": (620, 800, "linear"),
        "flux_ML_per_s": (0.03, 1.5, "log"),
        "dose_ML": (3.4, 4.6, "linear"),
        "anneal_s": (0, 30, "linear"),
    }
    assert campaign.planner["name"] == "theory_bo"
    assert campaign.theory is not None
    assert campaign.theory.observables[0] == "quality"
    assert campaign.budget.experiments == 24


def test_a_laboratory_with_mistakes_is_refused_by_itself(bench: Path) -> None:
    change(bench / "lab.yaml", "served: oven", "served: ovn")
    with pytest.raises(
        ConfigError, match=r"lab\.yaml:4: instruments\.furnace\.served: found 'ovn'"
    ):
        load_laboratory(bench / "lab.yaml")


@pytest.mark.parametrize("of", ["campaign", "laboratory"])
def test_the_schema_is_a_json_schema_that_takes_the_shipped_files(of: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema(of)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    kind = "campaigns" if of == "campaign" else "labs"
    for name in shipped(kind):
        document = read_yaml(shipped_file(kind, name), Findings())
        assert document is not None
        assert list(validator.iter_errors(document.value)) == []
        assert list(validator.iter_errors({**document.value, "planer": 1})) != []


def test_the_reference_page_is_that_of_the_models(request: pytest.FixtureRequest) -> None:
    path = request.config.rootpath / "docs" / "reference" / "configuration.md"
    # Make it anew: twinloop config schema --markdown > docs/reference/configuration.md
    assert path.read_text(encoding="utf-8") == reference_page()


def test_loading_a_campaign_imports_neither_torch_nor_ray() -> None:
    code = """
import sys
from twinloop.agents.config.interface import load_campaign
load_campaign("mbe_growth")
heavy = {"torch", "ray", "botorch", "gpytorch", "numba", "scipy"} & set(sys.modules)
sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
