"""What looks cost: said by the laboratory alone, and checked before anything starts."""

from importlib.resources import files

import pytest

from twinloop.agents.cli.config_commands import describe
from twinloop.agents.config.interface import check, load_campaign
from twinloop.errors import ConfigError


def shipped(folder, name):
    return files("twinloop.configs").joinpath(folder, name).read_text()


@pytest.fixture
def bench(tmp_path):
    """A campaign with looks and its laboratory, to be changed; `run(lab=..., campaign=...)` reads it."""

    def run(lab=(), campaign=()):
        texts = {
            "four_instruments.yaml": (shipped("labs", "four_instruments.yaml"), lab),
            "campaign.yaml": (shipped("campaigns", "grow_and_look.yaml"), campaign),
        }
        for name, (text, changes) in texts.items():
            changed = text
            for old, new in changes:
                assert old in changed
                changed = changed.replace(old, new)
            (tmp_path / name).write_text(changed)
        path = tmp_path / "campaign.yaml"
        path.write_text(path.read_text().replace("four_instruments ", "four_instruments.yaml "))
        return load_campaign(str(path))

    return run


def test_the_hours_of_each_look_are_those_of_its_instrument(bench):
    campaign = bench(
        lab=[("cost_h: 1.5, settings: {seed: 11}", "cost_h: 105 min, settings: {seed: 11}")]
    )
    looks = {"look_stm": 1.75, "look_xrd": 1.0, "look_stem": 5.0}
    assert campaign.planner["look_h"] == pytest.approx(looks)
    assert campaign.planner["base_h"] == pytest.approx(6.0)
    assert any("look_stm 1.75 h" in line for line in describe(campaign))


def test_the_resolved_campaign_gives_the_same_hours(bench, tmp_path):
    import json

    campaign = bench()
    path = tmp_path / "again.yaml"
    path.write_text(json.dumps(campaign.resolved()))
    assert load_campaign(str(path)).planner == campaign.planner


STEM = "cost_h: 5, settings: {seed: 13}"


@pytest.mark.parametrize(
    ("lab", "campaign", "words"),
    [
        ([(STEM, "settings: {seed: 13}")], [], "instruments.stem.cost_h of the laboratory"),
        ([(STEM, "cost_h: -1, settings: {seed: 13}")], [], "instruments.stem.cost_h: found -1"),
        ([(STEM, "cost_h: 0, settings: {seed: 13}")], [], "0 h as instruments.stem.cost_h"),
        ([(STEM, "cost_h: 3 K, settings: {seed: 13}")], [], "instruments.stem.cost_h: found '3 K'"),
        ([("cost_h: 6", "cost_h: 0")], [], "0 h for a trial without a look"),
        ([("  stem:  {served: stem, class: stem_twin, " + STEM + "}\n", "")], [], "stem: STEM"),
        ([], [("look_stem: ", "look_afm: ")], "unknown field 'look_afm'"),
        ([], [("n_initial: 8", "look_h: {look_afm: 0.9}")], "planner.look_h: found"),
        (
            [],
            [("n_initial: 8", "base_h: 1.0")],
            "planner.base_h: found 1.0, allowed: nothing, or 6",
        ),
    ],
)
def test_what_is_wrong_with_looks_is_told_before_anything_starts(bench, lab, campaign, words):
    with pytest.raises(ConfigError) as caught:
        bench(lab, campaign)
    assert words in str(caught.value)


def test_a_planner_of_looks_needs_a_protocol_that_has_some(tmp_path):
    text = shipped("campaigns", "quick.yaml")
    path = tmp_path / "campaign.yaml"
    path.write_text(text.replace("planner: sobol", "planner: {name: looking_bo}"))
    problems = " ".join(map(str, check(str(path)).problems))
    assert "declares none" in problems


@pytest.mark.parametrize(
    ("shipped_name", "old", "new"),
    [
        ("grow_and_look.yaml", "{low: 620, high: 780}", "{low: 620, high: 1780}"),
        ("mbe_growth.yaml", "substrate_K: ", "substrate_K: {low: -400, high: 700} # "),
    ],
)
def test_a_search_beyond_the_chamber_starts_nothing(tmp_path, shipped_name, old, new):
    text = shipped("campaigns", shipped_name)
    assert old in text
    path = tmp_path / "campaign.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=r"search\.substrate_K.*allowed: 300 to 1000 K"):
        check(load_campaign(str(path)))
