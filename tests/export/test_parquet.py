import json

import pytest

from twinloop.agents.export.formats import Format
from twinloop.agents.export.run_export import export_run
from twinloop.agents.export.testing import films_seen_by_all
from twinloop.agents.report.testing import RunBuilder

tables = pytest.importorskip("pyarrow.parquet", reason="the extra `export` is not installed")

NAMES = {"trials", "proposals", "commands", "computations", "quantities", "simulations"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = films_seen_by_all(tmp_path_factory.mktemp("run"), is_finished=False)
    run.close()
    return export_run(run.folder, which=Format.PARQUET).target / "parquet"


def rows(folder, name):
    return tables.read_table(folder / f"{name}.parquet").to_pylist()


def test_trials_have_what_was_tried_and_what_came_of_it(folder):
    first, second = rows(folder, "trials")
    assert (first["trial"], first["state"], first["y"], first["y_sd"]) == (
        "t0000",
        "done",
        0.4,
        0.05,
    )
    assert (first["point_substrate_K"], first["outcome_thickness_ML"]) == (680.0, 5.7)
    assert (first["slack"], first["is_feasible"], first["is_simulated"]) == ([0.1], True, True)
    assert first["lab_s"] == pytest.approx(40.0 * 10)
    assert first["started_at"] < first["ended_at"]
    assert (second["state"], second["y"], second["ended_at"]) == ("under way", None, None)


def test_types_and_units_are_kept(folder):
    schema = tables.read_schema(folder / "trials.parquet")
    assert str(schema.field("point_flux_ML_per_s").type) == "double"
    assert schema.field("point_flux_ML_per_s").metadata[b"units"] == b"ML/s"
    assert str(schema.field("started_at").type) == "timestamp[us, tz=UTC]"
    assert str(schema.field("is_feasible").type) == "bool"
    assert schema.metadata[b"notice"].startswith(b"SIMULATED TWIN")
    assert schema.metadata[b"run"] == b"5f4bfda201020304"


def test_proposals_say_why(folder):
    first, second = rows(folder, "proposals")
    assert (first["why_gain_per_h"], second["why_gain_per_h"]) == (0.25, 1.25)
    assert first["why_rung"] == "fitted"
    assert first["planner"] == "plain_bo"


def test_commands_have_their_key_arguments_and_arrays(folder):
    found = {row["step"]: row for row in rows(folder, "commands") if row["trial"] == "t0000"}
    scan = found["5"]
    assert scan["key"] == "demo.5f4bfda2/t0000/5/1"
    assert json.loads(scan["arguments"])["width_A"] == 80.0
    assert {a["name"] for a in json.loads(scan["arrays"])} >= {"z_forward_A", "x_A"}
    assert (scan["is_simulated_twin"], scan["clock_factor"]) == (True, 20.0)


def test_quantities_have_value_deviation_and_unit(folder):
    found = {(r["source"], r["name"]): r for r in rows(folder, "quantities")}
    bright = found["rheed", "intensity"]
    assert (bright["value"], bright["sd"]) == (4445.0, 186.0)
    rough = found["stm_analyst", "roughness_ML"]
    assert (rough["value"], rough["sd"], rough["unit"]) == (0.44, 0.03, "ML")
    assert ("stm_analyst", "roughness_sd_ML") not in found
    assert ("stm_analyst", "is_terraced") not in found


def test_simulations_have_theory_parameters_and_whole_seeds(folder):
    found = rows(folder, "simulations")
    assert [r["state"] for r in found] == ["done", "cancelled", "under way"]
    assert found[2]["seed"] == 2**63 + 2
    assert (found[0]["theta_bond_energy_eV"], found[0]["value_merit"]) == (0.25, 0.5)
    assert found[1]["value_merit"] is None


def test_pandas_reads_every_table(folder):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frames = {name: pandas.read_parquet(folder / f"{name}.parquet") for name in NAMES}
    assert frames["trials"]["y"].tolist()[0] == 0.4
    assert str(frames["trials"]["started_at"].dtype.tz) == "UTC"
    assert len(frames["commands"]) == 15


def test_an_empty_campaign_gives_empty_tables(tmp_path):
    run = RunBuilder(tmp_path / "run")
    run.begin()
    run.close()
    made = export_run(run.folder, which=Format.PARQUET)
    assert not any(rows(made.target / "parquet", n) for n in NAMES)


def test_a_number_that_is_once_a_word_becomes_text(tmp_path):
    run = RunBuilder(tmp_path / "run")
    run.begin()
    run.propose({"substrate_K": 650.0}, why={"gain": 1.5})
    run.propose({"substrate_K": 660.0}, why={"gain": "none"})
    run.close()
    made = export_run(run.folder, which=Format.PARQUET)
    assert [r["why_gain"] for r in rows(made.target / "parquet", "proposals")] == ["1.5", "none"]
