"""The definitions that entries claim, judged by FAIRmat's validator (pynxtools)."""

import logging
import warnings

import pytest

from twinloop.agents.export.formats import Format
from twinloop.agents.export.run_export import export_run
from twinloop.agents.export.testing import films_seen_by_all

h5py = pytest.importorskip("h5py", reason="the extra `export` is not installed")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what the validator itself imports
    validator = pytest.importorskip(
        "pynxtools.dataconverter.validate_file", reason="pynxtools is not installed"
    )

pytestmark = [pytest.mark.physics, pytest.mark.timeout(600)]  # a reference, and a slow one

# pynxtools 0.16 looks for the units of a field under the placeholder of its name, as if it were an
# attribute, and so misses the units of every such field; they are looked for below instead
FALSE_ALARMS = ("/DATA/@units", "/AXISNAME/@units")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = films_seen_by_all(tmp_path_factory.mktemp("run"))
    run.close()
    made = export_run(run.folder, which=Format.NEXUS, elements=("Al", "Ga", "As"))
    return made.target / "nexus"


def complaints(path, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("ignore")  # of what the validator itself calls
        validator.validate(str(path), ignore_undocumented=True)
    said = [record.getMessage() for record in caplog.records if "pynxtools" in record.name]
    return said, [
        text
        for text in said
        if "hasn't been supplied" in text or "does not match" in text or "expected" in text.lower()
    ]


def claims(path):
    with h5py.File(path) as file:
        return {
            name: entry["definition"].asstr()[()]
            for name, entry in file.items()
            if "definition" in entry
        }


@pytest.mark.parametrize(
    ("trial", "definitions"),
    [("t0000", {"NXstm", "NXem", "NXxrd"}), ("t0001", {"NXsts", "NXem"})],
)
def test_every_claim_is_kept(folder, trial, definitions, caplog):
    path = folder / f"{trial}.nxs"
    claimed = claims(path)
    assert set(claimed.values()) == definitions
    said, found = complaints(path, caplog)
    assert [c for c in found if not any(alarm in c for alarm in FALSE_ALARMS)] == []
    judged = {name for name in claimed if any(f"`{name}`" in text for text in said)}
    assert judged == set(claimed)
    for name, definition in claimed.items():
        if definition in {"NXem", "NXxrd"}:  # not touched by the false alarms
            assert any(f"`{name}`" in text and "is valid" in text for text in said)


def test_the_fields_of_the_false_alarms_have_units(folder):
    for trial in ("t0000", "t0001"):
        with h5py.File(folder / f"{trial}.nxs") as file:
            for name in claims(folder / f"{trial}.nxs"):
                data = file[name]["data"]
                for field in (data.attrs["signal"], *data.attrs["axes"]):
                    assert data[field].attrs.get("units") or field.startswith("index_")


def test_the_validator_finds_what_is_missing(folder, tmp_path, caplog):
    path = tmp_path / "broken.nxs"
    path.write_bytes((folder / "t0000.nxs").read_bytes())
    with h5py.File(path, "r+") as file:
        del file["stm_scan_5/scan_mode"]
        del file["stem_scan_9"], file["xrd_scan_8"]
    assert any("scan_mode" in text for text in complaints(path, caplog)[1])
