"""The shipped twins keep the contract: what is quick here, all of it under `soak`."""

import pytest

from twinloop.instruments.conformance.suite import Subject, check_many, find_rehearsal
from twinloop.instruments.interface import Instrument
from twinloop.instruments.mbe.rehearsal import MBERehearsal
from twinloop.instruments.mbe.twin import MBETwin
from twinloop.instruments.rheed.rehearsal import RHEEDRehearsal
from twinloop.instruments.rheed.twin import RHEEDTwin
from twinloop.instruments.stem.rehearsal import STEMRehearsal
from twinloop.instruments.stem.twin import STEMTwin
from twinloop.instruments.stm.rehearsal import STMRehearsal
from twinloop.instruments.stm.twin import STMTwin
from twinloop.instruments.xrd.rehearsal import XRDRehearsal
from twinloop.instruments.xrd.twin import XRDTwin

TWINS: list[type[Instrument]] = [MBETwin, RHEEDTwin, STEMTwin, STMTwin, XRDTwin]
SLOW_TO_START = {STEMTwin, STMTwin}
"""What they compute with takes long to import and to compile: they are looked at in the nightly tier."""
QUICK = ("S", "C1", "C3", "P", "K2", "K3", "K4", "T1", "T2", "T3")


def test_each_twin_has_its_rehearsal() -> None:
    found = {cls: find_rehearsal(cls) for cls in TWINS}
    assert found == {
        MBETwin: MBERehearsal,
        RHEEDTwin: RHEEDRehearsal,
        STEMTwin: STEMRehearsal,
        STMTwin: STMRehearsal,
        XRDTwin: XRDRehearsal,
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "cls",
    [
        pytest.param(cls, marks=pytest.mark.soak if cls in SLOW_TO_START else pytest.mark.system)
        for cls in TWINS
    ],
    ids=lambda cls: cls.kind,
)
def test_a_twin_keeps_what_is_quick_to_see(cls: type[Instrument]) -> None:
    report = check_many({"instrument": Subject(cls, only=QUICK)})["instrument"]
    assert not report.failed, report.text()


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cls", TWINS, ids=lambda cls: cls.kind)
def test_a_twin_keeps_every_clause(cls: type[Instrument]) -> None:
    report = check_many({"instrument": Subject(cls)})["instrument"]
    assert not report.failed, report.text()
