import json
from datetime import UTC, datetime

from twinloop.agents.export.telemetry import tracks_of

BEGIN_S = 1_768_645_320.0


def line(second, **readouts):
    at = datetime.fromtimestamp(BEGIN_S + second, UTC).isoformat()
    return json.dumps({"at": at, "lab_s": 20.0 * second, "mbe": readouts})


def written(folder, name, *lines):
    chamber = folder / "adapters" / "chamber"
    chamber.mkdir(parents=True, exist_ok=True)
    (chamber / name).write_text("\n".join(lines), encoding="utf-8")


def test_readouts_between_two_times_become_tracks(tmp_path):
    written(tmp_path, "telemetry.jsonl.old", line(0, substrate_K=450.0), line(1, substrate_K=500.0))
    written(
        tmp_path,
        "telemetry.jsonl",
        line(2, substrate_K=600.0, is_open=True),
        line(3, substrate_K={"error": "Timeout"}, is_open=False),
        line(9, substrate_K=700.0),
        '{"at": "2026-01-17T10:2',  # torn by a kill
    )
    tracks = tracks_of(tmp_path, "chamber", "mbe", BEGIN_S + 1, BEGIN_S + 4)
    found = {t.readout: (t.values.tolist(), t.lab_s.tolist()) for t in tracks}
    assert found == {
        "substrate_K": ([500.0, 600.0], [20.0, 40.0]),
        "is_open": ([1.0, 0.0], [40.0, 60.0]),
    }


def test_an_adapter_elsewhere_has_no_tracks(tmp_path):
    assert tracks_of(tmp_path, "chamber", "mbe", 0.0, 2e9) == []


def test_an_adapter_name_leads_nowhere_else(tmp_path):
    written(tmp_path, "telemetry.jsonl", line(0, substrate_K=450.0))
    assert tracks_of(tmp_path / "adapters", "../adapters/chamber", "mbe", 0.0, 2e9) == []
