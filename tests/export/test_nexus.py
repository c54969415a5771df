"""NeXus files, opened as anybody opens them: with h5py."""

import numpy as np
import pytest

from twinloop.agents.export.formats import Format
from twinloop.agents.export.record import read_run
from twinloop.agents.export.run_export import export_run
from twinloop.agents.export.testing import LENGTHS, films_seen_by_all, topograph
from twinloop.ids import digest_of

h5py = pytest.importorskip("h5py", reason="the extra `export` is not installed")

ELEMENTS = ("Al", "Ga", "As")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    run = films_seen_by_all(tmp_path_factory.mktemp("run"))
    run.close()
    return export_run(run.folder, which=Format.NEXUS, elements=ELEMENTS)


@pytest.fixture
def first(exported):
    with h5py.File(exported.target / "nexus" / "t0000.nxs") as file:
        yield file


@pytest.fixture
def second(exported):
    with h5py.File(exported.target / "nexus" / "t0001.nxs") as file:
        yield file


def text(dataset):
    return dataset.asstr()[()]


def default_plot(file):
    entry = file[file.attrs["default"]]
    return entry[entry.attrs["default"]]


def datasets(file):
    found = {}

    def note(name, node):
        if isinstance(node, h5py.Dataset):
            found[name] = node

    file.visititems(note)
    return found


def test_a_file_leads_a_viewer_to_the_topograph(first):
    plot = default_plot(first)
    assert plot.name == "/stm_scan_5/data"
    np.testing.assert_array_equal(plot[plot.attrs["signal"]][()], topograph().z_forward_A)


def test_every_default_leads_to_a_picture(first, second):
    for file in (first, second):
        for entry in file.values():
            if "default" in entry.attrs:
                plot = entry[entry.attrs["default"]]
                assert plot.attrs["NX_class"] == "NXdata"
                assert plot.attrs["signal"] in plot


@pytest.mark.parametrize(
    ("plot", "axis", "dimension", "first_value", "step", "units"),
    [
        ("stm_scan_5/data", "x_A", 1, -38.75, LENGTHS["stm_x_A"], "angstrom"),
        ("stm_scan_5/data", "y_A", 0, -34.5, LENGTHS["stm_y_A"], "angstrom"),
        ("stem_scan_9/data", "x_A", 1, -6.0, LENGTHS["stem_A"], "angstrom"),
        ("xrd_scan_8/data", "two_theta_deg", 0, 25.0, LENGTHS["xrd_deg"], "deg"),
        ("rheed_record_2_1_0/data", "time_s", 0, -2.0, 0.25, "s"),
        ("rheed_expose_4/data", "row", 0, 0.0, 1.0, "pixel"),
    ],
)
def test_axes_are_calibrated(first, plot, axis, dimension, first_value, step, units):
    group = first[plot]
    assert list(group.attrs["axes"])[dimension] == axis
    assert group.attrs[f"{axis}_indices"] == [dimension]
    values = group[axis][()]
    assert values.shape == (group[group.attrs["signal"]].shape[dimension],)
    assert values[0] == pytest.approx(first_value)
    np.testing.assert_allclose(np.diff(values), step)
    assert group[axis].attrs["units"] == units


@pytest.mark.parametrize(
    ("path", "units"),
    [
        ("stm_scan_5/data/z_forward_A", "angstrom"),
        ("stm_scan_5/data_current_forward_nA/current_forward_nA", "nA"),
        ("stem_scan_9/data/counts", "counts"),
        ("rheed_record_2_1_0/data/intensity", "counts/s"),
        ("rheed_expose_4/data/result", "counts"),
        ("stm_scan_5/arguments/width_A", "angstrom"),
        ("stem_scan_9/result/dose_e_per_A2", "electron/angstrom^2"),
        ("trial/process_002_mbe_grow_2_0_0/arguments/flux_ML_per_s", "ML/s"),
        ("trial/process_002_mbe_grow_2_0_0/result/rate_ML_per_s", "ML/s"),
        ("trial/proposal/point/substrate_K", "K"),
        ("trial/outcome/thickness_ML", "ML"),
    ],
)
def test_numbers_have_units(first, path, units):
    assert first[path].attrs["units"] == units


def test_every_array_has_the_digest_of_what_the_journal_names(exported, first, second):
    record = read_run(exported.target.parent)
    named = {
        ref.digest for trial in record.trials for a in record.answers(trial) for ref in a.arrays
    }
    found = set()
    for file in (first, second):
        for dataset in datasets(file).values():
            if "digest" in dataset.attrs:
                assert (
                    digest_of(np.ascontiguousarray(dataset[()]).tobytes())
                    == dataset.attrs["digest"]
                )
                found.add(dataset.attrs["digest"])
    assert found == named


def test_an_array_says_where_it_comes_from(first):
    entry = first["stm_scan_5"]
    said = entry["provenance"]
    assert text(entry["entry_identifier"]) == "demo.5f4bfda2/t0000/5/1"
    assert (text(said["trial"]), text(said["step"]), said["attempt"][()]) == ("t0000", "5", 1)
    assert text(said["sample"]) == text(entry["sample/name"]) == "demo-0000"
    assert text(said["schema_digest"]) == entry["instrument"].attrs["schema_digest"] == "03" * 32
    assert said["lab_clock_ended"][()] - said["lab_clock_started"][()] == pytest.approx(40.0)
    assert said["clock_factor"][()] == 20.0
    begun, ended = (text(entry[n]) for n in ("start_time", "end_time"))
    assert begun < ended
    assert begun.startswith("2026-01-17T10:22:")
    assert entry["proposal/why/gain_per_h"][()] == 0.25
    assert text(entry["proposal/why/rung"]) == "fitted"


def test_a_simulated_twin_says_so_loudly(first):
    assert first.attrs["notice"].startswith("SIMULATED TWIN")
    assert "20 times real time" in first.attrs["notice"]
    entry = first["stm_scan_5"]
    assert entry.attrs["notice"].startswith("SIMULATED TWIN")
    assert text(entry["title"]).endswith("[SIMULATED TWIN]")
    assert entry["provenance/is_simulated_twin"][()]
    assert entry["sample/is_simulation"][()]


def test_a_real_instrument_is_not_called_a_twin(tmp_path):
    run = films_seen_by_all(tmp_path / "run", is_twin=False)
    run.close()
    made = export_run(run.folder, which=Format.NEXUS)
    with h5py.File(made.target / "nexus" / "t0000.nxs") as file:
        assert file.attrs["notice"] == "measured on a real instrument"
        assert "TWIN" not in text(file["stm_scan_5/title"])
        assert not file["sample" if "sample" in file else "trial/sample"]["is_simulation"][()]
        assert text(file["stm_scan_5/instrument/fabrication/vendor"]) == "not told by the adapter"


def test_the_sample_carries_its_history(first):
    story = first["stm_scan_5/sample/history"]
    done = [text(activity["description"]) for activity in story.values()]
    assert done[:3] == ["mbe.load: done", "mbe.heat: done", "mbe.grow: done"]
    assert first["stm_scan_5/sample/history"] == first["trial/sample/history"]


def test_deviations_are_errors(first):
    found = first["trial/process_007_stm_analyst_film_6/result"]
    assert found["roughness_ML_errors"][()] == found["roughness_sd_ML"][()] == 0.03
    assert first["trial/outcome/merit_errors"][()] == 0.05
    assert first["trial/goal/y_errors"][()] == 0.05


def test_counted_numbers_have_the_error_of_counting(first):
    plot = first["xrd_scan_8/data"]
    np.testing.assert_allclose(plot["counts_errors"][1:], np.sqrt(plot["counts"][1:]))
    assert plot["counts_errors"][0] == 1.0


def test_what_was_cut_short_keeps_its_axes(second):
    plot = second["stm_spectra_1/data"]
    assert list(plot.attrs["axes"]) == ["y_A", "x_A", "bias_V"]
    assert plot["y_A"][()].tolist() == [0.0, 6.0]
    assert second["stm_spectra_1/arrays/y_A"][()].tolist() == [0.0, 6.0, 12.0]
    assert text(second["stm_spectra_1/provenance/state"]) == "partial"


def test_both_sides_of_a_camera_have_angles(second):
    plot = second["stem_diffract_2/data"]
    assert list(plot.attrs["axes"])[1:] == ["angle_mrad", "angle_mrad_2"]
    assert plot["angle_mrad"] == plot["angle_mrad_2"]
    assert plot.attrs["x_A_indices"] == [0]


@pytest.mark.parametrize(
    ("entry", "definition"),
    [("stm_scan_5", "NXstm"), ("stem_scan_9", "NXem"), ("xrd_scan_8", "NXxrd")],
)
def test_a_definition_is_claimed_where_it_is_kept(first, entry, definition):
    assert text(first[entry]["definition"]) == definition


def test_where_none_is_kept_the_entry_says_what_is_missing(first, second):
    for entry in (first["rheed_expose_4"], second["xrd_rock_4"]):
        assert "definition" not in entry
        assert text(entry["provenance/missing_for_definition"])


def test_without_elements_no_image_claims_to_be_of_a_known_sample(seen):
    made = export_run(seen, which=Format.NEXUS)
    with h5py.File(made.target / "nexus" / "t0000.nxs") as file:
        assert "definition" not in file["stem_scan_9"]
        assert "--elements" in text(file["stem_scan_9/provenance/missing_for_definition"])


def test_the_sample_was_turned_by_half_the_angle_and_its_offset(first):
    entry = first["xrd_scan_8"]
    expected = entry["data/two_theta_deg"][()] / 2 + 0.35
    np.testing.assert_allclose(entry["sample/rotation_angle"][()], expected)
    assert "rotation_angle" not in first["trial/sample"]


def test_predictions_are_called_predictions(exported):
    with h5py.File(exported.target / "nexus" / "theory.nxs") as file:
        assert file.attrs["notice"].startswith("PREDICTION")
        made = file["theory/simulation_000_000"]
        assert made["theta/bond_energy_eV"].attrs["units"] == "eV"
        assert made["arrays/trace"].shape == (9, 2)
        assert made["seed"][()] == 2**63
