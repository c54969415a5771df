"""A run as NeXus files: one HDF5 file a sample, with an entry for each measurement.

One file holds all that was measured of one film, because that is what is looked at together and
handed on; each measurement is an entry of its own with its own definition, because instruments
differ. The attributes `default` lead a viewer to the first picture.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinloop import __version__
from twinloop.agents.export.nexus_answer import Written, write_answer
from twinloop.agents.export.nexus_definitions import claim
from twinloop.agents.export.nexus_theory import has_traces, write_theory
from twinloop.agents.export.nexus_tree import Tree, needed
from twinloop.agents.export.nexus_trial import sample_of_its_own, write_sample, write_trial
from twinloop.agents.export.notice import run_notice
from twinloop.agents.export.record import RunRecord
from twinloop.agents.report.history import TrialHistory
from twinloop.clocks import utc_now
from twinloop.log.durable import write_whole

__all__ = ["Placed", "Places", "write_nexus"]


THEORY = "theory.nxs"
"""The file of what simulations predicted, where they gave arrays and the whole run is exported."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an array of a measurement lies.

    Args:
        file: name of the file.
        dataset: path in it.
        shape, dtype: of the dataset; numpy type string.
        chunks: of its layout; () where it lies in one piece.
        units: of its values.
        dims: names of its dimensions; () where it has no axes.
    """

    file: str
    dataset: str
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    units: str
    dims: tuple[str, ...] = ()


Places = dict[tuple[str, str], dict[str, Placed]]
"""By trial and name of the measurement: its arrays by name."""


def write_nexus(record: RunRecord, folder: Path, elements: tuple[str, ...] = ()) -> Places:
    """Write a file for each trial into a folder; return where each array is.

    Args:
        record: the run; what is amiss with arrays is added to its problems.
        folder: exists.
        elements: chemical elements of the samples, for definitions that ask for them.

    Raises:
        ExportNeeds: h5py is not installed.
        OSError: the disk refused.
    """
    h5py = needed("h5py", "NeXus files")
    places: Places = {}
    for trial in record.trials:
        name = f"{trial.id}.nxs"
        with _file(h5py, folder / name) as file:
            _write_file(Tree(file), h5py, record, trial, elements, places, name)
    if has_traces(record) and len(record.trials) == len(record.history.trials):
        with _file(h5py, folder / THEORY) as file:
            root = Tree(file)
            root.tell(**_root_attributes(h5py, THEORY))
            write_theory(root, record)
    return places


@contextmanager
def _file(h5py: Any, path: Path) -> Iterator[Any]:
    """Give an HDF5 file that is made in memory and written at the end, whole or not at all.

    When a disk fills up under the HDF5 library, it cannot let go of its file and may end the process
    with a segmentation fault [seen with HDF5 2.0]; an error of ours is an error that can be told.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    write_whole(path, image)


def _write_file(
    root: Tree,
    h5py: Any,
    record: RunRecord,
    trial: TrialHistory,
    elements: tuple[str, ...],
    places: Places,
    name: str,
) -> None:
    root.tell(
        **_root_attributes(h5py, name),
        notice=run_notice(record.history),
    )
    entry = root.group("trial", "NXentry")
    sample = write_sample(entry, record, trial, elements)
    write_trial(entry, record, trial)
    best, rank = "trial", 0
    for answer in record.answers(trial):
        written = write_answer(root, record, trial, answer)
        if written is None:
            continue
        if answer.action == "scan" and record.contracts.kind(answer.target) == "xrd":
            sample_of_its_own(written.entry, sample)  # its angle is part of this measurement
        else:
            written.entry.link("sample", sample)
        if "proposal" in entry:
            written.entry.link("proposal", entry.node["proposal"])
        claim(written, record, trial, answer, elements)
        if written.rank > rank and answer.step is not None:
            best, rank = answer.name, written.rank
        places[trial.id, answer.name] = _places(name, written)
    root.tell(default=best)


def _root_attributes(h5py: Any, name: str) -> dict[str, str]:
    return {
        "NX_class": "NXroot",
        "file_name": name,
        "file_time": utc_now(),
        "creator": "twinloop",
        "creator_version": __version__,
        "HDF5_Version": h5py.version.hdf5_version,
        "h5py_version": h5py.version.version,
    }


def _places(file: str, written: Written) -> dict[str, Placed]:
    found = {}
    for name, path in written.datasets.items():
        dataset = written.entry.node.file[path]
        group = dataset.parent
        dims: tuple[str, ...] = ()
        if group.attrs.get("signal") == path.rpartition("/")[2] and dataset.ndim:
            dims = tuple(str(a) for a in group.attrs["axes"])
        found[name] = Placed(
            file,
            path,
            tuple(int(s) for s in dataset.shape),
            dataset.dtype.str,
            tuple(dataset.chunks or ()),
            str(dataset.attrs.get("units", "")),
            dims,
        )
    return found
