"""What an adapter process is told, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from twinloop.clocks import ScaledLabClock
from twinloop.errors import ArgumentError, ConfigError
from twinloop.instruments.adapter_server import AdapterServer, serve_in_thread
from twinloop.instruments.interface import Instrument
from twinloop.instruments.spec import AdapterSpec, class_path, make_instruments
from twinloop.instruments.spool import MemorySpool
from twinloop.instruments.testing import Furnace
from twinloop.log.memory import MemoryLog


class RealLamp(Instrument, kind="lamp"):
    def connect(self) -> None: ...

    def safe_state(self) -> None: ...


def spec(folder: Path, **change: Any) -> AdapterSpec:
    furnace = {"class": class_path(Furnace), "settings": {"folder": "x"}}
    return AdapterSpec.model_validate(
        {
            "agent": "chamber", "hub": "tcp://127.0.0.1:1", "folder": folder,
            "instruments": {"furnace": furnace}, **change,
        }
    )  # fmt: skip


def test_a_specification_survives_its_file(tmp_path: Path) -> None:
    spec(tmp_path).write(tmp_path / "spec.json")
    assert AdapterSpec.read(tmp_path / "spec.json") == spec(tmp_path)
    assert isinstance(make_instruments(spec(tmp_path))["furnace"], Furnace)


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"agent": 3}')
    for name in ("spec.json", "absent.json"):
        with pytest.raises(ConfigError, match=name):
            AdapterSpec.read(tmp_path / name)


@pytest.mark.parametrize("cls", ["no.module:X", "twinloop.errors:LabError", "twinloop.errors:X"])
def test_a_class_that_is_no_instrument_is_said(tmp_path: Path, cls: str) -> None:
    with pytest.raises(ArgumentError, match="class of lamp"):
        make_instruments(spec(tmp_path, instruments={"lamp": {"class": cls}}))


def test_settings_that_the_class_does_not_take_are_said(tmp_path: Path) -> None:
    bad = {"class": class_path(Furnace), "settings": {"colour": "red"}}
    with pytest.raises(ConfigError, match="colour"):
        make_instruments(spec(tmp_path, instruments={"furnace": bad}))


def test_a_scaled_clock_is_refused_for_what_is_not_a_twin(tmp_path: Path) -> None:
    assert make_instruments(spec(tmp_path, clock_factor=100.0))
    with pytest.raises(ArgumentError, match="clock_factor"):
        AdapterServer(
            {"lamp": RealLamp()}, agent="a", hub="tcp://127.0.0.1:1", log=MemoryLog("l"),
            spool=MemorySpool(), clock=ScaledLabClock(2.0),
        )  # fmt: skip


def test_a_real_instrument_is_not_served_from_memory() -> None:
    with pytest.raises(ArgumentError, match="a twin"):
        serve_in_thread({"lamp": RealLamp()}, agent="a", hub="tcp://127.0.0.1:1")
