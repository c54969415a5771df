"""What an adapter process is told, from the laboratory file."""

from pathlib import Path

import pytest

from twinloop.agents.config.adapter import adapter_spec
from twinloop.agents.config.interface import load_laboratory
from twinloop.errors import ArgumentError
from twinloop.instruments.spec import make_instruments

HUB = "tcp://127.0.0.1:5555"


def test_the_instruments_of_one_adapter_are_told_complete(bench: Path) -> None:
    spec = adapter_spec(load_laboratory(bench / "lab.yaml"), "oven", hub=HUB, folder=bench / "oven")
    assert (spec.agent, spec.hub, spec.clock_factor) == ("oven", HUB, 10.0)
    assert spec.stop_endpoint == "tcp://127.0.0.1:5701"
    assert spec.instruments["furnace"].cls == "furnace_lab:FurnaceTwin"
    assert spec.instruments["furnace"].settings == {"ambient_K": 300}
    (furnace,) = make_instruments(spec).values()
    assert type(furnace).__name__ == "FurnaceTwin"


def test_the_twins_of_the_stand_in_are_told_their_machine(tmp_path: Path) -> None:
    lab = load_laboratory("standin")
    spec = adapter_spec(lab, "chamber", hub=HUB, folder=tmp_path, machine="tcp://127.0.0.1:5601")
    machines = {name: one.settings["machine"] for name, one in spec.instruments.items()}
    assert machines == {"mbe": "tcp://127.0.0.1:5601", "rheed": "tcp://127.0.0.1:5601"}
    made = make_instruments(spec)
    assert {name: instrument.kind for name, instrument in made.items()} == {
        "mbe": "mbe",
        "rheed": "rheed",
    }


def test_an_adapter_that_serves_nothing_is_told_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'chamber'"):
        adapter_spec(load_laboratory("standin"), "chambr", hub=HUB, folder=tmp_path)


def test_a_machine_is_refused_by_instruments_that_take_none(bench: Path) -> None:
    lab = load_laboratory(bench / "lab.yaml")
    with pytest.raises(ArgumentError, match="FurnaceTwin has no setting"):
        adapter_spec(lab, "oven", hub=HUB, folder=bench, machine="tcp://127.0.0.1:5601")
