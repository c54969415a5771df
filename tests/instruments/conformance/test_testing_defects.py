"""Planted defects: each is found, under its clause, and the good furnaces have none."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from twinloop.instruments.conformance.interface import Rehearsal, Report
from twinloop.instruments.conformance.suite import Subject, check_many
from twinloop.instruments.conformance.testing_defects import DEFECTS, Defect
from twinloop.instruments.conformance.testing_furnaces import RampedFurnace, RampedRehearsal
from twinloop.instruments.testing import Furnace
from twinloop.instruments.testing_rehearsal import FurnaceRehearsal

pytestmark = pytest.mark.timeout(400)


def rehearsal_of(defect: Defect) -> type[Rehearsal]:
    """Leave out the actions that a defect has nothing to do with: kills cost time."""
    is_ramped = issubclass(defect.cls, RampedFurnace)
    base = RampedRehearsal if is_ramped else FurnaceRehearsal
    others = [n for n in defect.cls.actions() if defect.action and n != defect.action]
    breaks = {n: f for n, f in base.breaks.items() if n == defect.action}
    # longer than a restart takes on a busy computer: the device must still be at it afterwards
    lasting = {"anneal": {"hold_s": 60.0}} if defect.clause == "R3" else base.lasting
    skip = dict.fromkeys(others, "not the one with the defect")
    body = {"skip": skip, "breaks": breaks, "lasting": lasting, "instrument": defect.cls}
    return type("Planted", (base,), body)


def group(defect: Defect) -> str:
    """Say which defects share an adapter process; what keeps it from starting has one of its own."""
    if defect.clause == "C3":
        return defect.clause
    if defect.clause[0] == "S":
        return "types"
    return "killed" if defect.clause[0] in "RWF" else "served"


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """Check all of them; benches wait most of the time, so that two get along beside each other."""

    def checked(name: str) -> dict[str, Report]:
        members = [d for d in DEFECTS if group(d) == name]
        return check_many(
            {d.cls.__name__: Subject(d.cls, rehearsal_of(d), only=(d.clause,)) for d in members}
        )

    with ThreadPoolExecutor(2) as benches:
        found = list(benches.map(checked, ("killed", "served", "types", "C3")))
    return {name: report for some in found for name, report in some.items()}


def test_there_are_many_and_each_is_of_its_own() -> None:
    names = [d.cls.__name__ for d in DEFECTS]
    assert len(names) == len(set(names)) >= 28
    assert len({d.clause for d in DEFECTS}) >= 28


@pytest.mark.system
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: f"{d.clause}-{d.cls.__name__}")
def test_a_planted_defect_is_found_under_its_clause(
    defect: Defect, reports: dict[str, Report]
) -> None:
    report = reports[defect.cls.__name__]
    assert report.failed_clauses == [defect.clause], report.text()
    finding = report.failed[0]
    assert defect.action in finding.subject or not finding.subject
    assert finding.did
    assert finding.expected
    assert finding.happened


@pytest.mark.system
def test_nothing_is_found_on_a_good_furnace_with_a_ramp() -> None:
    """The clauses under which the defects of such a furnace are planted."""
    assert_good(RampedFurnace, RampedRehearsal, only=("L5", "P", "F3", "T3"))


@pytest.mark.soak
def test_nothing_is_found_on_a_good_furnace() -> None:
    assert_good(Furnace, FurnaceRehearsal, only=())


def assert_good(cls: type[Furnace], rehearsal: type[Rehearsal], *, only: tuple[str, ...]) -> None:
    report = check_many({"furnace": Subject(cls, rehearsal, only=only)})["furnace"]
    assert not report.failed, report.text()
