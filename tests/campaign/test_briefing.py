"""From configuration to what a conductor leads."""

from importlib.resources import files

from twinloop.agents.campaign.briefing import brief_of
from twinloop.agents.campaign.conductor import compute_specs
from twinloop.agents.config.interface import load_campaign
from twinloop.agents.config.laboratory import TWINS


def shipped(name):
    return load_campaign(str(files("twinloop.configs").joinpath("campaigns", f"{name}.yaml")))


def test_two_runs_of_one_campaign_never_share_a_command_key():
    campaign = shipped("quick")
    names = {brief_of(campaign, {}, run).plan.campaign for run in ("aaaaaaaa1", "bbbbbbbb1")}
    assert names == {"quick.aaaaaaaa", "quick.bbbbbbbb"}


def test_the_brief_names_adapters_and_targets():
    brief = brief_of(shipped("mbe_growth"), {}, "r")
    assert brief.adapters == {"mbe": "chamber", "rheed": "chamber"}
    assert brief.targets == {"analyst": "analyst"}
    assert brief.space.names == ("substrate_K", "flux_ML_per_s", "dose_ML", "anneal_s")


def test_twins_on_ray_share_one_agent(tmp_path):
    text = files("twinloop.configs").joinpath("campaigns", "mbe_growth.yaml").read_text()
    path = tmp_path / "virtual.yaml"
    path.write_text(text.replace("lab: standin", "lab: virtual"))
    campaign = load_campaign(str(path))
    assert set(brief_of(campaign, {}, "r").adapters.values()) == {TWINS}
    twins = next(spec for spec in compute_specs(campaign) if spec.name == TWINS)
    assert set(twins.targets) == {"mbe", "rheed"}


def test_the_device_of_the_campaign_reaches_the_planner(tmp_path):
    text = files("twinloop.configs").joinpath("campaigns", "mbe_growth.yaml").read_text()
    path = tmp_path / "gpu.yaml"
    path.write_text(text + "\ndevice: cuda\n")
    spec = compute_specs(load_campaign(str(path)))[0]
    assert spec.targets["planner"]["options"]["device"] == "cuda"
