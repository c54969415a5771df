"""Bluesky documents, judged by event-model's schemas and taken by bluesky's own consumers."""

import json
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest

from twinloop.agents.export.formats import Format
from twinloop.agents.export.run_export import export_run
from twinloop.agents.export.testing import films_seen_by_all, topograph

pytest.importorskip("h5py", reason="the extra `export` is not installed")
event_model = pytest.importorskip("event_model", reason="event-model is not installed")

STREAM = "stm_scan_5"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    builder = films_seen_by_all(tmp_path_factory.mktemp("run"), is_finished=False)
    builder.close()
    return builder.folder


@pytest.fixture(scope="module")
def folder(run):
    return export_run(run, which=Format.BLUESKY).target / "bluesky"


def documents(path):
    lines = path.read_text("utf-8").splitlines()
    return [(line["name"], line["doc"]) for line in map(json.loads, lines)]


def of_kind(path, kind):
    return [doc for name, doc in documents(path) if name == kind]


@pytest.mark.parametrize("name", ["campaign", "t0000", "t0001"])
def test_every_document_keeps_its_schema(folder, name):
    found = documents(folder / f"{name}.jsonl")
    assert found[0][0] == "start"
    for kind, doc in found:
        event_model.schema_validators[event_model.DocumentNames[kind]].validate(doc)


@pytest.mark.parametrize("name", ["campaign", "t0000", "t0001"])
def test_documents_refer_to_those_before_them(folder, name):
    known, uids = set(), []
    for _, doc in documents(folder / f"{name}.jsonl"):
        for reference in ("run_start", "descriptor", "stream_resource"):
            assert doc.get(reference) is None or doc[reference] in known
        known.add(doc["uid"])
        uids.append(doc["uid"])
    assert len(known) == len(uids)


def test_an_event_has_a_value_for_each_key_that_lies_in_it(folder):
    keys = {d["uid"]: d["data_keys"] for d in of_kind(folder / "t0000.jsonl", "descriptor")}
    for event in of_kind(folder / "t0000.jsonl", "event"):
        inside = {n for n, k in keys[event["descriptor"]].items() if "external" not in k}
        assert set(event["data"]) == set(event["timestamps"]) == inside


def test_a_step_has_arguments_results_units_and_what_the_instrument_was(folder):
    (descriptor,) = (
        d for d in of_kind(folder / "t0000.jsonl", "descriptor") if d["name"] == STREAM
    )
    (event,) = (
        e for e in of_kind(folder / "t0000.jsonl", "event") if e["descriptor"] == descriptor["uid"]
    )
    assert event["data"]["stm-asked-width_A"] == 80.0
    assert event["data"]["stm-command_key"] == "demo.5f4bfda2/t0000/5/1"
    assert descriptor["data_keys"]["stm-asked-width_A"]["units"] == "angstrom"
    image = descriptor["data_keys"]["stm-z_forward_A"]
    assert (image["shape"], image["dims"], image["dtype_numpy"]) == (
        [24, 32],
        ["y_A", "x_A"],
        "<f4",
    )
    assert descriptor["configuration"]["stm"]["data"]["is_simulated_twin"] is True
    assert descriptor["time"] < event["time"]


def test_a_resource_leads_to_the_array(folder):
    h5py = pytest.importorskip("h5py", reason="the extra `export` is not installed")
    resources = of_kind(folder / "t0000.jsonl", "stream_resource")
    (found,) = (r for r in resources if r["data_key"] == "stm-z_forward_A")
    path = Path(url2pathname(urlsplit(found["uri"]).path))
    assert path.parent == folder.parent / "nexus"
    with h5py.File(path) as file:
        array = file[found["parameters"]["dataset"]][()]
    np.testing.assert_array_equal(array, topograph().z_forward_A)


def test_a_trial_under_way_has_no_stop(folder):
    assert [d["exit_status"] for d in of_kind(folder / "t0000.jsonl", "stop")] == ["success"]
    assert of_kind(folder / "t0001.jsonl", "stop") == []
    assert of_kind(folder / "campaign.jsonl", "stop") == []


def test_stop_counts_the_events(folder):
    (stop,) = of_kind(folder / "t0000.jsonl", "stop")
    assert len(stop["num_events"]) == len(of_kind(folder / "t0000.jsonl", "event"))
    assert stop["num_events"][STREAM] == 1


def test_a_second_export_gives_the_same_documents(run, folder, tmp_path):
    again = export_run(run, tmp_path / "again", which=Format.BLUESKY).target / "bluesky"
    for name in ("campaign", "t0000"):
        first, second = (documents(f / f"{name}.jsonl") for f in (folder, again))
        assert [d["uid"] for _, d in first] == [d["uid"] for _, d in second]


def test_a_start_says_why_and_that_it_is_simulated(folder):
    (start,) = of_kind(folder / "t0000.jsonl", "start")
    assert start["proposal"]["why"] == {"gain_per_h": 0.25, "rung": "fitted"}
    assert start["point"]["substrate_K"] == 680.0
    assert start["notice"].startswith("SIMULATED TWIN")
    assert start["sample"] == "demo-0000"


def test_a_failed_trial_is_a_failed_run(tmp_path):
    builder = films_seen_by_all(tmp_path / "run", is_finished=False)
    builder.end("t0001", {}, None, reason="the tip was lost")
    builder.close()
    made = export_run(builder.folder, which=Format.BLUESKY).target / "bluesky"
    (stop,) = of_kind(made / "t0001.jsonl", "stop")
    assert (stop["exit_status"], stop["reason"]) == ("fail", "the tip was lost")


def test_blueskys_own_table_shows_the_campaign(folder, capsys):
    callbacks = pytest.importorskip("bluesky.callbacks", reason="bluesky is not installed")
    table = callbacks.LiveTable(["trial", "point-substrate_K", "y"])
    for name, doc in documents(folder / "campaign.jsonl"):
        table(name, doc)
    shown = capsys.readouterr().out
    assert "t0000" in shown
    assert "680.000" in shown


def test_event_models_router_takes_a_trial(folder):
    seen = []

    class Counter(event_model.DocumentRouter):
        def event(self, doc):
            seen.append(doc["seq_num"])

    router = Counter()
    for name, doc in documents(folder / "t0000.jsonl"):
        router(name, doc)
    assert seen == [1] * 11
