"""What a laboratory of instruments with stages must keep, told before anything starts."""

from importlib.resources import files

import pytest

from twinloop.agents.config.interface import load_laboratory
from twinloop.agents.config.laboratory import with_places
from twinloop.errors import ConfigError


def shipped(folder, name):
    return files("twinloop.configs").joinpath(folder, name).read_text()


def test_two_instruments_that_hold_a_sample_need_an_adapter_each(tmp_path):
    text = shipped("labs", "four_instruments.yaml").replace("{served: xrd,", "{served: stm,")
    path = tmp_path / "lab.yaml"
    path.write_text(text.replace("  xrd:     {start: demo}\n", ""))
    with pytest.raises(ConfigError, match="an adapter of its own: stm serves stm"):
        load_laboratory(str(path))


def test_a_twin_gets_the_places_of_its_run_where_it_names_none(tmp_path):
    vessel, folder = tmp_path / "vessel", tmp_path / "stm"
    bare = {"vessel": None, "folder": None, "specimen": None}
    assert with_places(bare, vessel, folder) == bare | {
        "vessel": str(vessel),
        "folder": str(folder),
    }
    assert with_places(bare | {"vessel": "/lab/v"}, vessel, folder)["vessel"] == "/lab/v"
    # what an autoloader mounts comes from no vessel
    assert with_places(bare | {"specimen": "mos2"}, vessel, folder)["vessel"] is None
    assert with_places({"port": "COM3"}, vessel, folder) == {"port": "COM3"}
