import json
import sqlite3
import sys

import pytest

from twinloop.agents.export.formats import Format
from twinloop.agents.export.nexus_tree import ExportNeeds
from twinloop.agents.export.record import read_run
from twinloop.agents.export.run_export import export_run
from twinloop.agents.export.testing import act, films_seen_by_all
from twinloop.agents.report.history import JOURNAL
from twinloop.errors import ArgumentError


@pytest.fixture
def hdf5():
    return pytest.importorskip("h5py", reason="the extra `export` is not installed")


@pytest.fixture
def arrow():
    return pytest.importorskip("pyarrow", reason="the extra `export` is not installed")


def digest_of_array(folder, trial, name, array):
    record = read_run(folder)
    (answer,) = (a for a in record.answers(record.trials[trial]) if a.name == name)
    return next(ref.digest for ref in answer.arrays if ref.name == array)


def file_of(folder, digest):
    return folder / "arrays" / digest[:2] / digest


def test_everything_is_listed_in_the_manifest(hdf5, arrow, seen):
    made = export_run(seen)
    manifest = json.loads((made.target / "export.json").read_text("utf-8"))
    present = {
        p.relative_to(made.target).as_posix(): p.stat().st_size
        for p in made.target.rglob("*")
        if p.is_file() and p.name != "export.json"
    }
    assert manifest["files"] == made.files == present
    assert {name.partition("/")[0] for name in present} == {"nexus", "parquet", "bluesky"}
    assert manifest["trials"] == ["t0000", "t0001"]
    assert manifest["journal"]["check"] == "intact"
    assert manifest["notice"].startswith("SIMULATED TWIN")
    assert manifest["problems"] == []


def test_the_run_folder_is_only_read(hdf5, arrow, seen, tmp_path):
    def state():
        files = [p for p in seen.rglob("*") if p.is_file() and not p.name.startswith(f"{JOURNAL}-")]
        return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in files}

    before = state()
    export_run(seen, tmp_path / "elsewhere")
    assert state() == before


def test_one_trial_is_exported_alone(hdf5, arrow, seen):
    made = export_run(seen, trial="1")
    assert {n for n in made.files if n.startswith("nexus")} == {"nexus/t0001.nxs"}
    proposals = pytest.importorskip("pyarrow.parquet").read_table(
        made.target / "parquet" / "proposals.parquet"
    )
    assert proposals.column("number").to_pylist() == [1]


def test_a_campaign_that_goes_on_can_be_exported_again_and_again(hdf5, arrow, run):
    """The writer of the journal is open all the time, as a conductor's is."""
    export_run(run.folder)
    trial = run.start(run.propose({"substrate_K": 650.0}))
    act(run, trial, "0", "mbe.heat", {"substrate_K": 650.0}, 649.0)
    run.commit()
    made = export_run(run.folder, overwrite=True)
    assert made.problems == []
    assert "nexus/t0002.nxs" in made.files
    with hdf5.File(made.target / "nexus" / "t0002.nxs") as file:
        assert file["trial/state"].asstr()[()] == "under way"


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_an_array_that_is_not_whole_is_told_by_its_digest(hdf5, arrow, seen, harm):
    digest = digest_of_array(seen, 0, "stm_scan_5", "z_backward_A")
    path = file_of(seen, digest)
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\x00\x00")
    made = export_run(seen)
    (problem,) = made.problems
    assert digest in problem
    assert "t0000 stm.scan, step 5" in problem
    with hdf5.File(made.target / "nexus" / "t0000.nxs") as file:
        assert "data_z_backward_A" not in file["stm_scan_5"]
        assert "z_forward_A" in file["stm_scan_5/data"]
    documents = (made.target / "bluesky" / "t0000.jsonl").read_text("utf-8")
    assert "stm-z_forward_A" in documents
    assert "stm-z_backward_A" not in documents


def test_an_axis_that_is_missing_leaves_an_image_counted_in_pixels(hdf5, seen):
    file_of(seen, digest_of_array(seen, 0, "stm_scan_5", "x_A")).unlink()
    made = export_run(seen, which=Format.NEXUS)
    with hdf5.File(made.target / "nexus" / "t0000.nxs") as file:
        assert list(file["stm_scan_5/data"].attrs["axes"]) == ["y_A", "column"]


def test_counts_that_are_missing_cost_their_definition(hdf5, seen):
    file_of(seen, digest_of_array(seen, 0, "xrd_scan_8", "counts")).unlink()
    made = export_run(seen, which=Format.NEXUS)
    with hdf5.File(made.target / "nexus" / "t0000.nxs") as file:
        assert "definition" not in file["xrd_scan_8"]


def test_a_corrupt_journal_is_told_and_the_rest_exported(hdf5, arrow, seen):
    with sqlite3.connect(seen / JOURNAL) as db:
        db.execute("UPDATE events SET body = x'7b22' WHERE seq = (SELECT max(seq) FROM events)")
    db.close()
    made = export_run(seen)
    assert any("after event" in p for p in made.problems)
    assert "nexus/t0001.nxs" in made.files
    manifest = json.loads((made.target / "export.json").read_text("utf-8"))
    assert manifest["problems"] == made.problems
    assert manifest["journal"]["check"] != "intact"
    assert not manifest["is_finished"]


def test_an_unknown_protocol_is_a_note_and_no_problem(hdf5, tmp_path):
    run = films_seen_by_all(tmp_path / "run")
    run.close()
    with sqlite3.connect(run.folder / JOURNAL) as db:
        db.execute("UPDATE events SET body = replace(body, 'grow_and_look', 'nobody_has_it')")
    db.close()
    made = export_run(run.folder, which=Format.NEXUS)
    assert any("units are read from names" in note for note in made.notes)
    with hdf5.File(made.target / "nexus" / "t0000.nxs") as file:
        assert file["stm_scan_5/data/x_A"].attrs["units"] == "angstrom"


@pytest.mark.parametrize(
    ("package", "which"), [("h5py", Format.NEXUS), ("pyarrow", Format.PARQUET)]
)
def test_a_missing_package_is_named_and_nothing_written(monkeypatch, seen, package, which):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportNeeds, match=r"twinloop\[export\]"):
        export_run(seen, which=which)
    assert not (seen / "export").exists()
    assert not list(seen.glob(".export*"))


@pytest.mark.parametrize("element", ["gallium", "ga", "G1", ""])
def test_elements_are_symbols(seen, element):
    with pytest.raises(ArgumentError, match="symbols"):
        export_run(seen, elements=[element])


def test_words_that_no_file_format_takes_are_made_to_fit(hdf5, arrow, tmp_path):
    """Figures of a planner, text of a device and names of a person may be anything."""
    run = films_seen_by_all(tmp_path / "run", is_finished=False)
    why = {"gain/h": 1.0, "gain_h": 2.0, "..": 3.0, "theta.0": "a\x00b", "big": 2.0**70}
    trial = run.start(run.propose({"substrate_K": 650.0}, why=why))
    key = act(run, trial, "0", "mbe.heat", {"substrate_K": 650.0}, 10**30, reason="lost\x00")
    run.close()
    made = export_run(run.folder)
    assert made.problems == []
    with hdf5.File(made.target / "nexus" / "t0002.nxs") as file:
        assert sorted(file["trial/proposal/why"]) == ["_", "big", "gain_h", "gain_h_", "theta.0"]
        step = file["trial/process_000_mbe_heat_0"]
        assert step["entry_identifier"].asstr()[()] == str(key)
        assert step["result/result"].asstr()[()] == str(10**30)
        assert step["reason"].asstr()[()].endswith("lost\ufffd")
    model = pytest.importorskip("event_model", reason="event-model is not installed")
    for line in (made.target / "bluesky" / "t0002.jsonl").read_text("utf-8").splitlines():
        body = json.loads(line)
        kind = model.DocumentNames[body["name"]]
        model.schema_validators[kind].validate(body["doc"])
