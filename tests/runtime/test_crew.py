"""Which children a campaign has, and what each is told."""

from pathlib import Path

import pytest

from twinloop.agents.config.interface import Campaign, load_campaign, load_laboratory
from twinloop.agents.runtime.crew import adapter_spec, crew_of
from twinloop.agents.runtime.keeper import ChildSpec
from twinloop.agents.runtime.run_folder import RunFolder
from twinloop.errors import ArgumentError
from twinloop.instruments.spec import AdapterSpec, make_instruments

HUB = "tcp://127.0.0.1:5599"


@pytest.fixture
def campaign() -> Campaign:
    return load_campaign("mbe_growth")


@pytest.fixture
def folder(tmp_path: Path, campaign: Campaign) -> RunFolder:
    return RunFolder.create(tmp_path / "run", campaign.resolved(), "mbe_growth.yaml")


def told(child: ChildSpec, option: str) -> str:
    argv = child.argv
    assert isinstance(argv, tuple)
    return argv[argv.index(option) + 1]


def test_the_stand_in_is_reached_by_its_adapter_alone(
    campaign: Campaign, folder: RunFolder
) -> None:
    children = {child.name: child for child in crew_of(campaign, folder, HUB).children}
    assert set(children) == {"hub", "machine-chamber", "chamber", "conductor"}
    machine = told(children["machine-chamber"], "--endpoint")
    spec = AdapterSpec.read(Path(told(children["chamber"], "--spec")))
    assert {one.settings["machine"] for one in spec.instruments.values()} == {machine}
    for name in ("hub", "conductor"):
        assert machine not in children[name].argv
    assert machine not in folder.config_file.read_text()


def test_all_dial_the_hub_where_it_listens(campaign: Campaign, folder: RunFolder) -> None:
    children = {child.name: child for child in crew_of(campaign, folder, HUB).children}
    assert told(children["hub"], "--endpoint") == HUB
    assert told(children["conductor"], "--hub") == HUB
    assert AdapterSpec.read(Path(told(children["chamber"], "--spec"))).hub == HUB


def test_every_child_ends_with_its_parent(campaign: Campaign, folder: RunFolder) -> None:
    for child in crew_of(campaign, folder, HUB).children:
        assert "--exit-with-stdin" in child.argv


def test_who_commands_ends_before_who_is_commanded(campaign: Campaign, folder: RunFolder) -> None:
    crew = crew_of(campaign, folder, HUB)
    assert crew.ranks == (("conductor",), ("chamber",), ("machine-chamber",), ("hub",))
    assert crew.leader == "conductor"
    finals = {child.name: child.final for child in crew.children}
    assert finals["conductor"] == {0, 3, 4}
    assert finals["hub"] == finals["chamber"] == frozenset()


def test_machine_and_adapter_keep_their_files_and_their_clock(
    campaign: Campaign, folder: RunFolder
) -> None:
    children = {child.name: child for child in crew_of(campaign, folder, HUB).children}
    machine = children["machine-chamber"]
    assert told(machine, "--folder") == str(folder.path / "machines" / "chamber")
    spec = AdapterSpec.read(Path(told(children["chamber"], "--spec")))
    assert spec.folder == folder.path / "adapters" / "chamber"
    factor = campaign.laboratory.clock_factor
    assert (float(told(machine, "--clock-factor")), spec.clock_factor) == (factor, factor)


def test_what_an_adapter_is_told_makes_its_instruments(folder: RunFolder) -> None:
    spec = adapter_spec(load_laboratory("standin"), "chamber", folder.adapters, HUB, "tcp://x:1")
    made = make_instruments(spec)
    assert {name: type(one).__name__ for name, one in made.items()} == {
        "mbe": "MBETwin",
        "rheed": "RHEEDTwin",
    }


def test_twins_on_ray_need_no_adapter_process(tmp_path: Path, campaign: Campaign) -> None:
    config = campaign.resolved() | {"lab": load_laboratory("virtual").to_json()}
    folder = RunFolder.create(tmp_path / "virtual", config, "x.yaml")
    crew = crew_of(load_campaign(folder.config_file), folder, HUB)
    assert [child.name for child in crew.children] == ["hub", "conductor"]


def test_an_adapter_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="chamber"):
        adapter_spec(load_laboratory("standin"), "chambr", tmp_path, HUB)


def test_a_finished_run_is_only_reported_again(
    tmp_path: Path, campaign: Campaign, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twinloop.agents.campaign.events import Finished, entry_of
    from twinloop.agents.runtime import supervisor
    from twinloop.log.sqlite import SqliteLog

    log = SqliteLog(folder.path / "journal.db", "journal-test")
    log.append(entry_of(Finished(reason="the budget is spent")))
    log.close()
    told_lines: list[str] = []
    monkeypatch.setattr(supervisor, "_report", lambda run: told_lines.append(f"report {run.path}"))
    monkeypatch.setattr(supervisor, "_tell", told_lines.append)
    monkeypatch.setattr(supervisor, "_supervise", lambda *_: pytest.fail("it was started again"))
    assert supervisor.resume_campaign(folder.path, view=False) == 0
    assert "the budget is spent" in told_lines[0]
