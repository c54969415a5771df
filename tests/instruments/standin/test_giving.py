"""A film leaves the chamber once, whoever dies: it is in the chamber or in the vessel, never both."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinloop.instruments.interface import Done, NotTouched
from twinloop.instruments.standin import plant as plants
from twinloop.instruments.standin.chamber import Chamber
from twinloop.instruments.standin.interface import Operation, Progress
from twinloop.instruments.standin.physical_log import EventFile
from twinloop.instruments.standin.settings import ChamberSettings
from twinloop.instruments.standin.testing import Bench, command_for
from twinloop.instruments.standin.vessel import Stage, Vessel

SETTINGS = ChamberSettings(size=16, seed=3)
GIVE = "c/t/4/1"


class Killed(BaseException):
    """The process ends here."""


class Life:
    """One life of a machine process with a transfer vessel, without the process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.vessel = Vessel(folder / "vessel")
        self.log = EventFile(folder / "physical.log")
        self.chamber = Chamber(
            SETTINGS, log=self.log, folder=folder, history=self.log.events, vessel=folder / "vessel"
        )

    def do(self, key: str, name: Any, sample: str = "s1", **arguments: float) -> Progress:
        begun = self.chamber.begin(
            Operation(key=key, name=name, arguments=arguments, sample=sample)
        )
        if not begun.is_running:
            return begun
        while self.chamber.step("mbe") is not None:
            pass
        return self.chamber.progress(key)

    def grow_a_film(self) -> None:
        self.do("c/t/0/1", "load")
        self.do("c/t/1/1", "heat", substrate_K=640.0)
        self.do("c/t/2/1", "grow", flux_ML_per_s=1.0, dose_ML=1.5)

    def places(self) -> tuple[str | None, list[str]]:
        return self.chamber.readings().sample, self.vessel.held()

    def end(self) -> "Life":
        """Die, and return the next life."""
        self.log.close()
        following = Life(self.folder)
        LIVES.append(following)
        return following


LIVES: list[Life] = []


@pytest.fixture
def life(tmp_path):
    first = Life(tmp_path / "machine")
    LIVES.append(first)
    first.grow_a_film()
    yield first
    while LIVES:
        LIVES.pop().log.close()


def test_what_was_given_is_the_film_that_grew(life, tmp_path):
    grown = life.chamber._plant.sample.film.heights.copy()
    assert life.do(GIVE, "give").state == "done"
    assert life.places() == (None, ["s1"])
    taken = life.vessel.take("c/t/5/1", "s1", Stage(tmp_path / "stm"))
    np.testing.assert_array_equal(taken.film.heights_ML, grown)
    assert [(event.what, event.where) for event in taken.history] == [
        ("grow", "mbe"),
        ("give", "mbe"),
    ]
    assert taken.history[0].numbers["dose_ML"] == pytest.approx(1.5, rel=0.1)


def test_the_next_sample_may_come_in_while_the_last_is_elsewhere(life):
    life.do(GIVE, "give")
    assert life.do("c/u/0/1", "load", sample="s2").state == "done"
    assert life.places() == ("s2", ["s1"])


def test_the_same_key_is_answered_and_moves_nothing(life, tmp_path):
    life.do(GIVE, "give")
    life.vessel.take("c/t/5/1", "s1", Stage(tmp_path / "stm"))
    again = life.end()
    assert again.do(GIVE, "give").state == "done"
    assert again.places() == (None, [])


@pytest.mark.parametrize("dies_before", ["the vessel", "the log"])
def test_a_machine_that_dies_while_giving_knows_afterwards_where_the_film_is(
    life, monkeypatch, dies_before
):
    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if dies_before == "the vessel":
            patch.setattr(plants.Vessel, "give", die)
        else:
            append = life.log.append
            patch.setattr(
                life.log,
                "append",
                lambda kind, **f: die() if kind == "sample_given" else append(kind, **f),
            )
        with pytest.raises(Killed):
            life.do(GIVE, "give")
    after = life.end()
    if dies_before == "the vessel":
        assert after.places() == ("s1", [])
        assert after.chamber.progress(GIVE).state == "unseen"
        assert after.do("c/t/4/2", "give").state == "done"
    else:
        assert after.chamber.progress(GIVE).state == "done"
    assert after.places() == (None, ["s1"])
    third = after.end()
    assert third.places() == (None, ["s1"])
    assert third.do("c/u/0/1", "load", sample="s2").state == "done"


def test_a_full_vessel_refuses_and_the_film_stays_in(life, monkeypatch):
    monkeypatch.setattr("twinloop.instruments.standin.vessel.CAPACITY", 0)
    refused = life.do(GIVE, "give")
    assert refused.state == "not_done"
    assert "0 at most" in refused.reason
    assert life.places() == ("s1", [])


def test_a_twin_gives_and_is_reconciled_by_key(tmp_path):
    bench = Bench(SETTINGS, vessel=tmp_path / "vessel")
    bench.run(bench.prepare("s1", substrate_K=640.0))
    command = command_for(bench.mbe, "give", "s1")
    bench.run(bench.obey(bench.mbe, command))
    assert Vessel(tmp_path / "vessel").held() == ["s1"]
    assert bench.run(bench.mbe.what_was_given(command)) == Done(None)
    bench.close()


def test_a_chamber_without_a_vessel_says_so():
    bench = Bench(SETTINGS)
    bench.run(bench.prepare("s1", substrate_K=640.0))
    with pytest.raises(NotTouched, match="no transfer vessel"):
        bench.run(bench.act(bench.mbe, "give", "s1"))
    bench.close()
