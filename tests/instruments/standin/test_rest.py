"""A machine process that is killed between two operations keeps its film; in one, it loses it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinloop.instruments.interface import NotDone, NotTouched
from twinloop.instruments.standin.chamber import Chamber
from twinloop.instruments.standin.interface import Operation, Progress
from twinloop.instruments.standin.physical_log import EventFile
from twinloop.instruments.standin.settings import ChamberSettings
from twinloop.instruments.standin.testing import Bench, command_for
from twinloop.instruments.standin.twin import OperationCut

SETTINGS = ChamberSettings(size=16, seed=3)


class Life:
    """One life of a machine process, without the process."""

    def __init__(self, folder: Path) -> None:
        self.log = EventFile(folder / "physical.log")
        self.chamber = Chamber(SETTINGS, log=self.log, folder=folder, history=self.log.events)

    def begin(self, key: str, name: Any, **arguments: float) -> Progress:
        return self.chamber.begin(Operation(key=key, name=name, arguments=arguments, sample="s1"))

    def do(self, key: str, name: Any, **arguments: float) -> Progress:
        begun = self.begin(key, name, **arguments)
        if not begun.is_running:
            return begun
        lane = "mbe" if name in {"load", "heat", "grow", "anneal"} else "rheed"
        while name != "record" and self.chamber.step(lane) is not None:
            pass
        return self.chamber.progress(key)

    def grow_a_film(self) -> Progress:
        self.do("c/t/0/1", "load")
        self.do("c/t/1/1", "heat", substrate_K=640.0)
        self.begin("c/t/3/1", "record")
        self.do("c/t/2/1", "grow", flux_ML_per_s=1.0, dose_ML=1.5)
        return self.do("c/t/3/1", "record")

    def film_after_an_anneal(self) -> tuple[list[Any], Any]:
        annealed = self.do("c/t/4/1", "anneal", hold_s=2.0)
        seen = self.do("c/t/5/1", "specular", exposure_s=1.0)
        frame = self.do("c/t/6/1", "expose", exposure_s=1.0)
        return [annealed.state, annealed.numbers, seen.numbers], frame.arrays["frame"]


Lives = Callable[[Path], Life]


@pytest.fixture
def live() -> Iterator[Lives]:
    lives: list[Life] = []

    def begin(folder: Path) -> Life:
        folder.mkdir(exist_ok=True)
        lives.append(Life(folder))
        return lives[-1]

    yield begin
    for life in lives:
        # a recipe that is left suspended would write when it is collected
        life.chamber.safe_state("the end of the test")
        while life.chamber.step("mbe") is not None:
            pass
        life.log.close()


@pytest.fixture
def life(live: Lives, tmp_path: Path) -> Life:
    return live(tmp_path)


def test_a_film_at_rest_goes_on_in_the_next_life_as_if_nothing_had_happened(
    live: Lives, life: Life, tmp_path: Path
) -> None:
    life.grow_a_film()
    undisturbed = live(tmp_path / "undisturbed")
    undisturbed.grow_a_film()
    expected, expected_frame = undisturbed.film_after_an_anneal()
    again = live(tmp_path)
    assert again.chamber.readings().sample == "s1"
    assert again.chamber.readings().heater_is_idle
    found, frame = again.film_after_an_anneal()
    assert found == expected
    assert found[0] == "done"
    assert np.array_equal(frame, expected_frame)


def test_the_trace_of_a_growth_is_found_again_under_the_key_that_took_it(
    live: Lives, life: Life, tmp_path: Path
) -> None:
    taken = life.grow_a_film()
    again = live(tmp_path).do("c/t/3/1", "record")
    assert again.state == taken.state == "done"
    assert again.numbers == taken.numbers
    assert np.array_equal(again.arrays["intensity"], taken.arrays["intensity"])


def test_a_trace_that_nobody_has_taken_waits_for_who_comes(
    live: Lives, life: Life, tmp_path: Path
) -> None:
    life.do("c/t/0/1", "load")
    life.do("c/t/2/1", "grow", flux_ML_per_s=1.0, dose_ML=1.5)
    assert live(tmp_path).do("c/t/3/1", "record").state == "done"


@pytest.mark.parametrize("name", ["grow", "anneal"])
def test_a_film_that_something_was_done_to_is_lost_with_the_machine(
    live: Lives, life: Life, tmp_path: Path, name: str
) -> None:
    life.grow_a_film()
    arguments = {"hold_s": 5.0} if name == "anneal" else {"flux_ML_per_s": 1.0, "dose_ML": 2.0}
    life.begin("c/t/7/1", name, **arguments)
    while life.log.events[-1]["kind"] not in {"growth_reached", "anneal_started"}:
        life.chamber.step("mbe")
    again = live(tmp_path)
    assert again.chamber.progress("c/t/7/1").state == "partial"
    assert again.chamber.readings().sample is None


def test_a_heat_that_was_cut_short_leaves_the_film_where_it_is(
    live: Lives, life: Life, tmp_path: Path
) -> None:
    life.grow_a_film()
    life.begin("c/t/8/1", "heat", substrate_K=700.0)
    life.chamber.step("mbe")
    life.chamber.safe_state("test")
    assert life.chamber.step("mbe") == 0.0
    assert life.chamber.progress("c/t/8/1").state == "partial"
    assert live(tmp_path).chamber.readings().sample == "s1"


def test_the_temperature_last_asked_for_is_approached_again(
    live: Lives, life: Life, tmp_path: Path
) -> None:
    life.do("c/t/0/1", "load")
    life.do("c/t/1/1", "heat", substrate_K=640.0)
    again = live(tmp_path)
    grown = again.do("c/t/2/1", "grow", flux_ML_per_s=1.0, dose_ML=1.0)
    assert grown.numbers["substrate_K"] == pytest.approx(640.0, abs=1.0)


def test_a_full_disk_costs_the_film_only_when_the_machine_dies(
    live: Lives, life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("twinloop.instruments.standin.rest.write_whole", refuse)
    life.do("c/t/0/1", "load")
    assert life.chamber.readings().sample == "s1"
    assert live(tmp_path).chamber.readings().sample is None


def test_what_a_restarted_machine_has_not_seen_is_asked_about_and_may_be_tried_again() -> None:
    bench = Bench(SETTINGS, name="restarted")
    with pytest.raises(OperationCut, match="the machine was restarted"):
        bench.mbe.finished("load", Progress("unseen"))
    command = command_for(bench.mbe, "load", "s1")
    assert isinstance(bench.run(bench.mbe.what_was_loaded(command)), NotDone)
    bench.close()


def test_a_record_whose_trace_died_with_the_machine_is_not_armed_again() -> None:
    bench = Bench(SETTINGS, name="restarted")
    command = command_for(bench.rheed, "record", "s1", wait_s=600.0)
    bench.rheed.line.begin = lambda _: Progress("unseen")  # type: ignore[method-assign]
    with pytest.raises(NotTouched, match="the detector's memory is gone"):
        bench.run(bench.obey(bench.rheed, command))
    bench.close()
