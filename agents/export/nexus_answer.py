"""One measurement as a NeXus entry: its arrays with their axes, its numbers, where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.agents.campaign.events import Leased
from twinloop.agents.export.contracts import Meaning
from twinloop.agents.export.nexus_tree import Tree
from twinloop.agents.export.notice import instrument_notice, run_notice
from twinloop.agents.export.plots import Plot, plots_of
from twinloop.agents.export.quantities import deviation_of
from twinloop.agents.export.record import Answer, RunRecord
from twinloop.agents.report.history import TrialHistory

__all__ = ["Written", "put_numbers", "write_answer"]

Arrays = Mapping[str, NDArray[Any]]

_LINES = ("bias_", "energy_", "time_", "frequency_", "wavelength_")
"""Along these a curve is drawn, whatever stands before them."""

DIGEST_OF = "BLAKE2b-256 of the little-endian bytes of the array in C order"


@dataclass(slots=True)
class Written:
    """What became of a measurement in the file.

    Args:
        entry: its entry.
        plots: how many pictures it has.
        rank: for the choice of what a viewer opens: a calibrated image 3, a line 2, nothing 0.
        datasets: path in the file of each array, by its name.
    """

    entry: Tree
    plots: int = 0
    rank: int = 0
    datasets: dict[str, str] = field(default_factory=dict)


def write_answer(
    root: Tree, record: RunRecord, trial: TrialHistory, answer: Answer
) -> Written | None:
    """Write the entry of an answer that has arrays; None for one without, or none that is whole."""
    arrays: dict[str, NDArray[Any]] = {}
    digests: dict[str, str] = {}
    where = f"{trial.id} {answer.target}.{answer.action}, step {answer.path}"
    for ref in answer.arrays:
        name = ref.name.rpartition(".")[2]
        if name in arrays:
            name = ref.name.replace(".", "_")
        array = record.load(ref, where)
        if array is not None:
            arrays[name], digests[name] = array, ref.digest
    if not arrays:
        return None
    entry = root.group(answer.name, "NXentry")
    written = Written(entry)
    _describe(entry, record, trial, answer)
    _write_plots(written, record, answer, arrays, digests)
    result = entry.group("result", "NXparameters")
    put_numbers(result, answer.numbers, lambda n: _meaning(record, answer, n))
    return written


def put_numbers(group: Tree, numbers: Mapping[str, Any], meaning: Any) -> None:
    """Write the numbers of a result, each with its unit; `x_sd` is `x_errors` as well."""
    made = {}
    for name, value in numbers.items():
        means: Meaning = meaning(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        units = means.unit if is_number else ""
        made[name] = group.put(name, value, units=units, description=means.text)
    for name, dataset in made.items():
        deviation = deviation_of(name, made)
        if deviation is not None and dataset is not None and made[deviation] is not None:
            group.link(f"{dataset.name.rpartition('/')[2]}_errors", made[deviation])


def _describe(entry: Tree, record: RunRecord, trial: TrialHistory, answer: Answer) -> None:
    step = answer.step
    lease = None if step is None else record.lease(step.commanded)
    is_twin = lease.is_twin if lease is not None else None
    notice = instrument_notice(is_twin, None if lease is None else lease.clock_factor)
    if step is None:
        notice = f"computed from what instruments gave; {run_notice(record.history)}"
    mark = " [SIMULATED TWIN]" if is_twin else ""
    entry.put("title", f"{answer.target}.{answer.action} of {trial.sample}{mark}")
    entry.tell(notice=notice)
    begin, end = _times(record, answer)
    entry.put("start_time", begin or None)
    entry.put("end_time", end or None)
    key = f"{trial.id}/{answer.path}" if step is None else str(step.commanded.key)
    entry.put("entry_identifier", key)
    entry.put("experiment_identifier", f"{record.campaign}.{record.run_id}")
    version = record.history.started.versions.get("twinloop") if record.history.started else None
    entry.put("program_name", "twinloop", version=version)
    if step is not None:
        _put_instrument(entry, record, answer, lease)
        arguments = entry.group("arguments", "NXparameters")
        ask = step.commanded
        put_numbers(
            arguments, ask.arguments, lambda n: record.contracts.argument(ask.target, ask.action, n)
        )
    _put_provenance(entry, record, trial, answer, lease)


def _put_instrument(entry: Tree, record: RunRecord, answer: Answer, lease: Leased | None) -> None:
    if answer.step is None:
        return
    name = answer.step.commanded.instrument
    kind = record.contracts.kind(answer.target)
    instrument = entry.group("instrument", "NXinstrument")
    instrument.put("name", name)
    instrument.put("type", kind or None)
    made = instrument.group("fabrication", "NXfabrication")
    is_twin = lease is not None and lease.is_twin
    made.put("vendor", "twinloop, simulated twin" if is_twin else "not told by the adapter")
    made.put("model", class_of(record, name) or None)
    if lease is not None:
        instrument.tell(
            adapter=lease.adapter,
            schema_digest=lease.schema_digest,
            is_simulated_twin=lease.is_twin,
            clock_factor=lease.clock_factor,
        )


def class_of(record: RunRecord, instrument: str) -> str:
    """Return the class of an instrument as the configuration names it, "" where it does not."""
    laboratory = record.history.config.get("lab")
    instruments = laboratory.get("instruments", {}) if isinstance(laboratory, dict) else {}
    about = instruments.get(instrument)
    return str(about.get("class", "")) if isinstance(about, dict) else ""


def _put_provenance(
    entry: Tree, record: RunRecord, trial: TrialHistory, answer: Answer, lease: Leased | None
) -> None:
    made = entry.group("provenance", "NXcollection")
    event, step = answer.event, answer.step
    made.put("state", event.state)
    made.put("reason", getattr(event, "reason", "") or None)
    made.put("trial", trial.id)
    made.put("sample", trial.sample)
    made.put("step", answer.path)
    made.put("journal", record.history.log_id)
    made.put("journal_event", record.history.seqs.get(event.log_key() or "", None))
    made.put("step_digest", getattr(event, "digest", "") if step is None else step.commanded.digest)
    if step is None:
        made.put("place", getattr(event, "place", "") or None)
        return
    made.put("campaign", step.commanded.key.campaign)
    made.put("attempt", step.commanded.key.attempt)
    made.put("ledger", step.commanded.ledger)
    settled = step.settled
    if settled is not None:
        made.put("lab_clock_started", settled.started_lab_s, units="s", description=_LAB_CLOCK)
        made.put("lab_clock_ended", settled.ended_lab_s, units="s", description=_LAB_CLOCK)
    if lease is not None:
        made.put("clock_factor", lease.clock_factor)
        made.put("is_simulated_twin", lease.is_twin)
        made.put("schema_digest", lease.schema_digest)
        made.put("lease_epoch", lease.epoch)
    if step.decided is not None:
        made.put("decided_by", step.decided.person)


_LAB_CLOCK = "laboratory clock of the adapter, which begins anew with it"


def _write_plots(
    written: Written, record: RunRecord, answer: Answer, arrays: Arrays, digests: Mapping[str, str]
) -> None:
    entry = written.entry
    shapes = {name: array.shape for name, array in arrays.items()}
    for plot in plots_of(shapes):
        is_first = not written.plots
        group = entry.group("data" if is_first else f"data_{plot.signal}", "NXdata")
        _write_plot(group, written, record, answer, plot, arrays, digests)
        if is_first:
            entry.tell(default="data")
            written.rank = min(len(shapes[plot.signal]), 2) + all(plot.axes)
        written.plots += 1
    for name, array in arrays.items():
        if name not in written.datasets:
            beside = entry.group("arrays", "NXcollection")
            _put(beside, written, name, array, digests, _meaning(record, answer, name))


def _write_plot(
    group: Tree,
    written: Written,
    record: RunRecord,
    answer: Answer,
    plot: Plot,
    arrays: Arrays,
    digests: Mapping[str, str],
) -> None:
    signal = arrays[plot.signal]
    group.tell(signal=plot.signal)
    group.put("title", f"{answer.target}.{answer.action}: {plot.signal}")
    means = _meaning(record, answer, plot.signal)
    dataset = _put(group, written, plot.signal, signal, digests, means)
    names: list[str] = []
    for dimension, axis in enumerate(plot.axes):
        name = axis if axis and axis not in names else f"{axis or 'index'}_{dimension}"
        if not axis:
            name = _pixel_axis(group, signal.shape, dimension, name)
        elif len(arrays[axis]) > signal.shape[dimension]:
            _cut_axis(group, arrays[axis], signal.shape[dimension], name, record, answer)
        else:
            _put(group, written, axis, arrays[axis], digests, _meaning(record, answer, axis), name)
        names.append(name)
        group.tell(**{f"{name}_indices": [dimension]})
    group.node.attrs["axes"] = np.array(names, dtype=object) if names else "."
    for extra, dimension in plot.beside:
        _put(group, written, extra, arrays[extra], digests, _meaning(record, answer, extra))
        group.tell(**{f"{extra}_indices": [dimension]})
    shown = "spectrum" if signal.ndim == 1 or plot.axes[-1].startswith(_LINES) else "image"
    dataset.attrs["interpretation"] = shown
    # HyperSpy's reader looks for it at the group
    group.tell(interpretation=shown)
    _put_errors(group, written, plot, arrays, digests, means)


def _put_errors(
    group: Tree,
    written: Written,
    plot: Plot,
    arrays: Arrays,
    digests: Mapping[str, str],
    means: Meaning,
) -> None:
    deviation = deviation_of(plot.signal, arrays)
    if deviation is not None and arrays[deviation].shape == arrays[plot.signal].shape:
        spread = Meaning(means.unit, "standard deviation")
        _put(group, written, deviation, arrays[deviation], digests, spread, f"{plot.signal}_errors")
    elif plot.is_counted:
        errors = np.sqrt(np.maximum(arrays[plot.signal].astype(np.float64), 1.0))
        text = "square root of the counts, 1 where nothing was counted; computed by the export"
        group.put_array(f"{plot.signal}_errors", errors, units=means.unit, description=text)


def _pixel_axis(group: Tree, shape: tuple[int, ...], dimension: int, name: str) -> str:
    """Write an axis that only counts, because the instrument gives none."""
    is_image = len(shape) >= 2 and dimension >= len(shape) - 2
    if is_image:
        name = "row" if dimension == len(shape) - 2 else "column"
    text = "counted: the instrument gives no scale"
    units = "pixel" if is_image else ""
    group.put_array(
        name, np.arange(shape[dimension]), units=units, long_name=name, description=text
    )
    return name


def _cut_axis(
    group: Tree, axis: NDArray[Any], side: int, name: str, record: RunRecord, answer: Answer
) -> None:
    """Write the beginning of an axis: the rest was not reached; the whole is among `arrays`."""
    said = f"the first {side} of {len(axis)}: the measurement was cut short"
    units = _meaning(record, answer, name).unit
    group.put_array(name, axis[:side], units=units, long_name=name, description=said)


def _put(
    group: Tree,
    written: Written,
    name: str,
    array: NDArray[Any],
    digests: Mapping[str, str],
    means: Meaning,
    as_name: str = "",
) -> Any:
    """Write an array once in its entry; where it is wanted again it is a link."""
    shown = as_name or name
    if name in written.datasets:
        found = written.entry.node.file[written.datasets[name]]
        group.link(shown, found)
        return found
    made = group.put_array(
        shown,
        array,
        units=means.unit,
        long_name=name,
        description=means.text,
        digest=digests[name],
        digest_of=DIGEST_OF,
    )
    written.datasets[name] = str(made.name)
    return made


def _meaning(record: RunRecord, answer: Answer, name: str) -> Meaning:
    return record.contracts.returned(answer.target, answer.action, name)


def _times(record: RunRecord, answer: Answer) -> tuple[str, str]:
    end = record.at(answer.event.log_key() or "")
    if answer.step is None:
        return end, end
    return record.at(answer.step.commanded.log_key()), end
