"""The recorded class is the author's class, with notes of what reaches it."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from twinloop.clocks import VirtualClock
from twinloop.errors import ArgumentError
from twinloop.ids import CommandKey
from twinloop.instruments.conformance.record import Record
from twinloop.instruments.conformance.recorder import recorded_class, recorded_path
from twinloop.instruments.interface import Instrument, OnSilence, Recovery, action
from twinloop.instruments.spec import class_path, load_class
from twinloop.instruments.testing import Furnace, furnace_command


class Sleeper(Instrument, kind="sleeper"):
    """Blocks its loop, and awaits."""

    def connect(self) -> None: ...
    def safe_state(self) -> None: ...

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH)
    async def block(self) -> None:
        """Hold up everybody."""
        threading.Event().wait(0.6)
        await asyncio.sleep(0)

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH)
    async def wait(self) -> None:
        """Let others run."""
        for _ in range(20):
            await asyncio.sleep(0.03)


def record_of(folder: Path, cls: type[Instrument]) -> Record:
    record = Record(folder / "record")
    record.order_class(class_path(cls), "furnace", 1.5)
    return record


def connected(record: Record, **settings: str) -> Instrument:
    made = recorded_class(record)(**settings)
    made.attach(VirtualClock())
    made.connect()
    return made


def test_it_is_found_by_its_path_and_describes_itself_as_the_class_does(tmp_path: Path) -> None:
    record = record_of(tmp_path, Furnace)
    cls = load_class(recorded_path(record.folder), "furnace")
    assert issubclass(cls, Furnace)
    assert cls is load_class(recorded_path(record.folder), "furnace")
    mine, theirs = cls.describe(), Furnace.describe()
    assert mine["readouts"] == theirs["readouts"]
    for name, told in theirs["actions"].items():
        assert mine["actions"][name] == {**told, "silence_s": 1.5}
    assert cls.actions()["anneal"].reconciler is not None
    assert cls.actions()["anneal"].confirmer is Furnace.actions()["anneal"].confirmer
    with pytest.raises(ArgumentError):
        load_class(recorded_path(record.folder) + "zz", "furnace")


def test_what_reaches_an_action_is_noted_with_its_end(tmp_path: Path) -> None:
    record = record_of(tmp_path, Furnace)
    furnace = connected(record, folder=str(tmp_path / "line"))
    command = furnace_command("1", "heat", epoch=1, ledger="l", target_K=400.0)
    furnace.begin(command)
    assert asyncio.run(furnace.heat(target_K=400.0)) == 400.0  # type: ignore[attr-defined]
    begun, ended = record.lines(action="heat")
    assert (begun["what"], begun["key"], begun["arguments"]) == (
        "began", "c/t/1/1", {"target_K": 400.0},
    )  # fmt: skip
    assert (ended["what"], ended["result"]["$value"], ended["shape"]) == ("returned", 400.0, None)


def test_a_forced_readout_says_what_it_is_told(tmp_path: Path) -> None:
    record = record_of(tmp_path, Furnace)
    furnace = connected(record, folder=str(tmp_path / "line"))
    read = furnace.lid_is_closed  # type: ignore[attr-defined]
    assert asyncio.run(read()) is True
    record.give_order("force", lid_is_closed=False)
    assert asyncio.run(read()) is False
    record.withdraw("force")
    assert asyncio.run(read()) is True


def test_long_steps_are_noted_and_long_waits_are_not(tmp_path: Path) -> None:
    record = record_of(tmp_path, Sleeper)
    sleeper = connected(record)
    for name in ("block", "wait"):
        key = CommandKey("c", "t", name, 1)
        sleeper.begin(
            furnace_command("1", name, epoch=1, ledger="l").model_copy(update={"key": key})
        )
        asyncio.run(getattr(sleeper, name)())
    assert [line["action"] for line in record.lines(what="blocked")] == ["block"]
    assert json.dumps(record.lines(what="returned", action="wait"))
