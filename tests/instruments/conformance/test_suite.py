"""The suite at a hub where somebody else serves the instrument, and what it says when it cannot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from twinloop.instruments.conformance.bench import Bench, Place
from twinloop.instruments.conformance.interface import NotConforming, Verdict, check_instrument
from twinloop.instruments.conformance.suite import Subject, check_at
from twinloop.instruments.conformance.testing_deaths import BareReadoutFurnace
from twinloop.instruments.testing import Furnace, FurnaceLine
from twinloop.instruments.testing_rehearsal import FurnaceRehearsal

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "lab")
    bench.places["furnace"] = Place(Furnace, {"folder": str(tmp_path / "line")}, None)
    bench.start()
    yield bench
    bench.close()


def test_nothing_moves_at_a_served_instrument_unless_it_may(served: Bench, tmp_path: Path) -> None:
    subject = Subject(Furnace, FurnaceRehearsal, {"folder": str(tmp_path / "line")})
    line = FurnaceLine(tmp_path / "line")
    looked = check_at(served.hub, "adapter", "furnace", subject)
    assert not looked.failed, looked.text()
    assert looked.verdict_of("T1") is Verdict.PASSED
    assert line.effects() == []
    assert served.status("furnace").epoch == 0, "not even a lease was taken"
    moved = check_at(served.hub, "adapter", "furnace", subject, with_actions=True)
    assert not moved.failed, moved.text()
    for clause in ("P2", "K1", "K2", "K3", "K4", "L1", "L2", "L3", "L4", "A1", "A2", "E1", "E2"):
        assert moved.verdict_of(clause) is Verdict.PASSED, clause
    assert line.count("run") > 0
    assert served.status("furnace").trip is None


def test_a_broken_clause_is_raised_with_all_that_a_technician_needs(tmp_path: Path) -> None:
    report = check_instrument(
        BareReadoutFurnace, FurnaceRehearsal, only=["S4"], folder=tmp_path / "good"
    )
    report.raise_if_failed()
    with pytest.raises(NotConforming) as caught:
        check_instrument(BareReadoutFurnace, FurnaceRehearsal, only=["T2"]).raise_if_failed()
    text = str(caught.value)
    for word in ("T2, pressure", "did:", "expected:", "happened:", "to do:", "1 failed"):
        assert word in text
