"""Readers of others take the files: RosettaSciIO, which is what HyperSpy opens NeXus with.

RosettaSciIO is GPL-3: tests alone import it, in no case twinloop.
"""

import warnings

import numpy as np
import pytest

from twinloop.agents.export.formats import Format
from twinloop.agents.export.run_export import export_run
from twinloop.agents.export.testing import LENGTHS, films_seen_by_all, micrograph, topograph

pytest.importorskip("h5py", reason="the extra `export` is not installed")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what the reader itself imports
    reader = pytest.importorskip("rsciio.nexus", reason="rosettasciio is not installed")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    run = films_seen_by_all(tmp_path_factory.mktemp("run"))
    run.close()
    return export_run(run.folder, which=Format.NEXUS).target / "nexus" / "t0000.nxs"


def signal(file, entry):
    """Return what HyperSpy makes of the picture that an entry opens with."""
    found = reader.file_reader(str(file), nxdata_only=True, dataset_key=f"{entry}/data")
    return next(s for s in found if s["metadata"]["General"]["title"] == "data")


def axes(made):
    found = [
        (a["name"], float(a["scale"]), float(a["offset"]), a["units"], a["navigate"])
        for a in made["axes"]
    ]
    assert [a["size"] for a in made["axes"]] == list(made["data"].shape)
    return found


def test_an_stm_topograph(file):
    made = signal(file, "stm_scan_5")
    np.testing.assert_array_equal(made["data"], topograph().z_forward_A)
    assert axes(made) == [
        ("y_A", LENGTHS["stm_y_A"], -34.5, "angstrom", False),
        ("x_A", LENGTHS["stm_x_A"], -38.75, "angstrom", False),
    ]


def test_a_stem_image(file):
    made = signal(file, "stem_scan_9")
    np.testing.assert_array_equal(made["data"], micrograph().counts)
    assert axes(made) == [
        ("y_A", LENGTHS["stem_A"], -5.0, "angstrom", False),
        ("x_A", LENGTHS["stem_A"], -6.0, "angstrom", False),
    ]


def test_a_rheed_frame(file):
    made = signal(file, "rheed_expose_4")
    assert made["data"].dtype == np.uint16
    assert axes(made) == [
        ("row", 1.0, 0.0, "pixel", False),
        ("column", 1.0, 0.0, "pixel", False),
    ]


def test_an_xrd_scan(file):
    made = signal(file, "xrd_scan_8")
    ((name, scale, offset, units, _),) = axes(made)
    assert (name, offset, units) == ("two_theta_deg", 25.0, "deg")
    assert scale == pytest.approx(LENGTHS["xrd_deg"])


def test_what_opens_first_is_the_topograph(file):
    found = reader.file_reader(str(file), use_default=True)
    assert found[0]["data"].shape == topograph().z_forward_A.shape
