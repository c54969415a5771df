"""A sample is at exactly one place, whenever a process dies or the power fails, and receipts say which."""

import contextlib
import errno
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from twinloop.errors import ArgumentError
from twinloop.instruments.standin import vessel as vessels
from twinloop.instruments.standin.testing_disk import Killed, MortalDisk
from twinloop.instruments.standin.vessel import Stage, Vessel, VesselRefused
from twinloop.log import durable
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.specimen import Specimen


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    """These tests do not cut the power; those that do bring a disk of their own."""
    monkeypatch.setattr(durable, "sync_file", lambda _: None)


@pytest.fixture
def disk(monkeypatch) -> MortalDisk:
    return MortalDisk(monkeypatch, vessels)


class Laboratory:
    """Two stages and a vessel, as processes find them on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.restart()

    def restart(self) -> None:
        self.vessel = Vessel(self.folder / "vessel")
        self.stages = {name: Stage(self.folder / name) for name in "ab"}
        for stage in self.stages.values():
            self.vessel.settle(stage)

    def places(self, sample: str = "s1") -> list[str]:
        """Return every place where a sample is; a stage with two files counts twice."""
        found = ["vessel"] * self.vessel.held().count(sample)
        for name, stage in self.stages.items():
            there = [p for p in stage.folder.glob("*.npz") if p.name.startswith(f"{sample}.")]
            found += [name] * len(there)
        return found


def specimen(name: str = "s1") -> Specimen:
    return Specimen(name, 7, FilmStructure.flat(4))


def give(key: str, stage: str) -> Callable[[Laboratory], object]:
    return lambda lab: lab.vessel.give(key, lab.stages[stage])


def take(key: str, stage: str) -> Callable[[Laboratory], object]:
    return lambda lab: lab.vessel.take(key, "s1", lab.stages[stage])


JOURNEY = [(give, "a", "vessel"), (take, "b", "b"), (give, "b", "vessel"), (take, "a", "a")]
KEYS = [f"c/t/{step}/1" for step in range(len(JOURNEY))]


def lab_before(folder: Path, step: int) -> Laboratory:
    lab = Laboratory(folder)
    lab.stages["a"].write(specimen(), "c/t/load/1")
    for key, (move, stage, _) in zip(KEYS[:step], JOURNEY, strict=False):
        move(key, stage)(lab)
    return lab


def deaths(disk: MortalDisk, step: Callable[[], object]) -> Iterator[int]:
    """Let a step die at one disk operation after the other, until it comes to its end."""
    for operation in itertools.count():
        disk.die_at(operation)
        with contextlib.suppress(Killed):
            step()
        if not disk.live_again():
            return
        yield operation


@pytest.mark.parametrize("has_power_cut", [False, True], ids=["killed", "power"])
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(len(JOURNEY)))
def test_a_sample_is_at_one_place_whenever_its_move_dies(
    tmp_path, disk, step, is_after, has_power_cut
):
    move, stage, target = JOURNEY[step]
    source = "a" if step == 0 else JOURNEY[step - 1][2]
    seen = set()
    for operation in itertools.count():
        lab = lab_before(tmp_path / str(operation), step)
        disk.die_at(operation, is_after=is_after, has_power_cut=has_power_cut)
        with contextlib.suppress(Killed):
            move(KEYS[step], stage)(lab)
        has_died = disk.live_again()
        lab.restart()
        has_moved = lab.places() == [target]
        seen.add(has_moved)
        assert lab.places() == [target if has_moved else source]
        assert lab.vessel.has_happened(KEYS[step]) is has_moved
        keys = dict.fromkeys(KEYS[:step], True) | {KEYS[step]: has_moved}
        if not has_moved:
            keys["again"] = True
            move("again", stage)(lab)
        # the rest of its way, and back: no receipt says anything else for it
        for later, (onward, where, _) in enumerate(JOURNEY[step + 1 :] + JOURNEY):
            keys[f"later/{later}"] = True
            onward(f"later/{later}", where)(lab)
            assert {key: lab.vessel.has_happened(key) for key in keys} == keys
        assert lab.places() == ["a"]
        if not has_died:
            assert has_moved
            break
    assert operation > 4
    assert seen == {False, True}


def test_an_attempt_that_failed_is_not_called_done_when_the_power_fails_in_the_next(
    tmp_path, disk, monkeypatch
):
    def die(*_: Any) -> None:
        raise Killed

    for operation in itertools.count():
        lab = lab_before(tmp_path / str(operation), 0)
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(Vessel, "_move", die)
            lab.vessel.give("first", lab.stages["a"])
        disk.die_at(operation, is_after=True, has_power_cut=True)
        with contextlib.suppress(Killed):
            lab.vessel.give("second", lab.stages["a"])
        has_died = disk.live_again()
        lab.restart()
        assert not lab.vessel.has_happened("first"), operation
        assert lab.vessel.has_happened("second") is (lab.places() == ["vessel"])
        if not has_died:
            break


@pytest.mark.parametrize("step", range(len(JOURNEY)))
def test_whoever_dies_while_settling_settles_again(tmp_path, disk, step):
    move, stage, target = JOURNEY[step]
    n_settled = 0
    for operation in range(12):
        for second in range(3):
            lab = lab_before(tmp_path / f"{operation}-{second}", step)
            disk.die_at(operation, is_after=True, has_power_cut=False)
            with contextlib.suppress(Killed):
                move(KEYS[step], stage)(lab)
            disk.live_again()
            disk.die_at(second, is_after=False, has_power_cut=True)
            try:
                lab.restart()
            except Killed:
                n_settled += 1
            disk.live_again()
            lab.restart()
            assert len(lab.places()) == 1
            assert lab.vessel.has_happened(KEYS[step]) is (lab.places() == [target])
    # only a take is settled
    assert (n_settled > 0) == (move is take)


def test_the_same_key_moves_a_sample_once(tmp_path):
    lab = lab_before(tmp_path, 1)
    lab.vessel.give(KEYS[0], lab.stages["a"])
    first = lab.vessel.take(KEYS[1], "s1", lab.stages["b"])
    again = lab.vessel.take(KEYS[1], "s1", lab.stages["b"])
    assert first.name == again.name == "s1"
    lab.vessel.give(KEYS[0], lab.stages["b"])
    assert lab.places() == ["b"]


def test_a_take_that_is_no_longer_the_last_is_not_repeated(tmp_path):
    lab = lab_before(tmp_path, 3)
    with pytest.raises(VesselRefused, match="gone on since"):
        lab.vessel.take(KEYS[1], "s1", lab.stages["b"])
    assert lab.places() == ["vessel"]


def test_a_changed_sample_stays_the_same_one(tmp_path):
    lab = lab_before(tmp_path, 2)
    kept = lab.stages["b"].read()
    lab.stages["b"].write(replace(kept, dose_e_per_A2=3.0), "c/t/scan/1")
    lab.vessel.give(KEYS[2], lab.stages["b"])
    assert lab.vessel.take(KEYS[3], "s1", lab.stages["a"]).dose_e_per_A2 == 3.0
    assert lab.places() == ["a"]


# --- refusals -----------------------------------------------------------------------------------


def test_an_empty_stage_has_nothing_to_give(tmp_path):
    lab = Laboratory(tmp_path)
    with pytest.raises(VesselRefused, match="nothing is on the stage"):
        lab.vessel.give("k", lab.stages["a"])
    assert not lab.vessel.has_happened("k")


def test_a_full_stage_takes_nothing(tmp_path):
    lab = lab_before(tmp_path, 1)
    lab.stages["b"].write(specimen("s2"), "k")
    with pytest.raises(VesselRefused, match="s2 is on the stage"):
        lab.vessel.take("k2", "s1", lab.stages["b"])
    assert not lab.vessel.has_happened("k2")
    assert lab.places() == ["vessel"]


def test_what_the_vessel_does_not_hold_cannot_be_taken_and_it_says_what_it_holds(tmp_path):
    lab = lab_before(tmp_path, 1)
    with pytest.raises(VesselRefused, match=r"vessel holds s1; allowed") as refused:
        lab.vessel.take("k2", "s9", lab.stages["b"])
    assert refused.value.sample == "s9"
    assert not lab.vessel.has_happened("k2")


@pytest.mark.parametrize("name", ["s1", "S1"])
def test_a_second_sample_of_a_name_does_not_replace_the_first(tmp_path, name):
    """On Windows and macOS "S1" would be written over "s1"."""
    lab = lab_before(tmp_path, 1)
    lab.stages["b"].write(specimen(name), "k")
    with pytest.raises(VesselRefused, match="one of that name is in"):
        lab.vessel.give("k2", lab.stages["b"])
    assert lab.stages["b"].sample() == name
    assert lab.vessel.held() == ["s1"]


def test_a_full_vessel_refuses_and_the_sample_stays_on_its_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(vessels, "CAPACITY", 3)
    lab = Laboratory(tmp_path)
    for n in range(3):
        lab.stages["a"].write(specimen(f"x{n}"), f"load/{n}")
        lab.vessel.give(f"give/{n}", lab.stages["a"])
    lab.stages["a"].write(specimen("x3"), "load/3")
    with pytest.raises(VesselRefused, match="3 samples are in; allowed: 3 at most"):
        lab.vessel.give("give/3", lab.stages["a"])
    assert lab.stages["a"].sample() == "x3"
    assert not lab.vessel.has_happened("give/3")
    assert lab.vessel.held() == ["x0", "x1", "x2"]


def test_a_name_with_dots_stays_whole(tmp_path):
    lab = Laboratory(tmp_path)
    lab.stages["a"].write(specimen("run-1.2.npz"), "k0")
    assert lab.stages["a"].sample() == "run-1.2.npz"
    lab.vessel.give("k1", lab.stages["a"])
    assert lab.vessel.held() == ["run-1.2.npz"]
    assert lab.vessel.take("k2", "run-1.2.npz", lab.stages["b"]).name == "run-1.2.npz"


def test_a_stage_does_not_keep_one_sample_under_the_name_of_another(tmp_path):
    lab = lab_before(tmp_path, 0)
    with pytest.raises(ArgumentError, match="s1, which is on it"):
        lab.stages["a"].write(specimen("s2"), "k")
    assert lab.stages["a"].read().name == "s1"


def test_what_is_forgotten_at_a_door_never_counts_as_given(tmp_path, disk):
    """A chamber writes its film to its door, dies at the receipt, and begins again with another key."""
    lab = lab_before(tmp_path, 0)
    for operation in deaths(disk, lambda: lab.vessel.give("first", lab.stages["a"])):
        lab.restart()
        if lab.places() == ["vessel"]:
            break
        lab.vessel.clear(lab.stages["a"])
        assert not lab.vessel.has_happened("first"), operation
        assert lab.places() == []
        lab.stages["a"].write(specimen(), "again")


# --- folders ------------------------------------------------------------------------------------


def test_a_run_folder_may_be_moved(tmp_path):
    lab = lab_before(tmp_path / "here", 2)
    lab.vessel._receive("k", "give", lab.stages["b"].file())  # a give that died at its receipt
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Laboratory(tmp_path / "there")
    assert [moved.vessel.has_happened(key) for key in (*KEYS[:2], "k")] == [True, True, False]


def test_it_does_not_matter_from_where_a_folder_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = lab_before(Path("run"), 1)
    lab.vessel._receive("k", "take", lab.stages["b"].place("s1", "k"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = Laboratory(tmp_path / "run")
    assert again.vessel.has_happened(KEYS[0])
    assert not again.vessel.has_happened("k")


def cross_device(source: Any, target: Any) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))


def test_a_stage_on_another_disk_is_refused_before_anything_moves(tmp_path, monkeypatch):
    lab = Laboratory(tmp_path)
    (tmp_path / "stm").mkdir()
    lab.vessel.check_reach(tmp_path / "stm")
    monkeypatch.setattr(os, "replace", cross_device)
    with pytest.raises(ArgumentError, match="file system of") as refused:
        lab.vessel.check_reach(tmp_path / "stm")
    assert str(tmp_path / "stm") in str(refused.value)
    assert list((tmp_path / "stm").iterdir()) == []
    assert lab.vessel.held() == []


@pytest.mark.parametrize("step", [0, 1])
def test_a_move_between_disks_says_so_and_has_not_happened(tmp_path, monkeypatch, step):
    lab = lab_before(tmp_path, step)
    plain = os.replace

    def refuse(source: Any, target: Any) -> None:
        if Path(source).parent == Path(target).parent:
            plain(source, target)
        else:
            cross_device(source, target)

    before = lab.places()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(VesselRefused, match="another file system"):
            JOURNEY[step][0](KEYS[step], JOURNEY[step][1])(lab)
    lab.restart()
    assert lab.places() == before
    assert not lab.vessel.has_happened(KEYS[step])


def test_a_file_that_somebody_holds_open_is_an_error_and_no_move(tmp_path, monkeypatch):
    """As on Windows, where a file that is open cannot be renamed."""
    lab = lab_before(tmp_path, 1)

    def is_open(source: Any, target: Any) -> None:
        if Path(source).suffix == ".npz":
            raise PermissionError(errno.EACCES, "used by another process", str(source))
        plain(source, target)

    plain = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", is_open)
        with pytest.raises(PermissionError):
            lab.vessel.take(KEYS[1], "s1", lab.stages["b"])
    assert lab.places() == ["vessel"]
    assert not lab.vessel.has_happened(KEYS[1])
    assert lab.vessel.take("again", "s1", lab.stages["b"]).name == "s1"


def test_a_disk_that_is_full_at_the_last_receipt_makes_no_receipt_lie_later(tmp_path, monkeypatch):
    lab = lab_before(tmp_path, 1)
    write = vessels.write_whole

    def full(path: Path, data: bytes) -> None:
        if b'"taken"' in bytes(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(vessels, "write_whole", full)
        with pytest.raises(OSError, match="No space"):
            lab.vessel.take(KEYS[1], "s1", lab.stages["b"])
    assert lab.places() == ["b"]
    assert lab.vessel.has_happened(KEYS[1])
    lab.vessel.give(KEYS[2], lab.stages["b"])
    assert lab.vessel.has_happened(KEYS[1])


def test_a_give_does_not_read_the_receipts_of_all_others(tmp_path, monkeypatch):
    lab = Laboratory(tmp_path)
    for n in range(6):
        lab.stages["a"].write(specimen(), f"load/{n}")
        lab.vessel.give(f"give/{n}", lab.stages["a"])
        lab.vessel.take(f"take/{n}", "s1", lab.stages["b"])
        lab.vessel.clear(lab.stages["b"])
    lab.stages["a"].write(specimen(), "load/last")
    n_read = 0
    read = Path.read_text

    def counted(path: Path, *args: Any, **kwargs: Any) -> str:
        nonlocal n_read
        n_read += path.suffix == ".json"
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", counted)
    lab.vessel.give("give/last", lab.stages["a"])
    assert n_read <= 3


# --- any order of moves, changes and deaths -----------------------------------------------------

SAMPLES = ["s1", "s2", "s3"]
CRASH = st.none() | st.tuples(st.integers(0, 11), st.booleans(), st.booleans())


class Traffic(RuleBasedStateMachine):
    """Three samples, two stages, one vessel; anybody may die at any time."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.temporary = tempfile.TemporaryDirectory()
        self.lab = Laboratory(Path(self.temporary.name))
        self.disk = MortalDisk(self.patch, vessels)
        self.happened: dict[str, bool] = {}
        self.doses = dict.fromkeys(SAMPLES, 0.0)
        self.n = 0
        self.where: dict[str, str] = {}
        for name in SAMPLES:
            self.lab.stages["a"].write(specimen(name), f"load/{name}")
            self.lab.vessel.give(f"first/{name}", self.lab.stages["a"])
            self.where[name] = "vessel"

    def teardown(self) -> None:
        self.patch.undo()
        self.temporary.cleanup()

    def _try(self, act: Callable[[], object], crash: Any) -> bool:
        """Return whether it came to its end; begin the next life where it did not."""
        if crash is not None:
            self.disk.die_at(crash[0], is_after=crash[1], has_power_cut=crash[2])
        with contextlib.suppress(Killed):
            act()
        has_died = self.disk.live_again()
        if has_died:
            self.lab.restart()
        return not has_died

    def _moved(self, key: str, sample: str, target: str, *, has_ended: bool) -> None:
        is_there = self.lab.places(sample) == [target]
        assert is_there or not has_ended
        self.happened[key] = is_there
        self.where[sample] = target if is_there else self.where[sample]

    def _key(self) -> str:
        self.n += 1
        return f"c/t/{self.n}/1"

    @rule(stage=st.sampled_from("ab"), crash=CRASH)
    def give(self, stage: str, crash: Any) -> None:
        key, there = self._key(), [s for s, place in self.where.items() if place == stage]
        if not there:
            with pytest.raises(VesselRefused):
                self.lab.vessel.give(key, self.lab.stages[stage])
            self.happened[key] = False
            return
        ended = self._try(lambda: self.lab.vessel.give(key, self.lab.stages[stage]), crash)
        self._moved(key, there[0], "vessel", has_ended=ended)

    @rule(stage=st.sampled_from("ab"), sample=st.sampled_from(SAMPLES), crash=CRASH)
    def take(self, stage: str, sample: str, crash: Any) -> None:
        key = self._key()
        if self.where[sample] != "vessel" or stage in self.where.values():
            with pytest.raises(VesselRefused):
                self.lab.vessel.take(key, sample, self.lab.stages[stage])
            self.happened[key] = False
            return
        ended = self._try(lambda: self.lab.vessel.take(key, sample, self.lab.stages[stage]), crash)
        self._moved(key, sample, stage, has_ended=ended)

    @rule(stage=st.sampled_from("ab"), crash=CRASH)
    def expose(self, stage: str, crash: Any) -> None:
        kept = self.lab.stages[stage].read()
        if kept is None:
            return
        after = replace(kept, dose_e_per_A2=kept.dose_e_per_A2 + 1.0)
        self._try(lambda: self.lab.stages[stage].write(after, self._key()), crash)
        found = self.lab.stages[stage].read()
        assert found.dose_e_per_A2 in {kept.dose_e_per_A2, after.dose_e_per_A2}
        self.doses[kept.name] = found.dose_e_per_A2

    @rule()
    def begin_again(self) -> None:
        self.lab.restart()

    @invariant()
    def each_sample_is_where_it_was_last_put_and_nowhere_else(self) -> None:
        for sample, place in self.where.items():
            assert self.lab.places(sample) == [place]
            if place != "vessel":
                found = self.lab.stages[place].read()
                assert (found.name, found.dose_e_per_A2) == (sample, self.doses[sample])

    @invariant()
    def receipts_say_what_happened(self) -> None:
        told = {key: self.lab.vessel.has_happened(key) for key in self.happened}
        assert told == self.happened


Traffic.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
test_traffic = Traffic.TestCase
